/*
 * Which time is measured: from where, to where, on which clock, of whom.
 *
 * Nothing here depends on how long anything takes. Either the clock is moved
 * by hand, and what is reported must be exactly that; or the test looks at a
 * clock itself, inside of what is measured and around it, and what is
 * reported must lie between the two.
 */
#include "facts.h"
#include "clock.h"

enum { MS = 1000000, LONGEST = 10000, ROUNDS = 8, LONGEST_ROW = 6 };

/* ---- a measured function that takes exactly so long ----------------- */

struct rounds {
	int warmups, n;
	double seconds[ROUNDS];		/* the warm-ups, then the rounds */
	double median;
};

static const struct rounds cases[] = {
	{ 0, 1, { 7.000123 }, 7.000123 },
	{ 0, 1, { 5000 }, 5000 },
	{ 0, 7, { 0.2, 0.1, 0.3, 0.4, 0.9, 0.25, 0.5 }, 0.3 },
	{ 0, 4, { 0.1, 0.01, 0.01, 0.01 }, 0.01 },
	{ 0, 5, { 1, 1, 1, 5, 5 }, 1 },
	{ 0, 4, { 1, 10, 2, 20 }, 6 },
	{ 0, 2, { 0.25, 0.75 }, 0.5 },
	{ 0, 2, { 0, 0 }, 0 },
	{ 2, 3, { 1000, 1000, 1, 3, 2 }, 2 },
	{ 1, 1, { 9, 0.2 }, 0.2 },
	{ 3, 4, { 500, 400, 300, 0.1, 0.01, 0.01, 0.02 }, 0.015 },
	{ 0, 3, { 4e-6, 1e-6, 2e-6 }, 2e-6 },
};
enum { CASES = sizeof cases / sizeof *cases };

struct measured {
	struct facts facts;
	struct hand_clock clock;
	const struct rounds *rounds;	/* the same in all processes */
	struct rounds row;
	double got[CASES];
	int calls[CASES];
	int elsewhere;		/* calls by somebody else than the caller */
	bool blind[CASES];	/* nobody looked at a clock we could move */
	long looks_after;	/* when the last call of fn had ended */
	bool looked[ROUNDS];	/* between the call before and this one */
	double inside[ROUNDS], begun[ROUNDS], ended[ROUNDS];
};

static void take_so_long(void *arg)
{
	struct measured *m = arg;
	int i = m->facts.calls++;

	m->elsewhere += gettid() != fence_pid();
	if (i >= ROUNDS)
		return;
	m->looked[i] = hand->looks > m->looks_after;
	move_on((int64_t)(m->rounds->seconds[i] * 1e9 + 0.5));
	m->looks_after = hand->looks;
}

/* Some clocks cannot be moved by hand: then there is nothing to be seen. */
static bool was_blind(const struct measured *m)
{
	return !m->looked[m->rounds->warmups] || hand->looks == m->looks_after;
}

static void measure_cases(void *arg)
{
	struct measured *m = arg;
	double got;

	for (int i = 0; i < CASES; i++) {
		m->rounds = &cases[i];
		m->facts.calls = 0;
		m->looks_after = m->clock.looks;
		hand = &m->clock;
		got = bench_measure(take_so_long, m, cases[i].warmups,
				    cases[i].n);
		m->got[i] = got;
		m->calls[i] = m->facts.calls;
		m->blind[i] = was_blind(m);
		hand = NULL;
	}
}

static bool is_near(double a, double b)
{
	return fabs(a - b) <= 1e-8 + 1e-9 * fabs(b);
}

/* The seconds are right up to what a clock of whole seconds cannot tell. */
static bool is_whole(double got, double expected)
{
	return got == floor(got) && fabs(got - expected) <= 1 &&
	       fabs(expected - round(expected)) > 0.01;
}

static int ascending(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double average(const double *t, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += t[i];
	return sum / n;
}

/* The middle, or the upper one of two. */
static double upper_middle(const double *t, int n, double *lower)
{
	double sorted[ROUNDS];

	memcpy(sorted, t, (size_t)n * sizeof *t);
	qsort(sorted, (size_t)n, sizeof *sorted, ascending);
	*lower = sorted[(n - 1) / 2];
	return sorted[n / 2];
}

static const char *why_not_elapsed(double got, double expected)
{
	if (is_whole(got, expected))
		return WHY_02;
	if (got < 0.9 * expected && got >= 0)
		return "That clock does not show how long it took: it counts "
		       "something else, or not all of it.";
	if (fabs(got - expected) > 1800)
		return WHY_CLOCK;
	if (fabs(got - expected) < 0.02)
		return "That clock, or the number it is kept in, is too "
		       "coarse.";
	return "That is not how long it took.";
}

static const char *why_not_median(const struct rounds *r, double got)
{
	const double *t = r->seconds + r->warmups;
	const int all = r->warmups + r->n;
	double lower, upper, low_of_all, middle_of_all;

	middle_of_all = (upper_middle(r->seconds, all, &low_of_all) +
			 low_of_all) / 2;
	upper = upper_middle(t, r->n, &lower);
	if (is_whole(got, r->median))
		return WHY_02;
	if (r->warmups > 0 && (is_near(got, middle_of_all) || got > 50 ||
			       is_near(got, average(r->seconds, all))))
		return "What only warms up was measured too.";
	if (r->n == 1)
		return why_not_elapsed(got, r->median);
	if (r->n % 2 == 0 && (is_near(got, lower) || is_near(got, upper)))
		return "Of an even number of rounds two are in the middle, and "
		       "one was forgotten.";
	if (is_near(got, average(t, r->n)))
		return "L07-05 One slow round moves the average, and one "
		       "measurement is an anecdote.";
	if (is_near(got, r->n * average(t, r->n)))
		return "All rounds together are not how long one takes.";
	if (is_near(got, t[0]) || is_near(got, t[r->n - 1]))
		return WHY_05;
	return fabs(got - r->median) < 1e-5 ? "That clock, or the number it is "
	       "kept in, is too coarse." : "Another round than the one in the "
	       "middle was taken.";
}

static const char *list(const struct rounds *r)
{
	const char *s = "";

	for (int i = 0; i < r->warmups + r->n; i++)
		s = text("%s%s%g", s, i == 0 ? "" : i == r->warmups ? "; " :
			 ", ", r->seconds[i]);
	return s;
}

/* Way number k to put the squares of 1, 2, ... n in a row. */
static void put_in_a_row(double *row, int n, int k)
{
	for (int i = 0; i < n; i++) {
		int at = k % (i + 1);

		k /= i + 1;
		memmove(row + at + 1, row + at, (size_t)(i - at) * sizeof *row);
		row[at] = (i + 1) * (i + 1);
	}
}

/* Up to the first row whose median is another. */
static void measure_rows(void *arg)
{
	static const double medians[] = { 0, 1, 2.5, 4, 6.5, 9, 12.5 };
	struct measured *m = arg;
	struct rounds *r = &m->row;
	int ways = 1;

	m->rounds = r;
	hand = &m->clock;
	for (r->n = 2; r->n <= LONGEST_ROW; r->n++) {
		ways *= r->n;
		r->median = medians[r->n];
		for (int k = 0; k < ways; k++) {
			put_in_a_row(r->seconds, r->n, k);
			m->facts.calls = 0;
			m->got[0] = bench_measure(take_so_long, m, 0, r->n);
			if (!is_near(m->got[0], r->median))
				return;
		}
	}
}

static void check_median(void)
{
	struct measured *m = shared(sizeof *m);
	int blind = 0;

	fence(&(struct fence){ .scenario = measure_cases, .shared = m });
	expect(m->elsewhere == 0, "What is measured is a call by the caller.",
	       "the caller calls fn", "somebody else did, %d times",
	       m->elsewhere);
	for (int i = 0; i < CASES; i++) {
		const struct rounds *r = &cases[i];

		expect(m->calls[i] == r->warmups + r->n, "Each call costs as "
		       "much as it costs: no more and no fewer than were "
		       "ordered.", text("%d calls of fn, with %d warm-ups and "
		       "%d rounds", r->warmups + r->n, r->warmups, r->n), "%d",
		       m->calls[i]);
		blind += m->blind[i];
		expect(m->blind[i] || is_near(m->got[i], r->median),
		       why_not_median(r, m->got[i]),
		       text("calls of fn take %s seconds, %d of them warm up: "
			    "%.9g", list(r), r->warmups, r->median), "%.9g",
		       m->got[i]);
	}
	if (blind == CASES)
		skip_check("not exercised: the clock that is used cannot be "
			   "moved by hand");
	fence(&(struct fence){ .scenario = measure_rows, .shared = m });
	expect(is_near(m->got[0], m->row.median),
	       why_not_median(&m->row, m->got[0]),
	       text("calls of fn take %s seconds: %.9g", list(&m->row),
		    m->row.median), "%.9g", m->got[0]);
}

/* ---- many rounds ---------------------------------------------------- */

/* The k-th call takes k microseconds, in an order that jumps. */
static void take_one_of_many(void *arg)
{
	struct measured *m = arg;
	int64_t i = m->facts.calls++;

	if (i < LONGEST)
		move_on((i * 7919 % LONGEST + 1) * 1000);
}

static void measure_many(void *arg)
{
	struct measured *m = arg;

	hand = &m->clock;
	m->got[0] = bench_measure(take_one_of_many, m, 0, LONGEST);
	hand = NULL;
}

static void check_many_rounds(void)
{
	struct measured *m = shared(sizeof *m);

	fence(&(struct fence){ .scenario = measure_many, .shared = m });
	expect(m->facts.calls == LONGEST, "Each call costs as much as it "
	       "costs: no more and no fewer than were ordered.",
	       text("%d calls", LONGEST), "%d", (int)m->facts.calls);
	if (m->clock.looks < LONGEST)
		skip_check("not exercised: the clock that is used cannot be "
			   "moved by hand");
	expect(is_near(m->got[0], (LONGEST + 1) / 2.0 * 1e-6), "With many "
	       "rounds the number in the middle is another one.",
	       text("%.9g, the middle of 1, 2, ... %d microseconds",
		    (LONGEST + 1) / 2.0 * 1e-6, LONGEST), "%.9g", m->got[0]);
	expect_clean(NULL);
}

/* ---- somebody sets the clock ---------------------------------------- */

static void measure_when_set(void *arg)
{
	static const struct rounds same = { 0, 3, { 1.25, 1.25, 1.25 }, 1.25 };
	struct measured *m = arg;

	m->clock.jumps = true;
	m->rounds = &same;
	hand = &m->clock;
	m->got[0] = bench_measure(take_so_long, m, 0, 3);
	m->blind[0] = was_blind(m);
	hand = NULL;
}

static void check_clock_set(void)
{
	struct measured *m = shared(sizeof *m);

	fence(&(struct fence){ .scenario = measure_when_set, .shared = m });
	expect(m->blind[0] || is_near(m->got[0], 1.25),
	       m->got[0] == floor(m->got[0]) &&
	       (m->got[0] < 3 || m->got[0] > 3000) ? WHY_02 :
	       why_not_elapsed(m->got[0], 1.25), "1.25, the seconds that each "
	       "call of fn took, while somebody set the clock on the wall",
	       "%.9g", m->got[0]);
	if (m->blind[0])
		skip_check("not exercised: the clock that is used cannot be "
			   "set");
}

/* ---- real time: what fn waits for is part of it --------------------- */

static double seconds_now(void)
{
	return real_clock_ns(CLOCK_MONOTONIC) / 1e9;
}

/* Children in twos, and each of them sleeps. */
static void sleep_in_children(void *arg)
{
	const struct timespec nap = { .tv_nsec = 4 * MS };
	struct measured *m = arg;
	int i = m->facts.calls++ % ROUNDS;
	pid_t pids[2];

	m->begun[i] = seconds_now();
	for (int k = 0; k < 2; k++) {
		pids[k] = fork();
		if (pids[k] == 0) {
			nanosleep(&nap, NULL);
			_exit(0);
		}
	}
	for (int k = 0; k < 2; k++)
		waitpid(pids[k], NULL, 0);
	m->ended[i] = seconds_now();
}

static void measure_children(void *arg)
{
	struct measured *m = arg;

	m->begun[ROUNDS - 1] = seconds_now();
	m->got[0] = bench_measure(sleep_in_children, m, 0, 5);
	m->ended[ROUNDS - 1] = seconds_now();
}

static double middle_of_5(double t[])
{
	qsort(t, 5, sizeof *t, ascending);
	return t[2];
}

static void check_children(void)
{
	struct measured *m = shared(sizeof *m);
	double inside[5], outside[5], before, after, least, most;

	fence(&(struct fence){ .scenario = measure_children, .shared = m });
	expect(m->facts.calls == 5, "Each call costs as much as it costs: no "
	       "more and no fewer than were ordered.", "5 calls", "%d",
	       (int)m->facts.calls);
	for (int i = 0; i < 5; i++) {
		before = i == 0 ? m->begun[ROUNDS - 1] : m->ended[i - 1];
		after = i == 4 ? m->ended[ROUNDS - 1] : m->begun[i + 1];
		inside[i] = m->ended[i] - m->begun[i];
		outside[i] = after - before;
	}
	least = middle_of_5(inside) * 0.998 - 2e-5;
	most = middle_of_5(outside) * 1.002 + 2e-5;
	expect(m->got[0] >= least, WHY_01, text("fn waits for children that "
	       "sleep: %.6f seconds at least", least), "%.6f", m->got[0]);
	expect(m->got[0] <= most, "More time was measured than has passed.",
	       text("%.6f seconds at most", most), "%.6f", m->got[0]);
}

/* ---- fn may do what it likes ---------------------------------------- */

static void run_in_processes(void *arg)
{
	struct measured *m = arg;
	struct bench_run r = bench_processes(note_item, 6, m, 2, 1);

	m->facts.number[0] += r.seconds >= 0 && r.result == sum_of(6);
	r = bench_threads(note_item, 6, m, 2, 1);
	m->facts.number[1] += r.seconds >= 0 && r.result == sum_of(6);
}

static void measure_runs(void *arg)
{
	struct measured *m = arg;

	facts = &m->facts;
	m->got[0] = bench_measure(run_in_processes, m, 1, 2);
}

static void check_runs(void)
{
	struct measured *m = shared(sizeof *m);

	fence(&(struct fence){ .scenario = measure_runs, .shared = m });
	expect(m->got[0] > 0 && m->facts.number[0] == 3 &&
	       m->facts.number[1] == 3, "What is measured does not work while "
	       "it is measured.", "fn runs threads and processes, 3 times",
	       "%g seconds, %d and %d times", m->got[0], m->facts.number[0],
	       m->facts.number[1]);
}

/* Ten seconds, and what three calls of another function take: a second each. */
static void measure_inside(void *arg)
{
	struct measured *m = arg;

	move_on(INT64_C(10) * SECOND);
	m->got[1] = bench_measure(take_so_long, m, 0, 3);
}

static void measure_measuring(void *arg)
{
	static const struct rounds six = { .seconds = { 1, 1, 1, 1, 1, 1 } };
	struct measured *m = arg;

	m->rounds = &six;
	hand = &m->clock;
	m->got[0] = bench_measure(measure_inside, m, 0, 2);
	hand = NULL;
}

static void check_measuring(void)
{
	struct measured *m = shared(sizeof *m);

	fence(&(struct fence){ .scenario = measure_measuring, .shared = m });
	if (m->clock.looks == 0)
		skip_check("not exercised: the clock that is used cannot be "
			   "moved by hand");
	expect(is_near(m->got[1], 1) && is_near(m->got[0], 13), "One "
	       "measurement writes over what another one has noted, and is "
	       "not through with.", "13 seconds, in which fn measures what "
	       "takes 1 second", "%.9g, and %.9g", m->got[0], m->got[1]);
}

/* ---- a run on a clock that is moved by hand ------------------------- */

struct timed {
	struct facts facts;
	struct hand_clock clock;
	int64_t moved[MODES];
	bool blind[MODES];
	long looks_before[MODES], looks_inside[MODES];
	struct bench_run run[MODES];
	double used[MODES];	/* processor seconds, inside and around */
	double least[MODES], most[MODES];
	double cpu[MODES];
	_Atomic long cpu_looks;
	_Atomic int64_t burnt_ns, first_ns, last_ns;
	int at_start, at_collect, in_item;	/* seconds */
	bool jumps;
};

static struct timed *timed;

static void note_looks(void)
{
	long none = 0, looks = timed->clock.looks;
	enum mode m = timed->facts.mode;

	if (timed->looks_before[m] == none)
		timed->looks_before[m] = looks;
	timed->looks_inside[m] = looks;
}

/* All items are in work at once, and one of them takes a second. */
static uint64_t take_a_second(long index, void *arg)
{
	const int64_t one = (int64_t)timed->in_item * SECOND;

	note_looks();
	if (timed->facts.workers > 1 &&
	    !meeting_wait(&timed->facts.meeting,
			  (uint32_t)timed->facts.workers))
		timed->facts.gave_up++;
	if (index == 0) {
		/* Who looks at a clock after the last start has done so. */
		if (timed->facts.workers > 1 && gettid() != fence_pid())
			settle(fence_pid());
		move_on(one + 250 * MS);
		gate_open(&timed->facts.go);
	} else if (timed->facts.workers > 1) {
		gate_wait(&timed->facts.go);
	}
	note_looks();
	return note_item(index, arg);
}

/* Under the lock only one can be there. */
static uint64_t take_a_second_alone(long index, void *arg)
{
	note_looks();
	move_on((int64_t)timed->in_item * SECOND + 250 * MS);
	note_looks();
	return note_item(index, arg);
}

static void time_run(enum mode mode)
{
	struct timed *t = timed;
	int64_t before = t->clock.ns;
	const bool together = mode >= THREADS;

	forget_items();
	t->facts.go.open = 0;
	t->facts.mode = mode;
	t->facts.workers = together ? 3 : 1;
	t->looks_before[mode] = 0;
	t->clock.looks = 0;
	hand = &t->clock;
	run_mode(mode, together ? take_a_second : take_a_second_alone, 3,
		 together ? 3 : 1, 1);
	hand = NULL;
	t->moved[mode] = t->clock.ns - before;
	t->blind[mode] = t->looks_before[mode] == 0 ||
			 t->clock.looks == t->looks_inside[mode];
	t->run[mode] = t->facts.run[mode];
}

static void time_runs(void *arg)
{
	struct timed *t = timed = arg;

	facts = &t->facts;
	forks_move_it();
	t->clock.at_start = (int64_t)t->at_start * SECOND;
	t->clock.at_collect = (int64_t)t->at_collect * SECOND;
	t->clock.jumps = t->jumps;
	for (enum mode m = SERIAL; m < MODES; m++)
		time_run(m);
}

static const char *why_not_so_long(const struct timed *t, enum mode mode,
				   double expected, const char *why)
{
	double got = t->run[mode].seconds;

	if (why != NULL)
		return why;
	if (got > expected * 1.5 && got < expected * 4)
		return WHY_17;
	return why_not_elapsed(got, expected);
}

/* seconds must be what the clock was moved by, between call and return. */
static void expect_elapsed(const struct timed *set, const char *why,
			   const char *what)
{
	struct timed *t = shared(sizeof *t);
	double expected;
	int blind = 0;

	*t = *set;
	fence(&(struct fence){ .scenario = time_runs, .shared = t });
	for (enum mode m = SERIAL; m < MODES; m++) {
		expected = t->moved[m] / 1e9;
		blind += t->blind[m];
		expect(t->blind[m] || !isnan(t->run[m].seconds),
		       "All the work was done, and the caller is told that the "
		       "run failed.", text("%s: %.9g seconds", mode_names[m],
		       expected), "NaN");
		expect(t->blind[m] || is_near(t->run[m].seconds, expected),
		       why_not_so_long(t, m, expected, why),
		       text("%s: %.9g seconds, %s", mode_names[m], expected,
			    what), "%.9g", t->run[m].seconds);
		expect(t->run[m].cpu_seconds < 0.9 * set->in_item ||
		       set->in_item == 0, "How long it took is not what a "
		       "processor did for it.", text("%s: next to no processor "
		       "seconds: the clock was moved by hand", mode_names[m]),
		       "%g", t->run[m].cpu_seconds);
	}
	if (blind == MODES)
		skip_check("not exercised: the clock that is used cannot be "
			   "moved by hand");
}

static void check_elapsed(void)
{
	expect_elapsed(&(struct timed){ .in_item = 1000 }, NULL, "of which all "
		       "workers together wait for one");
}

static void check_start(void)
{
	expect_elapsed(&(struct timed){ .at_start = 1000 }, WHY_10,
		       "nearly all of them to start workers");
}

static void check_collect(void)
{
	expect_elapsed(&(struct timed){ .at_collect = 1000 }, WHY_10,
		       "nearly all of them to collect workers");
}

static void check_set(void)
{
	expect_elapsed(&(struct timed){ .in_item = 1, .jumps = true },
		       WHY_CLOCK, "while somebody sets the clock on the wall");
}

/* ---- real time, and real processor time ----------------------------- */

static void note_moments(int64_t begun, int64_t ended)
{
	int64_t first = 0, last = timed->last_ns;

	atomic_compare_exchange_strong(&timed->first_ns, &first, begun);
	while (ended > last &&
	       !atomic_compare_exchange_weak(&timed->last_ns, &last, ended))
		;
}

static uint64_t nap_in_item(long index, void *arg)
{
	const struct timespec nap = { .tv_nsec = 25 * MS };
	const int64_t begun = real_clock_ns(CLOCK_MONOTONIC);

	nanosleep(&nap, NULL);
	note_moments(begun, real_clock_ns(CLOCK_MONOTONIC));
	return note_item(index, arg);
}

static void look_at_naps(void *arg)
{
	struct timed *t = timed = arg;

	facts = &t->facts;
	for (enum mode m = SERIAL; m < MODES; m++) {
		t->first_ns = t->last_ns = 0;
		t->run[m] = run_mode(m, nap_in_item, 1 + (m >= THREADS), 2, 1);
		t->least[m] = (t->last_ns - t->first_ns) / 1e9;
	}
}

static void check_naps(void)
{
	struct timed *t = shared(sizeof *t);

	fence(&(struct fence){ .scenario = look_at_naps, .shared = t });
	for (enum mode m = SERIAL; m < MODES; m++) {
		expect_ran(&t->facts, m);
		expect(t->run[m].seconds >= t->least[m] * 0.998 - 2e-5, WHY_01,
		       text("%s: %.6f seconds at least, in which all workers "
			    "sleep", mode_names[m], t->least[m]), "%.6f",
		       t->run[m].seconds);
	}
}

/* CPU_SCALE: so that a few milliseconds are seconds, with all their parts. */
enum { BURN_MS = 30, EARLIER_MS = 60, CPU_SCALE = 50 };

/* Most of it in the kernel: that counts as well. */
static void burn_in_kernel(int64_t ns)
{
	static char buffer[1 << 18];
	const int64_t end = real_clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	FILE *zero = fopen("/dev/zero", "re");

	if (zero != NULL)
		setvbuf(zero, NULL, _IONBF, 0);
	while (real_clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		if (zero == NULL || fread(buffer, sizeof buffer, 1, zero) != 1)
			break;
	if (zero != NULL)
		fclose(zero);
}

static void burn(int64_t ns)
{
	const int64_t end = real_clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;
	volatile unsigned spin = 0;

	while (real_clock_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		for (int i = 0; i < 1000; i++)
			spin = spin + 1;
}

static uint64_t burn_in_item(long index, void *arg)
{
	const int64_t begun = real_clock_ns(CLOCK_MONOTONIC);
	const int64_t before = real_clock_ns(CLOCK_THREAD_CPUTIME_ID);

	if (timed->facts.number[8])
		burn_in_kernel(BURN_MS * MS);
	else
		burn(BURN_MS * MS);
	timed->burnt_ns += real_clock_ns(CLOCK_THREAD_CPUTIME_ID) - before;
	note_moments(begun, real_clock_ns(CLOCK_MONOTONIC));
	return note_item(index, arg);
}

static double used_by(int who)
{
	struct rusage u;

	getrusage(who, &u);
	return u.ru_utime.tv_sec + u.ru_stime.tv_sec +
	       (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double used_here(void)
{
	return used_by(RUSAGE_SELF) + used_by(RUSAGE_CHILDREN);
}

static void look_around(enum mode mode, int n, int workers)
{
	struct timed *t = timed;
	double used = used_here(), begun = seconds_now();
	long looks = t->cpu_looks;

	t->burnt_ns = t->first_ns = t->last_ns = 0;
	t->facts.number[8] = mode == GIL || mode == PROCESSES;
	run_mode(mode, burn_in_item, n, workers, 1);
	t->most[mode] = seconds_now() - begun;
	t->blind[mode] = t->cpu_looks == looks;
	t->used[mode] = (used_here() - used) / CPU_SCALE;
	t->least[mode] = (t->last_ns - t->first_ns) / 1e9;
	t->cpu[mode] = t->burnt_ns / 1e9;
	t->run[mode] = t->facts.run[mode];
}

/* Before it, the caller and a child of its own have worked too. */
static void look_around_all(void *arg)
{
	struct timed *t = timed = arg;
	pid_t pid;

	facts = &t->facts;
	cpu_scale = CPU_SCALE;
	cpu_looks = &t->cpu_looks;
	burn(EARLIER_MS * MS);
	pid = fork();
	if (pid == 0) {
		burn(EARLIER_MS * MS);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	look_around(SERIAL, 1, 1);
	for (enum mode m = GIL; m < MODES; m++)
		look_around(m, 2, 2);
}

/* What a clock of hundredths of a second can be wrong by, and is. */
#define COARSE 0.025

/* Who looked where nobody can scale it has real seconds, the others scaled. */
static double real_cpu(const struct timed *t, enum mode m)
{
	return t->run[m].cpu_seconds / (t->blind[m] ? 1 : CPU_SCALE);
}

static const char *why_little(enum mode mode)
{
	return mode == PROCESSES ? "What the worker processes have used is not "
	       "in the account, or not all of it." : mode == SERIAL ?
	       "What the caller itself has used is not in the account, or not "
	       "all of it." : "What the threads have used is not in the "
	       "account, or not all of it.";
}

static void check_real(void)
{
	struct timed *t = shared(sizeof *t);

	fence(&(struct fence){ .scenario = look_around_all, .shared = t,
			       .limit = 60 });
	for (enum mode m = SERIAL; m < MODES; m++) {
		double cpu = real_cpu(t, m), s = t->run[m].seconds;

		expect_ran(&t->facts, m);
		expect(s >= t->least[m] * 0.998 - 2e-5, "Less time was "
		       "measured than has passed.",
		       text("%s: %.6f seconds at least, from the first item to "
			    "the last", mode_names[m], t->least[m]), "%.6f",
		       s);
		expect(s <= t->most[m] * 1.002 + 2e-5, "More time was "
		       "measured than has passed.",
		       text("%s: %.6f seconds at most, from the call to the "
			    "return", mode_names[m], t->most[m]), "%.6f", s);
		expect(cpu >= t->cpu[m] - COARSE, why_little(m),
		       text("%s: %.6f processor seconds at least: what the "
			    "items have used", mode_names[m], t->cpu[m]),
		       "%.6f", cpu);
		expect(cpu <= t->used[m] + COARSE, "Somebody else's processor "
		       "time is in the account, or some of it twice.",
		       text("%s: %.6f processor seconds at most: what caller "
			    "and workers have used from the call to the return",
			    mode_names[m], t->used[m]), "%.6f", cpu);
	}
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("nobody can set the clock that measures", check_clock_set,
		 bench_measure),
	FUNCTION("fn is called as often as agreed, and the median comes out",
		 check_median, bench_measure),
	FUNCTION("many rounds are as good as few", check_many_rounds,
		 bench_measure),
	FUNCTION("what fn waits for is part of what it takes", check_children,
		 bench_measure),
	FUNCTION("what is measured may start threads and processes",
		 check_runs, bench_measure),
	FUNCTION("what is measured may measure something itself",
		 check_measuring, bench_measure),
	FUNCTION("seconds are how long one waits for a run", check_elapsed,
		 bench_processes),
	FUNCTION("starting the workers is part of what a run takes",
		 check_start, bench_processes),
	FUNCTION("collecting the workers is part of what a run takes",
		 check_collect, bench_processes),
	FUNCTION("nobody can set the clock that times a run", check_set,
		 bench_processes),
	FUNCTION("what workers wait for is part of what a run takes",
		 check_naps, bench_processes),
	FUNCTION("seconds and processor seconds lie between what is seen "
		 "inside and around", check_real, bench_processes),
};

CHECKS("07-benchmarks", checks);
