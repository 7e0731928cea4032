/*
 * jumps - a wall clock that somebody keeps setting forward
 *
 * While clock_jumps is set in a process, the wall clock is an hour later each
 * time that its code looks at it. The clocks that nobody can set stay as they
 * are. Include this in one place only: it stands before libc's functions.
 */
#ifndef JUMPS_H
#define JUMPS_H

#include <stdbool.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static bool clock_jumps;

int clock_gettime(clockid_t clock, struct timespec *t)
{
	static long hours;
	int result = (int)syscall(SYS_clock_gettime, clock, t);

	if (clock_jumps && (clock == CLOCK_REALTIME ||
			    clock == CLOCK_REALTIME_COARSE))
		t->tv_sec += 3600 * ++hours;
	return result;
}

time_t time(time_t *out)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	if (out != NULL)
		*out = t.tv_sec;
	return t.tv_sec;
}

int timespec_get(struct timespec *t, int base)
{
	return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, t) == 0
	       ? base : 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
	struct timespec t;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &t);
	*tv = (struct timeval){ t.tv_sec, t.tv_nsec / 1000 };
	return 0;
}

#endif
