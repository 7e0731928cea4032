/*
 * misconception: the setting for SIGPIPE is the library's
 * rejected by:   who has met at a name sees the other side go
 * message:       What a signal does, and which are blocked, is the caller's to decide
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

struct block {
	struct block *next;
	size_t begin, end;
	unsigned char bytes[16 << 10];
};

struct blocks {
	struct block *first, **last;
	size_t all;
};

static int prepare(struct connection *c)
{
	struct blocks *b = malloc(sizeof *b);

	if (b == NULL)
		return fail(ENOMEM);
	*b = (struct blocks){ .first = NULL, .last = &b->first };
	c->inbox = b;
	return 0;
}

static size_t held(struct connection *c)
{
	return ((struct blocks *)c->inbox)->all;
}

static size_t unstore(struct connection *c, void *p, size_t n)
{
	struct blocks *b = c->inbox;
	struct block *f = b->first;

	if (f == NULL)
		return 0;
	if (n > f->end - f->begin)
		n = f->end - f->begin;
	memcpy(p, f->bytes + f->begin, n);
	f->begin += n;
	b->all -= n;
	if (f->begin == f->end) {
		b->first = f->next;
		if (b->first == NULL)
			b->last = &b->first;
		free(f);
	}
	return n;
}

static int store(struct connection *c, const void *p, size_t n)
{
	struct blocks *b = c->inbox;
	struct block *f = malloc(sizeof *f);

	if (f == NULL)
		return -1;
	f->next = NULL;
	f->begin = 0;
	f->end = n;
	memcpy(f->bytes, p, n);
	*b->last = f;
	b->last = &f->next;
	b->all += n;
	return 0;
}

static void unhold(struct connection *c)
{
	struct blocks *b = c->inbox;

	if (b == NULL)
		return;
	while (b->first != NULL) {
		struct block *f = b->first;

		b->first = f->next;
		free(f);
	}
	free(b);
	c->inbox = NULL;
}

/* Write, and let nobody see the SIGPIPE that it may cause. */
static ssize_t quiet_write(int fd, const void *p, size_t n)
{
	const struct timespec now = { 0, 0 };
	sigset_t pipes, mask, before, after;
	ssize_t w;
	int e;

	signal(SIGPIPE, SIG_DFL);

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
	ssize_t w = send(c->wfd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	return w < 0 && errno == ENOTSOCK ? quiet_write(c->wfd, p, n) : w;
}

/* Wait for room; take in what arrives meanwhile. */
static int make_room(struct connection *c, bool *deaf)
{
	unsigned char some[1000];
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
	}
	return 0;
}

static int put_all(struct connection *c, const void *buf, size_t n)
{
	const char *p = buf;
	bool deaf = false;

	while (n > 0) {
		ssize_t w = put_some(c, p, n < 3000 ? n : 3000);

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
		size_t most = n - done < 2000 ? n - done : 2000;
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
	unsigned char head[8];
	size_t rest = n, h = 0;

	if (c->wfd < 0)
		return fail(EBADF);
	if (n > CONNECTION_MAX)
		return fail(EMSGSIZE);
	for (; rest >= 128; rest >>= 7)
		head[h++] = (unsigned char)(rest | 128);
	head[h++] = (unsigned char)rest;
	if (n <= 512) {			/* what is short goes in one piece */
		unsigned char both[8 + 512];

		memcpy(both, head, h);
		if (n > 0)
			memcpy(both + h, buf, n);
		return put_all(c, both, h + n);
	}
	return put_all(c, head, h) != 0 ? -1 : put_all(c, buf, n);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char byte = 128;
	size_t n = 0;
	ssize_t got;

	if (c->rfd < 0)
		return fail(EBADF);
	for (int shift = 0; byte >= 128; shift += 7) {
		got = get_all(c, &byte, 1);
		if (got < 0)
			return -1;
		if (got == 0)
			return shift == 0 ? CONNECTION_EOF : fail(EPROTO);
		n |= (size_t)(byte & 127) << shift;
		if (n > CONNECTION_MAX || shift > 28)
			return fail(EPROTO);
	}
	got = get_all(c, n > max ? NULL : buf, n);
	if (got < 0)
		return -1;
	if ((size_t)got < n)
		return fail(EPROTO);
	if (n > max)
		return fail(EMSGSIZE);
	return got;
}

static long long clock_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int connection_poll(struct connection *c, double timeout)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	bool ever = timeout < 0 || timeout > 2000000;
	int ms = ever ? -1 : (int)ceil(timeout * 1000);
	long long until = clock_ms() + ms;
	int n;

	if (c->rfd < 0)
		return fail(EBADF);
	if (held(c) > 0)
		return 1;
	while ((n = poll(&p, 1, ms)) < 0 && errno == EINTR)
		if (!ever) {
			long long left = until - clock_ms();

			ms = left > 0 ? (int)left : 0;
		}
	if (n > 0 && (p.revents & POLLNVAL))
		return fail(EBADF);
	return n;
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
	int s[2], e;

	*a = *b = (struct connection){ -1, -1, NULL };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0)
		return -1;
	a->rfd = s[0];
	b->wfd = s[1];
	if (!duplex)
		return prepare(a) == 0 && prepare(b) == 0 ? 0 :
		       (connection_close(a), connection_close(b), fail(ENOMEM));
	a->wfd = fcntl(s[0], F_DUPFD_CLOEXEC, 0);
	b->rfd = a->wfd < 0 ? -1 : fcntl(s[1], F_DUPFD_CLOEXEC, 0);
	if (b->rfd >= 0 && prepare(a) == 0 && prepare(b) == 0)
		return 0;
	e = errno;
	connection_close(a);
	connection_close(b);
	return fail(e);
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

/*
 * PATH is open for both before anybody can want it, so that nobody has to
 * wait there; who connects announces itself with one byte.
 */
int connection_listen(struct connection *c, const char *path)
{
	char back[PATH_MAX], hidden[PATH_MAX], hello;
	int e, door = -1;
	ssize_t n;
	bool named = false;

	*c = (struct connection){ -1, -1, NULL };
	if (snprintf(back, sizeof back, "%s-back", path) >= PATH_MAX ||
	    snprintf(hidden, sizeof hidden, "%s-new", path) >= PATH_MAX)
		return fail(ENAMETOOLONG);
	if (mkfifo(back, 0600) != 0)
		return -1;
	if (mkfifo(hidden, 0600) != 0) {
		e = errno;
		unlink(back);
		return fail(e);
	}
	door = open_again(hidden, O_RDWR);
	if (door < 0 || prepare(c) != 0)
		goto wrong;
	if (link(hidden, path) != 0)
		goto wrong;
	named = true;
	do
		n = read(door, &hello, 1);
	while (n < 0 && errno == EINTR);
	c->rfd = open_again(hidden, O_RDONLY | O_NONBLOCK);
	if (n != 1 || c->rfd < 0)
		goto wrong;
	close(door);
	door = -1;
	unlink(path);
	named = false;
	c->wfd = open_again(back, O_WRONLY);
	if (c->wfd < 0 || fcntl(c->rfd, F_SETFL, 0) != 0 ||
	    fcntl(c->wfd, F_SETFL, O_NONBLOCK) != 0)
		goto wrong;
	unlink(hidden);
	unlink(back);
	return 0;
wrong:
	e = errno;
	if (door >= 0)
		close(door);
	if (named)
		unlink(path);
	unlink(hidden);
	unlink(back);
	connection_close(c);
	return fail(e);
}

int connection_connect(struct connection *c, const char *path)
{
	char back[PATH_MAX];
	struct stat s;

	*c = (struct connection){ -1, -1, NULL };
	if (snprintf(back, sizeof back, "%s-back", path) >= PATH_MAX)
		return fail(ENAMETOOLONG);
	if (stat(path, &s) != 0)
		return -1;
	if (!S_ISFIFO(s.st_mode))
		return fail(ENOENT);
	c->wfd = open_again(path, O_WRONLY | O_NONBLOCK);
	if (c->wfd < 0)
		return fail(errno == ENXIO ? ENOENT : errno);
	if (prepare(c) != 0 || quiet_write(c->wfd, "?", 1) != 1)
		return give_up(c);
	c->rfd = open_again(back, O_RDONLY);
	if (c->rfd < 0)
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
