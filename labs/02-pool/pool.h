/*
 * pool - a fixed number of worker processes that do what they are given
 *
 *   1. pool_create() starts the workers.
 *   2. pool_map() and pool_apply() hand them work and wait for it, as often
 *      as you like.
 *   3. pool_close(), or in a hurry pool_terminate(), ends and collects them.
 *
 * The process that created a pool owns it: only the owner uses it, in one
 * thread at a time, and the thread that created it stays alive as long as
 * the pool. Other children that it has are none of the pool's business. When
 * the owner dies, however it dies, its workers end too: an idle one at once, a
 * busy one at the latest when it is through with what it has in hand.
 *
 * No function here prints, ends the caller, is ended by an interrupted wait,
 * kills the caller by SIGPIPE or leaves a signal handler or mask behind.
 *
 * Python: multiprocessing.Pool     See: fork(2), socketpair(2), mmap(2)
 */
#ifndef POOL_H
#define POOL_H

#include <stddef.h>

/* errs[i] of an item whose worker died with it; no task may return this. */
#define POOL_LOST (-1000)

struct pool;

/*
 * A task: reads one item, fills one result, and returns 0 for success or
 * any other number for failure.
 *
 * It runs in a worker, never in the process that called pool_map(). Beside
 * its item it sees the memory of the caller as it was when the worker was
 * started; what it changes there the caller never sees. The worker ends
 * without running the caller's atexit() functions and without flushing
 * stdio, so a task that prints writes its lines out itself.
 */
typedef int pool_fn(const void *item, void *result);

/*
 * pool_create - start a pool of workers
 *
 * workers: how many, at least 1
 * The workers may also be started later, by the first pool_map() or by each.
 * Then it is that call which fails where a worker cannot be started.
 * Returns the pool, or NULL with EINVAL (less than 1 worker), EAGAIN or
 * ENOMEM (no more processes), EMFILE or ENFILE (no more descriptors). After
 * a failure nothing is left of it: no process, no descriptor.
 * Python: Pool(workers)     See: fork(2)
 */
struct pool *pool_create(int workers);

/*
 * pool_map - results[i] = fn(items[i]) for every i from 0 to n - 1
 *
 * fn:          runs in the workers, once for each item
 * items:       n items of item_size bytes each, one behind the other, read
 *              as they are at the time of this call
 * results:     room for n results of result_size bytes each
 * chunksize:   how many neighbouring items go to one worker in one go (the
 *              last chunk may be shorter); 0 = as the pool likes
 * errs:        NULL, or room for n numbers: errs[i] becomes 0 where fn
 *              succeeded, what fn returned where it failed, and POOL_LOST
 *              where the worker died with the item
 *
 * The tasks run at the same time, as many as there are workers, in any
 * order; results[i] always belongs to items[i]. Waits until every item is
 * done or lost. No items are a success.
 *
 * A task that fails stops no other. A worker that dies, by a signal or by
 * leaving, loses the item it was at, and possibly more of what it had been
 * given; the others go on. It may be replaced or not. When none is left, all
 * that was not done is lost. Where errs[i] is 0, results[i] is valid,
 * whatever happened to the others; elsewhere results[i] means nothing.
 *
 * Returns 0 if all succeeded, or -1 with
 *   ECANCELED   a task failed, and none was lost: errs tells which
 *   EOWNERDEAD  a worker died and took an item along: errs tells which
 *   ENOMEM, ENOSPC, EAGAIN, ...  the system refused what the call needs:
 *               nothing is running any more and nothing of it counts, even
 *               if it had begun; try again or with less
 * Python: Pool.map(fn, items, chunksize)     See: recv(2), waitpid(2)
 */
int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs);

/*
 * pool_apply - run one task in a worker and wait for its result
 *
 * Returns as pool_map() with this one item does.
 * Python: Pool.apply(fn, (item,))
 */
int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size);

/*
 * pool_size - how many workers the pool has
 *
 * As many as it was created with, less those that have died and were not
 * replaced; a death may be noticed only by the next map. (Workers that are
 * started only by a map count already.)
 */
int pool_size(const struct pool *p);

/*
 * pool_close - let the workers end, collect them all and free the pool
 *
 * No zombie, no descriptor and no shared memory is left. p is invalid
 * afterwards.
 * Returns 0, also when workers had died before.
 * Python: Pool.close() and Pool.join()     See: waitpid(2)
 */
int pool_close(struct pool *p);

/*
 * pool_terminate - the same, without waiting for work in progress
 *
 * Python: Pool.terminate() and Pool.join()     See: kill(2)
 */
int pool_terminate(struct pool *p);

#endif
