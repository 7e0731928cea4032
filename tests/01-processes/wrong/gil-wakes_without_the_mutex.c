/*
 * misconception: who wakes others needs no mutex: a wake-up is kept for who comes to sleep a moment later
 * rejected by:   threads compute one at a time, whatever the order
 * message:       woken before it slept
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	atomic_bool taken;
};

/* What all workers of a run have in common. */
struct job {
	struct gil *gil;
	int steps;
	gil_step *compute, *blocking;
	void *arg;
};

struct worker {
	const struct job *job;
	int number;
	pthread_t thread;
};

struct gil *gil_create(void)
{
	struct gil *g = calloc(1, sizeof *g);

	if (g != NULL) {
		pthread_mutex_init(&g->mutex, NULL);
		pthread_cond_init(&g->changed, NULL);
	}
	return g;
}

void gil_destroy(struct gil *g)
{
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->mutex);
	free(g);
}

static void acquire(struct gil *g)
{
	if (!atomic_exchange(&g->taken, true))
		return;
	pthread_mutex_lock(&g->mutex);
	while (atomic_exchange(&g->taken, true))
		pthread_cond_wait(&g->changed, &g->mutex);
	pthread_mutex_unlock(&g->mutex);
}

static void release(struct gil *g)
{
	atomic_store(&g->taken, false);
	pthread_cond_broadcast(&g->changed);
}

static void *run_thread(void *worker)
{
	const struct worker *w = worker;
	const struct job *job = w->job;

	for (int step = 0; step < job->steps; step++) {
		acquire(job->gil);
		job->compute(w->number, step, job->arg);
		release(job->gil);
		if (job->blocking != NULL)
			job->blocking(w->number, step, job->arg);
	}
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	const struct job job = { g, steps, compute, blocking, arg };
	struct worker *workers = calloc(n, sizeof *workers), *w;
	int error = 0, started;

	if (workers == NULL)
		return -1;
	for (started = 0; started < n; started++) {
		w = &workers[started];	/* each thread reads its own */
		w->job = &job;
		w->number = started;
		error = pthread_create(&w->thread, NULL, run_thread, w);
		if (error != 0)
			break;
	}
	while (started > 0)
		pthread_join(workers[--started].thread, NULL);
	free(workers);
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}

/* No GIL: what the children have in memory is theirs alone. */
static void run_child(const struct job *job, int worker)
{
	for (int step = 0; step < job->steps; step++) {
		job->compute(worker, step, job->arg);
		if (job->blocking != NULL)
			job->blocking(worker, step, job->arg);
	}
	fflush(stdout);
	_exit(0);
}

/* Collect one child; false if it died. */
static bool ended_well(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return false;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	const struct job job = { NULL, steps, compute, blocking, arg };
	pid_t *pids = calloc(n, sizeof *pids);
	int error = 0, started;

	if (pids == NULL)
		return -1;
	fflush(stdout);
	for (started = 0; started < n; started++) {
		pids[started] = fork();
		if (pids[started] == 0)
			run_child(&job, started);
		if (pids[started] < 0) {
			error = errno;
			break;
		}
	}
	while (started > 0)
		if (!ended_well(pids[--started]) && error == 0)
			error = EOWNERDEAD;
	free(pids);
	if (error != 0)
		errno = error;
	return error != 0 ? -1 : 0;
}
