/*
 * Time is virtual: it stands still while anybody can go on, and then jumps to
 * the first moment for which somebody waits. So a pause of an hour takes
 * nothing, and whether a pause was long enough is never luck: with a
 * deviation it was not.
 */
#include "calls.h"

#include <errno.h>
#include <sched.h>
#include <sys/time.h>
#include <unistd.h>

/* Virtual ns that a look at a clock takes. */
enum { TICK = 1000, LONG_TICK = 10000000 };

static const int64_t monotonic_start = 1000 * SECOND,
		     real_start = 1700000000 * SECOND;

static int64_t start_of(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ||
	       clock == CLOCK_TAI ? real_start : monotonic_start;
}

int64_t deadline_at(clockid_t clock, const struct timespec *at)
{
	if (at->tv_sec > (INT64_MAX / 2 - real_start) / SECOND)
		return FOREVER - 1;
	return in_ns(at) - start_of(clock);
}

int64_t deadline_after(const struct timespec *t)
{
	if (t == NULL || t->tv_sec > INT64_MAX / 4 / SECOND)
		return FOREVER;
	return arena->now + in_ns(t);
}

int64_t deadline_after_ms(int ms)
{
	return ms < 0 ? FOREVER : arena->now + ms * (SECOND / 1000);
}

/* Who looks at the clock again and again, and nobody else can go on, waits. */
static void tick(void)
{
	bool alone = true;

	for (int i = 0; i < arena->n_tasks; i++)
		if (i != me && (arena->tasks[i].state == READY ||
				arena->tasks[i].retry))
			alone = false;
	arena->now += alone ? LONG_TICK : TICK;
}

int explored_clock_gettime(clockid_t clock, struct timespec *t)
{
	int64_t now;

	if (!exploring() || clock == CLOCK_PROCESS_CPUTIME_ID ||
	    clock == CLOCK_THREAD_CPUTIME_ID)
		return clock_gettime(clock, t);
	tick();
	now = start_of(clock) + arena->now;
	*t = (struct timespec){ now / SECOND, now % SECOND };
	return 0;
}

int explored_gettimeofday(struct timeval *t, void *zone)
{
	struct timespec now;

	if (!exploring())
		return gettimeofday(t, zone);
	explored_clock_gettime(CLOCK_REALTIME, &now);
	*t = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
	return 0;
}

time_t explored_time(time_t *t)
{
	struct timespec now;

	if (!exploring())
		return time(t);
	explored_clock_gettime(CLOCK_REALTIME, &now);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}

static int sleep_until(int64_t deadline, const char *call, const void *pc)
{
	note(SLEEPS, call, nowhere, pc);
	while (deadline > arena->now)
		switch (queue_here(call, (struct place){ UINT32_MAX, 0 },
				   deadline, pc)) {
		case INTERRUPTED:
			return errno = EINTR, -1;
		default:
			break;
		}
	return 0;
}

unsigned explored_sleep(unsigned seconds)
{
	if (!exploring())
		return sleep(seconds);
	sleep_until(arena->now + seconds * SECOND, "sleep", HERE);
	return 0;
}

int explored_usleep(useconds_t us)
{
	if (!exploring())
		return usleep(us);
	return sleep_until(arena->now + us * 1000ll, "usleep", HERE);
}

int explored_nanosleep(const struct timespec *t, struct timespec *left)
{
	if (!exploring())
		return nanosleep(t, left);
	return sleep_until(deadline_after(t), "nanosleep", HERE);
}

int explored_clock_nanosleep(clockid_t clock, int flags,
			     const struct timespec *t, struct timespec *left)
{
	int64_t until;

	if (!exploring())
		return clock_nanosleep(clock, flags, t, left);
	until = flags & TIMER_ABSTIME ? deadline_at(clock, t) :
		deadline_after(t);
	return sleep_until(until, "clock_nanosleep", HERE) == 0 ? 0 : EINTR;
}

int explored_sched_yield(void)
{
	if (!exploring())
		return sched_yield();
	yield_turn(HERE);
	return 0;
}
