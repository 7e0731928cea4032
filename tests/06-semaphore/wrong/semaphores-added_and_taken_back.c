/*
 * misconception: L06-05 1 is added, and taken back when it was too much
 * rejected by:   a release beside one who comes and goes never rises above the bound
 * message:       A release that is to fail adds 1 all the same
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
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

struct semaphore {
	atomic_int places, waiting;
	int bound;
};

static long futex(atomic_int *word, int op, int value,
		  const struct timespec *until)
{
	return syscall(SYS_futex, word, op, value, until, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s != NULL) {
		s->places = initial;
		s->bound = bounded ? initial : INT_MAX;
	}
	return s;
}

static bool try_to_take(struct semaphore *s)
{
	int places = s->places;

	while (places > 0)
		if (atomic_compare_exchange_weak(&s->places, &places,
						 places - 1))
			return true;
	return false;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	bool got = try_to_take(s), late = timeout == 0;

	if (got || late)
		return got ? 0 : 1;
	s->waiting++;
	while (!(got = try_to_take(s)) && !late)
		late = futex(&s->places, FUTEX_WAIT_BITSET, 0,
			     timeout < 0 ? NULL : &until) != 0 &&
		       errno == ETIMEDOUT;
	s->waiting--;
	return got ? 0 : 1;
}

int semaphore_release(struct semaphore *s)
{
	if (atomic_fetch_add(&s->places, 1) >= s->bound) {
		atomic_fetch_sub(&s->places, 1);
		errno = EOVERFLOW;
		return -1;
	}
	if (s->waiting > 0)
		futex(&s->places, FUTEX_WAKE, 1, NULL);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return s->places;
}

void semaphore_destroy(struct semaphore *s)
{
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

/*
 * Each worker has a guard, a process between it and the caller. The guard
 * takes the place, lets the worker into the room, and gives the place back
 * whatever became of it. So nobody needs to know who died where.
 */
struct run {
	atomic_int inside, most;
};

static void note_most(struct run *r)
{
	int now = atomic_fetch_add(&r->inside, 1) + 1, most = r->most;

	while (now > most &&
	       !atomic_compare_exchange_weak(&r->most, &most, now))
		;
}

enum { FAILED = 1, DIED = 2, REFUSED = 3 };	/* statuses of a guard */
static const int told[] = { 0, ECANCELED, EOWNERDEAD, EAGAIN };

/* The worker tells by the pipe that it came back. */
static int let_in(int number, int (*room)(int worker, void *arg), void *arg)
{
	int ends[2];
	pid_t guard, pid;
	char answer;
	ssize_t n;

	if (pipe(ends) != 0)
		return REFUSED;
	guard = getpid();
	pid = fork();
	if (pid == 0) {
		/* nobody is in the room without a guard */
		prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
		if (getppid() != guard)
			_exit(1);
		answer = room(number, arg) == 0 ? 'y' : 'n';
		while (write(ends[1], &answer, 1) < 0 && errno == EINTR)
			;
		_exit(0);
	}
	close(ends[1]);
	if (pid < 0)
		return REFUSED;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	do
		n = read(ends[0], &answer, 1);
	while (n < 0 && errno == EINTR);
	return n != 1 ? DIED : answer == 'y' ? 0 : FAILED;
}

static _Noreturn void guard(struct semaphore *s, struct run *r, int number,
			    int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		_exit(DIED);
	note_most(r);
	result = let_in(number, room, arg);
	atomic_fetch_sub(&r->inside, 1);
	semaphore_release(s);
	_exit(result);
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	int error = 0, status, started;
	struct run *r;
	pid_t *pids;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	r = map_shared(sizeof *r);
	pids = calloc((size_t)workers, sizeof *pids);
	if (r == NULL || pids == NULL) {
		if (r != NULL)
			munmap(r, sizeof *r);
		free(pids);
		errno = ENOMEM;
		return -1;
	}
	for (started = 0; started < workers; started++) {
		pids[started] = fork();
		if (pids[started] == 0)
			guard(s, r, started, room, arg);
		if (pids[started] < 0) {
			error = errno;
			break;
		}
	}
	for (int i = 0; i < started; i++) {
		while (waitpid(pids[i], &status, 0) < 0 && errno == EINTR)
			;
		if (error == 0)
			error = WIFEXITED(status) ? told[WEXITSTATUS(status)]
						  : EOWNERDEAD;
	}
	if (most != NULL)
		*most = r->most;
	munmap(r, sizeof *r);
	free(pids);
	errno = error;
	return error == 0 ? 0 : -1;
}
