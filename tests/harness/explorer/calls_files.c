/*
 * Descriptors: pipes, sockets, locks of files; and the mappings through which
 * memory is shared. A read or write that would wait is not begun. What goes
 * through a descriptor orders who wrote it before who reads it.
 */
#include "calls.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static const struct place nowhere;

static bool would_wait(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return !(fcntl(fd, F_GETFL) & O_NONBLOCK) && poll(&p, 1, 0) == 0;
}

/* Until the descriptor is ready; false when a signal came first. */
static bool ready(int fd, short events, const char *call, const void *pc)
{
	enum wake how = WOKEN;

	for (timers_are_due(); would_wait(fd, events); timers_are_due()) {
		if (how == INTERRUPTED)
			return errno = EINTR, false;
		how = wait_here(call, place_of_file(fd), next_timer(), pc);
	}
	return true;
}

static ssize_t done(int fd, const char *call, ssize_t r, const void *pc)
{
	int before = errno;

	note(CALLS, call, place_of_file(fd), pc)->value = (uint64_t)r;
	wake_all_waits();
	errno = before;
	return r;
}

#define READS(call, fd, pc, expression)	do {				\
	struct place place_ = place_of_file(fd);			\
	ssize_t r_;							\
									\
	point(place_, pc);						\
	if (!ready(fd, POLLIN, call, pc))				\
		return -1;						\
	r_ = (expression);						\
	acquire_from(place_);						\
	if (r_ == 0)							\
		acquire_from_dead();					\
	return done(fd, call, r_, pc);					\
} while (0)

ssize_t explored_read(int fd, void *buf, size_t n)
{
	if (!exploring())
		return read(fd, buf, n);
	READS("read", fd, HERE, read(fd, buf, n));
}

ssize_t explored_recv(int fd, void *buf, size_t n, int flags)
{
	if (!exploring() || (flags & MSG_DONTWAIT))
		return recv(fd, buf, n, flags);
	READS("recv", fd, HERE, recv(fd, buf, n, flags));
}

ssize_t explored_readv(int fd, const struct iovec *v, int n)
{
	if (!exploring())
		return readv(fd, v, n);
	READS("readv", fd, HERE, readv(fd, v, n));
}

ssize_t explored_recvmsg(int fd, struct msghdr *m, int flags)
{
	if (!exploring() || (flags & MSG_DONTWAIT))
		return recvmsg(fd, m, flags);
	READS("recvmsg", fd, HERE, recvmsg(fd, m, flags));
}

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
	struct place place = place_of_file(fd);
	size_t sent = 0;
	ssize_t r;

	point(place, pc);
	release_to(place);
	do {
		if (!ready(fd, POLLOUT, call, pc))
			return sent > 0 ? (ssize_t)sent : -1;
		r = is_send ? send(fd, buf + sent, n - sent,
				   flags | MSG_DONTWAIT)
			    : write(fd, buf + sent, piece(fd, n - sent));
		if (r < 0 && errno == EAGAIN && is_send) {
			wait_here(call, place, FOREVER, pc);
			continue;
		}
		if (r < 0)
			return sent > 0 ? (ssize_t)sent
					: done(fd, call, r, pc);
		sent += (size_t)r;
		done(fd, call, r, pc);
	} while (sent < n && !(fcntl(fd, F_GETFL) & O_NONBLOCK));
	return (ssize_t)sent;
}

ssize_t explored_write(int fd, const void *buf, size_t n)
{
	struct stat s;

	if (!exploring())
		return write(fd, buf, n);
	if (fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode) &&
	    !(fcntl(fd, F_GETFL) & O_NONBLOCK))
		return write_all(fd, buf, n, true, 0, "write", HERE);
	return write_all(fd, buf, n, false, 0, "write", HERE);
}

ssize_t explored_send(int fd, const void *buf, size_t n, int flags)
{
	if (!exploring() || (flags & MSG_DONTWAIT))
		return send(fd, buf, n, flags);
	return write_all(fd, buf, n, true, flags, "send", HERE);
}

ssize_t explored_writev(int fd, const struct iovec *v, int n)
{
	struct place place;

	if (!exploring())
		return writev(fd, v, n);
	place = place_of_file(fd);
	point(place, HERE);
	release_to(place);
	if (!ready(fd, POLLOUT, "writev", HERE))
		return -1;
	return done(fd, "writev", writev(fd, v, n), HERE);
}

ssize_t explored_sendmsg(int fd, const struct msghdr *m, int flags)
{
	struct place place;

	if (!exploring())
		return sendmsg(fd, m, flags);
	place = place_of_file(fd);
	point(place, HERE);
	release_to(place);
	if (!ready(fd, POLLOUT, "sendmsg", HERE))
		return -1;
	return done(fd, "sendmsg", sendmsg(fd, m, flags), HERE);
}

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

/* ---- streams: libc's own, on our read and write -------------------------------- */

enum { STREAMS = 32 };

static struct { FILE *stream; int fd; } streams[STREAMS];
static int n_streams;

static ssize_t stream_reads(void *fd, char *buf, size_t n)
{
	return explored_read((int)(intptr_t)fd, buf, n);
}

/* 0 is its word for an error. */
static ssize_t stream_writes(void *fd, const char *buf, size_t n)
{
	ssize_t r = explored_write((int)(intptr_t)fd, buf, n);

	return r < 0 ? 0 : r;
}

static int stream_closes(void *fd)
{
	for (int i = 0; i < n_streams; i++)
		if (streams[i].fd == (int)(intptr_t)fd)
			streams[i] = streams[--n_streams];
	return explored_close((int)(intptr_t)fd);
}

FILE *explored_fdopen(int fd, const char *mode)
{
	cookie_io_functions_t ours = { .read = stream_reads,
		.write = stream_writes, .close = stream_closes };
	FILE *f;

	if (!exploring())
		return fdopen(fd, mode);
	if (n_streams == STREAMS)
		end_schedule(FOUND_BLIND);
	f = fopencookie((void *)(intptr_t)fd, mode, ours);
	if (f == NULL)
		return NULL;
	streams[n_streams].stream = f;
	streams[n_streams++].fd = fd;
	return f;
}

int explored_fileno(FILE *f)
{
	for (int i = 0; i < n_streams; i++)
		if (streams[i].stream == f)
			return streams[i].fd;
	return fileno(f);
}

/* ---- locks of files -------------------------------------------------------------------- */

int explored_flock(int fd, int operation)
{
	struct place place;
	int r;

	if (!exploring())
		return flock(fd, operation);
	place = place_of_file(fd);
	point(place, HERE);
	while ((r = flock(fd, operation | LOCK_NB)) != 0 &&
	       errno == EWOULDBLOCK && !(operation & LOCK_NB))
		wait_here("flock", place, FOREVER, HERE);
	if (r != 0)
		return r;
	if (operation & LOCK_UN) {
		release_to(place);
		lock_is_free(place);
		note(UNLOCKS, "flock", place, HERE);
		wake_all_waits();
	} else {
		acquire_from(place);
		note(LOCKS, "flock", place, HERE);
		lock_is_held(place);
	}
	return 0;
}

static int lock_file(int fd, int command, int try, struct flock *lock,
		     const void *pc)
{
	struct place place = place_of_file(fd);
	int r;

	point(place, pc);
	while ((r = fcntl(fd, try, lock)) != 0 && try != command &&
	       (errno == EAGAIN || errno == EACCES))
		wait_here("fcntl", place, FOREVER, pc);
	if (r != 0)
		return r;
	if (lock->l_type == F_UNLCK) {
		release_to(place);
		lock_is_free(place);
		note(UNLOCKS, "fcntl", place, pc);
		wake_all_waits();
	} else {
		acquire_from(place);
		note(LOCKS, "fcntl", place, pc);
		lock_is_held(place);
	}
	return 0;
}

int explored_fcntl(int fd, int command, ...)
{
	va_list more;
	void *arg;

	va_start(more, command);
	arg = va_arg(more, void *);
	va_end(more);
	if (!exploring())
		return fcntl(fd, command, arg);
	switch (command) {
	case F_SETLKW:
		return lock_file(fd, command, F_SETLK, arg, HERE);
	case F_OFD_SETLKW:
		return lock_file(fd, command, F_OFD_SETLK, arg, HERE);
	case F_SETLK:
	case F_OFD_SETLK:
		return lock_file(fd, command, command, arg, HERE);
	default:
		return fcntl(fd, command, arg);
	}
}

int explored_lockf(int fd, int command, off_t size)
{
	struct place place;
	int r;

	if (!exploring())
		return lockf(fd, command, size);
	place = place_of_file(fd);
	point(place, HERE);
	while ((r = lockf(fd, command == F_LOCK ? F_TLOCK : command, size)) !=
	       0 && command == F_LOCK && (errno == EAGAIN || errno == EACCES))
		wait_here("lockf", place, FOREVER, HERE);
	if (r == 0 && command == F_ULOCK) {
		release_to(place);
		lock_is_free(place);
		note(UNLOCKS, "lockf", place, HERE);
		wake_all_waits();
	} else if (r == 0 && command != F_TEST) {
		acquire_from(place);
		note(LOCKS, "lockf", place, HERE);
		lock_is_held(place);
	}
	return r;
}

/* ---- System V semaphores ----------------------------------------------------------------- */

int explored_semget(key_t key, int n, int flags)
{
	int id = semget(key, n, flags);

	if (exploring() && id >= 0 && arena->n_sysv < 16)
		arena->sysv[arena->n_sysv++] = id;
	return id;
}

static int change_semaphores(int id, struct sembuf *ops, size_t n,
			     int64_t deadline, const char *call,
			     const void *pc)
{
	struct place place = { UINT32_MAX - 1, (uint64_t)id };
	struct sembuf once[8];
	enum wake how = WOKEN;
	bool gives = false;

	point(place, pc);
	if (n > 8)
		end_schedule(FOUND_BLIND);
	memcpy(once, ops, n * sizeof *ops);
	for (size_t i = 0; i < n; i++) {
		gives |= ops[i].sem_op > 0;
		once[i].sem_flg |= IPC_NOWAIT;
	}
	if (gives) {
		release_to(place);
		lock_is_free(place);
	}
	while (semop(id, once, n) != 0) {
		if (errno != EAGAIN || deadline <= arena->now ||
		    (ops[0].sem_flg & IPC_NOWAIT))
			return -1;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		how = wait_here(call, place, deadline, pc);
	}
	acquire_from(place);
	note(gives ? UNLOCKS : LOCKS, call, place, pc);
	if (!gives)
		lock_is_held(place);
	wake_all_waits();
	return 0;
}

int explored_semop(int id, struct sembuf *ops, size_t n)
{
	if (!exploring())
		return semop(id, ops, n);
	return change_semaphores(id, ops, n, FOREVER, "semop", HERE);
}

int explored_semtimedop(int id, struct sembuf *ops, size_t n,
			const struct timespec *t)
{
	if (!exploring())
		return semtimedop(id, ops, n, t);
	return change_semaphores(id, ops, n, t == NULL ? FOREVER :
		arena->now + t->tv_sec * 1000000000ll + t->tv_nsec,
		"semtimedop", HERE);
}

/* ---- shared memory ----------------------------------------------------------------------------- */

void *explored_mmap(void *at, size_t n, int prot, int flags, int fd,
		    off_t from)
{
	void *p = mmap(at, n, prot, flags, fd, from);

	if (exploring() && p != MAP_FAILED &&
	    ((flags & MAP_TYPE) == MAP_SHARED ||
	     (flags & MAP_TYPE) == MAP_SHARED_VALIDATE))
		map_added(p, n, flags & MAP_ANONYMOUS ? -1 : fd, from);
	return p;
}

int explored_munmap(void *at, size_t n)
{
	if (exploring()) {
		settle_write();
		map_removed(at, n);
	}
	return munmap(at, n);
}

static void name_made(const char *prefix, const char *name)
{
	while (*name == '/')
		name++;
	if (exploring() && arena->n_names < 16)
		snprintf(arena->names[arena->n_names++], NAME, "%s%s", prefix,
			 name);
}

int explored_shm_open(const char *name, int flags, mode_t mode)
{
	int fd;

	if (exploring())
		point(nowhere, HERE);
	fd = shm_open(name, flags, mode);
	if (fd >= 0 && (flags & O_CREAT))
		name_made("", name);
	return fd;
}

int explored_shm_unlink(const char *name)
{
	if (exploring())
		point(nowhere, HERE);
	return shm_unlink(name);
}

sem_t *explored_sem_open(const char *name, int flags, ...)
{
	char path[64];
	unsigned value;
	va_list more;
	sem_t *s;
	int mode, fd;

	va_start(more, flags);
	mode = va_arg(more, int);
	value = va_arg(more, unsigned);
	va_end(more);
	if (exploring())
		point(nowhere, HERE);
	s = sem_open(name, flags, mode, value);
	if (!exploring() || s == SEM_FAILED)
		return s;
	name_made("sem.", name);
	snprintf(path, sizeof path, "/dev/shm/sem.%s",
		 name + strspn(name, "/"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map_added(s, sizeof *s, fd, 0);
	if (fd >= 0)
		close(fd);
	sync_at(place_of(s))->kind = "semaphore";
	sync_at(place_of(s))->shared = true;
	return s;
}

int explored_sem_unlink(const char *name)
{
	if (exploring())
		point(nowhere, HERE);
	return sem_unlink(name);
}
