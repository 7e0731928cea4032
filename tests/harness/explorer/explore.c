/*
 * What the test program asks for: explore, and say in the failure what was
 * found.
 */
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fl.h"
#include "internal.h"
#include "story.h"

struct total *explore_total;

static void *map_shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fl_die("cannot map the explorer's memory");
	return at;
}

long explore_schedules(void)
{
	return explore_total == NULL ? 0 : explore_total->schedules;
}

/* One line for each test program, which make check adds up. */
static void report_total(void)
{
	const char *path = getenv("EXPLORED");
	FILE *f = path != NULL ? fopen(path, "ae") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%ld %.3f\n", explore_total->schedules,
		explore_total->seconds);
	fclose(f);
}

static void write_story(const char *variable, void (*write)(FILE *out))
{
	const char *path = getenv(variable);
	FILE *f = path != NULL ? fopen(path, "we") : NULL;

	if (f == NULL)
		return;
	write(f);
	fclose(f);
}

static const char *general_why(const struct finding *f)
{
	switch (f->how) {
	case FOUND_RACE:
		return "Two processes use the same memory, one of them to "
		       "write it, and nothing puts the two in an order.";
	case FOUND_STUCK:
		return f->waits_private ? "What they wait at was made for "
			"threads of one process: nobody in another process "
			"is ever woken by it." :
		       f->of_dead ? "Somebody died while the others depended "
			"on it, and they wait for ever." :
		       f->of_self ? "A process waits for what only it could "
			"give." :
		       f->lost_wakeup ? "The wake-up came before the other one "
			"slept, and nobody keeps it for later." :
		       "Everybody waits, and nobody is left who could end it.";
	case FOUND_SPIN:
		return "Somebody goes round and round, and what it looks for "
		       "never comes.";
	case FOUND_CRASH:
		return "In this order a process is killed by its own fault.";
	case FOUND_EXIT:
		return "Your function ended the process that called it.";
	default:
		return f->overwritten ? "A value was written over another one "
			"that the writer had not seen." :
		       "In this order of events the result is wrong.";
	}
}

static const char *what_came_out(const struct finding *f)
{
	switch (f->how) {
	case FOUND_RACE:
		return "two accesses that nothing puts in order";
	case FOUND_STUCK:
		return "everybody waits for ever";
	case FOUND_SPIN:
		return "it goes on for ever";
	case FOUND_CRASH:
		return text("killed by %s", f->signal != 0 ?
			    strsignal(f->signal) : "a signal");
	case FOUND_EXIT:
		return "the caller has ended";
	default:
		return arena->got;
	}
}

/* In the fence, of which the callers are children. */
static void search_it(void *unused)
{
	(void)unused;
	search_plans();
}

void explore_try(const struct exploration *e, struct finding *f)
{
	if (arena == NULL) {
		arena = map_shared(sizeof *arena);
		explore_total = map_shared(sizeof *explore_total);
		atexit(report_total);
	}
	arena->exploration = e;
	arena->found = FOUND_NOTHING;
	fence(&(struct fence){ .scenario = search_it, .limit = 300 });
	story_finding(f);
}

void explore(const struct exploration *e)
{
	const char *why = NULL;
	struct finding f;

	explore_try(e, &f);
	if (f.how == FOUND_NOTHING)
		return;
	if (f.how == FOUND_BLIND)
		skip_check("not exercised: your code waits in a way that "
			   "cannot be scheduled");
	write_story("STORY", story_write);
	write_story("PICTURE", story_picture);
	if (e->why != NULL)
		why = e->why(&f);
	fail_check("fail", why != NULL ? why : general_why(&f), story_where(&f),
		   e->expected ? e->expected : "the same in every order",
		   text("%s\n%s", what_came_out(&f), story_short()));
}
