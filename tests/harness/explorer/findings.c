/*
 * What the record of a schedule says about what was found: which accesses,
 * who waits for what, and what was lost.
 */
#include "story.h"

#include "internal.h"

/*
 * The last thing that task read there, before event i, and whether another
 * one has written since: then i writes over what its task has not seen.
 */
int story_stale_read(int i)
{
	const struct event *w = &arena->events[i], *e;
	bool overtaken = false;

	for (int k = i - 1; k >= 0; k--) {
		e = &arena->events[k];
		if (!is_access(e) || !same_place(e->place, w->place))
			continue;
		if (e->task != w->task)
			overtaken |= is_write(e) && e->value != e->before;
		else
			return overtaken && !is_write(e) ? k : NOBODY;
	}
	return NOBODY;
}

static int first_overwriting(int *read)
{
	for (int i = first_fork(); i < arena->n_events; i++) {
		if (!is_write(&arena->events[i]))
			continue;
		*read = story_stale_read(i);
		if (*read != NOBODY)
			return i;
	}
	return NOBODY;
}

static struct step step_of(int i)
{
	const struct event *e = &arena->events[i];

	return (struct step){
		.who = arena->tasks[e->task].name, .pc = e->pc,
		.writes = is_write(e), .locks = e->locks,
		.atomic = e->what == ATOMIC_READ || e->what == ATOMIC_WRITE,
		.lock = e->lock.offset ^ ((unsigned long)e->lock.object << 48),
		.lock_private = e->lock_private,
	};
}

/* Is it a thread beside others? */
static bool has_company(const struct task *t)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (&arena->tasks[i] != t &&
		    arena->tasks[i].process == t->process)
			return true;
	return false;
}

static void look_at_waiter(struct finding *f, const struct task *t)
{
	struct sync *s = sync_known(t->waits_for);

	if (f->first.who == NULL)
		f->first = (struct step){ .who = t->name, .pc = t->pc };
	else if (f->second.who == NULL)
		f->second = (struct step){ .who = t->name, .pc = t->pc };
	f->of_dead |= arena->killed_one;
	if (s == NULL)
		return;
	f->waits_private |= s->kind != NULL && !s->shared &&
			    s->owner != (int)(t - arena->tasks) &&
			    !(is_private(t->waits_for) && has_company(t));
	f->of_self |= s->owner == (int)(t - arena->tasks);
	f->lost_wakeup |= t->queued && s->signals > 0;
}

void story_finding(struct finding *f)
{
	int read, write;

	*f = (struct finding){ .how = arena->found,
			       .undisturbed = arena->planned == 0,
			       .killed = arena->killed_one,
			       .signal = arena->found == FOUND_CRASH ?
					 arena->crash_signal : 0 };
	if (f->how == FOUND_RACE) {
		f->first = step_of(arena->race[0]);
		f->second = step_of(arena->race[1]);
		return;
	}
	for (int i = 0; f->how == FOUND_STUCK && i < arena->n_tasks; i++)
		if (arena->tasks[i].state == WAITING)
			look_at_waiter(f, &arena->tasks[i]);
	if (f->how == FOUND_SPIN)
		f->first = (struct step){
			.who = arena->tasks[arena->running].name,
			.pc = arena->tasks[arena->running].pc };
	if (f->how != FOUND_WRONG)
		return;
	write = first_overwriting(&read);
	f->overwritten = write != NOBODY;
	if (f->overwritten) {
		f->first = step_of(read);
		f->second = step_of(write);
	}
}

static const struct decision *first_deviation(void)
{
	return arena->planned > 0 ? &arena->decisions[arena->plan[0].at] : NULL;
}

const char *story_where(const struct finding *f)
{
	const struct decision *d = first_deviation();
	const void *pc = f->second.pc;
	const char *line;

	if (d != NULL && d->pc != NULL && !f->overwritten &&
	    f->how != FOUND_RACE)
		pc = d->pc;
	if (pc == NULL)
		pc = f->first.pc;
	line = source_line(pc);
	if (line[0] == '\0')
		return line;
	if (f->overwritten)
		return text("%s, paused between its read and its write", line);
	if (d == NULL || f->how == FOUND_RACE || pc != d->pc)
		return line;
	return text("%s, where %s was %s", line, arena->tasks[d->task].name,
		    arena->plan[0].act == KILL ? "killed" :
		    arena->plan[0].act == SIGNAL ? "interrupted" : "paused");
}
