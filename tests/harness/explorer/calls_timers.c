/* Timers that are files: virtual time, told through an eventfd. */
#include "calls.h"

#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { TIMERS = 8 };

static struct { int fd; int64_t deadline, interval; } timers[TIMERS];
static int n_timers;

int64_t next_timer(void)
{
	int64_t first = FOREVER;

	for (int i = 0; i < n_timers; i++)
		if (timers[i].deadline < first)
			first = timers[i].deadline;
	return first;
}

void timers_are_due(void)
{
	uint64_t once = 1;

	for (int i = 0; i < n_timers; i++) {
		if (timers[i].deadline > arena->now)
			continue;
		timers[i].deadline = timers[i].interval == 0 ? FOREVER :
			arena->now + timers[i].interval;
		if (write(timers[i].fd, &once, sizeof once) < 0)
			continue;
	}
}

/* Its number may become another file's. */
void timer_is_closed(int fd)
{
	for (int i = 0; i < n_timers; i++)
		if (timers[i].fd == fd)
			timers[i] = timers[--n_timers];
}

int explored_timerfd_create(int clock, int flags)
{
	int fd;

	if (!exploring())
		return timerfd_create(clock, flags);
	if (n_timers == TIMERS)
		end_schedule(FOUND_BLIND);
	fd = eventfd(0, flags);
	if (fd < 0)
		return fd;
	timers[n_timers].fd = fd;
	timers[n_timers].interval = 0;
	timers[n_timers++].deadline = FOREVER;
	return fd;
}

int explored_timerfd_settime(int fd, int flags, const struct itimerspec *set,
			     struct itimerspec *before)
{
	int64_t deadline;

	if (!exploring())
		return timerfd_settime(fd, flags, set, before);
	if (before != NULL)
		memset(before, 0, sizeof *before);
	deadline = deadline_after(&set->it_value);
	if (flags & TFD_TIMER_ABSTIME)
		deadline = deadline_at(CLOCK_MONOTONIC, &set->it_value);
	if (set->it_value.tv_sec == 0 && set->it_value.tv_nsec == 0)
		deadline = FOREVER;
	for (int i = 0; i < n_timers; i++) {
		if (timers[i].fd != fd)
			continue;
		timers[i].deadline = deadline;
		timers[i].interval =
			deadline_after(&set->it_interval) - arena->now;
		return 0;
	}
	return timerfd_settime(fd, flags, set, before);
}
