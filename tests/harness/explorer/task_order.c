/*
 * Who could go on, who goes on next, and whose wait has ended: they are to
 * try again.
 */
#include "tasks.h"

#include <string.h>

/* ---- who is next ------------------------------------------------------- */

static bool can_go(const struct task *t)
{
	return t->state == READY || (t->state == WAITING && t->retry);
}

unsigned others_ready(void)
{
	unsigned set = 0;

	for (int i = 0; i < arena->n_tasks; i++)
		if (i != me && can_go(&arena->tasks[i]))
			set |= 1u << i;
	return set;
}

unsigned timers_running(void)
{
	unsigned set = 0;
	struct task *t;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (t->state == WAITING && !t->retry && t->deadline != FOREVER)
			set |= 1u << i;
	}
	return set;
}

/* Who comes after me, round and round; NOBODY if nobody can go. */
static int next_in_turn(bool myself_too)
{
	int n = arena->n_tasks, i;

	for (int k = 1; k <= n; k++) {
		i = (me + k) % n;
		if ((i != me || myself_too) && can_go(&arena->tasks[i]))
			return i;
	}
	return NOBODY;
}

static int first_timer(void)
{
	unsigned set = timers_running();
	int first = NOBODY;

	for (int i = 0; i < arena->n_tasks; i++)
		if ((set >> i & 1) &&
		    (first == NOBODY || arena->tasks[i].deadline <
					arena->tasks[first].deadline))
			first = i;
	return first;
}

void run_out(int task)
{
	struct task *t = &arena->tasks[task];

	if (t->deadline > arena->now)
		arena->now = t->deadline;
	t->wake = TIMED_OUT;
	t->retry = true;
}

/* ---- who is woken, and who is next --------------------------------------- */

static struct sync *lock_waited_for(const struct task *t)
{
	struct sync *s = t->waits_for.object ? sync_at(t->waits_for) : NULL;

	return s != NULL && s->kind != NULL ? s : NULL;
}

void wake_all_waits(void)
{
	struct task *t;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (t->state == WAITING && !t->queued &&
		    lock_waited_for(t) == NULL)
			t->retry = true;
	}
}

/* When nobody can go on, all ask once more: a call that we do not know may have
 * given what they wait for. */
static bool ask_once_more(void)
{
	if (arena->asked_at == arena->n_events)
		return false;
	arena->asked_at = arena->n_events;
	wake_all_waits();
	return true;
}

int successor(bool myself_too)
{
	int next = next_in_turn(myself_too);

	if (next == NOBODY && (next = first_timer()) != NOBODY)
		run_out(next);
	if (next == NOBODY && myself_too && ask_once_more())
		next = next_in_turn(true);
	return next;
}

/* With a process goes what it held; only some kinds of locks notice. */
void wake_after_death(void)
{
	struct sync *s;

	wake_all_waits();
	for (int i = 0; i < arena->n_tasks; i++) {
		struct task *t = &arena->tasks[i];

		if (t->state != WAITING)
			continue;
		if (t->queued && !t->retry && t->call != NULL &&
		    strcmp(t->call, "futex") == 0) {
			t->retry = true;	/* it looks into its word */
			t->wake = AFTER_DEATH;
		}
		if (t->queued)
			continue;
		s = lock_waited_for(t);
		if (s != NULL && s->shared)
			t->retry = true;
	}
}

/* The first in the line first: who has waited for the lowest event. */
int wake(struct place place, bool shared, int n)
{
	struct task *t;
	int woken = 0;

	for (int k = 1; k <= arena->n_tasks && woken < n; k++) {
		t = &arena->tasks[(me + k) % arena->n_tasks];
		if (t->state != WAITING ||
		    (t->retry && t->wake != AFTER_DEATH) ||
		    !same_place(t->waits_for, place) ||
		    (!shared && t->process != self()->process))
			continue;
		t->retry = t->woken = true;
		t->wake = WOKEN;
		woken++;
	}
	return woken;
}
