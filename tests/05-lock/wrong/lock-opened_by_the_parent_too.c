/*
 * misconception: L05-10 each process opens the file when it first needs it, but who has it open passes it on
 * rejected by:   nobody else gets a lock that is held
 * message:       Parent and child share one open file, and the lock belongs to that open file
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
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
	int file;	/* in all processes */
	int own;	/* for locking; -1: not yet open */
	_Atomic pid_t *holder;
};

struct lock *lock_create(void)
{
	struct lock *l = malloc(sizeof *l);
	int error;

	if (l == NULL)
		return NULL;
	l->own = -1;
	l->file = memfd_create("lock", MFD_CLOEXEC);
	l->holder = map_shared(sizeof *l->holder);
	if (l->file >= 0 && l->holder != NULL)
		return l;
	error = errno;
	if (l->file >= 0)
		close(l->file);
	if (l->holder != NULL)
		munmap(l->holder, sizeof *l->holder);
	free(l);
	errno = error;
	return NULL;
}

static int set_lock(struct lock *l, int how)
{
	char path[40];

	snprintf(path, sizeof path, "/proc/self/fd/%d", l->file);
	if (l->own < 0)
		l->own = open(path, O_RDWR | O_CLOEXEC);
	return l->own < 0 ? -1 : flock(l->own, how);
}

int lock_acquire(struct lock *l, double timeout)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	double end = seconds_now() + timeout;

	while (*l->holder == getpid() || set_lock(l, LOCK_EX | LOCK_NB) != 0) {
		if (timeout >= 0 && seconds_now() >= end)
			return 1;
		nanosleep(&nap, NULL);
	}
	return atomic_exchange(l->holder, getpid()) == 0 ? 0 : LOCK_OWNER_DIED;
}

int lock_release(struct lock *l)
{
	if (*l->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	*l->holder = 0;
	return set_lock(l, LOCK_UN);
}

void lock_destroy(struct lock *l)
{
	if (l->own >= 0)
		close(l->own);
	close(l->file);
	munmap(l->holder, sizeof *l->holder);
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
