/*
 * misconception: memory that could not be had is used all the same
 * rejected by:   memory that cannot be had is reported
 * message:       Part of the semaphore could not be had
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct timespec deadline(double timeout)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (timeout > 1e9)
		timeout = 1e9;
	t.tv_sec += (time_t)timeout;
	t.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/*
 * A process of its own counts the places and is asked for them. Each question
 * brings a descriptor along, over which the answer comes.
 */
struct semaphore {
	int fd;
	pid_t server;
};

enum what { TRY, WAIT, GIVE, LOOK, QUIT };

/* ---- the server ---------------------------------------------------------- */

enum { WAITERS = 900 };

static struct {
	int places, bound;
	int queue[WAITERS], waiting;
} s;

static bool answer(int fd, int number)
{
	ssize_t n;

	do
		n = send(fd, &number, sizeof number, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == sizeof number;
}

static void forget(int i)
{
	close(s.queue[i]);
	s.waiting--;
	memmove(&s.queue[i], &s.queue[i + 1],
		(size_t)(s.waiting - i) * sizeof s.queue[0]);
}

/* Those who say something while they wait do not wait any more, or are dead. */
static void forget_impatient(const struct pollfd *fds)
{
	for (int i = s.waiting - 1; i >= 0; i--)
		if (fds[i].revents) {
			answer(s.queue[i], 1);
			forget(i);
		}
}

static void serve_waiting(void)
{
	while (s.places > 0 && s.waiting > 0) {
		struct pollfd p = { .fd = s.queue[0], .events = POLLIN };

		if (poll(&p, 1, 0) > 0)
			answer(s.queue[0], 1);
		else if (answer(s.queue[0], 0))
			s.places--;
		forget(0);
	}
}

static void serve_one(enum what what, int fd)
{
	bool room = s.places < s.bound;

	if (what == WAIT && s.places == 0 && s.waiting < WAITERS) {
		s.queue[s.waiting++] = fd;
		return;
	}
	if (what == LOOK) {
		answer(fd, s.places);
	} else if (what == GIVE) {
		s.places += room;
		answer(fd, room ? 0 : 1);
	} else if (s.places == 0) {
		answer(fd, 1);
	} else if (answer(fd, 0)) {
		s.places--;
	}
	close(fd);
}

static void receive(int from)
{
	enum what what = QUIT;
	struct iovec v = { &what, sizeof what };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof c };
	ssize_t n;
	int fd;

	do
		n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || what == QUIT)
		_exit(0);
	if (CMSG_FIRSTHDR(&m) == NULL)
		return;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	serve_one(what, fd);
}

static _Noreturn void serve(int from)
{
	struct pollfd fds[WAITERS + 1];
	int n;

	for (;;) {
		n = s.waiting;
		for (int i = 0; i < n; i++)
			fds[i] = (struct pollfd){ .fd = s.queue[i],
						  .events = POLLIN };
		fds[n] = (struct pollfd){ .fd = from, .events = POLLIN };
		if (poll(fds, (nfds_t)n + 1, -1) < 0)
			continue;
		forget_impatient(fds);
		if (fds[n].revents)
			receive(from);
		serve_waiting();
	}
}

/* ---- its clients --------------------------------------------------------- */

static void start_server(struct semaphore *new, int ends[2])
{
	sigset_t all, before;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	new->server = fork();
	if (new->server == 0) {
		dup2(ends[1], 3);
		close_range(4, ~0U, 0);
		serve(3);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *new;
	int ends[2], error;

	if (initial < 0)
		return errno = EINVAL, NULL;
	new = malloc(sizeof *new);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
		error = errno;
		free(new);
		return errno = error, NULL;
	}
	s.places = initial;
	s.bound = bounded ? initial : INT_MAX;
	start_server(new, ends);
	error = errno;
	close(ends[1]);
	new->fd = ends[0];
	if (new->server > 0)
		return new;
	close(new->fd);
	free(new);
	return errno = error, NULL;
}

/* Ask; the answer comes over a connection of its own. -1 if there is none. */
static int request(struct semaphore *to, enum what what)
{
	struct iovec v = { &what, sizeof what };
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
		n = sendmsg(to->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	error = errno;
	close(ends[1]);
	if (n >= 0)
		return ends[0];
	close(ends[0]);
	return errno = error, -1;
}

/* The answer, or -1: the server is gone. */
static int hear(int fd)
{
	int number;
	ssize_t n;

	do
		n = recv(fd, &number, sizeof number, 0);
	while (n < 0 && errno == EINTR);
	close(fd);
	return n == sizeof number ? number : (errno = EPIPE, -1);
}

static bool answered_within(int fd, double timeout)
{
	struct timespec until = deadline(timeout), now;
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double ms;

	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		ms = (double)(until.tv_sec - now.tv_sec) * 1e3 +
		     (double)(until.tv_nsec - now.tv_nsec) / 1e6;
		if (ms <= 0)
			return false;
		if (poll(&p, 1, ms > 1e9 ? 1000000000 : (int)ms + 1) > 0)
			return true;
	}
}

int semaphore_acquire(struct semaphore *from, double timeout)
{
	int fd = request(from, timeout == 0 ? TRY : WAIT);

	if (fd < 0)
		return -1;
	if (timeout > 0 && !answered_within(fd, timeout))
		answer(fd, 0);		/* and hear what became of it */
	return hear(fd);
}

int semaphore_release(struct semaphore *to)
{
	int fd = request(to, GIVE), got = fd < 0 ? -1 : hear(fd);

	if (got <= 0)
		return got;
	errno = EOVERFLOW;
	return -1;
}

int semaphore_value(struct semaphore *at)
{
	int fd = request(at, LOOK);

	return fd < 0 ? -1 : hear(fd);
}

void semaphore_destroy(struct semaphore *old)
{
	enum what what = QUIT;

	while (send(old->fd, &what, sizeof what, MSG_NOSIGNAL) < 0 &&
	       errno == EINTR)
		;
	while (waitpid(old->server, NULL, 0) < 0 && errno == EINTR)
		;
	close(old->fd);
	free(old);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	result = room(worker, arg);
	semaphore_release(s);
	return result;
}

/* What the workers of one run share. */
struct run {
	atomic_int inside, most;
	struct worker {
		_Atomic enum { OUTSIDE, INSIDE, FAILED, DONE } state;
		pid_t pid;
	} workers[];
};

static void note_most(struct run *r)
{
	int now = atomic_fetch_add(&r->inside, 1) + 1, most = r->most;

	while (now > most &&
	       !atomic_compare_exchange_weak(&r->most, &most, now))
		;
}

static _Noreturn void work(struct semaphore *s, struct run *r, int number,
			   int (*room)(int worker, void *arg), void *arg)
{
	struct worker *w = &r->workers[number];
	int result;

	if (semaphore_acquire(s, -1) != 0)
		_exit(1);
	note_most(r);
	w->state = INSIDE;
	result = room(number, arg);
	w->state = result == 0 ? DONE : FAILED;
	atomic_fetch_sub(&r->inside, 1);
	semaphore_release(s);
	_exit(0);
}

/* A worker has ended: 0, or what is to be told of it. */
static int look_after(struct semaphore *s, struct run *r, int number)
{
	switch (r->workers[number].state) {
	case DONE:
		return 0;
	case FAILED:
		return ECANCELED;
	case INSIDE:
		atomic_fetch_sub(&r->inside, 1);
		semaphore_release(s);
		return EOWNERDEAD;
	default:
		return EOWNERDEAD;
	}
}

/*
 * The workers are a process group of their own, led by the first: so one can
 * wait for any of them, and for no other child.
 */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	int error = 0, what, started = 0, i;
	pid_t group = 0, pid;

	for (; started < workers; started++) {
		pid = fork();
		if (pid == 0) {
			setpgid(0, group);
			work(s, r, started, room, arg);
		}
		if (pid < 0) {
			error = errno;
			break;
		}
		setpgid(pid, group);
		group = group == 0 ? pid : group;
		r->workers[started].pid = pid;
	}
	while (started > 0) {
		pid = waitpid(-group, NULL, 0);
		if (pid < 0)
			continue;
		started--;
		for (i = 0; r->workers[i].pid != pid; i++)
			;
		what = look_after(s, r, i);
		error = error == 0 ? what : error;
	}
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
