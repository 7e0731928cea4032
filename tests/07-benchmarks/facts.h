/*
 * facts - what the checks of this lab have in common: the four ways to run
 * the same work, and what the work leaves in shared memory about itself
 */
#ifndef FACTS_H
#define FACTS_H

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "harness.h"

enum mode { SERIAL, GIL, THREADS, PROCESSES, MODES };

static const char *const mode_names[] = {
	"bench_serial", "bench_gil", "bench_threads", "bench_processes"
};

enum { ITEMS = 256, SECOND = 1000000000 };

/* Two children that are no workers: one has ended, one waits for its caller. */
struct others {
	pid_t ended, waiting;
	struct gate go;
	_Atomic int gave_up;
	bool ran;
	int status[2];
	bool left;		/* and yet another child was there after all */
};

struct facts {
	struct bench_run run[MODES];
	int errs[MODES];
	_Atomic int done[ITEMS];	/* how often each item was done */
	_Atomic pid_t by[ITEMS];	/* by which thread */
	_Atomic pid_t in[ITEMS];	/* of which process */
	_Atomic int calls, strange;	/* strange: an item that is none */
	_Atomic long strange_item;
	_Atomic int gave_up, handlers, other_arg;
	struct meeting meeting, again;
	_Atomic int came;		/* before the first gave up */
	struct gate inside, go;
	struct peak peak;
	struct others others;
	int workers;
	long n, chunk;			/* of the run that is judged */
	enum mode mode;
	_Atomic pid_t outer;		/* whose item has a run in it */
	_Atomic int number[16];
	double seconds[2];
};

/* Set by each scenario before anything is run: workers have it too. */
static struct facts *facts;

/* ---- the work ------------------------------------------------------- */

/* No two items give the same, and all of the 64 bits are in use. */
static inline uint64_t value_of(long index)
{
	return ((uint64_t)index + 3) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t sum_of(long n)
{
	uint64_t sum = 0;

	for (long i = 0; i < n; i++)
		sum += value_of(i);
	return sum;
}

static inline uint64_t note_item(long index, void *arg)
{
	facts->calls++;
	facts->other_arg += arg != facts;
	if (index < 0 || index >= ITEMS) {
		facts->strange++;
		facts->strange_item = index;
		return 0;
	}
	facts->by[index] = gettid();
	facts->in[index] = getpid();
	facts->done[index]++;
	return value_of(index);
}

/* As many items as there are workers must be there at the same time. */
static inline uint64_t meet_at_item(long index, void *arg)
{
	if (!meeting_wait(&facts->meeting, (uint32_t)facts->workers) &&
	    facts->gave_up++ == 0)
		facts->came = (int)facts->meeting.arrived;
	return note_item(index, arg);
}

/* ---- the student's functions ---------------------------------------- */

/*
 * On one processor who takes turns badly is hardly ever interrupted in the
 * wrong place: that is for the explorer to find, which does not need luck.
 */
static inline void stay_on_one_processor(void)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	sched_setaffinity(0, sizeof one, &one);
}

/* What libc keeps for later shall be little, and the same each time. */
static inline void keep_little(void)
{
	pthread_attr_t small;

	mallopt(M_ARENA_MAX, 1);
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 256 << 10);
	pthread_setattr_default_np(&small);
	pthread_attr_destroy(&small);
}

/* One of the four; what it gives is kept in facts as well. */
static inline struct bench_run run_mode(enum mode mode, bench_work *f, long n,
					int workers, long chunk)
{
	struct bench_run r = {0};
	static bool prepared;
	pid_t me = getpid();

	if (!prepared) {
		stay_on_one_processor();
		keep_little();
		prepared = true;
	}

	errno = 0;
	switch (mode) {
	case SERIAL:
		r = bench_serial(f, n, facts);
		break;
	case GIL:
		r = bench_gil(f, n, facts, workers, chunk);
		break;
	case THREADS:
		r = bench_threads(f, n, facts, workers, chunk);
		break;
	default:
		r = bench_processes(f, n, facts, workers, chunk);
	}
	facts->errs[mode] = errno;
	if (getpid() != me)
		still_alone(mode_names[mode]);
	facts->run[mode] = r;
	facts->mode = mode;
	facts->n = n;
	facts->workers = workers;
	facts->chunk = chunk;
	return r;
}

static inline void forget_items(void)
{
	for (int i = 0; i < ITEMS; i++)
		facts->done[i] = facts->by[i] = facts->in[i] = 0;
	facts->calls = facts->strange = 0;
	facts->meeting.arrived = 0;
}

/* ---- the caller's other children ------------------------------------ */

static inline void others_come(void)
{
	struct others *o = &facts->others;
	pid_t pid = fork();

	if (pid == 0)
		_exit(7);
	wait_until_ended(pid);
	o->ended = pid;
	pid = fork();
	if (pid == 0) {
		if (!gate_wait(&o->go))
			o->gave_up++;
		_exit(5);
	}
	o->waiting = pid;
}

static inline int status_of(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : -1;
}

static inline void others_go(void)
{
	struct others *o = &facts->others;
	siginfo_t info;

	o->ran = is_running(o->waiting);
	gate_open(&o->go);
	o->status[0] = status_of(o->ended);
	o->status[1] = status_of(o->waiting);
	o->left = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* ---- what is printed -------------------------------------------------- */

/* ---- verdicts, in the test program ---------------------------------- */

#define WHY_01 "L07-01 That clock counts only the processor time of this one" \
	" process."
#define WHY_02 "L07-02 This clock only knows whole seconds."
#define WHY_04 "L07-04 Nobody needed the result, so nobody computed it."
#define WHY_05 "L07-05 One measurement is an anecdote."
#define WHY_07 "L07-07 Faster must give a number above one."
#define WHY_08 "L07-08 The part that cannot be divided sets the limit."
#define WHY_10 "L07-10 You measured the race without the run-up."
#define WHY_11 "L07-11 Some items were done twice or not at all."
#define WHY_17 "L07-17 You added up what everybody spent instead of how long" \
	" you waited."
#define WHY_CLOCK "Somebody set the clock while you measured, and you" \
	" believed it."
#define WHY_KEPT "One way out of an item keeps the lock, and nobody else ever" \
	" comes in."
#define WHY_GIL "Two threads computed at the same time, although only the one" \
	" that holds the lock may."
#define WHY_DEATH "A worker died, and its items died with it, but the caller" \
	" was not told."
#define WHY_NO_WORKER "You wait for a child of the caller's that is none of" \
	" your workers."
#define WHY_DEATH_WAIT "A worker died, and somebody goes on waiting for what" \
	" it will never send."

/* Texts are only made for a check that fails: there are many here. */
#define expect(ok, ...) ((ok) ? (void)0 : expect(false, __VA_ARGS__))

/* "bench_gil(f, 7, arg, 2, 3)" */
static inline const char *call_text(const struct facts *s)
{
	return s->mode == SERIAL ? text("bench_serial(f, %ld, arg)", s->n) :
	       text("%s(f, %ld, arg, %d, %ld)", mode_names[s->mode], s->n,
		    s->workers, s->chunk);
}

/* In the last run. */
static inline bool is_all_done(const struct facts *s)
{
	for (long i = 0; i < s->n && i < ITEMS; i++)
		if (s->done[i] == 0)
			return false;
	return true;
}

static inline void expect_ran(const struct facts *s, enum mode mode)
{
	expect(s->run[mode].seconds >= 0,
	       s->mode == mode && is_all_done(s) ? "All the work was done, and "
	       "the caller is told that the run failed." :
	       s->errs[mode] == EOWNERDEAD ? "A worker has died, and it was "
	       "none of the items that killed it." :
	       "A run failed that had nothing in its way.",
	       text("%s: seconds is 0 or more", mode_names[mode]),
	       "%g, %s", s->run[mode].seconds, strerror(s->errs[mode]));
}

static inline void expect_others(const struct facts *s)
{
	const struct others *o = &s->others;

	expect(o->gave_up == 0, WHY_NO_WORKER, "the call returns", "it waits "
	       "for a child that waits for the caller");
	expect(o->ran, "You ended a child of the caller's that is none of "
	       "your workers.", "it still runs after the call", "it does not");
	expect(o->status[0] == 7 && o->status[1] == 5, "You collected a child "
	       "of the caller's that was none of your workers.",
	       "the caller waits for its own children: status 7 and 5",
	       "%d and %d", o->status[0], o->status[1]);
}

#endif
