/*
 * misconception: the items have numbers of 16 bits
 * rejected by:   a queue works for as long as it is used
 * message:       A number that only ever grows comes to its end, or something fills up
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

/*
 * No ring: any place that is free, and a number for each that says when it
 * was filled (0 = free). The oldest is the one with the smallest number.
 */
struct queue {
	size_t cap, item_size, bytes;
	pthread_mutex_t mutex;
	uint16_t last;				/* number given out */
	size_t used;				/* can be counted anew */
	bool closed;
	atomic_uint items_gen, room_gen;
	_Atomic uint16_t number[];
	/* and behind that the items */
};

#define PLACE(q, i) ((char *)&(q)->number[(q)->cap] + (i) * (q)->item_size)
#define ANNOUNCE(gen) (atomic_fetch_add(&(gen), 1), futex_all(&(gen)))

static void enter(struct queue *q)
{
	size_t n = 0;

	if (pthread_mutex_lock(&q->mutex) != EOWNERDEAD)
		return;
	for (size_t i = 0; i < q->cap; i++)
		n += q->number[i] != 0;
	q->used = n;
	ANNOUNCE(q->items_gen);
	ANNOUNCE(q->room_gen);
	pthread_mutex_consistent(&q->mutex);
}

static int leave(struct queue *q, int result)
{
	pthread_mutex_unlock(&q->mutex);
	return result;
}

static int heir_mutex(pthread_mutex_t *m)
{
	pthread_mutexattr_t a;
	int e;

	if ((e = pthread_mutexattr_init(&a)) != 0)
		return e;
	(void)((e = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED)) ||
	       (e = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST)) ||
	       (e = pthread_mutexattr_setprotocol(&a, PTHREAD_PRIO_INHERIT)) ||
	       (e = pthread_mutex_init(m, &a)));
	pthread_mutexattr_destroy(&a);
	return e;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	size_t bytes, each = item_size + sizeof(uint16_t);
	struct queue *q;
	int e;

	if (item_size == 0)
		return errno = EINVAL, NULL;
	if (item_size > SIZE_MAX - sizeof(uint16_t))
		return errno = maxsize ? ENOMEM : EINVAL, NULL;
	q = shared(sizeof *q, maxsize, each, &bytes);
	if (q == NULL)
		return NULL;
	q->cap = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	if ((e = heir_mutex(&q->mutex)) != 0) {
		munmap(q, bytes);
		return errno = e, NULL;
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
	size_t n = q->used;
	leave(q, 0);
	return n;
}

int queue_close(struct queue *q)
{
	enter(q);
	q->closed = true;
	ANNOUNCE(q->items_gen);
	ANNOUNCE(q->room_gen);
	return leave(q, 0);
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);
	size_t i;

	if (item == NULL)
		return fail(EINVAL);
again:
	enter(q);
	if (q->closed)
		return leave(q, 0), fail(EPIPE);
	if (q->used < q->cap) {
		for (i = 0; q->number[i] != 0; i++)
			;
		memcpy(PLACE(q, i), item, q->item_size);
		q->last++;
		q->number[i] = q->last;
		q->used++;
		ANNOUNCE(q->items_gen);
		return leave(q, 0);
	}
	unsigned gen = q->room_gen;
	leave(q, 0);
	if (past(end))
		return 1;
	futex_sleep(&q->room_gen, gen, end);
	goto again;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);
	size_t oldest;

	if (item == NULL)
		return fail(EINVAL);
again:
	enter(q);
	if (q->used > 0) {
		oldest = q->cap;
		for (size_t i = 0; i < q->cap; i++)
			if (q->number[i] != 0 && (oldest == q->cap ||
			    q->number[i] < q->number[oldest]))
				oldest = i;
		memcpy(item, PLACE(q, oldest), q->item_size);
		q->number[oldest] = 0;
		q->used--;
		ANNOUNCE(q->room_gen);
		return leave(q, 0);
	}
	if (q->closed)
		return leave(q, 0), fail(EPIPE);
	unsigned gen = q->items_gen;
	leave(q, 0);
	if (past(end))
		return 1;
	futex_sleep(&q->items_gen, gen, end);
	goto again;
}

/* ---- queue_run: a thread of the caller waits for each of the processes -- */

struct watch {
	pthread_mutex_t mutex;
	struct queue *q;
	int error, producing;
};

struct child {
	struct watch *watch;
	_Atomic char *said;		/* 0 nothing, 1 well, 2 not so well */
	bool producer, watched;
	pid_t pid;
	pthread_t thread;
};

static void *watch_one(void *p)
{
	struct child *c = p;
	struct watch *w = c->watch;
	int error;

	while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR)
		;
	error = *c->said == 1 ? 0 : *c->said == 2 ? ECANCELED : EOWNERDEAD;
	pthread_mutex_lock(&w->mutex);
	if (w->error == 0)
		w->error = error;
	if (c->producer)
		w->producing--;
	if (error != 0 || w->producing == 0)
		queue_close(w->q);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

static void *map_bytes(size_t n)
{
	return mmap(NULL, n, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct watch watch = { .q = q, .producing = producers };
	size_t n, made = 0, i;
	struct child *all;
	_Atomic char *said;
	sigset_t every, old;
	int error = 0;
	pid_t me = getpid();
	char *item;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	n = (size_t)producers + (size_t)consumers;
	all = calloc(n, sizeof *all);
	item = malloc(q->item_size);
	said = map_bytes(n);
	if (all == NULL || item == NULL || said == MAP_FAILED) {
		if (said != MAP_FAILED)
			munmap((void *)said, n);
		free(item);
		free(all);
		queue_close(q);
		return fail(ENOMEM);
	}
	pthread_mutex_init(&watch.mutex, NULL);
	while (made < n) {
		struct child *c = &all[made];

		c->watch = &watch;
		c->said = &said[made];
		c->producer = made < (size_t)producers;
		c->pid = fork();
		if (c->pid < 0) {
			error = errno;
			break;
		}
		if (c->pid > 0) {
			made++;
			continue;
		}
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != me)
			_exit(1);
		if (c->producer) {
			*c->said = produce(q, (int)made, arg) == 0 ? 1 : 2;
			_exit(0);
		}
		char word = 0;
		while (word == 0)
			if (queue_get(q, item, -1) != 0)
				word = errno == EPIPE ? 1 : 2;
			else if (consume(item, (int)made - producers, arg) != 0)
				word = 2;
		*c->said = word;
		_exit(0);
	}
	/* No signal shall be handled by one of the threads. */
	sigfillset(&every);
	pthread_sigmask(SIG_SETMASK, &every, &old);
	for (i = 0; i < made && error == 0; i++) {
		error = pthread_create(&all[i].thread, NULL, watch_one, &all[i]);
		all[i].watched = error == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error != 0)
		queue_close(q);
	for (i = 0; i < made; i++)
		if (all[i].watched)
			pthread_join(all[i].thread, NULL);
		else
			watch_one(&all[i]);
	if (error == 0)
		error = watch.error;
	pthread_mutex_destroy(&watch.mutex);
	munmap((void *)said, n);
	free(item);
	free(all);
	return error ? fail(error) : 0;
}
