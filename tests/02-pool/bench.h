/*
 * bench - the trivial task that all programs of this benchmark do, a million
 * times, and a look at what came of it
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>
#include <stdint.h>

#include "pool.h"

/* 0, 1, 2, ...: n items of 8 bytes. Frees with free(), dies for lack. */
uint64_t *bench_items(size_t n);

/* Room for n results. */
uint64_t *bench_results(size_t n);

/* Dies unless each of the n results is right; then wipes them out. */
void bench_check(uint64_t *results, size_t n);

/* A pointer in a file of its own: no compiler can put the task in line. */
extern pool_fn *bench_task;

#endif
