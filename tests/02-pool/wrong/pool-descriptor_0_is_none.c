/*
 * misconception: no descriptor that you open is 0: that is stdin
 * rejected by:   a pool needs no stdin
 * message:       0 is a descriptor like any other
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before each message: what it is about, and how much follows. */
struct head {
	uint64_t first, count, item_size, result_size;
	pool_fn *fn;
};

struct member {
	pid_t pid;
	int to, from;		/* 0: dead */
	size_t first, count;	/* what it has now; count 0: nothing */
};

struct pool {
	int size;
	struct member *members;
};

static bool read_all(int fd, void *to, size_t size)
{
	char *at = to;
	ssize_t n;

	while (size > 0) {
		n = recv(fd, at, size, 0);
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
		n = send(fd, at, size, MSG_NOSIGNAL);
		if (n < 0 && errno != EINTR)
			return false;
		if (n > 0) {
			at += n;
			size -= n;
		}
	}
	return true;
}

static void serve(int from, int to)
{
	char *items = NULL, *results = NULL;
	int *errs = NULL;
	struct head h;

	while (read_all(from, &h, sizeof h)) {
		items = realloc(items, h.count * h.item_size + 1);
		results = realloc(results, h.count * h.result_size + 1);
		errs = realloc(errs, h.count * sizeof *errs);
		if (items == NULL || results == NULL || errs == NULL)
			_exit(1);
		if (!read_all(from, items, h.count * h.item_size))
			break;
		memset(results, 0, h.count * h.result_size);
		for (uint64_t i = 0; i < h.count; i++)
			errs[i] = h.fn(items + i * h.item_size,
				       results + i * h.result_size);
		if (!write_all(to, &h, sizeof h) ||
		    !write_all(to, errs, h.count * sizeof *errs) ||
		    !write_all(to, results, h.count * h.result_size))
			break;
	}
	_exit(0);
}

/* In a new member: the owner's ends of all pools belong to the owner. */
static struct pool *pools[64];

static void close_owner_ends(const struct pool *young)
{
	for (int k = 0; k < 64; k++)
		for (int i = 0; pools[k] && i < pools[k]->size; i++)
			if (pools[k]->members[i].to != 0)
				close(pools[k]->members[i].to);
	for (int i = 0; i < young->size; i++)
		close(young->members[i].to);
}

static bool start_member(struct pool *p)
{
	struct member *m = &p->members[p->size];
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
		return false;
	m->pid = fork();
	if (m->pid == 0) {
		close(ends[0]);
		close_owner_ends(p);
		serve(ends[1], ends[1]);
	}
	close(ends[1]);
	if (m->pid < 0) {
		close(ends[0]);
		return false;
	}
	m->to = m->from = ends[0];
	return true;
}

static void bury(struct member *m)
{
	shutdown(m->to, SHUT_RDWR);	/* whoever else holds our end */
	close(m->to);
	if (m->from != m->to)
		close(m->from);
	while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
		;
	m->to = 0;
}

int pool_size(const struct pool *p)
{
	int living = 0;

	for (int i = 0; i < p->size; i++)
		living += p->members[i].to != 0;
	return living;
}

int pool_close(struct pool *p)
{
	for (int k = 0; k < 64; k++)
		if (pools[k] == p)
			pools[k] = NULL;
	for (int i = 0; i < p->size; i++)
		if (p->members[i].to != 0)
			bury(&p->members[i]);
	free(p->members);
	free(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	for (int i = 0; i < p->size; i++)
		if (p->members[i].to != 0)
			kill(p->members[i].pid, SIGKILL);
	return pool_close(p);
}

static bool keep(struct pool *p)
{
	for (int k = 0; k < 64; k++)
		if (pools[k] == NULL) {
			pools[k] = p;
			return true;
		}
	errno = EMFILE;
	return false;
}

struct pool *pool_create(int workers)
{
	struct pool *p;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p);
	if (p == NULL)
		return NULL;
	p->members = calloc(workers, sizeof *p->members);
	if (p->members == NULL) {
		free(p);
		return NULL;
	}
	while (p->size < workers) {
		if (!start_member(p)) {
			error = errno;
			pool_terminate(p);
			errno = error;
			return NULL;
		}
		p->size++;
	}
	if (!keep(p)) {
		pool_terminate(p);
		errno = EMFILE;
		return NULL;
	}
	return p;
}

/* Give the next chunk to an idle member. False if it has died. */
static bool give(struct member *m, struct head h, const char *items)
{
	m->first = h.first;
	m->count = h.count;
	return write_all(m->to, &h, sizeof h) &&
	       write_all(m->to, items + h.first * h.item_size,
			 h.count * h.item_size);
}

static bool take(struct member *m, char *results, int *errs)
{
	struct head h;

	if (!read_all(m->from, &h, sizeof h) ||
	    !read_all(m->from, errs + h.first, h.count * sizeof *errs) ||
	    !read_all(m->from, results + h.first * h.result_size,
		      h.count * h.result_size))
		return false;
	m->count = 0;
	return true;
}

/* It died: whatever it had is lost. */
static void lose(struct member *m, int *errs)
{
	for (size_t i = m->first; i < m->first + m->count; i++)
		errs[i] = POOL_LOST;
	m->count = 0;
	bury(m);
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

/* One map: what its threads share, and each thread its member. */
struct map {
	struct pool *pool;
	pthread_mutex_t lock;
	struct head next;
	size_t n, chunk;
	const char *items;
	char *results;
	int *errs;
};

struct feeder {
	struct map *map;
	struct member *member;
	pthread_t thread;
};

static bool next_chunk(struct map *m, struct head *h)
{
	pthread_mutex_lock(&m->lock);
	*h = m->next;
	h->count = m->n - h->first < m->chunk ? m->n - h->first : m->chunk;
	m->next.first += h->count;
	pthread_mutex_unlock(&m->lock);
	return h->count > 0;
}

/* A thread of the caller for each member: gives, waits, takes. */
static void *feed(void *arg)
{
	struct feeder *f = arg;
	struct map *m = f->map;
	struct head h;

	while (f->member->to != 0 && next_chunk(m, &h))
		if (!give(f->member, h, m->items) ||
		    !take(f->member, m->results, m->errs))
			lose(f->member, m->errs);
	return NULL;
}

static int run(struct map *m, struct feeder *feeders)
{
	int started = 0, error = 0;

	for (size_t i = 0; i < m->n; i++)
		m->errs[i] = POOL_LOST;
	while (started < m->pool->size && error == 0) {
		feeders[started].map = m;
		feeders[started].member = &m->pool->members[started];
		error = pthread_create(&feeders[started].thread, NULL, feed,
				       &feeders[started]);
		started += error == 0;
	}
	for (int i = 0; i < started; i++)
		pthread_join(feeders[i].thread, NULL);
	if (error == 0 || started > 0)
		return verdict(m->errs, m->n);
	errno = error;
	return -1;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct map m = { .pool = p, .n = n, .items = items, .results = results,
			 .next = { .item_size = item_size,
				   .result_size = result_size, .fn = fn } };
	struct feeder *feeders;
	int result = -1;

	if (n == 0)
		return 0;
	m.chunk = chunksize ? chunksize : n / (4 * p->size) + 1;
	pthread_mutex_init(&m.lock, NULL);
	feeders = calloc(p->size, sizeof *feeders);
	m.errs = errs ? errs : malloc(n * sizeof *errs);
	if (feeders != NULL && m.errs != NULL)
		result = run(&m, feeders);
	if (m.errs != errs)
		free(m.errs);
	free(feeders);
	pthread_mutex_destroy(&m.lock);
	return result;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
