/*
 * Waiting for children. A wait that would have to wait is not begun, and is
 * tried again when a process has ended. Who collects a child comes after all
 * that it did.
 */
#include "calls.h"

#include <errno.h>
#include <sys/wait.h>

static void child_is_collected(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid) {
			join_clock(&self()->clock, &arena->tasks[i].clock);
			arena->tasks[i].collected = true;
		}
}

pid_t child_wait_for(pid_t pid, int *status, int options,
		     struct rusage *usage, const char *call, const void *pc)
{
	enum wake how = WOKEN;
	pid_t r;

	point(nowhere, pc);
	while ((r = wait4(pid, status, options | WNOHANG, usage)) == 0 &&
	       !(options & WNOHANG)) {
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		self()->waits_pid = pid > 0 ? pid : 0;
		how = wait_here(call, nowhere, FOREVER, pc);
		self()->waits_pid = -1;
	}
	if (r > 0)
		child_is_collected(r);
	note(CALLS, call, nowhere, pc)->value = (uint64_t)r;
	return r;
}

pid_t explored_waitpid(pid_t pid, int *status, int options)
{
	if (!exploring())
		return waitpid(pid, status, options);
	return child_wait_for(pid, status, options, NULL, "waitpid", HERE);
}

pid_t explored_wait(int *status)
{
	if (!exploring())
		return wait(status);
	return child_wait_for(-1, status, 0, NULL, "wait", HERE);
}

pid_t explored_wait3(int *status, int options, struct rusage *usage)
{
	if (!exploring())
		return wait3(status, options, usage);
	return child_wait_for(-1, status, options, usage, "wait3", HERE);
}

pid_t explored_wait4(pid_t pid, int *status, int options,
		     struct rusage *usage)
{
	if (!exploring())
		return wait4(pid, status, options, usage);
	return child_wait_for(pid, status, options, usage, "wait4", HERE);
}

int explored_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	enum wake how = WOKEN;
	siginfo_t mine;
	int r;

	if (!exploring())
		return waitid(type, id, info, options);
	point(nowhere, HERE);
	if (info == NULL)
		info = &mine;
	info->si_pid = 0;
	while ((r = waitid(type, id, info, options | WNOHANG)) == 0 &&
	       info->si_pid == 0 && !(options & WNOHANG)) {
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		self()->waits_pid = type == P_PID ? (int)id : 0;
		how = wait_here("waitid", nowhere, FOREVER, HERE);
		self()->waits_pid = -1;
	}
	if (r == 0 && info->si_pid > 0 && !(options & WNOWAIT))
		child_is_collected(info->si_pid);
	else if (r == 0 && info->si_pid > 0)
		acquire_from_dead();
	note(CALLS, "waitid", nowhere, HERE)->value = (uint64_t)r;
	return r;
}
