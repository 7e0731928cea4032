/* style: pieces with a mark that more follow, a ring that is mapped, and an
 * echo that sends piece by piece back and never has a whole message */
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

enum { RING = 1 << 25 };

struct ring {
	size_t in, out;			/* only ever grow */
	unsigned char bytes[RING];
};

static int prepare(struct connection *c)
{
	void *m = mmap(NULL, sizeof(struct ring), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (m == MAP_FAILED)
		return fail(ENOMEM);
	c->inbox = m;
	return 0;
}

static size_t held(struct connection *c)
{
	struct ring *r = c->inbox;

	return r->in - r->out;
}

static size_t unstore(struct connection *c, void *p, size_t n)
{
	struct ring *r = c->inbox;
	size_t at = r->out % RING, first;

	if (n > held(c))
		n = held(c);
	if (n == 0)
		return 0;
	first = n < RING - at ? n : RING - at;
	memcpy(p, r->bytes + at, first);
	memcpy((char *)p + first, r->bytes, n - first);
	r->out += n;
	return n;
}

static int store(struct connection *c, const void *p, size_t n)
{
	struct ring *r = c->inbox;
	size_t at = r->in % RING, first = n < RING - at ? n : RING - at;

	memcpy(r->bytes + at, p, first);
	memcpy(r->bytes, (const char *)p + first, n - first);
	r->in += n;
	return 0;
}

static void unhold(struct connection *c)
{
	if (c->inbox != NULL)
		munmap(c->inbox, sizeof(struct ring));
	c->inbox = NULL;
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

/* Pieces of up to 32767 bytes; the highest bit says that more follow. */
enum { PIECE = 32767, MORE = 32768 };

int connection_send(struct connection *c, const void *buf, size_t n)
{
	const unsigned char *p = buf;

	if (c->wfd < 0)
		return fail(EBADF);
	if (n > CONNECTION_MAX)
		return fail(EMSGSIZE);
	for (;;) {
		uint16_t head = (uint16_t)(n > PIECE ? PIECE | MORE : n);
		size_t part = head & PIECE;

		if (put_all(c, &head, 2) != 0 || put_all(c, p, part) != 0)
			return -1;
		if (!(head & MORE))
			return 0;
		p += part;
		n -= part;
	}
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char *to = buf;
	uint16_t head = MORE;
	size_t all = 0;
	ssize_t got;

	if (c->rfd < 0)
		return fail(EBADF);
	for (bool first = true; head & MORE; first = false) {
		size_t part;

		got = get_all(c, &head, 2);
		if (got < 0)
			return -1;
		if (got == 0 && first)
			return CONNECTION_EOF;
		if (got < 2)
			return fail(EPROTO);
		part = head & PIECE;
		if (((head & MORE) && part != PIECE) ||
		    all + part > CONNECTION_MAX)
			return fail(EPROTO);
		got = get_all(c, all + part > max ? NULL : to + all, part);
		if (got < 0)
			return -1;
		if ((size_t)got < part)
			return fail(EPROTO);
		all += part;
	}
	return all > max ? fail(EMSGSIZE) : (ssize_t)all;
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

/*
 * PATH to who listens, PATH.2 from there. Who connects says H, who listens
 * answers W; nobody waits in open.
 */
static bool names(char two[PATH_MAX], const char *path)
{
	if (snprintf(two, PATH_MAX, "%s.2", path) < PATH_MAX)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

static bool expect(int fd, char what)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char ch = 0;
	ssize_t n;

	for (;;) {
		if (poll(&p, 1, -1) < 0)
			continue;
		n = read(fd, &ch, 1);
		if (n == 1)
			return ch == what;
		if (n == 0)
			return false;
	}
}

static bool hear_hello(struct connection *c, const char *path)
{
	while (!expect(c->rfd, 'H')) {
		int again = open_again(path, O_RDONLY | O_NONBLOCK);

		if (again < 0)
			return false;
		close(c->rfd);
		c->rfd = again;
	}
	return true;
}

int connection_listen(struct connection *c, const char *path)
{
	char two[PATH_MAX];
	bool well;
	int e;

	*c = (struct connection){ -1, -1, NULL };
	if (!names(two, path) || mkfifo(two, 0600) != 0)
		return -1;
	if (mkfifo(path, 0600) != 0) {
		e = errno;
		unlink(two);
		return fail(e);
	}
	c->rfd = open_again(path, O_RDONLY | O_NONBLOCK);
	well = c->rfd >= 0 && prepare(c) == 0 && hear_hello(c, path);
	if (well)
		c->wfd = open_again(two, O_WRONLY | O_NONBLOCK);
	well = well && c->wfd >= 0 && fcntl(c->rfd, F_SETFL, 0) == 0;
	e = errno;
	unlink(path);
	unlink(two);
	errno = e;
	if (well && quiet_write(c->wfd, "W", 1) == 1)
		return 0;
	return give_up(c);
}

int connection_connect(struct connection *c, const char *path)
{
	char two[PATH_MAX];
	struct stat s;

	*c = (struct connection){ -1, -1, NULL };
	if (!names(two, path))
		return -1;
	for (;;) {
		if (stat(path, &s) != 0)
			return -1;
		if (!S_ISFIFO(s.st_mode))
			return fail(ENOENT);
		c->wfd = open_again(path, O_WRONLY | O_NONBLOCK);
		if (c->wfd >= 0)
			break;
		if (errno != ENXIO)
			return -1;
		poll(NULL, 0, 1);	/* made, and in a moment open */
	}
	c->rfd = open_again(two, O_RDONLY | O_NONBLOCK);
	if (c->rfd < 0 || prepare(c) != 0)
		return give_up(c);
	if (quiet_write(c->wfd, "H", 1) != 1 || !expect(c->rfd, 'W')) {
		connection_close(c);
		return fail(ENOENT);
	}
	if (fcntl(c->rfd, F_SETFL, 0) != 0)
		return give_up(c);
	return 0;
}

/*
 * Bytes go back as they came, in their frames, without a message in between:
 * all that has to be known is where one ends.
 */
int connection_echo(struct connection *c)
{
	unsigned char head[2], *some = malloc(PIECE);
	ssize_t got = 0, part;
	bool first = true, well = some != NULL;
	int e = ENOMEM;

	if (c->rfd < 0 || c->wfd < 0) {
		well = false;
		e = EBADF;
	}
	while (well) {
		got = get_all(c, head, 2);
		if (got == 0 && first)
			break;
		well = got == 2;
		part = well ? (head[0] | head[1] << 8) & PIECE : 0;
		first = well && !(head[1] & 128);
		if (well && part > 0) {
			got = get_all(c, some, (size_t)part);
			well = got == part;
		}
		e = got < 0 ? errno : EPROTO;
		if (well && (put_all(c, head, 2) != 0 ||
			     put_all(c, some, (size_t)part) != 0)) {
			e = errno;
			well = false;
		}
	}
	free(some);
	return well ? 0 : fail(e);
}
