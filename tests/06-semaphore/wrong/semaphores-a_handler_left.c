/*
 * misconception: a signal handler of its own stays behind
 * rejected by:   each worker is once in the room
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static int make_ends(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	return fcntl(ends[0], F_SETFL, O_NONBLOCK);
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

/* Each byte in the pipe is a free place. */
struct semaphore {
	int ends[2], bound;
	atomic_int places;
};

/* Bytes go in one by one only when places are given back. */
static int fill(struct semaphore *s, int initial)
{
	char bytes[4096] = { 0 };
	ssize_t n;

	if (initial > 32767)
		return errno = EINVAL, -1;
	while (initial > 0) {
		n = write(s->ends[1], bytes, initial > 4096 ? 4096u :
			  (size_t)initial);
		if (n < 0 && errno != EINTR)
			return -1;
		initial -= n > 0 ? (int)n : 0;
	}
	return 0;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	int error;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->ends[0] = s->ends[1] = -1;
	s->places = initial;
	s->bound = bounded ? initial : INT_MAX;
	if (make_ends(s->ends) == 0 && fill(s, initial) == 0)
		return s;
	error = errno;
	semaphore_destroy(s);
	errno = error;
	return NULL;
}

/* Milliseconds from now on, rounded up; -1 = for ever. */
static int left_until(double timeout, const struct timespec *until)
{
	struct timespec now;
	double ms;

	if (timeout < 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &now);
	ms = (double)(until->tv_sec - now.tv_sec) * 1e3 +
	     (double)(until->tv_nsec - now.tv_nsec) / 1e6;
	return ms <= 0 ? 0 : ms > 1e9 ? 1000000000 : (int)ms + 1;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	struct pollfd p = { .fd = s->ends[0], .events = POLLIN };
	char byte;
	int left;

	for (;;) {
		if (read(s->ends[0], &byte, 1) == 1) {
			s->places--;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -1;
		left = timeout == 0 ? 0 : left_until(timeout, &until);
		if (left == 0)
			return 1;
		poll(&p, 1, left);
	}
}

int semaphore_release(struct semaphore *s)
{
	int places = s->places;

	do
		if (places >= s->bound) {
			errno = EOVERFLOW;
			return -1;
		}
	while (!atomic_compare_exchange_weak(&s->places, &places, places + 1));
	while (write(s->ends[1], "", 1) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	int places = s->places;

	return places > 0 ? places : 0;
}

void semaphore_destroy(struct semaphore *s)
{
	if (s->ends[0] >= 0)
		close(s->ends[0]);
	if (s->ends[1] >= 0)
		close(s->ends[1]);
	munmap(s, sizeof *s);
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

/* Each worker has a pipe of which only it has the end to write into: when
 * that is closed it is gone, or as good as gone. */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	struct pollfd *lines = calloc((size_t)workers, sizeof *lines);
	int error = 0, what, started, left, ends[2];

	if (lines == NULL)
		return ENOMEM;
	for (started = 0; started < workers; started++) {
		pid_t pid;

		if (pipe2(ends, O_CLOEXEC) != 0) {
			error = errno;
			break;
		}
		pid = fork();
		if (pid == 0) {
			close(ends[0]);
			work(s, r, started, room, arg);
		}
		if (pid < 0)
			error = errno;
		close(ends[1]);
		if (pid < 0) {
			close(ends[0]);
			break;
		}
		r->workers[started].pid = pid;
		lines[started].fd = ends[0];
		lines[started].events = POLLIN;
	}
	for (left = started; left > 0;) {
		if (poll(lines, (nfds_t)started, -1) < 0)
			continue;
		for (int i = 0; i < started; i++) {
			if (lines[i].fd < 0 || lines[i].revents == 0)
				continue;
			while (waitpid(r->workers[i].pid, NULL, 0) < 0 &&
			       errno == EINTR)
				;
			close(lines[i].fd);
			lines[i].fd = -1;
			left--;
			what = look_after(s, r, i);
			error = error == 0 ? what : error;
		}
	}
	free(lines);
	return error;
}

static void wake_up(int sig)
{
	(void)sig;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct sigaction a = { .sa_handler = wake_up };
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
	sigaction(SIGCHLD, &a, NULL);
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
