/* Checks of process.c: which child a join waits for, and how long. */
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "helpers.h"

#define WHY_05 "L01-05 You waited for some child to finish, not for the" \
	" child this handle stands for."
#define WHY_LIMIT "A wait with a time limit ends when the child ends or when" \
	" the time is over, whichever comes first."
#define WHY_14 "L01-14 A signal arriving while you wait does not mean that" \
	" the child has finished."
#define WHY_17 "L01-17 A pause does not wait for anything; it only makes the" \
	" wrong order less likely."
#define WHY_26 "L01-26 Several children can end for one signal."
#define WHY_SLOW "Some children have ended, and your join does not see it," \
	" or looks very rarely."
#define WHY_START "Your process_start could not start a process."

/* ---- the right child ---------------------------------------------------- */

static int return_nine(void *args)
{
	*(pid_t *)args = getpid();
	return 9;
}

struct two {
	struct wait_facts slow;
	pid_t other;
	int other_result, other_code;
	bool slow_was_alive;
};

/* The other one ends first; then the slow one is joined. */
static void slow_first_scenario(void *facts)
{
	struct two *t = facts;
	struct process slow, other = handle(return_nine, &t->other);

	start_gated(&slow, &t->slow.child, 7);
	start(&other);
	while (t->other == 0)
		breathe();
	wait_until_ended(t->other);
	join_gated(&t->slow, &slow);
	t->other_result = process_join(&other, -1);
	t->other_code = process_exitcode(&other);
}

static void open_slow(void *facts)
{
	open_when_settled(&((struct two *)facts)->slow);
}

static void expect_two(const struct two *t)
{
	expect(t->slow.code == 7 && t->other_code == 9, WHY_05,
	       "exit codes 7 and 9", "%s and %s", name_of_code(t->slow.code),
	       name_of_code(t->other_code));
	expect(t->slow.result == 0 && t->other_result == 0, WHY_05,
	       "both joins return 0", "%d and %d", t->slow.result,
	       t->other_result);
}

static void join_waits_for_its_own_child(void)
{
	struct two *t = shared(sizeof *t);

	t->slow.limit = -1;
	run(slow_first_scenario, open_slow, t, WHY_05);
	expect(t->slow.gate_was_open, WHY_05, "join(A) returns after A's end,"
	       " though B ended before", "it returned while A was running");
	expect_two(t);
}

/* The other one is joined while the slow one runs. */
static void quick_first_scenario(void *facts)
{
	struct two *t = facts;
	struct process slow, other = handle(return_nine, &t->other);

	start_gated(&slow, &t->slow.child, 7);
	start(&other);
	t->other_result = process_join(&other, -1);
	t->slow_was_alive = !t->slow.child.left;
	t->other_code = process_exitcode(&other);
	gate_open(&t->slow.child.gate);
	t->slow.result = process_join(&slow, -1);
	t->slow.code = process_exitcode(&slow);
}

static void join_does_not_wait_for_others(void)
{
	struct two *t = shared(sizeof *t);

	run(quick_first_scenario, NULL, t, WHY_05);
	expect(t->slow_was_alive, WHY_05, "join(B) returns while A is running",
	       "it returned when A had ended too");
	expect_two(t);
}

/* ---- join with a time limit --------------------------------------------- */

struct limits {
	struct gated child;
	int none, short_one, long_one, code_before, code;
	bool alive, late;
	double took;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void limits_scenario(void *facts)
{
	struct limits *l = facts;
	struct process p;
	double begin;

	start_gated(&p, &l->child, 4);
	l->none = process_join(&p, 0);
	begin = now();
	l->short_one = process_join(&p, 0.1);
	l->took = now() - begin;
	l->late = l->child.left;
	l->alive = !l->late && is_running(l->child.pid);
	l->code_before = process_exitcode(&p);
	if (!l->alive)
		return;
	gate_open(&l->child.gate);
	l->long_one = process_join(&p, 1e5);
	l->code = process_exitcode(&p);
}

static void join_keeps_its_time_limit(void)
{
	struct limits *l = shared(sizeof *l);

	fence(&(struct fence){ .scenario = limits_scenario, .shared = l,
		.limit = 10, .why_stuck = WHY_LIMIT });
	expect(!l->late, WHY_LIMIT, "join returns when its time is over",
	       "it waited on");
	expect(l->alive, "Your join ended the child that it only was to wait"
	       " for.", "the child still runs when the time is over",
	       "it had ended");
	expect(l->none == 1, "Without time to wait, a running child is not"
	       " waited for.", "1 for a time limit of 0", "%d", l->none);
	expect(l->short_one == 1, "The child was still running when the time"
	       " was over.", "1 for a time limit of 0.1 s", "%d",
	       l->short_one);
	expect(l->took > 0.09, "The wait was given up before its time was"
	       " over.", "a wait of 0.1 s", "%.3f s", l->took);
	expect(l->code_before == PROCESS_NONE, "A process that still runs has"
	       " no exit code.", "PROCESS_NONE", "%d", l->code_before);
	expect(l->long_one == 0 && l->code == 4, "The child ended long before"
	       " the time was over.", "0 and exit code 4", "%d and %s",
	       l->long_one, name_of_code(l->code));
}

static void jumping_scenario(void *facts)
{
	struct limits *l = facts;
	struct process p;
	double begin;

	start_gated(&p, &l->child, 4);
	clock_jumps(3600);
	begin = now();
	l->short_one = process_join(&p, 0.1);
	l->took = now() - begin;
	clock_jumps(0);
	l->late = l->child.left;
	gate_open(&l->child.gate);
}

static void join_does_not_trust_the_wall_clock(void)
{
	static const char why[] = "The clock on the wall can be set while you"
		" wait, and that of the processor stands still; how long you"
		" have waited does not change by that.";
	struct limits *l = shared(sizeof *l);

	fence(&(struct fence){ .scenario = jumping_scenario, .shared = l,
		.limit = 10, .why_stuck = why });
	expect(!l->late && l->short_one == 1 && l->took > 0.09, why,
	       "1 after 0.1 s, though the wall clock jumps", "%d after %.3f s",
	       l->short_one, l->took);
}

/* ---- signals while it waits --------------------------------------------- */

static void interrupt(int sig)
{
	(void)sig;
}

static void interrupt_scenario(void *facts)
{
	struct sigaction a = { .sa_handler = interrupt };
	struct wait_facts *w = facts;
	struct process p;

	start_gated(&p, &w->child, 5);
	sigemptyset(&a.sa_mask);
	sigaction(SIGALRM, &a, NULL);	/* no SA_RESTART */
	join_gated(w, &p);
	a.sa_handler = SIG_DFL;
	sigaction(SIGALRM, &a, NULL);
}

static void interrupt_some_times(void *facts)
{
	struct wait_facts *w = facts;

	gate_wait(&w->joining);
	for (int i = 0; i < 5; i++) {
		settle(fence_pid());
		kill(fence_pid(), SIGALRM);
	}
	settle(fence_pid());
	gate_open(&w->child.gate);
}

static void expect_uninterrupted(double limit)
{
	struct wait_facts *w = shared(sizeof *w);

	w->limit = limit;
	run(interrupt_scenario, interrupt_some_times, w, WHY_14);
	expect(w->gate_was_open, WHY_14, "the join goes on until the child has"
	       " ended", "after a signal it returned %d", w->result);
	expect(w->result == 0 && w->code == 5, WHY_14, "0 and exit code 5",
	       "%d and %s", w->result, name_of_code(w->code));
}

static void join_goes_on_after_a_signal(void)
{
	expect_uninterrupted(-1);
}

static void timed_join_goes_on_after_a_signal(void)
{
	expect_uninterrupted(1e5);
}

/* A child that is stopped, as by Ctrl-Z. */
static void stopped_scenario(void *facts)
{
	struct limits *l = facts;
	struct process p;
	int64_t cpu;

	start_gated(&p, &l->child, 4);
	kill(l->child.pid, SIGSTOP);
	while (look_at(l->child.pid, l->child.pid, &cpu) != 'T')
		breathe();
	l->short_one = process_join(&p, 0.05);
	l->alive = process_is_alive(&p);
	kill(l->child.pid, SIGCONT);
	gate_open(&l->child.gate);
	l->long_one = process_join(&p, -1);
	l->code = process_exitcode(&p);
}

static void stopped_child_has_not_ended(void)
{
	static const char why[] = "A child that is stopped can go on: it has"
		" not ended.";
	struct limits *l = shared(sizeof *l);

	run(stopped_scenario, NULL, l, why);
	expect(l->short_one == 1, why, "join: 1, the time is over", "%d",
	       l->short_one);
	expect(l->alive, why, "is_alive: true", "false");
	expect(l->long_one == 0 && l->code == 4, why,
	       "later it ends with exit code 4", "%d and %s", l->long_one,
	       name_of_code(l->code));
}

/* ---- many ends at once -------------------------------------------------- */

enum { FIVE = 5 };

struct five {
	struct gate joining, all;
	pid_t pids[FIVE];
	int result[FIVE], code[FIVE];
};

struct one_of_five {
	struct five *five;
	int number;
};

static int wait_with_the_others(void *args)
{
	struct one_of_five *o = args;

	o->five->pids[o->number] = getpid();
	gate_wait(&o->five->all);
	return 10 + o->number;
}

static void five_scenario(void *facts)
{
	struct five *f = facts;
	struct one_of_five one[FIVE];
	struct process p[FIVE];

	for (int i = 0; i < FIVE; i++) {
		one[i] = (struct one_of_five){ f, i };
		p[i] = handle(wait_with_the_others, &one[i]);
		start(&p[i]);
		while (f->pids[i] == 0)
			breathe();
	}
	gate_open(&f->joining);
	for (int i = FIVE - 1; i >= 0; i--) {
		f->result[i] = process_join(&p[i], -1);
		f->code[i] = process_exitcode(&p[i]);
	}
}

/* While the caller is stopped, all five end: it gets one signal for them. */
static void end_all_behind_its_back(void *facts)
{
	struct five *f = facts;
	int64_t cpu;

	gate_wait(&f->joining);
	settle(fence_pid());
	kill(fence_pid(), SIGSTOP);
	while (!strchr("TXZ", look_at(fence_pid(), fence_pid(), &cpu)))
		breathe();
	gate_open(&f->all);
	for (int i = 0; i < FIVE; i++)
		wait_until_ended(f->pids[i]);
	kill(fence_pid(), SIGCONT);
}

static void five_end_at_once(void)
{
	struct five *f = shared(sizeof *f);

	run(five_scenario, end_all_behind_its_back, f, WHY_26);
	for (int i = 0; i < FIVE; i++)
		expect(f->result[i] == 0 && f->code[i] == 10 + i, WHY_26,
		       text("child %d: 0 and exit code %d", i, 10 + i),
		       "%d and %s", f->result[i], name_of_code(f->code[i]));
}

/* ---- many at once ------------------------------------------------------- */

enum { CROWDED = 100 };

struct crowded {
	struct gate all;
	int started, right;
};

static int wait_in_the_crowd(void *args)
{
	gate_wait(args);
	return 3;
}

static void crowded_scenario(void *facts)
{
	static struct process p[CROWDED];
	struct crowded *c = facts;

	for (int i = 0; i < CROWDED; i++) {
		p[i] = handle(wait_in_the_crowd, &c->all);
		c->started += start(&p[i]) == 0;
	}
	gate_open(&c->all);
	for (int i = 0; i < CROWDED; i++)
		c->right += process_join(&p[i], -1) == 0 &&
			    process_exitcode(&p[i]) == 3;
}

static void a_hundred_at_once(void)
{
	struct crowded *c = shared(sizeof *c);

	run(crowded_scenario, NULL, c, NULL);
	expect(c->started == CROWDED, WHY_START, "100 processes", "%d",
	       c->started);
	expect(c->right == CROWDED, "With many processes at once some exit"
	       " codes were lost.", "100 times exit code 3", "%d times",
	       c->right);
}

/* ---- children of children ----------------------------------------------- */

static int return_args(void *args)
{
	return *(int *)args;
}

static int start_two_more(void *args)
{
	int three = 3, four = 4, codes;
	struct process a = handle(return_args, &three);
	struct process b = handle(return_args, &four);

	(void)args;
	if (process_start(&a) != 0 || process_start(&b) != 0)
		return 100;
	if (process_join(&a, -1) != 0 || process_join(&b, -1) != 0)
		return 101;
	codes = process_exitcode(&a) * 10 + process_exitcode(&b);
	return codes;
}

static void nested_scenario(void *facts)
{
	int *code = facts;
	struct process p = handle(start_two_more, NULL);

	start(&p);
	process_join(&p, -1);
	*code = process_exitcode(&p);
}

/* A child that leaves a child of its own behind has ended all the same. */
static int leave_one_behind(void *args)
{
	struct process p;

	p = handle(wait_at_gate, args);
	if (process_start(&p) != 0)
		return 9;
	return 8;
}

static void left_behind_scenario(void *facts)
{
	struct gated *g = facts;
	struct process p = handle(leave_one_behind, g);

	start(&p);
	gate_wait(&g->ready);
	process_join(&p, -1);
	g->code = g->left ? -1 : process_exitcode(&p);
	gate_open(&g->gate);
	wait_until_ended(g->pid);
}

static void join_is_not_for_grandchildren(void)
{
	struct gated *g = shared(sizeof *g);

	run(left_behind_scenario, NULL, g, NULL);
	expect(g->code != -1, "A child has ended when it has ended, even if it"
	       " left children of its own behind.", "join returns while they"
	       " run", "it waited for them too");
	expect(g->code == 8, "This is not how the child ended.", "8", "%s",
	       name_of_code(g->code));
}

static void children_may_start_children(void)
{
	int *code = shared(sizeof *code);

	run(nested_scenario, NULL, code, NULL);
	expect(*code == 34, "A child may start processes of its own, and they"
	       " are its own to wait for.", "exit codes 3 and 4, so 34", "%s",
	       name_of_code(*code));
}

/* ---- leftovers ---------------------------------------------------------- */

static void cycles_scenario(void *facts)
{
	struct process p;
	int code = 1;

	(void)facts;
	for (int i = 0; i < 50; i++) {
		p = handle(return_args, &code);
		start(&p);
		process_join(&p, i % 2 ? -1 : 1e5);
	}
}

static void nothing_is_left_after_joins(void)
{
	run(cycles_scenario, NULL, shared(1), WHY_SLOW);
	expect_clean(NULL);
}

static void other_ways_scenario(void *facts)
{
	struct limits *l = facts;
	struct process p;

	for (int i = 0; i < 3; i++) {
		memset(l, 0, sizeof *l);
		start_gated(&p, &l->child, 0);
		process_join(&p, 0);
		process_join(&p, 0.01);
		if (i == 0)
			process_terminate(&p);
		gate_open(&l->child.gate);
		while (i == 1 && process_is_alive(&p))
			breathe();
		process_join(&p, -1);
	}
}

static void nothing_is_left_after_time_outs(void)
{
	run(other_ways_scenario, NULL, shared(sizeof(struct limits)),
	    WHY_SLOW);
	expect_clean(NULL);
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("join waits for its own child",
		 join_waits_for_its_own_child, process_join),
	FUNCTION("join does not wait for other children",
		 join_does_not_wait_for_others, process_join),
	FUNCTION("join keeps its time limit",
		 join_keeps_its_time_limit, process_join),
	FUNCTION("the time limit does not depend on the wall clock",
		 join_does_not_trust_the_wall_clock, process_join),
	FUNCTION("a join goes on after a signal",
		 join_goes_on_after_a_signal, process_join),
	FUNCTION("a join with a time limit goes on after a signal",
		 timed_join_goes_on_after_a_signal, process_join),
	FUNCTION("a stopped child has not ended",
		 stopped_child_has_not_ended, process_join),
	FUNCTION("five children that end at once are all joined",
		 five_end_at_once, process_join),
	FUNCTION("a hundred processes at once",
		 a_hundred_at_once, process_start),
	FUNCTION("a child may start children",
		 children_may_start_children, process_start),
	FUNCTION("join does not wait for the children of its child",
		 join_is_not_for_grandchildren, process_join),
	{ "leftovers", "nothing is left after start and join",
	  nothing_is_left_after_joins, (const void *)process_join },
	{ "leftovers", "nothing is left after time-outs and terminate",
	  nothing_is_left_after_time_outs, (const void *)process_join },
};

CHECKS("01-processes", checks);
