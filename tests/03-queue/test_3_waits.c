/* Who waits for an item or for room, how long, and who is woken. */
#include "sizes.h"

#include <sys/mman.h>

/* Fill the queue with 0, 1, 2, ... */
static void fill_up(int n)
{
	for (int i = 0; i < n; i++)
		put(i, 0);
}

static void collect_all(const struct facts *s)
{
	for (int i = 0; i < CHILDREN; i++)
		if (s->pids[i] != 0)
			collect(s->pids[i]);
}

static void kill_child(int i)
{
	kill(facts->pids[i], SIGKILL);
	collect(facts->pids[i]);
	facts->pids[i] = 0;
}

/* ---- waiting costs nothing -------------------------------------------------- */

static const double idle[] = { -1, 1000, 1e10 };

static void be_idle(void *arg)
{
	struct facts *s = arg;
	struct queue *empty;

	if (!create(s, 2, sizeof(int)))
		return;
	empty = queue;
	if (!create(s, 2, sizeof(int)))
		return;
	fill_up(2);
	for (int i = 0; i < 3; i++) {
		s->limits[i] = s->limits[i + 3] = idle[i];
		child(i, putter);
	}
	queue = empty;
	for (int i = 3; i < 6; i++)
		child(i, getter);
	gate_open(&s->go);
	collect_all(s);
}

static void measure(void *arg)
{
	struct facts *s = facts = arg;

	gate_wait(&s->go);
	for (int i = 0; i < 6; i++)
		settle_child(i);
	s->calm = watch_waiting(15000000, MANY_WAKES);
	for (int i = 0; i < 6; i++) {
		s->number[idle[i % 3] > 1000 ? 2 : 1] += burns_time(i);
		s->early += gate_is_open(&s->done[i]);
		kill(s->pids[i], SIGKILL);
	}
}

static const char *why_limit(double limit)
{
	return limit < 0 && limit != -1 ? "Every negative limit waits for "
	       "ever, not only one of them." : limit > 1000 ? "The time does "
	       "not fit into the type you chose, and C does not tell you." :
	       "Who may wait does not.";
}

static void check_quiet(void)
{
	struct facts *s = shared(sizeof *s);
	const char *why;

	fence(&(struct fence){ .scenario = be_idle, .director = measure,
			       .shared = s, .limit = 60 });
	expect_created(s);
	expect(s->early == 0, "Who waits without a limit, or with a long one, "
	       "comes back although there is nothing for it.", "three wait for "
	       "an item and three for room", "%d of them do not", s->early);
	why = s->number[1] == 0 && s->number[2] ? why_limit(1e10) : WHY_10;
	expect_calm(&s->calm, why, "while six processes wait");
}

/* ---- who waits is woken ------------------------------------------------------- */

static void wake_getter(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	start_waiting(0, getter, s->limits[7]);
	s->early = gate_is_open(&s->done[0]);
	s->number[0] = put(55, 0);
	collect_all(s);
	s->number[1] = (int)queue_qsize(queue);
	queue_destroy(queue);
}

static void wake_putter(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	fill_up(2);
	start_waiting(0, putter, s->limits[7]);
	s->early = gate_is_open(&s->done[0]);
	s->number[0] = get(0);
	collect_all(s);
	s->number[1] = get(0);
	s->number[2] = get(0);
	s->number[3] = get(0);
	queue_destroy(queue);
}

static const double patient[] = { -1, 1000, -0.5, -INFINITY, 1e10, 1e300,
				  INFINITY };
enum { PATIENT = sizeof patient / sizeof *patient };

#define WHY_WOKEN "Somebody waits for what has come long ago; those whom you " \
	"wake are not those who wait."

static void check_wakes(void (*scenario)(void *), int i)
{
	struct facts *s = shared(sizeof *s);
	const char *what = scenario == wake_getter ? "get" : "put";

	s->limits[7] = patient[i];
	fence(&(struct fence){ .scenario = scenario, .shared = s,
			       .why_stuck = WHY_WOKEN });
	expect_created(s);
	expect(s->early == 0, why_limit(patient[i]), text("a %s with a limit "
	       "of %g s waits", what, patient[i]), "it returned %s",
	       result(s->got[0], s->errs[0]));
	expect(s->got[0] == 0, WHY_WOKEN, text("a %s with a limit of %g s "
	       "returns 0 when somebody %s", what, patient[i], scenario ==
	       wake_getter ? "puts" : "gets"), "%s", result(s->got[0],
	       s->errs[0]));
	if (scenario == wake_getter)
		expect(s->items[0] == 55 && s->number[0] == 0 &&
		       s->number[1] == 0, "An item that is put while somebody "
		       "waits goes astray.", "it gets item 55, and nothing is "
		       "left", "item %d, and %d left", s->items[0],
		       s->number[1]);
	else
		expect(s->number[0] == 0 && s->number[1] == 1 &&
		       s->number[2] == 1000 && s->number[3] == EMPTY,
		       "An item that waited for room goes astray.", "0, 1 and "
		       "1000 come out", "%d, %d, %d", s->number[0],
		       s->number[1], s->number[2]);
}

static void check_wakes_getter(void)
{
	for (int i = 0; i < 2; i++)
		check_wakes(wake_getter, i);
}

static void check_wakes_putter(void)
{
	for (int i = 0; i < 2; i++)
		check_wakes(wake_putter, i);
}

static void check_odd_limits(void)
{
	for (int i = 2; i < PATIENT; i++) {
		check_wakes(wake_getter, i);
		check_wakes(wake_putter, i);
	}
}

/* ---- many wait ------------------------------------------------------------------ */

enum { CROWD = 4 };

/* They are stopped, so that all are still asleep when the last item comes. */
static void wake_getters(void *arg)
{
	struct facts *s = arg;

	if (!create(s, CROWD, sizeof(int)))
		return;
	for (int i = 0; i < CROWD; i++)
		start_waiting(i, getter, s->limits[7]);
	for (int i = 0; i < CROWD; i++)
		stop_process(s->pids[i]);
	fill_up(CROWD);
	for (int i = 0; i < CROWD; i++)
		continue_process(s->pids[i]);
	collect_all(s);
	queue_destroy(queue);
}

static void wake_putters(void *arg)
{
	struct facts *s = arg;

	if (!create(s, CROWD, sizeof(int)))
		return;
	fill_up(CROWD);
	for (int i = 0; i < CROWD; i++)
		start_waiting(i, putter, s->limits[7]);
	for (int i = 0; i < CROWD; i++)
		stop_process(s->pids[i]);
	for (int i = 0; i < CROWD; i++)
		get(0);
	for (int i = 0; i < CROWD; i++)
		continue_process(s->pids[i]);
	collect_all(s);
	for (int i = 0; i < CROWD; i++) {
		s->items[i] = get(0) - 1000;
		if (s->items[i] < 0 || s->items[i] >= CROWD)
			s->items[i] = CROWD;
	}
	queue_destroy(queue);
}

/* Each item 0 .. CROWD - 1 has come once. */
static void expect_each_item(const struct facts *s, const char *why)
{
	int seen[CROWD + 1] = { 0 };

	for (int i = 0; i < CROWD; i++)
		seen[s->items[i] >= 0 && s->items[i] < CROWD ? s->items[i]
							     : CROWD]++;
	for (int i = 0; i < CROWD; i++)
		expect(seen[i] == 1, why, text("item %d is got once", i),
		       "%d times", seen[i]);
}

static void check_crowd_for(void (*scenario)(void *), double limit)
{
	struct facts *s = shared(sizeof *s);

	s->limits[7] = limit;
	fence(&(struct fence){ .scenario = scenario, .shared = s,
			       .why_stuck = WHY_ASLEEP });
	expect_created(s);
	for (int i = 0; i < CROWD; i++)
		expect(s->got[i] == 0, WHY_ASLEEP, "each of 4 that wait is "
		       "served: 0", "%s", result(s->got[i], s->errs[i]));
	expect_each_item(s, WHY_04);
}

static void check_crowd(void (*scenario)(void *))
{
	check_crowd_for(scenario, -1);
	check_crowd_for(scenario, 1000);
}

static void check_getters_woken(void)
{
	check_crowd(wake_getters);
}

static void check_putters_woken(void)
{
	check_crowd(wake_putters);
}

/* ---- woken, but another one was faster --------------------------------------------- */

/*
 * A getter waits and is stopped; an item comes, and somebody else gets it, or
 * is told that there is none, because it is kept for who waited first.
 */
static void steal_item(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	start_waiting(0, getter, s->limits[7]);
	stop_process(s->pids[0]);
	put(0, 0);
	s->number[1] = get(0);
	continue_process(s->pids[0]);
	settle_child(0);
	s->early = s->number[1] == 0 && gate_is_open(&s->done[0]);
	s->number[5] = burns_time(0);
	put(1, 0);
	collect_all(s);
	s->number[2] = get(0);
	queue_destroy(queue);
}

static void steal_room(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	fill_up(2);
	start_waiting(0, putter, s->limits[7]);
	stop_process(s->pids[0]);
	get(0);
	s->number[0] = put(7, 0);
	continue_process(s->pids[0]);
	settle_child(0);
	s->early = s->number[0] == 0 && gate_is_open(&s->done[0]);
	s->number[5] = burns_time(0);
	s->number[1] = get(0);
	if (s->number[0] == 0)
		s->number[2] = get(0);
	collect_all(s);
	s->number[3] = get(0);
	s->number[4] = get(0);
	queue_destroy(queue);
}

static void expect_asleep_again(const struct facts *s)
{
	expect(!s->number[5], WHY_10, "who was woken in vain sleeps again",
	       "from then on it looks again and again");
}

static void check_stolen(void)
{
	for (int i = 0; i < 2; i++) {
		struct facts *s = shared(sizeof *s);

		s->limits[7] = patient[i];
		fence(&(struct fence){ .scenario = steal_item, .shared = s,
				       .why_stuck = WHY_ASLEEP });
		expect_created(s);
		expect(s->early == 0, WHY_04, "an item was put, and another "
		       "process got it: who waits waits on",
		       "its get returned %d with item %d", s->got[0],
		       s->items[0]);
		expect_asleep_again(s);
		if (s->number[1] == 0)
			expect(s->got[0] == 0 && s->items[0] == 1 &&
			       s->number[2] == EMPTY, WHY_04, "then it gets "
			       "item 1, and nothing is left", "%d with item %d",
			       s->got[0], s->items[0]);
		else
			expect(s->got[0] == 0 && s->items[0] == 0 &&
			       s->number[2] == 1, WHY_04, "who waited first "
			       "gets item 0, and item 1 is left",
			       "%d with item %d, and %s", s->got[0],
			       s->items[0], got(s->number[2]));
	}
}

static void check_stolen_room(void)
{
	for (int i = 0; i < 2; i++) {
		struct facts *s = shared(sizeof *s);
		bool taken;

		s->limits[7] = patient[i];
		fence(&(struct fence){ .scenario = steal_room, .shared = s,
				       .why_stuck = WHY_ASLEEP });
		expect_created(s);
		taken = s->number[0] == 0;
		expect(s->early == 0, WHY_04, "an item was got, and another "
		       "process took its room: who waits waits on",
		       "its put returned %d", s->got[0]);
		expect_asleep_again(s);
		expect(s->got[0] == 0 && s->number[1] == 1 && s->number[3] ==
		       1000 && s->number[4] == EMPTY && (!taken ||
		       s->number[2] == 7), WHY_04, taken ?
		       "1, 7 and 1000 come out" : "1 and 1000 come out",
		       "%s, %s, %s", got(s->number[1]), taken ?
		       got(s->number[2]) : "", got(s->number[3]));
	}
}

/* ---- both kinds wait -------------------------------------------------------------------- */

/*
 * Room for one, and two getters asleep. Two items are put: the second has to
 * wait, unless the first is already on its way. number[0]: who goes on first.
 */
static void mix(void *arg)
{
	struct facts *s = arg;
	int first = s->number[0];

	if (!create(s, 1, sizeof(int)))
		return;
	for (int i = 0; i < 2; i++)
		start_waiting(i, getter, -1);
	for (int i = 0; i < 2; i++)
		stop_process(s->pids[i]);
	s->number[1] = put(5, 0);
	start_waiting(2, putter, -1);
	continue_process(s->pids[first]);
	settle_child(first);
	continue_process(s->pids[1 - first]);
	collect_all(s);
	queue_destroy(queue);
}

static void check_mixed(void)
{
	for (int first = 0; first < 2; first++) {
		struct facts *s = shared(sizeof *s);

		s->number[0] = first;
		fence(&(struct fence){ .scenario = mix, .shared = s,
				       .why_stuck = WHY_05 });
		expect_created(s);
		for (int i = 0; i < 3; i++)
			expect(s->got[i] == 0 && s->number[1] == 0, WHY_05,
			       "two wait for an item, two items are put: all "
			       "return 0", "%s", result(s->got[i],
			       s->errs[i]));
		expect(s->items[0] + s->items[1] == 1007 && (s->items[0] == 5 ||
		       s->items[1] == 5), WHY_04, "they get 5 and 1002",
		       "%d and %d", s->items[0], s->items[1]);
	}
}

/* ---- time ----------------------------------------------------------------------------------- */

#define WHY_IN_VAIN "Somebody waited in vain, and afterwards the queue is " \
	"not what it was."

/* number[13]: another one waits in front; or else it comes afterwards. */
static void wait_in_vain(void *arg)
{
	struct facts *s = arg;
	void (*other)(int i) = s->number[10] ? putter : getter;
	double begin;
	int item = -7;

	if (!create(s, 2, sizeof(int)))
		return;
	if (s->number[10])
		fill_up(2);
	if (s->number[13])
		start_waiting(2, other, -1);
	if (s->number[11])
		interrupts_start();
	clock_jumps(s->number[12]);
	begin = seconds_now();
	errno = 0;
	s->got[0] = s->number[10] ? queue_put(queue, &item, s->limits[0])
				  : queue_get(queue, &item, s->limits[0]);
	s->errs[0] = errno;
	s->took = seconds_now() - begin;
	clock_jumps(0);
	interrupts_stop();
	s->items[0] = item;
	s->got[1] = s->number[10] ? queue_put(queue, &item, 1e-9)
				  : queue_get(queue, &item, 1e-9);
	if (!s->number[13])
		start_waiting(2, other, -1);
	say_why(s, WHY_IN_VAIN);
	if (s->number[10])
		s->number[0] = get(0);
	else
		put(1, 0);
	collect(s->pids[2]);
	queue_destroy(queue);
}

static void check_limit(double limit, bool puts, bool interrupted, int jumps,
			bool in_front, const char *why)
{
	struct facts *s = shared(sizeof *s);
	const char *what = puts ? "queue_put" : "queue_get";

	s->limits[0] = limit;
	s->number[10] = puts;
	s->number[11] = interrupted;
	s->number[12] = jumps;
	s->number[13] = in_front;
	say_why(s, why);
	fence(&(struct fence){ .scenario = wait_in_vain, .shared = s,
			       .limit = 6, .why_stuck = s->why });
	expect_created(s);
	expect(s->got[0] == 1, why, text("%s with a limit of %g s returns 1",
	       what, limit), "%s", result(s->got[0], s->errs[0]));
	expect(s->took > limit - 0.005, why, text("it waits for %g s", limit),
	       "%.3f s", s->took);
	expect(s->items[0] == -7, "Nothing was got, and the caller's item has "
	       "changed.", "-7 as before", "%d", s->items[0]);
	expect(s->got[1] == 1, why, text("%s with a limit of 1e-9 s returns 1",
	       what), "%d", s->got[1]);
	expect(s->got[2] == 0, WHY_IN_VAIN, text("another %s waits and is "
	       "served", puts ? "put" : "get"), "%s", result(s->got[2],
	       s->errs[2]));
	if (!puts)
		s->number[0] = s->items[2];
	expect(s->number[0] == (puts ? 0 : 1), WHY_IN_VAIN, text("item %d is "
	       "got", puts ? 0 : 1), "%s", got(s->number[0]));
}

static void check_limits(void)
{
	static const char why[] = "A wait with a time limit ends when it is "
				  "over, not earlier and not never.";

	check_limit(0.15, false, false, 0, false, why);
	check_limit(0.15, true, false, 0, false, why);
	check_limit(1.02, false, false, 0, false, why);
	check_limit(0.05, false, false, 0, true, why);
	check_limit(0.05, true, false, 0, true, why);
}

static void check_limits_interrupted(void)
{
	static const char why[] = "A signal that arrives while you wait "
		"changes nothing about how long you may wait.";

	check_limit(0.15, false, true, 0, false, why);
	check_limit(0.15, true, true, 0, false, why);
}

static void check_limits_jump(void)
{
	static const char why[] = "The clock on the wall can be set while you "
		"wait; how long you have waited does not change by that.";

	check_limit(0.1, false, false, 3600, false, why);
	check_limit(0.1, true, false, -3600, false, why);
}

/* ---- signals ------------------------------------------------------------------------------------ */

static void note_signal(int sig)
{
	(void)sig;
	facts->signals++;
}

static void interrupted_getter(int i)
{
	struct sigaction a = { .sa_handler = note_signal };

	sigaction(SIGUSR1, &a, NULL);
	getter(i);
}

static void interrupted_putter(int i)
{
	struct sigaction a = { .sa_handler = note_signal };

	sigaction(SIGUSR1, &a, NULL);
	putter(i);
}

/* Three times while it waits. */
static void interrupt_them(void *arg)
{
	struct facts *s = arg;
	bool puts = s->number[10];

	if (!create(s, 1, sizeof(int)))
		return;
	if (puts)
		put(5, 0);
	start_waiting(0, puts ? interrupted_putter : interrupted_getter,
		      s->limits[7]);
	for (int n = 0; n < 3; n++) {
		kill(s->pids[0], SIGUSR1);
		while (s->signals <= n && is_running(s->pids[0]))
			breathe();
		settle(s->pids[0]);
	}
	s->early = gate_is_open(&s->done[0]);
	if (puts)
		s->number[0] = get(-1);
	else
		put(6, -1);
	collect(s->pids[0]);
	if (puts)
		s->number[1] = get(0);
	queue_destroy(queue);
}

static void check_interrupted(void)
{
	for (int i = 0; i < 4; i++) {
		struct facts *s = shared(sizeof *s);
		bool puts = i >= 2;

		s->number[10] = puts;
		s->limits[7] = patient[i % 2];
		fence(&(struct fence){ .scenario = interrupt_them, .shared = s,
				       .why_stuck = WHY_19 });
		expect_created(s);
		expect(s->early == 0, WHY_19, text("three signals arrive, and "
		       "%s waits on", puts ? "queue_put" : "queue_get"),
		       "it returned %s", result(s->got[0], s->errs[0]));
		expect(s->got[0] == 0, WHY_19, "0 at last", "%s",
		       result(s->got[0], s->errs[0]));
		if (puts)
			expect(s->number[0] == 5 && s->number[1] == 1000,
			       WHY_19, "5 and 1000 come out", "%s and %s",
			       got(s->number[0]), got(s->number[1]));
		else
			expect(s->items[0] == 6, WHY_19, "item 6", "%d",
			       s->items[0]);
	}
}

/* ---- closing wakes everybody --------------------------------------------------------------------- */

static void close_on_getters(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	for (int i = 0; i < 3; i++)
		start_waiting(i, getter, s->limits[7]);
	queue_close(queue);
	collect_all(s);
	queue_destroy(queue);
}

static void close_on_putters(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, sizeof(int)))
		return;
	fill_up(2);
	for (int i = 0; i < 3; i++)
		start_waiting(i, putter, s->limits[7]);
	queue_close(queue);
	collect_all(s);
	for (int i = 0; i < 3; i++)
		s->number[i] = get(0);
	queue_destroy(queue);
}

static void check_close(void (*scenario)(void *), const char *who,
			double limit)
{
	static const char why[] = "The queue is closed, and somebody still "
				  "waits for it.";
	struct facts *s = shared(sizeof *s);

	s->limits[7] = limit;
	fence(&(struct fence){ .scenario = scenario, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	for (int i = 0; i < 3; i++)
		expect(s->got[i] == -1 && s->errs[i] == EPIPE, why,
		       text("each of three that wait for %s gets -1, EPIPE",
			    who), "%s", result(s->got[i], s->errs[i]));
	if (scenario == close_on_putters)
		expect(s->number[0] == 0 && s->number[1] == 1 &&
		       s->number[2] == CLOSED, "A put that failed has put.",
		       "the queue still has items 0 and 1, and no other",
		       "%s, %s, %s", got(s->number[0]), got(s->number[1]),
		       got(s->number[2]));
}

static void check_close_wakes(void)
{
	for (int i = 0; i < 2; i++) {
		check_close(close_on_getters, "an item", patient[i]);
		check_close(close_on_putters, "room", patient[i]);
	}
}

/* ---- in the middle of an item ------------------------------------------------------------------------ */

/*
 * Memory of two pages, of which the second can be touched only when somebody
 * has opened a gate: who copies it stands still in the middle.
 */
static unsigned char *pausing;

static void wait_in_the_middle(int sig)
{
	(void)sig;
	facts->number[20]++;
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go);
	mprotect(pausing + 4096, 4096, PROT_READ | PROT_WRITE);
}

static void make_pausing(int n)
{
	struct sigaction a = { .sa_handler = wait_in_the_middle };

	sigaction(SIGSEGV, &a, NULL);
	pausing = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(pausing, n, 2 * 4096);
	mprotect(pausing + 4096, 4096, PROT_NONE);
}

static void put_in_two_steps(int i)
{
	make_pausing(1);
	facts->got[i] = queue_put(queue, pausing, -1);
	gate_open(&facts->ready[0]);
}

static void get_in_two_steps(int i)
{
	make_pausing(0);
	facts->got[i] = queue_get(queue, pausing, -1);
	gate_open(&facts->ready[0]);
	mprotect(pausing + 4096, 4096, PROT_READ | PROT_WRITE);
	facts->items[i] = pausing[0];
	for (int k = 0; k < 2 * 4096; k++)
		facts->early += pausing[k] != pausing[0];
}

static int put_page(int n, double timeout)
{
	static unsigned char page[2 * 4096];

	memset(page, n, sizeof page);
	return queue_put(queue, page, timeout);
}

/* Its number, or -1 torn, -2 none. */
static int get_page(double timeout)
{
	static unsigned char page[2 * 4096];

	if (queue_get(queue, page, timeout) != 0)
		return -2;
	for (size_t i = 1; i < sizeof page; i++)
		if (page[i] != page[0])
			return -1;
	return page[0];
}

static void put_two(int i)
{
	gate_open(&facts->ready[i]);
	facts->got[i] = put_page(2, -1);
}

/* One stands still in the middle of its put; another one puts as well. */
static void meet_putting(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, 2 * 4096))
		return;
	child(0, put_in_two_steps);
	gate_wait(&s->ready[0]);
	child(1, put_two);
	settle_child(1);
	gate_open(&s->go);
	collect_all(s);
	for (int i = 0; i < 3; i++)
		s->number[i] = get_page(0);
	queue_destroy(queue);
}

static void get_while_it_is_put(int i)
{
	gate_open(&facts->ready[i]);
	facts->items[i] = get_page(-1);
}

/* One stands still in the middle of its put; another one gets. */
static void meet_half_put(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 2, 2 * 4096))
		return;
	child(0, put_in_two_steps);
	gate_wait(&s->ready[0]);
	child(1, get_while_it_is_put);
	settle_child(1);
	gate_open(&s->go);
	collect_all(s);
	queue_destroy(queue);
}

static void put_two_and_three(int i)
{
	put_two(i);
	put_page(3, -1);
}

/* One stands still in the middle of its get; others go in and out. */
static void meet_getting(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, 2 * 4096))
		return;
	put_page(1, 0);
	child(0, get_in_two_steps);
	gate_wait(&s->ready[0]);
	child(1, put_two_and_three);
	settle_child(1);
	gate_open(&s->go);
	s->number[1] = get_page(-1);
	s->number[2] = get_page(-1);
	collect_all(s);
	s->number[3] = get_page(0);
	queue_destroy(queue);
}

#define WHY_MIDDLE "Two processes are at the same place of the queue at the " \
	"same time."

static void check_middle_of_put(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;
	int sum;

	end = fence_try(&(struct fence){ .scenario = meet_putting,
					 .shared = s });
	if (end.how == FENCE_STUCK)
		return;		/* who is not woken is judged below */
	expect(end.how == FENCE_FINISHED, WHY_MIDDLE, "all come through",
	       "they do not");
	expect_created(s);
	if (s->number[20] == 0)
		skip_check("not exercised: the item is copied in one piece");
	for (int i = 0; i < 2; i++)
		expect(s->number[i] != -1, WHY_MIDDLE, "each item is whole",
		       "one is torn");
	sum = 10 * s->number[0] + s->number[1];
	expect(s->got[0] == 0 && s->got[1] == 0 && (sum == 12 || sum == 21) &&
	       s->number[2] == -2, WHY_MIDDLE, "two put at once: both items "
	       "come out", "%d, %d", s->number[0], s->number[1]);
}

static void check_half_put(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = meet_half_put,
					 .shared = s });
	if (end.how == FENCE_STUCK)
		return;		/* who is not woken is judged below */
	expect(end.how == FENCE_FINISHED, WHY_MIDDLE, "all come through",
	       "they do not");
	expect_created(s);
	if (s->number[20] == 0)
		skip_check("not exercised: the item is copied in one piece");
	expect(s->items[1] == 1, "An item is in the queue when all its bytes "
	       "are.", "one puts, another gets: it gets a whole item",
	       "a torn one");
}

static void check_middle_of_get(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;
	int sum;

	end = fence_try(&(struct fence){ .scenario = meet_getting,
					 .shared = s });
	if (end.how == FENCE_STUCK)
		return;		/* who is not woken is judged below */
	expect(end.how == FENCE_FINISHED, WHY_MIDDLE, "all come through",
	       "they do not");
	expect_created(s);
	if (s->number[20] == 0)
		skip_check("not exercised: the item is copied in one piece");
	expect(s->early == 0 && s->number[1] != -1 && s->number[2] != -1,
	       WHY_MIDDLE, "each item is whole", "one is torn");
	sum = s->items[0] + s->number[1] + s->number[2];
	expect(s->got[0] == 0 && sum == 6 && s->number[3] == -2, WHY_MIDDLE,
	       "one gets, others put and get meanwhile: 1, 2 and 3 come out",
	       "%d, %d and %d", s->items[0], s->number[1], s->number[2]);
}

/*
 * Large items, and pipes with little room, if there are any: two that put,
 * and then two that get, may have to stop in the middle.
 */
static void get_large(int i)
{
	gate_open(&facts->ready[i]);
	facts->items[i] = get_page(-1);
	if (facts->items[i] > 0)	/* so the other one is whole as well */
		say_why(facts, WHY_ASLEEP);
}

static void put_large(int i)
{
	gate_open(&facts->ready[i]);
	facts->got[i] = put_page(i, -1);
}

static void two_put_large(void *arg)
{
	struct facts *s = arg;

	small_pipes();
	if (!create(s, 2, 2 * 4096))
		return;
	for (int i = 1; i <= 2; i++) {
		child(i, put_large);
		settle_child(i);
	}
	/* the first one, if it stands in the middle, is the last to go on */
	if (is_running(s->pids[1]))
		stop_process(s->pids[1]);
	child(3, get_large);
	settle_child(3);
	settle_child(2);
	if (is_running(s->pids[1]))
		continue_process(s->pids[1]);
	child(4, get_large);
	collect_all(s);
	queue_destroy(queue);
}

static void two_get_large(void *arg)
{
	struct facts *s = arg;

	small_pipes();
	if (!create(s, 2, 2 * 4096))
		return;
	for (int i = 3; i <= 4; i++) {
		child(i, get_large);
		settle_child(i);
	}
	for (int i = 1; i <= 2; i++) {
		child(i, put_large);
		for (int k = 3; k <= 4; k++)
			settle_child(k);
		settle_child(i);
	}
	collect_all(s);
	queue_destroy(queue);
}

static void check_large_ones(void (*scenario)(void *), const char *who)
{
	struct facts *s = shared(sizeof *s);

	say_why(s, WHY_22);
	fence(&(struct fence){ .scenario = scenario, .shared = s,
			       .why_stuck = s->why });
	expect_created(s);
	expect(s->items[3] != -2 && s->items[4] != -2, WHY_04, "each of two "
	       "that wait gets an item in the end", "one came back without");
	expect(s->items[3] + s->items[4] == 3 && s->items[3] >= 1 &&
	       s->items[3] <= 2, WHY_22, text("two %s items of 8192 bytes: "
	       "they arrive whole", who), "at least one does not");
}

static void check_large(void)
{
	check_large_ones(two_put_large, "put");
	check_large_ones(two_get_large, "wait for");
}

static void check_large_sizes(void)
{
	check_sizes(SMALL, ITEM_SIZES);
}

/* ---- who dies takes little along ------------------------------------------------------------------- */

/* Memory of two pages, of which only the first can be touched. */
static unsigned char *half_there(void)
{
	unsigned char *p = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(p + 4096, 4096, PROT_NONE);
	return p;
}

/* Child i dies while its item is copied; or is told so, and dies then. */
static void die_putting(int i)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	facts->number[20 + i]++;
	queue_put(queue, half_there(), 0);
	raise(SIGKILL);
}

static void die_getting(int i)
{
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	facts->number[20 + i]++;
	queue_get(queue, half_there(), 0);
	raise(SIGKILL);
}

enum { ROOM = 4 };

/* number[10]: who dies, a getter or a putter. Then others go on. */
static void die_inside(void *arg)
{
	struct facts *s = arg;
	bool puts = s->number[10];
	int in = 0, n, last = 0;

	if (!create(s, ROOM, 2 * 4096))
		return;
	put_page(++in, 0);
	put_page(++in, 0);
	in_child(0, puts ? die_putting : die_getting);
	while (in < 20 && put_page(in + 1, 0) == 0)
		in++;
	s->number[0] = in;
	for (int out = 0; out < 20 && (n = get_page(0)) != -2; out++) {
		s->number[1]++;
		s->number[2] += n == -1 || n == 0;
		s->number[3] += n > 0 && n <= last;
		if (n > last + 1 && (puts || last > 0))
			s->number[8] = last + 1;
		last = n > last ? n : last;
	}
	for (int round = 0; round < 10; round++) {
		s->number[4] += put_page(100 + round, 0) == 0;
		s->number[5] += get_page(0) != -2;
	}
	s->number[6] = queue_close(queue);
	s->number[7] = put_page(1, 0) == -1 && errno == EPIPE;
	queue_destroy(queue);
}

static void check_dies_inside(void)
{
	for (int puts = 0; puts < 2; puts++) {
		struct facts *s = shared(sizeof *s);
		const char *who = puts ? "putting" : "getting";

		s->number[10] = puts;
		fence(&(struct fence){ .scenario = die_inside, .shared = s,
				       .why_stuck = WHY_17 });
		expect_created(s);
		expect(s->number[0] >= ROOM - 1, WHY_17, text("one died "
		       "%s; at least 3 items go into a queue for 4", who),
		       "%d do", s->number[0]);
		expect(s->number[2] == 0, "Who died in the middle of it has "
		       "left a part of an item.", "each item is whole, or is "
		       "not there", "%d are torn", s->number[2]);
		expect(s->number[1] >= s->number[0] - 1, WHY_17, text("one died "
		       "%s; of %d items all come out, but for one", who,
		       s->number[0]), "%d do", s->number[1]);
		expect(s->number[8] == 0, WHY_17, text("one died %s; none is "
		       "lost that it did not have in hand", who),
		       "item %d is", s->number[8]);
		expect(s->number[3] == 0, "Who died in the middle of it left "
		       "behind what is got twice, or too late.",
		       "the items come out in order", "%d do not",
		       s->number[3]);
		expect(s->number[4] == 10 && s->number[5] >= 9, WHY_17,
		       "then 10 items go through one by one",
		       "%d go in, %d come out", s->number[4], s->number[5]);
		expect(s->number[6] == 0 && s->number[7], WHY_17, "the queue "
		       "can be closed", "it cannot");
	}
}

/*
 * One that waits is killed: nothing is promised to others who waited then.
 * The queue is not destroyed: a condition waits there for who waits for it.
 */
static void die_waiting(void *arg)
{
	struct facts *s = arg;
	bool puts = s->number[10];
	int in, out;

	if (!create(s, ROOM, sizeof(int)))
		return;
	if (puts)
		fill_up(ROOM);
	start_waiting(0, puts ? putter : getter, -1);
	kill_child(0);
	for (out = 0; puts && out <= ROOM && get(0) != EMPTY; out++)
		;
	s->number[0] = puts ? out : ROOM;
	for (in = 0; in <= ROOM && put(in, 0) == 0; in++)
		;
	for (out = 0; out <= ROOM && get(0) != EMPTY; out++)
		;
	s->number[1] = in;
	s->number[2] = out;
}

static void check_dies_waiting(void)
{
	static const char why[] = "Somebody died who only waited, and what it "
				  "waited for is kept for it.";

	for (int puts = 0; puts < 2; puts++) {
		struct facts *s = shared(sizeof *s);

		s->number[10] = puts;
		fence(&(struct fence){ .scenario = die_waiting, .shared = s,
				       .why_stuck = WHY_17 });
		expect_created(s);
		expect(s->number[0] >= ROOM - 1, why, "4 items can be got after "
		       "one that waited for room was killed", "%d",
		       s->number[0]);
		expect(s->number[1] >= ROOM - 1, why, text("4 items can be put "
		       "after one that waited for %s was killed",
		       puts ? "room" : "an item"), "%d", s->number[1]);
		expect(s->number[2] >= s->number[1] - 1, why,
		       text("%d items can be got then", s->number[1]), "%d",
		       s->number[2]);
	}
}

static const struct check checks[] = {
	FUNCTION("two put at once, and nothing is mixed", check_middle_of_put,
		 queue_put),
	FUNCTION("nobody gets an item that is not yet whole", check_half_put,
		 queue_put),
	FUNCTION("one gets while others put, and nothing is mixed",
		 check_middle_of_get, queue_get),
	FUNCTION("who waits for an item is woken", check_wakes_getter,
		 queue_put),
	FUNCTION("who waits for room is woken", check_wakes_putter, queue_get),
	FUNCTION("waiting costs nothing", check_quiet, queue_get),
	FUNCTION("large items do not mix on their way", check_large,
		 queue_put),
	FUNCTION("huge items arrive as they were put", check_large_sizes,
		 queue_get),
	FUNCTION("who is woken looks whether there is an item", check_stolen,
		 queue_get),
	FUNCTION("who is woken looks whether there is room",
		 check_stolen_room, queue_put),
	FUNCTION("no wake-up is lost on who waits for something else",
		 check_mixed, queue_put),
	FUNCTION("all who wait for an item get one", check_getters_woken,
		 queue_put),
	FUNCTION("all who wait for room get some", check_putters_woken,
		 queue_get),
	FUNCTION("closing wakes all who wait", check_close_wakes, queue_close),
	FUNCTION("a signal does not end a wait", check_interrupted, queue_get),
	FUNCTION("who dies inside does not keep the others out",
		 check_dies_inside, queue_put),
	FUNCTION("who dies waiting takes nothing along", check_dies_waiting,
		 queue_put),
	FUNCTION("a wait ends at its limit", check_limits, queue_get),
	FUNCTION("signals do not change a limit", check_limits_interrupted,
		 queue_get),
	FUNCTION("the wall clock does not change a limit", check_limits_jump,
		 queue_get),
	FUNCTION("negative waits for ever, and huge is no small limit",
		 check_odd_limits, queue_get),
};

CHECKS("03-queue", checks);
