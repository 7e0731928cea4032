/* style: the GIL is one byte in a pipe: who has read it may compute; it needs
 * no atomic and no mutex of its own */
#include "gil.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	int fds[2];
};

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);

	if (g == NULL || pipe2(g->fds, O_CLOEXEC) != 0) {
		free(g);
		errno = ENOMEM;
		return NULL;
	}
	if (write(g->fds[1], "*", 1) != 1)
		abort();
	return g;
}

void gil_destroy(struct gil *g)
{
	close(g->fds[0]);
	close(g->fds[1]);
	free(g);
}

struct params {
	struct gil *g;
	int worker;
	int steps;
	gil_step *compute;
	gil_step *blocking;
	void *arg;
};

static void get(struct gil *g)
{
	char token;

	while (read(g->fds[0], &token, 1) != 1)
		continue;
}

static void put(struct gil *g)
{
	while (write(g->fds[1], "*", 1) != 1)
		continue;
}

static void *loop(void *arg)
{
	struct params *p = arg;

	for (int step = 0; step < p->steps; step++) {
		if (p->g != NULL)
			get(p->g);
		p->compute(p->worker, step, p->arg);
		if (p->g != NULL)
			put(p->g);
		if (p->blocking != NULL)
			p->blocking(p->worker, step, p->arg);
	}
	free(p);
	return NULL;
}

static struct params *params(struct gil *g, int worker, int steps,
			     gil_step *compute, gil_step *blocking, void *arg)
{
	struct params *p = malloc(sizeof *p);

	if (p != NULL)
		*p = (struct params){ g, worker, steps, compute, blocking,
				      arg };
	return p;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	pthread_t ids[n > 0 ? n : 1];
	struct params *p;
	int i, error = 0;

	for (i = 0; i < n; i++) {
		p = params(g, i, steps, compute, blocking, arg);
		error = p ? pthread_create(&ids[i], NULL, loop, p) : ENOMEM;
		if (error) {
			free(p);
			break;
		}
	}
	for (int k = 0; k < i; k++)
		pthread_join(ids[k], NULL);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	int failed = 0, left = 0, status;

	for (int i = 0; i < n && !failed; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			loop(params(NULL, i, steps, compute, blocking, arg));
			_exit(0);
		}
		if (pid > 0)
			left++;
		else
			failed = errno;
	}
	while (left > 0) {
		if (wait(&status) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		left--;
		if (status != 0 && !failed)
			failed = EIO;
	}
	if (failed)
		errno = failed;
	return failed ? -1 : 0;
}
