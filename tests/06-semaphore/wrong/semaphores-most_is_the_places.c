/*
 * misconception: most tells how many places there were
 * rejected by:   as many can be in the room as there are places
 * message:       is counted as if it were in the room
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
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
		return EOWNERDEAD;
	default:
		return EOWNERDEAD;
	}
}

/* Ask each of them now and then whether it has ended. */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	int error = 0, what, started, left;

	for (started = 0; started < workers; started++) {
		pid_t pid = fork();

		if (pid == 0)
			work(s, r, started, room, arg);
		if (pid < 0) {
			error = errno;
			break;
		}
		r->workers[started].pid = pid;
	}
	left = started;
	while (left > 0) {
		for (int i = 0; i < started; i++) {
			pid_t pid = r->workers[i].pid;

			if (pid == 0 || waitpid(pid, NULL, WNOHANG) != pid)
				continue;
			r->workers[i].pid = 0;
			left--;
			what = look_after(s, r, i);
			error = error == 0 ? what : error;
		}
		if (left > 0)
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 },
				  NULL);
	}
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	int error, places;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	places = semaphore_value(s);
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = places;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
