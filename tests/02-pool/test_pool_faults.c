/* What a pool leaves behind, and what it does when things go wrong. */
#include "facts.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* ---- what is left behind --------------------------------------------- */

/* Two pools at once. number[0]: which is closed first. */
static void two_pools(void *arg)
{
	struct facts *s = arg;
	struct pool *p[2] = { create(s, 2), create(s, 3) };
	int first = s->number[0];

	if (p[0] == NULL || p[1] == NULL)
		return;
	map_items(&s->map, p[first], note_and_answer, 40, 1, 1);
	map_items(&s->second, p[1 - first], answer, 40, 1, 2);
	pool_close(p[first]);
	for (int i = 0; i < count_pids(s); i++)
		s->number[1] += is_running(s->pids[i]);
	if (s->number[1] == 0)
		map_items(&s->second, p[1 - first], answer, 40, 0, 3);
	pool_close(p[1 - first]);
}

static void check_two_pools(void)
{
	struct facts *s = shared(sizeof *s);

	for (int first = 0; first < 2; first++) {
		memset(s, 0, sizeof *s);
		s->number[0] = first;
		fence(&(struct fence){
			.scenario = two_pools, .shared = s,
			.why_stuck = "L02-11 Somebody who does not need it "
				     "still holds the other end open." });
		expect_created(s);
		expect(s->number[1] == 0, "The pool is closed, and workers of "
		       "it go on.", "each worker of the closed pool has ended",
		       "%d still run", s->number[1]);
		expect_done(&s->map, NULL, NULL);
		expect_done(&s->second, NULL, "Two pools at once get in each "
			    "other's way.");
		expect_clean(NULL);
	}
}

static void terminate(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	if (p == NULL)
		return;
	map_items(&s->map, p, meet_and_answer, 3, 1, 3);
	s->number[0] = pool_terminate(p);
	still_alone("pool_terminate");
	for (int i = 0; i < count_pids(s); i++)
		s->number[1] += is_running(s->pids[i]);
}

static void check_terminate(void)
{
	static const char why[] = "The pool is terminated, and its workers are "
		"still there: running, or ended and never collected.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = terminate, .shared = s });
	expect_created(s);
	expect(s->number[1] == 0, why, "each worker has ended when "
	       "pool_terminate returns", "%d still run", s->number[1]);
	expect_clean(why);
	expect(s->number[0] == 0, "The pool was terminated, but pool_terminate "
	       "says that something went wrong.", "0", "%d", s->number[0]);
}

/* Many pools, one after the other. */
static void many_pools(void *arg)
{
	struct facts *s = arg;
	struct pool *p;

	for (int i = 0; i < 30; i++) {
		p = create(s, 1 + i % 4);
		if (p == NULL)
			return;
		map_items(&s->map, p, answer, (size_t)i, (size_t)i % 3, i);
		end_pool(p, i % 3 == 0);
		if (s->map.ret != 0 || s->map.first >= 0)
			return;
	}
}

static void check_many_pools(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = many_pools, .shared = s });
	expect_created(s);
	expect_done(&s->map, NULL, NULL);
	expect_clean(NULL);
}

static void at_the_end(void)
{
	if (getpid() != fence_pid())
		facts->handlers++;
}

/* The caller has something to do at its end, and something half written. */
static void half_written(void *arg)
{
	struct facts *s = arg;
	int fd = memfd_create("half", MFD_CLOEXEC);
	FILE *half = fdopen(fd, "w");
	struct pool *p;
	struct stat file;

	atexit(at_the_end);
	facts = s;
	if (half == NULL)
		return;
	fputs("a line that is not yet complete", half);
	p = create(s, 3);
	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 10, 1, 1);
	pool_close(p);
	p = create(s, 3);
	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 10, 1, 1);
	pool_terminate(p);
	fstat(fd, &file);
	s->number[0] = (int)file.st_size;
}

static void check_half_written(void)
{
	static const char why[] = "L01-04 Ending the child the way a whole "
		"program ends also does what belongs to the parent.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = half_written, .shared = s });
	expect_created(s);
	expect(s->handlers == 0, why, "the caller's atexit function runs in "
	       "the caller", "it ran in %d workers", s->handlers);
	expect(s->number[0] == 0, why, "what the caller has not yet written "
	       "is written once, by the caller", "workers wrote %d bytes of it",
	       s->number[0]);
}

/* ---- the owner is killed --------------------------------------------- */

/* In a process of its own, which never comes back. number[2]: it wants to
 * hear of no signal, and so its workers begin. */
static void own_a_pool(struct facts *s)
{
	struct pool *p;
	sigset_t all;

	s->owner = getpid();
	sigfillset(&all);
	if (s->number[2] == 1)
		sigprocmask(SIG_BLOCK, &all, NULL);
	for (int sig = 1; s->number[2] == 1 && sig < NSIG; sig++)
		if (sig != SIGCHLD)
			signal(sig, SIG_IGN);
	p = create(s, 3);
	if (p != NULL)
		map_items(&s->map, p, meet_and_answer, 3, 1, 3);
	if (p != NULL && s->number[0] == 1) {
		gate_open(&s->over);
		map_items(&s->second, p, wait_and_answer, 3, 1, 1);
	}
	gate_open(&s->over);
	gate_open(&s->started);
	for (;;)
		pause();
}

static void kill_owner(void *arg)
{
	struct facts *s = arg;
	pid_t owner;

	facts = s;
	owner = fork();
	if (owner == 0)
		own_a_pool(s);
	gate_wait(&s->over);
	gate_wait(&s->started);
	wait_until_asleep(owner);
	kill(owner, SIGKILL);
	waitpid(owner, NULL, 0);
	gate_open(&s->go);
	for (int i = 0; i < count_pids(s); i++)
		s->number[1] += !wait_until_ended(s->pids[i]);
}

static void check_owner_killed(void)
{
	static const char *const when[] = { "had nothing to do",
					    "were at their tasks" };
	struct facts *s = shared(sizeof *s);

	for (int k = 0; k < 4; k++) {
		int busy = k % 2;

		memset(s, 0, sizeof *s);
		s->number[0] = busy;
		s->number[2] = k / 2;
		fence(&(struct fence){ .scenario = kill_owner, .shared = s });
		expect_created(s);
		expect(s->number[1] == 0, "Your workers outlive the process "
		       "they work for, and nobody will ever tell them to end.",
		       text("the owner%s was killed while its workers %s: they "
			    "end too", s->number[2] == 0 ? "" : ", which "
			    "wanted to hear of no signal,", when[busy]),
		       "%d of them wait for ever", s->number[1]);
	}
}

/* ---- the system refuses ---------------------------------------------- */

/*
 * What cannot be had is missed by pool_create, or later by the map of a pool
 * that starts its workers then. number[0]: was it by pool_create?
 */
static void try_a_pool(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	s->number[0] = fault_hits() > 0;
	if (p == NULL)
		return;
	map_items(&s->map, p, meet_and_answer, 3, 1, 3);
	pool_close(p);
}

static void judge_try(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, WHY_HALF, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect_clean(WHY_HALF);
	if (!s->created) {
		expect(s->error != 0, "L02-20 Nobody can tell why there is no "
		       "pool.", "NULL, and errno says why", "errno is 0");
		return;
	}
	expect(s->gave_up == 0 || s->number[0] == 0, WHY_HALF,
	       "NULL, or a pool of 3 workers that work",
	       "a pool in which 3 tasks never run at once");
	expect(s->map.ret != 0 || s->map.first < 0, WHY_HALF,
	       "the map fails or its results are right", "it returned 0, and "
	       "%lld of 3 results are wrong", (long long)(s->map.untouched +
	       s->map.foreign + s->map.garbage));
	expect(s->map.ret == 0 || s->map.err != 0, WHY_HALF,
	       "errno says why the map failed", "errno is 0");
}

static void refuse(const char *call, int error)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_a_pool, .shared = s,
				     .why_stuck = WHY_HALF },
		    sizeof *s, call, error, NULL, judge_try);
}

/* The worker, too, may be the one that is refused something: then it dies. */
static void try_without(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 3, 1, 3);
	pool_close(p);
}

static const char why_refused[] = "L02-20 The system refused something, and "
				  "you went on as if you had it.";

static void judge_without(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_refused, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect(!s->created || s->map.ret != 0 || s->map.first < 0, why_refused,
	       "the map fails or its results are right", "it returned 0, and "
	       "result %lld is wrong", (long long)s->map.first);
}

static void check_fork_fails(void)
{
	refuse("fork", EAGAIN);
}

static void check_descriptors_fail(void)
{
	refuse("pipe", EMFILE);
}

static void check_refusals(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep_all(&(struct fence){ .scenario = try_without, .shared = s,
					 .why_stuck = why_refused },
			sizeof *s, fault_refusals, NULL, judge_without);
}

/* No process any more after the second: not even one to repair things. */
static void check_forks_fail(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;
	int error;

	fault_set(&(struct fault){ "fork", EAGAIN, 3, true });
	end = fence_try(&(struct fence){ .scenario = try_a_pool,
					 .shared = s });
	if (fault_hits() == 0)
		skip_check("not exercised: no third process is made");
	expect(end.how != FENCE_STUCK && end.how != FENCE_OVERTIME, WHY_HALF,
	       "an error is reported", "the scenario does not come to an end");
	judge_try(s, &end);
	expect(!s->created || s->number[0] == 0, WHY_HALF,
	       "a pool of 3 workers cannot be made of 2", "a pool");
	error = s->created ? s->map.err : s->error;
	expect((s->created && s->map.ret == 0) || error == EAGAIN ||
	       error == ENOMEM, "L02-20 What you report is not what the system "
	       "said.", text("EAGAIN (%s)", strerror(EAGAIN)), "%s",
	       strerror(error));
}

static void few_descriptors(void *arg)
{
	struct rlimit few = { 24, 1024 };
	struct facts *s = arg;
	struct pool *p;

	setrlimit(RLIMIT_NOFILE, &few);
	p = create(s, 40);
	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 100, 1, 1);
	pool_close(p);
}

static void check_few_descriptors(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = few_descriptors,
					 .shared = s });
	expect(end.how != FENCE_STUCK && end.how != FENCE_OVERTIME, WHY_HALF,
	       "40 workers with 24 descriptors: an error, or a pool that works",
	       "the scenario does not come to an end");
	judge_try(s, &end);
}

/* ---- a worker dies when nobody looks --------------------------------- */

/* number[0]: how many of the 3 workers are killed before the second map. */
static void kill_idle(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	if (p == NULL)
		return;
	map_items(&s->map, p, meet_and_answer, 3, 1, 3);
	for (int i = 0; i < s->number[0] && s->pids[i] != 0; i++)
		if (is_running(s->pids[i])) {
			kill(s->pids[i], SIGKILL);
			wait_until_ended(s->pids[i]);
		}
	map_items(&s->second, p, answer, 30, 1, 2);
	for (int i = 0; i < 30; i++) {
		s->number[1] += s->errs[i] == 0;
		s->number[2] += s->errs[i] == POOL_LOST;
		s->number[3] += s->errs[i] == 0 &&
				s->values[i] != value_of(i, 2);
	}
	pool_close(p);
}

static void check_killed_idle(int killed, int least)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	s->number[0] = killed;
	end = fence_try(&(struct fence){ .scenario = kill_idle, .shared = s });
	expect(end.how != FENCE_KILLED || end.status != SIGPIPE,
	       "L02-14 Writing to a process that has gone killed you instead "
	       "of telling you.", text("the caller survives the death of %d of "
	       "3 workers", killed), "it was killed by SIGPIPE");
	expect(end.how == FENCE_FINISHED, WHY_DEATH_WAIT,
	       text("a map comes to an end after %d of 3 workers were killed",
	       killed), end.how == FENCE_KILLED ? "the caller was killed" :
	       end.how == FENCE_EXITED ? "the caller ended" :
	       "nothing moves any more");
	expect_created(s);
	expect(s->second.ret == 0 ||
	       (s->second.ret == -1 && s->second.err == EOWNERDEAD),
	       "L02-13 What you report does not say that a worker died.",
	       text("0, or -1 and EOWNERDEAD (%s)", strerror(EOWNERDEAD)),
	       "%d, %s", s->second.ret, strerror(s->second.err));
	expect(s->second.ret != 0 || s->second.first < 0, WHY_DEATH,
	       "0 only if every item was done", "0, and result %lld is wrong",
	       (long long)s->second.first);
	expect(s->number[1] + s->number[2] == 30, "L02-13 Nobody tells which "
	       "item was lost.", "errs[i] is 0 or POOL_LOST",
	       "%d of 30 are neither", 30 - s->number[1] - s->number[2]);
	expect(s->number[3] == 0, "L02-13 Something is called done that is "
	       "not.", "where errs[i] is 0, results[i] is valid",
	       "%d such results are wrong", s->number[3]);
	expect(s->number[1] >= least, "L02-13 After the death of one worker "
	       "the others are of no use any more.", "the living go on",
	       "they have done %d of 30 items", s->number[1]);
	expect_clean(NULL);
}

static void check_one_killed_idle(void)
{
	check_killed_idle(1, 1);
}

static void check_all_killed_idle(void)
{
	check_killed_idle(3, 0);
}

/* ---- interruptions and short transfers ------------------------------- */

static void interrupted(int sig)
{
	(void)sig;
	facts->interrupted++;
}

static void map_interrupted(void *arg)
{
	struct sigaction a = { .sa_handler = interrupted };
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	sigaction(SIGUSR1, &a, NULL);
	gate_open(&s->measured);
	map_items(&s->map, p, wait_and_answer, 6, 1, 1);
	s->early = !gate_is_open(&s->go);
	gate_wait(&s->go);
	pool_close(p);
}

/* Three times while the caller waits for its workers. It has handled the
 * signal when it has come back to where it waits, or it has it blocked for as
 * long as it waits, and never comes from there. */
static void interrupt(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->measured);
	if (gate_wait(&s->started)) {
		for (int i = 0; i < 3; i++) {
			wait_until_asleep(fence_pid());
			kill(fence_pid(), SIGUSR1);
			settle(fence_pid());
		}
		wait_until_asleep(fence_pid());
	}
	gate_open(&s->go);
}

static void check_interrupted(void)
{
	static const char why[] = "A signal that arrives while you wait does "
				  "not mean that the work is done.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = map_interrupted,
			       .director = interrupt, .shared = s });
	expect_created(s);
	expect(!s->early, why, "the map waits for its tasks",
	       "it returned %d, %s, while they were running", s->map.ret,
	       strerror(s->map.err));
	expect_done(&s->map, why, why);
}

enum { WIDE = 6000 };

struct wide {
	unsigned char bytes[WIDE];
};

static int turn_wide(const void *item, void *result)
{
	const struct wide *from = item;
	struct wide *to = result;

	for (int i = 0; i < WIDE; i++)
		to->bytes[i] = (unsigned char)~from->bytes[i];
	return 0;
}

static void map_wide(void *arg)
{
	static struct wide items[4], results[4];
	struct facts *s = arg;
	struct pool *p = create(s, 1);	/* if it leaves, nobody is left */

	if (p == NULL)
		return;
	for (int k = 0; k < 4; k++)
		for (int i = 0; i < WIDE; i++)
			items[k].bytes[i] = (unsigned char)(i % 251 + k);
	s->map.ret = pool_map(p, turn_wide, items, 4, sizeof *items, results,
			      sizeof *results, 1, NULL);
	s->map.err = errno;
	for (int k = 0; k < 4; k++)
		for (int i = 0; i < WIDE; i++)
			s->number[0] += results[k].bytes[i] !=
					(unsigned char)~(i % 251 + k);
	pool_close(p);
}

static void expect_wide(const struct facts *s, const char *why,
			const char *what)
{
	expect_created(s);
	expect(s->map.ret == 0, why, what, "pool_map returned %d, %s",
	       s->map.ret, strerror(s->map.err));
	expect(s->number[0] == 0, why, what, "%d bytes of the results are "
	       "wrong", s->number[0]);
}

static const char why_short[] = "L02-10 A read may deliver less than you "
				"asked for.";
static const char why_short_write[] = "L02-10 A write may take less than you "
				      "offered.";

static void check_short(void)
{
	static const char *const calls[] = { "read", "write" };
	const char *why;
	int hits = 0;

	for (int k = 0; k < 2; k++) {
		struct facts *s = shared(sizeof *s);

		why = k == 0 ? why_short : why_short_write;
		fault_set(&(struct fault){ calls[k], 0, 1, true });
		fence(&(struct fence){ .scenario = map_wide, .shared = s,
				       .why_stuck = why });
		expect_wide(s, why, text("items and results of %d bytes come "
			    "through when each %s transfers one", WIDE,
			    calls[k]));
		hits += fault_hits();
	}
	if (hits == 0)
		skip_check("not exercised: no transfer that could be short");
}

static const char why_interrupted[] = "L02-10 What a signal interrupted has "
	"not happened: nothing was moved, nobody has ended, nothing is locked. "
	"You took it for done.";

static void judge_wide(void *arg, const struct fence_end *end)
{
	expect(end->how == FENCE_FINISHED, why_interrupted, "the map goes on",
	       "the caller did not come through");
	expect_wide(arg, why_interrupted, "the map goes on where it was "
		    "interrupted");
	expect_clean(why_interrupted);
}

static void check_interruptions(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep_all(&(struct fence){ .scenario = map_wide, .shared = s,
					 .why_stuck = why_interrupted },
			sizeof *s, fault_interruptions, NULL, judge_wide);
}

/* As Ctrl-C does, when the caller handles it: it reaches all of them. */
static void signal_workers(void)
{
	pid_t pids[16];
	int n;

	settle_family();
	n = fence_family(pids, 16);
	for (int i = 0; i < n; i++)
		if (pids[i] != fence_pid())
			kill(pids[i], SIGUSR1);
	settle_family();
}

static void signal_idle(void *arg)
{
	struct sigaction a = { .sa_handler = interrupted };
	struct facts *s = arg;
	struct pool *p;

	facts = s;
	sigaction(SIGUSR1, &a, NULL);
	p = create(s, 3);
	for (int k = 0; p != NULL && k < 2 && s->map.ret == 0; k++) {
		signal_workers();
		s->meeting = (struct meeting){ 0 };
		map_items(&s->map, p, meet_and_answer, 3, 1, 3);
	}
	if (p != NULL)
		pool_close(p);
}

static void check_signal_idle(void)
{
	static const char why[] = "A signal that interrupts an idle worker "
		"is neither work nor the end.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = signal_idle, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->map.ret == 0 && s->gave_up == 0, why, "3 workers that have "
	       "handled a signal do 3 tasks at once", "pool_map returned %d, "
	       "%s; %d tasks waited for the others in vain", s->map.ret,
	       strerror(s->map.err), s->gave_up);
	expect_done(&s->map, why, why);
}

static const struct check checks[] = {
	{ "leftovers", "two pools do not hold each other open",
	  check_two_pools, (const void *)pool_close },
	{ "leftovers", "a terminated pool has no workers left",
	  check_terminate, (const void *)pool_terminate },
	{ "leftovers", "thirty pools leave nothing behind", check_many_pools,
	  (const void *)pool_close },
	{ "leftovers", "what belongs to the caller happens in the caller",
	  check_half_written, (const void *)pool_create },
	{ "leftovers", "workers end when their owner is killed",
	  check_owner_killed, (const void *)pool_create },
	{ "faults", "a fork that fails leaves no half of a pool",
	  check_fork_fails, (const void *)pool_create },
	{ "faults", "when no more processes can be had, the caller is told",
	  check_forks_fail, (const void *)pool_create },
	{ "faults", "a missing descriptor leaves no half of a pool",
	  check_descriptors_fail, (const void *)pool_create },
	{ "faults", "forty workers with few descriptors work or are refused",
	  check_few_descriptors, (const void *)pool_create },
	{ "faults", "whatever the system refuses is no crash",
	  check_refusals, (const void *)pool_create },
	{ "faults", "a worker killed while idle does not end the pool",
	  check_one_killed_idle, (const void *)pool_map },
	{ "faults", "the caller survives the death of all its workers",
	  check_all_killed_idle, (const void *)pool_map },
	{ "faults", "a map that is interrupted by signals goes on",
	  check_interrupted, (const void *)pool_map },
	{ "faults", "short transfers are completed", check_short,
	  (const void *)pool_map },
	{ "faults", "a signal to idle workers changes nothing",
	  check_signal_idle, (const void *)pool_create },
	{ "faults", "what a signal interrupts is repeated",
	  check_interruptions, (const void *)pool_map },
};

CHECKS("02-pool", checks);
