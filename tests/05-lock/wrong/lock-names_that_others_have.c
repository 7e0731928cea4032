/*
 * misconception: L05-22 the names are the same in every run
 * rejected by:   two programs that begin at once never meet, whatever the order
 * message:       Another run of the same program is using
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 4096 };

/* The numbers that are in use in this program. */
static char taken[MOST];

static void name_of(int i, char *name)
{
	const char *folder = getenv("TMPDIR");

	snprintf(name, 4096, "%s/lock-%d", folder ? folder : "/tmp", i);
}

static void *map_named(int i, size_t size)
{
	void *memory = MAP_FAILED;
	char name[4096];
	int fd, error;

	name_of(i, name);
	fd = open(name, O_RDWR | O_CREAT, 0600);
	if (fd < 0)
		return NULL;
	if (ftruncate(fd, (off_t)size) == 0)
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED,
			      fd, 0);
	error = errno;
	close(fd);
	if (memory == MAP_FAILED)
		unlink(name);
	errno = error;
	return memory == MAP_FAILED ? NULL : memory;
}

/* The first number that this program has not given away. */
static int new_number(void)
{
	int i = 0;

	while (i < MOST - 1 && taken[i])
		i++;
	taken[i] = 1;
	return i;
}

static void forget(int i)
{
	char name[4096];

	taken[i] = 0;
	name_of(i, name);
	unlink(name);
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
	int number;
};

struct lock *lock_create(void)
{
	int number = new_number();
	struct lock *l = map_named(number, sizeof *l);
	pthread_mutexattr_t kind;
	int error;

	if (l == NULL) {
		taken[number] = 0;
		return NULL;
	}
	l->number = number;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	error = pthread_mutex_init(&l->mutex, &kind);
	pthread_mutexattr_destroy(&kind);
	if (error != 0) {
		forget(number);
		munmap(l, sizeof *l);
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
	forget(l->number);
	munmap(l, sizeof *l);
}

struct value {
	struct lock *lock;
	long number;
	int name;
};

struct value *value_create(long initial)
{
	int name = new_number(), error;
	struct value *v = map_named(name, sizeof *v);

	if (v == NULL) {
		taken[name] = 0;
		return NULL;
	}
	v->name = name;
	v->number = initial;
	v->lock = lock_create();
	if (v->lock == NULL) {
		error = errno;
		forget(name);
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
	forget(v->name);
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
