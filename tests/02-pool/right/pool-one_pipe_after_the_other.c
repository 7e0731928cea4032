/* style: new workers for each map, each with a block of chunks and a pipe of
 * its own; the pipes are read one after the other, to their end; records with
 * a gap in them */
#include "pool.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A pool is a number: workers live for one map. */
struct pool {
	int size;
};

/* What stands before each result in a pipe. The compiler leaves a gap. */
struct record {
	int err;
	size_t index;
};

struct map {
	pool_fn *fn;
	const char *items;
	size_t n, item_size, result_size, chunk;
};

static bool read_all(int fd, void *to, size_t size)
{
	char *at = to;
	ssize_t n;

	while (size > 0) {
		n = read(fd, at, size);
		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			at += n;
			size -= n;
		}
	}
	return true;
}

static bool write_all(int fd, const void *from, size_t size)
{
	const char *at = from;
	ssize_t n;

	while (size > 0) {
		n = write(fd, at, size);
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			at += n;
			size -= n;
		}
	}
	return true;
}

/* Whole chunks, as evenly as they go: share k of size. */
static void share(const struct map *m, int size, int k, size_t *from,
		  size_t *to)
{
	size_t chunks = (m->n + m->chunk - 1) / m->chunk;

	*from = chunks * k / size * m->chunk;
	*to = chunks * (k + 1) / size * m->chunk;
	if (*from > m->n)
		*from = m->n;
	if (*to > m->n)
		*to = m->n;
}

static _Noreturn void work(const struct map *m, int size, int k, int fd)
{
	char *result = calloc(1, m->result_size);
	struct record r;
	size_t from, to;

	if (result == NULL)
		_exit(1);
	share(m, size, k, &from, &to);
	for (r.index = from; r.index < to; r.index++) {
		r.err = m->fn(m->items + r.index * m->item_size, result);
		if (!write_all(fd, &r, sizeof r) ||
		    !write_all(fd, result, m->result_size))
			_exit(1);
	}
	_exit(0);
}

static void collect(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/*
 * With fewer workers than there should be a map takes longer, that is all.
 * With none it fails.
 */
static int start(const struct map *m, int size, pid_t *pids, int *fds)
{
	int ends[2];

	for (int k = 0; k < size; k++) {
		fds[k] = -1;
		if (pipe(ends) != 0)
			return -1;
		pids[k] = fork();
		if (pids[k] == 0) {
			for (int i = 0; i < k; i++)
				close(fds[i]);
			close(ends[0]);
			work(m, size, k, ends[1]);
		}
		close(ends[1]);
		if (pids[k] < 0) {
			close(ends[0]);
			return -1;
		}
		fds[k] = ends[0];
	}
	return 0;
}

/* Everything that comes out of one pipe, until its end. */
static void drain(const struct map *m, int fd, char *results, int *errs)
{
	struct record r;

	while (read_all(fd, &r, sizeof r) &&
	       read_all(fd, results + r.index * m->result_size,
			m->result_size))
		errs[r.index] = r.err;
}

static int verdict(const int *errs, size_t n)
{
	int error = 0;

	for (size_t i = 0; i < n; i++) {
		if (errs[i] == POOL_LOST)
			error = EOWNERDEAD;
		else if (errs[i] != 0 && error == 0)
			error = ECANCELED;
	}
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

static int run(const struct map *m, int size, pid_t *pids, int *fds,
	       char *results, int *errs)
{
	int error = 0;

	for (int k = 0; k < size; k++)
		fds[k] = -1;
	if (start(m, size, pids, fds) != 0)
		error = errno;
	for (int k = 0; k < size && fds[k] >= 0; k++) {
		if (error == 0)
			drain(m, fds[k], results, errs);
		close(fds[k]);		/* who still writes is told */
	}
	for (int k = 0; k < size && fds[k] >= 0; k++)
		collect(pids[k]);
	if (error == 0)
		return verdict(errs, m->n);
	errno = error;
	return -1;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct map m = { fn, items, n, item_size, result_size,
			 chunksize ? chunksize : 1 };
	pid_t *pids = calloc(p->size, sizeof *pids);
	int *fds = calloc(p->size, sizeof *fds), *own, result = -1;

	if (m.chunk > n)
		m.chunk = n + (n == 0);
	own = malloc((n + 1) * sizeof *own);
	if (pids != NULL && fds != NULL && own != NULL) {
		for (size_t i = 0; i < n; i++)
			own[i] = POOL_LOST;
		result = run(&m, p->size, pids, fds, results, own);
		if (errs != NULL)
			memcpy(errs, own, n * sizeof *errs);
	}
	free(own);
	free(fds);
	free(pids);
	return result;
}

struct pool *pool_create(int workers)
{
	struct pool *p;

	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = malloc(sizeof *p);
	if (p != NULL)
		p->size = workers;
	return p;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
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
