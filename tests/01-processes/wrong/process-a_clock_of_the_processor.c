/*
 * misconception: clock() tells the time, as long as one asks it all the time
 * rejected by:   the time limit does not depend on the wall clock
 * message:       that of the processor stands still
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

int process_join(struct process *p, double timeout)
{
	clock_t begin = clock();
	int r;

	if (p->state == FRESH) {
		errno = EINVAL;
		return -1;
	}
	if (timeout < 0)
		return look(p, 0) == 1 ? 0 : -1;
	do {
		r = look(p, WNOHANG);
		if (r != 0)
			return r == 1 ? 0 : -1;
	} while ((double)(clock() - begin) / CLOCKS_PER_SEC < timeout);
	return 1;
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
	return -(p->status & 0x7f);
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
