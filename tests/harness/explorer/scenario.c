/* What the scenario of a test calls by the name explore_...(). */
#include "calls.h"

#include <stdio.h>

/* Those of the scenario; a student's function may have made others. */
static pid_t started[TASKS];
static int n_started;

pid_t explore_process(const char *name, void (*run)(void *arg), void *arg)
{
	pid_t pid = process_fork(name, "fork", NULL);

	if (pid == 0) {
		n_started = 0;
		run(arg);
		leave_process(0, false, NULL);
	}
	if (pid > 0 && n_started < TASKS)
		started[n_started++] = pid;
	return pid;
}

void explore_wait(void)
{
	while (n_started > 0)
		child_wait_for(started[--n_started], NULL, 0, NULL,
			       "waitpid", NULL);
}

void explore_yield(void)
{
	if (exploring())
		yield_turn(NULL);
}

bool explore_killed(void)
{
	return arena->killed_one;
}

bool explore_stray_signal(void)
{
	return arena->stray_signal;
}

void explore_from_here(void)
{
	arena->first_decision = arena->n_decisions;
}

void explore_name(const char *name)
{
	if (exploring())
		snprintf(self()->name, NAME, "%s", name);
}
