/*
 * misconception: the mapping of each map stays
 * rejected by:   closed pools keep no memory
 * message:       leaves memory mapped
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

struct site {
	pool_fn *fn;
	const char *items;
	size_t n, item_size, result_size, chunk;
	char *results;
	int *errs;
	char *ready;
	_Atomic size_t next;
	_Atomic int error;
};

static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static _Noreturn void worker(struct site *s, int start, pid_t foreman)
{
	char c;

	die_with(foreman);
	while (read(start, &c, 1) < 0 && errno == EINTR)
		;
	close(start);
	for (;;) {
		size_t i = atomic_fetch_add(&s->next, s->chunk), end;
		if (i >= s->n)
			_exit(0);
		end = s->n - i > s->chunk ? i + s->chunk : s->n;
		for (; i < end; i++) {
			s->errs[i] = s->fn(s->items + i * s->item_size,
					   s->results + i * s->result_size);
			atomic_thread_fence(memory_order_seq_cst);
			s->ready[i] = 1;
		}
	}
}

static _Noreturn void foreman(struct site *s, int workers, pid_t owner)
{
	pid_t me, *crew = calloc(workers, sizeof *crew);
	int gate[2], w;

	die_with(owner);
	me = getpid();
	if (crew == NULL || pipe(gate) < 0) {
		s->error = errno;
		_exit(1);
	}
	for (w = 0; w < workers; w++) {
		crew[w] = fork();
		if (crew[w] == 0) {
			close(gate[1]);
			worker(s, gate[0], me);
		}
		if (crew[w] < 0) {
			s->error = errno;
			break;
		}
	}
	if (s->error != 0)
		for (int i = 0; i < w; i++)
			kill(crew[i], SIGKILL);
	close(gate[0]);
	close(gate[1]);		/* they all hear the end of file */
	for (int i = 0; i < w; i++)
		while (waitpid(crew[i], NULL, 0) < 0 && errno == EINTR)
			;
	_exit(0);
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
		p->workers = workers;
	return p;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	size_t a, b, total;
	struct site *s;
	pid_t boss, me = getpid();
	int error, lost = 0, failed = 0;

	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n, result_size, &a) || a > SIZE_MAX / 4 ||
	    __builtin_mul_overflow(n, sizeof(int) + 1, &b) || b > SIZE_MAX / 4) {
		errno = ENOMEM;
		return -1;
	}
	a = (a + 63) / 64 * 64;
	total = 256 + a + b;
	s = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		return -1;
	s->fn = fn;
	s->items = items;
	s->n = n;
	s->item_size = item_size;
	s->result_size = result_size;
	s->chunk = chunksize > 0 ? chunksize : n / (size_t)p->workers / 6;
	if (s->chunk == 0)
		s->chunk = 1;
	if (s->chunk > n)
		s->chunk = n;
	s->results = (char *)s + 256;
	s->errs = (int *)(s->results + a);
	s->ready = (char *)(s->errs + n);
	boss = fork();
	if (boss == 0)
		foreman(s, p->workers, me);
	error = boss < 0 ? errno : 0;
	while (boss > 0 && waitpid(boss, NULL, 0) < 0 && errno == EINTR)
		;
	if (error == 0)
		error = s->error;
	for (size_t i = 0; error == 0 && i < n; i++) {
		int err = s->ready[i] ? s->errs[i] : POOL_LOST;
		if (err == 0 && result_size > 0)
			memcpy((char *)results + i * result_size,
			       s->results + i * result_size, result_size);
		if (errs != NULL)
			errs[i] = err;
		lost += err == POOL_LOST;
		failed += err != 0;
	}
	if (error == 0 && failed)
		error = lost ? EOWNERDEAD : ECANCELED;
	errno = error;
	return error == 0 ? 0 : -1;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1, NULL);
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
	free(p);
	return 0;
}
