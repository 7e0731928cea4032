/*
 * misconception: L06-13 its name is there until somebody destroys it
 * rejected by:   a program that is killed leaves nothing behind
 * message:       The program was killed, and its semaphore is still there
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
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
	sem_t *places;
	char name[64];
	int bound;
	atomic_flag releasing;
};

static sem_t *open_named(int initial, char *name)
{
	static unsigned count;
	sem_t *places;

	do {
		snprintf(name, 64, "/semaphores-%d-%u", (int)getpid(),
			 count++);
		places = sem_open(name, O_CREAT | O_EXCL, 0600,
				  (unsigned)initial);
	} while (places == SEM_FAILED && errno == EEXIST);
	return places;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	int error;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->places = open_named(initial, s->name);
	s->bound = bounded ? initial : INT_MAX;
	if (s->places != SEM_FAILED)
		return s;
	error = errno;
	munmap(s, sizeof *s);
	errno = error;
	return NULL;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	int got = sem_trywait(s->places);

	while (got != 0 && timeout != 0) {
		got = timeout < 0 ? sem_wait(s->places) :
		      sem_clockwait(s->places, CLOCK_MONOTONIC, &until);
		if (got != 0 && errno != EINTR)
			break;
	}
	if (got == 0)
		return 0;
	return errno == EAGAIN || errno == ETIMEDOUT ? 1 : -1;
}

/* One at a time looks and adds; it does not take long. */
int semaphore_release(struct semaphore *s)
{
	bool room;
	int value;

	if (s->bound == INT_MAX)
		return sem_post(s->places);
	while (atomic_flag_test_and_set(&s->releasing))
		sched_yield();
	sem_getvalue(s->places, &value);
	room = value < s->bound;
	if (room)
		sem_post(s->places);
	atomic_flag_clear(&s->releasing);
	if (room)
		return 0;
	errno = EOVERFLOW;
	return -1;
}

int semaphore_value(struct semaphore *s)
{
	int value;

	sem_getvalue(s->places, &value);
	return value;
}

void semaphore_destroy(struct semaphore *s)
{
	sem_close(s->places);
	sem_unlink(s->name);
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

/* A thread for each worker waits for its end. */
struct watch {
	struct semaphore *s;
	struct run *r;
	int number, result;
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct watch *w = arg;

	while (waitpid(w->r->workers[w->number].pid, NULL, 0) < 0 &&
	       errno == EINTR)
		;
	w->result = look_after(w->s, w->r, w->number);
	return NULL;
}

/* All are forked before there is a second thread. */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	struct watch *w = calloc((size_t)workers, sizeof *w);
	int error = 0, started, watched;

	if (w == NULL)
		return ENOMEM;
	for (started = 0; started < workers; started++) {
		pid_t pid = fork();

		if (pid == 0)
			work(s, r, started, room, arg);
		if (pid < 0) {
			error = errno;
			break;
		}
		r->workers[started].pid = pid;
	}
	for (watched = 0; watched < started; watched++) {
		struct watch *one = &w[watched];

		*one = (struct watch){ .s = s, .r = r, .number = watched };
		if (pthread_create(&one->thread, NULL, watch, one) != 0)
			break;
	}
	for (int i = watched; i < started; i++) {
		w[i] = (struct watch){ .s = s, .r = r, .number = i };
		watch(&w[i]);
	}
	for (int i = 0; i < watched; i++)
		pthread_join(w[i].thread, NULL);
	for (int i = 0; i < started; i++)
		error = error == 0 ? w[i].result : error;
	free(w);
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
