/*
 * misconception: L01-20 processes take turns at a lock that they share
 * rejected by:   processes compute at the same time
 * message:       There is no lock between processes
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	sem_t free_now;
};

struct task {
	struct gil *gil;
	int number, steps;
	gil_step *compute, *blocking;
	void *arg;
};

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof(struct gil));

	if (!g)
		return NULL;
	if (sem_init(&g->free_now, 0, 1) < 0) {
		free(g);
		return NULL;
	}
	return g;
}

void gil_destroy(struct gil *g)
{
	sem_destroy(&g->free_now);
	free(g);
}

static void *body(void *p)
{
	struct task t = *(struct task *)p;

	for (int s = 0; s < t.steps; ++s) {
		if (t.gil)
			while (sem_wait(&t.gil->free_now) == -1)
				;
		t.compute(t.number, s, t.arg);
		if (t.gil)
			sem_post(&t.gil->free_now);
		if (t.blocking)
			t.blocking(t.number, s, t.arg);
	}
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	pthread_t *ids = malloc((size_t)n * sizeof *ids);
	struct task *tasks = malloc((size_t)n * sizeof *tasks);
	int made = 0, err = ids && tasks ? 0 : ENOMEM;

	while (!err && made < n) {
		tasks[made] = (struct task){ g, made, steps, compute, blocking,
					     arg };
		err = pthread_create(&ids[made], NULL, body, &tasks[made]);
		if (!err)
			made++;
	}
	for (int i = 0; i < made; i++)
		pthread_join(ids[i], NULL);
	free(ids);
	free(tasks);
	if (err) {
		errno = err;
		return -1;
	}
	return 0;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	int made = 0, err = 0;
	pid_t *pids = calloc((size_t)n, sizeof *pids);
	siginfo_t end;
	struct gil *g = mmap(NULL, sizeof *g, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (pids == NULL)
		return -1;
	sem_init(&g->free_now, 1, 1);
	for (; made < n; made++) {
		struct task t = { g, made, steps, compute, blocking, arg };
		pid_t pid = fork();

		if (pid < 0) {
			err = errno;
			break;
		}
		if (pid == 0) {
			body(&t);
			_exit(EXIT_SUCCESS);
		}
		pids[made] = pid;
	}
	while (made > 0) {
		memset(&end, 0, sizeof end);
		if (waitid(P_PID, (id_t)pids[made - 1], &end, WEXITED) < 0)
			continue;
		made--;
		if ((end.si_code != CLD_EXITED || end.si_status) && !err)
			err = ECANCELED;
	}
	munmap(g, sizeof *g);
	free(pids);
	errno = err ? err : errno;
	return err ? -1 : 0;
}
