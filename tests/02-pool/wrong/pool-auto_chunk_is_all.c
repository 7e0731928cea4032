/*
 * misconception: chunksize 0 gives everything to one worker
 * rejected by:   chunks of the pool's own choice reach every worker
 * message:       nobody has everything
 */
#include "pool.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct pool {
	int workers;
};

struct slot {
	_Atomic int done;
	int err;
};

struct area {
	_Atomic size_t next;		/* chunk */
	_Atomic int go;			/* 0 wait for it, 1 go, 2 go home */
	_Alignas(64) struct slot slots[];
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
		p->workers = workers;
	return p;
}

int pool_size(const struct pool *p)
{
	return p->workers;
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

static _Noreturn void labour(struct area *a, int gate, pid_t owner, pool_fn *fn,
		   const char *items, size_t n, size_t item_size, char *results,
		   size_t result_size, size_t chunk)
{
	char byte;
	size_t chunks = (n - 1) / chunk + 1;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != owner)
		_exit(1);
	while (read(gate, &byte, 1) < 0 && errno == EINTR)
		;
	close(gate);
	if (a->go != 1)
		_exit(1);
	for (;;) {
		size_t c = atomic_fetch_add(&a->next, 1);
		if (c >= chunks)
			break;
		size_t left = n - c * chunk, count = left < chunk ? left : chunk;
		for (size_t i = c * chunk; count-- > 0; i++) {
			a->slots[i].err = fn(items + i * item_size,
					     results + i * result_size);
			a->slots[i].done = 1;
		}
	}
	_exit(0);
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct area *a;
	char *shared;
	pid_t *pids, owner = getpid();
	size_t slots, bytes, total, chunk = chunksize;
	int started, error = 0, gate[2], lost = 0, failed = 0;

	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n, sizeof(struct slot), &slots) ||
	    __builtin_mul_overflow(n, result_size, &bytes) ||
	    slots > SIZE_MAX / 4 || bytes > SIZE_MAX / 4) {
		errno = ENOMEM;
		return -1;
	}
	slots = (slots + sizeof *a + 63) / 64 * 64;
	total = slots + bytes;
	if (chunk == 0)
		chunk = n;
	if (chunk == 0)
		chunk = 1;
	if (chunk > n)
		chunk = n;
	pids = calloc(p->workers, sizeof *pids);
	if (pids == NULL)
		return -1;
	a = mmap(NULL, total, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (a == MAP_FAILED) {
		free(pids);
		errno = ENOMEM;
		return -1;
	}
	shared = (char *)a + slots;
	if (pipe(gate) < 0) {
		error = errno;
		goto out;
	}
	for (started = 0; started < p->workers; started++) {
		pids[started] = fork();
		if (pids[started] == 0) {
			close(gate[1]);
			labour(a, gate[0], owner, fn, items, n, item_size, shared,
			       result_size, chunk);
		}
		if (pids[started] < 0) {
			error = errno;
			break;
		}
	}
	a->go = error == 0 ? 1 : 2;
	if (error != 0)
		for (int i = 0; i < started; i++)
			kill(pids[i], SIGKILL);
	for (int i = 0; i < started; i++)
		while (write(gate[1], "", 1) < 0 && errno == EINTR)
			;
	for (int i = 0; i < started; i++)
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
	close(gate[0]);
	close(gate[1]);
	if (error != 0)
		goto out;
	for (size_t i = 0; i < n; i++) {
		int err = a->slots[i].done ? a->slots[i].err : POOL_LOST;
		if (err == 0 && result_size > 0)
			memcpy((char *)results + i * result_size,
			       shared + i * result_size, result_size);
		if (errs != NULL)
			errs[i] = err;
		lost |= err == POOL_LOST;
		failed |= err != 0;
	}
	error = lost ? EOWNERDEAD : failed ? ECANCELED : 0;
out:
	munmap(a, total);
	free(pids);
	errno = error;
	return error != 0 ? -1 : 0;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 0, NULL);
}
