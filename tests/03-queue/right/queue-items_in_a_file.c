/* style: items by pread and pwrite in a file without a name, a private handle, and a
 * thread of the caller for each process, which waits for its end */
#include "queue.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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

static void doze(_Atomic uint32_t *w, uint32_t v, const struct timespec *end)
{
	syscall(SYS_futex, w, FUTEX_WAIT_BITSET, v, end, NULL,
		FUTEX_BITSET_MATCH_ANY);
}

static void rouse(_Atomic uint32_t *w)
{
	syscall(SYS_futex, w, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
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
	pthread_mutex_t mutex;
	_Atomic size_t head, tail;
	_Atomic bool closed;
	_Atomic uint32_t waiting, turn;
};

struct queue {			/* each process has its own copy of this */
	struct shared *s;
	int fd;
	size_t maxsize, item_size;
};

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	struct queue *q;
	size_t bytes;
	int e;

	if (maxsize == 0 || item_size == 0) {
		errno = EINVAL;
		return NULL;
	}
	if (__builtin_mul_overflow(maxsize, item_size, &bytes) ||
	    bytes > (size_t)1 << 46) {
		errno = ENOMEM;
		return NULL;
	}
	q = malloc(sizeof *q);
	if (q == NULL)
		return NULL;
	q->maxsize = maxsize;
	q->item_size = item_size;
	q->fd = memfd_create("items", MFD_CLOEXEC);
	if (q->fd < 0)
		goto no_file;
	q->s = mmap(NULL, sizeof *q->s, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q->s == MAP_FAILED)
		goto no_memory;
	robust(&q->s->mutex);
	return q;
no_memory:
	e = errno;
	close(q->fd);
	errno = e;
no_file:
	e = errno;
	free(q);
	errno = e;
	return NULL;
}

void queue_destroy(struct queue *q)
{
	close(q->fd);
	munmap(q->s, sizeof *q->s);
	free(q);
}

static void step(struct queue *q)
{
	q->s->turn++;
	if (q->s->waiting)
		rouse(&q->s->turn);
}

static void take(struct queue *q)
{
	if (pthread_mutex_lock(&q->s->mutex) == EOWNERDEAD) {
		pthread_mutex_consistent(&q->s->mutex);
		step(q);
	}
}

static bool transfer(struct queue *q, size_t n, const char *in, char *out)
{
	off_t at = (off_t)(n % q->maxsize * q->item_size);
	size_t done = 0;
	ssize_t r;

	while (done < q->item_size) {
		if (in != NULL)
			r = pwrite(q->fd, in + done, q->item_size - done,
				   at + (off_t)done);
		else
			r = pread(q->fd, out + done, q->item_size - done,
				  at + (off_t)done);
		if (r > 0)
			done += (size_t)r;
		else if (r == 0 || errno != EINTR)
			return false;
	}
	return true;
}

static int go(struct queue *q, const void *in, void *out)
{
	struct shared *s = q->s;
	size_t used;
	int r = 0;

	take(q);
	used = s->tail - s->head;
	if (in != NULL && s->closed)
		r = -1, errno = EPIPE;
	else if (in != NULL && used == q->maxsize)
		r = 1;
	else if (in == NULL && used == 0 && s->closed)
		r = -1, errno = EPIPE;
	else if (in == NULL && used == 0)
		r = 1;
	else if (!transfer(q, in ? s->tail : s->head, in, out))
		r = -1;
	else if (in != NULL)
		s->tail++;
	else
		s->head++;
	if (r == 0)
		step(q);
	pthread_mutex_unlock(&s->mutex);
	return r;
}

static int both(struct queue *q, const void *in, void *out, double timeout)
{
	struct timespec end = in_so_many(timeout > 0 ? timeout : 0);
	uint32_t turn;
	int r = go(q, in, out);

	if (r != 1 || timeout == 0)
		return r;
	q->s->waiting++;
	for (;;) {
		turn = q->s->turn;
		r = go(q, in, out);
		if (r != 1 || (timeout > 0 && past(&end)))
			break;
		doze(&q->s->turn, turn, timeout < 0 ? NULL : &end);
	}
	q->s->waiting--;
	return r;
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	return item ? both(q, item, NULL, timeout) : fail(EINVAL);
}

int queue_get(struct queue *q, void *item, double timeout)
{
	return item ? both(q, NULL, item, timeout) : fail(EINVAL);
}

int queue_close(struct queue *q)
{
	take(q);
	q->s->closed = true;
	step(q);
	pthread_mutex_unlock(&q->s->mutex);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	size_t n;

	take(q);
	n = q->s->tail - q->s->head;
	pthread_mutex_unlock(&q->s->mutex);
	return n;
}

/* ---- processes: a thread of the caller waits for each -------------------- */

struct crew {
	struct queue *q;
	pthread_mutex_t m;
	int makers, error;
	_Atomic char *word;
};

struct one {
	struct crew *c;
	pthread_t thread;
	pid_t pid;
	int i;
	bool producer;
};

static void wait_for(struct one *o)
{
	struct crew *c = o->c;
	bool bad;

	while (waitpid(o->pid, NULL, 0) < 0 && errno == EINTR)
		;
	bad = c->word[o->i] != '+';
	pthread_mutex_lock(&c->m);
	if (bad && c->error == 0)
		c->error = c->word[o->i] == '-' ? ECANCELED : EOWNERDEAD;
	if (o->producer)
		c->makers--;
	if (bad || c->makers == 0)
		queue_close(c->q);
	pthread_mutex_unlock(&c->m);
}

static void *waiter(void *arg)
{
	wait_for(arg);
	return NULL;
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct crew c = { .q = q, .m = PTHREAD_MUTEX_INITIALIZER,
			  .makers = producers };
	size_t all, n = 0, threads = 0;
	struct one *o;
	void *item;
	int rc = 0;

	if (producers < 1 || consumers < 1)
		return fail(EINVAL);
	all = (size_t)producers + (size_t)consumers;
	o = calloc(all, sizeof *o);
	item = malloc(q->item_size);
	c.word = mmap(NULL, all, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (o == NULL || item == NULL || c.word == MAP_FAILED)
		c.error = ENOMEM;
	for (; c.error == 0 && n < all; n++) {
		o[n] = (struct one){ .c = &c, .i = (int)n,
				     .producer = n < (size_t)producers };
		o[n].pid = fork();
		if (o[n].pid < 0) {
			c.error = errno;
			break;
		}
		if (o[n].pid > 0)
			continue;
		if (o[n].producer) {
			rc = produce(q, (int)n, arg);
		} else {
			while (rc == 0 && queue_get(q, item, -1) == 0)
				rc = consume(item, (int)n - producers, arg);
		}
		c.word[n] = rc == 0 ? '+' : '-';
		_exit(0);
	}
	if (c.error != 0)
		queue_close(q);
	for (; threads < n; threads++)
		if (pthread_create(&o[threads].thread, NULL, waiter,
				   &o[threads]) != 0)
			break;
	if (threads < n) {
		pthread_mutex_lock(&c.m);
		if (c.error == 0)
			c.error = EAGAIN;
		pthread_mutex_unlock(&c.m);
		queue_close(q);
	}
	for (size_t i = threads; i < n; i++)
		wait_for(&o[i]);
	for (size_t i = 0; i < threads; i++)
		pthread_join(o[i].thread, NULL);
	if (c.word != MAP_FAILED)
		munmap((void *)c.word, all);
	free(item);
	free(o);
	return c.error == 0 ? 0 : fail(c.error);
}
