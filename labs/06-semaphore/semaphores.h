/*
 * semaphores - let only so many processes in at a time: Python's
 * multiprocessing.Semaphore and BoundedSemaphore
 *
 *	struct semaphore *s = semaphore_create(2, true);   before the fork
 *	... fork ...
 *	semaphore_acquire(s, -1);
 *	... at most two processes are here ...
 *	semaphore_release(s);
 *
 * A semaphore is a number that never falls below 0. Whoever acquires takes 1
 * from it, and waits while it is 0; whoever releases adds 1. Unlike a lock it
 * has no owner: any process may release, and nobody can say whose place is
 * taken. So the place of a process that dies between the two calls is lost,
 * unless somebody knows that it was inside: semaphore_run does.
 *
 * It belongs to the process that created it, and is used by it and by all
 * its descendants that are forked afterwards. It has no name: two runs of a
 * program never meet, and when the last process that has it is gone, however
 * it went, it is gone too.
 *
 * No function here prints, ends its caller, or leaves a signal handler or a
 * mask behind; a signal that arrives does not end a wait. An int function
 * returns -1 with errno when it fails.
 *
 * The system has a <semaphore.h> of its own, which is why this file has its
 * s. See: sem_overview(7)
 */
#ifndef SEMAPHORES_H
#define SEMAPHORES_H

#include <stdbool.h>

struct semaphore;

/*
 * semaphore_create - make a semaphore
 *
 * initial:  how many may be inside, 0 or more
 * bounded:  it never rises above initial: see semaphore_release
 * Returns it, or NULL with EINVAL (initial is negative), ENOMEM or what else
 * the system says (EMFILE and the like, where descriptors are used); then
 * nothing is left. An implementation may refuse an initial above 32767 with
 * EINVAL.
 * Python: multiprocessing.Semaphore(initial), BoundedSemaphore(initial)
 * See: sem_init(3)
 */
struct semaphore *semaphore_create(int initial, bool bounded);

/*
 * semaphore_acquire - take 1 from it, and wait while it is 0
 *
 * timeout:  seconds; negative waits for ever, 0 does not wait. They are
 *           counted on a clock that does not jump.
 * A waiting process sleeps. Nobody promises in which order those who wait
 * get in.
 * Returns 0, 1 when the time ran out (then nothing was taken), or -1 with
 * errno.
 * Python: Semaphore.acquire(timeout=...)     See: sem_clockwait(3)
 */
int semaphore_acquire(struct semaphore *s, double timeout);

/*
 * semaphore_release - add 1, and let one of those who wait in
 *
 * Any process may call it, also one that has not acquired. Never waits for
 * others to acquire.
 * Returns 0, or -1 with EOVERFLOW when it is bounded and stands at its
 * initial value already; then it is unchanged. However many release at the
 * same time, it never rises above.
 * Python: Semaphore.release(), ValueError     See: sem_post(3)
 */
int semaphore_release(struct semaphore *s);

/*
 * semaphore_value - how many could get in now
 *
 * 0 when others wait, never less. It may have changed before you read it:
 * good to be shown, never to decide by.
 * Python: Semaphore.get_value()     See: sem_getvalue(3)
 */
int semaphore_value(struct semaphore *s);

/*
 * Called once, by the process that created it, when nobody uses it. A child
 * that ends does not call it.
 */
void semaphore_destroy(struct semaphore *s);

/*
 * semaphore_with - acquire, room(worker, arg), release
 *
 * room:  runs in the caller, and has a place of s as long as it runs. The
 *        place is given back whatever room returns.
 * Returns what room returned, or -1 with errno if it could not acquire; then
 * room was not called.
 * Python: with semaphore: ...
 */
int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg);

/*
 * semaphore_run - so many workers, each once in the room
 *
 * Starts the workers (processes, numbered 0, 1, 2, ...) all at once, each of
 * which calls room under s as semaphore_with does, and waits until all have
 * ended.
 * workers:  at least 1
 * room:     runs in the worker. 0 = success.
 * arg:      the memory of the caller, as it was at the start
 * most:     gets how many were in the room at once, at most; NULL = not asked
 *
 * A worker that dies in the room (killed, or ended by exit) does not keep its
 * place: it is given back as soon as that worker is gone, so that the others
 * get in. A worker that dies outside has no place, and none is given back.
 * (Of one that is killed in the very moment in which it takes its place or
 * gives it back, nothing is promised.)
 * When a worker cannot be started, those that were come to their end first.
 * Other children of the caller are left alone.
 * Returns 0 when all succeeded, or -1 with ECANCELED (a room did not return
 * 0), EOWNERDEAD (a worker died), EINVAL (less than 1 worker) or the error of
 * fork(2). Where several went wrong, one of them.
 * Python: the Process objects, `with semaphore` and the joins of the lesson
 */
int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most);

#endif
