/*
 * misconception: L03-17 a list has several places to change, and who died had changed some of them
 * rejected by:   who dies putting keeps nobody out, wherever it dies
 * message:       Somebody died in the middle of it, and the queue is not what it was
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

/*
 * A list of nodes, linked by their numbers. What counts is the way from
 * head along next; tail, spare and length can be found again from that.
 */
typedef uint64_t link_t;
#define NIL ((link_t)-1)

struct queue {
	size_t cap, item_size, bytes;
	size_t stride;
	pthread_mutex_t mutex;
	_Atomic link_t head;
	link_t tail, spare;
	size_t length;
	atomic_bool closed;
	atomic_uint items_gen, room_gen;
	_Alignas(16) char pool[];
};

struct node {
	_Atomic link_t next;
	uint64_t seen;
	char item[];
};

static struct node *node(struct queue *q, link_t i)
{
	return (struct node *)(q->pool + i * q->stride);
}

static void announce(atomic_uint *gen)
{
	atomic_fetch_add(gen, 1);
	futex_all(gen);
}

static void mend(struct queue *q)
{
	for (link_t i = 0; i < q->cap; i++)
		node(q, i)->seen = 0;
	q->length = 0;
	q->tail = NIL;
	for (link_t i = q->head; i != NIL; i = node(q, i)->next) {
		node(q, i)->seen = 1;
		q->tail = i;
		q->length++;
	}
	q->spare = NIL;
	for (link_t i = q->cap; i-- > 0; )
		if (!node(q, i)->seen) {
			node(q, i)->next = q->spare;
			q->spare = i;
		}
}

static void enter(struct queue *q)
{
	if (pthread_mutex_lock(&q->mutex) == EOWNERDEAD) {
		announce(&q->items_gen);
		announce(&q->room_gen);
		pthread_mutex_consistent(&q->mutex);
	}
}

static void leave(struct queue *q)
{
	pthread_mutex_unlock(&q->mutex);
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	size_t bytes, stride;
	struct queue *q;
	int e;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (item_size > PTRDIFF_MAX - 64)
		return errno = ENOMEM, NULL;
	stride = (sizeof(struct node) + item_size + 7) / 8 * 8;
	q = shared(sizeof *q, maxsize, stride, &bytes);
	if (q == NULL)
		return NULL;
	q->cap = maxsize;
	q->item_size = item_size;
	q->stride = stride;
	q->bytes = bytes;
	q->head = NIL;
	mend(q);
	if ((e = robust_mutex(&q->mutex)) != 0) {
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
	size_t n;

	enter(q);
	n = q->length;
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

static int append(struct queue *q, const void *item, unsigned *gen)
{
	link_t i = q->spare;

	*gen = q->room_gen;
	if (q->closed)
		return -1;
	if (i == NIL)
		return 1;
	q->spare = node(q, i)->next;
	memcpy(node(q, i)->item, item, q->item_size);
	node(q, i)->next = NIL;
	if (q->head == NIL)
		q->head = i;
	else
		node(q, q->tail)->next = i;
	q->tail = i;
	q->length++;
	announce(&q->items_gen);
	return 0;
}

static int detach(struct queue *q, void *item, unsigned *gen)
{
	link_t i = q->head;

	*gen = q->items_gen;
	if (i == NIL)
		return q->closed ? -1 : 1;
	memcpy(item, node(q, i)->item, q->item_size);
	q->head = node(q, i)->next;
	node(q, i)->next = q->spare;
	q->spare = i;
	q->length--;
	announce(&q->room_gen);
	return 0;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		unsigned gen;
		int r;

		enter(q);
		r = append(q, item, &gen);
		leave(q);
		if (r < 0)
			return fail(EPIPE);
		if (r == 0 || past(end))
			return r;
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
		unsigned gen;
		int r;

		enter(q);
		r = detach(q, item, &gen);
		leave(q);
		if (r < 0)
			return fail(EPIPE);
		if (r == 0 || past(end))
			return r;
		futex_sleep(&q->items_gen, gen, end);
	}
}

/* ---- queue_run: a pair of sockets for each, and epoll ------------------- */

struct crew {
	struct queue *q;
	int producers, total, started, running, producing, error, epoll;
	pid_t *pid;
	int *sock;
	void *item;
};

static void trouble(struct crew *c, int error)
{
	if (c->error == 0)
		c->error = error;
	queue_close(c->q);
}

static int enlist(struct crew *c, int i)
{
	struct epoll_event e = { .events = EPOLLIN, .data.u32 = (uint32_t)i };
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	if (epoll_ctl(c->epoll, EPOLL_CTL_ADD, pair[0], &e) != 0 ||
	    (c->pid[i] = fork()) < 0) {
		error = errno;
		close(pair[0]);
		close(pair[1]);
		return fail(error);
	}
	if (c->pid[i] == 0) {
		close(pair[0]);
		for (int k = 0; k < i; k++)
			close(c->sock[k]);
		close(c->epoll);
		c->sock[i] = pair[1];
		return 0;
	}
	close(pair[1]);
	c->sock[i] = pair[0];
	c->started++;
	c->running++;
	return 1;
}

static void farewell(struct crew *c, int i)
{
	char word = 'x';
	ssize_t n;

	while ((n = recv(c->sock[i], &word, 1, 0)) < 0 && errno == EINTR)
		;
	epoll_ctl(c->epoll, EPOLL_CTL_DEL, c->sock[i], NULL);
	close(c->sock[i]);
	while (waitpid(c->pid[i], NULL, 0) < 0 && errno == EINTR)
		;
	c->running--;
	if (n != 1)
		trouble(c, EOWNERDEAD);
	else if (word != '+')
		trouble(c, ECANCELED);
	if (i < c->producers && --c->producing == 0)
		queue_close(c->q);
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct crew c = { .q = q, .producers = producers,
			  .producing = producers };
	pid_t me = getpid();
	size_t n;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	n = (size_t)producers + (size_t)consumers;
	if (n > INT_MAX) {
		queue_close(q);
		return fail(EAGAIN);
	}
	c.total = (int)n;
	c.pid = calloc(n, sizeof *c.pid);
	c.sock = calloc(n, sizeof *c.sock);
	c.item = malloc(q->item_size);
	c.epoll = -1;
	if (!c.pid || !c.sock || !c.item)
		trouble(&c, ENOMEM);
	else if ((c.epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
		trouble(&c, errno);
	for (int i = 0; i < c.total && c.error == 0; i++) {
		int r = enlist(&c, i);

		if (r < 0) {
			trouble(&c, errno);
		} else if (r == 0) {
			char word;

			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != me)
				_exit(1);
			if (i < producers) {
				word = produce(q, i, arg) == 0 ? '+' : '-';
			} else {
				while (queue_get(q, c.item, -1) == 0)
					if (consume(c.item, i - producers,
						    arg) != 0)
						goto failed;
				word = errno == EPIPE ? '+' : '-';
				goto say;
failed:
				word = '-';
			}
say:
			while (send(c.sock[i], &word, 1, MSG_NOSIGNAL) < 0 &&
			       errno == EINTR)
				;
			_exit(0);
		}
	}
	while (c.running > 0) {
		struct epoll_event news[16];
		int k = epoll_wait(c.epoll, news, 16, -1);

		while (k-- > 0)
			farewell(&c, (int)news[k].data.u32);
	}
	if (c.epoll >= 0)
		close(c.epoll);
	free(c.item);
	free(c.sock);
	free(c.pid);
	return c.error ? fail(c.error) : 0;
}
