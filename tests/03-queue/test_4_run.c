/* queue_run: producers and consumers at work, whatever becomes of them. */
#include "facts.h"

#include <limits.h>

enum { EACH = 30, WORKERS = 8 };

/* What the callbacks leave, and what they shall do. */
struct run {
	struct facts f;
	int producers, consumers, maxsize;
	int each;			/* items of each producer */
	int returned, error;		/* queue_run */
	int refuses;			/* what a producer returns */
	int left;			/* workers that were there still */
	_Atomic int produced[WORKERS], ended[WORKERS];	/* calls of produce */
	_Atomic int puts[WORKERS];	/* that returned 0 */
	_Atomic int consumed[WORKERS];	/* calls of consume */
	_Atomic int in_caller, numbers;
	_Atomic int after_failure;	/* consume called although it failed */
	pid_t caller;
	_Atomic pid_t worker[2 * WORKERS];
	int (*misfortune)(void);	/* what happens to one of them */
	const char *why_stuck;		/* why they cannot come to an end */
};

static struct run *r;

static void note_worker(int i)
{
	if (getpid() == r->caller)
		r->in_caller++;
	if (i >= 0 && i < 2 * WORKERS)
		r->worker[i] = getpid();
	else
		r->numbers++;
}

static bool begin(struct run *shared_run, size_t item_size)
{
	r = shared_run;
	r->caller = getpid();
	return create(&r->f, (size_t)r->maxsize, item_size);
}

static void run_them(int (*produce)(struct queue *, int, void *),
		     int (*consume)(const void *, int, void *), void *arg)
{
	errno = 0;
	r->returned = queue_run(queue, r->producers, r->consumers, produce,
				consume, arg);
	r->error = errno;
	still_alone("queue_run");
	for (int i = 0; i < 2 * WORKERS; i++)
		r->left += r->worker[i] != 0 && r->worker[i] != r->caller &&
			   kill(r->worker[i], 0) == 0;
}

/*
 * If they come no further than this, then somebody sleeps beside room or
 * beside an item; but for two ends: nobody has consumed anything yet, or
 * everything has been.
 */
static void note_progress(void)
{
	int in = 0, out = 0, ended = 0;

	for (int i = 0; i < WORKERS; i++) {
		in += r->puts[i];
		out += r->consumed[i];
		ended += r->ended[i];
	}
	if (r->why_stuck != NULL)
		say_why(&r->f, out > 0 && (out < in || ended < r->producers) ?
			WHY_ASLEEP : r->why_stuck);
}

/* Item k of producer p is 1000 p + k + 1. */
static int produce_each(struct queue *q, int p, void *arg)
{
	int item;

	(void)arg;
	note_worker(p < r->producers ? p : -1);
	r->produced[p % WORKERS]++;
	for (int k = 0; k < r->each; k++) {
		item = 1000 * p + k + 1;
		if (queue_put(q, &item, -1) != 0)
			break;
		r->puts[p % WORKERS]++;
	}
	r->ended[p % WORKERS]++;
	note_progress();
	return 0;
}

static void note_item(const void *item)
{
	int n;

	memcpy(&n, item, sizeof n);
	n--;
	if (n >= 0 && n / 1000 < WORKERS && n % 1000 < EACH)
		r->f.seen[n / 1000 * EACH + n % 1000]++;
	else
		r->f.number[0]++;
}

static int consume_each(const void *item, int c, void *arg)
{
	(void)arg;
	note_worker(c < 0 || c >= r->consumers ? -1 : WORKERS + c);
	r->consumed[c % WORKERS]++;
	note_item(item);
	note_progress();
	return 0;
}

/* ---- verdicts ------------------------------------------------------------------ */

static void expect_returned(int error, const char *why)
{
	if (error == 0)
		expect(r->returned == 0, why, "queue_run returns 0", "%s",
		       result(r->returned, r->error));
	else
		expect(r->returned == -1 && r->error == error, why,
		       text("queue_run returns -1, %s", strerror(error)), "%s",
		       result(r->returned, r->error));
}

static void expect_ended(void)
{
	expect(r->left == 0, "queue_run returned, and those it had started are "
	       "still there.", "all have ended, and were collected", "%d are "
	       "there", r->left);
}

/* What had been put, but for those that may be lost, has been consumed. */
static void expect_consumed(int may_be_lost, const char *why)
{
	int lost = 0;

	expect(r->f.number[0] == 0, "An item is consumed that nobody put.",
	       "only what was put", "%d others", r->f.number[0]);
	for (int p = 0; p < r->producers; p++)
		for (int k = 0; k < r->each; k++) {
			int seen = r->f.seen[p * EACH + k];

			expect(seen < 2, "An item was got twice.",
			       text("item %d of producer %d is consumed once",
				    k, p), "%d times", seen);
			if (k >= r->puts[p] || seen == 1)
				continue;
			if (++lost > may_be_lost)
				expect(false, why, text("item %d of producer "
				       "%d was put, and is consumed", k, p),
				       "never");
		}
}

static void expect_produced(void)
{
	for (int p = 0; p < r->producers; p++)
		expect(r->produced[p] == 1, "Each producer works once.",
		       text("produce is called once with %d", p), "%d times",
		       r->produced[p]);
}

static int at_work(int first)
{
	int n = 0;

	for (int i = first; i < first + WORKERS; i++)
		n += r->worker[i] != 0;
	return n;
}

/* ---- all goes well ---------------------------------------------------------------- */

static void simple_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(produce_each, consume_each, NULL);
	r->f.number[1] = put(7, 0);
	r->f.number[2] = errno;
	r->f.number[3] = get(0);
	queue_destroy(queue);
}

static struct run *a_run(int producers, int consumers, int maxsize)
{
	r = shared(sizeof *r);
	r->producers = producers;
	r->consumers = consumers;
	r->maxsize = maxsize;
	r->each = EACH;
	return r;
}

/* why: unless they came so far that it is something else */
static void fence_run(void (*scenario)(void *), const char *why)
{
	r->why_stuck = why;
	say_why(&r->f, why);
	fence(&(struct fence){ .scenario = scenario, .shared = r,
			       .why_stuck = r->f.why });
}

static const char why_lost[] = "What was put is lost: nobody was left to "
			       "consume it.";

static void check_run(int producers, int consumers, int maxsize)
{
	a_run(producers, consumers, maxsize);
	fence_run(simple_run, WHY_16);
	expect_created(&r->f);
	expect_ended();
	expect_produced();
	for (int p = 0; p < producers; p++)
		expect(r->puts[p] == EACH, WHY_14, text("producer %d puts %d "
		       "items", p, EACH), "%d", r->puts[p]);
	expect_consumed(0, why_lost);
	expect(r->in_caller == 0, "The caller neither produces nor consumes.",
	       "processes of their own call produce and consume", "%d calls in "
	       "the caller", r->in_caller);
	expect(r->numbers == 0 && at_work(0) == producers, "Those who work do "
	       "not know who they are.", text("the producers are 0 to %d, the "
	       "consumers 0 to %d", producers - 1, consumers - 1),
	       "others");
	expect_returned(0, "All went well, but that is not what is reported.");
	expect(r->f.number[1] == -1 && r->f.number[2] == EPIPE,
	       "The queue is closed when all are through.", "a put after "
	       "queue_run returns -1, EPIPE", "%s", result(r->f.number[1],
	       r->f.number[2]));
	expect(r->f.number[3] == CLOSED, why_lost, "nothing is left in the "
	       "queue", "%s", got(r->f.number[3]));
}

/* The consumer stands at its first item until nothing more will be put. */
static int consume_at_leisure(const void *item, int c, void *arg)
{
	consume_each(item, c, arg);
	gate_open(&r->f.ready[0]);
	if (!gate_wait(&r->f.go))
		r->f.gave_up++;
	return 0;
}

static int produce_and_refuse(struct queue *q, int p, void *arg)
{
	return produce_each(q, p, arg) + r->refuses;
}

static void leisurely_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(produce_and_refuse, consume_at_leisure, NULL);
	r->f.number[3] = get(0);
	queue_destroy(queue);
}

static void let_close_first(void *arg)
{
	struct run *run = r = arg;

	if (!gate_wait(&run->f.ready[0]))
		return;
	wait_until_ended(run->worker[0]);
	settle(fence_pid());
	gate_open(&run->f.go);
}

static void check_left(int refuses, int error, const char *why)
{
	a_run(1, 1, 100);
	r->refuses = refuses;
	fence(&(struct fence){ .scenario = leisurely_run,
			       .director = let_close_first, .shared = r,
			       .why_stuck = WHY_16 });
	expect_created(&r->f);
	expect_ended();
	expect_consumed(0, why);
	expect(r->f.number[3] == CLOSED, why, "nothing is left in the "
	       "queue", "%s", got(r->f.number[3]));
	expect_returned(error, error == 0 ? "All went well, but that is not "
			"what is reported." : "A callback said that something "
			"is wrong, and nobody listened.");
}

static void check_left_in_it(void)
{
	check_left(0, 0, why_lost);
}

static void check_left_by_failed(void)
{
	check_left(1, ECANCELED, "What had been put is not consumed, because a "
		   "producer failed.");
}

static void check_one_and_one(void)
{
	check_run(1, 1, 5);
	check_run(1, 1, 1);
}

static void check_several(void)
{
	check_run(2, 1, 2);
	check_run(1, 3, 3);
	check_run(3, 2, 200);
}

/* So many that no table of 64 or 128 has room for them. */
enum { CROWD = 70 };

static int put_number(struct queue *q, int p, void *arg)
{
	(void)arg;
	r->f.number[0] += queue_put(q, &p, -1) == 0;
	return 0;
}

static int count_number(const void *item, int c, void *arg)
{
	int n;

	(void)c;
	(void)arg;
	memcpy(&n, item, sizeof n);
	if (n >= 0 && n < CROWD)
		r->f.seen[n]++;
	return 0;
}

static void crowded_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(put_number, count_number, NULL);
	queue_destroy(queue);
}

static void check_crowd(void)
{
	static const char why[] = "Nobody said how many producers and "
				  "consumers there are at most.";

	a_run(CROWD, CROWD, 10);
	fence(&(struct fence){ .scenario = crowded_run, .shared = r });
	expect_created(&r->f);
	expect_returned(0, why);
	for (int i = 0; i < CROWD; i++)
		expect(r->f.seen[i] == 1, why, text("the item of producer %d "
		       "is consumed once", i), "%d times", r->f.seen[i]);
}

/* Producer 0 feeds an item to each consumer, and then all must be there. */
static int meet_and_produce(struct queue *q, int p, void *arg)
{
	if (!meeting_wait(&r->f.meeting, (uint32_t)(r->producers +
						     r->consumers)))
		r->f.gave_up++;
	return produce_each(q, p, arg);
}

static int feed(struct queue *q, int p, void *arg)
{
	int item;

	for (int k = 0; p == 0 && k < r->consumers; k++) {
		item = 5000 + k;
		queue_put(q, &item, -1);
	}
	return meet_and_produce(q, p, arg);
}

/*
 * A consumer's first item is one of those that were fed. When all have met,
 * each has got one, and still has its own.
 */
static int eat(const void *item, int c, void *arg)
{
	int n, later;

	memcpy(&n, item, sizeof n);
	if (n < 5000)
		return consume_each(item, c, arg);
	if (!meeting_wait(&r->f.meeting, (uint32_t)(r->producers +
						     r->consumers)))
		r->f.gave_up++;
	memcpy(&later, item, sizeof later);
	if (n == later && n < 5000 + r->consumers)
		r->f.number[10 + n - 5000]++;
	return 0;
}

static void meeting_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(feed, eat, NULL);
	queue_destroy(queue);
}

static void check_together(void)
{
	a_run(2, 3, 10);
	fence(&(struct fence){ .scenario = meeting_run, .shared = r,
			       .why_stuck = WHY_16 });
	expect_created(&r->f);
	expect(r->f.gave_up == 0, "Those who should work side by side work one "
	       "after the other.", "two producers and three consumers are at "
	       "work at the same time", "%d waited for the others in vain",
	       r->f.gave_up);
	expect_produced();
	for (int k = 0; k < r->consumers; k++)
		expect(r->f.number[10 + k] == 1, "What a consumer was given "
		       "is no longer its own when another one gets.",
		       text("three consumers have an item each: one has item "
		       "%d as long as it works on it", k), "%d have it",
		       r->f.number[10 + k]);
	expect_returned(0, "All went well, but that is not what is reported.");
}

/* ---- the end ------------------------------------------------------------------------- */

static const int legal[] = { 0, -1, INT_MIN, 0, INT_MAX, -1, 1 };
enum { LEGAL = sizeof legal / sizeof *legal };

static int produce_legal(struct queue *q, int p, void *arg)
{
	(void)arg;
	for (int k = 0; k < LEGAL; k++)
		r->puts[p] += queue_put(q, &legal[k], -1) == 0;
	return 0;
}

static int consume_legal(const void *item, int c, void *arg)
{
	int n;

	(void)c;
	(void)arg;
	memcpy(&n, item, sizeof n);
	for (int k = 0; k < LEGAL; k++)
		if (legal[k] == n) {
			r->f.seen[k]++;
			return 0;
		}
	r->f.number[0]++;
	return 0;
}

static void legal_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(produce_legal, consume_legal, NULL);
	r->f.number[3] = get(0);
	queue_destroy(queue);
}

static void check_legal(void)
{
	a_run(2, 2, 3);
	fence(&(struct fence){ .scenario = legal_run, .shared = r,
			       .why_stuck = WHY_13 });
	expect_created(&r->f);
	expect(r->f.number[0] == 0, "An item is consumed that nobody put.",
	       "only what was put", "%d others", r->f.number[0]);
	for (int k = 0; k < LEGAL; k++) {
		int times = 0;

		for (int j = 0; j < LEGAL; j++)
			times += legal[j] == legal[k];
		times = 2 * times;
		expect(legal[k] == legal[0] || legal[k] == legal[1] ||
		       r->f.seen[k] == times, WHY_13, text("%d is put %d times "
		       "and consumed as often", legal[k], times), "%d times",
		       r->f.seen[k]);
	}
	expect(r->f.seen[0] == 4 && r->f.seen[1] == 4, WHY_13, "0 and -1 are "
	       "put 4 times each, and consumed as often", "%d and %d times",
	       r->f.seen[0], r->f.seen[1]);
	expect(r->f.number[3] == CLOSED, WHY_13, "nothing is left in the queue",
	       "%s", got(r->f.number[3]));
	expect_returned(0, "All went well, but that is not what is reported.");
}

/* Producer 0 is through long before the others put anything. */
static int late_producer(struct queue *q, int p, void *arg)
{
	if (p != 0 && !gate_wait(&r->f.go))
		r->f.gave_up++;
	return produce_each(q, p, arg);
}

static void late_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(late_producer, consume_each, NULL);
	r->f.number[3] = get(0);
	queue_destroy(queue);
}

/* Until everybody waits for what the late ones will put. */
static void let_late_go(void *arg)
{
	struct run *run = r = arg;

	for (int i = 0; i < 3000 && run->f.gave_up == 0; i++) {
		int consumed = 0;

		for (int c = 0; c < WORKERS; c++)
			consumed += run->consumed[c];
		if (consumed == EACH && run->ended[0] == 1)
			break;
		breathe();
	}
	for (int i = 0; i < 2 * WORKERS; i++)
		if (run->worker[i] != 0)
			settle(run->worker[i]);
	gate_open(&run->f.go);
}

static void check_late(void)
{
	a_run(3, 2, 4);
	fence(&(struct fence){ .scenario = late_run, .director = let_late_go,
			       .shared = r, .why_stuck = WHY_14 });
	expect_created(&r->f);
	expect_produced();
	for (int p = 0; p < 3; p++)
		expect(r->puts[p] == EACH, WHY_14, text("producer %d puts %d "
		       "items, however late", p, EACH), "%d", r->puts[p]);
	expect_consumed(0, "An item was put, and is overwritten or lost.");
	expect_returned(0, "All went well, but that is not what is reported.");
}

/* ---- large items ------------------------------------------------------------------------ */

enum { LARGE = 70000 };

static int produce_large(struct queue *q, int p, void *arg)
{
	unsigned char *item = malloc(LARGE);

	(void)arg;
	for (int k = 0; k < 3; k++) {
		memset(item, k + 1, LARGE);
		r->puts[p] += queue_put(q, item, -1) == 0;
	}
	free(item);
	return 0;
}

static int consume_large(const void *item, int c, void *arg)
{
	const unsigned char *byte = item;

	(void)c;
	(void)arg;
	for (int i = 1; i < LARGE; i++)
		if (byte[i] != byte[0])
			return 1;
	r->f.number[0] += byte[0];
	return 0;
}

static void large_run(void *arg)
{
	if (!begin(arg, LARGE))
		return;
	run_them(produce_large, consume_large, NULL);
	queue_destroy(queue);
}

static void check_large(void)
{
	a_run(1, 1, 2);
	fence(&(struct fence){ .scenario = large_run, .shared = r,
			       .why_stuck = WHY_16 });
	expect_created(&r->f);
	expect(r->returned == 0 && r->f.number[0] == 6, "An item is as long as "
	       "was said when the queue was made.", "three items of 70000 bytes "
	       "are consumed whole", "%s", result(r->returned, r->error));
}

/* ---- somebody fails --------------------------------------------------------------------- */

static int refuse(void)
{
	return 1;
}

static int refuse_with_minus_one(void)
{
	return -1;
}

static int refuse_with_256(void)
{
	return 256;
}

static int be_killed(void)
{
	raise(SIGKILL);
	return 0;
}

static int leave(void)
{
	_exit(0);
}

static int leave_with_42(void)
{
	_exit(42);
}

static const struct misfortune {
	const char *what;
	int (*happens)(void);
	int error;
} misfortunes[] = {
	{ "returns 1", refuse, ECANCELED },
	{ "is killed", be_killed, EOWNERDEAD },
	{ "returns -1", refuse_with_minus_one, ECANCELED },
	{ "ends itself by _exit(0)", leave, EOWNERDEAD },
	{ "returns 256", refuse_with_256, ECANCELED },
	{ "ends itself by _exit(42)", leave_with_42, EOWNERDEAD },
};

/* Producer 0 fails after two items; the others put all, if they can. */
static int failing_producer(struct queue *q, int p, void *arg)
{
	int item;

	if (p != 0)
		return produce_each(q, p, arg);
	for (int k = 0; k < 2; k++) {
		item = k + 1;
		r->puts[0] += queue_put(q, &item, -1) == 0;
	}
	return r->misfortune();
}

static void failing_producers(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(failing_producer, consume_each, NULL);
	r->f.number[1] = put(7, 0);
	r->f.number[2] = errno;
	r->f.number[3] = get(0);
	queue_destroy(queue);
}

static const char *why_failed(const struct misfortune *m)
{
	return m->error == ECANCELED ? "A callback said that something is "
	       "wrong, and nobody listened." : "A process died, and nobody "
	       "noticed.";
}

#define WHY_FOR_EVER "Something went wrong with one of them, and the others " \
	"wait for it for ever."

static void check_producer_fails(void)
{
	for (int i = 0; i < 4; i++) {
		const struct misfortune *m = &misfortunes[i];

		a_run(i % 2 ? 1 : 2, 2, 3);
		r->misfortune = m->happens;
		fence(&(struct fence){ .scenario = failing_producers,
				       .shared = r,
				       .why_stuck = WHY_FOR_EVER });
		expect_created(&r->f);
		expect_returned(m->error, text("%s (A producer %s.)",
					       why_failed(m), m->what));
		expect_consumed(0, "What had been put is not consumed, because "
				"a producer failed.");
		expect(r->f.number[1] == -1 && r->f.number[2] == EPIPE,
		       "The queue is closed when all are through.",
		       "a put after queue_run returns -1, EPIPE", "%s",
		       result(r->f.number[1], r->f.number[2]));
		expect_ended();
	}
}

/* Producer 1 waits at its gate, which opens when producer 0 has failed and
 * the queue is closed. */
static int producer_at_gate(struct queue *q, int p, void *arg)
{
	if (p == 0)
		return failing_producer(q, p, arg);
	if (!gate_wait(&r->f.go))
		r->f.gave_up++;
	return produce_each(q, p, arg);
}

/* Nobody of the run, but it sees when the queue is closed. */
static void wait_for_the_end(int i)
{
	int item;

	while (queue_get(queue, &item, -1) == 0)
		;
	gate_open(&facts->done[i]);
}

static void close_at_once(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	child(0, wait_for_the_end);
	run_them(producer_at_gate, consume_each, NULL);
	collect(r->f.pids[0]);
	queue_destroy(queue);
}

static void open_when_closed(void *arg)
{
	struct run *run = r = arg;

	facts = &run->f;
	gate_wait(&run->f.done[0]);
	gate_open(&run->f.go);
}

static void check_closed_at_once(void)
{
	for (int i = 0; i < 2; i++) {
		const struct misfortune *m = &misfortunes[i];

		a_run(2, 1, 3);
		r->misfortune = m->happens;
		fence(&(struct fence){ .scenario = close_at_once,
				       .director = open_when_closed,
				       .shared = r,
				       .why_stuck = WHY_FOR_EVER });
		expect_created(&r->f);
		expect(r->f.gave_up == 0, WHY_FOR_EVER, text("one producer %s: "
		       "the queue is closed while another is still at work",
		       m->what), "it is not");
		expect(r->puts[1] == 0, WHY_FOR_EVER, "later puts are refused",
		       "%d were taken", r->puts[1]);
		expect_returned(m->error, text("%s (A producer %s.)",
					       why_failed(m), m->what));
	}
}

/* Consumer 0 fails with its first item, when the others have one, too. */
static int failing_consumer(const void *item, int c, void *arg)
{
	static bool met;

	if (r->consumers > 1 && !met) {
		met = true;
		meeting_wait(&r->f.meeting, (uint32_t)r->consumers);
	}
	if (c != 0)
		return consume_each(item, c, arg);
	if (r->after_failure++ > 0)
		return 0;
	note_item(item);
	return r->misfortune();
}

static void failing_consumers(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(produce_each, failing_consumer, NULL);
	r->f.number[1] = put(7, 0);
	r->f.number[2] = errno;
	queue_destroy(queue);
}

static void check_consumer_fails(void)
{
	static const int which[] = { 0, 1, 4, 3, 5 };

	for (int i = 0; i < 5; i++) {
		const struct misfortune *m = &misfortunes[which[i]];
		int alone = i / 2 % 2;

		a_run(1, alone ? 1 : 2, 2);
		r->misfortune = m->happens;
		fence(&(struct fence){ .scenario = failing_consumers,
				       .shared = r,
				       .why_stuck = WHY_FOR_EVER });
		expect_created(&r->f);
		expect_returned(m->error, text("%s (A consumer %s.)",
					       why_failed(m), m->what));
		expect(r->after_failure == 1, "A consumer that failed goes on "
		       "consuming.", "consume is not called again",
		       "%d times more", r->after_failure - 1);
		if (!alone)
			expect_consumed(0, "What had been put is not consumed, "
					"because another consumer failed.");
		expect(r->f.number[1] == -1 && r->f.number[2] == EPIPE,
		       "The queue is closed when all are through.",
		       "a put after queue_run returns -1, EPIPE", "%s",
		       result(r->f.number[1], r->f.number[2]));
		expect_ended();
	}
}

/* ---- what the caller has, and the caller keeps ------------------------------------------------ */

struct mine {
	int number;
};

static int change_mine(struct queue *q, int p, void *arg)
{
	struct mine *mine = arg;

	r->f.number[10] += mine->number;
	mine->number = 99;
	return produce_each(q, p, NULL);
}

static int look_at_mine(const void *item, int c, void *arg)
{
	struct mine *mine = arg;

	r->f.number[11] += mine->number != 5;
	return consume_each(item, c, NULL);
}

static void copies(void *arg)
{
	struct mine *mine = malloc(sizeof *mine);

	if (!begin(arg, sizeof(int)))
		return;
	mine->number = 5;
	run_them(change_mine, look_at_mine, mine);
	r->f.number[12] = mine->number;
	free(mine);
	queue_destroy(queue);
}

static void check_copies(void)
{
	static const char why[] = "Producers and consumers are processes: each "
				  "has the caller's memory as it was.";

	a_run(2, 2, 5);
	fence_run(copies, WHY_16);
	expect_created(&r->f);
	expect(r->f.number[10] == 10 && r->f.number[11] == 0, why, "each finds "
	       "in arg what the caller left there", "something else");
	expect(r->f.number[12] == 5, why, "the caller's memory is not changed "
	       "by producers", "it is");
}

static void end_with_7(int i)
{
	(void)i;
	_exit(7);
}

static void live_on(int i)
{
	gate_open(&facts->ready[i]);
	gate_wait(&facts->over);
	_exit(8);
}

static void with_other_children(void *arg)
{
	int status[2] = { 0, 0 };
	bool lived;

	if (!begin(arg, sizeof(int)))
		return;
	child(0, end_with_7);
	wait_until_ended(r->f.pids[0]);
	child(1, live_on);
	gate_wait(&r->f.ready[1]);
	run_them(produce_each, consume_each, NULL);
	lived = is_running(r->f.pids[1]);
	gate_open(&r->f.over);
	for (int i = 0; i < 2; i++)
		if (waitpid(r->f.pids[i], &status[i], 0) != r->f.pids[i])
			status[i] = -1;
	r->f.number[1] = status[0];
	r->f.number[2] = status[1];
	r->f.number[4] = lived;
	queue_destroy(queue);
}

static void check_other_children(void)
{
	static const char why[] = "You collected, or waited for, a child that "
				  "is not yours.";

	a_run(2, 2, 5);
	fence_run(with_other_children, why);
	expect_created(&r->f);
	expect_returned(0, why);
	expect(r->f.number[4] && r->f.number[2] != -1, why, "another child of "
	       "the caller lives on", "it has ended, or was collected");
	expect(WIFEXITED(r->f.number[1]) && WEXITSTATUS(r->f.number[1]) == 7,
	       why, "one that had ended before can be collected afterwards, "
	       "with its status 7", "%s", r->f.number[1] == -1 ?
	       "somebody else did" : "its status is another");
	expect_consumed(0, why_lost);
}

static int must_not_run(struct queue *q, int p, void *arg)
{
	(void)q;
	(void)p;
	(void)arg;
	r->f.calls++;
	return 0;
}

static const int no_numbers[][2] = { { 0, 1 }, { 1, 0 }, { -1, 2 }, { 2, -1 },
				     { 0, 0 }, { INT_MIN, 1 } };
enum { NO_NUMBERS = sizeof no_numbers / sizeof *no_numbers };

static void run_nobody(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	put(1, 0);
	for (int i = 0; i < NO_NUMBERS; i++) {
		r->producers = no_numbers[i][0];
		r->consumers = no_numbers[i][1];
		run_them(must_not_run, consume_each, NULL);
		r->f.number[i] = r->returned == -1 ? r->error : 0;
	}
	r->f.number[10] = put(2, 0);
	r->f.number[11] = get(0);
	r->f.number[12] = get(0);
	queue_destroy(queue);
}

static void check_nobody(void)
{
	a_run(1, 1, 3);
	fence(&(struct fence){ .scenario = run_nobody, .shared = r,
			       .why_stuck = WHY_23 });
	expect_created(&r->f);
	for (int i = 0; i < NO_NUMBERS; i++)
		expect(r->f.number[i] == EINVAL, WHY_23, text("queue_run with "
		       "%d producers and %d consumers returns -1, EINVAL",
		       no_numbers[i][0], no_numbers[i][1]), "%s",
		       r->f.number[i] ? strerror(r->f.number[i]) :
		       "something else");
	expect(r->f.calls == 0, WHY_23, "nobody works", "somebody does");
	expect(r->f.number[10] == 0 && r->f.number[11] == 1 &&
	       r->f.number[12] == 2, WHY_23, "then the queue is as it was: it "
	       "takes item 2, and gives 1 and 2", "%d, %s, %s",
	       r->f.number[10], got(r->f.number[11]), got(r->f.number[12]));
}

/* ---- the ends of processes --------------------------------------------------------------------- */

static void note_end(void)
{
	r->f.calls++;
}

static void stay(int sig)
{
	(void)sig;
}

static const int handled[] = { SIGPIPE, SIGCHLD, SIGALRM, SIGUSR1, SIGUSR2 };
enum { HANDLED = sizeof handled / sizeof *handled };

/* The caller has something to do at its end, and something half written. */
static void half_written(void *arg)
{
	FILE *half = tmpfile();

	if (half == NULL || !begin(arg, sizeof(int)))
		return;
	for (int i = 0; i < HANDLED; i++)
		signal(handled[i], stay);
	keep_signals();
	atexit(note_end);
	fputs("a line that is not yet complete", half);
	run_them(produce_each, consume_each, NULL);
	r->f.number[1] = (int)lseek(fileno(half), 0, SEEK_END);
	r->f.number[2] = r->f.calls;
	fclose(half);
	queue_destroy(queue);
}

static void check_half_written(void)
{
	static const char why[] = "L01-04 Ending the child the way a whole "
		"program ends also does what belongs to the parent.";

	a_run(2, 2, 5);
	fence(&(struct fence){ .scenario = half_written, .shared = r });
	expect_created(&r->f);
	expect(r->f.number[2] == 0, why, "the caller's atexit function runs "
	       "in the caller", "it ran in %d children", r->f.number[2]);
	expect(r->f.number[1] == 0, why, "what the caller has not yet written "
	       "is written once, by the caller", "children wrote %d bytes of "
	       "it", r->f.number[1]);
	expect_signals();
}

/* ---- the caller waits ------------------------------------------------------------------------------ */

static int stay_producing(struct queue *q, int p, void *arg)
{
	note_worker(p);
	gate_open(&r->f.ready[0]);
	gate_wait(&r->f.go);
	return produce_each(q, p, arg);
}

static void waiting_run(void *arg)
{
	if (!begin(arg, sizeof(int)))
		return;
	run_them(stay_producing, consume_each, NULL);
	queue_destroy(queue);
}

static void look_at_run(void *arg)
{
	struct run *run = r = arg;

	facts = &run->f;
	if (!gate_wait(&run->f.ready[0]))
		return;
	settle(fence_pid());
	run->f.calm = watch_waiting(15000000, MANY_WAKES);
	gate_open(&run->f.go);
}

static void check_run_quiet(void)
{
	a_run(1, 2, 5);
	fence(&(struct fence){ .scenario = waiting_run,
			       .director = look_at_run, .shared = r,
			       .why_stuck = "A consumer went home while there "
			       "was nothing to consume, and nobody had said "
			       "that nothing more will come." });
	expect_created(&r->f);
	expect_calm(&r->f.calm, WHY_10, "while all wait for a producer");
	expect_returned(0, "All went well, but that is not what is reported.");
}

static const struct check checks[] = {
	FUNCTION("what is in it when it is closed is consumed",
		 check_left_in_it, queue_run),
	FUNCTION("what is produced is consumed", check_one_and_one, queue_run),
	FUNCTION("producers and consumers work side by side", check_together,
		 queue_run),
	FUNCTION("the end comes when the last producer is through",
		 check_late, queue_run),
	FUNCTION("several producers and consumers share the work",
		 check_several, queue_run),
	FUNCTION("no item looks like the end", check_legal, queue_run),
	FUNCTION("a crowd of producers and consumers shares the work",
		 check_crowd, queue_run),
	FUNCTION("large items are consumed whole", check_large, queue_run),
	FUNCTION("a number below one is refused", check_nobody, queue_run),
	FUNCTION("each of them has memory of its own", check_copies,
		 queue_run),
	FUNCTION("other children of the caller are left alone",
		 check_other_children, queue_run),
	FUNCTION("what had been put is consumed when a producer fails",
		 check_left_by_failed, queue_run),
	FUNCTION("a producer that fails or dies makes nobody wait",
		 check_producer_fails, queue_run),
	FUNCTION("a consumer that fails or dies makes nobody wait",
		 check_consumer_fails, queue_run),
	FUNCTION("the queue is closed as soon as something goes wrong",
		 check_closed_at_once, queue_run),
	FUNCTION("the caller's own business is done once", check_half_written,
		 queue_run),
	FUNCTION("the caller sleeps while the others work", check_run_quiet,
		 queue_run),
};

CHECKS("03-queue", checks);
