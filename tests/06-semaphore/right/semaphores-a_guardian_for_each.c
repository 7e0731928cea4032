/* style: bytes in a pipe; each worker has a guardian, its parent */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* poll for reading: 1 readable, 0 time is over, -1 */
static int readable(int fd, double timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double end = now() + timeout, left;
	struct timespec t;
	int n;

	do {
		left = end - now();
		if (left < 0)
			left = 0;
		if (left > 1e8)
			left = 1e8;
		t.tv_sec = (time_t)left;
		t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
		n = ppoll(&p, 1, timeout < 0 ? NULL : &t, NULL);
	} while (n < 0 && errno == EINTR);
	return n;
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
	int out, in;			/* of a pipe: one byte for each place */
	pthread_mutex_t releasing;
	int initial;
	bool bounded;
};

static int fill(int fd, int n)
{
	char places[1024] = { 0 };
	ssize_t done;

	while (n > 0) {
		done = write(fd, places, n < 1024 ? (size_t)n : 1024);
		if (done < 0 && errno != EINTR)
			return -1;
		if (done > 0)
			n -= (int)done;
	}
	return 0;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int fds[2], error;

	if (initial < 0 || initial > 32767) {
		errno = EINVAL;
		return NULL;
	}
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) != 0) {
		error = errno;
		munmap(s, sizeof *s);
		errno = error;
		return NULL;
	}
	s->out = fds[0];
	s->in = fds[1];
	s->initial = initial;
	s->bounded = bounded;
	robust(&s->releasing);
	if (fill(s->in, initial) != 0) {
		error = errno;
		semaphore_destroy(s);
		errno = error;
		return NULL;
	}
	return s;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	double end = now() + timeout;
	char place;
	int r;

	for (;;) {
		if (read(s->out, &place, 1) == 1)
			return 0;
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -1;
		if (timeout == 0)
			return 1;
		if (timeout > 0 && now() >= end)
			return 1;
		r = readable(s->out, timeout < 0 ? -1 : end - now() > 0 ?
			     end - now() : 0);
		if (r < 0)
			return -1;
	}
}

int semaphore_value(struct semaphore *s)
{
	int n = 0;

	ioctl(s->out, FIONREAD, &n);
	return n;
}

int semaphore_release(struct semaphore *s)
{
	int r = 0;

	lock(&s->releasing);
	if (s->bounded && semaphore_value(s) >= s->initial)
		r = EOVERFLOW;
	else
		while (r == 0 && write(s->in, "", 1) != 1)
			if (errno != EINTR)
				r = errno == EAGAIN ? EOVERFLOW : errno;
	pthread_mutex_unlock(&s->releasing);
	if (r != 0)
		errno = r;
	return r == 0 ? 0 : -1;
}

void semaphore_destroy(struct semaphore *s)
{
	close(s->out);
	close(s->in);
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

/* A guardian has one child, the worker, and nothing else to do. */
static _Noreturn void guard_worker(struct semaphore *s, struct run *run, int i,
				   int (*room)(int worker, void *arg),
				   void *arg)
{
	const struct sigaction usual = { .sa_handler = SIG_DFL };
	struct sigaction on_child;
	sigset_t all, before;
	pid_t pid;

	sigaction(SIGCHLD, &usual, &on_child);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	pid = fork();
	if (pid == 0) {
		sigaction(SIGCHLD, &on_child, NULL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		work(s, run, i, room, arg);
	}
	if (pid < 0)
		_exit(errno);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	clear(s, run, &run->seats[i]);
	_exit(0);
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
			guard_worker(s, run, started, room, arg);
		if (pid < 0)
			error = errno;
		else
			run->seats[started++].pid = pid;
	}
	for (int w = 0; w < started; w++) {
		int status = 0;

		while (waitpid(run->seats[w].pid, &status, 0) < 0 &&
		       errno == EINTR)
			;
		if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
			error = WEXITSTATUS(status);
	}
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
