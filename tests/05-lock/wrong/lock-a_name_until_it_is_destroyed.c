/*
 * misconception: L05-22 the names go when the lock is destroyed, and stay when nobody lives to do it
 * rejected by:   a program that is killed leaves nothing behind
 * message:       The program was killed, and what it had made is still there
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* The name lies behind what was asked for. */
enum { NAME = 64 };

static void *map_shared(size_t size)
{
	static int count;
	void *memory = MAP_FAILED;
	char name[NAME];
	int fd, error;

	do {
		snprintf(name, sizeof name, "/lock-%d-%d", getpid(), count++);
		fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
	} while (fd < 0 && errno == EEXIST);
	if (fd < 0)
		return NULL;
	if (ftruncate(fd, (off_t)size + NAME) == 0)
		memory = mmap(NULL, size + NAME, PROT_READ | PROT_WRITE,
			      MAP_SHARED, fd, 0);
	error = errno;
	close(fd);
	errno = error;
	if (memory == MAP_FAILED) {
		shm_unlink(name);
		return NULL;
	}
	snprintf((char *)memory + size, NAME, "%s", name);
	return memory;
}

static void unmap(void *memory, size_t size)
{
	shm_unlink((char *)memory + size);
	munmap(memory, size + NAME);
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
	pthread_mutex_t mutex;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	pthread_mutexattr_t kind;
	int error;

	if (l == NULL)
		return NULL;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	error = pthread_mutex_init(&l->mutex, &kind);
	pthread_mutexattr_destroy(&kind);
	if (error != 0) {
		unmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct timespec end;
	int error;

	if (timeout < 0) {
		error = pthread_mutex_lock(&l->mutex);
	} else if (timeout == 0) {
		error = pthread_mutex_trylock(&l->mutex);
	} else {
		end = moment(timeout);
		error = pthread_mutex_clocklock(&l->mutex, CLOCK_MONOTONIC,
						&end);
	}
	if (error == EOWNERDEAD) {
		pthread_mutex_consistent(&l->mutex);
		return LOCK_OWNER_DIED;
	}
	if (error == EBUSY || error == ETIMEDOUT)
		return 1;
	errno = error;
	return error == 0 ? 0 : -1;
}

int lock_release(struct lock *l)
{
	int error = pthread_mutex_unlock(&l->mutex);

	errno = error;
	return error == 0 ? 0 : -1;
}

void lock_destroy(struct lock *l)
{
	pthread_mutex_destroy(&l->mutex);
	unmap(l, sizeof *l);
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
		unmap(v, sizeof *v);
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
	unmap(v, sizeof *v);
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
