/* Threads. */
#include "calls.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct thread_start {
	void *(*run)(void *);
	void *arg;
};

void hold_threads_until(int created)
{
	board->hold_threads = created;
}

static void *held_start(void *arg)
{
	struct thread_start start = *(struct thread_start *)arg;

	free(arg);
	hit(INJECT_HELD_THREADS);
	meeting_wait(&board->threads, board->hold_threads);
	return start.run(start.arg);
}

int called_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int called_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	struct thread_start *start;
	int error, errno_before = errno;

	if (struck("pthread_create", "", true, HERE)) {
		error = errno;
		errno = errno_before;	/* it does not set errno */
		return error;
	}
	if (board->hold_threads == 0)
		return pthread_create(thread, attr, run, arg);
	start = malloc(sizeof *start);
	if (start == NULL)
		return EAGAIN;
	*start = (struct thread_start){ run, arg };
	return pthread_create(thread, attr, held_start, start);
}

int called_pthread_join(pthread_t thread, void **result);
int called_pthread_join(pthread_t thread, void **result)
{
	int r;

	WAITING("pthread_join", 0, HERE, r, pthread_join(thread, result));
	return r;
}
