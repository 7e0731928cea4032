/*
 * Locks and semaphores in memory. The kernel knows only the address of a
 * number that shall change; the rest is read from glibc's objects, as little
 * as can be: the holder that a mutex notes.
 */
#include "doctor_parts.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

/* ---- where it lies ----------------------------------------------------- */

/* Fills the thread's object, the same words in all who mean the same. */
static void find_place(struct thread *t, unsigned long at)
{
	unsigned long from, to, offset, inode;
	char path[64], line[512], perms[8], device[16], name[128];
	FILE *maps;

	snprintf(path, sizeof path, "/proc/%d/maps", t->of->pid);
	snprintf(t->object, sizeof t->object, "%d %#lx", t->of->pid, at);
	maps = fopen(path, "re");
	while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
		name[0] = '\0';
		if (sscanf(line, "%lx-%lx %7s %lx %15s %lu %127[^\n]", &from,
			   &to, perms, &offset, device, &inode, name) < 6 ||
		    at < from || at >= to)
			continue;
		t->private_lock = perms[3] == 'p';
		if (!t->private_lock)
			snprintf(t->object, sizeof t->object, "%s %lu %lu %s",
				 device, inode, at - from + offset, name);
	}
	if (maps != NULL)
		fclose(maps);
}

/* "mutex A", "mutex B": in the order in which they are met */
static void tell_lock(struct scene *s, struct thread *t, const char *kind)
{
	const char *named = strstr(t->object, "/dev/shm/sem.");
	char letter = 'A';

	for (struct thread *u = s->threads; u < t; u++) {
		bool first = u->about == t->about;

		if (first && strcmp(u->object, t->object) == 0)
			break;
		for (struct thread *v = s->threads; v < u && first; v++)
			first = v->about != t->about ||
				strcmp(v->object, u->object) != 0;
		letter += first;
	}
	if (named != NULL)
		tell(t, "the %s /%s", kind, named + strlen("/dev/shm/sem."));
	else
		tell(t, "%s %c", kind, letter);
}

/* ---- who holds it ------------------------------------------------------ */

static pid_t noted_holder(const struct thread *t, unsigned long at)
{
	size_t owner = offsetof(pthread_mutex_t, __data.__owner);
	uint32_t word = 0, holder = 0;

	read_memory(t->of->pid, at, &word, sizeof word);
	read_memory(t->of->pid, at + owner, &holder, sizeof holder);
	if (holder != 0)
		return holder;
	word &= FUTEX_TID_MASK;		/* robust ones note it here */
	return word > 2 ? (pid_t)word : 0;
}

void tell_holder(struct scene *s, struct thread *t, pid_t holder,
		 const void *pc)
{
	struct thread *u = thread_of(s, holder);
	struct proc *p = proc_of(s, holder);

	if (holder == 0)
		return;
	if (u != NULL) {
		t->freed_by[u - s->threads] = true;
		tell(t, ", which %s holds", u == t ? "it itself" :
		     name_of(s, u));
	} else if ((p != NULL && has_ended(p)) || kill(holder, 0) != 0) {
		t->dead_holder = holder;
		if (p != NULL)
			tell(t, ", which %s took before it ended", p->role);
		else
			tell(t, ", which process %d took before it ended",
			     holder);
	} else {
		t->outside = true;
		tell(t, ", which process %d holds", holder);
	}
	if (pc != NULL)
		tell(t, " (taken at %s)", s->hints->line(pc));
}

/* The mutex itself knows best: what is known otherwise may be about another
 * one, at the same address in another process. */
static void wait_for_mutex(struct scene *s, struct thread *t, unsigned long at)
{
	const struct doctor_hints *h = s->hints;
	const void *pc = NULL;
	pid_t known = h && h->holder ? h->holder(at, &pc) : 0;
	pid_t holder = noted_holder(t, at);

	if (holder != 0 && holder != known)
		pc = NULL;
	t->about = MUTEX;
	tell_lock(s, t, "mutex");
	tell_holder(s, t, holder ? holder : known, pc);
}

static void wait_for_semaphore(struct scene *s, struct thread *t,
			       unsigned long at)
{
	const struct doctor_hints *h = s->hints;
	const void *pc = NULL;
	pid_t holder = h && h->holder ? h->holder(at, &pc) : 0;
	struct thread *u;

	t->about = SEMAPHORE;
	tell_lock(s, t, "semaphore");
	tell(t, ", which is 0, to be posted");
	if (holder == 0)
		return;
	u = thread_of(s, holder);
	tell(t, "; %s got through it last, at %s", u == NULL ?
	     "one that has ended" : u == t ? "it itself" : name_of(s, u),
	     h->line(pc));
	if (u != NULL && u != t)
		t->freed_by[u - s->threads] = true;
}

/* ---- the kinds of futex ------------------------------------------------ */

/* glibc's semaphore: its value, and behind it how many wait for it */
static bool looks_like_semaphore(const struct thread *t)
{
	uint32_t words[2];

	return (t->a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET &&
	       t->a[2] == 0 && read_memory(t->of->pid, t->a[0], words,
					   sizeof words) &&
	       words[0] == 0 && words[1] > 0 && words[1] < 10000;
}

static bool looks_like_mutex(const struct thread *t)
{
	uint32_t op = t->a[1] & FUTEX_CMD_MASK, value = t->a[2];

	return (op == FUTEX_WAIT && value == 2) || op == FUTEX_LOCK_PI ||
	       (value & FUTEX_WAITERS);
}

static bool looks_like_join(struct scene *s, const struct thread *t)
{
	struct thread *u = thread_of(s, (pid_t)t->a[2]);

	return u != NULL && u->of == t->of && u != t;
}

static void guess_call(struct scene *s, struct thread *t)
{
	if (strcmp(t->call, "futex") != 0)
		return;
	snprintf(t->call, sizeof t->call, "%s",
		 looks_like_join(s, t) ? "pthread_join" :
		 looks_like_mutex(t) ? "pthread_mutex_lock" :
		 looks_like_semaphore(t) ? "sem_wait" : "futex");
}

/* By the call, where the stack told it; else by how glibc waits. */
static enum about kind_of(const struct thread *t)
{
	static const struct {
		const char *word;
		enum about about;
	} kinds[] = {
		{ "mutex", MUTEX }, { "sem_", SEMAPHORE },
		{ "barrier", BARRIER }, { "join", JOIN },
	};

	/* woken, it takes its mutex again before it returns */
	if (strstr(t->call, "cond_") != NULL)
		return looks_like_mutex(t) ? MUTEX : CONDITION;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strstr(t->call, kinds[i].word) != NULL)
			return kinds[i].about;
	return MEMORY;
}

static void wait_for_memory(struct scene *s, struct thread *t,
			    unsigned long at)
{
	uint32_t value = 0;

	t->about = MEMORY;
	if (strstr(t->call, "rwlock") != NULL) {
		tell_lock(s, t, "read-write lock");
		return;
	}
	tell_lock(s, t, "number");
	tell(t, " in memory to change");
	if (read_memory(t->of->pid, at, &value, sizeof value))
		tell(t, "; it is %u", value);
}

void wait_for_lock(struct scene *s, struct thread *t)
{
	unsigned long at = t->a[0];
	struct thread *joined = thread_of(s, (pid_t)t->a[2]);
	enum about about;

	find_place(t, at);
	guess_call(s, t);
	about = t->about = kind_of(t);
	if (about == MUTEX) {
		wait_for_mutex(s, t, at);
	} else if (about == SEMAPHORE) {
		wait_for_semaphore(s, t, at);
	} else if (about == CONDITION) {
		tell_lock(s, t, "condition variable");
		tell(t, " to be signalled");
	} else if (about == BARRIER) {
		tell(t, "the others to arrive at a barrier");
	} else if (about == JOIN) {
		tell(t, "%s to end",
		     joined ? name_of(s, joined) : "a thread");
		if (joined != NULL)
			t->freed_by[joined - s->threads] = true;
	} else {
		wait_for_memory(s, t, at);
	}
	for (int i = 0; i < s->n_threads; i++)
		if (s->threads[i].of == t->of && &s->threads[i] != t)
			t->private_lock = false;	/* threads share it */
	t->private_wait = (t->a[1] & FUTEX_PRIVATE_FLAG) && !t->private_lock &&
			  s->n_procs > 1 && about != JOIN;
	if (t->private_wait)
		tell(t, "; only threads of its own process can end this wait");
	if (t->private_lock && s->n_procs > 1)
		tell(t, "; it lies in memory that no other process shares");
}
