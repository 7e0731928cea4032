/* Mutexes, condition variables and their like. None is ever interrupted. */
#include "calls.h"

#include <errno.h>
#include <pthread.h>
#include <time.h>

int called_pthread_mutex_lock(pthread_mutex_t *m);
int called_pthread_mutex_lock(pthread_mutex_t *m)
{
	int r;

	WAITING("pthread_mutex_lock", m, HERE, r, pthread_mutex_lock(m));
	return lock_tried(m, r, HERE);
}

int called_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int called_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	int r;

	lock_given(m);
	WAITING("pthread_cond_wait", c, HERE, r, pthread_cond_wait(c, m));
	lock_taken(m, HERE);
	return r;
}

int called_pthread_mutex_timedlock(pthread_mutex_t *m,
				   const struct timespec *t);
int called_pthread_mutex_timedlock(pthread_mutex_t *m, const struct timespec *t)
{
	int r;

	WAITING("pthread_mutex_timedlock", m, HERE, r,
		pthread_mutex_timedlock(m, t));
	return lock_tried(m, r, HERE);
}

int called_pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
				   const struct timespec *t);
int called_pthread_mutex_clocklock(pthread_mutex_t *m, clockid_t clock,
				   const struct timespec *t)
{
	int r;

	WAITING("pthread_mutex_clocklock", m, HERE, r,
		pthread_mutex_clocklock(m, clock, t));
	return lock_tried(m, r, HERE);
}

int called_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				  const struct timespec *t);
int called_pthread_cond_timedwait(pthread_cond_t *c, pthread_mutex_t *m,
				  const struct timespec *t)
{
	int r;

	lock_given(m);
	WAITING("pthread_cond_timedwait", c, HERE, r,
		pthread_cond_timedwait(c, m, t));
	lock_taken(m, HERE);
	return r;
}

int called_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m,
				  clockid_t clock, const struct timespec *t);
int called_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m,
				  clockid_t clock, const struct timespec *t)
{
	int r;

	lock_given(m);
	WAITING("pthread_cond_clockwait", c, HERE, r,
		pthread_cond_clockwait(c, m, clock, t));
	lock_taken(m, HERE);
	return r;
}

int called_pthread_rwlock_rdlock(pthread_rwlock_t *l);
int called_pthread_rwlock_rdlock(pthread_rwlock_t *l)
{
	int r;

	WAITING("pthread_rwlock_rdlock", l, HERE, r, pthread_rwlock_rdlock(l));
	return r;
}

int called_pthread_rwlock_timedrdlock(pthread_rwlock_t *l,
				      const struct timespec *t);
int called_pthread_rwlock_timedrdlock(pthread_rwlock_t *l,
				      const struct timespec *t)
{
	int r;

	WAITING("pthread_rwlock_timedrdlock", l, HERE, r,
		pthread_rwlock_timedrdlock(l, t));
	return r;
}

int called_pthread_rwlock_clockrdlock(pthread_rwlock_t *l, clockid_t clock,
				      const struct timespec *t);
int called_pthread_rwlock_clockrdlock(pthread_rwlock_t *l, clockid_t clock,
				      const struct timespec *t)
{
	int r;

	WAITING("pthread_rwlock_clockrdlock", l, HERE, r,
		pthread_rwlock_clockrdlock(l, clock, t));
	return r;
}

int called_pthread_rwlock_wrlock(pthread_rwlock_t *l);
int called_pthread_rwlock_wrlock(pthread_rwlock_t *l)
{
	int r;

	WAITING("pthread_rwlock_wrlock", l, HERE, r, pthread_rwlock_wrlock(l));
	return r;
}

int called_pthread_rwlock_timedwrlock(pthread_rwlock_t *l,
				      const struct timespec *t);
int called_pthread_rwlock_timedwrlock(pthread_rwlock_t *l,
				      const struct timespec *t)
{
	int r;

	WAITING("pthread_rwlock_timedwrlock", l, HERE, r,
		pthread_rwlock_timedwrlock(l, t));
	return r;
}

int called_pthread_rwlock_clockwrlock(pthread_rwlock_t *l, clockid_t clock,
				      const struct timespec *t);
int called_pthread_rwlock_clockwrlock(pthread_rwlock_t *l, clockid_t clock,
				      const struct timespec *t)
{
	int r;

	WAITING("pthread_rwlock_clockwrlock", l, HERE, r,
		pthread_rwlock_clockwrlock(l, clock, t));
	return r;
}

int called_pthread_barrier_wait(pthread_barrier_t *b);
int called_pthread_barrier_wait(pthread_barrier_t *b)
{
	int r;

	WAITING("pthread_barrier_wait", b, HERE, r, pthread_barrier_wait(b));
	return r;
}

int called_pthread_spin_lock(pthread_spinlock_t *s);
int called_pthread_spin_lock(pthread_spinlock_t *s)
{
	int r;

	WAITING("pthread_spin_lock", s, HERE, r, pthread_spin_lock(s));
	return r;
}

/* ---- taken and given back: for the report of a hang ---------------------- */

int called_pthread_mutex_trylock(pthread_mutex_t *m);
int called_pthread_mutex_trylock(pthread_mutex_t *m)
{
	return lock_tried(m, pthread_mutex_trylock(m), HERE);
}

int called_pthread_mutex_unlock(pthread_mutex_t *m);
int called_pthread_mutex_unlock(pthread_mutex_t *m)
{
	lock_given(m);
	return pthread_mutex_unlock(m);
}

/* ---- what may be refused at the start ----------------------------------- */

/* These return the error and leave errno alone. */
static int refused(const char *call, void *pc)
{
	int before = errno, error = 0;

	if (struck(call, "init", true, pc)) {
		error = errno;
		errno = before;
	}
	return error;
}

int called_pthread_mutex_init(pthread_mutex_t *m,
			      const pthread_mutexattr_t *attr);
int called_pthread_mutex_init(pthread_mutex_t *m,
			      const pthread_mutexattr_t *attr)
{
	int error = refused("pthread_mutex_init", HERE);

	return error ? error : pthread_mutex_init(m, attr);
}

int called_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr);
int called_pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *attr)
{
	int error = refused("pthread_cond_init", HERE);

	return error ? error : pthread_cond_init(c, attr);
}

int called_pthread_rwlock_init(pthread_rwlock_t *l,
			       const pthread_rwlockattr_t *attr);
int called_pthread_rwlock_init(pthread_rwlock_t *l,
			       const pthread_rwlockattr_t *attr)
{
	int error = refused("pthread_rwlock_init", HERE);

	return error ? error : pthread_rwlock_init(l, attr);
}

int called_pthread_barrier_init(pthread_barrier_t *b,
				const pthread_barrierattr_t *attr, unsigned n);
int called_pthread_barrier_init(pthread_barrier_t *b,
				const pthread_barrierattr_t *attr, unsigned n)
{
	int error = refused("pthread_barrier_init", HERE);

	return error ? error : pthread_barrier_init(b, attr, n);
}
