/*
 * bench - measure, instead of believing: the same work done by one thread, by
 * threads under an interpreter lock, by threads, and by processes
 *
 *	struct bench_run one = bench_serial(work, 4, arg);
 *	struct bench_run many = bench_processes(work, 4, arg, 2, 1);
 *	bench_speedup(one.seconds, many.seconds)
 *
 * Seconds are those of a clock on the wall that does not jump, from before
 * the first worker is started until after the last one is collected: what
 * starting costs is part of what it costs. Processor seconds are those that
 * all threads and all processes of the run have used, together.
 *
 * No function here prints, ends its caller, or leaves a process, a thread, a
 * descriptor, a signal handler or a mask behind. Other children of the
 * caller are left alone.
 *
 * See: clock_gettime(2), getrusage(2), pthread_create(3), fork(2)
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stdint.h>

/*
 * The work: what item number `index` gives. It must depend on nothing but
 * index and what arg points to, and change nothing that others see. It may
 * begin a run of its own. The result of a run is the sum over all its items,
 * modulo 2 to the 64.
 */
typedef uint64_t bench_work(long index, void *arg);

struct bench_run {
	double seconds;		/* elapsed; NaN if the run failed */
	double cpu_seconds;	/* used by all its workers together */
	uint64_t result;
};

/*
 * bench_measure - how long a call of fn takes
 *
 * Calls fn(arg) warmups times without looking, and then rounds times with a
 * clock, and never more often than that.
 * warmups:  0 or more
 * rounds:   1 or more
 * fn:       may start threads and processes, sleep, and measure: what counts
 *           is the time from its call until it returns
 * Returns the median of the rounds in seconds (of an even number of them, the
 * middle between the two in the middle), or NaN for bad numbers, without a
 * call.
 * Python: statistics.median(timeit.repeat(...))
 */
double bench_measure(void (*fn)(void *arg), void *arg, int warmups,
		     int rounds);

/*
 * bench_serial - items 0 to n - 1, one after the other, in the caller
 *
 * n:  0 or more
 * Cannot fail. (All numbers out of their range: seconds is NaN with EINVAL.)
 */
struct bench_run bench_serial(bench_work *f, long n, void *arg);

/*
 * bench_gil, bench_threads - the same by so many threads of the caller
 *
 * workers:  1 or more
 * chunk:    how many neighbouring items a worker takes at a time, 1 or more.
 *           The last chunk may be shorter. Each item is done exactly once.
 * bench_threads: they run side by side.
 * bench_gil: only one of them runs at a time, as in CPython: each item is
 * computed under one lock, which another may take between two items, except
 * where the work says bench_allow_threads.
 * When a thread cannot be started, those that were come to their end, and
 * seconds is NaN, with errno.
 * Python: threading.Thread
 */
struct bench_run bench_gil(bench_work *f, long n, void *arg, int workers,
			   long chunk);
struct bench_run bench_threads(bench_work *f, long n, void *arg, int workers,
			       long chunk);

/*
 * bench_processes - the same by so many processes
 *
 * Each worker is a process forked for this run. What the work writes to
 * memory stays in that process. A worker that dies, or cannot be started,
 * makes seconds NaN, with EOWNERDEAD or the error of fork(2); the others are
 * collected all the same.
 * Python: multiprocessing.Process, Pool.map(chunksize=chunk)
 */
struct bench_run bench_processes(bench_work *f, long n, void *arg, int workers,
				 long chunk);

/*
 * bench_allow_threads - wait(arg) without the interpreter lock
 *
 * Called by a work function around what waits, or computes outside Python.
 * Under bench_gil others may run meanwhile; elsewhere it only calls wait.
 * Python: Py_BEGIN_ALLOW_THREADS (C API)
 */
void bench_allow_threads(void (*wait)(void *arg), void *arg);

/*
 * How many times as fast: 2 when it takes half the time. NaN unless both are
 * above 0.
 */
double bench_speedup(double serial, double parallel);

/*
 * The share of its workers that a speed-up makes use of: 1 is all of it. NaN
 * unless speedup is above 0 and workers at least 1.
 */
double bench_efficiency(double speedup, int workers);

/*
 * Amdahl: the speed-up that so many workers can give at most when only that
 * part of the work, from 0 to 1, can be divided. NaN unless parallel_part is
 * in 0..1 and workers at least 1 (infinitely many are allowed).
 */
double bench_amdahl(double parallel_part, double workers);

#endif
