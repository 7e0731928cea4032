/*
 * misconception: who gets looks for an item first and for the end later; an item that comes in between is lost
 * rejected by:   a put beside a close is refused or its item is got, whatever the order
 * message:       An item whose put returned 0 was in the queue before it was closed, and is got; one that was refused is not
 */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * The items lie in shared memory; through the pipes go the numbers of their
 * places, each as one whole write: free ones through one, filled ones through
 * the other. Whoever has read a number owns that place.
 */
struct queue {
	int room[2], filled[2];
	int end[2];			/* has a byte in it when closed */
	struct shared {
		pthread_mutex_t mutex;	/* no put while it is being closed */
		atomic_bool closed;
		unsigned char items[];
	} *s;
	size_t maxsize, item_size, bytes;
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

static void lock(struct queue *q)
{
	if (pthread_mutex_lock(&q->s->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&q->s->mutex);
}

static void unlock(struct queue *q)
{
	pthread_mutex_unlock(&q->s->mutex);
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Until one of the pipes has something, or the time is over: then false. */
static bool wait_for(struct queue *q, int fd, double timeout, double end)
{
	struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
				{ .fd = q->end[0], .events = POLLIN } };
	struct timespec t;
	double left = end - seconds_now();

	if (timeout == 0 || (timeout > 0 && left <= 0))
		return false;
	if (left > 1e9)
		left = 1e9;
	if (timeout > 0)
		t = (struct timespec){ (time_t)left, (long)((left -
				       (double)(time_t)left) * 1e9) };
	ppoll(fds, 2, timeout < 0 ? NULL : &t, NULL);
	return true;
}

static bool read_number(int fd, uint32_t *n)
{
	ssize_t r;

	do
		r = read(fd, n, sizeof *n);
	while (r < 0 && errno == EINTR);
	return r == (ssize_t)sizeof *n;
}

static void write_number(int fd, uint32_t n)
{
	while (write(fd, &n, sizeof n) < 0 && errno == EINTR)
		;
}

/* ---- the queue --------------------------------------------------------- */

static void close_pipe(int ends[2])
{
	if (ends[0] >= 0)
		close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
}

/* A pipe that has room for so many numbers. */
static int make_pipe(int ends[2], size_t numbers)
{
	size_t bytes = numbers * sizeof(uint32_t);

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
		ends[0] = ends[1] = -1;
		return -1;
	}
	if (bytes > 4096 && fcntl(ends[0], F_SETPIPE_SZ, (int)bytes) < 0)
		return -1;
	return 0;
}

void queue_destroy(struct queue *q)
{
	close_pipe(q->room);
	close_pipe(q->filled);
	close_pipe(q->end);
	if (q->s != MAP_FAILED)
		munmap(q->s, q->bytes);
	free(q);
}

static int prepare(struct queue *q)
{
	int error;

	if (q->s == MAP_FAILED || make_pipe(q->room, q->maxsize) != 0 ||
	    make_pipe(q->filled, q->maxsize) != 0 || make_pipe(q->end, 1) != 0)
		return errno;
	error = make_mutex(&q->s->mutex);
	for (uint32_t n = 0; error == 0 && n < q->maxsize; n++)
		write_number(q->room[1], n);
	return error;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	int error;

	if (maxsize == 0 || item_size == 0) {
		errno = EINVAL;
		return NULL;
	}
	if (maxsize > 1 << 18 || item_size > (SIZE_MAX >> 20) / maxsize) {
		errno = ENOMEM;
		return NULL;
	}
	q = malloc(sizeof *q);
	if (q == NULL)
		return NULL;
	*q = (struct queue){ { -1, -1 }, { -1, -1 }, { -1, -1 }, NULL,
			     maxsize, item_size, sizeof *q->s +
			     maxsize * item_size };
	q->s = mmap(NULL, q->bytes, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	error = prepare(q);
	if (error == 0)
		return q;
	queue_destroy(q);
	errno = error;
	return NULL;
}

static unsigned char *place(struct queue *q, uint32_t n)
{
	return q->s->items + n * q->item_size;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	double end = timeout > 0 ? seconds_now() + timeout : 0;
	bool closed = false;
	uint32_t n;

	if (item == NULL)
		return failed(EINVAL);
	while (!q->s->closed && !read_number(q->room[0], &n))
		if (!wait_for(q, q->room[0], timeout, end))
			return q->s->closed ? failed(EPIPE) : 1;
	if (q->s->closed)
		return failed(EPIPE);
	memcpy(place(q, n), item, q->item_size);
	lock(q);
	closed = q->s->closed;
	if (!closed)
		write_number(q->filled[1], n);
	unlock(q);
	return closed ? failed(EPIPE) : 0;
}

int queue_get(struct queue *q, void *item, double timeout)
{
	double end = timeout > 0 ? seconds_now() + timeout : 0;
	bool closed;
	uint32_t n;

	if (item == NULL)
		return failed(EINVAL);
	for (;;) {
		if (read_number(q->filled[0], &n))
			break;
		closed = q->s->closed;
		if (closed)
			return failed(EPIPE);
		if (!wait_for(q, q->filled[0], timeout, end))
			return 1;
	}
	memcpy(item, place(q, n), q->item_size);
	write_number(q->room[1], n);
	return 0;
}

int queue_close(struct queue *q)
{
	lock(q);
	if (!q->s->closed) {
		q->s->closed = true;
		write_number(q->end[1], 1);
	}
	unlock(q);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	int bytes = 0;

	ioctl(q->filled[0], FIONREAD, &bytes);
	return (size_t)bytes / sizeof(uint32_t);
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
	if (n != 1)
		wrong(r, EOWNERDEAD);
	else if (word != 'd')
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
