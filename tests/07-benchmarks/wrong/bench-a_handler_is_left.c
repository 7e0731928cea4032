/*
 * misconception: SIGCHLD can be had for oneself
 * rejected by:   processes do each item once
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- measuring ------------------------------------------------------------ */

struct watch {
	double elapsed, cpu;
};

static double elapsed_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double used_by(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static struct watch watch_start(void)
{
	return (struct watch){ elapsed_now(), used_by(RUSAGE_SELF) +
			       used_by(RUSAGE_CHILDREN) };
}

static struct bench_run watch_stop(const struct watch *w, uint64_t result)
{
	return (struct bench_run){
		.seconds = elapsed_now() - w->elapsed,
		.cpu_seconds = used_by(RUSAGE_SELF) +
			       used_by(RUSAGE_CHILDREN) - w->cpu,
		.result = result,
	};
}

static struct bench_run no_run(int error)
{
	errno = error;
	return (struct bench_run){ .seconds = NAN };
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	double *times, median;

	if (warmups < 0 || rounds < 1)
		return NAN;
	times = malloc((size_t)rounds * sizeof *times);
	if (times == NULL)
		return NAN;
	for (int i = 0; i < warmups; i++)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		double start = elapsed_now();

		fn(arg);
		times[i] = elapsed_now() - start;
	}
	qsort(times, (size_t)rounds, sizeof *times, ascending);
	median = (times[(rounds - 1) / 2] + times[rounds / 2]) / 2;
	free(times);
	return median;
}

/* ---- what all workers have in common --------------------------------------- */

struct job {
	bench_work *f;
	void *arg;
	long n, chunk, chunks;
	pthread_mutex_t *gil;
	_Atomic long next;
	_Atomic uint64_t sum;
	_Atomic int through;
};

static _Thread_local pthread_mutex_t *held;

static uint64_t do_item(const struct job *j, long i)
{
	uint64_t r;

	if (j->gil == NULL)
		return j->f(i, j->arg);
	pthread_mutex_lock(j->gil);
	held = j->gil;
	r = j->f(i, j->arg);
	held = NULL;
	pthread_mutex_unlock(j->gil);
	return r;
}

static void *work(void *arg)
{
	struct job *j = arg;
	uint64_t sum = 0;
	long c, last;

	while ((c = j->next++) < j->chunks) {
		last = c == j->chunks - 1 ? j->n : (c + 1) * j->chunk;
		for (long i = c * j->chunk; i < last; i++)
			sum += do_item(j, i);
	}
	j->sum += sum;
	j->through++;
	return NULL;
}

static bool is_bad(long n, int workers, long chunk)
{
	return n < 0 || workers < 1 || chunk < 1;
}

static void prepare(struct job *j, bench_work *f, long n, void *arg, long chunk)
{
	*j = (struct job){ .f = f, .arg = arg, .n = n, .chunk = chunk,
			   .chunks = n / chunk + (n % chunk != 0) };
}

/* ---- four ways --------------------------------------------------------------- */

struct bench_run bench_serial(bench_work *f, long n, void *arg)
{
	struct watch w = watch_start();
	uint64_t sum = 0;

	if (n < 0)
		return no_run(EINVAL);
	for (long i = 0; i < n; i++)
		sum += f(i, arg);
	return watch_stop(&w, sum);
}

static struct bench_run run_threads(struct job *j, int workers)
{
	pthread_t *threads = malloc((size_t)workers * sizeof *threads);
	struct watch w = watch_start();
	int started = 0, error = 0;

	if (threads == NULL)
		return no_run(ENOMEM);
	while (started < workers && error == 0) {
		error = pthread_create(&threads[started], NULL, work, j);
		started += error == 0;
	}
	for (int i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	free(threads);
	return error != 0 ? no_run(error) : watch_stop(&w, j->sum);
}

struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk)
{
	struct job j;

	if (is_bad(n, workers, chunk))
		return no_run(EINVAL);
	prepare(&j, f, n, arg, chunk);
	return run_threads(&j, workers);
}

struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk)
{
	pthread_mutex_t gil = PTHREAD_MUTEX_INITIALIZER;
	struct bench_run r;
	struct job j;

	if (is_bad(n, workers, chunk))
		return no_run(EINVAL);
	prepare(&j, f, n, arg, chunk);
	j.gil = &gil;
	r = run_threads(&j, workers);
	pthread_mutex_destroy(&gil);
	return r;
}

void bench_allow_threads(void (*wait)(void *arg), void *arg)
{
	pthread_mutex_t *mine = held;

	held = NULL;
	if (mine != NULL)
		pthread_mutex_unlock(mine);
	wait(arg);
	if (mine != NULL)
		pthread_mutex_lock(mine);
	held = mine;
}

static void note_end(int sig)
{
	(void)sig;
}

static void collect(const pid_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			;
}

static struct bench_run run_processes(struct job *j, int workers, pid_t *pids)
{
	struct watch w = watch_start();
	int started = 0, error = 0;

	while (started < workers && error == 0) {
		pids[started] = fork();
		if (pids[started] == 0) {
			held = NULL;
			work(j);
			_exit(0);
		}
		if (pids[started] < 0)
			error = errno;
		else
			started++;
	}
	signal(SIGCHLD, note_end);
	collect(pids, started);
	if (error == 0 && j->through < workers)
		error = EOWNERDEAD;
	return error != 0 ? no_run(error) : watch_stop(&w, j->sum);
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r;
	struct job *j;
	pid_t *pids;
	int error;

	if (is_bad(n, workers, chunk))
		return no_run(EINVAL);
	j = mmap(NULL, sizeof *j, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (j == MAP_FAILED)
		return no_run(errno);
	prepare(j, f, n, arg, chunk);
	pids = malloc((size_t)workers * sizeof *pids);
	r = pids != NULL ? run_processes(j, workers, pids) : no_run(ENOMEM);
	error = errno;
	free(pids);
	munmap(j, sizeof *j);
	errno = error;
	return r;
}

/* ---- what the numbers tell --------------------------------------------------- */

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
	if (!(parallel_part >= 0 && parallel_part <= 1 && workers >= 1))
		return NAN;
	return 1 / (1 - parallel_part + parallel_part / workers);
}
