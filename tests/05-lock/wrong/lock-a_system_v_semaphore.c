/*
 * misconception: L05-22 a System V semaphore that outlives all who know it
 * rejected by:   a program that is killed leaves nothing behind
 * message:       The program was killed, and what it had made is still there
 */
#include "lock.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
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

/* The system takes back what a process that dies had taken: SEM_UNDO. */
struct lock {
	int id;
	_Atomic pid_t holder;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	union { int value; } one = { 1 };
	int error;

	if (l == NULL)
		return NULL;
	l->id = semget(IPC_PRIVATE, 1, 0600);
	if (l->id < 0 || semctl(l->id, 0, SETVAL, one) != 0) {
		error = errno;
		if (l->id >= 0)
			semctl(l->id, 0, IPC_RMID);
		munmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

static struct timespec span(double seconds)
{
	struct timespec t = { .tv_sec = seconds > 1e6 ? 1000000
						      : (time_t)seconds };

	if (seconds <= 1e6)
		t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
	return t;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct sembuf take = { .sem_op = -1, .sem_flg = SEM_UNDO };
	double left, end = seconds_now() + timeout;
	struct timespec t;

	if (timeout == 0)
		take.sem_flg |= IPC_NOWAIT;
	for (;;) {
		left = end - seconds_now();
		t = span(left > 0 ? left : 0);
		if (semtimedop(l->id, &take, 1, timeout < 0 ? NULL : &t) == 0)
			break;
		if (errno == EAGAIN && (timeout == 0 ||
					seconds_now() >= end))
			return 1;
		if (errno != EINTR && errno != EAGAIN)
			return -1;
	}
	return atomic_exchange(&l->holder, getpid()) == 0 ? 0
							  : LOCK_OWNER_DIED;
}

int lock_release(struct lock *l)
{
	struct sembuf give = { .sem_op = 1, .sem_flg = SEM_UNDO };

	if (l->holder != getpid()) {
		errno = EPERM;
		return -1;
	}
	l->holder = 0;
	return semop(l->id, &give, 1);
}

void lock_destroy(struct lock *l)
{
	semctl(l->id, 0, IPC_RMID);
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
