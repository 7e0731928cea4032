/*
 * misconception: who has the next number is the first to wait
 * rejected by:   under the lock nobody is forgotten, whatever the order
 * message:       Who lets the lock go wakes one of those who wait
 */
#include "bench.h"

#include <errno.h>
#include <linux/futex.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The k-th smallest: so many are smaller, and it fills the place k. */
static double kth(const double *v, int n, int k)
{
	for (int i = 0; i < n; i++) {
		int below = 0, same = 0;

		for (int j = 0; j < n; j++) {
			below += v[j] < v[i];
			same += v[j] == v[i];
		}
		if (below <= k && k < below + same)
			return v[i];
	}
	return NAN;
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	double *took, result;

	if (rounds <= 0 || warmups < 0)
		return NAN;
	took = malloc(sizeof(double) * (size_t)rounds);
	if (took == NULL)
		return NAN;
	for (int i = -warmups; i < rounds; i++) {
		double before = now();

		fn(arg);
		if (i >= 0)
			took[i] = now() - before;
	}
	result = kth(took, rounds, rounds / 2);
	if (rounds % 2 == 0)
		result = (result + kth(took, rounds, rounds / 2 - 1)) / 2;
	free(took);
	return result;
}

/* Two numbers, as at the counter of a post office. */
struct gil {
	_Atomic uint32_t next, serving;
};

static void gil_init(struct gil *g)
{
	atomic_init(&g->next, 0);
	atomic_init(&g->serving, 0);
}

static void gil_end(struct gil *g)
{
	(void)g;
}

static void gil_lock(struct gil *g)
{
	uint32_t mine = atomic_fetch_add(&g->next, 1), seen;

	while ((seen = atomic_load(&g->serving)) != mine)
		syscall(SYS_futex, &g->serving, FUTEX_WAIT_PRIVATE, seen,
			NULL, NULL, 0);
}

static void gil_unlock(struct gil *g)
{
	atomic_fetch_add(&g->serving, 1);
	syscall(SYS_futex, &g->serving, FUTEX_WAKE_PRIVATE, 1, NULL,
		NULL, 0);
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
	pthread_mutex_t door;
	long next;
};

static void open_door(struct job *job)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&job->door, &a);
	pthread_mutexattr_destroy(&a);
}

static bool take(struct job *job, int me, long *turn, long *from, long *to)
{
	(void)me;
	(void)turn;
	if (pthread_mutex_lock(&job->door) == EOWNERDEAD)
		pthread_mutex_consistent(&job->door);
	*from = job->next;
	*to = job->n - *from < job->chunk ? job->n : *from + job->chunk;
	job->next = *to;
	pthread_mutex_unlock(&job->door);
	return *from < *to;
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
	open_door(job);
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

/* What a thread adds to when it ends, under the mutex. */
struct crew {
	struct job job;
	pthread_mutex_t m;
	int number;
	struct bench_run total;
};

static void *crew_main(void *arg)
{
	struct crew *c = arg;
	uint64_t sum;
	int me;

	pthread_mutex_lock(&c->m);
	me = c->number++;
	pthread_mutex_unlock(&c->m);
	sum = work_off(&c->job, me);
	pthread_mutex_lock(&c->m);
	c->total.result += sum;
	c->total.cpu_seconds += thread_cpu();
	pthread_mutex_unlock(&c->m);
	return NULL;
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk, struct gil *gil)
{
	struct crew c;
	pthread_t *ids;
	int started = 0;
	double start;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	start = now();
	ids = malloc((size_t)workers * sizeof *ids);
	if (ids == NULL)
		return failure(errno);
	memset(&c, 0, sizeof c);
	begin(&c.job, f, n, arg, workers, chunk);
	c.job.gil = gil;
	pthread_mutex_init(&c.m, NULL);
	while (started < workers && pthread_create(&ids[started], NULL,
						       crew_main, &c) == 0)
		started++;
	for (int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	pthread_mutex_destroy(&c.m);
	free(ids);
	c.total.seconds = now() - start;
	return started == workers ? c.total : failure(EAGAIN);
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

/* The sums lie in a file that has no name, one after the other. */
static _Noreturn void child(struct job *job, int me, int file)
{
	uint64_t sum;

	held = NULL;
	sum = work_off(job, me);
	if (pwrite(file, &sum, sizeof sum, me * (off_t)sizeof sum) !=
	    sizeof sum)
		_exit(2);
	_exit(42);	/* exit(0) is what a work that gives up would say */
}

static int collect(pid_t pid, double *cpu)
{
	struct rusage used;
	int status;

	while (wait4(pid, &status, 0, &used) < 0)
		if (errno != EINTR)
			return EOWNERDEAD;
	*cpu += cpu_of(&used);
	return WIFEXITED(status) && WEXITSTATUS(status) == 42 ? 0 : EOWNERDEAD;
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r = { 0, 0, 0 };
	int file, i, error = 0, e;
	struct job *job = MAP_FAILED;
	uint64_t sum;
	pid_t *pids = NULL;
	double start = now();

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	file = memfd_create("sums", MFD_CLOEXEC);
	if (file < 0)
		return failure(errno);
	pids = calloc((size_t)workers, sizeof *pids);
	job = mmap(NULL, sizeof *job, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pids == NULL || job == MAP_FAILED) {
		error = ENOMEM;
		goto out;
	}
	begin(job, f, n, arg, workers, chunk);
	for (i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] < 0) {
			error = errno;
			break;
		}
		if (pids[i] == 0)
			child(job, i, file);
	}
	while (--i >= 0) {
		e = collect(pids[i], &r.cpu_seconds);
		if (e == 0 && pread(file, &sum, sizeof sum,
				    i * (off_t)sizeof sum) == sizeof sum)
			r.result += sum;
		error = error ? error : e;
	}
out:
	if (job != MAP_FAILED)
		munmap(job, sizeof *job);
	free(pids);
	close(file);
	r.seconds = now() - start;
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
