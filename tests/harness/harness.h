/*
 * harness - judge a student's functions from outside
 *
 * Three kinds of process take part in a check:
 *
 *   the test program   runs the checks one by one and holds the verdicts;
 *                      it never calls a student's function
 *   the fence          a fresh child for each scenario; it and the processes
 *                      it starts are the only ones in which the student's
 *                      code runs
 *   the director       an optional second child that acts while the scenario
 *                      runs: stops a process, opens a gate, measures
 *
 * What they tell each other stands in shared memory (shared()). Whatever a
 * student's function does - hang, exit, crash, close every descriptor,
 * signal everybody, return twice - is noticed by the test program and ends
 * as one failed check.
 *
 * Nothing here waits for a time to pass and hopes. A scenario that can no
 * longer move (every process asleep, nothing timed, no context switch any
 * more) is recognized as such within a fraction of a second; the limits are
 * only there for what burns time for ever.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- checks and their verdicts (in the test program) ------------------- */

/*
 * kind:     functions, leftovers, faults, ... (design: from quick to slow)
 * name:     a sentence about behaviour
 * run:      ends by returning (passed), or inside expect() or skip_check()
 * function: the student's function it is about: `where` when nothing better
 *           is known
 */
struct check {
	const char *kind, *name;
	void (*run)(void);
	const void *function;
};

/*
 * CHECKS("02-pool", checks) at the end of a file adds its array of checks to
 * the test program that all the files of a lab are linked to, in the order of
 * their names.
 */
#define CHECKS(lab, checks) \
	__attribute__((constructor)) static void add_checks(void) \
	{ \
		harness_add(lab, checks, sizeof checks / sizeof *checks); \
	} \
	_Static_assert(sizeof checks != 0, "a file without a check")
void harness_add(const char *lab, const struct check *checks, size_t n);

/*
 * expect - end the check as failed unless ok
 *
 * why:      one sentence about the idea, behind the row of the catalogue it
 *           belongs to if there is one: "L02-01 The result that ..."
 * expected: what a right program does; use text() to put values in
 * got:      what was seen, a printf format
 * Only in the test program, after the scenario has ended: what a scenario
 * sees it writes into shared memory.
 */
void expect(bool ok, const char *why, const char *expected,
	    const char *got, ...) __attribute__((format(printf, 4, 5)));

/* A formatted string that lives until the check ends. */
const char *text(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* End the check as skipped: "not exercised: ..." or what is missing. */
_Noreturn void skip_check(const char *reason, ...)
	__attribute__((format(printf, 1, 2)));

/* size zeroed bytes that all processes of this check share; freed after it. */
void *shared(size_t size);

/* ---- scenarios --------------------------------------------------------- */

enum fence_how {
	FENCE_FINISHED,		/* the scenario returned */
	FENCE_EXITED,		/* exit() or _exit() in the middle: status */
	FENCE_KILLED,		/* a signal: status is its number */
	FENCE_STUCK,		/* nothing can move any more */
	FENCE_OVERTIME,		/* still busy at the limit */
	FENCE_STORM,		/* hundreds of processes */
	FENCE_COPIED,		/* a second process returned into the scenario */
	FENCE_TODO,		/* an unwritten TODO was reached */
};

struct fence_end {
	enum fence_how how;
	int status;
	pid_t pid;		/* of the fence, which is gone now */
};

/*
 * scenario:  runs in the fence; calls the student's functions and leaves
 *            facts in shared
 * director:  runs beside it in a process of its own; NULL = none
 * shared:    from shared(); handed to both
 * limit:     seconds for a scenario that stays busy; 0 = 20
 * why_stuck: what to tell when it cannot end; NULL = a neutral sentence
 */
struct fence {
	void (*scenario)(void *shared);
	void (*director)(void *shared);
	void *shared;
	double limit;
	const char *why_stuck;
};

/* Run it; any end but FENCE_FINISHED fails the check with its own message. */
void fence(const struct fence *f);

/* Run it and let the caller judge the end (a TODO still fails the check). */
struct fence_end fence_try(const struct fence *f);

/*
 * expect_clean - fail the check if the last fence left anything behind when
 * its scenario returned: children nobody waited for, processes still
 * running, descriptors, objects in /dev/shm, System V objects, files in
 * TMPDIR, actions for signals or blocked signals. The message says which, and
 * where in the student's file it was made.
 *
 * why: for all of them; NULL = a sentence for each kind.
 */
void expect_clean(const char *why);
void expect_signals(void);	/* only what is done about signals */

/*
 * In a process of the scenario that has set some signals of its own: they must
 * stay as they are now, there and in those that it starts. At the end the
 * fence is looked at anyway; look_at_signals() looks earlier, and elsewhere.
 * when: " after start", for the message.
 */
void keep_signals(void);
void look_at_signals(const char *when);

/* In the scenario: the fence's own pid, also asked from its descendants. */
pid_t fence_pid(void);

/*
 * In the scenario, after a student's call that could return twice: ends any
 * process but the fence, and the check fails as FENCE_COPIED.
 * function: the name for the message: "process_start"
 */
void still_alone(const char *function);

/* ---- order: gates, meetings, peaks (in shared memory, all zero at first) - */

/*
 * A gate is closed until somebody opens it, and then stays open.
 * gate_wait returns true when it is open, and false when nobody can open it
 * any more: every process of the scenario is asleep for good (or the
 * scenario's limit has come).
 */
struct gate {
	uint32_t open;
};
void gate_open(struct gate *g);
bool gate_wait(struct gate *g);
bool gate_is_open(const struct gate *g);

/*
 * A meeting proves that n processes (or threads) are there at the same time:
 * each announces itself and waits for the others. false as for a gate.
 */
struct meeting {
	uint32_t arrived;
};
bool meeting_wait(struct meeting *m, uint32_t n);

/* How many are inside a region now, and at most were at once. */
struct peak {
	int32_t inside, most;
};
int32_t peak_enter(struct peak *p);	/* returns how many are inside now */
void peak_leave(struct peak *p);

/* ---- observing (anywhere; directors mostly) ---------------------------- */

/* A millisecond, between two looks at what stands in /proc. */
void breathe(void);

/* Runs and is not a zombie. */
bool is_running(pid_t pid);

/*
 * Wait until pid sleeps in a system call, or is stopped; false if it ends, or
 * uses half a second of processor time and still does not.
 */
bool wait_until_asleep(pid_t pid);

/*
 * Wait until somebody has come to where it waits: it is found asleep or
 * stopped at several looks in a row, or it asks again and again, and has burnt
 * a twentieth of a second by that.
 */
bool settle(pid_t pid);			/* false if it has ended */
void settle_each(const pid_t *pids, int n);	/* 0 and the caller: nobody */
void settle_family(void);	/* the fence and all its descendants, with
				 * those that come meanwhile */
int settle_others(void);	/* this process's other threads, with those
				 * that come meanwhile; how many then sleep */

pid_t parent_of(pid_t pid);		/* 0 if pid is gone */

/* The fence and all its descendants now; returns how many. */
int fence_family(pid_t *pids, int max);

/* Its state letter, see proc(5); 'X' = it is gone. *cpu_ns: how long it ran */
char look_at(pid_t pid, pid_t tid, int64_t *cpu_ns);

/* Wait until pid has ended (a zombie counts); false if it never does. */
bool wait_until_ended(pid_t pid);

/* What the fence and all its descendants used up to now. */
struct effort {
	int64_t cpu_ns;
	int64_t runnable_ns;	/* the same, and waiting for a processor: who
				 * burns time is seen on a busy machine too */
	int64_t switches;	/* voluntary context switches */
	int processes;
};
struct effort effort(void);

/* What they use during so many seconds from now on. */
struct effort effort_during(double seconds);

/*
 * What they use while they only wait, in spans of 0.15 s. Whoever waits
 * properly is quiet in the first one; others get many chances. Who looks all
 * the time, and gives way to others in between, may get little processor time
 * on a busy machine; but it always wants some, and is never found asleep.
 *
 * cpu_ns, wakes: less than that is quiet, of all together in one span, in
 *                which who looks again each millisecond wakes 150 times;
 *                wakes 0 = as often as they like
 */
struct calm {
	bool quiet;
	int restless;		/* so many are never found asleep */
	double seconds;		/* how long they were looked at ... */
	int64_t cpu_ns, wakes;	/* ... and what they used in that time */
};
struct calm watch_waiting(int64_t cpu_ns, int64_t wakes);
void expect_calm(const struct calm *c, const char *why, const char *when);

/* Open in this process; mapped into it ("rw-s": whose line has that in it,
 * see proc(5); "" = all). */
int open_descriptors(void);
int count_mappings(const char *kind);

/*
 * In the scenario: from now on what this process, and whoever it starts,
 * prints on stdout and stderr goes nowhere but into a file of ours. captured
 * returns how many bytes have come, and what still waits in a buffer.
 *
 * text: size bytes for what came, ended by '\0'; NULL = only counted
 */
void capture_output(void);
int captured(char *text, size_t size);
void expect_silence(int bytes);		/* in the test program */

/* ---- faults: see there -------------------------------------------------- */

#include "faults.h"

#endif
