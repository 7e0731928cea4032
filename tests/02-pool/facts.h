/*
 * facts - what the checks of this lab have in common: items and results that
 * tell who is who, what the tasks leave in shared memory about themselves,
 * and what can be said about the results of a map
 */
#ifndef FACTS_H
#define FACTS_H

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness.h"
#include "pool.h"

enum { MANY = 12000, PIDS = 512, CANARY = 0x5a };

/* No padding anywhere: it would be uninitialised memory in a pipe. */
struct item {
	int64_t index, salt;
};

struct result {
	int64_t value, index;
};

/* What became of one pool_map. */
struct outcome {
	int ret, err;		/* what it returned, errno */
	int64_t n;
	int64_t untouched;	/* results that nobody has written */
	int64_t foreign;	/* results of another item */
	int64_t garbage;	/* anything else that is not right */
	int64_t first;		/* the first result that is not right; -1 */
	int64_t first_is;	/* whose result it is */
	int64_t bad_err;	/* the first errs[i] that is not 0; -1 */
	int64_t err_value;
	bool overrun;		/* written behind the last result */
};

struct facts {
	struct outcome map, second;
	struct gate started, go, measured, over;
	struct meeting meeting;
	struct calm idle, busy;
	_Atomic int runs[MANY + 8];	/* how often each item was done */
	_Atomic int all_runs;
	_Atomic pid_t ran_by[MANY + 8];
	_Atomic pid_t pids[PIDS];	/* each worker once */
	_Atomic int gave_up;		/* tasks that waited in vain */
	_Atomic int early, interrupted, ended, handlers;
	int created, error;		/* pool_create: 1 = a pool; errno */
	size_t chunksize;
	int number[8];
	int errs[64];
	int64_t values[64];
	pid_t owner;
};

/* Set by each scenario before there is a pool: workers have it too. */
static struct facts *facts;

static inline int64_t value_of(int64_t index, int64_t salt)
{
	return 3 * index * index + 7 * index + 1000003 * salt + 1;
}

/* Note the caller as a worker; true the first time. */
static inline bool is_new_here(void)
{
	pid_t none, me = getpid();

	for (int i = 0; i < PIDS; i++) {
		none = 0;
		if (facts->pids[i] == me)
			return false;
		if (atomic_compare_exchange_strong(&facts->pids[i], &none, me))
			return true;
	}
	return false;
}

static inline int count_pids(const struct facts *s)
{
	int n = 0;

	while (n < PIDS && s->pids[n] != 0)
		n++;
	return n;
}

/* What every task does in the end. */
static inline int answer(const void *item, void *result)
{
	const struct item *it = item;
	struct result r = { value_of(it->index, it->salt), it->index };

	memcpy(result, &r, sizeof r);
	facts->all_runs++;
	if (it->index >= 0 && it->index < MANY) {
		facts->ran_by[it->index] = getpid();
		facts->runs[it->index]++;
	}
	return 0;
}

static inline int note_and_answer(const void *item, void *result)
{
	is_new_here();
	return answer(item, result);
}

/* As many tasks as there are items must be there at the same time. */
static inline int meet_and_answer(const void *item, void *result)
{
	const struct item *it = item;

	is_new_here();
	if (!meeting_wait(&facts->meeting, (uint32_t)it->salt))
		facts->gave_up++;
	return answer(item, result);
}

static inline int wait_and_answer(const void *item, void *result)
{
	is_new_here();
	gate_open(&facts->started);
	if (!gate_wait(&facts->go))
		facts->gave_up++;
	return answer(item, result);
}

/* After a student's call, in the process that owns the pool. */
static inline void still_owner(const char *function)
{
	if (getpid() != facts->owner)
		still_alone(function);
}

static inline void look_at_result(struct outcome *o, const struct item *item,
				  const struct result *r)
{
	struct result canary;

	memset(&canary, CANARY, sizeof canary);
	if (r->index == item->index &&
	    r->value == value_of(item->index, item->salt))
		return;
	if (memcmp(r, &canary, sizeof canary) == 0 || r->value == 0)
		o->untouched++;		/* no task's result is 0 */
	else if (r->index >= 0 && r->index < o->n && r->index != item->index &&
		 r->value == value_of(r->index, item->salt))
		o->foreign++;
	else
		o->garbage++;
	if (o->first < 0) {
		o->first = item->index;
		o->first_is = r->index;
	}
}

static inline bool is_canary(const void *memory, size_t size)
{
	const unsigned char *byte = memory;

	for (size_t i = 0; i < size; i++)
		if (byte[i] != CANARY)
			return false;
	return true;
}

/*
 * One pool_map over n items, with results in memory that is the caller's
 * alone, and what can be said about it. The first results and errs are kept
 * in facts.
 */
static inline void map_these(struct outcome *o, struct pool *p, pool_fn *fn,
			     const struct item *items, size_t n,
			     size_t chunksize)
{
	struct result *results = malloc((n + 2) * sizeof *results);
	int *errs = malloc((n + 1) * sizeof *errs);

	*o = (struct outcome){ .n = (int64_t)n, .first = -1, .bad_err = -1 };
	memset(results, CANARY, (n + 2) * sizeof *results);
	memset(errs, CANARY, (n + 1) * sizeof *errs);
	errno = 0;
	o->ret = pool_map(p, fn, items, n, sizeof *items, results,
			  sizeof *results, chunksize, errs);
	o->err = errno;
	still_owner("pool_map");
	for (size_t i = 0; i < n; i++) {
		look_at_result(o, &items[i], &results[i]);
		if (o->bad_err < 0 && errs[i] != 0) {
			o->bad_err = (int64_t)i;
			o->err_value = errs[i];
		}
		if (i < 64) {
			facts->errs[i] = errs[i];
			facts->values[i] = results[i].value;
		}
	}
	o->overrun = !is_canary(&results[n], 2 * sizeof *results) ||
		     !is_canary(&errs[n], sizeof *errs);
	free(errs);
	free(results);
}

static inline void map_items(struct outcome *o, struct pool *p, pool_fn *fn,
			     size_t n, size_t chunksize, int64_t salt)
{
	struct item *items = calloc(n + 1, sizeof *items);

	for (size_t i = 0; i < n; i++)
		items[i] = (struct item){ (int64_t)i, salt };
	map_these(o, p, fn, items, n, chunksize);
	free(items);
}

static inline struct pool *create(struct facts *s, int workers)
{
	struct pool *p;

	facts = s;
	errno = 0;
	p = pool_create(workers);
	s->error = errno;
	still_owner("pool_create");
	s->created = p != NULL;
	return p;
}

/* One way or the other. */
static inline void end_pool(struct pool *p, bool terminate)
{
	if (terminate)
		pool_terminate(p);
	else
		pool_close(p);
}

/* ---- verdicts, in the test program -------------------------------------- */

#define WHY_ORDER "L02-01 The result that arrives first is not the result " \
	"of the first item."
#define WHY_REST "L02-04 When the items do not divide evenly the rest " \
	"belongs to nobody."
#define WHY_DEATH "L02-13 A worker died and you reported success."
#define WHY_DEATH_WAIT "L02-13 A worker died, and you go on waiting for what " \
	"it will never send."
#define WHY_HALF "L02-20 Part of the pool could not be created and you went " \
	"on with what was not there."

static inline void expect_created(const struct facts *s)
{
	expect(s->created, "The pool was not created.",
	       "pool_create returns a pool", "NULL, %s", strerror(s->error));
}

/*
 * A map that has done everything. why_missing: for results nobody wrote;
 * why_wrong: for those that are neither right nor another item's.
 */
static inline void expect_done(const struct outcome *o, const char *why_missing,
			       const char *why_wrong)
{
	const char *right = text("result %lld is that of item %lld",
				 (long long)o->first, (long long)o->first);

	if (why_missing == NULL)
		why_missing = "What a worker writes into its own memory the "
			      "caller never sees.";
	if (why_wrong == NULL)
		why_wrong = "A result on its way from the worker to the "
			    "caller has changed.";
	expect(o->ret == 0, "All tasks succeeded, but the map says that "
	       "something went wrong.", "pool_map returns 0", "%d, %s", o->ret,
	       strerror(o->err));
	expect(o->untouched == 0, why_missing, right,
	       "%lld of %lld results were never written, the first is %lld",
	       (long long)o->untouched, (long long)o->n, (long long)o->first);
	expect(o->foreign == 0, WHY_ORDER, right,
	       "%lld of %lld results lie at the wrong place: result %lld is "
	       "that of item %lld", (long long)o->foreign, (long long)o->n,
	       (long long)o->first, (long long)o->first_is);
	expect(o->garbage == 0, why_wrong, right,
	       "%lld of %lld results are wrong, the first is %lld",
	       (long long)o->garbage, (long long)o->n, (long long)o->first);
	expect(!o->overrun, "You wrote behind the last result.",
	       "the memory behind the results and errs is untouched",
	       "it was written to");
	expect(o->bad_err < 0, "A task that succeeded was reported as failed.",
	       "errs[i] is 0 for each i", "errs[%lld] is %lld",
	       (long long)o->bad_err, (long long)o->err_value);
}

static inline void expect_each_once(const struct facts *s, int n, int times,
				    const char *why_missing)
{
	for (int i = 0; i < n; i++)
		if (s->runs[i] != times)
			expect(false, s->runs[i] < times ? why_missing :
			       "An item was given to two workers.",
			       text("item %d is done once in each of %d maps",
				    i, times), "%d times", s->runs[i]);
}

static inline void expect_all_met(const struct facts *s, const char *why,
				  int workers)
{
	expect(s->gave_up == 0, why, text("%d tasks run at the same time",
	       workers), "each of %d tasks waited for the others in vain",
	       s->gave_up);
}

#endif
