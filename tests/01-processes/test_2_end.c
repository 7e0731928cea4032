/* Checks of process.c: how the end of a child is seen. */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"

#define WHY_07 "L01-07 The number wait gives you is an encoded status word," \
	" not the exit code itself."
#define WHY_LEFT "The child itself left with another number than what its" \
	" target returned: 8 bits of it are told, the low ones."
#define WHY_08 "L01-08 A process that was killed has no exit code; you" \
	" reported one as if it had ended normally."
#define WHY_10 "L01-10 Asking whether the process is alive used up the only" \
	" copy of its exit status."
#define WHY_17 "L01-17 A pause does not wait for anything; it only makes the" \
	" wrong order less likely."
#define WHY_ASK "To ask whether a process is alive is to look, not to wait."

/* ---- join --------------------------------------------------------------- */

static void no_pauses_scenario(void *facts)
{
	struct wait_facts *w = facts;
	struct process p;

	start_gated(&p, &w->child, 5);
	pauses_skip(true);
	join_gated(w, &p);
	pauses_skip(false);
}

static void open_after_pauses(void *facts)
{
	struct wait_facts *w = facts;

	gate_wait(&w->joining);
	settle_pausing(fence_pid());
	gate_open(&w->child.gate);
}

static void expect_wait(double limit)
{
	struct wait_facts *w = shared(sizeof *w);

	w->limit = limit;
	run(no_pauses_scenario, open_after_pauses, w, "The child has ended, and"
	    " your join does not see it.");
	expect(w->gate_was_open, pauses_skipped_ns() > 0 ? WHY_17 :
	       "Your join came back while its child was still at work.",
	       "the join returns when the child has ended",
	       pauses_skipped_ns() > 0 ? "it paused, and returned before that"
				: "it returned before that");
	expect(w->result == 0, "Your join did not say that the child has"
	       " ended.", "0", "%d", w->result);
}

/* Any negative number waits for ever. */
static void join_waits_for_the_end(void)
{
	expect_wait(-1);
	expect_wait(-0.25);
}

/* ---- exit codes --------------------------------------------------------- */

static int end_like_this(void *args)
{
	const int how = *(int *)args;

	if (how < -1)
		raise(-how);
	return how;
}

static const int returned[] = { 0, 1, 3, 255, 256, -1, 256 + 7 };
static const int signals_of_death[] = { SIGKILL, SIGTERM, SIGSEGV, SIGUSR1 };
enum {
	RETURNED = sizeof returned / sizeof *returned,
	DEATHS = sizeof signals_of_death / sizeof *signals_of_death,
};

struct codes {
	int before, joined[RETURNED], code[RETURNED];
	siginfo_t end[RETURNED];	/* what the system tells, if it does */
};

static void end_one(struct codes *c, int i, int how)
{
	struct process p = handle(end_like_this, &how);

	c->before = process_exitcode(&p);
	start(&p);
	if (waitid(P_PID, (id_t)p.pid, &c->end[i], WEXITED | WNOWAIT) != 0)
		c->end[i].si_code = 0;
	c->joined[i] = process_join(&p, -1);
	c->code[i] = process_exitcode(&p);
}

static void returned_scenario(void *facts)
{
	for (int i = 0; i < RETURNED; i++)
		end_one(facts, i, returned[i]);
}

static void expect_code(int code, int expected, const char *what)
{
	const char *why = "This is not how the child ended.";

	if (expected < 0)
		why = WHY_08;
	else if (code != PROCESS_NONE)
		why = WHY_07;
	expect(code == expected, why, text("exit code %d for %s", expected,
					   what), "%s", name_of_code(code));
}

static void exit_code_is_what_target_returned(void)
{
	struct codes *c = shared(sizeof *c);

	run(returned_scenario, NULL, c, NULL);
	expect(c->before == PROCESS_NONE, "A process that was not started has"
	       " no exit code.", "PROCESS_NONE", "%d", c->before);
	for (int i = 0; i < RETURNED; i++) {
		expect(c->joined[i] == 0, "Your join did not say that the child"
		       " has ended.", "0", "%d", c->joined[i]);
		expect(c->end[i].si_code != CLD_EXITED ||
		       c->end[i].si_status == (returned[i] & 255), WHY_LEFT,
		       text("status %d for a target that returned %d",
			    returned[i] & 255, returned[i]), "%d",
		       c->end[i].si_status);
		expect_code(c->code[i], returned[i] & 255,
			    text("a target that returned %d", returned[i]));
	}
}

static void deaths_scenario(void *facts)
{
	for (int i = 0; i < DEATHS; i++)
		end_one(facts, i, -signals_of_death[i]);
}

static void exit_code_of_a_killed_child(void)
{
	struct codes *c = shared(sizeof *c);

	run(deaths_scenario, NULL, c, NULL);
	for (int i = 0; i < DEATHS; i++)
		expect_code(c->code[i], -signals_of_death[i],
			    text("a child killed by signal %d",
				 signals_of_death[i]));
}

/* ---- is_alive ----------------------------------------------------------- */

enum { PATIENCE = 3000 };

struct alive {
	struct gated child;
	bool before, during, again, waited, after;
	int result, code, looks;
};

static void alive_scenario(void *facts)
{
	struct alive *a = facts;
	struct process p = handle(wait_at_gate, &a->child);

	a->before = process_is_alive(&p);
	start_gated(&p, &a->child, 7);
	a->during = process_is_alive(&p);
	a->waited = a->child.left;
	a->again = process_is_alive(&p);
	gate_open(&a->child.gate);
	wait_until_ended(a->child.pid);
	while (process_is_alive(&p) && a->looks++ < PATIENCE)
		breathe();
	a->result = process_join(&p, -1);
	a->code = process_exitcode(&p);
	a->after = process_is_alive(&p);
}

static void is_alive_keeps_the_exit_code(void)
{
	struct alive *a = shared(sizeof *a);

	run(alive_scenario, NULL, a, WHY_ASK);
	expect(!a->before, "A process that was not started is not alive.",
	       "false before the start", "true");
	expect(!a->waited, WHY_ASK, "an answer while the process runs",
	       "it came when the process had ended");
	expect(a->during && a->again, "The process was still at work.",
	       "is_alive: true", a->during ? "true, then false" : "false");
	expect(a->looks < PATIENCE, "A child that has ended keeps its number"
	       " until somebody collects it; that does not make it alive.",
	       "false after its end", "still true after %d looks", a->looks);
	expect(a->result == 0 && a->code == 7, WHY_10,
	       "join 0 and exit code 7 afterwards", "%d and %s", a->result,
	       name_of_code(a->code));
	expect(!a->after, "A process that was joined is not alive.",
	       "false after the join", "true");
}

/* ---- handles in the wrong state ----------------------------------------- */

struct misuse {
	struct gated child;
	int early, early_error, second, second_error, again, third,
		third_error, code;
	atomic_int runs;
};

static int count_and_wait(void *args)
{
	struct misuse *m = args;

	m->runs++;
	return wait_at_gate(&m->child);
}

static void misuse_scenario(void *facts)
{
	struct misuse *m = facts;
	struct process p = handle(count_and_wait, m);

	m->child.code = 7;
	errno = 0;
	m->early = process_join(&p, -1);
	m->early_error = errno;
	start(&p);
	gate_wait(&m->child.ready);
	errno = 0;
	m->second = start(&p);
	m->second_error = errno;
	gate_open(&m->child.gate);
	process_join(&p, -1);
	m->again = process_join(&p, -1);
	errno = 0;
	m->third = start(&p);
	m->third_error = errno;
	m->code = process_exitcode(&p);
}

static void misuse_is_an_error(void)
{
	struct misuse *m = shared(sizeof *m);

	run(misuse_scenario, NULL, m, NULL);
	expect(m->early == -1 && m->early_error != 0, "Nobody can wait for a"
	       " process that was never started.", "-1 and an errno",
	       "%d, errno %d", m->early, m->early_error);
	expect(m->second == -1 && m->second_error == EINVAL, "A handle stands"
	       " for one process: while that runs it cannot be started again.",
	       "-1, EINVAL", "%d, %s", m->second, strerror(m->second_error));
	expect(m->again == 0, "A process that has ended stays ended, however"
	       " often one asks.", "0 for the second join", "%d", m->again);
	expect(m->third == -1 && m->third_error == EINVAL, "A handle stands"
	       " for one process, also after that has ended.", "-1, EINVAL",
	       "%d, %s", m->third, strerror(m->third_error));
	expect(m->runs == 1 && m->code == 7, "An error must change nothing.",
	       "one run, exit code 7", "%d runs, %s", m->runs,
	       name_of_code(m->code));
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("join returns when the child has ended, not before",
		 join_waits_for_the_end, process_join),
	FUNCTION("the exit code is what the target returned",
		 exit_code_is_what_target_returned, process_exitcode),
	FUNCTION("the exit code of a killed child is the signal's",
		 exit_code_of_a_killed_child, process_exitcode),
	FUNCTION("asking whether it is alive keeps the exit code",
		 is_alive_keeps_the_exit_code, process_is_alive),
	FUNCTION("a handle is started once, and joined only then",
		 misuse_is_an_error, process_start),
};

CHECKS("01-processes", checks);
