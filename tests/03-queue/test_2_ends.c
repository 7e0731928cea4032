/* The end of a queue, its size, its neighbours, and what cannot be. */
#include "facts.h"

/* A scenario that did not come to its end: what fence() says of that. */
static void fail_again(const struct fence *f)
{
	memset(f->shared, 0, sizeof(struct facts));
	fence(f);
}

/* ---- closing ----------------------------------------------------------------------- */

static void close_it(int i)
{
	facts->number[i] = queue_close(queue);
}

static void note_put(struct facts *s, int i, double timeout)
{
	s->got[i] = put(99, timeout);
	s->errs[i] = errno;
}

static void note_get(struct facts *s, int i, double timeout)
{
	int item = -7;

	errno = 0;
	s->got[i] = queue_get(queue, &item, timeout);
	s->errs[i] = errno;
	s->items[i] = item;
}

static void use_closed(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 3, sizeof(int)))
		return;
	for (int i = 0; i < 3; i++)
		put(i, 0);
	in_child(0, close_it);
	note_put(s, 0, 0);			/* closed, and full */
	note_put(s, 1, -1);
	s->number[2] = get(0);
	note_put(s, 2, 0);			/* closed, and there is room */
	note_put(s, 3, 1000);
	s->number[1] = queue_close(queue);
	s->number[3] = get(-1);
	s->number[4] = get(1000);
	note_get(s, 4, 0);
	note_get(s, 5, -1);
	note_get(s, 6, 1000);
	in_child(7, getter);			/* another process sees it, too */
	queue_destroy(queue);
}

static void check_closed(void)
{
	static const char why_put[] = "The queue is closed, and takes items.";
	static const char why_untold[] = "It failed, and nobody can tell why.";
	static const char why_get[] = "Closing a queue does not empty it.";
	static const char why_end[] = "The queue is closed and empty for ever, "
				      "and who gets is not told.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = use_closed, .shared = s,
		.why_stuck = "The queue is closed, and somebody waits for it." });
	expect_created(s);
	expect(s->number[0] == 0 && s->number[1] == 0, "Closing again is "
	       "harmless.", "queue_close returns 0, by a child and once more",
	       "%d and %d", s->number[0], s->number[1]);
	for (int i = 0; i < 4; i++)
		expect(s->got[i] == -1 && s->errs[i] == EPIPE,
		       s->got[i] == -1 ? why_untold : why_put,
		       text("a put into a closed queue %s returns -1, EPIPE",
			    i < 2 ? "that is full" : "with room"), "%s",
		       result(s->got[i], s->errs[i]));
	for (int i = 0; i < 3; i++)
		expect(s->number[2 + i] == i, s->number[2 + i] == 99 ? why_put :
		       why_get, text("item %d is got after the queue was "
		       "closed", i), "%s", got(s->number[2 + i]));
	for (int i = 4; i < 8; i++)
		expect(s->got[i] == -1 && s->errs[i] == EPIPE,
		       s->got[i] == -1 ? why_untold : why_end,
		       text("queue_get with a limit of %d returns -1, EPIPE",
			    i == 4 || i == 7 ? 0 : i == 5 ? -1 : 1000), "%s",
		       result(s->got[i], s->errs[i]));
	for (int i = 4; i < 8; i++)
		expect(s->items[i] == -7, "Nothing was got, and the caller's "
		       "item has changed.", "-7 as before", "%d", s->items[i]);
}

/* ---- the number of items -------------------------------------------------------- */

static void look_at_size(int i)
{
	facts->number[i] = (int)queue_qsize(queue);
}

static void put_one(int i)
{
	put(i, 0);
}

static void sizes_of(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 3, sizeof(int)))
		return;
	for (int i = 0; i < 2; i++)		/* move on in the ring */
		put(i, 0), get(0);
	s->number[8] = (int)queue_qsize(queue);
	for (int i = 0; i < 3; i++) {
		if (i == 1)
			in_child(2, put_one);
		else
			put(i, 0);
		s->number[9 + i] = (int)queue_qsize(queue);
	}
	put(4, 0);				/* in vain */
	in_child(0, look_at_size);
	get(0);
	in_child(1, look_at_size);
	get(0);
	queue_close(queue);
	put(5, 0);
	s->number[12] = (int)queue_qsize(queue);
	get(0);
	get(0);					/* in vain */
	s->number[13] = (int)queue_qsize(queue);
	queue_destroy(queue);
}

static void check_qsize(void)
{
	static const char why[] = "The queue does not know how many items it "
				  "has.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = sizes_of, .shared = s });
	expect_created(s);
	for (int i = 0; i <= 3; i++)
		expect(s->number[8 + i] == i, why, text("queue_qsize is %d", i),
		       "%d", s->number[8 + i]);
	expect(s->number[0] == 3, why, "3 in a child, after one more was put in "
	       "vain", "%d", s->number[0]);
	expect(s->number[1] == 2, why, "2 in a child, after one was got", "%d",
	       s->number[1]);
	expect(s->number[12] == 1, why, "1 after another was got and the queue "
	       "was closed", "%d", s->number[12]);
	expect(s->number[13] == 0, why, "0 at the end", "%d", s->number[13]);
}

/* ---- several queues ----------------------------------------------------------------- */

static const char why_felt[] = "What is done with one queue is felt by "
	"another.";

/* One waits for an item of the first while the second is used and destroyed. */
static void wait_beside(void *arg)
{
	struct facts *s = arg;
	struct queue *other;
	int item = 9;

	if (!create(s, 2, sizeof item))
		return;
	other = create_one(2, sizeof item);
	if (other == NULL)
		return;
	start_waiting(0, getter, -1);
	s->number[1] = burns_time(0);
	queue_put(other, &item, 0);
	settle_child(0);
	s->early = gate_is_open(&s->done[0]);
	s->number[0] = !s->number[1] && burns_time(0);
	queue_destroy(other);
	put(5, 0);
	collect(s->pids[0]);
	queue_destroy(queue);
}

static void check_beside(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = wait_beside,
					 .shared = s });
	if (end.how == FENCE_FINISHED)
		expect_created(s);
	expect(!s->early && !s->number[0], why_felt, "who waits for an item of "
	       "the first queue sleeps while one is put into the second", "it "
	       "%s", s->early ? "comes back" : "looks again and again");
	if (end.how != FENCE_FINISHED)
		return;		/* who is not woken is judged below */
	expect(s->got[0] == 0 && s->items[0] == 5, why_felt, "it gets item 5 "
	       "when that is put into the first", "%s with item %d",
	       result(s->got[0], s->errs[0]), s->items[0]);
}

static void use_both(void *arg)
{
	struct queue *other;
	struct facts *s = arg;
	char word[10] = "";

	if (!create(s, 2, sizeof(int)))
		return;
	put(1, 0);
	other = create_one(3, sizeof word);
	if (other == NULL)
		return;
	put(2, 0);
	s->number[0] = queue_put(other, "one......", 0);
	s->number[1] = queue_put(other, "two......", 0);
	s->number[2] = put(3, 0);
	s->number[3] = (int)queue_qsize(other);
	queue_close(other);
	s->number[4] = get(0);
	s->number[5] = put(4, 0);
	queue_get(other, word, 0);
	s->number[6] = strcmp(word, "one......");
	queue_destroy(other);
	s->number[7] = get(0);
	s->number[8] = get(0);
	s->number[9] = get(0);
	queue_destroy(queue);
}

static void check_two(void)
{
	static const int right[] = { 0, 0, FULL, 2, 1, 0, 0, 2, 4, EMPTY };
	static const char *const what[] = {
		"a put into the second queue", "another one",
		"a put into the first, which is full", "queue_qsize of the "
		"second", "a get from the first after the second was closed",
		"a put into the first", "comparing what the second gives",
		"a get from the first after the second was destroyed",
		"the next one", "a get when it is empty" };
	struct facts *s = shared(sizeof *s);
	struct fence f = { .scenario = use_both, .shared = s };
	struct fence_end end = fence_try(&f);

	expect(end.how != FENCE_KILLED, why_felt, "one queue can be destroyed, "
	       "and the other works", "the caller was killed by %s",
	       strsignal(end.status));
	if (end.how != FENCE_FINISHED)
		fail_again(&f);
	expect_created(s);
	for (int i = 0; i < 10; i++)
		expect(s->number[i] == right[i], why_felt, text("%s: %d", what[i],
		       right[i]), "%d", s->number[i]);
	check_beside();
}

/* ---- arguments ----------------------------------------------------------- */

static const size_t zeros[][2] = { { 0, 8 }, { 8, 0 }, { 0, 0 } };
static const size_t huge[][2] = {
	{ 1, SIZE_MAX }, { SIZE_MAX, 1 }, { SIZE_MAX, SIZE_MAX },
	{ SIZE_MAX / 8 + 1, 8 }, { SIZE_MAX / 64 + 2, 64 },
	{ 2, SIZE_MAX / 2 + 1 }, { 1, SIZE_MAX - 100 },
};
enum { ZEROS = sizeof zeros / sizeof *zeros,
       HUGES = sizeof huge / sizeof *huge, TOO_WIDE = 1000 };

/* One that grows as it is filled may promise much; it must keep it. */
static bool holds_some(struct queue *q, size_t item_size)
{
	unsigned char in[64], out[64];

	if (item_size > sizeof in)
		return false;
	for (int i = 0; i < TOO_WIDE; i++) {
		memset(in, i, sizeof in);
		if (queue_put(q, in, 0) != 0)
			return false;
	}
	for (int i = 0; i < TOO_WIDE; i++) {
		memset(in, i, sizeof in);
		if (queue_get(q, out, 0) != 0 || memcmp(in, out, item_size))
			return false;
	}
	return true;
}

static void odd_arguments(void *arg)
{
	struct facts *s = facts = arg;
	struct queue *q;

	for (int i = 0; i < ZEROS; i++) {
		q = create_one(zeros[i][0], zeros[i][1]);
		s->number[i] = q != NULL ? -1 : s->error;
	}
	for (int i = 0; i < HUGES; i++) {
		q = create_one(huge[i][0], huge[i][1]);
		s->number[ZEROS + i] = q == NULL ? s->error :
			holds_some(q, huge[i][1]) ? 1 : -1;
	}
	if (!create(s, 2, sizeof(int)))
		return;
	errno = 0;
	s->got[0] = queue_put(queue, NULL, 0);
	s->errs[0] = errno;
	put(5, 0);
	errno = 0;
	s->got[1] = queue_get(queue, NULL, 0);
	s->errs[1] = errno;
	s->items[2] = get(0);
	s->items[3] = get(0);
	queue_destroy(queue);
}

static void check_arguments(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence f = { .scenario = odd_arguments, .shared = s,
			   .why_stuck = WHY_23 };
	struct fence_end end = fence_try(&f);

	expect(end.how != FENCE_KILLED, WHY_23, "queue_create, queue_put and "
	       "queue_get refuse what cannot be", "the caller was killed by %s",
	       strsignal(end.status));
	if (end.how != FENCE_FINISHED)
		fail_again(&f);
	for (int i = 0; i < ZEROS; i++)
		expect(s->number[i] == EINVAL, WHY_23, text("queue_create(%zu, "
		       "%zu) returns NULL, EINVAL", zeros[i][0], zeros[i][1]),
		       "%s", s->number[i] < 0 ? "a queue" :
		       text("NULL, %s", strerror(s->number[i])));
	for (int i = 0; i < HUGES; i++)
		expect(s->number[ZEROS + i] > 0, WHY_23, text("queue_create("
		       "%zu, %zu) returns NULL and an error, or a queue that "
		       "holds what it promises", huge[i][0], huge[i][1]), "%s",
		       s->number[ZEROS + i] < 0 ? "a queue that does not" :
		       "NULL, and errno is 0");
	expect_created(s);
	for (int i = 0; i < 2; i++)
		expect(s->got[i] == -1 && s->errs[i] == EINVAL, WHY_23,
		       text("%s without an item returns -1, EINVAL",
			    i ? "queue_get" : "queue_put"), "%s",
		       result(s->got[i], s->errs[i]));
	expect(s->items[2] == 5 && s->items[3] == EMPTY, WHY_23, "calls without "
	       "an item change nothing: item 5 is in it, and no other",
	       "%s, then %s", got(s->items[2]), got(s->items[3]));
}

/* ---- names ------------------------------------------------------------------------ */

static void create_and_wait(int i)
{
	(void)i;
	create(facts, 3, sizeof(int));
	if (facts->created)
		put(1, 0);
	gate_open(&facts->ready[0]);
	for (;;)
		pause();
}

static void kill_owner(void *arg)
{
	struct facts *s = facts = arg;

	child(0, create_and_wait);
	gate_wait(&s->ready[0]);
	kill(s->pids[0], SIGKILL);
	collect(s->pids[0]);
}

static void check_killed(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = kill_owner, .shared = s });
	expect_created(s);
	expect_clean("The program was killed, and what it had made is still "
		     "there for the next one.");
}

/* Two programs: each makes its own, and none knows the other's. */
static void run_program(int i)
{
	if (i == 1)
		gate_wait(&facts->ready[0]);
	queue = create_one(3, sizeof(int));
	if (queue == NULL)
		return;
	put(100 * i, 0);
	put(100 * i + 1, 0);
	gate_open(&facts->ready[i]);
	gate_wait(&facts->ready[1]);
	facts->number[2 * i] = get(0);
	facts->number[2 * i + 1] = (int)queue_qsize(queue);
	queue_destroy(queue);
}

static void two_programs(void *arg)
{
	struct facts *s = facts = arg;

	child(0, run_program);
	child(1, run_program);
	collect(s->pids[0]);
	collect(s->pids[1]);
}

static void check_two_programs(void)
{
	static const char why[] = "Another run of the same program is using "
				  "(or has left) the same name.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = two_programs, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	for (int i = 0; i < 2; i++)
		expect(s->number[2 * i] == 100 * i && s->number[2 * i + 1] == 1,
		       why, text("each of two programs gets what it has put: "
		       "%d, and one is left", 100 * i), "%s, and %d left",
		       got(s->number[2 * i]), s->number[2 * i + 1]);
	expect_clean(NULL);
}

static const struct check checks[] = {
	FUNCTION("a closed queue takes nothing and gives what it has",
		 check_closed, queue_close),
	FUNCTION("a queue knows how many items it has", check_qsize,
		 queue_qsize),
	FUNCTION("two queues know nothing of each other", check_two,
		 queue_create),
	FUNCTION("what cannot be is refused", check_arguments, queue_create),
	FUNCTION("two programs never meet", check_two_programs, queue_create),
	FUNCTION("a program that is killed leaves nothing behind", check_killed,
		 queue_create),
};

CHECKS("03-queue", checks);
