/* What goes through a queue, and in which order; nobody has to wait. */
#include "sizes.h"

#include <limits.h>
#include <sys/mman.h>

#define WHY_PATIENT "Who does not want to wait waits."

/* A scenario that did not come to its end: what fence() says of that. */
static void fail_again(const struct fence *f)
{
	memset(f->shared, 0, sizeof(struct facts));
	fence(f);
}

/* ---- another process ------------------------------------------------------- */

/* Its own memory is changed as soon as it is put. */
static void put_and_change(void *arg)
{
	struct facts *s = arg;
	int item = 5;

	if (!create(s, 3, sizeof item))
		return;
	queue_put(queue, &item, 0);
	item = 6;
	queue_put(queue, &item, 0);
	item = 7;
	s->number[0] = get(0);
	s->number[1] = get(0);
	queue_destroy(queue);
}

static void check_copied(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = put_and_change, .shared = s });
	expect_created(s);
	expect(s->number[0] >= 0 && s->number[1] >= 0, "What was put cannot be "
	       "got.", "5 and 6 are put and got", "%s and %s",
	       got(s->number[0]), got(s->number[1]));
	expect(s->number[0] != 7 && s->number[1] != 7, WHY_11, "an item is what "
	       "it was when it was put", "it is what its producer did with its "
	       "memory later");
}

static void put_five(int i)
{
	for (int k = 0; k < 5; k++)
		facts->got[i] += put(10 + k, 0);
}

static void child_puts(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 8, sizeof(int)))
		return;
	in_child(0, put_five);
	for (int k = 0; k < 5; k++)
		s->number[k] = get(0);
	s->number[5] = get(0);
	queue_destroy(queue);
}

static const char why_private[] = "L03-11 What lies in memory of the producer "
	"alone the consumer never sees.";

static void check_shared(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence f = { .scenario = child_puts, .shared = s,
			   .why_stuck = WHY_PATIENT };
	struct fence_end end = fence_try(&f);

	expect(end.how != FENCE_KILLED || s->got[0] != 0, why_private,
	       "the parent gets what a child has put", "killed by %s",
	       strsignal(end.status));
	if (end.how != FENCE_FINISHED)
		fail_again(&f);
	expect_created(s);
	expect(s->got[0] == 0, "There is room, and it is not given.",
	       "a child puts 5 items into a queue for 8: 0", "not 0");
	expect(s->number[0] != EMPTY, WHY_01, "5 items put by a child are got "
	       "by its parent", "the queue is empty for it");
	for (int k = 0; k < 5; k++)
		expect(s->number[k] == 10 + k, s->number[k] == EMPTY ? "An item "
		       "was put, and is not there." : s->number[k] >= 10 &&
		       s->number[k] < 15 ? WHY_08 : why_private,
		       text("what is got is item %d", 10 + k), "%s",
		       got(s->number[k]));
	expect(s->number[5] == EMPTY, "An item is got that nobody put.",
	       "after 5 items the queue is empty", "%s", got(s->number[5]));
}

/* Parent, child and grandchild in turn: each puts when the one before has. */
static void put_as_third(int i)
{
	put(3, 0);
	put(4, 0);
	facts->number[i] = get(0);
}

static void put_as_second(int i)
{
	put(2, 0);
	in_child(i + 1, put_as_third);
	put(5, 0);
}

static void family_puts(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 10, sizeof(int)))
		return;
	put(1, 0);
	in_child(1, put_as_second);
	put(6, 0);
	for (int k = 2; k <= 6; k++)
		s->number[10 + k] = get(0);
	s->number[17] = get(0);
	queue_destroy(queue);
}

static void check_family(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = family_puts, .shared = s });
	expect_created(s);
	expect(s->number[2] == 1, s->number[2] > 1 ? WHY_08 : WHY_01,
	       "a grandchild gets item 1, the oldest", "%s",
	       got(s->number[2]));
	for (int k = 2; k <= 6; k++)
		expect(s->number[10 + k] == k, s->number[10 + k] > 0 ? WHY_08 :
		       WHY_01, text("three processes put one after the other, "
		       "and the next item is %d", k), "%s",
		       got(s->number[10 + k]));
	expect(s->number[17] == EMPTY, "An item is got that nobody put.",
	       "the queue is empty", "%s", got(s->number[17]));
}

/* ---- how many, and in which order ------------------------------------------- */

static const int sizes[] = { 1, 2, 3, 10, 64, 256 };
enum { SIZES = sizeof sizes / sizeof *sizes, ROUNDS = 5 };

/*
 * Each round begins somewhere else in the ring, if it is one; and 256 does not
 * fit into a byte.
 */
static void fill_and_empty(struct facts *s, int i)
{
	int n = sizes[i], in, out, rounds = n > 64 ? 1 : ROUNDS;

	for (int round = 0; round < rounds; round++) {
		for (in = 0; in <= n && put(in % 100 + 1, 0) == 0; in++)
			;
		for (out = 0; out <= in && get(0) != EMPTY; out++)
			;
		if (in != n || out != in) {
			s->number[0] = n;
			s->number[1] = in;
			s->number[2] = out;
			return;
		}
		put(1, 0);
		get(0);
	}
}

static void count_room(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < SIZES && s->number[0] == 0; i++) {
		if (!create(s, (size_t)sizes[i], sizeof(int)))
			return;
		fill_and_empty(s, i);
		queue_destroy(queue);
	}
}

static void check_room(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = count_room, .shared = s,
			       .why_stuck = WHY_PATIENT });
	expect_created(s);
	if (s->number[0] == 0)
		return;
	expect(s->number[1] == s->number[0], s->number[1] == 0 ? WHY_07 :
	       s->number[1] < s->number[0] ? "L03-07 The queue calls itself "
	       "full before it is." : "L03-07 The queue takes more than it can "
	       "hold.", text("a queue for %d takes %d items", s->number[0],
	       s->number[0]), "it took %d%s", s->number[1],
	       s->number[1] > s->number[0] ? " or more" : "");
	expect(s->number[2] == s->number[1], WHY_07, text("%d items are got "
	       "from a queue that took %d", s->number[1], s->number[1]),
	       "%d were", s->number[2]);
}

/* Puts and gets alternate unevenly. number[0]: the first item that is wrong */
static void keep_order(void *arg)
{
	struct facts *s = arg;
	int in = 0, out = 0, item;

	if (!create(s, 7, sizeof(int)))
		return;
	while (out < 500 && s->number[0] == 0) {
		for (int k = 0; k < 1 + in % 5 && put(in + 1, 0) == 0; k++)
			in++;
		for (int k = 0; k < 1 + out % 3 && out < in; k++) {
			item = get(0);
			if (item != out + 1) {
				s->number[0] = 1;
				s->number[1] = out + 1;
				s->number[2] = item;
				return;
			}
			out++;
		}
	}
	queue_destroy(queue);
}

static void check_order(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = keep_order, .shared = s });
	expect_created(s);
	expect(s->number[0] == 0, WHY_08, text("the oldest item is %d",
	       s->number[1]), "%s", got(s->number[2]));
}

/* ---- what is in an item -------------------------------------------------------- */

static const int odd_items[] = { 0, -1, INT_MIN, INT_MAX, 0, 0, -1, 1, 0x5a5a5a5a };
enum { ODD = sizeof odd_items / sizeof *odd_items };

static void put_odd(int i)
{
	(void)i;
	for (int k = 0; k < ODD; k++)
		queue_put(queue, &odd_items[k], 0);
}

static void any_item(void *arg)
{
	struct facts *s = arg;
	struct queue *bytes;
	unsigned char byte;
	int item;

	if (!create(s, ODD, sizeof(int)))
		return;
	in_child(0, put_odd);
	for (int k = 0; k < ODD && s->number[0] == 0; k++) {
		item = 0x77777777;
		s->number[0] = queue_get(queue, &item, 0) != 0 ||
			       item != odd_items[k];
		s->number[1] = k;
	}
	queue_destroy(queue);
	bytes = create_one(256, 1);
	if (bytes == NULL)
		return;
	for (int k = 0; k < 256; k++) {
		byte = (unsigned char)k;
		queue_put(bytes, &byte, 0);
	}
	for (int k = 0; k < 256; k++) {
		byte = (unsigned char)~k;
		s->number[2] += queue_get(bytes, &byte, 0) != 0 || byte != k;
	}
	queue_destroy(bytes);
}

static void check_any_item(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = any_item, .shared = s,
			       .why_stuck = WHY_13 });
	expect_created(s);
	expect(s->number[0] == 0, WHY_13, text("%d goes through like any other "
	       "item", odd_items[s->number[1]]), "it is not got");
	expect(s->number[2] == 0, WHY_13, "each of the 256 bytes goes through",
	       "%d of them do not", s->number[2]);
}

static void check_small_sizes(void)
{
	check_sizes(0, SMALL);
}

/* ---- nothing is said, and nothing stays ------------------------------------------------ */

static void all_answers(struct facts *s)
{
	put(1, 1);
	put(2, 0);
	put(3, 0);				/* full */
	queue_put(queue, NULL, 0);
	get(0);
	get(1);
	get(0);					/* empty */
	queue_get(queue, NULL, 0);
	queue_close(queue);
	put(4, 0);				/* closed */
	get(0);
	facts = s;
	create_one(0, 0);
}

static void in_silence(void *arg)
{
	struct facts *s = arg;

	capture_output();
	if (!create(s, 2, sizeof(int)))
		return;
	all_answers(s);
	s->created = 1;
	s->number[0] = captured(NULL, 0);
	queue_destroy(queue);
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = in_silence, .shared = s });
	expect_created(s);
	expect_silence(s->number[0]);
	expect_signals();
}

/* ---- for long ------------------------------------------------------------- */

enum { LONG = 66000 };		/* more than 16 bits can count, or a pipe holds */

/* Two in, two out; the room for seven is used in turn. */
static void put_and_get_for_long(void *arg)
{
	struct facts *s = arg;

	if (!create(s, 7, sizeof(int)))
		return;
	for (int i = 0; i < LONG && s->number[1] == s->number[2]; i += 2) {
		put(i, 0);
		put(i + 1, 0);
		s->number[1] = i;
		s->number[2] = get(0);
		if (s->number[2] == i) {
			s->number[1] = i + 1;
			s->number[2] = get(0);
		}
	}
	queue_destroy(queue);
}

static void check_long(void)
{
	static const char why[] = "A number that only ever grows comes to its "
		"end, or something fills up.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = put_and_get_for_long, .shared = s,
			       .limit = 60, .why_stuck = why });
	expect_created(s);
	expect(s->number[2] == s->number[1], why, text("item %d comes after "
	       "item %d", s->number[1], s->number[1] - 1), "%s",
	       got(s->number[2]));
	expect(s->number[1] == LONG - 1, why, text("%d items", LONG), "%d",
	       s->number[1]);
}

static const struct check checks[] = {
	FUNCTION("an item is what it was when it was put", check_copied,
		 queue_put),
	FUNCTION("what a child puts its parent gets", check_shared,
		 queue_create),
	FUNCTION("a queue holds as many items as was said", check_room,
		 queue_put),
	FUNCTION("any bytes are a legal item", check_any_item, queue_put),
	FUNCTION("what went in first comes out first", check_order, queue_get),
	FUNCTION("a put that has returned comes before the next, whoever puts",
		 check_family, queue_get),
	FUNCTION("items of any size arrive as they were put", check_small_sizes,
		 queue_get),
	FUNCTION("nothing is printed, and no signal blocked", check_silence,
		 queue_put),
	{ "leftovers", "a queue works for as long as it is used", check_long,
	  (const void *)queue_get },
};

CHECKS("03-queue", checks);
