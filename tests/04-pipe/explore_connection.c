/* Two ends of a connection, in every order in which they can meet. */
#include "connection.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "explorer.h"
#include "harness.h"

/* All of them have room on their way: who sends need not wait. */
enum { LONG = 12000, SOME = 3 };

struct facts {
	int made;
	long said[2][SOME], heard[2][SOME + 1];
	int heard_errors[2], wrong;
};

static struct connection mine, theirs;
static char letters[LONG + 100], got[LONG + 100];

static const size_t lengths[SOME] = { 10, LONG, 0 };

static void make_letters(void)
{
	for (int i = 0; i < LONG + 100; i++)
		letters[i] = (char)(i * 7 + i / 251);
}

static bool make_pair(struct facts *f)
{
	make_letters();
	if (connection_pair(&mine, &theirs, true) != 0)
		return false;
	f->made = 1;
	return true;
}

static void say(struct facts *f, struct connection *c, int me, int i)
{
	f->said[me][i] = connection_send(c, letters + i, lengths[i]);
}

static bool hear(struct facts *f, struct connection *c, int me, int i)
{
	ssize_t n;

	errno = 0;
	n = connection_recv(c, got, sizeof got);
	f->heard[me][i] = n;
	f->heard_errors[me] = errno;
	if (n > 0 && i < SOME &&
	    ((size_t)n != lengths[i] || memcmp(got, letters + i, (size_t)n)))
		f->wrong++;
	return n >= 0;
}

static const char *all_heard(const struct facts *f, int me)
{
	if (!f->made)
		return "connection_pair failed";
	for (int i = 0; i < SOME; i++)
		if (f->heard[me][i] != (long)lengths[i])
			return text("message %d: connection_recv returned "
				    "%ld", i, f->heard[me][i]);
	return f->wrong ? "a message is not what was sent" : NULL;
}

/* ---- both send, and then receive ------------------------------------ */

static void talk(struct facts *f, struct connection *c, int me)
{
	for (int i = 0; i < SOME; i++)
		say(f, c, me, i);
	for (int i = 0; i < SOME; i++)
		hear(f, c, me, i);
}

static void first_talker(void *arg)
{
	connection_close(&theirs);
	talk(arg, &mine, 0);
	connection_close(&mine);
}

static void second_talker(void *arg)
{
	connection_close(&mine);
	talk(arg, &theirs, 1);
	connection_close(&theirs);
}

static void both_talk(void *shared)
{
	if (!make_pair(shared))
		return;
	explore_process("process A", first_talker, shared);
	explore_process("process B", second_talker, shared);
	connection_close(&mine);
	connection_close(&theirs);
	explore_wait();
}

static const char *both_heard(void *shared)
{
	const char *what = all_heard(shared, 0);

	return what != NULL ? what : all_heard(shared, 1);
}

/* ---- one is killed, at each point ----------------------------------- */

static void sender(void *arg)
{
	connection_close(&mine);
	for (int i = 0; i < SOME; i++)
		say(arg, &theirs, 1, i);
	connection_close(&theirs);
}

static void receiver(void *arg)
{
	connection_close(&theirs);
	for (int i = 0; i <= SOME && hear(arg, &mine, 0, i); i++)
		;
	connection_close(&mine);
}

static void one_way_talk(void *shared)
{
	if (!make_pair(shared))
		return;
	explore_process("process A", receiver, shared);
	explore_process("process B", sender, shared);
	connection_close(&mine);
	connection_close(&theirs);
	explore_wait();
}

static const char *whole_ones_only(void *shared)
{
	struct facts *f = shared;
	int i = 0;

	if (!f->made)
		return "connection_pair failed";
	while (i < SOME && f->heard[0][i] == (long)lengths[i])
		i++;
	if (f->wrong)
		return "a message is not what was sent";
	if (f->heard[0][i] == CONNECTION_EOF)
		return i == SOME || explore_killed() ? NULL :
		       text("the end of file after %d messages", i);
	return explore_killed() && f->heard[0][i] == -1 &&
	       (f->heard_errors[0] == EPROTO ||
		f->heard_errors[0] == ECONNRESET) ? NULL :
	       text("%ld in place of message %d", f->heard[0][i], i);
}

static const char *why_broken(const struct finding *f)
{
	return f->how == FOUND_WRONG || f->how == FOUND_STUCK ||
	       f->how == FOUND_SPIN ? "L04-11 The message broke off and you "
	       "did not notice." : NULL;
}

static void deaths(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = one_way_talk, .judge = whole_ones_only,
		.shared = f, .size = sizeof *f, .kill = "process B",
		.schedules = 80, .deviations = 1, .why = why_broken,
		.no_timers = true,
		.expected = "whole messages, and then the end of file or "
			    "EPROTO" });
}

/* ---- a signal, at each point ---------------------------------------- */

static void no_matter(int sig)
{
	(void)sig;
}

static void interrupted_talk(void *shared)
{
	struct sigaction a = { .sa_handler = no_matter };

	sigemptyset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
	both_talk(shared);
}

static const char *why_interrupted(const struct finding *f)
{
	return f->how == FOUND_WRONG || f->how == FOUND_STUCK ?
	       "L04-05 An interrupted call is not a failed connection, and "
	       "not an end either." : NULL;
}

static void signals(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = interrupted_talk, .judge = both_heard,
		.shared = f, .size = sizeof *f, .kill = "process A",
		.signal = SIGUSR1, .schedules = 80, .deviations = 1,
		.why = why_interrupted, .no_timers = true,
		.expected = "each side receives what the other one has sent" });
}

static const struct check checks[] = {
	{ "interleavings", "who dies while sending has sent whole messages "
	  "only, wherever it dies", deaths, connection_recv },
	{ "interleavings", "a signal loses nothing, wherever it comes",
	  signals, connection_recv },
};

CHECKS("04-pipe", checks);
