/* The sentences about locks: see doctor_reason.c. */
#include "doctor_parts.h"

#define NAME(t) name_of(r->s, t)

struct thread *opposite_order(const struct report *r)
{
	for (int i = 0; i < r->n; i++)
		if (r->circle[i]->about != MUTEX &&
		    r->circle[i]->about != SEMAPHORE &&
		    r->circle[i]->about != FILE_LOCK)
			return NULL;
	if (r->n < 2)
		return NULL;
	fprintf(r->f, "Each holds the lock that the next one wants: they take"
		" the same locks in different orders.");
	return r->circle[0];
}

struct thread *holder_died(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (t->dead_holder == 0)
			continue;
		fprintf(r->f, "%s waits for a lock whose holder has ended"
			" without giving it back.", NAME(t));
		return t;
	}
	return NULL;
}

struct thread *holder_waits(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];
		struct thread *u = who_waits_for(r, t);

		if ((t->about != MUTEX && t->about != FILE_LOCK) || u == NULL)
			continue;
		fprintf(r->f, "%s wants the lock that %s holds, and %s waits"
			" for %s to end.", NAME(t), NAME(u), NAME(u), NAME(t));
		return t;
	}
	return NULL;
}

struct thread *not_shared(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (!t->private_lock || r->s->n_procs < 2 ||
		    (t->about != SEMAPHORE && t->about != MUTEX &&
		     t->about != CONDITION && t->about != BARRIER))
			continue;
		fprintf(r->f, "What %s waits for lies in memory of its own:"
			" what another process does to its copy, it never"
			" sees.", NAME(t));
		return t;
	}
	return NULL;
}

struct thread *only_for_threads(const struct report *r)
{
	for (int i = 0; i < r->s->n_threads; i++) {
		struct thread *t = &r->s->threads[i];

		if (!t->private_wait)
			continue;
		fprintf(r->f, "%s waits for something in shared memory that"
			" was made for the threads of one process: what"
			" another process does to it wakes nobody here.",
			NAME(t));
		return t;
	}
	return NULL;
}
