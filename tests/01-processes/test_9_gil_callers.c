/*
 * More of gil.c: numbers at their ends, and signals while it waits for
 * processes.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "gil.h"
#include "harness.h"

enum { WORKERS = 3, STEPS = 2, MANY = 100 };

struct facts {
	int result, error;
	atomic_int steps, strange;
	atomic_int done[MANY];
	pid_t caller, worker;
};

static void run(void (*scenario)(void *), void *facts)
{
	fence(&(struct fence){ .scenario = scenario, .shared = facts });
}

static void count(int worker, int step, void *arg)
{
	struct facts *f = arg;

	f->steps++;
	f->worker = getpid();
	if (worker < 0 || worker >= MANY || step < 0 || step >= STEPS)
		f->strange++;
	else
		f->done[worker]++;
}

static void processes(struct facts *f, int n, int steps)
{
	errno = 0;
	f->result = gil_run_processes(n, steps, count, NULL, f);
	f->error = errno;
	still_alone("gil_run_processes");
}

static void threads(struct facts *f, int n, int steps)
{
	struct gil *g = gil_create();

	errno = 0;
	f->result = gil_run_threads(g, n, steps, count, NULL, f);
	f->error = errno;
	gil_destroy(g);
}

/* ---- few and many ------------------------------------------------------- */

static void one_process(void *facts)
{
	struct facts *f = facts;

	f->caller = getpid();
	processes(f, 1, STEPS);
}

static void one_is_a_process_too(void)
{
	struct facts *f = shared(sizeof *f);

	run(one_process, f);
	expect(f->result == 0 && f->steps == STEPS && f->worker != f->caller,
	       "A worker that is alone is a child process as well: what it"
	       " does to its memory is its own business.",
	       text("1 worker, %d steps, in another process", STEPS),
	       "%d, %d steps, %s", f->result, f->steps,
	       f->worker == f->caller ? "in the caller" : "in another");
}

static void many_threads(void *facts)
{
	threads(facts, MANY, 1);
}

static void many_are_many(void)
{
	struct facts *f = shared(sizeof *f);

	run(many_threads, f);
	expect(f->result == 0 && f->strange == 0, "There is room for so many "
	       "workers and no more.", text("0 for %d threads", MANY),
	       "%d, and %d strange numbers", f->result, f->strange);
	for (int i = 0; i < MANY; i++)
		expect(f->done[i] == 1, "There is room for so many workers and "
		       "no more.", text("worker %d of %d does its step", i,
					MANY), "%d times", f->done[i]);
}

static void no_step_of_threads(void *facts)
{
	threads(facts, WORKERS, 0);
}

static void no_step_of_processes(void *facts)
{
	processes(facts, WORKERS, 0);
}

static void no_steps_are_none(void)
{
	void (*const scenarios[])(void *) = { no_step_of_threads,
					      no_step_of_processes };
	struct facts *f;

	for (int i = 0; i < 2; i++) {
		f = shared(sizeof *f);
		run(scenarios[i], f);
		expect(f->steps == 0 && f->result == 0, "Whether there is a "
		       "step left is asked before it, also before the first.",
		       text("%d %s and no steps: nothing to do, 0", WORKERS,
			    i == 0 ? "threads" : "processes"),
		       "%d steps, %d", f->steps, f->result);
	}
}

/* ---- signals ------------------------------------------------------------ */

static void some_processes(void *facts)
{
	processes(facts, WORKERS, STEPS);
}

static void expect_undisturbed(void *facts, const struct fence_end *end)
{
	static const char why[] = "L01-14 A signal arriving while you wait does"
		" not mean that what you wait for is there.";
	struct facts *f = facts;

	expect(end->how == FENCE_FINISHED, why, "the run goes on",
	       "it does not come to its end");
	expect(f->result == 0 && f->steps == WORKERS * STEPS, why,
	       text("0, and %d steps", WORKERS * STEPS), "%d, %s, %d steps",
	       f->result, strerror(f->error), f->steps);
	expect_clean(why);
}

static void a_signal_ends_no_wait(void)
{
	fault_sweep_all(&(struct fence){ .scenario = some_processes,
					 .shared = shared(sizeof(struct facts)) },
			sizeof(struct facts), fault_interruptions, NULL,
			expect_undisturbed);
}

#define CHECK(kind, name, run, function) \
	{ kind, name, run, (const void *)function }

static const struct check checks[] = {
	CHECK("functions", "one worker is a process too", one_is_a_process_too,
	      gil_run_processes),
	CHECK("functions", "there may be many threads", many_are_many,
	      gil_run_threads),
	CHECK("functions", "no steps are none", no_steps_are_none,
	      gil_run_threads),
	CHECK("faults", "a signal ends no wait for processes",
	      a_signal_ends_no_wait, gil_run_processes),
};

CHECKS("01-processes", checks);
