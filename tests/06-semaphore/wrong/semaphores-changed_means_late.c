/*
 * misconception: that the number has changed before it slept is taken for the
 *                end of its time
 * rejected by:   who waits is let in, whatever the order
 * message:       Who was woken has to look again
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
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
	} while (!atomic_compare_exchange_strong(&s->free, &n, n - 1));
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
		       errno != EINTR;
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
	} while (!atomic_compare_exchange_strong(&s->free, &n, n + 1));
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

/* ---- semaphore_run: a tree of guardians --------------------------------- */

/*
 * log: who goes in writes +1 at the next line, who comes out -1. Where two
 * are inside they never write the same line.
 */
struct run {
	_Atomic int error, lines;
	signed char *log;
	struct life {
		_Atomic bool in, out, well, back;
	} life[];
};

static void note(struct run *run, int what)
{
	run->log[atomic_fetch_add(&run->lines, 1)] = (signed char)what;
}

static void live(struct run *run, struct semaphore *s, int i,
		 int (*room)(int, void *), void *arg)
{
	struct life *my = &run->life[i];
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return;
	note(run, +1);
	my->in = true;
	result = room(i, arg);
	my->out = true;
	note(run, -1);
	semaphore_release(s);
	my->well = result == 0;
	my->back = true;
}

struct plan {
	struct run *run;
	struct semaphore *s;
	int (*room)(int worker, void *arg);
	void *arg;
	const sigset_t *mask;
	struct sigaction on_child;
};

static void tie(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static void collect(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/*
 * Guard the workers from..to-1: the upper half is somebody else's, who does
 * the same; and so on, until one worker is left, which is ours.
 */
static void guard(const struct plan *p, int from, int to)
{
	pid_t me = getpid(), other, child;
	struct life *ward = &p->run->life[from];

	if (to - from > 1) {
		int middle = from + (to - from) / 2;

		other = fork();
		if (other < 0)
			p->run->error = errno;
		if (other == 0) {
			tie(me);
			guard(p, middle, to);
			_exit(0);
		}
		guard(p, from, middle);
		if (other > 0)
			collect(other);
		return;
	}
	child = fork();
	if (child < 0) {
		p->run->error = errno;
		return;
	}
	if (child == 0) {
		tie(me);
		sigaction(SIGCHLD, &p->on_child, NULL);
		sigprocmask(SIG_SETMASK, p->mask, NULL);
		live(p->run, p->s, from, p->room, p->arg);
		_exit(0);
	}
	collect(child);
	if (ward->in && !ward->out) {
		note(p->run, -1);
		semaphore_release(p->s);
	}
	if (!ward->back)
		nudge(p->s);
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	const struct sigaction ours = { .sa_handler = SIG_DFL };
	int error, inside = 0, top = 0;
	size_t head, size;
	sigset_t block, mask;
	struct plan plan;
	struct run *run;
	pid_t us = getpid(), root;

	if (workers < 1)
		return errno = EINVAL, -1;
	head = sizeof *run + sizeof run->life[0] * (size_t)workers;
	size = head + 2 * (size_t)workers;
	run = shared(size);
	if (!run)
		return -1;
	run->log = (signed char *)run + head;
	plan = (struct plan){ run, s, room, arg, &mask, { .sa_flags = 0 } };
	sigfillset(&block);
	sigprocmask(SIG_BLOCK, &block, &mask);
	root = fork();
	error = root < 0 ? errno : 0;
	if (root == 0) {
		tie(us);
		sigaction(SIGCHLD, &ours, &plan.on_child);
		guard(&plan, 0, workers);
		_exit(0);
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	if (root > 0)
		collect(root);
	if (error == 0)
		error = run->error;
	for (int i = 0; i < workers && error == 0; i++)
		if (!run->life[i].back)
			error = EOWNERDEAD;
	for (int i = 0; i < workers && error == 0; i++)
		if (!run->life[i].well)
			error = ECANCELED;
	for (int i = 0; i < run->lines; i++) {
		inside += run->log[i];
		if (inside > top)
			top = inside;
	}
	if (most)
		*most = top;
	munmap(run, size);
	return error == 0 ? 0 : (errno = error, -1);
}
