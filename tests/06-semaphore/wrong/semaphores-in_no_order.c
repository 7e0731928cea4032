/*
 * misconception: each step is atomic, and puts nothing else in order
 * rejected by:   never too many inside, and all get in, whatever the order
 * message:       Who gets in need not see yet
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
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
	_Atomic uint32_t free, asleep;
	uint32_t top;
};

static long futex(_Atomic uint32_t *at, int what, uint32_t n,
		  const struct timespec *end)
{
	return syscall(SYS_futex, at, what, n, end, NULL,
		       FUTEX_BITSET_MATCH_ANY);
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;

	if (initial < 0)
		errno = EINVAL;
	else if ((s = shared(sizeof *s)) != NULL) {
		atomic_init(&s->free, (uint32_t)initial);
		s->top = bounded ? (uint32_t)initial : (uint32_t)INT_MAX;
	}
	return s;
}

static bool grab(struct semaphore *s)
{
	uint32_t n = atomic_load(&s->free);

	do {
		if (n == 0)
			return false;
	} while (!atomic_compare_exchange_strong_explicit(&s->free, &n, n - 1,
						  memory_order_relaxed,
						  memory_order_relaxed));
	return true;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end;
	bool got, late = false;

	if (grab(s))
		return 0;
	if (timeout == 0)
		return 1;
	if (timeout > 0)
		end = ahead(timeout);
	atomic_fetch_add(&s->asleep, 1);
	while (!(got = grab(s)) && !late)
		late = futex(&s->free, FUTEX_WAIT_BITSET, 0,
			     timeout > 0 ? &end : NULL) != 0 &&
		       errno == ETIMEDOUT;
	atomic_fetch_sub(&s->asleep, 1);
	return got ? 0 : 1;
}

static void nudge(struct semaphore *s)
{
	futex(&s->free, FUTEX_WAKE, 1, NULL);
}

int semaphore_release(struct semaphore *s)
{
	uint32_t n = atomic_load(&s->free);

	do {
		if (n >= s->top) {
			errno = EOVERFLOW;
			return -1;
		}
	} while (!atomic_compare_exchange_strong_explicit(&s->free, &n, n + 1,
						  memory_order_relaxed,
						  memory_order_relaxed));
	if (atomic_load(&s->asleep) != 0)
		nudge(s);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	return (int)atomic_load(&s->free);
}

void semaphore_destroy(struct semaphore *s)
{
	munmap(s, sizeof *s);
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
