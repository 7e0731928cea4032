/* The same scenario again and again, with another call failing each time. */
#include "internal.h"

#include <errno.h>
#include <string.h>

/* EINTR where the function may return it; see each one's man page. */
const struct fault fault_interruptions[] = {
	{ .call = "blocking", .error = EINTR },
	{ .call = NULL },
};

const struct fault fault_short_counts[] = {
	{ .call = "read", .error = SHORT_ONE },
	{ .call = "read", .error = SHORT_HALF },
	{ .call = "read", .error = SHORT_BUT_ONE },
	{ .call = "read", .error = SHORT_ONE, .onwards = true },
	{ .call = "write", .error = SHORT_ONE },
	{ .call = "write", .error = SHORT_HALF },
	{ .call = "write", .error = SHORT_BUT_ONE },
	{ .call = "write", .error = SHORT_HALF, .onwards = true },
	{ .call = NULL },
};

const struct fault fault_refusals[] = {
	{ .call = "fork", .error = EAGAIN },
	{ .call = "fork", .error = EAGAIN, .onwards = true },
	{ .call = "descriptors", .error = EMFILE },
	{ .call = "mmap", .error = ENOMEM },
	{ .call = "malloc", .error = ENOMEM },
	{ .call = "pthread_create", .error = EAGAIN },
	{ .call = "sem_open", .error = ENOSPC },
	{ .call = "sysv", .error = ENOSPC },
	{ .call = "ftruncate", .error = EIO },
	{ .call = "posix_fallocate", .error = ENOSPC },
	{ .call = NULL },
};

const struct fault fault_no_space[] = {
	{ .call = "space", .error = ENOSPC },
	{ .call = "space", .error = ENOSPC, .onwards = true },
	{ .call = NULL },
};

enum { RUNS = 200, ENOUGH = 30, PLACES = 64 };

struct place { const void *pc; int strikes; };

/* How often the fault has struck where it struck last. */
static int strikes_there(struct place *places)
{
	int i = 0;

	while (i < PLACES - 1 && places[i].strikes > 0 &&
	       places[i].pc != board->fault_pc)
		i++;
	places[i].pc = board->fault_pc;
	return ++places[i].strikes;
}

/*
 * One fault at each k; returns how many runs were struck. Who asks again and
 * again makes the same call a thousand times: then k goes on in ever larger
 * steps, until another place is struck.
 */
static int sweep(const struct fence *f, size_t shared_size, struct fault fault,
		 void (*prepare)(void *shared),
		 void (*judge)(void *shared, const struct fence_end *end))
{
	struct place places[PLACES] = {0};
	struct fence_end end;
	int hits = 0, step = 1;

	for (fault.k = 1; hits < RUNS; fault.k += step) {
		memset(f->shared, 0, shared_size);
		if (prepare != NULL)
			prepare(f->shared);
		fault_set(&fault);
		end = fence_try(f);
		if (fault_hits() == 0)
			break;
		hits++;
		if (end.how == FENCE_STUCK || end.how == FENCE_OVERTIME ||
		    end.how == FENCE_COPIED || end.how == FENCE_STORM)
			fail_end(f, end);
		judge(f->shared, &end);
		step = strikes_there(places) <= ENOUGH ? 1 : 2 * step;
	}
	return hits;
}

void fault_sweep(const struct fence *f, size_t shared_size, const char *call,
		 int error, void (*prepare)(void *shared),
		 void (*judge)(void *shared, const struct fence_end *end))
{
	const struct fault fault = { .call = call, .error = error };

	if (sweep(f, shared_size, fault, prepare, judge) == 0)
		skip_check("not exercised: no %s call that could fail so",
			   call);
}

int fault_sweep_all(const struct fence *f, size_t shared_size,
		    const struct fault *faults, void (*prepare)(void *shared),
		    void (*judge)(void *shared, const struct fence_end *end))
{
	int hits = 0;

	for (int i = 0; faults[i].call != NULL; i++)
		hits += sweep(f, shared_size, faults[i], prepare, judge);
	if (hits == 0)
		skip_check("not exercised: no call that could fail so (%s%s)",
			   faults[0].call, faults[1].call ? ", ..." : "");
	return hits;
}
