/*
 * misconception: L01-08 how a worker process ended is not looked at
 * rejected by:   a worker process that dies is missed, wherever it dies
 * message:       A process that was killed has no exit code
 */
#include "gil.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct gil {
	atomic_flag taken;
};

struct start {
	struct gil *gil;
	int number, steps;
	gil_step *compute, *blocking;
	void *arg;
	sem_t read;
};

struct gil *gil_create(void)
{
	struct gil *g = aligned_alloc(64, 64);

	if (g != NULL)
		atomic_flag_clear(&g->taken);
	return g;
}

void gil_destroy(struct gil *g)
{
	free(g);
}

static void *spin(void *arg)
{
	struct start *s = arg;
	struct gil *g = s->gil;
	int number = s->number, steps = s->steps;
	gil_step *compute = s->compute, *blocking = s->blocking;
	void *pass = s->arg;

	sem_post(&s->read);
	for (int i = 0; i < steps; i++) {
		while (atomic_flag_test_and_set_explicit(&g->taken,
							 memory_order_acquire))
			;
		compute(number, i, pass);
		atomic_flag_clear_explicit(&g->taken, memory_order_release);
		if (blocking)
			blocking(number, i, pass);
	}
	return NULL;
}

int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg)
{
	struct start s = { .gil = g, .steps = steps, .compute = compute,
			   .blocking = blocking, .arg = arg };
	pthread_t *threads = calloc((size_t)n, sizeof *threads);
	int error = 0;

	if (!threads || sem_init(&s.read, 0, 0))
		return -1;
	for (; s.number < n; s.number++) {
		error = pthread_create(&threads[s.number], NULL, spin, &s);
		if (error)
			break;
		while (sem_wait(&s.read) && errno == EINTR)
			;
	}
	for (int i = 0; i < s.number; i++)
		pthread_join(threads[i], NULL);
	sem_destroy(&s.read);
	free(threads);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

static bool end_of(pid_t pid)
{
	struct pollfd fd = { .events = POLLIN };
	int status = -1;

	fd.fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd.fd >= 0)
		poll(&fd, 1, -1);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (fd.fd >= 0)
		close(fd.fd);
	return status != -1;
}

int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg)
{
	pid_t *children = calloc((size_t)n, sizeof *children);
	int error = 0, worker;

	if (!children)
		return -1;
	for (worker = 0; worker < n; worker++) {
		if ((children[worker] = fork()) < 0) {
			error = errno;
			break;
		}
		if (!children[worker]) {
			for (int i = 0; i < steps; i++) {
				compute(worker, i, arg);
				blocking ? blocking(worker, i, arg) : (void)0;
			}
			_exit(0);
		}
	}
	while (worker-- > 0)
		if (!end_of(children[worker]) && !error)
			error = ECHILD;
	free(children);
	if (error)
		errno = error;
	return -!!error;
}
