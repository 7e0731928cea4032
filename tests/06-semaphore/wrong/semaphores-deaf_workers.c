/*
 * misconception: signals are blocked for the start of the workers, and stay so for them
 * rejected by:   signals are blocked in the room as for the caller
 * message:       inherits what is blocked there
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
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
	pthread_mutex_t guard;
	int free, limit;
	_Atomic uint32_t changes;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;

	if (initial < 0)
		return errno = EINVAL, NULL;
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->free = initial;
	s->limit = bounded ? initial : INT_MAX;
	robust(&s->guard);
	return s;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end = until(timeout > 0 ? timeout : 0);
	uint32_t seen;

	for (;;) {
		lock(&s->guard);
		if (s->free > 0) {
			s->free--;
			pthread_mutex_unlock(&s->guard);
			return 0;
		}
		seen = atomic_load(&s->changes);
		pthread_mutex_unlock(&s->guard);
		if (timeout == 0)
			return 1;
		if (syscall(SYS_futex, &s->changes, FUTEX_WAIT_BITSET, seen,
			    timeout < 0 ? NULL : &end, NULL, ~0u) != 0 &&
		    errno == ETIMEDOUT)
			return 1;
	}
}

int semaphore_release(struct semaphore *s)
{
	lock(&s->guard);
	if (s->free == s->limit) {
		pthread_mutex_unlock(&s->guard);
		errno = EOVERFLOW;
		return -1;
	}
	s->free++;
	atomic_fetch_add(&s->changes, 1);
	pthread_mutex_unlock(&s->guard);
	syscall(SYS_futex, &s->changes, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	int n;

	lock(&s->guard);
	n = s->free;
	pthread_mutex_unlock(&s->guard);
	return n;
}

void semaphore_destroy(struct semaphore *s)
{
	pthread_mutex_destroy(&s->guard);
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

/* What happens in the room is written down, and counted afterwards. */
struct diary {
	sigset_t mask;
	struct sigaction on_child;
	int error, workers;
	_Atomic unsigned pages;
	_Atomic signed char *step;	/* 1 came in, -1 went out */
	struct entry {
		pid_t pid;
		_Atomic bool inside, good, back;
	} entry[];
};

static void note(struct diary *d, int w, bool inside)
{
	unsigned page = atomic_fetch_add(&d->pages, 1);

	atomic_store(&d->step[page], inside ? 1 : -1);
	atomic_store(&d->entry[w].inside, inside);
}

static _Noreturn void be_worker(struct semaphore *s, struct diary *d, int w,
				int (*room)(int worker, void *arg), void *arg)
{
	bool good;

	sigaction(SIGCHLD, &d->on_child, NULL);
	if (semaphore_acquire(s, -1) != 0)
		_exit(1);
	note(d, w, true);
	good = room(w, arg) == 0;
	note(d, w, false);
	semaphore_release(s);
	d->entry[w].good = good;
	d->entry[w].back = true;
	_exit(0);
}

static _Noreturn void be_keeper(struct semaphore *s, struct diary *d,
				int (*room)(int worker, void *arg), void *arg)
{
	struct sigaction usual = { .sa_handler = SIG_DFL };
	pid_t pid;
	int w;

	sigaction(SIGCHLD, &usual, &d->on_child);
	for (w = 0; w < d->workers; w++) {
		pid = fork();
		if (pid == 0)
			be_worker(s, d, w, room, arg);
		if (pid < 0) {
			d->error = errno;
			break;
		}
		d->entry[w].pid = pid;
	}
	while ((pid = wait(NULL)) > 0 || errno == EINTR) {
		if (pid < 0)
			continue;
		for (w = 0; d->entry[w].pid != pid; w++)
			;
		if (d->entry[w].inside) {
			note(d, w, false);
			semaphore_release(s);
		}
	}
	_exit(0);
}

static int result_of(struct diary *d)
{
	int error = d->error;

	for (int w = 0; w < d->workers && error != EOWNERDEAD; w++) {
		if (d->error == 0 && !d->entry[w].back)
			error = EOWNERDEAD;
		else if (d->error == 0 && !d->entry[w].good)
			error = ECANCELED;
	}
	return error;
}

static int most_of(struct diary *d)
{
	int inside = 0, most = 0;

	for (unsigned page = 0; page < d->pages; page++) {
		inside += d->step[page];
		if (inside > most)
			most = inside;
	}
	return most;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct diary), n = (size_t)workers;
	struct diary *d;
	sigset_t all, before;
	pid_t keeper;
	int error;

	if (workers < 1)
		return errno = EINVAL, -1;
	size += n * (sizeof d->entry[0] + 2);
	d = shared(size);
	if (d == NULL)
		return -1;
	d->workers = workers;
	d->step = (_Atomic signed char *)&d->entry[workers];
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	d->mask = before;
	keeper = fork();
	error = errno;
	if (keeper == 0)
		be_keeper(s, d, room, arg);
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (keeper > 0) {
		while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
			;
		error = result_of(d);
	}
	if (most != NULL)
		*most = most_of(d);
	munmap(d, size);
	return error == 0 ? 0 : (errno = error, -1);
}
