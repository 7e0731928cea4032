/*
 * misconception: the inbox is what the memory held before
 * rejected by:   a new connection can be closed
 * message:       What the caller's memory held is taken for a part of the
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { PIECE = 32 * 1024, HEAD = 4 };

struct piece {
	struct piece *next;
	size_t start, end;
	unsigned char bytes[PIECE];
};

struct inbox {
	struct piece *first, *last;
	size_t size;
	bool ended;
};

static int failed(int error)
{
	errno = error;
	return -1;
}

/* ---- pieces ------------------------------------------------------------ */

static struct inbox *inbox_of(struct connection *c)
{
	if (c->inbox == NULL)
		c->inbox = calloc(1, sizeof(struct inbox));
	return c->inbox;
}

static bool has_pieces(const struct connection *c)
{
	const struct inbox *in = c->inbox;

	return in != NULL && in->first != NULL;
}

/* Read once, into a new piece. */
static int take_in(struct connection *c)
{
	struct inbox *in = inbox_of(c);
	struct piece *p = in != NULL ? malloc(sizeof *p) : NULL;
	ssize_t r;

	if (p == NULL)
		return failed(ENOMEM);
	r = read(c->rfd, p->bytes, PIECE);
	if (r <= 0) {
		in->ended = r == 0 || (errno != EINTR && errno != EAGAIN);
		free(p);
		return 0;
	}
	p->next = NULL;
	p->start = 0;
	p->end = (size_t)r;
	if (in->first == NULL)
		in->first = p;
	else
		in->last->next = p;
	in->last = p;
	in->size += (size_t)r;
	return 0;
}

/* Some of the first piece. */
static size_t take_out(struct inbox *in, unsigned char *to, size_t n)
{
	struct piece *p = in->first;

	if (n > p->end - p->start)
		n = p->end - p->start;
	memcpy(to, p->bytes + p->start, n);
	p->start += n;
	in->size -= n;
	if (p->start == p->end) {
		in->first = p->next;
		free(p);
	}
	return n;
}

/* ---- in ---------------------------------------------------------------- */

/* n bytes, or fewer when the other side has gone; -1. */
static ssize_t get(struct connection *c, unsigned char *to, size_t n)
{
	size_t got = 0;
	ssize_t r;

	while (got < n) {
		if (has_pieces(c)) {
			got += take_out(c->inbox, to + got, n - got);
			continue;
		}
		r = read(c->rfd, to + got, n - got);
		if (r == 0)
			break;
		if (r > 0)
			got += (size_t)r;
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)got;
}

static int drop(struct connection *c, size_t n)
{
	unsigned char scratch[4096];
	size_t part;
	ssize_t r;

	while (n > 0) {
		part = n < sizeof scratch ? n : sizeof scratch;
		r = get(c, scratch, part);
		if (r != (ssize_t)part)
			return r < 0 ? -1 : failed(EPROTO);
		n -= part;
	}
	return failed(EMSGSIZE);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char head[HEAD];
	uint32_t n;
	ssize_t r;

	if (c->rfd < 0)
		return failed(EBADF);
	r = get(c, head, HEAD);
	if (r == 0)
		return CONNECTION_EOF;
	if (r < 0)
		return -1;
	n = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 |
	    (uint32_t)head[2] << 8 | head[3];
	if (r < HEAD || n > CONNECTION_MAX)
		return failed(EPROTO);
	if (n > max)
		return drop(c, n);
	r = get(c, buf, n);
	if (r < 0)
		return -1;
	return r == (ssize_t)n ? r : failed(EPROTO);
}

/* ---- out --------------------------------------------------------------- */

/* Never waits. Into a pipe that is ready goes PIPE_BUF, and not always more;
 * and the SIGPIPE that this may cost is taken away. */
static ssize_t write_pipe(int fd, const unsigned char *p, size_t n)
{
	const struct timespec at_once = { 0 };
	struct pollfd room = { .fd = fd, .events = POLLOUT };
	sigset_t sigpipe, before, pending;
	ssize_t w = -1;
	int error = EAGAIN;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigprocmask(SIG_BLOCK, &sigpipe, &before);
	sigpending(&pending);
	if (poll(&room, 1, 0) > 0) {
		w = write(fd, p, n < PIPE_BUF ? n : PIPE_BUF);
		error = errno;
	}
	if (w < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
		while (sigtimedwait(&sigpipe, NULL, &at_once) < 0 &&
		       errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return w;
}

static ssize_t try_write(int fd, const unsigned char *p, size_t n)
{
	ssize_t w = send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	return w < 0 && errno == ENOTSOCK ? write_pipe(fd, p, n) : w;
}

static int wait_for_room(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct pollfd p[] = { { .fd = c->wfd, .events = POLLOUT },
			      { .fd = c->rfd, .events = POLLIN } };

	if (in != NULL && (in->ended || in->size > CONNECTION_MAX + PIECE))
		p[1].fd = -1;
	if (poll(p, 2, -1) < 0)
		return errno == EINTR ? 0 : -1;
	return p[1].fd >= 0 && p[1].revents ? take_in(c) : 0;
}

static int put(struct connection *c, const unsigned char *p, size_t n)
{
	ssize_t w;

	while (n > 0) {
		w = try_write(c->wfd, p, n);
		if (w >= 0) {
			p += w;
			n -= (size_t)w;
		} else if (errno == EAGAIN) {
			if (wait_for_room(c) < 0)
				return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	const unsigned char head[HEAD] = {
		(unsigned char)(n >> 24), (unsigned char)(n >> 16),
		(unsigned char)(n >> 8), (unsigned char)n };

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	return put(c, head, HEAD) < 0 ? -1 : put(c, buf, n);
}

/* ---- waiting ----------------------------------------------------------- */

int connection_poll(struct connection *c, double timeout)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	struct timespec start, now;
	double left = timeout;
	int r;

	if (c->rfd < 0)
		return failed(EBADF);
	if (has_pieces(c))
		return 1;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		r = poll(&p, 1, timeout < 0 ? -1 : left <= 0 ? 0 :
			 left > 1e6 ? 1000000000 : (int)(left * 1000) + 1);
		clock_gettime(CLOCK_MONOTONIC, &now);
		left = timeout - (double)(now.tv_sec - start.tv_sec) -
		       (double)(now.tv_nsec - start.tv_nsec) / 1e9;
	} while ((r < 0 && errno == EINTR) ||
		 (r == 0 && timeout > 0 && left > 0));
	return r > 0 ? 1 : r;
}

/* ---- making and closing ------------------------------------------------ */

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int ends[2];

	if (duplex ? socketpair(AF_UNIX, SOCK_STREAM, 0, ends) : pipe(ends))
		return -1;
	a->rfd = b->wfd = ends[0];
	b->wfd = ends[1];
	a->wfd = duplex ? ends[0] : -1;
	b->rfd = duplex ? ends[1] : -1;
	return 0;
}

int connection_close(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct piece *p;
	int r = 0;

	while (in != NULL && (p = in->first) != NULL) {
		in->first = p->next;
		free(p);
	}
	free(in);
	if (c->rfd >= 0)
		r = close(c->rfd);
	if (c->wfd >= 0 && c->wfd != c->rfd && close(c->wfd) < 0)
		r = -1;
	*c = (struct connection){ -1, -1, NULL };
	return r;
}

/* ---- by name ----------------------------------------------------------- */

static char *with(const char *path, const char *more)
{
	char *name = malloc(strlen(path) + strlen(more) + 1);

	return name != NULL ? strcat(strcpy(name, path), more) : NULL;
}

static int open_end(const char *path, int flags)
{
	int fd;

	while ((fd = open(path, flags)) < 0 && errno == EINTR)
		;
	return fd;
}

/* Both open first what the listener reads, then the other. */
static int open_both(struct connection *c, const char *first,
		     const char *second, bool listens)
{
	int error;

	if (listens) {
		c->rfd = open_end(first, O_RDONLY);
		c->wfd = c->rfd < 0 ? -1 : open_end(second, O_WRONLY);
	} else {
		c->wfd = open_end(first, O_WRONLY);
		c->rfd = c->wfd < 0 ? -1 : open_end(second, O_RDONLY);
	}
	if (c->rfd >= 0 && c->wfd >= 0)
		return 0;
	error = errno;
	connection_close(c);
	return failed(error);
}

static int make_and_open(struct connection *c, const char *path,
			 const char *back)
{
	int r, error;

	if (mkfifo(back, 0600) < 0)
		return -1;
	r = mkfifo(path, 0600);
	if (r == 0) {
		r = open_both(c, path, back, true);
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
	char *back = with(path, "-2");
	int r;

	*c = (struct connection){ -1, -1, NULL };
	r = back != NULL ? make_and_open(c, path, back) : -1;
	free(back);
	return r;
}

int connection_connect(struct connection *c, const char *path)
{
	char *back = with(path, "-2");
	int r;

	*c = (struct connection){ -1, -1, NULL };
	r = back != NULL ? open_both(c, path, back, false) : -1;
	free(back);
	return r;
}

/* ---- echo -------------------------------------------------------------- */

int connection_echo(struct connection *c)
{
	char *buf = malloc(CONNECTION_MAX);
	ssize_t n = -1;

	while (buf != NULL &&
	       (n = connection_recv(c, buf, CONNECTION_MAX)) >= 0)
		if (connection_send(c, buf, (size_t)n) < 0) {
			n = -1;
			break;
		}
	free(buf);
	return n == CONNECTION_EOF ? 0 : -1;
}
