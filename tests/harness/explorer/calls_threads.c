/*
 * Threads: tasks that share their memory with others. They begin, end and are
 * joined like processes; a cancelled one ends at its next wait.
 */
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct start {
	void *(*run)(void *);
	void *arg;
	int task;
	sigset_t mask;
};

static pthread_t handles[TASKS];

static void end_thread(void *unused)
{
	(void)unused;
	leave_thread();
}

/* It may end by pthread_exit(). */
static void *run_thread(void *arg)
{
	struct start start = *(struct start *)arg;
	void *result;

	free(arg);
	begin_task(start.task);
	let_signals_in(&start.mask);
	pthread_cleanup_push(end_thread, NULL);
	result = start.run(start.arg);
	pthread_cleanup_pop(1);
	return result;
}

int explored_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			    void *(*run)(void *), void *arg)
{
	struct start *start;
	sigset_t before;
	int r;

	if (!exploring())
		return pthread_create(thread, attr, run, arg);
	point(nowhere, HERE);
	note(STARTS, "pthread_create", nowhere, HERE)->value =
		(uint64_t)arena->n_tasks;
	start = malloc(sizeof *start);
	if (start == NULL)
		return EAGAIN;
	*start = (struct start){ .run = run, .arg = arg,
				 .task = new_task(NULL) };
	arena->tasks[start->task].process = self()->process;
	arena->tasks[start->task].pid = getpid();
	arena->tasks[start->task].thread = true;
	snprintf(arena->tasks[start->task].name, NAME, "thread %d",
		 start->task);
	hold_signals(&before);
	start->mask = before;
	r = pthread_create(&handles[start->task], attr, run_thread, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		*thread = handles[start->task];
	else
		arena->n_tasks--;
	return r;
}

int explored_pthread_join(pthread_t thread, void **result)
{
	int task = 0;

	if (!exploring())
		return pthread_join(thread, result);
	point(nowhere, HERE);
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].thread &&
		    pthread_equal(handles[i], thread))
			task = i;
	while (task != 0 && arena->tasks[task].state != ENDED)
		wait_here("pthread_join", nowhere, FOREVER, HERE);
	if (task != 0)
		join_clock(&self()->clock, &arena->tasks[task].clock);
	note(CALLS, "pthread_join", nowhere, HERE);
	return pthread_join(thread, result);
}

/* Its wait for a process, a file or a time ends; others it may not end. */
int explored_pthread_cancel(pthread_t thread)
{
	struct task *t;

	if (!exploring())
		return pthread_cancel(thread);
	point(nowhere, HERE);
	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (!t->thread || !pthread_equal(handles[i], thread) ||
		    t->process != self()->process || t->state == ENDED)
			continue;
		t->cancelled = true;
		if (t->state == WAITING && t->waits_for.object == 0)
			t->retry = true;
		note(CALLS, "pthread_cancel", nowhere, HERE);
		return 0;
	}
	return ESRCH;
}
