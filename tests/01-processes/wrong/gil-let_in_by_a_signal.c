/*
 * misconception: L01-14 a wait that a signal has interrupted has got what it waited for
 * rejected by:   a signal interrupts no wait for the lock
 * message:       A signal arriving while you wait does not mean that what you wait for is there
 */
#include "gil.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	int id;
};

union semun { int val; struct semid_ds *buf; unsigned short *array; };

struct gil *gil_create(void)
{
	struct gil *g = malloc(sizeof *g);

	if (g == NULL)
		return NULL;
	g->id = semget(IPC_PRIVATE, 1, 0600);
	if (g->id >= 0) {
		if (semctl(g->id, 0, SETVAL, (union semun){ .val = 1 }) == 0)
			return g;
		semctl(g->id, 0, IPC_RMID);
	}
	free(g);
	errno = ENOMEM;
	return NULL;
}

void gil_destroy(struct gil *g)
{
	semctl(g->id, 0, IPC_RMID);
	free(g);
}

static void change(struct gil *g, short by)
{
	struct sembuf op = { 0, by, 0 };

	semop(g->id, &op, 1);
}

#define WITH_GIL(g) for (int once_ = (change(g, -1), 1); once_; change(g, 1), once_ = 0)

struct one {
	struct gil *g;
	gil_step *compute, *blocking;
	void *arg;
	int number, steps;
	pthread_t id;
};

static void *run_one(void *p)
{
	struct one *o = p;

	for (int s = 0; s < o->steps; s++) {
		WITH_GIL(o->g)
			o->compute(o->number, s, o->arg);
		if (o->blocking)
			o->blocking(o->number, s, o->arg);
	}
	return p;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct one *all = calloc(n, sizeof *all), *o;
	void *nothing;
	int error = 0;

	if (all == NULL)
		return -1;
	for (o = all; o < all + n; o++) {
		*o = (struct one){ g, compute, blocking, arg, o - all, steps, 0 };
		error = pthread_create(&o->id, NULL, run_one, o);
		if (error)
			break;
	}
	while (o-- > all)
		pthread_join(o->id, &nothing);
	free(all);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	const size_t size = (size_t)n * sizeof(atomic_int);
	pid_t *pids = calloc(n, sizeof *pids);
	atomic_int *done;
	int made, error = 0;

	if (pids == NULL)
		return -1;
	done = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (done == MAP_FAILED) {
		free(pids);
		errno = ENOMEM;
		return -1;
	}
	fflush(stdout);
	for (made = 0; made < n; made++) {
		pid_t pid = fork();

		if (pid == 0) {
			for (int s = 0; s < steps; s++) {
				compute(made, s, arg);
				if (blocking)
					blocking(made, s, arg);
				done[made] = s + 1;
			}
			fflush(stdout);
			_exit(0);
		}
		if (pid < 0) {
			error = errno;
			break;
		}
		pids[made] = pid;
	}
	for (int i = 0; i < made; i++) {
		while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
			continue;
		if (done[i] != steps && error == 0)
			error = EOWNERDEAD;
	}
	munmap(done, size);
	free(pids);
	if (error)
		errno = error;
	return error ? -1 : 0;
}
