/* calls - what the student's file calls instead of libc's functions */
#ifndef CALLS_H
#define CALLS_H

#include <pthread.h>
#include <semaphore.h>
#include <sys/resource.h>
#include <time.h>

#include "arena.h"

/* ---- calls_time.c: deadlines, in virtual ns ---------------------------- */

#define SECOND 1000000000ll

static inline int64_t in_ns(const struct timespec *t)
{
	return t->tv_sec * SECOND + t->tv_nsec;
}

/* An absolute time by one of the system's clocks. */
int64_t deadline_at(clockid_t clock, const struct timespec *at);

/* From now on; FOREVER if t is NULL, ms is negative. */
int64_t deadline_after(const struct timespec *t);
int64_t deadline_after_ms(int ms);

/* ---- calls_processes.c ------------------------------------------------- */

void watch_processes(void);	/* in the caller, first of all */

/* The child is a task of that name; NULL chooses one. */
pid_t process_fork(const char *name, const char *call, const void *pc);
/* clone(2) as far as it is a fork; else the schedule ends. */
pid_t process_clone(unsigned long flags, int *pidfd, const void *pc);
/* exit(), or _exit() without `flush`. */
_Noreturn void process_leave(int status, bool flush, const void *pc);

/* ---- calls_children.c -------------------------------------------------- */

/* wait4(2) */
pid_t child_wait_for(pid_t pid, int *status, int options,
		     struct rusage *usage, const char *call, const void *pc);

/* ---- calls_signals.c --------------------------------------------------- */

/* To the process of a pidfd: its number cannot have become another's. */
int signal_by_fd(int fd, int sig, const void *pc);

/* ---- calls_locks.c: whatever others wait for --------------------------- */

/* One that is being made: what it is, and for whom. */
struct sync *sync_made(const void *at, const char *kind, bool is_shared);
/* One in use; maybe never made, but zeroed or set by an initializer. */
struct sync *sync_found(const void *at, const char *kind);
/* A call has tried to take it, with that result, which is returned. */
int sync_taken(struct sync *s, const char *call, const void *pc, int result);
void sync_given_back(struct sync *s, const char *call, const void *pc);
/* Take the mutex, of which s is known. */
int sync_lock_mutex(pthread_mutex_t *m, struct sync *s, const char *call,
		    int64_t deadline, const void *pc);

/* ---- calls_semaphores.c ------------------------------------------------ */

/* futex(2) as called through syscall(2) */
long explored_futex(uint32_t *at, int op, uint32_t value,
		    const struct timespec *t, const void *pc);

/* ---- calls_transfers.c ------------------------------------------------- */

ssize_t explored_read(int fd, void *buf, size_t n);
ssize_t explored_write(int fd, const void *buf, size_t n);
int explored_close(int fd);

/* ---- calls_timers.c: timerfd, of this process -------------------------- */

int64_t next_timer(void);	/* when the first runs out, or FOREVER */
void timers_are_due(void);	/* write to those that have run out */
void timer_is_closed(int fd);	/* forget it */

#endif
