/*
 * bench - the queues that are compared: one design each
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>

/* So many items fit into each, where the system lets it be chosen. */
enum { BENCH_CAPACITY = 1024, BENCH_BATCH = 32 };

/*
 * key:   its name in bench.py
 * make:  before the fork; dies if it cannot
 * flush: after the last put of a process, or whenever an item shall really
 *        go; NULL: they always do
 * end:   by who made it, when all others have ended
 */
struct bench_queue {
	const char *key;
	void *(*make)(size_t size);
	void (*put)(void *queue, const void *item);
	void (*get)(void *queue, void *item);
	void (*flush)(void *queue);
	void (*end)(void *queue);
};

/* Ended by one without a key. */
extern const struct bench_queue bench_queues[];

/* What a consumer still wants: no batch takes more, others need the rest. */
extern size_t bench_wanted;

/* Memory of so many bytes, all zero, for us and our children; or dies. */
void *bench_share(size_t size);
void bench_unshare(void *memory);

#endif
