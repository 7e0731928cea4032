/*
 * misconception: the handler of SIGCHLD stays in the caller for good
 * rejected by:   what signals do stays as the caller had set it
 * message:       is the caller's to decide
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 512 };

static struct child {
	pid_t pid;
	int status;
	volatile sig_atomic_t ended;
} children[MOST];

static const char *current = "MainProcess";

static struct child *find(pid_t pid)
{
	for (int i = 0; i < MOST; i++)
		if (children[i].pid == pid)
			return &children[i];
	return NULL;
}

static void on_child(int sig)
{
	int status, error = errno;
	struct child *c;
	pid_t pid;

	(void)sig;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if ((c = find(pid)) != NULL) {
			c->status = status;
			c->ended = 1;
		}
	errno = error;
}

static void block(sigset_t *before)
{
	sigset_t chld;

	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, before);
}

int process_start(struct process *p)
{
	struct sigaction a = { .sa_handler = on_child, .sa_flags = SA_RESTART };
	sigset_t before;
	struct child *c;

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	sigemptyset(&a.sa_mask);
	sigaction(SIGCHLD, &a, NULL);
	fflush(stdout);
	block(&before);
	c = find(0);
	pid_t pid = c != NULL ? fork() : -1;
	if (pid == 0) {
		for (int i = 0; i < MOST; i++)
			children[i].pid = 0;
		signal(SIGCHLD, SIG_DFL);
		sigprocmask(SIG_SETMASK, &before, NULL);
		current = p->name;
		_exit(p->target(p->args));
	}
	if (pid > 0) {
		c->pid = pid;
		c->ended = 0;
		p->pid = pid;
		p->state = 1;
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid > 0 ? 0 : -1;
}

/* with SIGCHLD blocked */
static bool is_over(struct process *p)
{
	struct child *c = p->state == 1 ? find(p->pid) : NULL;

	if (c != NULL && c->ended) {
		p->status = c->status;
		p->state = 2;
		c->pid = 0;
	}
	return p->state == 2;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int process_join(struct process *p, double timeout)
{
	double end = seconds() + timeout, left;
	struct timespec t;
	sigset_t before;
	int result = 0;

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	block(&before);
	while (!is_over(p) && result == 0) {
		left = end - seconds();
		if (timeout < 0) {
			sigsuspend(&before);
		} else if (left <= 0) {
			result = 1;
		} else {
			t.tv_sec = (time_t)left;
			t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
			pselect(0, NULL, NULL, NULL, &t, &before);
		}
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return result;
}

bool process_is_alive(struct process *p)
{
	sigset_t before;
	bool over;

	block(&before);
	over = is_over(p);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return p->state != 0 && !over;
}

int process_exitcode(const struct process *p)
{
	if (p->state != 2)
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
	return current;
}

int process_cpu_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (int)n : 1;
}
