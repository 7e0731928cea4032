/*
 * misconception: L03-17 the mutex of a dead process is taken, but not made consistent, and after that nobody gets it
 * rejected by:   who dies putting keeps nobody out, wherever it dies
 * message:       Somebody died in the middle of it, and the queue is not what it was
 */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
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
	_Atomic unsigned now;		/* which of the states counts */
	struct state states[2];
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
		changed(q);
	}
	q->states[!q->now] = q->states[q->now];
	return &q->states[!q->now];
}

static void commit(struct queue *q)
{
	atomic_fetch_xor(&q->now, 1);
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
		s->first = (s->first + 1) % q->maxsize;
		s->used--;
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

/* ---- processes: children of a foreman, who may wait for any child -------- */

struct report {
	_Atomic int error;		/* what went wrong first */
	_Atomic int done;		/* the foreman came to its end */
	_Atomic char good[];		/* 1 = fine, 2 = a callback failed */
};

static void hands(struct queue *q, int i, int producers,
		  int (*produce)(struct queue *, int, void *),
		  int (*consume)(const void *, int, void *), void *arg,
		  struct report *r)
{
	void *item;
	int rc = 0;

	if (i < producers) {
		r->good[i] = produce(q, i, arg) ? 2 : 1;
		_exit(0);
	}
	item = malloc(q->item_size);
	if (item == NULL)
		_exit(1);
	while (rc == 0 && queue_get(q, item, -1) == 0)
		rc = consume(item, i - producers, arg);
	r->good[i] = rc ? 2 : 1;
	_exit(0);
}

static void foreman(struct queue *q, int producers, int consumers,
		    int (*produce)(struct queue *, int, void *),
		    int (*consume)(const void *, int, void *), void *arg,
		    struct report *r)
{
	int n = 0, all = producers + consumers, makers = producers, i, left;
	pid_t *pids = calloc((size_t)all, sizeof *pids), pid;

	if (pids == NULL)
		r->error = ENOMEM;
	while (r->error == 0 && n < all) {
		pid = fork();
		if (pid == 0)
			hands(q, n, producers, produce, consume, arg, r);
		if (pid < 0)
			r->error = errno;
		else
			pids[n++] = pid;
	}
	if (r->error != 0)
		queue_close(q);
	for (left = n; left > 0; left--) {
		while ((pid = waitpid(-1, NULL, 0)) < 0 && errno == EINTR)
			;
		for (i = 0; i < n && pids[i] != pid; i++)
			;
		if (r->good[i] != 1 && r->error == 0)
			r->error = r->good[i] == 2 ? ECANCELED : EOWNERDEAD;
		if (i < producers)
			makers--;
		if (r->good[i] != 1 || makers == 0)
			queue_close(q);
	}
	r->done = 1;
	_exit(0);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct report *r;
	size_t bytes;
	pid_t pid;
	int error;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	bytes = sizeof *r + (size_t)producers + (size_t)consumers;
	r = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED) {
		error = errno;
		queue_close(q);
		return fail(error);
	}
	pid = fork();
	if (pid == 0)
		foreman(q, producers, consumers, produce, consume, arg, r);
	if (pid < 0) {
		error = errno;
		queue_close(q);
		munmap(r, bytes);
		return fail(error);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	error = r->error;
	if (error == 0 && !r->done)
		error = EOWNERDEAD;
	munmap(r, bytes);
	return error != 0 ? fail(error) : 0;
}
