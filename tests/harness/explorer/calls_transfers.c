/*
 * What goes through descriptors: pipes, sockets, files. A read or write that
 * would wait is not begun. What goes through a descriptor orders who wrote it
 * before who reads it.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mqueue.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* ---- ready or not ------------------------------------------------------ */

static bool may_wait(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static bool would_wait(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return may_wait(fd) && poll(&p, 1, 0) == 0;
}

/* Until the descriptor is ready; false when a signal came first, or the time
 * ran out. */
static bool ready_until(int fd, short events, int64_t deadline,
			const char *call, const void *pc)
{
	enum wake how = WOKEN;
	int64_t timer;

	for (timers_are_due(); would_wait(fd, events); timers_are_due()) {
		if (how == INTERRUPTED)
			return errno = EINTR, false;
		if (deadline <= arena->now)
			return errno = ETIMEDOUT, false;
		timer = next_timer();
		how = wait_here(call, place_of_file(fd),
				timer < deadline ? timer : deadline, pc);
	}
	return true;
}

static bool ready(int fd, short events, const char *call, const void *pc)
{
	return ready_until(fd, events, FOREVER, call, pc);
}

static ssize_t done(int fd, const char *call, ssize_t r, const void *pc)
{
	int before = errno;

	note(CALLS, call, place_of_file(fd), pc)->value = (uint64_t)r;
	if (r >= 0)
		wake_all_waits();
	errno = before;
	return r;
}

/* ---- in ---------------------------------------------------------------- */

#define READS_UNLESS(waits, deadline, call, fd, pc, expression) do {	\
	struct place place_ = place_of_file(fd);			\
	ssize_t r_;							\
									\
	point(place_, pc);						\
	if ((waits) && !ready_until(fd, POLLIN, deadline, call, pc))	\
		return -1;						\
	r_ = (expression);						\
	if (r_ >= 0)							\
		acquire_from(place_);					\
	if (r_ == 0)							\
		acquire_from_dead();					\
	return done(fd, call, r_, pc);					\
} while (0)

#define READS_UNTIL(deadline, call, fd, pc, expression) \
	READS_UNLESS(true, deadline, call, fd, pc, expression)
#define READS(call, fd, pc, expression) \
	READS_UNLESS(true, FOREVER, call, fd, pc, expression)
/* With the flags of a socket. */
#define RECEIVES(call, fd, flags, pc, expression) \
	READS_UNLESS(!((flags) & MSG_DONTWAIT), FOREVER, call, fd, pc, \
		     expression)

ssize_t explored_read(int fd, void *buf, size_t n)
{
	if (!exploring())
		return read(fd, buf, n);
	READS("read", fd, HERE, read(fd, buf, n));
}

int explored_eventfd_read(int fd, uint64_t *value)
{
	return explored_read(fd, value, sizeof *value) > 0 ? 0 : -1;
}

ssize_t explored_recv(int fd, void *buf, size_t n, int flags)
{
	if (!exploring())
		return recv(fd, buf, n, flags);
	RECEIVES("recv", fd, flags, HERE, recv(fd, buf, n, flags));
}

ssize_t explored_recvfrom(int fd, void *buf, size_t n, int flags,
			  struct sockaddr *from, socklen_t *size)
{
	if (!exploring())
		return recvfrom(fd, buf, n, flags, from, size);
	RECEIVES("recvfrom", fd, flags, HERE, recvfrom(fd, buf, n, flags, from, size));
}

ssize_t explored_readv(int fd, const struct iovec *v, int n)
{
	if (!exploring())
		return readv(fd, v, n);
	READS("readv", fd, HERE, readv(fd, v, n));
}

ssize_t explored_recvmsg(int fd, struct msghdr *m, int flags)
{
	if (!exploring())
		return recvmsg(fd, m, flags);
	RECEIVES("recvmsg", fd, flags, HERE, recvmsg(fd, m, flags));
}

int explored_accept4(int fd, struct sockaddr *from, socklen_t *size, int flags)
{
	if (!exploring())
		return accept4(fd, from, size, flags);
	READS("accept", fd, HERE, accept4(fd, from, size, flags));
}

int explored_accept(int fd, struct sockaddr *from, socklen_t *size)
{
	if (!exploring())
		return accept(fd, from, size);
	READS("accept", fd, HERE, accept(fd, from, size));
}

ssize_t explored_mq_receive(mqd_t q, char *buf, size_t n, unsigned *priority)
{
	if (!exploring())
		return mq_receive(q, buf, n, priority);
	READS("mq_receive", q, HERE, mq_receive(q, buf, n, priority));
}

ssize_t explored_mq_timedreceive(mqd_t q, char *buf, size_t n,
				 unsigned *priority,
				 const struct timespec *until)
{
	if (!exploring())
		return mq_timedreceive(q, buf, n, priority, until);
	READS_UNTIL(deadline_at(CLOCK_REALTIME, until), "mq_timedreceive", q,
		    HERE, mq_receive(q, buf, n, priority));
}

/* ---- out --------------------------------------------------------------- */

/* Ready means that so much goes into a pipe without waiting. */
static size_t piece(int fd, size_t n)
{
	struct stat s;

	if (fstat(fd, &s) == 0 && S_ISFIFO(s.st_mode) && n > PIPE_BUF)
		return PIPE_BUF;
	return n;
}

static ssize_t write_all(int fd, const char *buf, size_t n, bool is_send,
			 int flags, const char *call, const void *pc)
{
	bool waits = may_wait(fd) && !(is_send && (flags & MSG_DONTWAIT));
	struct place place = place_of_file(fd);
	size_t sent = 0;
	ssize_t r;

	point(place, pc);
	release_to(place);
	do {
		if (waits && !ready(fd, POLLOUT, call, pc))
			return sent > 0 ? (ssize_t)sent : -1;
		r = is_send ? send(fd, buf + sent, n - sent,
				   flags | MSG_DONTWAIT)
			    : write(fd, buf + sent, piece(fd, n - sent));
		if (r < 0 && errno == EAGAIN && is_send && waits) {
			wait_here(call, place, FOREVER, pc);
			continue;
		}
		if (r < 0)
			return sent > 0 ? (ssize_t)sent
					: done(fd, call, r, pc);
		sent += (size_t)r;
		done(fd, call, r, pc);
	} while (sent < n && waits);
	return (ssize_t)sent;
}

ssize_t explored_write(int fd, const void *buf, size_t n)
{
	struct stat s;

	if (!exploring())
		return write(fd, buf, n);
	if (fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode) && may_wait(fd))
		return write_all(fd, buf, n, true, 0, "write", HERE);
	return write_all(fd, buf, n, false, 0, "write", HERE);
}

int explored_eventfd_write(int fd, uint64_t value)
{
	return explored_write(fd, &value, sizeof value) > 0 ? 0 : -1;
}

ssize_t explored_send(int fd, const void *buf, size_t n, int flags)
{
	if (!exploring())
		return send(fd, buf, n, flags);
	return write_all(fd, buf, n, true, flags, "send", HERE);
}

ssize_t explored_sendto(int fd, const void *buf, size_t n, int flags,
			const struct sockaddr *to, socklen_t size)
{
	if (!exploring() || to != NULL)
		return sendto(fd, buf, n, flags, to, size);
	return write_all(fd, buf, n, true, flags, "sendto", HERE);
}

/* In one piece: what would wait in the middle must not be begun. */
static ssize_t write_joined(int fd, const struct iovec *v, size_t n,
			    bool is_send, int flags, const char *call,
			    const void *pc)
{
	size_t size = 0, at = 0;
	ssize_t r;
	char *all;

	for (size_t i = 0; i < n; i++)
		size += v[i].iov_len;
	all = malloc(size + 1);
	if (all == NULL)
		return -1;
	for (size_t i = 0; i < n; at += v[i++].iov_len)
		memcpy(all + at, v[i].iov_base, v[i].iov_len);
	r = write_all(fd, all, size, is_send, flags, call, pc);
	free(all);
	return r;
}

ssize_t explored_writev(int fd, const struct iovec *v, int n)
{
	struct stat s;

	if (!exploring())
		return writev(fd, v, n);
	return write_joined(fd, v, (size_t)n, fstat(fd, &s) == 0 &&
			    S_ISSOCK(s.st_mode) && may_wait(fd), 0, "writev",
			    HERE);
}

#define WRITES_UNTIL(deadline, call, fd, pc, expression) do {		\
	struct place place_ = place_of_file(fd);			\
									\
	point(place_, pc);						\
	release_to(place_);						\
	if (!ready_until(fd, POLLOUT, deadline, call, pc))		\
		return -1;						\
	return done(fd, call, expression, pc);				\
} while (0)

/* Descriptors that are sent along cannot be sent twice. */
ssize_t explored_sendmsg(int fd, const struct msghdr *m, int flags)
{
	if (!exploring())
		return sendmsg(fd, m, flags);
	if (m->msg_controllen == 0 && m->msg_name == NULL)
		return write_joined(fd, m->msg_iov, m->msg_iovlen, true, flags,
				    "sendmsg", HERE);
	WRITES_UNTIL(FOREVER, "sendmsg", fd, HERE, sendmsg(fd, m, flags));
}

int explored_connect(int fd, const struct sockaddr *to, socklen_t size)
{
	if (!exploring())
		return connect(fd, to, size);
	point(nowhere, HERE);
	return (int)done(fd, "connect", connect(fd, to, size), HERE);
}

int explored_mq_send(mqd_t q, const char *buf, size_t n, unsigned priority)
{
	if (!exploring())
		return mq_send(q, buf, n, priority);
	WRITES_UNTIL(FOREVER, "mq_send", q, HERE,
		     mq_send(q, buf, n, priority));
}

int explored_mq_timedsend(mqd_t q, const char *buf, size_t n,
			  unsigned priority, const struct timespec *until)
{
	if (!exploring())
		return mq_timedsend(q, buf, n, priority, until);
	WRITES_UNTIL(deadline_at(CLOCK_REALTIME, until), "mq_timedsend", q,
		     HERE, mq_send(q, buf, n, priority));
}

/* ---- ends -------------------------------------------------------------- */

int explored_socketpair(int domain, int type, int protocol, int fds[2])
{
	int r = socketpair(domain, type, protocol, fds);

	if (exploring() && r == 0)
		ends_joined(fds);
	return r;
}

/* Closing an end is what the other end may wait for. */
int explored_close(int fd)
{
	struct place place;
	int r;

	if (!exploring())
		return close(fd);
	place = place_of_file(fd);
	point(place, HERE);
	release_to(place);
	timer_is_closed(fd);
	r = close(fd);
	note(CALLS, "close", place, HERE)->value = (uint64_t)r;
	wake_all_waits();
	return r;
}
