/* The sentences about pipes and sockets: see doctor_reason.c. */
#include "doctor_parts.h"

#include <string.h>

#define NAME(t) name_of(r->s, t)

static bool is_full(const struct thread *t)
{
	return t->about == PIPE_FULL || t->about == SOCKET_FULL;
}

/* Somebody who should read what t writes, but writes itself. */
static struct thread *who_writes_too(const struct report *r,
				     const struct thread *t)
{
	for (int i = 0; i < r->s->n_threads; i++)
		if (t->freed_by[i] && &r->s->threads[i] != t &&
		    is_full(&r->s->threads[i]))
			return &r->s->threads[i];
	return NULL;
}

struct thread *pipe_is_full(const struct report *r)
{
	struct thread *t = first_about(r, PIPE_FULL), *u;
	const char *what = t ? "pipe" : "socket";

	if (t == NULL)
		t = first_about(r, SOCKET_FULL);
	if (t == NULL)
		return NULL;
	if ((u = who_waits_for(r, t)) != NULL)
		fprintf(r->f, "The %s is full: %s goes on only when %s reads,"
			" and %s reads only after %s has ended.", what,
			NAME(t), NAME(u), NAME(u), NAME(t));
	else if ((u = who_writes_too(r, t)) != NULL)
		fprintf(r->f, "%s and %s both write, and neither reads what"
			" the other has written already.", NAME(t), NAME(u));
	else
		fprintf(r->f, "The %s is full, %s cannot write any more, and"
			" nobody who could read it does.", what, NAME(t));
	return t;
}

struct thread *peer_is_silent(const struct report *r)
{
	struct thread *t = first_about(r, SOCKET_EMPTY), *u;

	for (int i = 0; t != NULL && i < r->s->n_threads; i++) {
		u = &r->s->threads[i];
		if (!t->freed_by[i] || u == t)
			continue;
		if (u->about == SOCKET_EMPTY &&
		    strcmp(u->object, t->object) == 0)
			fprintf(r->f, "%s waits for %s to say something, and %s"
				" for %s: neither speaks first.", NAME(t),
				NAME(u), NAME(u), NAME(t));
		else
			fprintf(r->f, "%s waits for %s to say something, and %s"
				" is silent: it waits in %s.", NAME(t),
				NAME(u), NAME(u), u->call);
		return t;
	}
	return NULL;
}

struct thread *no_end_of_data(const struct report *r)
{
	struct thread *t = first_about(r, PIPE_EMPTY), *u = NULL;

	for (int i = r->s->n_threads - 1; i >= 0; i--)	/* the plainest case */
		if (r->s->threads[i].about == PIPE_EMPTY &&
		    r->s->threads[i].holds_other_end)
			t = &r->s->threads[i];
	if (t == NULL)
		return NULL;
	u = who_waits_for(r, t);
	if (t->holds_other_end)
		fprintf(r->f, "The end of the data comes when nobody holds the"
			" pipe's write end open any more, and %s, which waits"
			" for it, holds it itself.", NAME(t));
	else if (u != NULL)
		fprintf(r->f, "%s waits for more data or for their end, and %s,"
			" which could give it either, waits for %s to end. (An"
			" end mark that another reader took is gone.)",
			NAME(t), NAME(u), NAME(t));
	else
		fprintf(r->f, "The end of the data comes when nobody holds the"
			" pipe's write end open any more. Who still does, does"
			" not write, but waits too.");
	return t;
}
