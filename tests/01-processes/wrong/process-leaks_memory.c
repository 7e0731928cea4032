/*
 * misconception: each start takes memory that nobody gives back
 * rejected by:   valgrind finds nothing in: workers --workers 2 --fail 1
 * message:       never gives it back
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *current = "MainProcess";

int process_start(struct process *p)
{
	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	struct process *copy = malloc(sizeof *copy);

	if (copy == NULL)
		return -1;
	*copy = *p;
	fflush(stdout);
	pid_t pid = fork();
	if (pid == -1)
		return -1;
	if (pid == 0) {
		current = p->name;
		int code = copy->target(copy->args);
		fflush(stdout);
		_exit(code);
	}
	p->pid = pid;
	p->state = 1;
	return 0;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* 1 = it has ended, 0 = it still runs */
static int check(struct process *p, int flags)
{
	if (p->state == 2)
		return 1;
	pid_t r;
	do {
		r = waitpid(p->pid, &p->status, flags);
	} while (r == -1 && errno == EINTR);
	if (r == p->pid)
		p->state = 2;
	return p->state == 2;
}

int process_join(struct process *p, double timeout)
{
	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	if (timeout < 0)
		return check(p, 0) ? 0 : -1;
	double end = seconds() + timeout;
	while (!check(p, WNOHANG)) {
		if (seconds() >= end)
			return 1;
		usleep(1000);
	}
	return 0;
}

bool process_is_alive(struct process *p)
{
	if (p->state != 1)
		return false;
	return !check(p, WNOHANG);
}

int process_exitcode(const struct process *p)
{
	if (p->state != 2)
		return PROCESS_NONE;
	if (WIFEXITED(p->status))
		return WEXITSTATUS(p->status);
	return -WTERMSIG(p->status);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return current;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (int)n : 1;
}
