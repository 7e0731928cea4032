/*
 * misconception: L06-13 two programs ask for the same name, and get the same semaphore
 * rejected by:   two programs never meet
 * message:       Who asks for a name that exists already gets the old semaphore
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
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
		snprintf(name, 64, "/semaphores-%u", count++);
		places = sem_open(name, O_CREAT, 0600,
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
