/*
 * bench_pool - a map of trivial tasks by the lab's pool
 *
 * usage: bench_pool TASKS WORKERS [CHUNKSIZE]	(0, as the pool likes)
 *
 * The first map of a pool is a row of its own: it has to get the memory.
 */
#include "pool.h"

#include <stdlib.h>

#include "../bench/measure.h"
#include "bench.h"
#include "fl.h"

enum { MAPS = 15 };

int main(int argc, char **argv)
{
	size_t n = measure_argument(argc > 2 ? argv[1] : NULL, 100000000);
	int workers = (int)measure_argument(argv[2], 1000);
	size_t chunksize = argc > 3 ? measure_argument(argv[3], n) : 0;
	uint64_t *items = bench_items(n), *results = bench_results(n);
	static struct times first, steady;
	struct pool *pool = pool_create(workers);
	double start;

	if (pool == NULL)
		fl_die("cannot start %d workers", workers);
	for (int i = 0; i <= MAPS; i++) {
		start = fl_now();
		if (pool_map(pool, bench_task, items, n, sizeof *items,
			     results, sizeof *results, chunksize, NULL) != 0)
			fl_die("cannot map");
		times_add(i == 0 ? &first : &steady, fl_now() - start);
		bench_check(results, n);
	}
	pool_close(pool);
	times_print(&first, "first", (long)n);
	times_print(&steady, "steady", (long)n);
	free(results);
	free(items);
	return FL_OK;
}
