/*
 * Semaphores, tried like locks; and futexes, played by their definition.
 */
#include "calls.h"

#include <errno.h>
#include <linux/futex.h>

/* ---- semaphores -------------------------------------------------------- */

int explored_sem_init(sem_t *s, int pshared, unsigned value)
{
	int r = sem_init(s, pshared, value);

	if (exploring() && r == 0)
		sync_made(s, "semaphore", pshared != 0);
	return r;
}

static int sem_call(sem_t *at, const char *call, int64_t deadline,
		    const void *pc)
{
	struct sync *s;
	enum wake how = WOKEN;

	point(place_of(at), pc);
	s = sync_found(at, "semaphore");
	while (sem_trywait(at) != 0) {
		if (errno != EAGAIN)
			return -1;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		if (deadline <= arena->now || how == TIMED_OUT)
			return errno = ETIMEDOUT, -1;
		how = wait_here(call, s->place, deadline, pc);
	}
	return sync_taken(s, call, pc, 0);
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
			deadline_at(CLOCK_REALTIME, until), HERE);
}

int explored_sem_clockwait(sem_t *s, clockid_t clock,
			   const struct timespec *until)
{
	if (!exploring())
		return sem_clockwait(s, clock, until);
	return sem_call(s, "sem_clockwait", deadline_at(clock, until), HERE);
}

int explored_sem_trywait(sem_t *s)
{
	if (!exploring())
		return sem_trywait(s);
	point(place_of(s), HERE);
	if (sem_trywait(s) != 0)
		return -1;
	return sync_taken(sync_found(s, "semaphore"), "sem_trywait", HERE, 0);
}

int explored_sem_post(sem_t *s)
{
	struct sync *sync;
	int r;

	if (!exploring())
		return sem_post(s);
	point(place_of(s), HERE);
	sync = sync_found(s, "semaphore");
	r = sem_post(s);
	if (r == 0) {
		sync->signals++;
		sync_given_back(sync, "sem_post", HERE);
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

/* ---- futexes ----------------------------------------------------------- */

static long futex_wait(uint32_t *at, int op, uint32_t value,
		       const struct timespec *t, const void *pc)
{
	int64_t deadline = FOREVER;
	struct place place = place_of(at);
	enum wake how;

	point(place, pc);
	note(WAITS, "futex", place, pc);
	if (__atomic_load_n(at, __ATOMIC_SEQ_CST) != value)
		return errno = EAGAIN, -1;
	if (t != NULL && (op & FUTEX_CMD_MASK) == FUTEX_WAIT)
		deadline = deadline_after(t);
	else if (t != NULL)
		deadline = deadline_at(op & FUTEX_CLOCK_REALTIME
					? CLOCK_REALTIME : CLOCK_MONOTONIC, t);
	if (deadline <= arena->now)
		return errno = ETIMEDOUT, -1;
	do	/* the kernel wakes for a word on the list of who has died */
		how = queue_here("futex", place, deadline, pc);
	while (how == AFTER_DEATH && !(*at & FUTEX_OWNER_DIED));
	switch (how) {
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
