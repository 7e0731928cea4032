/*
 * misconception: who was woken forgets that others wait, too
 * rejected by:   all who wait get in, one after the other
 * message:       One of those who wait was forgotten
 */
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/types.h>
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

static long futex(_Atomic uint32_t *at, int what, uint32_t n,
		  const struct timespec *t)
{
	return syscall(SYS_futex, at, what, n, t, NULL, 0);
}

/* 0 free, 1 held, 2 held and somebody waits */
struct lock {
	_Atomic uint32_t state;
	_Atomic pid_t holder;
};

struct lock *lock_create(void)
{
	return map_shared(sizeof(struct lock));
}

static void wait_while_taken(struct lock *l, double timeout, double left)
{
	struct timespec t = { .tv_sec = left > 1e9 ? 1000000000 : (time_t)left };

	t.tv_nsec = left > 1e9 ? 0 : (long)((left - (double)t.tv_sec) * 1e9);
	futex(&l->state, FUTEX_WAIT, 2, timeout < 0 ? NULL : &t);
}

int lock_acquire(struct lock *l, double timeout)
{
	double left, end = seconds_now() + timeout;
	uint32_t seen = 0;

	while (!atomic_compare_exchange_strong(&l->state, &seen, 1)) {
		left = end - seconds_now();
		if (timeout >= 0 && left <= 0)
			return 1;
		if (seen == 1)
			atomic_compare_exchange_strong(&l->state, &seen, 2);
		wait_while_taken(l, timeout, left);
		seen = 0;
	}
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
	if (atomic_exchange(&l->state, 0) == 2)
		futex(&l->state, FUTEX_WAKE, 1, NULL);
	return 0;
}

void lock_destroy(struct lock *l)
{
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
