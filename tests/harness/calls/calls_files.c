/* Locks on files, and room in them. */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int called_flock(int fd, int operation);
int called_flock(int fd, int operation)
{
	int r;

	if (struck("flock", "blocking", !(operation & (LOCK_NB | LOCK_UN)),
		   HERE))
		return -1;
	WAITING("flock", fd, HERE, r, flock(fd, operation));
	return r;
}

int called_lockf(int fd, int command, off_t n);
int called_lockf(int fd, int command, off_t n)
{
	int r;

	if (struck("lockf", "blocking", command == F_LOCK, HERE))
		return -1;
	WAITING("lockf", fd, HERE, r, lockf(fd, command, n));
	return r;
}

int called_fcntl(int fd, int command, ...);
int called_fcntl(int fd, int command, ...)
{
	bool waits = command == F_SETLKW || command == F_OFD_SETLKW;
	bool opens = command == F_DUPFD || command == F_DUPFD_CLOEXEC;
	va_list more;
	void *arg;
	int r;

	va_start(more, command);
	arg = va_arg(more, void *);
	va_end(more);
	if (opens ? struck("fcntl", "descriptors", true, HERE)
		  : struck("fcntl", "blocking", waits, HERE))
		return -1;
	if (!waits)
		return opens ? opened(fcntl(fd, command, arg), HERE)
			     : fcntl(fd, command, arg);
	WAITING("fcntl", fd, HERE, r, fcntl(fd, command, arg));
	return r;
}

/* Somebody wants a file to be so long, or had to hear that it cannot be. */
static void note_size(off_t size, bool refused)
{
	if (board->shm_size > 0 && (refused || size > board->shm_size))
		hit(INJECT_SMALL_SHM);
}

int called_ftruncate(int fd, off_t size);
int called_ftruncate(int fd, off_t size)
{
	if (struck("ftruncate", "space", true, HERE))
		return -1;
	note_size(size, false);
	return ftruncate(fd, size);
}

int called_fallocate(int fd, int mode, off_t from, off_t n);
int called_fallocate(int fd, int mode, off_t from, off_t n)
{
	int r;

	if (struck("fallocate", "posix_fallocate space", true, HERE))
		return -1;
	r = fallocate(fd, mode, from, n);
	note_size(0, r != 0 && errno == ENOSPC);
	return r;
}

/* Returns the error and leaves errno alone. */
int called_posix_fallocate(int fd, off_t from, off_t n);
int called_posix_fallocate(int fd, off_t from, off_t n)
{
	int before = errno, error = 0;

	if (struck("posix_fallocate", "space", true, HERE))
		error = errno;
	else
		error = posix_fallocate(fd, from, n);
	errno = before;
	note_size(0, error == ENOSPC);
	return error;
}

ssize_t called_pwrite(int fd, const void *buf, size_t n, off_t at);
ssize_t called_pwrite(int fd, const void *buf, size_t n, off_t at)
{
	ssize_t r;

	if (struck("pwrite", "space", true, HERE))
		return -1;
	r = pwrite(fd, buf, n, at);
	note_size(0, r < 0 && errno == ENOSPC);
	return r;
}
