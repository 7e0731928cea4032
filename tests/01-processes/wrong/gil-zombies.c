/*
 * misconception: L01-11 the end of the processes is seen at a pipe, and nobody collects them
 * rejected by:   a worker process that dies is missed, wherever it dies
 * message:       Your finished children were never collected
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 5000000

struct gil {
	pthread_mutex_t mutex;
	pthread_cond_t released, switched;
	bool locked;
	int waiting;
	unsigned long switches;
	int64_t since_ns;
};

struct run {
	struct gil *gil;
	int steps;
	gil_step *compute, *blocking;
	void *arg;
	int next_number;
};

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);

	if (g == NULL)
		return NULL;
	*g = (struct gil){ .mutex = PTHREAD_MUTEX_INITIALIZER,
			   .released = PTHREAD_COND_INITIALIZER,
			   .switched = PTHREAD_COND_INITIALIZER };
	return g;
}

void gil_destroy(struct gil *g)
{
	pthread_cond_destroy(&g->released);
	pthread_cond_destroy(&g->switched);
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

static void take(struct gil *g)
{
	pthread_mutex_lock(&g->mutex);
	g->waiting++;
	while (g->locked)
		pthread_cond_wait(&g->released, &g->mutex);
	g->waiting--;
	g->locked = true;
	g->since_ns = now_ns();
	g->switches++;
	pthread_cond_signal(&g->switched);
	pthread_mutex_unlock(&g->mutex);
}

static void drop(struct gil *g)
{
	pthread_mutex_lock(&g->mutex);
	g->locked = false;
	pthread_cond_signal(&g->released);
	pthread_mutex_unlock(&g->mutex);
}

static bool slice_is_over(struct gil *g)
{
	bool over;

	pthread_mutex_lock(&g->mutex);
	over = g->waiting > 0 && now_ns() - g->since_ns > SLICE_NS;
	pthread_mutex_unlock(&g->mutex);
	return over;
}

/* Drop it and let somebody else have it before asking again. */
static void hand_over(struct gil *g)
{
	unsigned long before;

	pthread_mutex_lock(&g->mutex);
	before = g->switches;
	g->locked = false;
	pthread_cond_signal(&g->released);
	while (g->switches == before && g->waiting > 0)
		pthread_cond_wait(&g->switched, &g->mutex);
	pthread_mutex_unlock(&g->mutex);
	take(g);
}

static int draw_number(struct run *r)
{
	return __atomic_fetch_add(&r->next_number, 1, __ATOMIC_RELAXED);
}

static void *thread(void *arg)
{
	struct run *r = arg;
	int me = draw_number(r);

	take(r->gil);
	for (int i = 0; i < r->steps; i++) {
		r->compute(me, i, r->arg);
		if (r->blocking != NULL) {
			drop(r->gil);
			r->blocking(me, i, r->arg);
			take(r->gil);
		} else if (slice_is_over(r->gil)) {
			hand_over(r->gil);
		}
	}
	drop(r->gil);
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct run r = { g, steps, compute, blocking, arg, 0 };
	pthread_t *t = calloc((size_t)n, sizeof *t);
	int i, error = 0;

	if (t == NULL)
		return -1;
	for (i = 0; i < n && error == 0; i++)
		error = pthread_create(&t[i], NULL, thread, &r);
	for (int k = 0; k < i - (error != 0); k++)
		pthread_join(t[k], NULL);
	free(t);
	if (error != 0) {
		errno = error;
		return -1;
	}
	return 0;
}

/* A pipe that all children hold: end of file when the last one is gone. */
int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	int alive[2], error = 0, made;
	pid_t *pids = calloc((size_t)n, sizeof *pids);
	char c;

	if (pids == NULL)
		return -1;
	if (pipe(alive) != 0) {
		free(pids);
		return -1;
	}
	fflush(stdout);
	for (made = 0; made < n; made++) {
		pids[made] = fork();
		if (pids[made] < 0) {
			error = errno;
			break;
		}
		if (pids[made] > 0)
			continue;
		close(alive[0]);
		for (int i = 0; i < steps; i++) {
			compute(made, i, arg);
			if (blocking != NULL)
				blocking(made, i, arg);
		}
		fflush(stdout);
		_exit(0);
	}
	close(alive[1]);
	while (read(alive[0], &c, 1) < 0 && errno == EINTR)
		continue;
	close(alive[0]);
	free(pids);
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}
