/* style: flock, and a file without a name that each process opens for
 * itself as soon as it is forked */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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
	struct lock *next;
	struct shared *shared;
	int fd;
};

static struct lock *locks;

/* In a child: nothing that is its parent's may stay open here. */
static void reopen(void)
{
	char path[40];
	int fd;

	for (struct lock *l = locks; l != NULL; l = l->next) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", l->fd);
		fd = open(path, O_RDWR | O_CLOEXEC);
		close(l->fd);
		l->fd = fd;
	}
}

struct lock *lock_create(void)
{
	static bool ready;
	struct lock *l = malloc(sizeof *l);
	int error;

	if (l == NULL)
		return NULL;
	l->shared = map_shared(sizeof *l->shared);
	l->fd = memfd_create("lock", MFD_CLOEXEC);
	if (l->shared == NULL || l->fd < 0 ||
	    (!ready && pthread_atfork(NULL, NULL, reopen) != 0)) {
		error = errno;
		if (l->fd >= 0)
			close(l->fd);
		if (l->shared != NULL)
			munmap(l->shared, sizeof *l->shared);
		free(l);
		errno = error;
		return NULL;
	}
	ready = true;
	l->next = locks;
	return locks = l;
}

static int set_lock(struct lock *l, bool on)
{
	return flock(l->fd, on ? LOCK_EX | LOCK_NB : LOCK_UN);
}

int lock_acquire(struct lock *l, double timeout)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	double end = seconds_now() + timeout;
	pid_t me = getpid();

	while (l->shared->holder == me || set_lock(l, true) != 0) {
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
	return set_lock(l, false);
}

void lock_destroy(struct lock *l)
{
	struct lock **link = &locks;

	while (*link != l)
		link = &(*link)->next;
	*link = l->next;
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
