/*
 * The search: one schedule after the other. First nobody is disturbed; then
 * each decision of that schedule is made otherwise, one at a time; then two
 * at a time, up to the number of schedules allowed.
 *
 * A plan is a list of deviations. What a schedule leaves behind is the list
 * of its decisions, from which the next plans are made.
 */
#include "search.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "fl.h"

enum {
	DEVIATIONS = 2, SCHEDULES = 400,	/* unless told otherwise */
	SHARED_PLACES = 4096,
};

/* ---- where a switch can make a difference ------------------------------ */

/*
 * Words of shared memory that several tasks have touched in any schedule up
 * to now. Somebody who goes on before an access that concerns nobody else
 * might as well have gone on later.
 */
static struct { struct place place; unsigned who; } words[SHARED_PLACES];
static int n_words;

static unsigned *word_at(struct place place)
{
	place.offset /= 8;
	for (int i = 0; i < n_words; i++)
		if (same_place(words[i].place, place))
			return &words[i].who;
	if (n_words == SHARED_PLACES)
		return NULL;
	words[n_words].place = place;
	return &words[n_words++].who;
}

static void learn_from_schedule(void)
{
	const struct event *e = arena->events;
	unsigned *who;

	for (int i = first_fork(); i < arena->n_events; i++) {
		if (e[i].place.object == 0 || e[i].what == STARTS)
			continue;
		who = word_at(e[i].place);
		if (who != NULL)
			*who |= 1u << e[i].task;
	}
}

static bool concerns_others(const struct decision *d)
{
	unsigned *who;

	if (d->free || d->place.object == 0)
		return true;
	who = word_at(d->place);
	return who == NULL || (*who & ~(1u << d->task)) != 0;
}

/* Who waits in a loop decides the same thing again and again. */
static void mark_idle(struct decision *decisions, int n)
{
	struct { const void *pc; struct place place; int changes; bool free; }
		last[TASKS];
	int changes = 0, event = 0;
	struct decision *d;

	memset(last, 0, sizeof last);
	for (int i = 0; i < n; i++) {
		d = &decisions[i];
		for (; event < d->event; event++) {
			const struct event *e = &arena->events[event];

			changes += is_write(e) ? e->value != e->before
					       : !is_access(e);
		}
		d->idle = last[d->task].pc == d->pc && d->pc != NULL &&
			  same_place(last[d->task].place, d->place) &&
			  last[d->task].free == d->free &&
			  last[d->task].changes == changes;
		last[d->task].pc = d->pc;
		last[d->task].place = d->place;
		last[d->task].free = d->free;
		last[d->task].changes = changes;
	}
}

/* ---- all plans --------------------------------------------------------- */

struct search {
	struct deviation plan[PLAN], race_plan[PLAN];
	int race_planned;	/* how many; -1: no race was seen yet */
	int depth, schedules;
};

static void visit(struct search *s, int n);

/* Something was found, or enough was tried: but all with one deviation are. */
static bool through(const struct search *s)
{
	return arena->found != FOUND_NOTHING ||
	       (s->schedules <= 0 && s->depth > 1);
}

static void deviate(struct search *s, int n, int at, enum act act, int task)
{
	if (through(s))
		return;
	s->plan[n] = (struct deviation){ at, act, task };
	visit(s, n + 1);
}

static bool kills_already(const struct search *s, int n)
{
	for (int i = 0; i < n; i++)
		if (s->plan[i].act == KILL || s->plan[i].act == SIGNAL)
			return true;
	return false;
}

static void deviate_at(struct search *s, int n, int at,
		       const struct decision *d)
{
	const struct exploration *e = arena->exploration;
	bool kills = e->kill != NULL && !kills_already(s, n);

	if (kills && d->can_be_killed && !d->idle)
		deviate(s, n, at, e->signal ? SIGNAL : KILL, d->task);
	if (kills && n + 1 == s->depth)
		return;		/* a schedule without the death says nothing */
	if (d->spurious)
		deviate(s, n, at, SPURIOUS, d->task);
	for (int task = 0; task < TASKS; task++) {
		if ((d->others >> task & 1) && !d->idle && concerns_others(d))
			deviate(s, n, at, SWITCH, task);
		if ((d->timers >> task & 1) && !d->idle)
			deviate(s, n, at, TIME_OUT, task);
	}
}

/* Run the plan of n deviations, and if it is to have more, all longer ones. */
static void visit(struct search *s, int n)
{
	struct decision *decisions;
	int count, first = n > 0 ? s->plan[n - 1].at + 1 : 0;

	s->schedules--;
	schedule_run(s->plan, n);
	if (arena->race[1] != 0 && !arena->killed_one && s->race_planned < 0) {
		memcpy(s->race_plan, s->plan, sizeof s->plan);
		s->race_planned = n;
	}
	if (through(s))
		return;
	learn_from_schedule();
	if (n == s->depth)
		return;
	count = arena->n_decisions;
	if (first < arena->first_decision)
		first = arena->first_decision;
	decisions = malloc(sizeof *decisions * (size_t)(count + 1));
	if (decisions == NULL)
		fl_die("no memory for %d decisions", count);
	memcpy(decisions, arena->decisions,
	       sizeof *decisions * (size_t)count);
	mark_idle(decisions, count);
	for (int at = first; at < count && !through(s); at++)
		deviate_at(s, n, at, &decisions[at]);
	free(decisions);
}

static void stay_on_one_core(void)
{
	cpu_set_t set, one;
	int cpu = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_ISSET(cpu, &set))
		sched_setaffinity(0, sizeof one, &one);
}

void search_plans(void)
{
	const struct exploration *e = arena->exploration;
	struct search s = { .race_planned = -1,
		.schedules = e->schedules ? e->schedules : SCHEDULES };
	int most = e->deviations ? e->deviations : DEVIATIONS;
	double start = fl_now();

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	stay_on_one_core();
	for (s.depth = 0; s.depth <= most && !through(&s); s.depth++)
		visit(&s, 0);
	if (arena->found == FOUND_NOTHING && s.race_planned >= 0) {
		schedule_run(s.race_plan, s.race_planned);
		arena->found = FOUND_RACE;
	}
	explore_total->seconds += fl_now() - start;
}
