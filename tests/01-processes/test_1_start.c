/* Checks of process.c: what process_start makes, and what a child is. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "helpers.h"

#define WHY_02 "L01-02 fork returns in the child too, so your children are" \
	" forking children of their own."
#define WHY_04 "L01-04 Ending the child the way a whole program ends also" \
	" runs the clean-up work that belongs to the parent."
#define WHY_16 "L01-16 Each process was finished before the next one was" \
	" started, so nothing ran at the same time."
#define WHY_22 "L01-22 This number does not come from the machine the" \
	" program runs on."
#define WHY_23 "L01-23 The name belongs to the process that is running, and" \
	" you changed it in the wrong one."
#define WHY_START "Your process_start could not start a process."

/* ---- start -------------------------------------------------------------- */

struct first {
	struct gate ran;
	int result, error;
	pid_t caller, child;
};

static int tell_pid(void *args)
{
	struct first *f = args;

	f->child = getpid();
	gate_open(&f->ran);
	return 0;
}

static void first_scenario(void *facts)
{
	struct first *f = facts;
	struct process p = handle(tell_pid, f);

	f->caller = getpid();
	errno = 0;
	f->result = start(&p);
	f->error = errno;
	gate_wait(&f->ran);
}

static void start_returns_in_the_caller(void)
{
	struct first *f = shared(sizeof *f);

	run(first_scenario, NULL, f, NULL);
	expect(f->result == 0, WHY_START, "0", "%d, %s", f->result,
	       strerror(f->error));
	expect(f->child != 0, "The target was never called.",
	       "the target runs in a child", "nobody ran it");
	expect(f->child != f->caller, "The target ran in the process that"
	       " called, not in one of its own.", "another process",
	       "the caller's own process %d", f->caller);
}

enum { FOUR = 4, SEEN = 64 };

struct together {
	struct meeting there, done;
	bool met[FOUR];
	atomic_int next;
};

static int meet_the_others(void *facts)
{
	struct together *t = facts;
	int me = t->next++;

	t->met[me % FOUR] = meeting_wait(&t->there, FOUR);
	meeting_wait(&t->done, FOUR + 1);
	return 0;
}

static void together_scenario(void *facts)
{
	struct together *t = facts;
	struct process p[FOUR];

	for (int i = 0; i < FOUR; i++) {
		p[i] = handle(meet_the_others, t);
		start(&p[i]);
	}
	meeting_wait(&t->done, FOUR + 1);
}

static void targets_run_at_the_same_time(void)
{
	struct together *t = shared(sizeof *t);
	int met = 0;

	run(together_scenario, NULL, t, WHY_16);
	for (int i = 0; i < FOUR; i++)
		met += t->met[i];
	expect(met == FOUR, WHY_16, "four targets meet",
	       "only %d met the others", met);
}

struct crowd {
	struct gate never;
	atomic_int n;
	pid_t pids[SEEN], parents[SEEN], handles[FOUR];
	int numbers[SEEN];
};

struct guest {
	struct crowd *crowd;
	int number;
};

static int sign_in(void *args)
{
	struct guest *g = args;
	int i = g->crowd->n++;

	if (i < SEEN) {
		g->crowd->pids[i] = getpid();
		g->crowd->parents[i] = getppid();
		g->crowd->numbers[i] = g->number;
	}
	gate_wait(&g->crowd->never);	/* until nothing moves any more */
	return 0;
}

static void crowd_scenario(void *facts)
{
	struct crowd *c = facts;
	struct guest guests[FOUR];
	struct process p[FOUR];

	for (int i = 0; i < FOUR; i++) {
		guests[i] = (struct guest){ c, i };
		p[i] = handle(sign_in, &guests[i]);
		start(&p[i]);
		c->handles[i] = p[i].pid;
	}
	gate_wait(&c->never);
}

/* A handle has the number of its process, or of one that looks after it. */
static void expect_handles(const struct crowd *c)
{
	pid_t handle_pid;

	for (int i = 0; i < FOUR; i++) {
		handle_pid = c->handles[c->numbers[i]];
		expect(handle_pid == c->pids[i] ||
		       (handle_pid > 0 && handle_pid == c->parents[i]),
		       "The handle does not know which process it stands for.",
		       text("pid %d", c->pids[i]), "pid %d", handle_pid);
	}
}

static void each_start_makes_one_process(void)
{
	struct crowd *c = shared(sizeof *c);
	int seen[FOUR] = { 0 };

	run(crowd_scenario, NULL, c, WHY_02);
	expect(c->n == FOUR, WHY_02, "four starts: the targets run four times",
	       "they ran %d times", c->n);
	for (int i = 0; i < FOUR; i++) {
		seen[c->numbers[i]]++;
		for (int k = 0; k < i; k++)
			expect(c->pids[i] != c->pids[k], WHY_02,
			       "each in a process of its own",
			       "two of them in process %d", c->pids[i]);
	}
	for (int i = 0; i < FOUR; i++)
		expect(seen[i] == 1, WHY_02, text("target %d once", i),
		       "%d times", seen[i]);
	expect_handles(c);
}

struct memory {
	struct gate changed, told;
	int childs_value, parents_value;
};

struct memory_args {
	struct memory *memory;
	int value;
};

static int private_value;

static int look_at_memory(void *args)
{
	struct memory_args *a = args;

	gate_wait(&a->memory->changed);
	a->memory->childs_value = a->value;
	private_value = 99;
	gate_open(&a->memory->told);
	return 0;
}

static void memory_scenario(void *facts)
{
	struct memory_args *a = malloc(sizeof *a);
	struct memory *m = facts;
	struct process p = handle(look_at_memory, a);

	private_value = 1;
	*a = (struct memory_args){ m, 5 };
	start(&p);
	a->value = 6;
	gate_open(&m->changed);
	gate_wait(&m->told);
	m->parents_value = private_value;
	free(a);
}

static void child_has_memory_of_its_own(void)
{
	struct memory *m = shared(sizeof *m);

	run(memory_scenario, NULL, m, NULL);
	expect(m->childs_value == 5, "A child works with the memory as it was"
	       " when it was started, whatever the parent changes afterwards.",
	       "the child reads 5", "%d", m->childs_value);
	expect(m->parents_value == 1, "What a child changes in memory is seen"
	       " by nobody else.", "the parent's variable is still 1", "%d",
	       m->parents_value);
}

enum { NAME_SIZE = 32 };

struct names {
	struct gate child_told, grandchild_told;
	bool started;
	char before[NAME_SIZE], child[NAME_SIZE], grandchild[NAME_SIZE],
		child_then[NAME_SIZE], after[NAME_SIZE];
};

static void note_name(char *out)
{
	const char *name = process_current();

	snprintf(out, NAME_SIZE, "%s", name ? name : "(null)");
}

static int name_grandchild(void *facts)
{
	struct names *n = facts;

	note_name(n->grandchild);
	gate_open(&n->grandchild_told);
	return 0;
}

static int name_child(void *facts)
{
	struct names *n = facts;
	struct process p = { .target = name_grandchild, .args = n,
			     .name = "w2" };

	note_name(n->child);
	n->started = process_start(&p) == 0;
	if (n->started)
		gate_wait(&n->grandchild_told);
	note_name(n->child_then);
	gate_open(&n->child_told);
	process_join(&p, -1);
	return 0;
}

static void names_scenario(void *facts)
{
	struct names *n = facts;
	struct process p = { .target = name_child, .args = n, .name = "w1" };

	note_name(n->before);
	start(&p);
	gate_wait(&n->child_told);
	note_name(n->after);
}

static void expect_name(const char *got, const char *expected, const char *who)
{
	expect(strcmp(got, expected) == 0, WHY_23,
	       text("%s is called %s", who, expected), "%s", got);
}

static void each_process_knows_its_name(void)
{
	struct names *n = shared(sizeof *n);

	run(names_scenario, NULL, n, NULL);
	expect_name(n->before, "MainProcess", "the caller, before any start,");
	expect_name(n->child, "w1", "the child that was started as w1");
	expect_name(n->after, "MainProcess", "the caller, after the start,");
	if (n->started)
		expect_name(n->grandchild, "w2", "the child of the child");
	expect_name(n->child_then, "w1", "the child, after its own start,");
}

/* ---- how the child leaves ----------------------------------------------- */

enum { FEW = 3 };

struct leaving {
	pid_t pids[FEW];
	atomic_int next, handlers;
	int printed;			/* how many times */
};

static struct leaving *leaving;

static void count_handler(void)
{
	leaving->handlers++;
}

/* With success, and with failure: no code is a reason to tidy up. */
static int leave_at_once(void *facts)
{
	static const int codes[FEW] = { 0, 1, 255 };
	struct leaving *l = facts;
	int i = l->next++ % FEW;

	l->pids[i] = getpid();
	return codes[i];
}

static void let_some_leave(struct leaving *l)
{
	struct process p[FEW];

	for (int i = 0; i < FEW; i++) {
		p[i] = handle(leave_at_once, l);
		start(&p[i]);
	}
	for (int i = 0; i < FEW; i++) {
		while (l->pids[i] == 0)
			breathe();
		wait_until_ended(l->pids[i]);
	}
}

static void handlers_scenario(void *facts)
{
	leaving = facts;
	atexit(count_handler);
	let_some_leave(leaving);
}

static void children_run_no_exit_handlers(void)
{
	struct leaving *l = shared(sizeof *l);

	run(handlers_scenario, NULL, l, NULL);
	expect(l->handlers == 0, WHY_04, "no handler of the parent's runs while"
	       " the parent goes on", "three children ran it %d times",
	       l->handlers);
}

static const char waiting_text[] = "written before the start\n";

static void output_scenario(void *facts)
{
	struct leaving *l = facts;

	capture_output();
	fputs(waiting_text, stdout);
	let_some_leave(l);
	l->printed = captured(NULL, 0) / (int)strlen(waiting_text);
}

static void waiting_text_is_printed_once(void)
{
	struct leaving *l = shared(sizeof *l);

	run(output_scenario, NULL, l, NULL);
	expect(l->printed == 1, "A child has a copy of everything, also of the"
	       " text that its parent had printed and that still waited in a"
	       " buffer.",
	       "the parent's line once", "%d times", l->printed);
}

struct signals {
	sigset_t parent, child;
	struct gate told;
};

static int note_mask(void *facts)
{
	struct signals *s = facts;

	sigprocmask(SIG_BLOCK, NULL, &s->child);
	gate_open(&s->told);
	return 0;
}

static void mask_scenario(void *facts)
{
	struct signals *s = facts;
	struct process p = handle(note_mask, s);

	sigprocmask(SIG_BLOCK, NULL, &s->parent);
	start(&p);
	gate_wait(&s->told);
}

static void child_starts_with_no_blocked_signal(void)
{
	struct signals *s = shared(sizeof *s);

	run(mask_scenario, NULL, s, NULL);
	for (int i = 1; i < SIGRTMIN; i++)
		expect(sigismember(&s->child, i) == sigismember(&s->parent, i),
		       "The child inherited a signal mask that was only meant"
		       " for a moment in the parent.", "the parent's mask",
		       "%s is %s in the child", strsignal(i),
		       sigismember(&s->child, i) ? "blocked" : "not blocked");
}

/* ---- cpu_count ---------------------------------------------------------- */

struct cpus {
	int all, one, allowed;
};

static void cpus_scenario(void *facts)
{
	struct cpus *c = facts;
	cpu_set_t set, first;

	c->all = process_cpu_count();
	sched_getaffinity(0, sizeof set, &set);
	c->allowed = CPU_COUNT(&set);
	CPU_ZERO(&first);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) == 0; i++)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &first);
	sched_setaffinity(0, sizeof first, &first);
	c->one = process_cpu_count();
}

/* What a container may be limited to: "200000 100000" is two processors. */
static bool is_quota(int n)
{
	FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
	double quota, period;
	bool is = false;

	if (f == NULL)
		return false;
	if (fscanf(f, "%lf %lf", &quota, &period) == 2)
		is = n >= 1 && n >= quota / period - 1 &&
		     n <= quota / period + 1;
	fclose(f);
	return is;
}

static void expect_count(int n, int allowed)
{
	const int online = (int)sysconf(_SC_NPROCESSORS_ONLN);
	const int configured = (int)sysconf(_SC_NPROCESSORS_CONF);

	expect(n == allowed || n == online || n == configured || is_quota(n),
	       WHY_22, text("%d, or %d for the whole machine", allowed, online),
	       "%d", n);
}

static void cpu_count_is_the_machines(void)
{
	struct cpus *c = shared(sizeof *c);

	run(cpus_scenario, NULL, c, NULL);
	expect_count(c->all, c->allowed);
	expect_count(c->one, 1);
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("start runs the target in a child and returns in the caller",
		 start_returns_in_the_caller, process_start),
	FUNCTION("four targets run at the same time",
		 targets_run_at_the_same_time, process_start),
	FUNCTION("each start makes one process",
		 each_start_makes_one_process, process_start),
	FUNCTION("a child has memory of its own",
		 child_has_memory_of_its_own, process_start),
	FUNCTION("each process knows its own name",
		 each_process_knows_its_name, process_current),
	FUNCTION("a child runs no exit handlers of its parent",
		 children_run_no_exit_handlers, process_start),
	FUNCTION("text that waits in the parent's buffer is printed once",
		 waiting_text_is_printed_once, process_start),
	FUNCTION("a child starts with the signal mask of its parent",
		 child_starts_with_no_blocked_signal, process_start),
	FUNCTION("cpu_count counts this machine's processors",
		 cpu_count_is_the_machines, process_cpu_count),
};

CHECKS("01-processes", checks);
