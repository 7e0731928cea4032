/* What the processes and threads are called: by their place in the tree. */
#include "doctor_parts.h"

#include <string.h>

static void name_root(struct scene *s, struct proc *p)
{
	int roots = 0, children = 0;

	for (int i = 0; i < s->n_procs; i++) {
		roots += proc_of(s, s->procs[i].parent) == NULL;
		children += s->procs[i].parent == p->pid;
	}
	if (roots > 1)
		snprintf(p->role, sizeof p->role, "process %d", p->pid);
	else
		snprintf(p->role, sizeof p->role, "%s",
			 children ? "the parent" : p->command);
}

/* "child 2"; "sort" where it is another program than its parent. */
static void name_child(struct scene *s, struct proc *p,
		       const struct proc *parent)
{
	bool same = strcmp(p->command, parent->command) == 0;
	int alike = 0, mine = 0;
	char name[48];

	for (int i = 0; i < s->n_procs; i++) {
		const struct proc *q = &s->procs[i];

		if (q->parent == p->parent &&
		    strcmp(q->command, p->command) == 0) {
			alike++;
			mine += q <= p;
		}
	}
	if (alike > 1)
		snprintf(name, sizeof name, "%s %d",
			 same ? "child" : p->command, mine);
	else
		snprintf(name, sizeof name, "%s",
			 same ? "the child" : p->command);
	if (proc_of(s, parent->parent) != NULL)
		snprintf(p->role, sizeof p->role, "%.30s of %.28s", name,
			 parent->role);
	else
		snprintf(p->role, sizeof p->role, "%s", name);
}

void name_procs(struct scene *s)
{
	const char *known;

	for (int i = 0; i < s->n_procs; i++) {
		struct proc *p = &s->procs[i];
		struct proc *parent = proc_of(s, p->parent);

		known = s->hints && s->hints->role ? s->hints->role(p->pid)
						   : NULL;
		if (known != NULL)
			snprintf(p->role, sizeof p->role, "%s", known);
		else if (parent != NULL)
			name_child(s, p, parent);
		else
			name_root(s, p);
	}
}

const char *name_of(const struct scene *s, const struct thread *t)
{
	static char names[4][100];	/* for four in one sentence */
	static int next;
	char *name = names[next++ % 4];
	int k = 1;

	if (t->tid == t->of->pid)
		return t->of->role;
	for (const struct thread *u = s->threads; u < t; u++)
		k += u->of == t->of;
	snprintf(name, sizeof names[0], "thread %d of %s", k, t->of->role);
	return name;
}
