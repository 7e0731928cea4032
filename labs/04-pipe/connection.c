/*
 * Lab 04: this is your file, edit it here. Each TODO(n) is a part that
 * waits for you; the comment above it says what to write there.
 * `make lab LAB=04` judges it, `make hint LAB=04` gives a hint.
 */

/*
 * connection - messages with borders, over descriptors that know only bytes
 *
 * A message travels as a frame: four bytes that tell its length, the highest
 * first, and then its bytes. Python's Connection does the same, so the two
 * understand each other.
 *
 * The way is a socket pair where both sides talk, a pipe where one of them
 * does, and two named pipes between programs that are not related. All of
 * them are streams: what was sent at once may arrive in pieces, and what was
 * sent in pieces at once. So we read ahead, as stdio does: whatever is there
 * goes into the inbox, and messages are taken from it.
 *
 * Who sends where both talk must not only send. If both sides wait until the
 * other one makes room, nobody ever does. So a send that finds the way full
 * takes in what arrives, until there is room.
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
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "todo.h"

enum {
	HEADER = 4,			/* bytes in front of each message */
	AHEAD = 8 << 10,		/* so far we read ahead */
	ROOM = HEADER + CONNECTION_MAX + AHEAD,
	LONG = 64 << 10			/* a message from here on is long */
};

/*
 * What was read and not yet received lies from begin up to, not including,
 * end. There is room for the longest message; but the system gives memory
 * only where something is written, and mostly that is the first AHEAD bytes.
 */
struct inbox {
	size_t begin, end;
	bool over;			/* nothing more will arrive */
	unsigned char bytes[ROOM];
};

/* What is sent: first the header, then the body. */
struct frame {
	unsigned char header[HEADER];
	const unsigned char *body;
	size_t size, sent;		/* of both together */
};

static const struct connection CLOSED = { -1, -1, NULL };

static int failed(int error)
{
	errno = error;
	return -1;
}

static size_t smaller(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* ---- the inbox --------------------------------------------------------- */

static bool make_inbox(struct connection *c)
{
	void *memory = mmap(NULL, sizeof(struct inbox), PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	c->inbox = memory == MAP_FAILED ? NULL : memory;
	return c->inbox != NULL;
}

static size_t waiting(const struct inbox *in)
{
	return in->end - in->begin;
}

/* So many bytes have been taken out. */
static void pass(struct inbox *in, size_t n)
{
	in->begin += n;
	if (waiting(in) > 0)
		return;
	if (in->end > LONG)		/* a flood is over */
		madvise((char *)in + LONG, sizeof *in - LONG, MADV_DONTNEED);
	in->begin = in->end = 0;
}

/*
 * Read once: n bytes at most, and what comes `behind` them into the inbox,
 * if that is wanted; then it is empty. How many bytes in both; 0 at the end
 * of file, -1 with errno.
 */
static ssize_t read_some(struct connection *c, void *buf, size_t n,
			 bool behind)
{
	struct inbox *in = c->inbox;
	struct iovec parts[2] = { { buf, n }, { in->bytes, AHEAD } };
	ssize_t got;

	if (in->over)
		return 0;
	do
		got = behind ? readv(c->rfd, parts, 2) : read(c->rfd, buf, n);
	while (got < 0 && errno == EINTR);
	in->over = got == 0;
	return got;
}

/* Read once into the first `room` bytes of the inbox, behind what is there. */
static ssize_t take_in(struct connection *c, size_t room)
{
	struct inbox *in = c->inbox;
	size_t n = waiting(in);
	ssize_t got;

	if (in->begin >= n || in->end >= room) {
		memmove(in->bytes, in->bytes + in->begin, n);
		in->begin = 0;
		in->end = n;
	}
	got = read_some(c, in->bytes + in->end, room - in->end, false);
	if (got > 0)
		in->end += (size_t)got;
	return got;
}

/*
 * Read once straight into buf, and only what comes behind those n bytes into
 * the inbox. How many of the n there are now; or as above.
 */
static ssize_t take_long(struct connection *c, void *buf, size_t n)
{
	struct inbox *in = c->inbox;
	ssize_t got = read_some(c, buf, n, true);

	if (got <= (ssize_t)n)
		return got;
	in->end = (size_t)got - n;
	return (ssize_t)n;
}

/*
 * Let so many bytes, AHEAD at most, lie in the inbox: 1 when they do, 0 when
 * the end of file comes first, -1 with errno.
 */
static int gather(struct connection *c, size_t n)
{
	ssize_t got = 1;

	while (got > 0 && waiting(c->inbox) < n)
		got = take_in(c, AHEAD);
	return got > 0 ? 1 : (int)got;
}

/*
 * Put the next n bytes into buf, or nowhere if it is NULL; result as above.
 * What is long goes there by itself, and not by way of the inbox.
 */
static int draw(struct connection *c, unsigned char *buf, size_t n)
{
	struct inbox *in = c->inbox;
	size_t done = 0, part;
	ssize_t got = 1;

	while (got > 0 && done < n) {
		part = smaller(waiting(in), n - done);
		if (buf != NULL && part > 0)
			memcpy(buf + done, in->bytes + in->begin, part);
		pass(in, part);
		done += part;
		if (buf != NULL && n - done >= AHEAD) {
			got = take_long(c, buf + done, n - done);
			done += got > 0 ? (size_t)got : 0;
		} else if (done < n) {
			got = take_in(c, AHEAD);
		}
	}
	return got > 0 ? 1 : (int)got;
}

/* What the header at the beginning of the inbox says. */
static size_t announced(const struct inbox *in)
{
	uint32_t length;

	memcpy(&length, in->bytes + in->begin, sizeof length);
	return ntohl(length);
}

/* No border between messages can be found any more. */
static int broken(struct inbox *in)
{
	pass(in, waiting(in));
	in->over = true;
	return failed(EPROTO);
}

/* ---- on its way -------------------------------------------------------- */

/*
 * A write to a pipe that nobody reads sends SIGPIPE to the writing thread,
 * also when it has written some of it before. Hold the signal back, and take
 * it away again before anybody sees it: unless there was one already, which
 * is none of our business.
 */
static ssize_t write_to_pipe(int fd, const struct iovec *parts, int n)
{
	const struct timespec no_time = { 0 };
	sigset_t sigpipe, mask, before;
	size_t all = parts[0].iov_len + (n > 1 ? parts[1].iov_len : 0);
	ssize_t sent;
	int error;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	sigemptyset(&before);
	pthread_sigmask(SIG_BLOCK, &sigpipe, &mask);
	if (sigismember(&mask, SIGPIPE))
		sigpending(&before);
	sent = writev(fd, parts, n);
	error = errno;
	if (sent < (ssize_t)all && !sigismember(&before, SIGPIPE))
		sigtimedwait(&sigpipe, NULL, &no_time);
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	errno = error;
	return sent;
}

/*
 * Send some of what is left of the frame: how much of it, or -1 with errno.
 * EAGAIN says that the way is full; where only we talk it waits instead.
 */
static ssize_t push(struct connection *c, const struct frame *f)
{
	size_t head = smaller(f->sent, HEADER);
	struct iovec parts[2] = {
		{ (void *)(f->header + head), HEADER - head },
		{ (void *)(f->body + (f->sent - head)),
		  f->size - f->sent - (HEADER - head) }
	};
	struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
	bool alone = f->size > LONG && f->sent < HEADER;

	if (c->rfd == c->wfd)
		return sendmsg(c->wfd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	/*
	 * In a pipe a long body begins with a page of its own. Behind its
	 * header it would lie across pages, and take twice as long to copy.
	 */
	return write_to_pipe(c->wfd, parts, alone ? 1 : 2);
}

/* Wait until there may be room on the way, and take in what arrives. */
static void wait_for_room(struct connection *c)
{
	struct inbox *in = c->inbox;
	struct pollfd ends[2] = {
		{ .fd = c->wfd, .events = POLLOUT },
		{ .fd = c->rfd, .events = POLLIN }
	};

	if (in == NULL || in->over || waiting(in) == ROOM)
		ends[1].fd = -1;	/* poll passes it over */
	if (poll(ends, 2, -1) > 0 && ends[1].revents != 0 &&
	    take_in(c, ROOM) < 0)
		in->over = true;	/* what is the matter, sending tells */
}

static int send_frame(struct connection *c, struct frame *f)
{
	/*
	 * TODO 2: push until the whole frame is on its way. What push has
	 * sent may be less than was left. When it fails, see why: a signal
	 * came in between, or the way is full and somebody has to
	 * wait_for_room, or it really is over.
	 * About 10 lines.
	 */
	TODO(2);
}

int connection_send(struct connection *c, const void *buf, size_t n)
{
	uint32_t length = htonl((uint32_t)n);
	struct frame f = { .body = buf, .size = HEADER + n };

	if (c->wfd < 0)
		return failed(EBADF);
	if (n > CONNECTION_MAX)
		return failed(EMSGSIZE);
	memcpy(f.header, &length, sizeof length);
	return send_frame(c, &f);
}

/* ---- arrived ----------------------------------------------------------- */

ssize_t connection_recv(struct connection *c, void *buf, size_t max)
{
	struct inbox *in = c->inbox;
	size_t n = 0;
	int got;

	if (c->rfd < 0)
		return failed(EBADF);
	got = gather(c, HEADER);
	/*
	 * TODO 3: first see what came: a header, an error, or the end of
	 * file. An end is a good one only between two messages, that is when
	 * nothing is waiting(in); else the way is broken(in). So it is when
	 * announced(in) is more than a message may have. Then pass the header
	 * and draw the message: into buf if there is room, and nowhere if
	 * there is not. It, too, may break off.
	 * About 15 lines.
	 */
	TODO(3);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* So many seconds; none unless they are more than 0, and 30 years at most. */
static struct timespec span(double seconds)
{
	const double longest = 1e9;
	struct timespec t = { 0 };

	if (!(seconds > 0))
		return t;
	if (seconds > longest)
		seconds = longest;
	t.tv_sec = (time_t)seconds;
	t.tv_nsec = (long)((seconds - (double)t.tv_sec) * 1e9);
	return t;
}

int connection_poll(struct connection *c, double timeout)
{
	struct pollfd end = { .fd = c->rfd, .events = POLLIN };
	struct inbox *in = c->inbox;
	double until = now() + timeout;
	struct timespec left = span(timeout);
	int n;

	if (c->rfd < 0)
		return failed(EBADF);
	if (waiting(in) > 0 || in->over)
		return 1;
	while ((n = ppoll(&end, 1, timeout < 0 ? NULL : &left, NULL)) < 0 &&
	       errno == EINTR)
		left = span(until - now());
	return n > 0 && (end.revents & POLLNVAL) ? failed(EBADF) : n;
}

/* ---- making and closing ------------------------------------------------ */

int connection_close(struct connection *c)
{
	int rfd = c->rfd, wfd = c->wfd, result = 0;

	if (c->inbox != NULL)
		munmap(c->inbox, sizeof(struct inbox));
	*c = CLOSED;
	if (rfd >= 0)
		result = close(rfd);
	if (wfd >= 0 && wfd != rfd && close(wfd) != 0)
		result = -1;
	return result;
}

/* Give up what there is of a connection, with the error that there was. */
static int give_up(struct connection *c)
{
	int error = errno;

	connection_close(c);
	return failed(error);
}

int connection_pair(struct connection *a, struct connection *b, bool duplex)
{
	int ends[2];

	*a = *b = CLOSED;
	/*
	 * TODO 1: a stream socket pair if both talk, a pipe if only b does:
	 * two descriptors in ends, none of which a program started by exec
	 * shall inherit. Say in a and in b which of them they read from and
	 * which they write to, and make an inbox for each side that reads.
	 * If there is none to be had, both sides are given up again.
	 * About 15 lines.
	 */
	TODO(1);
}

/* ---- between two programs ---------------------------------------------- */

/*
 * Two named pipes: PATH to who listens, PATH.back from there. Who listens
 * makes PATH.back first, and gives PATH its name when it is open already: who
 * finds PATH finds somebody. Who connects takes that name away, so that no
 * more than one gets through. The two meet in opening PATH.back, where each
 * waits for the other. Nothing may be refused there any more, or the other
 * waits in vain: so another descriptor keeps the place of that last one.
 */
static int open_pipe(const char *path, int flags)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC);
	while (fd < 0 && errno == EINTR);
	return fd;
}

static bool add_to(char name[PATH_MAX], const char *path, const char *more)
{
	if (snprintf(name, PATH_MAX, "%s%s", path, more) < PATH_MAX)
		return true;
	errno = ENAMETOOLONG;
	return false;
}

/* Take a name away, and keep the error that there was. */
static void forget(const char *path)
{
	int error = errno;

	unlink(path);
	errno = error;
}

/* Make a pipe for our user, and open it before it has that name. */
static int publish(const char *path)
{
	char hidden[PATH_MAX];
	int fd;

	if (!add_to(hidden, path, ".new") || mkfifo(hidden, 0600) != 0)
		return -1;
	fd = open_pipe(hidden, O_RDONLY | O_NONBLOCK);
	if (fd >= 0 && link(hidden, path) != 0) {
		forget(hidden);
		close(fd);
		return -1;
	}
	forget(hidden);
	return fd;
}

static bool wait_at(struct connection *c, const char *path, const char *back)
{
	c->wfd = open_pipe(back, O_RDONLY | O_NONBLOCK); /* keeps the place */
	if (c->wfd < 0 || !make_inbox(c))
		return false;
	c->rfd = publish(path);
	if (c->rfd < 0)
		return false;
	close(c->wfd);
	c->wfd = open_pipe(back, O_WRONLY);
	if (c->wfd < 0)
		forget(path);
	/* From now on a read waits by itself, and a send in wait_for_room. */
	return c->wfd >= 0 && fcntl(c->rfd, F_SETFL, 0) == 0 &&
	       fcntl(c->wfd, F_SETFL, O_NONBLOCK) == 0;
}

int connection_listen(struct connection *c, const char *path)
{
	char back[PATH_MAX];
	bool met;

	*c = CLOSED;
	if (!add_to(back, path, ".back") || mkfifo(back, 0600) != 0)
		return -1;
	met = wait_at(c, path, back);
	forget(back);
	return met ? 0 : give_up(c);
}

/* Is it a pipe to somebody who listens, and did we get its name? */
static bool claim(int fd, const char *path, const char *back)
{
	struct stat s;

	return fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode) &&
	       access(back, F_OK) == 0 && unlink(path) == 0;
}

int connection_connect(struct connection *c, const char *path)
{
	char back[PATH_MAX];

	*c = CLOSED;
	if (!add_to(back, path, ".back"))
		return -1;
	c->wfd = open_pipe(path, O_WRONLY | O_NONBLOCK);
	if (c->wfd < 0)			/* ENXIO: who listened is no more */
		return failed(errno == ENXIO ? ENOENT : errno);
	c->rfd = dup(c->wfd);		/* keeps the place */
	if (c->rfd < 0 || !make_inbox(c))
		return give_up(c);
	if (!claim(c->wfd, path, back)) {
		connection_close(c);
		return failed(ENOENT);
	}
	close(c->rfd);
	c->rfd = open_pipe(back, O_RDONLY);
	return c->rfd >= 0 ? 0 : give_up(c);
}

/* ---- the echo ---------------------------------------------------------- */

int connection_echo(struct connection *c)
{
	/*
	 * TODO 4: receive and send back until the end of file. Any message
	 * has room in CONNECTION_MAX bytes, which somebody has to give back
	 * in the end, whatever that was.
	 * About 12 lines.
	 */
	TODO(4);
}
