/*
 * misconception: signals stay blocked when a run has failed
 * rejected by:   a room that fails keeps no place
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "semaphores.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
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
	sem_t places;
	pthread_mutex_t release;	/* one at a time, if it is bounded */
	int bound;			/* negative: none */
};

static int init_release(struct semaphore *s)
{
	pthread_mutexattr_t kind;
	int error = pthread_mutexattr_init(&kind);

	if (error != 0)
		return error;
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	error = pthread_mutex_init(&s->release, &kind);
	pthread_mutexattr_destroy(&kind);
	return error;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int error;

	if (initial < 0) {
		errno = EINVAL;
		return NULL;
	}
	s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->bound = bounded ? initial : -1;
	error = init_release(s);
	if (error == 0 && sem_init(&s->places, 1, (unsigned)initial) != 0)
		error = errno;
	if (error == 0)
		return s;
	munmap(s, sizeof *s);
	errno = error;
	return NULL;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = { 0 };
	int got;

	if (timeout > 0)
		until = deadline(timeout);
	do
		got = timeout < 0 ? sem_wait(&s->places) :
		      timeout > 0 ? sem_clockwait(&s->places, CLOCK_MONOTONIC,
						  &until) :
				    sem_trywait(&s->places);
	while (got != 0 && errno == EINTR);
	if (got == 0)
		return 0;
	return errno == ETIMEDOUT || errno == EAGAIN ? 1 : -1;
}

int semaphore_release(struct semaphore *s)
{
	int value, result;

	if (s->bound < 0)
		return sem_post(&s->places);
	if (pthread_mutex_lock(&s->release) == EOWNERDEAD)
		pthread_mutex_consistent(&s->release);
	sem_getvalue(&s->places, &value);
	result = value < s->bound ? sem_post(&s->places) : -1;
	pthread_mutex_unlock(&s->release);
	if (result != 0)
		errno = EOVERFLOW;
	return result;
}

int semaphore_value(struct semaphore *s)
{
	int value;

	return sem_getvalue(&s->places, &value) == 0 ? value : -1;
}

void semaphore_destroy(struct semaphore *s)
{
	sem_destroy(&s->places);
	pthread_mutex_destroy(&s->release);
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
	sigset_t child, before;
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
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &before);
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	if (error != 0)
		return -1;
	sigprocmask(SIG_SETMASK, &before, NULL);
	return 0;
}
