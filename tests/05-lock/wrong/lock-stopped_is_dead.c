/*
 * misconception: a holder that is stopped is taken for dead
 * rejected by:   a holder that is stopped is not dead
 * message:       A holder that is stopped, or slow, is not dead
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct lock {
	_Atomic uint64_t owner;		/* 0: free */
	_Atomic uint32_t bell;		/* counts releases */
};

/*
 * A process is known by its pid and by when it started, both in one word:
 * pids are used again.
 */
static bool stopped;

static int born(pid_t pid, uint32_t *when)
{
	char path[40], text[1024], *p;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	do
		n = read(fd, text, sizeof text - 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n <= 0)
		return -1;
	text[n] = '\0';
	p = strrchr(text, ')');
	stopped = p != NULL && p[2] == 'T';
	for (int field = 2; p != NULL && field < 22; field++)
		p = strchr(p + 1, ' ');
	if (p == NULL) {
		errno = EIO;
		return -1;
	}
	*when = (uint32_t)strtoull(p + 1, NULL, 10);
	return 0;
}

/* Our own word; 0 when it cannot be found out. */
static uint64_t myself(void)
{
	static uint64_t me;
	static pid_t whose;
	uint32_t when;

	if (whose != getpid()) {
		if (born(getpid(), &when) != 0)
			return 0;
		me = (uint64_t)when << 32 | (uint32_t)getpid();
		whose = getpid();
	}
	return me;
}

static bool is_dead(uint64_t who)
{
	pid_t pid = (pid_t)(uint32_t)who;
	struct pollfd p = { .events = POLLIN };
	uint32_t when = 0;
	bool dead;

	p.fd = pidfd_open(pid, 0);
	if (p.fd < 0)
		return errno == ESRCH;
	dead = born(pid, &when) == 0 && (stopped || when != (uint32_t)(who >> 32));
	if (poll(&p, 1, 0) > 0)
		dead = true;
	close(p.fd);
	return dead;
}

static int64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* When the time is up: INT64_MAX stands for never. */
static int64_t time_limit(double timeout)
{
	if (timeout < 0 || timeout > 1e9)
		return INT64_MAX;
	return clock_ns() + (int64_t)(timeout * 1e9);
}

struct lock *lock_create(void)
{
	struct lock *l = mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return l == MAP_FAILED ? NULL : l;
}

/* Try once; look after a dead owner only if told to. */
static int try_once(struct lock *l, uint64_t me, bool look)
{
	uint64_t was = 0;

	if (atomic_compare_exchange_strong(&l->owner, &was, me))
		return 0;
	if (!look || was == me || !is_dead(was))
		return 1;
	if (atomic_compare_exchange_strong(&l->owner, &was, me))
		return LOCK_OWNER_DIED;
	return 1;
}

int lock_acquire(struct lock *l, double timeout)
{
	const int64_t slice = 5000000;
	int64_t limit = time_limit(timeout), left;
	uint64_t me = myself();
	bool look = true;
	struct timespec t;
	uint32_t bell;
	long r;

	if (me == 0)
		return -1;
	for (;;) {
		bell = atomic_load(&l->bell);
		switch (try_once(l, me, look)) {
		case 0:
			return 0;
		case LOCK_OWNER_DIED:
			return LOCK_OWNER_DIED;
		}
		if (timeout == 0)
			return 1;
		left = limit == INT64_MAX ? slice : limit - clock_ns();
		if (left <= 0)
			return 1;
		if (left > slice)
			left = slice;
		t = (struct timespec){ .tv_nsec = left };
		r = syscall(SYS_futex, &l->bell, FUTEX_WAIT, bell, &t, NULL, 0);
		look = r < 0 && errno == ETIMEDOUT;
	}
}

int lock_release(struct lock *l)
{
	uint64_t me = myself();

	if (me == 0 || atomic_load(&l->owner) != me) {
		errno = EPERM;
		return -1;
	}
	atomic_store(&l->owner, 0);
	atomic_fetch_add(&l->bell, 1);
	syscall(SYS_futex, &l->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
	return 0;
}

void lock_destroy(struct lock *l)
{
	munmap(l, sizeof *l);
}

struct value {
    struct lock *lock;
    long number;
};

struct value *value_create(long initial)
{
    struct value *v;
    int saved;

    v = mmap(NULL, sizeof(struct value), PROT_READ | PROT_WRITE,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (v == MAP_FAILED)
        return NULL;
    v->number = initial;
    v->lock = lock_create();
    if (!v->lock)
        goto fail;
    return v;
fail:
    saved = errno;
    munmap(v, sizeof(struct value));
    errno = saved;
    return NULL;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
                 long *now)
{
    int result = 0;
    long number;

    if (lock_acquire(v->lock, -1.0) == -1)
        return -1;
    number = v->number;
    if (fn && fn(&number, arg) != 0) {
        number = v->number;
        result = ECANCELED;
    }
    v->number = number;
    if (now)
        *now = number;
    if (lock_release(v->lock) == -1)
        return -1;
    if (result) {
        errno = result;
        return -1;
    }
    return 0;
}

void value_destroy(struct value *v)
{
    lock_destroy(v->lock);
    munmap(v, sizeof(struct value));
}

static int add_one(long *number, void *unused)
{
	(void)unused;
	*number += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	for (long i = 0; i < increments; i++)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
