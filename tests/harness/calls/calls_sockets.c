/* Sockets that find each other by an address. */
#include "calls.h"

#include <errno.h>
#include <sys/socket.h>

int called_socket(int domain, int type, int protocol);
int called_socket(int domain, int type, int protocol)
{
	if (struck("socket", "descriptors", true, HERE))
		return -1;
	return opened(socket(domain, type, protocol), HERE);
}

int called_accept(int fd, struct sockaddr *from, socklen_t *size);
int called_accept(int fd, struct sockaddr *from, socklen_t *size)
{
	int r;

	if (struck("accept", "blocking descriptors", may_wait(fd), HERE))
		return -1;
	WAITING("accept", fd, HERE, r, accept(fd, from, size));
	return opened(r, HERE);
}

int called_accept4(int fd, struct sockaddr *from, socklen_t *size, int flags);
int called_accept4(int fd, struct sockaddr *from, socklen_t *size, int flags)
{
	int r;

	if (struck("accept4", "accept blocking descriptors", may_wait(fd),
		   HERE))
		return -1;
	WAITING("accept4", fd, HERE, r, accept4(fd, from, size, flags));
	return opened(r, HERE);
}

/*
 * Interrupted, a connection by name (AF_UNIX) has not begun. Any other goes
 * on by itself, and is there when it is asked for again.
 */
int called_connect(int fd, const struct sockaddr *to, socklen_t size);
int called_connect(int fd, const struct sockaddr *to, socklen_t size)
{
	bool interrupted = struck("connect", "blocking", may_wait(fd), HERE);
	int error = errno, r;

	if (interrupted && (to->sa_family == AF_UNIX || error != EINTR))
		return -1;
	WAITING("connect", fd, HERE, r, connect(fd, to, size));
	if (r == 0 && interrupted) {
		errno = error;
		r = -1;
	}
	return r;
}
