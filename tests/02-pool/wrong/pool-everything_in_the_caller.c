/*
 * misconception: A13 the work is done by the caller, and the pool is only a name
 * rejected by:   one worker does every item
 * message:       The caller did the work itself
 */
#include "pool.h"

#include <errno.h>
#include <stdlib.h>

struct pool {
	int size;
};

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

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	int failed = 0, err;

	for (size_t i = 0; i < n; i++) {
		err = fn((const char *)items + i * item_size,
			 (char *)results + i * result_size);
		failed += err != 0;
		if (errs != NULL)
			errs[i] = err;
	}
	if (failed == 0)
		return 0;
	errno = ECANCELED;
	return -1;
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
