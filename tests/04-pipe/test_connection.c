/* Messages: they arrive whole, as they were sent, in their order, whatever is
 * in them and whoever else is talking. */
#include "facts.h"

#include <limits.h>

/* ---- nothing said yet ----------------------------------------------- */

static void make_and_close(void *arg)
{
	struct facts *s = arg;

	for (int duplex = 0; duplex < 2 && make_pair(s, duplex); duplex++) {
		connection_close(&mine);
		connection_close(&theirs);
	}
}

static void check_filled_in(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = make_and_close,
					 .shared = s });
	expect(end.how != FENCE_KILLED, "What the caller's memory held is "
	       "taken for a part of the connection.", "connection_pair fills "
	       "in all of both structs; connection_close returns",
	       "killed by %s", strsignal(end.status));
}

/* ---- one message ---------------------------------------------------- */

static void hear_one(void)
{
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go[0]);
	hear(&theirs, 0, 1, 100);
}

/* Nobody receives yet: what comes back is our own. */
static void listen_to_ourselves(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(hear_one);
	gate_wait(&s->ready[0]);
	say(&mine, 0, 1, 60);
	s->polled[0] = connection_poll(&mine, 0);
	if (s->polled[0] == 1)
		hear(&mine, 1, 1, 100);
	gate_open(&s->go[0]);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_own_words(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = listen_to_ourselves, .shared = s,
			       .why_stuck = WHY_01 });
	expect_made(s);
	expect(s->heard[1].got != CONNECTION_EOF, "Closing a copy of an end "
	       "has ended the connection for those who have another one.",
	       "both sides still have an end", "connection_recv returned "
	       "CONNECTION_EOF");
	expect(s->polled[0] == 0, WHY_01, "we have sent, and there is nothing "
	       "for us to receive", "connection_poll returned %d",
	       s->polled[0]);
	expect_said(s, 0, "What succeeds is reported as failed.");
	expect_bytes(s, 0, 60, WHY_OTHER);
}

/* Somebody waits, and then a message comes. */
static void hear_later(void)
{
	gate_open(&facts->ready[0]);
	hear(&theirs, 0, 1, 100);
}

static void say_later(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(hear_later);
	gate_wait(&s->ready[0]);
	settle(s->pids[0]);
	say(&mine, 0, 1, 60);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_waits(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = say_later, .shared = s });
	expect_made(s);
	expect_bytes(s, 0, 60, "Nothing had come yet, and you did not wait "
		     "for it.");
}

/* The messages are written after the fork, where the other side has another
 * one: an address would be good for nothing. */
static char letter[] = "an old letter, which nobody sends";

static void read_letter(void)
{
	char got[100];
	ssize_t n;

	gate_wait(&facts->go[0]);
	n = connection_recv(&theirs, got, sizeof got);
	facts->heard[0].got = n;
	facts->heard[0].error = errno;
	facts->heard[0].called = true;
	if (n != sizeof letter)
		return;
	facts->number[0] = memcmp(got, letter, sizeof letter) == 0 ? 2 : 0;
	for (size_t i = 0; i < sizeof letter; i++)
		if (got[i] != "a new letter, and nobody had it.."[i])
			return;
	facts->number[0] = 1;
}

static void write_letter(void *arg)
{
	struct facts *s = arg;

	if (!make_pair_to_send(s, s->number[15]))
		return;
	partner(read_letter);
	strcpy(letter, "a new letter, and nobody had it..");
	errno = 0;
	s->said[0].got = connection_send(&mine, letter, sizeof letter);
	s->said[0].error = errno;
	s->said[0].called = true;
	strcpy(letter, "what comes later is not in there.");
	gate_open(&s->go[0]);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_letter(void)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = write_letter,
				       .shared = s });
		expect_made(s);
		expect_said(s, 0, "What succeeds is reported as failed.");
		expect(s->heard[0].got == sizeof letter, WHY_OTHER,
		       text("connection_recv returns %zu", sizeof letter),
		       "%s", result_text(&s->heard[0]));
		expect(s->number[0] != 2, WHY_16, "what the sender has "
		       "written", "what had been there before the fork");
		expect(s->number[0] == 1, WHY_OTHER, "what was sent",
		       "something else");
	}
}

/* ---- borders -------------------------------------------------------- */

static void say_three(void)
{
	say(&theirs, 0, 0, 5);
	say(&theirs, 1, 1, 3);
	say(&theirs, 2, 2, 100);
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go[0]);
	for (int i = 3; i < 6; i++)
		say(&theirs, i, i, 0);
	say(&theirs, 6, 6, 1);
	say(&theirs, 7, 7, 0);
	gate_wait(&facts->go[1]);
}

static void hear_three(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(say_three);
	gate_wait(&s->ready[0]);
	for (int i = 0; i < 3; i++)
		hear(&mine, i, i, 400);
	gate_open(&s->go[0]);
	if (s->heard[2].got == 100)
		for (int i = 3; i < 8; i++)
			hear(&mine, i, i, 50);
	gate_open(&s->go[1]);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_borders(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = hear_three, .shared = s,
			       .why_stuck = WHY_02 });
	expect_made(s);
	expect_bytes(s, 0, 5, WHY_02);
	expect_bytes(s, 1, 3, WHY_02);
	expect_bytes(s, 2, 100, WHY_02);
}

static void check_empty(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = hear_three, .shared = s,
			       .why_stuck = WHY_10 });
	for (int i = 3; i < 8; i++) {
		expect_said(s, i, WHY_10);
		expect_bytes(s, i, i == 6, WHY_10);
	}
}

/* ---- the end of file ------------------------------------------------ */

/* How the other side goes, after two messages. */
enum { CLOSES, EXITS, IS_KILLED, WAYS_TO_GO };

static void say_and_go(void)
{
	say(&theirs, 0, 0, 30);
	say(&theirs, 1, 1, 1900);
	say(&theirs, 2, 2, 0);
	if (facts->number[14] == CLOSES) {
		connection_close(&theirs);
		gate_open(&facts->ready[0]);
		gate_wait(&facts->go[0]);
	}
	if (facts->number[14] == IS_KILLED)
		raise(SIGKILL);
	gate_open(&facts->ready[0]);
}

static void hear_the_end(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	partner(say_and_go);
	if (s->number[14] == IS_KILLED)
		wait_until_ended(s->pids[0]);
	else
		gate_wait(&s->ready[0]);
	for (int i = 0; i < 5; i++)
		hear(&mine, i, i, 3000);
	if (s->number[13])
		s->polled[0] = connection_poll(&mine, -1);
	gate_open(&s->go[0]);
	collect(s->pids[0]);
	connection_close(&mine);
}

/* They go, and have not read what we sent. */
static void go_unheard(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	say(&mine, 0, 0, 10);
	connection_close(&theirs);
	hear(&mine, 0, 0, 100);
	connection_close(&mine);
}

static void check_unheard(void)
{
	struct facts *s = shared(sizeof *s);
	const struct heard *h = &s->heard[0];

	make_messages();
	fence(&(struct fence){ .scenario = go_unheard, .shared = s,
			       .limit = 5, .why_stuck = WHY_08 });
	expect_made(s);
	expect(h->got == CONNECTION_EOF ||
	       (h->got == -1 && h->error == ECONNRESET), "The other side has "
	       "gone between two messages: nothing broke off.",
	       "CONNECTION_EOF, or -1, ECONNRESET", "%s", result_text(h));
}

static void check_end(void)
{
	static const char *const went[] = { "closed", "exited",
					    "was killed" };

	for (int i = 0; i < WAYS_TO_GO + 2; i++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[14] = i % WAYS_TO_GO;
		s->number[15] = i / WAYS_TO_GO;
		fence(&(struct fence){ .scenario = hear_the_end, .shared = s,
				       .limit = 5, .why_stuck = WHY_08 });
		expect_made(s);
		for (int k = 0; k < 3; k++)
			expect_bytes(s, k, (size_t[]){ 30, 1900, 0 }[k],
				     text("What was sent before the other "
					  "side %s is lost.",
					  went[s->number[14]]));
		expect_eof(s, 3, WHY_08);
		expect_eof(s, 4, "The end of file is no end any more when it "
			   "is asked for again.");
	}
	check_unheard();
}

static void check_end_polled(void)
{
	static const char why[] = "The end of file is there, and nobody is "
		"told.";

	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[13] = true;
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = hear_the_end, .shared = s,
				       .limit = 5, .why_stuck = why });
		expect_made(s);
		expect(s->polled[0] == 1, why, "connection_poll returns 1",
		       "%d", s->polled[0]);
	}
}

/* Two connections, two children; one of them goes. Everybody has closed what
 * they do not use, and the library keeps nothing. */
static struct connection ours[2], yours[2];

static void stay_or_go(int i)
{
	for (int k = 0; k < 2; k++) {
		connection_close(&ours[k]);
		if (k != i)
			connection_close(&yours[k]);
	}
	connection_send(&yours[i], message(i), 10);
	if (i == 1)
		gate_wait(&facts->go[0]);
	connection_close(&yours[i]);
}

static void one_goes(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = 0; i < 2; i++)
		s->made |= connection_pair(&ours[i], &yours[i], true);
	if (s->made != 0)
		return;
	for (int i = 0; i < 2; i++) {
		s->pids[i] = fork();
		if (s->pids[i] == 0) {
			stay_or_go(i);
			_exit(0);
		}
	}
	connection_close(&yours[0]);
	connection_close(&yours[1]);
	for (int i = 0; i < 2; i++)
		hear(&ours[0], i, 0, 20);
	gate_open(&s->go[0]);
	for (int i = 2; i < 4; i++)
		hear(&ours[1], i, 1, 20);
	for (int i = 0; i < 2; i++) {
		connection_close(&ours[i]);
		collect(s->pids[i]);
	}
}

static void check_siblings(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = one_goes, .shared = s,
			       .why_stuck = WHY_08 });
	expect_made(s);
	expect_bytes(s, 0, 10, WHY_OTHER);
	expect_eof(s, 1, WHY_08);
	expect_bytes(s, 2, 10, WHY_OTHER);
	expect_eof(s, 3, WHY_08);
}

/* ---- whatever is in it ---------------------------------------------- */

static unsigned char odd[24][300];
static size_t odd_size[24];
static int odds;

static void add_odd(const void *p, size_t n)
{
	memcpy(odd[odds], p, n);
	odd_size[odds++] = n;
}

/* What a line, a string, a number or an end may look like. */
static void make_odd(void)
{
	unsigned char all[256], same[300];

	for (int i = 0; i < 256; i++)
		all[i] = (unsigned char)i;
	add_odd(all, sizeof all);
	add_odd("\n", 1);
	add_odd("\0", 1);
	add_odd("\0\0\0\0\0\0\0\0\0", 9);
	add_odd("12\nabc", 6);
	add_odd("3:abc,", 6);
	add_odd("a\0b", 3);
	add_odd("\r\n\r\n", 4);
	add_odd("\x04", 1);
	add_odd("EOF", 3);
	add_odd("quit", 4);
	add_odd("\xff\xff\xff\xff\xff\xff\xff\xff", 8);
	add_odd("\x7f\x80\x81\xc0\xdb\xdc\xdd", 7);
	add_odd("%s%n%d", 6);
	add_odd("-1", 2);
	for (int c = 0; c < 4; c++) {
		memset(same, "\0\n\xff "[c], sizeof same);
		add_odd(same, sizeof same);
	}
}

static void say_odd(void)
{
	for (int i = 0; i < odds; i++)
		connection_send(&theirs, odd[i], odd_size[i]);
}

static void hear_odd(void *arg)
{
	struct facts *s = arg;
	ssize_t n;

	if (!make_pair(s, true))
		return;
	make_odd();
	partner(say_odd);
	for (int i = 0; i < odds && s->number[0] == 0; i++) {
		memset(into, 0xa5, 2 * sizeof odd[0]);
		n = connection_recv(&mine, into, 2 * sizeof odd[0]);
		s->longs[0] = n;
		if (n != (ssize_t)odd_size[i] ||
		    memcmp(into, odd[i], odd_size[i]) != 0)
			s->number[0] = i + 1;
	}
	s->longs[1] = odd_size[s->number[0] - 1 + !s->number[0]];
	s->number[1] = odds;
	kill(s->pids[0], SIGKILL);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_odd(void)
{
	static const char why[] = "A byte of the message was taken for a "
		"sign of something else.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = hear_odd, .shared = s,
			       .why_stuck = why });
	expect_made(s);
	expect(s->number[0] == 0, why, text("%d messages of all kinds of "
	       "bytes arrive as they were sent", (int)s->number[1]),
	       "number %d, of %ld bytes, does not: connection_recv returned "
	       "%ld", s->number[0], s->longs[1], s->longs[0]);
}

/* ---- how long it is ------------------------------------------------- */

static const size_t sizes[] = {
	1, 9, 10, 99, 100, 127, 128, 254, 255, 256, 257, 999, 1000, 4095, 4096,
	4097, 8192, 9999, 10000, 16383, 16384, 32767, 32768, 65531, 65535,
	65536, 65537, 100000, 131072, 262144, 999999, 1 << 20, (2 << 20) + 1,
};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void say_sizes(void)
{
	for (int i = 0; i < facts->number[14]; i++)
		if (!say(&theirs, i, i, sizes[i]))
			return;
}

static void hear_sizes(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	partner(say_sizes);
	for (int i = 0; i < s->number[14]; i++)
		if (!hear(&mine, i, i, sizes[i] + 1) ||
		    s->heard[i].wrong >= 0)
			break;
	connection_close(&mine);
	collect(s->pids[0]);
}

static void with_sizes(int n)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[14] = n;
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = hear_sizes, .shared = s,
				       .why_stuck = WHY_LENGTH });
		expect_made(s);
		for (int i = 0; i < n; i++) {
			expect_bytes(s, i, sizes[i], WHY_LENGTH);
			expect_said(s, i, WHY_LENGTH);
		}
	}
}

/* As long as a pipe takes them at once. */
static void check_short_sizes(void)
{
	int n = 0;

	while (sizes[n] <= 4000)
		n++;
	with_sizes(n);
}

static void check_sizes(void)
{
	with_sizes(SIZES);
}

static void say_longest(void)
{
	say(&theirs, 0, 3, CONNECTION_MAX);
	say(&theirs, 1, 4, 7);
}

static void hear_longest(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(say_longest);
	hear(&mine, 0, 3, CONNECTION_MAX);
	hear(&mine, 1, 4, 7);
	connection_close(&mine);
	collect(s->pids[0]);
}

static void check_longest(void)
{
	struct facts *s = shared(sizeof *s);

	fill_messages(sizeof pattern);
	fence(&(struct fence){ .scenario = hear_longest, .shared = s,
			       .why_stuck = WHY_LENGTH });
	expect_made(s);
	expect_said(s, 0, WHY_LENGTH);
	expect_heard(s, 0, CONNECTION_MAX, WHY_LENGTH);
	expect_heard(s, 1, 7, WHY_02);
}

/* Of these only the length is looked at. */
static const size_t too_long[] = { CONNECTION_MAX + 1, 1ul << 31, 1ul << 32,
				   (1ul << 32) + 5, SIZE_MAX, SIZE_MAX - 7,
				   SSIZE_MAX };
enum { TOO_LONG = sizeof too_long / sizeof *too_long };

static void say_too_much(void)
{
	say(&theirs, 0, 0, 10);
	for (int i = 0; i < TOO_LONG; i++) {
		say(&theirs, i + 1, 0, too_long[i]);
		if (facts->said[i + 1].got == 0)
			return;
	}
	say(&theirs, 10, 1, 20);
}

static void hear_too_much(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(say_too_much);
	hear(&mine, 0, 0, 100);
	collect(s->pids[0]);
	if (s->said[10].called)
		hear(&mine, 1, 1, 100);
	connection_close(&mine);
}

static void check_too_long(void)
{
	static const char why[] = "A message longer than CONNECTION_MAX was "
		"not refused before anything of it was sent.";
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	make_messages();
	end = fence_try(&(struct fence){ .scenario = hear_too_much,
					 .shared = s, .limit = 10 });
	expect(end.how == FENCE_FINISHED, why, "connection_send returns -1, "
	       "EMSGSIZE", "it does not come to an end");
	expect_made(s);
	expect_heard(s, 0, 10, WHY_02);
	for (int i = 0; i < TOO_LONG; i++)
		expect_failed(&s->said[i + 1],
			      text("connection_send of %zu bytes",
				   too_long[i]), EMSGSIZE, 0, why);
	expect_heard(s, 1, 20, why);
}

/* ---- the caller's buffer -------------------------------------------- */

static void say_for_buffers(void)
{
	static const size_t n[] = { 26, 40000, 100, 30, 100, 0, 5, MIB, 12,
				    100 };

	for (int i = 0; i < 10; i++)
		say(&theirs, i, i, n[i]);
}

static void hear_in_buffers(void *arg)
{
	static const size_t max[] = { 26, MIB, 10, 30, 0, 0, 5, 1000, 12, 99 };
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	settle(partner(say_for_buffers));	/* some wait behind each */
	for (int i = 0; i < 10; i++)
		if (!hear(&mine, i, i, max[i]) &&
		    s->heard[i].error != EMSGSIZE)
			break;
	hear(&mine, 10, 0, 10);
	connection_close(&mine);
	collect(s->pids[0]);
}

static void expect_buffers(const struct facts *s)
{
	expect_heard(s, 0, 26, "A message that just fits is refused.");
	expect_heard(s, 1, 40000, WHY_02);
	for (int i = 2; i < 8; i++) {
		if (i == 3)
			expect_heard(s, i, 30, WHY_13);
		else if (i == 5)
			expect_heard(s, i, 0, WHY_13);
		else if (i == 6)
			expect_heard(s, i, 5, WHY_13);
		else
			expect_failed(&s->heard[i], "connection_recv of more "
				      "than fits", EMSGSIZE, 0, WHY_13);
		expect(!s->heard[i].spilled, WHY_07, "nothing is written "
		       "behind the room for the message", "something was");
	}
	expect_heard(s, 8, 12, WHY_13);
	expect_failed(&s->heard[9], "connection_recv of 100 bytes into 99",
		      EMSGSIZE, 0, WHY_13);
	expect_eof(s, 10, WHY_13);
}

static void check_buffers(void)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = hear_in_buffers,
				       .shared = s, .why_stuck = WHY_13 });
		expect_made(s);
		expect_buffers(s);
	}
}

/* Once sent it is sent: the sender may use its memory for something else. */
static void say_and_overwrite(void)
{
	static unsigned char page[8 * 4096]
		__attribute__((aligned(4096)));

	for (int i = 0; i < 3; i++) {
		memcpy(page, message(i), sizeof page);
		connection_send(&theirs, page, i == 0 ? 50 : i * 2 * 4096);
		memset(page, 'x', sizeof page);
	}
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go[0]);
}

static void hear_what_was(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	partner(say_and_overwrite);
	gate_wait(&s->ready[0]);
	for (int i = 0; i < 3; i++)
		hear(&mine, i, i, sizeof into - CANARY);
	gate_open(&s->go[0]);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_overwritten(void)
{
	static const char why[] = "What was sent still changes with the "
		"sender's memory.";

	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = hear_what_was,
				       .shared = s });
		expect_made(s);
		for (int i = 0; i < 3; i++) {
			expect(s->heard[i].wrong < 0, why, "the bytes as they "
			       "were when they were sent", "byte %ld is "
			       "another", s->heard[i].wrong);
			expect_heard(s, i, i == 0 ? 50 : (size_t)i * 8192,
				     WHY_02);
		}
	}
}

/* ---- many of them --------------------------------------------------- */

enum { MANY = 700 };

static size_t size_of(int i)
{
	return (size_t)i * 37 % 301 + (i % 50 == 7 ? 9500 : 0);
}

static void say_many(void)
{
	for (int i = 0; i < MANY; i++)
		if (connection_send(&theirs, message(i), size_of(i)) != 0)
			return;
}

static void hear_many(void *arg)
{
	struct facts *s = arg;
	ssize_t n;

	if (!make_pair(s, true))
		return;
	narrow_ways();
	partner(say_many);
	for (int i = 0; i < MANY; i++) {
		n = connection_recv(&mine, into, 30000);
		if (n != (ssize_t)size_of(i) ||
		    first_wrong(into, i, size_of(i)) >= 0)
			break;
		s->number[0]++;
	}
	hear(&mine, 0, 0, 10);
	connection_close(&mine);
	collect(s->pids[0]);
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = hear_many, .shared = s,
			       .why_stuck = WHY_04 });
	expect_made(s);
	expect(s->number[0] == MANY, WHY_04, text("%d messages through a "
	       "narrow way, in their order, whole", MANY),
	       "the %d. is another", s->number[0] + 1);
	expect_eof(s, 0, "All has been received, and the end is not seen.");
}

/* ---- piece by piece ------------------------------------------------- */

static void hear_pieces(void)
{
	be_interruptible();
	gate_open(&facts->ready[0]);
	for (int i = 0; i < 2; i++)
		hear(&theirs, i, i + 1, 100);
}

/* The bytes of two messages, a few at a time, to somebody who waits. A piece
 * of the second one is there when it is asked for. */
static void piecemeal(void *arg)
{
	struct facts *s = arg;
	size_t done = 0, piece;

	if (!make_pair(s, true))
		return;
	s->number[0] = is_stream(theirs.rfd);
	if (!s->number[0]) {
		connection_close(&mine);
		connection_close(&theirs);
		return;
	}
	say(&mine, 0, 1, 20);
	say(&mine, 1, 2, 40);
	s->n_raw = drain(theirs.rfd, s->raw, sizeof s->raw);
	partner(hear_pieces);
	gate_wait(&s->ready[0]);
	while (done < s->n_raw && settle(s->pids[0])) {
		if (s->number[15]) {
			kill(s->pids[0], SIGUSR1);
			settle(s->pids[0]);
		}
		piece = done < 10 ? 1 : 13;
		if (piece > s->n_raw - done)
			piece = s->n_raw - done;
		pour(mine.wfd, s->raw + done, piece);
		done += piece;
	}
	connection_close(&mine);
	collect(s->pids[0]);
}

static void in_pieces(bool interrupted, const char *why)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	s->number[15] = interrupted;
	fence(&(struct fence){ .scenario = piecemeal, .shared = s,
			       .why_stuck = why });
	expect_made(s);
	if (!s->number[0])
		skip_check("not exercised: what is on its way has borders");
	expect_bytes(s, 0, 20, why);
	expect_bytes(s, 1, 40, why);
}

static void check_pieces(void)
{
	in_pieces(false, WHY_04);
}

static void check_interrupted_pieces(void)
{
	in_pieces(true, WHY_05);
}

/* ---- both at once --------------------------------------------------- */

static void talk_both(struct connection *c, int me, int n, size_t size)
{
	for (int i = 0; i < n; i++)
		say(c, 10 * me + i, 10 * me + i, size);
	for (int i = 0; i < n; i++)
		hear(c, 10 * me + i, 10 * (1 - me) + i, size);
}

static void other_talker(void)
{
	meeting_wait((struct meeting *)&facts->ready[7], 2);
	talk_both(&theirs, 1, facts->number[0], (size_t)facts->longs[0]);
}

static void both_talk(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(other_talker);
	meeting_wait((struct meeting *)&s->ready[7], 2);
	talk_both(&mine, 0, s->number[0], (size_t)s->longs[0]);
	collect(s->pids[0]);
	hear(&mine, 9, 0, 10);
	connection_close(&mine);
}

static void at_once(int n, size_t size)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	s->number[0] = n;
	s->longs[0] = (long)size;
	fence(&(struct fence){ .scenario = both_talk, .shared = s,
			       .why_stuck = WHY_14 });
	expect_made(s);
	for (int i = 0; i < 2 * n; i++)
		expect_bytes(s, i < n ? i : 10 + i - n, size, WHY_INBOX);
	for (int i = 0; i < 2 * n; i++)
		expect_said(s, i < n ? i : 10 + i - n, WHY_14);
	expect_eof(s, 9, "All has been received, and the end is not seen.");
}

static void check_both(void)
{
	at_once(1, MIB);
}

static void check_both_long(void)
{
	at_once(1, CONNECTION_MAX);
}

static void check_both_many(void)
{
	at_once(8, 400000);
}

/* ---- what arrived while we were sending ----------------------------- */

/* They send a few, and receive only when we have taken them in and wait. */
static void say_few_first(void)
{
	static const size_t n[] = { 5, 0, 20000, 1, 700 };

	for (int i = 0; i < 5; i++)
		say(&theirs, 10 + i, 10 + i, n[i]);
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go[0]);
	hear(&theirs, 10, 0, 4 * MIB);
	gate_wait(&facts->go[1]);
	say(&theirs, 15, 15, 33);
	gate_open(&facts->ready[2]);
	hear(&theirs, 11, 1, 10);
}

static void when_we_wait(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->ready[1]);
	settle(fence_pid());
	gate_open(&s->go[0]);
}

static void collect_inbox(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(say_few_first);
	gate_wait(&s->ready[0]);
	gate_open(&s->ready[1]);
	say(&mine, 0, 0, 4 * MIB);
	s->polled[0] = connection_poll(&mine, 0);
	hear(&mine, 0, 10, 100);
	s->polled[1] = connection_poll(&mine, 0.001);
	gate_open(&s->go[1]);
	gate_wait(&s->ready[2]);	/* and more is on its way */
	hear(&mine, 1, 11, 100);
	s->polled[2] = connection_poll(&mine, 0);
	hear(&mine, 2, 12, 100);	/* too long for that */
	say(&mine, 1, 1, 10);		/* in the middle of them */
	hear(&mine, 3, 13, 100);
	s->polled[3] = connection_poll(&mine, 0.001);
	hear(&mine, 4, 14, 700);
	collect(s->pids[0]);
	hear(&mine, 5, 15, 100);
	hear(&mine, 6, 0, 100);
	connection_close(&mine);
}

static void check_inbox(void)
{
	static const char why[] = WHY_INBOX;
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = collect_inbox, .shared = s,
			       .director = when_we_wait, .why_stuck = why });
	expect_made(s);
	expect_said(s, 0, WHY_14);
	expect_heard(s, 0, 5, why);
	expect_heard(s, 1, 0, why);
	expect_failed(&s->heard[2], "connection_recv of 20000 bytes into 100",
		      EMSGSIZE, 0, why);
	expect_heard(s, 3, 1, why);
	expect_heard(s, 4, 700, why);
	expect_heard(s, 5, 33, why);
	expect_eof(s, 6, why);
	for (int i = 0; i < 4; i++)
		expect(s->polled[i] == 1, why, "messages are there: "
		       "connection_poll returns 1", "%d", s->polled[i]);
}

/* ---- two connections ------------------------------------------------ */

static struct connection a[2], b[2];
static int who;

static void one_of_two(void)
{
	say(&b[who], 20 + who, 20 + who, 2 * MIB);
	hear(&b[who], 20 + who, 10 + who, 2 * MIB);
}

static void start_one_of_two(struct facts *s, int i)
{
	who = i;
	s->pids[i] = fork();
	if (s->pids[i] == 0) {
		connection_close(&a[0]);
		connection_close(&a[1]);
		connection_close(&b[1 - i]);
		one_of_two();
		_exit(0);
	}
}

static void two_connections(void *arg)
{
	struct facts *s = arg;

	facts = s;
	for (int i = 0; i < 2; i++) {
		poison(&a[i]);
		poison(&b[i]);
		s->made |= connection_pair(&a[i], &b[i], true);
	}
	if (s->made != 0)
		return;
	start_one_of_two(s, 0);
	start_one_of_two(s, 1);
	connection_close(&b[0]);
	connection_close(&b[1]);
	for (int i = 0; i < 2; i++)
		say(&a[i], i, 10 + i, 2 * MIB);
	for (int i = 1; i >= 0; i--)
		hear(&a[i], i, 20 + i, 2 * MIB);
	for (int i = 0; i < 2; i++) {
		collect(s->pids[i]);
		hear(&a[i], 2 + i, 0, 10);
		connection_close(&a[i]);
	}
}

static void check_two(void)
{
	static const char why[] = "Two connections share what each must have "
		"for itself.";
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = two_connections, .shared = s,
			       .why_stuck = why });
	expect_made(s);
	for (int i = 0; i < 2; i++) {
		expect_said(s, i, why);
		expect(s->heard[i].wrong < 0, why, "each connection has its "
		       "own messages", "byte %ld is another",
		       s->heard[i].wrong);
		expect_heard(s, i, 2 * MIB, why);
		expect_heard(s, 20 + i, 2 * MIB, why);
		expect_eof(s, 2 + i, why);
	}
}

/* ---- echo ----------------------------------------------------------- */

static void echo(void)
{
	errno = 0;
	facts->number[0] = connection_echo(&theirs);
	facts->number[1] = errno;
	facts->number[2] = fcntl(theirs.rfd, F_GETFD) >= 0 &&
			   fcntl(theirs.wfd, F_GETFD) >= 0;
}

static const size_t echoed[] = { 4, 0, 1, 300, 65536, 100001, CONNECTION_MAX,
				 0, 0, 2 };
enum { ECHOED = sizeof echoed / sizeof *echoed };

static void hear_echo(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(echo);
	for (int i = 0; i < ECHOED; i++) {
		say(&mine, i, i, echoed[i]);
		if (!hear(&mine, i, i, echoed[i]))
			break;
	}
	for (int i = 20; i < 26; i++)		/* they answer meanwhile */
		say(&mine, i, i, MIB);
	for (int i = 20; i < 26; i++)
		hear(&mine, i, i, MIB);
	connection_close(&mine);
	collect(s->pids[0]);
}

static void check_echo(void)
{
	static const char why[] = "Not every message comes back as it was.";
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = hear_echo, .shared = s });
	expect_made(s);
	for (int i = 0; i < ECHOED; i++)
		expect_heard(s, i, echoed[i], why);
	for (int i = 20; i < 26; i++)
		expect_heard(s, i, MIB, why);
	expect(s->number[0] == 0, "The end of file is where an echo ends, and "
	       "no failure.", "connection_echo returns 0", "%d, %s",
	       s->number[0], strerror(s->number[1]));
	expect(s->number[2], "What was only lent was closed.",
	       "connection_echo leaves the connection open", "it is closed");
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("a new connection can be closed", check_filled_in,
		 connection_pair),
	FUNCTION("nobody receives their own words", check_own_words,
		 connection_pair),
	FUNCTION("who receives waits for a message", check_waits,
		 connection_recv),
	FUNCTION("a message is what the sender has, and no address",
		 check_letter, connection_send),
	FUNCTION("three messages are three messages", check_borders,
		 connection_recv),
	FUNCTION("an empty message is a message", check_empty,
		 connection_recv),
	FUNCTION("the end of file comes when the other side has gone",
		 check_end, connection_recv),
	FUNCTION("the end of file comes though others are still there",
		 check_siblings, connection_close),
	FUNCTION("the end of file can be waited for", check_end_polled,
		 connection_poll),
	FUNCTION("any bytes are a message", check_odd, connection_send),
	FUNCTION("a message of up to a page arrives", check_short_sizes,
		 connection_send),
	FUNCTION("many messages go through a narrow way", check_many,
		 connection_send),
	FUNCTION("a message may come piece by piece", check_pieces,
		 connection_recv),
	FUNCTION("messages of any length arrive", check_sizes,
		 connection_send),
	FUNCTION("a message is received by the room there is for it",
		 check_buffers, connection_recv),
	FUNCTION("the longest message arrives", check_longest,
		 connection_send),
	FUNCTION("what is longer than the longest is refused", check_too_long,
		 connection_send),
	FUNCTION("what was sent does not change any more", check_overwritten,
		 connection_send),
	FUNCTION("a signal between two pieces loses nothing",
		 check_interrupted_pieces, connection_recv),
	FUNCTION("what arrives while we send is received later", check_inbox,
		 connection_recv),
	FUNCTION("both sides may send at once", check_both, connection_send),
	FUNCTION("both sides may send many at once", check_both_many,
		 connection_send),
	FUNCTION("both sides may send the longest at once", check_both_long,
		 connection_send),
	FUNCTION("two connections know nothing of each other", check_two,
		 connection_pair),
	FUNCTION("the echo sends everything back", check_echo,
		 connection_echo),
};

CHECKS("04-pipe", checks);
