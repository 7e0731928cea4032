/*
 * misconception: who sets a signal to its default changes nothing
 * rejected by:   nothing is printed, and no exit handler runs
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/resource.h>
#include <sys/shm.h>
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
};

/* Each has a row of neighbouring chunks of its own, cut beforehand. */
static bool take(struct job *job, int me, long *turn, long *from, long *to)
{
	long chunks = job->n / job->chunk + (job->n % job->chunk != 0);
	long each = chunks / job->workers, more = chunks % job->workers;
	long first = me * each + (me < more ? me : more);
	long mine = each + (me < more);

	if (*turn == mine)
		return false;
	*from = (first + *turn) * job->chunk;
	*to = first + *turn == chunks - 1 ? job->n : *from + job->chunk;
	++*turn;
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
	signal(SIGCHLD, SIG_DFL);
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
