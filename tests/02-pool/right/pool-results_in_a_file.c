/* style: W new processes for each map, a static split, results in a file that
 * has no name */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* There are workers only while there is work. */
struct pool {
	int size;
};

struct map {
	struct pool *pool;
	pool_fn *fn;
	const char *items;
	size_t n, item_size, result_size, chunk;
	int fd;			/* results, then errs */
};

static bool transfer(bool out, int fd, void *memory, size_t size, off_t at)
{
	char *p = memory;
	ssize_t n;

	while (size > 0) {
		n = out ? pwrite(fd, p, size, at) : pread(fd, p, size, at);
		if (n == 0 || (n < 0 && errno != EINTR))
			return false;
		if (n > 0) {
			p += n;
			at += n;
			size -= n;
		}
	}
	return true;
}

/* A file without a name. A hole in it reads as 0: no err, which is why the
 * errs in it are one too high. */
static bool open_file(struct map *m)
{
	const char *folder = getenv("TMPDIR");

	m->fd = open(folder ? folder : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC,
		     0600);
	return m->fd >= 0 &&
	       ftruncate(m->fd, m->n * (m->result_size + sizeof(int64_t))) == 0;
}

/* Worker w of W does the chunks w, w + W, ... */
static void work(struct map *m, int w)
{
	off_t errs = m->n * m->result_size;
	char *result = calloc(1, m->result_size);
	int64_t err;

	if (result == NULL)
		_exit(1);
	for (size_t i = 0; i < m->n; i++) {
		if (i / m->chunk % m->pool->size != (size_t)w)
			continue;
		err = 1 + (int64_t)m->fn(m->items + i * m->item_size, result);
		if (err == 0)	/* -1 would look like a hole */
			err = INT64_MAX;
		if (!transfer(true, m->fd, result, m->result_size,
			      i * m->result_size) ||
		    !transfer(true, m->fd, &err, sizeof err,
			      errs + i * sizeof err))
			_exit(1);
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
			work(m, i);
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
	off_t where = m->n * m->result_size;
	int64_t in_file;
	int error = 0, err;

	for (size_t i = 0; i < m->n; i++) {
		if (!transfer(false, m->fd, &in_file, sizeof in_file,
			      where + i * sizeof in_file))
			return -1;
		err = in_file == INT64_MAX ? -1 :
		      in_file == 0 ? POOL_LOST : (int)(in_file - 1);
		if (err == 0 && !transfer(false, m->fd,
					  results + i * m->result_size,
					  m->result_size, i * m->result_size))
			return -1;
		if (err == POOL_LOST)
			error = EOWNERDEAD;
		else if (err != 0 && error == 0)
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
			 -1 };
	pid_t *pids;
	int result = -1, error;

	if (n == 0)
		return 0;
	if (m.chunk == 0)
		m.chunk = (n + p->size - 1) / p->size;
	if (m.chunk > n)
		m.chunk = n;
	pids = calloc(p->size, sizeof *pids);
	if (pids == NULL || !open_file(&m)) {
		error = errno;
		if (m.fd >= 0)
			close(m.fd);
		free(pids);
		errno = error;
		return -1;
	}
	if (start(&m, pids)) {
		collect(pids, p->size);
		result = hand_back(&m, results, errs);
	}
	error = errno;
	close(m.fd);
	free(pids);
	errno = error;
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
