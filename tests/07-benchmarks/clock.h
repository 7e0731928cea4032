/*
 * clock - a clock that stands still unless the test moves it on
 *
 * With it a work function "takes" exactly ten seconds, and no time at all.
 * The clocks that measure elapsed time are moved by hand; those that count
 * processor time are real. The definitions here take the place of libc's in
 * the test program: the student's file comes to them through the harness.
 *
 * As at_start and at_collect say, the student's file moves the clock too by
 * starting a process or a thread, and collecting one. And processor time can
 * be scaled, so that a test need not burn seconds to see some.
 */
#ifndef CLOCK_H
#define CLOCK_H

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct hand_clock {
	_Atomic int64_t ns;		/* moved up to now */
	_Atomic long looks;		/* at one of the clocks */
	int64_t at_start, at_collect;	/* moved by each of these */
	bool jumps;			/* the clock on the wall is set back
					 * an hour before each look */
};

/* In shared memory; NULL: time is what it is. In the scenario only. */
static struct hand_clock *hand;

/* So many times as much processor time as there really was; and how often
 * anybody has looked at it. */
static int cpu_scale = 1;
static _Atomic long *cpu_looks;		/* in shared memory, or NULL */

static inline void move_on(int64_t ns)
{
	if (hand != NULL)
		hand->ns += ns;
}

static long (*real_syscall)(long number, ...);

static inline void __attribute__((constructor)) find_real_syscall(void)
{
	*(void **)&real_syscall = dlsym(RTLD_NEXT, "syscall");
}

static inline int64_t real_clock_ns(clockid_t clock)
{
	struct timespec t;

	real_syscall(SYS_clock_gettime, clock, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* What the moved clock shows: each kind begins elsewhere. */
static inline int64_t hand_ns(clockid_t clock)
{
	const int64_t second = INT64_C(1000000000);
	int64_t now = hand->ns + second - 1000;		/* soon a carry */
	long look = ++hand->looks;

	switch (clock) {
	case CLOCK_MONOTONIC:
		return now + 12345 * second;
	case CLOCK_MONOTONIC_RAW:
		return now + 12300 * second;
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM:
		return now + 23456 * second;
	case CLOCK_MONOTONIC_COARSE:
		now += 12345 * second;
		return now - now % 4000000;
	default:
		now += 1700000000 * second;
		return hand->jumps ? now - look * 3600 * second : now;
	}
}

/* ---- processor time, which can seem to be more than it is ----------- */

static inline void note_cpu_look(void)
{
	if (cpu_looks != NULL)
		++*cpu_looks;
}

static int64_t scaled_clock_ns(clockid_t clock)
{
	note_cpu_look();
	return real_clock_ns(clock) * cpu_scale;
}

static inline void scale(struct timeval *t)
{
	int64_t us = (t->tv_sec * INT64_C(1000000) + t->tv_usec) * cpu_scale;

	*t = (struct timeval){ us / 1000000, us % 1000000 };
}

static inline void scale_usage(struct rusage *u)
{
	note_cpu_look();
	scale(&u->ru_utime);
	scale(&u->ru_stime);
}

int getrusage(__rusage_who_t who, struct rusage *u)
{
	int r = (int)real_syscall(SYS_getrusage, who, u);

	if (r == 0)
		scale_usage(u);
	return r;
}

clock_t clock(void)
{
	return (clock_t)(scaled_clock_ns(CLOCK_PROCESS_CPUTIME_ID) / 1000);
}

clock_t times(struct tms *t)
{
	clock_t r = (clock_t)real_syscall(SYS_times, t);

	note_cpu_look();
	t->tms_utime *= cpu_scale;
	t->tms_stime *= cpu_scale;
	t->tms_cutime *= cpu_scale;
	t->tms_cstime *= cpu_scale;
	return r;
}

/* ---- the clocks ----------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *t)
{
	int64_t ns;

	if (clock < 0 || clock == CLOCK_PROCESS_CPUTIME_ID ||
	    clock == CLOCK_THREAD_CPUTIME_ID)
		ns = scaled_clock_ns(clock);
	else if (hand == NULL)
		return (int)real_syscall(SYS_clock_gettime, clock, t);
	else
		ns = hand_ns(clock);
	*t = (struct timespec){ ns / 1000000000, ns % 1000000000 };
	return 0;
}

/* Who asks the system itself gets the same answer. */
long syscall(long number, ...)
{
	long a[6];
	va_list args;

	va_start(args, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(args, long);
	va_end(args);
	if (number == SYS_clock_gettime)
		return clock_gettime((clockid_t)a[0], (struct timespec *)a[1]);
	return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* ---- what moves it: a start, a collection --------------------------- */

static inline void moved_by_start(void)
{
	if (hand != NULL)
		move_on(hand->at_start);
}

static inline int64_t moved_by_collection(int64_t result)
{
	if (hand != NULL && result > 0)
		move_on(hand->at_collect);
	return result;
}

/* Once, in a scenario: forks move the clock from now on. */
static inline void forks_move_it(void)
{
	pthread_atfork(moved_by_start, NULL, NULL);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr,
		   void *(*run)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
		    void *);

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
	moved_by_start();
	return real(thread, attr, run, arg);
}

int pthread_join(pthread_t thread, void **result)
{
	int (*real)(pthread_t, void **), error;

	*(void **)&real = dlsym(RTLD_NEXT, "pthread_join");
	error = real(thread, result);
	moved_by_collection(error == 0);
	return error;
}

pid_t wait4(pid_t pid, int *status, int options, struct rusage *usage)
{
	pid_t r = (pid_t)real_syscall(SYS_wait4, pid, status, options, usage);

	if (r > 0 && usage != NULL)
		scale_usage(usage);
	return (pid_t)moved_by_collection(r);
}

pid_t wait3(int *status, int options, struct rusage *usage)
{
	return wait4(-1, status, options, usage);
}

pid_t waitpid(pid_t pid, int *status, int options)
{
	return wait4(pid, status, options, NULL);
}

pid_t wait(int *status)
{
	return wait4(-1, status, 0, NULL);
}

/* WNOWAIT only looks. */
int waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	siginfo_t mine = {0}, *told = info != NULL ? info : &mine;
	int r;

	told->si_pid = 0;
	r = (int)real_syscall(SYS_waitid, type, id, told, options, NULL);
	if (r == 0 && told->si_pid != 0 && !(options & WNOWAIT))
		moved_by_collection(1);
	return r;
}

#endif
