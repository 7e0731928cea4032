/*
 * misconception: a thread is taken for a light process
 * rejected by:   start runs the target in a child and returns in the caller
 * message:       not in one of its own
 */
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* "A thread is a light-weight process": so let us save the weight. */
struct slot {
	pthread_t thread;
	struct process *p;
	int result;
	bool over;
};

static __thread const char *name = "MainProcess";
static struct slot slots[256];
static int used;

static void *body(void *arg)
{
	struct slot *s = arg;

	name = s->p->name;
	s->result = s->p->target(s->p->args) & 255;
	s->over = true;
	return NULL;
}

int process_start(struct process *p)
{
	struct slot *s = &slots[used % 256];

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	s->p = p;
	s->over = false;
	p->pid = getpid();
	errno = pthread_create(&s->thread, NULL, body, s);
	if (errno != 0)
		return -1;
	p->state = ++used;
	return 0;
}

int process_join(struct process *p, double timeout)
{
	struct slot *s = &slots[(p->state - 1) % 256];

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	if (timeout >= 0 && !s->over)
		return 1;
	pthread_join(s->thread, NULL);
	p->status = s->result;
	return 0;
}

bool process_is_alive(struct process *p)
{
	return p->state > 0 && !slots[(p->state - 1) % 256].over;
}

int process_exitcode(const struct process *p)
{
	if (p->state == 0 || !slots[(p->state - 1) % 256].over)
		return PROCESS_NONE;
	return p->status;
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		pthread_cancel(slots[(p->state - 1) % 256].thread);
	return 0;
}

const char *process_current(void)
{
	return name;
}

int process_cpu_count(void)
{
	return (int)sysconf(_SC_NPROCESSORS_ONLN);
}
