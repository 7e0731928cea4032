/*
 * misconception: memory is unmapped when the process ends, and that is soon enough
 * rejected by:   workers keep nothing of a map
 * message:       A worker keeps mapped
 */
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The work that is on now, in memory that all share. */
struct job {
	pool_fn *fn;
	size_t n, item_size, result_size, chunk, size;
	_Atomic size_t next;
};

enum { NOT_YET = INT_MAX };	/* errs[i]: item i was not done */

struct slot {
	sem_t go;
	_Atomic bool done;
	_Atomic size_t at;
};

struct board {
	struct job job;
	sem_t bell;		/* rung by whoever is done */
	_Atomic bool over;
	struct slot slots[];
};

struct pool {
	struct board *board;
	size_t board_size;
	int fd;
	int size;
	pid_t pids[];		/* 0: dead */
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
}

static void wait_for(sem_t *s)
{
	while (sem_wait(s) != 0 && errno == EINTR)
		;
}

static bool start_worker(struct pool *p, int w)
{
	struct slot *mine = &p->board->slots[w];
	pid_t owner = getpid();

	sem_init(&mine->go, 1, 0);
	p->pids[w] = fork();
	if (p->pids[w] > 0)
		return true;
	if (p->pids[w] < 0) {
		p->pids[w] = 0;
		return false;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != owner)
		_exit(1);
	for (;;) {
		wait_for(&mine->go);
		if (p->board->over)
			_exit(0);
		do_chunks(&p->board->job, p->fd, &mine->at);
		mine->done = true;
		sem_post(&p->board->bell);
	}
}

static void dismiss_worker(struct pool *p, int w)
{
	p->board->over = true;
	sem_post(&p->board->slots[w].go);
	while (p->pids[w] != 0 && waitpid(p->pids[w], NULL, 0) < 0 &&
	       errno == EINTR)
		;
	p->pids[w] = 0;
}

static bool has_died(struct pool *p, int w)
{
	if (p->pids[w] != 0 && waitpid(p->pids[w], NULL, WNOHANG) == 0)
		return false;
	p->pids[w] = 0;
	return true;
}

/* A death rings no bell, so look after the others ten times a second. */
static bool wait_for_bell(sem_t *bell)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += 100000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	return sem_clockwait(bell, CLOCK_MONOTONIC, &until) == 0;
}

static bool all_done(struct pool *p, bool look)
{
	for (int w = 0; w < p->size; w++)
		if (!p->board->slots[w].done && p->pids[w] != 0 &&
		    !(look && has_died(p, w)))
			return false;
	return true;
}

static void run(struct pool *p)
{
	bool rung = true;

	for (int w = 0; w < p->size; w++) {
		p->board->slots[w].done = false;
		if (!has_died(p, w))
			sem_post(&p->board->slots[w].go);
	}
	while (!all_done(p, !rung))
		rung = wait_for_bell(&p->board->bell);
	while (sem_trywait(&p->board->bell) == 0)
		;
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
	sem_init(&p->board->bell, 1, 0);
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
