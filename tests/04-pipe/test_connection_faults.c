/* What connections leave behind, and what they do when the system refuses,
 * interrupts, or does less than it was asked for. */
#include "names.h"

#include <malloc.h>
#include <sys/resource.h>

/* ---- what is left behind -------------------------------------------- */

/* Memory of this process that can be written to, in pages; but for what
 * malloc keeps for the next time. */
static long pages(void)
{
	FILE *f = fopen("/proc/self/statm", "re");
	long data = 0;

	if (f != NULL && fscanf(f, "%*s %*s %*s %*s %*s %ld", &data) != 1)
		data = 0;
	if (f != NULL)
		fclose(f);
	return data - (long)(mallinfo2().fordblks / 4096);
}

enum { CYCLES = 60 };

static void many_pairs(void *arg)
{
	struct facts *s = arg;
	int before = open_descriptors();

	descriptors_left(12);
	for (int i = 0; i < CYCLES; i++) {
		if (i == 4)
			s->longs[0] = pages();
		if (!make_pair(s, i % 2))
			return;
		say(&theirs, 0, i, (size_t)i * 30);
		if (i % 3 != 0)
			hear(&mine, 0, i, 2000);
		connection_close(i % 4 < 2 ? &mine : &theirs);
		if (i % 5 == 0)
			connection_poll(i % 4 < 2 ? &theirs : &mine, 0);
		connection_close(i % 4 < 2 ? &theirs : &mine);
		s->number[0]++;
	}
	s->longs[1] = pages();
	s->number[1] = open_descriptors() - before;
}

/* What came while we were sending, and is never asked for. */
static void say_much(void)
{
	say(&theirs, 1, 1, MIB);
	hear(&theirs, 0, 0, 2 * MIB);
}

static void full_inboxes(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < 8; i++) {
		if (i == 2)
			s->longs[0] = pages();
		if (!make_pair(s, true))
			return;
		partner(say_much);
		say(&mine, 0, 0, 2 * MIB);
		connection_close(&mine);
		collect(s->pids[0]);
		s->number[0]++;
	}
	s->longs[1] = pages();
}

static void expect_no_growth(const struct facts *s)
{
	expect(s->longs[1] - s->longs[0] < 300, "Memory is never given "
	       "back.", "no more memory after many connections than after "
	       "a few", "%ld pages more", s->longs[1] - s->longs[0]);
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);

	make_messages();
	fence(&(struct fence){ .scenario = many_pairs, .shared = s,
			       .why_stuck = WHY_20 });
	expect(s->number[0] == CYCLES, WHY_20, text("%d pairs, one after the "
	       "other, where 12 descriptors are left", CYCLES),
	       "the %d. failed: %s", s->number[0] + 1, strerror(s->error));
	expect(s->number[1] == 0, WHY_20, "as many descriptors as before",
	       "%d more", s->number[1]);
	expect_clean(NULL);
	expect_no_growth(s);
	fence(&(struct fence){ .scenario = full_inboxes, .shared = t,
			       .why_stuck = WHY_14 });
	expect_made(t);
	expect_clean(NULL);
	expect_no_growth(t);
}

/* ---- what fails ----------------------------------------------------- */

enum { REFUSED = 600, ECHOES = 12 };

/* Messages for which there is no room. */
static void refuse_many(struct facts *s)
{
	if (!make_pair(s, true))
		return;
	for (int i = 0; i < REFUSED; i++) {
		if (i == 20)
			s->longs[0] = pages();
		if (!say(&theirs, 0, 0, 3000))
			break;
		hear(&mine, 0, 0, 10);
	}
	s->longs[1] = pages();
	connection_close(&mine);
	connection_close(&theirs);
}

/* Echoes that end well, or with an error: nobody there, or closed. */
static void many_echoes(struct facts *s)
{
	for (int i = 0; i < ECHOES; i++) {
		if (i == 3)
			s->longs[2] = pages();
		if (!make_pair(s, true))
			return;
		if (i % 3 == 1)
			say(&mine, 0, 0, 10);
		connection_close(&mine);
		if (i % 3 == 2)
			connection_close(&theirs);
		connection_echo(&theirs);
		connection_close(&theirs);
	}
	s->longs[3] = pages();
}

static void failures(void *arg)
{
	struct facts *s = facts = arg;

	refuse_many(s);
	if (s->made == 0)
		many_echoes(s);
}

static void check_failures(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = failures, .shared = s,
			       .why_stuck = WHY_13 });
	expect_made(s);
	expect_clean(NULL);
	expect(s->longs[1] - s->longs[0] < 300, "What was dropped is still "
	       "kept in memory.", text("no more memory after %d messages that "
	       "were too long", REFUSED), "%ld pages more",
	       s->longs[1] - s->longs[0]);
	expect(s->longs[3] - s->longs[2] < 300, "An echo gives its memory "
	       "back, however it ends.", text("no more memory after %d "
	       "echoes", ECHOES), "%ld pages more",
	       s->longs[3] - s->longs[2]);
}

/* ---- descriptors ---------------------------------------------------- */

/* As many as there were before descriptors_left. */
static void enough_again(void)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 256;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static void pair_with_few(void *arg)
{
	struct facts *s = arg;
	int before = open_descriptors();

	descriptors_left(s->number[14]);
	make_pair(s, s->number[15]);
	s->number[0] = open_descriptors() - before;
	enough_again();
	if (s->made != 0)
		return;
	say(&theirs, 0, 0, 10);
	hear(&mine, 0, 0, 10);
	if (s->number[15]) {
		say(&mine, 1, 1, 20);
		hear(&theirs, 1, 1, 20);
	}
	connection_close(&mine);
	connection_close(&theirs);
}

static void check_few(void)
{
	struct facts *s = NULL;
	bool refused = false;

	make_messages();
	for (int i = 0; i < 12; i++) {
		s = shared(sizeof *s);
		s->number[14] = i / 2;
		s->number[15] = i % 2;
		fence(&(struct fence){ .scenario = pair_with_few,
				       .shared = s, .why_stuck = WHY_22 });
		if (s->made == 0) {
			expect_heard(s, 0, 10, WHY_22);
			if (s->number[15])
				expect_heard(s, 1, 20, WHY_22);
			continue;
		}
		refused = true;
		expect(s->error == EMFILE || s->error == ENFILE ||
		       s->error == ENOMEM, WHY_22, text("connection_pair "
		       "returns -1, EMFILE, where %d descriptors are left",
		       i / 2), "%d, %s", s->made, strerror(s->error));
		expect(s->number[0] == 0, WHY_22, text("nothing is left open, "
		       "where %d descriptors were left", i / 2),
		       "%d descriptors are", s->number[0]);
	}
	if (!refused)
		skip_check("not exercised: there were descriptors enough");
}

/* ---- a conversation in which something happens ---------------------- */

static void answer(void)
{
	if (!hear(&theirs, 0, 0, 6000))
		return;
	hear(&theirs, 1, 1, 100);
	say(&theirs, 2, 2, 5000);
	say(&theirs, 3, 3, 0);
	say(&theirs, 4, 4, 30);
}

static void question(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(answer);
	if (say(&mine, 0, 0, 5000) && say(&mine, 1, 1, 20)) {
		s->polled[0] = connection_poll(&mine, -1);
		if (hear(&mine, 2, 2, 6000) && hear(&mine, 3, 3, 10))
			hear(&mine, 4, 4, 100);
	}
	connection_close(&mine);
	collect(s->pids[0]);
}

static void expect_all(const struct facts *s, const struct fence_end *end,
		       const char *why)
{
	static const size_t n[] = { 5000, 20, 5000, 0, 30 };

	expect(end->how == FENCE_FINISHED, why, "the conversation goes on",
	       "the caller did not come through");
	expect_made(s);
	for (int i = 0; i < 5; i++) {
		expect_said(s, i, why);
		expect_heard(s, i, n[i], why);
	}
	expect(s->polled[0] == 1, why, "connection_poll returns 1", "%d",
	       s->polled[0]);
}

static void judge_interrupted(void *arg, const struct fence_end *end)
{
	expect_all(arg, end, WHY_05);
}

static void check_interrupted(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fault_sweep_all(&(struct fence){ .scenario = question, .shared = s,
					 .why_stuck = WHY_05 },
			sizeof *s, fault_interruptions, NULL,
			judge_interrupted);
}

static void judge_short(void *arg, const struct fence_end *end)
{
	expect_all(arg, end, WHY_04);
}

static void check_short(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fault_sweep_all(&(struct fence){ .scenario = question, .shared = s,
					 .why_stuck = WHY_04 },
			sizeof *s, fault_short_counts, NULL, judge_short);
}

/* ---- the system refuses --------------------------------------------- */

static const char why_refused[] = "The system refused something, and you went "
				  "on as if you had got it.";

static const struct fault refusals[] = {
	{ .call = "descriptors", .error = EMFILE },
	{ .call = "mmap", .error = ENOMEM },
	{ .call = "malloc", .error = ENOMEM },
	{ .call = "fork", .error = EAGAIN },
	{ .call = "pthread_create", .error = EAGAIN },
	{ .call = NULL },
};

/* Both send more than there is room for, so that an inbox is needed. */
enum { MUCH = 300000 };

static void say_both(void)
{
	if (say(&theirs, 1, 1, MUCH))
		hear(&theirs, 0, 0, MUCH);
}

static void refused_talk(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(say_both);
	if (say(&mine, 0, 0, MUCH))
		hear(&mine, 1, 1, MUCH);
	connection_close(&mine);
	collect(s->pids[0]);
}

static void judge_refused(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;
	const struct heard *h;

	expect(end->how == FENCE_FINISHED, why_refused, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect(s->made == 0 || s->error != 0, "Nobody can tell why there is "
	       "no connection.", "-1, and errno says why", "errno is 0");
	expect_clean(s->made == 0 ? NULL : WHY_22);
	for (int i = 0; i < 4; i++) {
		h = i < 2 ? &s->said[i] : &s->heard[i - 2];
		expect(!h->called || h->got != -1 || h->error != 0,
		       why_refused, "-1, and errno says why", "errno is 0");
		expect(h->got <= 0 || (h->got == MUCH && h->wrong < 0 &&
		       !h->spilled), why_refused, "the message, or -1",
		       "%s%s", result_text(h), h->got == MUCH ?
		       ", but not what was sent" : "");
	}
	expect(!s->said[1].called || s->said[1].got != 0 ||
	       !s->heard[1].called || s->heard[1].got != 0, why_refused,
	       "the message, or -1", "an empty message");
}

static void check_refused(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fault_sweep_all(&(struct fence){ .scenario = refused_talk,
					 .shared = s,
					 .why_stuck = why_refused },
			sizeof *s, refusals, NULL, judge_refused);
}

/* ---- the same by name ----------------------------------------------- */

/* number[6 + i]: how many descriptors are left open after all */
static void either(int i, bool (*meet)(struct connection *, int))
{
	int before = open_descriptors();

	if (meet(&mine, i)) {
		enough_again();
		greet(&mine, i);
	}
	facts->number[6 + i] = open_descriptors() - before;
}

static void few_for(int i)
{
	if (facts->number[15] == i)
		descriptors_left(facts->number[14]);
}

static void listener(void)
{
	few_for(LISTENER);
	either(LISTENER, do_listen);
	facts->number[10] = 1;
}

static void connector(void)
{
	few_for(CONNECTOR);
	either(CONNECTOR, do_connect);
	facts->number[11] = 1;
}

/* Who waits for one that was refused waits for ever: nobody promised more. */
static void meet_or_part(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	program(CONNECTOR, connector);
	while (!s->number[10] || !s->number[11]) {
		bool first = settle(s->pids[LISTENER]);
		bool second = settle(s->pids[CONNECTOR]);

		if ((s->heard[LISTENER].called && s->heard[LISTENER].got) ||
		    (s->heard[CONNECTOR].called && s->heard[CONNECTOR].got) ||
		    !first || !second)
			break;
	}
	s->number[12] = s->heard[LISTENER].called;
	for (int i = LISTENER; i <= CONNECTOR; i++) {
		if (!s->heard[i].called)
			kill(s->pids[i], SIGKILL);
		collect(s->pids[i]);
	}
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void expect_parted(const struct facts *s, const char *when)
{
	static const char *const of[] = { "", "listen", "connect" };
	const struct heard *h;

	for (int i = LISTENER; i <= CONNECTOR; i++) {
		h = &s->heard[i];
		expect(!h->called || h->got == 0 || h->error != 0,
		       why_refused, text("connection_%s says why it failed%s",
		       of[i], when), "errno is 0");
		expect(s->number[6 + i] == 0, WHY_22, text("nothing is left "
		       "open by connection_%s%s", of[i], when),
		       "%d descriptors are", s->number[6 + i]);
	}
	if (s->number[12])
		expect_no_names(s, "It has failed, and its names are still "
				"there.");
	if (s->heard[LISTENER].got == 0 && s->heard[CONNECTOR].got == 0 &&
	    s->said[10 + LISTENER].got == 0 &&
	    s->said[10 + CONNECTOR].got == 0)
		for (int i = LISTENER; i <= CONNECTOR; i++)
			if (s->heard[10 + i].got != -1 ||
			    s->heard[10 + i].error == 0)
				expect_heard(s, 10 + i, 50, why_refused);
}

static void check_few_by_name(void)
{
	make_messages();
	for (int i = 0; i < 8; i++) {
		struct facts *s = shared(sizeof *s);

		s->number[14] = i / 2;
		s->number[15] = LISTENER + i % 2;
		fence(&(struct fence){ .scenario = meet_or_part, .shared = s,
				       .limit = 10, .why_stuck = WHY_22 });
		expect(s->heard[LISTENER + i % 2].called, WHY_22,
		       text("where %d descriptors are left, connection_%s "
			    "returns", i / 2, i % 2 ? "connect" : "listen"),
		       "it does not");
		expect_parted(s, text(", where %d descriptors are left",
				      i / 2));
	}
}

static void judge_parted(void *arg, const struct fence_end *end)
{
	expect(end->how == FENCE_FINISHED, why_refused, "an error is reported",
	       "the caller did not come through");
	expect_parted(arg, "");
}

static void check_refused_by_name(void)
{
	static const struct fault some[] = {
		{ .call = "descriptors", .error = EMFILE },
		{ .call = "malloc", .error = ENOMEM },
		{ .call = "mmap", .error = ENOMEM },
		{ .call = NULL },
	};
	struct facts *s = shared(sizeof *s);

	make_messages();
	fault_sweep_all(&(struct fence){ .scenario = meet_or_part,
					 .shared = s, .limit = 10,
					 .why_stuck = why_refused },
			sizeof *s, some, NULL, judge_parted);
}

static void meet(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	program(CONNECTOR, connector);
	collect(s->pids[LISTENER]);
	collect(s->pids[CONNECTOR]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void judge_met(void *arg, const struct fence_end *end)
{
	const struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, WHY_05, "the two meet",
	       "they did not");
	for (int i = LISTENER; i <= CONNECTOR; i++)
		expect(s->heard[i].got == 0, WHY_05, "connection_listen and "
		       "connection_connect return 0", "%s",
		       result_text(&s->heard[i]));
	expect_meeting(s);
	expect_no_names(s, WHY_NAMES);
}

static void check_interrupted_by_name(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fault_sweep_all(&(struct fence){ .scenario = meet, .shared = s,
					 .why_stuck = WHY_05 },
			sizeof *s, fault_interruptions, NULL, judge_met);
}

static const struct check checks[] = {
	{ "leftovers", "sixty connections leave nothing behind", check_many,
	  (const void *)connection_close },
	{ "leftovers", "what fails leaves nothing behind", check_failures,
	  (const void *)connection_echo },
	{ "faults", "a pair for which there are too few descriptors leaves "
	  "none", check_few, (const void *)connection_pair },
	{ "faults", "a call that a signal interrupts is repeated",
	  check_interrupted, (const void *)connection_recv },
	{ "faults", "a call that moves less is continued", check_short,
	  (const void *)connection_send },
	{ "faults", "what the system refuses is reported", check_refused,
	  (const void *)connection_pair },
	{ "faults", "names for which there are too few descriptors are "
	  "removed", check_few_by_name, (const void *)connection_listen },
	{ "faults", "what the system refuses leaves no names",
	  check_refused_by_name, (const void *)connection_listen },
	{ "faults", "a meeting that a signal interrupts is not missed",
	  check_interrupted_by_name, (const void *)connection_connect },
};

CHECKS("04-pipe", checks);
