/* style: two eventfds count room and items, a third one says that the queue is
 * closed; whoever waits polls two of them */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct queue {
	int room, filled, end;		/* eventfds: how many may come in */
	pthread_mutex_t mutex;		/* guards all below */
	size_t maxsize, item_size, bytes;
	_Atomic size_t put, taken;
	atomic_bool closed;
	unsigned char items[];
};

/* ---- plumbing ---------------------------------------------------------- */

static int failed(int error)
{
	errno = error;
	return -1;
}

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

/* Each step under the lock leaves the queue whole. */
static void lock(struct queue *q)
{
	if (pthread_mutex_lock(&q->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&q->mutex);
}

static void unlock(struct queue *q)
{
	pthread_mutex_unlock(&q->mutex);
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void post(int fd)
{
	const uint64_t one = 1;

	while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

/* The rest of the time in milliseconds, rounded up; at most a million s. */
static int rest(double timeout, double end)
{
	double left = end - seconds_now();

	if (timeout < 0)
		return -1;
	return left <= 0 ? 0 : left > 1e6 ? 1000000000 : (int)(left * 1e3) + 1;
}

/* One permit; false when the time is over, or the queue closed. */
static bool wait_for(struct queue *q, int fd, double timeout, double end)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
				{ .fd = q->end, .events = POLLIN } };
	uint64_t one;

	for (;;) {
		if (q->closed)
			return false;
		if (read(fd, &one, sizeof one) == (ssize_t)sizeof one)
			return true;
		if (timeout == 0 || (timeout > 0 && seconds_now() >= end))
			return false;
		poll(fds, 2, rest(timeout, end));
	}
}

static unsigned char *slot(struct queue *q, size_t n)
{
	return q->items + n % q->maxsize * q->item_size;
}

/* ---- the queue --------------------------------------------------------- */

static int prepare(struct queue *q, size_t maxsize)
{
	int error = make_mutex(&q->mutex);

	if (error != 0)
		return error;
	q->filled = eventfd(0, EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC);
	q->room = eventfd((unsigned)maxsize, EFD_SEMAPHORE | EFD_NONBLOCK |
			  EFD_CLOEXEC);
	q->end = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return q->filled < 0 || q->room < 0 || q->end < 0 ? errno : 0;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;
	int error;

	if (maxsize == 0 || item_size == 0) {
		errno = EINVAL;
		return NULL;
	}
	if (maxsize > INT_MAX ||
	    item_size > (SIZE_MAX / 2 - sizeof *q) / maxsize) {
		errno = ENOMEM;
		return NULL;
	}
	bytes = sizeof *q + maxsize * item_size;
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	q->filled = q->room = q->end = -1;
	error = prepare(q, maxsize);
	if (error == 0)
		return q;
	queue_destroy(q);
	errno = error;
	return NULL;
}

/*
 * One permit for an item that may not be there (its producer died, or the
 * queue is closed): that is why everybody looks again under the lock. The
 * permit is given before the item is counted: who dies in between has given
 * one too many, and not one too few.
 */
int queue_put(struct queue *q, const void *item, double timeout)
{
	double end = seconds_now() + timeout;
	int result = 1;

	if (item == NULL)
		return failed(EINVAL);
	while (result == 1) {
		if (!wait_for(q, q->room, timeout, end))
			return q->closed ? failed(EPIPE) : 1;
		lock(q);
		if (q->closed) {
			result = -1;
		} else if (q->put - q->taken < q->maxsize) {
			memcpy(slot(q, q->put), item, q->item_size);
			post(q->filled);
			q->put++;
			result = 0;
		}
		unlock(q);
	}
	return result == 0 ? 0 : failed(EPIPE);
}

/* 0 an item, 1 none now, -1 never again. */
static int take(struct queue *q, void *item)
{
	int result = 0;

	lock(q);
	if (q->put == q->taken) {
		result = q->closed ? -1 : 1;
	} else {
		memcpy(item, slot(q, q->taken), q->item_size);
		post(q->room);
		q->taken++;
	}
	unlock(q);
	return result == -1 ? failed(EPIPE) : result;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	double end = seconds_now() + timeout;
	int result = 1;

	if (item == NULL)
		return failed(EINVAL);
	while (result == 1) {
		if (!wait_for(q, q->filled, timeout, end) && !q->closed)
			return 1;
		result = take(q, item);
	}
	return result;
}

int queue_close(struct queue *q)
{
	lock(q);
	q->closed = true;
	post(q->end);
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

void queue_destroy(struct queue *q)
{
	if (q->filled >= 0)
		close(q->filled);
	if (q->room >= 0)
		close(q->room);
	if (q->end >= 0)
		close(q->end);
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
