/* style: a static split over stream socket pairs: member i always does chunks
 * i, i + W, i + 2W, ..., and what a dead one had coming is lost; MSG_NOSIGNAL
 * */
#include "pool.h"

#include <errno.h>
#include <poll.h>
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
	pid_t pid;		/* 0: dead */
	int to, from;
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
			if (pools[k]->members[i].pid != 0)
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
		m->pid = 0;
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
	m->pid = 0;
}

int pool_size(const struct pool *p)
{
	int living = 0;

	for (int i = 0; i < p->size; i++)
		living += p->members[i].pid != 0;
	return living;
}

int pool_close(struct pool *p)
{
	for (int k = 0; k < 64; k++)
		if (pools[k] == p)
			pools[k] = NULL;
	for (int i = 0; i < p->size; i++)
		if (p->members[i].pid != 0)
			bury(&p->members[i]);
	free(p->members);
	free(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	for (int i = 0; i < p->size; i++)
		if (p->members[i].pid != 0)
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

/* Each member has its share: chunks i, i + size, i + 2 * size, ... */
static int feed(struct pool *p, struct head next, size_t *rounds, size_t n,
		size_t chunk, const char *items)
{
	int busy = 0;

	for (int i = 0; i < p->size; i++) {
		struct member *m = &p->members[i];

		next.first = (rounds[i] * p->size + i) * chunk;
		if (m->pid != 0 && m->count == 0 && next.first < n) {
			next.count = n - next.first < chunk
				   ? n - next.first : chunk;
			rounds[i]++;
			if (!give(m, next, items))
				m->count = 0, bury(m);
		}
		busy += m->pid != 0 && m->count > 0;
	}
	return busy;
}

static void wait_for_answers(struct pool *p, struct pollfd *fds,
			     char *results, int *errs)
{
	for (int i = 0; i < p->size; i++) {
		fds[i].fd = p->members[i].pid != 0 && p->members[i].count > 0
			  ? p->members[i].from : -1;
		fds[i].events = POLLIN;
		fds[i].revents = 0;
	}
	if (poll(fds, p->size, -1) < 0)
		return;		/* interrupted: look again */
	for (int i = 0; i < p->size; i++)
		if (fds[i].fd >= 0 && fds[i].revents != 0 &&
		    !take(&p->members[i], results, errs))
			lose(&p->members[i], errs);
}

static void run(struct pool *p, struct head next, size_t n, size_t chunk,
		const char *items, char *results, int *errs,
		struct pollfd *fds, size_t *rounds)
{
	for (size_t i = 0; i < n; i++)
		errs[i] = POOL_LOST;	/* until somebody has done it */
	while (feed(p, next, rounds, n, chunk, items) > 0)
		wait_for_answers(p, fds, results, errs);
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct head next = { .item_size = item_size,
			     .result_size = result_size, .fn = fn };
	struct pollfd *fds = calloc(p->size, sizeof *fds);
	size_t *rounds = calloc(p->size, sizeof *rounds);
	int *own = calloc(n + 1, sizeof *own), result = -1;

	if (chunksize == 0)
		chunksize = (n + p->size - 1) / p->size;
	if (chunksize == 0 || chunksize > n)
		chunksize = n + (n == 0);
	if (fds != NULL && rounds != NULL && own != NULL) {
		run(p, next, n, chunksize, items, results, own, fds, rounds);
		if (errs != NULL)
			memcpy(errs, own, n * sizeof *errs);
		result = verdict(own, n);
	}
	free(own);
	free(rounds);
	free(fds);
	return result;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
