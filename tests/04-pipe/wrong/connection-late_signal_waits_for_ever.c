/*
 * misconception: what is left of a limit is never less than nothing
 * rejected by:   signals do not change a limit
 * message:       A signal does not change how long somebody wants to wait
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
 * Where both talk there are two pipes, one for each direction. No descriptor
 * ever waits by itself: all waiting is in one place.
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

/* Take in once, if it is there. */
static void take_in(struct connection *c)
{
	struct inbox *in = c->inbox;
	size_t n = space(in);
	ssize_t k;

	if (n == 0)
		return;
	if (n > LEAST)
		n = LEAST;
	k = read(c->rfd, in->bytes + in->to, n);
	if (k > 0) {
		in->to += (size_t)k;
	} else if (k == 0) {
		in->over = true;
	} else if (errno != EAGAIN && errno != EINTR) {
		in->error = errno;
		in->over = true;
	}
}

/* Sleep until we can go on: to send, or to receive. */
static void sleep_until(struct connection *c, bool to_send)
{
	struct inbox *in = c->inbox;
	struct pollfd p[2];
	nfds_t n = 0;

	if (to_send)
		p[n++] = (struct pollfd){ c->wfd, POLLOUT, 0 };
	if (c->rfd >= 0 && !in->over && space(in) > 0)
		p[n++] = (struct pollfd){ c->rfd, POLLIN, 0 };
	if (poll(p, n, -1) > 0 && p[n - 1].revents != 0 &&
	    p[n - 1].fd == c->rfd)
		take_in(c);
}

/* 1: so many bytes are there. 0: they will never be. */
static bool have(struct connection *c, size_t n)
{
	struct inbox *in = c->inbox;

	while (in->to - in->from < n && !in->over)
		sleep_until(c, false);
	return in->to - in->from >= n;
}

static ssize_t refuse(struct inbox *in)
{
	int error = in->error;

	in->from = in->to;
	in->over = true;
	in->error = 0;
	return failed(error != 0 ? error : EPROTO);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	uint32_t n;

	if (c->rfd < 0)
		return failed(EBADF);
	if (!have(c, sizeof n)) {
		if (in->from < in->to || in->error != 0)
			return refuse(in);
		return CONNECTION_EOF;
	}
	memcpy(&n, in->bytes + in->from, sizeof n);
	n = ntohl(n);
	if (n > CONNECTION_MAX || !have(c, sizeof n + n))
		return refuse(in);
	in->from += sizeof n;
	if (n <= max)
		memcpy(buf, in->bytes + in->from, n);
	in->from += n;
	return n <= max ? (ssize_t)n : failed(EMSGSIZE);
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

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t length = htonl((uint32_t)n);
	struct iovec v[2] = { { &length, sizeof length }, { (void *)buf, n } };
	struct iovec *p = v;

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	while (p < v + 2) {
		ssize_t k = quiet_write(c->wfd, p, (int)(v + 2 - p));

		if (k < 0 && errno == EAGAIN) {
			sleep_until(c, true);
			continue;
		}
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -1;
		while (p < v + 2 && (size_t)k >= p->iov_len) {
			k -= (ssize_t)p->iov_len;
			p++;
		}
		if (p < v + 2) {
			p->iov_base = (char *)p->iov_base + k;
			p->iov_len -= (size_t)k;
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
		else if (left > 86400)
			ms = 86400 * 1000;
		else {
			ms = (int)(left * 1e3);
			if (ms < left * 1e3 && left > 0)
				ms++;
		}
		k = poll(&p, 1, ms);
		if (k > 0 && (p.revents & POLLNVAL))
			return failed(EBADF);
		if (k > 0)
			return 1;
		if (k < 0 && errno != EINTR)
			return -1;
		if (k == 0)
			return 0;
	}
}

int connection_close(struct connection *c)
{
	int fds[2] = { c->rfd, c->wfd }, result = 0, error = 0;

	if (c->inbox != NULL)
		munmap(c->inbox, sizeof(struct inbox));
	c->rfd = c->wfd = -1;
	c->inbox = NULL;
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0 && close(fds[i]) != 0) {
			error = errno;
			result = -1;
		}
	if (result != 0)
		errno = error;
	return result;
}

static int one_way(struct connection *to, struct connection *from)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0)
		return -1;
	to->rfd = fds[0];
	from->wfd = fds[1];
	return equip(to) ? 0 : -1;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int error;

	*a = *b = (struct connection){ -1, -1, NULL };
	if (one_way(a, b) == 0 && (!duplex || one_way(b, a) == 0))
		return 0;
	error = errno;
	connection_close(a);
	connection_close(b);
	return failed(error);
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

/* A name that nobody else takes at the same time, renamed when ready. */
static int publish(const char *path)
{
	char fresh[PATH_MAX], tail[40];
	int fd, error;

	snprintf(tail, sizeof tail, ".%ld.tmp", (long)getpid());
	if (!named(fresh, path, tail) || mkfifo(fresh, 0600) != 0)
		return -1;
	fd = open_again(fresh, O_RDONLY | O_NONBLOCK);
	if (fd >= 0 && renameat2(AT_FDCWD, fresh, AT_FDCWD, path,
				 RENAME_NOREPLACE) == 0)
		return fd;
	error = errno;
	unlink(fresh);
	if (fd >= 0)
		close(fd);
	return failed(error);
}

static int meet_listen(const char *path, int fds[2])
{
	char back[PATH_MAX];
	int hold, error;

	if (!named(back, path, ".back") || mkfifo(back, 0600) != 0)
		return -1;
	fds[1] = -1;
	hold = open_again(back, O_RDONLY | O_NONBLOCK);
	fds[0] = hold < 0 ? -1 : publish(path);
	error = errno;
	if (hold >= 0)
		close(hold);
	if (fds[0] >= 0) {
		fds[1] = open_again(back, O_WRONLY);
		error = errno;
		if (fds[1] < 0)
			unlink(path);
	}
	unlink(back);
	if (fds[1] >= 0) {
		if (fcntl(fds[0], F_SETFL, 0) == 0 &&
		    fcntl(fds[1], F_SETFL, O_NONBLOCK) == 0)
			return 0;
		error = errno;
		close(fds[1]);
	}
	if (fds[0] >= 0)
		close(fds[0]);
	return failed(error);
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
	fcntl(c->rfd, F_SETFL, O_NONBLOCK);
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
