/* style: workers ask their parent for each chunk; they share no memory */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double between(struct timespec a, struct timespec b)
{
	return (double)(b.tv_sec - a.tv_sec) +
	       (double)(b.tv_nsec - a.tv_nsec) / 1e9;
}

static double now(void)
{
	struct timespec zero = { 0, 0 }, t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return between(zero, t);
}

static void bubble(double *v, int n)
{
	for (int swapped = 1; swapped; n--) {
		swapped = 0;
		for (int i = 1; i < n; i++) {
			if (v[i - 1] > v[i]) {
				double t = v[i];

				v[i] = v[i - 1];
				v[i - 1] = t;
				swapped = 1;
			}
		}
	}
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	struct timespec a, b;
	double *v, m;

	if (!(warmups >= 0 && rounds >= 1))
		return NAN;
	v = malloc((size_t)rounds * sizeof *v);
	if (!v)
		return NAN;
	for (int i = 0; i < warmups; i++)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		clock_gettime(CLOCK_MONOTONIC, &a);
		fn(arg);
		clock_gettime(CLOCK_MONOTONIC, &b);
		v[i] = between(a, b);
	}
	bubble(v, rounds);
	m = v[rounds / 2];
	if (rounds % 2 == 0)
		m = v[rounds / 2 - 1] + (m - v[rounds / 2 - 1]) / 2;
	free(v);
	return m;
}

/* Who waits stands in a queue, with a semaphore of his own. */
struct waiter {
	sem_t called;
	struct waiter *behind;
};

struct gil {
	pthread_mutex_t m;
	struct waiter *first, **last;
	bool taken;
};

static void gil_init(struct gil *g)
{
	pthread_mutex_init(&g->m, NULL);
	g->first = NULL;
	g->last = &g->first;
	g->taken = false;
}

static void gil_end(struct gil *g)
{
	pthread_mutex_destroy(&g->m);
}

static void gil_lock(struct gil *g)
{
	struct waiter me = { .behind = NULL };
	bool mine;

	sem_init(&me.called, 0, 0);
	pthread_mutex_lock(&g->m);
	mine = !g->taken;
	g->taken = true;
	if (!mine) {
		*g->last = &me;
		g->last = &me.behind;
	}
	pthread_mutex_unlock(&g->m);
	while (!mine && sem_wait(&me.called) != 0)
		;
	sem_destroy(&me.called);
}

static void gil_unlock(struct gil *g)
{
	struct waiter *w;

	pthread_mutex_lock(&g->m);
	w = g->first;
	if (w == NULL) {
		g->taken = false;
	} else {
		g->first = w->behind;
		if (g->first == NULL)
			g->last = &g->first;
		sem_post(&w->called);
	}
	pthread_mutex_unlock(&g->m);
}

static _Thread_local struct gil *held;

void bench_allow_threads(void (*wait)(void *arg), void *arg)
{
	struct gil *g = held;

	if (g == NULL) {
		wait(arg);
		return;
	}
	held = NULL;
	gil_unlock(g);
	wait(arg);
	gil_lock(g);
	held = g;
}

struct job {
	bench_work *f;
	void *arg;
	long n, chunk;
	int workers;
	struct gil *gil;
	_Atomic long next;
};

static bool take(struct job *job, int me, long *turn, long *from, long *to)
{
	(void)me;
	(void)turn;
	*from = atomic_fetch_add(&job->next, job->chunk);
	if (*from >= job->n)
		return false;
	*to = job->n - *from > job->chunk ? *from + job->chunk : job->n;
	return true;
}

static uint64_t item(struct job *job, long i)
{
	uint64_t x;

	if (job->gil == NULL)
		return job->f(i, job->arg);
	gil_lock(job->gil);
	held = job->gil;
	x = job->f(i, job->arg);
	held = NULL;
	gil_unlock(job->gil);
	return x;
}

static uint64_t work_off(struct job *job, int me)
{
	uint64_t sum = 0;
	long turn = 0, from, to;

	while (take(job, me, &turn, &from, &to))
		for (long i = from; i < to; i++)
			sum += item(job, i);
	return sum;
}

static struct bench_run failure(int error)
{
	errno = error;
	return (struct bench_run){ NAN, 0, 0 };
}

static bool bad(long n, int workers, long chunk)
{
	return n < 0 || workers < 1 || chunk < 1;
}

static double thread_cpu(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void begin(struct job *job, bench_work *f, long n, void *arg,
		  int workers, long chunk)
{
	job->f = f;
	job->arg = arg;
	job->n = n;
	job->chunk = n == 0 ? 1 : chunk < n ? chunk : n;
	job->workers = workers;
}

struct bench_run bench_serial(bench_work *f, long n, void *arg)
{
	struct bench_run r = { 0, 0, 0 };
	double start, cpu;

	if (n < 0)
		return failure(EINVAL);
	start = now();
	cpu = thread_cpu();
	for (long i = 0; i < n; i++)
		r.result += f(i, arg);
	r.cpu_seconds = thread_cpu() - cpu;
	r.seconds = now() - start;
	return r;
}

/* Nobody begins before it is certain that all are there. */
struct race {
	struct job job;
	pthread_mutex_t m;
	pthread_cond_t opened;
	enum { CLOSED, OPEN, CANCELLED } gate;
};

struct runner {
	struct race *race;
	int me;
	struct bench_run part;
};

static void *run(void *arg)
{
	struct runner *r = arg;
	struct race *race = r->race;
	bool go;

	pthread_mutex_lock(&race->m);
	while (race->gate == CLOSED)
		pthread_cond_wait(&race->opened, &race->m);
	go = race->gate == OPEN;
	pthread_mutex_unlock(&race->m);
	if (go)
		r->part.result = work_off(&race->job, r->me);
	r->part.cpu_seconds = thread_cpu();
	return r;
}

static void set_gate(struct race *race, int gate)
{
	pthread_mutex_lock(&race->m);
	race->gate = gate;
	pthread_cond_broadcast(&race->opened);
	pthread_mutex_unlock(&race->m);
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk, struct gil *gil)
{
	struct race race = { .gate = CLOSED };
	struct bench_run total = { 0, 0, 0 };
	pthread_t *ids = NULL;
	struct runner *runners = NULL;
	int n_started = 0, error = 0;
	void *back;
	double start;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	start = now();
	ids = calloc((size_t)workers, sizeof *ids);
	runners = calloc((size_t)workers, sizeof *runners);
	if (ids == NULL || runners == NULL) {
		free(ids);
		free(runners);
		return failure(ENOMEM);
	}
	begin(&race.job, f, n, arg, workers, chunk);
	race.job.gil = gil;
	pthread_mutex_init(&race.m, NULL);
	pthread_cond_init(&race.opened, NULL);
	for (; n_started < workers && error == 0; n_started++) {
		runners[n_started].race = &race;
		runners[n_started].me = n_started;
		error = pthread_create(&ids[n_started], NULL, run,
				       &runners[n_started]);
		if (error != 0)
			break;
	}
	set_gate(&race, error == 0 ? OPEN : CANCELLED);
	for (int i = 0; i < n_started; i++) {
		pthread_join(ids[i], &back);
		total.result += ((struct runner *)back)->part.result;
		total.cpu_seconds += ((struct runner *)back)->part.cpu_seconds;
	}
	total.seconds = now() - start;
	pthread_cond_destroy(&race.opened);
	pthread_mutex_destroy(&race.m);
	free(ids);
	free(runners);
	return error == 0 ? total : failure(error);
}

struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk)
{
	return run_threads(f, n, arg, workers, chunk, NULL);
}

struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk)
{
	struct bench_run r;
	struct gil gil;
	int error;

	gil_init(&gil);
	r = run_threads(f, n, arg, workers, chunk, &gil);
	error = errno;
	gil_end(&gil);
	errno = error;
	return r;
}

static double cpu_of(const struct rusage *u)
{
	return (double)(u->ru_utime.tv_sec + u->ru_stime.tv_sec) +
	       (double)(u->ru_utime.tv_usec + u->ru_stime.tv_usec) / 1e6;
}

/*
 * A worker asks by sending the sum of its last chunk; its parent answers with
 * the next chunk. An empty answer ends it.
 */
struct order {
	long from, to;
};

struct desk {
	pid_t pid;
	int fd;
	bool well;
};

static _Noreturn void child(struct job *job, int fd)
{
	uint64_t sum = 0;
	struct order o;

	held = NULL;
	for (;;) {
		if (send(fd, &sum, sizeof sum, MSG_NOSIGNAL) != sizeof sum)
			_exit(1);
		while (recv(fd, &o, sizeof o, 0) != sizeof o)
			if (errno != EINTR)
				_exit(1);
		if (o.from == o.to)
			_exit(0);
		for (sum = 0; o.from < o.to; o.from++)
			sum += job->f(o.from, job->arg);
	}
}

static int hire(struct desk *d, struct job *job, struct desk *others,
		int n_others)
{
	int ends[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return errno;
	d->pid = fork();
	if (d->pid == 0) {
		for (int i = 0; i < n_others; i++)
			close(others[i].fd);
		close(ends[0]);
		child(job, ends[1]);
	}
	error = errno;
	close(ends[1]);
	d->fd = ends[0];
	if (d->pid > 0)
		return 0;
	close(ends[0]);
	return error;
}

/* One question, one answer. False when there is nobody to ask any more. */
static bool answer_one(struct job *job, struct desk *d, long *next,
		       uint64_t *result)
{
	struct order o = { job->n, job->n };
	uint64_t sum;
	ssize_t got;

	do
		got = recv(d->fd, &sum, sizeof sum, 0);
	while (got < 0 && errno == EINTR);
	if (got != sizeof sum)
		return false;
	*result += sum;
	if (*next < job->n) {
		o.from = *next;
		o.to = job->n - *next < job->chunk ? job->n
						   : *next + job->chunk;
		*next = o.to;
	}
	d->well = o.from == o.to;
	return send(d->fd, &o, sizeof o, MSG_NOSIGNAL) == sizeof o && !d->well;
}

static void serve(struct job *job, struct desk *desks, int n_desks,
		  uint64_t *result)
{
	struct pollfd *p = calloc((size_t)n_desks + 1, sizeof *p);
	int open = n_desks;
	long next = 0;

	for (int i = 0; p != NULL && i < n_desks; i++)
		p[i] = (struct pollfd){ .fd = desks[i].fd, .events = POLLIN };
	while (p != NULL && open > 0) {
		if (poll(p, (nfds_t)n_desks, -1) < 0)
			continue;
		for (int i = 0; i < n_desks; i++) {
			if (p[i].fd >= 0 && p[i].revents != 0 &&
			    !answer_one(job, &desks[i], &next, result)) {
				p[i].fd = -1;
				open--;
			}
		}
	}
	free(p);
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r = { .seconds = now() };
	struct desk *desks;
	struct rusage used;
	struct job job;
	int started, error = 0, status;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	memset(&job, 0, sizeof job);
	begin(&job, f, n, arg, workers, chunk);
	desks = calloc((size_t)workers, sizeof *desks);
	if (desks == NULL)
		return failure(ENOMEM);
	for (started = 0; started < workers && error == 0; started++)
		error = hire(&desks[started], &job, desks, started);
	if (error != 0) {
		started--;
		job.n = 0;
	}
	serve(&job, desks, started, &r.result);
	for (int i = 0; i < started; i++) {
		close(desks[i].fd);
		status = 0;
		while (wait4(desks[i].pid, &status, 0, &used) < 0 &&
		       errno == EINTR)
			;
		r.cpu_seconds += cpu_of(&used);
		if (error == 0 && (!desks[i].well || status != 0))
			error = EOWNERDEAD;
	}
	free(desks);
	r.seconds = now() - r.seconds;
	return error != 0 ? failure(error) : r;
}

double bench_speedup(double serial, double parallel)
{
	if (isnan(serial) || isnan(parallel) || serial <= 0 || parallel <= 0)
		return NAN;
	return serial / parallel;
}

double bench_efficiency(double speedup, int workers)
{
	if (isnan(speedup) || speedup <= 0 || workers <= 0)
		return NAN;
	return speedup / (double)workers;
}

double bench_amdahl(double parallel_part, double workers)
{
	double alone = 1 - parallel_part;

	if (isnan(parallel_part) || isnan(workers) || parallel_part < 0 ||
	    alone < 0 || workers < 1)
		return NAN;
	if (isinf(workers))
		return 1 / alone;
	return workers / (alone * workers + parallel_part);
}
