/* style: join puts up a handler for SIGCHLD, sleeps in sigsuspend or pselect,
 * and takes the handler down again; the handler only wakes, it collects nobody
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef enum { fresh, running, done } phase;

static const char *name_here = "MainProcess";

static void wake(int sig)
{
	(void)sig;
}

int process_start(struct process *p)
{
	pid_t pid;

	if ((phase)p->state != fresh) {
		errno = EINVAL;
		return -1;
	}
	if ((pid = fork()) < 0)
		return -1;
	if (!pid) {
		name_here = strdup(p->name);
		_exit(p->target(p->args));
	}
	p->pid = pid;
	p->state = running;
	return 0;
}

static bool ended(struct process *p)
{
	if (p->state == running &&
	    waitpid(p->pid, &p->status, WNOHANG) == p->pid)
		p->state = done;
	return p->state == done;
}

static struct timespec later(double seconds)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)seconds;
	t.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
}

static bool until(const struct timespec *end, struct timespec *left)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	left->tv_sec = end->tv_sec - t.tv_sec;
	left->tv_nsec = end->tv_nsec - t.tv_nsec;
	if (left->tv_nsec < 0) {
		left->tv_nsec += 1000000000;
		left->tv_sec--;
	}
	return left->tv_sec >= 0 && (left->tv_sec || left->tv_nsec);
}

int process_join(struct process *p, double timeout)
{
	struct sigaction now = { .sa_handler = wake }, then;
	struct timespec end = later(timeout > 0 ? timeout : 0), left;
	sigset_t child, mask;
	int result = 0;

	if ((phase)p->state == fresh) {
		errno = EINVAL;
		return -1;
	}
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &mask);
	sigemptyset(&now.sa_mask);
	sigaction(SIGCHLD, &now, &then);
	while (!ended(p) && !result) {
		if (timeout < 0)
			sigsuspend(&mask);
		else if (until(&end, &left))
			pselect(0, NULL, NULL, NULL, &left, &mask);
		else
			result = 1;
	}
	sigaction(SIGCHLD, &then, NULL);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	return result;
}

bool process_is_alive(struct process *p)
{
	return p->state == running && !ended(p);
}

int process_exitcode(const struct process *p)
{
	switch ((phase)p->state) {
	case done:
		return WIFEXITED(p->status) ? WEXITSTATUS(p->status)
					    : -WTERMSIG(p->status);
	default:
		return PROCESS_NONE;
	}
}

int process_terminate(struct process *p)
{
	return process_is_alive(p) ? kill(p->pid, SIGTERM) : 0;
}

const char *process_current(void)
{
	return name_here;
}

int process_cpu_count(void)
{
	long online = sysconf(_SC_NPROCESSORS_ONLN);

	return (int)(online > 1 ? online : 1);
}
