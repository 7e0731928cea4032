/*
 * arena - what the tasks of one schedule and their controller share
 *
 * A task is a process or a thread of the scenario. Exactly one of them has
 * the turn; only it reads and writes the arena, so nothing here needs a lock.
 * The controller (schedule.c) writes the plan before, and reads the record
 * after.
 */
#ifndef ARENA_H
#define ARENA_H

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "explorer.h"

enum {
	TASKS = 16,		/* at most, in one scenario */
	EVENTS = 12000,		/* of one schedule: more go on for ever */
	PLAN = 3,		/* deviations in one schedule */
	SYNCS = 256,		/* places that order processes */
	CELLS = 1 << 15,	/* words of shared memory looked after */
	HELD = 4,		/* locks one task may hold */
	NAME = 24, GOT = 1024,
	NOBODY = -1,
};

/* Anything that has an address in each process: the same in all of them. */
struct place {
	uint32_t object;	/* a mapping, a file; 0 = nothing */
	uint64_t offset;
};

struct clock {
	uint32_t at[TASKS];
};

enum what {
	READ, WRITE, ATOMIC_READ, ATOMIC_WRITE,
	CALLS,			/* ends at once, whatever it is */
	LOCKS, UNLOCKS, WAITS, WAKES, STARTS, ENDS, SLEEPS, YIELDS,
};

/* One thing that one task did. */
struct event {
	uint8_t task, what, size, locks;
	bool lock_private;
	const char *call;	/* "pthread_mutex_lock"; NULL for an access */
	const void *pc;
	struct place place, lock;
	uint64_t before, value;	/* of an access: what stands there then */
};

/* Why a task that waits goes on. */
enum wake { WOKEN, TIMED_OUT, INTERRUPTED, FOR_NO_REASON, AFTER_DEATH };

struct task {
	_Atomic uint32_t turn;	/* futex: 1 = go on */
	pid_t pid;
	int process;		/* the task whose memory it shares: itself, or
				 * the first thread of its process */
	char name[NAME];
	enum { FREE, READY, WAITING, ENDED } state;
	bool killed, thread, collected, cancelled;

	struct place waits_for;	/* while WAITING */
	int waits_pid;		/* ... for this child: 0 = any, -1 = for none */
	const char *call;
	const void *pc;
	int64_t deadline;	/* virtual ns; FOREVER = none */
	bool retry;		/* something happened: it may go on */
	bool woken;		/* ... and it was meant */
	bool queued;		/* only who is woken goes on, not who retries */
	enum wake wake;

	struct clock clock, relaxed;
	unsigned points;	/* since it got the turn */
	struct held { struct place place; bool is_private; } held[HELD];
	int locks;
};

/* A place by which tasks are ordered: lock, semaphore, atomic, pipe, ... */
struct sync {
	struct place place;
	struct clock clock;
	const char *kind;	/* NULL: nothing but an order */
	bool shared;		/* made for several processes */
	bool errorcheck;
	int owner;		/* a task, or NOBODY */
	int count;		/* barriers: who is there; depth of a lock */
	unsigned limit, round;
	int signals;		/* how often somebody was to be woken */
};

/* What is known of one word of shared memory, 8 bytes. */
struct cell {
	struct place place;	/* the offset in words */
	uint32_t schedule;	/* else it is from another one, and empty */
	uint32_t written, read[TASKS];	/* when, by the clock of who did it */
	int write_event, read_event[TASKS];
	uint8_t writer, write_bytes, read_bytes[TASKS];	/* a bit for each */
};

enum act { SWITCH, TIME_OUT, KILL, SIGNAL, SPURIOUS };

struct deviation {
	int at;			/* the number of the decision */
	enum act act;
	int task;		/* who goes on */
};

/* Where something else could have been done. */
struct decision {
	int8_t task;		/* who had the turn */
	uint16_t others;	/* a bit for each that could go on instead */
	uint16_t timers;	/* a bit for each whose time could run out */
	bool free, idle, spurious, can_be_killed;
	struct place place;	/* what it was about to touch */
	const void *pc;
	int event;		/* the number of events before it */
};

struct arena {
	/* the plan */
	struct deviation plan[PLAN];
	int planned;
	const struct exploration *exploration;
	uint32_t schedule;

	/* the state */
	struct task tasks[TASKS];
	int n_tasks, running;
	int asked_at;		/* so many events had been when all asked again */
	int leaving;		/* a pid that is about to end, or 0 */
	int64_t now;		/* virtual ns */
	_Atomic uint32_t over;	/* futex: the schedule has ended */
	struct sync syncs[SYNCS];
	int n_syncs;
	uint32_t next_object;
	struct object { uint64_t device, inode; uint32_t number; }
		objects[SYNCS];
	char names[16][NAME];	/* of objects in /dev/shm */
	int n_names;
	int sysv[16];
	int n_sysv;

	/* the record */
	struct event events[EVENTS];
	int n_events;
	struct decision decisions[EVENTS];
	int n_decisions;
	enum found found;
	int race[2];		/* events */
	char got[GOT];
	int crash_signal;
	bool killed_one, stray_signal;
	int first_decision;	/* explore_from_here() */
	struct cell cells[CELLS];
};

extern struct arena *arena;
extern const struct place nowhere;
extern __thread int me;		/* my number among the tasks, or NOBODY */

#define FOREVER INT64_MAX

static inline bool same_place(struct place a, struct place b)
{
	return a.object == b.object && a.offset == b.offset;
}

static inline bool is_access(const struct event *e)
{
	return e->what <= ATOMIC_WRITE;
}

static inline bool is_write(const struct event *e)
{
	return e->what == WRITE || e->what == ATOMIC_WRITE;
}

/* ---- tasks.c, task_*.c: who has the turn ------------------------------- */

static inline bool exploring(void) { return me >= 0; }
struct task *self(void);

/* A point: before anything that another task could notice. */
void point(struct place place, const void *pc);

/* Sleep until woken: the caller has tried, and it did not go. */
enum wake wait_here(const char *call, struct place place, int64_t deadline,
		    const void *pc);
/* The same for who must be woken by name (a condition, a futex). */
enum wake queue_here(const char *call, struct place place, int64_t deadline,
		     const void *pc);
/* Let up to n of those who wait there try again; returns how many. */
int wake(struct place place, bool shared, int n);
void wake_all_waits(void);	/* of files and children: anybody may go on */
void wake_after_death(void);	/* of a process, and of what it held */

void hold_signals(sigset_t *before);		/* all, from now on */
bool let_signals_in(const sigset_t *mask);	/* by the mask from now on */
void yield_turn(const void *pc);
int new_task(const char *name);
void begin_task(int task);	/* in it: waits for its first turn */
_Noreturn void leave_process(int status, bool flush, const void *pc);
void leave_thread(void);
_Noreturn void end_schedule(enum found found);
bool ended_within(pid_t pid, int timeout_ms);	/* -1: waits for ever */
void wait_for_end_of(pid_t pid);

/* ---- places.c ---------------------------------------------------------- */

struct place place_of(const volatile void *address);
struct place place_of_file(int fd);
bool is_private(struct place place);
bool is_shared_memory(const volatile void *address);
void map_added(void *at, size_t size, int fd, off_t from);
void map_added_as(void *at, size_t size, uint64_t id);
void map_removed(void *at, size_t size);
void ends_joined(const int fds[2]);	/* of a pair of sockets */

/* ---- memory.c: clocks, races, the record ------------------------------- */

struct sync *sync_at(struct place place);
struct sync *sync_known(struct place place);	/* or NULL */
void acquire_from(struct place place);
void acquire_from_dead(void);
void release_to(struct place place);
void join_clock(struct clock *into, const struct clock *from);
void access_memory(const volatile void *at, size_t size, enum what what,
		   const void *pc);
struct event *note(enum what what, const char *call, struct place place,
		   const void *pc);
int first_fork(void);		/* the first event that starts a task */
void settle_write(void);	/* look up what my last write has written */
void lock_is_held(struct place place);
void lock_is_free(struct place place);

#define HERE __builtin_return_address(0)

#endif
