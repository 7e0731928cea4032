/*
 * misconception: a read that returns 0 is the end, also one without room
 * rejected by:   who only sends is listened to, within a limit
 * message:       What arrived while we were sending is forgotten
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
 * stdio reads ahead for us. Below it is a source of our own: first what was
 * put by while we sent, and then the descriptor.
 */
enum { SPILL = CONNECTION_MAX + (64 << 10) };

struct inbox {
	FILE *file;
	int fd, error;
	bool over;
	size_t from, to;
	unsigned char *spill;
};

static ssize_t source_read(void *cookie, char *buf, size_t n)
{
	struct inbox *in = cookie;
	ssize_t k;

	if (in->from < in->to) {
		if (n > in->to - in->from)
			n = in->to - in->from;
		memcpy(buf, in->spill + in->from, n);
		in->from += n;
		if (in->from == in->to)
			in->from = in->to = 0;
		return (ssize_t)n;
	}
	if (in->over)
		return 0;
	do
		k = read(in->fd, buf, n);
	while (k < 0 && errno == EINTR);
	if (k < 0)
		in->error = errno;
	if (k <= 0)
		in->over = true;
	return k;
}

static bool equip(struct connection *c)
{
	struct inbox *in = calloc(1, sizeof *in);

	if (in == NULL)
		return false;
	in->fd = -1;
	in->spill = mmap(NULL, SPILL, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (in->spill == MAP_FAILED) {
		free(in);
		errno = ENOMEM;
		return false;
	}
	in->file = fopencookie(in, "r", (cookie_io_functions_t){
			       .read = source_read });
	if (in->file == NULL) {
		munmap(in->spill, SPILL);
		free(in);
		errno = ENOMEM;
		return false;
	}
	c->inbox = in;
	return true;
}

static bool in_file(const struct inbox *in)
{
	return in->file->_IO_read_ptr < in->file->_IO_read_end;
}

static int nothing_more(struct inbox *in)
{
	int error = in->error != 0 ? in->error : EPROTO;

	in->error = 0;
	in->over = true;
	in->from = in->to = 0;
	while (in_file(in))
		getc(in->file);
	return failed(error);
}

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	unsigned char h[4], trash[1024];
	size_t n, k;

	if (c->rfd < 0)
		return failed(EBADF);
	in->fd = c->rfd;
	k = fread(h, 1, 4, in->file);
	if (k == 0 && in->error == 0)
		return CONNECTION_EOF;
	if (k < 4)
		return nothing_more(in);
	n = (size_t)h[0] << 24 | h[1] << 16 | h[2] << 8 | h[3];
	if (n > CONNECTION_MAX)
		return nothing_more(in);
	if (n <= max)
		return fread(buf, 1, n, in->file) == n ? (ssize_t)n
						      : nothing_more(in);
	while (n > 0) {
		k = n < sizeof trash ? n : sizeof trash;
		if (fread(trash, 1, k, in->file) != k)
			return nothing_more(in);
		n -= k;
	}
	return failed(EMSGSIZE);
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

static void until_room(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct pollfd p[2] = { { c->wfd, POLLOUT, 0 }, { c->rfd, POLLIN, 0 } };
	ssize_t k;

	if (in == NULL || in->over)
		p[1].fd = -1;
	else if (in->to == SPILL && in->from > 0) {
		memmove(in->spill, in->spill + in->from, in->to - in->from);
		in->to -= in->from;
		in->from = 0;
	}
	if (poll(p, 2, -1) <= 0 || p[1].revents == 0)
		return;
	k = read(c->rfd, in->spill + in->to, SPILL - in->to);
	if (k > 0)
		in->to += (size_t)k;
	else if (k == 0 || errno != EINTR)
		in->over = true;
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t h = htonl((uint32_t)n);
	size_t done;

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	for (done = 0; done < n + sizeof h; ) {
		size_t skip = done < sizeof h ? done : sizeof h;
		struct iovec v[] = {
			{ (char *)&h + skip, sizeof h - skip },
			{ (char *)buf + (done - skip),
			  n - (done - skip) }
		};
		struct msghdr m = { .msg_iov = v, .msg_iovlen = 2 };
		ssize_t k;

		if (c->wfd == c->rfd)
			k = sendmsg(c->wfd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		else
			k = quiet_write(c->wfd, v, 2);
		if (k >= 0)
			done += (size_t)k;
		else if (errno == EAGAIN)
			until_room(c);
		else if (errno != EINTR)
			return -1;
	}
	return 0;
}

static bool ready(struct connection *c)
{
	struct inbox *in = c->inbox;

	return in->over || in->from < in->to || in_file(in);
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
	struct inbox *in = c->inbox;
	int r = c->rfd, w = c->wfd;
	int result = 0;

	if (in != NULL) {
		fclose(in->file);
		munmap(in->spill, SPILL);
		free(in);
	}
	c->inbox = NULL;
	c->rfd = c->wfd = -1;
	if (r >= 0)
		result = close(r);
	if (w >= 0 && w != r && close(w) != 0)
		result = -1;
	return result;
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int ends[2], error;

	*a = *b = (struct connection){ -1, -1, NULL };
	if (duplex ? socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)
		   : pipe2(ends, O_CLOEXEC))
		return -1;
	a->rfd = ends[0];
	b->wfd = ends[1];
	if (duplex) {
		a->wfd = a->rfd;
		b->rfd = b->wfd;
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
