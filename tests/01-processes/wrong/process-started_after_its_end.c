/*
 * misconception: a handle may be used again when its process has ended
 * rejected by:   a handle is started once, and joined only then
 * message:       A handle stands for one process, also after
 */
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct watch {
	pthread_mutex_t mutex;
	pthread_cond_t ended_changed;
	bool ended;
	pid_t pid;
};

static const char *whoami = "MainProcess";

int process_start(struct process *p)
{
	if (p->pid > 0 && p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	p->state = 0;
	fflush(stdout);
	fflush(stderr);
	switch (p->pid = fork()) {
	case -1:
		p->pid = 0;
		return -1;
	case 0:
		whoami = p->name;
		_exit((unsigned char)p->target(p->args));
	}
	return 0;
}

static void *wait_for_it(void *arg)
{
	struct watch *w = arg;
	siginfo_t info;

	while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) != 0 &&
	       errno == EINTR)
		continue;
	pthread_mutex_lock(&w->mutex);
	w->ended = true;
	pthread_cond_signal(&w->ended_changed);
	pthread_mutex_unlock(&w->mutex);
	return NULL;
}

static bool ends_before(pid_t pid, const struct timespec *deadline)
{
	struct watch w = { .mutex = PTHREAD_MUTEX_INITIALIZER, .pid = pid };
	pthread_condattr_t attr;
	pthread_t thread;
	int error = 0;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&w.ended_changed, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&thread, NULL, wait_for_it, &w) != 0)
		return false;
	pthread_mutex_lock(&w.mutex);
	while (!w.ended && error == 0)
		error = pthread_cond_timedwait(&w.ended_changed, &w.mutex,
					       deadline);
	pthread_mutex_unlock(&w.mutex);
	if (error != 0)
		pthread_cancel(thread);
	pthread_join(thread, NULL);
	pthread_cond_destroy(&w.ended_changed);
	return w.ended;
}

/* state 1: status is valid */
static bool collected(struct process *p, int options)
{
	pid_t r;

	if (p->state == 1)
		return true;
	do
		r = waitpid(p->pid, &p->status, options);
	while (r == -1 && errno == EINTR);
	if (r == p->pid)
		p->state = 1;
	return p->state == 1;
}

int process_join(struct process *p, double timeout)
{
	struct timespec deadline;

	if (p->pid == 0) {
		errno = EINVAL;
		return -1;
	}
	if (collected(p, timeout < 0 ? 0 : WNOHANG))
		return 0;
	if (timeout == 0)
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_sec += (time_t)timeout;
	deadline.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (deadline.tv_nsec >= 1000000000L) {
		deadline.tv_nsec -= 1000000000L;
		deadline.tv_sec++;
	}
	if (!ends_before(p->pid, &deadline))
		return 1;
	return collected(p, 0) ? 0 : -1;
}

bool process_is_alive(struct process *p)
{
	return p->pid > 0 && !collected(p, WNOHANG);
}

int process_exitcode(const struct process *p)
{
	int s = p->status;

	return p->state != 1 ? PROCESS_NONE :
	       WIFSIGNALED(s) ? -WTERMSIG(s) : WEXITSTATUS(s);
}

int process_terminate(struct process *p)
{
	if (p->pid > 0 && !collected(p, WNOHANG))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return whoami;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (int)n : 1;
}
