/*
 * doctor_parts - what the parts of the doctor tell each other: first
 * doctor_look fills the scene, then doctor_stack adds the lines, doctor_waits
 * (with doctor_ends and doctor_locks) who waits for whom, and doctor_reason
 * the circle and the sentence.
 */
#ifndef DOCTOR_PARTS_H
#define DOCTOR_PARTS_H

#include <stdint.h>
#include <stdio.h>

#include "doctor.h"

enum { PROCS = 64, THREADS = 128, ENDS = 4096 };

struct proc {
	pid_t pid, parent;
	char state;			/* as in ps(1): R, S, D, T, Z */
	int status;			/* of one that has ended */
	unsigned long long started;	/* when, in ticks */
	char command[32], role[64];
};

/* What a thread does, by the system call it is in. */
enum doing {
	RUNS, READS, WRITES, OPENS, WAITS_FOR_CHILD, FUTEX, POLLS, LOCKS_FILE,
	WAITS_FOR_SIGNAL, SLEEPS, SOMETHING
};

/* What its wait is about. */
enum about {
	NOT_KNOWN, PIPE_EMPTY, PIPE_FULL, SOCKET_EMPTY, SOCKET_FULL, TERMINAL,
	CHILD, MUTEX, SEMAPHORE, CONDITION, BARRIER, JOIN, MEMORY, FILE_LOCK,
	SIGNAL, FIFO, MANY, GATE
};

struct thread {
	struct proc *of;
	pid_t tid;
	char state;
	bool timed;			/* its call ends by itself */
	bool busy, moved;		/* while we watched */
	int64_t cpu_ns, wanted_ns;	/* while we watched: on a processor,
					 * and that or in the queue for one */
	long number;			/* of the system call; -1: in none */
	unsigned long a[6];		/* its arguments */
	unsigned long sp, ip;		/* stack and instruction pointer */
	enum doing doing;

	char call[40];			/* "read", "pthread_mutex_lock" */
	char line[160];			/* "labs/02-pool/pool.c:41 (collect)" */
	const void *pc;
	bool known;			/* both by a hint, not by the stack */
	bool at_gate;			/* a gate of the harness */

	enum about about;
	char what[400];			/* "data from a pipe; its ..." */
	char object[160];		/* the lock's name, to tell two apart */
	int fd;
	bool private_lock;		/* in memory that nobody shares */
	bool private_wait;		/* only threads can end it */
	pid_t dead_holder;
	bool holds_other_end;		/* of the pipe it waits for, itself */
	bool outside;			/* somebody else could end the wait */
	bool freed_by[THREADS];		/* these could */
};

/* An open descriptor. */
struct end {
	struct proc *of;
	int fd;
	bool reads, writes;
	dev_t device;
	ino_t inode;
	mode_t mode;
	pid_t child;			/* of a pidfd */
	char name[120];			/* "pipe:[4711]", "/dev/pts/0" */
};

struct scene {
	struct proc procs[PROCS];
	struct thread threads[THREADS];
	struct end ends[ENDS];
	int n_procs, n_threads, n_ends, not_shown;
	double watched;			/* seconds */
	const struct doctor_hints *hints;
	const char *blind;		/* why we may not look, or NULL */
};

/* doctor_look.c */
void look(struct scene *s, const pid_t *pids, int n);
bool read_small_file(char *out, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
bool read_memory(pid_t pid, unsigned long from, void *to, size_t size);
bool has_ended(const struct proc *p);
struct proc *proc_of(struct scene *s, pid_t pid);
struct thread *thread_of(struct scene *s, pid_t tid);

/* doctor_names.c */
void name_procs(struct scene *s);
/* "child 1", or "thread 2 of child 1" */
const char *name_of(const struct scene *s, const struct thread *t);

/* doctor_calls.c */
void name_call(struct thread *t);

/* doctor_stack.c */
void find_lines(struct scene *s);

/* doctor_sockets.c: of a pair made by socketpair(); 0 if it is not known */
ino_t peer_of(ino_t inode);

/* doctor_ends.c */
void list_ends(struct scene *s, struct proc *p);
struct end *end_of(struct scene *s, const struct proc *p, int fd);
void wait_for_end(struct scene *s, struct thread *t, int fd, bool reads);

/* doctor_locks.c */
void wait_for_lock(struct scene *s, struct thread *t);
/* add "which child 2 holds"; pc: taken where, or NULL */
void tell_holder(struct scene *s, struct thread *t, pid_t holder,
		 const void *pc);

/* doctor_files.c */
void wait_for_file_lock(struct scene *s, struct thread *t);

/* doctor_polls.c */
void wait_for_many(struct scene *s, struct thread *t);

/* doctor_waits.c */
void find_waits(struct scene *s);
/* everybody in p could end t's wait */
void may_free(struct scene *s, struct thread *t, const struct proc *p);
/* add to what it waits for */
void tell(struct thread *t, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* add a list; of a long one only the beginning: "a, b, c and 57 more" */
struct list {
	struct thread *of;
	int n;
};
void list_add(struct list *l, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void list_end(struct list *l);

/* doctor_circle.c: its threads, in order; 0 if the waits form none */
int find_circle(const struct scene *s, struct thread **circle);
/* asleep, without a time limit, and nobody outside could help */
bool is_stuck(const struct scene *s);

/* doctor_reason.c: one sentence, and the thread that it is most about */
struct report {
	struct scene *s;
	struct thread **circle;
	int n;			/* in the circle */
	FILE *f;
};
struct thread *tell_reason(const struct report *r);

/* doctor_reason_locks.c and doctor_reason_pipes.c: NULL where none fits */
struct thread *opposite_order(const struct report *r);
struct thread *holder_died(const struct report *r);
struct thread *holder_waits(const struct report *r);
struct thread *not_shared(const struct report *r);
struct thread *only_for_threads(const struct report *r);
struct thread *pipe_is_full(const struct report *r);
struct thread *peer_is_silent(const struct report *r);
struct thread *no_end_of_data(const struct report *r);
/* for both */
struct thread *first_about(const struct report *r, enum about about);
struct thread *who_waits_for(const struct report *r, const struct thread *t);

#endif
