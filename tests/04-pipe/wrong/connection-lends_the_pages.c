/*
 * misconception: one way, pages may be lent, since the other side reads soon
 * rejected by:   what was sent does not change any more
 * message:       What was sent still changes with the sender's memory
 */
#include "connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
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
 * What is private to a connection lies in tables. Its inbox "points" to a
 * place in them. A child has its own copy of the tables, and of its places.
 */
#define PLACES 1024
enum { BYTES = CONNECTION_MAX + (32 << 10), LEAST = 16 << 10 };

static struct {
	_Atomic bool taken[PLACES];
	bool over[PLACES];
	size_t from[PLACES], to[PLACES];
	unsigned char *bytes[PLACES];
} the;

static int place(const struct connection *c)
{
	return (int)((bool *)c->inbox - the.over);
}

static bool equip(struct connection *c)
{
	int i = 0;

	while (i < PLACES && atomic_exchange(&the.taken[i], true))
		i++;
	if (i == PLACES) {
		errno = ENOMEM;
		return false;
	}
	the.from[i] = the.to[i] = 0;
	the.over[i] = false;
	the.bytes[i] = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE |
			    MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (the.bytes[i] == MAP_FAILED) {
		atomic_store(&the.taken[i], false);
		return false;
	}
	c->inbox = &the.over[i];
	return true;
}

static void unequip(struct connection *c)
{
	if (c->inbox == NULL)
		return;
	munmap(the.bytes[place(c)], BYTES);
	atomic_store(&the.taken[place(c)], false);
	c->inbox = NULL;
}

/* Read once, n bytes at most, into the table: what read(2) says. */
static ssize_t load(struct connection *c, size_t n)
{
	int i = place(c);
	ssize_t k;

	if (the.from[i] == the.to[i])
		the.from[i] = the.to[i] = 0;
	if (BYTES - the.to[i] < n && the.from[i] > 0) {
		memmove(the.bytes[i], the.bytes[i] + the.from[i],
			the.to[i] - the.from[i]);
		the.to[i] -= the.from[i];
		the.from[i] = 0;
	}
	if (n > BYTES - the.to[i])
		n = BYTES - the.to[i];
	do
		k = recv(c->rfd, the.bytes[i] + the.to[i], n, 0);
	while (k < 0 && errno == EINTR);
	if (k < 0 && errno == ENOTSOCK)
		do
			k = read(c->rfd, the.bytes[i] + the.to[i], n);
		while (k < 0 && errno == EINTR);
	if (k > 0)
		the.to[i] += (size_t)k;
	else
		the.over[i] = true;
	return k;
}

/* The next n bytes, or so many of them as there are before the end; or -1. */
static ssize_t unload(struct connection *c, char *buf, size_t n)
{
	int i = place(c);
	size_t done = 0;

	while (done < n) {
		size_t k = the.to[i] - the.from[i];

		if (k == 0) {
			ssize_t r = the.over[i] ? 0 : load(c, LEAST);

			if (r < 0)
				return -1;
			if (r == 0)
				break;
			continue;
		}
		if (k > n - done)
			k = n - done;
		if (buf != NULL)
			memcpy(buf + done, the.bytes[i] + the.from[i], k);
		the.from[i] += k;
		done += k;
	}
	return (ssize_t)done;
}

static int no_frame(int i)
{
	the.from[i] = the.to[i];
	the.over[i] = true;
	return failed(EPROTO);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	uint32_t n;
	ssize_t k;

	if (c->rfd < 0)
		return failed(EBADF);
	k = unload(c, (char *)&n, 4);
	if (k <= 0)
		return k < 0 ? -1 : CONNECTION_EOF;
	n = ntohl(n);
	if (k < 4 || n > CONNECTION_MAX)
		return no_frame(place(c));
	k = unload(c, n > max ? NULL : buf, n);
	if (k < 0)
		return -1;
	if (k < (ssize_t)n)
		return no_frame(place(c));
	if (n > max)
		return failed(EMSGSIZE);
	return k;
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
	k = v->iov_len < 4096 ? writev(fd, v, n) :
	    vmsplice(fd, v, n, fcntl(fd, F_GETFL) & O_NONBLOCK ?
		     SPLICE_F_NONBLOCK : 0);
	error = errno;
	if (!was && pipe_signal_pending())
		sigwait(&one, &number);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return k;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t h = htonl((uint32_t)n);
	const char *part[2] = { (char *)&h, buf };
	size_t size[2] = { 4, n };

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	/* header and body each by itself; a pipe or a socket puts them together */
	for (int i = 0; i < 2; i++)
		while (size[i] > 0) {
			struct iovec v = { (void *)part[i], size[i] };
			ssize_t k = c->rfd == c->wfd
				? send(c->wfd, part[i], size[i], MSG_NOSIGNAL |
				       MSG_DONTWAIT | (i == 0 && n ? MSG_MORE : 0))
				: quiet_write(c->wfd, &v, 1);

			if (k >= 0) {
				part[i] += k;
				size[i] -= (size_t)k;
			} else if (errno == EAGAIN) {
				struct pollfd p[2] = {
					{ c->wfd, POLLOUT, 0 },
					{ c->rfd, POLLIN, 0 }
				};
				int j = place(c);
				bool can = !the.over[j] &&
					the.to[j] - the.from[j] < BYTES;

				if (poll(p, can ? 2 : 1, -1) > 0 && can &&
				    p[1].revents)
					load(c, LEAST);
			} else if (errno != EINTR) {
				return -1;
			}
		}
	return 0;
}

static bool ready(struct connection *c)
{
	int i = place(c);

	return the.over[i] || the.from[i] < the.to[i];
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
	int r = c->rfd, w = c->wfd, result = 0;

	unequip(c);
	c->rfd = c->wfd = -1;
	if (r >= 0 && r != w)
		result = close(r);
	if (w >= 0 && close(w) < 0)
		result = -1;
	return result;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int s[2] = { -1, -1 }, error;
	bool well;

	*a = *b = (struct connection){ -1, -1, NULL };
	well = duplex ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) == 0
		      : pipe2(s, O_CLOEXEC) == 0;
	well = well && equip(a) && (!duplex || equip(b));
	if (well) {
		a->rfd = s[0];
		a->wfd = duplex ? s[0] : -1;
		b->rfd = duplex ? s[1] : -1;
		b->wfd = s[1];
		return 0;
	}
	error = errno;
	unequip(a);
	unequip(b);
	if (s[0] >= 0) {
		close(s[0]);
		close(s[1]);
	}
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
	if (w >= 0 && (fcntl(r, F_SETFL, 0) != 0 ||
		       fcntl(w, F_SETFL, O_NONBLOCK) != 0)) {
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
