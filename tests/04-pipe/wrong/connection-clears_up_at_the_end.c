/*
 * misconception: who has gone has nothing to say any more, nor had before
 * rejected by:   who waits for room sees the other side go
 * message:       What arrived while we were sending is lost with
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = (16 << 20) + (64 << 10) };

static int fail(int e)
{
	errno = e;
	return -1;
}

struct store {
	size_t begin, end, cap;
	unsigned char *bytes;
};

static size_t held(struct connection *c)
{
	struct store *s = c->inbox;

	return s == NULL ? 0 : s->end - s->begin;
}

static size_t unstore(struct connection *c, void *p, size_t n)
{
	struct store *s = c->inbox;

	if (n > held(c))
		n = held(c);
	if (n == 0)
		return 0;
	memcpy(p, s->bytes + s->begin, n);
	s->begin += n;
	if (s->begin == s->end)
		s->begin = s->end = 0;
	return n;
}

static int store(struct connection *c, const void *p, size_t n)
{
	struct store *s = c->inbox;

	if (s == NULL) {
		s = calloc(1, sizeof *s);
		if (s == NULL)
			return -1;
		c->inbox = s;
	}
	if (s->end + n > s->cap && s->begin > 0) {
		memmove(s->bytes, s->bytes + s->begin, s->end - s->begin);
		s->end -= s->begin;
		s->begin = 0;
	}
	if (s->end + n > s->cap) {
		size_t cap = 2 * (s->end + n);
		unsigned char *bytes = realloc(s->bytes, cap);

		if (bytes == NULL)
			return -1;
		s->bytes = bytes;
		s->cap = cap;
	}
	memcpy(s->bytes + s->end, p, n);
	s->end += n;
	return 0;
}

static void unhold(struct connection *c)
{
	struct store *s = c->inbox;

	if (s != NULL)
		free(s->bytes);
	free(s);
	c->inbox = NULL;
}

static int prepare(struct connection *c)
{
	c->inbox = NULL;
	return 0;
}

/* Write, and let nobody see the SIGPIPE that it may cause. */
static ssize_t quiet_write(int fd, const void *p, size_t n)
{
	const struct timespec now = { 0, 0 };
	sigset_t pipes, mask, before, after;
	ssize_t w;
	int e;

	sigemptyset(&pipes);
	sigaddset(&pipes, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipes, &mask);
	sigpending(&before);
	w = write(fd, p, n);
	e = errno;
	sigpending(&after);
	if (sigismember(&after, SIGPIPE) && !sigismember(&before, SIGPIPE))
		while (sigtimedwait(&pipes, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	errno = e;
	return w;
}

static ssize_t put_some(struct connection *c, const void *p, size_t n)
{
	if (c->rfd == c->wfd)
		return send(c->wfd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	return quiet_write(c->wfd, p, n);
}

/* Wait for room; take in what arrives meanwhile. */
static int make_room(struct connection *c, bool *deaf)
{
	unsigned char some[16 << 10];
	struct pollfd p[2] = {
		{ .fd = c->wfd, .events = POLLOUT },
		{ .fd = *deaf || held(c) >= LIMIT ? -1 : c->rfd,
		  .events = POLLIN }
	};
	ssize_t n;

	if (c->rfd < 0)
		p[1].fd = -1;
	if (poll(p, 2, -1) <= 0 || p[1].revents == 0)
		return 0;
	n = read(c->rfd, some, sizeof some);
	if (n > 0) {
		if (store(c, some, (size_t)n) != 0)
			return fail(ENOMEM);
	} else if (n == 0 || (errno != EINTR && errno != EAGAIN)) {
		*deaf = true;
		unhold(c);
	}
	return 0;
}

static int put_all(struct connection *c, const void *buf, size_t n)
{
	const char *p = buf;
	bool deaf = false;

	while (n > 0) {
		ssize_t w = put_some(c, p, n);

		if (w >= 0) {
			p += w;
			n -= (size_t)w;
		} else if (errno == EAGAIN) {
			if (make_room(c, &deaf) != 0)
				return -1;
		} else if (errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

/* n bytes to buf, or nowhere: how many came before the end, or -1. */
static ssize_t get_all(struct connection *c, void *buf, size_t n)
{
	unsigned char waste[4096];
	size_t done = 0;

	while (done < n) {
		unsigned char *to = buf == NULL ? waste : buf;
		size_t most = n - done;
		ssize_t r;

		if (buf != NULL)
			to += done;
		else if (most > sizeof waste)
			most = sizeof waste;
		r = (ssize_t)unstore(c, to, most);
		if (r == 0)
			r = read(c->rfd, to, most);
		if (r > 0)
			done += (size_t)r;
		else if (r == 0)
			break;
		else if (errno == EAGAIN)
			poll(&(struct pollfd){ c->rfd, POLLIN, 0 }, 1, -1);
		else if (errno != EINTR)
			return -1;
	}
	return (ssize_t)done;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	unsigned char head[4] = { (unsigned char)(n >> 24),
		(unsigned char)(n >> 16), (unsigned char)(n >> 8),
		(unsigned char)n };

	if (c->wfd < 0)
		return fail(EBADF);
	if (n > CONNECTION_MAX)
		return fail(EMSGSIZE);
	if (put_all(c, head, sizeof head) != 0)
		return -1;
	return put_all(c, buf, n);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char head[4];
	size_t n;
	ssize_t got;

	if (c->rfd < 0)
		return fail(EBADF);
	got = get_all(c, head, sizeof head);
	if (got < 0)
		return -1;
	if (got == 0)
		return CONNECTION_EOF;
	if (got < 4)
		return fail(EPROTO);
	n = (size_t)head[0] << 24 | (size_t)head[1] << 16 |
	    (size_t)head[2] << 8 | head[3];
	if (n > CONNECTION_MAX)
		return fail(EPROTO);
	got = get_all(c, n > max ? NULL : buf, n);
	if (got < 0)
		return -1;
	if ((size_t)got < n)
		return fail(EPROTO);
	return n > max ? fail(EMSGSIZE) : got;
}

int connection_poll(struct connection *c, double timeout)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	struct timespec t, left;
	double until = 0, rest;
	int n;

	if (c->rfd < 0)
		return fail(EBADF);
	if (held(c) > 0)
		return 1;
	if (timeout > 1e8)
		timeout = -1;
	clock_gettime(CLOCK_MONOTONIC, &t);
	until = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec + timeout;
	for (rest = timeout;;) {
		left.tv_sec = (time_t)(rest > 0 ? rest : 0);
		left.tv_nsec = (long)(rest > 0 ?
				      (rest - (double)left.tv_sec) * 1e9 : 0);
		n = ppoll(&p, 1, timeout < 0 ? NULL : &left, NULL);
		if (n > 0)
			return p.revents & POLLNVAL ? fail(EBADF) : 1;
		if (n == 0)
			return 0;
		if (errno != EINTR)
			return -1;
		clock_gettime(CLOCK_MONOTONIC, &t);
		rest = until - ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec);
	}
}

int connection_close(struct connection *c)
{
	int r = 0;

	unhold(c);
	if (c->wfd >= 0 && c->wfd != c->rfd)
		r |= close(c->wfd);
	if (c->rfd >= 0)
		r |= close(c->rfd);
	c->rfd = c->wfd = -1;
	return r;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int s[2];

	*a = *b = (struct connection){ -1, -1, NULL };
	if ((duplex ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s)
		    : pipe2(s, O_CLOEXEC)) != 0)
		return -1;
	a->rfd = s[0];
	b->wfd = s[1];
	if (duplex) {
		a->wfd = s[0];
		b->rfd = s[1];
	}
	if (prepare(a) != 0 || prepare(b) != 0) {
		connection_close(a);
		connection_close(b);
		return fail(ENOMEM);
	}
	return 0;
}

static int open_again(const char *path, int flags)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static int give_up(struct connection *c)
{
	int e = errno;

	connection_close(c);
	return fail(e);
}

/* PATH leads to who listens, PATH.out from there; to open them is to wait. */
int connection_listen(struct connection *c, const char *path)
{
	char out[PATH_MAX];
	int e;

	*c = (struct connection){ -1, -1, NULL };
	if (snprintf(out, sizeof out, "%s.out", path) >= (int)sizeof out)
		return fail(ENAMETOOLONG);
	if (mkfifo(out, 0600) != 0)
		return -1;
	if (mkfifo(path, 0600) != 0) {
		e = errno;
		unlink(out);
		return fail(e);
	}
	c->rfd = open_again(path, O_RDONLY);
	if (c->rfd >= 0)
		c->wfd = open_again(out, O_WRONLY);
	e = errno;
	unlink(path);
	unlink(out);
	errno = e;
	if (c->wfd < 0 || prepare(c) != 0 ||
	    fcntl(c->wfd, F_SETFL, O_NONBLOCK) != 0)
		return give_up(c);
	return 0;
}

int connection_connect(struct connection *c, const char *path)
{
	char out[PATH_MAX];
	struct stat s;

	*c = (struct connection){ -1, -1, NULL };
	if (snprintf(out, sizeof out, "%s.out", path) >= (int)sizeof out)
		return fail(ENAMETOOLONG);
	if (stat(path, &s) != 0)
		return -1;
	if (!S_ISFIFO(s.st_mode))
		return fail(ENOENT);
	c->wfd = open_again(path, O_WRONLY);
	if (c->wfd < 0)
		return -1;
	c->rfd = open_again(out, O_RDONLY);
	if (c->rfd < 0 || prepare(c) != 0 ||
	    fcntl(c->wfd, F_SETFL, O_NONBLOCK) != 0)
		return give_up(c);
	return 0;
}

int connection_echo(struct connection *c)
{
	void *buf = malloc(CONNECTION_MAX);
	ssize_t n = -1;
	int e;

	if (buf == NULL)
		return fail(ENOMEM);
	while ((n = connection_recv(c, buf, CONNECTION_MAX)) >= 0)
		if (connection_send(c, buf, (size_t)n) != 0) {
			n = -1;
			break;
		}
	e = errno;
	free(buf);
	errno = e;
	return n == CONNECTION_EOF ? 0 : -1;
}
