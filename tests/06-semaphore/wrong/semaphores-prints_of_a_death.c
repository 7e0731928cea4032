/*
 * misconception: it tells the terminal of a worker that died
 * rejected by:   a run prints nothing
 * message:       speaks to its caller, by what it returns
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
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

/* The number, a mutex that guards it, and a bell for those who wait. */
struct semaphore {
	pthread_mutex_t mutex;
	pthread_cond_t more;
	int places, bound;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	pthread_mutexattr_t mutex;
	pthread_condattr_t more;
	int error;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->places = initial;
	s->bound = bounded ? initial : INT_MAX;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
	pthread_condattr_init(&more);
	pthread_condattr_setpshared(&more, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&more, CLOCK_MONOTONIC);
	error = pthread_mutex_init(&s->mutex, &mutex);
	if (error == 0)
		error = pthread_cond_init(&s->more, &more);
	pthread_mutexattr_destroy(&mutex);
	pthread_condattr_destroy(&more);
	if (error == 0)
		return s;
	munmap(s, sizeof *s);
	errno = error;
	return NULL;
}

/* Nothing is ever half done while it is held. */
static void lock(struct semaphore *s)
{
	if (pthread_mutex_lock(&s->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&s->mutex);
}

static int wait_for_more(struct semaphore *s, double timeout,
			 const struct timespec *until)
{
	int error = timeout < 0 ? pthread_cond_wait(&s->more, &s->mutex) :
		    pthread_cond_timedwait(&s->more, &s->mutex, until);

	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(&s->mutex);
	return error;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	int error = 0;

	lock(s);
	while (s->places == 0 && timeout != 0 && error == 0)
		error = wait_for_more(s, timeout, &until);
	if (s->places > 0) {
		s->places--;
		error = 0;
	} else {
		error = 1;
	}
	pthread_mutex_unlock(&s->mutex);
	return error;
}

int semaphore_release(struct semaphore *s)
{
	bool room;

	lock(s);
	room = s->places < s->bound;
	if (room) {
		s->places++;
		pthread_cond_signal(&s->more);
	}
	pthread_mutex_unlock(&s->mutex);
	if (room)
		return 0;
	errno = EOVERFLOW;
	return -1;
}

int semaphore_value(struct semaphore *s)
{
	int places;

	lock(s);
	places = s->places;
	pthread_mutex_unlock(&s->mutex);
	return places;
}

void semaphore_destroy(struct semaphore *s)
{
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->mutex);
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
		fprintf(stderr, "worker %d has died\n", number);
		return EOWNERDEAD;
	default:
		return EOWNERDEAD;
	}
}

static int collect_workers(struct semaphore *s, struct run *r,
			   struct pollfd *fds, pid_t *pids, int n)
{
	int error = 0, what;

	for (int left = n; left > 0;) {
		if (poll(fds, (nfds_t)n, -1) < 0)
			continue;
		for (int i = 0; i < n; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
				;
			close(fds[i].fd);
			fds[i].fd = -1;
			left--;
			what = look_after(s, r, i);
			error = what != 0 ? what : error;
		}
	}
	return error;
}

static int start(struct semaphore *s, struct run *r, int workers,
		 int (*room)(int worker, void *arg), void *arg,
		 struct pollfd *fds, pid_t *pids, int *error)
{
	for (int i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(s, r, i, room, arg);
		if (pids[i] < 0) {
			*error = errno;
			return i;
		}
		fds[i].fd = (int)syscall(SYS_pidfd_open, pids[i], 0);
		fds[i].events = POLLIN;
		if (fds[i].fd < 0) {
			*error = errno;
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
			look_after(s, r, i);
			return i;
		}
	}
	return workers;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	struct pollfd *fds;
	pid_t *pids;
	int error = 0, started, what;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	fds = calloc((size_t)workers, sizeof *fds);
	pids = calloc((size_t)workers, sizeof *pids);
	if (fds == NULL || pids == NULL) {
		error = ENOMEM;
	} else {
		started = start(s, r, workers, room, arg, fds, pids, &error);
		what = collect_workers(s, r, fds, pids, started);
		error = error != 0 ? error : what;
	}
	if (most != NULL)
		*most = r->most;
	free(fds);
	free(pids);
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
