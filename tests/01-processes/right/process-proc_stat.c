/* style: the state of the child is read in /proc/PID/stat; waitpid comes only
 * when it is known to return at once */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *my_name = "MainProcess";

enum { NOT_STARTED = 0, STARTED, COLLECTED };

static char state_letter(pid_t pid)
{
	char path[40], text[400] = "", *paren;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
	f = fopen(path, "r");
	if (f == NULL)
		return 'X';
	if (fgets(text, sizeof text, f) == NULL)
		text[0] = '\0';
	fclose(f);
	paren = strrchr(text, ')');
	return paren != NULL ? paren[2] : 'X';
}

static bool has_ended(const struct process *p)
{
	return p->state == COLLECTED || strchr("ZX", state_letter(p->pid));
}

int process_start(struct process *p)
{
	const char *parents_name = my_name;
	pid_t pid;

	if (p->state != NOT_STARTED) {
		errno = EINVAL;
		return -1;
	}
	my_name = p->name;		/* the child's copy keeps it */
	pid = fork();
	if (pid == 0)
		_exit(p->target(p->args));
	my_name = parents_name;
	if (pid < 0)
		return -1;
	p->pid = pid;
	p->state = STARTED;
	return 0;
}

static bool is_over(const struct timespec *start, double timeout)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return timeout >= 0 && (double)(t.tv_sec - start->tv_sec) +
		(double)(t.tv_nsec - start->tv_nsec) / 1e9 >= timeout;
}

int process_join(struct process *p, double timeout)
{
	struct timespec start;

	if (p->state == NOT_STARTED) {
		errno = EINVAL;
		return -1;
	}
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!has_ended(p)) {
		if (is_over(&start, timeout))
			return 1;
		usleep(200);
	}
	if (p->state == STARTED) {
		while (waitpid(p->pid, &p->status, 0) == -1)
			if (errno != EINTR)
				return -1;
		p->state = COLLECTED;
	}
	return 0;
}

bool process_is_alive(struct process *p)
{
	return p->state == STARTED && !has_ended(p);
}

int process_exitcode(const struct process *p)
{
	if (p->state != COLLECTED)
		return PROCESS_NONE;
	if (WIFEXITED(p->status))
		return WEXITSTATUS(p->status);
	return -WTERMSIG(p->status);
}

int process_terminate(struct process *p)
{
	return process_is_alive(p) ? kill(p->pid, SIGTERM) : 0;
}

const char *process_current(void)
{
	return my_name;
}

int process_cpu_count(void)
{
	FILE *f = popen("nproc", "r");
	int n = 1;

	if (f != NULL) {
		if (fscanf(f, "%d", &n) != 1)
			n = 1;
		pclose(f);
	}
	return n;
}
