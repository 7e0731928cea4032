/*
 * misconception: L01-04 a process that could not make a worker leaves by exit, to tidy up
 * rejected by:   a process that cannot be made
 * message:       Ending the child the way a whole program ends
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	atomic_uint next, now;
};

typedef struct {
	struct gil *g;
	int me, steps;
	gil_step *compute, *blocking;
	void *arg;
	pthread_t id;
} seat;

struct gil *gil_create(void)
{
	return calloc(1, sizeof(struct gil));
}

void gil_destroy(struct gil *g)
{
	free(g);
}

static void lock(struct gil *g)
{
	unsigned mine = atomic_fetch_add(&g->next, 1);

	for (int i = 0; atomic_load(&g->now) != mine; i++)
		if (i > 100)
			sched_yield();
}

static void unlock(struct gil *g)
{
	atomic_fetch_add(&g->now, 1);
}

static void *work(void *p)
{
	seat *s = p;

	for (int i = 0; i < s->steps; i++) {
		lock(s->g);
		s->compute(s->me, i, s->arg);
		unlock(s->g);
		if (s->blocking)
			s->blocking(s->me, i, s->arg);
	}
	return p;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	seat *seats = calloc((size_t)n, sizeof(seat));
	int e = 0, k;

	if (!seats)
		return -1;
	seats[0] = (seat){ g, 0, steps, compute, blocking, arg,
			   pthread_self() };
	for (k = 1; k < n; k++) {
		seats[k] = seats[0];
		seats[k].me = k;
		e = pthread_create(&seats[k].id, NULL, work, &seats[k]);
		if (e)
			break;
	}
	if (!e)
		work(&seats[0]);
	for (int i = 1; i < k; i++)
		pthread_join(seats[i].id, NULL);
	free(seats);
	if (e)
		errno = e;
	return e ? -1 : 0;
}

static _Noreturn void leave(int error)
{
	if (error != 0)
		exit(error);
	_exit(0);
}

/* Worker k makes worker k + 1, does its work, and waits for that one. The
 * status tells what was worst below: 0, or an errno. */
static int chain(int k, int n, int steps, gil_step *compute,
		 gil_step *blocking, void *arg)
{
	int status, error = 0;
	pid_t child = k < n ? fork() : 0;

	if (k == n)
		return 0;
	if (child == 0) {
		pid_t next = -2;

		if (k + 1 < n)
			next = 0;
		if (next == 0) {
			/* the next link first, so that all run together */
			next = fork();
			if (next == 0)
				leave(chain(k + 1, n, steps, compute, blocking,
					    arg));
		}
		for (int s = 0; s < steps; s++) {
			compute(k, s, arg);
			if (blocking)
				blocking(k, s, arg);
		}
		if (next > 0) {
			while (waitpid(next, &status, 0) < 0)
				;
			_exit(WIFEXITED(status) ? WEXITSTATUS(status)
						: EOWNERDEAD);
		}
		_exit(next == -1 ? EAGAIN : 0);
	}
	if (child < 0)
		return EAGAIN;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return ECHILD;
	error = WIFEXITED(status) ? WEXITSTATUS(status) : EOWNERDEAD;
	return error;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	int error = chain(0, n, steps, compute, blocking, arg);

	if (error)
		errno = error;
	return error ? -1 : 0;
}
