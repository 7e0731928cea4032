/*
 * misconception: L01-25 terminate does not ask, it kills
 * rejected by:   terminate ends the child
 * message:       no chance to put things in order
 */
#include "process.h"

#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* state: 0 new, 1 running (status is the pidfd), 2 ended (status the code) */
static const char *self = "MainProcess";

static pid_t clone_with_pidfd(int *fd)
{
	struct clone_args args;

	memset(&args, 0, sizeof args);
	args.flags = CLONE_PIDFD;
	args.pidfd = (uint64_t)(uintptr_t)fd;
	args.exit_signal = SIGCHLD;
	return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

int process_start(struct process *p)
{
	int fd = -1;
	pid_t pid;

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	fflush(stdout);
	pid = clone_with_pidfd(&fd);
	if (pid < 0)
		return -1;
	if (pid == 0) {
		self = p->name;
		_exit(p->target(p->args));
	}
	p->pid = pid;
	p->status = fd;
	p->state = 1;
	return 0;
}

static bool readable(int fd, const struct timespec *limit)
{
	struct pollfd f = { .fd = fd, .events = POLLIN };

	return ppoll(&f, 1, limit, NULL) == 1;
}

static void collect(struct process *p)
{
	siginfo_t info = { 0 };

	waitid(P_PIDFD, (id_t)p->status, &info, WEXITED);
	close(p->status);
	p->status = info.si_code == CLD_EXITED ? info.si_status
					       : -info.si_status;
	p->state = 2;
}

int process_join(struct process *p, double timeout)
{
	struct timespec now, left;
	double end = 0;

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	if (p->state == 2)
		return 0;
	for (bool first = true;; first = false) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (first)
			end = timeout + now.tv_sec + now.tv_nsec / 1e9;
		double rest = end - now.tv_sec - now.tv_nsec / 1e9;
		if (rest < 0)
			rest = 0;
		left = (struct timespec){ (time_t)rest,
			(long)((rest - (double)(time_t)rest) * 1e9) };
		if (readable(p->status, timeout < 0 ? NULL : &left))
			break;
		if (timeout >= 0 && rest <= 0)
			return 1;
	}
	collect(p);
	return 0;
}

bool process_is_alive(struct process *p)
{
	return p->state == 1 && !readable(p->status, &(struct timespec){ 0 });
}

int process_exitcode(const struct process *p)
{
	return p->state == 2 ? p->status : PROCESS_NONE;
}

int process_terminate(struct process *p)
{
	if (p->state == 1)	/* to a child that has ended it goes nowhere */
		syscall(SYS_pidfd_send_signal, p->status, SIGKILL, NULL, 0);
	return 0;
}

const char *process_current(void)
{
	return self;
}

int process_cpu_count(void)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	sched_getaffinity(0, sizeof set, &set);
	return CPU_COUNT(&set) ? CPU_COUNT(&set) : 1;
}
