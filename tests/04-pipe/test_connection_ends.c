/* Ends: of a message, of the other side, of our own; and how long one waits. */
#include "facts.h"

#include <limits.h>
#include <sys/mman.h>
#include <sys/time.h>

static void note_call(int i, long got)
{
	facts->heard[i] = (struct heard){ .got = got, .error = errno,
					  .called = true };
}

/* ---- in the middle of a message ------------------------------------- */

/* What a, which is new, sends first, as it is on its way to b. */
static bool take_raw(struct facts *s, size_t n)
{
	if (!make_pair(s, true))
		return false;
	s->number[0] = is_stream(theirs.rfd);
	if (s->number[0]) {
		say(&mine, 0, 0, n);
		s->n_raw = drain(theirs.rfd, s->raw, sizeof s->raw);
	}
	return s->number[0];
}

/* Another pair, on which a sends only the first bytes of that. */
static bool break_off(struct facts *s, size_t n)
{
	if (!make_pair(s, true))
		return false;
	pour(mine.wfd, s->raw, n);
	connection_close(&mine);
	return true;
}

/* The same where what is on its way has borders: packet by packet. */
static size_t packet[16];
static int packets;

static void take_packets(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t at = 0;
	ssize_t n;

	while (packets < 16 && poll(&p, 1, 0) > 0 &&
	       (n = read(fd, into + at, sizeof into - at)) > 0) {
		packet[packets++] = (size_t)n;
		at += (size_t)n;
	}
}

static void broken_packets(struct facts *s)
{
	static unsigned char copy[65536];
	size_t at;

	say(&mine, 0, 0, 40000);
	take_packets(theirs.rfd);
	memcpy(copy, into, sizeof copy);
	s->number[2] = packets;
	for (int k = 1; k < packets; k++) {
		connection_close(&mine);
		connection_close(&theirs);
		if (!make_pair(s, true))
			return;
		at = 0;
		for (int i = 0; i < k; at += packet[i++])
			pour(mine.wfd, (char *)copy + at, packet[i]);
		connection_close(&mine);
		s->polled[k] = connection_poll(&theirs, -1);
		hear(&theirs, k, 0, 50000);
	}
}

enum { BROKEN = 21, ROOM = 13 };	/* bytes; room for them, or not */

static void broken_messages(void *arg)
{
	struct facts *s = arg;

	if (take_raw(s, BROKEN)) {
		s->number[1] = s->n_raw < 32 ? (int)s->n_raw : 32;
		for (int k = 1; k < s->number[1]; k++) {
			connection_close(&mine);
			connection_close(&theirs);
			if (!break_off(s, (size_t)k))
				return;
			s->polled[k] = connection_poll(&theirs, -1);
			hear(&theirs, k, 0, 100);
			connection_close(&theirs);
			if (!break_off(s, (size_t)k))
				return;
			hear(&theirs, 32 + k, 0, ROOM);
		}
	} else if (s->made == 0) {
		broken_packets(s);
	}
	connection_close(&mine);
	connection_close(&theirs);
}

static void check_broken(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = broken_messages, .shared = s,
			       .limit = 5, .why_stuck = WHY_11 });
	expect_made(s);
	if (!s->number[0] && s->number[2] < 2)
		skip_check("not exercised: what is on its way has borders");
	for (int k = 1; k < s->number[2]; k++)
		expect_failed(&s->heard[k], text("connection_recv, after %d "
			      "of the %d packets of a message,", k,
			      s->number[2]), EPROTO, 0, WHY_11);
	for (int k = 1; k < s->number[1]; k++) {
		expect(s->polled[k] == 1, WHY_11, "a part of a message is "
		       "there: connection_poll returns 1", "%d",
		       s->polled[k]);
		expect_failed(&s->heard[k], text("connection_recv, after %d "
			      "of the %zu bytes of a message,", k, s->n_raw),
			      EPROTO, 0, WHY_11);
		expect_failed(&s->heard[32 + k], text("connection_recv into "
			      "%d bytes, after %d of the %zu bytes of a "
			      "message,", ROOM, k, s->n_raw), EPROTO, EMSGSIZE,
			      WHY_11);
		expect(!s->heard[k].spilled, WHY_07, "nothing behind the "
		       "room for the message has changed", "something has");
	}
}

/* The first bytes, and for the moment no more. */
static void part_of_a_message(void *arg)
{
	struct facts *s = arg;
	size_t n;

	if (take_raw(s, BROKEN)) {
		n = s->n_raw - 2;
		pour(mine.wfd, s->raw, n);
		s->polled[0] = connection_poll(&theirs, 0);
		s->polled[1] = connection_poll(&theirs, -1);
		pour(mine.wfd, s->raw + n, s->n_raw - n);
		hear(&theirs, 0, 0, 100);
	}
	connection_close(&mine);
	connection_close(&theirs);
}

static void check_part(void)
{
	static const char why[] = "A part of a message is something to "
		"receive, too.";
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = part_of_a_message, .shared = s,
			       .limit = 5, .why_stuck = why });
	expect_made(s);
	if (!s->number[0])
		skip_check("not exercised: what is on its way has borders");
	expect(s->polled[0] == 1 && s->polled[1] == 1, why,
	       "connection_poll returns 1", "%d and %d", s->polled[0],
	       s->polled[1]);
	expect_heard(s, 0, BROKEN, WHY_04);
}

/* As above, but a byte of the header says something else. */
static void damaged_messages(void *arg)
{
	static const unsigned char other[] = { 0xff, 0x80, '-' };
	struct facts *s = arg;
	struct heard *h = s->heard;
	char right;

	if (!take_raw(s, BROKEN))
		goto out;
	for (size_t k = 0; k + BROKEN < s->n_raw && k < 8; k++)
		for (size_t i = 0; i < sizeof other; i++) {
			connection_close(&mine);
			connection_close(&theirs);
			right = s->raw[k];
			s->raw[k] = (char)other[i];
			if (!break_off(s, s->n_raw))
				return;
			s->raw[k] = right;
			s->number[1] = other[i];
			s->number[2] = (int)k;
			hear(&theirs, 0, 0, ROOM);
			if (h->spilled || h->got > ROOM ||
			    (h->got == -1 && h->error != EPROTO &&
			     h->error != EMSGSIZE)) {
				s->number[3] = 1;
				goto out;
			}
		}
out:
	connection_close(&mine);
	connection_close(&theirs);
}

#define WHY_CLAIM "What came as a length is only a claim, and you believed it."

static void check_damaged(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	make_messages();
	end = fence_try(&(struct fence){ .scenario = damaged_messages,
					 .shared = s, .limit = 5 });
	expect_made(s);
	if (!s->number[0])
		skip_check("not exercised: what is on its way has borders");
	expect(end.how == FENCE_FINISHED, WHY_CLAIM, "connection_recv returns",
	       "it does not, after byte %d was changed to 0x%02x",
	       s->number[2], s->number[1]);
	expect(!s->heard[0].spilled, WHY_CLAIM, "nothing behind the room for "
	       "the message has changed", "something has, after byte %d was "
	       "changed to 0x%02x", s->number[2], s->number[1]);
	expect(!s->number[3], WHY_CLAIM, text("-1, EPROTO, or at most the %d "
	       "bytes for which there is room", ROOM), "%s, after byte %d was "
	       "changed to 0x%02x", result_text(&s->heard[0]), s->number[2],
	       s->number[1]);
}

/*
 * More of nonsense than any message has, then whole messages, in which there
 * are ends and lengths of whatever kind; and nobody goes.
 */
static void talk_nonsense(void)
{
	static char bytes[MIB];

	fcntl(theirs.wfd, F_SETFL, 0);		/* all of it, in its time */
	memset(bytes, 0xff, sizeof bytes);
	for (int i = 0; i < 48; i++)
		pour(theirs.wfd, bytes, sizeof bytes);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = facts->raw[i % facts->n_raw];
	pour(theirs.wfd, bytes, sizeof bytes);
	facts->number[1] = !gate_wait(&facts->go[0]);
}

static void hear_for_ever(void *arg)
{
	struct facts *s = arg;

	if (take_raw(s, BROKEN)) {
		connection_close(&mine);
		connection_close(&theirs);
		if (!make_pair(s, true))
			return;
		partner(talk_nonsense);
		hear(&mine, 0, 0, CONNECTION_MAX);
		gate_open(&s->go[0]);
	}
	connection_close(&mine);
	connection_close(&theirs);
	if (s->pids[0] != 0)
		collect(s->pids[0]);
}

static void check_for_ever(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = hear_for_ever, .shared = s,
			       .why_stuck = WHY_CLAIM });
	expect_made(s);
	expect(!s->number[1], WHY_CLAIM, "connection_recv returns -1, EPROTO, "
	       "after 48 MiB of nonsense", "it waits for more");
	if (s->number[0])
		expect_failed(&s->heard[0], "connection_recv of 48 MiB of "
			      "nonsense", EPROTO, EMSGSIZE, WHY_CLAIM);
}

/* Enough of nonsense that no length can be meant. */
static void hear_nonsense(void *arg)
{
	struct facts *s = arg;
	char nonsense[64];

	if (!make_pair(s, true))
		return;
	s->number[0] = is_stream(theirs.rfd);
	if (s->number[0]) {
		memset(nonsense, 0xff, sizeof nonsense);
		pour(mine.wfd, nonsense, sizeof nonsense);
		connection_close(&mine);
		hear(&theirs, 0, 0, CONNECTION_MAX);
	}
	connection_close(&mine);
	connection_close(&theirs);
}

static void check_nonsense(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	make_messages();
	end = fence_try(&(struct fence){ .scenario = hear_nonsense,
					 .shared = s, .limit = 5 });
	expect_made(s);
	if (!s->number[0])
		skip_check("not exercised: what is on its way has borders");
	expect(end.how == FENCE_FINISHED, WHY_CLAIM, "connection_recv returns",
	       "it does not, after 64 bytes of nonsense");
	expect_failed(&s->heard[0], "connection_recv of 64 bytes of nonsense",
		      EPROTO, EMSGSIZE, WHY_CLAIM);
	check_for_ever();
}

/* Killed while it sends, whatever a message looks like. */
static void send_for_ever(void)
{
	say(&theirs, 0, 0, 10);
	gate_open(&facts->ready[0]);
	say(&theirs, 1, 1, CONNECTION_MAX);
}

static void killed_in_the_middle(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	partner(send_for_ever);
	gate_wait(&s->ready[0]);
	settle(s->pids[0]);
	kill(s->pids[0], SIGKILL);
	wait_until_ended(s->pids[0]);
	hear(&mine, 0, 0, 100);
	hear(&mine, 1, 1, CONNECTION_MAX);
	hear(&mine, 2, 1, CONNECTION_MAX);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_killed(void)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = killed_in_the_middle,
				       .shared = s, .why_stuck = WHY_11 });
		expect_made(s);
		expect_heard(s, 0, 10, "What was whole is lost with what was "
			     "not.");
		if (s->said[1].called) {	/* it had room on the way */
			expect_bytes(s, 1, CONNECTION_MAX, WHY_11);
			continue;
		}
		expect_failed(&s->heard[1], "connection_recv, when the sender "
			      "was killed in the middle,", EPROTO, 0, WHY_11);
		expect(s->heard[2].got < 0, WHY_11, "no message comes after "
		       "one that broke off", "%s", result_text(&s->heard[2]));
	}
}

/* ---- nobody to send to ---------------------------------------------- */

static void last_words(void)
{
	say(&theirs, 10, 10, 12);
	if (facts->number[14]) {
		gate_open(&facts->ready[0]);
		gate_wait(&facts->go[0]);
	}
}

static void send_to_nobody(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, s->number[15]))
		return;
	partner(last_words);
	collect(s->pids[0]);
	for (int i = 0; i < 3; i++)
		say(&mine, i, i, i == 1 ? MIB : 10);
	s->number[0] = 1;
	if (s->number[15]) {
		hear(&mine, 0, 10, 100);
		hear(&mine, 1, 10, 100);
	}
	have_signals(true);
	for (int i = 3; i < 5; i++)
		say(&mine, i, i, 100);
	look_at_signals("");
	have_signals(false);
	connection_close(&mine);
}

/* One way: our end is the one that sends. */
static void one_way_to_nobody(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, false))
		return;
	connection_close(&mine);
	for (int i = 0; i < 3; i++)
		say(&theirs, i, i, i == 1 ? MIB : 10);
	s->number[0] = 1;
	connection_close(&theirs);
}

static void expect_pipes(const struct facts *s, const struct fence_end *end,
			 int n)
{
	expect(end->how != FENCE_KILLED, WHY_KILLED,
	       "connection_send returns -1, EPIPE", "killed by %s",
	       strsignal(end->status));
	expect(end->how == FENCE_FINISHED, WHY_KILLED, "connection_send "
	       "returns -1, EPIPE", "it does not return");
	for (int i = 0; i < n; i++)
		expect_failed(&s->said[i], "connection_send", EPIPE,
			      ECONNRESET, WHY_KILLED);
}

static void check_nobody(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);
	struct fence f = { .scenario = send_to_nobody, .shared = s, .limit = 5,
			   .why_stuck = WHY_KILLED };
	struct fence_end end;

	make_messages();
	s->number[15] = true;
	end = fence_try(&f);
	expect_made(s);
	expect_pipes(s, &end, 5);
	expect_heard(s, 0, 12, "What the other side had sent before it went "
		     "is lost.");
	expect_eof(s, 1, WHY_08);
	expect_clean(NULL);
	f = (struct fence){ .scenario = one_way_to_nobody, .shared = t,
			    .limit = 5, .why_stuck = WHY_KILLED };
	end = fence_try(&f);
	expect_made(t);
	expect_pipes(t, &end, 3);
	expect_clean(NULL);
}

/* SIGPIPEs that are pending: one of this thread's, one of the process's. */
static int pending(void)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long long set;
	char line[256];
	int n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (sscanf(line, "SigPnd: %llx", &set) == 1 ||
		    sscanf(line, "ShdPnd: %llx", &set) == 1)
			n += set >> (SIGPIPE - 1) & 1;
	if (f != NULL)
		fclose(f);
	return n;
}

/*
 * SIGPIPEs of the caller's, blocked and pending, are not ours to take. Who
 * ignores SIGPIPE for a moment loses both at once, as the system wants it; who
 * takes one must see whose it is.
 */
static void keep_pending(void *arg)
{
	struct facts *s = arg;
	sigset_t sigpipe;

	if (!make_pair(s, s->number[15]))
		return;
	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigprocmask(SIG_BLOCK, &sigpipe, NULL);
	raise(SIGPIPE);
	kill(getpid(), SIGPIPE);
	say(&theirs, 0, 0, 10);
	hear(&mine, 0, 0, 10);
	s->number[0] = pending();
	connection_close(&mine);
	say(&theirs, 1, 1, 10);
	s->number[1] = pending();
	connection_close(&theirs);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_UNBLOCK, &sigpipe, NULL);
	signal(SIGPIPE, SIG_DFL);
}

static void check_pending(void)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);
		struct fence_end end;

		make_messages();
		s->number[15] = duplex;
		end = fence_try(&(struct fence){ .scenario = keep_pending,
						 .shared = s });
		expect(end.how == FENCE_FINISHED, "A signal that its caller "
		       "has blocked was let through.", "a SIGPIPE that is "
		       "blocked stays blocked", "the caller did not come "
		       "through");
		expect_made(s);
		expect_failed(&s->said[1], "connection_send", EPIPE,
			      ECONNRESET, WHY_KILLED);
		expect(s->number[0] == 0 || s->number[0] + s->number[1] == 4,
		       "You took away a signal that was not yours.",
		       "a SIGPIPE that was pending before is still pending",
		       "it is gone");
		expect_clean(NULL);
	}
}

/* The other side goes while we wait for room. */
static void listen_a_little(void)
{
	if (facts->number[15])
		for (int i = 10; i < 12; i++)
			say(&theirs, i, i, 40);
	gate_open(&facts->ready[0]);
	gate_wait(&facts->go[0]);
}

static void deserted(void *arg)
{
	struct facts *s = arg;

	if (!make_pair_to_send(s, s->number[15]))
		return;
	partner(listen_a_little);
	gate_wait(&s->ready[0]);
	gate_open(&s->ready[1]);
	say(&mine, 0, 0, CONNECTION_MAX);
	s->number[0] = gate_is_open(&s->go[0]);
	gate_open(&s->go[0]);
	collect(s->pids[0]);
	for (int i = 0; i < 2 && s->number[15]; i++)
		hear(&mine, i, 10 + i, 100);
	connection_close(&mine);
}

static void let_them_go(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->ready[1]);
	settle(fence_pid());
	gate_open(&s->go[0]);
}

/* Of what they said nothing is lost without a word. */
static void expect_last_words(const struct facts *s)
{
	for (int i = 0; i < 2; i++)
		if (s->heard[i].got != -1 || s->heard[i].error != ECONNRESET)
			expect_heard(s, i, 40, "What arrived while we were "
				     "sending is lost with the one who sent "
				     "it.");
}

static void check_deserted(void)
{
	static const char why[] = "The other side went away while you were "
		"sending, and you did not notice.";

	for (int duplex = 0; duplex < 2; duplex++) {
		struct facts *s = shared(sizeof *s);
		struct fence f = { .scenario = deserted, .shared = s,
				   .director = let_them_go, .limit = 10,
				   .why_stuck = why };
		struct fence_end end;

		make_messages();
		s->number[15] = duplex;
		end = fence_try(&f);
		expect_made(s);
		expect(end.how == FENCE_FINISHED, end.how == FENCE_KILLED ?
		       WHY_KILLED : why, "connection_send returns -1, EPIPE",
		       end.how == FENCE_KILLED ? "killed by signal %d" :
		       "it does not return", end.status);
		if (s->said[0].got != 0 || s->number[0])
			expect_failed(&s->said[0], "connection_send", EPIPE,
				      ECONNRESET, why);
		if (duplex)
			expect_last_words(s);
	}
}

/* ---- closing -------------------------------------------------------- */

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) != -1;
}

static void close_twice(void *arg)
{
	struct facts *s = arg;
	int before = open_descriptors(), fds[6];
	struct connection *c[] = { &mine, &theirs };

	if (!make_pair(s, s->number[15]))
		return;
	s->number[6] = s->number[15] || (mine.wfd == -1 && theirs.rfd == -1);
	s->number[0] = connection_close(&mine);
	s->number[1] = connection_close(&theirs);
	s->number[2] = open_descriptors() - before;
	s->number[3] = mine.rfd == -1 && mine.wfd == -1 &&
		       theirs.rfd == -1 && theirs.wfd == -1;
	for (int i = 0; i < 6; i++)
		fds[i] = open("/dev/null", O_RDWR);
	for (int i = 0; i < 2; i++) {
		connection_close(c[i]);
		errno = 0;
		note_call(3 * i, connection_send(c[i], "x", 1));
		errno = 0;
		note_call(3 * i + 1, connection_recv(c[i], into, 10));
		errno = 0;
		note_call(3 * i + 2, connection_poll(c[i], 0));
		connection_close(c[i]);
	}
	for (int i = 0; i < 6; i++) {
		s->number[5] += !is_open(fds[i]);
		close(fds[i]);
	}
}

static void check_close(void)
{
	for (int duplex = 1; duplex >= 0; duplex--) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = close_twice,
			.shared = s, .why_stuck = "What was closed is still "
			"waited for." });
		expect_made(s);
		expect(s->number[6], "Which end is for what cannot be told "
		       "from the descriptors.", "one way: a.wfd and b.rfd are "
		       "-1", "one of them is not");
		expect(s->number[0] == 0 && s->number[1] == 0, "What succeeds "
		       "is reported as failed.", "connection_close returns 0",
		       "%d and %d", s->number[0], s->number[1]);
		expect(s->number[2] == 0, WHY_20, "both ends closed: as many "
		       "descriptors as before", "%d more", s->number[2]);
		expect(s->number[3], WHY_19, "closed: rfd and wfd are -1",
		       "one of them is not");
		expect(s->number[5] == 0, WHY_19, "closing again closes "
		       "nobody's file", "%d files of the caller's were closed",
		       s->number[5]);
		for (int i = 0; i < 6; i++)
			expect_failed(&s->heard[i], (const char *[]){
				      "connection_send of a closed one",
				      "connection_recv of a closed one",
				      "connection_poll of a closed one",
				      }[i % 3], EBADF, 0,
				      "What is closed is used all the same.");
	}
}

/* One way only: a receives, b sends. */
static void wrong_way(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, false))
		return;
	errno = 0;
	note_call(0, connection_send(&mine, message(0), 10));
	errno = 0;
	note_call(1, connection_recv(&theirs, into, 10));
	s->polled[0] = connection_poll(&mine, 0);
	say(&theirs, 0, 2, 10);
	s->polled[1] = connection_poll(&mine, 0);
	hear(&mine, 2, 2, 20);
	errno = 0;
	note_call(3, connection_echo(&theirs));
	connection_close(&theirs);
	s->polled[2] = connection_poll(&mine, 0);
	hear(&mine, 4, 2, 20);
	connection_close(&mine);
}

static void check_one_way(void)
{
	static const char why[] = "In a street of one direction somebody "
		"drove in the other.";
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = wrong_way, .shared = s,
			       .why_stuck = why });
	expect_made(s);
	expect_failed(&s->heard[0], "connection_send of an end that only "
		      "receives", EBADF, 0, why);
	expect_failed(&s->heard[1], "connection_recv of an end that only "
		      "sends", EBADF, 0, why);
	expect_heard(s, 2, 10, why);
	expect_failed(&s->heard[3], "connection_echo of an end that only "
		      "sends", EBADF, 0, "A connection that cannot be used is "
		      "no end of file.");
	expect(s->polled[0] == 0 && s->polled[1] == 1 && s->polled[2] == 1,
	       "What is there to receive, or not there, is not what is told.",
	       "nothing, a message, the end: 0, 1, 1", "%d, %d, %d",
	       s->polled[0], s->polled[1], s->polled[2]);
	expect_eof(s, 4, WHY_08);
}

/* Whose standard streams are closed gets the numbers 0, 1 and 2. */
static void first_numbers(void *arg)
{
	struct facts *s = arg;
	int saved[3];

	for (int i = 0; i < 3; i++)
		saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 100);
	for (int i = 0; i < 3; i++)
		close(i);
	if (make_pair(s, s->number[15])) {
		say(&theirs, 0, 0, 10);
		s->polled[0] = connection_poll(&mine, 0);
		hear(&mine, 0, 0, 10);
		if (s->number[15]) {
			say(&mine, 1, 1, 10);
			hear(&theirs, 1, 1, 10);
		}
		connection_close(&mine);
		connection_close(&theirs);
	}
	for (int i = 0; i < 3; i++)
		s->number[0] += is_open(i);
	for (int i = 0; i < 3; i++)
		dup2(saved[i], i);
	for (int i = 0; i < 3; i++)
		close(saved[i]);
}

static void check_zero(void)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		static const char why[] = "Descriptor 0 is a descriptor, too.";
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = first_numbers,
				       .shared = s, .why_stuck = why });
		expect_made(s);
		expect_said(s, 0, why);
		expect(s->polled[0] == 1, why, "connection_poll returns 1",
		       "%d", s->polled[0]);
		expect_heard(s, 0, 10, why);
		if (duplex) {
			expect_said(s, 1, why);
			expect_heard(s, 1, 10, why);
		}
		expect(s->number[0] == 0, why, "connection_close closes it",
		       "%d are still open", s->number[0]);
	}
}

/* ---- waiting with a limit ------------------------------------------- */

static void look_only(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	s->polled[1] = connection_poll(&mine, 0);
	say(&theirs, 0, 0, 10);
	for (int i = 2; i < 5; i++)
		s->polled[i] = connection_poll(&mine, (double[]){ 0, -1,
					       1000 }[i - 2]);
	hear(&mine, 0, 0, 10);
	s->polled[5] = connection_poll(&mine, 0);
	connection_close(&mine);
	connection_close(&theirs);
}

static void check_look(void)
{
	static const char why[] = "Looking whether something is there took it "
		"away.";
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = look_only, .shared = s,
			       .limit = 5, .why_stuck = why });
	expect_made(s);
	for (int i = 1; i < 6; i += 4)
		expect(s->polled[i] == 0, "Nothing is there, and something "
		       "else is told.", "connection_poll(c, 0) returns 0",
		       "%d", s->polled[i]);
	for (int i = 2; i < 5; i++)
		expect(s->polled[i] == 1, "A message is there, and something "
		       "else is told.", "connection_poll returns 1", "%d",
		       s->polled[i]);
	expect_heard(s, 0, 10, why);
}

/* A handler that begins before the limit and ends after it. */
static double limit_over;

static void stay_longer(int sig)
{
	(void)sig;
	while (seconds_now() < limit_over)
		;
}

static void signal_near_the_end(void)
{
	struct sigaction a = { .sa_handler = stay_longer };
	struct itimerval once = { .it_value.tv_usec = 60000 };

	sigemptyset(&a.sa_mask);
	sigaction(SIGALRM, &a, NULL);
	limit_over = seconds_now() + 0.12;
	setitimer(ITIMER_REAL, &once, NULL);
}

static void late_signal(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	signal_near_the_end();
	s->polled[1] = connection_poll(&mine, 0.1);
	connection_close(&mine);
	connection_close(&theirs);
}

static void limits(void *arg)
{
	struct facts *s = arg;
	double start;

	if (!make_pair(s, true))
		return;
	if (s->number[15])
		interrupts_start();
	clock_jumps(s->number[14]);
	do {			/* a machine may be busy, but not each time */
		start = seconds_now();
		s->polled[1] = connection_poll(&mine, 0.1);
		s->took = seconds_now() - start;
	} while (s->took > 0.9 && ++s->number[0] < 3);
	clock_jumps(0);
	if (s->number[15])
		interrupts_stop();
	connection_close(&mine);
	connection_close(&theirs);
}

static void with_limits(bool interrupted, int jumps, const char *why)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	s->number[15] = interrupted;
	s->number[14] = jumps;
	fence(&(struct fence){ .scenario = limits, .shared = s, .limit = 5,
			       .why_stuck = why });
	expect_made(s);
	if (interrupted)
		expect_exercised(INJECT_INTERRUPT);
	expect(s->polled[1] == 0, why, "connection_poll(c, 0.1) returns 0",
	       "%d", s->polled[1]);
	expect(s->took > 0.097 && s->took < 0.9, why, "0.1 s have passed then",
	       "%.3f s", s->took);
}

static void check_limits(void)
{
	with_limits(false, 0, "A wait with a time limit ends when it is over, "
		    "not earlier and not never.");
}

static void check_limit_interrupted(void)
{
	static const char why[] = "A signal does not change how long somebody "
		"wants to wait.";
	struct facts *s = shared(sizeof *s);

	with_limits(true, 0, why);
	fence(&(struct fence){ .scenario = late_signal, .shared = s,
			       .limit = 5, .why_stuck = why });
	expect_made(s);
	expect(s->polled[1] == 0, why, "connection_poll(c, 0.1) returns 0, "
	       "when a handler lasts longer than that", "%d", s->polled[1]);
}

static void check_limit_jumps(void)
{
	static const char why[] = "You counted seconds on a clock that can be "
		"set.";

	with_limits(false, 3600, why);
	with_limits(false, -3600, why);
}

/* All of these are for ever, or as good as. */
static const double long_waits[] = { -1, -0.25, 1e7, INFINITY, -1e-9, 1e300 };
enum { LONG_WAITS = sizeof long_waits / sizeof *long_waits };

static void wait_long(void)
{
	be_interruptible();
	gate_open(&facts->ready[0]);
	facts->polled[0] = connection_poll(&theirs,
					   long_waits[facts->number[15]]);
	facts->number[0] = gate_is_open(&facts->go[0]);
	hear(&theirs, 0, 0, 10);
}

static void keep_waiting(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	partner(wait_long);
	gate_wait(&s->ready[0]);
	settle(s->pids[0]);
	if (s->number[15] % 2 == 1) {
		kill(s->pids[0], SIGUSR1);
		settle(s->pids[0]);
	}
	gate_open(&s->go[0]);
	say(&mine, 0, 0, 10);
	collect(s->pids[0]);
	connection_close(&mine);
}

static void check_long_waits(void)
{
	for (int i = 0; i < LONG_WAITS; i++) {
		struct facts *s = shared(sizeof *s);
		const char *why = i % 2 == 1 ? "A signal, or a large number, "
			"has ended a wait that should go on." :
			"A negative limit is no limit, and a large one is no "
			"small one.";

		make_messages();
		s->number[15] = i;
		fence(&(struct fence){ .scenario = keep_waiting, .shared = s,
				       .limit = 10, .why_stuck = why });
		expect_made(s);
		expect(s->polled[0] == 1 && s->number[0] == 1, why,
		       text("connection_poll(c, %g) returns 1 when a message "
			    "comes", long_waits[i]), "%d%s", s->polled[0],
		       s->number[0] ? "" : ", before there was one");
		expect_heard(s, 0, 10, WHY_OTHER);
	}
}

/* ---- a signal while waiting ----------------------------------------- */

static void wait_in_recv(void)
{
	be_interruptible();
	gate_open(&facts->ready[0]);
	hear(&theirs, 0, 0, 20);
	gate_wait(&facts->go[0]);
	hear(&theirs, 1, 1, 2 * MIB);
}

static void disturb(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->ready[0]);
	settle(s->pids[0]);
	kill(s->pids[0], SIGUSR1);
	settle(s->pids[0]);
	gate_open(&s->ready[1]);
	settle(fence_pid());
	for (int i = 0; i < 3; i++) {
		kill(fence_pid(), SIGUSR1);
		settle(fence_pid());
	}
	gate_open(&s->go[0]);
	gate_open(&s->ready[2]);
}

static void be_disturbed(void *arg)
{
	struct facts *s = arg;

	if (!make_pair_to_send(s, s->number[15]))
		return;
	partner(wait_in_recv);
	be_interruptible();
	gate_wait(&s->ready[1]);
	say(&mine, 0, 0, 10);
	say(&mine, 1, 1, 2 * MIB);
	gate_wait(&s->ready[2]);
	not_any_more();
	connection_close(&mine);
	collect(s->pids[0]);
}

static void check_disturbed(void)
{
	for (int duplex = 1; duplex >= 0; duplex--) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = duplex;
		fence(&(struct fence){ .scenario = be_disturbed,
				       .director = disturb, .shared = s,
				       .why_stuck = WHY_05 });
		expect_made(s);
		expect_heard(s, 0, 10, WHY_05);
		expect_said(s, 1, WHY_05);
		expect_heard(s, 1, 2 * MIB, WHY_05);
		expect_clean(NULL);
	}
}

/* ---- nothing is said ------------------------------------------------ */

static void all_quiet(void)
{
	say(&theirs, 0, 0, 10);
	hear(&mine, 0, 0, 5);
	connection_send(&mine, message(0), SIZE_MAX);
	connection_poll(&mine, 0);
	connection_close(&theirs);
	hear(&mine, 1, 0, 5);
	say(&mine, 1, 0, 10);
	connection_close(&mine);
	hear(&mine, 2, 0, 5);
}

static void in_silence(void *arg)
{
	struct facts *s = arg;

	capture_output();
	if (make_pair(s, true))
		all_quiet();
	s->number[0] = captured(NULL, 0);
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = in_silence, .shared = s });
	expect_made(s);
	expect_silence(s->number[0]);
}

/* ---- an echo that fails --------------------------------------------- */

static void half_an_echo(void *arg)
{
	struct facts *s = arg;

	if (take_raw(s, BROKEN)) {
		connection_close(&mine);
		connection_close(&theirs);
		if (!break_off(s, s->n_raw - 5))
			return;
		errno = 0;
		note_call(0, connection_echo(&theirs));
	}
	connection_close(&mine);
	connection_close(&theirs);
	errno = 0;
	note_call(1, connection_echo(&theirs));
}

/* They have asked, and do not wait for the answer. */
static void echo_to_nobody(void *arg)
{
	struct facts *s = arg;

	if (!make_pair(s, true))
		return;
	say(&mine, 0, 0, 30);
	connection_close(&mine);
	errno = 0;
	note_call(0, connection_echo(&theirs));
	connection_close(&theirs);
}

static void check_half_echo(void)
{
	static const char why[] = "The conversation broke off, and the echo "
		"takes it for its end.";
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);

	make_messages();
	fence(&(struct fence){ .scenario = half_an_echo, .shared = s,
			       .why_stuck = why });
	expect_made(s);
	expect_failed(&s->heard[1], "connection_echo of a closed one", EBADF,
		      0, why);
	if (s->number[0])
		expect_failed(&s->heard[0], "connection_echo, after a part of "
			      "a message,", EPROTO, 0, why);
	fence(&(struct fence){ .scenario = echo_to_nobody, .shared = t,
			       .why_stuck = WHY_KILLED });
	expect_failed(&t->heard[0], "connection_echo, when nobody is left to "
		      "send it back to,", EPIPE, ECONNRESET, "Not everything "
		      "was sent back, and nobody is told.");
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("who looks takes nothing away", check_look,
		 connection_poll),
	FUNCTION("a wait ends at its limit", check_limits, connection_poll),
	FUNCTION("a message that breaks off is no message", check_broken,
		 connection_recv),
	FUNCTION("a part of a message is something to receive", check_part,
		 connection_poll),
	FUNCTION("who is killed while sending has sent no message",
		 check_killed, connection_recv),
	FUNCTION("a length that cannot be is not believed", check_damaged,
		 connection_recv),
	FUNCTION("nonsense is no message", check_nonsense, connection_recv),
	FUNCTION("sending to nobody is an error", check_nobody,
		 connection_send),
	FUNCTION("a signal of the caller's is left to the caller",
		 check_pending, connection_send),
	FUNCTION("who waits for room sees the other side go", check_deserted,
		 connection_send),
	FUNCTION("closing again touches nothing", check_close,
		 connection_close),
	FUNCTION("one way is one way", check_one_way, connection_pair),
	FUNCTION("the first numbers are good ones", check_zero,
		 connection_close),
	FUNCTION("signals do not change a limit", check_limit_interrupted,
		 connection_poll),
	FUNCTION("the wall clock does not change a limit", check_limit_jumps,
		 connection_poll),
	FUNCTION("a wait without a limit ends with a message",
		 check_long_waits, connection_poll),
	FUNCTION("a signal does not end a wait", check_disturbed,
		 connection_recv),
	FUNCTION("nothing is printed", check_silence, connection_send),
	FUNCTION("an echo that breaks off has failed", check_half_echo,
		 connection_echo),
};

CHECKS("04-pipe", checks);
