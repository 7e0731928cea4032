/*
 * misconception: SIGPIPE is blocked, and afterwards no signal at all
 * rejected by:   sending to nobody is an error
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

/* What has been read and not yet received: start to end. */
struct inbox {
	unsigned char *bytes;
	size_t start, end, room;
	bool ended;			/* nothing more will come */
};

/* A message on its way: a header, the bytes, and perhaps something after. */
struct frame {
	size_t head, body, tail;
};

static int failed(int error)
{
	errno = error;
	return -1;
}

/* ---- the frame --------------------------------------------------------- */

enum { HEAD_MAX = 8 };
static const char *const tail = "";

static size_t make_head(unsigned char *head, size_t n)
{
	uint64_t length = n;

	memcpy(head, &length, sizeof length);
	return sizeof length;
}

/* 1: *f is known; 0: more of the header is needed; -1: that is none. */
static int look(const unsigned char *p, size_t have, struct frame *f)
{
	uint64_t length;

	if (have < sizeof length)
		return 0;
	memcpy(&length, p, sizeof length);
	*f = (struct frame){ sizeof length, length, 0 };
	return length <= CONNECTION_MAX ? 1 : -1;
}

/* ---- descriptors ------------------------------------------------------- */

static int without_waiting(int fd)
{
	return fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* A write for whose failure nobody is killed. */
static ssize_t write_quietly(int fd, const void *p, size_t n)
{
	const struct timespec at_once = { 0 };
	sigset_t sigpipe, before, pending;
	bool was_pending;
	ssize_t w;
	int error;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
	sigpending(&pending);
	was_pending = sigismember(&pending, SIGPIPE);
	w = write(fd, p, n);
	error = errno;
	if (w < 0 && error == EPIPE && !was_pending)
		while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 &&
		       errno == EINTR)
			;
	sigemptyset(&before);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return w;
}

static void give_up(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static int new_inbox(struct connection *c)
{
	c->inbox = calloc(1, sizeof(struct inbox));
	return c->inbox != NULL ? 0 : -1;
}

static void no_connection(struct connection *c)
{
	*c = (struct connection){ .rfd = -1, .wfd = -1 };
}

/* ---- the inbox --------------------------------------------------------- */

static size_t waiting(const struct inbox *in)
{
	return in->end - in->start;
}

static int make_room(struct inbox *in)
{
	unsigned char *more;

	if (in->start > 0 && in->start == in->end)
		in->start = in->end = 0;
	if (in->room - in->end >= PIECE)
		return 0;
	if (in->start > in->room / 2) {
		memmove(in->bytes, in->bytes + in->start, waiting(in));
		in->end -= in->start;
		in->start = 0;
		return make_room(in);
	}
	more = realloc(in->bytes, 2 * in->room + PIECE);
	if (more == NULL)
		return failed(ENOMEM);
	in->bytes = more;
	in->room = 2 * in->room + PIECE;
	return 0;
}

/* Read once. Bytes, 0 at the end, or -1; EAGAIN when there is nothing. */
static ssize_t take_in(struct connection *c)
{
	struct inbox *in = c->inbox;
	ssize_t r;

	if (make_room(in) < 0)
		return -1;
	do
		r = read(c->rfd, in->bytes + in->end, PIECE);
	while (r < 0 && errno == EINTR);
	if (r > 0)
		in->end += (size_t)r;
	in->ended = r == 0;
	return r;
}

static void drop(struct inbox *in, size_t n)
{
	in->start += n;
	if (in->start < in->end || in->room <= 16 * PIECE)
		return;
	free(in->bytes);
	*in = (struct inbox){ .ended = in->ended };
}

/* ---- waiting ----------------------------------------------------------- */

/* Until one of them is ready, or there is nothing to wait for. */
static void wait_for(int rfd, int wfd)
{
	struct pollfd p[] = { { .fd = rfd, .events = POLLIN },
			      { .fd = wfd, .events = POLLOUT } };

	while (poll(p, 2, -1) < 0 && errno == EINTR)
		;
}

/* ---- pairs ------------------------------------------------------------- */

static int one_way(struct connection *from, struct connection *to)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	to->rfd = ends[0];
	from->wfd = ends[1];
	return 0;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int error;

	no_connection(a);
	no_connection(b);
	if (new_inbox(a) == 0 && new_inbox(b) == 0 && one_way(b, a) == 0 &&
	    (!duplex || one_way(a, b) == 0))
		return 0;
	error = errno;
	connection_close(a);
	connection_close(b);
	return failed(error);
}

/* ---- by name ----------------------------------------------------------- */

static char *other_name(const char *path)
{
	char *name = malloc(strlen(path) + sizeof ".back");

	if (name != NULL)
		strcat(strcpy(name, path), ".back");
	return name;
}

static int open_patiently(const char *path, int flags)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int gave_up(struct connection *c)
{
	int error = errno;

	connection_close(c);
	return failed(error);
}

/* The other name first: who finds path finds both. */
static int listen_at(struct connection *c, const char *path, const char *back)
{
	int r = -1, error;

	if (mkfifo(back, 0600) < 0)
		return -1;
	if (mkfifo(path, 0600) == 0) {
		c->rfd = open_patiently(path, O_RDONLY);
		if (c->rfd >= 0)
			c->wfd = open_patiently(back, O_WRONLY);
		if (c->wfd >= 0)
			r = without_waiting(c->rfd) | without_waiting(c->wfd);
		error = errno;
		unlink(path);
		errno = error;
	}
	error = errno;
	unlink(back);
	errno = error;
	return r;
}

int connection_listen(struct connection *c, const char *path)
{
	char *back = other_name(path);
	int r = -1;

	no_connection(c);
	if (back != NULL && new_inbox(c) == 0)
		r = listen_at(c, path, back);
	free(back);
	return r < 0 ? gave_up(c) : 0;
}

int connection_connect(struct connection *c, const char *path)
{
	char *back = other_name(path);

	no_connection(c);
	if (back != NULL && new_inbox(c) == 0)
		c->wfd = open_patiently(path, O_WRONLY);
	if (c->wfd >= 0)
		c->rfd = open_patiently(back, O_RDONLY);
	free(back);
	if (c->rfd < 0 || without_waiting(c->rfd) < 0 ||
	    without_waiting(c->wfd) < 0)
		return gave_up(c);
	return 0;
}

/* ---- messages ---------------------------------------------------------- */

/* The way is full: wait, and meanwhile take in what the other side sends. */
static int while_full(struct connection *c)
{
	struct inbox *in = c->inbox;
	bool listens = c->rfd >= 0 && !in->ended &&
		       waiting(in) < CONNECTION_MAX + PIECE;

	wait_for(listens ? c->rfd : -1, c->wfd);
	if (listens && take_in(c) < 0) {
		if (errno == ENOMEM)
			return -1;
		in->ended = errno != EAGAIN;
	}
	return 0;
}

static int send_all(struct connection *c, const void *buf, size_t n)
{
	const unsigned char *p = buf;
	ssize_t w;

	while (n > 0) {
		w = write_quietly(c->wfd, p, n);
		if (w >= 0) {
			p += w;
			n -= (size_t)w;
		} else if (errno == EAGAIN) {
			if (while_full(c) < 0)
				return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	unsigned char head[HEAD_MAX];

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	if (send_all(c, head, make_head(head, n)) < 0 ||
	    send_all(c, buf, n) < 0)
		return -1;
	return send_all(c, tail, strlen(tail));
}

/* Read until the next message is in the inbox as a whole. */
static ssize_t whole(struct connection *c, struct frame *f)
{
	struct inbox *in = c->inbox;
	ssize_t r;
	int known;

	for (;;) {
		known = look(in->bytes + in->start, waiting(in), f);
		if (known < 0)
			return failed(EPROTO);
		if (known > 0 && waiting(in) >= f->head + f->body + f->tail)
			return 0;
		r = take_in(c);
		if (r == 0)
			return waiting(in) == 0 ? CONNECTION_EOF
						: failed(EPROTO);
		if (r < 0 && errno != EAGAIN)
			return -1;
		if (r < 0)
			wait_for(c->rfd, -1);
	}
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	struct frame f;
	ssize_t r;

	if (c->rfd < 0)
		return failed(EBADF);
	r = whole(c, &f);
	if (r < 0)
		return r;
	if (f.body <= max && f.body > 0)
		memcpy(buf, in->bytes + in->start + f.head, f.body);
	drop(in, f.head + f.body + f.tail);
	return f.body <= max ? (ssize_t)f.body : failed(EMSGSIZE);
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int connection_poll(struct connection *c, double timeout)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	double left, end = seconds() + timeout;
	int r;

	if (c->rfd < 0)
		return failed(EBADF);
	if (waiting(c->inbox) > 0)
		return 1;
	for (;;) {
		left = end - seconds();
		r = poll(&p, 1, timeout < 0 ? -1 : left <= 0 ? 0 :
			 left > 1000 ? 1000000 : (int)ceil(left * 1000));
		if (r > 0)
			return 1;
		if (r < 0 && errno != EINTR)
			return -1;
		if (timeout >= 0 && seconds() >= end)
			return 0;
	}
}

int connection_close(struct connection *c)
{
	struct inbox *in = c->inbox;

	if (c->wfd == c->rfd)
		c->wfd = -1;
	give_up(&c->rfd);
	give_up(&c->wfd);
	if (in != NULL)
		free(in->bytes);
	free(in);
	c->inbox = NULL;
	return 0;
}

int connection_echo(struct connection *c)
{
	char *buf = malloc(CONNECTION_MAX);
	ssize_t n = -1;
	int error;

	if (buf == NULL)
		return -1;
	while ((n = connection_recv(c, buf, CONNECTION_MAX)) >= 0)
		if (connection_send(c, buf, (size_t)n) < 0) {
			n = -1;
			break;
		}
	error = errno;
	free(buf);
	return n == CONNECTION_EOF ? 0 : failed(error);
}
