/*
 * bench - the same work in four ways, and how long each of them takes
 *
 * All ways share one job: what is to be done, and the number of the first
 * item that nobody has taken yet. Each worker takes a chunk, adds up what its
 * items give in a variable of its own, and writes its sum once, at its end.
 * So workers meet only where a chunk is taken, and never at a lock.
 *
 * The job lies in memory that processes share. Threads would not need that,
 * but they do not mind, and so both are fed in the same way.
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CACHE_LINE = 64 };

/* A lock that goes round: who wants it again stands behind those who wait. */
struct gil {
	_Atomic unsigned long next_ticket;
	pthread_mutex_t mutex;		/* guards served */
	pthread_cond_t changed;
	unsigned long served;
};

/*
 * What a worker brings back. Each has a cache line of its own, or the cores
 * would keep taking the line out of each other's hands.
 */
struct share {
	_Alignas(CACHE_LINE) struct job *job;
	uint64_t sum;
	double cpu_seconds;
	bool done;		/* it has come to its end */
	pthread_t thread;
	pid_t pid;
};

/* What is to be done, what came of it, and a share for each worker. */
struct job {
	bench_work *f;
	void *arg;
	long n, chunk;
	int workers;
	struct gil *gil;	/* NULL = there is none */
	int error;
	uint64_t result;
	double cpu_seconds;
	/* items from here on are still to be had */
	_Alignas(CACHE_LINE) _Atomic long next;
	struct share shares[];
};

/* ---- the clock --------------------------------------------------------- */

static int compare(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

//region: measure
/*
 * Call fn(arg) warmups times without looking. Then fill seconds[]: how long
 * each of so many rounds took. Their median.
 */
static double time_rounds(void (*fn)(void *arg), void *arg, int warmups,
			  double *seconds, int rounds)
{
	/*
	 * TODO 1: the first calls only warm up. Then look at a clock before
	 * and after each call; at one that nobody can set, that does not
	 * stand still while we sleep or wait for others, and that knows
	 * fractions of a second. One round out of the ordinary must not
	 * matter: sort them (qsort, compare), and return the one in the
	 * middle, or what lies half-way between the two in the middle.
	 * About 15 lines.
	 */
	/* BEGIN SOLUTION 1 */
	struct timespec start, end;

	for (int i = 0; i < warmups; i++)
		fn(arg);
	for (int i = 0; i < rounds; i++) {
		clock_gettime(CLOCK_MONOTONIC, &start);
		fn(arg);
		clock_gettime(CLOCK_MONOTONIC, &end);
		seconds[i] = (double)(end.tv_sec - start.tv_sec) +
			     (double)(end.tv_nsec - start.tv_nsec) / 1e9;
	}
	qsort(seconds, (size_t)rounds, sizeof *seconds, compare);
	return (seconds[(rounds - 1) / 2] + seconds[rounds / 2]) / 2;
	/* END SOLUTION 1 */
}
//endregion

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	double *seconds, median;

	if (warmups < 0 || rounds < 1)
		return NAN;
	seconds = calloc((size_t)rounds, sizeof *seconds);
	if (seconds == NULL)
		return NAN;
	median = time_rounds(fn, arg, warmups, seconds, rounds);
	free(seconds);
	return median;
}

/* What the calling thread has used of a processor since it began. */
static double own_cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- the interpreter lock ---------------------------------------------- */

//region: gil
/* The lock that this thread holds. */
static _Thread_local struct gil *held;

static void acquire(struct gil *g)
{
	/* Before the mutex: who comes first there is a matter of luck. */
	unsigned long ticket = atomic_fetch_add(&g->next_ticket, 1);

	pthread_mutex_lock(&g->mutex);
	while (g->served != ticket)
		pthread_cond_wait(&g->changed, &g->mutex);
	pthread_mutex_unlock(&g->mutex);
	held = g;
}

static void release(struct gil *g)
{
	held = NULL;
	pthread_mutex_lock(&g->mutex);
	g->served++;
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->mutex);
}

void bench_allow_threads(void (*wait)(void *arg), void *arg)
{
	struct gil *gil = held;

	if (gil != NULL)
		release(gil);
	wait(arg);
	if (gil != NULL)
		acquire(gil);
}
//endregion

/* ---- a worker ---------------------------------------------------------- */

/* What item i gives; under the lock, where there is one. */
static uint64_t do_item(const struct job *job, long i)
{
	uint64_t result;

	if (job->gil == NULL)
		return job->f(i, job->arg);
	acquire(job->gil);
	result = job->f(i, job->arg);
	release(job->gil);
	return result;
}

//region: work
/*
 * Do what is left of the job, in chunks, and return the sum of what the items
 * gave. Any number of workers are in here at the same time.
 */
static uint64_t work_off(struct job *job)
{
	/*
	 * TODO 2: again and again take the next job->chunk items, by moving
	 * job->next past them in one step, so that nobody else gets one of
	 * them; the last chunk ends at job->n. Add up what do_item() gives
	 * for each item in a variable of your own: others write to theirs at
	 * the same time. When nothing is left, return it.
	 * About 11 lines.
	 */
	/* BEGIN SOLUTION 2 */
	uint64_t sum = 0;
	long first, end;

	for (;;) {
		first = atomic_fetch_add(&job->next, job->chunk);
		if (first >= job->n)
			return sum;
		end = job->n - first > job->chunk ? first + job->chunk : job->n;
		for (long i = first; i < end; i++)
			sum += do_item(job, i);
	}
	/* END SOLUTION 2 */
}
//endregion

/* The life of a worker, be it a thread or a process. */
static void *serve(void *arg)
{
	struct share *mine = arg;

	mine->sum = work_off(mine->job);
	mine->cpu_seconds = own_cpu_seconds();
	mine->done = true;
	return NULL;
}

/* ---- one way after the other ------------------------------------------- */

/* Not all workers can be had: those that could shall find nothing to do. */
static void give_up(struct job *job, int error)
{
	job->error = error;
	atomic_store(&job->next, job->n);
}

static void run_serially(void *arg)
{
	struct job *job = arg;
	double before = own_cpu_seconds();

	job->result = work_off(job);
	job->cpu_seconds = own_cpu_seconds() - before;
}

//region: threads
static void run_threads(void *arg)
{
	struct job *job = arg;
	int started, error;

	for (started = 0; started < job->workers; started++) {
		error = pthread_create(&job->shares[started].thread, NULL,
				       serve, &job->shares[started]);
		if (error != 0) {
			give_up(job, error);
			break;
		}
	}
	while (started > 0)
		pthread_join(job->shares[--started].thread, NULL);
}
//endregion

//region: processes
/* Nobody needs a worker any more when its parent is gone. */
static _Noreturn void live_and_die(struct share *mine, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (getppid() != parent)
		_exit(1);
	held = NULL;		/* it was our parent's, and stays so */
	serve(mine);
	_exit(0);
}

/*
 * Wait for one worker. False if it did not come to the end of its work. (In a
 * caller that ignores SIGCHLD nobody keeps the dead, and wait4 has nothing to
 * tell; then what the worker wrote is all we know.)
 */
static bool collect(struct share *s)
{
	struct rusage used;
	int status;
	pid_t pid;

	do
		pid = wait4(s->pid, &status, 0, &used);
	while (pid < 0 && errno == EINTR);
	if (pid < 0)
		return s->done;
	/* All of it: what forking and ending it cost is in here as well. */
	s->cpu_seconds =
		(double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		(double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
	return s->done && status == 0;
}

static void run_processes(void *arg)
{
	struct job *job = arg;
	pid_t pid, parent = getpid();
	int started;

	for (started = 0; started < job->workers; started++) {
		pid = fork();
		if (pid == 0)
			live_and_die(&job->shares[started], parent);
		if (pid < 0) {
			give_up(job, errno);
			break;
		}
		/* by the parent only: the child sees this very memory */
		job->shares[started].pid = pid;
	}
	while (started > 0)
		if (!collect(&job->shares[--started]) && job->error == 0)
			job->error = EOWNERDEAD;
}
//endregion

/* ---- what is promised -------------------------------------------------- */

static struct bench_run failed(int error)
{
	errno = error;
	return (struct bench_run){ .seconds = NAN };
}

/* The clock runs from before the first worker is started to the last's end. */
static struct bench_run timed(void (*run)(void *job), struct job *job)
{
	struct bench_run r;
	double once;

	r.seconds = time_rounds(run, job, 0, &once, 1);
	r.result = job->result;
	r.cpu_seconds = job->cpu_seconds;
	return job->error == 0 ? r : failed(job->error);
}

struct bench_run bench_serial(bench_work *f, long n, void *arg)
{
	struct job job = { .f = f, .arg = arg, .n = n, .chunk = n };

	return n < 0 ? failed(EINVAL) : timed(run_serially, &job);
}

/* The same for all kinds of workers; run starts them, and collects them. */
static struct bench_run share_out(bench_work *f, long n, void *arg,
				  int workers, long chunk, struct gil *gil,
				  void (*run)(void *job))
{
	size_t size = sizeof(struct job) +
		      (size_t)workers * sizeof(struct share);
	struct bench_run result;
	struct job *job;
	int error;

	if (n < 0 || workers < 1 || chunk < 1)
		return failed(EINVAL);
	job = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (job == MAP_FAILED)
		return failed(errno);
	job->f = f;
	job->arg = arg;
	job->n = n;
	job->chunk = chunk < n ? chunk : n;	/* next must not overflow */
	job->workers = workers;
	job->gil = gil;
	for (int i = 0; i < workers; i++)
		job->shares[i].job = job;
	result = timed(run, job);
	for (int i = 0; i < workers && job->error == 0; i++) {
		result.result += job->shares[i].sum;
		result.cpu_seconds += job->shares[i].cpu_seconds;
	}
	error = errno;
	munmap(job, size);
	errno = error;
	return result;
}

struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk)
{
	struct gil gil = { .mutex = PTHREAD_MUTEX_INITIALIZER,
			   .changed = PTHREAD_COND_INITIALIZER };

	return share_out(f, n, arg, workers, chunk, &gil, run_threads);
}

struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk)
{
	return share_out(f, n, arg, workers, chunk, NULL, run_threads);
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	return share_out(f, n, arg, workers, chunk, NULL, run_processes);
}

/* ---- what it means ----------------------------------------------------- */

//region: speedup
double bench_speedup(double serial, double parallel)
{
	/*
	 * TODO 3: how many times as fast is it, when one worker takes serial
	 * seconds and several take parallel seconds? Half the time must give
	 * 2. A time that is not above 0 (NaN is not, either) was not measured:
	 * then there is no answer but NAN.
	 * About 4 lines.
	 */
	/* BEGIN SOLUTION 3 */
	if (serial > 0 && parallel > 0)
		return serial / parallel;
	return NAN;
	/* END SOLUTION 3 */
}
//endregion

double bench_efficiency(double speedup, int workers)
{
	if (speedup > 0 && workers >= 1)
		return speedup / workers;
	return NAN;
}

//region: amdahl
double bench_amdahl(double parallel_part, double workers)
{
	/*
	 * TODO 4: let all of the work take 1 second by one worker. How long do
	 * many workers take for it, when they can share only parallel_part of
	 * it, and the rest takes as long as ever? How many times as fast is
	 * that? NAN where parallel_part is not a part, or there is less than
	 * one worker.
	 * About 5 lines.
	 */
	/* BEGIN SOLUTION 4 */
	double alone = 1 - parallel_part;

	if (parallel_part >= 0 && parallel_part <= 1 && workers >= 1)
		return 1 / (alone + parallel_part / workers);
	return NAN;
	/* END SOLUTION 4 */
}
//endregion
