/*
 * internal - what the parts of the harness tell each other
 *
 * The board lies in memory that the test program, the fence, the director
 * and all their descendants share. A student's stray pointer can spoil it,
 * which can only make a check fail.
 */
#ifndef INTERNAL_H
#define INTERNAL_H

#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "harness.h"

enum {
	STANDINGS = 1024, FORKS = 4096, DESCRIPTORS = 1024, FRAMES = 16,
	LEFT_SIZE = 2048, FAMILIES = 16,
	TAKEN = 256,
	PROCESSES_MAX = 400,	/* more at once are a fork storm */
};

/* The blocking call of the student's file that a thread is in. */
struct standing {
	_Atomic pid_t tid;
	pid_t pid;
	const char *call;	/* NULL: in none */
	void *pc;		/* where it returns to */
	long argument;
};

struct board {
	pid_t fence, director, test;
	_Atomic uint32_t events;	/* counts up at each gate opened, ... */
	_Atomic uint32_t hopeless;	/* gates give up */
	_Atomic int finished;
	const char *_Atomic copied;	/* the function that returned twice */
	_Atomic int todo, todo_line;
	const char *todo_file;
	_Atomic int timers;		/* the student armed one */
	_Atomic int exit_status;	/* of an exit() in the middle */
	void *exit_pc;
	void *crash[FRAMES];
	_Atomic int frames, crash_signal;

	struct fault fault;
	_Atomic int fault_counter, fault_struck;
	void *fault_pc;
	const char *fault_name;		/* the call that was struck */
	_Atomic int injected[INJECTORS];
	_Atomic int64_t skipped_ns;
	_Atomic long shm_size;		/* of small_shm; 0: as always */
	_Atomic int small_pipes, no_more_forks, hold_threads;
	struct meeting threads;
	_Atomic int forbidden;
	void *forbidden_pc;
	_Atomic int calls[FAMILIES];

	struct standing standings[STANDINGS];
	_Atomic unsigned next_standing;
	struct { _Atomic uintptr_t lock; pid_t tid; const void *pc; }
		taken[TAKEN];
	struct { pid_t pid; void *pc; } forks[FORKS];
	_Atomic unsigned next_fork;
	void *opened[DESCRIPTORS];	/* by descriptor, in the fence */

	char left[LEFT_SIZE];		/* what the scenario left behind */
	void *left_pc;
};

extern struct board *board;

/* tree.c - the processes below the test program, from /proc */
struct process {
	pid_t pid, parent;
	char state;
};
/* Descendants of root, without root itself; returns how many (max at most). */
int tree_list(pid_t root, struct process *list, int max);
void tree_kill(pid_t root);
/* What one file of /proc says, as a string; its length, or -1. */
ssize_t slurp(const char *path, char *out, size_t size);
bool read_stat(const char *path, struct process *p);
bool read_process(pid_t pid, struct process *p);	/* false if it is gone */
/* Processor time, time in the queue for it, and time slices of one thread. */
bool read_schedstat(const char *task, int64_t *cpu_ns, int64_t *queued_ns,
		    int64_t *slices);
/* Calls visit for each thread of pid, with its folder, until it says no. */
bool each_thread(pid_t pid, bool (*visit)(const char *task, void *arg),
		 void *arg);
/* An opaque sum that stays the same while no thread of them runs; 0 when one
 * of them is running, or will run by itself when a time is over. */
uint64_t tree_stillness(const struct process *list, int n);

/* observe.c */
char process_state(pid_t pid);		/* 'R', 'S', 'Z', ...; see proc(5) */
/* Is no thread of it running, because it was stopped? */
bool is_stopped(pid_t pid);

/* sync.c */
void announce_event(void);

/* faults.c */
void faults_reset(void);		/* before each check: none at all */
void hits_reset(void);			/* before each fence */
const char *fault_text(void);		/* which struck, or "" */

/* holders.c - who took which lock last, and where; 0 when it was given back */
void lock_taken(const void *lock, const void *pc);
int lock_tried(const void *lock, int result, const void *pc);	/* = result */
void lock_given(const void *lock);	/* call it just before */
pid_t lock_holder(unsigned long lock, const void **pc);

/* standing.c - who waits for what, and why nobody can go on: see doctor.h */
const char *standing_report(void **pc);

/* leftovers.c */
void leftovers_before(void);		/* in the fence */
void leftovers_after(void);
void leftovers_files(void);		/* only what is not in the process */
void left_behind(void *pc, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* "pipe:[123]" or the like */
void describe_descriptor(pid_t pid, int fd, char *out, size_t size);

/* fence.c */
void fence_prepare(void);		/* before each check */
const char *fence_where(void);		/* the best line that is known */
/* Fail the check with what that end means. */
_Noreturn void fail_end(const struct fence *f, struct fence_end end);

/* lines.c */
struct line {
	const char *file, *function;
	int number;
};
bool find_line(const void *address, struct line *at);
/* A return address belongs to the line of the call before it. */
static inline const void *before_return(const void *address)
{
	return address ? (const char *)address - 1 : NULL;
}
/* "labs/02-pool/pool.c:41 (pool_map)", or "" */
const char *source_line(const void *return_address);
const char *source_of_function(const void *function);

/* checks.c */
_Noreturn void fail_check(const char *verdict, const char *why,
			  const char *where, const char *expected,
			  const char *got);

/* guard.c - no kill(-1) and the like, by any road */
int guard_install(const pid_t *forbidden, int n);

/* own_shm.c - a private /dev/shm, with these mount options, in a mount namespace
 * and in these others (CLONE_NEWIPC, or 0); false where the system forbids */
bool own_shm(int more_namespaces, const char *options);

#endif
