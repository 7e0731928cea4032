/*
 * misconception: taken and given only ever rise, and 16 bits are enough for
 *                them
 * rejected by:   a semaphore works for as long as it is used
 * message:       A number that only ever grows comes to its end
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
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
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

/*
 * taken and given only ever rise. first + given - taken places are free.
 * Who takes has seen a "given" that can only have risen since; who gives has
 * seen a "taken" that can only have risen since. So each needs one step.
 */
struct semaphore {
	_Atomic uint16_t taken, given;
	_Atomic uint32_t bell;
	_Atomic uint32_t dozing;
	uint64_t first;
	bool bounded;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int id, error;

	if (initial < 0)
		return errno = EINVAL, NULL;
	id = shmget(IPC_PRIVATE, sizeof *s, IPC_CREAT | 0600);
	if (id < 0)
		return NULL;
	s = shmat(id, NULL, 0);
	error = errno;
	shmctl(id, IPC_RMID, NULL);	/* it goes with the last who has it */
	if (s == (void *)-1)
		return errno = error, NULL;
	s->first = (uint64_t)initial;
	s->bounded = bounded;
	return s;
}

static bool took(struct semaphore *s)
{
	uint16_t t = s->taken;

	while (t < s->first + s->given)
		if (atomic_compare_exchange_strong(&s->taken, &t, t + 1))
			return true;
	return false;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end;
	uint32_t seen;

	if (took(s))
		return 0;
	if (timeout == 0)
		return 1;
	if (timeout > 0)
		end = ahead(timeout);
	for (;;) {
		s->dozing++;
		seen = s->bell;
		if (took(s)) {
			s->dozing--;
			return 0;
		}
		if (syscall(SYS_futex, &s->bell, FUTEX_WAIT_BITSET, seen,
			    timeout > 0 ? &end : NULL, NULL,
			    FUTEX_BITSET_MATCH_ANY) != 0 &&
		    errno == ETIMEDOUT) {
			s->dozing--;
			return 1;
		}
		s->dozing--;
		if (took(s))
			return 0;
	}
}

static void nudge(struct semaphore *s)
{
	syscall(SYS_futex, &s->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int semaphore_release(struct semaphore *s)
{
	uint16_t g = s->given, t;

	do {
		t = s->taken;
		if (s->bounded ? g >= t : s->first + g - t >= INT_MAX &&
		    s->first + g > t)
			return errno = EOVERFLOW, -1;
	} while (!atomic_compare_exchange_strong(&s->given, &g, g + 1));
	s->bell++;
	if (s->dozing > 0)
		nudge(s);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	uint16_t t, g;

	do {			/* both of one moment: taken did not move */
		t = s->taken;
		g = s->given;
	} while (t != s->taken);
	return (int)(s->first + g - t);
}

void semaphore_destroy(struct semaphore *s)
{
	shmdt(s);
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
