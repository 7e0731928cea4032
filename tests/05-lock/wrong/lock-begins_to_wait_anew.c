/*
 * misconception: after a signal the whole time begins anew
 * rejected by:   signals do not change a limit
 * message:       A signal that arrives while you wait changes nothing about how long you may wait
 */
#include "lock.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* At most 30 years ahead. */
static struct timespec moment(double seconds)
{
	struct timespec t;

	if (seconds > 1e9)
		seconds = 1e9;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)seconds;
	t.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

struct lock {
	sem_t free;
	_Atomic pid_t holder;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);

	if (l != NULL && sem_init(&l->free, 1, 1) != 0) {
		munmap(l, sizeof *l);
		return NULL;
	}
	return l;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct timespec end;
	int error;

	do {
		end = moment(timeout > 0 ? timeout : 0);
		error = timeout < 0 ? sem_wait(&l->free) :
			timeout == 0 ? sem_trywait(&l->free) :
			sem_clockwait(&l->free, CLOCK_MONOTONIC, &end);
	} while (error != 0 && errno == EINTR);
	if (error != 0)
		return errno == EAGAIN || errno == ETIMEDOUT ? 1 : -1;
	l->holder = getpid();
	return 0;
}

int lock_release(struct lock *l)
{
	if (l->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	l->holder = 0;
	return sem_post(&l->free);
}

void lock_destroy(struct lock *l)
{
	sem_destroy(&l->free);
	munmap(l, sizeof *l);
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
