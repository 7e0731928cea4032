/*
 * Checks of gil.c: threads under the lock, processes without one.
 *
 * Nobody hopes for a race here: who is inside compute() stays there until
 * everybody else has come to rest, outside the lock or inside with it.
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gil.h"
#include "harness.h"
#include "watch.h"

#define WHY_02 "L01-02 fork returns in the child too, so your children are" \
	" forking children of their own."
#define WHY_04 "L01-04 Ending the child the way a whole program ends also" \
	" runs the clean-up work that belongs to the parent."
#define WHY_08 "L01-08 A process that was killed has no exit code; you" \
	" reported one as if it had ended normally."
#define WHY_16 "L01-16 Each process was finished before the next one was" \
	" started, so nothing ran at the same time."
#define WHY_19 "L01-19 All threads were given the address of the same" \
	" variable, which had changed before they looked."
#define WHY_20 "L01-20 The lock that serialises computing is also being held" \
	" while nothing is computed."
#define WHY_LOCKED "There is no lock between processes: nobody has to wait" \
	" until another has computed."
#define WHY_KEPT "L01-20 The lock that serialises computing is also being" \
	" held while nothing is computed: some way out keeps it, or gives it" \
	" back and wakes nobody."
#define WHY_WINDOW "Some processes had to wait until others had ended," \
	" before they could begin."
#define WHY_STEPS "A worker did not go through all of its steps."
#define WHY_LEFT_ALONE "When one process fails, the others still have to be" \
	" waited for."
#define WHY_EARLY "You came back while some of your workers were still at" \
	" work."

enum { WORKERS = 4, STEPS = 3 };

/* What the workers leave in shared memory. */
struct facts {
	int result, error;
	int computed[WORKERS][STEPS], blocked[WORKERS][STEPS];
	int strange_workers, strange_steps;	/* numbers that nobody has */
	int out_of_order;
	pid_t caller, pids[WORKERS];
	int private_value;
	struct peak inside;
	struct meeting meeting;
	bool met[WORKERS];
	int at_hand;			/* threads or processes there */
	bool returned;
	int first;			/* the worker that ends first */
	struct gate running, go[WORKERS], went[WORKERS], last;
	atomic_int begun, ended, ended_at_return, handlers;
	int printed;			/* how many times */
};

static atomic_int private_value;
static struct facts *of_handler;

static bool is_known(struct facts *f, int worker, int step)
{
	if (worker < 0 || worker >= WORKERS)
		__atomic_add_fetch(&f->strange_workers, 1, __ATOMIC_SEQ_CST);
	else if (step < 0 || step >= STEPS)
		__atomic_add_fetch(&f->strange_steps, 1, __ATOMIC_SEQ_CST);
	else
		return true;
	return false;
}

static void note_compute(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (!is_known(f, worker, step))
		return;
	__atomic_add_fetch(&f->computed[worker][step], 1, __ATOMIC_SEQ_CST);
	if (step > 0 && f->computed[worker][step - 1] == 0)
		f->out_of_order++;
	f->pids[worker] = getpid();
	private_value++;
}

static void note_blocking(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (!is_known(f, worker, step))
		return;
	__atomic_add_fetch(&f->blocked[worker][step], 1, __ATOMIC_SEQ_CST);
	if (f->computed[worker][step] == 0)
		f->out_of_order++;
}

/* The student's calls, with what they answer. */
static void threads(struct facts *f, int steps, gil_step *compute,
		    gil_step *blocking)
{
	struct gil *g = gil_create();

	errno = 0;
	f->result = gil_run_threads(g, WORKERS, steps, compute, blocking, f);
	f->error = errno;
	gil_destroy(g);
}

static void processes(struct facts *f, int steps, gil_step *compute,
		      gil_step *blocking)
{
	errno = 0;
	f->result = gil_run_processes(WORKERS, steps, compute, blocking, f);
	f->error = errno;
	still_alone("gil_run_processes");
}

static void run(void (*scenario)(void *), void (*director)(void *),
		struct facts *f, const char *why_stuck)
{
	fence(&(struct fence){ .scenario = scenario, .director = director,
			       .shared = f, .why_stuck = why_stuck });
}

static void expect_result(const struct facts *f)
{
	expect(f->result == 0, "All workers did their work, and the caller was"
	       " told something else.", "0", "%d, %s", f->result,
	       strerror(f->error));
}

static void expect_once(int times, const char *what, const char *why_more,
			int worker, int step)
{
	expect(times == 1, times > 1 ? why_more : WHY_STEPS,
	       text("%s(%d, %d) once", what, worker, step), "%d times", times);
}

/*
 * Each worker must have been through each step once, in order.
 * why_more: what it means that two workers have the same number
 */
static void expect_each_once(const struct facts *f, const char *why_more)
{
	int most = 0;

	for (int w = 0; w < WORKERS; w++)
		most = f->computed[w][0] > most ? f->computed[w][0] : most;
	expect(f->strange_workers == 0 && most <= 1, why_more,
	       "workers 0 to 3, each once", "%d calls with other numbers, %d"
	       " workers with one number", f->strange_workers, most);
	expect(f->strange_steps == 0, WHY_STEPS, "steps 0 to 2",
	       "%d calls with other numbers", f->strange_steps);
	for (int w = 0; w < WORKERS; w++)
		for (int s = 0; s < STEPS; s++) {
			expect_once(f->computed[w][s], "compute", why_more, w,
				    s);
			expect_once(f->blocked[w][s], "blocking", why_more, w,
				    s);
		}
	expect(f->out_of_order == 0, "Each worker's steps come one after the"
	       " other, compute before blocking.", "in order",
	       "%d out of order", f->out_of_order);
}

/* ---- threads ------------------------------------------------------------ */

static void numbers_scenario(void *facts)
{
	struct facts *f = facts;

	f->caller = getpid();
	hold_threads_until(WORKERS);
	threads(f, STEPS, note_compute, note_blocking);
	f->private_value = private_value;
}

static void each_thread_has_its_number(void)
{
	struct facts *f = shared(sizeof *f);

	run(numbers_scenario, NULL, f, WHY_KEPT);
	expect_each_once(f, WHY_19);
	for (int w = 0; w < WORKERS; w++)
		expect(f->pids[w] == f->caller, "Threads live in the process"
		       " that makes them.", text("process %d", f->caller),
		       "worker %d in process %d", w, f->pids[w]);
	expect(f->private_value == WORKERS * STEPS, "Threads share the memory"
	       " of their process.", text("a counter at %d", WORKERS * STEPS),
	       "%d", f->private_value);
	expect_result(f);
}

/* Who is inside stays until every other thread rests, wherever it is. */
static void compute_slowly(int worker, int step, void *arg)
{
	struct facts *f = arg;

	(void)worker;
	peak_enter(&f->inside);
	if (step == 0)
		settle_others();
	peak_leave(&f->inside);
}

static void alone_scenario(void *facts)
{
	threads(facts, 2, compute_slowly, NULL);
}

static void alone_with_blocking_scenario(void *facts)
{
	threads(facts, 2, compute_slowly, note_blocking);
}

static void threads_compute_one_at_a_time(void)
{
	static const char why[] = "Two threads computed at the same time,"
		" although only the one that holds the lock may.";
	struct facts *f = shared(sizeof *f);

	run(alone_scenario, NULL, f, WHY_KEPT);
	expect(f->inside.most == 1, why, "one thread inside compute",
	       "%d at once", f->inside.most);
	run(alone_with_blocking_scenario, NULL, f, WHY_KEPT);
	expect(f->inside.most == 1, why, "one thread inside compute",
	       "%d at once", f->inside.most);
	expect_result(f);
}

static int count_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *e;
	int n = 0;

	while (tasks != NULL && (e = readdir(tasks)) != NULL)
		n += e->d_name[0] != '.';
	if (tasks != NULL)
		closedir(tasks);
	return n;
}

/* Why did they not meet: were they not there, or could they not come in? */
static void note_at_hand(struct facts *f)
{
	int n = getpid() == fence_pid() ? count_threads()
					: effort().processes;

	if (n > f->at_hand)
		f->at_hand = n;
}

static void meet_while_blocking(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (step != 0 || !is_known(f, worker, step))
		return;
	f->met[worker] = meeting_wait(&f->meeting, WORKERS);
	if (!f->met[worker])
		note_at_hand(f);
}

static int count_met(const struct facts *f)
{
	int n = 0;

	for (int w = 0; w < WORKERS; w++)
		n += f->met[w];
	return n;
}

static void waiting_together_scenario(void *facts)
{
	threads(facts, STEPS, note_compute, meet_while_blocking);
}

static void threads_wait_together(void)
{
	struct facts *f = shared(sizeof *f);

	run(waiting_together_scenario, NULL, f, WHY_20);
	expect(count_met(f) == WORKERS, f->at_hand >= WORKERS ? WHY_20 :
	       "Each thread had ended before the next one began, so nobody"
	       " waited together.", "all threads are inside blocking at once",
	       "only %d were", count_met(f));
}

/* One thread waits while another goes through all its steps. */
static void wait_for_worker_0(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (worker == 0 && step == STEPS - 1)
		gate_open(&f->last);
	else if (worker != 0 && step == 0 && is_known(f, worker, step))
		f->met[worker] = gate_wait(&f->last);
}

static void one_goes_on_scenario(void *facts)
{
	threads(facts, STEPS, note_compute, wait_for_worker_0);
}

static void others_compute_while_one_waits(void)
{
	struct facts *f = shared(sizeof *f);

	run(one_goes_on_scenario, NULL, f, WHY_20);
	expect(count_met(f) == WORKERS - 1, WHY_20, "worker 0 computes all its"
	       " steps while the others wait", "%d of 3 saw that",
	       count_met(f));
}

static void again_scenario(void *facts)
{
	struct gil *g = gil_create();
	struct facts *f = facts;

	for (int i = 0; i < 3 && f->result == 0; i++) {
		f->result = gil_run_threads(g, WORKERS, STEPS, note_compute,
					    i == 1 ? note_blocking : NULL, f);
		f->ended++;
	}
	gil_destroy(g);
}

static void gil_is_free_after_a_run(void)
{
	struct facts *f = shared(sizeof *f);

	run(again_scenario, NULL, f, WHY_KEPT);
	expect(f->ended == 3, WHY_20, "three runs, one after the other", "%d",
	       f->ended);
	expect(f->computed[0][0] == 3, "Each run is a run of its own, and"
	       " begins with worker 0 and step 0.", "three runs, and worker 0"
	       " is in its first step three times", "%d times",
	       f->computed[0][0]);
	expect_result(f);
}

/*
 * All are held in their first step; then they may end, one after the other,
 * each when the caller has settled again.
 */
static void be_late(int worker, int step, void *arg)
{
	struct facts *f = arg;
	const unsigned place = (unsigned)(worker - f->first) % WORKERS;

	if (step == 0) {
		f->begun++;
		gate_open(&f->running);
		gate_wait(&f->go[place]);
	}
	if (step == STEPS - 1) {
		f->ended++;
		gate_open(&f->went[place]);
	}
}

static void let_go(void *facts)
{
	struct facts *f = facts;

	gate_wait(&f->running);
	for (int i = 0; i < WORKERS; i++) {
		settle_pausing(fence_pid());
		gate_open(&f->go[i]);
		gate_wait(&f->went[i]);
	}
}

/* What to note when the run has returned, too early perhaps. */
static void note_return(struct facts *f)
{
	f->ended_at_return = f->ended;
	f->returned = true;
	pauses_skip(false);
	gate_wait(&f->running);
}

/*
 * Threads that go on after the return may still use what lay on the stack of
 * the call. The gap keeps the calls that come afterwards away from there, so
 * that what they do is seen before anything crashes.
 */
static void call_far_down(struct facts *f)
{
	volatile char gap[1 << 16];
	struct gil *g = gil_create();

	gap[0] = 0;
	pauses_skip(true);
	errno = 0;
	f->result = gil_run_threads(g, WORKERS, STEPS, note_compute, be_late,
				    f);
	f->error = errno;
	gap[1] = gap[0];
}

static void late_thread_scenario(void *facts)
{
	call_far_down(facts);
	note_return(facts);
}

/*
 * Run a scenario that ends with note_return. Who comes back too early may
 * crash afterwards, when the workers use what is no longer there: that is
 * told as what it is. Any other end fails the check with its own message.
 */
static void run_late(void (*scenario)(void *), struct facts *f,
		     const struct fault *fault, const char *why_stuck)
{
	const struct fence with = { .scenario = scenario, .director = let_go,
				    .shared = f, .why_stuck = why_stuck };
	const struct facts before = *f;
	struct fence_end end;

	fault_set(fault);
	end = fence_try(&with);
	expect(f->begun <= WORKERS, WHY_02, text("%d workers", WORKERS),
	       "%d workers", f->begun);
	expect(!f->returned || f->ended_at_return >= f->begun, WHY_EARLY,
	       "at the return all have ended", "%d of those that had begun"
	       " had not", f->begun - f->ended_at_return);
	expect(!f->returned || end.how != FENCE_KILLED, WHY_EARLY,
	       "at the return all have ended", "one worked on, and crashed");
	if (end.how != FENCE_FINISHED) {
		*f = before;
		fault_set(fault);
		fence(&with);
	}
}

/* Worker 0 ends first, and in another run last. */
static void expect_all_ended(void (*scenario)(void *), const char *why_stuck)
{
	static const struct fault none;
	struct facts *f;

	for (int first = 0; first < 2; first++) {
		f = shared(sizeof *f);
		f->first = first;
		run_late(scenario, f, &none, why_stuck);
		expect(f->ended_at_return == WORKERS, WHY_EARLY,
		       text("all %d have ended at the return", WORKERS),
		       "%d had", f->ended_at_return);
		expect_result(f);
	}
}

static void threads_have_ended_at_the_return(void)
{
	expect_all_ended(late_thread_scenario, WHY_KEPT);
}

/* ---- processes ---------------------------------------------------------- */

static void processes_scenario(void *facts)
{
	struct facts *f = facts;

	f->caller = getpid();
	processes(f, STEPS, note_compute, note_blocking);
	f->private_value = private_value;
}

static void each_worker_is_a_process(void)
{
	struct facts *f = shared(sizeof *f);

	run(processes_scenario, NULL, f, WHY_02);
	expect_each_once(f, WHY_02);
	for (int w = 0; w < WORKERS; w++) {
		expect(f->pids[w] != f->caller, "A worker ran in the process of"
		       " its caller.", "another process", "the caller's own");
		for (int k = 0; k < w; k++)
			expect(f->pids[w] != f->pids[k], "Two workers shared a"
			       " process.", "a process for each",
			       "workers %d and %d in %d", k, w, f->pids[w]);
	}
	expect(f->private_value == 0, "What a child changes in memory is seen"
	       " by nobody else.", "the caller's counter is still 0", "%d",
	       f->private_value);
	expect_result(f);
}

static void meet_while_computing(int worker, int step, void *arg)
{
	struct facts *f = arg;

	peak_enter(&f->inside);
	meet_while_blocking(worker, step, arg);
	peak_leave(&f->inside);
}

static void computing_together_scenario(void *facts)
{
	processes(facts, STEPS, meet_while_computing, NULL);
}

static void processes_compute_together(void)
{
	struct facts *f = shared(sizeof *f);

	run(computing_together_scenario, NULL, f, WHY_16);
	expect(count_met(f) == WORKERS, f->at_hand > WORKERS ? WHY_LOCKED :
	       f->inside.most > 1 ? WHY_WINDOW : WHY_16,
	       text("all %d processes are inside compute at once", WORKERS),
	       "%d at most", f->inside.most);
}

static void late_process_scenario(void *facts)
{
	struct facts *f = facts;

	pauses_skip(true);
	f->result = gil_run_processes(WORKERS, STEPS, note_compute, be_late,
				      f);
	still_alone("gil_run_processes");
	note_return(f);
}

static void processes_have_ended_at_the_return(void)
{
	expect_all_ended(late_process_scenario, NULL);
}

static void count_handler(void)
{
	of_handler->handlers++;
}

static void handlers_scenario(void *facts)
{
	of_handler = facts;
	atexit(count_handler);
	processes(facts, 1, note_compute, NULL);
}

static void children_run_no_exit_handlers(void)
{
	struct facts *f = shared(sizeof *f);

	run(handlers_scenario, NULL, f, NULL);
	expect(f->handlers == 0, WHY_04, "no handler of the caller's runs in a"
	       " child", "it ran %d times", f->handlers);
}

static const char waiting_text[] = "written before the run\n";

static void print_scenario(void *facts)
{
	struct facts *f = facts;

	capture_output();
	fputs(waiting_text, stdout);
	processes(f, 1, note_compute, NULL);
	f->printed = captured(NULL, 0) / (int)strlen(waiting_text);
}

static void waiting_text_is_printed_once(void)
{
	struct facts *f = shared(sizeof *f);

	run(print_scenario, NULL, f, NULL);
	expect(f->printed == 1, "A child has a copy of everything, also of the"
	       " text that its parent had printed and that still waited in a"
	       " buffer.",
	       "the caller's line once", "%d times", f->printed);
}

/* ---- leftovers ---------------------------------------------------------- */

static void both_scenario(void *facts)
{
	for (int i = 0; i < 3; i++) {
		threads(facts, STEPS, note_compute, note_blocking);
		processes(facts, STEPS, note_compute, note_blocking);
	}
}

static void nothing_is_left(void)
{
	run(both_scenario, NULL, shared(sizeof(struct facts)), NULL);
	expect_clean(NULL);
}

/* ---- faults ------------------------------------------------------------- */

static void die_in_the_middle(int worker, int step, void *arg)
{
	struct facts *f = arg;

	if (worker == 1 && step == 1)
		raise(SIGKILL);
	note_compute(worker, step, f);
}

static void dying_scenario(void *facts)
{
	processes(facts, STEPS, die_in_the_middle, NULL);
}

static void a_dead_process_is_told(void)
{
	struct facts *f = shared(sizeof *f);

	run(dying_scenario, NULL, f, "One process has died, and somebody still"
	    " waits for it.");
	expect(f->result == -1 && f->error != 0, WHY_08, "-1 and an errno",
	       "%d, errno %d", f->result, f->error);
	expect(f->computed[0][STEPS - 1] == 1 && f->computed[3][STEPS - 1] == 1,
	       "One process has died; the others had nothing to do with it.",
	       "the others do all their steps", "they did not");
	expect_clean(WHY_LEFT_ALONE);
}

static void expect_failed(const struct facts *f, const char *what)
{
	if (fault_hits() == 0)
		skip_check("not exercised: no call of the kind %s", what);
	expect(f->result == -1, "Not every worker could be made, and nobody was"
	       " told.", "-1", "%d", f->result);
	expect(f->error == EAGAIN || f->error == ENOMEM, "The system's reason"
	       " was lost on the way.", "EAGAIN", "%s", strerror(f->error));
}

static void failing_scenario(void *facts)
{
	of_handler = facts;
	atexit(count_handler);
	processes_scenario(facts);
}

static void fork_fails(void)
{
	struct facts *f = shared(sizeof *f);

	fault_set(&(struct fault){ .call = "fork", .error = EAGAIN, .k = 3 });
	run(failing_scenario, NULL, f, "The caller waits for a process that"
	    " could not be made.");
	expect_failed(f, "fork");
	expect(f->handlers == 0, WHY_04, "no handler of the caller's runs in a"
	       " child", "it ran %d times", f->handlers);
	expect_clean(WHY_LEFT_ALONE);
}

static void a_thread_cannot_be_made(void)
{
	static const struct fault third = { .call = "pthread_create",
					    .error = EAGAIN, .k = 3 };
	struct facts *f = shared(sizeof *f);

	run_late(late_thread_scenario, f, &third, "The caller waits for a"
		 " thread that could not be made.");
	expect_failed(f, "pthread_create");
}

/* Two threads are enough to wait for each other, and those that spin have less
 * to burn. */
static void threads_once_scenario(void *facts)
{
	struct facts *f = facts;
	struct gil *g;

	errno = 0;
	f->result = -1;
	g = gil_create();
	if (g != NULL) {
		f->result = gil_run_threads(g, 2, 1, compute_slowly, NULL, f);
		f->error = errno;
		gil_destroy(g);
	} else {
		f->error = errno;
	}
}

static void each_once_scenario(void *facts)
{
	struct facts *f = facts;

	threads_once_scenario(f);
	if (f->result == 0)
		processes(f, STEPS, note_compute, note_blocking);
}

static void expect_undisturbed(void *facts, const struct fence_end *end)
{
	static const char why[] = "L01-14 A signal arriving while you wait does"
		" not mean that what you wait for is there.";
	struct facts *f = facts;

	expect(end->how == FENCE_FINISHED, why, "the run goes on",
	       "it does not come to its end");
	expect(f->inside.most == 1, why, "one thread inside compute",
	       "%d at once", f->inside.most);
	expect(f->result == 0, why, "0", "%d, %s", f->result,
	       strerror(f->error));
	expect_clean(why);
}

static void a_signal_interrupts_no_wait(void)
{
	struct facts *f = shared(sizeof *f);

	fault_sweep_all(&(struct fence){ .scenario = threads_once_scenario,
					 .shared = f },
			sizeof *f, fault_interruptions, NULL,
			expect_undisturbed);
}

/* Who does not need the memory may succeed; a child without it has died. */
static void expect_refusal(void *facts, const struct fence_end *end)
{
	struct facts *f = facts;

	expect(end->how == FENCE_FINISHED, "Memory that you ask for can be"
	       " refused: you used it without looking.", "-1 with ENOMEM",
	       "the program crashed, or came to no end");
	expect(f->result == 0 || (f->result == -1 && f->error != 0),
	       "The system's reason was lost on the way.", "-1 with ENOMEM",
	       "%d, %s", f->result, strerror(f->error));
	expect_clean(WHY_LEFT_ALONE);
}

static void memory_is_refused(void)
{
	struct facts *f = shared(sizeof *f);

	fault_sweep(&(struct fence){ .scenario = each_once_scenario,
				     .shared = f },
		    sizeof *f, "malloc", ENOMEM, NULL, expect_refusal);
}

#define CHECK(kind, name, run, function) \
	{ kind, name, run, (const void *)function }

static const struct check checks[] = {
	CHECK("functions", "all threads have ended when the run returns",
	      threads_have_ended_at_the_return, gil_run_threads),
	CHECK("functions", "each thread gets its own number and each step once",
	      each_thread_has_its_number, gil_run_threads),
	CHECK("functions", "threads compute one at a time",
	      threads_compute_one_at_a_time, gil_run_threads),
	CHECK("functions", "threads are inside blocking together",
	      threads_wait_together, gil_run_threads),
	CHECK("functions", "a thread computes while the others wait",
	      others_compute_while_one_waits, gil_run_threads),
	CHECK("functions", "the GIL is free after a run",
	      gil_is_free_after_a_run, gil_run_threads),
	CHECK("functions", "all processes have ended when the run returns",
	      processes_have_ended_at_the_return, gil_run_processes),
	CHECK("functions", "each worker is a process, and does each step once",
	      each_worker_is_a_process, gil_run_processes),
	CHECK("functions", "processes compute at the same time",
	      processes_compute_together, gil_run_processes),
	CHECK("functions", "a worker process runs no exit handlers",
	      children_run_no_exit_handlers, gil_run_processes),
	CHECK("functions", "text that waits in the caller's buffer is printed"
	      " once", waiting_text_is_printed_once, gil_run_processes),
	CHECK("leftovers", "nothing is left after threads and processes",
	      nothing_is_left, gil_run_processes),
	CHECK("faults", "a worker process that dies is not passed over",
	      a_dead_process_is_told, gil_run_processes),
	CHECK("faults", "a process that cannot be made",
	      fork_fails, gil_run_processes),
	CHECK("faults", "a thread that cannot be made",
	      a_thread_cannot_be_made, gil_run_threads),
	CHECK("faults", "a signal interrupts no wait for the lock",
	      a_signal_interrupts_no_wait, gil_run_threads),
	CHECK("faults", "memory that is refused is no crash",
	      memory_is_refused, gil_run_threads),
};

CHECKS("01-processes", checks);
