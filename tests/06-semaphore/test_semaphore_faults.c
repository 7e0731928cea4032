/* What a semaphore and its workers leave behind, and what they do when the
 * system refuses or interrupts. */
#include "facts.h"

#include <pthread.h>

/* ---- what is left behind ------------------------------------------------ */

/* How many calls do not succeed; two places are needed. */
static int use_it(void)
{
	int wrong = semaphore_acquire(sem, -1) != 0;

	wrong += semaphore_acquire(sem, 1) != 0;
	wrong += semaphore_release(sem) != 0;
	wrong += semaphore_release(sem) != 0;
	return wrong + (semaphore_with(sem, 1, pass, NULL) != 0);
}

enum { CYCLES = 200 };

static void many_quick(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < CYCLES; i++) {
		if (i == 4)
			s->number[0] = count_mappings("");
		if (!create(s, 2, i % 2))
			return;
		s->number[3] += use_it();
		if (i % 40 == 0) {
			semaphore_acquire(sem, 0);
			semaphore_acquire(sem, 0);
			semaphore_acquire(sem, 0.001);
		}
		semaphore_destroy(sem);
		s->number[2]++;
	}
	s->number[1] = count_mappings("");
}

static void many_runs(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, true))
		return;
	for (int i = 0; i < 8; i++) {
		if (i == 2)
			s->number[0] = count_mappings("");
		s->number[2] += semaphore_run(sem, 2, pass, NULL, NULL) != 0;
		s->number[2] += ask(use_it);
	}
	s->number[1] = count_mappings("");
	semaphore_destroy(sem);
}

#define WHY_MAPPED "Memory that was mapped is never given back."

static void check_many(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);

	fence(&(struct fence){ .scenario = many_runs, .shared = t });
	expect_created(t);
	expect_clean(NULL);
	expect(t->number[2] == 0, "After some use it does not work any more.",
	       "0", "%d calls failed", t->number[2]);
	expect(t->number[1] - t->number[0] < 5, WHY_MAPPED, "as many mappings "
	       "after 8 runs as after 2", "%d more",
	       t->number[1] - t->number[0]);
	fence(&(struct fence){ .scenario = many_quick, .shared = s });
	expect(s->number[2] == CYCLES, "Sooner or later there are no "
	       "semaphores any more.", text("%d can be had one after the other",
	       CYCLES), "the %d. was refused: %s", s->number[2] + 1,
	       strerror(s->error));
	expect(s->number[3] == 0, "After others were destroyed a semaphore "
	       "does not work.", "0", "%d calls failed", s->number[3]);
	expect_clean(NULL);
	expect(s->number[1] - s->number[0] < 20, WHY_MAPPED, "as many mappings "
	       "after 200 semaphores as after 4", "%d more",
	       s->number[1] - s->number[0]);
}

/* ---- names -------------------------------------------------------------- */

static void create_and_wait(int i)
{
	(void)i;
	create(facts, 2, true);
	if (facts->created)
		semaphore_acquire(sem, -1);
	gate_open(&facts->held);
	for (;;)
		pause();
}

/* Whoever has to clear up after it may take a moment. */
static void wait_for_helpers(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	for (int i = 0; i < 3000 && effort().processes > 1; i++)
		syscall(SYS_nanosleep, &ms, NULL);
}

static void kill_owner(void *arg)
{
	struct facts *s = facts = arg;

	child(0, create_and_wait);
	gate_wait(&s->held);
	kill(s->pids[0], SIGKILL);
	collect(s->pids[0]);
	wait_for_helpers();
}

static void check_killed(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = kill_owner, .shared = s });
	expect_created(s);
	expect_clean("L06-13 The program was killed, and its semaphore is "
		     "still there for the next one.");
}

/* Two programs: each makes its own, and none knows the other's. */
static void run_program(int i)
{
	struct facts *s = facts;

	if (i == 1)
		gate_wait(&s->held);
	sem = semaphore_create(2 + i, i == 1);
	s->got[i] = sem != NULL;
	s->errs[i] = errno;
	if (sem != NULL) {
		s->number[4 * i] = semaphore_value(sem);
		s->number[4 * i + 1] = semaphore_acquire(sem, 0);
	}
	gate_open(i == 0 ? &s->held : &s->go);
	if (i == 0)
		gate_wait(&s->go);
	if (sem == NULL)
		return;
	s->number[4 * i + 2] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void two_programs(void *arg)
{
	facts = arg;
	child(0, run_program);
	child(1, run_program);
	collect_all(2);
}

static void check_two_programs(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = two_programs, .shared = s,
			       .why_stuck = WHY_13 });
	for (int i = 0; i < 2; i++) {
		_Atomic int *n = &s->number[4 * i];

		expect(s->got[i], WHY_13, "two programs have a semaphore each",
		       "one has none: %s", strerror(s->errs[i]));
		expect(n[0] == 2 + i && n[1] == 0 && n[2] == 1 + i, WHY_13,
		       text("the %s of two programs at once begins with %d, "
			    "and takes 1 of it", i ? "second" : "first", 2 + i),
		       "%d, then acquire(0) returned %d, then %d", n[0], n[1],
		       n[2]);
	}
	expect_clean(NULL);
}

/* ---- who leaves early --------------------------------------------------- */

static void use_and_exit(int i)
{
	facts->number[i] = use_it();
	exit(0);
}

static void leave_one_by_one(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, false))
		return;
	for (int i = 0; i < 3; i++)
		collect(child(i, use_and_exit));
	s->number[3] = use_it();
	s->number[4] = semaphore_value(sem);
	s->number[5] = semaphore_acquire(sem, 0);
	/* and somebody still waits for somebody else */
	memset(s->pids, 0, sizeof s->pids);
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	collect_all(2);
	semaphore_destroy(sem);
}

/* While one waits another one uses it, and ends. */
static void leave_meanwhile(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	gate_wait(&s->over);
	s->number[0] = ask(take);
	if (fork() == 0)
		exit(semaphore_acquire(sem, 0));
	collect(-1);
	gate_open(&s->go);
	collect_all(2);
	s->number[1] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void say_when_waiting(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	gate_open(&s->over);
}

static void check_leave(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = leave_one_by_one,
					 .director = let_go, .shared = s });
	expect(end.how == FENCE_FINISHED, WHY_19, "it works when others have "
	       "ended", end.how == FENCE_KILLED ?
	       "the process that created it was killed by signal %d" :
	       end.how == FENCE_STUCK ? "nothing moves any more" :
	       "it does not come to an end", end.status);
	expect_created(s);
	for (int i = 0; i < 4; i++)
		expect(s->number[i] == 0, WHY_19, text("all calls of %s "
		       "succeed", i < 3 ? "each child" : "the parent"), "%d "
		       "do not", s->number[i]);
	expect(s->number[4] == 2 && s->number[5] == 0, WHY_19, "2 afterwards, "
	       "and one can be had: 0", "%d, and %d", s->number[4],
	       s->number[5]);
	expect(s->got_in == 1 + 4 && s->early == 0, WHY_19, "who waits gets "
	       "in", "%d did, %d before its time", s->got_in - 4, s->early);
	fence(&(struct fence){ .scenario = leave_meanwhile, .shared = t,
		.director = say_when_waiting, .why_stuck = WHY_19 });
	expect(t->number[0] == 1 && t->early == 0 && t->got[1] == 0 &&
	       t->number[1] == 1, WHY_19, "others come, look and end while "
	       "one waits; in the end it gets in", "%d, %d, %d, %d",
	       t->number[0], t->early, t->got[1], t->number[1]);
}

/* ---- the system refuses ------------------------------------------------- */

static const char why_half[] = "Part of the semaphore could not be had, and "
			       "you went on without it.";

/* number[0]: did it strike while it was created? Later it shall not. */
static void try_it_out(void *arg)
{
	static const struct fault none;
	struct facts *s = facts = arg;

	errno = 0;
	sem = semaphore_create(1, true);
	s->errs[0] = errno;
	s->number[0] = fault_hits() > 0;
	if (!s->number[0])
		fault_set(&none);
	s->created = sem != NULL;
	if (sem == NULL)
		return;
	s->number[1] = semaphore_acquire(sem, -1);
	s->number[2] = ask(take);
	s->number[3] = semaphore_release(sem);
	s->number[4] = ask(give_too_much);
	s->number[5] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void judge_try(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_half, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d" :
	       end->how == FENCE_EXITED ? "the caller exited with status %d" :
	       "the caller did not come through", end->status);
	expect(s->created || s->errs[0] != 0, "Nobody can tell why there is "
	       "no semaphore.", "NULL, and errno says why", "errno is 0");
	expect_clean(NULL);
	if (!s->number[0] || !s->created)
		return;
	expect(s->number[1] == 0 && s->number[2] == 1 && s->number[3] == 0 &&
	       s->number[4] == 1 && s->number[5] == 1, why_half,
	       "NULL, or a semaphore that works: 0, 1, 0, 1, 1",
	       "%d, %d, %d, %d, %d", s->number[1], s->number[2], s->number[3],
	       s->number[4], s->number[5]);
}

static void refuse(const char *call, int error)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_it_out, .shared = s,
				     .why_stuck = why_half },
		    sizeof *s, call, error, NULL, judge_try);
}

static void check_no_mapping(void)
{
	refuse("mmap", ENOMEM);
}

static void check_no_memory(void)
{
	refuse("malloc", ENOMEM);
}

static void check_no_descriptor(void)
{
	refuse("descriptors", EMFILE);
}

static void check_no_init(void)
{
	static const struct fault refusals[] = {
		{ "init", EAGAIN, 0, false },
		{ "sem_open", EMFILE, 0, false },
		{ "sysv", ENOSPC, 0, false },
		{ NULL, 0, 0, false },
	};
	struct facts *s = shared(sizeof *s);

	fault_sweep_all(&(struct fence){ .scenario = try_it_out, .shared = s,
		.why_stuck = why_half }, sizeof *s, refusals, NULL, judge_try);
}

static void check_no_server(void)
{
	refuse("fork", EAGAIN);
}

/* ---- those that were started, when another one cannot be ---------------- */

enum { CREW = 4 };

static void run_short_handed(void *arg)
{
	struct facts *s = arg;

	if (!create(s, CREW, true))
		return;
	s->number[7] = fault_hits() > 0;
	/* before a worker is started, those before it come into the room: so
	 * they are there when the next one cannot be started */
	pthread_atfork(settle_family, NULL, NULL);
	run_workers(CREW, stay);
	gate_open(&s->over);
	semaphore_destroy(sem);
}

static void let_go_when_struck(void *arg)
{
	const struct timespec ms = { .tv_nsec = 1000000 };
	struct facts *s = arg;

	while (fault_hits() == 0 && s->entered < CREW &&
	       !gate_is_open(&s->over))
		syscall(SYS_nanosleep, &ms, NULL);
	settle_family();
	gate_open(&s->go);
}

static void judge_short_handed(void *arg, const struct fence_end *end)
{
	static const char why[] = "One worker could not be started, and those "
				  "that were do not come to their end.";
	struct facts *s = arg;
	const struct outcome *o = &s->run[0];

	expect(end->how == FENCE_FINISHED, why, "an error is reported",
	       "the caller did not come through");
	if (!s->created || s->number[7])
		return;
	expect(o->entered == o->left, why, "who is in the room when the next "
	       "one cannot be started leaves it", "%d came in, %d left",
	       o->entered, o->left);
}

static void check_short_handed(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = run_short_handed,
		.director = let_go_when_struck, .shared = s }, sizeof *s,
		"fork", EAGAIN, NULL, judge_short_handed);
}

/* ---- a worker that cannot be started ------------------------------------ */

enum { WORKERS = 3 };

static const char why_missing[] = "One worker could not be started, and the "
	"others are forgotten.";
static const char why_needed[] = "Something that a run needs could not be "
	"had, and you went on without it.";
static const char *why_started = why_missing;

/* Only what strikes in semaphore_run counts. */
static void run_refused(void *arg)
{
	static const struct fault none;
	struct facts *s = arg;
	bool created = create(s, 2, true);

	s->number[0] = fault_hits() > 0;
	if (!created)
		return;
	run_workers(WORKERS, pass);
	if (fault_hits() == 0)
		fault_set(&none);
	s->number[1] = ask(try_it);
	semaphore_destroy(sem);
}

static void judge_refused(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;
	const struct outcome *o = &s->run[0];

	expect(end->how == FENCE_FINISHED, why_started, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d" :
	       end->how == FENCE_EXITED ? "the caller exited with status %d" :
	       "the caller did not come through", end->status);
	if (s->number[0])
		return;
	expect(o->entered == o->left, why_started, "whoever came in has left",
	       "%d came in, %d left", o->entered, o->left);
	if (o->entered < WORKERS)
		expect(o->ret == -1 && o->err != 0, "Not all workers were in "
		       "the room, and that is reported as a success.",
		       "-1, and errno says why", "%d, %s, and %d of %d were "
		       "there", o->ret, strerror(o->err), o->entered, WORKERS);
	expect(o->ret == 0 || o->err != 0, "Nobody can tell why it failed.",
	       "-1, and errno says why", "errno is 0");
	expect(o->value <= 2, "A place was given back that nobody had.", "the "
	       "value is 2 as before", "%d", o->value);
	expect_clean(NULL);
}

static void judge_no_worker(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;
	const struct outcome *o = &s->run[0];

	judge_refused(arg, end);
	if (s->number[0])
		return;
	expect(o->value == 2 && s->number[1] == 0, why_started, "the value is "
	       "2 as before, and a place can be had: 0", "%d, and %d", o->value,
	       s->number[1]);
	expect(o->ret == 0 || o->err == EAGAIN || o->err == ENOMEM, "The "
	       "reason why a worker cannot be started does not reach the "
	       "caller.", "-1, with an error of fork", "%d, %s", o->ret,
	       strerror(o->err));
}

static void check_no_worker(void)
{
	struct facts *s = shared(sizeof *s);

	why_started = why_missing;
	fault_sweep(&(struct fence){ .scenario = run_refused, .shared = s,
		.why_stuck = why_started }, sizeof *s, "fork", EAGAIN, NULL,
		judge_no_worker);
}

static void check_run_refused(void)
{
	static const struct fault refusals[] = {
		{ "malloc", ENOMEM, 0, false },
		{ "mmap", ENOMEM, 0, false },
		{ "descriptors", EMFILE, 0, false },
		{ "pthread_create", EAGAIN, 0, false },
		{ NULL, 0, 0, false },
	};
	struct facts *s = shared(sizeof *s);

	why_started = why_needed;
	fault_sweep_all(&(struct fence){ .scenario = run_refused, .shared = s,
		.why_stuck = why_needed }, sizeof *s, refusals, NULL,
		judge_refused);
}

/* ---- what piles up when the system refuses again and again -------------- */

enum { AGAIN = 5, SETTLED = 2, CALLS = 12 };

static const struct fault repeated[] = {
	{ "mmap", ENOMEM, 0, false },
	{ "malloc", ENOMEM, 0, false },
	{ "descriptors", EMFILE, 0, false },
	{ "init", EAGAIN, 0, false },
	{ "sem_open", EMFILE, 0, false },
	{ "sysv", ENOSPC, 0, false },
	{ "fork", EAGAIN, 0, false },
	{ "pthread_create", EAGAIN, 0, false },
	{ NULL, 0, 0, false },
};

static const struct fault no_fault;

/* Both return how often the fault struck. */
static int create_refused(const struct fault *fault)
{
	struct semaphore *s;
	int hits;

	fault_set(fault);
	s = semaphore_create(1, true);
	hits = fault_hits();
	fault_set(&no_fault);
	if (s != NULL)
		semaphore_destroy(s);
	return hits;
}

/* A place that could not be given back is gone: a new semaphore each time. */
static int run_refused_again(const struct fault *fault)
{
	int hits = 0;

	sem = semaphore_create(2, true);
	if (sem == NULL)
		return 0;
	fault_set(fault);
	semaphore_run(sem, 2, pass, NULL, NULL);
	hits = fault_hits();
	fault_set(&no_fault);
	semaphore_destroy(sem);
	return hits;
}

/* How many more mappings are there after the later ones of these refusals?
 * False when there is no more to be tried. */
static bool refuse_again(const struct fault *fault,
			 int (*refused)(const struct fault *fault))
{
	int mappings = 0;

	for (int i = 0; i < AGAIN; i++) {
		if (i == SETTLED)
			mappings = count_mappings("");
		if (refused(fault) == 0)
			return false;
	}
	mappings = count_mappings("") - mappings;
	if (mappings >= AGAIN - SETTLED)
		facts->number[1] = mappings;
	return facts->number[1] == 0;
}

/* number[3]: which of the calls it was, and at which of its turns. */
static void refuse_each(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = 0; repeated[i].call != NULL; i++) {
		struct fault fault = repeated[i];

		for (fault.k = 1; fault.k <= CALLS; fault.k++) {
			s->number[3] = i;
			s->number[4] = fault.k;
			if (!refuse_again(&fault, s->initial > 0 ?
					  run_refused_again : create_refused))
				break;
		}
		if (s->number[1] > 0)
			break;
	}
}

static void check_refused_again(void)
{
	for (int run = 0; run < 2; run++) {
		struct facts *s = shared(sizeof *s);
		_Atomic int *n = s->number;

		s->initial = run;
		fence(&(struct fence){ .scenario = refuse_each, .shared = s,
				       .why_stuck = why_needed });
		expect(n[1] == 0, "Each time that the system refuses, some "
		       "memory is never given back.", text("as many mappings "
		       "after each %s that fails", run ? "semaphore_run" :
		       "semaphore_create"), "%d more after %d times, where "
		       "number %d of %s fails", n[1], AGAIN - SETTLED, n[4],
		       repeated[n[3]].call);
		expect_clean(NULL);
	}
}

/* ---- interruptions ------------------------------------------------------ */

static void hand_over(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, true))
		return;
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	collect_all(2);
	s->number[0] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static const char why_interrupted[] = "L06-07 You were woken by a signal, not "
				      "let in.";
static enum way swept;

static void by_way(void *arg)
{
	((struct facts *)arg)->way = swept;
}

static void judge_interrupted(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_interrupted, "the wait goes on",
	       "the caller did not come through");
	expect_created(s);
	expect(s->got[0] == 0 && s->got[1] == 0 && s->peak.most == 1 &&
	       s->number[0] == 1, why_interrupted, "0 and 0, one at a time, "
	       "and 1 in the end", "%d and %d, %d at once, and %d", s->got[0],
	       s->got[1], s->peak.most, s->number[0]);
}

static void check_interrupted_calls(void)
{
	struct facts *s = shared(sizeof *s);

	for (swept = BY_ACQUIRE; swept < WAYS; swept++)
		fault_sweep(&(struct fence){ .scenario = hand_over,
			.director = let_go, .shared = s,
			.why_stuck = why_interrupted },
			sizeof *s, "blocking", EINTR, by_way,
			judge_interrupted);
}

static void run_interrupted(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, true))
		return;
	run_workers(WORKERS, pass);
	semaphore_destroy(sem);
}

static void judge_interrupted_run(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;
	const struct outcome *o = &s->run[0];

	expect(end->how == FENCE_FINISHED, why_interrupted, "the wait goes on",
	       "the caller did not come through");
	expect_created(s);
	expect(o->ret == 0 && o->left == WORKERS && s->peak.most == 1 &&
	       o->value == 1, why_interrupted, "0, 3 have been in the room, "
	       "one at a time, and 1 in the end", "%d, %d, %d at once, and %d",
	       o->ret, o->left, s->peak.most, o->value);
	expect_clean(NULL);
}

static void check_interrupted_run(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = run_interrupted, .shared = s,
		.why_stuck = why_interrupted }, sizeof *s, "blocking", EINTR,
		NULL, judge_interrupted_run);
}

/* Signals all the time: the wait ends at its limit all the same. */
static void wait_among_signals(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 0, false))
		return;
	interrupts_start();
	s->got[0] = semaphore_acquire(sem, 0.1);
	s->errs[0] = errno;
	interrupts_stop();
	s->number[0] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void check_limit_interrupted(void)
{
	static const char why[] = "A signal that arrives while you wait "
		"changes nothing about how long you may wait.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = wait_among_signals, .shared = s,
			       .limit = 10, .why_stuck = why });
	expect_created(s);
	expect_got(s, 0, 1, why);
	expect(s->number[0] == 0, why, "nothing is given or taken: 0", "%d",
	       s->number[0]);
}

static const struct check checks[] = {
	{ "functions", "who leaves early takes nothing along", check_leave,
	  (const void *)semaphore_destroy },
	{ "leftovers", "many semaphores and runs leave nothing behind",
	  check_many, (const void *)semaphore_destroy },
	{ "leftovers", "two programs never meet", check_two_programs,
	  (const void *)semaphore_create },
	{ "leftovers", "a program that is killed leaves nothing behind",
	  check_killed, (const void *)semaphore_create },
	{ "faults", "when one cannot be started the others come to their end",
	  check_short_handed, (const void *)semaphore_run },
	{ "faults", "a worker that cannot be started is reported",
	  check_no_worker, (const void *)semaphore_run },
	{ "faults", "memory that cannot be mapped is reported",
	  check_no_mapping, (const void *)semaphore_create },
	{ "faults", "memory that cannot be had is reported", check_no_memory,
	  (const void *)semaphore_create },
	{ "faults", "a descriptor that cannot be had is reported",
	  check_no_descriptor, (const void *)semaphore_create },
	{ "faults", "a semaphore that cannot be made is reported",
	  check_no_init, (const void *)semaphore_create },
	{ "faults", "a process that cannot be had is reported",
	  check_no_server, (const void *)semaphore_create },
	{ "faults", "what a run cannot have is reported", check_run_refused,
	  (const void *)semaphore_run },
	{ "faults", "what is refused leaves nothing behind",
	  check_refused_again, (const void *)semaphore_create },
	{ "faults", "a call that a signal interrupts is repeated",
	  check_interrupted_calls, (const void *)semaphore_acquire },
	{ "faults", "a run goes on when a signal interrupts a call",
	  check_interrupted_run, (const void *)semaphore_run },
	{ "faults", "signals all the time do not change a limit",
	  check_limit_interrupted, (const void *)semaphore_acquire },
};

CHECKS("06-semaphore", checks);
