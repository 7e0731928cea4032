#include "bench.h"

#include <stdlib.h>
#include <string.h>

#include "fl.h"

static int double_and_add_one(const void *item, void *result)
{
	const uint64_t *number = item;
	uint64_t *answer = result;

	*answer = 2 * *number + 1;
	return 0;
}

pool_fn *bench_task = double_and_add_one;

/* Touched, so that no measurement pays for the first touch. */
uint64_t *bench_results(size_t n)
{
	uint64_t *numbers = calloc(n, sizeof *numbers);

	if (numbers == NULL)
		fl_die("no memory for %zu numbers", n);
	for (size_t i = 0; i < n; i++)
		numbers[i] = UINT64_MAX;
	return numbers;
}

uint64_t *bench_items(size_t n)
{
	uint64_t *items = bench_results(n);

	for (size_t i = 0; i < n; i++)
		items[i] = i;
	return items;
}

void bench_check(uint64_t *results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (results[i] != 2 * i + 1)
			fl_die("result %zu of %zu is wrong", i, n);
	memset(results, 0xff, n * sizeof *results);
}
