/*
 * misconception: the system gives back what a process has taken when it ends, and a
 *                semaphore has no owner
 * rejected by:   what one process takes is missing for all
 * message:       Nobody owns a place
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
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

/*
 * System V semaphores outlive those who made them. So a guard, a process that
 * waits until nobody holds the other end of its pipe any more, removes them.
 */
struct semaphore {
	int id, lifeline;
	pid_t guard;
	bool bounded;
};

enum { FREE, TAKEN, NUMBERS };

static _Noreturn void guard_it(int id, int lifeline)
{
	char byte;

	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	while (read(lifeline, &byte, 1) < 0 && errno == EINTR)
		;
	semctl(id, 0, IPC_RMID);
	_exit(0);
}

static int change(int id, struct sembuf *ops, size_t n,
		  const struct timespec *limit)
{
	return semtimedop(id, ops, n, limit);
}

static int start_guard(struct semaphore *s)
{
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return -1;
	s->guard = fork();
	if (s->guard == 0) {
		close(ends[1]);
		guard_it(s->id, ends[0]);
	}
	error = errno;
	close(ends[0]);
	if (s->guard < 0)
		close(ends[1]);
	s->lifeline = ends[1];
	errno = error;
	return s->guard < 0 ? -1 : 0;
}

static int start_numbers(struct semaphore *s, int initial)
{
	struct sembuf fill = { .sem_num = FREE, .sem_op = (short)initial };
	int error;

	s->id = semget(IPC_PRIVATE, NUMBERS, 0600);
	if (s->id < 0)
		return -1;
	do
		error = initial > 0 && semop(s->id, &fill, 1) != 0;
	while (error && errno == EINTR);
	if (!error && start_guard(s) == 0)
		return 0;
	error = errno;
	semctl(s->id, 0, IPC_RMID);
	errno = error;
	return -1;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int error;

	if (initial < 0 || initial > 32767)
		return errno = EINVAL, NULL;
	s = malloc(sizeof *s);
	if (s == NULL)
		return NULL;
	s->bounded = bounded;
	if (start_numbers(s, initial) == 0)
		return s;
	error = errno;
	free(s);
	errno = error;
	return NULL;
}

/* Both numbers change at once, or none. */
int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct sembuf ops[] = { { FREE, -1, SEM_UNDO },
				{ TAKEN, 1, SEM_UNDO } };
	struct timespec until = deadline(timeout > 0 ? timeout : 0), now, left;

	if (timeout == 0)
		ops[0].sem_flg |= IPC_NOWAIT;
	for (;;) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		left.tv_sec = until.tv_sec - now.tv_sec;
		left.tv_nsec = until.tv_nsec - now.tv_nsec;
		if (left.tv_nsec < 0) {
			left.tv_nsec += 1000000000;
			left.tv_sec--;
		}
		if (left.tv_sec < 0)
			left = (struct timespec){ 0 };
		if (change(s->id, ops, s->bounded ? 2 : 1,
			   timeout > 0 ? &left : NULL) == 0)
			return 0;
		if (errno == EAGAIN)
			return 1;
		if (errno != EINTR)
			return -1;
	}
}

int semaphore_release(struct semaphore *s)
{
	struct sembuf ops[] = { { FREE, 1, IPC_NOWAIT | SEM_UNDO },
				{ TAKEN, -1, IPC_NOWAIT | SEM_UNDO } };

	while (change(s->id, ops, s->bounded ? 2 : 1, NULL) != 0) {
		if (errno == EAGAIN)
			errno = EOVERFLOW;
		if (errno != EINTR)
			return -1;
	}
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return semctl(s->id, FREE, GETVAL);
}

void semaphore_destroy(struct semaphore *s)
{
	close(s->lifeline);
	semctl(s->id, 0, IPC_RMID);
	kill(s->guard, SIGKILL);
	while (waitpid(s->guard, NULL, 0) < 0 && errno == EINTR)
		;
	free(s);
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

static int collect_workers(struct semaphore *s, struct run *r,
			   struct pollfd *fds, pid_t *pids, int n)
{
	int error = 0, what;

	for (int left = n; left > 0;) {
		if (poll(fds, (nfds_t)n, -1) < 0)
			continue;
		for (int i = 0; i < n; i++) {
			if (fds[i].fd < 0 || fds[i].revents == 0)
				continue;
			while (waitpid(pids[i], NULL, 0) < 0 && errno == EINTR)
				;
			close(fds[i].fd);
			fds[i].fd = -1;
			left--;
			what = look_after(s, r, i);
			error = what != 0 ? what : error;
		}
	}
	return error;
}

static int start(struct semaphore *s, struct run *r, int workers,
		 int (*room)(int worker, void *arg), void *arg,
		 struct pollfd *fds, pid_t *pids, int *error)
{
	for (int i = 0; i < workers; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			work(s, r, i, room, arg);
		if (pids[i] < 0) {
			*error = errno;
			return i;
		}
		fds[i].fd = (int)syscall(SYS_pidfd_open, pids[i], 0);
		fds[i].events = POLLIN;
		if (fds[i].fd < 0) {
			*error = errno;
			kill(pids[i], SIGKILL);
			waitpid(pids[i], NULL, 0);
			look_after(s, r, i);
			return i;
		}
	}
	return workers;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *r;
	struct pollfd *fds;
	pid_t *pids;
	int error = 0, started, what;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct worker);
	r = map_shared(size);
	if (r == NULL)
		return -1;
	fds = calloc((size_t)workers, sizeof *fds);
	pids = calloc((size_t)workers, sizeof *pids);
	if (fds == NULL || pids == NULL) {
		error = ENOMEM;
	} else {
		started = start(s, r, workers, room, arg, fds, pids, &error);
		what = collect_workers(s, r, fds, pids, started);
		error = error != 0 ? error : what;
	}
	if (most != NULL)
		*most = r->most;
	free(fds);
	free(pids);
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
