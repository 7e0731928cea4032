/*
 * process - run a function in a process of its own: Python's
 * multiprocessing.Process, built on fork
 *
 *	struct process p = { .target = work, .args = &job, .name = "w1" };
 *	process_start(&p);		in the parent: returns at once
 *	process_join(&p, -1);		waits until the child has ended
 *	process_exitcode(&p);		how it ended
 *
 * The life of a handle: filled in by the caller (all other members zero),
 * started once, joined or asked as often as one likes. Only the process that
 * started it may use it. Nothing is allocated: the handle may be forgotten
 * after a join.
 *
 * No function here prints, changes what a signal does, or leaves a signal
 * blocked. An int function returns -1 with errno when it fails.
 */
#ifndef PROCESS_H
#define PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#define PROCESS_NONE INT_MIN		/* no exit code yet; Python: None */

/*
 * target: runs in the child; the low 8 bits of its result are the exit code
 * args:   handed to target; the child sees what it points to as it was at
 *         process_start, in memory of its own
 * name:   what process_current says in the child; never NULL
 * pid:    0 before process_start, and after one that failed
 * state, status: of process.c only; zero before process_start
 */
struct process {
	int (*target)(void *args);
	void *args;
	const char *name;
	pid_t pid;
	int state, status;
};

/*
 * process_start - run target(args) in a new process, beside this one
 *
 * Returns in the parent, without waiting for the child. The child begins with
 * a copy of the parent's memory, its open descriptors and its signal mask; it
 * never returns from this call. When target returns, the child ends at once:
 * it runs none of the parent's atexit handlers, and text that waits in the
 * parent's stdout buffer is not printed a second time. (Do not rely on what
 * happens to text that target leaves in a buffer: let it fflush. The
 * process.c that you were given does it for stdout, as Python does.)
 * Returns 0, or -1 with EINVAL (this handle was started before) or with the
 * error of the system, EAGAIN or ENOMEM; then no child exists, and the handle
 * is as if this had never been called: it may be started again.
 * Python: Process(target, args, name).start()     See: fork(2), _exit(2)
 */
int process_start(struct process *p);

/*
 * process_join - wait until this one child has ended, and collect it
 *
 * timeout:  seconds; negative waits for ever, 0 does not wait. They are
 *           counted on a clock that does not jump.
 * It waits for no other child, and takes no other's place: each handle keeps
 * its own exit code. A signal that arrives meanwhile does not end the wait,
 * and a child that is only stopped has not ended. Afterwards process_exitcode
 * tells how the child ended, and nothing of it is left in the system.
 * Returns 0 when it has ended (also the second time), 1 when the time ran
 * out, or -1 with EINVAL (not started) or ECHILD (somebody else took its
 * exit status, or SIGCHLD is ignored).
 * Python: Process.join(timeout)     See: waitpid(2), pidfd_open(2)
 */
int process_join(struct process *p, double timeout);

/*
 * process_is_alive - is the child still running?
 *
 * Never waits. Asking costs nothing: a later process_join still returns 0,
 * and the exit code is kept. false before process_start.
 * Python: Process.is_alive()     See: waitpid(2), WNOHANG
 */
bool process_is_alive(struct process *p);

/*
 * process_exitcode - how the child ended
 *
 * Returns 0..255, what target returned (its low 8 bits) or what the child
 * gave to exit; -signal if a signal ended it (-15 for SIGTERM, -9 for
 * SIGKILL, -11 for SIGSEGV); PROCESS_NONE if it has not ended, or
 * nobody has looked since: process_join has the last word.
 * Python: Process.exitcode     See: wait(2), "status"
 */
int process_exitcode(const struct process *p);

/*
 * process_terminate - ask the child to end: send it SIGTERM
 *
 * Sends no signal at all if the child is not running: not started, failed to
 * start, or ended. Does not wait for the child, which may ignore SIGTERM or
 * take its time: join it, with a timeout if you do not trust it. It is never
 * followed by SIGKILL: that decision, and how long to wait before it, is the
 * caller's.
 * Returns 0, also when there was nothing to do.
 * Python: Process.terminate()     See: kill(2), signal(7)
 */
int process_terminate(struct process *p);

/*
 * process_current - the name of the process that asks
 *
 * Returns the name of the handle that the asking process was started with, or
 * "MainProcess" in one that was not started by process_start.
 * Python: multiprocessing.current_process().name
 */
const char *process_current(void);

/*
 * process_cpu_count - how many processors this process may use
 *
 * At least 1. It can be fewer than the machine has: see taskset(1). To count
 * the processors of the machine is accepted as well.
 * Python: len(os.sched_getaffinity(0))     See: sched_getaffinity(2)
 */
int process_cpu_count(void);

#endif
