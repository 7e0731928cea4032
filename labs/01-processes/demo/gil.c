/*
 * gil - the same work by threads under the GIL, by threads that release it,
 * by processes, and by threads that mostly wait
 *
 * Usage: gil [--mode gil|threads|processes|io] [--workers 4] [--steps 200]
 * Twin:  gil.py
 *
 *	gil        each step computes with the GIL held, as Python code does
 *	threads    the same work with the GIL released, as zlib or numpy does
 *	processes  the same work in processes, which have no GIL
 *	io         each step computes with the GIL held, then waits without it
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include "fl.h"
#include "gil.h"
#include "process.h"

enum { DATA_SIZE = 256 << 10, WAIT_NS = 5000000 };

/* What all workers see, processes too. */
struct board {
	atomic_int inside, most;
	_Atomic uint64_t result;
};

static uint32_t crc_table[256];
static unsigned char data[DATA_SIZE];

static void prepare(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		crc_table[i] = i;
		for (int bit = 0; bit < 8; bit++)
			crc_table[i] = crc_table[i] >> 1 ^
				       (crc_table[i] & 1 ? 0xedb88320 : 0);
	}
	for (size_t i = 0; i < DATA_SIZE; i++)
		data[i] = i % 251;
}

/* zlib's crc32(data, crc): some work whose result Python can check. */
static uint32_t crc32(uint32_t crc)
{
	crc = ~crc;
	for (size_t i = 0; i < DATA_SIZE; i++)
		crc = crc_table[(crc ^ data[i]) & 255] ^ crc >> 8;
	return ~crc;
}

static void enter(struct board *b)
{
	int now = atomic_fetch_add(&b->inside, 1) + 1;
	int most = atomic_load(&b->most);

	while (now > most)
		if (atomic_compare_exchange_weak(&b->most, &most, now))
			break;
}

static void leave(struct board *b)
{
	atomic_fetch_sub(&b->inside, 1);
}

//region: steps
static void add_crc(int worker, int step, struct board *b)
{
	uint32_t seed = (uint32_t)worker * 1000003u + (uint32_t)step;

	atomic_fetch_add(&b->result, crc32(seed));
}

/* Computes, and is counted: gil, threads, processes. */
static void work(int worker, int step, void *board)
{
	enter(board);
	add_crc(worker, step, board);
	leave(board);
}

/* Computes without being counted: io, where we count who waits. */
static void prepare_request(int worker, int step, void *board)
{
	add_crc(worker, step, board);
}

static void wait_for_answer(int worker, int step, void *board)
{
	const struct timespec time = { 0, WAIT_NS };

	(void)worker, (void)step;
	enter(board);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
	leave(board);
}

static void nothing(int worker, int step, void *board)
{
	(void)worker, (void)step, (void)board;
}
//endregion

//region: modes
static int run(const char *mode, int n, int steps, struct board *b)
{
	struct gil *g;
	int result;

	if (strcmp(mode, "processes") == 0)
		return gil_run_processes(n, steps, work, NULL, b);
	g = gil_create();
	if (g == NULL)
		return -1;
	if (strcmp(mode, "gil") == 0)
		result = gil_run_threads(g, n, steps, work, NULL, b);
	else if (strcmp(mode, "threads") == 0)
		result = gil_run_threads(g, n, steps, nothing, work, b);
	else
		result = gil_run_threads(g, n, steps, prepare_request,
					 wait_for_answer, b);
	gil_destroy(g);
	return result;
}
//endregion

static double cpu_seconds(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double cpu_used(void)
{
	return cpu_seconds(RUSAGE_SELF) + cpu_seconds(RUSAGE_CHILDREN);
}

static void measure(const char *mode, long n, long steps)
{
	struct board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	double seconds, cpu;

	if (b == MAP_FAILED)
		fl_die("no shared memory");
	prepare();
	cpu = cpu_used();
	seconds = fl_now();
	if (run(mode, (int)n, (int)steps, b) != 0)
		fl_die("cannot run %ld workers in mode %s", n, mode);
	seconds = fl_now() - seconds;
	cpu = cpu_used() - cpu;
	fl_line("mode=%s workers=%ld steps=%ld max_inside=%d cpu=%.0f%%"
		" result=%" PRIu64, mode, n, steps, b->most,
		100 * cpu / seconds / process_cpu_count(), b->result);
	munmap(b, sizeof *b);
}

int main(int argc, char **argv)
{
	const char *mode = "gil";
	long workers = 4, steps = 200;
	const struct fl_option options[] = {
		{ .name = "mode", .value = "MODE", .text = &mode,
		  .choices = "gil|threads|processes|io",
		  .help = "gil (default), threads, processes or io" },
		{ .name = "workers", .value = "N", .help = "how many (4)",
		  .number = &workers, .min = 1, .max = 1000 },
		{ .name = "steps", .value = "N", .help = "of each (200)",
		  .number = &steps, .min = 1, .max = 1000000 },
		{ 0 },
	};

	fl_options(argc, argv, options, NULL);
	measure(mode, workers, steps);
	return FL_OK;
}
