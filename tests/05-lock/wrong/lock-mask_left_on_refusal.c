/*
 * misconception: signals stay blocked when fn refuses
 * rejected by:   nothing is printed, and no signal blocked
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "lock.h"

#include <signal.h>
#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

struct lock {
	pthread_mutex_t mutex;
};

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct timespec moment(double seconds)
{
	struct timespec t;
	time_t whole;

	if (seconds > 1e9)
		seconds = 1e9;
	whole = (time_t)seconds;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	return t;
}

static int make_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int e = pthread_mutexattr_init(&a);

	if (e != 0)
		return e;
	e = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (e == 0)
		e = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (e == 0)
		e = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return e;
}

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	int e;

	if (l == NULL)
		return NULL;
	e = make_mutex(&l->mutex);
	if (e != 0) {
		munmap(l, sizeof *l);
		errno = e;
		return NULL;
	}
	return l;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct timespec end;
	int e;

	if (timeout < 0) {
		e = pthread_mutex_lock(&l->mutex);
	} else if (timeout == 0) {
		e = pthread_mutex_trylock(&l->mutex);
	} else {
		end = moment(timeout);
		e = pthread_mutex_clocklock(&l->mutex, CLOCK_MONOTONIC, &end);
	}
	switch (e) {
	case 0:
		return 0;
	case EOWNERDEAD:
		pthread_mutex_consistent(&l->mutex);
		return LOCK_OWNER_DIED;
	case EBUSY:
	case ETIMEDOUT:
		return 1;
	default:
		errno = e;
		return -1;
	}
}

int lock_release(struct lock *l)
{
	int e = pthread_mutex_unlock(&l->mutex);

	if (e != 0) {
		errno = e;
		return -1;
	}
	return 0;
}

void lock_destroy(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
	munmap(l, sizeof *l);
}

struct value {
	struct lock lock;
	long number;
};

struct value *value_create(long initial)
{
	struct value *v = map_shared(sizeof *v);
	int e;

	if (v == NULL)
		return NULL;
	e = make_mutex(&v->lock.mutex);
	if (e != 0) {
		munmap(v, sizeof *v);
		errno = e;
		return NULL;
	}
	v->number = initial;
	return v;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	sigset_t every, old;
	long copy;
	int failed = 0;

	if (lock_acquire(&v->lock, -1) < 0)
		return -1;
	if (fn != NULL) {
		sigfillset(&every);
		sigprocmask(SIG_BLOCK, &every, &old);
		copy = v->number;
		failed = fn(&copy, arg);
		if (failed == 0)
			v->number = copy;
		if (failed == 0)
			sigprocmask(SIG_SETMASK, &old, NULL);
	}
	if (now != NULL)
		*now = v->number;
	if (lock_release(&v->lock) != 0)
		return -1;
	if (failed != 0) {
		errno = ECANCELED;
		return -1;
	}
	return 0;
}

void value_destroy(struct value *v)
{
	pthread_mutex_destroy(&v->lock.mutex);
	munmap(v, sizeof *v);
}

static int add_one(long *number, void *unused)
{
	(void)unused;
	*number += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	for (long i = 0; i < increments; i++)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
