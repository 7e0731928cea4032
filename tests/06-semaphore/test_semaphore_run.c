/* So many workers, each once in the room: living, failing and dying. */
#include "facts.h"

#include <sys/mman.h>

static void expect_done(const struct facts *s, int k, int value, int workers)
{
	const struct outcome *o = &s->run[k];

	expect(o->ret == 0, "All rooms succeeded, but that is not what is "
	       "reported.", "semaphore_run returns 0", "%d, %s", o->ret,
	       strerror(o->err));
	expect(o->left == workers, "The caller goes on before all workers are "
	       "through.", text("%d have left the room by then", workers),
	       "%d", o->left);
	expect(o->value <= value, "A place was given back that nobody had.",
	       text("the value is %d as before", value), "%d", o->value);
	expect(o->value == value, WHY_08, text("the value is %d as before",
	       value), "%d", o->value);
}

/* most was to be between two numbers. */
static void expect_most(int most, int least, int highest, const char *expected)
{
	expect(most != UNWRITTEN, "The caller asked how many were in the room, "
	       "and is told nothing.", expected, "most was not written");
	expect(most <= highest, "Who waits, or has given its place back, is "
	       "counted as if it were in the room.", expected, "%d", most);
	expect(most >= least, WHY_16, expected, "%d", most);
}

/* ---- each once ---------------------------------------------------------- */

struct own {
	struct facts *facts;
	int given, changed;
};

/* The caller's memory is there as it was; nobody sees what others do to it. */
static int look_at_own(int worker, void *arg)
{
	struct own *own = arg;

	come_in(worker);
	own->facts->number[0] += own->given == 4711;
	own->facts->number[1] += own->changed != 0;
	own->changed = 1;
	return go_out();
}

static const int crews[] = { 1, 2, 5, MANY };
enum { CREWS = sizeof crews / sizeof *crews };

static void each_once(void *arg)
{
	struct facts *s = arg;
	struct own own = { s, 4711, 0 };
	int n = crews[s->number[15]];

	if (!create(s, 3, true))
		return;
	s->run[0].ret = semaphore_run(sem, n, look_at_own, &own, NULL);
	s->run[0].err = errno;
	still(fence_pid(), "semaphore_run");
	s->run[0].left = s->left;
	s->run[0].value = semaphore_value(sem);
	s->number[2] = own.changed;
	semaphore_destroy(sem);
}

static int count_wrong(const struct facts *s, int n)
{
	int wrong = 0;

	for (int i = 0; i < n; i++)
		wrong += s->times[i] != 1;
	return wrong;
}

static int count_same(const struct facts *s, int n, pid_t caller)
{
	int same = 0;

	for (int i = 0; i < n; i++) {
		same += s->inside[i] == caller;
		for (int k = 0; k < i; k++)
			same += s->inside[i] == s->inside[k];
	}
	return same;
}

static void check_each_once(void)
{
	for (int i = 0; i < CREWS; i++) {
		struct facts *s = shared(sizeof *s);
		struct fence_end end;
		int n = crews[i];

		s->number[15] = i;
		end = fence_try(&(struct fence){ .scenario = each_once,
						 .shared = s });
		expect(end.how == FENCE_FINISHED, "The workers do not come to "
		       "their end.", text("%d workers, 3 places: "
		       "semaphore_run returns", n), "it does not");
		expect_created(s);
		expect(s->entered == n && count_wrong(s, n) == 0, "Each worker "
		       "has a number, and goes in once.",
		       text("0 to %d, each once", n - 1), "%d came in, and %d "
		       "numbers are missing or came twice", s->entered,
		       count_wrong(s, n));
		expect(count_same(s, n, end.pid) == 0, "Workers are "
		       "processes, each a new one.", "each has a number of "
		       "its own", "%d are the same", count_same(s, n, end.pid));
		expect(s->number[0] == n && s->number[1] == 0 &&
		       s->number[2] == 0, "Each worker sees the caller's "
		       "memory as it was when it started.",
		       text("%d see 4711, and no other's changes", n),
		       "%d and %d", s->number[0],
		       s->number[1] + s->number[2]);
		expect_done(s, 0, 3, n);
		expect_clean(NULL);
	}
}

/* ---- nobody to start ---------------------------------------------------- */

static void start_none(void *arg)
{
	static const int numbers[] = { 0, -1, INT_MIN };
	struct facts *s = arg;

	if (!create(s, 2, false))
		return;
	for (int i = 0; i < 3; i++)
		run_workers(numbers[i], pass);
	semaphore_destroy(sem);
}

static void check_none(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = start_none, .shared = s });
	expect_created(s);
	for (int i = 0; i < 3; i++)
		expect(s->run[i].ret == -1 && s->run[i].err == EINVAL &&
		       s->entered == 0, "Less than one worker is no work.",
		       "-1, EINVAL, and nobody was in the room",
		       "%d, %s, and %d were", s->run[i].ret,
		       strerror(s->run[i].err), s->entered);
	expect_clean(NULL);
}

/* ---- so many, and no more ----------------------------------------------- */

enum { WORKERS = 5 };

static void run_crowd(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, s->initial != 0))
		return;
	run_workers(WORKERS, take_turns);
	semaphore_destroy(sem);
}

/*
 * Workers that wait while one is inside: whoever has the same parent. 0 where
 * one cannot tell: the library may have put others in between.
 */
static int waiting_workers(const struct facts *s, pid_t *list)
{
	pid_t all[MANY], parent = parent_of(s->inside[0]);
	int n = fence_family(all, MANY), waiting = 0;

	for (int i = 0; i < n && waiting < 4; i++)
		if (parent_of(all[i]) == parent && all[i] != s->inside[0] &&
		    all[i] != s->number[16])
			list[waiting++] = all[i];
	return waiting == 3 ? waiting : 0;
}

/* A server that the semaphore was made with is none of the workers. */
static void note_helper(struct facts *s)
{
	pid_t list[MANY];

	s->number[16] = fence_family(list, MANY) == 2 ? list[1] : 0;
}

/* Two must come in; then one of them goes, and a third must come. */
static void let_in_turn(void *arg)
{
	static const int order[] = { 1, 0, 2 };
	struct facts *s = arg;

	gate_wait(&s->in[0]);
	s->number[0] = gate_wait(&s->in[1]);
	for (int i = 0; i < 3; i++) {
		settle_family();
		gate_open(&s->leave[order[i]]);
		s->number[1] += gate_wait(&s->in[2 + i]);
	}
	gate_open(&s->leave[3]);
	gate_open(&s->leave[4]);
}

static void check_crowd(void)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct facts *s = shared(sizeof *s);

		s->initial = bounded;
		fence(&(struct fence){ .scenario = run_crowd, .shared = s,
			.director = let_in_turn, .why_stuck = WHY_14 });
		expect_created(s);
		expect(s->peak.most <= 2, WHY_MANY, "never more than 2 are in "
		       "the room", "%d at once", s->peak.most);
		expect(s->number[0] == 1, WHY_01, "2 are in the room at once",
		       "the second stays outside");
		expect(s->number[1] == 3, WHY_10, "when one of two has left, "
		       "and the other has not, a third gets in",
		       "%d of 3 times", s->number[1]);
		expect_done(s, 0, 2, WORKERS);
		expect_most(s->run[0].most, 2, 2, "most is 2");
		expect_clean(NULL);
	}
}

/* ---- all are started ---------------------------------------------------- */

/* As many processes more as there are workers, while one is in the room? */
static void count_workers(void *arg)
{
	struct facts *s = arg;
	pid_t list[MANY];

	gate_wait(&s->held);
	settle_family();
	s->number[8] = fence_family(list, MANY);
	gate_open(&s->go);
}

static void run_and_stay(void *arg)
{
	struct facts *s = arg;
	pid_t list[MANY];

	if (!create(s, 1, false))
		return;
	s->number[9] = fence_family(list, MANY);
	run_workers(4, stay);
	semaphore_destroy(sem);
}

static void check_all_started(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_and_stay, .shared = s,
		.director = count_workers, .why_stuck = WHY_14 });
	expect_created(s);
	expect(s->number[8] >= s->number[9] + 4, WHY_10, "4 workers are there "
	       "while the first of them is in the room", "%d",
	       s->number[8] - s->number[9]);
	expect_done(s, 0, 1, 4);
}

/* ---- how many at most --------------------------------------------------- */

/* Where m of them must be inside together. */
static int meet_inside(int worker, void *arg)
{
	(void)arg;
	come_in(worker);
	facts->gave_up += !meeting_wait(&facts->meeting,
					(uint32_t)facts->number[10]);
	return go_out();
}

static void run_and_meet(void *arg)
{
	struct facts *s = arg;

	if (!create(s, s->number[11], false))
		return;
	run_workers(s->number[12], meet_inside);
	semaphore_destroy(sem);
}

static void check_most(void)
{
	static const struct { int places, workers, most; } cases[] = {
		{ 1, 3, 1 }, { 3, 3, 3 }, { 5, 3, 3 }, { 4, 4, 4 }, { 2, 1, 1 },
	};

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct facts *s = shared(sizeof *s);
		int most = cases[i].most;

		s->number[10] = most;
		s->number[11] = cases[i].places;
		s->number[12] = cases[i].workers;
		fence(&(struct fence){ .scenario = run_and_meet, .shared = s,
				       .why_stuck = WHY_14 });
		expect_created(s);
		expect(s->gave_up == 0, WHY_10, text("%d of %d workers can be "
		       "in the room at once", most, cases[i].workers),
		       "they cannot");
		expect_done(s, 0, cases[i].places, cases[i].workers);
		expect_most(s->run[0].most, most, most, text("%d workers met "
			    "in the room, and there are %d places: most is %d",
			    most, cases[i].places, most));
	}
}

/* ---- others use it, too ------------------------------------------------- */

/* Child 0 has one of two places, and stays. */
static int leave_when_second(int worker, void *arg)
{
	int turn = come_in(worker);

	(void)arg;
	if (turn == 1)
		gate_open(&facts->go);
	return go_out();
}

static void run_beside(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, true))
		return;
	child(0, holder);
	gate_wait(&s->held);
	s->number[0] = semaphore_value(sem);
	run_workers(3, s->number[15] ? pass : leave_when_second);
	gate_open(&s->go);
	collect(s->pids[0]);
	s->number[1] = semaphore_value(sem);
	semaphore_destroy(sem);
}

/* Nobody has a place, until somebody outside gives two: one, and when that
 * was taken another. */
static void open_from_outside(int i)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	gate_wait(&facts->over);
	facts->number[i] += semaphore_release(sem) != 0;
	for (int k = 0; k < 2000 && facts->entered == 0; k++)
		syscall(SYS_nanosleep, &ms, NULL);
	facts->number[i] += semaphore_release(sem) != 0;
}

static void run_closed(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 0, false))
		return;
	child(0, open_from_outside);
	s->number[10] = 2;
	gate_open(&s->held);
	run_workers(2, meet_inside);
	collect(s->pids[0]);
	s->number[1] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void open_when_settled(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_family();
	s->number[2] = s->entered;
	gate_open(&s->over);
}

static void check_others(void)
{
	static const char why[] = "The workers go in under another semaphore "
				  "than the one that was given.";
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);

	s->number[15] = 1;
	fence(&(struct fence){ .scenario = run_beside, .shared = s,
			       .why_stuck = WHY_14 });
	expect_created(s);
	expect(s->peak.most <= 2, why, "another process has one of two places: "
	       "one worker at a time", "%d at once with the other",
	       s->peak.most);
	expect_done(s, 0, 1, 3);
	expect(s->run[0].most == 1 && s->number[1] == 2, why, "most is 1, and "
	       "in the end both places are free", "%d and %d", s->run[0].most,
	       s->number[1]);
	fence(&(struct fence){ .scenario = run_closed, .shared = t,
		.director = open_when_settled, .why_stuck = "Places are given "
		"from outside, and workers who wait for one are not let in." });
	expect_created(t);
	expect(t->number[2] == 0, why, "nobody gets in where no place is free",
	       "%d did", t->number[2]);
	expect(t->gave_up == 0, why, "two places are given from outside: two "
	       "get in", "not both of them");
	expect_done(t, 0, 2, 2);
}

/* Two processes, each with workers of its own, under one semaphore. */
static void run_some(int i)
{
	int most = UNWRITTEN;

	facts->number[i] = semaphore_run(sem, 3, take_turns, facts, &most);
	facts->number[4 + i] = most;
}

static void run_twice(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, true))
		return;
	child(0, run_some);
	child(1, run_some);
	collect_all(2);
	s->number[2] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void let_pairs(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < 6; i++) {
		gate_wait(&s->in[i]);
		if (i > 0)
			gate_open(&s->leave[i - 1]);
	}
	gate_open(&s->leave[5]);
}

static void check_two_callers(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_twice, .shared = s,
			       .director = let_pairs, .why_stuck = WHY_14 });
	expect_created(s);
	expect(s->peak.most <= 2, WHY_MANY, "two processes have three workers "
	       "each: never more than 2 of all in the room", "%d at once",
	       s->peak.most);
	expect(s->number[0] == 0 && s->number[1] == 0 && s->left == 6 &&
	       s->number[2] == 2, "What one process started is taken for "
	       "another's.", "0 and 0; 6 have left; the value is 2",
	       "%d and %d; %d; %d", s->number[0], s->number[1], s->left,
	       s->number[2]);
	for (int i = 4; i <= 5; i++)
		expect_most(s->number[i], 1, 2, "most is 1 or 2 for each");
}

/* ---- rooms that fail ---------------------------------------------------- */

static const int failures[] = { 1, -1, 256, INT_MIN, 0 };

/* number[14]: who fails; 4: each. number[13]: what it says. */
static int fail_sometimes(int worker, void *arg)
{
	(void)arg;
	come_in(worker);
	go_out();
	return facts->number[14] == 4 || facts->number[14] == worker ?
	       facts->number[13] : 0;
}

static void run_failing(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	for (int i = 0; i < 5; i++) {
		s->number[13] = failures[i];
		s->number[14] = i == 1 ? 4 : i == 0 ? 3 : 0;
		run_workers(4, fail_sometimes);
	}
	semaphore_destroy(sem);
}

static void check_failing(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_failing, .shared = s,
			       .why_stuck = WHY_08 });
	expect_created(s);
	for (int i = 0; i < 4; i++) {
		const struct outcome *o = &s->run[i];

		expect(o->entered == 4, WHY_08, "one room fails, and all 4 "
		       "workers have been in the room", "%d", o->entered);
		expect(o->value == 1, WHY_08, "1 afterwards", "%d", o->value);
		expect(o->ret == -1 && o->err == ECANCELED, "A room failed, "
		       "and the caller is told something else.",
		       text("-1, ECANCELED when a room returns %d",
			    failures[i]), "%d, %s", o->ret, strerror(o->err));
		expect_most(o->most, 1, 1, "most is 1");
	}
	expect_done(s, 4, 1, 4);
	expect_clean(NULL);
}

/* ---- rooms that nobody leaves ------------------------------------------- */

static const struct death {
	int signal, status;
	bool flush;
	const char *what;
} deaths[] = {
	{ SIGKILL, 0, false, "is killed" },
	{ 0, 0, true, "calls exit(0)" },
	{ 0, 1, true, "calls exit(1)" },
	{ 0, 0, false, "calls _exit(0)" },
	{ 0, 255, false, "calls _exit(255)" },
	{ SIGTERM, 0, false, "is ended by SIGTERM" },
};
enum { DEATHS = sizeof deaths / sizeof *deaths };

/* LeakSanitizer would call lost what the caller has and the worker cannot
 * see any more. */
#ifdef __SANITIZE_ADDRESS__
#define leave _exit
#else
#define leave exit
#endif

static void die(const struct death *d)
{
	go_out();
	if (d->signal != 0) {
		signal(d->signal, SIG_DFL);
		kill(getpid(), d->signal);
		pause();
	}
	if (d->flush)
		leave(d->status);
	_exit(d->status);
}

/* The first that comes in dies there. */
static int first_dies(int worker, void *arg)
{
	int run = facts->runs;

	(void)arg;
	if (come_in(worker) == run * 4)
		die(&deaths[run]);
	return go_out();
}

static void lose_one(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, s->initial != 0))
		return;
	for (int i = 0; i < DEATHS; i++)
		run_workers(4, first_dies);
	s->number[0] = ask(take);
	s->number[1] = ask(take);
	s->number[2] = semaphore_release(sem);
	semaphore_destroy(sem);
}

static void expect_lost(const struct outcome *o, const char *what, int value,
			int entered, int most)
{
	expect(o->entered == entered, WHY_17, text("a worker %s in the room; "
	       "all %d have been there", what, entered), "%d", o->entered);
	expect(o->value >= value, WHY_17, text("the value is %d again after a "
	       "worker %s", value, what), "%d", o->value);
	expect(o->value <= value, "A place was given back that nobody had.",
	       text("the value is %d again after a worker %s", value, what),
	       "%d", o->value);
	expect(o->ret == -1 && o->err == EOWNERDEAD, "A worker died in the "
	       "room, and the caller is told something else.",
	       text("-1, EOWNERDEAD when a worker %s", what), "%d, %s",
	       o->ret, strerror(o->err));
	expect(o->most == most, "Who died in the room is counted for ever.",
	       text("most is %d", most), "%d", o->most);
}

static void check_deaths(void)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct facts *s = shared(sizeof *s);

		s->initial = bounded;
		fence(&(struct fence){ .scenario = lose_one, .shared = s,
				       .why_stuck = WHY_17 });
		expect_created(s);
		for (int i = 0; i < DEATHS; i++)
			expect_lost(&s->run[i], deaths[i].what, 1, 4, 1);
		expect(s->number[0] == 0 && s->number[1] == 1 &&
		       s->number[2] == 0, WHY_17, "one place can be taken in "
		       "the end, and given back", "%d, %d, %d", s->number[0],
		       s->number[1], s->number[2]);
		expect_clean(NULL);
	}
}

/* The first two die together; the last two must be inside together. */
static int two_die(int worker, void *arg)
{
	int turn = come_in(worker);

	(void)arg;
	facts->gave_up += !meeting_wait(turn < 2 ? &facts->meeting :
					&facts->second, 2);
	if (turn < 2 || facts->number[15])
		die(&deaths[0]);
	return go_out();
}

static void lose_two(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, false))
		return;
	run_workers(4, two_die);
	semaphore_destroy(sem);
}

static void check_two_deaths(void)
{
	for (int all = 0; all < 2; all++) {
		struct facts *s = shared(sizeof *s);

		s->number[15] = all;
		fence(&(struct fence){ .scenario = lose_two, .shared = s,
				       .why_stuck = WHY_17 });
		expect_created(s);
		expect(s->gave_up == 0, WHY_17, "two die in the room, and two "
		       "others can be inside together", "they cannot");
		expect_lost(&s->run[0], "and another are killed", 2, 4, 2);
		expect_clean(NULL);
	}
}

/*
 * Two are in the room: one dies and one stays, until a third has come in.
 * number[15]: 1 = the one with the lower number stays.
 */
static int one_stays(int worker, void *arg)
{
	int turn = come_in(worker), other;

	(void)arg;
	if (turn > 1) {
		gate_open(&facts->in[2]);
		return go_out();
	}
	facts->gave_up += !meeting_wait(&facts->meeting, 2);
	other = facts->worker[1 - turn];
	if ((worker < other) != (facts->number[15] == 1))
		die(&deaths[0]);
	facts->number[0] = gate_wait(&facts->in[2]);
	return go_out();
}

static void lose_beside(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, true))
		return;
	run_workers(4, one_stays);
	semaphore_destroy(sem);
}

static void check_at_once(void)
{
	for (int lower = 0; lower < 2; lower++) {
		struct facts *s = shared(sizeof *s);

		s->number[15] = lower;
		fence(&(struct fence){ .scenario = lose_beside, .shared = s,
				       .why_stuck = WHY_17 });
		expect_created(s);
		expect(s->run[0].value >= 2, WHY_17, "2 places are free in the "
		       "end, when one worker was killed", "%d",
		       s->run[0].value);
		expect(s->number[0] == 1, "L06-17 The place of a worker that "
		       "died is free only when others have gone, too.",
		       text("a third gets in when one of two has died, while "
			    "the other, of a %s number, is still in the room",
			    lower ? "lower" : "higher"), "it does not");
		expect_lost(&s->run[0], "is killed", 2, 4, 2);
		expect(s->peak.most <= 2, WHY_MANY, "never more than 2",
		       "%d at once", s->peak.most);
	}
}

/* ---- outside ------------------------------------------------------------ */

static void run_with_handler(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	note_helper(s);
	run_workers(4, stay);
	gate_open(&s->over);
}

static void kill_one_outside(void *arg)
{
	struct facts *s = arg;
	pid_t waiting[16];

	gate_wait(&s->held);
	settle_family();
	s->number[0] = waiting_workers(s, waiting);
	if (s->number[0] > 0) {
		kill(waiting[1], SIGKILL);
		wait_until_ended(waiting[1]);
		settle_family();
	}
	s->number[1] = s->entered;
	gate_open(&s->go);
}

static void check_outside(void)
{
	static const char why[] = "Who died outside had no place, and one was "
				  "given back for it.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_with_handler, .shared = s,
		.director = kill_one_outside, .why_stuck = "Somebody died who "
		"only waited, and the others wait for it." });
	expect_created(s);
	if (s->number[0] == 0)
		return;
	expect(s->number[1] == 1 && s->peak.most == 1, why, "a worker that "
	       "waits is killed, and nobody gets in for it", "%d in the room",
	       s->peak.most);
	expect(s->run[0].value <= 1, why, "the value is 1 as before", "%d",
	       s->run[0].value);
	expect(s->run[0].value == 1, "Who died outside had no place, and one "
	       "went with it.", "the value is 1 as before", "%d",
	       s->run[0].value);
	expect(s->run[0].entered == 3, "Somebody died who only waited, and "
	       "others do not get in.", "the other 3 have been in the room",
	       "%d", s->run[0].entered);
	expect(s->run[0].ret == -1 && s->run[0].err == EOWNERDEAD, "A worker "
	       "died, and the caller is told something else.",
	       "-1, EOWNERDEAD", "%d, %s", s->run[0].ret,
	       strerror(s->run[0].err));
}

/* ---- signals ------------------------------------------------------------ */

static void note_signal(int sig)
{
	(void)sig;
	facts->signals++;
}

static void run_interrupted(void *arg)
{
	struct sigaction a = { .sa_handler = note_signal };

	facts = arg;
	sigaction(SIGUSR1, &a, NULL);
	run_with_handler(arg);
	signal(SIGUSR1, SIG_DFL);
	semaphore_destroy(sem);
}

static void interrupt_all(void *arg)
{
	struct facts *s = arg;
	pid_t waiting[16];
	int n;

	gate_wait(&s->held);
	settle_family();
	n = waiting_workers(s, waiting);
	for (int k = 0; k < 3; k++) {
		kill(fence_pid(), SIGUSR1);
		for (int i = 0; i < n; i++)
			kill(waiting[i], SIGUSR1);
		settle_family();
		s->number[1] += gate_is_open(&s->over);
	}
	gate_open(&s->go);
}

static void check_interrupted(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_interrupted, .shared = s,
		.director = interrupt_all, .why_stuck = WHY_07 });
	expect_created(s);
	expect(s->number[1] == 0, "A signal that arrives does not end a wait.",
	       "semaphore_run goes on waiting for its workers",
	       "it returned %d", s->run[0].ret);
	expect(s->peak.most == 1, WHY_07, "nobody gets in by a signal",
	       "%d in the room", s->peak.most);
	expect_done(s, 0, 1, 4);
	expect_clean(NULL);
}

/* ---- signals in the room ------------------------------------------------ */

/* number[worker]: how many signals are blocked there, or not, in another way
 * than for the caller, who has blocked one of them. */
static int look_at_the_mask(int worker, void *arg)
{
	sigset_t mask;

	come_in(worker);
	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int sig = 1; sig < 32; sig++)
		((struct facts *)arg)->number[worker] +=
			sigismember(&mask, sig) != (sig == SIGUSR2);
	return go_out();
}

static void run_with_mask(void *arg)
{
	struct facts *s = arg;
	sigset_t mask;

	if (!create(s, 2, false))
		return;
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	run_workers(3, look_at_the_mask);
	sigprocmask(SIG_UNBLOCK, &mask, NULL);
	semaphore_destroy(sem);
}

static void check_mask(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_with_mask, .shared = s });
	expect_created(s);
	for (int i = 0; i < 3; i++)
		expect(s->number[i] == 0, "A worker is a copy of the process "
		       "that starts it, and inherits what is blocked there.",
		       "signals are blocked in the room as they were for the "
		       "caller, and no others", "%d are not", s->number[i]);
	expect_done(s, 0, 2, 3);
	expect_clean(NULL);
}

/* Who is stopped in the room has not left it. */
static void stop_one_inside(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_family();
	stop_process(s->inside[0]);
	settle_family();
	s->number[1] = s->entered;
	continue_process(s->inside[0]);
	gate_open(&s->go);
}

static void check_stopped(void)
{
	static const char why[] = "Who is stopped in the room, or slow, is "
				  "not dead.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_with_handler, .shared = s,
		.director = stop_one_inside, .why_stuck = why });
	expect_created(s);
	expect(s->number[1] == 1 && s->peak.most == 1, why, "nobody gets in "
	       "while a worker is stopped in the room", "%d in the room",
	       s->peak.most);
	expect_done(s, 0, 1, 4);
}

/* ---- other children of the caller --------------------------------------- */

static void end_with_seven(int i)
{
	(void)i;
	_exit(7);
}

static void end_when_told(int i)
{
	gate_wait(&facts->in[0]);
	kill(getpid(), i == 1 ? SIGTERM : SIGCONT);
	gate_wait(&facts->over);
	_exit(9);
}

/* The first worker goes when a child of the caller has ended meanwhile. */
static int wait_for_other(int worker, void *arg)
{
	(void)arg;
	if (come_in(worker) == 0) {
		gate_open(&facts->in[0]);
		wait_until_ended(facts->pids[1]);
	}
	return go_out();
}

static int status_of(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid ? status : -1;
}

static void run_among_others(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(0, end_with_seven);
	wait_until_ended(s->pids[0]);
	child(1, end_when_told);
	child(2, end_when_told);
	run_workers(3, wait_for_other);
	s->number[3] = is_running(s->pids[2]);
	gate_open(&s->over);
	for (int i = 0; i < 3; i++)
		s->number[i] = status_of(s->pids[i]);
	semaphore_destroy(sem);
}

static void check_other_children(void)
{
	static const char why[] = "Children that others have started are not "
				  "yours to wait for.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_among_others, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->run[0].ret == 0 && s->run[0].value == 1, why, "another child "
	       "of the caller dies meanwhile: 0, and the value is 1",
	       "%d, %s, and %d", s->run[0].ret, strerror(s->run[0].err),
	       s->run[0].value);
	expect(s->number[3] == 1, why, "another child of the caller lives on",
	       "it does not");
	expect(WIFEXITED(s->number[0]) && WEXITSTATUS(s->number[0]) == 7 &&
	       s->number[1] != -1 && WIFSIGNALED(s->number[1]) &&
	       WIFEXITED(s->number[2]) && WEXITSTATUS(s->number[2]) == 9, why,
	       "the caller can ask how each of its three children ended",
	       "it cannot");
	expect_done(s, 0, 1, 3);
	expect_clean(NULL);
}

/* ---- nothing is said ---------------------------------------------------- */

/* Of four runs three go wrong. */
static int fail_or_die(int worker, void *arg)
{
	(void)arg;
	come_in(worker);
	go_out();
	if (facts->runs == 2 && worker == 1)
		kill(getpid(), SIGKILL);
	return facts->runs == 1 ? worker : 0;
}

static const char words[] = "what the caller has to say";

/* The caller has begun to write, and what it wrote is still in its memory:
 * in that of its workers, too. */
static void in_silence(void *arg)
{
	int own = memfd_create("own", 0);
	FILE *file = fdopen(dup(own), "w");
	struct facts *s = arg;

	fputs(words, file);
	capture_output();
	if (!create(s, 2, true))
		return;
	for (int i = 0; i < 3; i++)
		run_workers(3, fail_or_die);
	run_workers(-1, fail_or_die);
	s->number[0] = captured(NULL, 0);
	fclose(file);
	s->number[1] = (int)lseek(own, 0, SEEK_END);
	semaphore_destroy(sem);
	close(own);
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = in_silence, .shared = s });
	expect_created(s);
	expect_silence(s->number[0]);
	expect(s->number[1] == sizeof words - 1, "A worker begins with a copy "
	       "of what its caller has not written yet; who ends by exit() "
	       "writes it once more.", text("%d bytes, which the caller wrote",
	       (int)sizeof words - 1), "%d bytes", s->number[1]);
	expect_clean(NULL);
}

#define FUNCTION(name, run) \
	{ "functions", name, run, (const void *)semaphore_run }

static const struct check checks[] = {
	FUNCTION("each worker is once in the room", check_each_once),
	FUNCTION("less than one worker is refused", check_none),
	FUNCTION("all workers are started at once", check_all_started),
	FUNCTION("two are in the room, and when one leaves a third gets in",
		 check_crowd),
	FUNCTION("as many can be in the room as there are places", check_most),
	FUNCTION("other children are left alone", check_other_children),
	FUNCTION("the workers go in under the semaphore that is given",
		 check_others),
	FUNCTION("two callers share the places", check_two_callers),
	FUNCTION("a room that fails keeps no place", check_failing),
	FUNCTION("signals are blocked in the room as for the caller",
		 check_mask),
	FUNCTION("a place is given back as soon as its worker is gone",
		 check_at_once),
	FUNCTION("a worker that dies in the room keeps no place",
		 check_deaths),
	FUNCTION("two that die in the room leave room for two",
		 check_two_deaths),
	FUNCTION("who dies outside gives no place back", check_outside),
	FUNCTION("a worker that is stopped keeps its place", check_stopped),
	FUNCTION("a signal does not end a run", check_interrupted),
	FUNCTION("a run prints nothing", check_silence),
};

CHECKS("06-semaphore", checks);
