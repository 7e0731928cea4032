/*
 * bench_openmp - the same trivial tasks in a plain loop, and in the threads
 * that a C programmer would use for such a loop
 *
 * usage: bench_openmp TASKS THREADS
 *
 * Threads work on the caller's own memory: nothing is copied, and a task that
 * crashes takes everything along.
 */
#include <stdlib.h>

#include "../bench/measure.h"
#include "bench.h"
#include "fl.h"

enum { LOOPS = 15 };

static uint64_t *items, *results;
static size_t n;
static int threads;

static int serial(void)
{
	int errors = 0;

	for (size_t i = 0; i < n; i++)
		errors |= bench_task(&items[i], &results[i]);
	return errors;
}

static int guided(void)
{
	int errors = 0;

#pragma omp parallel for schedule(guided) num_threads(threads) \
	reduction(| : errors)
	for (size_t i = 0; i < n; i++)
		errors |= bench_task(&items[i], &results[i]);
	return errors;
}

static int dynamic(void)
{
	int errors = 0;

#pragma omp parallel for schedule(dynamic) num_threads(threads) \
	reduction(| : errors)
	for (size_t i = 0; i < n; i++)
		errors |= bench_task(&items[i], &results[i]);
	return errors;
}

static void measure(int (*loop)(void), const char *key)
{
	struct times times = { .n = 0 };
	double start;

	for (int i = 0; i <= LOOPS; i++) {
		start = fl_now();
		if (loop() != 0)
			fl_die("a task failed");
		if (i > 0)		/* the first one starts the threads */
			times_add(&times, fl_now() - start);
		bench_check(results, n);
	}
	times_print(&times, key, (long)n);
}

int main(int argc, char **argv)
{
	n = measure_argument(argc == 3 ? argv[1] : NULL, 100000000);
	threads = (int)measure_argument(argv[2], 1000);
	items = bench_items(n);
	results = bench_results(n);
	measure(serial, "serial");
	measure(guided, "guided");
	measure(dynamic, "dynamic");
	free(results);
	free(items);
	return FL_OK;
}
