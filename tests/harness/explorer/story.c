/*
 * The story of a schedule, from its record: who did what in which line, with
 * which values, where somebody was paused, and what was lost by it. Here are
 * its rows; story_show.c writes them, story_picture.c draws them.
 */
#include "story.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row story_rows[ROWS];
int story_n_rows;

static struct row *add_row(int task, bool mark, const void *pc)
{
	int i = story_n_rows < ROWS - 1 ? story_n_rows++ : ROWS - 1;
	struct row *r = &story_rows[i];

	*r = (struct row){ .task = task, .mark = mark, .pc = pc, .times = 1 };
	if (pc != NULL)
		story_line(pc);
	return r;
}

/* Good until the next call: a story has more of them than text() holds. */
static const char *digits(const char *format, long n)
{
	static char s[24];

	snprintf(s, sizeof s, format, n);
	return s;
}

static const char *number(const struct event *e)
{
	/* where memory lies is another thing in each run */
	if (e->size == 8 && e->value >> 32 >= 0x5000 && e->value >> 48 == 0)
		return "an address";
	if (e->size == 8 && llabs((long long)e->value) >> 40 != 0)
		return "a large number";
	return digits(e->size == 8 || e->size == 4 ? "%ld" : "%#lx",
		      (long)e->value);
}

static void tell_access(struct row *r, int i)
{
	const struct event *e = &arena->events[i];
	const char *verb = is_write(e) ? "writes" : "reads";
	int read = is_write(e) ? story_stale_read(i) : NOBODY;

	if (e->size > 8)
		snprintf(r->text, sizeof r->text, "%s %d bytes", verb, e->size);
	else
		snprintf(r->text, sizeof r->text, "%s %s%s%s", verb, number(e),
			 e->what >= ATOMIC_READ ? ", atomically" : "",
			 read == NOBODY ? "" :
			 "  <- over what it has not seen");
}

static bool waits_for_child(const struct event *e)
{
	return strncmp(e->call, "wait", 4) == 0 && (pid_t)e->value > 0;
}

static const char *name_of_pid(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid)
			return arena->tasks[i].name;
	return "a child";
}

static void tell_call(struct row *r, const struct event *e)
{
	struct sync *s = sync_known(e->place);
	const char *kind = s != NULL && s->kind != NULL ? s->kind : "lock";

	switch (e->what) {
	case LOCKS:
		snprintf(r->text, sizeof r->text, "has the %s%s%s", kind,
			 is_private(e->place) ? " (its own copy of it)" : "",
			 e->value != 0 ? ", whose owner had died" : "");
		break;
	case UNLOCKS:
		snprintf(r->text, sizeof r->text, "gives the %s back", kind);
		break;
	case WAITS:
		snprintf(r->text, sizeof r->text, "%s: is about to wait",
			 e->call);
		break;
	case WAKES:
		snprintf(r->text, sizeof r->text, "%s: wakes %s", e->call,
			 e->value == 0 ? "nobody" :
			 digits("%ld", (long)e->value));
		break;
	case STARTS:
		snprintf(r->text, sizeof r->text, "starts %s",
			 arena->tasks[e->value].name);
		break;
	case CALLS:
		if (waits_for_child(e))
			snprintf(r->text, sizeof r->text,
				 "%s: has collected %s", e->call,
				 name_of_pid((pid_t)e->value));
		else
			snprintf(r->text, sizeof r->text, "%s: %ld", e->call,
				 (long)e->value);
		break;
	case ENDS:
		snprintf(r->text, sizeof r->text, "ends");
		break;
	case SLEEPS:
		snprintf(r->text, sizeof r->text, "%s: pauses", e->call);
		break;
	}
}

static void tell_deviation(const struct deviation *v)
{
	const struct decision *d = &arena->decisions[v->at];
	const char *who = arena->tasks[d->task].name,
		   *other = arena->tasks[v->task].name;
	struct row *r = add_row(d->task, true, d->pc);

	switch (v->act) {
	case SWITCH:
		snprintf(r->text, sizeof r->text, d->free ?
			 "%s waits; %s goes on" :
			 "%s is paused here; %s goes on", who, other);
		break;
	case TIME_OUT:
		snprintf(r->text, sizeof r->text,
			 "the time of %s runs out", other);
		break;
	case KILL:
		snprintf(r->text, sizeof r->text, "%s is killed here", who);
		break;
	case SIGNAL:
		snprintf(r->text, sizeof r->text, "%s gets a signal here", who);
		break;
	case SPURIOUS:
		snprintf(r->text, sizeof r->text,
			 "the wait of %s ends for no reason", who);
		break;
	}
}

/* Does more than one task touch it, and one of them write to it? */
static bool concerns_several(const struct event *e)
{
	bool written = false, by_another = false;
	const struct event *other;

	for (int i = first_fork(); i < arena->n_events; i++) {
		other = &arena->events[i];
		if (!same_place(other->place, e->place))
			continue;
		written |= is_write(other);
		by_another |= other->task != e->task;
	}
	return written && by_another;
}

static bool same_again(const struct row *r, int task, const void *pc,
		       const char *was)
{
	return !r->mark && r->task == task && r->pc == pc &&
	       strcmp(r->text, was) == 0;
}

static void add_event(int i)
{
	const struct event *e = &arena->events[i];
	struct row *r;

	if (is_access(e) && !concerns_several(e))
		return;
	if (e->what == CALLS && e->place.object == 0 && !waits_for_child(e) &&
	    strcmp(e->call, "kill") != 0)
		return;
	if (e->what == ENDS && (e->task == 0 || e->pc == NULL))
		return;		/* said elsewhere */
	r = add_row(e->task, false, e->what == ENDS ? NULL : e->pc);
	if (is_access(e))
		tell_access(r, i);
	else
		tell_call(r, e);
	if (story_n_rows >= 2 && same_again(r - 1, e->task, e->pc, r->text)) {
		story_n_rows--;
		(r - 1)->times++;
	}
}

/* ", for a mutex that process B holds" */
static void add_holder(struct row *r, const struct task *t)
{
	const struct sync *s = t->waits_for.object ? sync_known(t->waits_for)
						   : NULL;
	const struct task *holder;
	size_t used = strlen(r->text);

	if (s == NULL || s->kind == NULL || s->owner == NOBODY)
		return;
	holder = &arena->tasks[s->owner];
	snprintf(r->text + used, sizeof r->text - used, ", for a %s that %s %s",
		 s->kind, holder == t ? "it" : holder->name,
		 holder == t ? "holds itself" :
		 holder->state == ENDED ? "held when it ended" : "holds");
}

static void add_outcome(void)
{
	const struct task *t;
	struct row *r;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (arena->found != FOUND_STUCK || t->state != WAITING)
			continue;
		r = add_row(i, true, t->pc);
		snprintf(r->text, sizeof r->text, "%s waits for ever in %s",
			 t->name, t->call ? t->call : "a call");
		add_holder(r, t);
	}
	if (arena->found == FOUND_RACE) {
		r = add_row(arena->events[arena->race[1]].task, true, NULL);
		snprintf(r->text, sizeof r->text, "nothing puts these two in "
			 "order: %s and %s",
			 arena->tasks[arena->events[arena->race[0]].task].name,
			 arena->tasks[arena->events[arena->race[1]].task].name);
	}
	if (arena->got[0] != '\0')
		snprintf(add_row(0, true, NULL)->text, sizeof r->text,
			 "in the end: %.140s", arena->got);
}

void story_make_rows(void)
{
	int from = first_fork(), to = arena->n_events, next = 0;

	story_n_rows = 0;
	story_forget_lines();
	if (arena->found == FOUND_RACE)
		to = arena->race[1] + 1;
	for (int i = from; i <= to; i++) {
		while (next < arena->planned &&
		       arena->plan[next].at < arena->n_decisions &&
		       arena->decisions[arena->plan[next].at].event <= i)
			tell_deviation(&arena->plan[next++]);
		if (i < to)
			add_event(i);
	}
	add_outcome();
	story_look_up_lines();
}
