/*
 * misconception: a worker ends by exit(), and writes what its caller had not written yet
 * rejected by:   a run prints nothing
 * message:       who ends by exit() writes it once more
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct timespec until(double seconds)
{
	struct timespec t;

	if (seconds > 1e8)
		seconds = 1e8;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)seconds;
	t.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

struct semaphore {
	_Atomic uint32_t free, waiters;
	uint32_t limit;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;

	if (initial < 0) {
		errno = EINVAL;
		return NULL;
	}
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->free = (uint32_t)initial;
	s->limit = bounded ? (uint32_t)initial : INT_MAX;
	return s;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end = until(timeout > 0 ? timeout : 0);
	uint32_t n;
	long slept;
	int error;

	for (;;) {
		n = atomic_load(&s->free);
		while (n > 0)
			if (atomic_compare_exchange_weak(&s->free, &n, n - 1))
				return 0;
		if (timeout == 0)
			return 1;
		atomic_fetch_add(&s->waiters, 1);
		slept = syscall(SYS_futex, &s->free, FUTEX_WAIT_BITSET, 0,
				timeout < 0 ? NULL : &end, NULL, ~0u);
		error = errno;
		atomic_fetch_sub(&s->waiters, 1);
		if (slept < 0 && error == ETIMEDOUT)
			return 1;
	}
}

int semaphore_release(struct semaphore *s)
{
	uint32_t n = atomic_load(&s->free);

	do {
		if (n >= s->limit) {
			errno = EOVERFLOW;
			return -1;
		}
	} while (!atomic_compare_exchange_weak(&s->free, &n, n + 1));
	if (atomic_load(&s->waiters) > 0)
		syscall(SYS_futex, &s->free, FUTEX_WAKE, 1, NULL, NULL, 0);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return (int)atomic_load(&s->free);
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

enum where { OUTSIDE, INSIDE, LEFT };

struct seat {
	pid_t pid;
	_Atomic int where, outcome;	/* outcome: 0 none, 1 good, 2 bad */
	int fd;
};

struct run {
	_Atomic int inside, most;
	struct seat seats[];
};

static void came_in(struct run *run, struct seat *seat)
{
	int now_inside = atomic_fetch_add(&run->inside, 1) + 1;
	int most = atomic_load(&run->most);

	while (most < now_inside &&
	       !atomic_compare_exchange_weak(&run->most, &most, now_inside))
		;
	atomic_store(&seat->where, INSIDE);
}

static void goes_out(struct run *run, struct seat *seat)
{
	atomic_store(&seat->where, LEFT);
	atomic_fetch_sub(&run->inside, 1);
}

static _Noreturn void work(struct semaphore *s, struct run *run, int worker,
			   int (*room)(int worker, void *arg), void *arg)
{
	struct seat *seat = &run->seats[worker];
	int result;

	if (semaphore_acquire(s, -1) != 0) {
		seat->outcome = 2;
		_exit(1);
	}
	came_in(run, seat);
	result = room(worker, arg);
	goes_out(run, seat);
	semaphore_release(s);
	seat->outcome = result == 0 ? 1 : 2;
	exit(0);
}

/* A worker is gone: if it was inside, its place is free. */
static void clear(struct semaphore *s, struct run *run, struct seat *seat)
{
	if (seat->where == INSIDE) {
		goes_out(run, seat);
		semaphore_release(s);
	}
}

static int judge(const struct run *run, int started)
{
	int error = 0;

	for (int w = 0; w < started; w++) {
		if (run->seats[w].outcome == 0)
			return EOWNERDEAD;
		if (run->seats[w].outcome == 2)
			error = ECANCELED;
	}
	return error;
}

struct watch {
	struct semaphore *s;
	struct run *run;
	struct seat *seat;
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct watch *w = arg;

	while (waitpid(w->seat->pid, NULL, 0) < 0 && errno == EINTR)
		;
	clear(w->s, w->run, w->seat);
	return NULL;
}

/* One thread for each worker; signals are none of their business. */
static int gather(struct semaphore *s, struct run *run, int n)
{
	struct watch *watches = calloc((size_t)n + 1, sizeof *watches);
	int threads = 0, error = watches == NULL ? ENOMEM : 0;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	while (error == 0 && threads < n) {
		struct watch *w = &watches[threads];

		*w = (struct watch){ s, run, &run->seats[threads], 0 };
		error = pthread_create(&w->thread, NULL, watch, w);
		if (error == 0)
			threads++;
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	for (int i = threads; i < n; i++)
		watch(&(struct watch){ s, run, &run->seats[i], 0 });
	for (int i = 0; i < threads; i++)
		pthread_join(watches[i].thread, NULL);
	free(watches);
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *run;
	int started = 0, error = 0;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct seat);
	run = shared(size);
	if (run == NULL)
		return -1;
	while (started < workers && error == 0) {
		pid_t pid = fork();

		if (pid == 0)
			work(s, run, started, room, arg);
		if (pid < 0)
			error = errno;
		else
			run->seats[started++].pid = pid;
	}
	if (error == 0)
		error = gather(s, run, started);
	else
		gather(s, run, started);
	if (error == 0)
		error = judge(run, started);
	if (most != NULL)
		*most = run->most;
	munmap(run, size);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}
