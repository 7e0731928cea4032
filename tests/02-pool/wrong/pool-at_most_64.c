/*
 * misconception: nobody has more than 64 processors, so nobody wants more workers
 * rejected by:   a pool may have a hundred workers
 * message:       The pool was not created
 */
#include "pool.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* There are workers only while there is work. */
struct pool {
	int size;
};

#define UNTOUCHED INT_MIN

/* What the processes of one map share. */
struct shared {
	_Atomic size_t next;
	size_t size;		/* of this mapping */
};

struct map {
	struct pool *pool;
	pool_fn *fn;
	const char *items;
	size_t n, item_size, result_size, chunk;
	struct shared *shared;
	int *errs;
	char *results;
};

static size_t up(size_t n)
{
	return (n + 63) & ~(size_t)63;
}

static bool share(struct map *m)
{
	size_t errs = up(m->n * sizeof(int));
	size_t size = 64 + errs + up(m->n * m->result_size);
	char *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		return false;
	m->shared = (struct shared *)at;
	m->shared->size = size;
	m->errs = (int *)(at + 64);
	m->results = at + 64 + errs;
	for (size_t i = 0; i < m->n; i++)
		m->errs[i] = UNTOUCHED;
	return true;
}

/* The items are there: a child has all that its parent had. */
static void work(struct map *m)
{
	size_t from, to;

	while ((from = atomic_fetch_add(&m->shared->next, m->chunk)) < m->n) {
		to = from + m->chunk < m->n ? from + m->chunk : m->n;
		for (size_t i = from; i < to; i++)
			m->errs[i] = m->fn(m->items + i * m->item_size,
					   m->results + i * m->result_size);
	}
	_exit(0);
}

static void collect(const pid_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
}

/* All or none. */
static bool start(struct map *m, pid_t *pids)
{
	int error;

	for (int i = 0; i < m->pool->size; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(m);
		if (pids[i] > 0)
			continue;
		error = errno;
		for (int k = 0; k < i; k++)
			kill(pids[k], SIGKILL);
		collect(pids, i);
		errno = error;
		return false;
	}
	return true;
}

static int hand_back(struct map *m, char *results, int *errs)
{
	int error = 0, err;

	for (size_t i = 0; i < m->n; i++) {
		err = m->errs[i] == UNTOUCHED ? POOL_LOST : m->errs[i];
		if (err == 0)
			memcpy(results + i * m->result_size,
			       m->results + i * m->result_size,
			       m->result_size);
		else if (err == POOL_LOST)
			error = EOWNERDEAD;
		else if (error == 0)
			error = ECANCELED;
		if (errs != NULL)
			errs[i] = err;
	}
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct map m = { p, fn, items, n, item_size, result_size, chunksize,
			 NULL, NULL, NULL };
	pid_t *pids;
	int result = -1, error;

	if (n == 0)
		return 0;
	if (m.chunk == 0)
		m.chunk = n / (8 * p->size) + 1;
	if (m.chunk > n)
		m.chunk = n;
	pids = calloc(p->size, sizeof *pids);
	if (pids == NULL || !share(&m)) {
		free(pids);
		return -1;
	}
	if (start(&m, pids)) {
		collect(pids, p->size);
		result = hand_back(&m, results, errs);
	}
	error = errno;
	munmap(m.shared, m.shared->size);
	free(pids);
	errno = error;
	return result;
}

struct pool *pool_create(int workers)
{
	struct pool *p;

	if (workers < 1 || workers > 64) {
		errno = EINVAL;
		return NULL;
	}
	p = malloc(sizeof *p);
	if (p != NULL)
		p->size = workers;
	return p;
}

int pool_size(const struct pool *p)
{
	return p->size;
}

int pool_close(struct pool *p)
{
	free(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	return pool_close(p);
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
