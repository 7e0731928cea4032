#include "bench.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fl.h"
#include "queue.h"

enum { LINE = 64, MASK = BENCH_CAPACITY - 1 };

/* ---- memory -------------------------------------------------------------- */

/* Its size stands in front. */
void *bench_share(size_t size)
{
	char *memory;

	size += LINE;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		fl_die("no shared memory");
	*(size_t *)memory = size;
	return memory + LINE;
}

void bench_unshare(void *memory)
{
	char *all = (char *)memory - LINE;

	munmap(all, *(size_t *)all);
}

/* ---- ours, and the fastest that keeps the same promises ------------------ */

static void *make_ours(size_t size)
{
	struct queue *q = queue_create(BENCH_CAPACITY, size);

	if (q == NULL)
		fl_die("cannot make a queue");
	return q;
}

static void put_ours(void *queue, const void *item)
{
	if (queue_put(queue, item, -1) != 0)
		fl_die("cannot put");
}

static void get_ours(void *queue, void *item)
{
	if (queue_get(queue, item, -1) != 0)
		fl_die("cannot get");
}

static void end_ours(void *queue)
{
	queue_destroy(queue);
}

/* The functions of bench_fast.h, as the design of that name. */
#include "bench_fast.h"

/* ---- what the system has: a pipe, a socket pair, a message queue --------- */

struct descriptors {
	int in, out;
	size_t size;
};

static void *make_pipe(size_t size)
{
	struct descriptors *d = bench_share(sizeof *d);
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) != 0)
		fl_die("cannot make a pipe");
	*d = (struct descriptors){ ends[1], ends[0], size };
	return d;
}

static void *make_seqpacket(size_t size)
{
	struct descriptors *d = bench_share(sizeof *d);
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		fl_die("cannot make a socket pair");
	*d = (struct descriptors){ ends[1], ends[0], size };
	return d;
}

/* Up to PIPE_BUF bytes go in and come out in one piece. */
static void put_descriptor(void *queue, const void *item)
{
	const struct descriptors *d = queue;

	if (write(d->in, item, d->size) != (ssize_t)d->size)
		fl_die("cannot write");
}

static void get_descriptor(void *queue, void *item)
{
	const struct descriptors *d = queue;

	if (read(d->out, item, d->size) != (ssize_t)d->size)
		fl_die("cannot read");
}

static void end_descriptors(void *queue)
{
	const struct descriptors *d = queue;

	close(d->in);
	close(d->out);
	bench_unshare(queue);
}

/* As many messages as this user may have. */
static void *make_mq(size_t size)
{
	struct descriptors *d = bench_share(sizeof *d);
	struct mq_attr attr = { .mq_msgsize = (long)size };
	char name[64];
	mqd_t mq = -1;

	snprintf(name, sizeof name, "/forklab-bench-%ld", (long)getpid());
	for (attr.mq_maxmsg = BENCH_CAPACITY; mq < 0 && attr.mq_maxmsg > 0;
	     attr.mq_maxmsg /= 2)
		mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (mq < 0)
		fl_die("cannot make a message queue");
	mq_unlink(name);
	*d = (struct descriptors){ mq, mq, size };
	return d;
}

static void put_mq(void *queue, const void *item)
{
	const struct descriptors *d = queue;

	if (mq_send(d->in, item, d->size, 0) != 0)
		fl_die("cannot send");
}

static void get_mq(void *queue, void *item)
{
	const struct descriptors *d = queue;

	if (mq_receive(d->out, item, d->size, NULL) != (ssize_t)d->size)
		fl_die("cannot receive");
}

static void end_mq(void *queue)
{
	const struct descriptors *d = queue;

	mq_close(d->in);
	bench_unshare(queue);
}

/* ---- a ring, guarded in one way or another ------------------------------- */

struct ring {
	size_t size;
	_Alignas(LINE) pthread_mutex_t mutex;
	pthread_cond_t items, room;
	sem_t filled, empty;
	size_t put, got;
	_Alignas(LINE) char places[];
};

static void *make_ring(size_t size)
{
	struct ring *r = bench_share(sizeof *r + BENCH_CAPACITY * size);
	pthread_mutexattr_t mutex;
	pthread_condattr_t condition;

	r->size = size;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&r->mutex, &mutex);
	pthread_condattr_init(&condition);
	pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&r->items, &condition);
	pthread_cond_init(&r->room, &condition);
	sem_init(&r->filled, 1, 0);
	sem_init(&r->empty, 1, BENCH_CAPACITY);
	return r;
}

static void ring_put(struct ring *r, const void *item)
{
	memcpy(r->places + (r->put++ & MASK) * r->size, item, r->size);
}

static void ring_get(struct ring *r, void *item)
{
	memcpy(item, r->places + (r->got++ & MASK) * r->size, r->size);
}

static void put_semaphores(void *queue, const void *item)
{
	struct ring *r = queue;

	while (sem_wait(&r->empty) != 0)
		;
	pthread_mutex_lock(&r->mutex);
	ring_put(r, item);
	pthread_mutex_unlock(&r->mutex);
	sem_post(&r->filled);
}

static void get_semaphores(void *queue, void *item)
{
	struct ring *r = queue;

	while (sem_wait(&r->filled) != 0)
		;
	pthread_mutex_lock(&r->mutex);
	ring_get(r, item);
	pthread_mutex_unlock(&r->mutex);
	sem_post(&r->empty);
}

static void put_conditions(void *queue, const void *item)
{
	struct ring *r = queue;

	pthread_mutex_lock(&r->mutex);
	while (r->put - r->got == BENCH_CAPACITY)
		pthread_cond_wait(&r->room, &r->mutex);
	ring_put(r, item);
	pthread_mutex_unlock(&r->mutex);
	pthread_cond_signal(&r->items);
}

static void get_conditions(void *queue, void *item)
{
	struct ring *r = queue;

	pthread_mutex_lock(&r->mutex);
	while (r->put == r->got)
		pthread_cond_wait(&r->items, &r->mutex);
	ring_get(r, item);
	pthread_mutex_unlock(&r->mutex);
	pthread_cond_signal(&r->room);
}

/* ---- the same ring, and up to 32 items at a time ------------------------- */

/*
 * Those that wait in a process for the others of their batch die with it, and
 * nobody else can get them: faster, for fewer promises.
 */
static struct batch {
	size_t n, next;
	char *items;
} outgoing, incoming;

size_t bench_wanted = 1;

static void *make_batches(size_t size)
{
	outgoing.n = incoming.n = incoming.next = 0;
	outgoing.items = realloc(outgoing.items, BENCH_BATCH * size);
	incoming.items = realloc(incoming.items, BENCH_BATCH * size);
	if (outgoing.items == NULL || incoming.items == NULL)
		fl_die("no memory");
	return make_ring(size);
}

static void flush_batch(void *queue)
{
	struct ring *r = queue;
	size_t i = 0;

	pthread_mutex_lock(&r->mutex);
	while (i < outgoing.n) {
		while (r->put - r->got == BENCH_CAPACITY)
			pthread_cond_wait(&r->room, &r->mutex);
		while (i < outgoing.n && r->put - r->got < BENCH_CAPACITY)
			ring_put(r, outgoing.items + i++ * r->size);
		pthread_cond_broadcast(&r->items);
	}
	pthread_mutex_unlock(&r->mutex);
	outgoing.n = 0;
}

static void put_batch(void *queue, const void *item)
{
	const struct ring *r = queue;

	memcpy(outgoing.items + outgoing.n++ * r->size, item, r->size);
	if (outgoing.n == BENCH_BATCH)
		flush_batch(queue);
}

static void fetch_batch(struct ring *r)
{
	size_t n = 0;

	pthread_mutex_lock(&r->mutex);
	while (r->put == r->got)
		pthread_cond_wait(&r->items, &r->mutex);
	while (n < BENCH_BATCH && n < bench_wanted && r->put != r->got)
		ring_get(r, incoming.items + n++ * r->size);
	pthread_mutex_unlock(&r->mutex);
	pthread_cond_broadcast(&r->room);
	incoming.n = n;
	incoming.next = 0;
}

static void get_batch(void *queue, void *item)
{
	struct ring *r = queue;

	if (incoming.next == incoming.n)
		fetch_batch(r);
	memcpy(item, incoming.items + incoming.next++ * r->size, r->size);
}

static void end_ring(void *queue)
{
	bench_unshare(queue);
}

/* ---- without a lock ------------------------------------------------------ */

static void look_later(int *times)
{
	if (++*times % 128 == 0)
		sched_yield();
#ifdef __x86_64__
	else
		__builtin_ia32_pause();
#endif
}

/* For one producer and one consumer: each writes its own count. */
struct pair {
	size_t size;
	_Alignas(LINE) _Atomic size_t put;
	size_t got_seen;
	_Alignas(LINE) _Atomic size_t got;
	size_t put_seen;
	_Alignas(LINE) char places[];
};

static void *make_pair(size_t size)
{
	struct pair *p = bench_share(sizeof *p + BENCH_CAPACITY * size);

	p->size = size;
	return p;
}

static void put_pair(void *queue, const void *item)
{
	struct pair *p = queue;
	size_t n = atomic_load_explicit(&p->put, memory_order_relaxed);
	int times = 0;

	while (n - p->got_seen == BENCH_CAPACITY) {
		p->got_seen = atomic_load_explicit(&p->got,
						   memory_order_acquire);
		if (n - p->got_seen == BENCH_CAPACITY)
			look_later(&times);
	}
	memcpy(p->places + (n & MASK) * p->size, item, p->size);
	atomic_store_explicit(&p->put, n + 1, memory_order_release);
}

static void get_pair(void *queue, void *item)
{
	struct pair *p = queue;
	size_t n = atomic_load_explicit(&p->got, memory_order_relaxed);
	int times = 0;

	while (n == p->put_seen) {
		p->put_seen = atomic_load_explicit(&p->put,
						   memory_order_acquire);
		if (n == p->put_seen)
			look_later(&times);
	}
	memcpy(item, p->places + (n & MASK) * p->size, p->size);
	atomic_store_explicit(&p->got, n + 1, memory_order_release);
}

/*
 * For any number of both (Dmitry Vyukov's): a ticket says which place is
 * mine, and the turn of the place when it is my turn. Who dies with a ticket
 * leaves a place that nobody gets past.
 */
struct tickets {
	size_t size;
	_Alignas(LINE) _Atomic size_t put;
	_Alignas(LINE) _Atomic size_t got;
	_Alignas(LINE) struct {
		_Atomic size_t turn;
	} places[];
};

static size_t ticket_stride(size_t size)
{
	return (sizeof(size_t) + size + 7) / 8 * 8;
}

static _Atomic size_t *turn_of(struct tickets *t, size_t n)
{
	return (void *)((char *)t->places +
			(n & MASK) * ticket_stride(t->size));
}

static void *make_tickets(size_t size)
{
	struct tickets *t = bench_share(sizeof *t + BENCH_CAPACITY *
					ticket_stride(size));

	t->size = size;
	for (size_t n = 0; n < BENCH_CAPACITY; n++)
		*turn_of(t, n) = n;
	return t;
}

/* Draw a ticket as soon as the place of the next one has come to `turn`. */
static size_t draw(struct tickets *t, _Atomic size_t *next, size_t ahead)
{
	size_t n = atomic_load_explicit(next, memory_order_relaxed);
	int times = 0;

	for (;;) {
		size_t turn = atomic_load_explicit(turn_of(t, n),
						   memory_order_acquire);

		if (turn == n + ahead) {
			if (atomic_compare_exchange_weak(next, &n, n + 1))
				return n;
			continue;
		}
		if (turn < n + ahead)
			look_later(&times);
		n = atomic_load_explicit(next, memory_order_relaxed);
	}
}

static void put_ticket(void *queue, const void *item)
{
	struct tickets *t = queue;
	size_t n = draw(t, &t->put, 0);

	memcpy(turn_of(t, n) + 1, item, t->size);
	atomic_store_explicit(turn_of(t, n), n + 1, memory_order_release);
}

static void get_ticket(void *queue, void *item)
{
	struct tickets *t = queue;
	size_t n = draw(t, &t->got, 1);

	memcpy(item, turn_of(t, n) + 1, t->size);
	atomic_store_explicit(turn_of(t, n), n + BENCH_CAPACITY,
			      memory_order_release);
}

/* ---- Boost's, from a library beside the program (bench_boost.cc) --------- */

static struct {
	void *(*make)(size_t capacity, size_t size);
	void (*put)(void *queue, const void *item);
	void (*get)(void *queue, void *item);
	void (*end)(void *queue);
} boost;

static void *boost_function(void *library, const char *name)
{
	void *function = dlsym(library, name);

	if (function == NULL)
		fl_die("no %s in boost.so", name);
	return function;
}

static void *make_boost(size_t size)
{
	void *library = dlopen("build/fast/03-queue/bench/boost.so", RTLD_NOW);

	if (library == NULL)
		fl_die("cannot load boost.so");
	*(void **)&boost.make = boost_function(library, "boost_make");
	*(void **)&boost.put = boost_function(library, "boost_put");
	*(void **)&boost.get = boost_function(library, "boost_get");
	*(void **)&boost.end = boost_function(library, "boost_end");
	return boost.make(BENCH_CAPACITY, size);
}

static void put_boost(void *queue, const void *item)
{
	boost.put(queue, item);
}

static void get_boost(void *queue, void *item)
{
	boost.get(queue, item);
}

static void end_boost(void *queue)
{
	boost.end(queue);
}

const struct bench_queue bench_queues[] = {
	{ "ours", make_ours, put_ours, get_ours, NULL, end_ours },
	{ "fast", make_fast, put_fast, get_fast, NULL, end_fast },
	{ "pipe", make_pipe, put_descriptor, get_descriptor, NULL,
	  end_descriptors },
	{ "seqpacket", make_seqpacket, put_descriptor, get_descriptor, NULL,
	  end_descriptors },
	{ "mq", make_mq, put_mq, get_mq, NULL, end_mq },
	{ "semaphores", make_ring, put_semaphores, get_semaphores, NULL,
	  end_ring },
	{ "conditions", make_ring, put_conditions, get_conditions, NULL,
	  end_ring },
	{ "batches", make_batches, put_batch, get_batch, flush_batch,
	  end_ring },
	{ "pair", make_pair, put_pair, get_pair, NULL, end_ring },
	{ "tickets", make_tickets, put_ticket, get_ticket, NULL, end_ring },
	{ "boost", make_boost, put_boost, get_boost, NULL, end_boost },
	{ .key = NULL }
};
