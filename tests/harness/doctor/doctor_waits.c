/* What each thread waits for, and who could end its wait. */
#include "doctor_parts.h"

#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

void tell(struct thread *t, const char *format, ...)
{
	size_t used = strlen(t->what);
	va_list args;

	va_start(args, format);
	vsnprintf(t->what + used, sizeof t->what - used, format, args);
	va_end(args);
}

enum { LISTED = 4 };

void list_add(struct list *l, const char *format, ...)
{
	char item[100];
	va_list args;

	va_start(args, format);
	vsnprintf(item, sizeof item, format, args);
	va_end(args);
	if (l->n++ < LISTED)
		tell(l->of, "%s%s", l->n > 1 ? ", " : "", item);
}

void list_end(struct list *l)
{
	if (l->n > LISTED)
		tell(l->of, " and %d more", l->n - LISTED);
}

void may_free(struct scene *s, struct thread *t, const struct proc *p)
{
	for (int i = 0; i < s->n_threads; i++)
		if (s->threads[i].of == p)
			t->freed_by[i] = true;
}

/* ---- children ---------------------------------------------------------- */

static void wait_for_one(struct scene *s, struct thread *t, pid_t pid)
{
	struct proc *child = proc_of(s, pid);

	tell(t, "%s to end", child ? child->role : "a process");
	if (child != NULL)
		may_free(s, t, child);
}

static void wait_for_any(struct scene *s, struct thread *t)
{
	struct list l = { .of = t };

	tell(t, "a child to end: ");
	for (int i = 0; i < s->n_procs; i++) {
		struct proc *p = &s->procs[i];

		if (p->parent != t->of->pid || has_ended(p))
			continue;
		list_add(&l, "%s", p->role);
		may_free(s, t, p);
	}
	list_end(&l);
	if (l.n == 0)
		tell(t, "it has none");
}

static void wait_for_child(struct scene *s, struct thread *t)
{
	bool waitid = t->number == SYS_waitid;
	pid_t pid = waitid ? (pid_t)t->a[1] : (pid_t)t->a[0];

	t->about = CHILD;
	if (waitid && t->a[0] == P_PIDFD)
		wait_for_end(s, t, pid, true);
	else if (pid > 0 && (!waitid || t->a[0] == P_PID))
		wait_for_one(s, t, pid);
	else
		wait_for_any(s, t);
}

/* ---- all --------------------------------------------------------------- */

static void wait_for_opener(struct thread *t)
{
	unsigned long at = t->a[1];
	char path[200] = "";

#ifdef SYS_open
	if (t->number == SYS_open)
		at = t->a[0];
#endif
	for (size_t i = 0; i < sizeof path - 1; i++)
		if (!read_memory(t->of->pid, at + i, &path[i], 1) ||
		    path[i] == '\0')
			break;
	t->about = FIFO;
	tell(t, "somebody to open the other end of %s", path);
}

/* Calls of which no more is known than what they are for. */
static void wait_for_something(struct thread *t)
{
	static const struct { const char *call, *what; } known[] = {
		{ "accept", "somebody to connect" },
		{ "semop", "semaphores of System V to be posted" },
		{ "msgsnd", "room in a queue of messages" },
		{ "msgrcv", "a message" },
		{ "mq_send", "room in a queue of messages" },
		{ "mq_receive", "a message" },
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(t->call, known[i].call) == 0)
			tell(t, "%s", known[i].what);
}

static void find_wait(struct scene *s, struct thread *t)
{
	switch (t->doing) {
	case READS:
		wait_for_end(s, t, (int)t->a[0], true);
		break;
	case WRITES:
		wait_for_end(s, t, (int)t->a[0], false);
		break;
	case OPENS:
		wait_for_opener(t);
		break;
	case WAITS_FOR_CHILD:
		wait_for_child(s, t);
		break;
	case FUTEX:
		wait_for_lock(s, t);
		break;
	case POLLS:
		wait_for_many(s, t);
		break;
	case LOCKS_FILE:
		wait_for_file_lock(s, t);
		break;
	case WAITS_FOR_SIGNAL:
		t->about = SIGNAL;
		tell(t, "a signal");
		break;
	case SOMETHING:
		wait_for_something(t);
		break;
	case RUNS: case SLEEPS:
		break;
	}
}

void find_waits(struct scene *s)
{
	for (int i = 0; i < s->n_threads; i++) {
		struct thread *t = &s->threads[i];
		int others = 0;

		if (t->at_gate)
			t->about = GATE;
		else
			find_wait(s, t);
		/* who is one of several does not wait for itself */
		for (int k = 0; k < s->n_threads; k++)
			others += k != i && t->freed_by[k];
		if (others > 0)
			t->freed_by[i] = false;
	}
}
