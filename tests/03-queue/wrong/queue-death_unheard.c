/*
 * misconception: a process that was killed is taken for one that is through
 * rejected by:   a producer that fails or dies makes nobody wait
 * message:       A process died, and nobody noticed
 */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t not_empty, not_full;
	size_t maxsize, item_size, bytes;
	_Atomic size_t put, taken;	/* each step is whole: who dies before
					 * it has done nothing */
	bool closed;
	unsigned char items[];
};

/* ---- plumbing ---------------------------------------------------------- */

static int failed(int error)
{
	errno = error;
	return -1;
}

/* The moment that lies so many seconds ahead, 30 years at most. */
static struct timespec moment(double seconds)
{
	const double longest = 1e9;
	struct timespec t;
	long whole;

	if (seconds > longest)
		seconds = longest;
	whole = (long)seconds;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* How many bytes a queue needs; 0: more than can be counted. */
static size_t bytes_for(size_t maxsize, size_t item_size)
{
	size_t items, all;

	if (__builtin_mul_overflow(maxsize, item_size, &items) ||
	    __builtin_add_overflow(items, sizeof(struct queue), &all))
		return 0;
	return all;
}

static unsigned char *slot(struct queue *q, size_t n)
{
	return q->items + n % q->maxsize * q->item_size;
}

/* ---- the lock, and its conditions -------------------------------------- */

static int make_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t kind;
	int error = pthread_mutexattr_init(&kind);

	if (error != 0)
		return error;
	error = pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	if (error == 0)
		error = pthread_mutexattr_setrobust(&kind,
						    PTHREAD_MUTEX_ROBUST);
	if (error == 0)
		error = pthread_mutex_init(m, &kind);
	pthread_mutexattr_destroy(&kind);
	return error;
}

static int make_condition(pthread_cond_t *c)
{
	pthread_condattr_t kind;
	int error = pthread_condattr_init(&kind);

	if (error != 0)
		return error;
	error = pthread_condattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	if (error == 0)
		error = pthread_cond_init(c, &kind);
	pthread_condattr_destroy(&kind);
	return error;
}

/* Whoever died with the lock may have died before it woke somebody. */
static void look_after(struct queue *q, int error)
{
	if (error != EOWNERDEAD)
		return;
	pthread_mutex_consistent(&q->mutex);
	pthread_cond_broadcast(&q->not_empty);
	pthread_cond_broadcast(&q->not_full);
}

static void lock(struct queue *q)
{
	look_after(q, pthread_mutex_lock(&q->mutex));
}

static void unlock(struct queue *q)
{
	pthread_mutex_unlock(&q->mutex);
}

/* False when the time is over. */
static bool wait_for(struct queue *q, pthread_cond_t *c, double timeout,
		     const struct timespec *end)
{
	int error;

	if (timeout == 0)
		return false;
	if (timeout < 0)
		error = pthread_cond_wait(c, &q->mutex);
	else
		error = pthread_cond_clockwait(c, &q->mutex, CLOCK_MONOTONIC,
					       end);
	look_after(q, error);
	return error != ETIMEDOUT;
}

/* ---- the queue --------------------------------------------------------- */

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	size_t bytes = bytes_for(maxsize, item_size);
	struct queue *q;
	int error;

	if (maxsize == 0 || item_size == 0 || bytes == 0) {
		errno = bytes == 0 ? ENOMEM : EINVAL;
		return NULL;
	}
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	error = make_mutex(&q->mutex);
	if (error == 0)
		error = make_condition(&q->not_empty);
	if (error == 0)
		error = make_condition(&q->not_full);
	if (error == 0)
		return q;
	munmap(q, bytes);
	errno = error;
	return NULL;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec end = { 0 };
	bool in_time = true, full, closed;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	lock(q);
	while (!q->closed && q->put - q->taken == q->maxsize && in_time)
		in_time = wait_for(q, &q->not_full, timeout, &end);
	closed = q->closed;
	full = q->put - q->taken == q->maxsize;
	if (!closed && !full) {
		memcpy(slot(q, q->put), item, q->item_size);
		q->put++;
		pthread_cond_signal(&q->not_empty);
	}
	unlock(q);
	return closed ? failed(EPIPE) : full ? 1 : 0;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec end = { 0 };
	bool in_time = true, empty, closed;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	lock(q);
	while (!q->closed && q->put == q->taken && in_time)
		in_time = wait_for(q, &q->not_empty, timeout, &end);
	closed = q->closed;
	empty = q->put == q->taken;
	if (!empty) {
		memcpy(item, slot(q, q->taken), q->item_size);
		q->taken++;
		pthread_cond_signal(&q->not_full);
	}
	unlock(q);
	return !empty ? 0 : closed ? failed(EPIPE) : 1;
}

int queue_close(struct queue *q)
{
	lock(q);
	q->closed = true;
	pthread_cond_broadcast(&q->not_empty);
	pthread_cond_broadcast(&q->not_full);
	unlock(q);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	size_t n;

	lock(q);
	n = q->put - q->taken;
	unlock(q);
	return n;
}

/* Nobody uses it; a condition is not destroyed, because that would wait for
 * who died waiting for it. */
void queue_destroy(struct queue *q)
{
	munmap(q, q->bytes);
}

/* ---- producers and consumers ------------------------------------------- */

/*
 * Each process holds the write end of one pipe, and says there how it went.
 * Who says nothing has died: its end of file comes without a word.
 */
struct worker {
	pid_t pid;
	int from;		/* read end; -1 when it has ended */
};

struct run {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	struct worker *workers;
	int started, error;
};

static char consume_all(const struct run *r, int consumer)
{
	void *item = malloc(r->q->item_size);

	if (item == NULL)
		return 'f';
	while (queue_get(r->q, item, -1) == 0)
		if (r->consume(item, consumer, r->arg) != 0)
			return 'f';
	return 'd';
}

static _Noreturn void work(const struct run *r, int i, int to)
{
	char word;

	for (int k = 0; k < r->started; k++)
		close(r->workers[k].from);
	if (i >= r->producers)
		word = consume_all(r, i - r->producers);
	else
		word = r->produce(r->q, i, r->arg) == 0 ? 'd' : 'f';
	while (write(to, &word, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void wrong(struct run *r, int error)
{
	if (r->error == 0)
		r->error = error;
	queue_close(r->q);
}

static bool start(struct run *r)
{
	int ends[2], i = r->started;
	pid_t pid;

	if (pipe(ends) != 0)
		return false;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		work(r, i, ends[1]);
	}
	if (pid < 0) {
		int error = errno;

		close(ends[0]);
		close(ends[1]);
		errno = error;
		return false;
	}
	close(ends[1]);
	r->workers[i] = (struct worker){ pid, ends[0] };
	r->started++;
	return true;
}

static void hear(struct run *r, int i)
{
	struct worker *w = &r->workers[i];
	bool producing = false;
	ssize_t n;
	char word;

	do
		n = read(w->from, &word, 1);
	while (n < 0 && errno == EINTR);
	close(w->from);
	w->from = -1;
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (n == 1 && word != 'd')
		wrong(r, ECANCELED);
	for (int k = 0; k < r->producers && k < r->started; k++)
		producing |= r->workers[k].from >= 0;
	if (!producing)
		queue_close(r->q);
}

static void hear_all(struct run *r)
{
	fd_set ready;
	int most;

	for (;;) {
		FD_ZERO(&ready);
		most = -1;
		for (int i = 0; i < r->started; i++)
			if (r->workers[i].from >= 0) {
				FD_SET(r->workers[i].from, &ready);
				if (r->workers[i].from > most)
					most = r->workers[i].from;
			}
		if (most < 0)
			return;
		if (select(most + 1, &ready, NULL, NULL, NULL) <= 0)
			continue;
		for (int i = 0; i < r->started; i++)
			if (r->workers[i].from >= 0 &&
			    FD_ISSET(r->workers[i].from, &ready))
				hear(r, i);
	}
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = { q, producers, consumers, produce, consume, arg,
			 NULL, 0, 0 };
	int n = producers + consumers;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	r.workers = calloc((size_t)n, sizeof *r.workers);
	if (r.workers == NULL)
		wrong(&r, ENOMEM);
	while (r.error == 0 && r.started < n)
		if (!start(&r))
			wrong(&r, errno);
	hear_all(&r);
	free(r.workers);
	return r.error == 0 ? 0 : failed(r.error);
}
