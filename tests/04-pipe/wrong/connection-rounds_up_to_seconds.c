/*
 * misconception: a limit may be rounded up to whole seconds
 * rejected by:   a wait ends at its limit
 * message:       A wait with a time limit ends when it is over, not earlier
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
 * The kernel collects: MSG_WAITALL, where it can. What arrives while we send
 * goes into a chain of blocks.
 */
#define AUTO(f) __attribute__((cleanup(f)))

enum { BLOCK = 64 << 10, BLOCKS_MAX = CONNECTION_MAX / BLOCK + 2 };

struct block {
	struct block *next;
	size_t from, to;
	unsigned char bytes[BLOCK];
};

struct chain {
	struct block *head, *tail;
	unsigned count;
	bool over, stream_socket;
};

static bool equip(struct connection *c)
{
	return (c->inbox = calloc(1, sizeof(struct chain))) != NULL;
}

static void drop_first(struct chain *h)
{
	struct block *b = h->head;

	h->head = b->next;
	if (h->head == NULL)
		h->tail = NULL;
	h->count--;
	free(b);
}

/* A block with room at the end of the chain, or NULL. */
static struct block *last_with_room(struct chain *h)
{
	struct block *b;

	if (h->tail != NULL && h->tail->to < BLOCK)
		return h->tail;
	if (h->count == BLOCKS_MAX)
		return NULL;
	b = malloc(sizeof *b);
	if (b == NULL)
		return NULL;
	b->next = NULL;
	b->from = b->to = 0;
	if (h->tail != NULL)
		h->tail->next = b;
	else
		h->head = b;
	h->tail = b;
	h->count++;
	return b;
}

static ssize_t wait_for(int fd, void *buf, size_t n, bool stream_socket)
{
	ssize_t k;

	do
		k = stream_socket ? recv(fd, buf, n, MSG_WAITALL)
				  : read(fd, buf, n);
	while (k < 0 && errno == EINTR);
	return k;
}

/* n bytes; fewer only before the end of file; -1 */
static ssize_t fetch(struct connection *c, unsigned char *to, size_t n)
{
	struct chain *h = c->inbox;
	size_t done = 0;

	while (done < n && h->head != NULL) {
		struct block *b = h->head;
		size_t k = b->to - b->from < n - done ? b->to - b->from : n - done;

		memcpy(to + done, b->bytes + b->from, k);
		b->from += k;
		done += k;
		if (b->from == b->to)
			drop_first(h);
	}
	while (done < n && !h->over) {
		ssize_t k = wait_for(c->rfd, to + done, n - done,
				     h->stream_socket);

		if (k < 0)
			return -1;
		if (k == 0)
			h->over = true;
		done += (size_t)k;
	}
	return (ssize_t)done;
}

static int unusable(struct chain *h)
{
	while (h->head != NULL)
		drop_first(h);
	h->over = true;
	return failed(EPROTO);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	unsigned char h[4], away[2048];
	size_t n;
	ssize_t k;

	if (c->rfd < 0)
		return failed(EBADF);
	k = fetch(c, h, 4);
	if (k == 0)
		return CONNECTION_EOF;
	if (k > 0 && k < 4)
		return unusable(c->inbox);
	if (k < 0)
		return -1;
	n = (size_t)h[0] * 0x1000000 + h[1] * 0x10000u + h[2] * 0x100u + h[3];
	if (n > CONNECTION_MAX)
		return unusable(c->inbox);
	if (n <= max) {
		k = fetch(c, buf, n);
		return k < 0 ? -1 : (size_t)k == n ? k : unusable(c->inbox);
	}
	for (; n > 0; n -= (size_t)k) {
		size_t want = n < sizeof away ? n : sizeof away;

		k = fetch(c, away, want);
		if (k < 0)
			return -1;
		if ((size_t)k < want)
			return unusable(c->inbox);
	}
	return failed(EMSGSIZE);
}

static void restore_mask(sigset_t *old)
{
	int error = errno;

	pthread_sigmask(SIG_SETMASK, old, NULL);
	errno = error;
}

static ssize_t quiet_write(int fd, const void *p, size_t n)
{
	const struct timespec none = { 0, 0 };
	sigset_t pipe_signal, before;
	sigset_t AUTO(restore_mask) mask;
	ssize_t k;
	int error;

	sigemptyset(&pipe_signal);
	sigaddset(&pipe_signal, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_signal, &mask);
	sigpending(&before);
	k = write(fd, p, n);
	error = errno;
	if (!sigismember(&before, SIGPIPE) && (k < 0 || (size_t)k < n))
		while (sigtimedwait(&pipe_signal, NULL, &none) < 0 &&
		       errno == EINTR)
			;
	errno = error;
	return k;
}

/* One piece of the frame: sends all of it, and stores what arrives. */
static int put(struct connection *c, const char *p, size_t n, int flags)
{
	struct chain *h = c->inbox;
	bool one = c->rfd == c->wfd || c->rfd < 0;

	if (c->rfd >= 0)
		flags |= MSG_DONTWAIT;
	while (n > 0) {
		ssize_t k = one ? send(c->wfd, p, n, flags | MSG_NOSIGNAL)
				: quiet_write(c->wfd, p, n);
		struct pollfd ends[2] = { { c->wfd, POLLOUT, 0 },
					  { c->rfd, POLLIN, 0 } };
		struct block *b = NULL;

		if (k >= 0) {
			p += k;
			n -= (size_t)k;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -1;
		if (!h->over)
			b = last_with_room(h);
		if (poll(ends, b != NULL ? 2 : 1, -1) > 0 && b != NULL &&
		    ends[1].revents != 0) {
			k = read(c->rfd, b->bytes + b->to, BLOCK - b->to);
			if (k > 0)
				b->to += (size_t)k;
			else if (k == 0 || errno != EINTR)
				h->over = true;
		}
		if (h->head != NULL && h->head->from == h->head->to)
			drop_first(h);
	}
	return 0;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t h = htonl((uint32_t)n);

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	if (put(c, (char *)&h, sizeof h, n > 0 ? MSG_MORE : 0) != 0)
		return -1;
	return put(c, buf, n, 0);
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int connection_poll(struct connection *c, double timeout)
{
	struct chain *h = c->inbox;
	struct pollfd p = { c->rfd, POLLIN | POLLRDHUP, 0 };
	bool endless = timeout < 0 || timeout > 1e9;
	double until = seconds_now() + timeout;

	if (c->rfd < 0)
		return failed(EBADF);
	while (h->head != NULL && h->head->from == h->head->to)
		drop_first(h);
	if (h->over || h->head != NULL)
		return 1;
	for (double left = timeout; ; left = until - seconds_now()) {
		struct timespec t = { 0, 0 };
		int k;

		if (!endless && left > 0) {
			t.tv_sec = (time_t)left + (left > (double)(time_t)left);
		}
		k = ppoll(&p, 1, endless ? NULL : &t, NULL);
		if (k >= 0)
			return k > 0;
		if (errno != EINTR)
			return -1;
	}
}

int connection_close(struct connection *c)
{
	struct chain *h = c->inbox;
	int r = c->rfd, w = c->wfd, bad = 0;

	while (h != NULL && h->head != NULL)
		drop_first(h);
	free(h);
	*c = (struct connection){ -1, -1, NULL };
	if (r >= 0)
		bad |= close(r);
	if (w >= 0 && w != r)
		bad |= close(w);
	return bad;
}

static void close_both(int (*s)[2])
{
	int error = errno;

	for (int i = 0; i < 2; i++)
		if ((*s)[i] >= 0)
			close((*s)[i]);
	errno = error;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int AUTO(close_both) s[2] = { -1, -1 };

	*a = *b = (struct connection){ -1, -1, NULL };
	if (!equip(a))
		return -1;
	if ((duplex && !equip(b)) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, s) != 0) {
		int error = errno;

		connection_close(a);
		connection_close(b);
		return failed(error);
	}
	((struct chain *)a->inbox)->stream_socket = true;
	if (duplex)
		((struct chain *)b->inbox)->stream_socket = true;
	a->rfd = s[0];
	b->wfd = s[1];
	if (duplex) {
		a->wfd = s[0];
		b->rfd = s[1];
	}
	s[0] = s[1] = -1;
	return 0;
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
