/*
 * misconception: L03-17 the robust mutex is handed on, and with it what was half changed
 * rejected by:   who dies getting keeps nobody out, wherever it dies
 * message:       is lost, which the dead one did not have in hand
 */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(int e)
{
	errno = e;
	return -1;
}


static struct timespec in_so_many(double s)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (s > 3e8)
		s = 3e8;
	t.tv_sec += (time_t)s;
	t.tv_nsec += (long)((s - (double)(time_t)s) * 1e9);
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec += 1;
	}
	return t;
}

static bool past(const struct timespec *t)
{
	struct timespec n;

	clock_gettime(CLOCK_MONOTONIC, &n);
	return n.tv_sec > t->tv_sec ||
	       (n.tv_sec == t->tv_sec && n.tv_nsec >= t->tv_nsec);
}

static void doze(_Atomic uint32_t *w, uint32_t v, const struct timespec *end)
{
	syscall(SYS_futex, w, FUTEX_WAIT_BITSET, v, end, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static void rouse(_Atomic uint32_t *w)
{
	syscall(SYS_futex, w, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int robust(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int e;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	e = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return e;
}

struct state {
	size_t first, used;
	bool closed;
};

struct queue {
	pthread_mutex_t mutex;
	size_t maxsize, item_size, total;
	struct state state;
	_Atomic uint32_t version;
	char *items;
};

static void *room(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;

	if (!maxsize || !item_size)
		return errno = EINVAL, NULL;
	if (maxsize > SIZE_MAX / 2 / item_size)
		return errno = ENOMEM, NULL;
	bytes = maxsize * item_size;
	q = room(sizeof *q);
	if (!q)
		return NULL;
	q->items = room(bytes);
	if (!q->items) {
		munmap(q, sizeof *q);
		errno = ENOMEM;
		return NULL;
	}
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->total = bytes;
	robust(&q->mutex);
	return q;
}

void queue_destroy(struct queue *q)
{
	munmap(q->items, q->total);
	munmap(q, sizeof *q);
}

static void changed(struct queue *q)
{
	atomic_fetch_add(&q->version, 1);
	rouse(&q->version);
}

static struct state *begin(struct queue *q)
{
	if (pthread_mutex_lock(&q->mutex) == EOWNERDEAD) {
		pthread_mutex_consistent(&q->mutex);
		changed(q);
	}
	return &q->state;
}

static void commit(struct queue *q)
{
	changed(q);
}

static int try_put(struct queue *q, const void *item)
{
	struct state *s = begin(q);
	int r = s->closed ? EPIPE : s->used == q->maxsize;

	if (r == 0) {
		memcpy(q->items + (s->first + s->used) % q->maxsize *
		       q->item_size, item, q->item_size);
		s->used++;
		commit(q);
	}
	pthread_mutex_unlock(&q->mutex);
	return r;
}

static int try_get(struct queue *q, void *item)
{
	struct state *s = begin(q);
	int r = 0;

	if (s->used == 0) {
		r = s->closed ? EPIPE : 1;
	} else {
		memcpy(item, q->items + s->first * q->item_size,
		       q->item_size);
		s->used--;
		s->first = (s->first + 1) % q->maxsize;
		commit(q);
	}
	pthread_mutex_unlock(&q->mutex);
	return r;
}

static int until(struct queue *q, const void *in, void *out, double timeout)
{
	struct timespec end, *limit = NULL;
	uint32_t version;
	int r;

	if (timeout >= 0) {
		end = in_so_many(timeout);
		limit = &end;
	}
	for (;;) {
		version = q->version;
		r = in ? try_put(q, in) : try_get(q, out);
		if (r == EPIPE)
			return fail(EPIPE);
		if (r == 0 || timeout == 0 || (limit && past(limit)))
			return r;
		doze(&q->version, version, limit);
	}
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	return item ? until(q, item, NULL, timeout) : fail(EINVAL);
}

int queue_get(struct queue *q, void *item, double timeout)
{
	return item ? until(q, NULL, item, timeout) : fail(EINVAL);
}

int queue_close(struct queue *q)
{
	begin(q)->closed = true;
	commit(q);
	pthread_mutex_unlock(&q->mutex);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	size_t n = begin(q)->used;

	pthread_mutex_unlock(&q->mutex);
	return n;
}

/* ---- processes: shared memory for what they say, pidfds for their end ---- */

enum { SILENT, FINE, BAD };

static void play(struct queue *q, int i, int producers,
		 int (*produce)(struct queue *, int, void *),
		 int (*consume)(const void *, int, void *), void *arg,
		 _Atomic char *said, void *item)
{
	if (i < producers) {
		*said = produce(q, i, arg) == 0 ? FINE : BAD;
		return;
	}
	while (queue_get(q, item, -1) == 0) {
		if (consume(item, i - producers, arg) != 0) {
			*said = BAD;
			return;
		}
	}
	*said = errno == EPIPE ? FINE : BAD;
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	size_t all, n = 0, alive, makers;
	int error = 0;
	struct pollfd *fds;
	pid_t *pids;
	_Atomic char *said;
	void *item;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	all = (size_t)producers + (size_t)consumers;
	makers = (size_t)producers;
	fds = calloc(all, sizeof *fds);
	pids = calloc(all, sizeof *pids);
	item = malloc(q->item_size);
	said = mmap(NULL, all, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fds == NULL || pids == NULL || item == NULL ||
	    said == MAP_FAILED)
		error = ENOMEM;
	while (error == 0 && n < all) {
		pids[n] = fork();
		if (pids[n] == 0) {
			play(q, (int)n, producers, produce, consume, arg,
			     &said[n], item);
			_exit(0);
		}
		if (pids[n] < 0) {
			error = errno;
			break;
		}
		fds[n].fd = (int)syscall(SYS_pidfd_open, pids[n], 0);
		fds[n].events = POLLIN;
		if (fds[n].fd < 0) {
			error = errno;
			queue_close(q);
			kill(pids[n], SIGKILL);
			waitpid(pids[n], NULL, 0);
			break;
		}
		n++;
	}
	if (error != 0)
		queue_close(q);
	alive = n;
	while (alive > 0) {
		if (poll(fds, n, -1) < 0)
			continue;
		for (size_t i = 0; i < n; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
				;
			close(fds[i].fd);
			fds[i].fd = -1;
			alive--;
			if (said[i] != FINE && error == 0)
				error = said[i] == BAD ? ECANCELED : EOWNERDEAD;
			if (i < (size_t)producers)
				makers--;
			if (said[i] != FINE || makers == 0)
				queue_close(q);
		}
	}
	if (said != MAP_FAILED)
		munmap((void *)said, all);
	free(item);
	free(pids);
	free(fds);
	return error == 0 ? 0 : fail(error);
}
