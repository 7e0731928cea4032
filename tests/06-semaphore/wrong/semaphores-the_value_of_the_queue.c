/*
 * misconception: L06-20 below 0 the number counts those who wait, and it is shown as it is
 * rejected by:   no place is no place, however many wait for one
 * message:       A number below 0 is no number of free places
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct timespec deadline(double timeout)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (timeout > 1e9)
		timeout = 1e9;
	t.tv_sec += (time_t)timeout;
	t.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

struct semaphore {
	sem_t queue;
	atomic_int places;
	int bound;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s != NULL) {
		sem_init(&s->queue, 1, 0);
		s->places = initial;
		s->bound = bounded ? initial : INT_MAX;
	}
	return s;
}

static bool try_to_take(struct semaphore *s)
{
	int places = s->places;

	while (places > 0)
		if (atomic_compare_exchange_weak(&s->places, &places,
						 places - 1))
			return true;
	return false;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	int got;

	if (timeout == 0)
		return try_to_take(s) ? 0 : 1;
	if (atomic_fetch_sub(&s->places, 1) > 0)
		return 0;
	do
		got = timeout < 0 ? sem_wait(&s->queue) :
		      sem_clockwait(&s->queue, CLOCK_MONOTONIC, &until);
	while (got != 0 && errno == EINTR);
	if (got == 0)
		return 0;
	/* we wait no more, unless somebody has just let us in */
	got = s->places;
	while (got < 0)
		if (atomic_compare_exchange_weak(&s->places, &got, got + 1))
			return 1;
	while (sem_wait(&s->queue) != 0)
		;
	return 0;
}

int semaphore_release(struct semaphore *s)
{
	int places = s->places;

	do
		if (places >= s->bound) {
			errno = EOVERFLOW;
			return -1;
		}
	while (!atomic_compare_exchange_weak(&s->places, &places, places + 1));
	if (places < 0)
		sem_post(&s->queue);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return s->places;
}

void semaphore_destroy(struct semaphore *s)
{
	munmap(s, sizeof *s);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	result = room(worker, arg);
	semaphore_release(s);
	return result;
}

/* What the workers of one run share. */
struct run {
	atomic_int inside, most;
	struct worker {
		_Atomic enum { OUTSIDE, INSIDE, FAILED, DONE } state;
		pid_t pid;
	} workers[];
};

static void note_most(struct run *r)
{
	int now = atomic_fetch_add(&r->inside, 1) + 1, most = r->most;

	while (now > most &&
	       !atomic_compare_exchange_weak(&r->most, &most, now))
		;
}

static _Noreturn void work(struct semaphore *s, struct run *r, int number,
			   int (*room)(int worker, void *arg), void *arg)
{
	struct worker *w = &r->workers[number];
	int result;

	if (semaphore_acquire(s, -1) != 0)
		_exit(1);
	note_most(r);
	w->state = INSIDE;
	result = room(number, arg);
	w->state = result == 0 ? DONE : FAILED;
	atomic_fetch_sub(&r->inside, 1);
	semaphore_release(s);
	_exit(0);
}

/* A worker has ended: 0, or what is to be told of it. */
static int look_after(struct semaphore *s, struct run *r, int number)
{
	switch (r->workers[number].state) {
	case DONE:
		return 0;
	case FAILED:
		return ECANCELED;
	case INSIDE:
		atomic_fetch_sub(&r->inside, 1);
		semaphore_release(s);
		return EOWNERDEAD;
	default:
		return EOWNERDEAD;
	}
}

/*
 * The workers are a process group of their own, led by the first: so one can
 * wait for any of them, and for no other child.
 */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	int error = 0, what, started = 0, i;
	pid_t group = 0, pid;

	for (; started < workers; started++) {
		pid = fork();
		if (pid == 0) {
			setpgid(0, group);
			work(s, r, started, room, arg);
		}
		if (pid < 0) {
			error = errno;
			break;
		}
		setpgid(pid, group);
		group = group == 0 ? pid : group;
		r->workers[started].pid = pid;
	}
	while (started > 0) {
		pid = waitpid(-group, NULL, 0);
		if (pid < 0)
			continue;
		started--;
		for (i = 0; r->workers[i].pid != pid; i++)
			;
		what = look_after(s, r, i);
		error = error == 0 ? what : error;
	}
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
