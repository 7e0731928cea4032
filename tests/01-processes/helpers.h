/*
 * helpers - what the checks of process.c have in common
 *
 * A fact that a scenario sees it writes into shared memory; the verdict is
 * made from the facts afterwards, in the test program.
 */
#ifndef HELPERS_H
#define HELPERS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "harness.h"
#include "process.h"
#include "watch.h"

static inline struct process handle(int (*target)(void *), void *args)
{
	return (struct process){ .target = target, .args = args,
				 .name = "worker" };
}

/* Every start goes through here: nobody but the caller may come back. */
static inline int start(struct process *p)
{
	int result = process_start(p);

	still_alone("process_start");
	return result;
}

/* A child that waits at its gate, and says so when it leaves by it. */
struct gated {
	struct gate ready, gate;
	int code;
	pid_t pid;
	atomic_bool left;
};

static inline int wait_at_gate(void *args)
{
	struct gated *g = args;

	g->pid = getpid();
	gate_open(&g->ready);
	gate_wait(&g->gate);
	g->left = true;
	return g->code;
}

/* Start it, and wait until it is really there. */
static inline int start_gated(struct process *p, struct gated *g, int code)
{
	int result;

	g->code = code;
	*p = handle(wait_at_gate, g);
	result = start(p);
	gate_wait(&g->ready);
	return result;
}

static inline const char *name_of_code(int code)
{
	if (code == PROCESS_NONE)
		return "PROCESS_NONE";
	return text("%d", code);
}

static inline void run(void (*scenario)(void *), void (*director)(void *),
		void *facts, const char *why_stuck)
{
	fence(&(struct fence){ .scenario = scenario, .director = director,
			       .shared = facts, .why_stuck = why_stuck });
}

/*
 * The caller joins a child that waits at its gate. The director opens the
 * gate when the caller has come to rest in the join.
 */
struct wait_facts {
	struct gated child;
	struct gate joining;
	int result, code;
	bool gate_was_open;
	double limit;
};

/* The end of each scenario of this kind. */
static inline void join_gated(struct wait_facts *w, struct process *p)
{
	gate_open(&w->joining);
	w->result = process_join(p, w->limit);
	w->gate_was_open = gate_is_open(&w->child.gate);
	w->code = process_exitcode(p);
	gate_wait(&w->child.gate);
}

static inline void open_when_settled(void *facts)
{
	struct wait_facts *w = facts;

	gate_wait(&w->joining);
	settle(fence_pid());
	gate_open(&w->child.gate);
}

#endif
