/* Pauses that can take no time, and clocks that jump or stand still. */
#include "calls.h"

#include <errno.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

/* ---- pauses ------------------------------------------------------------- */

static bool skips;

void pauses_skip(bool on)
{
	skips = on;
}

int64_t pauses_skipped_ns(void)
{
	return board->skipped_ns;
}

bool pause_skipped(int64_t ns)
{
	if (skips) {
		board->skipped_ns += ns;
		hit(INJECT_NO_PAUSE);
	}
	return skips;
}

/* Until a moment that has no length here: as good as none. */
static int64_t length(int flags, const struct timespec *t)
{
	return flags & TIMER_ABSTIME ? SECOND / 1000
				     : t->tv_sec * SECOND + t->tv_nsec;
}

/* Interrupted at once: all of it is left. Returns 0 or the errno. */
static int pause_for(const char *call, clockid_t clock, int flags,
		     const struct timespec *t, struct timespec *left, void *pc)
{
	int r;

	if (pause_skipped(length(flags, t)))
		return 0;
	if (struck(call, "blocking", true, pc)) {
		if (left != NULL && !(flags & TIMER_ABSTIME))
			*left = *t;
		return errno;
	}
	WAITING(call, t->tv_sec, pc, r, clock_nanosleep(clock, flags, t, left));
	return r;
}

int called_clock_nanosleep(clockid_t clock, int flags,
			   const struct timespec *t, struct timespec *left);
int called_clock_nanosleep(clockid_t clock, int flags,
			   const struct timespec *t, struct timespec *left)
{
	int before = errno;
	int error = pause_for("clock_nanosleep", clock, flags, t, left, HERE);

	errno = before;		/* it returns the error */
	return error;
}

static int result(int error)
{
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}

int called_nanosleep(const struct timespec *t, struct timespec *left);
int called_nanosleep(const struct timespec *t, struct timespec *left)
{
	return result(pause_for("nanosleep", CLOCK_REALTIME, 0, t, left, HERE));
}

int called_usleep(useconds_t us);
int called_usleep(useconds_t us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000L };

	return result(pause_for("usleep", CLOCK_REALTIME, 0, &t, NULL, HERE));
}

unsigned called_sleep(unsigned seconds);
unsigned called_sleep(unsigned seconds)
{
	struct timespec t = { .tv_sec = seconds }, left = {0};

	pause_for("sleep", CLOCK_REALTIME, 0, &t, &left, HERE);
	return (unsigned)(left.tv_sec + (left.tv_nsec >= SECOND / 2));
}

/* ---- clocks ------------------------------------------------------------- */

static int jump;
static _Atomic long looks;

void clock_jumps(int seconds)
{
	jump = seconds;
	looks = 0;
}

/* Not the calendar, and not how long anybody has waited. */
static bool is_of_processor(clockid_t clock)
{
	return clock == CLOCK_PROCESS_CPUTIME_ID ||
	       clock == CLOCK_THREAD_CPUTIME_ID;
}

int called_clock_gettime(clockid_t clock, struct timespec *t);
int called_clock_gettime(clockid_t clock, struct timespec *t)
{
	int r = clock_gettime(clock, t);

	if (r != 0 || jump == 0)
		return r;
	if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
		t->tv_sec += (time_t)jump * ++looks;
	else if (is_of_processor(clock))
		*t = (struct timespec){0};
	else
		return r;
	hit(INJECT_CLOCK);
	return r;
}

clock_t called_clock(void);
clock_t called_clock(void)
{
	if (jump == 0)
		return clock();
	hit(INJECT_CLOCK);
	return 0;
}

time_t called_time(time_t *out);
time_t called_time(time_t *out)
{
	struct timespec t;

	called_clock_gettime(CLOCK_REALTIME_COARSE, &t);
	if (out != NULL)
		*out = t.tv_sec;
	return t.tv_sec;
}

int called_timespec_get(struct timespec *t, int base);
int called_timespec_get(struct timespec *t, int base)
{
	return base == TIME_UTC && called_clock_gettime(CLOCK_REALTIME, t) == 0
	       ? base : 0;
}

int called_gettimeofday(struct timeval *tv, void *zone);
int called_gettimeofday(struct timeval *tv, void *zone)
{
	struct timespec t;

	if (zone != NULL)
		gettimeofday(tv, zone);
	called_clock_gettime(CLOCK_REALTIME, &t);
	*tv = (struct timeval){ t.tv_sec, t.tv_nsec / 1000 };
	return 0;
}
