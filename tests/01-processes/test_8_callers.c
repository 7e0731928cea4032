/*
 * Checks of process.c: what callers do besides, and hand over. They have set
 * signals and a timer, stop a child, ask it twice to end, or give a number
 * that nobody thought of.
 */
#include <signal.h>
#include <string.h>
#include <sys/time.h>

#include "helpers.h"

#define WHY_FITS "The number no longer fits into the type you chose, and a" \
	" long time became none."

/* ---- time limits -------------------------------------------------------- */

static void ended_scenario(void *facts)
{
	struct wait_facts *w = facts;
	struct process p;

	start_gated(&p, &w->child, 4);
	gate_open(&w->child.gate);
	gate_wait(&w->joining);
	w->result = process_join(&p, 0);
	w->code = process_exitcode(&p);
}

/* Who else has to hear of the child's end has heard of it. */
static void let_all_hear(void *facts)
{
	struct wait_facts *w = facts;

	gate_wait(&w->child.gate);
	wait_until_ended(w->child.pid);
	settle_family();
	gate_open(&w->joining);
}

static void an_ended_child_needs_no_time(void)
{
	struct wait_facts *w = shared(sizeof *w);

	run(ended_scenario, let_all_hear, w, NULL);
	expect(w->result == 0 && w->code == 4, "There is no time to wait, and"
	       " no need: the child had ended before. Look for it first, at"
	       " the clock afterwards.", "join(p, 0): 0 and exit code 4",
	       "%d and %s", w->result, name_of_code(w->code));
}

static void limit_scenario(void *facts)
{
	struct wait_facts *w = facts;
	struct process p;

	start_gated(&p, &w->child, 5);
	join_gated(w, &p);
}

static void expect_wait(double limit, const char *why)
{
	struct wait_facts *w = shared(sizeof *w);

	w->limit = limit;
	run(limit_scenario, open_when_settled, w, why);
	expect(w->result == 0 && w->gate_was_open, why,
	       text("join(p, %.16g) waits until the child has ended, and"
		    " returns 0", limit), "%d%s", w->result,
	       w->gate_was_open ? "" : ", before that");
}

/* A little more than 2^32 microseconds, and than 2^32 milliseconds. */
static void any_number_is_a_limit(void)
{
	static const double more[] = { 4294.968, 4294967.297 };

	expect_wait(-0.0001, "Negative means for ever, however little it is:"
		    " it became 0 on the way.");
	for (size_t i = 0; i < sizeof more / sizeof *more; i++)
		expect_wait(more[i], WHY_FITS);
}

/* ---- signals of the caller ---------------------------------------------- */

enum { A_LONG_TIME = 1000 };

struct own {
	struct gated child;
	bool handled;		/* handlers and a mask, or all ignored */
	long timer_left;
};

static int look_from_the_child(void *args)
{
	struct own *o = args;

	look_at_signals(" in the child");
	return wait_at_gate(&o->child);
}

static void nothing(int sig)
{
	(void)sig;
}

static void set_signals(struct own *o)
{
	struct sigaction action = {
		.sa_handler = o->handled ? nothing : SIG_IGN,
		.sa_flags = SA_RESTART };
	sigset_t mask;

	sigfillset(&action.sa_mask);
	for (int i = 1; i < NSIG; i++)
		if (i != SIGCHLD || o->handled)
			sigaction(i, &action, NULL);
	sigfillset(&mask);
	sigdelset(&mask, SIGCHLD);	/* a join may wait for it */
	sigdelset(&mask, SIGALRM);
	if (o->handled)
		sigprocmask(SIG_SETMASK, &mask, NULL);
	setitimer(ITIMER_REAL, &(struct itimerval){
		.it_value.tv_sec = A_LONG_TIME }, NULL);
	keep_signals();
}

static void settings_scenario(void *facts)
{
	struct own *o = facts;
	struct process p = handle(look_from_the_child, o);
	struct itimerval timer;

	set_signals(o);
	start(&p);
	gate_wait(&o->child.ready);
	look_at_signals(" after start");
	process_join(&p, 0.05);
	process_is_alive(&p);
	look_at_signals(" after a join whose time ran out");
	gate_open(&o->child.gate);
	process_join(&p, -1);
	process_terminate(&p);
	look_at_signals(" after join and terminate");
	getitimer(ITIMER_REAL, &timer);
	o->timer_left = timer.it_value.tv_sec;
}

static void signals_stay_as_they_were(void)
{
	struct own *o;

	for (int handled = 0; handled < 2; handled++) {
		o = shared(sizeof *o);
		o->handled = handled;
		run(settings_scenario, NULL, o, NULL);
		expect_signals();
		expect(o->timer_left > A_LONG_TIME / 2, "A process has one"
		       " timer for SIGALRM, and the caller had set it.",
		       "the caller's timer still runs", "it is gone");
	}
}

/* ---- terminate ---------------------------------------------------------- */

struct asked {
	struct gated child;
	volatile sig_atomic_t count;
	int times[2];
	bool stopped, stays_stopped;
	int joined, code;
};

static volatile sig_atomic_t *count;

static void count_it(int sig)
{
	(void)sig;
	++*count;
}

static int count_sigterm(void *args)
{
	struct asked *a = args;

	count = &a->count;
	signal(SIGTERM, count_it);
	return wait_at_gate(&a->child);
}

static void twice_scenario(void *facts)
{
	struct asked *a = facts;
	struct process p = handle(count_sigterm, a);

	start(&p);
	gate_wait(&a->child.ready);
	for (int i = 0; i < 2; i++) {
		process_terminate(&p);
		settle(a->child.pid);
		a->times[i] = a->count;
	}
	gate_open(&a->child.gate);
	process_join(&p, -1);
}

static void each_terminate_asks(void)
{
	struct asked *a = shared(sizeof *a);

	run(twice_scenario, NULL, a, NULL);
	expect(a->times[0] == 1 && a->times[1] == 2, "A child that"
	       " went on after it was asked to end is asked again when you are"
	       " told to.", "SIGTERM once after one terminate, twice after two",
	       "%d, and %d", a->times[0], a->times[1]);
}

static bool is_stopped(pid_t pid)
{
	int64_t cpu;

	return look_at(pid, pid, &cpu) == 'T';
}

static void stopped_scenario(void *facts)
{
	struct asked *a = facts;
	struct process p;

	start_gated(&p, &a->child, 0);
	a->stopped = stop_process(a->child.pid);
	process_terminate(&p);
	settle(a->child.pid);
	a->stays_stopped = is_stopped(a->child.pid);
	continue_process(a->child.pid);
	a->joined = process_join(&p, -1);
	a->code = process_exitcode(&p);
}

static void terminate_sends_one_signal(void)
{
	struct asked *a = shared(sizeof *a);

	run(stopped_scenario, NULL, a, NULL);
	expect(!a->stopped || a->stays_stopped, "To let a stopped process go"
	       " on is another wish than to end it, and the caller's.",
	       "a child that is stopped stays so; SIGTERM waits for it",
	       "it goes on");
	expect(a->joined == 0 && a->code == -SIGTERM, "The signal waits until"
	       " the child goes on, and ends it then.", "0 and exit code -15",
	       "%d and %s", a->joined, name_of_code(a->code));
}

/* ---- how it ended ------------------------------------------------------- */

static void core_scenario(void *facts)
{
	struct asked *a = facts;
	struct process p;

	cores_dumped(true);
	start_gated(&p, &a->child, 0);
	kill(a->child.pid, SIGSEGV);
	a->joined = process_join(&p, -1);
	a->code = process_exitcode(&p);
}

static void a_core_changes_nothing(void)
{
	struct asked *a = shared(sizeof *a);

	run(core_scenario, NULL, a, NULL);
	expect_exercised(INJECT_CORE);
	expect(a->joined == 0 && a->code == -SIGSEGV, "The status of a child"
	       " that a signal has ended is more than the signal's number: one"
	       " bit says whether its memory was written to a file.",
	       "exit code -11, with such a file or without",
	       "%s", name_of_code(a->code));
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("a child that has ended needs no time",
		 an_ended_child_needs_no_time, process_join),
	FUNCTION("any number is a time limit", any_number_is_a_limit,
		 process_join),
	FUNCTION("what signals do stays as the caller had set it",
		 signals_stay_as_they_were, process_start),
	FUNCTION("each terminate asks", each_terminate_asks,
		 process_terminate),
	FUNCTION("terminate sends SIGTERM and nothing else",
		 terminate_sends_one_signal, process_terminate),
	{ "faults", "a core that was written changes no exit code",
	  a_core_changes_nothing, (const void *)process_exitcode },
};

CHECKS("01-processes", checks);
