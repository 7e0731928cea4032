/*
 * Start, join and terminate, in every order in which parent and child can
 * meet. Time is virtual: a limit may run out at any point.
 */
#include "process.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "explorer.h"
#include "harness.h"

enum { FIRST = 3, SECOND = 5 };

struct facts {
	int started, joined[4], codes[4];
	bool alive[2];
	int alive_code, handled;
};

/* ---- what runs in a child ----------------------------------------------- */

static int leave_with(void *args)
{
	explore_yield();
	return *(int *)args;
}

static int leave_after_a_while(void *args)
{
	explore_yield();
	explore_yield();
	return *(int *)args;
}

/* Not what a library put between it and us: that may be a process as well. */
static int be_the_child(void *args)
{
	explore_name("the child");
	explore_yield();
	return *(int *)args;
}

static struct process process_with(int (*target)(void *), int *code)
{
	return (struct process){ .target = target, .args = code,
				 .name = "child" };
}

/* ---- two children ------------------------------------------------------- */

static void start_two(struct facts *f, bool backwards)
{
	int codes[] = { FIRST, SECOND };
	struct process p[2];

	for (int i = 0; i < 2; i++) {
		p[i] = process_with(leave_with, &codes[i]);
		f->started += process_start(&p[i]) == 0;
	}
	for (int k = 0; k < 4; k++) {
		int i = (k + backwards) % 2;

		f->joined[k] = process_join(&p[i], -1);
		f->codes[k] = process_exitcode(&p[i]) - codes[i];
	}
}

static void join_forwards(void *shared)
{
	start_two(shared, false);
}

static void join_backwards(void *shared)
{
	start_two(shared, true);
}

static const char *each_its_own(void *shared)
{
	struct facts *f = shared;

	if (f->started != 2)
		return "a start failed";
	for (int k = 0; k < 4; k++) {
		if (f->joined[k] != 0)
			return text("join number %d returned %d", k + 1,
				    f->joined[k]);
		if (f->codes[k] != 0)
			return text("after join number %d the exit code is "
				    "not that of this child", k + 1);
	}
	return NULL;
}

static const char *why_two(const struct finding *f)
{
	return f->how != FOUND_WRONG && f->how != FOUND_STUCK ? NULL :
	       "L01-05 You waited for whichever child ended first and took it "
	       "for the one you meant.";
}

static void two_children(void)
{
	struct facts *f = shared(sizeof *f);

	for (int i = 0; i < 2; i++)
		explore(&(struct exploration){
			.scenario = i == 0 ? join_forwards : join_backwards,
			.judge = each_its_own, .shared = f, .size = sizeof *f,
			.schedules = 250, .why = why_two,
			.expected = "each join returns 0, twice, and each "
				    "handle has its own exit code" });
}

/* ---- a time limit ------------------------------------------------------- */

static void join_with_a_limit(void *shared)
{
	struct facts *f = shared;
	int code = FIRST;
	struct process p = process_with(leave_after_a_while, &code);

	f->started = process_start(&p) == 0;
	f->joined[0] = process_join(&p, 0.5);
	f->codes[0] = process_exitcode(&p);
	f->alive[0] = process_is_alive(&p);
	f->alive_code = process_exitcode(&p);
	f->joined[1] = process_join(&p, -1);
	f->codes[1] = process_exitcode(&p);
	f->alive[1] = process_is_alive(&p);
	f->joined[2] = process_join(&p, 0);
	f->codes[2] = process_exitcode(&p);
}

static const char *limit_is_no_end(void *shared)
{
	struct facts *f = shared;

	if (!f->started)
		return "the start failed";
	if (f->joined[0] != 0 && f->joined[0] != 1)
		return text("the join with a limit returned %d", f->joined[0]);
	if (f->joined[0] == 0 && f->codes[0] != FIRST)
		return text("join returned 0, and the exit code is %s",
			    f->codes[0] == PROCESS_NONE ? "none" :
			    text("%d", f->codes[0]));
	if (f->joined[0] == 0 && f->alive[0])
		return "alive after a join that returned 0";
	if (f->alive[0] && f->alive_code != PROCESS_NONE)
		return "alive, but with an exit code";
	if (f->alive_code != PROCESS_NONE && f->alive_code != FIRST)
		return text("exit code %d", f->alive_code);
	for (int k = 1; k < 3; k++)
		if (f->joined[k] != 0 || f->codes[k] != FIRST)
			return text("%s join returned %d, and the exit code is "
				    "%d", k == 1 ? "the next" : "the last",
				    f->joined[k], f->codes[k]);
	return f->alive[1] ? "alive after its end" : NULL;
}

static void time_limit(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = join_with_a_limit, .judge = limit_is_no_end,
		.shared = f, .size = sizeof *f, .schedules = 400,
		.expected = "0 with exit code 3, or 1 and then 0 with 3" });
}

/* ---- is it alive? ------------------------------------------------------- */

static void ask_until_it_ends(void *shared)
{
	struct facts *f = shared;
	int code = FIRST;
	struct process p = process_with(leave_with, &code);

	f->started = process_start(&p) == 0;
	while (process_is_alive(&p))
		explore_yield();
	f->joined[0] = process_join(&p, -1);
	f->codes[0] = process_exitcode(&p);
}

static const char *asking_costs_nothing(void *shared)
{
	struct facts *f = shared;

	if (!f->started)
		return "the start failed";
	if (f->joined[0] != 0)
		return text("join returned %d", f->joined[0]);
	return f->codes[0] == FIRST ? NULL : f->codes[0] == PROCESS_NONE ?
	       "no exit code" : text("exit code %d", f->codes[0]);
}

static const char *why_asked(const struct finding *f)
{
	return f->how != FOUND_WRONG ? NULL :
	       "L01-10 Asking whether it had ended used up the answer.";
}

static void alive(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = ask_until_it_ends, .judge = asking_costs_nothing,
		.shared = f, .size = sizeof *f, .schedules = 200,
		.why = why_asked, .expected = "0 and exit code 3" });
}

/* ---- terminate ---------------------------------------------------------- */

static void terminate_and_join(void *shared)
{
	struct facts *f = shared;
	int code = FIRST;
	struct process p = process_with(leave_with, &code);

	f->started = process_start(&p) == 0;
	process_terminate(&p);
	f->joined[0] = process_join(&p, -1);
	f->codes[0] = process_exitcode(&p);
	process_terminate(&p);
	f->codes[1] = process_exitcode(&p);
}

static const char *ended_once(void *shared)
{
	struct facts *f = shared;

	if (!f->started)
		return "the start failed";
	if (explore_stray_signal())
		return "a signal to a process that was collected before";
	if (f->joined[0] != 0)
		return text("join returned %d", f->joined[0]);
	if (f->codes[0] != FIRST && f->codes[0] != -SIGTERM)
		return text("exit code %d", f->codes[0]);
	return f->codes[1] == f->codes[0] ? NULL :
	       text("exit code %d, and then %d", f->codes[0], f->codes[1]);
}

static const char *why_stray(const struct finding *f)
{
	return f->how != FOUND_WRONG || !explore_stray_signal() ? NULL :
	       "L01-13 You sent a signal to a number that may belong to "
	       "somebody else by now.";
}

static void terminate(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = terminate_and_join, .judge = ended_once,
		.shared = f, .size = sizeof *f, .schedules = 300,
		.why = why_stray,
		.expected = "exit code 3 or -15, and no signal to a child "
			    "that was collected" });
}

/* ---- killed at each point ----------------------------------------------- */

static void join_what_is_killed(void *shared)
{
	struct facts *f = shared;
	int code = FIRST;
	struct process p = process_with(be_the_child, &code);

	f->started = process_start(&p) == 0;
	f->joined[0] = process_join(&p, -1);
	f->codes[0] = process_exitcode(&p);
}

static const char *its_death_is_told(void *shared)
{
	struct facts *f = shared;
	int expected = explore_killed() ? -SIGKILL : FIRST;

	if (!f->started)
		return "the start failed";
	if (f->joined[0] != 0)
		return text("join returned %d", f->joined[0]);
	return f->codes[0] == expected ? NULL :
	       text("exit code %d", f->codes[0]);
}

static const char *why_killed(const struct finding *f)
{
	return f->how != FOUND_WRONG ? NULL :
	       "L01-08 A process that was killed has no exit code; you "
	       "reported one as if it had ended normally.";
}

static void killed(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = join_what_is_killed, .judge = its_death_is_told,
		.shared = f, .size = sizeof *f, .kill = "the child",
		.schedules = 200, .why = why_killed,
		.expected = "join returns 0, and the exit code is -9" });
}

/* ---- a signal at each point --------------------------------------------- */

static struct facts *of_handler;

static void note_it(int sig)
{
	(void)sig;
	of_handler->handled++;
}

static void join_while_signalled(void *shared)
{
	struct sigaction a = { .sa_handler = note_it }, before;

	of_handler = shared;
	sigaction(SIGUSR1, &a, &before);
	join_with_a_limit(shared);
	sigaction(SIGUSR1, &before, NULL);
}

static const char *why_signalled(const struct finding *f)
{
	return f->how != FOUND_WRONG ? NULL :
	       "L01-14 You were told that the waiting was interrupted, not "
	       "that it is over.";
}

static void signalled(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = join_while_signalled, .judge = limit_is_no_end,
		.shared = f, .size = sizeof *f, .kill = "the caller",
		.signal = SIGUSR1, .schedules = 300, .why = why_signalled,
		.expected = "0 with exit code 3, or 1 and then 0 with 3" });
}

static const struct check checks[] = {
	{ "interleavings", "two children are joined in either order, whoever "
	  "ends first", two_children, process_join },
	{ "interleavings", "a time limit may run out anywhere, and the next "
	  "join still finds the end", time_limit, process_join },
	{ "interleavings", "asking keeps the exit code, whenever the child "
	  "ends", alive, process_is_alive },
	{ "interleavings", "terminate reaches no one else, whenever the child "
	  "ends", terminate, process_terminate },
	{ "interleavings", "a killed child is told from one that ended, "
	  "wherever it dies", killed, process_exitcode },
	{ "interleavings", "a signal ends no join, wherever it arrives",
	  signalled, process_join },
};

CHECKS("01-processes", checks);
