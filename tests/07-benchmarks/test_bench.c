/* What a run does: each item once, by so many at the same time. */
#include "facts.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* ---- numbers -------------------------------------------------------- */

static void count_call(void *arg)
{
	(void)arg;
	facts->calls++;
}

static void wrong_numbers(void *arg)
{
	static const long n[] = { -1, LONG_MIN, 3, 3, 3, 3 };
	static const int workers[] = { 2, 2, 0, -1, 2, 2 };
	static const long chunk[] = { 1, 1, 1, 1, 0, -5 };
	struct facts *s = facts = arg;

	s->number[0] += !isnan(bench_measure(count_call, s, -1, 3));
	s->number[0] += !isnan(bench_measure(count_call, s, 2, 0));
	s->number[0] += !isnan(bench_measure(count_call, s, 0, -1));
	s->number[0] += !isnan(bench_measure(count_call, s, INT_MIN, INT_MIN));
	for (enum mode m = SERIAL; m < MODES; m++)
		for (int i = 0; i < (m == SERIAL ? 2 : 6); i++) {
			run_mode(m, note_item, n[i], workers[i], chunk[i]);
			if (!isnan(s->run[m].seconds) || s->errs[m] != EINVAL)
				return;
			s->number[1]++;
		}
}

static void check_wrong_numbers(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = wrong_numbers, .shared = s });
	expect(s->number[0] == 0, "A measurement that was never made has no "
	       "result.", "bench_measure returns NaN for bad numbers",
	       "a number, in %d of 4 cases", s->number[0]);
	expect(s->number[1] == 2 + 3 * 6, "Numbers that make no sense have no "
	       "result.", text("%s: NaN, EINVAL", call_text(s)), "%g, %s",
	       s->run[s->mode].seconds, strerror(s->errs[s->mode]));
	expect(s->calls == 0, "Numbers that make no sense, and the work was "
	       "begun all the same.", "no call of the work", "%d calls",
	       s->calls);
	expect_clean(NULL);
}

struct row {
	double a, b, result;
	const char *why;
};

/* NaN equals NaN, infinity itself, and the rest up to rounding. */
static bool is_same(double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	return a == b || fabs(a - b) <= 1e-9 * fabs(b);
}

enum { ROWS = 32 };

struct table {
	double got[ROWS];
};

#define WHY_NONE "Numbers that make no sense have no result."
#define WHY_FRACTION "An efficiency is a share: 1 is all of it."

static const struct row speedups[] = {
	{ 3, 2, 1.5, WHY_07 }, { 1, 4, 0.25, WHY_07 }, { 8, 8, 1, WHY_07 },
	{ 1e-6, 3e-6, 1.0 / 3, WHY_07 }, { 100, 0.5, 200, WHY_07 },
	{ 0, 1, NAN, WHY_NONE }, { 1, 0, NAN, WHY_NONE },
	{ -2, 1, NAN, WHY_NONE }, { 2, -1, NAN, WHY_NONE },
	{ -4, -2, NAN, WHY_NONE }, { 0, 0, NAN, WHY_NONE },
	{ NAN, 1, NAN, WHY_NONE }, { 1, NAN, NAN, WHY_NONE },
	{ NAN, NAN, NAN, WHY_NONE },
};

static const struct row efficiencies[] = {
	{ 3, 4, 0.75, WHY_FRACTION }, { 1, 1, 1, WHY_FRACTION },
	{ 0.5, 8, 0.0625, WHY_FRACTION }, { 5, 4, 1.25, WHY_FRACTION },
	{ 1, 3, 1.0 / 3, WHY_FRACTION }, { 2, 100000, 2e-5, WHY_FRACTION },
	{ 0, 4, NAN, WHY_NONE }, { -1, 4, NAN, WHY_NONE },
	{ 2, 0, NAN, WHY_NONE }, { 2, -2, NAN, WHY_NONE },
	{ -2, -2, NAN, WHY_NONE }, { NAN, 2, NAN, WHY_NONE },
};

static const struct row amdahls[] = {
	{ 0, 8, 1, WHY_08 }, { 1, 8, 8, WHY_08 }, { 0.9, 1, 1, WHY_08 },
	{ 0.5, 2, 4.0 / 3, WHY_08 }, { 0.95, 20, 1 / 0.0975, WHY_08 },
	{ 0.25, 1.5, 12.0 / 11, "Here the number of workers need not be whole, "
	  "and one and a half are not one." },
	{ 0, 1, 1, WHY_08 },
	{ 1, 1, 1, WHY_08 }, { 0.9, 1e12, 10 / (1 + 9e-12), WHY_08 },
	{ 0.75, INFINITY, 4, WHY_08 }, { 0, INFINITY, 1, WHY_08 },
	{ 1, INFINITY, INFINITY, WHY_08 },
	{ -0.1, 4, NAN, WHY_NONE }, { 1.1, 4, NAN, WHY_NONE },
	{ 90, 4, NAN, WHY_NONE }, { 0.5, 0, NAN, WHY_NONE },
	{ 0.5, 0.5, NAN, WHY_NONE }, { 0.5, -2, NAN, WHY_NONE },
	{ 0.5, -INFINITY, NAN, WHY_NONE }, { NAN, 2, NAN, WHY_NONE },
	{ 0.5, NAN, NAN, WHY_NONE }, { INFINITY, 2, NAN, WHY_NONE },
};

#define LENGTH(rows) (sizeof (rows) / sizeof *(rows))

static void compute_speedups(void *arg)
{
	for (size_t i = 0; i < LENGTH(speedups); i++)
		((struct table *)arg)->got[i] =
			bench_speedup(speedups[i].a, speedups[i].b);
}

static void compute_efficiencies(void *arg)
{
	for (size_t i = 0; i < LENGTH(efficiencies); i++)
		((struct table *)arg)->got[i] =
			bench_efficiency(efficiencies[i].a,
					 (int)efficiencies[i].b);
}

static void compute_amdahls(void *arg)
{
	for (size_t i = 0; i < LENGTH(amdahls); i++)
		((struct table *)arg)->got[i] =
			bench_amdahl(amdahls[i].a, amdahls[i].b);
}

static void expect_table(void (*compute)(void *), const char *name,
			 const struct row *rows, size_t n)
{
	struct table *t = shared(sizeof *t);

	fence(&(struct fence){ .scenario = compute, .shared = t });
	for (size_t i = 0; i < n; i++)
		expect(is_same(t->got[i], rows[i].result), rows[i].why,
		       text("%s(%g, %g) is %g", name, rows[i].a, rows[i].b,
			    rows[i].result), "%.10g", t->got[i]);
}

static void check_speedup(void)
{
	expect_table(compute_speedups, "bench_speedup", speedups,
		     LENGTH(speedups));
}

static void check_efficiency(void)
{
	expect_table(compute_efficiencies, "bench_efficiency", efficiencies,
		     LENGTH(efficiencies));
}

static void check_amdahl(void)
{
	expect_table(compute_amdahls, "bench_amdahl", amdahls, LENGTH(amdahls));
}

/* ---- each item once ------------------------------------------------- */

static bool is_covered(long n)
{
	for (long i = 0; i < ITEMS; i++)
		if (facts->done[i] != (i < n))
			return false;
	return facts->strange == 0;
}

#define WHY_TORN "Neighbouring items that belong together were torn apart."

/* Who begins a chunk does all of it. */
static bool is_in_chunks(long n, long chunk)
{
	for (long i = 1; i < n; i++)
		if (i / chunk == (i - 1) / chunk &&
		    facts->by[i] != facts->by[i - 1])
			return false;
	return true;
}

enum { COVERED, CHUNKED, SUMMED, PLACED };

/* Threads belong to the caller, processes do not. */
static bool is_in_place(enum mode mode, long n)
{
	for (long i = 0; i < n; i++)
		if ((facts->in[i] == getpid()) != (mode != PROCESSES) ||
		    (mode == SERIAL && facts->by[i] != gettid()))
			return false;
	return true;
}

static bool run_of(bench_work *f, enum mode mode, long n, int workers,
		   long chunk)
{
	struct facts *s = facts;
	struct bench_run r;

	forget_items();
	s->workers = workers;		/* for those who meet */
	r = run_mode(mode, f, n, workers, chunk);
	s->number[COVERED] = !is_covered(n);
	s->number[CHUNKED] = mode != SERIAL && !is_in_chunks(n, chunk);
	s->number[PLACED] = !is_in_place(mode, n);
	s->number[SUMMED] = r.result != sum_of(n);
	return r.seconds >= 0 && s->number[COVERED] == 0 &&
	       s->number[CHUNKED] == 0 && s->number[SUMMED] == 0 &&
	       s->number[PLACED] == 0;
}

/* Stops at the first run that is not as it should be. */
static bool one_run(enum mode mode, long n, int workers, long chunk)
{
	return run_of(note_item, mode, n, workers, chunk);
}

/*
 * Who has begun a chunk stays until the others have begun one too: nobody
 * does all of them by chance. (That they do meet is for another check.)
 */
static bool one_run_together(enum mode mode)
{
	return run_of(meet_at_item, mode, 8, 4, 2);
}

static enum mode judged;		/* for the scenarios, in the fence */

struct size {
	long n;
	int workers;
	long chunk;
};

/* Under a lock that spins, many items cost many time slices. */
static const struct size few[] = {
	{ 7, 2, 1 }, { 0, 1, 1 }, { 0, 3, 2 }, { 1, 1, 1 }, { 1, 3, 1 },
	{ 1, 2, 5 }, { 7, 1, 1 }, { 7, 3, 1 }, { 7, 2, 3 }, { 7, 3, 3 },
	{ 7, 8, 1 }, { 7, 8, 2 }, { 7, 3, 7 }, { 7, 3, 100 },
	{ 7, 2, LONG_MAX }, { 7, 3, LONG_MAX - 1 }, { 7, 2, 1L << 32 },
};

static const struct size more[] = {
	{ 100, 1, 30 }, { 100, 3, 1 }, { 100, 8, 1 }, { 100, 2, 30 },
	{ 100, 3, 30 }, { 101, 2, 1 }, { 101, 3, 1 }, { 101, 8, 3 },
	{ 101, 2, 30 }, { 101, 3, 50 }, { 101, 1, LONG_MAX },
	{ 101, 8, LONG_MAX },
};

static bool these_runs(enum mode mode, const struct size *sizes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!one_run(mode, sizes[i].n, sizes[i].workers,
			     sizes[i].chunk))
			return false;
	return true;
}

static bool all_runs(enum mode mode)
{
	static const long n[] = { 0, 1, 7, 100, 101 };
	static const int workers[] = { 1, 2, 3, 8 };
	static const long chunk[] = { 1, 3, 30, 1L << 32, LONG_MAX };

	for (int i = 0; i < 5; i++)
		for (int w = 0; w < 4; w++)
			for (int c = 0; c < 5; c++)
				if (!one_run(mode, n[i], workers[w], chunk[c]))
					return false;
	return true;
}

static bool many_runs(enum mode mode)
{
	switch (mode) {
	case SERIAL:
		return one_run(SERIAL, 0, 1, 1) && one_run(SERIAL, 1, 1, 1) &&
		       one_run(SERIAL, 101, 1, 1) && one_run(SERIAL, 7, 1, 1);
	case THREADS:
		return one_run_together(THREADS) && all_runs(THREADS);
	case GIL:
		return these_runs(GIL, few, LENGTH(few));
	default:
		return one_run_together(mode) &&
		       these_runs(mode, few, LENGTH(few)) &&
		       these_runs(mode, more, LENGTH(more));
	}
}

static void run_all(void *arg)
{
	facts = arg;
	many_runs(judged);
}

#define WHY_LONG "L07-11 A chunk may be longer than all there is to do: what" \
	" adds to its length overflows, or its type does not hold it."

static void expect_covered(const struct facts *s)
{
	/* The same with shorter chunks has been done before. */
	const char *why = s->chunk > INT_MAX ? WHY_LONG : WHY_11;

	expect(s->strange == 0, why, text("%s: items 0 to %ld",
	       call_text(s), s->n - 1), "f(%ld, arg)", s->strange_item);
	expect(s->other_arg == 0, "The work was not given the argument that "
	       "belongs to it.", text("%s: f(..., arg)", call_text(s)),
	       "another argument, %d times", s->other_arg);
	for (long i = 0; i < ITEMS; i++)
		expect(s->done[i] == (i < s->n), why,
		       text("%s: %s", call_text(s), i < s->n ? text("f(%ld, "
			    "arg) once", i) : "no other items"),
		       "f(%ld, arg) %d times", i, s->done[i]);
}

/* Then it is a small matter that the run says it failed. */
static bool is_any_done_twice(const struct facts *s)
{
	for (int i = 0; i < ITEMS; i++)
		if (s->done[i] > 1)
			return true;
	return s->strange > 0;
}

static void expect_all_done(enum mode mode)
{
	struct facts *s = shared(sizeof *s);

	judged = mode;
	fence(&(struct fence){ .scenario = run_all, .shared = s,
			       .why_stuck = mode == GIL ? WHY_KEPT : NULL });
	if (!is_any_done_twice(s))
		expect_ran(s, mode);
	expect_covered(s);
	expect_ran(s, mode);
	expect(s->number[PLACED] == 0, mode == PROCESSES ?
	       "A worker that is no process of its own is another thing to "
	       "measure." : mode == SERIAL ? "What all others are compared "
	       "with is done by the caller itself, by no worker." :
	       "Threads live in the process that makes them.",
	       text("%s: items are done in %s", call_text(s),
		    mode == PROCESSES ? "other processes than the caller" :
		    "the caller"), "they are not");
	expect(s->number[CHUNKED] == 0, WHY_TORN,
	       text("%s: who begins a chunk does all of it", call_text(s)),
	       "items of one chunk were done by two workers");
	expect(s->number[SUMMED] == 0, s->run[mode].result == 0 &&
	       mode == SERIAL ? WHY_04 :
	       "All items were done, and what they gave was lost or bent on "
	       "the way.",
	       text("%s: the sum over the items, modulo 2^64: %#llx",
		    call_text(s), (unsigned long long)sum_of(s->n)), "%#llx",
	       (unsigned long long)s->run[mode].result);
	expect_clean(NULL);
}

static void check_serial(void)
{
	expect_all_done(SERIAL);
}

static void check_threads(void)
{
	expect_all_done(THREADS);
}

static void check_gil(void)
{
	expect_all_done(GIL);
}

static void check_processes(void)
{
	expect_all_done(PROCESSES);
}

/* ---- many workers --------------------------------------------------- */

static void run_many(void *arg)
{
	facts = arg;
	if (one_run(THREADS, 200, 150, 1) && one_run(GIL, 20, 16, 1))
		one_run(PROCESSES, 200, 80, 1);
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_many, .shared = s });
	expect_ran(s, s->mode);
	expect_covered(s);
	expect(s->number[SUMMED] == 0, "With many workers the result of some "
	       "is lost.", text("%s: the sum over the items", call_text(s)),
	       "another number");
	expect_clean(NULL);
}

/* ---- many items ----------------------------------------------------- */

enum { LARGE = 100000 };

static uint64_t tell_index(long index, void *arg)
{
	(void)arg;
	return (uint64_t)index;
}

static void run_large(void *arg)
{
	facts = arg;
	if (run_mode(THREADS, tell_index, LARGE, 2, 1).seconds >= 0)
		run_mode(PROCESSES, tell_index, LARGE, 2, 1);
}

static void check_large(void)
{
	const uint64_t sum = (uint64_t)LARGE * (LARGE - 1) / 2;
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_large, .shared = s,
		.why_stuck = "Who writes waits until somebody reads, and who "
			     "should read waits until nobody writes any "
			     "more." });
	for (enum mode m = THREADS; m < MODES; m++) {
		expect_ran(s, m);
		expect(s->run[m].result == sum, "With many items some are "
		       "lost.", text("%s with %d items: %llu", mode_names[m],
		       LARGE, (unsigned long long)sum), "%llu",
		       (unsigned long long)s->run[m].result);
	}
}

/* ---- at the same time ----------------------------------------------- */

/* So many workers, and twice as many items. */
static void run_together(void *arg)
{
	int workers;

	facts = arg;
	workers = facts->number[1];
	facts->workers = workers;
	run_mode(judged, meet_at_item, 2 * workers, workers, 2);
}

static int count_different(const _Atomic pid_t *ids, int n)
{
	int different = 0, k;

	for (int i = 0; i < n; i++) {
		for (k = 0; k < i && ids[k] != ids[i]; k++)
			;
		different += k == i;
	}
	return different;
}

static void expect_together(enum mode mode, int workers)
{
	struct facts *s = shared(sizeof *s);
	int n;

	judged = mode;
	s->number[1] = workers;
	fence(&(struct fence){ .scenario = run_together, .shared = s });
	expect(s->gave_up == 0, s->came > 1 ? "Not all of the workers get "
	       "something to do: others took more than a chunk, or there are "
	       "not so many." : "One worker waits until another is through: "
	       "they never work at the same time.",
	       text("%s: %d items are in work at the same time", call_text(s),
		    workers), "at most %d", (int)s->came);
	expect_ran(s, mode);
	n = count_different(s->by, 2 * workers);
	expect(n == workers, "The work was done by another number of workers "
	       "than was asked for.", text("%s: %d workers", call_text(s),
	       workers), "%d", n);
}

static void check_threads_together(void)
{
	expect_together(THREADS, 4);
	expect_together(THREADS, 48);
}

static void check_processes_together(void)
{
	expect_together(PROCESSES, 4);
	expect_together(PROCESSES, 24);
}

/* ---- no more of them than asked for --------------------------------- */

static void run_few(void *arg)
{
	facts = arg;
	run_mode(judged, note_item, 60, 3, 1);
}

static void check_number(void)
{
	struct facts *s;
	int n;

	for (judged = GIL; judged < MODES; judged++) {
		s = shared(sizeof *s);
		fence(&(struct fence){ .scenario = run_few, .shared = s });
		n = count_different(s->by, 60);
		expect(n <= 3, "There are more workers than were asked for.",
		       text("%s: at most 3 workers", call_text(s)), "%d", n);
	}
}

/* ---- the interpreter lock ------------------------------------------- */

/* Who is first inside stays until all others rest, wherever that is. */
static uint64_t compute_slowly(long index, void *arg)
{
	peak_enter(&facts->peak);
	if (facts->number[14]++ < 2) {
		settle_others();
	}
	peak_leave(&facts->peak);
	return note_item(index, arg);
}

static void run_alone(void *arg)
{
	facts = arg;
	run_mode(GIL, compute_slowly, 6, 3, 1);
}

static void check_alone(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_alone, .shared = s,
			       .why_stuck = WHY_KEPT });
	expect(s->peak.most == 1, WHY_GIL, "one item in work at a time",
	       "%d", s->peak.most);
	expect_ran(s, GIL);
}

static void meet(void *arg)
{
	if (!meeting_wait(arg, (uint32_t)facts->number[0]))
		facts->gave_up++;
}

static uint64_t meet_outside(long index, void *arg)
{
	uint64_t r = note_item(index, arg);

	if (index % 3 != 2)
		bench_allow_threads(meet, &facts->meeting);
	peak_enter(&facts->peak);
	settle_others();
	peak_leave(&facts->peak);
	if (index % 3 != 2)
		bench_allow_threads(meet, &facts->again);
	return r;
}

/* Three workers: one computes, two wait, and meet, and do so again. */
static void run_outside(void *arg)
{
	facts = arg;
	facts->number[0] = 2;
	run_mode(GIL, meet_outside, 3, 3, 1);
}

static void check_outside(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_outside, .shared = s,
		.why_stuck = "The lock that serialises computing is also being "
			     "held while nothing is computed." });
	expect(s->gave_up == 0, "The lock that serialises computing is also "
	       "being held while nothing is computed.",
	       "two threads are inside bench_allow_threads at once",
	       "never");
	expect(s->peak.most == 1, "Who comes back from waiting computes on "
	       "without the lock.", "one thread computes at a time", "%d",
	       s->peak.most);
	expect_ran(s, GIL);
	expect_covered(s);
}

static void note_wait(void *arg)
{
	facts->number[1] += arg == &facts->number[2];
	facts->number[3]++;
}

static uint64_t wait_in_item(long index, void *arg)
{
	bench_allow_threads(note_wait, &facts->number[2]);
	bench_allow_threads(meet, &facts->meeting);
	return note_item(index, arg);
}

/* Elsewhere it only calls, also after a run under the lock. */
static void wait_elsewhere(void *arg)
{
	facts = arg;
	facts->number[0] = 1;
	bench_allow_threads(note_wait, &facts->number[2]);
	run_mode(GIL, wait_in_item, 2, 2, 1);
	bench_allow_threads(note_wait, &facts->number[2]);
	run_mode(SERIAL, wait_in_item, 2, 2, 1);
	for (enum mode m = THREADS; m < MODES; m++) {
		facts->meeting.arrived = 0;
		facts->number[0] = 3;
		run_mode(m, wait_in_item, 3, 3, 1);
	}
	run_mode(GIL, note_item, 2, 2, 1);
}

static void check_elsewhere(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = wait_elsewhere, .shared = s,
		.why_stuck = "Where there is no lock there is nothing to take "
			     "back either." });
	expect(s->number[3] == 2 + 2 + 2 + 3 + 3 &&
	       s->number[1] == s->number[3], "Wherever it is called, what "
	       "waits is called once, with its argument.", "12 calls",
	       "%d, %d of them with the argument", s->number[3], s->number[1]);
	expect(s->gave_up == 0, "Where there is no lock everybody goes on at "
	       "the same time.", "three workers meet without a lock", "never");
	for (enum mode m = SERIAL; m < MODES; m++)
		expect_ran(s, m);
}

/* ---- a run in an item ----------------------------------------------- */

/* More than the workers of the run inside ask for. */
enum { OUTER_ITEMS = 6 };

static void rest(void *arg)
{
	(void)arg;
	if (facts->number[1]++ == 0)
		settle_others();
}

/* By two workers. The outer one may be one of them, and it has the lock. */
static uint64_t wait_without_a_lock(long index, void *arg)
{
	(void)arg;
	if (!meeting_wait(&facts->meeting, 2))
		facts->gave_up++;
	if (gettid() != facts->outer)
		bench_allow_threads(rest, NULL);
	return value_of(index);
}

static uint64_t run_inside(long index, void *arg)
{
	const int before = facts->number[0]++;
	struct bench_run r = {0};

	peak_enter(&facts->peak);
	facts->outer = gettid();
	facts->meeting.arrived = 0;
	if (before == 0)
		settle_others();	/* the others want the lock now */
	if (before < OUTER_ITEMS)	/* who begins again goes on for ever */
		r = run_mode(judged, wait_without_a_lock, 2, 2, 1);
	facts->number[2] += r.seconds >= 0 && r.result == sum_of(2);
	peak_leave(&facts->peak);
	return note_item(index, arg);
}

static void run_in_runs(void *arg)
{
	facts = arg;
	run_mode(GIL, run_inside, OUTER_ITEMS, 3, 1);
}

static void check_inside(void)
{
	static const char why[] = "The note who has the lock is believed by "
		"another thread than the one that has it, or by a child that "
		"inherited it.";
	struct facts *s;

	for (judged = THREADS; judged <= PROCESSES; judged++) {
		s = shared(sizeof *s);
		fence(&(struct fence){ .scenario = run_in_runs, .shared = s,
				       .why_stuck = why });
		expect(s->peak.most == 1, why, text("an item under the lock "
		       "runs %s, whose items wait: nobody else comes in",
		       mode_names[judged]), "%d were in", s->peak.most);
		expect(s->number[0] == OUTER_ITEMS &&
		       s->number[2] == OUTER_ITEMS &&
		       s->run[GIL].result == sum_of(OUTER_ITEMS), "Two runs "
		       "are on their way, and one changes what belongs to the "
		       "other.", text("%d items under the lock, and each runs "
		       "%s with the right result", OUTER_ITEMS,
		       mode_names[judged]), "%d items, %d right results",
		       s->number[0], s->number[2]);
	}
}

/* ---- memory --------------------------------------------------------- */

static _Atomic long private_value;

static uint64_t change_and_tell(long index, void *arg)
{
	long found = private_value;

	note_item(index, arg);
	if (facts->mode == PROCESSES)
		private_value = 1000 + index;
	else
		private_value++;
	return (uint64_t)found;
}

/* One item for each worker: it finds what the caller has left there. */
static void leave_in_memory(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = 0; i < 2; i++) {
		private_value = 10 * (i + 1);
		s->mode = PROCESSES;
		run_mode(PROCESSES, change_and_tell, 1, 1, 1);
		s->number[2 * i] = (int)s->run[PROCESSES].result;
		s->number[2 * i + 1] = (int)private_value;
	}
	private_value = 0;
	s->mode = THREADS;
	run_mode(THREADS, change_and_tell, 8, 2, 1);
	s->number[4] = (int)private_value;
}

static void check_memory(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = leave_in_memory, .shared = s });
	expect(s->number[1] == 10 && s->number[3] == 20, "What a worker "
	       "process writes to memory stays in that process.",
	       "the caller's variable is 10, then 20", "%d, then %d",
	       s->number[1], s->number[3]);
	expect(s->number[0] == 10 && s->number[2] == 20, "A worker that was "
	       "there before the run knows an older world than its caller.",
	       "workers find 10, in the next run 20", "%d and %d",
	       s->number[0], s->number[2]);
	expect(s->number[4] == 8, "Threads share the memory of their process.",
	       "8 items were counted in the caller's variable", "%d",
	       s->number[4]);
}

/* ---- the caller's other children ------------------------------------ */

static void among_others(void *arg)
{
	struct facts *s = facts = arg;

	others_come();
	run_mode(PROCESSES, note_item, 20, 3, 2);
	s->seconds[0] = s->run[PROCESSES].seconds;
	s->number[4] = s->run[PROCESSES].result == sum_of(20);
	run_mode(THREADS, note_item, 20, 3, 2);
	others_go();
}

static void check_others(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = among_others, .shared = s,
			       .why_stuck = WHY_NO_WORKER });
	expect_others(s);
	expect(s->seconds[0] >= 0 && s->number[4], "Another child of the "
	       "caller's was taken for a worker that died.", "the run "
	       "succeeds", "seconds is %g", s->seconds[0]);
}

/* ---- nothing is said ------------------------------------------------ */

static void at_the_end(void)
{
	if (getpid() != fence_pid())
		facts->handlers++;
}

static void ignore_signal(int sig)
{
	(void)sig;
}

static const int own_signals[] = {
	SIGCHLD, SIGPIPE, SIGALRM, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2
};
enum { OWN_SIGNALS = sizeof own_signals / sizeof *own_signals };

/* The caller has handlers of its own, as for children that end. */
static void handle_signals(void)
{
	const struct sigaction a = { .sa_handler = ignore_signal,
				     .sa_flags = SA_RESTART };

	for (int i = 0; i < OWN_SIGNALS; i++)
		sigaction(own_signals[i], &a, NULL);
	keep_signals();
}

static void half_written(void *arg)
{
	static const char own[] = "a line that is not yet complete";
	struct facts *s = facts = arg;

	capture_output();
	atexit(at_the_end);
	fputs(own, stdout);
	handle_signals();
	for (enum mode m = SERIAL; m < MODES; m++)
		run_mode(m, note_item, 5, 2, 1);
	run_mode(PROCESSES, note_item, -5, 2, 1);
	bench_speedup(0, 0);
	bench_amdahl(7, 0);
	bench_measure(note_wait, NULL, 0, 0);
	s->number[0] = captured(NULL, 0) - (int)strlen(own);
}

static void check_silence(void)
{
	static const char why[] = "Ending a worker the way a whole program "
		"ends also does what belongs to the caller.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = half_written, .shared = s });
	expect(s->handlers == 0, why, "the caller's atexit function runs in "
	       "the caller", "it ran in %d workers", s->handlers);
	expect(s->number[0] == 0, "A function of the lab speaks to its caller, "
	       "by what it returns, and to nobody else; nor does a worker say "
	       "what its caller was about to say.", "nothing else is "
	       "printed", "%d bytes more on stdout or stderr", s->number[0]);
	expect_signals();
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("speed-up is how many times as fast", check_speedup,
		 bench_speedup),
	FUNCTION("efficiency is the share of the workers that is used",
		 check_efficiency, bench_efficiency),
	FUNCTION("Amdahl's law sets the limit", check_amdahl, bench_amdahl),
	FUNCTION("numbers that make no sense are refused", check_wrong_numbers,
		 bench_processes),
	FUNCTION("the caller does each item once", check_serial, bench_serial),
	FUNCTION("threads do each item once", check_threads, bench_threads),
	FUNCTION("threads work at the same time", check_threads_together,
		 bench_threads),
	FUNCTION("under the lock one item is in work at a time", check_alone,
		 bench_gil),
	FUNCTION("threads under the lock do each item once", check_gil,
		 bench_gil),
	FUNCTION("who waits outside the lock lets others compute",
		 check_outside, bench_allow_threads),
	FUNCTION("processes do each item once", check_processes,
		 bench_processes),
	FUNCTION("processes work at the same time", check_processes_together,
		 bench_processes),
	FUNCTION("where there is no lock waiting is only waiting",
		 check_elsewhere, bench_allow_threads),
	FUNCTION("a run may be an item of another one", check_inside,
		 bench_allow_threads),
	FUNCTION("there are no more workers than asked for", check_number,
		 bench_processes),
	FUNCTION("many workers are as good as few", check_many,
		 bench_processes),
	FUNCTION("what processes write to memory stays with them",
		 check_memory, bench_processes),
	FUNCTION("other children of the caller are left alone", check_others,
		 bench_processes),
	FUNCTION("nothing is printed, and no exit handler runs", check_silence,
		 bench_processes),
	/* Here who takes turns badly is interrupted: after the explorer. */
	{ "faults", "many items are as good as few", check_large,
	  (const void *)bench_processes },
};

CHECKS("07-benchmarks", checks);
