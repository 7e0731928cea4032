/*
 * misconception: who cannot give the place back reports that, not what the room
 *                returned
 * rejected by:   a place is given back whatever the room returns
 * message:       What the room has to say does not reach
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
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

/*
 * taken and given only ever rise. first + given - taken places are free.
 * Who takes has seen a "given" that can only have risen since; who gives has
 * seen a "taken" that can only have risen since. So each needs one step.
 */
struct semaphore {
	_Atomic uint64_t taken, given;
	_Atomic uint32_t dozing;
	uint64_t first;
	bool bounded;
};

static uint32_t *low(_Atomic uint64_t *n)
{
	return (uint32_t *)n + (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__);
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int id, error;

	if (initial < 0)
		return errno = EINVAL, NULL;
	id = shmget(IPC_PRIVATE, sizeof *s, IPC_CREAT | 0600);
	if (id < 0)
		return NULL;
	s = shmat(id, NULL, 0);
	error = errno;
	shmctl(id, IPC_RMID, NULL);	/* it goes with the last who has it */
	if (s == (void *)-1)
		return errno = error, NULL;
	s->first = (uint64_t)initial;
	s->bounded = bounded;
	return s;
}

static bool took(struct semaphore *s)
{
	uint64_t t = s->taken;

	while (t < s->first + s->given)
		if (atomic_compare_exchange_strong(&s->taken, &t, t + 1))
			return true;
	return false;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end;
	uint32_t seen;

	if (took(s))
		return 0;
	if (timeout == 0)
		return 1;
	if (timeout > 0)
		end = ahead(timeout);
	for (;;) {
		s->dozing++;
		seen = (uint32_t)s->given;
		if (took(s)) {
			s->dozing--;
			return 0;
		}
		if (syscall(SYS_futex, low(&s->given), FUTEX_WAIT_BITSET, seen,
			    timeout > 0 ? &end : NULL, NULL,
			    FUTEX_BITSET_MATCH_ANY) != 0 &&
		    errno == ETIMEDOUT) {
			s->dozing--;
			return 1;
		}
		s->dozing--;
		if (took(s))
			return 0;
	}
}

static void nudge(struct semaphore *s)
{
	syscall(SYS_futex, low(&s->given), FUTEX_WAKE, 1, NULL, NULL, 0);
}

int semaphore_release(struct semaphore *s)
{
	uint64_t g = s->given, t;

	do {
		t = s->taken;
		if (s->bounded ? g >= t : s->first + g - t >= INT_MAX &&
		    s->first + g > t)
			return errno = EOVERFLOW, -1;
	} while (!atomic_compare_exchange_strong(&s->given, &g, g + 1));
	if (s->dozing > 0)
		nudge(s);
	return 0;
}

int semaphore_value(struct semaphore *s)
{
	uint64_t t, g;

	do {
		t = s->taken;
		g = s->given;
	} while (t != s->taken);
	return (int)(s->first + g - t);
}

void semaphore_destroy(struct semaphore *s)
{
	shmdt(s);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int answer;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	answer = room(worker, arg);
	return semaphore_release(s) == 0 ? answer : -1;
}

/* ---- semaphore_run: a thread waits for each worker ---------------------- */

struct run;

struct worker {
	pid_t pid;
	pthread_t thread;
	bool watched;
	struct run *run;
	_Atomic int in, out, result;	/* 0 = none, 1 = well, 2 = not */
};

struct run {
	struct semaphore *s;
	_Atomic unsigned clock;
	struct worker w[];
};

static int tick(struct run *run)
{
	return (int)++run->clock;
}

static void clear_up(struct worker *w)
{
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (w->in != 0 && w->out == 0) {
		w->out = tick(w->run);
		semaphore_release(w->run->s);
	}
	if (w->result == 0)
		nudge(w->run->s);
}

static void *watcher(void *worker)
{
	clear_up(worker);
	return NULL;
}

static void life_of_worker(struct worker *w, int i,
			   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(w->run->s, -1) != 0)
		return;
	w->in = tick(w->run);
	result = room(i, arg);
	w->out = tick(w->run);
	semaphore_release(w->run->s);
	w->result = result == 0 ? 1 : 2;
}

/* The signals of our caller are not for our threads. */
static void start_watchers(struct run *run, int n)
{
	sigset_t all, mask;
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 128 * 1024);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &mask);
	for (int i = 0; i < n; i++)
		run->w[i].watched = pthread_create(&run->w[i].thread, &small,
						   watcher, &run->w[i]) == 0;
	pthread_sigmask(SIG_SETMASK, &mask, NULL);
	pthread_attr_destroy(&small);
}

/* Without a thread of their own: look at each in turn. */
static void watch_the_others(struct run *run, int n)
{
	const struct timespec pause = { .tv_nsec = 2000000 };
	int left = 1;

	while (left > 0) {
		left = 0;
		for (int i = 0; i < n; i++) {
			siginfo_t info = { .si_pid = 0 };

			if (run->w[i].watched || run->w[i].pid == 0)
				continue;
			if (waitid(P_PID, (id_t)run->w[i].pid, &info,
				   WEXITED | WNOHANG | WNOWAIT) == 0 &&
			    info.si_pid == 0) {
				left++;
				continue;
			}
			clear_up(&run->w[i]);
			run->w[i].pid = 0;
		}
		if (left > 0)
			nanosleep(&pause, NULL);
	}
	for (int i = 0; i < n; i++)
		if (run->w[i].watched)
			pthread_join(run->w[i].thread, NULL);
}

static int together(struct run *run, int n)
{
	int best = 0;

	for (int i = 0; i < n; i++) {
		int here = 0;

		if (run->w[i].in == 0)
			continue;
		for (int k = 0; k < n; k++)
			here += run->w[k].in != 0 &&
				run->w[k].in <= run->w[i].in &&
				run->w[k].out > run->w[i].in;
		best = here > best ? here : best;
	}
	return best;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	struct run *run;
	size_t size;
	pid_t caller = getpid(), pid;
	int n, error = 0;

	if (workers <= 0) {
		errno = EINVAL;
		return -1;
	}
	size = sizeof *run + (size_t)workers * sizeof(struct worker);
	if ((run = shared(size)) == NULL)
		return -1;
	run->s = s;
	for (n = 0; n < workers; n++) {
		struct worker *w = &run->w[n];

		w->run = run;
		pid = fork();
		if (pid < 0) {
			error = errno;
			break;
		}
		if (pid > 0) {
			w->pid = pid;
		} else {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == caller)
				life_of_worker(w, n, room, arg);
			_exit(0);
		}
	}
	start_watchers(run, n);
	watch_the_others(run, n);
	for (int i = 0; error == 0 && i < n; i++)
		if (run->w[i].result != 1)
			error = run->w[i].result == 0 ? EOWNERDEAD : ECANCELED;
	if (most != NULL)
		*most = together(run, n);
	munmap(run, size);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}
