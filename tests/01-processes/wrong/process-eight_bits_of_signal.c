/*
 * misconception: the signal is in the low 8 bits of the status
 * rejected by:   a core that was written changes no exit code
 * message:       more than the signal's number
 */
#include "process.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FRESH, GOING, DONE, STOLEN };
static const char *my_name = "MainProcess";

int process_start(struct process *p)
{
	if (p->state != FRESH) {
		errno = EINVAL;
		return -1;
	}
	pid_t child = fork();
	if (child == -1)
		return -1;
	if (child == 0) {
		__fpurge(stdout);
		my_name = p->name;
		int r = p->target(p->args);
		fflush(stdout);
		_exit(r & 255);
	}
	p->pid = child;
	p->state = GOING;
	return 0;
}

/* look: 1 ended, 0 runs, -1 lost */
static int look(struct process *p, int how)
{
	int st;
	pid_t r;

	if (p->state == DONE)
		return 1;
	if (p->state == STOLEN) {
		errno = ECHILD;
		return -1;
	}
	do
		r = waitpid(p->pid, &st, how);
	while (r == -1 && errno == EINTR);
	if (r == 0)
		return 0;
	if (r == -1) {
		p->state = STOLEN;
		return -1;
	}
	p->status = st;
	p->state = DONE;
	return 1;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int process_join(struct process *p, double timeout)
{
	if (p->state == FRESH) {
		errno = EINVAL;
		return -1;
	}
	if (timeout < 0)
		return look(p, 0) == 1 ? 0 : -1;
	double end = now() + timeout;
	for (;;) {
		int r = look(p, WNOHANG);
		if (r == 1)
			return 0;
		if (r == -1)
			return -1;
		double left = end - now();
		if (left <= 0)
			return 1;
		struct timespec nap = { 0, left < 0.002 ? (long)(left * 1e9) : 2000000 };
		nanosleep(&nap, NULL);
	}
}

bool process_is_alive(struct process *p)
{
	return p->state == GOING && look(p, WNOHANG) == 0;
}

int process_exitcode(const struct process *p)
{
	if (p->state != DONE)
		return PROCESS_NONE;
	if ((p->status & 0x7f) == 0)
		return p->status >> 8 & 0xff;
	return -(p->status & 0xff);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return my_name;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : (int)n;
}
