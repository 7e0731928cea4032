/*
 * facts - what the checks of this lab have in common: a lock and a value that
 * the processes of a scenario share, what they note about themselves, and a
 * director that acts when all who must wait are waiting
 */
#ifndef FACTS_H
#define FACTS_H

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "lock.h"

enum { CHILDREN = 8 };

/* How a process comes to be where only one may be. */
enum way { BY_LOCK, BY_LIMIT, BY_VALUE, WAYS };

struct facts {
	enum way way;
	int created, error;	/* 1: lock and value are there; errno */
	int files;		/* regular files that are open for them */
	pid_t pids[CHILDREN];
	struct gate forked, held, go, ready[CHILDREN];
	struct gate in[CHILDREN], leave[CHILDREN];
	struct peak peak;
	_Atomic int entered, got_in, through, early, signals, gave_up;
	int got[CHILDREN];	/* what acquire or update returned */
	int errs[CHILDREN];	/* errno then */
	_Atomic int number[16];
	_Atomic long longs[16];
	double took, limits[CHILDREN];
	struct calm calm;
};

/* Set before the first fork of a scenario: its children have them too. */
static struct facts *facts;
static struct lock *lock;
static struct value *value;

static inline int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	struct stat st;
	int n = 0;

	while (d != NULL && (e = readdir(d)) != NULL)
		n += fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
		     S_ISREG(st.st_mode);
	if (d != NULL)
		closedir(d);
	return n;
}

/* After a student's call: the process that made it, or a copy? */
static inline void still(pid_t me, const char *function)
{
	if (getpid() != me)
		still_alone(function);
}

static inline bool create(struct facts *s)
{
	int before = open_files();
	pid_t me = getpid();

	facts = s;
	errno = 0;
	lock = lock_create();
	s->error = errno;
	still(me, "lock_create");
	if (lock != NULL) {
		errno = 0;
		value = value_create(100);
		s->error = errno;
		still(me, "value_create");
	}
	s->created = lock != NULL && value != NULL;
	s->files = open_files() - before;
	return s->created;
}

static inline void destroy(void)
{
	lock_destroy(lock);
	value_destroy(value);
}

/* Child number i of the scenario. */
static inline pid_t child(int i, void (*run)(int i))
{
	pid_t pid = fork();

	if (pid == 0) {
		run(i);
		_exit(0);
	}
	facts->pids[i] = pid;
	return pid;
}

static inline void collect(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A child that does only this, and what it found. */
static inline int ask(int (*question)(void))
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(question() & 0xff);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* Can another process have the lock now? It gives it back. */
static inline int try_lock(void)
{
	int got = lock_acquire(lock, 0);

	if (got == 0 || got == LOCK_OWNER_DIED)
		lock_release(lock);
	return got;
}

static inline int try_release(void)
{
	errno = 0;
	return lock_release(lock) == -1 && errno == EPERM;
}

/* It ends in another second than that of its fraction, whenever it begins. */
#define LONG_LIMIT 1000.999999

/*
 * Run section where only one process may be at a time. Section gets a number
 * as fn does, whichever way it is.
 */
static inline int enter(int i, int (*section)(long *v, void *arg))
{
	long nothing = 0;
	int got;

	errno = 0;
	if (facts->way == BY_VALUE) {
		got = value_update(value, section, &i, NULL);
		facts->errs[i] = errno;
		return facts->got[i] = got;
	}
	got = lock_acquire(lock, facts->way == BY_LIMIT ? LONG_LIMIT : -1);
	facts->errs[i] = errno;
	facts->got[i] = got;
	if (got == 0 || got == LOCK_OWNER_DIED) {
		section(&nothing, &i);
		lock_release(lock);
	}
	return got;
}

/* A section: stay until told to go. */
static inline int stay(long *v, void *arg)
{
	(void)v;
	(void)arg;
	peak_enter(&facts->peak);
	gate_open(&facts->held);
	if (!gate_wait(&facts->go))
		facts->gave_up++;
	peak_leave(&facts->peak);
	return 0;
}

/* A section: just come and go. */
static inline int pass(long *v, void *arg)
{
	(void)v;
	(void)arg;
	facts->got_in++;
	peak_enter(&facts->peak);
	peak_leave(&facts->peak);
	return 0;
}

static inline void holder(int i)
{
	enter(i, stay);
}

/* The lock is held; child i comes to ask for it, and the director knows. */
static inline void come(int i)
{
	gate_wait(&facts->held);
	gate_open(&facts->ready[i]);
}

static inline void passer(int i)
{
	come(i);
	enter(i, pass);
	facts->through++;
	facts->early += !gate_is_open(&facts->go);
}

/* One lets go of the lock, and the other one gets it. */
static inline void hand_over(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	collect(s->pids[0]);
	collect(s->pids[1]);
	destroy();
}

/* ---- in the director ---------------------------------------------------- */

/* All but the holder, child 0, have asked and wait, or have ended. */
static inline void settle_all(struct facts *s)
{
	gate_wait(&s->forked);
	for (int i = 1; i < CHILDREN; i++)
		if (s->pids[i] != 0 && gate_wait(&s->ready[i]))
			settle(s->pids[i]);
}

/* When all others wait, the holder goes. */
static inline void let_go(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	gate_open(&s->go);
}

/* ---- verdicts, in the test program -------------------------------------- */

#define WHY_01 "L05-01 Every process counted in its own copy."
#define WHY_02 "L05-02 Reading, adding and storing are three steps, and " \
	"another process can come in between."
#define WHY_04 "L05-04 Everybody locks a door, but each a different one."
#define WHY_05 "L05-05 This lock was made for threads of one process."
#define WHY_07 "L05-07 The value was already old when you locked."
#define WHY_10 "L05-10 Parent and child share one open file, and the lock " \
	"belongs to that open file."
#define WHY_11 "L05-11 Closing any descriptor of that file gave up all your " \
	"locks on it."
#define WHY_13 "L05-13 One way out of the function keeps the lock."
#define WHY_14 "L05-14 Somebody died while holding the lock and nobody will " \
	"ever open it."
#define WHY_17 "L05-17 Waiting burns a whole processor."
#define WHY_19 "L05-19 The counter is too small for the count."
#define WHY_22 "L05-22 Another run of the same program is using (or has " \
	"left) the same name."
#define WHY_23 "L05-23 The first one to leave destroyed it for all."
#define WHY_25 "L05-25 You used the argument before you knew what it was."

static inline void expect_created(const struct facts *s)
{
	expect(s->created, "There is no lock, or no value.",
	       "lock_create and value_create succeed", "NULL, %s",
	       strerror(s->error));
}

static inline const char *function_of(enum way way)
{
	return way == BY_VALUE ? "value_update" : "lock_acquire";
}

static inline void expect_got(const struct facts *s, int i, int want,
			      const char *why)
{
	if (s->way == BY_LIMIT && s->got[i] == -1 && s->errs[i] == EINVAL)
		why = "A moment has less than a billion nanoseconds: what is "
		      "more is another second.";
	expect(s->got[i] == want, why,
	       text("%s returns %d", function_of(s->way), want),
	       "%d%s%s", s->got[i], s->got[i] == -1 ? ", " : "",
	       s->got[i] == -1 ? strerror(s->errs[i]) : "");
}

#endif
