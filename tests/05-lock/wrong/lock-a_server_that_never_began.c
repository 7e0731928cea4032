/*
 * misconception: the server may fail when its creator has been told already that there is a lock
 * rejected by:   a descriptor that cannot be had is reported
 * message:       Part of the lock or value could not be had, and you went on without it
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

enum what { TRY, WAIT, RELEASE, QUIT };

struct request {
	enum what what;
	pid_t pid;
};

/* A process of its own has the lock, and is asked for it. */
struct lock {
	int fd;
	pid_t server;
};

/* ---- the server ---------------------------------------------------------- */

enum { WAITERS = 1000 };

static struct {
	pid_t pid;		/* 0: nobody holds it */
	int pidfd;
	bool died;		/* to be told to the next */
	struct { pid_t pid; int fd; } queue[WAITERS];
	int waiting;
} s;

static bool answer(int fd, char c)
{
	ssize_t n;

	do
		n = send(fd, &c, 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

static void dequeue(int i)
{
	close(s.queue[i].fd);
	s.waiting--;
	memmove(&s.queue[i], &s.queue[i + 1],
		(size_t)(s.waiting - i) * sizeof s.queue[0]);
}

static void look_after_holder(void)
{
	struct pollfd end = { .fd = s.pidfd, .events = POLLIN };

	if (s.pid == 0 || (s.pidfd >= 0 && poll(&end, 1, 0) <= 0))
		return;
	if (s.pidfd >= 0)
		close(s.pidfd);
	s.pid = 0;
	s.died = true;
}

static bool grant(pid_t pid, int fd)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (pidfd < 0 || !answer(fd, s.died ? 'd' : 'g')) {
		if (pidfd >= 0)
			close(pidfd);
		return false;
	}
	s.pid = pid;
	s.pidfd = pidfd;
	s.died = false;
	return true;
}

static void grant_next(void)
{
	while (s.pid == 0 && s.waiting > 0) {
		grant(s.queue[0].pid, s.queue[0].fd);
		dequeue(0);
	}
}

static void serve_request(const struct request *r, int fd)
{
	look_after_holder();
	grant_next();
	if (r->what == RELEASE && s.pid == r->pid) {
		close(s.pidfd);
		s.pid = 0;
		answer(fd, 'g');
	} else if (r->what == RELEASE) {
		answer(fd, 'n');
	} else if (s.pid == 0) {
		grant(r->pid, fd);
	} else if (r->what == WAIT && s.waiting < WAITERS) {
		s.queue[s.waiting].pid = r->pid;
		s.queue[s.waiting++].fd = fd;
		return;
	} else {
		answer(fd, 'n');
	}
	close(fd);
}

/* Returns 0 when nobody is left who could ask. */
static int receive(int from)
{
	struct request r;
	struct iovec v = { &r, sizeof r };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof c };
	ssize_t n;
	int fd;

	do
		n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || r.what == QUIT)
		return 0;
	if (CMSG_FIRSTHDR(&m) == NULL)
		return 1;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	serve_request(&r, fd);
	return 1;
}

static _Noreturn void serve(int from)
{
	struct pollfd fds[WAITERS + 2];
	int n;

	for (;;) {
		fds[0] = (struct pollfd){ .fd = from, .events = POLLIN };
		fds[1] = (struct pollfd){ .fd = s.pid ? s.pidfd : -1,
					  .events = POLLIN };
		n = s.waiting;
		for (int i = 0; i < n; i++)
			fds[2 + i] = (struct pollfd){ .fd = s.queue[i].fd,
						      .events = POLLIN };
		if (poll(fds, (nfds_t)n + 2, -1) < 0)
			continue;
		/* who waits says something: it waits no more, or is dead */
		for (int i = n - 1; i >= 0; i--)
			if (fds[2 + i].revents) {
				answer(s.queue[i].fd, 'n');
				dequeue(i);
			}
		look_after_holder();
		grant_next();
		if (fds[0].revents && !receive(from))
			_exit(0);
		grant_next();
	}
}

/* ---- its clients --------------------------------------------------------- */

struct lock *lock_create(void)
{
	struct lock *l = malloc(sizeof *l);
	int ends[2], error;

	if (l == NULL)
		return NULL;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
		error = errno;
		free(l);
		errno = error;
		return NULL;
	}
	l->fd = ends[0];
	l->server = fork();
	if (l->server == 0) {
		dup2(ends[1], 3);
		close_range(4, ~0U, 0);
		close(STDIN_FILENO);
		if (open("/dev/null", O_RDONLY) < 0)
			_exit(1);
		serve(3);
	}
	error = errno;
	close(ends[1]);
	if (l->server < 0) {
		close(ends[0]);
		free(l);
		errno = error;
		return NULL;
	}
	return l;
}

/* Ask; the answer comes over a connection of its own. -1 if there is none. */
static int request(struct lock *l, enum what what)
{
	struct request r = { what, getpid() };
	struct iovec v = { &r, sizeof r };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof c };
	int ends[2], error;
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -1;
	memset(&c, 0, sizeof c);
	c.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&c.h), &ends[1], sizeof(int));
	do
		n = sendmsg(l->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	error = errno;
	close(ends[1]);
	if (n >= 0)
		return ends[0];
	close(ends[0]);
	errno = error;
	return -1;
}

static char hear(int fd)
{
	ssize_t n;
	char c;

	do
		n = recv(fd, &c, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1 ? c : '?';
}

static bool answered_within(int fd, double timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double left, end = seconds_now() + timeout;

	for (;;) {
		left = end - seconds_now();
		if (left <= 0)
			return false;
		if (poll(&p, 1, left > 1e6 ? 1000000000
					   : (int)(left * 1e3) + 1) > 0)
			return true;
	}
}

int lock_acquire(struct lock *l, double timeout)
{
	int fd = request(l, timeout == 0 ? TRY : WAIT);
	char c;

	if (fd < 0)
		return -1;
	if (timeout > 0 && !answered_within(fd, timeout))
		answer(fd, 'c');	/* and hear what became of it */
	c = hear(fd);
	close(fd);
	if (c == '?')
		errno = EPIPE;
	return c == 'g' ? 0 : c == 'd' ? LOCK_OWNER_DIED : c == 'n' ? 1 : -1;
}

int lock_release(struct lock *l)
{
	int fd = request(l, RELEASE);
	char c;

	if (fd < 0)
		return -1;
	c = hear(fd);
	close(fd);
	if (c == 'g')
		return 0;
	errno = c == 'n' ? EPERM : EPIPE;
	return -1;
}

void lock_destroy(struct lock *l)
{
	struct request r = { .what = QUIT };

	while (send(l->fd, &r, sizeof r, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
	while (waitpid(l->server, NULL, 0) < 0 && errno == EINTR)
		;
	close(l->fd);
	free(l);
}

struct value {
	struct lock *lock;
	long number;
};

struct value *value_create(long initial)
{
	struct value *v = map_shared(sizeof *v);
	int error;

	if (v == NULL)
		return NULL;
	v->number = initial;
	v->lock = lock_create();
	if (v->lock == NULL) {
		error = errno;
		munmap(v, sizeof *v);
		errno = error;
		return NULL;
	}
	return v;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	long copy;
	int refused;

	if (lock_acquire(v->lock, -1) < 0)
		return -1;
	copy = v->number;
	refused = fn != NULL && fn(&copy, arg) != 0;
	if (!refused)
		v->number = copy;
	if (now != NULL)
		*now = v->number;
	lock_release(v->lock);
	if (!refused)
		return 0;
	errno = ECANCELED;
	return -1;
}

void value_destroy(struct value *v)
{
	lock_destroy(v->lock);
	munmap(v, sizeof *v);
}

static int add_one(long *v, void *arg)
{
	(void)arg;
	++*v;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	while (increments-- > 0)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
