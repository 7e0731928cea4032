/*
 * misconception: L05-05 a robust mutex in shared memory, made for threads
 * rejected by:   two processes at once lose nothing, whatever the order
 * message:       This lock was made for threads of one process
 */
#include "lock.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <time.h>

struct lock {
	pthread_mutex_t mutex;
};

struct value {
	struct lock lock;
	long number;		/* only for who holds the lock */
};

/* ---- plumbing ---------------------------------------------------------- */

/* New memory, all zero, for us and for whoever is forked from us. */
static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/*
 * The moment that lies so many seconds ahead; a long gone one unless they are
 * more than 0. What is over 30 years, or infinite, becomes 30 years: not
 * every time_t has room for more.
 */
static struct timespec moment(double seconds)
{
	const double longest = 1e9;
	struct timespec t = { 0 };
	long whole;

	if (!(seconds > 0))
		return t;
	if (seconds > longest)
		seconds = longest;
	whole = (long)seconds;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

static int failed(int error)
{
	errno = error;
	return -1;
}

/*
 * What our callers are told for what a pthread function returned: "somebody
 * has it" and "the time ran out" are answers; all else but 0 is an error.
 */
static int outcome(int error)
{
	if (error == EBUSY || error == ETIMEDOUT)
		return 1;
	return error == 0 ? 0 : failed(error);
}

/* ---- the lock ---------------------------------------------------------- */

/* Make a mutex of the memory at m: 0, or an error number. */
static int make_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t kind;
	int error = pthread_mutexattr_init(&kind);

	if (error != 0)
		return error;
	error = pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	if (error == 0)
		error = pthread_mutex_init(m, &kind);
	pthread_mutexattr_destroy(&kind);
	return error;
}

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	int error;

	if (l == NULL)
		return NULL;
	error = make_mutex(&l->mutex);
	if (error != 0) {
		munmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct timespec end = moment(timeout);
	int error;

	if (timeout < 0)
		error = pthread_mutex_lock(&l->mutex);
	else if (timeout > 0)
		error = pthread_mutex_clocklock(&l->mutex, CLOCK_MONOTONIC,
						&end);
	else
		error = pthread_mutex_trylock(&l->mutex);
	if (error == EOWNERDEAD) {
		pthread_mutex_consistent(&l->mutex);
		return LOCK_OWNER_DIED;
	}
	return outcome(error);
}

/* A robust mutex knows its holder, and refuses everybody else: EPERM. */
int lock_release(struct lock *l)
{
	return outcome(pthread_mutex_unlock(&l->mutex));
}

void lock_destroy(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
	munmap(l, sizeof *l);
}

/* ---- the value --------------------------------------------------------- */

struct value *value_create(long initial)
{
	struct value *v = map_shared(sizeof *v);
	int error;

	if (v == NULL)
		return NULL;
	error = make_mutex(&v->lock.mutex);
	if (error != 0) {
		munmap(v, sizeof *v);
		errno = error;
		return NULL;
	}
	v->number = initial;
	return v;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	int result = 0;
	long copy;

	if (lock_acquire(&v->lock, -1) < 0)
		return -1;
	copy = v->number;
	if (fn != NULL)
		result = fn(&copy, arg);
	if (result == 0)
		v->number = copy;
	if (now != NULL)
		*now = v->number;
	lock_release(&v->lock);
	return result == 0 ? 0 : failed(ECANCELED);
}

void value_destroy(struct value *v)
{
	pthread_mutex_destroy(&v->lock.mutex);
	munmap(v, sizeof *v);
}

/* ---- the counter ------------------------------------------------------- */

static int add_one(long *number, void *unused)
{
	(void)unused;
	*number += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0)
		return failed(EINVAL);
	for (long i = 0; i < increments; i++)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
