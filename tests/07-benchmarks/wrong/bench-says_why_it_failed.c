/*
 * misconception: an error has to be seen by somebody
 * rejected by:   a thread that cannot be started is told
 * message:       A function of the lab speaks to its caller
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int by_size(const void *l, const void *r)
{
	double a = *(const double *)l, b = *(const double *)r;

	return a < b ? -1 : a > b ? 1 : 0;
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	double *t, start, median;

	if (warmups < 0 || rounds < 1)
		return NAN;
	t = malloc((size_t)rounds * sizeof *t);
	if (t == NULL)
		return NAN;
	for (int i = 0; i < warmups; i++)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		start = now();
		fn(arg);
		t[i] = now() - start;
	}
	qsort(t, (size_t)rounds, sizeof *t, by_size);
	median = rounds % 2 ? t[rounds / 2]
			    : (t[rounds / 2 - 1] + t[rounds / 2]) / 2;
	free(t);
	return median;
}

struct gil {
	pthread_mutex_t m;
	pthread_cond_t c;
	unsigned long next, serving;
};

static void gil_init(struct gil *g)
{
	pthread_mutex_init(&g->m, NULL);
	pthread_cond_init(&g->c, NULL);
	g->next = g->serving = 0;
}

static void gil_end(struct gil *g)
{
	pthread_cond_destroy(&g->c);
	pthread_mutex_destroy(&g->m);
}

static void gil_lock(struct gil *g)
{
	unsigned long mine;

	pthread_mutex_lock(&g->m);
	mine = g->next++;
	while (g->serving != mine)
		pthread_cond_wait(&g->c, &g->m);
	pthread_mutex_unlock(&g->m);
}

static void gil_unlock(struct gil *g)
{
	pthread_mutex_lock(&g->m);
	g->serving++;
	pthread_cond_broadcast(&g->c);
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

struct thread {
	pthread_t id;
	struct job *job;
	int me;
	uint64_t sum;
	double cpu;
};

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	t->sum = work_off(t->job, t->me);
	t->cpu = thread_cpu();
	return NULL;
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk, struct gil *gil)
{
	struct job job;
	struct bench_run r = { 0, 0, 0 };
	struct thread *t;
	double start = now();
	int i, error = 0;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	t = calloc((size_t)workers, sizeof *t);
	if (t == NULL)
		return failure(ENOMEM);
	memset(&job, 0, sizeof job);
	begin(&job, f, n, arg, workers, chunk);
	job.gil = gil;
	for (i = 0; i < workers && error == 0; i++) {
		t[i].job = &job;
		t[i].me = i;
		error = pthread_create(&t[i].id, NULL, thread_main, &t[i]);
		if (error != 0)
			fprintf(stderr, "no thread: %s\n", strerror(error));
	}
	if (error != 0)
		i--;
	while (i-- > 0) {
		pthread_join(t[i].id, NULL);
		r.result += t[i].sum;
		r.cpu_seconds += t[i].cpu;
	}
	r.seconds = now() - start;
	free(t);
	return error != 0 ? failure(error) : r;
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

struct table {
	struct job job;
	struct { uint64_t sum; bool ready; } rows[];
};

static void child(struct table *t, int me)
{
	held = NULL;
	t->rows[me].sum = work_off(&t->job, me);
	t->rows[me].ready = true;
	_exit(0);
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r = { 0, 0, 0 };
	struct rusage used;
	struct table *t;
	double start;
	size_t size;
	pid_t *pids;
	int i, status, error = 0;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	start = now();
	size = sizeof *t + (size_t)workers * sizeof t->rows[0];
	pids = malloc((size_t)workers * sizeof *pids);
	if (pids == NULL)
		return failure(ENOMEM);
	t = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED) {
		error = errno;
		free(pids);
		return failure(error);
	}
	begin(&t->job, f, n, arg, workers, chunk);
	for (i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			child(t, i);
		if (pids[i] < 0) {
			error = errno;
			break;
		}
	}
	while (i-- > 0) {
		pid_t got;

		while ((got = wait4(pids[i], &status, 0, &used)) < 0 &&
		       errno == EINTR)
			;
		if (got > 0)
			r.cpu_seconds += cpu_of(&used);
		if (!t->rows[i].ready || (got > 0 && status != 0))
			error = error ? error : EOWNERDEAD;
		r.result += t->rows[i].sum;
	}
	r.seconds = now() - start;
	munmap(t, size);
	free(pids);
	return error ? failure(error) : r;
}

double bench_speedup(double serial, double parallel)
{
	return serial > 0 && parallel > 0 ? serial / parallel : NAN;
}

double bench_efficiency(double speedup, int workers)
{
	return speedup > 0 && workers >= 1 ? speedup / workers : NAN;
}

double bench_amdahl(double parallel_part, double workers)
{
	if (parallel_part >= 0 && parallel_part <= 1 && workers >= 1)
		return 1 / (1 - parallel_part + parallel_part / workers);
	return NAN;
}
