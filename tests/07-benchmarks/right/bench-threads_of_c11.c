/* style: threads.h; who lets the lock go waits until another has it */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/wait.h>
#include <threads.h>
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

/*
 * As in CPython: who lets the lock go while somebody waits does not go on
 * before one of them has got it.
 */
struct gil {
	mtx_t m;
	cnd_t is_free, was_taken;
	bool taken;
	int waiting;
	unsigned long switches;
};

static void gil_init(struct gil *g)
{
	memset(g, 0, sizeof *g);
	mtx_init(&g->m, mtx_plain);
	cnd_init(&g->is_free);
	cnd_init(&g->was_taken);
}

static void gil_end(struct gil *g)
{
	cnd_destroy(&g->is_free);
	cnd_destroy(&g->was_taken);
	mtx_destroy(&g->m);
}

static void gil_lock(struct gil *g)
{
	mtx_lock(&g->m);
	g->waiting++;
	while (g->taken)
		cnd_wait(&g->is_free, &g->m);
	g->waiting--;
	g->taken = true;
	g->switches++;
	cnd_broadcast(&g->was_taken);
	mtx_unlock(&g->m);
}

static void gil_unlock(struct gil *g)
{
	unsigned long seen;

	mtx_lock(&g->m);
	seen = g->switches;
	g->taken = false;
	cnd_signal(&g->is_free);
	while (g->waiting > 0 && g->switches == seen)
		cnd_wait(&g->was_taken, &g->m);
	mtx_unlock(&g->m);
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

/* What a thread adds to when it ends, under the mutex. */
struct crew {
	struct job job;
	mtx_t m;
	int number;
	struct bench_run total;
};

static int crew_main(void *arg)
{
	struct crew *c = arg;
	uint64_t sum;
	int me;

	mtx_lock(&c->m);
	me = c->number++;
	mtx_unlock(&c->m);
	sum = work_off(&c->job, me);
	mtx_lock(&c->m);
	c->total.result += sum;
	c->total.cpu_seconds += thread_cpu();
	mtx_unlock(&c->m);
	return 0;
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk, struct gil *gil)
{
	struct crew c;
	thrd_t *ids;
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
	mtx_init(&c.m, mtx_plain);
	while (started < workers && thrd_create(&ids[started], crew_main, &c) ==
				    thrd_success)
		started++;
	for (int i = 0; i < started; i++)
		thrd_join(ids[i], NULL);
	mtx_destroy(&c.m);
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

struct slot {
	_Atomic int finished;
	uint64_t sum;
};

struct board {
	struct job job;
	struct slot slots[];
};

/* System V memory; marked for removal at once, it goes with the last user. */
static struct board *hang_up(int workers)
{
	size_t size = sizeof(struct board) +
		      (size_t)workers * sizeof(struct slot);
	int id = shmget(IPC_PRIVATE, size, IPC_CREAT | 0600);
	struct board *b;

	if (id < 0)
		return NULL;
	b = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	return b == (void *)-1 ? NULL : b;
}

static pid_t start_one(struct board *b, int me)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	held = NULL;
	b->slots[me].sum = work_off(&b->job, me);
	atomic_store(&b->slots[me].finished, 1);
	_exit(0);
}

static void await(pid_t pid, double *cpu)
{
	struct rusage used = { 0 };
	siginfo_t info;
	pid_t got;

	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 &&
	       errno == EINTR)
		;
	do
		got = wait4(pid, NULL, 0, &used);
	while (got < 0 && errno == EINTR);
	if (got == pid)
		*cpu += cpu_of(&used);
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	struct bench_run r = { 0, 0, 0 };
	struct board *b;
	pid_t *pids;
	int k = 0, error = 0;
	double start;

	if (bad(n, workers, chunk))
		return failure(EINVAL);
	start = now();
	pids = calloc((size_t)workers, sizeof *pids);
	b = pids != NULL ? hang_up(workers) : NULL;
	if (b == NULL) {
		free(pids);
		return failure(ENOMEM);
	}
	begin(&b->job, f, n, arg, workers, chunk);
	for (; k < workers; k++) {
		pids[k] = start_one(b, k);
		if (pids[k] < 0) {
			error = errno;
			break;
		}
	}
	for (int i = 0; i < k; i++) {
		await(pids[i], &r.cpu_seconds);
		r.result += b->slots[i].sum;
		if (!atomic_load(&b->slots[i].finished) && error == 0)
			error = EOWNERDEAD;
	}
	shmdt(b);
	free(pids);
	r.seconds = now() - start;
	return error == 0 ? r : failure(error);
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
