/*
 * watch - has a thread come to rest in what it does?
 *
 * Whoever has called a function that must wait will sleep in it; an unusual
 * one may ask again and again instead, and burn time. Both are seen in /proc,
 * and neither needs a guess about how long anything takes.
 */
#ifndef WATCH_H
#define WATCH_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

/* settle() for who may pause and look again, when pauses take no time: let it
 * do so for a long time. */
static inline void settle_pausing(pid_t pid)
{
	const int64_t end = pauses_skipped_ns() + INT64_C(30000000000);
	int64_t before;

	do {
		before = pauses_skipped_ns();
		settle(pid);
	} while (pauses_skipped_ns() != before && pauses_skipped_ns() < end);
}

#endif
