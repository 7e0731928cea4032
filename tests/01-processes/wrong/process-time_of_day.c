/*
 * misconception: the time limit is counted on gettimeofday
 * rejected by:   the time limit does not depend on the wall clock
 * message:       The clock on the wall can be set while you wait
 */
#include "process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *name;
} identity = { "MainProcess" };

int process_start(struct process *p)
{
	pid_t pid;

	if (p->pid) {
		errno = EINVAL;
		return -1;
	}
	setvbuf(stdout, NULL, _IONBF, 0);
	if ((pid = fork()) == 0) {
		identity.name = p->name;
		quick_exit(p->target(p->args));
	}
	if (pid < 0)
		return -1;
	p->pid = pid;
	p->status = PROCESS_NONE;
	return 0;
}

static void note(struct process *p, int options)
{
	struct rusage used;
	int status;
	pid_t r;

	if (p->status != PROCESS_NONE)
		return;
	while ((r = wait4(p->pid, &status, options, &used)) < 0)
		if (errno != EINTR)
			return;
	if (r == 0)
		return;
	if (WIFEXITED(status))
		p->status = WEXITSTATUS(status);
	else if (WIFSIGNALED(status))
		p->status = -WTERMSIG(status);
}

static double clock_now(void)
{
	struct timeval t;

	gettimeofday(&t, NULL);
	return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

int process_join(struct process *p, double timeout)
{
	double until;

	if (!p->pid) {
		errno = EINVAL;
		return -1;
	}
	if (timeout < 0) {
		note(p, 0);
		return 0;
	}
	until = clock_now() + timeout;
	for (;;) {
		note(p, WNOHANG);
		if (p->status != PROCESS_NONE)
			return 0;
		if (clock_now() >= until)
			return 1;
		sched_yield();
	}
}

bool process_is_alive(struct process *p)
{
	if (!p->pid)
		return false;
	note(p, WNOHANG);
	return p->status == PROCESS_NONE;
}

int process_exitcode(const struct process *p)
{
	return p->pid ? p->status : PROCESS_NONE;
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return identity.name;
}

int process_cpu_count(void)
{
	cpu_set_t set;

	if (sched_getaffinity(getpid(), sizeof(set), &set) == -1)
		return 1;
	return CPU_COUNT(&set);
}
