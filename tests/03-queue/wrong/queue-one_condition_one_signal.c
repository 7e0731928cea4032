/*
 * misconception: L03-05 one condition for both kinds, and only one of them is woken
 * rejected by:   no wake-up is lost on who waits for something else
 * message:       Your signal woke somebody who was waiting for something else
 */
#include "queue.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct queue {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
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
	pthread_cond_broadcast(&q->changed);
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
static bool wait_for(struct queue *q, double timeout,
		     const struct timespec *end)
{
	int error;

	if (timeout == 0)
		return false;
	if (timeout < 0)
		error = pthread_cond_wait(&q->changed, &q->mutex);
	else
		error = pthread_cond_clockwait(&q->changed, &q->mutex,
					       CLOCK_MONOTONIC, end);
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
		error = make_condition(&q->changed);
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
		in_time = wait_for(q, timeout, &end);
	closed = q->closed;
	full = q->put - q->taken == q->maxsize;
	if (!closed && !full) {
		memcpy(slot(q, q->put), item, q->item_size);
		q->put++;
		pthread_cond_signal(&q->changed);
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
		in_time = wait_for(q, timeout, &end);
	closed = q->closed;
	empty = q->put == q->taken;
	if (!empty) {
		memcpy(item, slot(q, q->taken), q->item_size);
		q->taken++;
		pthread_cond_signal(&q->changed);
	}
	unlock(q);
	return !empty ? 0 : closed ? failed(EPIPE) : 1;
}

int queue_close(struct queue *q)
{
	lock(q);
	q->closed = true;
	pthread_cond_broadcast(&q->changed);
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
 * All of them form a process group, so that the caller can wait for whichever
 * ends first without meeting its other children.
 */
enum { THROUGH = 1, GAVE_UP = 2 };

struct run {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	_Atomic unsigned char *ends;	/* shared: what each said at its end */
	pid_t group, *pids;
};

static int consume_all(const struct run *r, int consumer)
{
	void *item = malloc(r->q->item_size);
	int result = item == NULL ? GAVE_UP : THROUGH;

	while (result == THROUGH && queue_get(r->q, item, -1) == 0)
		if (r->consume(item, consumer, r->arg) != 0)
			result = GAVE_UP;
	free(item);
	return result;
}

static _Noreturn void work(const struct run *r, int i)
{
	int result;

	setpgid(0, r->group);
	if (i < r->producers)
		result = r->produce(r->q, i, r->arg) == 0 ? THROUGH : GAVE_UP;
	else
		result = consume_all(r, i - r->producers);
	if (result == GAVE_UP)
		queue_close(r->q);
	r->ends[i] = (unsigned char)result;
	_exit(0);
}

/* How many could be started. */
static int start_all(struct run *r, int n)
{
	for (int i = 0; i < n; i++) {
		r->pids[i] = fork();
		if (r->pids[i] < 0)
			return i;
		if (r->pids[i] == 0)
			work(r, i);
		if (i == 0)
			r->group = r->pids[0];
		setpgid(r->pids[i], r->group);
	}
	return n;
}

static int collect_one(struct run *r, int started)
{
	pid_t pid;
	int i = 0;

	do
		pid = waitpid(-r->group, NULL, 0);
	while (pid < 0 && errno == EINTR);
	while (i < started && r->pids[i] != pid)
		i++;
	return i;
}

static int collect_all(struct run *r, int started)
{
	int producing = 0, error = 0, i;

	for (i = 0; i < started; i++)
		producing += i < r->producers;
	for (int left = started; left > 0; left--) {
		i = collect_one(r, started);
		if (i == started)
			break;
		if (r->ends[i] != THROUGH)
			error = r->ends[i] ? ECANCELED : EOWNERDEAD;
		if (i < r->producers)
			producing--;
		if (producing == 0 || error != 0)
			queue_close(r->q);
	}
	return error;
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = { q, producers, consumers, produce, consume, arg,
			 NULL, 0, NULL };
	int n = producers + consumers, started = 0, error, later;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	error = ENOMEM;
	r.pids = calloc((size_t)n, sizeof *r.pids);
	r.ends = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.pids != NULL && r.ends != MAP_FAILED) {
		started = start_all(&r, n);
		error = started == n ? 0 : errno;
	}
	if (error != 0)
		queue_close(q);
	later = collect_all(&r, started);
	if (r.ends != MAP_FAILED)
		munmap(r.ends, (size_t)n);
	free(r.pids);
	if (error == 0)
		error = later;
	return error == 0 ? 0 : failed(error);
}
