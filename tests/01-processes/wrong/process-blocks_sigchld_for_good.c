/*
 * misconception: SIGCHLD is blocked once, and stays blocked in the caller
 * rejected by:   what signals do stays as the caller had set it
 * message:       is the caller's to decide
 */
#include "process.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FRESH   0
#define RUNS    1
#define STOPPED 2

static const char *the_name = "MainProcess";

int process_start(struct process *p)
{
	if (p->state != FRESH)
		return errno = EINVAL, -1;
	pid_t pid = fork();
	if (pid > 0) {
		p->pid = pid;
		p->state = RUNS;
	} else if (pid == 0) {
		the_name = p->name;
		_exit(p->target(p->args));
	}
	return pid < 0 ? -1 : 0;
}

static void update(struct process *p)
{
	int status;

	if (p->state != RUNS)
		return;
	if (waitpid(p->pid, &status, WNOHANG) == p->pid) {
		p->state = STOPPED;
		p->status = WIFEXITED(status) ? WEXITSTATUS(status)
					      : -WTERMSIG(status);
	}
}

static double monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int milliseconds(double timeout, double end)
{
	double left = (end - monotonic()) * 1000;

	if (timeout < 0)
		return -1;
	return left > 1e6 ? 1000000 : (int)ceil(left);
}

int process_join(struct process *p, double timeout)
{
	struct signalfd_siginfo info;
	struct pollfd fd = { .events = POLLIN };
	double end = monotonic() + timeout;
	sigset_t set;

	if (p->state == FRESH)
		return errno = EINVAL, -1;
	update(p);
	if (p->state == STOPPED)
		return 0;
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	fd.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	for (update(p); p->state == RUNS; update(p)) {
		if (timeout >= 0 && monotonic() >= end)
			break;
		poll(&fd, 1, milliseconds(timeout, end));
		while (read(fd.fd, &info, sizeof info) > 0)
			;
	}
	close(fd.fd);
	return p->state == STOPPED ? 0 : 1;
}

bool process_is_alive(struct process *p)
{
	update(p);
	return p->state == RUNS;
}

int process_exitcode(const struct process *p)
{
	return p->state == STOPPED ? p->status : PROCESS_NONE;
}

int process_terminate(struct process *p)
{
	update(p);
	if (p->state == RUNS)
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return the_name;
}

int process_cpu_count(void)
{
	return get_nprocs();
}
