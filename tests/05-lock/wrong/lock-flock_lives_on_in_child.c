/*
 * misconception: L05-14 a child of the dead holder keeps its flock
 * rejected by:   what a dead holder has started does not keep the lock
 * message:       What the dead holder had started keeps the lock for it
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/*
 * A lock of the open file. Each acquisition opens the file anew, so that it
 * does not share with its relatives; and a child that is forked while its
 * parent holds the lock closes the copy that it has got, or the lock would
 * outlive the holder.
 */
struct lock {
	int base;		/* keeps the file, never locked */
	int mine;		/* open and locked while we hold it, else -1 */
	pid_t holder;
	int *taken;		/* shared: 1 left over says that one died */
	struct lock *next;
};

static struct lock *all;

static void in_the_child(void)
{
	for (struct lock *l = all; l != NULL; l = l->next) {
		l->mine = -1;
		l->holder = 0;
	}
}

static int64_t microseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

struct lock *lock_create(void)
{
	static bool registered;
	struct lock *l = calloc(1, sizeof *l);
	void *page;
	int e;

	if (l == NULL)
		return NULL;
	if (!registered) {
		e = pthread_atfork(NULL, NULL, in_the_child);
		if (e != 0)
			goto fail;
		registered = true;
	}
	l->mine = -1;
	l->base = memfd_create("lock", MFD_CLOEXEC);
	if (l->base < 0) {
		e = errno;
		goto fail;
	}
	page = mmap(NULL, sizeof(int), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED) {
		e = errno;
		close(l->base);
		goto fail;
	}
	l->taken = page;
	l->next = all;
	all = l;
	return l;
fail:
	free(l);
	errno = e;
	return NULL;
}

static int ask(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB);
}

static void doze(void)
{
	struct timespec t = { 0, 500 * 1000 };

	nanosleep(&t, NULL);
}

int lock_acquire(struct lock *l, double timeout)
{
	int64_t end = 0;
	char path[40];
	int fd, e;

	if (timeout > 1e9)
		timeout = -1;
	if (timeout > 0)
		end = microseconds() + (int64_t)(timeout * 1e6);
	snprintf(path, sizeof path, "/proc/self/fd/%d", l->base);
	do
		fd = open(path, O_RDWR | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return -1;
	while (ask(fd) != 0) {
		if (errno != EWOULDBLOCK && errno != EACCES &&
		    errno != EINTR) {
			e = errno;
			close(fd);
			errno = e;
			return -1;
		}
		if (errno == EINTR)
			continue;
		if (timeout == 0 || (timeout > 0 && microseconds() >= end)) {
			close(fd);
			return 1;
		}
		doze();
	}
	l->mine = fd;
	l->holder = getpid();
	if (*l->taken)
		return LOCK_OWNER_DIED;
	*l->taken = 1;
	return 0;
}

int lock_release(struct lock *l)
{
	int fd = l->mine;

	if (fd < 0 || l->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	*l->taken = 0;
	l->mine = -1;
	l->holder = 0;
	flock(fd, LOCK_UN);
	close(fd);
	return 0;
}

void lock_destroy(struct lock *l)
{
	struct lock **p = &all;

	while (*p != NULL && *p != l)
		p = &(*p)->next;
	if (*p == l)
		*p = l->next;
	munmap(l->taken, sizeof(int));
	close(l->base);
	free(l);
}

struct value {
	struct lock *lock;
	volatile long *number;
};

struct value *value_create(long initial)
{
	struct value *v = malloc(sizeof *v);
	void *memory = MAP_FAILED;
	int why;

	if (v == NULL)
		return NULL;
	v->lock = lock_create();
	if (v->lock == NULL)
		goto failed;
	memory = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		goto failed;
	v->number = memory;
	*v->number = initial;
	return v;
failed:
	why = errno;
	if (v->lock != NULL)
		lock_destroy(v->lock);
	free(v);
	errno = why;
	return NULL;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	bool cancelled = false;
	long mine;

	if (lock_acquire(v->lock, -1) < 0)
		return -1;
	mine = *v->number;
	if (fn != NULL) {
		if (fn(&mine, arg) == 0)
			*v->number = mine;
		else
			cancelled = true;
	}
	if (now != NULL)
		*now = *v->number;
	if (lock_release(v->lock) < 0)
		return -1;
	if (!cancelled)
		return 0;
	errno = ECANCELED;
	return -1;
}

void value_destroy(struct value *v)
{
	lock_destroy(v->lock);
	munmap((void *)v->number, sizeof(long));
	free(v);
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
