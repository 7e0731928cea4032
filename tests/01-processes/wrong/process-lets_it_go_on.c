/*
 * misconception: a stopped child must go on to hear SIGTERM
 * rejected by:   terminate sends SIGTERM and nothing else
 * message:       is another wish than to end it
 */
/*
 * process - a function in a process of its own
 *
 * fork makes the child, waitpid collects it. What the system tells about the
 * end of a child it tells once: collect() is the only place that asks, and
 * the handle keeps the answer.
 */
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fl.h"

enum state {
	NEW,			/* zero: what a caller's initializer leaves */
	RUNNING,		/* started, and not seen to have ended */
	ENDED,			/* collected: status tells how it ended */
	LOST,			/* ended, but somebody else has its status */
};

/* Each process has its own copy: setting it in a child changes no other. */
static const char *current_name = "MainProcess";

/*
 * In the child. It will leave without exit(3), which would have written
 * out what target printed.
 */
static int run_target(const struct process *p)
{
	int result = p->target(p->args);

	fflush(stdout);
	return result;
}

int process_start(struct process *p)
{
	pid_t pid;

	if (p->state != NEW) {
		errno = EINVAL;
		return -1;
	}
	fflush(stdout);		/* or the child would get a copy of the text */
	pid = fork();
	if (pid < 0)
		return -1;
	if (pid == 0) {
		current_name = p->name;
		_exit(run_target(p));
	}
	p->pid = pid;
	p->state = RUNNING;
	return 0;
}

/*
 * Look whether the child has ended; options as for waitpid: 0 waits for it,
 * WNOHANG does not. Returns 1 (ended), 0 (still running) or -1.
 */
static int collect(struct process *p, int options)
{
	pid_t pid;

	if (p->state == ENDED)
		return 1;
	if (p->state == LOST) {
		errno = ECHILD;
		return -1;
	}
	do
		pid = waitpid(p->pid, &p->status, options);
	while (pid < 0 && errno == EINTR);
	if (pid == p->pid)
		p->state = ENDED;
	if (pid < 0)
		p->state = LOST;
	return pid < 0 ? -1 : pid != 0;
}

/*
 * Sleep until the child ends, or for so many seconds. A pidfd becomes
 * readable at the end of its process. Where there is none (before Linux 5.3,
 * under valgrind 3.19), poll passes over the -1 and is a short sleep.
 */
static void wait_for_end(pid_t pid, double seconds)
{
	struct pollfd end = { .events = POLLIN };

	end.fd = (int)syscall(SYS_pidfd_open, pid, 0);	/* Linux */
	if (end.fd < 0 && seconds > 0.01)
		seconds = 0.01;
	if (seconds > 1e6)		/* what fits an int; we come again */
		seconds = 1e6;
	poll(&end, 1, (int)(seconds * 1000) + 1);
	if (end.fd >= 0)
		close(end.fd);
}

int process_join(struct process *p, double timeout)
{
	double left, end = fl_now() + timeout;
	int ended;

	if (p->state == NEW) {
		errno = EINVAL;
		return -1;
	}
	while ((ended = collect(p, timeout < 0 ? 0 : WNOHANG)) == 0) {
		left = end - fl_now();
		if (!(left > 0))
			return 1;
		wait_for_end(p->pid, left);
	}
	return ended < 0 ? -1 : 0;
}

bool process_is_alive(struct process *p)
{
	return p->state == RUNNING && collect(p, WNOHANG) == 0;
}

int process_exitcode(const struct process *p)
{
	if (p->state != ENDED)
		return PROCESS_NONE;
	if (WIFEXITED(p->status))
		return WEXITSTATUS(p->status);
	return -WTERMSIG(p->status);
}

int process_terminate(struct process *p)
{
	/* The number of a child already collected may be somebody else's. */
	if (process_is_alive(p))
		{
		kill(p->pid, SIGTERM);
		kill(p->pid, SIGCONT);
	}
	return 0;
}

const char *process_current(void)
{
	return current_name;
}

int process_cpu_count(void)
{
	cpu_set_t cpus;			/* Linux */
	long n;

	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0)
		return CPU_COUNT(&cpus);
	n = sysconf(_SC_NPROCESSORS_ONLN);	/* more than fit the set */
	return n > 0 ? (int)n : 1;
}
