/*
 * misconception: a worker computes all its steps first and blocks afterwards
 * rejected by:   each step computes and then blocks
 * message:       A step is over when it has blocked
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	pthread_mutex_t lock;
};

struct worker {
	struct gil *gil;
	int number, steps;
	gil_step *compute, *blocking;
	void *arg;
	pthread_t thread;
};

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);

	if (g != NULL)
		pthread_mutex_init(&g->lock, NULL);
	return g;
}

void gil_destroy(struct gil *g)
{
	pthread_mutex_destroy(&g->lock);
	free(g);
}

static void *thread_main(void *worker)
{
	struct worker *w = worker;

	for (int step = 0; step < w->steps; step++) {
		pthread_mutex_lock(&w->gil->lock);
		w->compute(w->number, step, w->arg);
		pthread_mutex_unlock(&w->gil->lock);
	}
	for (int step = 0; w->blocking != NULL && step < w->steps; step++)
		w->blocking(w->number, step, w->arg);
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct worker *workers = calloc((size_t)n, sizeof *workers);
	int error = 0, made;

	if (workers == NULL)
		return -1;
	for (made = 0; made < n; made++) {
		workers[made] = (struct worker){ g, made, steps, compute,
						 blocking, arg, 0 };
		error = pthread_create(&workers[made].thread, NULL,
				       thread_main, &workers[made]);
		if (error != 0)
			break;
	}
	for (int i = 0; i < made; i++)
		pthread_join(workers[i].thread, NULL);
	free(workers);
	if (error != 0) {
		errno = error;
		return -1;
	}
	return 0;
}

static int collect(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	pid_t *pids = calloc((size_t)n, sizeof *pids);
	int error = 0, made;

	if (pids == NULL)
		return -1;
	fflush(stdout);
	for (made = 0; made < n; made++) {
		pids[made] = fork();
		if (pids[made] < 0) {
			error = errno;
			break;
		}
		if (pids[made] == 0) {
			for (int step = 0; step < steps; step++) {
				compute(made, step, arg);
				if (blocking != NULL)
					blocking(made, step, arg);
			}
			fflush(stdout);
			_exit(0);
		}
	}
	for (int i = 0; i < made; i++)
		if (collect(pids[i]) < 0 && error == 0)
			error = EOWNERDEAD;
	free(pids);
	if (error != 0) {
		errno = error;
		return -1;
	}
	return 0;
}
