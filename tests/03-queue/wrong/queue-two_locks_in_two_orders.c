/*
 * misconception: who asks for the size takes the two locks in another order than who closes
 * rejected by:   how many there are was once true, whatever the order
 * message:       Each of two has a lock that the other one wants
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

/*
 * A System V segment, marked for removal as soon as it is attached: it lives
 * as long as somebody has it. A lock for each side; no lock round the wait.
 */
struct end_of_queue {
	_Alignas(64) pthread_mutex_t mutex;
	_Atomic uint64_t count;
	atomic_uint pulse;		/* changes with count */
};

struct queue {
	size_t cap, item_size;
	atomic_bool closed;
	struct end_of_queue in, out;
	_Alignas(64) char place[];
};

static void beat(struct end_of_queue *e)
{
	atomic_fetch_add(&e->pulse, 1);
	futex_all(&e->pulse);
}

static void hold(struct queue *q, struct end_of_queue *e)
{
	if (pthread_mutex_lock(&e->mutex) == EOWNERDEAD) {
		pthread_mutex_consistent(&e->mutex);
		beat(&q->in);
		beat(&q->out);
	}
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;
	int id, e;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (maxsize > (PTRDIFF_MAX - sizeof *q) / item_size)
		return errno = ENOMEM, NULL;
	bytes = sizeof *q + maxsize * item_size;
	id = shmget(IPC_PRIVATE, bytes, IPC_CREAT | 0600);
	if (id < 0) {
		if (errno == EINVAL)	/* more than SHMMAX */
			errno = ENOMEM;
		return NULL;
	}
	q = shmat(id, NULL, 0);
	e = errno;
	shmctl(id, IPC_RMID, NULL);
	if (q == (void *)-1)
		return errno = e, NULL;
	q->cap = maxsize;
	q->item_size = item_size;
	if ((e = robust_mutex(&q->in.mutex)) == 0)
		e = robust_mutex(&q->out.mutex);
	if (e != 0) {
		shmdt(q);
		errno = e;
		return NULL;
	}
	return q;
}

void queue_destroy(struct queue *q)
{
	shmdt(q);
}

size_t queue_qsize(struct queue *q)
{
	hold(q, &q->out);
	hold(q, &q->in);
	size_t n = q->in.count - q->out.count;
	pthread_mutex_unlock(&q->out.mutex);
	pthread_mutex_unlock(&q->in.mutex);
	return n;
}

int queue_close(struct queue *q)
{
	hold(q, &q->in);
	hold(q, &q->out);
	q->closed = true;
	beat(&q->in);
	beat(&q->out);
	pthread_mutex_unlock(&q->out.mutex);
	pthread_mutex_unlock(&q->in.mutex);
	return 0;
}

static int put_now(struct queue *q, void *item)
{
	int result = 1;

	hold(q, &q->in);
	uint64_t n = q->in.count;
	if (q->closed) {
		result = -1;
	} else if (n - q->out.count < q->cap) {
		memcpy(q->place + n % q->cap * q->item_size, item,
		       q->item_size);
		q->in.count = n + 1;
		beat(&q->in);
		result = 0;
	}
	pthread_mutex_unlock(&q->in.mutex);
	return result;
}

static int get_now(struct queue *q, void *item)
{
	int result = 1;

	hold(q, &q->out);
	bool closed = q->closed;		/* first */
	uint64_t n = q->out.count;
	if (n != q->in.count) {
		memcpy(item, q->place + n % q->cap * q->item_size,
		       q->item_size);
		q->out.count = n + 1;
		beat(&q->out);
		result = 0;
	} else if (closed) {
		result = -1;
	}
	pthread_mutex_unlock(&q->out.mutex);
	return result;
}

static int persist(struct queue *q, int (*now)(struct queue *, void *),
		   struct end_of_queue *other, void *item, double timeout)
{
	struct timespec t;
	const struct timespec *end = limit(timeout, &t);

	if (item == NULL)
		return fail(EINVAL);
	for (;;) {
		unsigned pulse = other->pulse;
		int result = now(q, item);

		if (result < 0)
			return fail(EPIPE);
		if (result == 0 || past(end))
			return result;
		futex_sleep(&other->pulse, pulse, end);
	}
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	return persist(q, put_now, &q->out, (void *)(uintptr_t)item, timeout);
}

int queue_get(struct queue *q, void *item, double timeout)
{
	return persist(q, get_now, &q->in, item, timeout);
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
