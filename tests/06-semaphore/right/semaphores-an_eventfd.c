/* style: a descriptor that counts; a thread for each worker waits for its end */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct timespec deadline(double timeout)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (timeout > 1e9)
		timeout = 1e9;
	t.tv_sec += (time_t)timeout;
	t.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* The descriptor counts for those who wait, the number for those who look. */
struct semaphore {
	int fd, bound;
	atomic_int places;	/* never above what fd has, or will have */
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	int error;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->fd = eventfd((unsigned)initial, EFD_SEMAPHORE | EFD_CLOEXEC |
			EFD_NONBLOCK);
	if (s->fd < 0) {
		error = errno;
		munmap(s, sizeof *s);
		errno = error;
		return NULL;
	}
	s->places = initial;
	s->bound = bounded ? initial : INT_MAX;
	return s;
}

/* Until somebody may have written; false when the time is over. */
static bool wait_for_more(struct semaphore *s, double timeout,
			  const struct timespec *until)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };
	struct timespec now, left = { 0 };

	if (timeout < 0)
		return ppoll(&p, 1, NULL, NULL) != 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	left.tv_sec = until->tv_sec - now.tv_sec;
	left.tv_nsec = until->tv_nsec - now.tv_nsec;
	if (left.tv_nsec < 0) {
		left.tv_nsec += 1000000000;
		left.tv_sec--;
	}
	if (left.tv_sec < 0)
		return false;
	return ppoll(&p, 1, &left, NULL) != 0;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	uint64_t one;

	for (;;) {
		if (read(s->fd, &one, sizeof one) == sizeof one) {
			s->places--;
			return 0;
		}
		if (errno != EAGAIN && errno != EINTR)
			return -1;
		if (errno == EAGAIN &&
		    (timeout == 0 || !wait_for_more(s, timeout, &until)))
			return 1;
	}
}

int semaphore_release(struct semaphore *s)
{
	int places = s->places;
	uint64_t one = 1;

	do
		if (places >= s->bound) {
			errno = EOVERFLOW;
			return -1;
		}
	while (!atomic_compare_exchange_weak(&s->places, &places, places + 1));
	while (write(s->fd, &one, sizeof one) < 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	int places = s->places;

	return places > 0 ? places : 0;
}

void semaphore_destroy(struct semaphore *s)
{
	close(s->fd);
	munmap(s, sizeof *s);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	result = room(worker, arg);
	semaphore_release(s);
	return result;
}

/* What the workers of one run share. */
struct run {
	atomic_int inside, most;
	struct worker {
		_Atomic enum { OUTSIDE, INSIDE, FAILED, DONE } state;
		pid_t pid;
	} workers[];
};

static void note_most(struct run *r)
{
	int now = atomic_fetch_add(&r->inside, 1) + 1, most = r->most;

	while (now > most &&
	       !atomic_compare_exchange_weak(&r->most, &most, now))
		;
}

static _Noreturn void work(struct semaphore *s, struct run *r, int number,
			   int (*room)(int worker, void *arg), void *arg)
{
	struct worker *w = &r->workers[number];
	int result;

	if (semaphore_acquire(s, -1) != 0)
		_exit(1);
	note_most(r);
	w->state = INSIDE;
	result = room(number, arg);
	w->state = result == 0 ? DONE : FAILED;
	atomic_fetch_sub(&r->inside, 1);
	semaphore_release(s);
	_exit(0);
}

/* A worker has ended: 0, or what is to be told of it. */
static int look_after(struct semaphore *s, struct run *r, int number)
{
	switch (r->workers[number].state) {
	case DONE:
		return 0;
	case FAILED:
		return ECANCELED;
	case INSIDE:
		atomic_fetch_sub(&r->inside, 1);
		semaphore_release(s);
		return EOWNERDEAD;
	default:
		return EOWNERDEAD;
	}
}

/* A thread for each worker waits for its end. */
struct watch {
	struct semaphore *s;
	struct run *r;
	int number, result;
	pthread_t thread;
};

static void *watch(void *arg)
{
	struct watch *w = arg;

	while (waitpid(w->r->workers[w->number].pid, NULL, 0) < 0 &&
	       errno == EINTR)
		;
	w->result = look_after(w->s, w->r, w->number);
	return NULL;
}

/* All are forked before there is a second thread. */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	struct watch *w = calloc((size_t)workers, sizeof *w);
	int error = 0, started, watched;

	if (w == NULL)
		return ENOMEM;
	for (started = 0; started < workers; started++) {
		pid_t pid = fork();

		if (pid == 0)
			work(s, r, started, room, arg);
		if (pid < 0) {
			error = errno;
			break;
		}
		r->workers[started].pid = pid;
	}
	for (watched = 0; watched < started; watched++) {
		struct watch *one = &w[watched];

		*one = (struct watch){ .s = s, .r = r, .number = watched };
		if (pthread_create(&one->thread, NULL, watch, one) != 0)
			break;
	}
	for (int i = watched; i < started; i++) {
		w[i] = (struct watch){ .s = s, .r = r, .number = i };
		watch(&w[i]);
	}
	for (int i = 0; i < watched; i++)
		pthread_join(w[i].thread, NULL);
	for (int i = 0; i < started; i++)
		error = error == 0 ? w[i].result : error;
	free(w);
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	error = run_all(s, r, workers, room, arg);
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
