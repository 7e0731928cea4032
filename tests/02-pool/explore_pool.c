/*
 * The pool, in every order in which the owner and its workers can meet, and
 * with a worker that dies at each point.
 *
 * A worker is known by the tasks it runs, not by how it was made: what a
 * library puts between it and the owner is nobody's business.
 */
#include "pool.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "explorer.h"
#include "harness.h"

#define WHY_NOT_TOLD "L02-13 A worker died and its items died with it, but" \
	" the caller was not told."
#define WHY_EARLY "A worker said that it was done with an item before the" \
	" result was in its place, and died in between."
#define WHY_OTHERS "L02-13 One worker died, and it took the others along."

enum { ITEMS = 3, WORKERS = 2, EMPTY = -1 };

struct facts {
	bool made;
	int size[3], result[2], error[2], closed;
	int done[2][ITEMS], errs[2][ITEMS], results[2][ITEMS];
	int met, dead_at[ITEMS];
	const char *why;	/* what judge() thinks of it */
};

/* Tasks see it as it was when their worker was made: where the facts are. */
static struct facts *facts;

/* ---- tasks -------------------------------------------------------------- */

static void square(const void *item, void *result, int map)
{
	int i;

	memcpy(&i, item, sizeof i);
	facts->done[map][i]++;
	i = i * i + 7;
	memcpy(result, &i, sizeof i);
}

static int first_task(const void *item, void *result)
{
	square(item, result, 0);
	return 0;
}

static int second_task(const void *item, void *result)
{
	square(item, result, 1);
	return 0;
}

/* The second item is the one that fails. */
static int failing_task(const void *item, void *result)
{
	int i;

	memcpy(&i, item, sizeof i);
	square(item, result, 0);
	return i == 1 ? 4 : 0;
}

/* Each of the two waits for the other, and then has a name. */
static int meet(const void *item, void *result)
{
	int i;

	memcpy(&i, item, sizeof i);
	memcpy(result, &i, sizeof i);
	facts->met++;
	while (facts->met < WORKERS)
		explore_yield();
	explore_name(i == 0 ? "worker A" : "worker B");
	return 0;
}

static int mortal_task(const void *item, void *result)
{
	int i;

	memcpy(&i, item, sizeof i);
	facts->dead_at[i]++;		/* not back yet */
	square(item, result, 0);
	explore_yield();
	facts->dead_at[i]--;
	return 0;
}

/* ---- maps --------------------------------------------------------------- */

static void map(struct pool *p, pool_fn *fn, int n, int chunk, int number)
{
	int items[ITEMS] = { 0, 1, 2 };

	for (int i = 0; i < ITEMS; i++)
		facts->errs[number][i] = facts->results[number][i] = EMPTY;
	facts->result[number] = pool_map(p, fn, items, (size_t)n,
		sizeof *items, facts->results[number], sizeof *items,
		(size_t)chunk, facts->errs[number]);
	facts->error[number] = errno;
}

static const char *map_is_whole(const struct facts *f, int number, int n)
{
	if (f->result[number] != 0)
		return text("pool_map returned %d, %s", f->result[number],
			    strerror(f->error[number]));
	for (int i = 0; i < n; i++) {
		if (f->errs[number][i] != 0)
			return text("errs[%d] is %d", i, f->errs[number][i]);
		if (f->done[number][i] != 1)
			return text("item %d was done %d times", i,
				    f->done[number][i]);
		if (f->results[number][i] != i * i + 7)
			return text("results[%d] is %d", i,
				    f->results[number][i]);
	}
	return NULL;
}

/* ---- what a finding tells about the mistake ----------------------------- */

static const char *why_map(const struct finding *f)
{
	switch (f->how) {
	case FOUND_WRONG:
		return f->overwritten ? "Two workers took the same item: "
		       "between looking and taking there is a gap." :
		       facts->why;
	case FOUND_STUCK:
		return f->lost_wakeup ? "The wake-up came before the other one "
		       "slept, and nobody keeps it for later." : NULL;
	default:
		return NULL;
	}
}

static const char *why_death(const struct finding *f)
{
	switch (f->how) {
	case FOUND_WRONG:
		return f->killed ? facts->why : NULL;
	case FOUND_CRASH:
		return f->signal == SIGPIPE ? "L02-14 Writing to a process "
		       "that has gone killed you instead of telling you." :
		       NULL;
	case FOUND_STUCK:
	case FOUND_SPIN:
		return f->killed ? "L02-13 A worker died, and somebody still "
		       "waits for what only it could do." : NULL;
	default:
		return NULL;
	}
}

/* ---- two maps ----------------------------------------------------------- */

static void two_maps(struct facts *f, int chunk)
{
	struct pool *p;

	facts = f;
	p = pool_create(WORKERS);
	f->made = p != NULL;
	if (!f->made)
		return;
	map(p, first_task, ITEMS, chunk, 0);
	map(p, second_task, 2, chunk, 1);
	f->closed = pool_close(p);
}

static void map_one_by_one(void *shared)
{
	two_maps(shared, 1);
}

static void map_as_it_likes(void *shared)
{
	two_maps(shared, 0);
}

static const char *both_are_whole(void *shared)
{
	struct facts *f = shared;
	const char *wrong;

	if (!f->made)
		return "pool_create failed";
	wrong = map_is_whole(f, 0, ITEMS);
	if (wrong == NULL)
		wrong = map_is_whole(f, 1, 2);
	if (wrong == NULL && f->closed != 0)
		wrong = text("pool_close returned %d", f->closed);
	return wrong;
}

static void maps(void)
{
	struct facts *f = facts = shared(sizeof *f);

	for (int i = 0; i < 2; i++)
		explore(&(struct exploration){
			.scenario = i == 0 ? map_one_by_one : map_as_it_likes,
			.judge = both_are_whole,
			.shared = f, .size = sizeof *f, .schedules = 200,
			.spurious = true, .why = why_map,
			.expected = "each item is done once, and its result "
				    "is its own" });
}

/* ---- a task that fails -------------------------------------------------- */

static void map_a_failure(void *shared)
{
	struct facts *f = shared;
	struct pool *p;

	facts = f;
	p = pool_create(WORKERS);
	f->made = p != NULL;
	if (!f->made)
		return;
	map(p, failing_task, ITEMS, 1, 0);
	f->closed = pool_close(p);
}

static const char *failure_is_told(void *shared)
{
	struct facts *f = shared;

	if (!f->made)
		return "pool_create failed";
	if (f->result[0] != -1 || f->error[0] != ECANCELED)
		return text("pool_map returned %d, %s", f->result[0],
			    strerror(f->error[0]));
	for (int i = 0; i < ITEMS; i++) {
		if (f->errs[0][i] != (i == 1 ? 4 : 0))
			return text("errs[%d] is %d", i, f->errs[0][i]);
		if (i != 1 && f->results[0][i] != i * i + 7)
			return text("results[%d] is %d", i, f->results[0][i]);
	}
	return NULL;
}

static void failures(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = map_a_failure, .judge = failure_is_told,
		.shared = f, .size = sizeof *f, .schedules = 100,
		.expected = "-1 with ECANCELED, errs[1] is 4, and the other "
			    "results are there" });
}

/* ---- a worker that dies ------------------------------------------------- */

static void map_and_lose(void *shared)
{
	struct facts *f = shared;
	struct pool *p;

	facts = f;
	p = pool_create(WORKERS);
	f->made = p != NULL;
	if (!f->made)
		return;
	map(p, meet, WORKERS, 1, 1);
	explore_from_here();
	map(p, mortal_task, ITEMS, 1, 0);
	f->size[0] = pool_size(p);
	map(p, second_task, 2, 1, 1);
	f->size[1] = pool_size(p);
	f->closed = pool_close(p);
}

/*
 * Which items may be lost: the one that the dead worker was at, and what it
 * may have been given with it: up to the whole, says the header, but where
 * errs[i] is 0 the result is there.
 */
static const char *items_are_told(struct facts *f, int number, int n,
				  bool killed)
{
	int lost = 0;

	for (int i = 0; i < n; i++) {
		int err = f->errs[number][i];

		if (err == POOL_LOST)
			lost++;
		else if (err != 0)
			return text("errs[%d] is %d", i, err);
		else if (f->results[number][i] != i * i + 7)
			return f->why = WHY_EARLY,
			       text("errs[%d] is 0, and results[%d] is %d", i,
				    i, f->results[number][i]);
	}
	if (lost > 0 && !killed)
		return "an item is lost, and nobody died";
	f->why = WHY_NOT_TOLD;
	if (f->result[number] == 0)
		return lost == 0 ? NULL : "0, and an item is lost";
	if (lost == 0)
		return text("pool_map returned %d, %s, and no item is lost",
			    f->result[number], strerror(f->error[number]));
	return f->error[number] == EOWNERDEAD ? NULL :
	       text("an item is lost, and the error is %s",
		    strerror(f->error[number]));
}

static const char *dead_item_is_lost(const struct facts *f)
{
	for (int i = 0; i < ITEMS; i++)
		if (f->dead_at[i] > 0 && f->errs[0][i] == 0)
			return text("a worker died in item %d, and errs[%d] "
				    "is 0", i, i);
	return NULL;
}

static const char *death_is_told(void *shared)
{
	struct facts *f = shared;
	const char *wrong;

	if (!f->made)
		return "pool_create failed";
	wrong = items_are_told(f, 0, ITEMS, explore_killed());
	if (wrong == NULL)
		wrong = dead_item_is_lost(f);
	if (wrong == NULL)
		wrong = items_are_told(f, 1, 2, explore_killed());
	if (wrong == NULL)
		f->why = WHY_OTHERS;
	if (wrong == NULL && (f->size[1] < 1 || f->size[1] > WORKERS))
		wrong = text("pool_size is %d", f->size[1]);
	if (wrong == NULL && f->closed != 0)
		wrong = text("pool_close returned %d", f->closed);
	if (wrong != NULL)
		return wrong;
	return explore_stray_signal() ?
	       "a signal to a process that was collected before" : NULL;
}

static void deaths(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = map_and_lose, .judge = death_is_told,
		.shared = f, .size = sizeof *f, .schedules = 300,
		.kill = "worker A", .why = why_death,
		.expected = "the map returns, the item the dead worker was at "
			    "is lost, and what is not lost is right" });
}

static const struct check checks[] = {
	{ "interleavings", "each item is done once, whatever the order",
	  maps, pool_map },
	{ "interleavings", "a failure is told, whatever the order", failures,
	  pool_map },
	{ "interleavings", "a worker that dies is no end, wherever it dies",
	  deaths, pool_map },
};

CHECKS("02-pool", checks);
