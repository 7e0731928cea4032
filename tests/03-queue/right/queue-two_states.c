/* style: two copies of the state, of which one counts; who changes it changes the other,
 * and switches over. One robust mutex, and all are woken */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
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
		pthread_mutex_consistent(&q->mutex);
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

/* ---- processes: a pipe from each, its end of file is the end ------------- */

struct worker {
	pid_t pid;
	int pipe;
};

struct team {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	struct worker *w;
	int n, makers, left, error;
};

static char job(struct team *t, int i)
{
	char *item;
	int r = 0;

	if (i < t->producers)
		return t->produce(t->q, i, t->arg) == 0 ? 'y' : 'n';
	item = malloc(t->q->item_size);
	if (item == NULL)
		return 'n';
	while (r == 0 && queue_get(t->q, item, -1) == 0)
		r = t->consume(item, i - t->producers, t->arg);
	free(item);
	return r == 0 ? 'y' : 'n';
}

static int launch(struct team *t)
{
	int p[2], e, i = t->n;
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC) < 0)
		return errno;
	pid = fork();
	e = errno;
	if (pid == 0) {
		close(p[0]);
		for (int j = 0; j < i; j++)
			close(t->w[j].pipe);
		c = job(t, i);
		while (write(p[1], &c, 1) < 0 && errno == EINTR)
			;
		_exit(0);
	}
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return e;
	}
	t->w[i] = (struct worker){ pid, p[0] };
	t->n++;
	t->left++;
	return 0;
}

static void bury(struct team *t, int i)
{
	int e = 0;
	char c;
	ssize_t r;

	while ((r = read(t->w[i].pipe, &c, 1)) < 0 && errno == EINTR)
		;
	close(t->w[i].pipe);
	t->w[i].pipe = -1;
	while (waitpid(t->w[i].pid, NULL, 0) < 0 && errno == EINTR)
		;
	t->left--;
	if (r != 1)
		e = EOWNERDEAD;
	else if (c != 'y')
		e = ECANCELED;
	if (e != 0 && t->error == 0)
		t->error = e;
	if (i < t->producers)
		t->makers--;
	if (e != 0 || t->makers == 0)
		queue_close(t->q);
}

static void watch(struct team *t, struct pollfd *p)
{
	while (t->left > 0) {
		for (int i = 0; i < t->n; i++)
			p[i] = (struct pollfd){ t->w[i].pipe, POLLIN, 0 };
		if (poll(p, (nfds_t)t->n, -1) <= 0)
			continue;
		for (int i = 0; i < t->n; i++)
			if (p[i].revents != 0)
				bury(t, i);
	}
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct team t = { q, producers, consumers, produce, consume, arg,
			  NULL, 0, producers, 0, 0 };
	struct pollfd *p;
	long all = (long)producers + consumers;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	t.w = calloc((size_t)all, sizeof *t.w);
	p = calloc((size_t)all, sizeof *p);
	if (t.w == NULL || p == NULL)
		t.error = ENOMEM;
	while (t.error == 0 && t.n < all)
		t.error = launch(&t);
	if (t.error != 0)
		queue_close(q);
	watch(&t, p);
	free(p);
	free(t.w);
	return t.error != 0 ? fail(t.error) : 0;
}
