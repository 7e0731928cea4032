/*
 * misconception: what arrives while we send has to be taken in, all of it
 * rejected by:   who only sends is listened to, within a limit
 * message:       Who takes in everything can be made to use up all memory
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
 * What arrives is fed, chunk by chunk, to a machine with three states. It
 * makes whole messages and puts them in a list; recv takes the first one.
 * All memory for messages is bounded; beyond it nothing is taken in.
 */
enum { CHUNK = 16 << 10, MOST = CONNECTION_MAX + (256 << 10) };

struct message {
	struct message *next;
	size_t size, have;
	unsigned char bytes[];
};

struct machine {
	enum { IN_HEAD, IN_BODY, BAD } state;
	unsigned char head[4];
	unsigned heads;
	struct message *coming;		/* not yet whole */
	struct message *first, **last;
	size_t stored;			/* bytes in the list, as on their way */
	unsigned char chunk[CHUNK];
	size_t from, to;		/* of the chunk, not yet fed */
	bool over;
	int error;
};

static bool equip(struct connection *c)
{
	struct machine *m = calloc(1, sizeof *m);

	if (m == NULL)
		return false;
	m->last = &m->first;
	c->inbox = m;
	return true;
}

static size_t cost(size_t n)
{
	return n + 4;
}

/* Append what is whole now. */
static void whole(struct machine *m)
{
	*m->last = m->coming;
	m->last = &m->coming->next;
	m->coming = NULL;
	m->heads = 0;
	m->state = IN_HEAD;
}

/*
 * Feed the machine until the chunk is empty, or no memory (may be used): then
 * false, and later again.
 */
static bool feed(struct machine *m)
{
	while (m->from < m->to || (m->state == IN_HEAD && m->heads == 4)) {
		size_t n = m->to - m->from;

		switch (m->state) {
		case IN_HEAD: {
			uint32_t size;

			if (m->heads < 4) {
				m->head[m->heads++] = m->chunk[m->from++];
				break;
			}
			memcpy(&size, m->head, 4);
			size = ntohl(size);
			if (size > CONNECTION_MAX) {
				m->state = BAD;
				break;
			}
			m->coming = malloc(sizeof *m->coming + size);
			if (m->coming == NULL)
				return false;
			m->stored += cost(size);
			*m->coming = (struct message){ .size = size };
			m->state = IN_BODY;
			if (size == 0)
				whole(m);
			break;
		}
		case IN_BODY:
			if (n > m->coming->size - m->coming->have)
				n = m->coming->size - m->coming->have;
			memcpy(m->coming->bytes + m->coming->have,
			       m->chunk + m->from, n);
			m->coming->have += n;
			m->from += n;
			if (m->coming->have == m->coming->size)
				whole(m);
			break;
		case BAD:
			m->from = m->to;
			m->over = true;
			break;
		}
	}
	return true;
}

/* Read once and feed; a body that is long goes straight to where it belongs. */
static void take_in(struct connection *c)
{
	struct machine *m = c->inbox;
	bool direct = m->state == IN_BODY &&
		m->coming->size - m->coming->have >= CHUNK;
	ssize_t k;

	m->from = m->to = 0;
	if (direct)
		k = read(c->rfd, m->coming->bytes + m->coming->have,
			 m->coming->size - m->coming->have);
	else
		k = read(c->rfd, m->chunk, CHUNK);
	if (k <= 0) {
		if (k < 0 && errno == EINTR)
			return;
		m->over = true;
		m->error = k < 0 ? errno : 0;
	} else if (direct) {
		m->coming->have += (size_t)k;
		if (m->coming->have == m->coming->size)
			whole(m);
	} else {
		m->to = (size_t)k;
		feed(m);
	}
}

static bool hungry(struct machine *m)
{
	return !m->over && feed(m) && !m->over;
}

static int torn(struct machine *m)
{
	int error = m->error != 0 ? m->error : EPROTO;

	free(m->coming);
	m->coming = NULL;
	m->heads = 0;
	m->state = BAD;
	m->error = 0;
	return failed(error);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct machine *m = c->inbox;
	struct message *first;
	size_t n;
	bool fits;

	if (c->rfd < 0)
		return failed(EBADF);
	while (m->first == NULL && !m->over) {
		if (!feed(m))
			return failed(ENOMEM);
		if (m->first == NULL && !m->over)
			take_in(c);
	}
	first = m->first;
	if (first == NULL) {
		if (m->state == BAD && m->heads > 0)
			return torn(m);
		if (m->heads > 0 || m->coming != NULL || m->error != 0)
			return torn(m);
		return CONNECTION_EOF;
	}
	m->first = first->next;
	if (m->first == NULL)
		m->last = &m->first;
	m->stored -= cost(first->size);
	n = first->size;
	fits = n <= max;
	if (fits && n > 0)
		memcpy(buf, first->bytes, n);
	free(first);
	return fits ? (ssize_t)n : failed(EMSGSIZE);
}

static void mind(struct connection *c)
{
	struct machine *m = c->inbox;
	struct pollfd p[2] = { { c->wfd, POLLOUT, 0 }, { -1, POLLIN, 0 } };

	if (c->rfd >= 0 && hungry(m))
		p[1].fd = c->rfd;
	if (poll(p, 2, -1) > 0 && p[1].revents != 0)
		take_in(c);
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

static ssize_t send_once(struct connection *c, struct iovec *v, int n)
{
	struct msghdr m = { .msg_iov = v, .msg_iovlen = (size_t)n };

	if (c->rfd >= 0 && c->rfd != c->wfd)
		return quiet_write(c->wfd, v, n);
	return sendmsg(c->wfd, &m,
		       MSG_NOSIGNAL | (c->rfd >= 0 ? MSG_DONTWAIT : 0));
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t h = htonl((uint32_t)n);
	struct iovec v[2] = { { &h, 4 }, { (void *)buf, n } };

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	while (v[0].iov_len + v[1].iov_len > 0) {
		ssize_t k = send_once(c, v, 2);

		if (k < 0 && errno == EAGAIN) {
			mind(c);
		} else if (k < 0 && errno != EINTR) {
			return -1;
		} else if (k > 0) {
			for (int i = 0; i < 2; i++) {
				size_t part = v[i].iov_len < (size_t)k
					? v[i].iov_len : (size_t)k;

				v[i].iov_base = (char *)v[i].iov_base + part;
				v[i].iov_len -= part;
				k -= (ssize_t)part;
			}
		}
	}
	return 0;
}

static bool ready(struct connection *c)
{
	struct machine *m = c->inbox;

	return m->over || m->first != NULL || m->coming != NULL ||
	       m->heads > 0 || m->from < m->to;
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
	struct machine *m = c->inbox;
	int r = c->rfd, w = c->wfd, bad = 0;

	while (m != NULL && m->first != NULL) {
		struct message *next = m->first->next;

		free(m->first);
		m->first = next;
	}
	if (m != NULL)
		free(m->coming);
	free(m);
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
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0)
		return -1;
	a->rfd = s[0];
	b->wfd = s[1];
	if (duplex) {
		a->wfd = s[0];
		b->rfd = s[1];
	} else {
		shutdown(s[0], SHUT_WR);
	}
	if (equip(a) && (!duplex || equip(b)))
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
