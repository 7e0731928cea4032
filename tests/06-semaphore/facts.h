/*
 * facts - what the checks of this lab have in common: a semaphore that the
 * processes of a scenario share, what they note about who is inside, and
 * directors that act when all who must wait are waiting
 */
#ifndef FACTS_H
#define FACTS_H

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "semaphores.h"

enum { CHILDREN = 8, MANY = 70, RUNS = 8, UNWRITTEN = -77 };

/* How a process comes to be where only so many may be. */
enum way { BY_ACQUIRE, BY_LIMIT, BY_WITH, WAYS };

/* What became of one semaphore_run. */
struct outcome {
	int ret, err, most;
	int value;		/* afterwards */
	int entered, left;	/* by then */
};

struct facts {
	enum way way;
	int initial;
	int created, error;	/* 1: it is there; errno */
	pid_t pids[CHILDREN];
	struct gate forked, held, go, over, ready[CHILDREN];
	struct gate in[CHILDREN], leave[CHILDREN];
	struct meeting meeting, second;
	struct peak peak;
	_Atomic int entered, left, got_in, early, gave_up, signals;
	_Atomic pid_t inside[MANY];	/* who came in, in this order */
	_Atomic int worker[MANY];	/* and its number */
	_Atomic int times[MANY];	/* how often each number came in */
	int got[CHILDREN];	/* what acquire or with returned */
	int errs[CHILDREN];	/* errno then */
	struct outcome run[RUNS];
	int runs;		/* so many have returned */
	_Atomic int number[80];
	double took, limits[CHILDREN];
	struct calm calm;
};

/* Set before the first fork of a scenario: its children have them too. */
static struct facts *facts;
static struct semaphore *sem;

/* After a student's call: the process that made it, or a copy? */
static inline void still(pid_t me, const char *function)
{
	if (getpid() != me)
		still_alone(function);
}

static inline bool create(struct facts *s, int initial, bool bounded)
{
	pid_t me = getpid();

	facts = s;
	s->initial = initial;
	errno = 0;
	sem = semaphore_create(initial, bounded);
	s->error = errno;
	still(me, "semaphore_create");
	s->created = sem != NULL;
	return s->created;
}

/* Child number i of the scenario. */
static inline pid_t child(int i, void (*run)(int i))
{
	pid_t pid = fork();

	if (pid == 0) {
		run(i);
		_exit(0);
	}
	facts->pids[i] = pid;
	return pid;
}

static inline void collect(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

static inline void collect_all(int n)
{
	for (int i = 0; i < n; i++)
		collect(facts->pids[i]);
}

/* A child that does only this, and what it found: 0 to 254. */
static inline int ask(int (*question)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(question() & 0xff);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* Questions. */
static inline int take(void)
{
	return semaphore_acquire(sem, 0);
}

static inline int give(void)
{
	return semaphore_release(sem);
}

static inline int look(void)
{
	return semaphore_value(sem);
}

static inline int give_too_much(void)
{
	errno = 0;
	return semaphore_release(sem) == -1 && errno == EOVERFLOW;
}

/* Can another process get in now? It leaves again. */
static inline int try_it(void)
{
	int got = semaphore_acquire(sem, 0);

	if (got == 0)
		semaphore_release(sem);
	return got;
}

/* Run room where only so many may be. */
static inline int enter(int i, int (*room)(int worker, void *arg))
{
	int got;

	errno = 0;
	if (facts->way == BY_WITH) {
		got = semaphore_with(sem, i, room, facts);
		facts->errs[i] = errno;
		return facts->got[i] = got;
	}
	got = semaphore_acquire(sem, facts->way == BY_LIMIT ? 1000 : -1);
	facts->errs[i] = errno;
	facts->got[i] = got;
	if (got == 0) {
		room(i, facts);
		semaphore_release(sem);
	}
	return got;
}

/* ---- rooms -------------------------------------------------------------- */

/* The n-th that comes in, from 0. */
static inline int come_in(int worker)
{
	int turn = facts->entered++;

	peak_enter(&facts->peak);
	if (turn < MANY) {
		facts->inside[turn] = getpid();
		facts->worker[turn] = worker;
	}
	if (worker >= 0 && worker < MANY)
		facts->times[worker]++;
	return turn;
}

static inline int go_out(void)
{
	peak_leave(&facts->peak);
	facts->left++;
	return 0;
}

/* Stay until told to go. */
static inline int stay(int worker, void *arg)
{
	(void)arg;
	come_in(worker);
	gate_open(&facts->held);
	if (!gate_wait(&facts->go))
		facts->gave_up++;
	return go_out();
}

/* Just come and go. */
static inline int pass(int worker, void *arg)
{
	(void)arg;
	come_in(worker);
	facts->got_in++;
	return go_out();
}

/* Everybody stays until the director says: you, who came n-th, go. */
static inline int take_turns(int worker, void *arg)
{
	int turn = come_in(worker);

	(void)arg;
	if (turn < CHILDREN) {
		gate_open(&facts->in[turn]);
		if (!gate_wait(&facts->leave[turn]))
			facts->gave_up++;
	}
	return go_out();
}

/* ---- children that use a semaphore -------------------------------------- */

static inline void holder(int i)
{
	enter(i, stay);
}

/* It is held; child i comes to ask for it, and the director knows. */
static inline void come(int i)
{
	gate_wait(&facts->held);
	gate_open(&facts->ready[i]);
}

static inline void passer(int i)
{
	come(i);
	enter(i, pass);
	facts->early += !gate_is_open(&facts->go);
}

/* ---- semaphore_run ------------------------------------------------------ */

/* One run, and what can be said about it. */
static inline struct outcome *run_workers(int workers,
					  int (*room)(int, void *))
{
	struct outcome *o = &facts->run[facts->runs];
	int entered = facts->entered, left = facts->left;
	pid_t me = getpid();

	o->most = UNWRITTEN;
	errno = 0;
	o->ret = semaphore_run(sem, workers, room, facts, &o->most);
	o->err = errno;
	still(me, "semaphore_run");
	o->entered = facts->entered - entered;
	o->left = facts->left - left;
	o->value = semaphore_value(sem);
	facts->runs++;
	return o;
}

/* ---- in the director ---------------------------------------------------- */

/* All but the holder, child 0, have asked and wait, or have ended. */
static inline void settle_all(struct facts *s)
{
	gate_wait(&s->forked);
	for (int i = 1; i < CHILDREN; i++)
		if (s->pids[i] != 0)
			gate_wait(&s->ready[i]);
	settle_each(s->pids, CHILDREN);
}

/* When all others wait, the holder goes. */
static inline void let_go(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	gate_open(&s->go);
}

/* ---- verdicts, in the test program -------------------------------------- */

#define WHY_01 "L06-01 The number you start with is the number of free " \
	"places."
#define WHY_02 "L06-02 Everybody counts the places alone."
#define WHY_07 "L06-07 You were woken by a signal, not let in."
#define WHY_08 "L06-08 One way out of the room forgets to give the place back."
#define WHY_10 "L06-10 You limited how many are started together, not how " \
	"many are inside."
#define WHY_11 "L06-11 You keep asking for a place instead of queueing for " \
	"it."
#define WHY_13 "L06-13 Who asks for a name that exists already gets the old " \
	"semaphore, as others have left it."
#define WHY_14 "L06-14 Who waits is not told that there is a place: nobody " \
	"wakes it, or it waits at a copy, or at something made for threads."
#define WHY_16 "L06-16 Two are allowed inside, so inside is not private."
#define WHY_17 "L06-17 The place of a worker that died is never free again."
#define WHY_19 "L06-19 You removed the door while people were queueing."
#define WHY_20 "L06-20 A number below 0 is no number of free places."
#define WHY_HUGE "The time does not fit into the type you chose, and C does " \
	"not tell you."
#define WHY_CARRY "A second has 1,000,000,000 nanoseconds; when they are " \
	"reached another second begins."
#define WHY_NEGATIVE "Every negative limit waits for ever, not only one of " \
	"them."
#define WHY_MANY "More are inside than there are places."

static inline void expect_created(const struct facts *s)
{
	expect(s->created, "There is no semaphore.",
	       "semaphore_create succeeds", "NULL, %s", strerror(s->error));
}

static inline const char *function_of(enum way way)
{
	return way == BY_WITH ? "semaphore_with" : "semaphore_acquire";
}

static inline void expect_got(const struct facts *s, int i, int want,
			      const char *why)
{
	expect(s->got[i] == want, why,
	       text("%s returns %d", function_of(s->way), want),
	       "%d%s%s", s->got[i], s->got[i] == -1 ? ", " : "",
	       s->got[i] == -1 ? strerror(s->errs[i]) : "");
}

#endif
