/*
 * More of gil.c: the order of a worker's steps, two locks at once, workers
 * that leave, the memory of the caller.
 */
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "gil.h"
#include "harness.h"

enum { WORKERS = 3, STEPS = 4, RUNS = 256, MANY = 70 };

struct facts {
	atomic_int steps, apart;
	int result[2];
	atomic_int done[WORKERS], out_of_order;
	struct meeting meeting, blocking[STEPS];
	atomic_int alone;
	bool met[2];
	size_t grown;
};

static void run(void (*scenario)(void *), void *facts)
{
	fence(&(struct fence){ .scenario = scenario, .shared = facts });
}

/* ---- order --------------------------------------------------------------- */

/* Of each worker: compute 0, blocking 0, compute 1, ... */
static void next_is(struct facts *f, int worker, int turn)
{
	if (worker < 0 || worker >= WORKERS)
		return;
	if (f->done[worker] != turn)
		f->out_of_order++;
	f->done[worker]++;
}

static void compute(int worker, int step, void *arg)
{
	next_is(arg, worker, 2 * step);
}

static void block(int worker, int step, void *arg)
{
	next_is(arg, worker, 2 * step + 1);
}

static void in_turns(void *facts)
{
	struct facts *f = facts;
	struct gil *g = gil_create();

	f->result[0] = gil_run_threads(g, WORKERS, STEPS, compute, block, f);
	gil_destroy(g);
	for (int i = 0; i < WORKERS; i++)
		f->done[i] = 0;
	f->result[1] = gil_run_processes(WORKERS, STEPS, compute, block, f);
	still_alone("gil_run_processes");
}

static void each_step_computes_then_blocks(void)
{
	struct facts *f = shared(sizeof *f);

	run(in_turns, f);
	expect(f->out_of_order == 0 && f->result[0] == 0 && f->result[1] == 0,
	       "A step is over when it has blocked, and the next one begins "
	       "after that.", "each worker computes and blocks in turns",
	       "%d times in another order", f->out_of_order);
}

static void block_together(int worker, int step, void *arg)
{
	struct facts *f = arg;

	(void)worker;
	if (step >= 0 && step < STEPS &&
	    !meeting_wait(&f->blocking[step], WORKERS))
		f->alone++;
}

static void leave_it(int worker, int step, void *arg)
{
	(void)worker, (void)step, (void)arg;
}

static void meet_at_each_step(void *facts)
{
	struct facts *f = facts;
	struct gil *g = gil_create();

	gil_run_threads(g, WORKERS, STEPS, leave_it, block_together, f);
	gil_destroy(g);
}

static void no_step_blocks_with_the_lock(void)
{
	struct facts *f = shared(sizeof *f);

	run(meet_at_each_step, f);
	expect(f->alone == 0, "L01-20 The lock that serialises computing is "
	       "also being held while nothing is computed.",
	       text("all threads are inside blocking at each of %d steps",
		    STEPS), "%d times one waits for the others in vain",
	       f->alone);
}

/* ---- two locks -------------------------------------------------------------- */

static struct facts *met;

static void meet(int worker, int step, void *arg)
{
	(void)worker, (void)step;
	*(bool *)arg = meeting_wait(&met->meeting, 2);
}

static void *run_one(void *arg)
{
	struct gil *g = gil_create();

	gil_run_threads(g, 1, 1, meet, NULL, arg);
	gil_destroy(g);
	return NULL;
}

static void two_interpreters(void *facts)
{
	pthread_t threads[2];

	met = facts;
	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, run_one, &met->met[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

static void two_locks_are_two(void)
{
	struct facts *f = shared(sizeof *f);

	run(two_interpreters, f);
	expect(f->met[0] && f->met[1], "Two locks were made, and you locked "
	       "one for both.", "threads of two GILs compute at the same time",
	       "they wait for each other");
}

/* ---- many ---------------------------------------------------------------- */

static void meet_many(int worker, int step, void *arg)
{
	struct facts *f = arg;

	(void)worker, (void)step;
	if (!meeting_wait(&f->meeting, MANY))
		f->apart++;
}

static void run_many(void *facts)
{
	struct facts *f = facts;

	f->result[0] = gil_run_processes(MANY, 1, meet_many, NULL, f);
	still_alone("gil_run_processes");
}

static void as_many_as_one_likes(void)
{
	struct facts *f = shared(sizeof *f);

	run(run_many, f);
	expect(f->result[0] == 0, "There is room for so many workers and no "
	       "more.", text("0 for %d workers", MANY), "%d", f->result[0]);
	expect(f->apart == 0, "Some processes had to wait until others had "
	       "ended, before they could begin.",
	       text("%d processes are inside compute at once", MANY),
	       "%d waited for the others in vain", f->apart);
}

static void count(int worker, int step, void *arg)
{
	(void)worker, (void)step;
	((struct facts *)arg)->steps++;
}

static void run_for_long(void *facts)
{
	struct facts *f = facts;

	f->result[0] = gil_run_processes(1, 300, count, NULL, f);
	f->result[1] = gil_run_processes(1, 256, count, NULL, f);
	still_alone("gil_run_processes");
}

static void as_long_as_one_likes(void)
{
	struct facts *f = shared(sizeof *f);

	run(run_for_long, f);
	for (int i = 0; i < 2; i++)
		expect(f->result[i] == 0 && f->steps == 300 + 256, "L01-07 "
		       "There are 8 bits for what a child can tell with its "
		       "end.",
		       text("0 for %d steps", i == 0 ? 300 : 256), "%d",
		       f->result[i]);
}

/* ---- children -------------------------------------------------------------- */

static void leave_in_the_middle(int worker, int step, void *arg)
{
	(void)arg;
	if (worker == 1 && step == 1)
		_exit(3);
}

static void lose_a_worker(void *facts)
{
	struct facts *f = facts;

	f->result[0] = gil_run_processes(WORKERS, STEPS, leave_in_the_middle,
					 NULL, NULL);
	still_alone("gil_run_processes");
}

static void who_leaves_is_missed(void)
{
	struct facts *f = shared(sizeof *f);

	run(lose_a_worker, f);
	expect(f->result[0] == -1, "A worker left in "
	       "the middle, and you reported success.",
	       "-1 for a worker that left with status 3", "%d",
	       f->result[0]);
}

/* ---- memory ---------------------------------------------------------------- */

static void run_often(int times)
{
	struct gil *g;

	for (int i = 0; i < times; i++) {
		g = gil_create();
		gil_run_threads(g, WORKERS, 1, leave_it, leave_it, NULL);
		gil_destroy(g);
		gil_run_processes(1, 1, leave_it, NULL, NULL);
		still_alone("gil_run_processes");
	}
}

static void use_memory(void *facts)
{
	struct facts *f = facts;
	size_t before;

	run_often(4);		/* what libc keeps, it keeps now */
	before = mallinfo2().uordblks;
	run_often(RUNS);
	f->grown = mallinfo2().uordblks - before;
}

static void memory_is_given_back(void)
{
	struct facts *f = shared(sizeof *f);

	run(use_memory, f);
	/* libc keeps a little for each thread; less than any block a run */
	expect(f->grown < RUNS * 16 || f->grown > SIZE_MAX / 2, "Something that "
	       "you allocate for each run is never freed.",
	       text("%d runs need no more memory than "
	       "one", RUNS), "%zu bytes more", f->grown);
}

#define CHECK(kind, name, run, function) \
	{ kind, name, run, (const void *)function }

static const struct check checks[] = {
	CHECK("functions", "each step computes and then blocks",
	      each_step_computes_then_blocks, gil_run_threads),
	CHECK("functions", "no step blocks with the lock held",
	      no_step_blocks_with_the_lock, gil_run_threads),
	CHECK("functions", "two locks are two", two_locks_are_two,
	      gil_run_threads),
	CHECK("functions", "there may be many worker processes",
	      as_many_as_one_likes, gil_run_processes),
	CHECK("functions", "a worker process may have many steps",
	      as_long_as_one_likes, gil_run_processes),
	CHECK("faults", "a worker that leaves in the middle is missed",
	      who_leaves_is_missed, gil_run_processes),
	CHECK("leftovers", "memory is given back after each run",
	      memory_is_given_back, gil_run_threads),
};

CHECKS("01-processes", checks);
