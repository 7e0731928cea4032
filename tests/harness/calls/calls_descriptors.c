/* What makes descriptors. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

int opened(int fd, void *pc)
{
	if (fd >= 0 && fd < DESCRIPTORS && getpid() == board->fence)
		board->opened[fd] = pc;
	if (fd < 0 && errno == EMFILE)
		hit(INJECT_DESCRIPTORS);
	return fd;
}

bool may_wait(int fd)
{
	struct stat s;

	return fstat(fd, &s) == 0 && !S_ISREG(s.st_mode) &&
	       !S_ISDIR(s.st_mode) && !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* ---- fewer, and smaller ones -------------------------------------------- */

void descriptors_left(int more)
{
	struct rlimit limit;
	int fd;

	getrlimit(RLIMIT_NOFILE, &limit);
	for (fd = 0; more > 0; fd++)
		more -= fcntl(fd, F_GETFD) == -1;
	limit.rlim_cur = (rlim_t)fd;
	setrlimit(RLIMIT_NOFILE, &limit);
}

void small_pipes(void)
{
	board->small_pipes = 1;
}

static void make_small(int fd, bool is_socket)
{
	int least = 1;

	if (is_socket) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof least);
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &least, sizeof least);
	} else {
		fcntl(fd, F_SETPIPE_SZ, 4096);
	}
}

static int opened_pair(int result, const int *fds, bool sockets, void *pc)
{
	if (result != 0)
		return opened(result, pc);
	for (int i = 0; i < 2; i++) {
		opened(fds[i], pc);
		if (board->small_pipes)
			make_small(fds[i], sockets);
	}
	if (board->small_pipes)
		hit(INJECT_SMALL_PIPES);
	return 0;
}

int called_pipe(int fds[2]);
int called_pipe(int fds[2])
{
	if (struck("pipe", "descriptors", true, HERE))
		return -1;
	return opened_pair(pipe(fds), fds, false, HERE);
}

int called_pipe2(int fds[2], int flags);
int called_pipe2(int fds[2], int flags)
{
	if (struck("pipe2", "pipe descriptors", true, HERE))
		return -1;
	return opened_pair(pipe2(fds, flags), fds, false, HERE);
}

int called_socketpair(int domain, int type, int protocol, int fds[2]);
int called_socketpair(int domain, int type, int protocol, int fds[2])
{
	if (struck("socketpair", "pipe descriptors", true, HERE))
		return -1;
	return opened_pair(socketpair(domain, type, protocol, fds), fds, true,
			   HERE);
}

/* ---- by name ------------------------------------------------------------ */

int called_memfd_create(const char *name, unsigned flags);
int called_memfd_create(const char *name, unsigned flags)
{
	if (struck("memfd_create", "shm_open descriptors", true, HERE))
		return -1;
	return opened(memfd_create(name, flags), HERE);
}

int called_shm_open(const char *name, int flags, mode_t mode);
int called_shm_open(const char *name, int flags, mode_t mode)
{
	if (struck("shm_open", "descriptors", true, HERE))
		return -1;
	return opened(shm_open(name, flags, mode), HERE);
}

static bool is_fifo(const char *path)
{
	struct stat s;

	return stat(path, &s) == 0 && S_ISFIFO(s.st_mode);
}

/* A named pipe waits for its other end, unless it need not. */
int called_open(const char *path, int flags, ...);
int called_open(const char *path, int flags, ...)
{
	bool waits = !(flags & O_NONBLOCK) && is_fifo(path);
	va_list more;
	int mode, fd;

	if (struck("open", waits ? "descriptors blocking" : "descriptors",
		   true, HERE))
		return -1;
	va_start(more, flags);
	mode = va_arg(more, int);
	va_end(more);
	WAITING("open", 0, HERE, fd, open(path, flags, mode));
	if (fd >= 0 && board->small_pipes && is_fifo(path)) {
		make_small(fd, false);
		hit(INJECT_SMALL_PIPES);
	}
	return opened(fd, HERE);
}

/* ---- others ------------------------------------------------------------- */

int called_dup(int fd);
int called_dup(int fd)
{
	if (struck("dup", "descriptors", true, HERE))
		return -1;
	return opened(dup(fd), HERE);
}

int called_eventfd(unsigned value, int flags);
int called_eventfd(unsigned value, int flags)
{
	if (struck("eventfd", "descriptors", true, HERE))
		return -1;
	return opened(eventfd(value, flags), HERE);
}

int called_epoll_create1(int flags);
int called_epoll_create1(int flags)
{
	if (struck("epoll_create1", "descriptors", true, HERE))
		return -1;
	return opened(epoll_create1(flags), HERE);
}

int called_signalfd(int fd, const sigset_t *mask, int flags);
int called_signalfd(int fd, const sigset_t *mask, int flags)
{
	if (struck("signalfd", "descriptors", fd == -1, HERE))
		return -1;
	return opened(signalfd(fd, mask, flags), HERE);
}

int called_timerfd_create(int clock, int flags);
int called_timerfd_create(int clock, int flags)
{
	if (struck("timerfd_create", "descriptors", true, HERE))
		return -1;
	return opened(timerfd_create(clock, flags), HERE);
}
