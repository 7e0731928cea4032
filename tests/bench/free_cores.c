/*
 * free_cores - how many cores are really free at this moment
 *
 * usage: free_cores CORES
 *
 * Lets one busy loop run alone, then one for each core at the same time, and
 * then one alone again. All together get CORES times as far as one alone
 * where every core is free, and no further than one where other programs, or
 * other guests of the same machine, leave us a single core. One alone is
 * measured by its processor time: others may be in its way as well. Prints
 * "free=1.93".
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "fl.h"
#include "measure.h"

enum { TURNS = 2000 };		/* about a microsecond between two looks */

struct loop {
	pthread_t thread;
	pthread_barrier_t *start;
	double seconds, speed, cpu_speed;
	uint64_t last;		/* or the compiler would leave the work out */
};

static uint64_t turn(uint64_t x)
{
	for (int i = 0; i < TURNS; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	return x;
}

/* What the calling thread has used of a core. */
static double cpu_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *run_loop(void *arg)
{
	struct loop *loop = arg;
	uint64_t x = 1;
	double start, now, cpu;
	long rounds = 0;

	pthread_barrier_wait(loop->start);
	cpu = cpu_now();
	start = fl_now();
	do {
		x = turn(x);
		rounds++;
		now = fl_now();
	} while (now - start < loop->seconds);
	loop->last = x;
	loop->speed = rounds / (now - start);
	loop->cpu_speed = rounds / (cpu_now() - cpu);
	return NULL;
}

/* How far n loops get at the same time, all together, in a second; one alone,
 * in a second of processor time. */
static double speed_of(int n, double seconds)
{
	struct loop *loops = calloc(n, sizeof *loops);
	pthread_barrier_t start;
	double speed = 0;

	if (loops == NULL)
		fl_die("no memory for %d loops", n);
	pthread_barrier_init(&start, NULL, n);
	for (int i = 0; i < n; i++) {
		loops[i].start = &start;
		loops[i].seconds = seconds;
		if (pthread_create(&loops[i].thread, NULL, run_loop,
				   &loops[i]) != 0)
			fl_die("cannot start %d threads", n);
	}
	for (int i = 0; i < n; i++) {
		pthread_join(loops[i].thread, NULL);
		speed += n == 1 ? loops[i].cpu_speed : loops[i].speed;
	}
	pthread_barrier_destroy(&start);
	free(loops);
	return speed;
}

int main(int argc, char **argv)
{
	int cores = (int)measure_argument(argc == 2 ? argv[1] : NULL, 1024);
	double before, all, after;

	before = speed_of(1, 0.01);
	all = speed_of(cores, 0.02);
	after = speed_of(1, 0.01);
	/* The faster one: the other was alone only in our process. */
	fl_line("free=%.3f", all / (before > after ? before : after));
	return FL_OK;
}
