/* style: a plain mutex (unfair), given back every third step when nothing
 * blocks; threads start together at a barrier of our own; clone for processes
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	pthread_mutex_t m;
};

enum start { WAIT, GO, GIVE_UP };

struct common {
	struct gil *g;
	int n, steps;
	gil_step *compute, *blocking;
	void *arg;
	pthread_mutex_t m;
	pthread_cond_t c;
	enum start start;
};

struct one {
	struct common *common;
	int number;
};

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);

	if (g)
		pthread_mutex_init(&g->m, 0);
	return g;
}

void gil_destroy(struct gil *g)
{
	pthread_mutex_destroy(&g->m);
	free(g);
}

static enum start wait_for_start(struct common *c)
{
	enum start s;

	pthread_mutex_lock(&c->m);
	while (c->start == WAIT)
		pthread_cond_wait(&c->c, &c->m);
	s = c->start;
	pthread_mutex_unlock(&c->m);
	return s;
}

static void *run(void *arg)
{
	struct one *o = arg;
	struct common *c = o->common;
	int held = 0;

	if (wait_for_start(c) == GIVE_UP)
		return NULL;
	for (int i = 0; i < c->steps; i++) {
		if (!held)
			pthread_mutex_lock(&c->g->m);
		held = 1;
		c->compute(o->number, i, c->arg);
		if (c->blocking || i % 3 == 2 || i == c->steps - 1) {
			pthread_mutex_unlock(&c->g->m);
			held = 0;
		}
		if (c->blocking)
			c->blocking(o->number, i, c->arg);
	}
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct common c = { g, n, steps, compute, blocking, arg,
			    PTHREAD_MUTEX_INITIALIZER,
			    PTHREAD_COND_INITIALIZER, WAIT };
	struct one *ones = malloc(sizeof *ones * (size_t)n);
	pthread_t *threads = malloc(sizeof *threads * (size_t)n);
	int i = 0, error = ENOMEM;

	if (!ones || !threads)
		goto out;
	for (error = 0; i < n; i++) {
		ones[i].common = &c;
		ones[i].number = i;
		if ((error = pthread_create(threads + i, 0, run, ones + i)))
			break;
	}
	pthread_mutex_lock(&c.m);
	c.start = error ? GIVE_UP : GO;
	pthread_cond_broadcast(&c.c);
	pthread_mutex_unlock(&c.m);
	while (i-- > 0)
		pthread_join(threads[i], 0);
out:
	free(ones);
	free(threads);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

static int child(void *arg)
{
	struct one *o = arg;
	struct common *c = o->common;

	for (int i = 0; i < c->steps; i++) {
		c->compute(o->number, i, c->arg);
		if (c->blocking)
			c->blocking(o->number, i, c->arg);
	}
	_exit(0);
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	const size_t size = 256 * 1024;
	struct common c = { .n = n, .steps = steps, .compute = compute,
			    .blocking = blocking, .arg = arg };
	struct one one = { &c, 0 };
	char *stack = mmap(0, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = 0, status;

	if (stack == MAP_FAILED)
		return -1;
	/* each child copies the stack before the next one uses it */
	for (; one.number < n; one.number++)
		if (clone(child, stack + size, SIGCHLD, &one) < 0) {
			error = errno;
			break;
		}
	for (int left = one.number; left > 0;) {
		if (waitpid(-1, &status, 0) < 0)
			continue;
		left--;
		if (!(WIFEXITED(status) && WEXITSTATUS(status) == 0) && !error)
			error = ECHILD;
	}
	munmap(stack, size);
	if (error)
		errno = error;
	return error ? -1 : 0;
}
