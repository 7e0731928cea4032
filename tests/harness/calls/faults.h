/*
 * faults - what the system may do to a program, done on purpose
 *
 * The calls that the student's file makes go through the harness (calls.h),
 * and no others: what is injected here strikes the student's file only. Each
 * injector counts its hits. A check whose injector never struck has shown
 * nothing: it ends by expect_exercised(), as "not exercised".
 *
 * Included by harness.h; not to be included alone.
 */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ---- a call that fails, or does less (set before or in the scenario) ---- */

/* In place of an errno: a transfer that moves less than was asked for. */
enum {
	SHORT_ONE = 0,			/* one byte */
	SHORT_HALF = -1,		/* half of it */
	SHORT_BUT_ONE = -2,		/* all but the last byte */
};

/*
 * The k-th call of one kind in the whole scenario fails, or all of them from
 * the k-th on. A call that could not fail so by itself is passed over and not
 * counted: WNOHANG and O_NONBLOCK are never interrupted, up to PIPE_BUF bytes
 * go into a pipe as a whole, and at once where there is room.
 *
 * call:   a function ("sem_wait", "posix_fallocate"), or a family of them:
 *
 *         fork            also vfork, clone, posix_spawn, system, popen
 *         read, write     on pipes and sockets; also recv, readv, sendto, ...
 *         waitpid         also wait, waitid, poll, select, sem_wait,
 *                         sem_timedwait
 *         pipe            also pipe2, socketpair
 *         mmap, open, pthread_create, ftruncate
 *         malloc          also calloc, realloc, strdup, aligned_alloc, ...
 *         shm_open        also memfd_create
 *         posix_fallocate also fallocate
 *         blocking        every call that a signal may interrupt: read,
 *                         write, waitpid, and futex, epoll_wait, accept,
 *                         connect, flock, fcntl, lockf, msgrcv, semop,
 *                         mq_receive, nanosleep, pause, sigsuspend, ...
 *         descriptors     every call that opens one
 *         space           what needs room in a file: ftruncate,
 *                         posix_fallocate, write and pwrite to a file
 *         init            mutexes, condition variables, semaphores, ...
 *         sysv            shmget, semget, msgget
 *
 * error:  the errno it fails with, or SHORT_...
 */
struct fault {
	const char *call;
	int error;
	int k;				/* from 1 */
	bool onwards;			/* also every later one */
};
void fault_set(const struct fault *fault);
int fault_hits(void);			/* in the last fence */

/* Tables for fault_sweep_all, each ended by a fault without a call: */
extern const struct fault fault_interruptions[];	/* EINTR at each */
extern const struct fault fault_short_counts[];		/* of each size */
extern const struct fault fault_refusals[];	/* no process, memory, ...: all
						 * that is refused in life,
						 * so not "init" */
extern const struct fault fault_no_space[];	/* ENOSPC */

/*
 * fault_sweep - the same scenario once for each k = 1, 2, ... until the
 * fault strikes no more, each time in a fresh fence on zeroed shared memory
 *
 * prepare: fills shared memory before each run; may be NULL
 * judge:   expects, after each run; which fault it was is in the text of a
 *          failure, and `where` is the line of the call that was struck
 * Skips the check as "not exercised" when the fault never struck. Gives up
 * after 200 runs.
 */
void fault_sweep(const struct fence *f, size_t shared_size, const char *call,
		 int error, void (*prepare)(void *shared),
		 void (*judge)(void *shared, const struct fence_end *end));

/*
 * fault_sweep_all - fault_sweep for each fault of a table
 *
 * faults: ended by one whose call is NULL; onwards is kept, k is not
 * Skips the check when none of them ever struck. Returns how many runs were
 * struck.
 */
int fault_sweep_all(const struct fence *f, size_t shared_size,
		    const struct fault *faults, void (*prepare)(void *shared),
		    void (*judge)(void *shared, const struct fence_end *end));

/* ---- what is counted --------------------------------------------------- */

enum injector {
	INJECT_CALL,		/* fault_set: the same as fault_hits() */
	INJECT_SMALL_PIPES,	/* pipes and socket pairs made small */
	INJECT_NO_PAUSE,	/* pauses that took no time */
	INJECT_CLOCK,		/* looks at a clock that had jumped, or stood still */
	INJECT_INTERRUPT,	/* signals that arrived */
	INJECT_SMALL_SHM,	/* requests for more than /dev/shm has */
	INJECT_DESCRIPTORS,	/* refused for want of descriptors */
	INJECT_KILL,		/* holders killed */
	INJECT_STOP,		/* processes stopped */
	INJECT_HELD_THREADS,	/* threads held back at their start */
	INJECT_CORE,		/* deaths told with a core that was written */
	INJECTORS
};

/* How often it struck in the last fence. */
int injected(enum injector injector);

/* End the check as skipped, "not exercised: ...", if it never struck. */
void expect_exercised(enum injector injector);

/* How often the student's file called this family in the last fence: one of
 * fork ... shm_open above, or kill. */
int calls_of(const char *call);

/* Signals for a process or group that no student may signal, counted and
 * never sent: pid 0, -1 and the test program's. */
int forbidden_kills(void);

/* ---- narrow resources -------------------------------------------------- */

/* Make every pipe and socket pair of the student's file as small as can be. */
void small_pipes(void);

/*
 * descriptors_left - let this process and its children open only so many
 * more descriptors (RLIMIT_NOFILE). In the scenario.
 */
void descriptors_left(int more);

/*
 * small_shm - give the scenario a /dev/shm of its own with so many bytes
 *
 * In the scenario, before the student's functions. The size is rounded up to
 * whole pages. A real tmpfs: ftruncate beyond it succeeds, as it does in
 * life, and who then writes there is killed by SIGBUS.
 * Returns false where the system does not let us; then it counts no hit, and
 * the table fault_no_space is what remains.
 */
bool small_shm(size_t bytes);

/* ---- time (in the scenario; for this process and those it forks later) -- */

/*
 * pauses_skip - let pauses return at once: sleep, usleep, nanosleep, and
 * poll and select without a descriptor. Their length is added up in
 * pauses_skipped_ns(): who waits by pausing is seen to wait for nothing.
 */
void pauses_skip(bool on);
int64_t pauses_skipped_ns(void);

/*
 * clock_jumps - somebody keeps setting the wall clock: at each look it is so
 * many seconds later (or earlier: negative) than it should be. Those of
 * processor time stand still meanwhile, as they do for who waits. 0 ends it.
 * The clocks that nobody can set stay as they are.
 */
void clock_jumps(int seconds);

/* Interrupt the calling process with SIGALRM every 5 ms (a handler that does
 * nothing, without SA_RESTART), until interrupts_stop. */
void interrupts_start(void);
void interrupts_stop(void);

/* ---- death and order (directors mostly) -------------------------------- */

/*
 * A holder is a process inside something: a callback under a lock, a task.
 * It calls holder_stay() there, and does not come out until it is killed or
 * let go.
 */
struct holder {
	pid_t pid;
	struct gate inside, free;
};

/* In the holder. True when let go, false when nobody can any more. */
bool holder_stay(struct holder *h);

/* Wait until somebody is inside; returns its pid, or 0: nobody ever is. */
pid_t holder_wait(struct holder *h);

/* Wait until somebody is inside and kill it, for good when this returns.
 * Returns its pid, or 0: nobody ever is inside. */
pid_t holder_kill(struct holder *h);

void holder_let_go(struct holder *h);

/*
 * Stop a process with SIGSTOP; true when none of its threads runs any more,
 * false when it has ended. continue_process lets it go on. Between the two
 * others can do what is rare, but legal.
 */
bool stop_process(pid_t pid);
bool continue_process(pid_t pid);

/*
 * cores_dumped - from now on tell of each child that a signal ended that its
 * memory was written to a core file: one more bit in the status, CLD_DUMPED
 * for CLD_KILLED. In the scenario; for this process and those it forks later.
 */
void cores_dumped(bool on);

/* Hold back the start of each thread until so many have been created. */
void hold_threads_until(int created);

#endif
