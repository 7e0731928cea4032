/*
 * pauses - pauses that take no time
 *
 * While paused_ns points somewhere in a process, the pauses that its code
 * makes return at once, and only their length is added up there: who waits by
 * pausing is then seen to wait for nothing. These functions stand before
 * libc's for the whole test program, so include this in one place only.
 */
#ifndef PAUSES_H
#define PAUSES_H

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "watch.h"

#define SECOND INT64_C(1000000000)

static _Atomic int64_t *paused_ns;

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *t,
		    struct timespec *left)
{
	if (paused_ns != NULL) {
		*paused_ns += flags == 0 ? t->tv_sec * SECOND + t->tv_nsec
					 : SECOND / 1000;
		return 0;
	}
	return syscall(SYS_clock_nanosleep, clock, flags, t, left) != 0
	       ? errno : 0;
}

int nanosleep(const struct timespec *t, struct timespec *left)
{
	int error = clock_nanosleep(CLOCK_REALTIME, 0, t, left);

	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}

int usleep(useconds_t us)
{
	return nanosleep(&(struct timespec){ us / 1000000,
					     us % 1000000 * 1000L }, NULL);
}

unsigned sleep(unsigned seconds)
{
	struct timespec left = { 0 };

	nanosleep(&(struct timespec){ .tv_sec = seconds }, &left);
	return (unsigned)left.tv_sec;
}

/* Without a descriptor these two are pauses, too. */
int poll(struct pollfd *fds, nfds_t n, int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	if (n == 0 && ms >= 0 && paused_ns != NULL)
		return nanosleep(&t, NULL);
	return (int)syscall(SYS_ppoll, fds, n, ms < 0 ? NULL : &t, NULL, 0);
}

int select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *tv)
{
	struct timespec t = { 0 };

	if (tv != NULL)
		t = (struct timespec){ tv->tv_sec, tv->tv_usec * 1000L };
	if (n == 0 && tv != NULL && paused_ns != NULL)
		return nanosleep(&t, NULL);
	return (int)syscall(SYS_pselect6, n, r, w, x, tv ? &t : NULL, NULL);
}

/* settle, for a process that may pause and look again: let it do so for a
 * long time. */
static inline void settle_pausing(pid_t pid, const _Atomic int64_t *ns)
{
	int64_t before, end = *ns + 30 * SECOND;

	do {
		before = *ns;
		settle(pid);
	} while (*ns != before && *ns < end);
}

#endif
