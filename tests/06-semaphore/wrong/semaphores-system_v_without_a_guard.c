/*
 * misconception: L06-13 a System V semaphore outlives the program, when that is killed
 * rejected by:   a program that is killed leaves nothing behind
 * message:       The program was killed, and its semaphore is still there
 */
#include "semaphores.h"

#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sem.h>
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

struct semaphore {
	int id;
	bool bounded;
};

enum { FREE, TAKEN, NUMBERS };

static int change(int id, struct sembuf *ops, size_t n,
		  const struct timespec *limit)
{
	return semtimedop(id, ops, n, limit);
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
	if (!error)
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
	struct sembuf ops[] = { { FREE, -1, 0 }, { TAKEN, 1, 0 } };
	struct timespec until = deadline(timeout > 0 ? timeout : 0), now, left;

	if (timeout == 0)
		ops[0].sem_flg = IPC_NOWAIT;
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
	struct sembuf ops[] = { { FREE, 1, IPC_NOWAIT },
				{ TAKEN, -1, IPC_NOWAIT } };

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
	semctl(s->id, 0, IPC_RMID);
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

/*
 * The workers are a process group of their own, led by the first: so one can
 * wait for any of them, and for no other child.
 */
static int run_all(struct semaphore *s, struct run *r, int workers,
		   int (*room)(int worker, void *arg), void *arg)
{
	int error = 0, what, started = 0, i;
	pid_t group = 0, pid;

	for (; started < workers; started++) {
		pid = fork();
		if (pid == 0) {
			setpgid(0, group);
			work(s, r, started, room, arg);
		}
		if (pid < 0) {
			error = errno;
			break;
		}
		setpgid(pid, group);
		group = group == 0 ? pid : group;
		r->workers[started].pid = pid;
	}
	while (started > 0) {
		pid = waitpid(-group, NULL, 0);
		if (pid < 0)
			continue;
		started--;
		for (i = 0; r->workers[i].pid != pid; i++)
			;
		what = look_after(s, r, i);
		error = error == 0 ? what : error;
	}
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
