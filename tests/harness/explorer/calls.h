/* calls - what the student's file calls instead of libc's functions */
#ifndef CALLS_H
#define CALLS_H

#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "arena.h"

/* An absolute time by one of the system's clocks, on ours. */
int64_t virtual_time(clockid_t clock, const struct timespec *at);

/* timerfd: when the first of this process runs out, or FOREVER; write to those
 * that have; forget one. */
int64_t next_timer(void);
void timers_are_due(void);
void timer_is_closed(int fd);

void watch_processes(void);	/* in the caller, first of all */

/* futex(2) as called through syscall(2) */
long explored_futex(uint32_t *at, int op, uint32_t value,
		    const struct timespec *t, const void *pc);

#endif
