/* style: a list of all running handles; join waits for whoever ends, and files
 * each status with the handle it belongs to, until its own is there */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct entry {
	pid_t pid;
	int status;
	bool ended;
	struct entry *next;
};

static struct entry *entries;
static const char *process_name = "MainProcess";

static struct entry *find(pid_t pid)
{
	struct entry *e = entries;

	while (e != NULL && e->pid != pid)
		e = e->next;
	return e;
}

static void forget_all(void)
{
	while (entries != NULL) {
		struct entry *next = entries->next;

		free(entries);
		entries = next;
	}
}

int process_start(struct process *p)
{
	struct entry *e;

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	e = malloc(sizeof *e);
	if (e == NULL)
		return -1;
	pid_t pid = fork();
	if (pid == 0) {
		forget_all();		/* those are our parent's */
		free(e);
		process_name = p->name;
		_exit(p->target(p->args));
	}
	if (pid < 0) {
		free(e);
		errno = EAGAIN;
		return -1;
	}
	*e = (struct entry){ .pid = pid, .next = entries };
	entries = e;
	p->pid = pid;
	p->state = 1;
	return 0;
}

/* Take the entry out of the list and its status into the handle. */
static bool take(struct process *p)
{
	struct entry *e = find(p->pid);

	if (p->state == 2)
		return true;
	if (e == NULL || !e->ended)
		return false;
	p->status = e->status;
	p->state = 2;
	for (struct entry **at = &entries; *at != NULL; at = &(*at)->next)
		if (*at == e) {
			*at = e->next;
			break;
		}
	free(e);
	return true;
}

/* File the status of one child that has ended; false if there is none. */
static bool file_one(int options)
{
	struct entry *e;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, options)) < 0)
		if (errno != EINTR)
			return false;
	if (pid == 0)
		return false;
	e = find(pid);
	if (e != NULL) {
		e->status = status;
		e->ended = true;
	}
	return true;
}

int process_join(struct process *p, double timeout)
{
	struct timespec start, now;

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!take(p)) {
		if (timeout < 0) {
			if (!file_one(0))
				return -1;
			continue;
		}
		if (file_one(WNOHANG))
			continue;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((double)(now.tv_sec - start.tv_sec) +
		    (double)(now.tv_nsec - start.tv_nsec) / 1e9 >= timeout)
			return 1;
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	}
	return 0;
}

bool process_is_alive(struct process *p)
{
	if (p->state == 0)
		return false;
	while (file_one(WNOHANG))
		continue;
	return !take(p);
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
	if (p->state == 1 && process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return process_name;
}

int process_cpu_count(void)
{
	return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
