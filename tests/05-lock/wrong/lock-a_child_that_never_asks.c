/*
 * misconception: L05-14 a child closes the lock of its parent when it first needs it, and may never
 * rejected by:   what a dead holder has started does not keep the lock
 * message:       What the dead holder had started keeps the lock for it
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
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

/* Each process has a file of its own open: a lock belongs to an open file. */
struct shared {
	_Atomic pid_t holder;
};

struct lock {
	struct shared *shared;
	int fd;
	pid_t opened_by;
};

/* In a child, when it first needs the lock. */
static void open_own(struct lock *l)
{
	char path[40];
	int fd;

	if (l->opened_by == getpid())
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", l->fd);
	fd = open(path, O_RDWR | O_CLOEXEC);
	close(l->fd);
	l->fd = fd;
	l->opened_by = getpid();
}

struct lock *lock_create(void)
{
	struct lock *l = malloc(sizeof *l);
	int error;

	if (l == NULL)
		return NULL;
	l->shared = map_shared(sizeof *l->shared);
	l->fd = memfd_create("lock", MFD_CLOEXEC);
	if (l->shared == NULL || l->fd < 0) {
		error = errno;
		if (l->fd >= 0)
			close(l->fd);
		if (l->shared != NULL)
			munmap(l->shared, sizeof *l->shared);
		free(l);
		errno = error;
		return NULL;
	}
	l->opened_by = getpid();
	return l;
}

static int take(struct lock *l, bool waiting)
{
	return flock(l->fd, waiting ? LOCK_EX : LOCK_EX | LOCK_NB);
}

int lock_acquire(struct lock *l, double timeout)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	double end = seconds_now() + timeout;
	pid_t me = getpid();

	open_own(l);
	while (l->shared->holder == me || take(l, timeout < 0) != 0) {
		if (l->shared->holder != me && errno != EACCES &&
		    errno != EAGAIN && errno != EINTR)
			return -1;
		if (timeout >= 0 && seconds_now() >= end)
			return 1;
		nanosleep(&nap, NULL);
	}
	return atomic_exchange(&l->shared->holder, me) == 0 ? 0
							    : LOCK_OWNER_DIED;
}

int lock_release(struct lock *l)
{
	if (l->shared->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	l->shared->holder = 0;
	return flock(l->fd, LOCK_UN);
}

void lock_destroy(struct lock *l)
{
	close(l->fd);
	munmap(l->shared, sizeof *l->shared);
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
