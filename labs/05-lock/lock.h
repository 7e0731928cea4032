/*
 * lock - let one process at a time do what must not be done by two:
 * Python's multiprocessing.Lock and Value, and the shared counter
 *
 *	struct value *total = value_create(0);	before the first fork
 *	... fork ...
 *	counter_worker(total, 100000);		in each child
 *	... wait for the children ...
 *	value_update(total, NULL, NULL, &now);	now is 400000
 *	value_destroy(total);
 *
 * A lock and a value belong to the process that created them, and can be
 * used by it and by all its descendants that are forked afterwards. Nothing
 * of them has a name: two runs of a program never meet, and when the last
 * process that has them is gone, however it went, they are gone too.
 *
 * No function here prints, ends its caller, or leaves a signal handler or a
 * mask behind; a signal that arrives does not end a wait. An int function
 * returns -1 with errno when it fails.
 */
#ifndef LOCK_H
#define LOCK_H

#define LOCK_OWNER_DIED 2	/* acquired, but see lock_acquire */

struct lock;
struct value;

/*
 * lock_create - make a lock that nobody holds
 *
 * Call it before forking the processes that shall share it.
 * Returns the lock, or NULL with ENOMEM or what else the system says
 * (EMFILE and the like, where descriptors are used); then nothing is left.
 * Python: multiprocessing.Lock()     See: pthread_mutexattr_setpshared(3)
 */
struct lock *lock_create(void);

/*
 * lock_acquire - wait until nobody holds the lock, and hold it
 *
 * timeout:  seconds; negative waits for ever, 0 does not wait. They are
 *           counted on a clock that does not jump.
 * A waiting process sleeps. The lock is not recursive: a holder that
 * acquires it again waits for itself, until its time limit or for ever.
 * When a process dies while it holds the lock, the lock is not lost with it:
 * the next to acquire it gets LOCK_OWNER_DIED, once, and holds it like any
 * other; whoever comes after that gets 0 again. What the lock protects may
 * have been left half changed, and it is the caller who knows.
 * Returns 0 or LOCK_OWNER_DIED when the caller holds it now, 1 when the time
 * ran out, or -1 with errno.
 * Python: Lock.acquire(timeout=...)     See: pthread_mutex_clocklock(3)
 */
int lock_acquire(struct lock *l, double timeout);

/*
 * lock_release - let the next one in
 *
 * Only the process that holds the lock can release it. Never waits.
 * Returns 0, or -1 with EPERM if the caller does not hold it; then nothing
 * has changed.
 * Python: Lock.release()     See: pthread_mutex_unlock(3)
 */
int lock_release(struct lock *l);

/*
 * lock_destroy - give everything back
 *
 * Called once, by the process that created the lock, when nobody holds it or
 * waits for it any more. A child that ends does not call it.
 */
void lock_destroy(struct lock *l);

/*
 * value_create - a number that processes share, and the lock that goes with it
 *
 * initial:  any long
 * Call it before forking. Returns the value, or NULL as lock_create does.
 * Python: multiprocessing.Value('l', initial)
 */
struct value *value_create(long initial);

/*
 * value_update - look at the value, or change it, while nobody else can
 *
 * fn:   runs once, in the calling process, and while it runs no other process
 *       is inside value_update for the same v. It finds the value in *v and
 *       leaves there what it shall be. When it returns 0, that is the new
 *       value; when it returns anything else, the value stays as it was.
 *       fn must not call value_update for the same v. NULL changes nothing.
 * arg:  handed to fn
 * now:  gets the value as it was when this update was through; may be NULL
 * Waits as long as it takes. A process that dies inside fn has changed
 * nothing, and does not keep the others out.
 * Returns 0, or -1 with ECANCELED when fn did not return 0 (*now is set all
 * the same), or with another errno.
 * Python: with v.get_lock(): v.value = ...
 */
int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now);

/* Called once, by the process that created it, when nobody uses it. */
void value_destroy(struct value *v);

/*
 * counter_worker - add 1 to the value, so many times
 *
 * What each process of the program `counter` runs. Whatever others add at
 * the same time, none of the increments is lost.
 * increments:  0 or more
 * Returns 0, or -1 with EINVAL (negative) or the error of value_update.
 * Python: for _ in range(increments): with lock: value.value += 1
 */
int counter_worker(struct value *v, long increments);

#endif
