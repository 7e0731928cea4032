/*
 * Threads under the GIL, and processes without one, in every order.
 */
#include "gil.h"

#include <sys/wait.h>

#include "explorer.h"
#include "harness.h"

/* Two are easier to follow; with three, two wait at the same time. */
enum { WORKERS = 2, MORE = 3, STEPS = 2 };

struct facts {
	int result, error;
	struct peak computing;
	int computed[MORE][STEPS], blocked[MORE][STEPS];
	int workers, waiting, met;
	bool made, left;
};

/* What they count in: memory of the process, which the GIL is there for. */
static long counter;

static void compute(int worker, int step, void *arg)
{
	struct facts *f = arg;

	peak_enter(&f->computing);
	counter++;
	explore_yield();
	f->computed[worker][step]++;
	peak_leave(&f->computing);
}

static void block(int worker, int step, void *arg)
{
	struct facts *f = arg;

	explore_yield();
	f->blocked[worker][step]++;
}

/* ---- threads ------------------------------------------------------------ */

static void run_threads(struct facts *f, int workers, gil_step *blocking)
{
	struct gil *g = gil_create();

	f->workers = workers;
	f->made = g != NULL;
	if (!f->made)
		return;
	counter = 0;
	f->result = gil_run_threads(g, workers, STEPS, compute, blocking, f);
	f->error = counter != workers * STEPS;
	gil_destroy(g);
}

static void compute_only(void *shared)
{
	run_threads(shared, WORKERS, NULL);
}

static void compute_with_more(void *shared)
{
	run_threads(shared, MORE, NULL);
}

static void compute_and_block(void *shared)
{
	run_threads(shared, WORKERS, block);
}

static const char *steps_done(const struct facts *f, bool blocking)
{
	for (int w = 0; w < f->workers; w++)
		for (int s = 0; s < STEPS; s++)
			if (f->computed[w][s] != 1 ||
			    f->blocked[w][s] != blocking)
				return text("worker %d, step %d: computed %d "
					    "times, blocked %d times", w, s,
					    f->computed[w][s],
					    f->blocked[w][s]);
	return NULL;
}

static const char *judge_threads(const struct facts *f, bool blocking)
{
	if (!f->made)
		return "gil_create failed";
	if (f->computing.most > 1)
		return text("%d threads in compute at once",
			    f->computing.most);
	if (f->result != 0)
		return text("gil_run_threads returned %d", f->result);
	if (f->error)
		return "a count was lost";
	return steps_done(f, blocking);
}

static const char *one_computes(void *shared)
{
	return judge_threads(shared, false);
}

static const char *one_computes_others_block(void *shared)
{
	return judge_threads(shared, true);
}

static const struct facts *of_threads;

static const char *why_together(const struct finding *f)
{
	switch (f->how) {
	case FOUND_WRONG:
		return of_threads->computing.most <= 1 ? NULL :
		       "Two threads were in compute at the same time: between "
		       "looking at the lock and taking it there is a gap.";
	case FOUND_STUCK:
		return f->lost_wakeup ? "A thread was woken before it slept, "
			"or another one in its place, and nobody wakes it "
			"again." : NULL;
	default:
		return NULL;
	}
}

static void threads(void)
{
	struct facts *f = shared(sizeof *f);

	of_threads = f;
	explore(&(struct exploration){
		.scenario = compute_only, .judge = one_computes,
		.shared = f, .size = sizeof *f, .schedules = 250,
		.spurious = true, .why = why_together,
		.expected = "one thread at a time in compute, and each step "
			    "once" });
	explore(&(struct exploration){
		.scenario = compute_and_block,
		.judge = one_computes_others_block,
		.shared = f, .size = sizeof *f, .schedules = 150,
		.spurious = true, .why = why_together,
		.expected = "one thread at a time in compute, and each step "
			    "once" });
	explore(&(struct exploration){
		.scenario = compute_with_more, .judge = one_computes,
		.shared = f, .size = sizeof *f, .schedules = 150,
		.why = why_together,
		.expected = "three threads go through all their steps" });
}

/* ---- blocking ----------------------------------------------------------- */

/* In the first step both wait for each other, outside the lock. */
static void block_together(int worker, int step, void *arg)
{
	struct facts *f = arg;

	block(worker, step, arg);
	if (step > 0)
		return;
	f->waiting++;
	while (f->waiting < WORKERS)
		explore_yield();
	f->met++;
}

static void meet_outside(void *shared)
{
	run_threads(shared, WORKERS, block_together);
}

static const char *why_apart(const struct finding *f)
{
	return f->how != FOUND_SPIN && f->how != FOUND_STUCK ? NULL :
	       "L01-20 The lock that serialises computing is also being held "
	       "while nothing is computed.";
}

static void blocking(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = meet_outside, .judge = one_computes_others_block,
		.shared = f, .size = sizeof *f, .schedules = 100,
		.why = why_apart,
		.expected = "both threads are in blocking at the same time" });
}

/* ---- processes ---------------------------------------------------------- */

static void compute_as(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (step == 0)
		explore_name(worker == 0 ? "worker 0" : "worker 1");
	explore_yield();
	f->computed[worker][step]++;
}

static void run_processes(void *shared)
{
	struct facts *f = shared;

	f->made = true;
	f->workers = WORKERS;
	f->result = gil_run_processes(WORKERS, STEPS, compute_as, NULL, f);
	f->left = waitpid(-1, NULL, WNOHANG) != -1;
}

/* Whoever was through with all its steps may be counted as well or as dead. */
static const char *death_is_told(void *shared)
{
	struct facts *f = shared;
	bool through = f->computed[1][STEPS - 1] == 1;

	if (f->left)
		return "somebody was not collected";
	if (!explore_killed())
		return f->result != 0 ? text("returned %d", f->result) :
		       steps_done(f, false);
	if (f->computed[0][0] != 1 || f->computed[0][1] != 1)
		return "the other one did not do its steps";
	if (f->result == 0)
		return through ? NULL : "0, though a worker died before its "
					"last step";
	return NULL;
}

static const struct facts *of_processes;

static const char *why_missed(const struct finding *f)
{
	if (f->how != FOUND_WRONG)
		return NULL;
	return of_processes->left ? "L01-11 Your finished children were never "
	       "collected." : f->killed ? "L01-08 A process that was killed "
	       "has no exit code; you reported one as if it had ended "
	       "normally." : NULL;
}

static void processes(void)
{
	struct facts *f = shared(sizeof *f);

	of_processes = f;
	explore(&(struct exploration){
		.scenario = run_processes, .judge = death_is_told,
		.shared = f, .size = sizeof *f, .kill = "worker 1",
		.why = why_missed,
		.schedules = 100,
		.expected = "each step once; -1 if a worker died in the middle" });
}

static const struct check checks[] = {
	{ "interleavings", "threads compute one at a time, whatever the order",
	  threads, gil_run_threads },
	{ "interleavings", "threads block together, whatever the order",
	  blocking, gil_run_threads },
	{ "interleavings", "a worker process that dies is missed, wherever it "
	  "dies", processes, gil_run_processes },
};

CHECKS("01-processes", checks);
