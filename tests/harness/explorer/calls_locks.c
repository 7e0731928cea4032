/*
 * Locks. Nobody sleeps in libc or in the kernel: each wait is tried
 * (pthread_mutex_trylock, sem_trywait), and when it does not go the task
 * waits here, and tries again when somebody has changed something. So a
 * newcomer may overtake who was woken, as it may in reality.
 *
 * What a lock was made for (one process or several, checked or not) is asked
 * from its attributes when it is made. One that was made for the threads of
 * one process wakes only those: that is what happens in reality.
 */
#include "calls.h"

#include <errno.h>

/* ---- what all kinds have in common ------------------------------------- */

struct sync *sync_made(const void *at, const char *kind, bool is_shared)
{
	struct sync *s = sync_at(place_of(at));

	s->kind = kind;
	s->shared = is_shared;
	s->owner = NOBODY;
	s->count = 0;
	return s;
}

/* One that was never made, but zeroed or set by an initializer. */
struct sync *sync_found(const void *at, const char *kind)
{
	struct sync *s = sync_at(place_of(at));

	if (s->kind == NULL)
		s->kind = kind;
	return s;
}

int sync_taken(struct sync *s, const char *call, const void *pc, int result)
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

void sync_given_back(struct sync *s, const char *call, const void *pc)
{
	release_to(s->place);
	lock_is_free(s->place);
	note(UNLOCKS, call, s->place, pc);
	s->owner = NOBODY;
	wake(s->place, s->shared, TASKS);
}

/* ---- mutexes ----------------------------------------------------------- */

int explored_pthread_mutex_init(pthread_mutex_t *m,
				const pthread_mutexattr_t *attr)
{
	int pshared = 0, type = PTHREAD_MUTEX_NORMAL, r;
	struct sync *s;

	r = pthread_mutex_init(m, attr);
	if (!exploring() || r != 0)
		return r;
	if (attr != NULL) {
		pthread_mutexattr_getpshared(attr, &pshared);
		pthread_mutexattr_gettype(attr, &type);
	}
	s = sync_made(m, "mutex", pshared == PTHREAD_PROCESS_SHARED);
	s->errorcheck = type == PTHREAD_MUTEX_ERRORCHECK;
	return r;
}

int sync_lock_mutex(pthread_mutex_t *m, struct sync *s, const char *call,
		    int64_t deadline, const void *pc)
{
	int r;

	while ((r = pthread_mutex_trylock(m)) == EBUSY) {
		if (s->errorcheck && s->owner == me)
			return sync_taken(s, call, pc, EDEADLK);
		if (deadline <= arena->now ||
		    wait_here(call, s->place, deadline, pc) == TIMED_OUT)
			return sync_taken(s, call, pc, ETIMEDOUT);
	}
	return sync_taken(s, call, pc, r);
}

static int mutex_call(pthread_mutex_t *m, const char *call, int64_t deadline,
		      const void *pc)
{
	point(place_of(m), pc);
	return sync_lock_mutex(m, sync_found(m, "mutex"), call, deadline, pc);
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
	return sync_taken(sync_found(m, "mutex"), "pthread_mutex_trylock",
			  HERE, r);
}

int explored_pthread_mutex_timedlock(pthread_mutex_t *m,
				     const struct timespec *until)
{
	if (!exploring())
		return pthread_mutex_timedlock(m, until);
	return mutex_call(m, "pthread_mutex_timedlock",
			  deadline_at(CLOCK_REALTIME, until), HERE);
}

int explored_pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
				     const struct timespec *until)
{
	if (!exploring())
		return pthread_mutex_clocklock(m, clock, until);
	if (until->tv_nsec < 0 || until->tv_nsec >= SECOND)
		return EINVAL;
	return mutex_call(m, "pthread_mutex_clocklock",
			  deadline_at(clock, until), HERE);
}

int explored_pthread_mutex_unlock(pthread_mutex_t *m)
{
	struct sync *s;
	int r;

	if (!exploring())
		return pthread_mutex_unlock(m);
	point(place_of(m), HERE);
	s = sync_found(m, "mutex");
	r = pthread_mutex_unlock(m);
	if (r == 0)
		sync_given_back(s, "pthread_mutex_unlock", HERE);
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

/* ---- spin locks -------------------------------------------------------- */

int explored_pthread_spin_init(pthread_spinlock_t *l, int pshared)
{
	if (exploring())	/* it spins: who is not told sees it, too */
		sync_made((const void *)l, "spin lock", true);
	return pthread_spin_init(l, pshared);
}

int explored_pthread_spin_lock(pthread_spinlock_t *l)
{
	struct sync *s;

	if (!exploring())
		return pthread_spin_lock(l);
	point(place_of(l), HERE);
	s = sync_found((const void *)l, "spin lock");
	s->shared = true;
	while (pthread_spin_trylock(l) == EBUSY)
		wait_here("pthread_spin_lock", s->place, FOREVER, HERE);
	return sync_taken(s, "pthread_spin_lock", HERE, 0);
}

int explored_pthread_spin_trylock(pthread_spinlock_t *l)
{
	int r;

	if (!exploring())
		return pthread_spin_trylock(l);
	point(place_of(l), HERE);
	r = pthread_spin_trylock(l);
	return sync_taken(sync_found((const void *)l, "spin lock"),
			  "pthread_spin_trylock", HERE, r);
}

int explored_pthread_spin_unlock(pthread_spinlock_t *l)
{
	struct sync *s;
	int r;

	if (!exploring())
		return pthread_spin_unlock(l);
	point(place_of(l), HERE);
	s = sync_found((const void *)l, "spin lock");
	r = pthread_spin_unlock(l);
	sync_given_back(s, "pthread_spin_unlock", HERE);
	return r;
}

/* ---- read-write locks -------------------------------------------------- */

int explored_pthread_rwlock_init(pthread_rwlock_t *l,
				 const pthread_rwlockattr_t *attr)
{
	int pshared = 0;

	if (attr != NULL)
		pthread_rwlockattr_getpshared(attr, &pshared);
	if (exploring())
		sync_made(l, "read-write lock",
			  pshared == PTHREAD_PROCESS_SHARED);
	return pthread_rwlock_init(l, attr);
}

static int rwlock_call(pthread_rwlock_t *l, int (*try)(pthread_rwlock_t *),
		       const char *call, const void *pc)
{
	struct sync *s;
	int r;

	point(place_of(l), pc);
	s = sync_found(l, "read-write lock");
	while ((r = try(l)) == EBUSY)
		wait_here(call, s->place, FOREVER, pc);
	return sync_taken(s, call, pc, r);
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
	s = sync_found(l, "read-write lock");
	r = pthread_rwlock_unlock(l);
	sync_given_back(s, "pthread_rwlock_unlock", HERE);
	return r;
}
