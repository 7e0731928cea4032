/* search - one schedule, and which ones are run */
#ifndef SEARCH_H
#define SEARCH_H

#include "arena.h"

/* What this test program has done up to now, all scenarios together. */
struct total {
	long schedules;
	double seconds;
};

extern struct total *explore_total;

/* schedule.c - run arena->exploration by that plan of n deviations; what
 * happened is in the arena. */
void schedule_run(const struct deviation *plan, int n);

/* search.c - run schedules until something is found or all are through; what
 * was found is in the arena. */
void search_plans(void);

#endif
