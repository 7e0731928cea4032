/*
 * misconception: L01-11 the status is read, but the child is never collected
 * rejected by:   nothing is left after start and join
 * message:       Your finished children were never collected
 */
#include "process.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *name_of_this = "MainProcess";

static int child_main(void *handle)
{
	struct process *p = handle;

	name_of_this = p->name;
	_exit(p->target(p->args));
}

int process_start(struct process *p)
{
	const size_t size = 1 << 20;
	char *stack;
	pid_t pid;

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return -1;
	/* no CLONE_VM: the child has a copy of all memory, the stack too */
	pid = clone(child_main, stack + size, SIGCHLD, p);
	int error = errno;
	munmap(stack, size);
	if (pid < 0) {
		errno = error;
		return -1;
	}
	p->pid = pid;
	p->state = 'R';
	return 0;
}

/* 1: it has ended (how is kept in status as the exit code), 0: not yet */
static int look(struct process *p, int flags)
{
	siginfo_t info;

	if (p->state == 'E')
		return 1;
	do
		memset(&info, 0, sizeof info);
	while (waitid(P_PID, (id_t)p->pid, &info,
		      WEXITED | WNOWAIT | flags) < 0 && errno == EINTR);
	if (info.si_pid != p->pid)
		return 0;
	if (!(flags & WNOWAIT)) {
		p->status = info.si_code == CLD_EXITED ? info.si_status
						       : -info.si_status;
		p->state = 'E';
	}
	return 1;
}

static double seconds_since(const struct timespec *start)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return (t.tv_sec - start->tv_sec) + (t.tv_nsec - start->tv_nsec) / 1e9;
}

int process_join(struct process *p, double timeout)
{
	struct timespec start, nap = { 0, 50000 };

	if (p->state == 0) {
		errno = ECHILD;
		return -1;
	}
	if (timeout < 0)
		return look(p, 0) ? 0 : -1;
	clock_gettime(CLOCK_MONOTONIC_RAW, &start);
	while (!look(p, WNOHANG)) {
		if (seconds_since(&start) >= timeout)
			return 1;
		nanosleep(&nap, NULL);
		if (nap.tv_nsec < 10000000)
			nap.tv_nsec *= 2;
	}
	return 0;
}

bool process_is_alive(struct process *p)
{
	return p->state == 'R' && !look(p, WNOHANG | WNOWAIT);
}

int process_exitcode(const struct process *p)
{
	return p->state == 'E' ? p->status : PROCESS_NONE;
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		return kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return name_of_this;
}

int process_cpu_count(void)
{
	cpu_set_t *set = calloc(1, CPU_ALLOC_SIZE(8192));
	int n = 1;

	if (set != NULL &&
	    sched_getaffinity(0, CPU_ALLOC_SIZE(8192), set) == 0)
		n = CPU_COUNT_S(CPU_ALLOC_SIZE(8192), set);
	free(set);
	return n;
}
