/*
 * misconception: L06-13 a process removes the set of the system in the end; where it is killed as well the set stays
 * rejected by:   a run that is killed with all it started leaves nothing behind
 * message:       stays there when the program is killed
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

enum { FREE, TAKEN };

union semun { int val; struct semid_ds *buf; unsigned short *array; };

struct semaphore {
	int id, alive;
	pid_t keeper;
	bool bounded;
};

/* Removes the set when nobody has the other end of the pipe any more. */
static _Noreturn void keep(int id, int alive)
{
	sigset_t all;
	char byte;

	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	dup2(alive, 0);
	close_range(1, ~0u, 0);
	while (read(0, &byte, 1) < 0 && errno == EINTR)
		;
	semctl(id, 0, IPC_RMID);
	_exit(0);
}

static int start_keeper(struct semaphore *s)
{
	int alive[2];
	pid_t pid;

	if (pipe2(alive, O_CLOEXEC) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		keep(s->id, alive[0]);
	s->keeper = pid;
	close(alive[0]);
	s->alive = alive[1];
	if (s->keeper > 0)
		return 0;
	close(s->alive);
	return -1;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	unsigned short values[2] = { (unsigned short)initial, 0 };
	struct semaphore *s;
	int error;

	if (initial < 0 || initial > 32767) {
		errno = EINVAL;
		return NULL;
	}
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->bounded = bounded;
	s->id = semget(IPC_PRIVATE, 2, 0600);
	if (s->id < 0)
		goto no_set;
	if (semctl(s->id, 0, SETALL, (union semun){ .array = values }) != 0 ||
	    start_keeper(s) != 0) {
		error = errno;
		semctl(s->id, 0, IPC_RMID);
		errno = error;
		goto no_set;
	}
	return s;
no_set:
	error = errno;
	munmap(s, sizeof *s);
	errno = error;
	return NULL;
}

static int take(struct semaphore *s, double timeout, short flag)
{
	struct sembuf ops[2] = { { FREE, -1, flag }, { TAKEN, 1, flag } };
	double end = now() + timeout, left;
	struct timespec t;
	size_t n = s->bounded ? 2 : 1;

	if (timeout == 0)
		ops[0].sem_flg |= IPC_NOWAIT;
	for (;;) {
		left = end - now();
		if (left < 0)
			left = 0;
		if (left > 1e8)
			left = 1e8;
		t.tv_sec = (time_t)left;
		t.tv_nsec = (long)((left - (double)t.tv_sec) * 1e9);
		if (semtimedop(s->id, ops, n, timeout > 0 ? &t : NULL) == 0)
			return 0;
		if (errno == EAGAIN)
			return 1;
		if (errno != EINTR)
			return -1;
	}
}

static int give(struct semaphore *s, short flag)
{
	struct sembuf ops[2] = { { TAKEN, -1, (short)(flag | IPC_NOWAIT) },
				 { FREE, 1, flag } };

	while (semop(s->id, s->bounded ? ops : ops + 1, s->bounded ? 2 : 1)) {
		if (errno == EAGAIN || errno == ERANGE)
			errno = EOVERFLOW;
		if (errno != EINTR)
			return -1;
	}
	return 0;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	return take(s, timeout, 0);
}

int semaphore_release(struct semaphore *s)
{
	return give(s, 0);
}

int semaphore_value(struct semaphore *s)
{
	return semctl(s->id, FREE, GETVAL);
}

void semaphore_destroy(struct semaphore *s)
{
	while (write(s->alive, "", 1) < 0 && errno == EINTR)
		;
	close(s->alive);
	while (waitpid(s->keeper, NULL, 0) < 0 && errno == EINTR)
		;
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

struct run {
	_Atomic int most;
	struct seat {
		pid_t pid;
		_Atomic int outcome;
	} seats[];
};

/*
 * A second set of the system's semaphores counts who is inside: each worker
 * adds 1, and the system takes it away again when it dies.
 */
static _Noreturn void work(struct semaphore *s, struct run *run, int counter,
			   int worker, int (*room)(int worker, void *arg),
			   void *arg)
{
	struct sembuf in = { 0, 1, SEM_UNDO }, out = { 0, -1, SEM_UNDO };
	int inside, most, result;

	if (take(s, -1, SEM_UNDO) != 0)
		_exit(1);
	while (semop(counter, &in, 1) != 0 && errno == EINTR)
		;
	inside = semctl(counter, 0, GETVAL);
	most = atomic_load(&run->most);
	while (most < inside &&
	       !atomic_compare_exchange_weak(&run->most, &most, inside))
		;
	result = room(worker, arg);
	while (semop(counter, &out, 1) != 0 && errno == EINTR)
		;
	give(s, SEM_UNDO);
	run->seats[worker].outcome = result == 0 ? 1 : 2;
	_exit(0);
}

static int judge(const struct run *run, int started)
{
	int error = 0;

	for (int w = 0; w < started; w++) {
		if (run->seats[w].outcome == 0)
			return EOWNERDEAD;
		if (run->seats[w].outcome == 2)
			error = ECANCELED;
	}
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run);
	struct run *run;
	int started = 0, error = 0, counter;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size += (size_t)workers * sizeof(struct seat);
	run = shared(size);
	if (run == NULL)
		return -1;
	counter = semget(IPC_PRIVATE, 1, 0600);
	if (counter < 0) {
		error = errno;
		munmap(run, size);
		errno = error;
		return -1;
	}
	while (started < workers && error == 0) {
		pid_t pid = fork();

		if (pid == 0)
			work(s, run, counter, started, room, arg);
		if (pid < 0)
			error = errno;
		else
			run->seats[started++].pid = pid;
	}
	for (int w = 0; w < started; w++)
		while (waitpid(run->seats[w].pid, NULL, 0) < 0 &&
		       errno == EINTR)
			;
	semctl(counter, 0, IPC_RMID);
	if (error == 0)
		error = judge(run, started);
	if (most != NULL)
		*most = run->most;
	munmap(run, size);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}
