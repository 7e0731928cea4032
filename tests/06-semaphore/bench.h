/*
 * bench - a crowd: processes that all begin at the same moment, and the time
 * from there until the last of them is through
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>

enum { BENCH_PROCESSES = 1000 };	/* the most */

/* Memory of so many bytes, all zero, for us and our children; or dies. */
void *bench_share(size_t size);

/*
 * Lets so many processes run work(me, pairs), me from 0 on; returns the
 * seconds from the moment at which the first began until the last was through.
 */
double bench_crowd(long processes, void (*work)(long me, long pairs),
		   long pairs);

#endif
