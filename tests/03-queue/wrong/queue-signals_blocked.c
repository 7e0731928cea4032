/*
 * misconception: signals stay blocked when nothing was got
 * rejected by:   nothing is printed, and no signal blocked
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <semaphore.h>
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
	sem_t room, filled;		/* who may come in; tells no secrets */
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

/* False when the time is over. */
static bool wait_for(sem_t *s, double timeout, const struct timespec *end)
{
	int r;

	do {
		if (timeout < 0)
			r = sem_wait(s);
		else if (timeout == 0)
			r = sem_trywait(s);
		else
			r = sem_clockwait(s, CLOCK_MONOTONIC, end);
	} while (r < 0 && errno == EINTR);
	return r == 0;
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
	if (sem_init(&q->room, 1, (unsigned)maxsize) != 0 ||
	    sem_init(&q->filled, 1, 0) != 0)
		return errno;
	return 0;
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
	if (maxsize > SEM_VALUE_MAX / 2 ||
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
	error = prepare(q, maxsize);
	if (error == 0)
		return q;
	munmap(q, bytes);
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
	struct timespec end = { 0 };
	int result = 1;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	while (result == 1) {
		if (q->closed)
			return failed(EPIPE);
		if (!wait_for(&q->room, timeout, &end))
			return q->closed ? failed(EPIPE) : 1;
		lock(q);
		if (q->closed) {
			sem_post(&q->room);	/* the next one, too */
			result = -1;
		} else if (q->put - q->taken < q->maxsize) {
			memcpy(slot(q, q->put), item, q->item_size);
			sem_post(&q->filled);
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
		sem_post(&q->room);
		q->taken++;
	}
	if (q->closed)
		sem_post(&q->filled);
	unlock(q);
	return result == -1 ? failed(EPIPE) : result;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec end = { 0 };
	int result = 1;

	sigset_t all, before;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	while (result == 1) {
		if (!q->closed && !wait_for(&q->filled, timeout, &end) &&
		    !q->closed)
			return 1;
		sigfillset(&all);	/* not in the middle of an item */
		sigprocmask(SIG_BLOCK, &all, &before);
		result = take(q, item);
		if (result == 0)
			sigprocmask(SIG_SETMASK, &before, NULL);
	}
	return result;
}

int queue_close(struct queue *q)
{
	lock(q);
	q->closed = true;
	sem_post(&q->filled);
	sem_post(&q->room);
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
	munmap(q, q->bytes);
}

/* ---- producers and consumers ------------------------------------------- */

/*
 * A process in between has no other children: it waits for whichever ends,
 * and tells the caller by its own exit status how it went.
 */
struct run {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	struct told { _Atomic int error; _Atomic char through[]; } *told;
	pid_t *pids;
};

/* The first error is the one that is told. */
static void tell(struct run *r, int error)
{
	int none = 0;

	atomic_compare_exchange_strong(&r->told->error, &none, error);
	queue_close(r->q);
}

static void consume_all(struct run *r, int consumer)
{
	void *item = malloc(r->q->item_size);

	if (item == NULL)
		tell(r, ENOMEM);
	while (item != NULL && queue_get(r->q, item, -1) == 0)
		if (r->consume(item, consumer, r->arg) != 0) {
			tell(r, ECANCELED);
			return;
		}
}

static _Noreturn void work(struct run *r, int i)
{
	if (i >= r->producers)
		consume_all(r, i - r->producers);
	else if (r->produce(r->q, i, r->arg) != 0)
		tell(r, ECANCELED);
	r->told->through[i] = 1;
	_exit(0);
}

static int number_of(const struct run *r, pid_t pid)
{
	int n = r->producers + r->consumers;

	for (int i = 0; i < n; i++)
		if (r->pids[i] == pid)
			return i;
	return -1;
}

static void collect_all(struct run *r, int started)
{
	int producing = r->producers, i;
	pid_t pid;

	while (started > 0) {
		pid = wait(NULL);
		if (pid < 0)
			continue;
		started--;
		i = number_of(r, pid);
		if (i >= 0 && !r->told->through[i])
			tell(r, EOWNERDEAD);
		if (i >= 0 && i < r->producers && --producing == 0)
			queue_close(r->q);
	}
}

static _Noreturn void manage(struct run *r)
{
	int n = r->producers + r->consumers, i;

	for (i = 0; i < n; i++) {
		r->pids[i] = fork();
		if (r->pids[i] == 0)
			work(r, i);
		if (r->pids[i] < 0) {
			tell(r, errno);
			break;
		}
	}
	collect_all(r, i);
	_exit(0);
}

static void run(struct run *r)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		manage(r);
	if (pid < 0) {
		tell(r, errno);
		return;
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status != 0)
		tell(r, EOWNERDEAD);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = { q, producers, consumers, produce, consume, arg,
			 NULL, NULL };
	size_t size;
	int error;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	size = sizeof *r.told + (size_t)producers + (size_t)consumers;
	r.pids = calloc((size_t)producers + (size_t)consumers, sizeof *r.pids);
	r.told = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.pids == NULL || r.told == MAP_FAILED) {
		if (r.told != MAP_FAILED)
			munmap(r.told, size);
		free(r.pids);
		queue_close(q);
		return failed(ENOMEM);
	}
	run(&r);
	error = r.told->error;
	munmap(r.told, size);
	free(r.pids);
	return error == 0 ? 0 : failed(error);
}
