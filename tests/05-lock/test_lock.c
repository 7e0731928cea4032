/* What a lock and a value do between processes that live. */
#include "facts.h"

#include <limits.h>

/* ---- the value ------------------------------------------------------- */

static int set(long *v, void *arg)
{
	*v = *(long *)arg;
	return 0;
}

static int add(long *v, void *arg)
{
	*v += *(long *)arg;
	return 0;
}

static int tell(long *v, void *arg)
{
	*(long *)arg = *v;
	return 0;
}

static void set_seven(int i)
{
	long seven = 7, found = 0;

	(void)i;
	facts->number[0] = value_update(value, tell, &found, NULL);
	facts->longs[0] = found;
	facts->number[1] = value_update(value, set, &seven, NULL);
}

static void set_in_child(void *arg)
{
	struct facts *s = arg;
	long found = 0;

	if (!create(s))
		return;
	collect(child(0, set_seven));
	s->number[2] = value_update(value, tell, &found, NULL);
	s->longs[1] = found;
	destroy();
}

static void check_shared(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = set_in_child, .shared = s,
			       .why_stuck = WHY_13 });
	expect_created(s);
	expect(s->longs[0] == 100, "The value does not begin with what it was "
	       "created with.", "a child reads 100", "%ld", s->longs[0]);
	expect(s->longs[1] == 7, WHY_01, "a child sets 7, and its parent reads "
	       "7", "%ld", s->longs[1]);
	expect(!s->number[0] && !s->number[1] && !s->number[2], "What succeeds "
	       "is reported as failed.", "value_update returns 0",
	       "%d, %d and %d", s->number[0], s->number[1], s->number[2]);
	expect_clean(NULL);
}

static const long extremes[] = { LONG_MAX, LONG_MIN, 1L << 40, -1,
				 INT_MIN - 1L, 3000000000 };
enum { EXTREMES = sizeof extremes / sizeof *extremes };

static void set_extreme(int i)
{
	long l = extremes[i];

	value_update(value, set, &l, NULL);
}

static void add_much(int i)
{
	long much = 1000000000;

	(void)i;
	value_update(value, add, &much, NULL);
}

static void large_values(void *arg)
{
	struct facts *s = arg;
	struct value *v;
	long now, zero = 0;

	if (!create(s))
		return;
	for (int i = 0; i < EXTREMES; i++) {
		v = value_create(extremes[i]);
		now = 0;
		if (v != NULL)
			value_update(v, NULL, NULL, &now);
		s->number[0] += now != extremes[i];
		if (v != NULL)
			value_destroy(v);
		collect(child(i, set_extreme));
		now = 0;
		value_update(value, NULL, NULL, &now);
		s->number[0] += now != extremes[i];
	}
	value_update(value, set, &zero, NULL);
	for (int i = 0; i < 3; i++)
		collect(child(i, add_much));
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	destroy();
}

static void check_large(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = large_values, .shared = s,
			       .why_stuck = WHY_13 });
	expect_created(s);
	expect(s->number[0] == 0, WHY_19, "the value can be any long",
	       "%d of %d were read as something else", s->number[0],
	       2 * EXTREMES);
	expect(s->longs[0] == 3000000000, WHY_19, "3 processes add 1000000000 "
	       "each: 3000000000", "%ld", s->longs[0]);
}

struct call {
	int runs;
	long found;
	pid_t pid;
};

static int note_call(long *v, void *arg)
{
	struct call *c = arg;

	c->runs++;
	c->found = *v;
	c->pid = getpid();
	*v = c->found * 2 + 1;
	return 0;
}

/* In one process that is not the one that created the value. */
static void call_fn(int i)
{
	struct call c = {0};
	long now = 0;

	(void)i;
	facts->number[0] = value_update(value, note_call, &c, &now);
	facts->number[1] = c.runs;
	facts->number[2] = c.pid == getpid();
	facts->longs[0] = c.found;
	facts->longs[1] = now;
	facts->number[3] = value_update(value, note_call, &c, NULL);
	facts->longs[2] = c.found;
	facts->number[4] = value_update(value, NULL, NULL, NULL);
	now = 0;
	facts->number[5] = value_update(value, NULL, NULL, &now);
	facts->longs[3] = now;
	value_update(value, NULL, NULL, &now);
	facts->longs[4] = now;
}

static void call_in_child(void *arg)
{
	if (!create(arg))
		return;
	collect(child(0, call_fn));
	destroy();
}

static void check_fn(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = call_in_child, .shared = s,
			       .why_stuck = WHY_13 });
	expect_created(s);
	expect(s->number[1] == 1 && s->number[2], "fn is called another number "
	       "of times, or by another process, than was agreed.",
	       "fn runs once, in the caller", "%d times%s", s->number[1],
	       s->number[2] ? "" : ", elsewhere");
	expect(s->longs[0] == 100 && s->longs[2] == 201, "fn does not see the "
	       "value.", "fn finds 100, and what it leaves the next time",
	       "%ld, then %ld", s->longs[0], s->longs[2]);
	expect(s->longs[1] == 201, "*now tells of another time than that after "
	       "the update.", "now is 201 when fn made 201 of 100", "%ld",
	       s->longs[1]);
	expect(s->longs[3] == 403 && s->longs[4] == 403, "What only looks at "
	       "the value changes it.", "403 after two updates, however often "
	       "it is looked at", "%ld, then %ld", s->longs[3], s->longs[4]);
	expect(!s->number[0] && !s->number[3] && !s->number[4] &&
	       !s->number[5], "What succeeds is reported as failed.",
	       "value_update returns 0", "%d, %d, %d and %d", s->number[0],
	       s->number[3], s->number[4], s->number[5]);
}

static int spoil_and_refuse(long *v, void *arg)
{
	*v = 555;
	return *(int *)arg;
}

static void add_one(int i)
{
	long one = 1;

	(void)i;
	value_update(value, add, &one, NULL);
}

static void refuse(void *arg)
{
	static const int refusals[] = { 1, -1, 256 };
	struct facts *s = arg;
	int no;
	long now;

	if (!create(s))
		return;
	for (int i = 0; i < 3; i++) {
		no = refusals[i];
		now = 0;
		errno = 0;
		s->got[i] = value_update(value, spoil_and_refuse, &no, &now);
		s->errs[i] = errno;
		s->longs[2 * i] = now;
		value_update(value, NULL, NULL, &now);
		s->longs[2 * i + 1] = now;
		no = 1;
		value_update(value, spoil_and_refuse, &no, NULL);
	}
	collect(child(0, add_one));
	value_update(value, NULL, NULL, &now);
	s->longs[6] = now;
	destroy();
}

static void check_refused(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = refuse, .shared = s,
			       .why_stuck = WHY_13 });
	expect_created(s);
	for (int i = 0; i < 3; i++) {
		expect(s->got[i] == -1 && s->errs[i] == ECANCELED,
		       "fn refused, and nobody listened.",
		       "value_update returns -1, ECANCELED", "%d, %s",
		       s->got[i], strerror(s->errs[i]));
		expect(s->longs[2 * i + 1] == 100, "fn refused, and its work "
		       "was taken all the same.", "the value stays 100", "%ld",
		       s->longs[2 * i + 1]);
		expect(s->longs[2 * i] == 100, "fn refused, and nobody tells "
		       "what the value is.", "*now is 100", "%ld",
		       s->longs[2 * i]);
	}
	expect(s->longs[6] == 101, WHY_13, "others can change the value "
	       "afterwards: 101", "%ld", s->longs[6]);
}

/* ---- the lock, one process after the other --------------------------- */

static void take_and_give(int i)
{
	static const double limits[] = { 0, -1, 0.3, 1000, 0 };

	for (int k = 0; k < 5; k++) {
		facts->number[i] += lock_acquire(lock, limits[k]) != 0;
		facts->number[i] += lock_release(lock) != 0;
	}
}

static void grandchild(int i)
{
	collect(child(i + 1, take_and_give));
	take_and_give(i);
}

static void take_in_turn(void *arg)
{
	if (!create(arg))
		return;
	take_and_give(0);
	collect(child(1, grandchild));
	take_and_give(0);
	destroy();
}

static void check_free(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = take_in_turn, .shared = s,
		.why_stuck = "Nobody holds the lock, and it cannot be had." });
	expect_created(s);
	expect(!s->number[0] && !s->number[1] && !s->number[2], "Nobody holds "
	       "the lock, and it cannot be had, or not be given back.",
	       "0 for each acquire and release, in parent, child and "
	       "grandchild", "%d, %d and %d of them are not", s->number[0],
	       s->number[1], s->number[2]);
	expect_clean(NULL);
}

enum { LONG = 66000 };		/* more than 16 bits can count, or a pipe holds */

static void take_for_long(void *arg)
{
	struct facts *s = arg;
	int i;

	if (!create(s))
		return;
	for (i = 0; i < LONG && s->got[0] == 0 && s->got[1] == 0; i++) {
		s->got[0] = lock_acquire(lock, -1);
		s->got[1] = lock_release(lock);
	}
	s->number[0] = i;
	destroy();
}

static void check_long(void)
{
	static const char why[] = "A number that only ever grows comes to its "
		"end, or something fills up.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = take_for_long, .shared = s,
			       .limit = 60, .why_stuck = why });
	expect_created(s);
	expect(s->got[0] == 0 && s->got[1] == 0, why,
	       text("acquired and released %d times", LONG),
	       "acquire number %d returned %d, and release %d", s->number[0],
	       s->got[0], s->got[1]);
	expect_clean(NULL);
}

/* ---- waiting --------------------------------------------------------- */

/* Child 0 holds the lock, child 4 is inside fn, and each of the others waits
 * in another way. */
static void hold_value(int i)
{
	gate_open(&facts->ready[i]);
	value_update(value, stay, &i, NULL);
}

static void wait_somehow(int i)
{
	come(i);
	if (i == 3)
		value_update(value, NULL, NULL, NULL);
	else
		lock_acquire(lock, i == 1 ? -1 : 1000);
	gate_wait(&facts->go);
}

static void be_idle(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	gate_wait(&s->held);
	child(4, hold_value);
	settle(s->pids[4]);
	for (int i = 1; i <= 3; i++)
		child(i, wait_somehow);
	gate_open(&s->forked);
	for (int i = 1; i <= 3; i++)
		collect(s->pids[i]);
	gate_open(&s->go);
	collect(s->pids[0]);
	collect(s->pids[4]);
}

static void measure(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	s->calm = watch_waiting(15000000, 0);
	for (int i = 1; i <= 3; i++)
		kill(s->pids[i], SIGKILL);
}

static void check_quiet(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = be_idle, .director = measure,
			       .shared = s, .limit = 60 });
	expect_created(s);
	expect_calm(&s->calm, WHY_17, "while three processes wait");
}

/* ---- only one -------------------------------------------------------- */

static int peep(long *v, void *arg)
{
	(void)v;
	(void)arg;
	facts->entered++;
	return 0;
}

static void enter_as_child(int i)
{
	enter(i, peep);
}

/*
 * A section: stay, and look whether a child forked inside comes in. If each
 * process has a lock of its own, that child's copy is locked: it does not.
 */
static int stay_and_fork(long *v, void *arg)
{
	pid_t pid;

	stay(v, arg);
	pid = child(CHILDREN - 1, enter_as_child);
	settle(pid);
	kill(pid, SIGKILL);
	collect(pid);
	return 0;
}

static void holder_that_forks(int i)
{
	enter(i, stay_and_fork);
}

/* Is the lock a record of a file, which closing that file gives up? */
static int holds_record(void)
{
	FILE *locks = fopen("/proc/locks", "re");
	char line[256];
	int pid, found = 0;

	lock_acquire(lock, 0);
	while (locks != NULL && fgets(line, sizeof line, locks) != NULL)
		found |= sscanf(line, "%*s POSIX %*s %*s %d", &pid) == 1 &&
			 pid == getpid();
	lock_release(lock);
	return found;
}

static void exclude(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	s->number[0] = s->files > 0 && ask(holds_record);
	child(0, holder_that_forks);
	child(1, passer);
	gate_open(&s->forked);
	collect(s->pids[1]);
	collect(s->pids[0]);
}

/* The second has come in by now, or it waits; it is not needed any more. */
static void let_go_alone(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	kill(s->pids[1], SIGKILL);
	wait_until_ended(s->pids[1]);
	gate_open(&s->go);
}

static void check_excludes(enum way way)
{
	struct facts *s = shared(sizeof *s);
	const char *why;

	s->way = way;
	fence(&(struct fence){ .scenario = exclude, .director = let_go_alone,
			       .shared = s });
	expect_created(s);
	why = s->entered == 0 ? WHY_04 : s->number[0] ? WHY_11 :
	      s->files > 0 ? WHY_10 : WHY_02;
	expect(s->got_in == 0, why, way == BY_VALUE ?
	       "nobody else is inside value_update while fn runs" :
	       "nobody else gets the lock while it is held",
	       "a second process came in");
	expect(s->entered == 0, s->number[0] ? WHY_11 : s->files > 0 ? WHY_10 :
	       "Who is forked from the holder holds the lock, too.",
	       way == BY_VALUE ?
	       "nobody else is inside value_update while fn runs" :
	       "nobody else gets the lock while it is held",
	       "a child that was forked meanwhile came in");
}

static void check_lock_excludes(void)
{
	check_excludes(BY_LOCK);
	check_excludes(BY_LIMIT);
}

static void check_value_excludes(void)
{
	check_excludes(BY_VALUE);
}

/* ---- handing over ---------------------------------------------------- */

static void check_hands_over(enum way way)
{
	struct facts *s = shared(sizeof *s);

	s->way = way;
	fence(&(struct fence){ .scenario = hand_over, .director = let_go,
			       .shared = s, .why_stuck = WHY_05 });
	expect_created(s);
	for (int i = 0; i < 2; i++)
		expect_got(s, i, 0, "The lock was handed over, but that is not "
			   "what is reported.");
	expect(s->got_in == 1, WHY_05, "who waits gets in", "it never does");
	expect(s->peak.most == 1 && s->early == 0, WHY_02,
	       "one process at a time", "%d at once", s->peak.most);
	expect_clean(NULL);
}

static void check_lock_wakes(void)
{
	check_hands_over(BY_LOCK);
	check_hands_over(BY_LIMIT);
}

static void check_value_wakes(void)
{
	check_hands_over(BY_VALUE);
}

/* Everybody stays until the director has seen who else came in. */
static int take_turns(long *v, void *arg)
{
	int turn = facts->entered++;

	(void)v;
	(void)arg;
	peak_enter(&facts->peak);
	gate_open(&facts->held);
	gate_open(&facts->in[turn]);
	gate_wait(&facts->leave[turn]);
	peak_leave(&facts->peak);
	return 0;
}

static void turn_taker(int i)
{
	if (i > 0)
		come(i);
	enter(i, take_turns);
}

enum { TURNS = 4 };

static void crowd(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	for (int i = 0; i < TURNS; i++)
		child(i, turn_taker);
	gate_open(&s->forked);
	for (int i = 0; i < TURNS; i++)
		collect(s->pids[i]);
	destroy();
}

static void let_in_turn(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	for (int turn = 0; turn < TURNS; turn++) {
		gate_wait(&s->in[turn]);
		settle_all(s);
		settle(s->pids[0]);
		gate_open(&s->leave[turn]);
	}
}

static void check_one_after_the_other(void)
{
	for (enum way way = BY_LOCK; way < WAYS; way++) {
		struct facts *s = shared(sizeof *s);

		s->way = way;
		fence(&(struct fence){ .scenario = crowd,
			.director = let_in_turn, .shared = s,
			.why_stuck = "One of those who wait was forgotten." });
		expect_created(s);
		expect(s->peak.most == 1, "After the lock was handed over once "
		       "it does not keep others out any more.",
		       "one process at a time", "%d at once", s->peak.most);
	}
}

/* ---- time ------------------------------------------------------------ */

static double now(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_with_limit(int i)
{
	double begin;

	come(i);
	facts->got[0] = lock_acquire(lock, 0);
	if (facts->number[15])
		interrupts_start();
	clock_jumps(facts->number[14]);
	begin = now();
	errno = 0;
	facts->got[i] = lock_acquire(lock, facts->limits[i]);
	facts->errs[i] = errno;
	facts->took = now() - begin;
	clock_jumps(0);
	interrupts_stop();
	facts->got[2] = lock_acquire(lock, 1e-9);
	facts->early = !gate_is_open(&facts->go);
	gate_open(&facts->go);
}

static void limit(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	child(1, wait_with_limit);
	collect(s->pids[1]);
	collect(s->pids[0]);
	s->number[0] = ask(try_lock);
	s->number[1] = lock_acquire(lock, 0);
	lock_release(lock);
	destroy();
}

static void check_wait_limit(bool interrupted, int jumps, const char *why)
{
	struct facts *s = shared(sizeof *s);

	s->limits[1] = 0.3;
	s->number[15] = interrupted;
	s->number[14] = jumps;
	fence(&(struct fence){ .scenario = limit, .shared = s, .limit = 10,
			       .why_stuck = why });
	expect_created(s);
	expect(s->got[0] == 1, "Who does not want to wait is not told that the "
	       "lock is held.", "1 for a limit of 0", "%d", s->got[0]);
	expect_got(s, 1, 1, why);
	expect(s->took > 0.29, why, "a wait of 0.3 s", "%.3f s", s->took);
	expect(s->got[2] == 1, why, "1 for a limit of 1e-9", "%d", s->got[2]);
	expect(s->number[0] == 0 && s->number[1] == 0, WHY_13, "somebody "
	       "waited in vain; afterwards the lock works as before",
	       "acquire(0) returned %d in a child, %d in its parent",
	       s->number[0], s->number[1]);
}

static void check_limit(void)
{
	check_wait_limit(false, 0, "A wait with a time limit ends when it is "
			 "over, not earlier and not never.");
}

static void check_limit_interrupted(void)
{
	check_wait_limit(true, 0, "A signal that arrives while you wait "
			 "changes nothing about how long you may wait.");
}

static void check_limit_jumps(void)
{
	static const char why[] = "The clock on the wall can be set while you "
		"wait; how long you have waited does not change by that.";

	check_wait_limit(false, 3600, why);
	check_wait_limit(false, -3600, why);
}

static void wait_hugely(int i)
{
	come(i);
	facts->got[i] = lock_acquire(lock, facts->limits[i]);
	facts->early += !gate_is_open(&facts->go);
	if (facts->got[i] == 0)
		lock_release(lock);
}

static void huge(void *arg)
{
	static const double limits[] = { 0, 1e5, 1e10, 1e19, 1e300, INFINITY };
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	for (int i = 1; i <= 5; i++) {
		s->limits[i] = limits[i];
		child(i, wait_hugely);
	}
	gate_open(&s->forked);
	for (int i = 0; i <= 5; i++)
		collect(s->pids[i]);
	destroy();
}

static void check_huge(void)
{
	static const char why[] = "The time does not fit into the type you "
				  "chose, and C does not tell you.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = huge, .director = let_go,
			       .shared = s, .why_stuck = why });
	expect_created(s);
	for (int i = 1; i <= 5; i++)
		expect(s->got[i] == 0, why, text("an acquire with a limit of "
		       "%g s waits until the lock is free", s->limits[i]),
		       "it returned %d", s->got[i]);
	expect(s->early == 0, why, "nobody gives up early", "%d did",
	       s->early);
}

static void interrupted(int sig)
{
	(void)sig;
	facts->signals++;
}

static void wait_interrupted(int i)
{
	struct sigaction a = { .sa_handler = interrupted };

	sigaction(SIGUSR1, &a, NULL);
	passer(i);
}

static void hand_over_interrupted(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	child(1, wait_interrupted);
	gate_open(&s->forked);
	for (int i = 0; i < 2; i++)
		collect(s->pids[i]);
	destroy();
}

/* Three times while it waits. */
static void interrupt(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	for (int n = 0; n < 3; n++) {
		kill(s->pids[1], SIGUSR1);
		while (s->signals <= n && is_running(s->pids[1]))
			effort_during(0.001);
		settle(s->pids[1]);
	}
	gate_open(&s->go);
}

static void check_interrupted(void)
{
	static const char why[] = "A signal that arrives while you wait does "
				  "not mean that the lock is yours, nor that "
				  "it cannot be had.";

	for (enum way way = BY_LOCK; way < WAYS; way++) {
		struct facts *s = shared(sizeof *s);

		s->way = way;
		fence(&(struct fence){ .scenario = hand_over_interrupted,
				       .director = interrupt, .shared = s,
				       .why_stuck = why });
		expect_created(s);
		expect(s->early == 0, why, "it waits on",
		       "%s returned %d while the lock was held",
		       function_of(way), s->got[1]);
		expect_got(s, 1, 0, why);
		expect(s->got_in == 1, why, "it gets in at last",
		       "it never did");
	}
}

/* ---- who holds it ---------------------------------------------------- */

static void take_again_for_ever(int i)
{
	facts->got[i] = lock_acquire(lock, -1);
	gate_open(&facts->held);
	facts->got[i] = lock_acquire(lock, -1);
	facts->through++;
}

static void take_again(void *arg)
{
	struct facts *s = arg;
	double begin;

	if (!create(s))
		return;
	s->got[0] = lock_acquire(lock, -1);
	s->got[1] = lock_acquire(lock, 0);
	begin = now();
	s->got[2] = lock_acquire(lock, 0.2);
	s->took = now() - begin;
	s->got[3] = ask(try_lock);
	s->got[4] = lock_release(lock);
	s->got[5] = ask(try_lock);
	child(6, take_again_for_ever);
	gate_wait(&s->held);
	settle(s->pids[6]);
	kill(s->pids[6], SIGKILL);
	collect(s->pids[6]);
}

static void check_again(void)
{
	static const char why[] = "The holder took the lock a second time, "
				  "and did not wait for itself.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = take_again, .shared = s,
		.why_stuck = "The holder waits for itself, and its time limit "
			     "does not end that." });
	expect_created(s);
	expect(s->got[0] == 0, why, "0", "%d", s->got[0]);
	expect(s->got[1] == 1, why, "1 for a limit of 0", "%d", s->got[1]);
	expect(s->got[2] == 1 && s->took > 0.19, why, "1 after 0.2 s",
	       "%d after %.3f s", s->got[2], s->took);
	expect(s->got[3] == 1, s->files > 0 ? WHY_11 : "The holder waited for "
	       "itself in vain, and has lost the lock by that.",
	       "others are refused", "acquire(0) returned %d in a child",
	       s->got[3]);
	expect(s->got[4] == 0 && s->got[5] == 0, "Who took the lock once gives "
	       "it back once.", "0, and it is free", "%d, and acquire(0) "
	       "returned %d in a child", s->got[4], s->got[5]);
	expect(s->through == 0, why, "a holder that acquires without a limit "
	       "waits for ever", "it returned %d", s->got[6]);
}

/* Forked when nobody held the lock: child 0 asks at its gate. */
static void release_unheld(int i)
{
	gate_wait(&facts->in[i]);
	facts->number[8] = try_release();
	facts->number[9] = lock_acquire(lock, 0);
	gate_open(&facts->leave[i]);
}

static void hold_for_a_while(int i)
{
	facts->got[i] = lock_acquire(lock, -1);
	gate_open(&facts->held);
	gate_wait(&facts->go);
	facts->got[i] = lock_release(lock);
}

static void release_wrongly(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	s->number[0] = try_release();
	child(0, release_unheld);
	s->number[1] = lock_acquire(lock, -1);
	s->number[2] = ask(try_release);
	s->number[3] = ask(try_lock);
	gate_open(&s->in[0]);
	gate_wait(&s->leave[0]);
	collect(s->pids[0]);
	s->number[4] = lock_release(lock);
	s->number[5] = try_release();
	s->number[6] = ask(try_lock);
	child(1, hold_for_a_while);
	gate_wait(&s->held);
	s->number[10] = try_release();
	s->number[11] = lock_acquire(lock, 0);
	gate_open(&s->go);
	collect(s->pids[1]);
	s->number[7] = try_lock();
	destroy();
}

static void check_release(void)
{
	static const char why[] = "Who does not hold the lock has opened it.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = release_wrongly, .shared = s });
	expect_created(s);
	expect(s->number[0] && s->number[5], "Nobody holds the lock, and it "
	       "could be released.", "-1, EPERM for a free lock",
	       "something else, %s", s->number[0] ? "after a release" :
	       "before it was ever held");
	expect(s->number[1] == 0 && s->number[4] == 0 && s->got[1] == 0,
	       "Who holds the lock cannot give it back.", "0", "acquire "
	       "returned %d, release %d and %d", s->number[1], s->number[4],
	       s->got[1]);
	expect(s->number[2] && s->number[8] && s->number[10], why,
	       "-1, EPERM for each but the holder",
	       "something else for %s", s->number[2] == 0 ? "the holder's "
	       "child" : s->number[8] == 0 ? "an older child" : "the holder's "
	       "parent");
	expect(s->number[3] == 1 && s->number[9] == 1 && s->number[11] == 1,
	       why, "the holder still holds it: acquire(0) returns 1",
	       "%d, %d and %d", s->number[3], s->number[9], s->number[11]);
	expect(s->number[6] == 0 && s->number[7] == 0, "The holder has "
	       "released the lock, and it is not free.", "0", "%d and %d",
	       s->number[6], s->number[7]);
}

/* ---- several --------------------------------------------------------- */

static struct lock *other_lock;
static struct value *other_value;

static int try_other_lock(void)
{
	int got = lock_acquire(other_lock, 0);

	if (got == 0)
		lock_release(other_lock);
	return got;
}

/* fn may use anything but the value it is called for. */
static int use_the_other(long *v, void *arg)
{
	long one = 1, now = 0;

	(void)arg;
	facts->number[0] = value_update(other_value, add, &one, &now);
	facts->longs[0] = now;
	facts->number[1] = ask(try_other_lock);
	*v += 1;
	return 0;
}

static void use_two(void *arg)
{
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	s->number[2] = lock_acquire(lock, -1);
	other_lock = lock_create();
	other_value = value_create(-3);
	if (other_lock == NULL || other_value == NULL)
		return;
	s->number[3] = ask(try_lock);
	s->number[4] = value_update(value, use_the_other, NULL, &now);
	s->longs[1] = now;
	s->number[5] = lock_acquire(other_lock, 0);
	s->number[6] = lock_release(lock);
	s->number[7] = ask(try_other_lock);
	s->number[8] = ask(try_lock);
	s->number[9] = lock_release(other_lock);
	destroy();
	s->number[10] = ask(try_other_lock);
	now = 0;
	value_update(other_value, NULL, NULL, &now);
	s->longs[2] = now;
	lock_destroy(other_lock);
	value_destroy(other_value);
}

static void check_two(void)
{
	static const char why[] = "What is done with one lock or value is felt "
				  "by another.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = use_two, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->number[2] == 0 && s->number[3] == 1, why, "a lock stays held "
	       "when another is created", "acquire(0) returned %d in a child",
	       s->number[3]);
	expect(s->number[0] == 0 && s->number[1] == 0 && s->number[4] == 0 &&
	       s->longs[0] == -2 && s->longs[1] == 101, why, "fn can use "
	       "another value, and -2 and 101 come out", "%ld and %ld",
	       s->longs[0], s->longs[1]);
	expect(s->number[5] == 0 && s->number[6] == 0 && s->number[7] == 1 &&
	       s->number[8] == 0 && s->number[9] == 0, why, "each lock is "
	       "held and released for itself", "%d, %d, %d, %d, %d",
	       s->number[5], s->number[6], s->number[7], s->number[8],
	       s->number[9]);
	expect(s->number[10] == 0 && s->longs[2] == -2, why, "what is left "
	       "works when others are destroyed", "acquire(0) returned %d, the "
	       "value is %ld", s->number[10], s->longs[2]);
	expect_clean(NULL);
}

static int make_and_destroy(void)
{
	struct lock *l = lock_create();
	struct value *v = value_create(1);
	int failed = l == NULL || v == NULL;

	if (l != NULL && lock_acquire(l, 0) == 0)
		lock_release(l);
	if (v != NULL)
		value_update(v, NULL, NULL, NULL);
	if (l != NULL)
		lock_destroy(l);
	if (v != NULL)
		value_destroy(v);
	return failed;
}

static void keep_it(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	other_lock = lock_create();
	if (other_lock == NULL)
		return;
	s->number[0] = lock_acquire(lock, -1);
	s->number[1] = ask(try_lock);
	make_and_destroy();
	s->number[2] = ask(try_lock);
	try_other_lock();
	s->number[3] = ask(try_lock);
	lock_acquire(lock, 0);
	s->number[4] = ask(try_lock);
	value_update(value, NULL, NULL, NULL);
	s->number[5] = ask(try_lock);
	ask(make_and_destroy);
	s->number[6] = ask(try_lock);
	s->number[7] = lock_release(lock);
	lock_destroy(other_lock);
	destroy();
}

static void check_kept(void)
{
	static const char *const after[] = { NULL, "nothing else",
		"another lock and value were created and destroyed",
		"another lock was used", "the holder asked for it again",
		"the holder used a value", "a child created and destroyed "
		"others" };
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = keep_it, .shared = s });
	expect_created(s);
	for (int i = 1; i <= 6; i++)
		expect(s->number[i] == 1, s->files > 0 ? WHY_11 : "The holder "
		       "has not released the lock, and has lost it.",
		       text("others are refused after %s", after[i]),
		       "acquire(0) returned %d in a child", s->number[i]);
	expect(s->number[7] == 0, "The holder has not released the lock, and "
	       "has lost it.", "lock_release returns 0", "%d", s->number[7]);
}

/* ---- counting -------------------------------------------------------- */

/* fn: take the value, be overtaken, and store. */
static int add_slowly(long *v, void *arg)
{
	long seen = *v;

	stay(v, arg);
	*v = seen + 1;
	return 0;
}

static void slow_adder(int i)
{
	value_update(value, add_slowly, &i, NULL);
}

static void quick_adder(int i)
{
	long one = 1;

	come(i);
	if (facts->number[0] == 0)
		counter_worker(value, 3);
	else
		for (int k = 0; k < 3; k++)
			value_update(value, add, &one, NULL);
}

static void overtake(void *arg)
{
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	child(0, slow_adder);
	child(1, quick_adder);
	gate_open(&s->forked);
	collect(s->pids[0]);
	collect(s->pids[1]);
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now - 100;
	destroy();
}

static void check_overtaken(void)
{
	for (int k = 0; k < 2; k++) {
		struct facts *s = shared(sizeof *s);

		s->number[0] = k;
		fence(&(struct fence){ .scenario = overtake,
				       .director = let_go, .shared = s });
		expect_created(s);
		expect(s->longs[0] == 4, s->longs[0] == 3 ? WHY_07 : WHY_02,
		       text("one process adds 1 by value_update, another 3 by "
			    "%s meanwhile: 4", k ? "value_update" :
			    "counter_worker"), "%ld", s->longs[0]);
	}
}

static void count_thousand(int i)
{
	errno = 0;
	facts->got[i] = counter_worker(value, 1000);
	facts->errs[i] = errno;
}

static void count(void *arg)
{
	static const long odd[] = { 0, -1, LONG_MIN };
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	for (int i = 0; i < 3; i++) {
		errno = 0;
		s->number[2 * i] = counter_worker(value, odd[i]);
		s->number[2 * i + 1] = errno;
	}
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	for (int i = 0; i < 3; i++)
		collect(child(i, count_thousand));
	value_update(value, NULL, NULL, &now);
	s->longs[1] = now;
	destroy();
}

static void check_count(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = count, .shared = s, .limit = 10,
			       .why_stuck = WHY_25 });
	expect_created(s);
	expect(s->number[0] == 0, "To add nothing is no error.", "0 for 0 "
	       "increments", "%d, %s", s->number[0], strerror(s->number[1]));
	expect(s->longs[0] == 100, WHY_25, "no increment, and the value stays "
	       "100", "%ld", s->longs[0]);
	for (int i = 1; i < 3; i++)
		expect(s->number[2 * i] == -1 && s->number[2 * i + 1] ==
		       EINVAL, WHY_25, "-1, EINVAL for a negative number",
		       "%d, %s", s->number[2 * i],
		       strerror(s->number[2 * i + 1]));
	for (int i = 0; i < 3; i++)
		expect(s->got[i] == 0, "What succeeds is reported as failed.",
		       "counter_worker returns 0", "%d, %s", s->got[i],
		       strerror(s->errs[i]));
	expect(s->longs[1] == 3100, WHY_01, "100, and 3 processes one after "
	       "the other add 1000 each: 3100", "%ld", s->longs[1]);
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("what one process sets the others read", check_shared,
		 value_create),
	FUNCTION("fn finds the value and leaves the new one", check_fn,
		 value_update),
	FUNCTION("a value holds every long", check_large, value_create),
	FUNCTION("fn that refuses changes nothing", check_refused,
		 value_update),
	FUNCTION("a free lock can be had again and again", check_free,
		 lock_acquire),
	FUNCTION("waiting costs nothing", check_quiet, lock_acquire),
	FUNCTION("nobody else gets a lock that is held", check_lock_excludes,
		 lock_acquire),
	FUNCTION("nobody else is inside while fn runs", check_value_excludes,
		 value_update),
	FUNCTION("who waits for the lock is woken", check_lock_wakes,
		 lock_release),
	FUNCTION("who waits for the value is woken", check_value_wakes,
		 value_update),
	FUNCTION("all who wait get in, one after the other",
		 check_one_after_the_other, lock_release),
	FUNCTION("a wait ends at its limit", check_limit, lock_acquire),
	FUNCTION("a huge limit is no small one", check_huge, lock_acquire),
	FUNCTION("a signal does not end a wait", check_interrupted,
		 lock_acquire),
	FUNCTION("signals do not change a limit", check_limit_interrupted,
		 lock_acquire),
	FUNCTION("the wall clock does not change a limit", check_limit_jumps,
		 lock_acquire),
	FUNCTION("a holder that acquires again waits for itself", check_again,
		 lock_acquire),
	FUNCTION("only the holder can release", check_release, lock_release),
	FUNCTION("two locks and two values know nothing of each other",
		 check_two, lock_create),
	FUNCTION("a lock is kept whatever else is done", check_kept,
		 lock_acquire),
	FUNCTION("nothing is lost that is added meanwhile", check_overtaken,
		 counter_worker),
	FUNCTION("the counter counts", check_count, counter_worker),
	{ "leftovers", "a lock works for as long as it is used", check_long,
	  (const void *)lock_release },
};

CHECKS("05-lock", checks);
