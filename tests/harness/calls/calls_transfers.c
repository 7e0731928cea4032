/* Bytes through pipes and sockets. */
#include "calls.h"

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

/* A pipe or a stream socket on which a call may wait and may be short. */
static bool is_stream(int fd)
{
	int type;
	socklen_t size = sizeof type;
	struct stat s;

	if (fstat(fd, &s) != 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK))
		return false;
	if (S_ISFIFO(s.st_mode))
		return true;
	return S_ISSOCK(s.st_mode) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM;
}

/* Is there no room for it at this moment? */
static bool is_full(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 0;
}

/* Interrupted before it has begun. A little goes in at once, if it can. */
static bool may_be_interrupted(int fd, size_t n, bool writes)
{
	return may_wait(fd) && (!writes || n > PIPE_BUF || is_full(fd));
}

/*
 * May a fault strike this transfer? The system itself keeps some promises: a
 * write of up to PIPE_BUF bytes is whole, and is read whole from a pipe.
 */
static bool transfer_suits(int fd, size_t n, bool writes, int flags)
{
	struct stat s;

	if (board->fault.call == NULL || (flags & (MSG_WAITALL | MSG_DONTWAIT)))
		return false;
	if (fault_is_for("", "blocking"))
		return may_be_interrupted(fd, n, writes);
	if (!is_stream(fd))
		return false;
	if (writes)
		return n > PIPE_BUF;
	if (!short_transfers())
		return true;
	return n > PIPE_BUF ||
	       (n > 1 && fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode));
}

#define READS "read blocking"
#define WRITES "write blocking"

/* Struck: it fails, or *n becomes less. */
static bool transfer_fails(const char *call, const char *groups, int fd,
			   size_t *n, int flags, void *pc)
{
	bool writes = groups[0] == 'w';

	if (!struck(call, groups, transfer_suits(fd, *n, writes, flags), pc))
		return false;
	if (short_transfers())
		*n = shortened(*n);
	return !short_transfers();
}

static bool is_file(int fd)
{
	struct stat s;

	return fault_is_for("", "space") && fstat(fd, &s) == 0 &&
	       S_ISREG(s.st_mode);
}

ssize_t called_read(int fd, void *buf, size_t n);
ssize_t called_read(int fd, void *buf, size_t n)
{
	ssize_t r;

	if (transfer_fails("read", READS, fd, &n, 0, HERE))
		return -1;
	WAITING("read", fd, HERE, r, read(fd, buf, n));
	return r;
}

ssize_t called_write(int fd, const void *buf, size_t n);
ssize_t called_write(int fd, const void *buf, size_t n)
{
	ssize_t r;

	if (is_file(fd) && struck("write", "space", true, HERE))
		return -1;
	if (transfer_fails("write", WRITES, fd, &n, 0, HERE))
		return -1;
	WAITING("write", fd, HERE, r, write(fd, buf, n));
	return r;
}

ssize_t called_recv(int fd, void *buf, size_t n, int flags);
ssize_t called_recv(int fd, void *buf, size_t n, int flags)
{
	ssize_t r;

	if (transfer_fails("recv", READS, fd, &n, flags, HERE))
		return -1;
	WAITING("recv", fd, HERE, r, recv(fd, buf, n, flags));
	return r;
}

ssize_t called_send(int fd, const void *buf, size_t n, int flags);
ssize_t called_send(int fd, const void *buf, size_t n, int flags)
{
	ssize_t r;

	if (transfer_fails("send", WRITES, fd, &n, flags, HERE))
		return -1;
	WAITING("send", fd, HERE, r, send(fd, buf, n, flags));
	return r;
}

ssize_t called_recvfrom(int fd, void *buf, size_t n, int flags,
			struct sockaddr *from, socklen_t *size);
ssize_t called_recvfrom(int fd, void *buf, size_t n, int flags,
			struct sockaddr *from, socklen_t *size)
{
	ssize_t r;

	if (transfer_fails("recvfrom", READS, fd, &n, flags, HERE))
		return -1;
	WAITING("recvfrom", fd, HERE, r,
		recvfrom(fd, buf, n, flags, from, size));
	return r;
}

ssize_t called_sendto(int fd, const void *buf, size_t n, int flags,
		      const struct sockaddr *to, socklen_t size);
ssize_t called_sendto(int fd, const void *buf, size_t n, int flags,
		      const struct sockaddr *to, socklen_t size)
{
	ssize_t r;

	if (transfer_fails("sendto", WRITES, fd, &n, flags, HERE))
		return -1;
	WAITING("sendto", fd, HERE, r, sendto(fd, buf, n, flags, to, size));
	return r;
}

/* Vectors may fail, but are not cut short. */
static bool vector_suits(int fd, bool writes, int flags)
{
	if (board->fault.call == NULL || short_transfers() ||
	    (flags & MSG_DONTWAIT))
		return false;
	if (fault_is_for("", "blocking"))
		return may_be_interrupted(fd, 0, writes);
	return is_stream(fd);
}

ssize_t called_readv(int fd, const struct iovec *v, int n);
ssize_t called_readv(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	if (struck("readv", "read blocking", vector_suits(fd, false, 0), HERE))
		return -1;
	WAITING("readv", fd, HERE, r, readv(fd, v, n));
	return r;
}

ssize_t called_writev(int fd, const struct iovec *v, int n);
ssize_t called_writev(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	if (struck("writev", "blocking", vector_suits(fd, true, 0), HERE))
		return -1;
	WAITING("writev", fd, HERE, r, writev(fd, v, n));
	return r;
}

ssize_t called_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t called_recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t r;

	if (struck("recvmsg", "read blocking", vector_suits(fd, false, flags),
		   HERE))
		return -1;
	WAITING("recvmsg", fd, HERE, r, recvmsg(fd, m, flags));
	return r;
}

ssize_t called_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t called_sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t r;

	if (struck("sendmsg", "blocking", vector_suits(fd, true, flags), HERE))
		return -1;
	WAITING("sendmsg", fd, HERE, r, sendmsg(fd, m, flags));
	return r;
}
