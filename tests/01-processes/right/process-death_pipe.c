/* style: a death pipe: the child holds the write end and nobody else does, so
 * that its end is end of file; only then waitpid */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *current_name = "MainProcess";
static int own_death_pipe = -1;

enum { UNUSED, LIVING, DEAD };

int process_start(struct process *p)
{
	int ends[2];

	if (p->state != UNUSED) {
		errno = EINVAL;
		return -1;
	}
	if (pipe(ends) != 0)
		return -1;
	p->pid = fork();
	if (p->pid == 0) {
		if (own_death_pipe >= 0)	/* the parent's, not ours */
			close(own_death_pipe);
		close(ends[0]);
		own_death_pipe = ends[1];
		current_name = p->name;
		_exit(p->target(p->args));
	}
	close(ends[1]);
	if (p->pid < 0) {
		int why = errno;

		p->pid = 0;
		close(ends[0]);
		errno = why;
		return -1;
	}
	p->state = LIVING;
	p->status = ends[0];		/* until the status is known */
	return 0;
}

/* 1: nobody holds the other end any more; 0: not within that time */
static int end_of_file(int fd, struct timespec *limit)
{
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	return pselect(fd + 1, &set, NULL, NULL, limit, NULL) > 0;
}

static void bury(struct process *p)
{
	int status, pipe_end = p->status;

	while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(pipe_end);
	p->status = status;
	p->state = DEAD;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int process_join(struct process *p, double timeout)
{
	double end = now() + timeout, left;
	struct timespec limit;

	if (p->state == UNUSED) {
		errno = ESRCH;
		return -1;
	}
	while (p->state == LIVING) {
		left = end - now();
		if (left < 0)
			left = 0;
		limit.tv_sec = (time_t)left;
		limit.tv_nsec = (long)((left - (double)limit.tv_sec) * 1e9);
		if (end_of_file(p->status, timeout < 0 ? NULL : &limit))
			bury(p);
		else if (timeout >= 0 && left == 0)
			return 1;
	}
	return 0;
}

bool process_is_alive(struct process *p)
{
	struct timespec none = { 0, 0 };

	return p->state == LIVING && !end_of_file(p->status, &none);
}

int process_exitcode(const struct process *p)
{
	if (p->state != DEAD)
		return PROCESS_NONE;
	return WIFEXITED(p->status) ? WEXITSTATUS(p->status)
				    : -WTERMSIG(p->status);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return current_name;
}

int process_cpu_count(void)
{
	int n = (int)sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? n : 1;
}
