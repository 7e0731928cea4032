/*
 * misconception: L04-14 a listener may wait in write: the other side reads
 * rejected by:   who only sends is listened to, within a limit
 * message:       Both of you are talking and nobody is listening
 */
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int failed(int error)
{
	errno = error;
	return -1;
}

/* Nothing is read ahead. Only what arrives while we send is put by. */
enum { SPILL_MAX = CONNECTION_MAX + (64 << 10), STEP = 64 << 10 };

struct store {
	size_t from, to, room;
	bool over;
	unsigned char *bytes;
};

static bool equip(struct connection *c)
{
	c->inbox = calloc(1, sizeof(struct store));
	return c->inbox != NULL;
}

static size_t put_by(const struct store *s)
{
	return s->to - s->from;
}

static bool make_room(struct store *s)
{
	size_t room;
	unsigned char *p;

	if (s->from > 0) {
		memmove(s->bytes, s->bytes + s->from, put_by(s));
		s->to -= s->from;
		s->from = 0;
	}
	if (s->to < s->room)
		return true;
	if (s->room >= SPILL_MAX)
		return false;
	room = s->room == 0 ? STEP : 2 * s->room;
	if (room > SPILL_MAX)
		room = SPILL_MAX;
	p = realloc(s->bytes, room);
	if (p == NULL)
		return false;
	s->bytes = p;
	s->room = room;
	return true;
}

/* Exactly n bytes, fewer at the end of file only; -1 with errno. */
static ssize_t take(struct connection *c, unsigned char *buf, size_t n)
{
	struct store *s = c->inbox;
	unsigned char trash[4096];
	size_t done = 0;

	while (done < n) {
		size_t want = n - done;
		unsigned char *to = buf == NULL ? trash : buf + done;
		ssize_t k;

		if (buf == NULL && want > sizeof trash)
			want = sizeof trash;
		if (put_by(s) > 0) {
			if (want > put_by(s))
				want = put_by(s);
			memcpy(to, s->bytes + s->from, want);
			s->from += want;
			k = (ssize_t)want;
			if (s->from == s->to) {
				free(s->bytes);
				s->bytes = NULL;
				s->from = s->to = s->room = 0;
			}
		} else if (s->over) {
			k = 0;
		} else {
			k = read(c->rfd, to, want);
			if (k < 0 && errno == EINTR)
				continue;
			if (k < 0)
				return -1;
		}
		if (k == 0)
			break;
		done += (size_t)k;
	}
	return (ssize_t)done;
}

static int spoilt(struct store *s)
{
	s->from = s->to;
	s->over = true;
	return failed(EPROTO);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char head[4];
	size_t n;
	ssize_t k;

	if (c->rfd < 0)
		return failed(EBADF);
	k = take(c, head, 4);
	if (k < 0)
		return -1;
	if (k == 0)
		return CONNECTION_EOF;
	if (k < 4)
		return spoilt(c->inbox);
	n = (size_t)head[0] << 24 | (size_t)head[1] << 16 |
	    (size_t)head[2] << 8 | head[3];
	if (n > CONNECTION_MAX)
		return spoilt(c->inbox);
	k = take(c, n <= max ? buf : NULL, n);
	if (k < 0)
		return -1;
	if ((size_t)k < n)
		return spoilt(c->inbox);
	return n <= max ? k : failed(EMSGSIZE);
}

/* write to a pipe; SIGPIPE is nobody's business but ours */
static ssize_t quiet_write(int fd, const struct iovec *v, int n)
{
	static const struct timespec zero;
	sigset_t only, old, pend;
	size_t all = 0;
	ssize_t k;
	int error;

	for (int i = 0; i < n; i++)
		all += v[i].iov_len;
	sigemptyset(&only);
	sigaddset(&only, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &only, &old);
	sigpending(&pend);
	k = writev(fd, v, n);
	error = errno;
	if (k < (ssize_t)all && !sigismember(&pend, SIGPIPE))
		sigtimedwait(&only, NULL, &zero);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return k;
}

/* The way is full: wait for room, and put by what arrives. */
static void wait_until_room(struct connection *c)
{
	struct store *s = c->inbox;
	struct pollfd p[2] = {
		{ .fd = c->wfd, .events = POLLOUT },
		{ .fd = -1, .events = POLLIN }
	};
	ssize_t k;

	if (c->rfd >= 0 && !s->over && make_room(s))
		p[1].fd = c->rfd;
	if (poll(p, 2, -1) <= 0 || p[1].revents == 0)
		return;
	k = read(c->rfd, s->bytes + s->to, s->room - s->to);
	if (k > 0)
		s->to += (size_t)k;
	else if (k == 0 || (errno != EINTR && errno != EAGAIN))
		s->over = true;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	unsigned char head[4] = { n >> 24, n >> 16 & 255, n >> 8 & 255, n & 255 };
	size_t sent = 0;

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	while (sent < 4 + n) {
		struct iovec v[2];
		int parts = 0;
		ssize_t k;

		if (sent < 4) {
			v[parts].iov_base = head + sent;
			v[parts++].iov_len = 4 - sent;
		}
		v[parts].iov_base = (char *)buf + (sent < 4 ? 0 : sent - 4);
		v[parts++].iov_len = n - (sent < 4 ? 0 : sent - 4);
		if (c->rfd == c->wfd) {
			struct msghdr m = { .msg_iov = v, .msg_iovlen = parts };

			k = sendmsg(c->wfd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
		} else {
			k = quiet_write(c->wfd, v, parts);
		}
		if (k >= 0)
			sent += (size_t)k;
		else if (errno == EAGAIN)
			wait_until_room(c);
		else if (errno != EINTR)
			return -1;
	}
	return 0;
}

static bool ready(struct connection *c)
{
	struct store *s = c->inbox;

	return s->over || put_by(s) > 0;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int connection_poll(struct connection *c, double timeout)
{
	double until;

	if (c->rfd < 0)
		return failed(EBADF);
	if (ready(c))
		return 1;
	until = seconds_now() + timeout;
	for (;;) {
		struct pollfd p = { .fd = c->rfd, .events = POLLIN };
		double left = until - seconds_now();
		struct timespec t = { 0, 0 };
		int k;

		if (left > 1e8)
			left = 1e8;
		if (left > 0) {
			t.tv_sec = (time_t)left;
			t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
		}
		k = ppoll(&p, 1, timeout < 0 ? NULL : &t, NULL);
		if (k > 0)
			return p.revents & POLLNVAL ? failed(EBADF) : 1;
		if (k < 0 && errno != EINTR)
			return -1;
		if (k == 0 && left < 1e8)
			return 0;
	}
}

int connection_close(struct connection *c)
{
	struct connection old = *c;
	struct store *s = old.inbox;
	int result = 0;

	*c = (struct connection){ .rfd = -1, .wfd = -1 };
	if (s != NULL)
		free(s->bytes);
	free(s);
	if (old.rfd >= 0 && close(old.rfd) != 0)
		result = -1;
	if (old.wfd >= 0 && old.wfd != old.rfd && close(old.wfd) != 0)
		result = -1;
	return result;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int fds[2];

	*a = *b = (struct connection){ -1, -1, NULL };
	if (!equip(a) || (duplex && !equip(b)))
		goto bad;
	if (duplex) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
			goto bad;
		a->rfd = a->wfd = fds[0];
		b->rfd = b->wfd = fds[1];
	} else {
		if (pipe2(fds, O_CLOEXEC) != 0)
			goto bad;
		a->rfd = fds[0];
		b->wfd = fds[1];
	}
	return 0;
bad:
	connection_close(a);
	connection_close(b);
	return -1;
}

static int open_again(const char *path, int flags)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static bool named(char out[PATH_MAX], const char *path, const char *tail)
{
	size_t n = strlen(path), m = strlen(tail) + 1;

	if (n + m > PATH_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	memcpy(out, path, n);
	memcpy(out + n, tail, m);
	return true;
}

static int meet_listen(const char *path, int fds[2])
{
	char back[PATH_MAX], fresh[PATH_MAX];
	int r = -1, w = -1, spare = -1, error;
	bool published = false;

	if (!named(back, path, ".back") || !named(fresh, path, ".new") ||
	    mkfifo(back, 0600) != 0)
		return -1;
	if (mkfifo(fresh, 0600) != 0)
		goto out;
	r = open_again(fresh, O_RDONLY | O_NONBLOCK);
	if (r >= 0)
		spare = fcntl(r, F_DUPFD_CLOEXEC, 0);
	published = spare >= 0 && link(fresh, path) == 0;
	error = errno;
	unlink(fresh);
	errno = error;
	if (!published)
		goto out;
	close(spare);
	spare = -1;
	w = open_again(back, O_WRONLY);
	if (w >= 0 && fcntl(r, F_SETFL, 0) != 0) {
		close(w);
		w = -1;
	}
out:
	error = errno;
	if (w < 0 && published)
		unlink(path);
	unlink(back);
	if (spare >= 0)
		close(spare);
	if (w < 0 && r >= 0)
		close(r);
	if (w < 0)
		return failed(error);
	fds[0] = r;
	fds[1] = w;
	return 0;
}

static int meet_connect(const char *path, int fds[2])
{
	char back[PATH_MAX];
	struct stat s;
	int w, r, spare, error;

	if (!named(back, path, ".back"))
		return -1;
	w = open_again(path, O_WRONLY | O_NONBLOCK);
	if (w < 0)
		return failed(errno == ENXIO ? ENOENT : errno);
	spare = fcntl(w, F_DUPFD_CLOEXEC, 0);
	if (spare < 0) {
		error = errno;
		close(w);
		return failed(error);
	}
	if (fstat(w, &s) != 0 || !S_ISFIFO(s.st_mode) ||
	    access(back, F_OK) != 0 || unlink(path) != 0) {
		close(spare);
		close(w);
		return failed(ENOENT);
	}
	close(spare);		/* its number is free for the last one */
	r = open_again(back, O_RDONLY);
	if (r < 0) {
		error = errno;
		close(w);
		return failed(error);
	}
	fds[0] = r;
	fds[1] = w;
	return 0;
}

static int finish(struct connection *c, int result, const int fds[2])
{
	if (result != 0) {
		int error = errno;

		connection_close(c);
		return failed(error);
	}
	c->rfd = fds[0];
	c->wfd = fds[1];
	return 0;
}

int connection_listen(struct connection *c, const char *path)
{
	int fds[2];

	*c = (struct connection){ -1, -1, NULL };
	if (!equip(c))
		return -1;
	return finish(c, meet_listen(path, fds), fds);
}

int connection_connect(struct connection *c, const char *path)
{
	int fds[2];

	*c = (struct connection){ -1, -1, NULL };
	if (!equip(c))
		return -1;
	return finish(c, meet_connect(path, fds), fds);
}

int connection_echo(struct connection *c)
{
	void *message = malloc(CONNECTION_MAX);
	int result = -1;

	if (message == NULL)
		return failed(ENOMEM);
	for (;;) {
		ssize_t n = connection_recv(c, message, CONNECTION_MAX);

		if (n == CONNECTION_EOF)
			result = 0;
		if (n < 0 || connection_send(c, message, (size_t)n) != 0)
			break;
	}
	free(message);
	return result;
}
