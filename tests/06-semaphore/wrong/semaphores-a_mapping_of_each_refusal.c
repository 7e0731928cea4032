/*
 * misconception: where only part of a semaphore can be had, its memory stays
 * rejected by:   what is refused leaves nothing behind
 * message:       some memory is never given back
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
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

static void robust(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
}

static void lock(pthread_mutex_t *m)
{
	if (pthread_mutex_lock(m) == EOWNERDEAD)
		pthread_mutex_consistent(m);
}

struct semaphore {
	sem_t *free;
	pthread_mutex_t releasing;
	int initial;
	bool bounded;
};

/* A name for a moment only; afterwards only those who have it can find it. */
static sem_t *nameless(int initial)
{
	struct timespec t;
	char name[64];
	sem_t *sem;

	do {
		clock_gettime(CLOCK_MONOTONIC, &t);
		snprintf(name, sizeof name, "/fl-%ld-%ld%09ld", (long)getpid(),
			 (long)t.tv_sec, t.tv_nsec);
		sem = sem_open(name, O_CREAT | O_EXCL, 0600, (unsigned)initial);
	} while (sem == SEM_FAILED && errno == EEXIST);
	if (sem != SEM_FAILED)
		sem_unlink(name);
	return sem;
}

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
	s->initial = initial;
	s->bounded = bounded;
	robust(&s->releasing);
	s->free = nameless(initial);
	if (s->free == SEM_FAILED)
		return NULL;
	return s;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end = until(timeout > 0 ? timeout : 0);
	int r;

	do {
		if (timeout < 0)
			r = sem_wait(s->free);
		else if (timeout == 0)
			r = sem_trywait(s->free);
		else
			r = sem_clockwait(s->free, CLOCK_MONOTONIC, &end);
	} while (r != 0 && errno == EINTR);
	if (r != 0 && (errno == ETIMEDOUT || errno == EAGAIN))
		return 1;
	return r;
}

/* Those who acquire only make it less, so nobody can pass the bound here. */
int semaphore_release(struct semaphore *s)
{
	int n, r;

	if (!s->bounded)
		return sem_post(s->free);
	lock(&s->releasing);
	sem_getvalue(s->free, &n);
	r = n < s->initial ? sem_post(s->free) : -1;
	pthread_mutex_unlock(&s->releasing);
	if (r != 0)
		errno = EOVERFLOW;
	return r;
}

int semaphore_value(struct semaphore *s)
{
	int n;

	sem_getvalue(s->free, &n);
	return n;
}

void semaphore_destroy(struct semaphore *s)
{
	sem_close(s->free);
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
	_exit(0);
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

/* Wait until one or more are gone; returns how many are left. */
static int gather(struct semaphore *s, struct run *run, struct pollfd *fds,
		  int n, int left)
{
	int blind = 0;

	for (int w = 0; w < n; w++)
		blind += run->seats[w].pid != 0 && fds[w].fd < 0;
	poll(fds, (nfds_t)n, blind > 0 ? 5 : -1);
	for (int w = 0; w < n; w++) {
		struct seat *seat = &run->seats[w];

		if (seat->pid == 0 || waitpid(seat->pid, NULL, WNOHANG) == 0)
			continue;
		if (fds[w].fd >= 0)
			close(fds[w].fd);
		fds[w].fd = -1;
		clear(s, run, seat);
		seat->pid = 0;
		left--;
	}
	return left;
}

static void gather_all(struct semaphore *s, struct run *run, int n)
{
	struct pollfd *fds = shared(((size_t)n + 1) * sizeof *fds);
	struct pollfd none[1];
	int left = n;

	if (fds == NULL)
		fds = none;
	for (int w = 0; fds != none && w < n; w++) {
		fds[w].fd = (int)syscall(SYS_pidfd_open, run->seats[w].pid, 0);
		fds[w].events = POLLIN;
	}
	while (fds != none && left > 0)
		left = gather(s, run, fds, n, left);
	while (fds == none && left > 0)
		for (int w = 0; w < n; w++)
			if (run->seats[w].pid != 0 &&
			    waitpid(run->seats[w].pid, NULL, WNOHANG) != 0) {
				clear(s, run, &run->seats[w]);
				run->seats[w].pid = 0;
				left--;
			}
	if (fds != none)
		munmap(fds, ((size_t)n + 1) * sizeof *fds);
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
	gather_all(s, run, started);
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
