/*
 * squares - the first steps with a pool: map and apply
 *
 * usage: squares [N...]	(1 2 3 4 5 if none are given)
 *
 * Prints the squares of all N, worked out by a pool with a worker for each
 * core, and then the cube of 4, for which the same pool gets a single call.
 */
#include "pool.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "fl.h"

enum { N_MAX = 2000000000 };	/* its square still fits into a long */

//region: tasks
static int square(const void *item, void *result)
{
	const long *n = item;
	long *squared = result;

	*squared = *n * *n;
	return 0;
}

static int cube(const void *item, void *result)
{
	const long *n = item;
	long *cubed = result;

	*cubed = *n * *n * *n;
	return 0;
}
//endregion

/* The numbers on the command line, or those of the lesson. */
static long *read_numbers(int argc, char **argv, size_t *count)
{
	long *numbers;

	*count = argc > 0 ? (size_t)argc : 5;
	numbers = calloc(*count, sizeof *numbers);
	if (numbers == NULL)
		fl_die("no memory for %zu numbers", *count);
	for (size_t i = 0; i < *count; i++) {
		numbers[i] = (long)i + 1;
		if (argc > 0 &&
		    fl_number(argv[i], -N_MAX, N_MAX, &numbers[i]) != 0)
			fl_usage("N is a whole number from -%d to %d, not '%s'",
				 N_MAX, N_MAX, argv[i]);
	}
	return numbers;
}

/* Nobody else prints here, so stdio may collect the line. */
static void print_squares(const long *squares, size_t count)
{
	printf("Squared results: [");
	for (size_t i = 0; i < count; i++)
		printf(i == 0 ? "%ld" : ", %ld", squares[i]);
	printf("]\n");
	if (fflush(stdout) != 0)
		fl_die("cannot write to stdout");
}

int main(int argc, char **argv)
{
	static const struct fl_option options[] = {{0}};
	long *numbers, *squares, four = 4, cubed, cores;
	struct pool *pool;
	size_t count;
	int first;

	first = fl_options(argc, argv, options, "[--] [N...]");
	numbers = read_numbers(argc - first, argv + first, &count);
	squares = calloc(count, sizeof *squares);
	if (squares == NULL)
		fl_die("no memory for %zu squares", count);
	cores = sysconf(_SC_NPROCESSORS_ONLN);
	//region: squares
	pool = pool_create(cores > 0 ? (int)cores : 1);
	if (pool == NULL)
		fl_die("cannot start the pool");
	if (pool_map(pool, square, numbers, count, sizeof numbers[0], squares,
		     sizeof squares[0], 0, NULL) != 0)
		fl_die("cannot map");
	print_squares(squares, count);
	if (pool_apply(pool, cube, &four, sizeof four, &cubed,
		       sizeof cubed) != 0)
		fl_die("cannot apply");
	fl_line("%ld cubed is: %ld", four, cubed);
	pool_close(pool);
	//endregion
	free(squares);
	free(numbers);
	return FL_OK;
}
