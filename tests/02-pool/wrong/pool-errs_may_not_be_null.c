/*
 * misconception: errs is written to where a task failed, also where there is none
 * rejected by:   apply tells of failure and death
 * message:       killed by a signal
 */
#include "pool.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

struct pool {
	int w;
};

struct pool *pool_create(int workers)
{
	struct pool *p;
	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = malloc(sizeof(struct pool));
	if (p)
		p->w = workers;
	return p;
}

int pool_size(const struct pool *p) { return p->w; }
int pool_close(struct pool *p) { free(p); return 0; }
int pool_terminate(struct pool *p) { free(p); return 0; }

/* For each item: 0 = not done, 1 = done; and what fn said. */
struct mark {
	int err;
	volatile int done;
};

static void part(int w, int of, pool_fn *fn, const char *items, size_t n, size_t is,
		 char *results, size_t rs, size_t chunk, struct mark *marks)
{
	for (size_t c = w; c < (n + chunk - 1) / chunk; c += of) {
		size_t stop = n - c * chunk < chunk ? n : (c + 1) * chunk;
		for (size_t i = c * chunk; i < stop; i++) {
			marks[i].err = fn(items + i * is, results + i * rs);
			__sync_synchronize();
			marks[i].done = 1;
		}
	}
	_exit(0);
}

/* Collects those that have ended; how many have not. */
static int sweep(pid_t *pids, int n)
{
	int left = 0;
	for (int i = 0; i < n; i++) {
		pid_t r;
		if (pids[i] == 0)
			continue;
		while ((r = waitpid(pids[i], NULL, WNOHANG)) < 0 && errno == EINTR)
			;
		if (r == 0)
			left++;
		else
			pids[i] = 0;
	}
	return left;
}

static int fork_all(struct pool *p, pid_t *pids, pool_fn *fn, const void *items, size_t n,
		    size_t is, char *results, size_t rs, size_t chunk, struct mark *marks,
		    const sigset_t *old)
{
	pid_t me = getpid();
	int ready[2], e = 0;
	char c;

	if (pipe(ready) < 0)
		return -1;
	for (int w = 0; w < p->w && e == 0; w++) {
		pids[w] = fork();
		if (pids[w] < 0) {
			e = errno;
			pids[w] = 0;
		} else if (pids[w] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me)
				_exit(1);
			pthread_sigmask(SIG_SETMASK, old, NULL);
			close(ready[1]);
			while (read(ready[0], &c, 1) < 0 && errno == EINTR)
				;
			close(ready[0]);
			part(w, p->w, fn, items, n, is, results, rs, chunk, marks);
		}
	}
	if (e != 0)
		for (int w = 0; w < p->w; w++)
			if (pids[w] > 0)
				kill(pids[w], SIGKILL);
	close(ready[0]);
	close(ready[1]);
	errno = e;
	return e ? -1 : 0;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	size_t marks_size, bytes, chunk = chunksize;
	struct mark *marks;
	sigset_t chld, old, pend;
	int fd, r, error = 0, lost = 0, failed = 0, swallowed = 0;
	pid_t *pids;
	char *shared;

	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n, result_size, &bytes) || bytes > SIZE_MAX / 4 ||
	    n > SIZE_MAX / 64)
		return errno = ENOMEM, -1;
	if (chunk == 0)
		chunk = (n + p->w - 1) / p->w;
	if (chunk > n)
		chunk = n;
	marks_size = (n * sizeof *marks + 4095) / 4096 * 4096;
	pids = calloc(p->w, sizeof *pids);
	if (!pids)
		return -1;
	marks = mmap(NULL, marks_size + bytes, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (marks == MAP_FAILED) {
		free(pids);
		return errno = ENOMEM, -1;
	}
	shared = (char *)marks + marks_size;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigpending(&pend);
	swallowed = sigismember(&pend, SIGCHLD) == 1;
	fd = signalfd(-1, &chld, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0) {
		error = errno;
		goto done;
	}
	pthread_sigmask(SIG_BLOCK, &chld, &old);
	if (fork_all(p, pids, fn, items, n, item_size, shared, result_size, chunk, marks,
		     &old) < 0)
		error = errno;
	while (sweep(pids, p->w) > 0) {
		struct pollfd f = { fd, POLLIN, 0 };
		struct signalfd_siginfo si;
		/* another thread may have got the signal: look at times */
		if (poll(&f, 1, 100) > 0 && read(fd, &si, sizeof si) == sizeof si) {
			swallowed |= 1;
			for (int i = 0; i < p->w; i++)
				if (pids[i] == (pid_t)si.ssi_pid)
					swallowed |= 0;
		}
	}
	close(fd);
	if (swallowed)
		raise(SIGCHLD);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	for (size_t i = 0; error == 0 && i < n; i++) {
		r = marks[i].done ? marks[i].err : POOL_LOST;
		if (r == 0 && result_size > 0)
			memcpy((char *)results + i * result_size, shared + i * result_size,
			       result_size);
		if (errs || r)
			errs[i] = r;
		lost |= r == POOL_LOST;
		failed |= r != 0;
	}
	if (failed)
		error = lost ? EOWNERDEAD : ECANCELED;
done:
	munmap(marks, marks_size + bytes);
	free(pids);
	errno = error;
	return error ? -1 : 0;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1, NULL);
}
