/*
 * misconception: SIGPIPE is held back in one thread, and another one writes
 * rejected by:   who has met at a name sees the other side go
 * message:       Nobody is left to receive it: that is an error to report
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

/*
 * As Python programs do it: a thread sends, while we take in what arrives.
 * Its signals are blocked, SIGPIPE too, and a pending one goes with it.
 */
enum { ROOM = CONNECTION_MAX + (256 << 10), LEAST = 64 << 10 };

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

static void take_in(struct connection *c)
{
	struct inbox *in = c->inbox;
	size_t n = space(in);
	ssize_t k = read(c->rfd, in->bytes + in->to, n);

	if (k > 0) {
		in->to += (size_t)k;
	} else if (k == 0) {
		in->over = true;
	} else if (errno != EINTR) {
		in->over = true;
		in->error = errno;
	}
}

static bool have(struct connection *c, size_t n)
{
	struct inbox *in = c->inbox;

	while (in->to - in->from < n && !in->over)
		take_in(c);
	return in->to - in->from >= n;
}

static int refuse(struct inbox *in)
{
	int error = in->error != 0 ? in->error : EPROTO;

	in->from = in->to;
	in->over = true;
	in->error = 0;
	return failed(error);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	uint32_t n;

	if (c->rfd < 0)
		return failed(EBADF);
	if (!have(c, 4))
		return in->from < in->to || in->error ? refuse(in) : CONNECTION_EOF;
	memcpy(&n, in->bytes + in->from, 4);
	n = ntohl(n);
	if (n > CONNECTION_MAX || !have(c, 4 + n))
		return refuse(in);
	if (n <= max)
		memcpy(buf, in->bytes + in->from + 4, n);
	in->from += 4 + n;
	return n <= max ? (ssize_t)n : failed(EMSGSIZE);
}

struct job {
	int fd;
	bool socket;
	unsigned char head[4];
	const unsigned char *body;
	size_t sent, all;
	int error;
};

/* Send once more of the job: false when that cannot be. */
static bool send_some(struct job *j, int flags)
{
	size_t h = j->sent < 4 ? j->sent : 4;
	struct iovec v[2] = {
		{ j->head + h, 4 - h },
		{ (void *)(j->body + (j->sent - h)), j->all - j->sent - (4 - h) }
	};
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
	ssize_t k = j->socket ? sendmsg(j->fd, &m, flags | MSG_NOSIGNAL)
			      : writev(j->fd, v, 2);

	if (k < 0 && errno != EINTR) {
		j->error = errno;
		return false;
	}
	j->sent += k < 0 ? 0 : (size_t)k;
	return true;
}

static void *do_job(void *arg)
{
	struct job *j = arg;

	j->error = 0;
	while (j->sent < j->all && send_some(j, 0))
		;
	return NULL;
}

/* A thread of our own has all signals blocked. */
static int start_thread(pthread_t *t, struct job *j)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int error;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 64 << 10);
	sigfillset(&all);
	sigdelset(&all, SIGPIPE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	error = pthread_create(t, &attr, do_job, j);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return error;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t length = htonl((uint32_t)n);
	struct job j = { .fd = c->wfd, .body = buf, .all = 4 + n };
	struct inbox *in = c->inbox;
	pthread_t t;

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	memcpy(j.head, &length, 4);
	j.socket = c->rfd < 0 || c->rfd == c->wfd;
	if (j.socket)		/* mostly there is room, and that is all */
		while (j.sent < j.all &&
		       send_some(&j, c->rfd < 0 ? 0 : MSG_DONTWAIT))
			;
	if (j.sent == j.all)
		return 0;
	if (j.socket && j.error != EAGAIN)
		return failed(j.error);
	if (start_thread(&t, &j) != 0) {
		if (j.sent > 0)	/* half a message: nothing may follow it */
			shutdown(c->wfd, SHUT_WR);
		return failed(ENOMEM);
	}
	while (pthread_tryjoin_np(t, NULL) == EBUSY) {
		struct pollfd p = { c->rfd, POLLIN, 0 };

		if (in->over || space(in) == 0)
			p.fd = -1;
		if (poll(&p, 1, 1) > 0)
			take_in(c);
	}
	return j.error != 0 ? failed(j.error) : 0;
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

/* poll counts in whole milliseconds: up, never down, and a day at a time */
int connection_poll(struct connection *c, double timeout)
{
	double end = seconds_now() + timeout;

	if (c->rfd < 0)
		return failed(EBADF);
	if (ready(c))
		return 1;
	for (;;) {
		struct pollfd p = { c->rfd, POLLIN, 0 };
		double left = end - seconds_now();
		int ms, k;

		if (timeout < 0)
			ms = -1;
		else if (left <= 0)
			ms = 0;
		else if (left > 86400)
			ms = 86400 * 1000;
		else {
			ms = (int)(left * 1e3);
			if (ms < left * 1e3)
				ms++;
		}
		k = poll(&p, 1, ms);
		if (k > 0 && (p.revents & POLLNVAL))
			return failed(EBADF);
		if (k > 0)
			return 1;
		if (k < 0 && errno != EINTR)
			return -1;
		if (timeout >= 0 && seconds_now() >= end)
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

/* One way, too, is a socket pair, of which one half is shut. */
int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int s[2], error;

	*a = *b = (struct connection){ -1, -1, NULL };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0)
		return -1;
	a->rfd = s[0];
	b->wfd = s[1];
	if (!duplex)
		shutdown(a->rfd, SHUT_WR);
	else {
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
		return fcntl(fds[1], F_SETFL, 0);
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
