/*
 * misconception: a descriptor for a worker could not be had, and nobody hears
 *                of its end
 * rejected by:   what a run cannot have is reported
 * message:       Something that a run needs could not be had
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* a moment of CLOCK_MONOTONIC; at most 30 years ahead */
static struct timespec ahead(double seconds)
{
	struct timespec t;
	long whole;

	if (seconds > 1e9)
		seconds = 1e9;
	clock_gettime(CLOCK_MONOTONIC, &t);
	whole = (long)seconds;
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

/* a mutex between processes; who dies with it leaves it usable */
static int mutex_make(pthread_mutex_t *m)
{
	pthread_mutexattr_t how;
	int error;

	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	error = pthread_mutex_init(m, &how);
	pthread_mutexattr_destroy(&how);
	return error;
}

static void lock(pthread_mutex_t *m)
{
	if (pthread_mutex_lock(m) == EOWNERDEAD)
		pthread_mutex_consistent(m);
}

static void unlock(pthread_mutex_t *m)
{
	pthread_mutex_unlock(m);
}

struct semaphore {
	sem_t places;
	pthread_mutex_t giving;		/* only bounded ones take it */
	int bound;			/* -1: none */
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int error;

	if (initial < 0) {
		errno = EINVAL;
		return NULL;
	}
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->bound = bounded ? initial : -1;
	error = mutex_make(&s->giving);
	if (error == 0 && sem_init(&s->places, 1, (unsigned)initial) != 0) {
		error = errno;
		pthread_mutex_destroy(&s->giving);
	}
	if (error != 0) {
		munmap(s, sizeof *s);
		errno = error;
		return NULL;
	}
	return s;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end;
	int r;

	if (timeout < 0) {
		while ((r = sem_wait(&s->places)) != 0 && errno == EINTR)
			;
		return r;
	}
	if (timeout == 0) {
		while ((r = sem_trywait(&s->places)) != 0 && errno == EINTR)
			;
		return r == 0 ? 0 : errno == EAGAIN ? 1 : -1;
	}
	end = ahead(timeout);
	while ((r = sem_clockwait(&s->places, CLOCK_MONOTONIC, &end)) != 0 &&
	       errno == EINTR)
		;
	return r == 0 ? 0 : errno == ETIMEDOUT ? 1 : -1;
}

int semaphore_release(struct semaphore *s)
{
	int r, value, error;

	if (s->bound < 0)
		return sem_post(&s->places);
	lock(&s->giving);
	/* it can only fall while we hold the lock */
	sem_getvalue(&s->places, &value);
	if (value >= s->bound) {
		r = -1;
		error = EOVERFLOW;
	} else {
		r = sem_post(&s->places);
		error = errno;
	}
	unlock(&s->giving);
	if (r != 0)
		errno = error;
	return r;
}

int semaphore_value(struct semaphore *s)
{
	int value = 0;

	sem_getvalue(&s->places, &value);
	return value > 0 ? value : 0;
}

void semaphore_destroy(struct semaphore *s)
{
	sem_destroy(&s->places);
	pthread_mutex_destroy(&s->giving);
	munmap(s, sizeof *s);
}

/* Somebody may have been woken and died of it: let another one look. */
static void nudge(struct semaphore *s)
{
	if (s->bound >= 0)
		lock(&s->giving);
	if (sem_trywait(&s->places) == 0)
		sem_post(&s->places);
	if (s->bound >= 0)
		unlock(&s->giving);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int answer;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	answer = room(worker, arg);
	semaphore_release(s);
	return answer;
}

/* ---- semaphore_run: no keeper, a pidfd for each worker ------------------ */

enum { OUT_OF_IT, IN_IT, THROUGH };

struct fate {
	_Atomic uint8_t where, back, bad;
};

struct board {
	_Atomic int now, most;
	struct fate fate[];
};

static void going_in(struct board *b, int i)
{
	int n = ++b->now, m = b->most;

	while (m < n && !atomic_compare_exchange_weak(&b->most, &m, n))
		;
	b->fate[i].where = IN_IT;
}

static void coming_out(struct board *b, int i)
{
	b->fate[i].where = THROUGH;
	--b->now;
}

static void worker_is_gone(struct semaphore *s, struct board *b, int i)
{
	if (b->fate[i].where == IN_IT) {
		coming_out(b, i);
		semaphore_release(s);
	}
	if (!b->fate[i].back)
		nudge(s);
}

/* Is it gone? Somebody else may have collected it. */
static bool collected(pid_t pid)
{
	pid_t got;

	do
		got = waitpid(pid, NULL, WNOHANG);
	while (got < 0 && errno == EINTR);
	return got != 0;
}

/*
 * Sleep until one of them ends. If there were no descriptors left for some,
 * we look after those from time to time.
 */
static void watch(struct semaphore *s, struct board *b, const pid_t *pid,
		  struct pollfd *fd, int n)
{
	int left = n, unseen = 0;

	for (int i = 0; i < n; i++)
		unseen += fd[i].fd < 0;
	while (left > 0) {
		if (poll(fd, (nfds_t)n, -1) < 0)
			continue;
		for (int i = 0; i < n; i++) {
			if (fd[i].fd == INT_MIN ||
			    (fd[i].fd >= 0 && fd[i].revents == 0) ||
			    !collected(pid[i]))
				continue;
			if (fd[i].fd >= 0)
				close(fd[i].fd);
			else
				unseen--;
			fd[i].fd = INT_MIN;
			left--;
			worker_is_gone(s, b, i);
		}
	}
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	struct board *b = NULL;
	struct pollfd *fd = NULL;
	pid_t *pid = NULL, caller = getpid();
	size_t size;
	int n = 0, error = 0;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size = sizeof *b + sizeof b->fate[0] * (size_t)workers;
	b = shared(size);
	pid = malloc(sizeof *pid * (size_t)workers);
	fd = malloc(sizeof *fd * (size_t)workers);
	if (b == NULL || pid == NULL || fd == NULL) {
		error = ENOMEM;
		goto out;
	}
	for (; n < workers; n++) {
		pid[n] = fork();
		if (pid[n] == 0) {
			int result;

			for (int i = 0; i < n; i++)
				if (fd[i].fd >= 0)
					close(fd[i].fd);
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != caller ||
			    semaphore_acquire(s, -1) != 0)
				_exit(1);
			going_in(b, n);
			result = room(n, arg);
			coming_out(b, n);
			semaphore_release(s);
			b->fate[n].bad = result != 0;
			b->fate[n].back = 1;
			_exit(0);
		}
		if (pid[n] < 0) {
			error = errno;
			break;
		}
		fd[n].fd = (int)syscall(SYS_pidfd_open, pid[n], 0);
		fd[n].events = POLLIN;
		fd[n].revents = 0;
	}
	watch(s, b, pid, fd, n);
	for (int i = 0; i < n && error == 0; i++)
		if (!b->fate[i].back)
			error = EOWNERDEAD;
	for (int i = 0; i < n && error == 0; i++)
		if (b->fate[i].bad)
			error = ECANCELED;
	if (most != NULL)
		*most = b->most;
out:
	free(fd);
	free(pid);
	if (b != NULL)
		munmap(b, size);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}
