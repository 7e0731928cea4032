/*
 * misconception: a result that does not fit becomes 255
 * rejected by:   the exit code is what the target returned
 * message:       The child itself left with another number
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *me = "MainProcess";

enum { STARTED = 1, OVER = 2, LOST = 3 };

int process_start(struct process *p)
{
	if (p->state) {
		errno = EINVAL;
		return -1;
	}
	pid_t child = fork();
	int code;

	switch (child) {
	case -1:
		return -1;
	case 0:
		me = p->name;
		code = p->target(p->args);
		_exit(code > 255 ? 255 : code);
	default:
		p->pid = child;
		p->state = STARTED;
		return 0;
	}
}

bool process_is_alive(struct process *p)
{
	pid_t r;

	if (p->state == STARTED) {
		r = waitpid(p->pid, &p->status, WNOHANG);
		if (r != 0)
			p->state = r > 0 ? OVER : LOST;
	}
	return p->state == STARTED;
}

int process_join(struct process *p, double timeout)
{
	struct timespec t0, t, nap = { 0, 500000 };

	if (!p->state) {
		errno = EINVAL;
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &t0);
	while (process_is_alive(p)) {
		clock_gettime(CLOCK_MONOTONIC, &t);
		if (timeout >= 0 && (t.tv_sec - t0.tv_sec) +
		    (t.tv_nsec - t0.tv_nsec) * 1e-9 >= timeout)
			return 1;
		nanosleep(&nap, NULL);
	}
	if (p->state == OVER)
		return 0;
	errno = ECHILD;
	return -1;
}

int process_exitcode(const struct process *p)
{
	if (p->state != OVER)
		return PROCESS_NONE;
	return WIFSIGNALED(p->status) ? -WTERMSIG(p->status)
				      : WEXITSTATUS(p->status);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return me;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (int)n;
}
