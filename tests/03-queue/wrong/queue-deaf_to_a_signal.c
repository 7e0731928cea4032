/*
 * misconception: the caller is made deaf to a signal, and stays so
 * rejected by:   the caller's own business is done once
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
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

/* count * 2 + closed; the low half is what people sleep on */
struct end {
	pthread_mutex_t m;
	_Atomic uint64_t n;
	_Atomic uint32_t news;
};

struct queue {
	size_t maxsize, item_size, bytes;
	_Atomic int closed;
	struct end in, out;
	unsigned char data[];
};

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;

	if (maxsize == 0 || item_size == 0) {
		errno = EINVAL;
		return NULL;
	}
	if (__builtin_mul_overflow(maxsize, item_size, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof *q, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	robust(&q->in.m);
	robust(&q->out.m);
	return q;
}

void queue_destroy(struct queue *q)
{
	munmap(q, q->bytes);
}

static void tell(struct end *e)
{
	e->news++;
	rouse(&e->news);
}

static void enter(struct queue *q, struct end *e)
{
	if (pthread_mutex_lock(&e->m) == EOWNERDEAD) {
		pthread_mutex_consistent(&e->m);
		tell(&q->in);
		tell(&q->out);
	}
}

static int put1(struct queue *q, const void *item)
{
	int r = 1;

	enter(q, &q->in);
	if (q->closed) {
		r = -1;
	} else if (q->in.n - q->out.n < q->maxsize) {
		memcpy(q->data + q->in.n % q->maxsize * q->item_size, item,
		       q->item_size);
		q->in.n++;
		r = 0;
	}
	pthread_mutex_unlock(&q->in.m);
	if (r == 0)
		tell(&q->in);
	return r;
}

static int get1(struct queue *q, void *item)
{
	int r = 1, closed;

	enter(q, &q->out);
	closed = q->closed;
	if (q->in.n != q->out.n) {
		memcpy(item, q->data + q->out.n % q->maxsize * q->item_size,
		       q->item_size);
		q->out.n++;
		r = 0;
	} else if (closed) {
		r = -1;
	}
	pthread_mutex_unlock(&q->out.m);
	if (r == 0)
		tell(&q->out);
	return r;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec end = in_so_many(timeout > 0 ? timeout : 0);
	int r;

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		uint32_t seen = q->out.news;

		r = put1(q, item);
		if (r != 1 || (timeout >= 0 && past(&end)))
			break;
		doze(&q->out.news, seen, timeout < 0 ? NULL : &end);
	}
	return r < 0 ? fail(EPIPE) : r;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec end = in_so_many(timeout > 0 ? timeout : 0);
	int r;

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		uint32_t seen = q->in.news;

		r = get1(q, item);
		if (r != 1 || (timeout >= 0 && past(&end)))
			break;
		doze(&q->in.news, seen, timeout < 0 ? NULL : &end);
	}
	return r < 0 ? fail(EPIPE) : r;
}

int queue_close(struct queue *q)
{
	enter(q, &q->in);
	q->closed = 1;
	pthread_mutex_unlock(&q->in.m);
	tell(&q->in);
	tell(&q->out);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	uint64_t out = q->out.n, in = q->in.n;

	return in - out > q->maxsize ? q->maxsize : in - out;
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
	signal(SIGPIPE, SIG_IGN);	/* who tells may come too late */
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
