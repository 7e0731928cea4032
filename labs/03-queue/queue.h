/*
 * queue - a bounded first-in first-out queue between processes: Python's
 * multiprocessing.Queue(maxsize)
 *
 *	struct queue *q = queue_create(5, sizeof(int));   before the first fork
 *	... fork ...
 *	queue_put(q, &number, -1);		in the producers
 *	queue_get(q, &number, -1);		in the consumers
 *	queue_close(q);				when nothing more will be put
 *	queue_destroy(q);			by the creator, last
 *
 * A queue belongs to the process that created it, and is used by it and by
 * all its descendants that are forked afterwards, any number of producers
 * and consumers. It has no name: two runs of a program never meet, and when
 * the last process that has it is gone, however it went, it is gone too.
 *
 * Order: what one process puts comes out in the order in which it put it,
 * and an item whose put had returned before another put began comes out
 * before that one. Nobody promises an order between the lines that two
 * consumers print.
 *
 * Death: a process that is killed in the middle of a put or a get takes at
 * most the item of that call with it, and the room of that one item. It
 * never tears an item, delivers none twice, and never keeps the others out:
 * their calls that begin afterwards work as before. After the death of one
 * that was waiting, this holds for calls that do not have to wait.
 *
 * Time limits are seconds: negative waits for ever, 0 does not wait. They
 * are counted on a clock that does not jump. A waiting process sleeps, and
 * does not look again and again; a signal that arrives does not end a wait.
 *
 * No function here prints, ends its caller, or leaves a signal handler or a
 * mask behind. An int function returns -1 with errno when it fails.
 */
#ifndef QUEUE_H
#define QUEUE_H

#include <stddef.h>

struct queue;

/*
 * queue_create - make an empty queue
 *
 * maxsize:    how many items it holds at most, at least 1
 * item_size:  bytes of each item, at least 1; any number of them
 * Call it before forking the processes that shall share it.
 * Returns the queue, or NULL with EINVAL (one of the two is 0), ENOMEM (so
 * much memory there is not) or what else the system says (EMFILE and the
 * like, where descriptors are used); then nothing is left.
 * Python: multiprocessing.Queue(maxsize)     See: mmap(2)
 */
struct queue *queue_create(size_t maxsize, size_t item_size);

/*
 * queue_put - append a copy of an item, and wait for room if there is none
 *
 * item:     item_size bytes; any bytes are a legal item. They are copied, and
 *           the caller may change them as soon as the call returns.
 * timeout:  seconds to wait for room
 * Returns 0, 1 when the queue was still full when the time ran out, or -1
 * with EPIPE (closed, also while it waited) or EINVAL (item is NULL). The
 * queue has the item if and only if it returns 0.
 * Python: Queue.put(item, timeout=...), queue.Full     See: futex(2)
 */
int queue_put(struct queue *q, const void *item, double timeout);

/*
 * queue_get - take the oldest item, and wait for one if there is none
 *
 * item:     gets its item_size bytes; unchanged unless 0 is returned
 * timeout:  seconds to wait for an item
 * Each item is got once, by one process. Closing a queue does not empty it:
 * what had been put is still got.
 * Returns 0, 1 when the queue was still empty when the time ran out, or -1
 * with EPIPE (closed, and nothing left in it) or EINVAL (item is NULL).
 * Python: Queue.get(timeout=...), queue.Empty
 */
int queue_get(struct queue *q, void *item, double timeout);

/*
 * queue_close - nothing more will be put
 *
 * For all processes at once, by any of them. Everybody who waits for room or
 * for an item is woken. Closing again is harmless. Does not wait for items
 * to be got.
 * Returns 0, or -1 with errno.
 * Python: Queue.shutdown() since 3.13; before that, a sentinel for each
 * consumer
 */
int queue_close(struct queue *q);

/*
 * queue_qsize - how many items are in it
 *
 * Exact as long as nobody puts or gets; otherwise it was true a moment ago.
 * Python: Queue.qsize()
 */
size_t queue_qsize(struct queue *q);

/* Called once, by the process that created it, when nobody uses it. */
void queue_destroy(struct queue *q);

/*
 * queue_run - producers and consumers at work, until all is consumed
 *
 * Starts so many processes, each at least 1, that share q, and returns when
 * all of them have ended.
 * produce:  runs once in each producer: puts whatever it likes. 0 = done.
 * consume:  called in a consumer for each item it gets. 0 = go on.
 * producer, consumer: 0, 1, 2, ...
 * arg:      handed to both; the memory of the caller, as it was at the start
 *
 * The caller neither puts nor gets, and items may be many more than fit into
 * q. When the last producer has returned, the queue is closed, and not
 * before; each consumer ends when the queue is closed and drained. When
 * anything goes wrong (a callback does not return 0, a process dies, one
 * cannot be started), the queue is closed at once, so that nobody waits for
 * ever: a consumer whose consume failed takes nothing more, the others still
 * consume what had been put.
 * q is created by the caller, not closed, and is closed afterwards. Other
 * children of the caller are left alone.
 * Returns 0, or -1 with EINVAL (a number below 1; then q is as it was),
 * ECANCELED (a callback did not return 0), EOWNERDEAD (a process was killed
 * or ended by itself) or what kept a process from being started (EAGAIN,
 * ENOMEM, EMFILE and the like). Where several went wrong, one of them.
 * Python: the Process objects, the sentinels and the joins of the lesson
 */
int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg);

#endif
