/* style: eventfds start the workers and say that they are done, pidfds tell
 * who has died; the end is a sentinel: a job without a task */
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* The work that is on now, in memory that all share. */
struct job {
	pool_fn *fn;
	size_t n, item_size, result_size, chunk, size;
	_Atomic size_t next;
};

enum { NOT_YET = INT_MAX };	/* errs[i]: item i was not done */

struct slot {
	_Atomic size_t at;
	_Atomic bool done;
};

struct board {
	struct job job;
	struct slot slots[];
};

struct handle {
	int go, death;
};

struct pool {
	struct board *board;
	size_t board_size;
	int fd;
	int bell;		/* an eventfd: somebody is done */
	struct handle *handles;
	struct pollfd *polled;
	int size;
	pid_t pids[];
};

static size_t aligned(size_t n)
{
	return (n + 63) / 64 * 64;
}

static char *items_of(char *data, const struct job *j)
{
	(void)j;
	return data;
}

static char *results_of(char *data, const struct job *j)
{
	return data + aligned(j->n * j->item_size);
}

static int *errs_of(char *data, const struct job *j)
{
	return (int *)(results_of(data, j) + aligned(j->n * j->result_size));
}

static char *attach(int fd, size_t size)
{
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			  0);

	return data == MAP_FAILED ? NULL : data;
}

/* A worker's part of a job. */
static void do_chunks(struct job *j, int fd, _Atomic size_t *at)
{
	char *data = attach(fd, j->size);
	size_t from, to;
	int *errs;

	if (data == NULL)
		_exit(1);
	errs = errs_of(data, j);
	while ((from = atomic_fetch_add(&j->next, j->chunk)) < j->n) {
		to = from + j->chunk < j->n ? from + j->chunk : j->n;
		for (size_t i = from; i < to; i++) {
			*at = i;
			errs[i] = j->fn(items_of(data, j) + i * j->item_size,
					results_of(data, j) +
					i * j->result_size);
		}
	}
	munmap(data, j->size);
}

static bool ring(int fd)
{
	uint64_t one = 1;

	return write(fd, &one, sizeof one) == sizeof one;
}

static void hear(int fd)
{
	uint64_t count;

	while (read(fd, &count, sizeof count) < 0 && errno == EINTR)
		;
}

/* A job without a task is the sentinel. */
static void live(struct pool *p, int w, int go)
{
	for (;;) {
		hear(go);
		if (p->board->job.fn == NULL)
			_exit(0);
		do_chunks(&p->board->job, p->fd, &p->board->slots[w].at);
		p->board->slots[w].done = true;
		ring(p->bell);
	}
}

static bool start_worker(struct pool *p, int w)
{
	struct handle *h = &p->handles[w];
	pid_t owner = getpid(), pid;

	h->go = eventfd(0, EFD_CLOEXEC);
	if (h->go < 0)
		return false;
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != owner)
			_exit(1);
		live(p, w, h->go);
	}
	p->pids[w] = pid;
	h->death = pid > 0 ? (int)syscall(SYS_pidfd_open, pid, 0, 0, 0, 0, 0)
			   : -1;
	if (h->death >= 0)
		return true;
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	p->pids[w] = 0;
	close(h->go);
	return false;
}

static void collect(struct pool *p, int w)
{
	while (waitpid(p->pids[w], NULL, 0) < 0 && errno == EINTR)
		;
	close(p->handles[w].go);
	close(p->handles[w].death);
	p->pids[w] = 0;
}

static void dismiss_worker(struct pool *p, int w)
{
	p->board->job.fn = NULL;
	if (p->pids[w] != 0) {
		ring(p->handles[w].go);
		collect(p, w);
	}
}

static bool all_done(struct pool *p)
{
	for (int w = 0; w < p->size; w++)
		if (p->pids[w] != 0 && !p->board->slots[w].done)
			return false;
	return true;
}

/* Wait for the bell and for deaths, all in one. */
static void run(struct pool *p)
{
	for (int w = 0; w < p->size; w++) {
		p->board->slots[w].done = false;
		p->polled[w] = (struct pollfd){ p->pids[w] ?
			p->handles[w].death : -1, POLLIN, 0 };
		if (p->pids[w] != 0)
			ring(p->handles[w].go);
	}
	p->polled[p->size] = (struct pollfd){ p->bell, POLLIN, 0 };
	while (!all_done(p)) {
		if (poll(p->polled, p->size + 1, -1) < 0)
			continue;
		if (p->polled[p->size].revents != 0)
			hear(p->bell);
		for (int w = 0; w < p->size; w++)
			if (p->polled[w].revents != 0) {
				collect(p, w);
				p->polled[w].fd = -1;
				p->polled[w].revents = 0;
			}
	}
}

static int hand_back(const struct job *j, char *data, char *results, int *errs)
{
	const int *from = errs_of(data, j);
	int error = 0;

	for (size_t i = 0; i < j->n; i++) {
		int err = from[i] == NOT_YET ? POOL_LOST : from[i];

		if (errs != NULL)
			errs[i] = err;
		if (err == 0)
			memcpy(results + i * j->result_size,
			       results_of(data, j) + i * j->result_size,
			       j->result_size);
		else if (err == POOL_LOST || error == 0)
			error = err == POOL_LOST ? EOWNERDEAD : ECANCELED;
	}
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct job *j = &p->board->job;
	char *data;
	int result;

	if (n == 0)
		return 0;
	*j = (struct job){ .fn = fn, .n = n, .item_size = item_size,
			   .result_size = result_size };
	j->chunk = chunksize ? chunksize < n ? chunksize : n
			     : n / (8 * p->size) + 1;
	j->size = aligned(n * item_size) + aligned(n * result_size) +
		  n * sizeof(int);
	if (ftruncate(p->fd, j->size) != 0)
		return -1;
	data = attach(p->fd, j->size);
	if (data == NULL)
		return -1;
	memcpy(items_of(data, j), items, n * item_size);
	for (size_t i = 0; i < n; i++)
		errs_of(data, j)[i] = NOT_YET;
	run(p);
	result = hand_back(j, data, results, errs);
	munmap(data, j->size);
	return result;
}

static void dismiss(struct pool *p)
{
	for (int i = 0; i < p->size; i++)
		dismiss_worker(p, i);
	if (p->bell >= 0)
		close(p->bell);
	free(p->handles);
	free(p->polled);
	munmap(p->board, p->board_size);
	close(p->fd);
	free(p);
}

struct pool *pool_create(int workers)
{
	struct pool *p;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p + workers * sizeof p->pids[0]);
	if (p == NULL)
		return NULL;
	p->board_size = sizeof *p->board + workers * sizeof p->board->slots[0];
	p->fd = memfd_create("pool", MFD_CLOEXEC);
	p->board = p->fd < 0 ? MAP_FAILED
		 : mmap(NULL, p->board_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->board == MAP_FAILED) {
		if (p->fd >= 0)
			close(p->fd);
		free(p);
		return NULL;
	}
	p->bell = eventfd(0, EFD_CLOEXEC);
	p->handles = calloc(workers, sizeof *p->handles);
	p->polled = calloc(workers + 1, sizeof *p->polled);
	if (p->bell < 0 || p->handles == NULL || p->polled == NULL) {
		error = errno;
		dismiss(p);
		errno = error;
		return NULL;
	}
	for (; p->size < workers; p->size++)
		if (!start_worker(p, p->size)) {
			error = errno;
			dismiss(p);
			errno = error;
			return NULL;
		}
	return p;
}

int pool_size(const struct pool *p)
{
	return p->size;
}

int pool_close(struct pool *p)
{
	dismiss(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	for (int i = 0; i < p->size; i++)
		if (p->pids[i] != 0)
			kill(p->pids[i], SIGKILL);
	dismiss(p);
	return 0;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
