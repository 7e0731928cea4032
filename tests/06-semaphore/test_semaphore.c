/* What a semaphore does between processes that live. */
#include "facts.h"

#include <sys/mman.h>

/* ---- the number --------------------------------------------------------- */

static const int sizes[] = { 0, 1, 2, 5, 100, 32767, 32768, 65535, 65536,
			     70000 };
enum { SIZES = sizeof sizes / sizeof *sizes, TAKEN = 6, SURE = 32767 };

/* Takes as many places as there are, but at most TAKEN - 1, and then asks
 * once more. number[8 * i ...]: what it finds. */
static void count_places(struct semaphore *s, int i)
{
	_Atomic int *n = &facts->number[8 * i];
	int most = sizes[i] < TAKEN ? sizes[i] : TAKEN - 1;

	n[0] = semaphore_value(s);
	while (n[1] < most && semaphore_acquire(s, 0) == 0)
		n[1]++;
	n[2] = semaphore_value(s);
	if (sizes[i] < TAKEN)
		n[3] = semaphore_acquire(s, 0);
	for (int k = 0; k < most; k++)
		n[4] += semaphore_release(s) != 0;
	n[5] = semaphore_value(s);
}

static void count_all(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = 0; i < SIZES; i++) {
		struct semaphore *some = semaphore_create(sizes[i],
							  s->initial != 0);

		s->error = errno;
		s->created = some != NULL || sizes[i] > SURE;
		s->number[8 * i + 6] = some == NULL;
		if (!s->created)
			return;
		if (some == NULL)
			continue;	/* more than it can have: refused */
		count_places(some, i);
		semaphore_destroy(some);
	}
}

static void expect_counted(struct facts *s, int i)
{
	const _Atomic int *n = &s->number[8 * i];
	int size = sizes[i], most = size < TAKEN ? size : TAKEN - 1;

	if (n[6])
		return;
	expect(n[0] == size, WHY_01, text("the value is %d at first", size),
	       "%d", n[0]);
	expect(n[1] == most && (size >= TAKEN || n[3] == 1), WHY_01,
	       text("of %d places %d can be taken%s", size, most,
		    size < TAKEN ? " without waiting, and no more" : ""),
	       "%d, and another acquire(0) returned %d", n[1], n[3]);
	expect(n[2] == size - most, "The value does not tell how many could "
	       "get in.", text("%d, when %d of %d are taken", size - most,
	       most, size), "%d", n[2]);
	expect(n[4] == 0 && n[5] == size, "What was taken cannot be given "
	       "back.", text("all are given back, and the value is %d", size),
	       "%d releases failed, and it is %d", n[4], n[5]);
}

static void check_places(void)
{
	for (int bounded = 0; bounded < 2; bounded++) {
		struct facts *s = shared(sizeof *s);

		s->initial = bounded;
		fence(&(struct fence){ .scenario = count_all, .shared = s,
			.why_stuck = "Somebody waits who did not want to." });
		expect_created(s);
		for (int i = 0; i < SIZES; i++)
			expect_counted(s, i);
		expect_clean(NULL);
	}
}

static void create_refused(void *arg)
{
	static const int numbers[] = { -1, INT_MIN, -32767 };
	struct facts *s = arg;

	for (int i = 0; i < 6; i++) {
		errno = 0;
		s->got[i] = semaphore_create(numbers[i / 2], i % 2) != NULL;
		s->errs[i] = errno;
	}
}

static void check_negative(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = create_refused, .shared = s });
	for (int i = 0; i < 6; i++)
		expect(!s->got[i] && s->errs[i] == EINVAL, "Less than no place "
		       "is no number of places.",
		       "NULL, EINVAL for a negative number",
		       s->got[i] ? "a semaphore" : "NULL, %s",
		       strerror(s->errs[i]));
	expect_clean(NULL);
}

static int ask_a_grandchild(void)
{
	return ask(take);
}

/* Takes a place, and lives until told to go. */
static void take_and_live(int i)
{
	facts->number[0] = semaphore_acquire(sem, 0);
	gate_open(&facts->in[i]);
	gate_wait(&facts->go);
}

/* One process takes; the others see it, also when it has ended. */
static void take_in_turn(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, false))
		return;
	child(0, take_and_live);
	gate_wait(&s->in[0]);
	s->number[1] = semaphore_value(sem);
	s->number[2] = ask(look);
	gate_open(&s->go);
	collect(s->pids[0]);
	s->number[13] = semaphore_value(sem);
	s->number[3] = semaphore_acquire(sem, -1);
	s->number[4] = ask(take);
	s->number[5] = ask(ask_a_grandchild);
	s->number[6] = semaphore_acquire(sem, 0);
	s->number[7] = ask(give);
	s->number[8] = ask(look);
	s->number[9] = semaphore_release(sem);
	s->number[10] = ask(look);
	s->number[11] = ask(ask_a_grandchild);
	s->number[12] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void check_common(void)
{
	struct facts *s = shared(sizeof *s);
	_Atomic int *n = s->number;

	fence(&(struct fence){ .scenario = take_in_turn, .shared = s,
			       .why_stuck = WHY_02 });
	expect_created(s);
	expect(n[0] == 0 && n[3] == 0, "There is a place, and it cannot be "
	       "had.", "a child takes one of two, and its parent another: 0",
	       "%d and %d", n[0], n[3]);
	expect(n[1] == 1 && n[2] == 1, WHY_02, "a child took one of two: 1 is "
	       "left, for its parent and for another child", "%d and %d", n[1],
	       n[2]);
	expect(n[13] == 1, "Nobody owns a place, so who ends does not give it "
	       "back.", "still 1 when the child has ended", "%d", n[13]);
	expect(n[4] == 1 && n[5] == 1 && n[6] == 1, WHY_02, "both places are "
	       "taken: acquire(0) is 1 in a child, a grandchild and the parent",
	       "%d, %d and %d", n[4], n[5], n[6]);
	expect(n[7] == 0 && n[9] == 0, "Only who acquired can release, and a "
	       "semaphore has no owner.", "any process may release: 0",
	       "%d in a child, %d in the parent", n[7], n[9]);
	expect(n[8] == 1 && n[10] == 2 && n[11] == 0 && n[12] == 1, WHY_02,
	       "two releases: 1 and 2; a grandchild takes one: 1",
	       "%d and %d; %d", n[8], n[10], n[12]);
	expect_clean(NULL);
}

/* ---- release ------------------------------------------------------------ */

enum { EXTRA = 4 };

static void raise_it(void *arg)
{
	struct facts *s = arg;

	if (!create(s, s->initial, false))
		return;
	for (int i = 0; i < EXTRA; i++) {
		s->number[0] += (i % 2 ? ask(give) :
				 semaphore_release(sem)) != 0;
		s->number[1 + i] = semaphore_value(sem);
	}
	for (int i = 0; i < s->initial + EXTRA; i++)
		s->number[10] += (i % 2 ? ask(take) :
				  semaphore_acquire(sem, 0)) == 0;
	s->number[11] = ask(take);
	s->number[12] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void check_unbounded(void)
{
	static const char why[] = "A semaphore that is not bounded has as many "
				  "places as it was given.";

	for (int initial = 0; initial < 3; initial++) {
		struct facts *s = shared(sizeof *s);

		s->initial = initial;
		fence(&(struct fence){ .scenario = raise_it, .shared = s,
			.why_stuck = "Release waits for somebody to "
			"acquire." });
		expect_created(s);
		expect(s->number[0] == 0, why, "whoever releases gets 0",
		       "%d of %d did not", s->number[0], EXTRA);
		for (int i = 0; i < EXTRA; i++)
			expect(s->number[1 + i] == initial + i + 1, why,
			       text("%d, and %d releases: %d", initial, i + 1,
				    initial + i + 1), "%d", s->number[1 + i]);
		expect(s->number[10] == initial + EXTRA && s->number[11] == 1 &&
		       s->number[12] == 0, why, text("%d places can be taken "
		       "then, and no more", initial + EXTRA),
		       "%d, and another acquire(0) returned %d", s->number[10],
		       s->number[11]);
	}
}

static void release_too_often(void *arg)
{
	struct facts *s = arg;
	int n = s->initial;

	if (!create(s, n, true))
		return;
	s->number[0] = give_too_much();
	s->number[1] = ask(give_too_much);
	s->number[2] = semaphore_value(sem);
	for (int i = 0; i < n; i++)
		s->number[3] += i % 2 ? ask(take) : semaphore_acquire(sem, 0);
	s->number[4] = ask(take);
	for (int i = 0; i < n; i++)
		s->number[5] += i % 2 ? semaphore_release(sem) : ask(give);
	s->number[6] = ask(give_too_much);
	s->number[7] = give_too_much();
	s->number[8] = ask(look);
	for (int i = 0; i < n; i++)
		s->number[9] += semaphore_acquire(sem, 0);
	s->number[10] = ask(take);
	semaphore_destroy(sem);
}

static void expect_bounded(struct facts *s, int size)
{
	static const char why[] = "A bounded semaphore never has more places "
				  "than at first.";
	_Atomic int *n = s->number;

	expect(n[2] == size && n[8] == size, why, text("%d, however often it "
	       "is released", size), "%d, and later %d", n[2], n[8]);
	expect(n[0] == 1 && n[1] == 1 && n[6] == 1 && n[7] == 1, why,
	       text("-1, EOVERFLOW for a release at %d", size),
	       "something else");
	expect(n[3] == 0 && n[4] == 1, why, text("%d can be taken, and no "
	       "more", size), "%d could not, and another acquire(0) returned "
	       "%d", n[3], n[4]);
	expect(n[5] == 0, "What was taken cannot be given back.", "0 for each "
	       "release of what was taken", "%d", n[5]);
	expect(n[9] == 0 && n[10] == 1, why, text("%d can be taken, and no "
	       "more, after all that", size), "%d could not, and another "
	       "acquire(0) returned %d", n[9], n[10]);
}

static void check_bounded(void)
{
	static const int bounds[] = { 1, 3, 0 };

	for (int i = 0; i < 3; i++) {
		struct facts *s = shared(sizeof *s);

		s->initial = bounds[i];
		fence(&(struct fence){ .scenario = release_too_often,
			.shared = s, .why_stuck = "Release waits for somebody "
			"to acquire." });
		expect_created(s);
		expect_bounded(s, bounds[i]);
	}
}

/* ---- so many, and no more ----------------------------------------------- */

enum { VISITORS = 5 };

static void visitor(int i)
{
	gate_open(&facts->ready[i]);
	enter(i, take_turns);
}

static void crowd(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, s->initial != 0))
		return;
	for (int i = 0; i < VISITORS; i++)
		child(i, visitor);
	gate_open(&s->forked);
	collect_all(VISITORS);
	s->number[2] = semaphore_value(sem);
	semaphore_destroy(sem);
}

/* Two must come in; then one of them goes, and a third must come. */
static void let_in_turn(void *arg)
{
	static const int order[] = { 1, 0, 2 };
	struct facts *s = arg;

	gate_wait(&s->forked);
	gate_wait(&s->in[0]);
	s->number[0] = gate_wait(&s->in[1]);
	for (int i = 0; i < 3; i++) {
		settle_all(s);
		gate_open(&s->leave[order[i]]);
		s->number[1] += gate_wait(&s->in[2 + i]);
	}
	gate_open(&s->leave[3]);
	gate_open(&s->leave[4]);
}

static void check_crowd(void)
{
	for (enum way way = BY_ACQUIRE; way < WAYS; way++) {
		struct facts *s = shared(sizeof *s);

		s->way = way;
		s->initial = way == BY_ACQUIRE;
		fence(&(struct fence){ .scenario = crowd, .why_stuck = WHY_14,
			.director = let_in_turn, .shared = s });
		expect_created(s);
		expect(s->peak.most <= 2, WHY_MANY, "never more than 2 are "
		       "inside", "%d at once", s->peak.most);
		for (int i = 0; i < VISITORS; i++)
			expect(s->got[i] != 1, "Time ran out where there is "
			       "time enough, or no limit at all.", text("%s "
			       "returns 0", function_of(way)), "%d", s->got[i]);
		expect(s->number[0] == 1, WHY_01, "2 are inside at once",
		       "the second stays outside");
		expect(s->number[1] == 3, WHY_14, "when one of two has left "
		       "another gets in, each time", "%d of 3 times",
		       s->number[1]);
		for (int i = 0; i < VISITORS; i++)
			expect_got(s, i, 0, "Who got in is told something "
				   "else.");
		expect(s->number[2] == 2, WHY_08, "when all have left the "
		       "value is 2", "%d", s->number[2]);
		expect_clean(NULL);
	}
}

/* ---- waiting ------------------------------------------------------------ */

/* Child 0 is inside, and each of the others waits in another way. */
static void wait_somehow(int i)
{
	come(i);
	if (i == 3)
		facts->got[i] = semaphore_with(sem, i, pass, facts);
	else
		facts->got[i] = semaphore_acquire(sem, i == 1 ? -1 : 1000);
	facts->early += !gate_is_open(&facts->go);
	if (i != 3 && facts->got[i] == 0)
		semaphore_release(sem);
}

static void be_idle(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(0, holder);
	for (int i = 1; i <= 3; i++)
		child(i, wait_somehow);
	gate_open(&s->forked);
	gate_wait(&s->over);
	s->number[1] = semaphore_value(sem);
	s->number[2] = ask(look);
	gate_open(&s->go);
	collect_all(4);
	s->number[3] = semaphore_value(sem);
	semaphore_destroy(sem);
}

/* Whoever waits in its own way must be quiet: for ever, with a limit, in
 * semaphore_with, and with limits that are hard to get right. */
enum { WITH = 3 };

static const struct {
	double limit;
	const char *why;
} quiet[CHILDREN] = {
	[1] = { -1, WHY_11 },
	[2] = { 1000, WHY_11 },
	[WITH] = { 0, WHY_11 },
	[4] = { 1000.999999999, WHY_CARRY },
	[5] = { 1e10, WHY_HUGE },
	[6] = { INFINITY, WHY_HUGE },
	[7] = { -0.5, WHY_NEGATIVE },
};

static void wait_in_its_way(int i)
{
	come(i);
	if (i == WITH)
		semaphore_with(sem, i, pass, facts);
	else if (semaphore_acquire(sem, quiet[i].limit) == 0)
		semaphore_release(sem);
}

/* Whether those who wait are let in then is another check. */
static void wait_quietly(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(0, holder);
	for (int i = 1; i < CHILDREN; i++)
		child(i, wait_in_its_way);
	gate_open(&s->forked);
	collect_all(CHILDREN);
	if (s->number[1] == 0)
		semaphore_destroy(sem);
}

/* The first of them that has not slept nearly all the time; 0 = nobody. */
static int busy_one(const struct facts *s)
{
	int64_t cpu;

	for (int i = 1; i < CHILDREN; i++)
		if (look_at(s->pids[i], s->pids[i], &cpu) != 'X' &&
		    cpu > 10000000)
			return i;
	return 0;
}

static void measure(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	s->calm = watch_waiting(15000000, 0);
	s->number[2] = busy_one(s);
	gate_open(&s->go);
	settle_each(s->pids, CHILDREN);
	for (int i = 1; i < CHILDREN; i++)
		if (is_running(s->pids[i])) {
			s->number[1]++;
			kill(s->pids[i], SIGKILL);
		}
}

static void check_quiet(void)
{
	struct facts *s = shared(sizeof *s);
	int busy;

	fence(&(struct fence){ .scenario = wait_quietly, .director = measure,
			       .shared = s, .limit = 60 });
	expect_created(s);
	busy = s->number[2];
	expect_calm(&s->calm, busy ? quiet[busy].why : WHY_11,
		    text("while others wait%s",
			 busy == 0 || busy == WITH ? "" :
			 text(", one with a limit of %.13g s",
			      quiet[busy].limit)));
}

/* The same, for what is told about it. */
static void say_when_all_wait(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	gate_open(&s->over);
}

static void check_value_while_waiting(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = be_idle, .shared = s,
		.director = say_when_all_wait, .why_stuck = WHY_14 });
	expect_created(s);
	expect(s->number[1] == 0 && s->number[2] == 0, WHY_20,
	       "0 while three wait", "%d, in a child %d", s->number[1],
	       s->number[2]);
	for (int i = 1; i <= 3; i++)
		expect(s->got[i] == 0, "Who waited, and got in, is told "
		       "something else.", "0", "%d", s->got[i]);
	expect(s->number[3] == 1, WHY_20, "1 when all have left", "%d",
	       s->number[3]);
}

/* Nobody is inside, and the doors are opened from outside, all at once. */
static void opener(int i)
{
	(void)i;
	gate_wait(&facts->go);
	for (int k = 0; k < 3; k++)
		facts->number[0] += semaphore_release(sem);
	gate_open(&facts->over);
}

static void meet(int i)
{
	gate_open(&facts->ready[i]);
	facts->got[i] = semaphore_acquire(sem, -1);
	facts->number[1] += !meeting_wait(&facts->meeting, 3);
}

static void open_doors(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 0, false))
		return;
	child(0, opener);
	for (int i = 1; i <= 3; i++)
		child(i, meet);
	gate_open(&s->forked);
	collect_all(4);
	s->number[2] = semaphore_value(sem);
	semaphore_destroy(sem);
}

/* All is given before the first of those who wait can take anything. */
static void hold_back(void *arg)
{
	struct facts *s = arg;

	settle_all(s);
	for (int i = 1; i <= 3; i++)
		stop_process(s->pids[i]);
	gate_open(&s->go);
	s->number[3] = !gate_wait(&s->over);
	for (int i = 1; i <= 3; i++)
		continue_process(s->pids[i]);
}

/* Who only naps may have been stopped just when it held something. */
static struct facts *open_and_hold_back(const char *why)
{
	struct facts *s;

	for (int i = 0; i < 5; i++) {
		s = shared(sizeof *s);
		fence(&(struct fence){ .scenario = open_doors, .shared = s,
			.director = hold_back, .why_stuck = why });
		if (s->number[3] == 0)
			break;
	}
	return s;
}

static void check_doors(void)
{
	static const char why[] = "Places were given, and not all who waited "
				  "for one were let in.";
	struct facts *s = open_and_hold_back(why);

	expect_created(s);
	expect(s->number[0] == 0, "Only who acquired can release, and a "
	       "semaphore has no owner.", "a process that never acquired "
	       "releases: 0", "%d", s->number[0]);
	expect(s->number[1] == 0, why, "three releases: three get in",
	       "not all of them do");
	for (int i = 1; i <= 3; i++)
		expect_got(s, i, 0, why);
	expect(s->number[2] == 0, "A place was given once, and taken twice or "
	       "never.", "3 given and 3 taken: 0", "%d", s->number[2]);
}

/* ---- signals ------------------------------------------------------------ */

static void note_signal(int sig)
{
	(void)sig;
	facts->signals++;
}

static void waiter_with_handler(int i)
{
	struct sigaction a = { .sa_handler = note_signal };

	sigaction(SIGUSR1, &a, NULL);
	wait_somehow(i);
}

static void be_interrupted(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, true))
		return;
	child(0, holder);
	for (int i = 1; i <= 3; i++)
		child(i, waiter_with_handler);
	gate_open(&s->forked);
	collect_all(4);
	s->number[1] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void interrupt(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	for (int k = 0; k < 6; k++) {
		kill(s->pids[1 + k % 3], SIGUSR1);
		settle_each(s->pids, CHILDREN);
	}
	gate_open(&s->go);
}

static void check_interrupted(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = be_interrupted, .shared = s,
		.director = interrupt, .why_stuck = WHY_07 });
	expect_created(s);
	for (int i = 1; i <= 3; i++)
		expect(s->got[i] == 0, WHY_07, "a wait goes on when a signal "
		       "has come: 0 in the end", "%d", s->got[i]);
	expect(s->early == 0 && s->peak.most == 1, WHY_07, "nobody gets in "
	       "by a signal", "%d did", s->early);
	expect(s->number[1] == 1, WHY_07, "1 when all have left", "%d",
	       s->number[1]);
}

/* ---- time --------------------------------------------------------------- */

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
	facts->got[0] = semaphore_acquire(sem, 0);
	clock_jumps(facts->number[15]);
	begin = now();
	errno = 0;
	facts->got[i] = semaphore_acquire(sem, facts->limits[i]);
	facts->errs[i] = errno;
	facts->took = now() - begin;
	clock_jumps(0);
	facts->got[2] = semaphore_acquire(sem, 1e-9);
	gate_open(&facts->go);
}

static void limit(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(7, holder);
	child(1, wait_with_limit);
	collect(s->pids[1]);
	collect(s->pids[7]);
	s->number[0] = semaphore_value(sem);
	s->number[1] = ask(take);
	s->number[2] = semaphore_acquire(sem, 0.001);
	semaphore_destroy(sem);
}

static void check_wait_limit(double seconds, int jumps, const char *why)
{
	struct facts *s = shared(sizeof *s);

	s->limits[1] = seconds;
	s->number[15] = jumps;
	fence(&(struct fence){ .scenario = limit, .shared = s, .limit = 10,
			       .why_stuck = why });
	expect_created(s);
	expect(s->got[0] == 1, "Who does not want to wait is not told that "
	       "there is no place.", "1 for a limit of 0", "%d", s->got[0]);
	expect_got(s, 1, 1, why);
	expect(s->took > seconds - 0.01, why, text("a wait of %g s", seconds),
	       "%.3f s", s->took);
	expect(s->got[2] == 1, why, "1 for a limit of 1e-9", "%d", s->got[2]);
	expect(s->number[0] == 1 && s->number[1] == 0 && s->number[2] == 1,
	       "Who waited in vain has taken something all the same, or given "
	       "it.", "1 place afterwards, not more and not less",
	       "%d, then acquire(0) returned %d and acquire(0.001) %d",
	       s->number[0], s->number[1], s->number[2]);
}

static void check_limit(void)
{
	static const char why[] = "A wait with a time limit ends when it is "
				  "over, not earlier and not never.";

	check_wait_limit(0.3, 0, why);
}

static void check_limit_jumps(void)
{
	static const char why[] = "The clock on the wall can be set while you "
		"wait; how long you have waited does not change by that.";

	check_wait_limit(0.1, -3600, why);
	check_wait_limit(0.1, 3600, why);
}

static void wait_long(int i)
{
	come(i);
	facts->got[i] = semaphore_acquire(sem, facts->limits[i]);
	facts->errs[i] = errno;
	facts->early += !gate_is_open(&facts->go);
	if (facts->got[i] == 0)
		semaphore_release(sem);
}

enum limit { HUGE_LIMIT, NEGATIVE_LIMIT, ODD_LIMIT };

static void wait_very_long(void *arg)
{
	static const double all[][5] = {
		[HUGE_LIMIT] = { 1e5, 1e10, 1e19, 1e300, INFINITY },
		[NEGATIVE_LIMIT] = { -0.5, -1e-9, -3600, -1e300, -INFINITY },
		[ODD_LIMIT] = { 1000.999999, 999.9999999, 99.99999999,
				1000.99999999, 500.999999999 },
	};
	struct facts *s = arg;

	if (!create(s, 1, false))
		return;
	child(0, holder);
	for (int i = 1; i <= 5; i++) {
		s->limits[i] = all[s->number[15]][i - 1];
		child(i, wait_long);
	}
	gate_open(&s->forked);
	collect_all(6);
	semaphore_destroy(sem);
}

static void check_wait_long(enum limit which, const char *why)
{
	struct facts *s = shared(sizeof *s);

	s->number[15] = (int)which;
	fence(&(struct fence){ .scenario = wait_very_long, .director = let_go,
			       .shared = s, .why_stuck = why });
	expect_created(s);
	for (int i = 1; i <= 5; i++)
		expect(s->got[i] == 0, why, text("an acquire with a limit of "
		       "%.10g s waits until there is a place", s->limits[i]),
		       "it returned %d%s%s", s->got[i], s->got[i] == -1 ?
		       ", " : "", s->got[i] == -1 ? strerror(s->errs[i]) : "");
	expect(s->early == 0, why, "nobody gives up early", "%d did",
	       s->early);
}

static void check_huge(void)
{
	check_wait_long(HUGE_LIMIT, WHY_HUGE);
}

static void check_odd(void)
{
	check_wait_long(ODD_LIMIT, WHY_CARRY);
}

static void check_for_ever(void)
{
	check_wait_long(NEGATIVE_LIMIT, WHY_NEGATIVE);
}

/* ---- semaphore_with ----------------------------------------------------- */

static const int answers[] = { 0, 7, -1, -5, 256, INT_MIN, INT_MAX };
enum { ANSWERS = sizeof answers / sizeof *answers };

struct visit {
	int runs, worker, value, answer, taken;
	pid_t pid;
};

static int note_visit(int worker, void *arg)
{
	struct visit *v = arg;

	v->runs++;
	v->worker = worker;
	v->value = semaphore_value(sem);
	v->taken = ask(take);
	if (v->taken == 0)
		ask(give);
	v->pid = getpid();
	return v->answer;
}

static void visit(int i)
{
	struct facts *s = facts;
	struct visit v;

	(void)i;
	for (int k = 0; k < ANSWERS; k++) {
		v = (struct visit){ .answer = answers[k] };
		s->number[k] = semaphore_with(sem, 40 + k, note_visit, &v);
		s->number[10] += v.runs == 1 && v.worker == 40 + k &&
				 v.pid == getpid();
		s->number[11] += v.value == 0 && v.taken == 1;
		s->number[20 + k] = semaphore_value(sem);
		s->number[30 + k] = ask(take);
		if (s->number[30 + k] == 0)
			ask(give);
	}
}

/* Any process may release, also who is in the room. */
static int give_it_away(int worker, void *bounded)
{
	facts->number[13] = semaphore_release(bounded);
	return worker;
}

static void visit_in_child(void *arg)
{
	struct facts *s = arg;
	struct semaphore *bounded;

	if (!create(s, 1, false))
		return;
	collect(child(0, visit));
	semaphore_destroy(sem);
	bounded = semaphore_create(1, true);
	if (bounded == NULL)
		return;
	s->number[12] = semaphore_with(bounded, 40, give_it_away, bounded);
	s->number[14] = semaphore_value(bounded);
	semaphore_destroy(bounded);
}

static void check_with(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = visit_in_child, .shared = s,
			       .why_stuck = WHY_08 });
	expect_created(s);
	expect(s->number[10] == ANSWERS, "The room is entered another number "
	       "of times, or by another, than was agreed.", "room runs once, "
	       "in the caller, and gets worker and arg", "%d of %d times",
	       s->number[10], ANSWERS);
	expect(s->number[11] == ANSWERS, "Who is in the room has no place.",
	       "the only place is taken while room runs", "%d of %d times",
	       s->number[11], ANSWERS);
	for (int k = 0; k < ANSWERS; k++) {
		expect(s->number[20 + k] == 1 && s->number[30 + k] == 0,
		       WHY_08, text("room returned %d, and the place is "
		       "free: 1", answers[k]), "%d", s->number[20 + k]);
		expect(s->number[k] == answers[k], "What the room has to say "
		       "does not reach the caller.",
		       text("semaphore_with returns %d like room", answers[k]),
		       "%d", s->number[k]);
	}
	expect(s->number[13] == 0 && s->number[12] == 40 &&
	       s->number[14] == 1, "What the room has to say does not reach "
	       "the caller.", "the room has released a bounded semaphore: 0; "
	       "semaphore_with returns 40 like room, and the value is 1",
	       "%d, %d and %d", s->number[13], s->number[12], s->number[14]);
}

/* ---- several ------------------------------------------------------------ */

static struct semaphore *other;

static int take_other(void)
{
	return semaphore_acquire(other, 0);
}

/* In the room of one semaphore another is used. */
static int use_other(int worker, void *arg)
{
	(void)worker;
	(void)arg;
	facts->number[0] = semaphore_value(other);
	facts->number[1] = ask(take_other);
	facts->number[2] = semaphore_value(other);
	facts->number[3] = semaphore_value(sem);
	return 3;
}

static void use_two(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, true))
		return;
	s->number[4] = semaphore_acquire(sem, 0);
	other = semaphore_create(3, false);
	if (other == NULL)
		return;
	s->number[5] = semaphore_value(sem);
	s->number[6] = semaphore_with(sem, 0, use_other, NULL);
	s->number[7] = semaphore_release(other);
	s->number[8] = semaphore_value(other);
	s->number[9] = semaphore_value(sem);
	semaphore_destroy(sem);
	s->number[10] = ask(take_other);
	s->number[11] = semaphore_value(other);
	semaphore_destroy(other);
}

static void check_two(void)
{
	static const int want[] = { 3, 0, 2, 0, 0, 1, 3, 0, 3, 1, 0, 2 };
	static const char why[] = "What is done with one semaphore is felt by "
				  "another.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = use_two, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	for (size_t i = 0; i < sizeof want / sizeof *want; i++)
		expect(s->number[i] == want[i], why, "each of two semaphores "
		       "counts its own places", "%d in place of %d",
		       s->number[i], want[i]);
	expect_clean(NULL);
}

/* ---- nothing is said, and nothing stays --------------------------------- */

static int fail_inside(int worker, void *arg)
{
	(void)arg;
	return worker;
}

static void all_calls(void)
{
	semaphore_release(sem);			/* one too many */
	semaphore_acquire(sem, -1);
	semaphore_acquire(sem, 0);		/* 1 */
	semaphore_acquire(sem, 0.01);		/* 1 */
	semaphore_release(sem);
	semaphore_value(sem);
	semaphore_with(sem, 1, fail_inside, NULL);
}

static void in_silence(void *arg)
{
	struct facts *s = arg;

	capture_output();
	if (!create(s, 1, true))
		return;
	semaphore_create(-1, false);
	all_calls();
	s->number[0] = captured(NULL, 0);
	semaphore_destroy(sem);
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = in_silence, .shared = s });
	expect_created(s);
	expect_silence(s->number[0]);
	expect_clean(NULL);
}

/* ---- for long --------------------------------------------------------- */

enum { LONG = 66000 };		/* more than 16 bits can count, or a pipe holds */

static void take_for_long(void *arg)
{
	struct facts *s = arg;
	int i;

	if (!create(s, 2, s->initial != 0))
		return;
	for (i = 0; i < LONG && s->got[0] == 0 && s->got[1] == 0; i++) {
		s->got[0] = semaphore_acquire(sem, -1);
		s->got[1] = semaphore_release(sem);
	}
	s->number[0] = i;
	s->number[1] = semaphore_value(sem);
	semaphore_destroy(sem);
}

static void check_long(void)
{
	static const char why[] = "A number that only ever grows comes to its "
		"end, or something fills up.";

	for (int bounded = 0; bounded < 2; bounded++) {
		struct facts *s = shared(sizeof *s);

		s->initial = bounded;
		fence(&(struct fence){ .scenario = take_for_long, .shared = s,
				       .limit = 60, .why_stuck = why });
		expect_created(s);
		expect(s->got[0] == 0 && s->got[1] == 0, why,
		       text("acquired and released %d times", LONG),
		       "acquire number %d returned %d, and release %d",
		       s->number[0], s->got[0], s->got[1]);
		expect(s->number[1] == 2, why, "the value is 2 afterwards",
		       "%d", s->number[1]);
		expect_clean(NULL);
	}
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("there are as many places as were asked for", check_places,
		 semaphore_create),
	FUNCTION("less than no place is refused", check_negative,
		 semaphore_create),
	FUNCTION("what one process takes is missing for all", check_common,
		 semaphore_acquire),
	FUNCTION("who releases without having acquired adds a place",
		 check_unbounded, semaphore_release),
	FUNCTION("a bounded one never rises above its first value",
		 check_bounded, semaphore_release),
	FUNCTION("a place is given back whatever the room returns",
		 check_with, semaphore_with),
	FUNCTION("two semaphores know nothing of each other", check_two,
		 semaphore_create),
	FUNCTION("waiting costs nothing", check_quiet, semaphore_acquire),
	FUNCTION("two are inside, and when one leaves a third gets in",
		 check_crowd, semaphore_acquire),
	FUNCTION("as many get in as places are given", check_doors,
		 semaphore_release),
	FUNCTION("no place is no place, however many wait for one",
		 check_value_while_waiting, semaphore_value),
	FUNCTION("a signal is no place", check_interrupted,
		 semaphore_acquire),
	FUNCTION("a limit may be any part of a second", check_odd,
		 semaphore_acquire),
	FUNCTION("a wait ends at its limit", check_limit, semaphore_acquire),
	FUNCTION("a huge limit is no small one", check_huge,
		 semaphore_acquire),
	FUNCTION("every negative limit waits for ever", check_for_ever,
		 semaphore_acquire),
	FUNCTION("the wall clock does not change a limit", check_limit_jumps,
		 semaphore_acquire),
	FUNCTION("nothing is printed, and no signal blocked", check_silence,
		 semaphore_release),
	{ "leftovers", "a semaphore works for as long as it is used", check_long,
	  (const void *)semaphore_release },
};

CHECKS("06-semaphore", checks);
