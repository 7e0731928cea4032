/* Checks of process.c: terminate, and a start that fails. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "helpers.h"

#define WHY_08 "L01-08 A process that was killed has no exit code; you" \
	" reported one as if it had ended normally."
#define WHY_11 "L01-11 Your finished children were never collected, so the" \
	" system has to keep a record of each of them."
#define WHY_13 "L01-13 You sent a signal to a process number that does not" \
	" stand for a running child of yours."
#define WHY_25 "L01-25 Asking a stuck process to leave is no guarantee that" \
	" it leaves."

/* ---- terminate ---------------------------------------------------------- */

struct ending {
	struct gated child;
	int terminated, joined, joined_soon, code;
	bool runs;
	int kills_before, kills_after;
};

static void terminate_scenario(void *facts)
{
	struct ending *e = facts;
	struct process p;

	start_gated(&p, &e->child, 0);
	e->terminated = process_terminate(&p);
	e->joined = process_join(&p, -1);
	e->code = process_exitcode(&p);
}

static void terminate_ends_the_child(void)
{
	struct ending *e = shared(sizeof *e);

	run(terminate_scenario, NULL, e, NULL);
	expect(!e->child.left, "The child was not asked to end.",
	       "terminate ends a child that waits for something",
	       "it went on waiting");
	expect(e->terminated == 0 && e->joined == 0, "Something went wrong with"
	       " a child that was running.", "terminate 0, join 0", "%d, %d",
	       e->terminated, e->joined);
	expect(e->code != PROCESS_NONE, WHY_11, "exit code -15",
	       "PROCESS_NONE");
	expect(e->code == -SIGTERM, e->code == -SIGKILL ? "A child that is"
	       " killed outright has no chance to put things in order." :
	       WHY_08, "exit code -15", "%s", name_of_code(e->code));
}

static int ignore_sigterm(void *args)
{
	signal(SIGTERM, SIG_IGN);
	return wait_at_gate(args);
}

static void stubborn_scenario(void *facts)
{
	struct ending *e = facts;
	struct process p = handle(ignore_sigterm, &e->child);

	start(&p);
	gate_wait(&e->child.ready);
	e->terminated = process_terminate(&p);
	e->joined_soon = process_join(&p, 0.1);
	e->runs = is_running(e->child.pid) && !e->child.left;
	kill(e->child.pid, SIGKILL);
	e->joined = process_join(&p, -1);
	e->code = process_exitcode(&p);
}

static void terminate_does_not_wait(void)
{
	struct ending *e = shared(sizeof *e);

	run(stubborn_scenario, NULL, e, WHY_25);
	expect(!e->child.left, WHY_25, "terminate returns at once",
	       "it waited for a child that ignores SIGTERM");
	expect(e->runs, "To end a child that takes its time is the caller's"
	       " decision.", "the child runs on", "it was killed");
	expect(e->joined_soon == 1, WHY_25, "join: 1, the time is over", "%d",
	       e->joined_soon);
	expect(e->joined == 0 && e->code == -SIGKILL, e->code == -SIGTERM ?
	       "What ended it is what its status says, not what you sent it."
	       : WHY_08, "killed by the caller: 0 and exit code -9",
	       "%d and %s", e->joined, name_of_code(e->code));
}

static void unstarted_scenario(void *facts)
{
	struct ending *e = facts;
	struct process p = handle(wait_at_gate, &e->child);

	e->terminated = process_terminate(&p);
	e->kills_after = calls_of("kill");
}

static void joined_scenario(void *facts)
{
	struct ending *e = facts;
	struct process p;

	start_gated(&p, &e->child, 7);
	gate_open(&e->child.gate);
	process_join(&p, -1);
	e->kills_before = calls_of("kill");
	e->terminated = process_terminate(&p);
	e->kills_after = calls_of("kill");
	e->code = process_exitcode(&p);
}

/* Seen to have ended, but not joined: its number may be free again. */
static void seen_scenario(void *facts)
{
	struct ending *e = facts;
	struct process p;

	start_gated(&p, &e->child, 7);
	gate_open(&e->child.gate);
	while (process_is_alive(&p))
		breathe();
	e->kills_before = calls_of("kill");
	e->terminated = process_terminate(&p);
	if (kill(e->child.pid, 0) != 0)		/* it was collected */
		e->kills_after = calls_of("kill");
	else
		e->kills_after = e->kills_before;
	process_join(&p, -1);
	e->code = process_exitcode(&p);
}

static void expect_no_signal(void (*scenario)(void *), const char *when,
			     int code)
{
	struct ending *e = shared(sizeof *e);

	e->code = code;
	run(scenario, NULL, e, NULL);
	expect(e->kills_after == e->kills_before, WHY_13,
	       text("no signal %s", when), "%d",
	       e->kills_after - e->kills_before);
	expect(e->terminated == 0, "There was nothing to do, and that is no"
	       " error.", text("0 %s", when), "%d", e->terminated);
	expect(e->code == code, "The child had already ended in its own way.",
	       text("exit code %d", code), "%s", name_of_code(e->code));
}

static void terminate_signals_nobody_else(void)
{
	expect_no_signal(unstarted_scenario, "before the start", 0);
	expect_no_signal(joined_scenario, "after the join", 7);
	expect_no_signal(seen_scenario, "after its end was seen", 7);
}

/* ---- faults ------------------------------------------------------------- */

struct failing {
	struct gated child;
	int first, error, join, terminate, second, joined, code_before, code;
	bool alive;
	pid_t pid;
	int kills;
	char name[32], output[4096];
};

static void failing_scenario(void *facts)
{
	struct failing *f = facts;
	struct process p = handle(wait_at_gate, &f->child);

	capture_output();
	f->child.code = 6;
	errno = 0;
	f->first = start(&p);
	f->error = errno;
	captured(f->output, sizeof f->output);
	snprintf(f->name, sizeof f->name, "%s", process_current());
	f->pid = p.pid;
	f->alive = process_is_alive(&p);
	f->code_before = process_exitcode(&p);
	f->terminate = process_terminate(&p);
	f->kills = calls_of("kill");
	f->join = process_join(&p, 0);
	if (f->first != 0)
		f->second = start(&p);
	gate_open(&f->child.gate);
	f->joined = process_join(&p, -1);
	f->code = process_exitcode(&p);
}

static void expect_as_before(const struct failing *f)
{
	static const char why[] = "After a start that failed there is no"
		" process, and the handle must not pretend that there is one.";

	expect(f->kills == 0 && f->terminate == 0, WHY_13,
	       "terminate: no signal, 0", "%d signals, %d", f->kills,
	       f->terminate);
	expect(f->pid == 0, why, "pid 0", "pid %d", f->pid);
	expect(!f->alive && f->code_before == PROCESS_NONE, why,
	       "not alive, no exit code", "%s, %s", f->alive ? "alive" :
	       "not alive", name_of_code(f->code_before));
	expect(f->join == -1, why, "join: -1, not started", "%d", f->join);
	expect(strcmp(f->name, "MainProcess") == 0, "L01-23 The name belongs to"
	       " the process that is running, and you changed it before there"
	       " was another one.", "process_current: MainProcess", "%s",
	       f->name);
}

static void start_fails(void)
{
	struct failing *f = shared(sizeof *f);

	fault_set(&(struct fault){ .call = "fork", .error = EAGAIN, .k = 1 });
	run(failing_scenario, NULL, f, "The caller waits for a process that"
	    " could not be made.");
	if (fault_hits() == 0)
		skip_check("not exercised: no process was made by a call that"
			   " could fail");
	expect(f->first == -1, "No process could be made, and nobody was"
	       " told.", "-1", "%d", f->first);
	expect(f->error == EAGAIN || f->error == ENOMEM, "The system's reason"
	       " was lost on the way.", "EAGAIN", "%s", strerror(f->error));
	expect(f->output[0] == '\0', "Who called you is told by the result, and"
	       " decides what is printed.", "nothing is printed", "%s",
	       f->output);
	expect_as_before(f);
	expect(f->second == 0 && f->joined == 0 && f->code == 6, "A handle"
	       " whose start failed can be started again.",
	       "the second start works: 0, 0, exit code 6", "%d, %d, %s",
	       f->second, f->joined, name_of_code(f->code));
	expect_clean(NULL);
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("terminate ends the child",
		 terminate_ends_the_child, process_terminate),
	FUNCTION("terminate does not wait",
		 terminate_does_not_wait, process_terminate),
	FUNCTION("terminate signals nobody but a running child",
		 terminate_signals_nobody_else, process_terminate),
	{ "faults", "a start that fails leaves everything as it was",
	  start_fails, (const void *)process_start },
};

CHECKS("01-processes", checks);
