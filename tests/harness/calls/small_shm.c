/* A /dev/shm with little room, seen by the scenario only. */
#include "calls.h"

#include <stdio.h>

bool small_shm(size_t bytes)
{
	char options[64];

	snprintf(options, sizeof options, "size=%zu,nr_inodes=64", bytes);
	if (!own_shm(0, options))
		return false;
	board->shm_size = (long)bytes;
	return true;
}
