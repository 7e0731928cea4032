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

enum { LOOKS = 5, BURNT_NS = 20000000 };

static inline void nap(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

/* The state letter of a thread, 'X' when it is gone; *cpu: ns it has run. */
static inline char thread_state(pid_t pid, pid_t tid, long long *cpu)
{
	char path[80], text[512] = "", *end;
	FILE *f;

	*cpu = 0;
	snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", pid, tid);
	f = fopen(path, "re");
	if (f != NULL && fscanf(f, "%lld", cpu) != 1)
		*cpu = 0;
	if (f != NULL)
		fclose(f);
	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", pid, tid);
	f = fopen(path, "re");
	if (f != NULL && fgets(text, sizeof text, f) == NULL)
		text[0] = '\0';
	if (f != NULL)
		fclose(f);
	end = strrchr(text, ')');
	return end != NULL ? end[2] : 'X';
}

/* Returns when the thread sleeps, has ended, or has burnt 20 ms since. */
static inline void settle_thread(pid_t pid, pid_t tid)
{
	long long start, cpu;
	int asleep = 0;
	char state = thread_state(pid, tid, &start);

	while (asleep < LOOKS && state != 'X' && state != 'Z') {
		nap();
		state = thread_state(pid, tid, &cpu);
		asleep = strchr("STt", state) ? asleep + 1 : 0;
		if (cpu - start > BURNT_NS)
			break;
	}
}

/* The same for the first thread of a process. */
static inline void settle(pid_t pid)
{
	settle_thread(pid, pid);
}

/* The same for who may pause and look again, when pauses take no time: let it
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
