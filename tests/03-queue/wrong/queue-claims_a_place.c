/*
 * misconception: L03-17 who has claimed a place and dies before it is filled stops all others
 * rejected by:   who dies inside does not keep the others out
 * message:       Somebody died with the key in the pocket
 */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
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

/*
 * A place says whose turn it is: 2n, to be filled with item n; 2n + 1, to be
 * emptied of it.
 */
struct place {
	_Atomic size_t turn;
	unsigned char bytes[];
};

struct queue {
	size_t maxsize, item_size, place_size, bytes;
	_Atomic size_t put, taken;
	_Atomic uint32_t puts, gets;	/* change with each put, each get */
	atomic_bool closed;
	_Alignas(16) unsigned char places[];
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

static void wake(_Atomic uint32_t *word, int n)
{
	++*word;
	syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0);
}

static struct place *place(struct queue *q, size_t n)
{
	return (struct place *)(void *)(q->places + n % q->maxsize *
					q->place_size);
}

/* ---- the queue --------------------------------------------------------- */

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t size, bytes;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (item_size > SIZE_MAX / 4 || maxsize > SIZE_MAX / 4)
		return errno = ENOMEM, NULL;
	size = (sizeof(struct place) + item_size + 15) / 16 * 16;
	if (maxsize > (SIZE_MAX / 2 - sizeof *q) / size)
		return errno = ENOMEM, NULL;
	bytes = sizeof *q + maxsize * size;
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->place_size = size;
	q->bytes = bytes;
	for (size_t n = 0; n < maxsize; n++)
		place(q, n)->turn = 2 * n;
	return q;
}

static int put_now(struct queue *q, const void *item)
{
	size_t n = q->put;

	for (;;) {
		struct place *p = place(q, n);

		if (q->closed)
			return failed(EPIPE);
		if (p->turn < 2 * n)
			return 1;
		if (p->turn != 2 * n ||
		    !atomic_compare_exchange_strong(&q->put, &n, n + 1)) {
			n = q->put;
			continue;
		}
		memcpy(p->bytes, item, q->item_size);
		p->turn = 2 * n + 1;
		wake(&q->puts, 1);
		return 0;
	}
}

static int get_now(struct queue *q, void *item)
{
	size_t n = q->taken;
	bool closed = q->closed;

	for (;;) {
		struct place *p = place(q, n);

		if (p->turn < 2 * n + 1)
			return closed ? failed(EPIPE) : 1;
		if (p->turn != 2 * n + 1 ||
		    !atomic_compare_exchange_strong(&q->taken, &n, n + 1)) {
			n = q->taken;
			continue;
		}
		memcpy(item, p->bytes, q->item_size);
		p->turn = 2 * (n + q->maxsize);
		wake(&q->gets, 1);
		return 0;
	}
}

/* False when the time is over. */
static bool wait_for(_Atomic uint32_t *word, uint32_t seen, double timeout,
		     const struct timespec *end)
{
	if (timeout == 0)
		return false;
	return syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen,
		       timeout < 0 ? NULL : end, NULL,
		       FUTEX_BITSET_MATCH_ANY) == 0 || errno != ETIMEDOUT;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec end = { 0 };
	uint32_t seen;
	int result;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	do {
		seen = q->gets;
		result = put_now(q, item);
	} while (result == 1 && wait_for(&q->gets, seen, timeout, &end));
	return result;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec end = { 0 };
	uint32_t seen;
	int result;

	if (item == NULL)
		return failed(EINVAL);
	if (timeout > 0)
		end = moment(timeout);
	do {
		seen = q->puts;
		result = get_now(q, item);
	} while (result == 1 && wait_for(&q->puts, seen, timeout, &end));
	return result;
}

int queue_close(struct queue *q)
{
	q->closed = true;
	wake(&q->puts, INT_MAX);
	wake(&q->gets, INT_MAX);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	size_t taken = q->taken;

	return q->put - taken;
}

void queue_destroy(struct queue *q)
{
	munmap(q, q->bytes);
}

/* ---- producers and consumers ------------------------------------------- */

enum end { UNKNOWN, DONE, REFUSED };	/* UNKNOWN: it never told us */

struct worker {
	pid_t pid;
	int pidfd;		/* -1: it has been collected */
};

struct run {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	_Atomic char *ends;	/* shared: how each of them ended */
	struct worker *workers;
	struct pollfd *watch;
	int error;		/* the first thing that went wrong */
};

static enum end consume_all(const struct run *r, int consumer)
{
	void *item = malloc(r->q->item_size);
	enum end end = DONE;

	if (item == NULL)
		return REFUSED;
	while (end == DONE && queue_get(r->q, item, -1) == 0)
		if (r->consume(item, consumer, r->arg) != 0)
			end = REFUSED;
	free(item);
	return end;
}

static _Noreturn void work(const struct run *r, int i)
{
	if (i >= r->producers)
		r->ends[i] = consume_all(r, i - r->producers);
	else
		r->ends[i] = r->produce(r->q, i, r->arg) == 0 ? DONE : REFUSED;
	_exit(0);
}

static void note_error(struct run *r, int error)
{
	if (r->error == 0)
		r->error = error;
	queue_close(r->q);
}

static int start(struct run *r, int i)
{
	pid_t pid = fork();

	if (pid == 0)
		work(r, i);
	if (pid < 0) {
		note_error(r, errno);
		return -1;
	}
	r->workers[i].pid = pid;
	r->workers[i].pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (r->workers[i].pidfd < 0)
		note_error(r, errno);
	return 0;
}

static void collect(struct run *r, int i)
{
	while (waitpid(r->workers[i].pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (r->workers[i].pidfd >= 0)
		close(r->workers[i].pidfd);
	r->workers[i].pid = 0;
	r->workers[i].pidfd = -1;
	if (r->ends[i] != DONE)
		note_error(r, r->ends[i] == UNKNOWN ? EOWNERDEAD : ECANCELED);
}

static bool producers_left(const struct run *r)
{
	for (int i = 0; i < r->producers; i++)
		if (r->workers[i].pid != 0)
			return true;
	return false;
}

/* Wait until one of them ends; false when all have. */
static bool collect_next(struct run *r, int n)
{
	int left = 0;

	for (int i = 0; i < n; i++) {
		r->watch[i].fd = r->workers[i].pid ? r->workers[i].pidfd : -1;
		r->watch[i].events = POLLIN;
		r->watch[i].revents = 0;
		left += r->watch[i].fd >= 0;
	}
	if (left == 0)
		return false;
	if (poll(r->watch, (nfds_t)n, -1) < 0)
		return true;
	for (int i = 0; i < n; i++)
		if (r->watch[i].revents != 0)
			collect(r, i);
	if (!producers_left(r))
		queue_close(r->q);
	return true;
}

static void run_all(struct run *r, int n)
{
	int started = 0;

	while (started < n && start(r, started) == 0)
		started++;
	while (collect_next(r, started))
		;
	for (int i = 0; i < started; i++)	/* those without a pidfd */
		if (r->workers[i].pid != 0)
			collect(r, i);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = { q, producers, consumers, produce, consume, arg,
			 .error = 0 };
	int n = producers + consumers;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	r.workers = calloc((size_t)n, sizeof *r.workers);
	r.watch = calloc((size_t)n, sizeof *r.watch);
	r.ends = mmap(NULL, (size_t)n, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r.workers != NULL && r.watch != NULL && r.ends != MAP_FAILED)
		run_all(&r, n);
	else
		note_error(&r, ENOMEM);
	if (r.ends != MAP_FAILED)
		munmap(r.ends, (size_t)n);
	free(r.watch);
	free(r.workers);
	return r.error == 0 ? 0 : failed(r.error);
}
