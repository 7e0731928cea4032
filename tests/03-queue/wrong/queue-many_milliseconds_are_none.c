/*
 * misconception: what is left of a long limit is no number of milliseconds for an int: it does not sleep
 * rejected by:   waiting costs nothing
 * message:       The time does not fit into the type you chose, and C does not tell you
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

/*
 * Two event descriptors, lit as long as there is an item (room) or the queue
 * is closed; who waits polls them.
 */
struct queue {
	size_t cap, item_size, bytes;
	int items_fd, room_fd;
	pthread_mutex_t mutex;
	_Atomic uint64_t head, tail;
	atomic_bool closed;
	unsigned char ring[];
};

static void light(int fd, bool on)
{
	uint64_t n = 1;
	ssize_t r;

	do
		r = on ? write(fd, &n, sizeof n) : read(fd, &n, sizeof n);
	while (r < 0 && errno == EINTR);
}

static void relight(struct queue *q)
{
	uint64_t n = q->tail - q->head;

	light(q->items_fd, n > 0 || q->closed);
	light(q->room_fd, n < q->cap || q->closed);
}

static void enter(struct queue *q)
{
	if (pthread_mutex_lock(&q->mutex) == EOWNERDEAD) {
		pthread_mutex_consistent(&q->mutex);
		relight(q);
	}
}

static void leave(struct queue *q)
{
	pthread_mutex_unlock(&q->mutex);
}

/* Not 0 to 2, where others write who do not know us. */
static int event(unsigned first)
{
	int fd = eventfd(first, EFD_NONBLOCK | EFD_CLOEXEC), high;

	if (fd < 0 || fd > 2)
		return fd;
	high = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	int e = errno;
	close(fd);
	errno = e;
	return high;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	size_t bytes;
	int e;
	struct queue *q = shared(sizeof *q, maxsize, item_size, &bytes);

	if (q == NULL)
		return NULL;
	q->cap = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	if ((q->items_fd = event(0)) < 0) {
		e = errno;
		goto unmap;
	}
	if ((q->room_fd = event(1)) < 0) {
		e = errno;
		goto close_items;
	}
	if ((e = robust_mutex(&q->mutex)) == 0)
		return q;
	close(q->room_fd);
close_items:
	close(q->items_fd);
unmap:
	munmap(q, bytes);
	errno = e;
	return NULL;
}

void queue_destroy(struct queue *q)
{
	close(q->items_fd);
	close(q->room_fd);
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
	light(q->items_fd, true);
	light(q->room_fd, true);
	leave(q);
	return 0;
}

static void wait_for(int fd, const struct timespec *end)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct timespec now;

	if (end == NULL) {
		poll(&p, 1, -1);
		return;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	int ms = (int)((end->tv_sec - now.tv_sec) * 1000 +
		       (end->tv_nsec - now.tv_nsec) / 1000000);
	poll(&p, 1, ms < 0 ? 0 : ms);
}

static int put_now(struct queue *q, const void *item)
{
	int result = 1;

	enter(q);
	uint64_t n = q->tail, first = q->head;
	if (q->closed) {
		result = -1;
	} else if (n - first < q->cap) {
		memcpy(q->ring + n % q->cap * q->item_size, item, q->item_size);
		q->tail = n + 1;
		if (n == first)
			light(q->items_fd, true);
		if (n + 1 - first == q->cap)
			light(q->room_fd, false);
		result = 0;
	}
	leave(q);
	return result < 0 ? fail(EPIPE) : result;
}

static int get_now(struct queue *q, void *item)
{
	int result = 1;

	enter(q);
	uint64_t n = q->head, last = q->tail;
	if (n != last) {
		memcpy(item, q->ring + n % q->cap * q->item_size, q->item_size);
		q->head = n + 1;
		if (last - n == q->cap)
			light(q->room_fd, true);
		if (n + 1 == last && !q->closed)
			light(q->items_fd, false);
		result = 0;
	} else if (q->closed) {
		result = -1;
	}
	leave(q);
	return result < 0 ? fail(EPIPE) : result;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);
	int result;

	if (item == NULL)
		return fail(EINVAL);
	while ((result = put_now(q, item)) == 1 && !past(end))
		wait_for(q->room_fd, end);
	return result;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);
	int result;

	if (item == NULL)
		return fail(EINVAL);
	while ((result = get_now(q, item)) == 1 && !past(end))
		wait_for(q->items_fd, end);
	return result;
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
