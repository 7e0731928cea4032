/*
 * misconception: L04-07 where there is room one may put what comes next
 * rejected by:   a message is received by the room there is for it
 * message:       You wrote behind the message, into what is not yours
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

#ifndef RWF_NOSIGNAL
#define RWF_NOSIGNAL 0x00000100		/* since Linux 6.18 */
#endif

enum { ROOM = CONNECTION_MAX + (128 << 10), LEAST = 32 << 10 };

/* Whatever arrives goes here, and a message leaves it when it is whole. */
struct inbox {
	size_t from, to;
	bool over;
	int error;		/* why it is over, if it is no end of file */
	unsigned char bytes[ROOM];
};

static bool equip(struct connection *c)
{
	c->inbox = mmap(NULL, sizeof(struct inbox), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (c->inbox == MAP_FAILED)
		c->inbox = NULL;
	return c->inbox != NULL;
}

/* Free bytes behind the last one, after moving all to the front if need be. */
static size_t space(struct inbox *in)
{
	if (in->from == in->to)
		in->from = in->to = 0;
	if (in->from > 0 && ROOM - in->to < LEAST) {
		memmove(in->bytes, in->bytes + in->from, in->to - in->from);
		in->to -= in->from;
		in->from = 0;
	}
	return ROOM - in->to;
}

static bool pipe_signal_pending(void)
{
	sigset_t s;

	sigpending(&s);
	return sigismember(&s, SIGPIPE) == 1;
}

/* Compare what is pending before and after: only the difference is ours. */
static ssize_t quiet_write(int fd, const struct iovec *v, int n)
{
	sigset_t one, old;
	bool was;
	ssize_t k;
	int error, number;

	sigemptyset(&one);
	sigaddset(&one, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &one, &old);
	was = pipe_signal_pending();
	k = writev(fd, v, n);
	error = errno;
	if (!was && pipe_signal_pending())
		sigwait(&one, &number);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return k;
}

/* The flag where the system knows it, and the mask where it does not. */
static ssize_t put(int fd, const struct iovec *v, int n)
{
	static _Atomic bool unknown;
	ssize_t k;

	if (unknown)
		return quiet_write(fd, v, n);
	k = pwritev2(fd, v, n, -1, RWF_NOSIGNAL);
	if (k >= 0 || (errno != EOPNOTSUPP && errno != EINVAL && errno != ENOSYS))
		return k;
	unknown = true;
	return quiet_write(fd, v, n);
}

/*
 * Take in once. What the caller waits for comes straight into its room, and
 * what is behind it into the inbox: n bytes into buf, if that is not NULL
 * (the inbox is empty then). The number of bytes in buf.
 */
static size_t take_in(struct connection *c, void *buf, size_t n)
{
	struct inbox *in = c->inbox;
	size_t free_here = space(in);
	struct iovec v[2] = {
		{ buf, n }, { in->bytes + in->to, free_here < LEAST ? free_here : LEAST }
	};
	ssize_t k = buf != NULL ? preadv2(c->rfd, v, 2, -1, 0)
				: preadv2(c->rfd, v + 1, 1, -1, 0);

	if (k < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (k <= 0) {
		in->over = true;
		in->error = k < 0 ? errno : 0;
		return 0;
	}
	if (buf == NULL)
		n = 0;
	if ((size_t)k <= n)
		return (size_t)k;
	in->to += (size_t)k - n;
	return n;
}

/* Empty up to n bytes of the inbox into buf, or nowhere. */
static size_t pour(struct inbox *in, unsigned char *buf, size_t n)
{
	if (n > in->to - in->from)
		n = in->to - in->from;
	if (buf != NULL && n > 0)
		memcpy(buf, in->bytes + in->from, n);
	in->from += n;
	return n;
}

static int over(struct inbox *in)
{
	int error = in->error != 0 ? in->error : EPROTO;

	in->error = 0;
	in->over = true;
	in->from = in->to;
	return failed(error);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	size_t n, done = 0;
	uint32_t h;

	if (c->rfd < 0)
		return failed(EBADF);
	while (in->to - in->from < sizeof h && !in->over)
		take_in(c, NULL, 0);
	if (in->to == in->from && in->error == 0)
		return CONNECTION_EOF;
	if (in->to - in->from < sizeof h)
		return over(in);
	memcpy(&h, in->bytes + in->from, sizeof h);
	n = ntohl(h);
	if (n > CONNECTION_MAX)
		return over(in);
	in->from += sizeof h;
	if (n > max)
		buf = NULL;
	for (;;) {
		done += pour(in, buf == NULL ? NULL : (unsigned char *)buf + done,
			     n - done);
		if (done == n)
			return n > max ? failed(EMSGSIZE) : (ssize_t)n;
		if (in->over)
			return over(in);
		if (buf == NULL) {
			take_in(c, NULL, 0);
			continue;
		}
		size_t room = max - done < n - done + LEAST ? max - done
							    : n - done + LEAST;
		ssize_t k = read(c->rfd, (unsigned char *)buf + done, room);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0) {
			in->over = true;
			in->error = k < 0 ? errno : 0;
			continue;
		}
		done += (size_t)k;
		if (done > n) {
			in->from = 0;
			in->to = done - n;
			memcpy(in->bytes, (unsigned char *)buf + n, in->to);
			done = n;
		}
	}
}

static void wait_for_room(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct pollfd p[2] = { { c->wfd, POLLOUT, 0 }, { c->rfd, POLLIN, 0 } };

	if (c->rfd < 0 || in->over || space(in) == 0)
		p[1].fd = -1;
	if (poll(p, 2, -1) > 0 && p[1].revents != 0)
		take_in(c, NULL, 0);
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t h = htonl((uint32_t)n);
	struct iovec v[2] = { { &h, sizeof h }, { (void *)buf, n } };
	int i = 0;

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	while (i < 2) {
		struct msghdr m = { .msg_iov = v + i, .msg_iovlen = (size_t)(2 - i) };
		ssize_t k = c->rfd == c->wfd
			? sendmsg(c->wfd, &m, MSG_NOSIGNAL | MSG_DONTWAIT)
			: put(c->wfd, v + i, 2 - i);

		if (k < 0) {
			if (errno == EAGAIN)
				wait_for_room(c);
			else if (errno != EINTR)
				return -1;
			continue;
		}
		for (; i < 2 && (size_t)k >= v[i].iov_len; i++)
			k -= (ssize_t)v[i].iov_len;
		if (i < 2) {
			v[i].iov_base = (char *)v[i].iov_base + k;
			v[i].iov_len -= (size_t)k;
		}
	}
	return 0;
}

static bool ready(struct connection *c)
{
	struct inbox *in = c->inbox;

	return in->over || in->from < in->to;
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
	int r = c->rfd, w = c->wfd, bad = 0;

	if (c->inbox)
		munmap(c->inbox, sizeof(struct inbox));
	*c = (struct connection){ -1, -1, NULL };
	if (r >= 0)
		bad |= close(r);
	if (w >= 0 && w != r)
		bad |= close(w);
	return bad;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int s[2], error;

	*a = *b = (struct connection){ -1, -1, NULL };
	if ((duplex ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s)
		    : pipe2(s, O_CLOEXEC)) < 0)
		return -1;
	a->rfd = s[0];
	b->wfd = s[1];
	if (duplex) {
		a->wfd = s[0];
		b->rfd = s[1];
	}
	if (equip(a) && (!duplex || equip(b)))
		return 0;
	error = errno;
	connection_close(a);
	connection_close(b);
	return failed(error);
}

/* A directory, and a name in it: all names are told relative to that. */
struct place {
	int dir;
	char base[NAME_MAX + 1], back[NAME_MAX + 1], fresh[NAME_MAX + 1];
};

static int find_place(struct place *p, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash == NULL ? path : slash + 1;
	char dir[PATH_MAX];

	p->dir = -1;
	if (strlen(path) >= PATH_MAX || strlen(base) + 5 > NAME_MAX)
		return failed(ENAMETOOLONG);
	snprintf(p->base, sizeof p->base, "%.250s", base);
	snprintf(p->back, sizeof p->back, "%.250s.back", base);
	snprintf(p->fresh, sizeof p->fresh, "%.250s.new", base);
	snprintf(dir, sizeof dir, "%.*s",
		 slash == NULL ? 1 : (int)(base - path),
		 slash == NULL ? "." : path);
	do
		p->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (p->dir < 0 && errno == EINTR);
	return p->dir < 0 ? -1 : 0;
}

static int open_at(const struct place *p, const char *name, int flags)
{
	for (;;) {
		int fd = openat(p->dir, name, flags | O_CLOEXEC);

		if (fd >= 0 || errno != EINTR)
			return fd;
	}
}

static int meet_listen(const char *path, int fds[2])
{
	struct place p;
	int r = -1, w = -1, error, stage = 0, hold = -1;

	if (find_place(&p, path) != 0)
		return -1;
	if (mkfifoat(p.dir, p.back, 0600) == 0) {
		stage = 1;
		if (mkfifoat(p.dir, p.fresh, 0600) == 0) {
			r = open_at(&p, p.fresh, O_RDONLY | O_NONBLOCK);
			if (r >= 0)
				hold = fcntl(r, F_DUPFD_CLOEXEC, 0);
			if (hold >= 0 && linkat(p.dir, p.fresh, p.dir,
						p.base, 0) == 0)
				stage = 2;
			error = errno;
			unlinkat(p.dir, p.fresh, 0);
			errno = error;
		}
	}
	error = errno;
	if (hold >= 0)
		close(hold);
	if (stage == 2) {
		w = open_at(&p, p.back, O_WRONLY);
		error = errno;
		if (w < 0)
			unlinkat(p.dir, p.base, 0);
	}
	if (stage >= 1)
		unlinkat(p.dir, p.back, 0);
	close(p.dir);
	if (w < 0) {
		if (r >= 0)
			close(r);
		return failed(error);
	}
	fcntl(r, F_SETFL, 0);
	fcntl(w, F_SETFL, O_NONBLOCK);
	fds[0] = r;
	fds[1] = w;
	return 0;
}

static int meet_connect(const char *path, int fds[2])
{
	struct place p;
	struct stat s;
	int error;

	if (find_place(&p, path) != 0)
		return -1;
	fds[0] = -1;
	fds[1] = open_at(&p, p.base, O_WRONLY | O_NONBLOCK);
	error = errno == ENXIO ? ENOENT : errno;
	if (fds[1] >= 0) {
		/* keeps the place for the other one */
		int hold = fcntl(fds[1], F_DUPFD_CLOEXEC, 0);

		error = errno;
		if (hold >= 0) {
			bool mine = fstat(hold, &s) == 0 &&
				S_ISFIFO(s.st_mode) &&
				faccessat(p.dir, p.back, F_OK, 0) == 0 &&
				unlinkat(p.dir, p.base, 0) == 0;

			close(hold);
			error = ENOENT;
			if (mine) {
				fds[0] = open_at(&p, p.back, O_RDONLY);
				error = errno;
			}
		}
	}
	close(p.dir);
	if (fds[0] >= 0)
		return 0;
	if (fds[1] >= 0)
		close(fds[1]);
	return failed(error);
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
	unsigned char *room = mmap(NULL, CONNECTION_MAX, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;
	int error;

	if (room == MAP_FAILED)
		return -1;
	do
		n = connection_recv(c, room, CONNECTION_MAX);
	while (n >= 0 && connection_send(c, room, (size_t)n) == 0);
	error = errno;
	munmap(room, CONNECTION_MAX);
	errno = error;
	return n == CONNECTION_EOF ? 0 : -1;
}
