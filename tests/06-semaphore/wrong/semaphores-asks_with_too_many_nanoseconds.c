/*
 * misconception: the moment has more nanoseconds than a second: the wait is
 *                refused, and asked for again and again
 * rejected by:   waiting costs nothing
 * message:       A second has 1,000,000,000 nanoseconds
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
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
	return t;
}

struct semaphore {
	_Atomic uint32_t free, asleep;
	uint32_t top;
};

static long futex(_Atomic uint32_t *at, int what, uint32_t n,
		  const struct timespec *end)
{
	return syscall(SYS_futex, at, what, n, end, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;

	if (initial < 0)
		errno = EINVAL;
	else if ((s = shared(sizeof *s)) != NULL) {
		atomic_init(&s->free, (uint32_t)initial);
		s->top = bounded ? (uint32_t)initial : (uint32_t)INT_MAX;
	}
	return s;
}

static bool grab(struct semaphore *s)
{
	uint32_t n = atomic_load(&s->free);

	do {
		if (n == 0)
			return false;
	} while (!atomic_compare_exchange_strong(&s->free, &n, n - 1));
	return true;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end;
	bool got, late = false;

	if (grab(s))
		return 0;
	if (timeout == 0)
		return 1;
	if (timeout > 0)
		end = ahead(timeout);
	atomic_fetch_add(&s->asleep, 1);
	while (!(got = grab(s)) && !late)
		late = futex(&s->free, FUTEX_WAIT_BITSET, 0,
			     timeout > 0 ? &end : NULL) != 0 &&
		       errno == ETIMEDOUT;
	atomic_fetch_sub(&s->asleep, 1);
	return got ? 0 : 1;
}

static void nudge(struct semaphore *s)
{
	futex(&s->free, FUTEX_WAKE, 1, NULL);
}

int semaphore_release(struct semaphore *s)
{
	uint32_t n = atomic_load(&s->free);

	do {
		if (n >= s->top) {
			errno = EOVERFLOW;
			return -1;
		}
	} while (!atomic_compare_exchange_strong(&s->free, &n, n + 1));
	if (atomic_load(&s->asleep) != 0)
		nudge(s);
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
		if (poll(fd, (nfds_t)n, unseen > 0 ? 5 : -1) < 0)
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
