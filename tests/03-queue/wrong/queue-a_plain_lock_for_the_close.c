/*
 * misconception: L03-17 the items have a lock that survives its holder, the close has not
 * rejected by:   who dies closing keeps nobody out, wherever it dies
 * message:       Somebody died with the key in the pocket
 */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
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
	sem_t closing;			/* one at a time */
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
	sem_init(&q->closing, 1, 1);
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
	while (sem_wait(&q->closing) != 0)
		;
	enter(q, &q->in);
	q->closed = 1;
	pthread_mutex_unlock(&q->in.m);
	tell(&q->in);
	tell(&q->out);
	sem_post(&q->closing);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	uint64_t out = q->out.n, in = q->in.n;

	return in - out > q->maxsize ? q->maxsize : in - out;
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
