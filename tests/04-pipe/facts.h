/*
 * facts - what the checks of this lab have in common: the two ends of a
 * connection, a process for each, messages that can be told from one another,
 * and what was heard of them
 *
 * How a message looks on its way is the student's business. Where a check
 * needs a broken one, it takes the bytes that the student's own send puts on
 * the way, and gives back only some of them.
 */
#ifndef FACTS_H
#define FACTS_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "connection.h"
#include "harness.h"

enum { HEARD = 64, CANARY = 64, PEOPLE = 6, MIB = 1 << 20 };

/* What a call returned, and what it left in the buffer. */
struct heard {
	long got;
	int error;
	long wrong;		/* the first byte that was not sent; -1: none */
	bool spilled;		/* bytes behind the message have changed */
	bool called;
};

struct facts {
	int made, error;	/* what connection_pair returned; errno */
	struct heard heard[HEARD], said[HEARD];
	int polled[HEARD];
	pid_t pids[PEOPLE];
	struct gate ready[8], go[8];
	_Atomic int number[16];
	_Atomic long longs[16];
	double took;
	char path[4096], names[1024], raw[256];
	size_t n_raw;
};

static struct facts *facts;
static struct connection mine, theirs;	/* before the fork: a and b */

/* ---- messages ------------------------------------------------------- */

static unsigned char pattern[CONNECTION_MAX + MIB];
static unsigned char into[CONNECTION_MAX + CANARY];

/* Before the first fence, so that all have it. Short messages of a low number
 * are letters; what lies further behind is all zero. */
static inline void fill_messages(size_t n)
{
	static uint64_t x = 88172645463325252u;
	static size_t filled;

	for (; filled < n; filled += sizeof x) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		memcpy(pattern + filled, &x, sizeof x);
		for (size_t i = filled; i < 65536 && i < filled + 8; i++)
			pattern[i] = 'a' + pattern[i] % 26;
	}
}

static inline void make_messages(void)
{
	fill_messages(5 * MIB);
}

/* Message number k, as long as one likes. */
static inline const void *message(int k)
{
	return pattern + (unsigned)k * 4099u % MIB;
}

static inline long first_wrong(const unsigned char *p, int k, size_t n)
{
	const unsigned char *want = message(k);

	if (memcmp(p, want, n) == 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		if (p[i] != want[i])
			return (long)i;
	return -1;
}

/* Send n bytes of message k, and note it under i. */
static inline bool say(struct connection *c, int i, int k, size_t n)
{
	struct heard *h = &facts->said[i];

	errno = 0;
	h->got = connection_send(c, message(k), n);
	h->error = errno;
	h->called = true;
	return h->got == 0;
}

static inline bool changed(size_t from, size_t to)
{
	return from < to &&
	       (into[from] != 0xa5 ||
		memcmp(into + from, into + from + 1, to - from - 1) != 0);
}

/* Receive at most max bytes, and compare with message k. */
static inline bool hear(struct connection *c, int i, int k, size_t max)
{
	struct heard *h = &facts->heard[i];
	size_t n, near = max <= 2 * MIB ? max : 4 * CANARY;

	memset(into, 0xa5, near);
	memset(into + max, 0xa5, CANARY);
	errno = 0;
	h->got = connection_recv(c, into, max);
	h->error = errno;
	h->called = true;
	n = h->got > 0 && (size_t)h->got <= max ? (size_t)h->got : 0;
	h->wrong = first_wrong(into, k, n);
	if (h->got < 0)
		n = max;	/* of what was dropped some may be there */
	h->spilled = changed(n, near) || changed(max, max + CANARY);
	return h->got >= 0;
}

/* ---- the two ends --------------------------------------------------- */

static inline void poison(struct connection *c)
{
	memset(c, 0xa5, sizeof *c);
}

static inline bool make_pair(struct facts *s, bool duplex)
{
	pid_t me = getpid();

	facts = s;
	poison(&mine);
	poison(&theirs);
	errno = 0;
	s->made = connection_pair(&mine, &theirs, duplex);
	s->error = errno;
	if (getpid() != me)
		still_alone("connection_pair");
	return s->made == 0;
}

/* The same; mine is the end that sends where only one of them does. */
static inline bool make_pair_to_send(struct facts *s, bool duplex)
{
	struct connection receives;

	if (!make_pair(s, duplex))
		return false;
	receives = mine;
	if (!duplex) {
		mine = theirs;
		theirs = receives;
	}
	return true;
}

/* A process that has one end: theirs. We have mine. */
static inline pid_t partner(void (*run)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		connection_close(&mine);
		run();
		_exit(0);
	}
	facts->pids[0] = pid;
	connection_close(&theirs);
	return pid;
}

/* By which signal it was killed; 0: by none. */
static inline int collect(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

/* A descriptor that carries bytes, and knows no borders? */
static inline bool is_stream(int fd)
{
	int type;
	socklen_t size = sizeof type;
	struct stat s;

	if (fstat(fd, &s) != 0)
		return false;
	if (S_ISFIFO(s.st_mode))
		return !(fcntl(fd, F_GETFL) & O_DIRECT);
	return S_ISSOCK(s.st_mode) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM;
}

/* As little room on the way as can be; datagrams keep theirs, or they would
 * not go through any more. */
static inline void make_narrow(int fd)
{
	struct stat s;
	int least = 1;

	if (!is_stream(fd) || fstat(fd, &s) != 0)
		return;
	if (S_ISFIFO(s.st_mode)) {
		fcntl(fd, F_SETPIPE_SZ, 4096);
	} else {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
	}
}

static inline void narrow_ways(void)
{
	make_narrow(mine.rfd);
	make_narrow(mine.wfd);
	make_narrow(theirs.rfd);
	make_narrow(theirs.wfd);
}

/* ---- bytes as they are on their way --------------------------------- */

static inline size_t drain(int fd, char *to, size_t most)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t n = 0;
	ssize_t r = 1;

	while (n < most && r > 0 && poll(&p, 1, 0) > 0) {
		r = read(fd, to + n, most - n);
		n += r > 0 ? (size_t)r : 0;
	}
	return n;
}

static inline void pour(int fd, const char *from, size_t n)
{
	ssize_t w;

	signal(SIGPIPE, SIG_IGN);	/* they may have gone */
	while (n > 0 && (w = write(fd, from, n)) > 0) {
		from += w;
		n -= (size_t)w;
	}
	signal(SIGPIPE, SIG_DFL);
}

/* ---- in the director, and between processes ------------------------- */

static inline void no_matter(int sig)
{
	(void)sig;
}

/* A signal that interrupts whatever it finds. */
static inline void be_interruptible(void)
{
	struct sigaction a = { .sa_handler = no_matter };

	sigemptyset(&a.sa_mask);
	sigaction(SIGUSR1, &a, NULL);
}

static inline void not_any_more(void)
{
	signal(SIGUSR1, SIG_DFL);
}

/* A caller that handles SIGPIPE and blocks SIGURG, or no more. */
static inline void have_signals(bool on)
{
	struct sigaction a = { .sa_handler = on ? no_matter : SIG_DFL,
			       .sa_flags = SA_RESTART };
	sigset_t urg;

	sigemptyset(&urg);
	sigaddset(&urg, SIGURG);
	sigprocmask(on ? SIG_BLOCK : SIG_UNBLOCK, &urg, NULL);
	sigaction(SIGPIPE, &a, NULL);
	keep_signals();
}

static inline double seconds_now(void)
{
	struct timespec t;

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- verdicts, in the test program ---------------------------------- */

#define WHY_01 "L04-01 You are reading your own words."
#define WHY_02 "L04-02 A stream has no borders between messages unless you " \
	"draw them."
#define WHY_04 "L04-04 Less was sent, or received, than you asked for."
#define WHY_05 "L04-05 An interrupted call is not a failed connection, and " \
	"not an end either."
#define WHY_07 "L04-07 You wrote behind the message, into what is not yours."
#define WHY_08 "L04-08 There is still somebody who could write: a copy of " \
	"that end is open."
#define WHY_10 "L04-10 An empty message is still a message."
#define WHY_11 "L04-11 The message broke off and you did not notice."
#define WHY_13 "L04-13 The rest of the long message is still in the stream."
#define WHY_14 "L04-14 Both of you are talking and nobody is listening."
#define WHY_16 "L04-16 You sent an address, or memory that you never filled " \
	"in."
#define WHY_19 "L04-19 That number no longer belongs to you."
#define WHY_20 "L04-20 Something you opened is never closed."
#define WHY_22 "L04-22 One half was built and forgotten."
#define WHY_INBOX "What arrived while we were sending is forgotten, or out " \
	"of its order."
#define WHY_OTHER "What arrives is not what was sent."
#define WHY_LENGTH "The length of a message does not fit where you put it."
#define WHY_KILLED "Nobody is left to receive it: that is an error to " \
	"report, and nobody's death."

static inline void expect_made(const struct facts *s)
{
	expect(s->made == 0, "There is no connection.",
	       "connection_pair returns 0", "%d, %s", s->made,
	       strerror(s->error));
}

static inline const char *result_text(const struct heard *h)
{
	if (!h->called)
		return "it was never called";
	if (h->got == -1)
		return text("-1, %s", strerror(h->error));
	if (h->got == CONNECTION_EOF)
		return "CONNECTION_EOF";
	return text("%ld", h->got);
}

/* Message i was to be n bytes; what is behind it is another question. */
static inline void expect_bytes(const struct facts *s, int i, size_t n,
				const char *why)
{
	const struct heard *h = &s->heard[i];

	if (h->called && h->got == (long)n && h->wrong < 0)
		return;			/* no text is made for nothing */
	expect(h->got == (long)n && h->called, why,
	       text("connection_recv returns %zu", n), "%s", result_text(h));
	expect(h->wrong < 0, WHY_OTHER, text("the %zu bytes that were sent",
	       n), "byte %ld is another", h->wrong);
}

static inline void expect_heard(const struct facts *s, int i, size_t n,
				const char *why)
{
	const struct heard *h = &s->heard[i];

	expect_bytes(s, i, n, why);
	if (h->spilled)
		expect(false, WHY_07, text("nothing behind the %zu bytes has "
		       "changed", n), "something has");
}

static inline void expect_eof(const struct facts *s, int i, const char *why)
{
	const struct heard *h = &s->heard[i];

	if (h->called && h->got == CONNECTION_EOF)
		return;
	expect(!h->called || h->got != 0, WHY_10 " And the end of file is "
	       "none.", "CONNECTION_EOF", "0");
	expect(!h->called || h->got != -1, "The end of file is an end, and no "
	       "failure.", "CONNECTION_EOF", "%s", result_text(h));
	expect(h->got == CONNECTION_EOF, why, "CONNECTION_EOF", "%s",
	       result_text(h));
}

static inline void expect_said(const struct facts *s, int i, const char *why)
{
	const struct heard *h = &s->said[i];

	if (h->got != 0 || !h->called)
		expect(false, why, "connection_send returns 0", "%s",
		       result_text(h));
}

/* A call failed, and errno is one of two. */
static inline void expect_failed(const struct heard *h, const char *call,
				 int error, int or_else, const char *why)
{
	if (h->got == -1 && (h->error == error || h->error == or_else))
		return;
	expect(false, why, text("%s returns -1, %s%s%s", call,
				strerrorname_np(error), or_else ? " or " : "",
				or_else ? strerrorname_np(or_else) : ""),
	       "%s", result_text(h));
}

#endif
