/*
 * explorer - every order in which processes can meet, one after the other
 *
 * The student's file is compiled with the compiler's thread-sanitizer hooks,
 * and its calls are renamed, so that each access to shared memory, each
 * atomic and each call is a point at which another process may go on. Of the
 * processes of a scenario one runs at a time. The explorer first lets each
 * run as far as it can, and then tries one deviation after the other: "at
 * this point somebody else goes on", then two deviations, ... What it does
 * depends on nothing else: not on the machine, its load, or luck.
 *
 * A test in tests/NN-name/explore_*.c is ordinary code: it forks, waits,
 * calls the student's functions. It is compiled like the student's file, so
 * its own calls and its accesses to what the student shares count as well.
 * What lies in shared() does not, and is where it leaves its facts.
 *
 * README.md in this folder tells how it works and what it cannot find.
 */
#ifndef EXPLORER_H
#define EXPLORER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum found {
	FOUND_NOTHING,
	FOUND_WRONG,		/* judge() did not like what came out */
	FOUND_RACE,		/* two accesses that nothing puts in order */
	FOUND_STUCK,		/* everybody waits */
	FOUND_SPIN,		/* it goes on for ever */
	FOUND_CRASH,		/* a process was killed by its own fault */
	FOUND_EXIT,		/* the caller was ended in the middle */
	FOUND_BLIND,		/* nobody can say: a wait it does not know */
};

/* One access of a race, or the last step of somebody who is stuck. */
struct step {
	const char *who;
	const void *pc;
	bool writes, atomic;
	int locks;		/* how many it held */
	unsigned long lock;	/* which (the innermost): equal numbers, same */
	bool lock_private;	/* it lies in memory of this process alone */
};

/*
 * What was found, for a sentence about it.
 *
 * undisturbed: no deviation was needed: it is wrong in any order
 * overwritten: somebody wrote over what it had not read yet, in `second`,
 *              after it had read in `first` (for FOUND_WRONG, if so)
 * RACE:        first and second are the two accesses
 * STUCK:       waits_private: somebody waits for what only its own process
 *              could wake; lost_wakeup: what it waits for had been signalled
 *              before it went to sleep; of_dead: what it waits for is held
 *              by a process that has died; of_self: by itself
 */
struct finding {
	enum found how;
	bool undisturbed, overwritten, waits_private, lost_wakeup;
	bool of_dead, of_self, killed;
	struct step first, second;
	int signal;		/* CRASH: by which, if anybody can tell */
};

/*
 * scenario:   runs in a fresh process, "the caller", once for each schedule
 * judge:      called after each schedule in which nothing else was found, in
 *             another process; returns NULL, or what was wrong (a text())
 * shared:     from shared(); zeroed before each schedule
 * size:       its size in bytes
 * deviations: how many, at most; 0 = 2
 * schedules:  give up after so many; 0 = 400. All schedules with one
 *             deviation come first.
 * kill:       the name of the process that is killed, at each point; or NULL
 * signal:     one that the process of that name gets, at each point; or 0
 * spurious:   let waits for a condition or a futex end for no reason, too
 * no_timers:  let no time limit run out early
 * expected, why: for the failure. why may be asked for what was found; NULL,
 *             or a result of NULL, chooses a general sentence.
 */
struct exploration {
	void (*scenario)(void *shared);
	const char *(*judge)(void *shared);
	void *shared;
	size_t size;
	int deviations, schedules;
	const char *kill;
	int signal;
	bool spurious, no_timers;
	const char *expected;
	const char *(*why)(const struct finding *f);
};

/* Explore; fail the check with the story of the first schedule that is bad. */
void explore(const struct exploration *e);

/* Explore, and let the caller judge what was found. */
void explore_try(const struct exploration *e, struct finding *f);

/* In a scenario: start a process that runs run(arg), under a name. */
pid_t explore_process(const char *name, void (*run)(void *arg), void *arg);

/* In a scenario: wait for those that explore_process() started. */
void explore_wait(void);

/* In a scenario: another one may go on here, at no cost. */
void explore_yield(void);

/* In a scenario: what comes before this is the same in each schedule. */
void explore_from_here(void);

/* In a scenario: give the task that calls it a name, as for `kill`. */
void explore_name(const char *name);

/* In judge(): was a process killed in this schedule? */
bool explore_killed(void);

/* In judge(): was a signal sent to a process that had been collected, or to
 * none in particular? */
bool explore_stray_signal(void);

/* Schedules run by this test program up to now. */
long explore_schedules(void);

#endif
