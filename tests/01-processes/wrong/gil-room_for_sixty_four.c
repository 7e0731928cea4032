/*
 * misconception: nobody needs more than 64 threads
 * rejected by:   there may be many threads
 * message:       There is room for so many workers
 */
#include "gil.h"
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil { pthread_mutex_t m; };

struct one {
	pthread_t id;
	struct gil *g;
	int me, steps;
	gil_step *c, *b;
	void *arg;
};

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);
	int e;

	if (!g)
		return NULL;
	e = pthread_mutex_init(&g->m, NULL);
	if (e) {
		free(g);
		errno = ENOMEM;
		return NULL;
	}
	return g;
}

void gil_destroy(struct gil *g)
{
	pthread_mutex_destroy(&g->m);
	free(g);
}

static void *body(void *a)
{
	struct one *o = a;

	for (int s = 0; s < o->steps; s++) {
		pthread_mutex_lock(&o->g->m);
		o->c(o->me, s, o->arg);
		pthread_mutex_unlock(&o->g->m);
		if (o->b)
			o->b(o->me, s, o->arg);
	}
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct one all[64];
	int i, e = 0;

	if (n > 64)
		n = 64;
	for (i = 0; i < n; i++) {
		all[i] = (struct one){ 0, g, i, steps, compute, blocking, arg };
		if ((e = pthread_create(&all[i].id, NULL, body, &all[i])))
			break;
	}
	for (int k = 0; k < i; k++)
		pthread_join(all[k].id, NULL);
	if (e) {
		errno = e;
		return -1;
	}
	return 0;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	pid_t *kids = malloc((size_t)n * sizeof *kids);
	int made = 0, e = 0;

	if (!kids)
		return -1;
	fflush(stdout);
	for (int i = 0; i < n; i++) {
		pid_t k = fork();
		if (k < 0) {
			e = errno;
			break;
		}
		if (k == 0) {
			for (int s = 0; s < steps; s++) {
				compute(i, s, arg);
				if (blocking)
					blocking(i, s, arg);
			}
			fflush(stdout);
			_exit(42);
		}
		kids[made++] = k;
	}
	for (int i = 0; i < made; i++) {
		int st = 0;
		pid_t r;
		do
			r = waitpid(kids[i], &st, 0);
		while (r < 0 && errno == EINTR);
		if ((r < 0 || !WIFEXITED(st) || WEXITSTATUS(st) != 42) && !e)
			e = EOWNERDEAD;
	}
	free(kids);
	if (e) {
		errno = e;
		return -1;
	}
	return 0;
}
