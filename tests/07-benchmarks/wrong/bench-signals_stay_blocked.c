/*
 * misconception: signals are blocked for as long as they disturb
 * rejected by:   processes do each item once
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct bench_run failure(int why)
{
	errno = why;
	return (struct bench_run){ .seconds = NAN, .cpu_seconds = NAN };
}

/* ---- two clocks -------------------------------------------------------- */

struct moment {
	struct timespec wall;
	struct rusage self, children;
};

static void look(struct moment *m)
{
	getrusage(RUSAGE_SELF, &m->self);
	getrusage(RUSAGE_CHILDREN, &m->children);
	clock_gettime(CLOCK_MONOTONIC_RAW, &m->wall);
}

static double difference(const struct timeval *a, const struct timeval *b)
{
	return (double)(b->tv_sec - a->tv_sec) +
	       (double)(b->tv_usec - a->tv_usec) * 1e-6;
}

static double used(const struct rusage *a, const struct rusage *b)
{
	return difference(&a->ru_utime, &b->ru_utime) +
	       difference(&a->ru_stime, &b->ru_stime);
}

static double passed(const struct timespec *a, const struct timespec *b)
{
	time_t seconds = b->tv_sec - a->tv_sec;
	long ns = b->tv_nsec - a->tv_nsec;

	if (ns < 0) {
		ns += 1000000000;
		seconds--;
	}
	return (double)seconds + (double)ns * 1e-9;
}

static struct bench_run since(const struct moment *start, uint64_t result)
{
	struct bench_run r = { .result = result };
	struct moment now;

	look(&now);
	r.seconds = passed(&start->wall, &now.wall);
	r.cpu_seconds = used(&start->self, &now.self) +
			used(&start->children, &now.children);
	return r;
}

/* The k-th smallest of n: put what is smaller than a pivot before it. */
static double select_kth(double *t, int n, int k)
{
	int low = 0, high = n - 1;

	while (low < high) {
		double pivot = t[low + (high - low) / 2], swap;
		int i = low, j = high;

		while (i <= j) {
			while (t[i] < pivot)
				i++;
			while (t[j] > pivot)
				j--;
			if (i <= j) {
				swap = t[i];
				t[i++] = t[j];
				t[j--] = swap;
			}
		}
		if (k <= j)
			high = j;
		else if (k >= i)
			low = i;
		else
			break;
	}
	return t[k];
}

double bench_measure(void (*fn)(void *arg), void *arg, int warmups, int rounds)
{
	struct timespec before, after;
	double *t, median;

	if (warmups < 0 || rounds <= 0)
		return NAN;
	t = calloc((size_t)rounds, sizeof *t);
	if (t == NULL)
		return NAN;
	for (int i = -warmups; i < rounds; i++) {
		clock_gettime(CLOCK_MONOTONIC_RAW, &before);
		fn(arg);
		clock_gettime(CLOCK_MONOTONIC_RAW, &after);
		if (i >= 0)
			t[i] = passed(&before, &after);
	}
	median = select_kth(t, rounds, rounds / 2);
	if (rounds % 2 == 0)
		median = (median + select_kth(t, rounds, rounds / 2 - 1)) / 2;
	free(t);
	return median;
}

/* ---- a ticket lock ------------------------------------------------------- */

struct ticket_lock {
	_Atomic unsigned next, serving;
};

static __thread struct ticket_lock *mine;

static void enter(struct ticket_lock *l)
{
	unsigned ticket = l->next++;

	while (l->serving != ticket)
		sched_yield();
	mine = l;
}

static void leave(struct ticket_lock *l)
{
	mine = NULL;
	l->serving++;
}

void bench_allow_threads(void (*wait)(void *arg), void *arg)
{
	struct ticket_lock *l = mine;

	if (l == NULL) {
		wait(arg);
		return;
	}
	leave(l);
	wait(arg);
	enter(l);
}

/* ---- a block of items ------------------------------------------------------ */

struct block {
	bench_work *f;
	void *arg;
	long first, end;
	struct ticket_lock *lock;
	uint64_t sum;
	pthread_t thread;
	pid_t pid;
};

static void *work_off(void *p)
{
	struct block *b = p;

	for (long i = b->first; i < b->end; i++) {
		if (b->lock != NULL)
			enter(b->lock);
		b->sum += b->f(i, b->arg);
		if (b->lock != NULL)
			leave(b->lock);
	}
	return NULL;
}

/* The chunks, as evenly as whole chunks can be. */
static struct block *cut(bench_work *f, long n, void *arg, int workers,
			 long chunk, struct ticket_lock *lock)
{
	struct block *b = calloc((size_t)workers, sizeof *b);
	long chunks = (n - 1) / chunk + (n > 0), next = 0, share;

	for (int i = 0; b != NULL && i < workers; i++) {
		share = chunks / workers + (i < chunks % workers);
		b[i] = (struct block){ .f = f, .arg = arg, .lock = lock };
		b[i].first = next > 0 ? next * chunk : 0;
		next += share;
		b[i].end = next == chunks ? n : next * chunk;
		if (share == 0)
			b[i].first = b[i].end = 0;
	}
	return b;
}

static struct bench_run run_threads(bench_work *f, long n, void *arg,
				    int workers, long chunk,
				    struct ticket_lock *lock)
{
	struct moment start;
	uint64_t sum = 0;
	struct block *b;
	int started = 0, error = 0;

	if (n < 0 || workers < 1 || chunk < 1)
		return failure(EINVAL);
	look(&start);
	b = cut(f, n, arg, workers, chunk, lock);
	if (b == NULL)
		return failure(ENOMEM);
	for (; started < workers; started++) {
		error = pthread_create(&b[started].thread, NULL, work_off,
				       &b[started]);
		if (error != 0)
			break;
	}
	for (int i = 0; i < started; i++) {
		pthread_join(b[i].thread, NULL);
		sum += b[i].sum;
	}
	free(b);
	return error != 0 ? failure(error) : since(&start, sum);
}

struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk)
{
	struct ticket_lock lock = {0};

	return run_threads(f, n, arg, workers, chunk, &lock);
}

struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk)
{
	return run_threads(f, n, arg, workers, chunk, NULL);
}

struct bench_run bench_serial(bench_work *f, long n, void *arg)
{
	struct block all = { .f = f, .arg = arg, .end = n };
	struct moment start;

	if (n < 0)
		return failure(EINVAL);
	look(&start);
	work_off(&all);
	return since(&start, all.sum);
}

/* ---- processes ------------------------------------------------------------- */

/* A message is sent whole, or not at all. */
static _Noreturn void be_process(struct block *b, int fd)
{
	mine = NULL;
	work_off(b);
	while (send(fd, &b->sum, sizeof b->sum, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			_exit(1);
	_exit(0);
}

/* Who has ended without a word has died. Returns how many spoke. */
static int listen_to_all(int fd, uint64_t *sum)
{
	uint64_t one;
	int told = 0;
	ssize_t k;

	for (;;) {
		k = recv(fd, &one, sizeof one, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k != (ssize_t)sizeof one)
			return told;
		*sum += one;
		told++;
	}
}

static int start_all(struct block *b, int workers, int ends[2], int *error)
{
	int started;

	for (started = 0; started < workers; started++) {
		b[started].pid = fork();
		if (b[started].pid == 0) {
			close(ends[0]);
			be_process(&b[started], ends[1]);
		}
		if (b[started].pid < 0) {
			*error = errno;
			break;
		}
	}
	return started;
}

struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk)
{
	int ends[2], started, told, error = 0;
	struct moment start;
	uint64_t sum = 0;
	struct block *b;
	sigset_t chld;

	if (n < 0 || workers < 1 || chunk < 1)
		return failure(EINVAL);
	look(&start);
	b = cut(f, n, arg, workers, chunk, NULL);
	if (b == NULL)
		return failure(ENOMEM);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends) < 0) {
		error = errno;
		free(b);
		return failure(error);
	}
	started = start_all(b, workers, ends, &error);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	close(ends[1]);
	told = listen_to_all(ends[0], &sum);
	close(ends[0]);
	for (int i = 0; i < started; i++)
		while (waitpid(b[i].pid, NULL, 0) < 0 && errno == EINTR)
			;
	free(b);
	if (error == 0 && told < workers)
		error = EOWNERDEAD;
	return error != 0 ? failure(error) : since(&start, sum);
}

/* ---- numbers ---------------------------------------------------------------- */

double bench_speedup(double serial, double parallel)
{
	return serial > 0 && parallel > 0 ? serial / parallel : (double)NAN;
}

double bench_efficiency(double speedup, int workers)
{
	return bench_speedup(speedup, workers);
}

double bench_amdahl(double parallel_part, double workers)
{
	double serial_part = 1 - parallel_part;

	if (isnan(parallel_part) || serial_part < 0 || serial_part > 1 ||
	    isnan(workers) || workers < 1)
		return NAN;
	if (isinf(workers))
		return 1 / serial_part;
	return workers / (workers * serial_part + parallel_part);
}
