/*
 * misconception: L01-22 every line of /proc/cpuinfo that has to do with a processor is counted
 * rejected by:   cpu_count counts this machine's processors
 * message:       This number does not come from the machine
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char name_buffer[64] = "MainProcess";

int process_start(struct process *p)
{
	if (p->pid != 0) {
		errno = EINVAL;
		return -1;
	}
	fflush(NULL);

	pid_t pid = fork();
	if (pid == -1)
		return -1;
	if (pid == 0) {
		int code;

		snprintf(name_buffer, sizeof name_buffer, "%s", p->name);
		code = p->target(p->args);
		fflush(NULL);
		_exit(code & 255);
	}
	p->pid = pid;
	return 0;
}

/* state is 1 when the status has been collected */
static bool gone(struct process *p)
{
	if (!p->state && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
		p->state = 1;
	return p->state;
}

static struct timespec minus(struct timespec a, struct timespec b)
{
	struct timespec d = { a.tv_sec - b.tv_sec, a.tv_nsec - b.tv_nsec };

	if (d.tv_nsec < 0) {
		d.tv_sec--;
		d.tv_nsec += 1000000000;
	}
	return d;
}

int process_join(struct process *p, double timeout)
{
	sigset_t chld, old;
	struct timespec now, end, left;
	int result = 0;

	if (p->pid == 0) {
		errno = EINVAL;
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (timeout > 0) {
		end.tv_sec += (time_t)timeout;
		end.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
		if (end.tv_nsec >= 1000000000) {
			end.tv_sec++;
			end.tv_nsec -= 1000000000;
		}
	}
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, &old);
	while (!gone(p)) {
		if (timeout < 0) {
			sigwaitinfo(&chld, NULL);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = minus(end, now);
		if (left.tv_sec < 0 || (left.tv_sec == 0 && left.tv_nsec == 0)) {
			result = 1;
			break;
		}
		sigtimedwait(&chld, NULL, &left);
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
	return result;
}

bool process_is_alive(struct process *p)
{
	return p->pid != 0 && !gone(p);
}

int process_exitcode(const struct process *p)
{
	if (!p->state)
		return PROCESS_NONE;
	if (WIFSIGNALED(p->status))
		return -WTERMSIG(p->status);
	return WEXITSTATUS(p->status);
}

int process_terminate(struct process *p)
{
	if (p->pid > 0 && !gone(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return name_buffer;
}

int process_cpu_count(void)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	char line[4096];
	int n = 0;

	while (f != NULL && fgets(line, sizeof line, f))
		n += strstr(line, "cpu") != NULL ||
		     strstr(line, "processor") != NULL;
	if (f != NULL)
		fclose(f);
	return n > 0 ? n : 1;
}
