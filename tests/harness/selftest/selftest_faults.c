/*
 * The injectors judged: each check here has the verdict it must come to as
 * its kind, "pass", "fail" or "skip", and selftest_faults.bats compares them.
 */
#include "internal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calling.h"
#include "stuck.h"

/* ---- a function, swept ------------------------------------------------- */

enum { BYTES = 3 * 4096 + 5 };

struct work {
	int (*function)(void);
	int result, hits, bytes, fds;
};

static int (*function)(void);

static void choose(void *arg)
{
	((struct work *)arg)->function = function;
}

static void do_work(void *arg)
{
	struct work *w = arg;

	w->result = w->function();
}

static int carries(void) { return calling_carries(BYTES); }
static int carelessly(void) { return calling_carries_carelessly(BYTES); }
static int by_socket(void) { return calling_carries_by_socket(BYTES); }
static int starts(void) { return calling_starts(4); }
static int starts_badly(void) { return calling_starts_carelessly(4); }
static int shares(void) { return calling_shares(1 << 20); }
static int shares_badly(void) { return calling_shares_carelessly(1 << 20); }

/* What must come through, whatever strikes. */
static void judge_done(void *arg, const struct fence_end *end)
{
	struct work *w = arg;

	expect(end->how == FENCE_FINISHED, "", "it returns", "%d", end->how);
	expect(w->result == 0, "", "0", "%d", w->result);
}

/* What may be refused, but then says so. */
static void judge_refused(void *arg, const struct fence_end *end)
{
	struct work *w = arg;

	expect(end->how == FENCE_FINISHED, "", "it returns", "%d", end->how);
	expect(w->result == -1, "", "-1", "%d", w->result);
}

static int sweep(int (*what)(void), const struct fault *faults,
		 void (*judge)(void *, const struct fence_end *))
{
	struct work *w = shared(sizeof *w);

	function = what;
	return fault_sweep_all(&(struct fence){ .scenario = do_work,
						.shared = w, .limit = 10 },
			       sizeof *w, faults, choose, judge);
}

static void expect_runs(int runs, int least)
{
	expect(runs >= least, "", text("%d runs were struck", least), "%d",
	       runs);
}

static void short_pipe(void)
{
	expect_runs(sweep(carries, fault_short_counts, judge_done), 8);
}

static void short_socket(void)
{
	expect_runs(sweep(by_socket, fault_short_counts, judge_done), 8);
}

static void short_careless(void)
{
	sweep(carelessly, fault_short_counts, judge_done);
}

/* 4 children, 6 descriptors, 2 signals, 4 semaphores, 4 queues, 3 files,
 * 3 pauses, 2 sockets: each of them interrupted once. */
static void interrupted_everywhere(void)
{
	expect_runs(sweep(waiting_everywhere, fault_interruptions, judge_done),
		    28);
}

static void interrupted_careless(void)
{
	sweep(waiting_carelessly, fault_interruptions, judge_done);
}

/* Without the fault this would wait for ever. */
static void interrupted_by_nobody(void)
{
	struct work *w = shared(sizeof *w);

	w->function = waiting_until_interrupted;
	fault_set(&(struct fault){ "blocking", EINTR, 1, true });
	fence(&(struct fence){ .scenario = do_work, .shared = w });
	expect(w->result == 0 && fault_hits() == 3, "", "0, 3 hits", "%d, %d",
	       w->result, fault_hits());
}

static void one_by_its_name(void)
{
	static const struct fault faults[] = {
		{ .call = "epoll_wait", .error = EINTR },
		{ .call = "futex", .error = EINTR },
		{ .call = "semop", .error = EINTR },
		{ .call = "flock", .error = EINTR },
		{ .call = NULL },
	};

	expect_runs(sweep(waiting_everywhere, faults, judge_done), 5);
}

static void forks_fail(void)
{
	static const struct fault faults[] = {
		{ .call = "fork", .error = EAGAIN },
		{ .call = "fork", .error = EAGAIN, .onwards = true },
		{ .call = NULL },
	};

	expect_runs(sweep(starts, faults, judge_refused), 8);
}

static void forks_fail_carelessly(void)
{
	sweep(starts_badly, fault_refusals, judge_refused);
}

static void everything_refused(void)
{
	expect_runs(sweep(calling_makes_everything, fault_refusals,
			  judge_refused), 15);
}

static void locks_refused(void)
{
	static const struct fault faults[] = {
		{ .call = "init", .error = ENOMEM },
		{ .call = NULL },
	};

	expect_runs(sweep(calling_makes_everything, faults, judge_refused), 3);
}

static void refused_carelessly(void)
{
	sweep(calling_makes_carelessly, fault_refusals, judge_refused);
}

static void space_refused(void)
{
	expect_runs(sweep(shares, fault_no_space, judge_refused), 6);
}

static void space_not_asked_for(void)
{
	sweep(calling_computes, fault_no_space, judge_refused);
}

static void nothing_refused(void)
{
	sweep(calling_computes, fault_refusals, judge_refused);
}

static void nothing_interrupted(void)
{
	sweep(calling_computes, fault_interruptions, judge_done);
}

/* ---- narrow resources -------------------------------------------------- */

static struct fence_end run(void (*scenario)(void *), struct work *w)
{
	return fence_try(&(struct fence){ .scenario = scenario, .shared = w });
}

static void use_small_pipes(void *arg)
{
	struct work *w = arg;

	w->result = by_socket() + carries();
}

static void pipes_are_small(void)
{
	struct work *w = shared(sizeof *w);

	small_pipes();
	run(use_small_pipes, w);
	expect(w->result == 0, "", "all comes through", "%d", w->result);
	expect(injected(INJECT_SMALL_PIPES) == 2, "", "2", "%d",
	       injected(INJECT_SMALL_PIPES));
}

static void compute(void *arg)
{
	((struct work *)arg)->result = calling_computes();
}

static void no_pipe_is_small(void)
{
	small_pipes();
	run(compute, shared(sizeof(struct work)));
	expect_exercised(INJECT_SMALL_PIPES);
}

static void open_few(void *arg)
{
	struct work *w = arg;

	descriptors_left(5);
	w->result = calling_opens(w->fds);
}

static void descriptors_are_few(void)
{
	struct work *w = shared(sizeof *w);

	w->fds = 20;
	run(open_few, w);
	expect(w->result == 5, "", "5 can be had", "%d", w->result);
	expect(injected(INJECT_DESCRIPTORS) == 1, "", "1 refused", "%d",
	       injected(INJECT_DESCRIPTORS));
}

static void descriptors_suffice(void)
{
	struct work *w = shared(sizeof *w);

	w->fds = 5;
	run(open_few, w);
	expect_exercised(INJECT_DESCRIPTORS);
}

static void share_little(void *arg)
{
	struct work *w = arg;

	w->fds = small_shm(16384);
	if (w->fds)
		w->result = w->function();
}

static struct fence_end share_with(struct work *w, int (*how)(void))
{
	struct fence_end end;

	w->function = how;
	end = run(share_little, w);
	if (!w->fds)
		skip_check("no /dev/shm of its own can be had here");
	return end;
}

static void shm_is_small(void)
{
	struct work *w = shared(sizeof *w);
	struct fence_end end = share_with(w, shares);

	expect(end.how == FENCE_FINISHED && w->result == -1, "", "-1",
	       "%d %d", end.how, w->result);
	expect(injected(INJECT_SMALL_SHM) > 0, "", "it is counted", "not");
	expect_clean(NULL);
}

static void shm_is_small_carelessly(void)
{
	struct work *w = shared(sizeof *w);
	struct fence_end end = share_with(w, shares_badly);

	expect(end.how == FENCE_KILLED && end.status == SIGBUS, "", "SIGBUS",
	       "%d %d", end.how, end.status);
	expect_exercised(INJECT_SMALL_SHM);
}

static void shm_suffices(void)
{
	share_with(shared(sizeof(struct work)), calling_computes);
	expect_exercised(INJECT_SMALL_SHM);
}

/* ---- time -------------------------------------------------------------- */

static void pause_shortly(void *arg)
{
	(void)arg;
	pauses_skip(true);
	calling_pauses();
	pauses_skip(false);
}

static void pauses_take_no_time(void)
{
	fence(&(struct fence){ .scenario = pause_shortly, .limit = 10 });
	expect(injected(INJECT_NO_PAUSE) == 8, "", "8 pauses", "%d",
	       injected(INJECT_NO_PAUSE));
	expect(pauses_skipped_ns() == 800 * INT64_C(1000000000), "", "800 s",
	       "%lld ns", (long long)pauses_skipped_ns());
}

static void skip_but_do_not_pause(void *arg)
{
	pauses_skip(true);
	compute(arg);
}

static void nobody_pauses(void)
{
	run(skip_but_do_not_pause, shared(sizeof(struct work)));
	expect_exercised(INJECT_NO_PAUSE);
}

struct waits {
	double (*wait)(double seconds);
	double believed, real;
	int jump;
};

static double by_a_steady_clock(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_a_little(void *arg)
{
	struct waits *w = arg;
	double begin = by_a_steady_clock();

	clock_jumps(w->jump);
	w->believed = w->wait(0.02);
	clock_jumps(0);
	w->real = by_a_steady_clock() - begin;
}

static void wait_by(double (*wait)(double), int jump, double limit)
{
	struct waits *w = shared(sizeof *w);

	w->wait = wait;
	w->jump = jump;
	fence(&(struct fence){ .scenario = wait_a_little, .shared = w,
			       .limit = limit });
	expect_exercised(INJECT_CLOCK);
	expect(w->real >= 0.02, "", "0.02 s", "%g s", w->real);
}

static void clock_goes_forward(void)
{
	wait_by(calling_waits_by_the_wall, 3600, 0);
}

static void clock_goes_back(void)
{
	wait_by(calling_waits_by_the_wall, -3600, 0.3);
}

static void clock_stands_still(void)
{
	wait_by(calling_waits_by_the_processor, 3600, 0.3);
}

static void nobody_asks(void)
{
	wait_by(calling_waits_so_long, 3600, 0);
}

static void be_interrupted(void *arg)
{
	struct work *w = arg;

	interrupts_start();
	while (injected(INJECT_INTERRUPT) < 5)
		w->result = w->function();
	interrupts_stop();
}

static void signals_arrive(void)
{
	struct work *w = shared(sizeof *w);

	w->function = carries;
	run(be_interrupted, w);
	expect(w->result == 0, "", "all comes through", "%d", w->result);
	expect(injected(INJECT_INTERRUPT) >= 5, "", "5 signals", "%d",
	       injected(INJECT_INTERRUPT));
}

static void no_signal_arrives(void)
{
	run(compute, shared(sizeof(struct work)));
	expect_exercised(INJECT_INTERRUPT);
}

/* ---- death and order --------------------------------------------------- */

struct locked {
	pthread_mutex_t lock;
	struct holder holder;
	bool robust, comes;
	int entered;
	pid_t killed;
	struct gate dead;
};

static void stay_inside(void *arg)
{
	holder_stay(&((struct locked *)arg)->holder);
}

static void count_in(void *arg)
{
	((struct locked *)arg)->entered++;
}

static void lose_a_holder(void *arg)
{
	struct locked *l = arg;
	pid_t pid;

	calling_makes_a_lock(&l->lock, l->robust);
	pid = fork();
	if (pid == 0) {
		if (l->comes)
			calling_locks(&l->lock, stay_inside, l);
		_exit(0);
	}
	gate_wait(&l->dead);
	waitpid(pid, NULL, 0);
	calling_locks(&l->lock, count_in, l);
}

static void kill_the_holder(void *arg)
{
	struct locked *l = arg;

	l->killed = holder_kill(&l->holder);
	gate_open(&l->dead);
}

static struct locked *kill_inside(bool robust, bool comes)
{
	struct locked *l = shared(sizeof *l);

	l->robust = robust;
	l->comes = comes;
	fence(&(struct fence){ lose_a_holder, kill_the_holder, l, 0, NULL });
	expect_exercised(INJECT_KILL);
	return l;
}

static void holder_dies(void)
{
	struct locked *l = kill_inside(true, true);

	expect(l->killed > 0 && l->entered == 1, "", "the next one enters",
	       "%d %d", l->killed, l->entered);
	expect(injected(INJECT_KILL) == 1, "", "1", "%d",
	       injected(INJECT_KILL));
}

static void holder_dies_plainly(void) { kill_inside(false, true); }
static void holder_never_comes(void) { kill_inside(true, false); }

/* The director stops the child, looks, and lets it go on. */
struct stopped {
	pid_t child;
	struct gate started, end, ended;
	bool stops, stayed, went_on, dead;
	_Atomic int steps;
};

static void step_on(void *arg)
{
	struct stopped *s = arg;
	pid_t pid = fork();

	if (pid == 0) {
		s->child = getpid();
		gate_open(&s->started);
		while (!gate_is_open(&s->end))
			s->steps++;
		_exit(0);
	}
	gate_wait(&s->ended);
	waitpid(pid, NULL, 0);
}

static void stop_and_look(void *arg)
{
	struct stopped *s = arg;
	int steps;

	gate_wait(&s->started);
	if (s->stops && stop_process(s->child)) {
		steps = s->steps;
		effort_during(0.02);
		s->stayed = s->steps == steps;
		s->went_on = continue_process(s->child);
		while (s->steps == steps)
			effort_during(0.001);
	}
	gate_open(&s->end);
	wait_until_ended(s->child);
	s->dead = !stop_process(s->child) || injected(INJECT_STOP) == 1;
	gate_open(&s->ended);
}

static struct stopped *stop(bool stops)
{
	struct stopped *s = shared(sizeof *s);

	s->stops = stops;
	fence(&(struct fence){ step_on, stop_and_look, s, 0, NULL });
	expect_exercised(INJECT_STOP);
	return s;
}

static void hold_threads(int (*what)(void))
{
	struct work *w = shared(sizeof *w);

	w->function = what;
	hold_threads_until(3);
	fence(&(struct fence){ .scenario = do_work, .shared = w });
	expect_exercised(INJECT_HELD_THREADS);
	expect(w->result == 0, "", "no thread runs too early", "one did");
	expect(injected(INJECT_HELD_THREADS) == 3, "", "3", "%d",
	       injected(INJECT_HELD_THREADS));
}

static void threads_are_held(void)
{
	hold_threads(calling_threads);
}

static void no_thread_is_held(void)
{
	hold_threads(calling_computes);
}

static void work_with_cores(void *arg)
{
	cores_dumped(true);
	do_work(arg);
}

static void dump_cores(int (*what)(void), int hits)
{
	struct work *w = shared(sizeof *w);

	w->function = what;
	fence(&(struct fence){ .scenario = work_with_cores, .shared = w });
	expect_exercised(INJECT_CORE);
	expect(injected(INJECT_CORE) == hits, "", text("%d", hits), "%d",
	       injected(INJECT_CORE));
	expect(w->result == 0, "", "SIGKILL", "another signal");
}

static void cores_are_told(void)
{
	dump_cores(calling_hears_of_deaths, 2);
}

static void cores_are_told_to_the_careless(void)
{
	dump_cores(calling_hears_of_deaths_carelessly, 1);
}

static void nobody_died(void) { dump_cores(calling_computes, 0); }

static void process_stops(void)
{
	struct stopped *s = stop(true);

	expect(s->stayed && s->went_on, "", "it stands still, and goes on",
	       "%d %d", s->stayed, s->went_on);
	expect(injected(INJECT_STOP) == 1, "", "1", "%d",
	       injected(INJECT_STOP));
}

static void nobody_stops(void) { stop(false); }

/* ---- the report of a hang knows the new calls too ---------------------- */

static void do_nothing_more(void *arg)
{
	(*(void (**)(void))arg)();
}

static void stick(void (*in)(void))
{
	void (**f)(void) = shared(sizeof *f);

	*f = in;
	fence(&(struct fence){ .scenario = do_nothing_more, .shared = f });
}

static void stick_to_descriptors(void) { stick(stuck_in_descriptors); }
static void stick_to_others(void) { stick(stuck_in_signals_and_locks); }

struct objects {
	int queue, semaphores;
};

static void wait_for_objects(void *arg)
{
	struct objects *o = arg;

	stuck_in_system_v(o->queue, o->semaphores);
}

/* Removed before the verdict: they would outlive everybody. */
static void stick_to_system_v(void)
{
	struct objects *o = shared(sizeof *o);
	const struct fence f = { .scenario = wait_for_objects, .shared = o };
	struct fence_end end;

	o->queue = msgget(IPC_PRIVATE, 0600);
	o->semaphores = semget(IPC_PRIVATE, 1, 0600);
	end = fence_try(&f);
	msgctl(o->queue, IPC_RMID, NULL);
	semctl(o->semaphores, 0, IPC_RMID);
	fail_end(&f, end);
}

#define CHECK(verdict, name, run) { verdict, name, run, NULL }

static const struct check checks[] = {
	CHECK("pass", "a loop comes through short reads and writes",
	      short_pipe),
	CHECK("pass", "and through those of a socket", short_socket),
	CHECK("fail", "one read or write is not enough", short_careless),
	CHECK("pass", "each blocking call can be interrupted",
	      interrupted_everywhere),
	CHECK("fail", "an interrupted call is not done", interrupted_careless),
	CHECK("pass", "what waits for ever can be interrupted",
	      interrupted_by_nobody),
	CHECK("pass", "a call can be meant by its own name", one_by_its_name),
	CHECK("skip", "nothing to interrupt is not exercised",
	      nothing_interrupted),
	CHECK("pass", "each fork can fail, and all from one on", forks_fail),
	CHECK("fail", "a failed fork is not a child", forks_fail_carelessly),
	CHECK("pass", "each thing that is made can be refused",
	      everything_refused),
	CHECK("pass", "each lock can be refused", locks_refused),
	CHECK("fail", "memory that is refused is not there",
	      refused_carelessly),
	CHECK("skip", "nothing to refuse is not exercised", nothing_refused),
	CHECK("pass", "room in a file can be refused", space_refused),
	CHECK("skip", "no room asked for is not exercised",
	      space_not_asked_for),
	CHECK("pass", "pipes and sockets are made small", pipes_are_small),
	CHECK("skip", "no pipe is not exercised", no_pipe_is_small),
	CHECK("pass", "descriptors come to an end", descriptors_are_few),
	CHECK("skip", "enough descriptors are not exercised",
	      descriptors_suffice),
	CHECK("pass", "a small /dev/shm says that it is full", shm_is_small),
	CHECK("pass", "a small /dev/shm kills who does not ask",
	      shm_is_small_carelessly),
	CHECK("skip", "a /dev/shm large enough is not exercised",
	      shm_suffices),
	CHECK("pass", "pauses take no time", pauses_take_no_time),
	CHECK("skip", "no pause is not exercised", nobody_pauses),
	CHECK("fail", "a wall clock that jumps ends a wait too early",
	      clock_goes_forward),
	CHECK("fail", "a wall clock that goes back makes a wait endless",
	      clock_goes_back),
	CHECK("fail", "the processor's clock makes a wait endless",
	      clock_stands_still),
	CHECK("skip", "a clock that nobody looks at is not exercised",
	      nobody_asks),
	CHECK("pass", "signals arrive", signals_arrive),
	CHECK("skip", "no signal is not exercised", no_signal_arrives),
	CHECK("pass", "a lock outlives its holder", holder_dies),
	CHECK("fail", "a plain lock dies with its holder",
	      holder_dies_plainly),
	CHECK("skip", "a holder that never comes is not exercised",
	      holder_never_comes),
	CHECK("pass", "a process stands still, and goes on", process_stops),
	CHECK("skip", "nobody stopped is not exercised", nobody_stops),
	CHECK("pass", "threads wait until all have been created",
	      threads_are_held),
	CHECK("skip", "no thread held is not exercised", no_thread_is_held),
	CHECK("pass", "a death is told with a core", cores_are_told),
	CHECK("fail", "a core is one bit of the status",
	      cores_are_told_to_the_careless),
	CHECK("skip", "no death is not exercised", nobody_died),
	CHECK("fail", "stuck at descriptors", stick_to_descriptors),
	CHECK("fail", "stuck at signals and locks", stick_to_others),
	CHECK("fail", "stuck at System V objects", stick_to_system_v),
};

CHECKS("selftest", checks);
