/*
 * How processes begin and end: fork and its relatives, exit and its. A child
 * is a task from its first instruction on, and hands the turn on before its
 * last.
 */
#include "calls.h"

#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- beginning --------------------------------------------------------- */

/* Before the student's own atfork handlers run in the child. */
static int forked_task = NOBODY;

static void child_begins(void)
{
	if (forked_task != NOBODY)
		begin_task(forked_task);
}

pid_t process_fork(const char *name, const char *call, const void *pc)
{
	sigset_t before;
	int task;
	pid_t pid;

	point(nowhere, pc);
	note(STARTS, call, nowhere, pc)->value = (uint64_t)arena->n_tasks;
	task = new_task(name);
	hold_signals(&before);
	forked_task = task;
	pid = fork();
	forked_task = NOBODY;
	if (pid > 0)
		arena->tasks[task].pid = pid;
	else if (pid < 0)
		arena->n_tasks--;
	let_signals_in(&before);	/* a child may have got some already */
	return pid;
}

pid_t explored_fork(void)
{
	return exploring() ? process_fork(NULL, "fork", HERE) : fork();
}

pid_t explored__Fork(void)
{
	return exploring() ? process_fork(NULL, "_Fork", HERE) : fork();
}

pid_t explored_vfork(void)
{
	return exploring() ? process_fork(NULL, "vfork", HERE) : fork();
}

/* Whatever it asks for besides, it is a fork, or nobody can schedule it. */
pid_t process_clone(unsigned long flags, int *pidfd, const void *pc)
{
	pid_t pid;

	if (flags & (CLONE_VM | CLONE_THREAD | CLONE_FILES))
		end_schedule(FOUND_BLIND);
	pid = process_fork(NULL, "clone", pc);
	if (pid > 0 && (flags & CLONE_PIDFD))
		*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

/* ---- ending ------------------------------------------------------------ */

/* The caller must come back from the scenario; its children need not. */
void process_leave(int status, bool flush, const void *pc)
{
	if (me == 0) {
		self()->pc = pc;
		note(ENDS, flush ? "exit" : "_exit", nowhere, pc);
		end_schedule(FOUND_EXIT);
	}
	point(nowhere, pc);
	if (flush)
		exit(status);		/* at_exit() below comes last */
	leave_process(status, false, pc);
}

int explored_clone(int (*run)(void *), void *stack, int flags, void *arg, ...)
{
	va_list more;
	int *pidfd;
	pid_t pid;

	va_start(more, arg);
	pidfd = va_arg(more, int *);
	va_end(more);
	if (!exploring())
		return clone(run, stack, flags, arg, pidfd);
	pid = process_clone((unsigned)flags, pidfd, HERE);
	if (pid == 0)
		process_leave(run(arg), false, HERE);
	return pid;
}

static int exit_status;

static void at_exit(void)
{
	if (exploring())
		leave_process(exit_status, true, self()->pc);
}

/* Before anything else registers: the last to run at an exit, and the first
 * in a child. */
void watch_processes(void)
{
	atexit(at_exit);
	(void)at_quick_exit(at_exit);
	pthread_atfork(NULL, NULL, child_begins);
}

_Noreturn void explored_exit(int status)
{
	exit_status = status;
	if (exploring())
		process_leave(status, true, HERE);
	exit(status);
}

_Noreturn void explored_quick_exit(int status)
{
	exit_status = status;
	if (exploring() && me == 0)
		process_leave(status, true, HERE);
	if (exploring())
		point(nowhere, HERE);
	quick_exit(status);
}

_Noreturn void explored__exit(int status)
{
	if (exploring())
		process_leave(status, false, HERE);
	_exit(status);
}

_Noreturn void explored__Exit(int status)
{
	if (exploring())
		process_leave(status, false, HERE);
	_exit(status);
}
