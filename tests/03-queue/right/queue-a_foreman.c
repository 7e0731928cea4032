/* style: numbers of places go through two pipes; queue_run starts one process, which
 * starts and collects all others */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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

struct shared {
	pthread_mutex_t mutex;		/* puts and the close, one at a time */
	_Atomic bool closed;
};

/* Numbers of places travel through two pipes; who has one owns the place. */
struct queue {
	struct shared *s;
	char *places;
	size_t maxsize, item_size, bytes;
	int empty[2], full[2];
	int shut;			/* readable for ever once closed */
};

static void *common(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static bool fill(struct queue *q)
{
	size_t bytes = q->maxsize * sizeof(uint32_t);

	int size = bytes > INT_MAX / 2 ? INT_MAX : (int)bytes;

	if (bytes > 65536 && (fcntl(q->empty[1], F_SETPIPE_SZ, size) < 0 ||
			      fcntl(q->full[1], F_SETPIPE_SZ, size) < 0))
		return errno = ENOMEM, false;
	for (uint32_t i = 0; i < q->maxsize; i++)
		if (write(q->empty[1], &i, sizeof i) != sizeof i)
			return errno = ENOMEM, false;
	return true;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	int e;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (maxsize > PTRDIFF_MAX / item_size || maxsize > UINT32_MAX)
		return errno = ENOMEM, NULL;
	q = malloc(sizeof *q);
	if (q == NULL)
		return NULL;
	*q = (struct queue){ .maxsize = maxsize, .item_size = item_size,
			     .bytes = maxsize * item_size,
			     .empty = { -1, -1 }, .full = { -1, -1 },
			     .shut = -1 };
	q->s = common(sizeof *q->s);
	q->places = common(q->bytes);
	errno = q->s && q->places ? 0 : ENOMEM;
	if (q->s && q->places &&
	    pipe2(q->empty, O_CLOEXEC | O_NONBLOCK) == 0 &&
	    pipe2(q->full, O_CLOEXEC | O_NONBLOCK) == 0 &&
	    (q->shut = eventfd(0, EFD_CLOEXEC)) >= 0 && fill(q)) {
		robust(&q->s->mutex);
		return q;
	}
	e = errno;
	queue_destroy(q);
	errno = e;
	return NULL;
}

void queue_destroy(struct queue *q)
{
	int fds[] = { q->empty[0], q->empty[1], q->full[0], q->full[1],
		      q->shut };

	for (int i = 0; i < 5; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (q->s)
		munmap(q->s, sizeof *q->s);
	if (q->places)
		munmap(q->places, q->bytes);
	free(q);
}

static void alone(struct queue *q)
{
	if (pthread_mutex_lock(&q->s->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&q->s->mutex);
}

static bool pull(int fd, uint32_t *n)
{
	ssize_t r;

	while ((r = read(fd, n, sizeof *n)) < 0 && errno == EINTR)
		;
	return r == sizeof *n;
}

static void push(int fd, uint32_t n)
{
	while (write(fd, &n, sizeof n) < 0 && errno == EINTR)
		;
}

static int put_it(struct queue *q, const void *item)
{
	uint32_t n;
	int r = 1;

	alone(q);
	if (q->s->closed) {
		r = -1;
	} else if (pull(q->empty[0], &n)) {
		memcpy(q->places + n * q->item_size, item, q->item_size);
		push(q->full[1], n);
		r = 0;
	}
	pthread_mutex_unlock(&q->s->mutex);
	return r < 0 ? fail(EPIPE) : r;
}

static int get_it(struct queue *q, void *item)
{
	bool closed = q->s->closed;
	uint32_t n;

	if (!pull(q->full[0], &n))
		return closed ? fail(EPIPE) : 1;
	memcpy(item, q->places + n * q->item_size, q->item_size);
	push(q->empty[1], n);
	return 0;
}

static bool pause_on(struct queue *q, int fd, double timeout,
		     const struct timespec *end)
{
	struct pollfd p[] = { { .fd = fd, .events = POLLIN },
			      { .fd = q->shut, .events = POLLIN } };
	struct timespec t;

	if (timeout >= 0) {
		if (past(end))
			return false;
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_sec = end->tv_sec - t.tv_sec;
		t.tv_nsec = end->tv_nsec - t.tv_nsec;
		if (t.tv_nsec < 0) {
			t.tv_nsec += 1000000000L;
			t.tv_sec--;
		}
		if (t.tv_sec < 0)
			return false;
	}
	ppoll(p, 2, timeout < 0 ? NULL : &t, NULL);
	return true;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec end = in_so_many(timeout > 0 ? timeout : 0);
	int r;

	if (item == NULL)
		return fail(EINVAL);
	while ((r = put_it(q, item)) == 1 &&
	       pause_on(q, q->empty[0], timeout, &end))
		;
	return r;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct timespec end = in_so_many(timeout > 0 ? timeout : 0);
	int r;

	if (item == NULL)
		return fail(EINVAL);
	while ((r = get_it(q, item)) == 1 &&
	       pause_on(q, q->full[0], timeout, &end))
		;
	return r;
}

int queue_close(struct queue *q)
{
	uint64_t one = 1;
	ssize_t r;

	alone(q);
	q->s->closed = true;
	pthread_mutex_unlock(&q->s->mutex);
	r = write(q->shut, &one, sizeof one);
	return r < 0 ? -1 : 0;
}

size_t queue_qsize(struct queue *q)
{
	int n = 0;

	ioctl(q->full[0], FIONREAD, &n);
	return (size_t)n / sizeof(uint32_t);
}

/* ---- processes: children of a foreman, who may wait for any child -------- */

struct report {
	_Atomic int error;		/* what went wrong first */
	_Atomic int done;		/* the foreman came to its end */
	_Atomic char good[];		/* 1 = fine, 2 = a callback failed */
};

static void hands(struct queue *q, int i, int producers,
		  int (*produce)(struct queue *, int, void *),
		  int (*consume)(const void *, int, void *), void *arg,
		  struct report *r)
{
	void *item;
	int rc = 0;

	if (i < producers) {
		r->good[i] = produce(q, i, arg) ? 2 : 1;
		_exit(0);
	}
	item = malloc(q->item_size);
	if (item == NULL)
		_exit(1);
	while (rc == 0 && queue_get(q, item, -1) == 0)
		rc = consume(item, i - producers, arg);
	r->good[i] = rc ? 2 : 1;
	_exit(0);
}

static void foreman(struct queue *q, int producers, int consumers,
		    int (*produce)(struct queue *, int, void *),
		    int (*consume)(const void *, int, void *), void *arg,
		    struct report *r)
{
	int n = 0, all = producers + consumers, makers = producers, i, left;
	pid_t *pids = calloc((size_t)all, sizeof *pids), pid;

	if (pids == NULL)
		r->error = ENOMEM;
	while (r->error == 0 && n < all) {
		pid = fork();
		if (pid == 0)
			hands(q, n, producers, produce, consume, arg, r);
		if (pid < 0)
			r->error = errno;
		else
			pids[n++] = pid;
	}
	if (r->error != 0)
		queue_close(q);
	for (left = n; left > 0; left--) {
		while ((pid = waitpid(-1, NULL, 0)) < 0 && errno == EINTR)
			;
		for (i = 0; i < n && pids[i] != pid; i++)
			;
		if (r->good[i] != 1 && r->error == 0)
			r->error = r->good[i] == 2 ? ECANCELED : EOWNERDEAD;
		if (i < producers)
			makers--;
		if (r->good[i] != 1 || makers == 0)
			queue_close(q);
	}
	r->done = 1;
	_exit(0);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct report *r;
	size_t bytes;
	pid_t pid;
	int error;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	bytes = sizeof *r + (size_t)producers + (size_t)consumers;
	r = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (r == MAP_FAILED) {
		error = errno;
		queue_close(q);
		return fail(error);
	}
	pid = fork();
	if (pid == 0)
		foreman(q, producers, consumers, produce, consume, arg, r);
	if (pid < 0) {
		error = errno;
		queue_close(q);
		munmap(r, bytes);
		return fail(error);
	}
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	error = r->error;
	if (error == 0 && !r->done)
		error = EOWNERDEAD;
	munmap(r, bytes);
	return error != 0 ? fail(error) : 0;
}
