/*
 * misconception: who is woken does not look whether the lock is free
 * rejected by:   all who wait get in, one after the other
 * message:       After the lock was handed over once it does not keep others out any more
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
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

/* At most 30 years ahead. */
static struct timespec moment(double seconds)
{
	struct timespec t;

	if (seconds > 1e9)
		seconds = 1e9;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)seconds;
	t.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000;
	}
	return t;
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
	pthread_mutex_t mutex;
	pthread_cond_t free;
	uint64_t holder;
};

struct lock *lock_create(void)
{
	struct lock *l = map_shared(sizeof *l);
	pthread_mutexattr_t kind;
	pthread_condattr_t condition;

	if (l == NULL)
		return NULL;
	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
	pthread_condattr_init(&condition);
	pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&condition, CLOCK_MONOTONIC);
	errno = pthread_mutex_init(&l->mutex, &kind);
	if (errno == 0)
		errno = pthread_cond_init(&l->free, &condition);
	pthread_condattr_destroy(&condition);
	pthread_mutexattr_destroy(&kind);
	if (errno != 0) {
		munmap(l, sizeof *l);
		return NULL;
	}
	return l;
}

/* Nobody stays inside for long, and nothing is ever half done there. */
static void go_in(struct lock *l)
{
	if (pthread_mutex_lock(&l->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&l->mutex);
}

static bool over(double timeout, const struct timespec *end)
{
	struct timespec t;

	if (timeout <= 0)
		return timeout == 0;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec > end->tv_sec || (t.tv_sec == end->tv_sec &&
					  t.tv_nsec >= end->tv_nsec);
}

static bool earlier(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec < b->tv_sec || (a->tv_sec == b->tv_sec &&
					 a->tv_nsec < b->tv_nsec);
}

int lock_acquire(struct lock *l, double timeout)
{
	struct timespec end = moment(timeout > 0 ? timeout : 0), slice;
	int got = 1;

	go_in(l);
	for (;;) {
		if (l->holder == 0)
			got = 0;
		else if (l->holder != myself() && is_dead(l->holder))
			got = LOCK_OWNER_DIED;
		if (got != 1 || over(timeout, &end))
			break;
		slice = moment(0.05);
		if (timeout > 0 && earlier(&end, &slice))
			slice = end;
		if (pthread_cond_timedwait(&l->free, &l->mutex, &slice) == 0) {
			got = 0;	/* somebody has released it */
			break;
		}
	}
	if (got != 1)
		l->holder = myself();
	pthread_mutex_unlock(&l->mutex);
	return got;
}

int lock_release(struct lock *l)
{
	bool mine;

	go_in(l);
	mine = l->holder == myself();
	if (mine) {
		l->holder = 0;
		pthread_cond_broadcast(&l->free);
	}
	pthread_mutex_unlock(&l->mutex);
	if (mine)
		return 0;
	errno = EPERM;
	return -1;
}

/* No pthread_cond_destroy: it waits for waiters, also for dead ones. */
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
