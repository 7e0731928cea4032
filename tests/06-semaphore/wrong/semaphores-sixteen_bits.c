/*
 * misconception: the number of places is kept in 16 bits: of 65536 nothing is
 *                left
 * rejected by:   there are as many places as were asked for
 * message:       The number you start with is the number of free places
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
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

/*
 * All of it lies in a file without a name. Whoever changes it has locked the
 * file; the system unlocks it when that process dies.
 */
struct semaphore {
	int file;
	unsigned short number;
	int bound;
	unsigned sleepers;
	_Atomic uint32_t changes;	/* those who sleep watch this */
};

static int file_lock(struct semaphore *s, short how)
{
	struct flock all = { .l_type = how, .l_whence = SEEK_SET };

	while (fcntl(s->file, F_SETLKW, &all) != 0)
		if (errno != EINTR)
			return -1;
	return 0;
}

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;
	int file, error;

	if (initial < 0) {
		errno = EINVAL;
		return NULL;
	}
	file = memfd_create("semaphore", MFD_CLOEXEC);
	if (file >= 0 && file <= 2) {
		/* whoever started us has closed these */
		int low = file;

		file = fcntl(low, F_DUPFD_CLOEXEC, 3);
		error = errno;
		close(low);
		errno = error;
	}
	if (file < 0)
		return NULL;
	if (ftruncate(file, sizeof *s) == 0) {
		s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED,
			 file, 0);
		if (s != MAP_FAILED) {
			s->file = file;
			s->number = (unsigned short)initial;
			s->bound = bounded ? initial : INT_MAX;
			return s;
		}
	}
	error = errno;
	close(file);
	errno = error;
	return NULL;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec end, *limit = NULL;
	uint32_t seen;
	int answer = -1;
	long slept;

	if (timeout > 0) {
		end = ahead(timeout);
		limit = &end;
	}
	if (file_lock(s, F_WRLCK) != 0)
		return -1;
	while (answer < 0) {
		if (s->number > 0) {
			s->number--;
			answer = 0;
		} else if (timeout == 0) {
			answer = 1;
		} else {
			s->sleepers++;
			seen = atomic_load(&s->changes);
			file_lock(s, F_UNLCK);
			slept = syscall(SYS_futex, &s->changes,
					FUTEX_WAIT_BITSET, seen, limit, NULL,
					FUTEX_BITSET_MATCH_ANY);
			if (slept != 0 && errno == ETIMEDOUT)
				timeout = 0;
			if (file_lock(s, F_WRLCK) != 0)
				return -1;
			s->sleepers--;
		}
	}
	file_lock(s, F_UNLCK);
	return answer;
}

static void nudge(struct semaphore *s)
{
	atomic_fetch_add(&s->changes, 1);
	syscall(SYS_futex, &s->changes, FUTEX_WAKE, 1, NULL, NULL, 0);
}

int semaphore_release(struct semaphore *s)
{
	bool full, call;

	if (file_lock(s, F_WRLCK) != 0)
		return -1;
	full = s->number == s->bound;
	if (!full)
		s->number++;
	call = !full && s->sleepers > 0;
	if (call)
		nudge(s);
	file_lock(s, F_UNLCK);
	if (full)
		errno = EOVERFLOW;
	return full ? -1 : 0;
}

int semaphore_value(struct semaphore *s)
{
	int n;

	if (file_lock(s, F_RDLCK) != 0)
		return -1;
	n = s->number;
	file_lock(s, F_UNLCK);
	return n;
}

void semaphore_destroy(struct semaphore *s)
{
	close(s->file);
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

/* ---- semaphore_run: a keeper that reads a signalfd --------------------- */

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

/* Signals are blocked here: the end of a child can be read. */
static _Noreturn void be_keeper(struct run *r, int n, pid_t caller)
{
	struct sigaction plain = { .sa_handler = SIG_DFL };
	struct signalfd_siginfo info;
	sigset_t child;
	pid_t me = getpid(), pid;
	int ends, left;

	tie_to(caller);
	sigaction(SIGCHLD, &plain, &r->on_child);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	ends = signalfd(-1, &child, SFD_CLOEXEC);
	if (ends < 0) {
		r->error = errno;
		_exit(1);
	}
	for (int i = 0; i < n; i++) {
		pid = fork();
		if (pid == 0) {
			close(ends);
			be_worker(r, i, me);
		}
		if (pid < 0) {
			r->error = errno;
			break;
		}
		r->w[i].pid = pid;
		r->started++;
	}
	for (left = r->started; left > 0;) {
		/* one signal may stand for several children */
		while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
			after(r, pid);
			left--;
		}
		if (left > 0 && read(ends, &info, sizeof info) < 0 &&
		    errno != EINTR)
			break;
	}
	_exit(0);
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
