/*
 * misconception: L05-14 who waits watches the holder that it has seen, and not the one after that
 * rejected by:   a holder that dies keeps nobody out, wherever it dies
 * message:       Somebody died while holding the lock
 */
/*
 * One word says who holds the lock: process id and time of birth, so that a
 * new process with the old number is not taken for the holder. Who waits does
 * so with poll, for the end of the holder that it has seen (pidfd) or for an
 * eventfd that a release raises; who gets the lock takes the token away.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BIRTH_BITS = 40 };

struct lock {
	_Atomic uint64_t holder;
	int bell;			/* the same number in all of us */
};

struct value {
	struct lock lock;
	_Atomic long number;
};

/* The 22nd word of /proc/PID/stat, or 0. */
static uint64_t birth(pid_t pid)
{
	char name[64], text[1024], *p;
	unsigned long long born = 0;
	ssize_t n;
	int fd;

	snprintf(name, sizeof name, "/proc/%ld/stat", (long)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	p = strrchr(text, ')');
	if (p == NULL)
		return 0;
	p += 2;
	for (int field = 3; field < 22; field++) {
		p = strchr(p, ' ');
		if (p == NULL)
			return 0;
		p++;
	}
	born = strtoull(p, NULL, 10);
	return born & ((UINT64_C(1) << BIRTH_BITS) - 1);
}

static uint64_t myself(void)
{
	static uint64_t me;
	pid_t pid = getpid();

	if (me >> BIRTH_BITS != (uint64_t)pid) {
		uint64_t born = birth(pid);

		me = born == 0 ? 0 : (uint64_t)pid << BIRTH_BITS | born;
	}
	return me;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void got_it(struct lock *l)
{
	uint64_t token;

	while (read(l->bell, &token, sizeof token) < 0 && errno == EINTR)
		;
}

static int alive_and_watched(uint64_t who, int *watch)
{
	pid_t pid = (pid_t)(who >> BIRTH_BITS);

	*watch = (int)syscall(SYS_pidfd_open, pid, 0);
	if (*watch < 0)
		return errno != ESRCH;
	if ((uint64_t)pid << BIRTH_BITS == (who ^ birth(pid)))
		return 1;
	close(*watch);
	*watch = -1;
	return 0;
}

/* How long poll may take; 0 when there is no time left. */
static void doze(struct lock *l, int watch, double left, int limited,
		 int *dead)
{
	struct pollfd f[2] = {
		{ .fd = l->bell, .events = POLLIN },
		{ .fd = watch, .events = POLLIN },
	};
	struct timespec t = { 0 };

	if (left > 1e9)
		left = 1e9;
	t.tv_sec = (time_t)left;
	t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
	*dead = 0;
	if (ppoll(f, 2, limited ? &t : NULL, NULL) > 0)
		*dead = (f[1].revents & (POLLIN | POLLHUP)) != 0;
}

int lock_acquire(struct lock *l, double timeout)
{
	uint64_t me = myself(), who;
	double end = timeout > 0 ? seconds_now() + timeout : 0, left = 0;
	int watch, dead;

	if (me == 0) {
		errno = EAGAIN;
		return -1;
	}
	for (;;) {
		who = 0;
		if (atomic_compare_exchange_strong(&l->holder, &who, me)) {
			got_it(l);
			return 0;
		}
		dead = 0;
		watch = -1;
		if (who != me)
			dead = !alive_and_watched(who, &watch);
		if (!dead && watch >= 0) {
			struct pollfd f = { .fd = watch, .events = POLLIN };

			dead = poll(&f, 1, 0) > 0;
		}
		if (timeout > 0)
			left = end - seconds_now();
		if (!dead && timeout != 0 && (timeout < 0 || left > 0)) {
			doze(l, watch, left, timeout > 0, &dead);
			left = 1;
		} else if (!dead) {
			if (watch >= 0)
				close(watch);
			return 1;
		}
		if (watch >= 0)
			close(watch);
		if (dead && atomic_compare_exchange_strong(&l->holder, &who, me)) {
			got_it(l);
			return LOCK_OWNER_DIED;
		}
	}
}

int lock_release(struct lock *l)
{
	const uint64_t token = 1;
	uint64_t me = myself();

	if (me == 0 || atomic_load(&l->holder) != me) {
		errno = EPERM;
		return -1;
	}
	atomic_store(&l->holder, 0);
	while (write(l->bell, &token, sizeof token) < 0 && errno == EINTR)
		;
	return 0;
}

static void *set_up(size_t size)
{
	struct lock *l = mmap(NULL, size, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int error;

	if (l == MAP_FAILED)
		return NULL;
	l->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (l->bell < 0) {
		error = errno;
		munmap(l, size);
		errno = error;
		return NULL;
	}
	return l;
}

struct lock *lock_create(void)
{
	return set_up(sizeof(struct lock));
}

void lock_destroy(struct lock *l)
{
	close(l->bell);
	munmap(l, sizeof *l);
}

struct value *value_create(long initial)
{
	struct value *v = set_up(sizeof *v);

	if (v != NULL)
		atomic_init(&v->number, initial);
	return v;
}

void value_destroy(struct value *v)
{
	close(v->lock.bell);
	munmap(v, sizeof *v);
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	int well = 1;
	long n;

	if (lock_acquire(&v->lock, -1) < 0)
		return -1;
	n = v->number;
	if (fn != NULL) {
		well = fn(&n, arg) == 0;
		if (well)
			v->number = n;
	}
	if (now != NULL)
		*now = v->number;
	if (lock_release(&v->lock) < 0)
		return -1;
	if (!well)
		errno = ECANCELED;
	return well ? 0 : -1;
}

static int up(long *n, void *arg)
{
	(void)arg;
	*n += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	for (long i = 0; i != increments; i++)
		if (value_update(v, up, NULL, NULL) != 0)
			return -1;
	return 0;
}
