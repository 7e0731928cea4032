/* Checks that hang, each for selftest_report.bats to read its report. */
#include "harness.h"

#include "hang.h"

static void call(void *function)
{
	(*(void (**)(void))function)();
}

static void run(void (*function)(void))
{
	void (**f)(void) = shared(sizeof *f);

	*f = function;
	fence(&(struct fence){ .scenario = call, .shared = f });
}

static void opposite(void) { run(hang_opposite_order); }
static void semaphores(void) { run(hang_semaphores); }
static void death(void) { run(hang_after_death); }
static void condition(void) { run(hang_on_a_condition); }
static void full_pipe(void) { run(hang_on_a_full_pipe); }

static const struct check checks[] = {
	{ "fail", "opposite order", opposite, NULL },
	{ "fail", "semaphores", semaphores, NULL },
	{ "fail", "death", death, NULL },
	{ "fail", "condition", condition, NULL },
	{ "fail", "full pipe", full_pipe, NULL },
};

CHECKS("selftest", checks);
