/*
 * misconception: L05-10 a lock of an open file that is inherited
 * rejected by:   nobody else gets a lock that is held
 * message:       Parent and child share one open file, and the lock belongs to that open file
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
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

/* Only in memory, and without a name; whom it belongs to is noted beside. */
struct lock {
	int fd;
	_Atomic pid_t holder;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	int error;

	if (l == NULL)
		return NULL;
	l->fd = memfd_create("lock", MFD_CLOEXEC);
	if (l->fd < 0) {
		error = errno;
		munmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

static int set_record(struct lock *l, short type)
{
	struct flock all = { .l_type = type };

	return fcntl(l->fd, F_OFD_SETLK, &all);
}

int lock_acquire(struct lock *l, double timeout)
{
	const struct timespec nap = { .tv_nsec = 1000000 };
	double end = seconds_now() + timeout;
	pid_t me = getpid();

	while (set_record(l, F_WRLCK) != 0) {
		if (l->holder != me && errno != EACCES && errno != EAGAIN &&
		    errno != EINTR)
			return -1;
		if (timeout >= 0 && seconds_now() >= end)
			return 1;
		nanosleep(&nap, NULL);
	}
	return atomic_exchange(&l->holder, me) == 0 ? 0 : LOCK_OWNER_DIED;
}

int lock_release(struct lock *l)
{
	if (l->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	l->holder = 0;
	return set_record(l, F_UNLCK);
}

void lock_destroy(struct lock *l)
{
	close(l->fd);
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
