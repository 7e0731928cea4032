/*
 * misconception: seconds are taken for milliseconds
 * rejected by:   join keeps its time limit
 * message:       The wait was given up before its time was over
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *title = "MainProcess";

static void add(int set, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	epoll_ctl(set, EPOLL_CTL_ADD, fd, &e);
}

static int timer(double seconds)
{
	struct itimerspec t = { .it_value = { (time_t)seconds, (long)
		((seconds - (double)(time_t)seconds) * 1e9) } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);

	timerfd_settime(fd, 0, &t, NULL);
	return fd;
}

int process_start(struct process *p)
{
	int result = -1;

	if (p->state != 0) {
		errno = EINVAL;
		goto out;
	}
	fflush(stdout);
	p->pid = _Fork();
	if (p->pid < 0) {
		p->pid = 0;
		goto out;
	}
	if (p->pid == 0) {
		title = p->name;
		_Exit(p->target(p->args));
	}
	p->state = 1;
	result = 0;
out:
	return result;
}

static bool reap(struct process *p, int options)
{
	pid_t r = 0;

	if (p->state == 1)
		do
			r = waitpid(p->pid, &p->status, options);
		while (r < 0 && errno == EINTR);
	if (r > 0)
		p->state = 2;
	return p->state == 2;
}

int process_join(struct process *p, double timeout)
{
	struct epoll_event event;
	int set, child, alarm_clock, n;

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	if (reap(p, timeout < 0 ? 0 : WNOHANG))
		return 0;
	if (timeout == 0)
		return 1;
	set = epoll_create1(EPOLL_CLOEXEC);
	child = (int)syscall(SYS_pidfd_open, p->pid, 0);
	alarm_clock = timer(timeout / 1000);
	add(set, child);
	add(set, alarm_clock);
	do
		n = epoll_wait(set, &event, 1, -1);
	while (n < 0 && errno == EINTR);
	close(set);
	close(child);
	close(alarm_clock);
	return reap(p, WNOHANG) ? 0 : 1;
}

bool process_is_alive(struct process *p)
{
	return p->state == 1 && !reap(p, WNOHANG);
}

int process_exitcode(const struct process *p)
{
	if (p->state < 2)
		return PROCESS_NONE;
	return WIFSIGNALED(p->status) ? -WTERMSIG(p->status)
				      : WEXITSTATUS(p->status);
}

int process_terminate(struct process *p)
{
	if (p->state == 1 && !reap(p, WNOHANG))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return title;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n >= 1 ? (int)n : 1;
}
