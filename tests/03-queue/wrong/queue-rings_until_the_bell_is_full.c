/*
 * misconception: a bell that is rung and never heard is a pipe that fills up
 * rejected by:   a queue works for as long as it is used
 * message:       A number that only ever grows comes to its end, or something fills up
 */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "todo.h"

enum { CACHE_LINE = 64 };

/* One for those who put, one for those who get. */
struct side {
	_Alignas(CACHE_LINE) pthread_mutex_t lock;
	_Atomic size_t count;		/* changed only under the lock */
	pthread_mutex_t line;		/* held by the first who waits */
	int listen, strike;		/* a pipe: bytes = things have changed */
};

struct queue {
	size_t maxsize, item_size;
	size_t bytes;			/* of all this */
	atomic_bool closed;		/* set under the lock of the put side */
	struct side put, get;
	_Alignas(CACHE_LINE) char items[];
};

/* ---- plumbing ---------------------------------------------------------- */

static int failed(int error)
{
	errno = error;
	return -1;
}

/*
 * The moment that lies so many seconds ahead. What is over 30 years, or
 * infinite, becomes 30 years: not every time_t has room for more.
 */
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

/* ---- the locks of a side, and its bell --------------------------------- */

/* A mutex for processes, that survives its holder: 0, or an error number. */
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

/*
 * Things have changed for those who wait at this side: wake the first of
 * them, if there is one. Whoever calls this has changed them already.
 */
static void ring(struct side *s)
{
	while (write(s->strike, "", 1) < 0 && errno == EINTR)
		;				/* full will do as well */
}

/*
 * Get the lock of a side. If its last holder died, then with all or nothing
 * done; but perhaps it had no time to wake anybody, so that is done for it.
 */
static void lock(struct queue *q, struct side *s)
{
	if (pthread_mutex_lock(&s->lock) == EOWNERDEAD) {
		pthread_mutex_consistent(&s->lock);
		ring(&q->put);
		ring(&q->get);
	}
}

static void unlock(struct side *s)
{
	pthread_mutex_unlock(&s->lock);
}

/* Stand in line until one is the first in it: false if the time runs out. */
static bool queue_up(struct side *s, const struct timespec *end)
{
	int error;

	if (end == NULL)
		error = pthread_mutex_lock(&s->line);
	else
		error = pthread_mutex_clocklock(&s->line, CLOCK_MONOTONIC,
						end);
	if (error == EOWNERDEAD)
		pthread_mutex_consistent(&s->line);
	return error == 0 || error == EOWNERDEAD;
}

/* ---- the queue --------------------------------------------------------- */

/* Both ends above 2, where strangers write. */
static int make_bell(struct side *s)
{
	int ends[2], high[2], error;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return errno;
	for (int i = 0; i < 2; i++) {
		high[i] = fcntl(ends[i], F_DUPFD_CLOEXEC, 3);
		error = errno;
	}
	close(ends[0]);
	close(ends[1]);
	if (high[0] < 0 || high[1] < 0) {
		if (high[0] >= 0)
			close(high[0]);
		if (high[1] >= 0)
			close(high[1]);
		return error;
	}
	s->listen = high[0];
	fcntl(s->listen, F_SETFL, O_NONBLOCK);	/* it is emptied by reading */
	s->strike = high[1];
	return 0;
}

static void drop_bell(struct side *s)
{
	close(s->listen);
	close(s->strike);
}

static int make_locks(struct queue *q)
{
	int error = make_mutex(&q->put.lock);

	if (error == 0)
		error = make_mutex(&q->put.line);
	if (error == 0)
		error = make_mutex(&q->get.lock);
	if (error == 0)
		error = make_mutex(&q->get.line);
	return error;
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (maxsize > (PTRDIFF_MAX - sizeof *q) / item_size)
		return errno = ENOMEM, NULL;
	bytes = sizeof *q + maxsize * item_size;
	q = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q == MAP_FAILED)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->bytes = bytes;
	int error = make_locks(q);
	if (error == 0)
		error = make_bell(&q->put);
	if (error == 0) {
		error = make_bell(&q->get);
		if (error != 0)
			drop_bell(&q->put);
	}
	if (error == 0)
		return q;
	munmap(q, bytes);
	return errno = error, NULL;
}

void queue_destroy(struct queue *q)
{
	drop_bell(&q->put);
	drop_bell(&q->get);
	munmap(q, q->bytes);
}

/* Where item number n, counted from the beginning of time, lies. */
static char *place_of(struct queue *q, size_t n)
{
	return q->items + n % q->maxsize * q->item_size;
}

/* Put an item now: 0, or 1 if there is no room, or -1 with EPIPE. */
static int put_now(struct queue *q, const void *item)
{
	int result = 0;

	lock(q, &q->put);
	size_t n = q->put.count;

	if (q->closed) {
		result = -1;
	} else if (n - q->get.count == q->maxsize) {
		result = 1;
	} else {
		memcpy(place_of(q, n), item, q->item_size);
		q->put.count = n + 1;
		ring(&q->get);
	}
	unlock(&q->put);
	return result < 0 ? failed(EPIPE) : result;
}

/* Get an item now: 0, or 1 if there is none yet, or -1 with EPIPE. */
static int get_now(struct queue *q, void *item)
{
	int result = 0;

	lock(q, &q->get);
	bool closed = q->closed;
	size_t n = q->get.count;

	if (n == q->put.count) {
		result = closed ? -1 : 1;
	} else {
		memcpy(item, place_of(q, n), q->item_size);
		q->get.count = n + 1;
		ring(&q->put);
	}
	unlock(&q->get);
	return result < 0 ? failed(EPIPE) : result;
}

int queue_close(struct queue *q)
{
	lock(q, &q->put);
	q->closed = true;
	ring(&q->put);
	ring(&q->get);
	unlock(&q->put);
	return 0;
}

/* If nobody got an item meanwhile, both counts held at the same time. */
size_t queue_qsize(struct queue *q)
{
	size_t put, get;

	do {
		get = q->get.count;
		put = q->put.count;
	} while (get != q->get.count);
	return put - get;
}

/* ---- waiting ----------------------------------------------------------- */

/* A put or a get that is tried until it goes. */
struct attempt {
	struct queue *q;
	struct side *side;
	const void *in;			/* the item to put, or NULL */
	void *out;			/* where to get one to */
};

static int try(struct attempt *a)
{
	return a->in != NULL ? put_now(a->q, a->in) : get_now(a->q, a->out);
}

static bool is_over(const struct timespec *end)
{
	struct timespec now;

	if (end == NULL)
		return false;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec != end->tv_sec ? now.tv_sec > end->tv_sec
					 : now.tv_nsec >= end->tv_nsec;
}

/*
 * Try again whenever the bell has been rung, until it goes or the time is
 * over. The caller is the first in line.
 */
static int wait_in_front(struct attempt *a, const struct timespec *end)
{
	struct pollfd bell = { .fd = a->side->listen, .events = POLLIN };
	struct timespec now, left;
	char rings[512];
	int result;

	for (;;) {
		while (read(bell.fd, rings, sizeof rings) > 0 ||
		       errno == EINTR)
			;
		result = try(a);
		if (result != 1 || is_over(end))
			return result;
		if (end == NULL) {
			ppoll(&bell, 1, NULL, NULL);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		left.tv_sec = end->tv_sec - now.tv_sec;
		left.tv_nsec = end->tv_nsec - now.tv_nsec;
		if (left.tv_nsec < 0) {
			left.tv_nsec += 1000000000;
			left.tv_sec--;
		}
		if (left.tv_sec >= 0)
			ppoll(&bell, 1, &left, NULL);
	}
}

/* Try at once, and then, if there is time, from the line. */
static int try_for(struct attempt *a, double timeout)
{
	struct timespec moment_it_ends, *end = NULL;
	int result = try(a);

	if (result != 1 || !(timeout < 0 || timeout > 0))
		return result;
	if (timeout > 0) {
		moment_it_ends = moment(timeout);
		end = &moment_it_ends;
	}
	if (!queue_up(a->side, end))
		return try(a);
	result = wait_in_front(a, end);
	pthread_mutex_unlock(&a->side->line);
	return result;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct attempt put = { .q = q, .side = &q->put, .in = item };

	return item != NULL ? try_for(&put, timeout) : failed(EINVAL);
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct attempt get = { .q = q, .side = &q->get, .out = item };

	return item != NULL ? try_for(&get, timeout) : failed(EINVAL);
}

/* ---- producers and consumers ------------------------------------------- */

/* What a process tells when it is through. Who says nothing has died. */
enum news { DIED, DONE, FAILED };

/*
 * From each process leads a pipe to the caller. A process tells how it went;
 * and when it dies, however it dies, the system closes its end, and the
 * caller reads an end of file. (Python's Process.sentinel is such a pipe.)
 */
struct run {
	struct queue *q;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	int producers;			/* the first so many processes */
	int producing, running;		/* so many have not ended yet */
	int error;			/* what went wrong first, or 0 */
	nfds_t started;
	pid_t *pids;
	struct pollfd *pipes;		/* from them; fd -1 = it has ended */
	void *item;			/* room for one */
};

static enum news consume_all(struct run *r, int consumer)
{
	while (queue_get(r->q, r->item, -1) == 0)
		if (r->consume(r->item, consumer, r->arg) != 0)
			return FAILED;
	return errno == EPIPE ? DONE : FAILED;
}

/* The life of process i, which nobody needs when the caller is gone. */
static _Noreturn void work(struct run *r, int i, int pipe, pid_t caller)
{
	char news;

	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (getppid() != caller)
		_exit(1);
	for (nfds_t other = 0; other < r->started; other++)
		close(r->pipes[other].fd);
	if (i >= r->producers)
		news = consume_all(r, i - r->producers);
	else
		news = r->produce(r->q, i, r->arg) == 0 ? DONE : FAILED;
	while (write(pipe, &news, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

/* Start process i: false, with errno, if there is none. */
static bool start(struct run *r, int i)
{
	pid_t caller = getpid();
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return false;
	r->pids[i] = fork();
	if (r->pids[i] == 0) {
		close(ends[0]);
		work(r, i, ends[1], caller);
	}
	error = errno;
	close(ends[1]);
	if (r->pids[i] < 0) {
		close(ends[0]);
		return errno = error, false;
	}
	r->pipes[i] = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	r->started++;
	r->running++;
	return true;
}

/* Hear what process i has to tell, and collect it: it is at its end. */
static enum news hear(struct run *r, int i)
{
	char news;
	ssize_t n;

	do
		n = read(r->pipes[i].fd, &news, 1);
	while (n < 0 && errno == EINTR);
	close(r->pipes[i].fd);
	r->pipes[i].fd = -1;
	while (waitpid(r->pids[i], NULL, 0) < 0 && errno == EINTR)
		;
	return n == 1 ? (enum news)news : DIED;
}

/* Process i has ended, and this is its news. */
static void ended(struct run *r, int i, enum news news)
{
	r->running--;
	if (i < r->producers)
		r->producing--;
	if (news != DONE && r->error == 0)
		r->error = news == FAILED ? ECANCELED : EOWNERDEAD;
	if (r->producing == 0 || news != DONE)
		queue_close(r->q);
}

/* Sleep until some have ended, in whatever order that is. */
static void collect(struct run *r)
{
	while (r->running > 0) {
		if (poll(r->pipes, r->started, -1) <= 0)
			continue;
		for (nfds_t i = 0; i < r->started; i++)
			if (r->pipes[i].fd >= 0 && r->pipes[i].revents != 0)
				ended(r, (int)i, hear(r, (int)i));
	}
}

static void run(struct run *r, size_t processes)
{
	for (size_t i = 0; i < processes && r->error == 0; i++)
		if (!start(r, (int)i))
			r->error = errno;
	if (r->error != 0)
		queue_close(r->q);
	collect(r);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = {
		.q = q, .produce = produce, .consume = consume, .arg = arg,
		.producers = producers, .producing = producers
	};
	size_t processes;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	processes = (size_t)producers + (size_t)consumers;
	r.pids = calloc(processes, sizeof *r.pids);
	r.pipes = calloc(processes, sizeof *r.pipes);
	r.item = malloc(q->item_size);
	if (r.pids == NULL || r.pipes == NULL || r.item == NULL)
		r.error = ENOMEM;
	run(&r, processes);
	free(r.item);
	free(r.pipes);
	free(r.pids);
	return r.error == 0 ? 0 : failed(r.error);
}
