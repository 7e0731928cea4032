/* style: sockets that never block the caller, which sends and receives
 * whatever can be sent and received; items travel one by one within a chunk */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* Before each item on its way there, and each result on its way back. */
struct head {
	uint64_t index, item_size, result_size;
	pool_fn *fn;
	int64_t err;
};

struct buffer {
	char *bytes;
	size_t used, done, room;
};

struct member {
	pid_t pid;
	int fd;
	struct buffer out, in;
	size_t first, count, answered;	/* its chunk */
};

struct pool {
	struct pool *next;
	int size;
	struct member members[];
};

static struct pool *pools;

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

/* One item at a time, as they come. */
static void serve(int fd)
{
	char *item = NULL, *result = NULL;
	struct head h;

	while (read_all(fd, &h, sizeof h)) {
		item = realloc(item, h.item_size + 1);
		result = realloc(result, h.result_size + 1);
		if (item == NULL || result == NULL ||
		    !read_all(fd, item, h.item_size))
			break;
		memset(result, 0, h.result_size);
		h.err = h.fn(item, result);
		if (!write_all(fd, &h, sizeof h) ||
		    !write_all(fd, result, h.result_size))
			break;
	}
	_exit(0);
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
		for (struct pool *q = pools; q != NULL; q = q->next)
			for (int i = 0; i < q->size; i++)
				if (q->members[i].pid != 0)
					close(q->members[i].fd);
		serve(ends[1]);
	}
	close(ends[1]);
	if (m->pid < 0) {
		close(ends[0]);
		m->pid = 0;
		return false;
	}
	m->fd = ends[0];
	fcntl(m->fd, F_SETFL, O_NONBLOCK);
	return true;
}

static void bury(struct member *m)
{
	shutdown(m->fd, SHUT_RDWR);	/* whoever else holds our end */
	close(m->fd);
	while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
		;
	free(m->out.bytes);
	free(m->in.bytes);
	*m = (struct member){ .count = 0 };
}

static bool add(struct buffer *b, const void *from, size_t size)
{
	if (b->used + size > b->room) {
		size_t room = 2 * (b->used + size);
		char *more = realloc(b->bytes, room);

		if (more == NULL)
			return false;
		b->bytes = more;
		b->room = room;
	}
	memcpy(b->bytes + b->used, from, size);
	b->used += size;
	return true;
}

/* As much as goes without waiting. False: the other side has died. */
static bool push(struct member *m)
{
	struct buffer *b = &m->out;
	ssize_t n;

	while (b->done < b->used) {
		n = send(m->fd, b->bytes + b->done, b->used - b->done,
			 MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		b->done += n;
	}
	b->done = b->used = 0;
	return true;
}

static bool pull(struct member *m)
{
	char piece[16384];
	ssize_t n;

	for (;;) {
		n = recv(m->fd, piece, sizeof piece, 0);
		if (n == 0)
			return false;
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (!add(&m->in, piece, n))
			return false;
	}
}

/* Whole results that have arrived. */
static void unpack(struct member *m, char *results, int *errs)
{
	struct buffer *b = &m->in;
	struct head h;

	while (b->used - b->done >= sizeof h) {
		memcpy(&h, b->bytes + b->done, sizeof h);
		if (b->used - b->done < sizeof h + h.result_size)
			break;
		b->done += sizeof h;
		memcpy(results + h.index * h.result_size, b->bytes + b->done,
		       h.result_size);
		b->done += h.result_size;
		errs[h.index] = (int)h.err;
		if (++m->answered == m->count)
			m->count = 0;
	}
	memmove(b->bytes, b->bytes + b->done, b->used - b->done);
	b->used -= b->done;
	b->done = 0;
}

static bool give(struct member *m, struct head h, const char *items,
		 size_t first, size_t count)
{
	m->first = first;
	m->count = count;
	m->answered = 0;
	for (h.index = first; h.index < first + count; h.index++)
		if (!add(&m->out, &h, sizeof h) ||
		    !add(&m->out, items + h.index * h.item_size, h.item_size))
			return false;
	return push(m);
}

static int feed(struct pool *p, struct head h, size_t *next, size_t n,
		size_t chunk, const char *items)
{
	size_t count;
	int busy = 0;

	for (int i = 0; i < p->size; i++) {
		struct member *m = &p->members[i];

		count = n - *next < chunk ? n - *next : chunk;
		if (m->pid != 0 && m->count == 0 && count > 0) {
			if (give(m, h, items, *next, count))
				*next += count;
			else
				bury(m);
		}
		busy += m->count > 0;
	}
	return busy;
}

static void look(struct pool *p, struct pollfd *fds, char *results, int *errs)
{
	for (int i = 0; i < p->size; i++) {
		struct member *m = &p->members[i];

		fds[i].fd = m->count > 0 ? m->fd : -1;
		fds[i].events = POLLIN | (m->out.used > 0 ? POLLOUT : 0);
		fds[i].revents = 0;
	}
	if (poll(fds, p->size, -1) < 0)
		return;
	for (int i = 0; i < p->size; i++) {
		struct member *m = &p->members[i];
		bool alive = true;

		if (fds[i].fd < 0 || fds[i].revents == 0)
			continue;
		if (fds[i].revents & POLLOUT)
			alive = push(m);
		alive = pull(m) && alive;
		if (m->in.used > 0)
			unpack(m, results, errs);
		if (!alive)
			bury(m);
	}
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

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct head h = { .item_size = item_size, .result_size = result_size,
			  .fn = fn };
	struct pollfd *fds = calloc(p->size, sizeof *fds);
	int *own = malloc((n + 1) * sizeof *own), result = -1;
	size_t next = 0;

	if (chunksize == 0)
		chunksize = n / (4 * p->size) + 1;
	if (fds != NULL && own != NULL) {
		for (size_t i = 0; i < n; i++)
			own[i] = POOL_LOST;
		while (feed(p, h, &next, n, chunksize, items) > 0)
			look(p, fds, results, own);
		if (errs != NULL)
			memcpy(errs, own, n * sizeof *errs);
		result = verdict(own, n);
	}
	free(own);
	free(fds);
	return result;
}

struct pool *pool_create(int workers)
{
	struct pool *p;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	p = calloc(1, sizeof *p + workers * sizeof p->members[0]);
	if (p == NULL)
		return NULL;
	p->next = pools;
	pools = p;
	for (; p->size < workers; p->size++)
		if (!start_member(p)) {
			error = errno;
			pool_close(p);
			errno = error;
			return NULL;
		}
	return p;
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
	struct pool **link = &pools;

	for (int i = 0; i < p->size; i++)
		if (p->members[i].pid != 0)
			bury(&p->members[i]);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
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

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
