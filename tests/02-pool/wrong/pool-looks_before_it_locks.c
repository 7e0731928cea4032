/*
 * misconception: a look at the board and the sleep after it are one step
 * rejected by:   each item is done once, whatever the order
 * message:       Somebody goes round and round
 */
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
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

/* Asked to run job number `wanted`, is through with number `done`. */
struct slot {
	pthread_mutex_t lock;
	pthread_cond_t go;
	unsigned long wanted;
	_Atomic unsigned long done;
	_Atomic size_t at;
};

struct board {
	struct job job;
	unsigned long number;
	_Atomic bool over;
	pthread_mutex_t lock;
	pthread_cond_t finished;
	struct slot slots[];
};

struct pool {
	struct board *board;
	size_t board_size;
	int fd;
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

/* A mutex that can be had again after its holder has died, and a condition
 * variable, both for several processes. */
static void init_pair(pthread_mutex_t *lock, pthread_cond_t *cond)
{
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;

	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &ma);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &ca);
}

static void take(pthread_mutex_t *lock)
{
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
}

static void live(struct pool *p, struct slot *mine)
{
	struct board *b = p->board;

	for (;;) {
		while (mine->wanted == mine->done && !b->over) {
			take(&mine->lock);
			pthread_cond_wait(&mine->go, &mine->lock);
			pthread_mutex_unlock(&mine->lock);
		}
		if (b->over)
			_exit(0);
		do_chunks(&b->job, p->fd, &mine->at);
		take(&b->lock);
		mine->done = mine->wanted;
		pthread_cond_signal(&b->finished);
		pthread_mutex_unlock(&b->lock);
	}
}

static bool start_worker(struct pool *p, int w)
{
	struct slot *mine = &p->board->slots[w];
	pid_t owner = getpid(), pid;

	memset(mine, 0, sizeof *mine);
	init_pair(&mine->lock, &mine->go);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != owner)
			_exit(1);
		live(p, mine);
	}
	p->pids[w] = pid > 0 ? pid : 0;
	return pid > 0;
}

static void wake(struct slot *s, unsigned long wanted)
{
	take(&s->lock);
	s->wanted = wanted;
	pthread_cond_signal(&s->go);
	pthread_mutex_unlock(&s->lock);
}

static bool has_died(struct pool *p, int w)
{
	if (p->pids[w] != 0 && waitpid(p->pids[w], NULL, WNOHANG) == 0)
		return false;
	p->pids[w] = 0;
	return true;
}

static void dismiss_worker(struct pool *p, int w)
{
	p->board->over = true;
	if (has_died(p, w))
		return;
	wake(&p->board->slots[w], 0);
	while (waitpid(p->pids[w], NULL, 0) < 0 && errno == EINTR)
		;
	p->pids[w] = 0;
}

static bool all_done(struct pool *p)
{
	for (int w = 0; w < p->size; w++)
		if (p->pids[w] != 0 &&
		    p->board->slots[w].done != p->board->number &&
		    !has_died(p, w))
			return false;
	return true;
}

/* Who has died since the last map gets a successor. */
static void run(struct pool *p)
{
	struct board *b = p->board;
	struct timespec until;

	b->number++;
	for (int w = 0; w < p->size; w++)
		if (!has_died(p, w) || start_worker(p, w))
			wake(&b->slots[w], b->number);
	take(&b->lock);
	while (!all_done(p)) {
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += 100000000;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_cond_timedwait(&b->finished, &b->lock, &until) ==
		    EOWNERDEAD)		/* a worker died with the lock */
			pthread_mutex_consistent(&b->lock);
	}
	pthread_mutex_unlock(&b->lock);
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
	init_pair(&p->board->lock, &p->board->finished);
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
