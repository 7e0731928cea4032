/*
 * misconception: the smallest chunk is the fairest, so it is the right one
 * rejected by:   threads do each item once
 * message:       Neighbouring items that belong together were torn apart.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t nanoseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static double now(void)
{
	return (double)nanoseconds() / 1e9;
}

/* Keep sorted[0..used-1] sorted. */
static void insert(int64_t *sorted, int used, int64_t value)
{
	int i = used;

	for (; i > 0 && sorted[i - 1] > value; i--)
		sorted[i] = sorted[i - 1];
	sorted[i] = value;
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	int64_t *sorted, start;
	double twice;

	if (warmups < 0 || rounds < 1)
		return NAN;
	sorted = calloc((size_t)rounds, sizeof *sorted);
	if (sorted == NULL)
		return NAN;
	while (warmups-- > 0)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		start = nanoseconds();
		fn(arg);
		insert(sorted, i, nanoseconds() - start);
	}
	twice = (double)sorted[(rounds - 1) / 2] + (double)sorted[rounds / 2];
	free(sorted);
	return twice / 2e9;
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
	*from = atomic_load(&job->next);
	do {
		if (*from == job->n)
			return false;
		*to = *from + (job->chunk < job->n - *from ? job->chunk
							   : job->n - *from);
	} while (!atomic_compare_exchange_weak(&job->next, from, *to));
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
	(void)chunk;
	job->chunk = 1;
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

/* A thread gets a note, writes its answer on it, and gives it back. */
struct note {
	struct job *job;
	int me;
	uint64_t answer;
	double cpu;
};

static void *answer(void *arg)
{
	struct note *note = arg;
	struct rusage used;

	note->answer = work_off(note->job, note->me);
	getrusage(RUSAGE_THREAD, &used);
	note->cpu = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		    (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) /
		    1e6;
	return note;
}

static int dispatch(pthread_t *id, struct job *job, int me)
{
	struct note *note = malloc(sizeof *note);
	int error;

	if (note == NULL)
		return ENOMEM;
	*note = (struct note){ .job = job, .me = me };
	error = pthread_create(id, NULL, answer, note);
	if (error != 0)
		free(note);
	return error;
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk, struct gil *gil)
{
	struct bench_run r = { .seconds = now() };
	struct job *job;
	pthread_t *ids;
	int i, error = 0;
	void *back;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	job = calloc(1, sizeof *job);
	ids = malloc((size_t)workers * sizeof *ids);
	if (job == NULL || ids == NULL) {
		free(job);
		free(ids);
		return failure(ENOMEM);
	}
	begin(job, f, n, arg, workers, chunk);
	job->gil = gil;
	for (i = 0; i < workers; i++) {
		error = dispatch(&ids[i], job, i);
		if (error != 0)
			break;
	}
	for (int k = 0; k < i; k++) {
		struct note *note;

		pthread_join(ids[k], &back);
		note = back;
		r.result += note->answer;
		r.cpu_seconds += note->cpu;
		free(note);
	}
	r.seconds = now() - r.seconds;
	free(job);
	free(ids);
	return error == 0 ? r : failure(error);
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

/* What a worker sends when it has done its part. */
struct letter {
	uint64_t sum;
	double cpu;
};

struct member {
	pid_t pid;
	int fd;
};

static _Noreturn void child(struct job *job, int me, int fd)
{
	struct letter l = { 0 };
	struct rusage self, below;
	struct sigaction plain = { .sa_handler = SIG_IGN };

	sigaction(SIGPIPE, &plain, NULL);
	held = NULL;
	l.sum = work_off(job, me);
	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &below);
	l.cpu = cpu_of(&self) + cpu_of(&below);
	_exit(write(fd, &l, sizeof l) != sizeof l);
}

static int hire(struct member *m, struct job *job, int me)
{
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return errno;
	m->pid = fork();
	if (m->pid == 0) {
		close(ends[0]);
		child(job, me, ends[1]);
	}
	error = errno;
	close(ends[1]);
	m->fd = ends[0];
	if (m->pid > 0)
		return 0;
	close(ends[0]);
	return error;
}

static int collect(struct member *m, struct bench_run *r)
{
	struct letter l;
	ssize_t got;

	do
		got = read(m->fd, &l, sizeof l);
	while (got < 0 && errno == EINTR);
	close(m->fd);
	while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (got != sizeof l)
		return EOWNERDEAD;
	r->result += l.sum;
	r->cpu_seconds += l.cpu;
	return 0;
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r = { .seconds = now() };
	struct member *crew;
	struct job *job;
	int here, error = 0, e;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	job = mmap(NULL, sizeof *job, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job == MAP_FAILED)
		return failure(errno);
	crew = calloc((size_t)workers, sizeof *crew);
	if (crew == NULL) {
		munmap(job, sizeof *job);
		return failure(ENOMEM);
	}
	begin(job, f, n, arg, workers, chunk);
	for (here = 0; here < workers; here++) {
		error = hire(&crew[here], job, here);
		if (error != 0)
			break;
	}
	for (int i = 0; i < here; i++) {
		e = collect(&crew[i], &r);
		error = error != 0 ? error : e;
	}
	free(crew);
	munmap(job, sizeof *job);
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
