/*
 * Conditions and barriers, played by their definition: nobody ever sleeps in
 * libc's.
 */
#include "calls.h"

#include <errno.h>

/* ---- conditions -------------------------------------------------------- */

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
		sync_made(c, "condition", pshared == PTHREAD_PROCESS_SHARED)
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
	mutex = sync_found(m, "mutex");
	condition = sync_found(c, "condition");
	r = pthread_mutex_unlock(m);
	if (r != 0)
		return r;
	sync_given_back(mutex, call, pc);
	note(WAITS, call, condition->place, pc);
	if (deadline > arena->now)
		how = queue_here(call, condition->place, deadline, pc);
	r = sync_lock_mutex(m, mutex, call, FOREVER, pc);
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
	clock = (clockid_t)sync_found(c, "condition")->limit;
	return wait_for_condition(c, m, "pthread_cond_timedwait",
				  deadline_at(clock, until), HERE);
}

int explored_pthread_cond_clockwait(pthread_cond_t *c, pthread_mutex_t *m,
				    clockid_t clock,
				    const struct timespec *until)
{
	if (!exploring())
		return pthread_cond_clockwait(c, m, clock, until);
	return wait_for_condition(c, m, "pthread_cond_clockwait",
				  deadline_at(clock, until), HERE);
}

static int signal_condition(pthread_cond_t *c, const char *call, int n,
			    const void *pc)
{
	struct sync *s;

	point(place_of(c), pc);
	s = sync_found(c, "condition");
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

/* ---- barriers ---------------------------------------------------------- */

int explored_pthread_barrier_init(pthread_barrier_t *b,
				  const pthread_barrierattr_t *attr,
				  unsigned count)
{
	int pshared = 0;

	if (attr != NULL)
		pthread_barrierattr_getpshared(attr, &pshared);
	if (exploring())
		sync_made(b, "barrier", pshared == PTHREAD_PROCESS_SHARED)
			->limit = count;
	return pthread_barrier_init(b, attr, count);
}

int explored_pthread_barrier_wait(pthread_barrier_t *b)
{
	struct sync *s;
	unsigned round;

	if (!exploring())
		return pthread_barrier_wait(b);
	point(place_of(b), HERE);
	s = sync_found(b, "barrier");
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
