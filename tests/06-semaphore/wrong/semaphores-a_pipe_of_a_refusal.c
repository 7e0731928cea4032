/*
 * misconception: where there is no memory the pipe that was made before stays
 *                open
 * rejected by:   memory that cannot be mapped is reported
 * message:       Something you opened is never closed
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
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

enum { MOST_TOKENS = 32767 };

/* as many bytes lie in the pipe as places are free */
struct semaphore {
	int out, in;			/* read here, write there */
	int bound;
	pthread_mutex_t giving;
};

static void close_both(const int fd[2])
{
	close(fd[0]);
	close(fd[1]);
}

static bool fill(int fd, int n)
{
	char tokens[512] = { 0 };
	ssize_t k;

	while (n > 0) {
		k = write(fd, tokens, n < (int)sizeof tokens ? (size_t)n :
			  sizeof tokens);
		if (k > 0)
			n -= (int)k;
		else if (errno != EINTR)
			return false;
	}
	return true;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	int fd[2], error;

	if (initial < 0 || initial > MOST_TOKENS)
		return errno = EINVAL, NULL;
	if (pipe2(fd, O_CLOEXEC | O_NONBLOCK) != 0)
		return NULL;
	if (!fill(fd[1], initial))
		goto fail;
	s = shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->out = fd[0];
	s->in = fd[1];
	s->bound = bounded ? initial : MOST_TOKENS;
	if ((errno = mutex_make(&s->giving)) != 0)
		goto fail;
	return s;
fail:
	error = errno == EAGAIN ? ENOMEM : errno;
	close_both(fd);
	if (s != NULL)
		munmap(s, sizeof *s);
	return errno = error, NULL;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct pollfd token = { .fd = s->out, .events = POLLIN };
	struct timespec end, left;
	char c;

	if (timeout > 0)
		end = ahead(timeout);
	for (;;) {
		if (read(s->out, &c, 1) == 1)
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -1;
		if (timeout == 0) {
			if (errno == EINTR)
				continue;
			return 1;
		}
		if (timeout > 0 && !still(&end, &left))
			return 1;
		if (ppoll(&token, 1, timeout > 0 ? &left : NULL, NULL) < 0 &&
		    errno != EINTR)
			return -1;
	}
}

static int how_many(struct semaphore *s)
{
	int n = 0;

	return ioctl(s->out, FIONREAD, &n) == 0 ? n : 0;
}

int semaphore_release(struct semaphore *s)
{
	int error = 0;

	lock(&s->giving);
	if (how_many(s) >= s->bound)
		error = EOVERFLOW;
	else
		while (write(s->in, "", 1) != 1)
			if (errno != EINTR) {
				error = errno == EAGAIN ? EOVERFLOW : errno;
				break;
			}
	unlock(&s->giving);
	if (error == 0)
		return 0;
	errno = error;
	return -1;
}

int semaphore_value(struct semaphore *s)
{
	return how_many(s);
}

void semaphore_destroy(struct semaphore *s)
{
	close(s->out);
	close(s->in);
	pthread_mutex_destroy(&s->giving);
	munmap(s, sizeof *s);
}

/* The token of one that died before it had read it still lies there. */
static void nudge(struct semaphore *s)
{
	(void)s;
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

/* ---- semaphore_run: a guardian for each worker -------------------------- */

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

/* Runs in the guardian, whose only child is worker i. */
static void guard(struct run *run, struct semaphore *s, int i,
		  int (*room)(int, void *), void *arg,
		  const sigset_t *mask)
{
	struct sigaction ours = { .sa_handler = SIG_DFL }, theirs;
	pid_t me = getpid(), child;

	sigaction(SIGCHLD, &ours, &theirs);
	child = fork();
	if (child < 0) {
		run->error = errno;
		return;
	}
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != me)
			_exit(1);
		sigaction(SIGCHLD, &theirs, NULL);
		sigprocmask(SIG_SETMASK, mask, NULL);
		live(run, s, i, room, arg);
		_exit(0);
	}
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		continue;
	if (run->life[i].in && !run->life[i].out) {
		note(run, -1);
		semaphore_release(s);
	}
	if (!run->life[i].back)
		nudge(s);
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t head, size;
	struct run *run;
	pid_t us = getpid(), *guardian;
	int n = 0, error, inside = 0, top = 0;
	sigset_t block, mask;

	if (workers < 1)
		return errno = EINVAL, -1;
	head = sizeof *run + sizeof run->life[0] * (size_t)workers;
	size = head + 2 * (size_t)workers + sizeof *guardian * (size_t)workers;
	run = shared(size);
	if (!run)
		return -1;
	run->log = (signed char *)run + head;
	guardian = calloc((size_t)workers, sizeof *guardian);
	if (!guardian) {
		munmap(run, size);
		return errno = ENOMEM, -1;
	}
	sigfillset(&block);
	sigprocmask(SIG_BLOCK, &block, &mask);
	while (n < workers && run->error == 0) {
		guardian[n] = fork();
		if (guardian[n] < 0) {
			run->error = errno;
			break;
		}
		if (guardian[n] == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == us)
				guard(run, s, n, room, arg, &mask);
			_exit(0);
		}
		n++;
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
	for (int i = 0; i < n; i++)
		while (waitpid(guardian[i], NULL, 0) < 0 && errno == EINTR)
			continue;
	free(guardian);
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
