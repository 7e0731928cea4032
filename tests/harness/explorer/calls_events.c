/*
 * Waits for one of several things: select, ppoll, epoll; signals that are
 * asked for; timers that are files. And the ways by which a process is made
 * or signalled through a number instead of a name.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/select.h>
#include <sys/shm.h>
#include <sys/timerfd.h>
#include <unistd.h>

static const struct place nowhere;

static int64_t in_ns(const struct timespec *t)
{
	if (t == NULL || t->tv_sec > INT64_MAX / 4 / 1000000000)
		return FOREVER;
	return arena->now + t->tv_sec * 1000000000ll + t->tv_nsec;
}

/* ---- timers that are files: virtual time, told through an eventfd ----------------- */

enum { TIMERS = 8 };

static struct { int fd; int64_t deadline, interval; } timers[TIMERS];
static int n_timers;

int64_t next_timer(void)
{
	int64_t first = FOREVER;

	for (int i = 0; i < n_timers; i++)
		if (timers[i].deadline < first)
			first = timers[i].deadline;
	return first;
}

void timers_are_due(void)
{
	uint64_t once = 1;

	for (int i = 0; i < n_timers; i++) {
		if (timers[i].deadline > arena->now)
			continue;
		timers[i].deadline = timers[i].interval == 0 ? FOREVER :
			arena->now + timers[i].interval;
		if (write(timers[i].fd, &once, sizeof once) < 0)
			continue;
	}
}

/* Its number may become another file's. */
void timer_is_closed(int fd)
{
	for (int i = 0; i < n_timers; i++)
		if (timers[i].fd == fd)
			timers[i] = timers[--n_timers];
}

int explored_timerfd_create(int clock, int flags)
{
	int fd;

	if (!exploring())
		return timerfd_create(clock, flags);
	if (n_timers == TIMERS)
		end_schedule(FOUND_BLIND);
	fd = eventfd(0, flags);
	if (fd < 0)
		return fd;
	timers[n_timers].fd = fd;
	timers[n_timers].interval = 0;
	timers[n_timers++].deadline = FOREVER;
	return fd;
}

int explored_timerfd_settime(int fd, int flags, const struct itimerspec *set,
			     struct itimerspec *before)
{
	int64_t deadline;

	if (!exploring())
		return timerfd_settime(fd, flags, set, before);
	if (before != NULL)
		memset(before, 0, sizeof *before);
	deadline = in_ns(&set->it_value);
	if (flags & TFD_TIMER_ABSTIME)
		deadline = virtual_time(CLOCK_MONOTONIC, &set->it_value);
	if (set->it_value.tv_sec == 0 && set->it_value.tv_nsec == 0)
		deadline = FOREVER;
	for (int i = 0; i < n_timers; i++) {
		if (timers[i].fd != fd)
			continue;
		timers[i].deadline = deadline;
		timers[i].interval = in_ns(&set->it_interval) - arena->now;
		return 0;
	}
	return timerfd_settime(fd, flags, set, before);
}

/* ---- one of several ------------------------------------------------------------------ */

struct several {
	struct pollfd *fds;
	nfds_t n;
	fd_set *sets[3], asked[3];
	const sigset_t *mask;
	int set, room;
	struct epoll_event *events;
};

static const struct timespec at_once;

static int try_poll(struct several *s)
{
	return ppoll(s->fds, s->n, &at_once, s->mask);
}

static int try_select(struct several *s)
{
	for (int i = 0; i < 3; i++)
		if (s->sets[i] != NULL)
			*s->sets[i] = s->asked[i];
	return pselect((int)s->n, s->sets[0], s->sets[1], s->sets[2],
		       &at_once, s->mask);
}

static int try_epoll(struct several *s)
{
	return epoll_pwait(s->set, s->events, s->room, 0, s->mask);
}

static enum wake wait_with_mask(const char *call, int64_t deadline,
				const sigset_t *mask, const void *pc)
{
	sigset_t before;
	enum wake how;

	if (mask != NULL)
		pthread_sigmask(SIG_SETMASK, mask, &before);
	how = wait_here(call, nowhere, deadline, pc);
	if (mask != NULL)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return how;
}

static int wait_for_one(int (*try)(struct several *), struct several *s,
			int64_t deadline, const char *call, const void *pc)
{
	int64_t timer;
	enum wake how = WOKEN;
	int r;

	point(nowhere, pc);
	for (;;) {
		timers_are_due();
		r = try(s);
		if (r != 0 || deadline <= arena->now)
			break;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		timer = next_timer();
		how = wait_with_mask(call, timer < deadline ? timer : deadline,
				     s->mask, pc);
	}
	for (nfds_t i = 0; s->fds != NULL && r > 0 && i < s->n; i++)
		if (s->fds[i].revents != 0)
			acquire_from(place_of_file(s->fds[i].fd));
	acquire_from_dead();
	note(CALLS, call, nowhere, pc)->value = (uint64_t)r;
	return r;
}

int explored_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (!exploring())
		return poll(fds, n, timeout);
	return wait_for_one(try_poll, &(struct several){ .fds = fds, .n = n },
			    timeout < 0 ? FOREVER :
			    arena->now + timeout * 1000000ll, "poll", HERE);
}

int explored_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
		   const sigset_t *mask)
{
	if (!exploring())
		return ppoll(fds, n, t, mask);
	return wait_for_one(try_poll,
			    &(struct several){ .fds = fds, .n = n,
					       .mask = mask },
			    in_ns(t), "ppoll", HERE);
}

static int select_one(int n, fd_set *sets[3], int64_t deadline,
		      const sigset_t *mask, const char *call, const void *pc)
{
	struct several s = { .n = (nfds_t)n, .mask = mask };

	for (int i = 0; i < 3; i++) {
		s.sets[i] = sets[i];
		if (sets[i] != NULL)
			s.asked[i] = *sets[i];
	}
	return wait_for_one(try_select, &s, deadline, call, pc);
}

int explored_select(int n, fd_set *in, fd_set *out, fd_set *other,
		    struct timeval *t)
{
	struct timespec limit;

	if (!exploring())
		return select(n, in, out, other, t);
	if (t != NULL)
		limit = (struct timespec){ t->tv_sec, t->tv_usec * 1000 };
	return select_one(n, (fd_set *[]){ in, out, other },
			  in_ns(t != NULL ? &limit : NULL), NULL, "select",
			  HERE);
}

int explored_pselect(int n, fd_set *in, fd_set *out, fd_set *other,
		     const struct timespec *t, const sigset_t *mask)
{
	if (!exploring())
		return pselect(n, in, out, other, t, mask);
	return select_one(n, (fd_set *[]){ in, out, other }, in_ns(t), mask,
			  "pselect", HERE);
}

int explored_epoll_wait(int set, struct epoll_event *events, int room,
			int timeout)
{
	if (!exploring())
		return epoll_wait(set, events, room, timeout);
	return wait_for_one(try_epoll,
			    &(struct several){ .set = set, .room = room,
					       .events = events },
			    timeout < 0 ? FOREVER :
			    arena->now + timeout * 1000000ll, "epoll_wait",
			    HERE);
}

/* ---- signals that are asked for ------------------------------------------------------- */

static int take_signal(const sigset_t *set, siginfo_t *info, int64_t deadline,
		       const char *call, const void *pc)
{
	enum wake how = WOKEN;
	int sig;

	point(nowhere, pc);
	while ((sig = sigtimedwait(set, info, &at_once)) < 0) {
		if (errno != EAGAIN || deadline <= arena->now)
			return -1;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		how = wait_here(call, nowhere, deadline, pc);
	}
	note(CALLS, call, nowhere, pc)->value = (uint64_t)sig;
	return sig;
}

int explored_sigtimedwait(const sigset_t *set, siginfo_t *info,
			  const struct timespec *t)
{
	if (!exploring())
		return sigtimedwait(set, info, t);
	return take_signal(set, info, in_ns(t), "sigtimedwait", HERE);
}

int explored_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	if (!exploring())
		return sigwaitinfo(set, info);
	return take_signal(set, info, FOREVER, "sigwaitinfo", HERE);
}

int explored_sigwait(const sigset_t *set, int *sig)
{
	int r;

	if (!exploring())
		return sigwait(set, sig);
	do
		r = take_signal(set, NULL, FOREVER, "sigwait", HERE);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno;
	*sig = r;
	return 0;
}

/* ---- System V shared memory ------------------------------------------------------------- */

void *explored_shmat(int id, const void *at, int flags)
{
	void *p = shmat(id, at, flags);
	struct shmid_ds facts;

	if (exploring() && p != (void *)-1 && shmctl(id, IPC_STAT, &facts) == 0)
		map_added_as(p, facts.shm_segsz, (uint64_t)id);
	return p;
}

int explored_shmdt(const void *at)
{
	if (exploring()) {
		settle_write();
		map_removed((void *)(uintptr_t)at, 1);
	}
	return shmdt(at);
}
