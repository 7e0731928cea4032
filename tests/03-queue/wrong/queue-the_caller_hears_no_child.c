/*
 * misconception: what the caller does when a child ends is changed, and stays so
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
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int fail(int e)
{
	errno = e;
	return -1;
}

/* The moment when so many seconds are over; NULL when that is never. */
static const struct timespec *limit(double seconds, struct timespec *t)
{
	if (seconds < 0)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, t);
	if (seconds > 1e9)
		seconds = 1e9;
	t->tv_sec += (time_t)seconds;
	t->tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (t->tv_nsec >= 1000000000L) {
		t->tv_nsec -= 1000000000L;
		t->tv_sec += 1;
	}
	return t;
}

static bool past(const struct timespec *end)
{
	struct timespec now;

	if (end == NULL)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	if (now.tv_sec == end->tv_sec)
		return now.tv_nsec >= end->tv_nsec;
	return now.tv_sec > end->tv_sec;
}

static void futex_sleep(atomic_uint *word, unsigned seen,
			const struct timespec *end)
{
	syscall(SYS_futex, word, FUTEX_WAIT_BITSET, seen, end, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static void futex_all(atomic_uint *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static int robust_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int e = pthread_mutexattr_init(&a);

	if (e)
		return e;
	if (!(e = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED)) &&
	    !(e = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST)))
		e = pthread_mutex_init(m, &a);
	pthread_mutexattr_destroy(&a);
	return e;
}

/* Memory for all descendants: fixed bytes, and n times each; or NULL. */
static void *shared(size_t fixed, size_t n, size_t each, size_t *bytes)
{
	void *p;

	if (n == 0 || each == 0)
		return errno = EINVAL, NULL;
	if (__builtin_mul_overflow(n, each, bytes) ||
	    __builtin_add_overflow(*bytes, fixed, bytes) ||
	    *bytes > PTRDIFF_MAX)
		return errno = ENOMEM, NULL;
	p = mmap(NULL, *bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return p == MAP_FAILED ? NULL : p;
}

/* One lock for all; two generation numbers to sleep on; wake everybody. */
struct queue {
	size_t cap, item_size, bytes;
	pthread_mutex_t mutex;
	_Atomic uint64_t head, tail;
	atomic_bool closed;
	atomic_uint items_gen, room_gen;
	unsigned char ring[];
};

static void announce(atomic_uint *gen)
{
	atomic_fetch_add(gen, 1);
	futex_all(gen);
}

static void enter(struct queue *q)
{
	if (pthread_mutex_lock(&q->mutex) == EOWNERDEAD) {
		/* head and tail move by one store each: nothing to repair,
		 * but perhaps nobody was told. */
		pthread_mutex_consistent(&q->mutex);
		announce(&q->items_gen);
		announce(&q->room_gen);
	}
}

static void leave(struct queue *q)
{
	pthread_mutex_unlock(&q->mutex);
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	size_t bytes;
	struct queue *q = shared(sizeof *q, maxsize, item_size, &bytes);

	if (q == NULL)
		return NULL;
	q->cap = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	int e = robust_mutex(&q->mutex);
	if (e) {
		munmap(q, bytes);
		errno = e;
		return NULL;
	}
	return q;
}

void queue_destroy(struct queue *q)
{
	munmap(q, q->bytes);
}

size_t queue_qsize(struct queue *q)
{
	enter(q);
	size_t n = q->tail - q->head;
	leave(q);
	return n;
}

int queue_close(struct queue *q)
{
	enter(q);
	q->closed = true;
	announce(&q->items_gen);
	announce(&q->room_gen);
	leave(q);
	return 0;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		enter(q);
		unsigned gen = q->room_gen;
		if (q->closed) {
			leave(q);
			return fail(EPIPE);
		}
		uint64_t n = q->tail;
		if (n - q->head < q->cap) {
			memcpy(q->ring + n % q->cap * q->item_size, item,
			       q->item_size);
			q->tail = n + 1;
			announce(&q->items_gen);
			leave(q);
			return 0;
		}
		leave(q);
		if (past(end))
			return 1;
		futex_sleep(&q->room_gen, gen, end);
	}
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		enter(q);
		unsigned gen = q->items_gen;
		uint64_t n = q->head;
		if (n != q->tail) {
			memcpy(item, q->ring + n % q->cap * q->item_size,
			       q->item_size);
			q->head = n + 1;
			announce(&q->room_gen);
			leave(q);
			return 0;
		}
		bool closed = q->closed;
		leave(q);
		if (closed)
			return fail(EPIPE);
		if (past(end))
			return 1;
		futex_sleep(&q->items_gen, gen, end);
	}
}

/* ---- queue_run: a pidfd for each process, verdicts in common memory ---- */

enum { NOTHING, GOOD, BAD };

struct worker {
	pid_t pid;
	bool gone;
};

static char worker_life(struct queue *q, int i, int producers,
			int (*produce)(struct queue *, int, void *),
			int (*consume)(const void *, int, void *),
			void *arg, void *item)
{
	if (i < producers)
		return produce(q, i, arg) == 0 ? GOOD : BAD;
	while (queue_get(q, item, -1) == 0)
		if (consume(item, i - producers, arg) != 0)
			return BAD;
	return errno == EPIPE ? GOOD : BAD;
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	if (producers < 1 || consumers < 1)
		return fail(EINVAL);

	size_t n = (size_t)producers + (size_t)consumers, started = 0, left;
	struct worker *w = calloc(n, sizeof *w);
	struct pollfd *fds = calloc(n, sizeof *fds);
	void *item = malloc(q->item_size);
	_Atomic char *verdict = mmap(NULL, n, PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int error = 0, producing = producers;
	pid_t me = getpid();

	signal(SIGCHLD, SIG_DFL);
	if (w == NULL || fds == NULL || item == NULL || verdict == MAP_FAILED)
		error = ENOMEM;
	for (; error == 0 && started < n; started++) {
		pid_t pid = fork();

		if (pid < 0) {
			error = errno;
			break;
		}
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me)
				_exit(1);
			verdict[started] = worker_life(q, (int)started,
				producers, produce, consume, arg, item);
			_exit(0);
		}
		w[started].pid = pid;
		fds[started].events = POLLIN;
		fds[started].fd = (int)syscall(SYS_pidfd_open, pid, 0);
		if (fds[started].fd < 0)
			error = errno;	/* this one we cannot watch */
	}
	if (error != 0)
		queue_close(q);
	left = 0;
	for (size_t i = 0; i < started; i++)
		left += fds[i].fd >= 0;
	while (left > 0) {
		if (poll(fds, started, -1) < 0)
			continue;
		for (size_t i = 0; i < started; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			close(fds[i].fd);
			fds[i].fd = -1;
			left--;
			while (waitpid(w[i].pid, NULL, 0) < 0 &&
			       errno == EINTR)
				;
			w[i].gone = true;
			if (verdict[i] != GOOD && error == 0)
				error = verdict[i] == BAD ? ECANCELED
							  : EOWNERDEAD;
			if (i < (size_t)producers)
				producing--;
			if (verdict[i] != GOOD || producing == 0)
				queue_close(q);
		}
	}
	for (size_t i = 0; i < started; i++)
		if (!w[i].gone)
			while (waitpid(w[i].pid, NULL, 0) < 0 &&
			       errno == EINTR)
				;
	if (verdict != MAP_FAILED)
		munmap((void *)verdict, n);
	free(item);
	free(fds);
	free(w);
	return error ? fail(error) : 0;
}
