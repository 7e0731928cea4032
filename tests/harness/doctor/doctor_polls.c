/* Waits for several descriptors at once: poll, select, epoll. */
#include "doctor_parts.h"

#include <poll.h>
#include <string.h>
#include <sys/select.h>
#include <sys/syscall.h>

static void wait_for_each(struct scene *s, struct thread *t, int fd,
			  bool reads, bool writes, int *n)
{
	if (!reads && !writes)
		return;
	if ((*n)++ > 0)
		tell(t, "; or ");
	wait_for_end(s, t, fd, reads);
}

static void wait_in_poll(struct scene *s, struct thread *t, int *n)
{
	struct pollfd fds[64];
	size_t count = t->a[1] < 64 ? t->a[1] : 64;

	if (count == 0 || !read_memory(t->of->pid, t->a[0], fds,
				       count * sizeof *fds))
		return;
	for (size_t i = 0; i < count; i++)
		if (fds[i].fd >= 0)
			wait_for_each(s, t, fds[i].fd, fds[i].events & POLLIN,
				      fds[i].events & POLLOUT, n);
}

static void wait_in_select(struct scene *s, struct thread *t, int *n)
{
	fd_set sets[2];
	int count = t->a[0] < FD_SETSIZE ? (int)t->a[0] : FD_SETSIZE;

	for (int k = 0; k < 2; k++) {
		FD_ZERO(&sets[k]);
		/* the kernel reads whole words up to the last descriptor */
		if (t->a[1 + k] != 0)
			read_memory(t->of->pid, t->a[1 + k], &sets[k],
				    (count + 63) / 64 * 8);
	}
	for (int fd = 0; fd < count; fd++)
		wait_for_each(s, t, fd, FD_ISSET(fd, &sets[0]),
			      FD_ISSET(fd, &sets[1]), n);
}

/* "tfd:        5 events:       19 data: ..." for each descriptor */
static void wait_in_epoll(struct scene *s, struct thread *t, int *n)
{
	char info[4096];
	unsigned events;
	int fd;

	if (!read_small_file(info, sizeof info, "/proc/%d/fdinfo/%d",
			     t->of->pid, (int)t->a[0]))
		return;
	for (char *at = info; (at = strstr(at, "tfd:")) != NULL; at += 4)
		if (sscanf(at, "tfd: %d events: %x", &fd, &events) == 2)
			wait_for_each(s, t, fd, events & POLLIN,
				      events & POLLOUT, n);
}

void wait_for_many(struct scene *s, struct thread *t)
{
	bool select = t->number == SYS_pselect6;
	bool poll = t->number == SYS_ppoll;
	int n = 0;

#ifdef SYS_poll
	select |= t->number == SYS_select;
	poll |= t->number == SYS_poll;
#endif
	if (poll)
		wait_in_poll(s, t, &n);
	else if (select)
		wait_in_select(s, t, &n);
	else
		wait_in_epoll(s, t, &n);
	if (n > 1)
		t->about = MANY;
	if (n == 0)
		tell(t, "a signal: it names no descriptor");
}
