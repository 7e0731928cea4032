/*
 * misconception: what is dropped needs no free
 * rejected by:   what fails leaves nothing behind
 * message:       What was dropped is still kept in memory
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

/* The inbox is a row of whole messages, and the one that is arriving. */
struct message {
	struct message *next;
	size_t n, have;
	unsigned char bytes[];
};

struct inbox {
	struct message *first, **last, *coming;
	unsigned char head[4];
	size_t heads, all;
	bool end, broken;
};

static int prepare(struct connection *c)
{
	struct inbox *in = calloc(1, sizeof *in);

	if (in == NULL)
		return fail(ENOMEM);
	in->last = &in->first;
	c->inbox = in;
	return 0;
}

static size_t held(struct connection *c)
{
	struct inbox *in = c->inbox;

	return in->all + in->heads + in->end + in->broken +
	       (in->first != NULL) + (in->coming != NULL);
}

static void unhold(struct connection *c)
{
	struct inbox *in = c->inbox;

	while (in != NULL && in->first != NULL) {
		struct message *m = in->first;

		in->first = m->next;
		free(m);
	}
	if (in != NULL)
		free(in->coming);
	free(in);
	c->inbox = NULL;
}

static void arrived(struct inbox *in)
{
	*in->last = in->coming;
	in->last = &in->coming->next;
	in->coming = NULL;
	in->heads = 0;
}

/* Read once, wherever we are. false: no more, an error, or no memory. */
static bool take(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct message *m = in->coming;
	unsigned char *to = m ? m->bytes + m->have : in->head + in->heads;
	size_t most = m ? m->n - m->have : 4 - in->heads, n;
	ssize_t r = 0;

	if (in->end || in->broken)
		return false;
	if (most > 0)
		r = read(c->rfd, to, most);
	if (r < 0)
		return errno == EINTR || errno == EAGAIN;
	if (r == 0 && most > 0) {
		in->end = true;
		return false;
	}
	in->all += (size_t)r;
	if (m != NULL) {
		m->have += (size_t)r;
		if (m->have == m->n)
			arrived(in);
		return true;
	}
	in->heads += (size_t)r;
	if (in->heads < 4)
		return true;
	n = (size_t)in->head[3] << 24 | (size_t)in->head[2] << 16 |
	    (size_t)in->head[1] << 8 | in->head[0];
	if (n > CONNECTION_MAX) {
		in->broken = true;
		return false;
	}
	m = malloc(sizeof *m + n);
	if (m == NULL)
		return false;
	*m = (struct message){ .n = n };
	in->coming = m;
	if (n == 0)
		arrived(in);
	return true;
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

static int put_all(struct connection *c, const void *buf, size_t n)
{
	const char *p = buf;
	bool deaf = c->rfd < 0;

	while (n > 0) {
		struct pollfd f[2] = { { c->wfd, POLLOUT, 0 },
				       { c->rfd, POLLIN, 0 } };
		ssize_t w = put_some(c, p, n);

		if (w >= 0) {
			p += w;
			n -= (size_t)w;
			continue;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -1;
		if (errno == EINTR)
			continue;
		if (deaf || ((struct inbox *)c->inbox)->all > LIMIT)
			f[1].fd = -1;
		if (poll(f, 2, -1) > 0 && f[1].revents)
			deaf = !take(c);
	}
	return 0;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	unsigned char head[4] = { n & 255, n >> 8 & 255, n >> 16 & 255,
				  n >> 24 & 255 };

	if (c->wfd < 0)
		return fail(EBADF);
	if (n > CONNECTION_MAX)
		return fail(EMSGSIZE);
	return put_all(c, head, 4) != 0 ? -1 : put_all(c, buf, n);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	struct message *m;
	ssize_t n;

	if (c->rfd < 0)
		return fail(EBADF);
	errno = 0;
	while (in->first == NULL) {
		if (take(c))
			continue;
		if (in->broken)
			return fail(EPROTO);
		if (in->end)
			return in->heads > 0 ? fail(EPROTO) : CONNECTION_EOF;
		return -1;
	}
	m = in->first;
	in->first = m->next;
	if (in->first == NULL)
		in->last = &in->first;
	in->all -= m->n + 4;
	n = (ssize_t)m->n;
	if (m->n > max)
		return fail(EMSGSIZE);
	else if (n > 0)
		memcpy(buf, m->bytes, m->n);
	free(m);
	if (n < 0)
		errno = EMSGSIZE;
	return n;
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
	unsigned char *buf = mmap(NULL, CONNECTION_MAX, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int r = 0, e = 0;

	if (buf == MAP_FAILED)
		return fail(ENOMEM);
	for (;;) {
		ssize_t n = connection_recv(c, buf, CONNECTION_MAX);

		if (n == CONNECTION_EOF)
			break;
		if (n < 0 || connection_send(c, buf, (size_t)n) < 0) {
			e = errno;
			r = -1;
			break;
		}
	}
	munmap(buf, CONNECTION_MAX);
	errno = e;
	return r;
}
