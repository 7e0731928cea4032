/* What a queue leaves behind, and what it does when the system refuses. */
#include "facts.h"

/* ---- what is left behind ----------------------------------------------------- */

#define WHY_MAPPED "Memory that was mapped is never given back."

enum { CYCLES = 150, SEVERAL_PAGES = 3000, RUNS = 30 };

static void put_and_close(int i)
{
	facts->number[10] += put(i, 0) != 0;
	queue_close(queue);
}

static void many(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < CYCLES; i++) {
		if (i == 4)
			s->number[0] = count_mappings("");
		if (!create(s, i % 2 ? SEVERAL_PAGES : 1 + (size_t)i % 5,
			    sizeof(int)))
			return;
		if (i % 3 == 0)
			put(1, -1);
		if (i % 20 == 0)
			get(0.001);
		if (i % 30 == 1)
			in_child(0, put_and_close);
		queue_destroy(queue);
		s->number[2]++;
	}
	s->number[1] = count_mappings("");
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = many, .shared = s });
	expect(s->number[2] == CYCLES, "Sooner or later there are no queues "
	       "any more.", text("%d can be had one after the other", CYCLES),
	       "the %d. was refused: %s", s->number[2] + 1,
	       strerror(s->error));
	expect(s->number[10] == 0, "After others were destroyed a queue does "
	       "not work.", "a child puts an item", "it cannot");
	expect_clean(NULL);
	expect(s->number[1] - s->number[0] < 20, WHY_MAPPED, text("as many mappings after %d queues as "
	       "after 4", CYCLES), "%d more", s->number[1] - s->number[0]);
}

/* ---- who leaves early ------------------------------------------------------------------ */

static void put_and_exit(int i)
{
	facts->number[i] = put(i, 0);
	exit(0);
}

static void get_and_exit(int i)
{
	facts->number[i] = get(0);
	exit(0);
}

static void leave_one_by_one(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 3, sizeof(int)))
		return;
	in_child(0, put_and_exit);
	s->number[10] = get(0);
	for (int i = 1; i <= 3; i++)
		in_child(i, put_and_exit);
	in_child(4, get_and_exit);
	s->number[11] = get(0);
	s->number[12] = get(0);
	start_waiting(5, getter, -1);
	put(50, 0);
	put(51, 0);
	collect(s->pids[5]);
	in_child(6, put_and_exit);
	s->number[13] = (int)queue_qsize(queue);
	s->number[14] = queue_close(queue);
	queue_destroy(queue);
}

static void check_leave(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = leave_one_by_one, .shared = s,
			       .why_stuck = WHY_20 });
	expect_created(s);
	expect(s->number[0] == 0 && s->number[10] == 0, WHY_20, "a child puts "
	       "item 0 and ends; its parent gets it", "%s",
	       got(s->number[10]));
	for (int i = 1; i <= 3; i++)
		expect(s->number[i] == 0, WHY_20, "each child can put", "%d",
		       s->number[i]);
	expect(s->number[4] == 1 && s->number[11] == 2, WHY_20, "a child gets "
	       "item 1, and its parent 2", "%s and %s", got(s->number[4]),
	       got(s->number[11]));
	expect(s->got[5] == 0 && s->items[5] == 50 && s->number[6] == 0 &&
	       s->number[14] == 0,
	       WHY_20, "who waits gets an item, a child puts, and the queue "
	       "can be closed", "%d, %d and %d", s->got[5], s->number[6],
	       s->number[14]);
	expect(s->number[13] == 2, WHY_20, "two items are left", "%d",
	       s->number[13]);
	expect_clean(NULL);
}

/* ---- the system refuses ------------------------------------------------------------------ */

static const char why_half[] = "Part of the queue could not be had, and you "
			       "went on without it.";

static void put_three(int i)
{
	for (int k = 0; k < 3; k++)
		facts->got[i] += put(k, 0);
}

/* number[0]: did it strike while the queue was created? Later it shall not. */
static void try_queue(void *arg)
{
	static const struct fault none;
	struct facts *s = arg;

	create(s, 3, sizeof(int));
	s->number[0] = fault_hits() > 0;
	if (!s->number[0])
		fault_set(&none);
	if (!s->created)
		return;
	in_child(0, put_three);
	for (int k = 0; k < 3; k++)
		s->number[1 + k] = get(0);
	s->number[4] = queue_close(queue);
	queue_destroy(queue);
}

static void judge_try(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_half, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect(s->created || s->error != 0, "Nobody can tell why there is no "
	       "queue.", "NULL, and errno says why", "errno is 0");
	expect_clean(why_half);
	if (!s->number[0] || !s->created)
		return;
	expect(s->got[0] == 0 && s->number[1] == 0 && s->number[2] == 1 &&
	       s->number[3] == 2 && s->number[4] == 0, why_half, "NULL, or a "
	       "queue that works", "a queue in which puts fail, or from which "
	       "%s, %s, %s are got instead of 0, 1, 2", got(s->number[1]),
	       got(s->number[2]), got(s->number[3]));
}

static void refuse(const char *call, int error)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_queue, .shared = s,
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

static void check_no_room(void)
{
	refuse("space", ENOSPC);
}

static void check_no_init(void)
{
	refuse("init", EAGAIN);
}

static void check_no_server(void)
{
	refuse("fork", EAGAIN);
}

/* ---- queue_run, and the system refuses ---------------------------------------------------- */

static int produce_three(struct queue *q, int p, void *arg)
{
	int item;

	(void)arg;
	for (int k = 0; k < 3; k++) {
		item = 10 * p + k;
		if (queue_put(q, &item, -1) == 0)
			facts->signals++;
	}
	return 0;
}

static int consume_three(const void *item, int c, void *arg)
{
	int n;

	(void)c;
	(void)arg;
	memcpy(&n, item, sizeof n);
	if (n >= 0 && n < MANY)
		facts->seen[n]++;
	return 0;
}

/* number[0]: how many times it struck in queue_run. */
static void try_run(void *arg)
{
	struct facts *s = arg;
	int before;

	if (!create(s, 2, sizeof(int)))
		return;
	before = fault_hits();
	errno = 0;
	s->got[0] = queue_run(queue, 2, 2, produce_three, consume_three, NULL);
	s->errs[0] = errno;
	still_alone("queue_run");
	s->number[0] = fault_hits() - before;
	s->number[1] = put(5, 0);
	s->number[2] = errno;
	queue_destroy(queue);
}

static void run_often(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < RUNS; i++) {
		if (i == 4)
			s->number[10] = count_mappings("");
		try_run(s);
	}
	s->number[11] = count_mappings("");
}

static void check_run_clean(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = run_often, .shared = s });
	expect_created(s);
	expect_clean(NULL);
	expect(s->number[11] - s->number[10] < RUNS / 3, WHY_MAPPED,
	       text("as many mappings after %d runs as after 4", RUNS),
	       "%d more", s->number[11] - s->number[10]);
}

static const char why_run[] = "One of the processes could not be started, and "
			      "you went on as if it were there.";

static void judge_run(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;
	int seen = 0;

	expect(end->how == FENCE_FINISHED, why_run, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect_clean(why_run);
	if (!s->created || s->number[0] == 0)
		return;
	for (int i = 0; i < MANY; i++)
		seen += s->seen[i];
	expect(s->got[0] == -1 ? s->errs[0] != 0 : seen == s->signals, why_run,
	       "queue_run returns -1 and an error, or what was put is consumed",
	       "%s, and of %d items %d", result(s->got[0], s->errs[0]),
	       s->signals, seen);
	expect(s->number[1] == -1 && s->number[2] == EPIPE, "The queue is "
	       "closed when all are through.", "a put after queue_run returns "
	       "-1, EPIPE", "%s", result(s->number[1], s->number[2]));
}

static void judge_no_process(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	judge_run(arg, end);
	if (s->created && s->number[0] > 0 && s->got[0] == -1)
		expect(s->errs[0] == EAGAIN, "What you report is not what the "
		       "system said.", text("EAGAIN (%s)", strerror(EAGAIN)),
		       "%s", strerror(s->errs[0]));
}

static void check_no_process(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_run, .shared = s,
		.why_stuck = "One of the processes could not be started, and "
			     "the others wait for it." },
		    sizeof *s, "fork", EAGAIN, NULL, judge_no_process);
}

/* No process any more after the second: not even one to repair things. */
static void check_no_processes(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	fault_set(&(struct fault){ "fork", EAGAIN, 3, true });
	end = fence_try(&(struct fence){ .scenario = try_run, .shared = s });
	if (fault_hits() == 0)
		skip_check("not exercised: no third process is made");
	expect(end.how != FENCE_STUCK && end.how != FENCE_OVERTIME, why_run,
	       "an error is reported", "the run does not come to an end");
	judge_no_process(s, &end);
}

static void check_no_pipes(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_run, .shared = s,
				     .why_stuck = why_run },
		    sizeof *s, "descriptors", EMFILE, NULL, judge_run);
}

static void check_run_memory(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_run, .shared = s,
				     .why_stuck = why_run },
		    sizeof *s, "mmap", ENOMEM, NULL, judge_run);
}

static void check_run_malloc(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_run, .shared = s,
				     .why_stuck = why_run },
		    sizeof *s, "malloc", ENOMEM, NULL, judge_run);
}

/* ---- much traffic ------------------------------------------------------------------------------------ */

enum { TRAFFIC = 120, BIG = 9000 };

struct big {
	int producer, index;
	unsigned char bytes[BIG];
};

static void make_big(struct big *b, int producer, int index)
{
	b->producer = producer;
	b->index = index;
	memset(b->bytes, producer * 100 + index, BIG);
}

static bool is_whole(const struct big *b)
{
	for (int i = 0; i < BIG; i++)
		if (b->bytes[i] != (unsigned char)(b->producer * 100 +
						   b->index))
			return false;
	return b->producer >= 0 && b->producer < 2 && b->index >= 0 &&
	       b->index < TRAFFIC;
}

static void big_producer(int i)
{
	static struct big b;

	for (int k = 0; k < TRAFFIC; k++) {
		make_big(&b, i, k);
		facts->number[0] += queue_put(queue, &b, -1) != 0;
	}
}

static void big_consumer(int i)
{
	static struct big b;
	int last[2] = { -1, -1 };

	(void)i;
	while (queue_get(queue, &b, -1) == 0) {
		if (!is_whole(&b)) {
			facts->number[1]++;
			continue;
		}
		facts->number[2] += b.index <= last[b.producer];
		last[b.producer] = b.index;
		facts->seen[b.producer * TRAFFIC + b.index]++;
	}
	facts->number[3] += errno != EPIPE;
}

static void traffic(void *arg)
{
	struct facts *s = arg;

	small_pipes();
	if (!create(s, 3, sizeof(struct big)))
		return;
	child(0, big_producer);
	child(1, big_producer);
	child(2, big_consumer);
	child(3, big_consumer);
	collect(s->pids[0]);
	collect(s->pids[1]);
	queue_close(queue);
	collect(s->pids[2]);
	collect(s->pids[3]);
	queue_destroy(queue);
}

static void check_traffic(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = traffic, .shared = s,
			       .why_stuck = WHY_ASLEEP });
	expect_created(s);
	expect(s->number[1] == 0, WHY_22, "two producers, two consumers: items "
	       "of 9000 bytes arrive whole", "%d are torn", s->number[1]);
	expect(s->number[0] == 0 && s->number[3] == 0, "A call failed that "
	       "could have waited.", "all puts return 0, and gets until the "
	       "queue is closed", "%d puts and %d gets failed", s->number[0],
	       s->number[3]);
	for (int i = 0; i < 2 * TRAFFIC; i++)
		expect(s->seen[i] == 1, s->seen[i] ? "An item was got twice." :
		       "An item was put, and nobody got it.", text("item %d of "
		       "producer %d is got once", i % TRAFFIC, i / TRAFFIC),
		       "%d times", s->seen[i]);
	expect(s->number[2] == 0, WHY_08, "each consumer gets the items of "
	       "one producer in the order in which they were put",
	       "%d came too late", s->number[2]);
	expect_clean(NULL);
}

/* ---- interruptions ------------------------------------------------------------------------------ */

/* Somebody waits for an item, then somebody waits for room. */
static void hand_over(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 1, sizeof(int)))
		return;
	s->limits[0] = s->limits[1] = -1;
	child(0, getter);
	gate_wait(&s->ready[0]);
	wait_until_asleep(s->pids[0]);
	s->number[0] = put(7, -1);
	collect(s->pids[0]);
	s->number[1] = put(8, 0);
	child(1, putter);
	gate_wait(&s->ready[1]);
	wait_until_asleep(s->pids[1]);
	s->number[2] = get(-1);
	collect(s->pids[1]);
	s->number[3] = get(-1);
	s->number[4] = get(0);
	queue_close(queue);
	queue_destroy(queue);
}

static const char why_interrupted[] = "A call that was interrupted has done "
				      "nothing, and was taken for done.";

static void judge_interrupted(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_interrupted, "the wait goes on",
	       "the caller did not come through");
	expect_created(s);
	expect(s->got[0] == 0 && s->items[0] == 7, why_interrupted, "a get that "
	       "waits gets item 7", "%s with item %d", result(s->got[0],
	       s->errs[0]), s->items[0]);
	expect(s->got[1] == 0 && s->number[0] == 0 && s->number[1] == 0,
	       why_interrupted, "each put returns 0", "%d, %d and %d",
	       s->number[0], s->number[1], s->got[1]);
	expect(s->number[2] == 8 && s->number[3] == 1001 &&
	       s->number[4] == EMPTY, why_interrupted, "8 and 1001 come out",
	       "%s, %s, %s", got(s->number[2]), got(s->number[3]),
	       got(s->number[4]));
}

static void check_interrupted_calls(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = hand_over, .shared = s,
				     .why_stuck = why_interrupted },
		    sizeof *s, "blocking", EINTR, NULL, judge_interrupted);
}

static void judge_interrupted_run(void *arg, const struct fence_end *end)
{
	static const char why[] = "A call that was interrupted has done "
		"nothing, and the caller took it for the end of a process.";
	struct facts *s = arg;
	int seen = 0;

	expect(end->how == FENCE_FINISHED, why, "queue_run goes on",
	       "the caller did not come through");
	expect_created(s);
	for (int i = 0; i < MANY; i++)
		seen += s->seen[i];
	expect(s->got[0] == 0 && seen == 6, why, "queue_run returns 0, and 6 "
	       "items are consumed", "%s, and %d", result(s->got[0],
	       s->errs[0]), seen);
	expect_clean(why);
}

static void check_interrupted_run(void)
{
	struct facts *s = shared(sizeof *s);

	fault_sweep(&(struct fence){ .scenario = try_run, .shared = s,
				     .why_stuck = why_interrupted },
		    sizeof *s, "waitpid", EINTR, NULL, judge_interrupted_run);
}

static const struct check checks[] = {
	{ "leftovers", "many queues, one after the other, leave nothing behind",
	  check_many, (const void *)queue_destroy },
	{ "leftovers", "runs leave nothing behind", check_run_clean,
	  (const void *)queue_run },
	{ "leftovers", "who leaves early takes nothing along", check_leave,
	  (const void *)queue_destroy },
	{ "leftovers", "much traffic goes through", check_traffic,
	  (const void *)queue_put },
	{ "faults", "memory that cannot be mapped is reported",
	  check_no_mapping, (const void *)queue_create },
	{ "faults", "memory that cannot be had is reported", check_no_memory,
	  (const void *)queue_create },
	{ "faults", "a descriptor that cannot be had is reported",
	  check_no_descriptor, (const void *)queue_create },
	{ "faults", "room that cannot be had is reported", check_no_room,
	  (const void *)queue_create },
	{ "faults", "a lock that cannot be made is reported", check_no_init,
	  (const void *)queue_create },
	{ "faults", "a process that cannot be had is reported",
	  check_no_server, (const void *)queue_create },
	{ "faults", "a producer or consumer that cannot be started is reported",
	  check_no_process, (const void *)queue_run },
	{ "faults", "a run for which there are no processes ends",
	  check_no_processes, (const void *)queue_run },
	{ "faults", "a run for which there are no descriptors ends",
	  check_no_pipes, (const void *)queue_run },
	{ "faults", "a run for which there is no mapping ends",
	  check_run_memory, (const void *)queue_run },
	{ "faults", "a run for which there is no memory ends",
	  check_run_malloc, (const void *)queue_run },
	{ "faults", "a call that a signal interrupts is repeated",
	  check_interrupted_calls, (const void *)queue_get },
	{ "faults", "a wait for processes that a signal interrupts goes on",
	  check_interrupted_run, (const void *)queue_run },
};

CHECKS("03-queue", checks);
