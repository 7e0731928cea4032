/*
 * misconception: the child gets /dev/null as its standard input
 * rejected by:   a child gets what its parent has
 * message:       the descriptors of its parent
 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NEW, RUNNING, ENDED, LOST };

static const char *own_name = "MainProcess";

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int process_start(struct process *p)
{
	pid_t pid;

	if (p->state != NEW) {
		errno = EINVAL;
		return -1;
	}
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		int result;

		int null = open("/dev/null", O_RDONLY);

		dup2(null, 0);
		if (null > 0)
			close(null);
		own_name = p->name;
		result = p->target(p->args);
		fflush(stdout);
		_exit(result);
	}
	p->pid = pid;
	p->state = RUNNING;
	return 0;
}

/* 1 ended, 0 still running, -1 error */
static int collect(struct process *p, int options)
{
	pid_t r;

	if (p->state == RUNNING) {
		do
			r = waitpid(p->pid, &p->status, options);
		while (r < 0 && errno == EINTR);
		if (r == 0)
			return 0;
		p->state = r < 0 ? LOST : ENDED;
	}
	if (p->state == ENDED)
		return 1;
	errno = p->state == NEW ? EINVAL : ECHILD;
	return -1;
}

static void nap(double longest)
{
	struct timespec t = { 0, 2000000 };

	if (longest < 0.002)
		t.tv_nsec = (long)(longest * 1e9);
	nanosleep(&t, NULL);
}

int process_join(struct process *p, double timeout)
{
	double end = seconds() + timeout;
	int r;

	while ((r = collect(p, timeout < 0 ? 0 : WNOHANG)) == 0) {
		double left = end - seconds();

		if (left <= 0)
			return 1;
		nap(left);
	}
	return r < 0 ? -1 : 0;
}

bool process_is_alive(struct process *p)
{
	return p->state == RUNNING && collect(p, WNOHANG) == 0;
}

int process_exitcode(const struct process *p)
{
	if (p->state != ENDED)
		return PROCESS_NONE;
	if (WIFSIGNALED(p->status))
		return -WTERMSIG(p->status);
	return WEXITSTATUS(p->status);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return own_name;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (int)n : 1;
}
