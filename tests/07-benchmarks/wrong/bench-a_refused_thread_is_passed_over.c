/*
 * misconception: pthread_create always succeeds
 * rejected by:   a thread that cannot be started is told
 * message:       Not every worker could be started, and nobody was told.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- clocks ------------------------------------------------------------ */

static int64_t monotonic_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static double since(int64_t start, clockid_t clock)
{
	return (double)(monotonic_ns(clock) - start) / 1e9;
}

static struct bench_run refused(int error)
{
	struct bench_run r = { NAN, 0, 0 };

	errno = error;
	return r;
}

/* Put t in its place among the n that are in order. */
static void sort_in(double *sorted, int n, double t)
{
	int i = n;

	while (i > 0 && sorted[i - 1] > t)
		i--;
	memmove(sorted + i + 1, sorted + i, (size_t)(n - i) * sizeof *sorted);
	sorted[i] = t;
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	double *sorted, r;

	if (warmups < 0 || rounds < 1 ||
	    (sorted = malloc((size_t)rounds * sizeof *sorted)) == NULL)
		return NAN;
	while (warmups-- > 0)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		int64_t start = monotonic_ns(CLOCK_MONOTONIC);

		fn(arg);
		sort_in(sorted, i, since(start, CLOCK_MONOTONIC));
	}
	r = sorted[rounds / 2];
	if (rounds % 2 == 0)
		r = (r + sorted[rounds / 2 - 1]) / 2;
	free(sorted);
	return r;
}

/* ---- a worker ------------------------------------------------------------ */

struct worker {
	bench_work *f;
	void *arg;
	long n, chunk;
	int id, workers, fd;
	sem_t *gil;
	uint64_t sum;
	double cpu;
	pthread_t thread;
	pid_t pid;
};

static _Thread_local sem_t *my_gil;

static void down(sem_t *s)
{
	while (s != NULL && sem_wait(s) < 0)
		;
}

static void up(sem_t *s)
{
	if (s != NULL)
		sem_post(s);
}

static void do_chunk(struct worker *w, long first, long length)
{
	for (long i = 0; i < length; i++) {
		down(w->gil);
		w->sum += w->f(first + i, w->arg);
		up(w->gil);
	}
}

static void *be_worker(void *worker)
{
	struct worker *w = worker;
	long chunks = w->n / w->chunk, c;

	my_gil = w->gil;
	for (c = w->id; c < chunks; c += w->workers)
		do_chunk(w, c * w->chunk, w->chunk);
	if (c == chunks)
		do_chunk(w, c * w->chunk, w->n % w->chunk);
	w->cpu = since(0, CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static struct worker *crew(bench_work *f, long n, void *arg, int workers,
			   long chunk, sem_t *gil)
{
	struct worker *w = calloc((size_t)workers, sizeof *w);

	for (int i = 0; w != NULL && i < workers; i++)
		w[i] = (struct worker){ .f = f, .arg = arg, .n = n,
			.chunk = chunk, .id = i, .workers = workers,
			.gil = gil };
	return w;
}

static struct bench_run pay_off(struct worker *w, int workers, int64_t start,
				int error)
{
	struct bench_run r = { since(start, CLOCK_MONOTONIC), 0, 0 };

	for (int i = 0; i < workers; i++) {
		r.result += w[i].sum;
		r.cpu_seconds += w[i].cpu;
	}
	free(w);
	return error == 0 ? r : refused(error);
}

/* ---- threads ------------------------------------------------------------- */

static struct bench_run by_threads(bench_work *f, long n, void *arg,
				   int workers, long chunk, sem_t *gil)
{
	int64_t start = monotonic_ns(CLOCK_MONOTONIC);
	struct worker *w;
	int i;

	if (n < 0 || workers < 1 || chunk < 1)
		return refused(EINVAL);
	if ((w = crew(f, n, arg, workers, chunk, gil)) == NULL)
		return refused(ENOMEM);
	for (i = 0; i < workers; i++)
		if (pthread_create(&w[i].thread, NULL, be_worker, &w[i]) != 0)
			w[i].id = -1;
	for (int k = 0; k < i; k++)
		if (w[k].id >= 0)
			pthread_join(w[k].thread, NULL);
	return pay_off(w, workers, start, 0);
}

struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk)
{
	return by_threads(f, n, arg, workers, chunk, NULL);
}

struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk)
{
	struct bench_run r;
	sem_t gil;
	int error;

	if (sem_init(&gil, 0, 1) < 0)
		return refused(errno);
	r = by_threads(f, n, arg, workers, chunk, &gil);
	error = errno;
	sem_destroy(&gil);
	errno = error;
	return r;
}

void bench_allow_threads(void (*wait)(void *arg), void *arg)
{
	sem_t *gil = my_gil;

	up(gil);
	wait(arg);
	down(gil);
}

struct bench_run bench_serial(bench_work *f, long n, void *arg)
{
	int64_t start = monotonic_ns(CLOCK_MONOTONIC),
		cpu = monotonic_ns(CLOCK_THREAD_CPUTIME_ID);
	struct bench_run r = {0};

	if (n < 0)
		return refused(EINVAL);
	for (long i = 0; i < n; i++)
		r.result += f(i, arg);
	r.cpu_seconds = since(cpu, CLOCK_THREAD_CPUTIME_ID);
	r.seconds = since(start, CLOCK_MONOTONIC);
	return r;
}

/* ---- processes ------------------------------------------------------------ */

static _Noreturn void be_process(struct worker *w, int fd)
{
	const char *p = (const char *)&w->sum;
	size_t left = sizeof w->sum;
	ssize_t k;

	be_worker(w);
	while (left > 0) {
		k = write(fd, p, left);
		if (k < 0 && errno != EINTR)
			_exit(1);
		if (k > 0) {
			p += k;
			left -= (size_t)k;
		}
	}
	_exit(0);
}

/* 0, or why there is no worker. */
static int start_process(struct worker *w)
{
	int ends[2], error;

	if (pipe(ends) < 0)
		return errno;
	w->pid = fork();
	if (w->pid == 0) {
		close(ends[0]);
		my_gil = NULL;
		be_process(w, ends[1]);
	}
	error = errno;
	close(ends[1]);
	if (w->pid < 0) {
		close(ends[0]);
		return error;
	}
	w->fd = ends[0];
	return 0;
}

/* Read the sum and collect the process. 0, or EOWNERDEAD. */
static int collect(struct worker *w)
{
	char *p = (char *)&w->sum;
	size_t got = 0;
	struct rusage u;
	int status;
	ssize_t k;

	do {
		k = read(w->fd, p + got, sizeof w->sum - got);
		if (k > 0)
			got += (size_t)k;
	} while ((k > 0 && got < sizeof w->sum) || (k < 0 && errno == EINTR));
	close(w->fd);
	while (wait4(w->pid, &status, 0, &u) < 0)
		if (errno != EINTR)
			return errno;
	w->cpu = u.ru_utime.tv_sec + u.ru_stime.tv_sec +
		 (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	return got == sizeof w->sum ? 0 : EOWNERDEAD;
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	int64_t start = monotonic_ns(CLOCK_MONOTONIC);
	int started, error = 0, told;
	struct worker *w;

	if (n < 0 || workers < 1 || chunk < 1)
		return refused(EINVAL);
	if ((w = crew(f, n, arg, workers, chunk, NULL)) == NULL)
		return refused(ENOMEM);
	for (started = 0; started < workers && error == 0; started++)
		error = start_process(&w[started]);
	if (error != 0)
		started--;
	for (int i = 0; i < started; i++) {
		told = collect(&w[i]);
		if (error == 0)
			error = told;
	}
	return pay_off(w, workers, start, error);
}

/* ---- the numbers ------------------------------------------------------------ */

double bench_speedup(double serial, double parallel)
{
	if (!(serial > 0) || !(parallel > 0))
		return NAN;
	return serial / parallel;
}

double bench_efficiency(double speedup, int workers)
{
	if (workers < 1 || !(speedup > 0))
		return NAN;
	return speedup / workers;
}

double bench_amdahl(double parallel_part, double workers)
{
	if (!(workers >= 1) || !(0 <= parallel_part && parallel_part <= 1))
		return NAN;
	return 1.0 / ((1.0 - parallel_part) + parallel_part / workers);
}
