/*
 * Who took which lock: the calls of the student's file tell it, so that the
 * report of a hang can name the line. Each lock has one entry, found by its
 * address: what is shared was mapped before fork, and lies at the same one in
 * all. Who holds a lock writes the entry, so no two do so at the same time.
 */
#include "calls.h"

#include <errno.h>

/* The entry of lock; a new one if there is none and make; else -1. */
static int entry(uintptr_t lock, bool make)
{
	uintptr_t none = 0;

	for (int i = 0; i < TAKEN; i++) {
		if (board->taken[i].lock == lock)
			return i;
		if (board->taken[i].lock != 0)
			continue;
		if (!make)
			return -1;
		none = 0;
		if (atomic_compare_exchange_strong(&board->taken[i].lock,
						   &none, lock) ||
		    none == lock)
			return i;
	}
	return -1;
}

void lock_taken(const void *lock, const void *pc)
{
	int i = entry((uintptr_t)lock, true);

	if (i < 0)
		return;
	board->taken[i].pc = pc;
	board->taken[i].tid = own_tid();
}

int lock_tried(const void *lock, int result, const void *pc)
{
	if (result == 0 || result == EOWNERDEAD)
		lock_taken(lock, pc);
	return result;
}

void lock_given(const void *lock)
{
	int i = entry((uintptr_t)lock, false);

	if (i >= 0)
		board->taken[i].tid = 0;
}

pid_t lock_holder(unsigned long lock, const void **pc)
{
	int i = entry(lock, false);

	if (i < 0 || board->taken[i].tid == 0)
		return 0;
	*pc = board->taken[i].pc;
	return board->taken[i].tid;
}
