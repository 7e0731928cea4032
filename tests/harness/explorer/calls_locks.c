/*
 * Locks, semaphores, conditions, barriers, futexes. Nobody sleeps in libc or
 * in the kernel: each wait is tried (pthread_mutex_trylock, sem_trywait), and
 * when it does not go the task waits here, and tries again when somebody has
 * changed something. So a newcomer may overtake who was woken, as it may in
 * reality. Conditions, barriers and futexes are played by their definition.
 *
 * What a lock was made for (one process or several, robust or not) is asked
 * from its attributes when it is made. One that was made for the threads of
 * one process wakes only those: that is what happens in reality.
 */
#include "calls.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sync *made(const void *at, const char *kind, bool is_shared)
{
	struct sync *s = sync_at(place_of(at));

	s->kind = kind;
	s->shared = is_shared;
	s->owner = NOBODY;
	s->count = 0;
	return s;
}

/* One that was never made, but zeroed or set by an initializer. */
static struct sync *found_at(const void *at, const char *kind)
{
	struct sync *s = sync_at(place_of(at));

	if (s->kind == NULL)
		s->kind = kind;
	return s;
}

static int taken(struct sync *s, const char *call, const void *pc, int result)
{
	if (result != 0 && result != EOWNERDEAD) {
		note(CALLS, call, s->place, pc)->value = (uint64_t)result;
		return result;
	}
	s->owner = me;
	acquire_from(s->place);
	note(LOCKS, call, s->place, pc)->value = (uint64_t)result;
	lock_is_held(s->place);
	return result;
}

static void given_back(struct sync *s, const char *call, const void *pc)
{
	release_to(s->place);
	lock_is_free(s->place);
	note(UNLOCKS, call, s->place, pc);
	s->owner = NOBODY;
	wake(s->place, s->shared, TASKS);
}

/* ---- mutexes ---------------------------------------------------------------------- */

int explored_pthread_mutex_init(pthread_mutex_t *m,
				const pthread_mutexattr_t *attr)
{
	int pshared = 0, robust = 0, type = PTHREAD_MUTEX_NORMAL, r;
	struct sync *s;

	r = pthread_mutex_init(m, attr);
	if (!exploring() || r != 0)
		return r;
	if (attr != NULL) {
		pthread_mutexattr_getpshared(attr, &pshared);
		pthread_mutexattr_getrobust(attr, &robust);
		pthread_mutexattr_gettype(attr, &type);
	}
	s = made(m, "mutex", pshared == PTHREAD_PROCESS_SHARED);
	s->robust = robust == PTHREAD_MUTEX_ROBUST;
	s->errorcheck = type == PTHREAD_MUTEX_ERRORCHECK;
	s->recursive = type == PTHREAD_MUTEX_RECURSIVE;
	return r;
}

static int lock_mutex(pthread_mutex_t *m, struct sync *s, const char *call,
		      int64_t deadline, const void *pc)
{
	int r;

	while ((r = pthread_mutex_trylock(m)) == EBUSY) {
		if (s->errorcheck && s->owner == me)
			return taken(s, call, pc, EDEADLK);
		if (deadline <= arena->now ||
		    wait_here(call, s->place, deadline, pc) == TIMED_OUT)
			return taken(s, call, pc, ETIMEDOUT);
	}
	return taken(s, call, pc, r);
}

static int mutex_call(pthread_mutex_t *m, const char *call, int64_t deadline,
		      const void *pc)
{
	point(place_of(m), pc);
	return lock_mutex(m, found_at(m, "mutex"), call, deadline, pc);
}

int explored_pthread_mutex_lock(pthread_mutex_t *m)
{
	if (!exploring())
		return pthread_mutex_lock(m);
	return mutex_call(m, "pthread_mutex_lock", FOREVER, HERE);
}

int explored_pthread_mutex_trylock(pthread_mutex_t *m)
{
	int r;

	if (!exploring())
		return pthread_mutex_trylock(m);
	point(place_of(m), HERE);
	r = pthread_mutex_trylock(m);
	return taken(found_at(m, "mutex"), "pthread_mutex_trylock", HERE, r);
}

int explored_pthread_mutex_timedlock(pthread_mutex_t *m,
				     const struct timespec *until)
{
	if (!exploring())
		return pthread_mutex_timedlock(m, until);
	return mutex_call(m, "pthread_mutex_timedlock",
			  virtual_time(CLOCK_REALTIME, until), HERE);
}

int explored_pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
				     const struct timespec *until)
{
	if (!exploring())
		return pthread_mutex_clocklock(m, clock, until);
	if (until->tv_nsec < 0 || until->tv_nsec >= 1000000000)
		return EINVAL;
	return mutex_call(m, "pthread_mutex_clocklock",
			  virtual_time(clock, until), HERE);
}

int explored_pthread_mutex_unlock(pthread_mutex_t *m)
{
	struct sync *s;
	int r;

	if (!exploring())
		return pthread_mutex_unlock(m);
	point(place_of(m), HERE);
	s = found_at(m, "mutex");
	r = pthread_mutex_unlock(m);
	if (r == 0)
		given_back(s, "pthread_mutex_unlock", HERE);
	return r;
}

int explored_pthread_mutex_consistent(pthread_mutex_t *m)
{
	if (exploring())
		point(place_of(m), HERE);
	return pthread_mutex_consistent(m);
}

int explored_pthread_mutex_destroy(pthread_mutex_t *m)
{
	if (exploring())
		point(place_of(m), HERE);
	return pthread_mutex_destroy(m);
}

/* ---- spin locks and read-write locks -------------------------------------------------- */

int explored_pthread_spin_init(pthread_spinlock_t *l, int pshared)
{
	if (exploring())	/* it spins: who is not told sees it all the same */
		made((const void *)l, "spin lock", true);
	return pthread_spin_init(l, pshared);
}

int explored_pthread_spin_lock(pthread_spinlock_t *l)
{
	struct sync *s;

	if (!exploring())
		return pthread_spin_lock(l);
	point(place_of(l), HERE);
	s = found_at((const void *)l, "spin lock");
	s->shared = true;
	while (pthread_spin_trylock(l) == EBUSY)
		wait_here("pthread_spin_lock", s->place, FOREVER, HERE);
	return taken(s, "pthread_spin_lock", HERE, 0);
}

int explored_pthread_spin_trylock(pthread_spinlock_t *l)
{
	int r;

	if (!exploring())
		return pthread_spin_trylock(l);
	point(place_of(l), HERE);
	r = pthread_spin_trylock(l);
	return taken(found_at((const void *)l, "spin lock"),
		     "pthread_spin_trylock", HERE, r);
}

int explored_pthread_spin_unlock(pthread_spinlock_t *l)
{
	struct sync *s;
	int r;

	if (!exploring())
		return pthread_spin_unlock(l);
	point(place_of(l), HERE);
	s = found_at((const void *)l, "spin lock");
	r = pthread_spin_unlock(l);
	given_back(s, "pthread_spin_unlock", HERE);
	return r;
}

int explored_pthread_rwlock_init(pthread_rwlock_t *l,
				 const pthread_rwlockattr_t *attr)
{
	int pshared = 0;

	if (attr != NULL)
		pthread_rwlockattr_getpshared(attr, &pshared);
	if (exploring())
		made(l, "read-write lock", pshared == PTHREAD_PROCESS_SHARED);
	return pthread_rwlock_init(l, attr);
}

static int rwlock_call(pthread_rwlock_t *l, int (*try)(pthread_rwlock_t *),
		       const char *call, const void *pc)
{
	struct sync *s;
	int r;

	point(place_of(l), pc);
	s = found_at(l, "read-write lock");
	while ((r = try(l)) == EBUSY)
		wait_here(call, s->place, FOREVER, pc);
	return taken(s, call, pc, r);
}

int explored_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	if (!exploring())
		return pthread_rwlock_rdlock(l);
	return rwlock_call(l, pthread_rwlock_tryrdlock,
			   "pthread_rwlock_rdlock", HERE);
}

int explored_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	if (!exploring())
		return pthread_rwlock_wrlock(l);
	return rwlock_call(l, pthread_rwlock_trywrlock,
			   "pthread_rwlock_wrlock", HERE);
}

int explored_pthread_rwlock_unlock(pthread_rwlock_t *l)
{
	struct sync *s;
	int r;

	if (!exploring())
		return pthread_rwlock_unlock(l);
	point(place_of(l), HERE);
	s = found_at(l, "read-write lock");
	r = pthread_rwlock_unlock(l);
	given_back(s, "pthread_rwlock_unlock", HERE);
	return r;
}

/* ---- conditions ------------------------------------------------------------------------ */

int explored_pthread_cond_init(pthread_cond_t *c,
			       const pthread_condattr_t *attr)
{
	clockid_t clock = CLOCK_REALTIME;
	int pshared = 0;

	if (attr != NULL) {
		pthread_condattr_getpshared(attr, &pshared);
		pthread_condattr_getclock(attr, &clock);
	}
	if (exploring())
		made(c, "condition", pshared == PTHREAD_PROCESS_SHARED)
			->limit = (unsigned)clock;
	return pthread_cond_init(c, attr);
}

static int wait_for_condition(pthread_cond_t *c, pthread_mutex_t *m,
			      const char *call, int64_t deadline,
			      const void *pc)
{
	struct sync *mutex, *condition;
	enum wake how = TIMED_OUT;
	int r;

	point(place_of(c), pc);
	mutex = found_at(m, "mutex");
	condition = found_at(c, "condition");
	r = pthread_mutex_unlock(m);
	if (r != 0)
		return r;
	given_back(mutex, call, pc);
	note(WAITS, call, condition->place, pc);
	if (deadline > arena->now)
		how = queue_here(call, condition->place, deadline, pc);
	r = lock_mutex(m, mutex, call, FOREVER, pc);
	return r != 0 ? r : how == TIMED_OUT ? ETIMEDOUT : 0;
}

int explored_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	if (!exploring())
		return pthread_cond_wait(c, m);
	return wait_for_condition(c, m, "pthread_cond_wait", FOREVER, HERE);
}

int explored_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				    const struct timespec *until)
{
	clockid_t clock;

	if (!exploring())
		return pthread_cond_timedwait(c, m, until);
	clock = (clockid_t)found_at(c, "condition")->limit;
	return wait_for_condition(c, m, "pthread_cond_timedwait",
				  virtual_time(clock, until), HERE);
}

int explored_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m,
				    clockid_t clock,
				    const struct timespec *until)
{
	if (!exploring())
		return pthread_cond_clockwait(c, m, clock, until);
	return wait_for_condition(c, m, "pthread_cond_clockwait",
				  virtual_time(clock, until), HERE);
}

static int signal_condition(pthread_cond_t *c, const char *call, int n,
			    const void *pc)
{
	struct sync *s;

	point(place_of(c), pc);
	s = found_at(c, "condition");
	s->signals++;
	note(WAKES, call, s->place, pc)->value =
		(uint64_t)wake(s->place, s->shared, n);
	return 0;
}

int explored_pthread_cond_signal(pthread_cond_t *c)
{
	if (!exploring())
		return pthread_cond_signal(c);
	return signal_condition(c, "pthread_cond_signal", 1, HERE);
}

int explored_pthread_cond_broadcast(pthread_cond_t *c)
{
	if (!exploring())
		return pthread_cond_broadcast(c);
	return signal_condition(c, "pthread_cond_broadcast", TASKS, HERE);
}

/* libc's waits for who still sleeps in it; nobody ever does. */
int explored_pthread_cond_destroy(pthread_cond_t *c)
{
	if (!exploring())
		return pthread_cond_destroy(c);
	point(place_of(c), HERE);
	return 0;
}

/* ---- barriers --------------------------------------------------------------------------- */

int explored_pthread_barrier_init(pthread_barrier_t *b,
				  const pthread_barrierattr_t *attr,
				  unsigned count)
{
	int pshared = 0;

	if (attr != NULL)
		pthread_barrierattr_getpshared(attr, &pshared);
	if (exploring())
		made(b, "barrier", pshared == PTHREAD_PROCESS_SHARED)->limit =
			count;
	return pthread_barrier_init(b, attr, count);
}

int explored_pthread_barrier_wait(pthread_barrier_t *b)
{
	struct sync *s;
	unsigned round;

	if (!exploring())
		return pthread_barrier_wait(b);
	point(place_of(b), HERE);
	s = found_at(b, "barrier");
	release_to(s->place);
	note(WAITS, "pthread_barrier_wait", s->place, HERE);
	round = s->round;
	if (++s->count == (int)s->limit) {
		s->count = 0;
		s->round++;
		acquire_from(s->place);
		wake(s->place, s->shared, TASKS);
		return PTHREAD_BARRIER_SERIAL_THREAD;
	}
	while (s->round == round)
		queue_here("pthread_barrier_wait", s->place, FOREVER, HERE);
	acquire_from(s->place);
	return 0;
}

int explored_pthread_barrier_destroy(pthread_barrier_t *b)
{
	if (!exploring())
		return pthread_barrier_destroy(b);
	point(place_of(b), HERE);
	return 0;
}

/* ---- semaphores --------------------------------------------------------------------------- */

int explored_sem_init(sem_t *s, int pshared, unsigned value)
{
	int r = sem_init(s, pshared, value);

	if (exploring() && r == 0)
		made(s, "semaphore", pshared != 0);
	return r;
}

static int sem_call(sem_t *at, const char *call, int64_t deadline,
		    const void *pc)
{
	struct sync *s;
	enum wake how = WOKEN;

	point(place_of(at), pc);
	s = found_at(at, "semaphore");
	while (sem_trywait(at) != 0) {
		if (errno != EAGAIN)
			return -1;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		if (deadline <= arena->now || how == TIMED_OUT)
			return errno = ETIMEDOUT, -1;
		how = wait_here(call, s->place, deadline, pc);
	}
	return taken(s, call, pc, 0);
}

int explored_sem_wait(sem_t *s)
{
	if (!exploring())
		return sem_wait(s);
	return sem_call(s, "sem_wait", FOREVER, HERE);
}

int explored_sem_timedwait(sem_t *s, const struct timespec *until)
{
	if (!exploring())
		return sem_timedwait(s, until);
	return sem_call(s, "sem_timedwait",
			virtual_time(CLOCK_REALTIME, until), HERE);
}

int explored_sem_clockwait(sem_t *s, clockid_t clock,
			   const struct timespec *until)
{
	if (!exploring())
		return sem_clockwait(s, clock, until);
	return sem_call(s, "sem_clockwait", virtual_time(clock, until), HERE);
}

int explored_sem_trywait(sem_t *s)
{
	if (!exploring())
		return sem_trywait(s);
	point(place_of(s), HERE);
	if (sem_trywait(s) != 0)
		return -1;
	return taken(found_at(s, "semaphore"), "sem_trywait", HERE, 0);
}

int explored_sem_post(sem_t *s)
{
	struct sync *sync;
	int r;

	if (!exploring())
		return sem_post(s);
	point(place_of(s), HERE);
	sync = found_at(s, "semaphore");
	r = sem_post(s);
	if (r == 0) {
		sync->signals++;
		given_back(sync, "sem_post", HERE);
	}
	return r;
}

int explored_sem_getvalue(sem_t *s, int *value)
{
	if (exploring()) {
		point(place_of(s), HERE);
		note(CALLS, "sem_getvalue", place_of(s), HERE);
	}
	return sem_getvalue(s, value);
}

/* ---- futexes ------------------------------------------------------------------------------- */

static long futex_wait(uint32_t *at, int op, uint32_t value,
		       const struct timespec *t, const void *pc)
{
	int64_t deadline = FOREVER;
	struct place place = place_of(at);

	point(place, pc);
	note(WAITS, "futex", place, pc);
	if (__atomic_load_n(at, __ATOMIC_SEQ_CST) != value)
		return errno = EAGAIN, -1;
	if (t != NULL && (op & FUTEX_CMD_MASK) == FUTEX_WAIT)
		deadline = arena->now + t->tv_sec * 1000000000ll + t->tv_nsec;
	else if (t != NULL)
		deadline = virtual_time(op & FUTEX_CLOCK_REALTIME
					? CLOCK_REALTIME : CLOCK_MONOTONIC, t);
	if (deadline <= arena->now)
		return errno = ETIMEDOUT, -1;
	switch (queue_here("futex", place, deadline, pc)) {
	case TIMED_OUT:
		return errno = ETIMEDOUT, -1;
	case INTERRUPTED:
		return errno = EINTR, -1;
	default:
		return 0;
	}
}

static long futex_wake(uint32_t *at, int op, uint32_t n, const void *pc)
{
	struct place place = place_of(at);
	int woken;

	point(place, pc);
	sync_at(place)->signals++;
	woken = wake(place, !(op & FUTEX_PRIVATE_FLAG),
		     n > TASKS ? TASKS : (int)n);
	note(WAKES, "futex", place, pc)->value = (uint64_t)woken;
	return woken;
}

long explored_futex(uint32_t *at, int op, uint32_t value,
		    const struct timespec *t, const void *pc)
{
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_WAIT:
	case FUTEX_WAIT_BITSET:
		return futex_wait(at, op, value, t, pc);
	case FUTEX_WAKE:
	case FUTEX_WAKE_BITSET:
		return futex_wake(at, op, value, pc);
	default:
		end_schedule(FOUND_BLIND);
	}
}
