/*
 * misconception: T-SIGIGN the pool leaves SIGPIPE ignored in the process that uses it
 * rejected by:   a closed pool has no workers left
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "pool.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
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

/* The owner's ends of all its pools: no worker may keep copies of them. */
static int owner_ends[1024];
static int n_owner_ends;

static void forget_end(int fd)
{
	for (int i = 0; i < n_owner_ends; i++)
		if (owner_ends[i] == fd)
			owner_ends[i] = owner_ends[--n_owner_ends];
}

static bool start_member(struct pool *p)
{
	struct member *m = &p->members[p->size];
	int to[2], from[2];

	if (n_owner_ends + 2 > 1024) {
		errno = EMFILE;
		return false;
	}
	if (pipe(to) != 0)
		return false;
	if (pipe(from) != 0) {
		close(to[0]);
		close(to[1]);
		return false;
	}
	m->pid = fork();
	if (m->pid == 0) {
		close(to[1]);
		close(from[0]);
		for (int i = 0; i < n_owner_ends; i++)
			close(owner_ends[i]);
		serve(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	if (m->pid < 0) {
		close(to[1]);
		close(from[0]);
		m->pid = 0;
		return false;
	}
	owner_ends[n_owner_ends++] = m->to = to[1];
	owner_ends[n_owner_ends++] = m->from = from[0];
	return true;
}

static void bury(struct member *m)
{
	forget_end(m->to);
	forget_end(m->from);
	close(m->to);
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

/* Members that wait get the next chunks; how many are at work then. */
static int feed(struct pool *p, struct head *next, size_t n, size_t chunk,
		const char *items, int *errs)
{
	int busy = 0;

	for (int i = 0; i < p->size; i++) {
		struct member *m = &p->members[i];

		if (m->pid != 0 && m->count == 0 && next->first < n) {
			next->count = n - next->first < chunk
				    ? n - next->first : chunk;
			if (give(m, *next, items))
				next->first += next->count;
			else
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
		struct pollfd *fds)
{
	for (size_t i = 0; i < n; i++)
		errs[i] = POOL_LOST;	/* until somebody has done it */
	while (feed(p, &next, n, chunk, items, errs) > 0)
		wait_for_answers(p, fds, results, errs);
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct head next = { .item_size = item_size,
			     .result_size = result_size, .fn = fn };
	struct pollfd *fds = calloc(p->size, sizeof *fds);
	int *own = calloc(n + 1, sizeof *own), result = -1;
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (chunksize == 0)
		chunksize = n / (4 * p->size) + 1;
	if (fds != NULL && own != NULL) {
		sigaction(SIGPIPE, &ignore, NULL);
		run(p, next, n, chunksize, items, results, own, fds);
		if (errs != NULL)
			memcpy(errs, own, n * sizeof *errs);
		result = verdict(own, n);
	}
	free(own);
	free(fds);
	return result;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
