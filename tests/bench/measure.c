#include "measure.h"

#include <stdlib.h>

#include "fl.h"

void times_add(struct times *t, double seconds)
{
	if (t->n == MEASURE_MAX)
		fl_die("more than %d times", MEASURE_MAX);
	t->seconds[t->n++] = seconds;
}

static int compare(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

void times_print(struct times *t, const char *key, long items)
{
	double low, high;

	qsort(t->seconds, t->n, sizeof t->seconds[0], compare);
	low = t->seconds[(t->n - 1) / 2];
	high = t->seconds[t->n / 2];
	fl_line("row=%s seconds=%.9f items=%ld", key, (low + high) / 2, items);
}

long measure_argument(const char *text, long max)
{
	long number = 0;

	if (text == NULL || fl_number(text, 1, max, &number) != 0)
		fl_usage("expected a number from 1 to %ld, not '%s'", max,
			 text != NULL ? text : "");
	return number;
}
