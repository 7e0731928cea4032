/*
 * misconception: each release rings, and nobody ever takes the rings away
 * rejected by:   a lock works for as long as it is used
 * message:       A number that only ever grows comes to its end, or something fills up
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Who we are: our number, and when we began, for numbers come again. */
static uint64_t began(int pid, char *state)
{
	unsigned long long start = 0;
	char path[40], text[512], *at;
	ssize_t n;
	int fd;

	*state = 'X';
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		*state = errno == ENOENT || errno == ESRCH ? 'X' : '?';
		return 0;
	}
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	at = strrchr(text, ')');
	if (at != NULL)
		sscanf(at + 2, "%c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u "
		       "%*u %*d %*d %*d %*d %*d %*d %llu", state, &start);
	return start;
}

static uint64_t myself(void)
{
	static uint64_t me;
	char state;
	int pid = getpid();

	if ((int)(me >> 32) != pid)
		me = (uint64_t)pid << 32 | (uint32_t)began(pid, &state);
	return me;
}

static bool is_dead(uint64_t who)
{
	char state;
	uint32_t start = (uint32_t)began((int)(who >> 32), &state);

	return state == 'X' || state == 'Z' ||
	       (state != '?' && start != (uint32_t)who);
}

struct lock {
	_Atomic uint64_t holder;
	_Atomic int waiting;
	int bell[2];
};

/* Without waiting: 0, LOCK_OWNER_DIED, or 1. */
static int try(struct lock *l)
{
	uint64_t holder = 0, me = myself();

	if (atomic_compare_exchange_strong(&l->holder, &holder, me))
		return 0;
	if (holder != me && is_dead(holder) &&
	    atomic_compare_exchange_strong(&l->holder, &holder, me))
		return LOCK_OWNER_DIED;
	return 1;
}

/* Until somebody rings, or 20 ms at most. */
static void wait_for_bell(struct lock *l, double left)
{
	struct pollfd bell = { .fd = l->bell[0], .events = POLLIN };
	char buffer[8];

	l->waiting++;
	if (poll(&bell, 1, left < 0.02 ? (int)(left * 1e3) + 1 : 20) > 0 &&
	    read(bell.fd, buffer, 1) < 0 && errno != EAGAIN)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	l->waiting--;
}

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	int error;

	if (l != NULL && pipe2(l->bell, O_CLOEXEC) != 0) {
		error = errno;
		munmap(l, sizeof *l);
		errno = error;
		return NULL;
	}
	return l;
}

int lock_acquire(struct lock *l, double timeout)
{
	double left, end = seconds_now() + timeout;
	int got;

	for (;;) {
		got = try(l);
		left = timeout < 0 ? 1 : end - seconds_now();
		if (got != 1 || timeout == 0 || left <= 0)
			return got;
		wait_for_bell(l, left);
	}
}

int lock_release(struct lock *l)
{
	uint64_t me = myself();

	if (!atomic_compare_exchange_strong(&l->holder, &me, 0)) {
		errno = EPERM;
		return -1;
	}
	if (write(l->bell[1], "", 1) < 0)
		errno = 0;
	return 0;
}

void lock_destroy(struct lock *l)
{
	close(l->bell[0]);
	close(l->bell[1]);
	munmap(l, sizeof *l);
}

struct value {
	struct lock *lock;
	long number;
};

struct value *value_create(long initial)
{
	struct value *v = map_shared(sizeof *v);
	int error;

	if (v == NULL)
		return NULL;
	v->number = initial;
	v->lock = lock_create();
	if (v->lock == NULL) {
		error = errno;
		munmap(v, sizeof *v);
		errno = error;
		return NULL;
	}
	return v;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	long copy;
	int refused;

	if (lock_acquire(v->lock, -1) < 0)
		return -1;
	copy = v->number;
	refused = fn != NULL && fn(&copy, arg) != 0;
	if (!refused)
		v->number = copy;
	if (now != NULL)
		*now = v->number;
	lock_release(v->lock);
	if (!refused)
		return 0;
	errno = ECANCELED;
	return -1;
}

void value_destroy(struct value *v)
{
	lock_destroy(v->lock);
	munmap(v, sizeof *v);
}

static int add_one(long *v, void *arg)
{
	(void)arg;
	++*v;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	while (increments-- > 0)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
