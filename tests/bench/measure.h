/*
 * measure - what the C programs of `make bench` share: take the median of
 * some times, and say it in the form that bench.py reads
 */
#ifndef MEASURE_H
#define MEASURE_H

enum { MEASURE_MAX = 1000, MEASURE_SKIP = 77 };	/* an exit status: not here */

/* Times of one thing, done again and again. Begins as zero. */
struct times {
	double seconds[MEASURE_MAX];
	int n;
};

void times_add(struct times *t, double seconds);

/* "row=KEY seconds=MEDIAN items=ITEMS": how long so many items took. */
void times_print(struct times *t, const char *key, long items);

/* One number from 1 to max of the command line, or a usage error. */
long measure_argument(const char *text, long max);

#endif
