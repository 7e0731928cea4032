/*
 * misconception: signals stay blocked when the first fork has failed
 * rejected by:   a worker that cannot be started is reported
 * message:       What a signal does, and which are blocked, is the caller's to decide
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *shared(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* a moment of CLOCK_MONOTONIC; at most 30 years ahead */
static struct timespec ahead(double seconds)
{
	struct timespec t;
	long whole;

	if (seconds > 1e9)
		seconds = 1e9;
	clock_gettime(CLOCK_MONOTONIC, &t);
	whole = (long)seconds;
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000L) {
		t.tv_nsec -= 1000000000L;
		t.tv_sec++;
	}
	return t;
}

/* how long it is until then: false if it has come */
static bool still(const struct timespec *end, struct timespec *left)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left->tv_sec = end->tv_sec - now.tv_sec;
	left->tv_nsec = end->tv_nsec - now.tv_nsec;
	if (left->tv_nsec < 0) {
		left->tv_nsec += 1000000000L;
		left->tv_sec--;
	}
	return left->tv_sec >= 0 && (left->tv_sec > 0 || left->tv_nsec > 0);
}

/* a mutex between processes; who dies with it leaves it usable */
static int mutex_make(pthread_mutex_t *m)
{
	pthread_mutexattr_t how;
	int error;

	pthread_mutexattr_init(&how);
	pthread_mutexattr_setpshared(&how, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&how, PTHREAD_MUTEX_ROBUST);
	error = pthread_mutex_init(m, &how);
	pthread_mutexattr_destroy(&how);
	return error;
}

static void lock(pthread_mutex_t *m)
{
	if (pthread_mutex_lock(m) == EOWNERDEAD)
		pthread_mutex_consistent(m);
}

static void unlock(pthread_mutex_t *m)
{
	pthread_mutex_unlock(m);
}

struct semaphore {
	_Atomic int number;
	_Atomic int waiting;
	int bound;
	int bell[2];
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int bell[2];

	if (initial < 0) {
		errno = EINVAL;
		return NULL;
	}
	if (pipe2(bell, O_NONBLOCK | O_CLOEXEC) < 0)
		return NULL;
	if (!(s = shared(sizeof(struct semaphore)))) {
		int why = errno;

		close(bell[0]);
		close(bell[1]);
		errno = why;
		return NULL;
	}
	s->number = initial;
	s->bound = bounded ? initial : INT_MAX;
	memcpy(s->bell, bell, sizeof bell);
	return s;
}

/* one more look for one of those who wait; a full pipe rings long enough */
static void nudge(struct semaphore *s)
{
	while (write(s->bell[1], "!", 1) < 0 && errno == EINTR)
		;
}

static int down(struct semaphore *s)
{
	int n = s->number;

	while (n > 0)
		if (atomic_compare_exchange_weak(&s->number, &n, n - 1))
			return 1;
	return 0;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct pollfd bell = { s->bell[0], POLLIN, 0 };
	struct timespec end = { 0 }, left;
	int result;
	char c;

	if (down(s))
		return 0;
	if (timeout == 0)
		return 1;
	if (timeout > 0)
		end = ahead(timeout);
	s->waiting++;
	for (;;) {
		if (down(s)) {
			result = 0;
			break;
		}
		if (timeout > 0 && !still(&end, &left)) {
			result = 1;
			break;
		}
		if (ppoll(&bell, 1, timeout > 0 ? &left : NULL, NULL) > 0)
			(void)!read(s->bell[0], &c, 1);
	}
	s->waiting--;
	return result;
}

int semaphore_release(struct semaphore *s)
{
	int n = s->number;

	do
		if (n >= s->bound) {
			errno = EOVERFLOW;
			return -1;
		}
	while (!atomic_compare_exchange_weak(&s->number, &n, n + 1));
	if (s->waiting > 0)
		nudge(s);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return s->number;
}

void semaphore_destroy(struct semaphore *s)
{
	int bell[2] = { s->bell[0], s->bell[1] };

	munmap(s, sizeof *s);
	close(bell[0]);
	close(bell[1]);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int answer;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	answer = room(worker, arg);
	semaphore_release(s);
	return answer;
}

/* ---- semaphore_run: a keeper between us and the workers ----------------- */

enum stage { BEFORE, INSIDE, BEHIND };
enum end { DIED, WELL, BADLY };

struct worker {
	pid_t pid;
	_Atomic int stage, end;
};

struct run {
	struct semaphore *s;
	int (*room)(int worker, void *arg);
	void *arg;
	sigset_t mask;
	struct sigaction on_child;
	int error, started;
	pthread_mutex_t count;
	int now, most;
	struct worker w[];
};

static void count(struct run *r, struct worker *w, int by)
{
	lock(&r->count);
	w->stage = by > 0 ? INSIDE : BEHIND;
	r->now += by;
	if (r->now > r->most)
		r->most = r->now;
	unlock(&r->count);
}

static void tie_to(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static _Noreturn void be_worker(struct run *r, int i, pid_t keeper)
{
	struct worker *w = &r->w[i];
	int answer;

	tie_to(keeper);
	sigaction(SIGCHLD, &r->on_child, NULL);
	sigprocmask(SIG_SETMASK, &r->mask, NULL);
	if (semaphore_acquire(r->s, -1) != 0)
		_exit(1);
	count(r, w, +1);
	answer = r->room(i, r->arg);
	count(r, w, -1);
	semaphore_release(r->s);
	w->end = answer == 0 ? WELL : BADLY;
	_exit(0);
}

static void after(struct run *r, pid_t pid)
{
	struct worker *w = r->w;

	while (w->pid != pid)
		w++;
	if (w->stage == INSIDE) {
		count(r, w, -1);
		semaphore_release(r->s);
	}
	if (w->end == DIED)
		nudge(r->s);
}

static _Noreturn void be_keeper(struct run *r, int n, pid_t caller)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	pid_t me = getpid(), pid;

	tie_to(caller);
	sigaction(SIGCHLD, &plain, &r->on_child);
	for (int i = 0; i < n; i++) {
		pid = fork();
		if (pid == 0)
			be_worker(r, i, me);
		if (pid < 0) {
			r->error = errno;
			break;
		}
		r->w[i].pid = pid;
		r->started++;
	}
	for (;;) {
		pid = wait(NULL);
		if (pid > 0)
			after(r, pid);
		else if (errno != EINTR)
			_exit(0);
	}
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	pid_t me = getpid(), keeper;
	sigset_t everything;
	struct run *r;
	size_t size;
	int error;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size = sizeof *r + sizeof r->w[0] * (size_t)workers;
	r = shared(size);
	if (r == NULL)
		return -1;
	r->s = s;
	r->room = room;
	r->arg = arg;
	error = mutex_make(&r->count);
	if (error == 0) {
		sigfillset(&everything);
		sigprocmask(SIG_SETMASK, &everything, &r->mask);
		keeper = fork();
		if (keeper == 0)
			be_keeper(r, workers, me);
		error = keeper < 0 ? errno : 0;
		if (keeper > 0)
			sigprocmask(SIG_SETMASK, &r->mask, NULL);
		while (keeper > 0 && waitpid(keeper, NULL, 0) < 0 &&
		       errno == EINTR)
			;
	}
	if (error == 0)
		error = r->error;
	for (int i = 0; i < workers && error == 0; i++)
		if (r->w[i].end != WELL)
			error = r->w[i].end == DIED ? EOWNERDEAD : ECANCELED;
	if (most != NULL)
		*most = r->most;
	munmap(r, size);
	errno = error;
	return error == 0 ? 0 : -1;
}
