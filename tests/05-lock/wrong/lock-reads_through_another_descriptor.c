/*
 * misconception: L05-11 the number is read through a descriptor of its own, which is closed
 * rejected by:   nobody else is inside while fn runs
 * message:       Closing any descriptor of that file gave up all your locks on it
 */
/*
 * A record lock (fcntl) on a file without a name. The system gives it back when
 * its process ends, a child does not inherit it, and EDEADLK means no more than
 * "not now". Who holds it already would get it again: so each process notes
 * that it holds it. A mark in shared memory says whether it was left in order.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct shared {
	_Atomic int taken;
	_Atomic long number;
};

struct lock {			/* each process has a copy */
	int fd;
	pid_t held_by;		/* us, or a parent of ours, or 0 */
	struct shared *s;
};

struct value {
	struct lock lock;
};

static int record(struct lock *l, int command, short type)
{
	struct flock whole = { .l_type = type, .l_whence = SEEK_SET };

	return fcntl(l->fd, command, &whole);
}

static void stop_here(struct lock *l)
{
	int error = errno;

	if (l->fd >= 0)
		close(l->fd);
	free(l);
	errno = error;
}

static struct lock *open_lock(void)
{
	struct lock *l = calloc(1, sizeof(struct value));
	void *p;

	if (l == NULL)
		return NULL;
	l->fd = memfd_create("forklab", MFD_CLOEXEC);
	if (l->fd < 0 || ftruncate(l->fd, sizeof(struct shared)) < 0) {
		stop_here(l);
		return NULL;
	}
	p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
		 MAP_SHARED, l->fd, 0);
	if (p == MAP_FAILED) {
		stop_here(l);
		return NULL;
	}
	l->s = p;
	return l;
}

static void close_lock(struct lock *l)
{
	munmap(l->s, sizeof(struct shared));
	close(l->fd);
	free(l);
}

struct lock *lock_create(void)
{
	return open_lock();
}

void lock_destroy(struct lock *l)
{
	close_lock(l);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void nap(double seconds)
{
	struct timespec t = { .tv_nsec = (long)(seconds * 1e9) + 1 };

	nanosleep(&t, NULL);
}

static int keep_trying(struct lock *l, double timeout)
{
	double end = now_s() + timeout, left, step = 0.00005;

	for (;;) {
		if (l->held_by != getpid()) {
			if (record(l, F_SETLK, F_WRLCK) == 0)
				return 0;
			if (errno != EAGAIN && errno != EACCES)
				return -1;
		}
		left = end - now_s();
		if (left <= 0)
			return 1;
		nap(left < step ? left : step);
		if (step < 0.001)
			step *= 2;
	}
}

static int wait_for_ever(struct lock *l)
{
	while (l->held_by == getpid())
		pause();
	while (record(l, F_SETLKW, F_WRLCK) < 0) {
		if (errno == EDEADLK)
			nap(0.001);
		else if (errno != EINTR)
			return -1;
	}
	return 0;
}

int lock_acquire(struct lock *l, double timeout)
{
	int r = timeout < 0 ? wait_for_ever(l) : keep_trying(l, timeout);

	if (r != 0)
		return r;
	l->held_by = getpid();
	return atomic_exchange(&l->s->taken, 1) ? LOCK_OWNER_DIED : 0;
}

int lock_release(struct lock *l)
{
	if (l->held_by != getpid()) {
		errno = EPERM;
		return -1;
	}
	atomic_store(&l->s->taken, 0);
	l->held_by = 0;
	return record(l, F_SETLK, F_UNLCK);
}

struct value *value_create(long initial)
{
	struct lock *l = open_lock();

	if (l != NULL)
		atomic_store(&l->s->number, initial);
	return (struct value *)l;
}

void value_destroy(struct value *v)
{
	close_lock(&v->lock);
}

/* What the file says, not what the compiler remembers. */
static int read_number(struct lock *l, long *n)
{
	char name[40];
	ssize_t r;
	int fd;

	snprintf(name, sizeof name, "/proc/self/fd/%d", l->fd);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	r = pread(fd, n, sizeof *n, offsetof(struct shared, number));
	close(fd);
	return r == sizeof *n ? 0 : -1;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	struct shared *s = v->lock.s;
	int no = 0;
	long n;

	if (lock_acquire(&v->lock, -1) < 0)
		return -1;
	if (read_number(&v->lock, &n) < 0) {
		lock_release(&v->lock);
		return -1;
	}
	if (fn != NULL) {
		no = fn(&n, arg);
		if (no == 0)
			atomic_store(&s->number, n);
		else
			n = atomic_load(&s->number);
	}
	if (now != NULL)
		*now = n;
	if (lock_release(&v->lock) < 0)
		return -1;
	if (no != 0) {
		errno = ECANCELED;
		return -1;
	}
	return 0;
}

static int plus(long *n, void *arg)
{
	(void)arg;
	*n += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	while (increments > 0) {
		if (value_update(v, plus, NULL, NULL) < 0)
			return -1;
		increments--;
	}
	return 0;
}
