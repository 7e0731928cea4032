/*
 * crowd - processes that all begin at the same moment, and the time from
 * there until the last of them is through
 */
#ifndef CROWD_H
#define CROWD_H

#include <stddef.h>

enum { CROWD_MAX = 1000 };	/* the most */

/* Memory of so many bytes, all zero, for us and our children; or dies. */
void *crowd_share(size_t size);

/*
 * Lets so many processes run work(me, times), me from 0 on; returns the
 * seconds from the moment at which the first began until the last was through.
 */
double crowd_run(long processes, void (*work)(long me, long times),
		 long times);

#endif
