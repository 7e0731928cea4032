/*
 * Locks that belong to the kernel: of files (flock, fcntl, lockf), and the
 * semaphores of System V. Each is tried, like those in memory.
 */
#include "calls.h"

#include <errno.h>
#include <stdarg.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/file.h>
#include <sys/sem.h>
#include <unistd.h>

/* ---- of files ---------------------------------------------------------- */

static void lock_has_changed(struct place place, bool is_free,
			     const char *call, const void *pc)
{
	if (is_free) {
		release_to(place);
		lock_is_free(place);
		note(UNLOCKS, call, place, pc);
		wake_all_waits();
	} else {
		acquire_from(place);
		note(LOCKS, call, place, pc);
		lock_is_held(place);
	}
}

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
	if (r == 0)
		lock_has_changed(place, operation & LOCK_UN, "flock", HERE);
	return r;
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
	if (r == 0)
		lock_has_changed(place, lock->l_type == F_UNLCK, "fcntl", pc);
	return r;
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
	if (r == 0 && command != F_TEST)
		lock_has_changed(place, command == F_ULOCK, "lockf", HERE);
	return r;
}

/* ---- semaphores of System V -------------------------------------------- */

int explored_semget(key_t key, int n, int flags)
{
	int id = semget(key, n, flags);

	if (exploring() && id >= 0 && arena->n_sysv < 16)
		arena->sysv[arena->n_sysv++] = id;
	return id;
}

/* Who waits there is told of a new value, and of the end. */
int explored_semctl(int id, int n, int command, ...)
{
	struct place place = { UINT32_MAX - 1, (uint64_t)id };
	bool changes = command == SETVAL || command == SETALL ||
		       command == IPC_RMID;
	void *argument = NULL;
	va_list rest;
	int r;

	if (command != IPC_RMID) {
		va_start(rest, command);
		argument = va_arg(rest, void *);
		va_end(rest);
	}
	if (!exploring() || !changes)
		return semctl(id, n, command, argument);
	point(place, HERE);
	release_to(place);
	r = semctl(id, n, command, argument);
	note(WAKES, "semctl", place, HERE);
	wake_all_waits();
	return r;
}

/* Of several changes the first that cannot be made decides. */
static bool must_not_wait(int id, const struct sembuf *ops, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int value = semctl(id, ops[i].sem_num, GETVAL);

		if (ops[i].sem_op < 0 ? value < -ops[i].sem_op
				      : ops[i].sem_op == 0 && value != 0)
			return ops[i].sem_flg & IPC_NOWAIT;
	}
	return false;
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
		if (errno != EAGAIN)
			return -1;
		if (deadline <= arena->now || must_not_wait(id, ops, n))
			return errno = EAGAIN, -1;
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
	return change_semaphores(id, ops, n, deadline_after(t), "semtimedop",
				 HERE);
}
