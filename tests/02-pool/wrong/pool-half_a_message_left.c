/*
 * misconception: what a lock protects is whole again when a robust lock is
 * rejected by:   a worker that dies is no end, wherever it dies
 * message:       One worker died, and it took the others along
 */
#include "pool.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before a chunk of items, and before its results. */
struct head {
	uint64_t first, count, item_size, result_size;
	pool_fn *fn;
};

/* Which chunk each worker has; and who may read or write now. */
struct board {
	pthread_mutex_t read_lock, write_lock;
	struct {
		uint64_t first, count;
	} has[];
};

struct worker {
	pid_t pid;
	int life;		/* end of file when it dies */
};

struct pool {
	int tasks[2], results[2];
	struct board *board;
	size_t board_size;
	int size;
	struct worker workers[];
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

static void init_lock(pthread_mutex_t *lock)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(lock, &a);
	pthread_mutexattr_destroy(&a);
}

static void take(pthread_mutex_t *lock)
{
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
}

/* Wait without the lock: only the one who has it may read. */
static bool get_task(struct pool *p, int me, struct head *h, char **items)
{
	struct pollfd in = { .fd = p->tasks[0], .events = POLLIN };
	bool ok = false, empty = true;

	while (empty) {
		while (poll(&in, 1, -1) < 0 && errno == EINTR)
			;
		take(&p->board->read_lock);
		empty = poll(&in, 1, 0) == 0;
		if (!empty)
			ok = read_all(p->tasks[0], h, sizeof *h);
		if (ok) {
			p->board->has[me].first = h->first;
			p->board->has[me].count = h->count;
			*items = realloc(*items, h->count * h->item_size + 1);
			ok = *items != NULL &&
			     read_all(p->tasks[0], *items,
				      h->count * h->item_size);
		}
		pthread_mutex_unlock(&p->board->read_lock);
	}
	return ok;
}

static void live(struct pool *p, int me)
{
	char *items = NULL, *results = NULL;
	int *errs = NULL;
	struct head h;
	bool ok = true;

	while (ok && get_task(p, me, &h, &items)) {
		results = realloc(results, h.count * h.result_size + 1);
		errs = realloc(errs, h.count * sizeof *errs);
		if (results == NULL || errs == NULL)
			break;
		memset(results, 0, h.count * h.result_size);
		for (uint64_t i = 0; i < h.count; i++)
			errs[i] = h.fn(items + i * h.item_size,
				       results + i * h.result_size);
		take(&p->board->write_lock);
		ok = write_all(p->results[1], &h, sizeof h) &&
		     write_all(p->results[1], errs, h.count * sizeof *errs) &&
		     write_all(p->results[1], results,
			       h.count * h.result_size);
		p->board->has[me].count = 0;
		pthread_mutex_unlock(&p->board->write_lock);
	}
	_exit(0);
}

/* The owner's ends of all pools: its write end of tasks above all. */
static int ends[256][2];

static void close_owner_ends(void)
{
	for (int i = 0; i < 256; i++)
		for (int k = 0; k < 2; k++)
			if (ends[i][k] > 0)
				close(ends[i][k]);
}

static void note_ends(int from[2], const int to[2])
{
	for (int i = 0; i < 256; i++)
		if (ends[i][0] == from[0] && ends[i][1] == from[1]) {
			ends[i][0] = to[0];
			ends[i][1] = to[1];
			return;
		}
}

static bool start_worker(struct pool *p, int w)
{
	int life[2];

	if (pipe(life) != 0)
		return false;
	p->workers[w].pid = fork();
	if (p->workers[w].pid == 0) {
		close(life[0]);
		close_owner_ends();
		live(p, w);
	}
	close(life[1]);
	if (p->workers[w].pid < 0) {
		close(life[0]);
		return false;
	}
	p->workers[w].life = life[0];
	return true;
}

static void bury(struct worker *w)
{
	close(w->life);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	w->pid = 0;
}

static const int no_ends[2];

int pool_close(struct pool *p)
{
	int mine[2] = { p->tasks[1], p->results[0] };

	note_ends(mine, no_ends);
	close(p->tasks[1]);
	close(p->tasks[0]);
	close(p->results[0]);
	close(p->results[1]);
	for (int w = 0; w < p->size; w++)
		if (p->workers[w].pid != 0)
			bury(&p->workers[w]);
	munmap(p->board, p->board_size);
	free(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	for (int w = 0; w < p->size; w++)
		if (p->workers[w].pid != 0)
			kill(p->workers[w].pid, SIGKILL);
	return pool_close(p);
}

int pool_size(const struct pool *p)
{
	int n = 0;

	for (int w = 0; w < p->size; w++)
		n += p->workers[w].pid != 0;
	return n;
}

static struct pool *new_pool(int workers)
{
	struct pool *p = calloc(1, sizeof *p + workers * sizeof p->workers[0]);

	if (p == NULL)
		return NULL;
	p->board_size = sizeof *p->board + workers * sizeof p->board->has[0];
	p->board = mmap(NULL, p->board_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p->board == MAP_FAILED) {
		free(p);
		return NULL;
	}
	init_lock(&p->board->read_lock);
	init_lock(&p->board->write_lock);
	if (pipe(p->tasks) == 0) {
		if (pipe(p->results) == 0)
			return p;
		close(p->tasks[0]);
		close(p->tasks[1]);
	}
	munmap(p->board, p->board_size);
	free(p);
	return NULL;
}

struct pool *pool_create(int workers)
{
	int nobody[2] = { 0, 0 }, error;
	struct pool *p;

	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = new_pool(workers);
	if (p == NULL)
		return NULL;
	note_ends(nobody, (int[2]){ p->tasks[1], p->results[0] });
	for (; p->size < workers; p->size++)
		if (!start_worker(p, p->size)) {
			error = errno;
			pool_terminate(p);
			errno = error;
			return NULL;
		}
	return p;
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

/* One map: how far it is. */
struct map {
	struct head next;
	const char *items;
	char *results;
	int *errs;
	size_t n, chunk;
	int out;		/* chunks handed out and not come back */
};

static void give(struct pool *p, struct map *m)
{
	struct head h = m->next;

	h.count = m->n - h.first < m->chunk ? m->n - h.first : m->chunk;
	if (write_all(p->tasks[1], &h, sizeof h) &&
	    write_all(p->tasks[1], m->items + h.first * h.item_size,
		      h.count * h.item_size))
		m->out++;
	m->next.first += h.count;
}

static void take_answer(struct pool *p, struct map *m)
{
	struct head h;

	if (read_all(p->results[0], &h, sizeof h) &&
	    read_all(p->results[0], m->errs + h.first,
		     h.count * sizeof *m->errs) &&
	    read_all(p->results[0], m->results + h.first * h.result_size,
		     h.count * h.result_size))
		m->out--;
}

static void take_or_bury(struct pool *p, struct map *m, struct pollfd *fds)
{
	for (int w = 0; w < p->size; w++)
		fds[w] = (struct pollfd){ p->workers[w].pid != 0
			? p->workers[w].life : -1, POLLIN, 0 };
	fds[p->size] = (struct pollfd){ p->results[0], POLLIN, 0 };
	if (poll(fds, p->size + 1, -1) < 0)
		return;
	if (fds[p->size].revents & POLLIN) {
		take_answer(p, m);
		return;
	}
	for (int w = 0; w < p->size; w++)
		if (fds[w].revents != 0) {
			m->out -= p->board->has[w].count > 0;
			p->board->has[w].count = 0;
			bury(&p->workers[w]);
		}
}

static void run(struct pool *p, struct map *m, struct pollfd *fds)
{
	for (int w = 0; w < p->size; w++)
		if (p->workers[w].pid != 0 &&
		    waitpid(p->workers[w].pid, NULL, WNOHANG) != 0) {
			close(p->workers[w].life);
			p->workers[w].pid = 0;
		}
	while ((m->next.first < m->n || m->out > 0) && pool_size(p) > 0) {
		while (m->next.first < m->n && m->out < pool_size(p))
			give(p, m);
		if (m->out > 0)
			take_or_bury(p, m, fds);
	}
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct map m = { .items = items, .results = results, .n = n,
			 .next = { .item_size = item_size,
				   .result_size = result_size, .fn = fn } };
	struct pollfd *fds = calloc(p->size + 1, sizeof *fds);
	int result = -1;

	m.chunk = chunksize ? chunksize : n / (4 * p->size) + 1;
	m.errs = malloc((n + 1) * sizeof *m.errs);
	if (fds != NULL && m.errs != NULL) {
		for (size_t i = 0; i < n; i++)
			m.errs[i] = POOL_LOST;
		run(p, &m, fds);
		if (errs != NULL)
			memcpy(errs, m.errs, n * sizeof *errs);
		result = verdict(m.errs, n);
	}
	free(m.errs);
	free(fds);
	return result;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
