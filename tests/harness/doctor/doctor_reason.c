/*
 * The sentence that names the reason. Each function below knows one: it finds
 * the thread that the sentence is about and writes it, or returns NULL. They
 * are asked from what is surest to what is vaguest: a circle of locks is one
 * whatever others do; what follows on goes_on is so only if nobody moves.
 */
#include "doctor_parts.h"

#include <string.h>

struct thread *first_about(const struct report *r, enum about about)
{
	for (int i = 0; i < r->s->n_threads; i++)
		if (r->s->threads[i].about == about &&
		    r->s->threads[i].doing != RUNS &&
		    !r->s->threads[i].outside)
			return &r->s->threads[i];
	return NULL;
}

/* Somebody who could end t's wait, and in turn waits for t's end. */
struct thread *who_waits_for(const struct report *r, const struct thread *t)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *u = &r->s->threads[i];

		if (t->freed_by[i] && u != t &&
		    (u->about == CHILD || u->about == JOIN) &&
		    u->freed_by[t - r->s->threads])
			return u;
	}
	return NULL;
}

#define NAME(t) name_of(r->s, t)

static const char *at(const struct thread *t)
{
	return t->line[0] ? t->line : "a line that is not known";
}

/* ---- who does not wait ------------------------------------------------- */

static struct thread *burns(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (!t->busy)
			continue;
		fprintf(r->f, "%s does not wait, it burns CPU time. Either it"
			" has much to do, or a loop never ends: %s.",
			NAME(t), at(t));
		return t;
	}
	return NULL;
}

static struct thread *is_stopped(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (t->state != 'T')
			continue;
		fprintf(r->f, "%s is stopped by a signal, and goes on only"
			" after SIGCONT.", NAME(t));
		return t;
	}
	return NULL;
}

static struct thread *goes_on(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (!t->timed && !t->moved)
			continue;
		fprintf(r->f, "This is not stuck: %s %s.", NAME(t), t->timed ?
			"waits with a time limit and goes on by itself,"
			" perhaps again and again" : "moves");
		return t;
	}
	return NULL;
}

/* ---- who waits for itself, or for others elsewhere --------------------- */

static struct thread *for_itself(const struct report *r)
{
	struct thread *t = r->n == 1 ? r->circle[0] : NULL;

	if (t == NULL)
		return NULL;
	if (t->about == MUTEX || t->about == FILE_LOCK)
		fprintf(r->f, "%s wants a lock that it holds already", NAME(t));
	else if (t->about == PIPE_EMPTY)
		fprintf(r->f, "%s waits for data, or for the end of the data,"
			" on a pipe whose write end is open nowhere but in"
			" itself", NAME(t));
	else if (t->about == PIPE_FULL)
		fprintf(r->f, "%s writes into a full pipe that nobody but"
			" itself could read", NAME(t));
	else
		fprintf(r->f, "Nobody but %s itself could end its wait",
			NAME(t));
	fprintf(r->f, ": it waits for itself.");
	return t;
}

static struct thread *from_outside(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (!t->outside)
			continue;
		fprintf(r->f, "%s waits for something that comes from outside:"
			" %s.", NAME(t), t->what);
		return t;
	}
	return NULL;
}

/* ---- what nobody is left to do ----------------------------------------- */

static struct thread *never_posted(const struct report *r)
{
	struct thread *t = first_about(r, SEMAPHORE);

	if (t == NULL)
		return NULL;
	fprintf(r->f, "%s waits until somebody posts the semaphore, and nobody"
		" is left to do it: %s.", NAME(t), r->s->n_threads > 1 ?
		"everybody else waits too" : "there is no other process");
	return t;
}

static struct thread *never_signalled(const struct report *r)
{
	struct thread *t = first_about(r, CONDITION);

	if (t == NULL)
		return NULL;
	fprintf(r->f, "%s waits for a condition variable, and nobody is left"
		" to signal it. A signal that comes before the wait is not"
		" kept.", NAME(t));
	return t;
}

static struct thread *never_opened(const struct report *r)
{
	struct thread *t = first_about(r, FIFO);

	if (t != NULL)
		fprintf(r->f, "%s waits for %s, and nobody is left to do it.",
			NAME(t), t->what);
	return t;
}

static struct thread *never_sent(const struct report *r)
{
	struct thread *t = first_about(r, SIGNAL);

	if (t != NULL)
		fprintf(r->f, "%s waits for a signal, and nobody is left to"
			" send one.", NAME(t));
	return t;
}

static struct thread *anything(const struct report *r)
{
	fprintf(r->f, r->n > 1 ? "Each waits for the next one, and nobody can"
				 " begin."
			       : "Everybody waits, and nobody is left who"
				 " could end the wait.");
	return r->n > 1 ? r->circle[0] : NULL;
}

struct thread *tell_reason(const struct report *r)
{
	static struct thread *(*const known[])(const struct report *r) = {
		opposite_order, for_itself, holder_died, is_stopped, burns,
		goes_on, not_shared, only_for_threads, holder_waits,
		pipe_is_full, from_outside, peer_is_silent, no_end_of_data,
		never_posted, never_signalled, never_opened, never_sent,
	};
	struct thread *t;

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if ((t = known[i](r)) != NULL)
			return t;
	return anything(r);
}
