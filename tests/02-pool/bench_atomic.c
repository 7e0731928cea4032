/*
 * bench_atomic - what handing out items one by one costs at the very least:
 * an atomic addition to a number that all processes share, and nothing else
 *
 * usage: bench_atomic ADDITIONS PROCESSES
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/measure.h"
#include "fl.h"

enum { ROUNDS = 15, PROCESSES_MAX = 1000 };

struct shared {
	pthread_barrier_t barrier;
	struct {
		double begin, end;
	} spans[PROCESSES_MAX];
	_Alignas(64) _Atomic long next;
};

static struct shared *shared;
static long n, processes;

/* Take numbers until there are none left, as the workers of a pool do. */
static void take_all(long me)
{
	pthread_barrier_wait(&shared->barrier);
	shared->spans[me].begin = fl_now();
	while (atomic_fetch_add(&shared->next, 1) < n)
		;
	shared->spans[me].end = fl_now();
	pthread_barrier_wait(&shared->barrier);
}

static double whole_span(void)
{
	double begin = shared->spans[0].begin, end = shared->spans[0].end;

	for (long p = 1; p < processes; p++) {
		if (shared->spans[p].begin < begin)
			begin = shared->spans[p].begin;
		if (shared->spans[p].end > end)
			end = shared->spans[p].end;
	}
	return end - begin;
}

static void share(void)
{
	pthread_barrierattr_t attributes;

	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		fl_die("no shared memory");
	pthread_barrierattr_init(&attributes);
	pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&shared->barrier, &attributes, processes);
}

int main(int argc, char **argv)
{
	static struct times times;

	n = measure_argument(argc == 3 ? argv[1] : NULL, 1000000000);
	processes = measure_argument(argv[2], PROCESSES_MAX);
	share();
	for (long p = 1; p < processes; p++) {
		pid_t pid = fork();

		if (pid < 0)
			fl_die("cannot start %ld processes", processes);
		for (int i = 0; pid == 0 && i < ROUNDS; i++)
			take_all(p);
		if (pid == 0)
			_exit(FL_OK);
	}
	for (int i = 0; i < ROUNDS; i++) {
		shared->next = 0;
		take_all(0);
		if (shared->next != n + processes)
			fl_die("an addition was lost");
		times_add(&times, whole_span());
	}
	while (wait(NULL) > 0)
		;
	times_print(&times, "atomic", n);
	return FL_OK;
}
