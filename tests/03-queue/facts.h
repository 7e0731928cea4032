/*
 * facts - what the checks of this lab have in common: a queue that the
 * processes of a scenario share, items that can be told apart, what the
 * processes note about themselves, and how to wait until somebody waits
 */
#ifndef FACTS_H
#define FACTS_H

#include <errno.h>
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
#include "queue.h"

enum { CHILDREN = 8, MANY = 512, NUMBERS = 32 };

struct facts {
	int created, error;		/* 1: the queue is there; errno */
	pid_t pids[CHILDREN];
	struct gate go, over, ready[CHILDREN], done[CHILDREN];
	struct meeting meeting;
	int got[CHILDREN], errs[CHILDREN];	/* what the last call returned */
	int items[CHILDREN];			/* and the item that came */
	double limits[CHILDREN];
	double took;
	_Atomic int signals, early, gave_up, calls;
	_Atomic int number[NUMBERS];
	_Atomic int seen[MANY];		/* how often each item was got */
	struct calm calm;
	size_t size;
	char why[200];		/* what to tell when it cannot end */
};

/* Set before the first fork of a scenario: its children have them too. */
static struct facts *facts;
static struct queue *queue;

/* After a student's call: the process that made it, or a copy? */
static inline void still(pid_t me, const char *function)
{
	if (getpid() != me)
		still_alone(function);
}

static inline struct queue *create_one(size_t maxsize, size_t item_size)
{
	pid_t me = getpid();
	struct queue *q;

	errno = 0;
	q = queue_create(maxsize, item_size);
	facts->error = errno;
	still(me, "queue_create");
	facts->created = q != NULL;
	return q;
}

/* The queue of the scenario. */
static inline bool create(struct facts *s, size_t maxsize, size_t item_size)
{
	facts = s;
	queue = create_one(maxsize, item_size);
	return queue != NULL;
}

static inline int put(int item, double timeout)
{
	errno = 0;
	return queue_put(queue, &item, timeout);
}

/* The item, or -100 - what was returned instead of 0: an item is >= 0. */
static inline int get(double timeout)
{
	int item = -1, r;

	errno = 0;
	r = queue_get(queue, &item, timeout);
	return r == 0 ? item : -100 - r;
}

enum { FULL = 1, EMPTY = -101, CLOSED = -99 };	/* of put, get, get */

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

/* A child that does only this. */
static inline void in_child(int i, void (*run)(int i))
{
	collect(child(i, run));
}

/* Child i gets, or puts 1000 + i, and notes what came of it. */
static inline void getter(int i)
{
	int item = -7;

	gate_open(&facts->ready[i]);
	errno = 0;
	facts->got[i] = queue_get(queue, &item, facts->limits[i]);
	facts->errs[i] = errno;
	facts->items[i] = item;
	gate_open(&facts->done[i]);
}

static inline void putter(int i)
{
	int item = 1000 + i;

	gate_open(&facts->ready[i]);
	errno = 0;
	facts->got[i] = queue_put(queue, &item, facts->limits[i]);
	facts->errs[i] = errno;
	gate_open(&facts->done[i]);
}

/* ---- waiting until somebody waits --------------------------------------- */

/* Child i has called, and waits, or has ended. */
static inline void settle_child(int i)
{
	if (gate_wait(&facts->ready[i]))
		settle(facts->pids[i]);
}

/*
 * Child i, which settled, looks again and again: by that it has burnt a
 * twentieth of a second. Who sleeps needs hardly a thousandth to get there.
 */
/* In a span of watch_waiting(): they must not look again and again, not even
 * every hundredth of a second. */
enum { MANY_WAKES = 22 };

static inline bool burns_time(int i)
{
	int64_t cpu;

	look_at(facts->pids[i], facts->pids[i], &cpu);
	return cpu > 40000000;
}

static inline void start_waiting(int i, void (*run)(int i), double limit)
{
	facts->limits[i] = limit;
	child(i, run);
	settle_child(i);
}

static inline double seconds_now(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- verdicts, in the test program -------------------------------------- */

#define WHY_01 "L03-01 Each process has its own copy of your queue."
#define WHY_04 "L03-04 Being woken does not mean that there is something " \
	"for you."
#define WHY_05 "L03-05 Your signal woke somebody who was waiting for " \
	"something else."
#define WHY_07 "L03-07 Full and empty look the same to your queue."
#define WHY_08 "L03-08 What went in first does not come out first."
#define WHY_10 "L03-10 You keep looking instead of being called."
#define WHY_11 "L03-11 An address means nothing in another process."
#define WHY_13 "L03-13 A normal item looks like your end mark."
#define WHY_14 "L03-14 The end was announced while somebody was still " \
	"producing."
#define WHY_16 "L03-16 You wait for a process that waits for you."
#define WHY_17 "L03-17 Somebody died with the key in the pocket."
#define WHY_19 "L03-19 A signal woke you, not an item."
#define WHY_20 "L03-20 The first one to leave took the furniture."
#define WHY_22 "L03-22 Two writers (or two readers) can get into the " \
	"middle of each other's item."
#define WHY_23 "L03-23 Zero and huge are also numbers."
#define WHY_ASLEEP "L03-05 Somebody waits for what is already there, and " \
	"nobody told it."

static inline void expect_created(const struct facts *s)
{
	expect(s->created, "There is no queue.", "queue_create returns a queue",
	       "NULL, %s", strerror(s->error));
}

/* From now on this is why the scenario cannot end. */
static inline void say_why(struct facts *s, const char *why)
{
	snprintf(s->why, sizeof s->why, "%s", why);
}

/* What a put or get returned, in words. */
static inline const char *result(int r, int error)
{
	return r == -1 ? text("-1, %s", strerror(error)) : text("%d", r);
}

/* What get() returned. */
static inline const char *got(int item)
{
	return item >= 0 ? text("item %d", item) :
	       item == EMPTY ? "1, empty" :
	       item == CLOSED ? "-1" : text("%d", item > -50 ? item : -100 - item);
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

#endif
