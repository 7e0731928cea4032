/*
 * misconception: L05-14 the byte in the pipe is lost with who had it
 * rejected by:   a dead holder is reported once
 * message:       Somebody died while holding the lock and nobody will ever open it
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct lock {
	int ends[2];
	_Atomic pid_t holder;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	int error;

	if (l != NULL && (pipe2(l->ends, O_NONBLOCK | O_CLOEXEC) != 0 ||
			  write(l->ends[1], "t", 1) != 1)) {
		error = errno;
		munmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

/* Whoever has taken the byte out of the pipe has the lock. */
int lock_acquire(struct lock *l, double timeout)
{
	struct pollfd p = { .fd = l->ends[0], .events = POLLIN };
	double left, end = seconds_now() + timeout;
	char token;

	while (read(l->ends[0], &token, 1) != 1) {
		left = end - seconds_now();
		if (timeout >= 0 && left <= 0)
			return 1;
		poll(&p, 1, timeout < 0 ? -1 : left > 1e6 ? 1000000000 :
		     (int)(left * 1e3) + 1);
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
	return write(l->ends[1], "t", 1) == 1 ? 0 : -1;
}

void lock_destroy(struct lock *l)
{
	close(l->ends[0]);
	close(l->ends[1]);
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
