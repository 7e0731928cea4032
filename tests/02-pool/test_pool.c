/* What a pool does when everything goes well, and what a task may do to it. */
#include "facts.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

/* ---- the first steps ------------------------------------------------- */

static void create_none(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < 2; i++) {
		create(s, -i);
		s->number[2 * i] = s->created;
		s->number[2 * i + 1] = s->error;
	}
}

static void check_no_workers(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = create_none, .shared = s });
	for (int i = 0; i < 2; i++)
		expect(!s->number[2 * i] && s->number[2 * i + 1] == EINVAL,
		       "L02-20 A pool of no workers could never do anything, "
		       "and you created it.",
		       text("pool_create(%d) returns NULL, EINVAL", -i),
		       "%s, %s", s->number[2 * i] ? "a pool" : "NULL",
		       strerror(s->number[2 * i + 1]));
	expect_clean(NULL);
}

/* The items are there before the pool is: the simplest that can be. */
static void one_worker(void *arg)
{
	static struct item items[5];
	struct facts *s = arg;
	struct pool *p;

	for (int i = 0; i < 5; i++)
		items[i] = (struct item){ i, 1 };
	p = create(s, 1);
	if (p != NULL)
		map_these(&s->map, p, note_and_answer, items, 5, 0);
	s->number[0] = getpid();
}

static void check_one_worker(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){
		.scenario = one_worker, .shared = s,
		.why_stuck = "Caller and worker wait for each other." });
	expect_created(s);
	for (int i = 0; i < count_pids(s); i++)
		expect(s->pids[i] != s->number[0], "The caller did the work "
		       "itself.", "tasks run in the workers",
		       "a task ran in the caller");
	expect_done(&s->map, NULL, NULL);
	expect_each_once(s, 5, 1, WHY_REST);
}

/* size bytes, behind which nobody may read. */
static void *before_the_end(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t whole = (size / page + 1) * page;
	char *at = mmap(NULL, whole + page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	mprotect(at + whole, page, PROT_NONE);
	return at + whole - size;
}

static int answer_next(const void *item, void *result)
{
	struct item next = *(const struct item *)item;

	next.salt++;
	return answer(&next, result);
}

/* The items change after the workers were started, and then move elsewhere;
 * the last map has another task. */
static void change_items(void *arg)
{
	static struct item items[6];
	static struct result results[6];
	struct facts *s = arg;
	struct item *elsewhere;
	struct pool *p = create(s, 1);

	for (int map = 0; p != NULL && map < 4; map++) {
		elsewhere = map == 2 ? before_the_end(sizeof items) : items;
		for (int i = 0; i < 6; i++)
			elsewhere[i] = (struct item){ i, 10 * map + 3 };
		s->number[map] = pool_map(p, map == 3 ? answer_next : answer,
					  elsewhere, 6, sizeof *items, results,
					  sizeof *results, 0, NULL);
		for (int i = 0; i < 6; i++)
			s->errs[map] += results[i].value !=
				value_of(i, 10 * map + (map == 3 ? 4 : 3));
	}
}

static void check_todays_items(void)
{
	static const char why[] = "L02-07 The workers still see the data as "
				  "it was when they were created.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = change_items, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	for (int map = 0; map < 4; map++)
		expect(s->number[map] == 0 && s->errs[map] == 0, why,
		       "each map gets the items and the task that it is "
		       "called with",
		       "map %d: pool_map returned %d, %d of 6 results are "
		       "wrong", map + 1, s->number[map], s->errs[map]);
}

static void close_pool(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 4);

	if (p == NULL)
		return;
	map_items(&s->map, p, meet_and_answer, 4, 1, 4);
	gate_open(&s->started);
	gate_wait(&s->go);
	s->number[0] = pool_close(p);
	still_alone("pool_close");
	for (int i = 0; i < count_pids(s); i++)
		s->number[1] += is_running(s->pids[i]);
}

static void signal_workers(const struct facts *s, int sig)
{
	for (int i = 0; i < count_pids(s); i++)
		if (is_running(s->pids[i]))
			kill(s->pids[i], sig);
}

/* Workers end slowly: at the earliest when somebody waits for it. */
static void slow_down(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started))
		signal_workers(s, SIGSTOP);
	gate_open(&s->go);
	wait_until_asleep(fence_pid());
	signal_workers(s, SIGCONT);
}

static void check_close(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){
		.scenario = close_pool, .director = slow_down, .shared = s,
		.why_stuck = "L02-11 Somebody who does not need it still holds "
			     "the other end open." });
	expect_created(s);
	expect(s->number[1] == 0, "The pool is closed, and workers of it go "
	       "on.", "each worker has ended when pool_close returns",
	       "%d of %d still run", s->number[1], count_pids(s));
	expect_clean(NULL);
	expect(s->number[0] == 0, "The pool was closed, but pool_close says "
	       "that something went wrong.", "0", "%d", s->number[0]);
}

/* ---- waiting costs nothing ------------------------------------------- */

/* First all are at a task that waits, then there is none. */
static void be_idle(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	map_items(&s->map, p, wait_and_answer, 2, 1, 1);
	gate_open(&s->over);
	gate_wait(&s->measured);
	pool_close(p);
}

/* Looking again every millisecond is no model, but harms nobody, and no
 * promise forbids it. */
static struct calm watch_pool(void)
{
	return watch_waiting(5000000, 0);
}

static void measure(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->started);
	s->busy = watch_pool();
	gate_open(&s->go);
	gate_wait(&s->over);
	s->idle = watch_pool();
	gate_open(&s->measured);
}

static void check_quiet(void)
{
	static const char why[] = "L02-22 Waiting is costing as much as "
				  "working.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = be_idle, .director = measure,
			       .shared = s, .limit = 60 });
	expect_created(s);
	expect_calm(&s->busy, why, "while two tasks wait");
	expect_calm(&s->idle, why, "while the pool has nothing to do");
}

/* ---- who does what, and when ----------------------------------------- */

static void meet(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 5);

	if (p == NULL)
		return;
	map_items(&s->map, p, meet_and_answer, 5, (size_t)s->number[0], 5);
	pool_close(p);
}

/* If they do not meet as chunks of one item, but as one chunk of five, then
 * the chunksize is something else. */
static void check_parallel(void)
{
	struct facts *s = shared(sizeof *s), *other = shared(sizeof *s);

	s->number[0] = 1;
	fence(&(struct fence){ .scenario = meet, .shared = s });
	expect_created(s);
	if (s->gave_up > 0) {
		other->number[0] = 5;
		fence(&(struct fence){ .scenario = meet, .shared = other });
	}
	expect_all_met(s, s->gave_up == 0 || other->gave_up > 0 ?
		       "Your workers do their work one after the other." :
		       "L02-16 You took the size of a chunk for the number of "
		       "chunks.", 5);
}

static void many_items(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 4);

	if (p == NULL)
		return;
	map_items(&s->map, p, note_and_answer, 100, 1, 1);
	pool_close(p);
}

static void check_reuse(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = many_items, .shared = s });
	expect_created(s);
	expect(count_pids(s) <= 4, "L02-02 You created a new process for every "
	       "item instead of re-using the workers.",
	       "100 items are done by at most 4 processes", "%d processes",
	       count_pids(s));
}

enum { ORDERED = 4 };

/* Item 0 is the last to be done, and all others are long delivered. */
static int first_is_last(const void *item, void *result)
{
	const struct item *it = item;

	if (it->index == 0 && !gate_wait(&facts->go))
		facts->gave_up++;
	answer(item, result);
	if (it->index != 0 && ++facts->ended == ORDERED - 1)
		gate_open(&facts->started);
	return 0;
}

static void hold_back_first(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started)) {
		for (int i = 1; i < ORDERED; i++)
			wait_until_asleep(s->ran_by[i]);
		wait_until_asleep(fence_pid());
	}
	gate_open(&s->go);
}

static void order(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, ORDERED);

	if (p == NULL)
		return;
	map_items(&s->map, p, first_is_last, ORDERED, 1, 1);
	pool_close(p);
}

static void check_order(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = order, .director = hold_back_first,
			       .shared = s });
	expect_created(s);
	expect(s->gave_up == 0, "While one task takes its time, the others "
	       "are not begun.", "4 workers have 4 items at once",
	       "items wait although workers are idle");
	expect_done(&s->map, NULL, NULL);
}

/* ---- few items, many items ------------------------------------------- */

struct division {
	int n, workers;
	unsigned chunksizes;	/* which of 0, 1, 2, n - 1, n, n + 1: bits */
};

/* Chunks for everybody, but not equally many or not equally long. */
static const struct division uneven[] = {
	{ 5, 4, 3 }, { 7, 3, 7 }, { 10, 4, 7 }, { 5, 2, 7 },
};

static const struct division divisions[] = {
	{ 1, 4, 63 }, { 3, 4, 63 }, { 4, 4, 63 }, { 5, 4, 63 }, { 7, 3, 63 },
	{ 12000, 5, 1 | 2 }, { 11999, 7, 4 | 16 | 32 },
};

/* One pool, a map for each chunksize, up to the first that goes wrong. */
static void divide(void *arg)
{
	struct facts *s = arg;
	int n = s->number[0];
	int chunksizes[] = { 0, 1, 2, n - 1, n, n + 1 };
	struct pool *p = create(s, s->number[1]);

	for (int k = 0; p != NULL && k < 6; k++) {
		if (!(s->number[3] & 1 << k))
			continue;
		s->number[2]++;
		map_items(&s->map, p, answer, (size_t)n,
			  (size_t)chunksizes[k], k);
		if (s->map.ret != 0 || s->map.first >= 0)
			return;
	}
	if (p != NULL)
		pool_close(p);
}

static void check_each(const struct division *d, size_t count)
{
	struct facts *s = shared(sizeof *s);

	for (; count > 0; count--, d++) {
		memset(s, 0, sizeof *s);
		s->number[0] = d->n;
		s->number[1] = d->workers;
		s->number[3] = (int)d->chunksizes;
		fence(&(struct fence){ .scenario = divide, .shared = s });
		expect_created(s);
		expect_each_once(s, d->n, s->number[2], WHY_REST);
		expect_done(&s->map, "Every item was done, but not every "
			    "result came to its place.", NULL);
	}
}

static void check_rest(void)
{
	check_each(uneven, sizeof uneven / sizeof *uneven);
}

static void check_divisions(void)
{
	check_each(divisions, sizeof divisions / sizeof *divisions);
}

enum { FEW = 4 };
static const int few[FEW] = { 0, 1, 3, 8 };

/*
 * Maps of few items by 8 workers: first with room behind items and results,
 * so that a task too many is run and counted, then without any.
 */
static void few_items(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 8);
	struct result *results;
	struct item *items;
	size_t n, room;
	int before;

	for (int k = 0; p != NULL && k < 2 * FEW; k++) {
		n = (size_t)few[k % FEW];
		room = n + (k < FEW ? 64 : 0);
		items = before_the_end(room * sizeof *items);
		results = before_the_end(room * sizeof *results);
		for (size_t i = 0; i < n; i++)
			items[i] = (struct item){ (int64_t)i, 1 };
		before = s->all_runs;
		s->number[k] = pool_map(p, answer, items, n, sizeof *items,
					results, sizeof *results,
					(size_t)(k % 2), NULL);
		s->values[k] = s->all_runs - before;
		for (size_t i = 0; i < n; i++)
			s->errs[k] += results[i].value !=
				      value_of((int64_t)i, 1);
	}
	if (p != NULL)
		pool_close(p);
}

static void check_few(void)
{
	static const char why[] = "L02-05 Not every worker gets work, and "
				  "yours did not expect that.";
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = few_items, .shared = s });
	expect(end.how == FENCE_FINISHED, why, "maps of 0, 1, 3 and 8 items "
	       "by 8 workers come to an end", end.how == FENCE_STUCK ?
	       "nothing moves any more" : end.how == FENCE_KILLED ?
	       "the caller was killed by signal %d" : "they do not",
	       end.status);
	expect_created(s);
	for (int k = 0; k < 2 * FEW; k++) {
		expect(s->number[k] == 0 && s->errs[k] == 0, why,
		       text("%d items are mapped by 8 workers", few[k % FEW]),
		       "pool_map returned %d, %d results are wrong",
		       s->number[k], s->errs[k]);
		expect(s->values[k] == few[k % FEW], why,
		       text("%d tasks for %d items", few[k % FEW],
			    few[k % FEW]), "%d tasks", (int)s->values[k]);
	}
}

enum { LOTS = 70000 };

static void lots_of_items(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	if (p == NULL)
		return;
	map_items(&s->second, p, answer, 10, 1, 1);
	s->all_runs = 0;
	map_items(&s->map, p, answer, LOTS, 100, 1);
	pool_close(p);
}

static void check_lots(void)
{
	static const char why[] = "L02-17 The number no longer fits into the "
				  "type you chose, and C does not tell you.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = lots_of_items, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->map.ret == 0 && s->map.first < 0 && s->all_runs == LOTS,
	       why, text("%d items are done and come back", LOTS),
	       "pool_map returned %d, %d tasks were run, the first result "
	       "that is not right is %lld", s->map.ret, s->all_runs,
	       (long long)s->map.first);
}

enum { CHUNK = 100, CHUNKS = 3 };

/* Nobody begins before two workers have got something. */
static int two_at_once(const void *item, void *result)
{
	if (is_new_here() && !meeting_wait(&facts->meeting, 2))
		facts->gave_up++;
	return answer(item, result);
}

static void chunks(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	map_items(&s->map, p, two_at_once, CHUNKS * CHUNK, CHUNK, 1);
	pool_close(p);
}

static void check_chunks(void)
{
	static const char why[] = "L02-16 Every single item makes its own "
		"trip, although you were asked to send them in groups.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = chunks, .shared = s });
	expect_created(s);
	expect(s->gave_up == 0, "L02-16 One worker got more than it was "
	       "to get in one go, and another got nothing.",
	       text("%d items in chunks of %d for 2 workers", CHUNKS * CHUNK,
		    CHUNK), "only one of them has any");
	for (int i = 0, first; i < CHUNKS * CHUNK; i++) {
		first = i / CHUNK * CHUNK;
		if (s->ran_by[i] != s->ran_by[first])
			expect(false, why, text("items %d to %d go to one "
			       "worker", first, first + CHUNK - 1),
			       "item %d went to another one than item %d", i,
			       first);
	}
	expect_done(&s->map, WHY_REST, NULL);
}

/* The caller is stopped while a worker is at the first item of its chunk. */
static int first_waits(const void *item, void *result)
{
	const struct item *it = item;

	is_new_here();
	if (it->index == 0) {
		gate_open(&facts->started);
		gate_wait(&facts->go);
	}
	return answer(item, result);
}

static void stop_caller(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started) && wait_until_asleep(fence_pid())) {
		kill(fence_pid(), SIGSTOP);
		gate_open(&s->go);
		wait_until_asleep(s->pids[0]);
		s->number[0] = s->all_runs;
		kill(fence_pid(), SIGCONT);
	}
	gate_open(&s->go);
}

static void one_chunk(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, s->number[1]);

	if (p == NULL)
		return;
	map_items(&s->map, p, first_waits, 10, s->chunksize, 1);
	pool_close(p);
}

static void check_one_go(void)
{
	struct facts *s = shared(sizeof *s);

	s->number[1] = 1;
	s->chunksize = 10;
	fence(&(struct fence){ .scenario = one_chunk, .director = stop_caller,
			       .shared = s });
	expect_created(s);
	expect(s->number[0] != 1, "L02-16 Every single item makes its own "
	       "trip, although you were asked to send them in groups.",
	       "a worker that has its chunk needs nobody for the next item",
	       "after one of 10 items it waits for the caller");
	expect_done(&s->map, WHY_REST, NULL);
}

/* Until then the other workers do what there is for them to do. */
static void let_go_at_rest(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started))
		settle_family();
	gate_open(&s->go);
}

/* Numbers that start again from 0, or below it, in a narrower type. */
static void check_vast_chunks(void)
{
	static const size_t vast[] = {
		(size_t)UINT32_MAX + 1, (size_t)UINT32_MAX + 2, INT32_MAX,
		(size_t)INT32_MAX + 1, SIZE_MAX, SIZE_MAX - 1,
		SIZE_MAX / 2 + 1,
	};
	static const char why[] = "L02-17 The number no longer fits into the "
				  "type you chose, and C does not tell you.";
	struct facts *s = shared(sizeof *s);

	for (size_t k = 0; k < sizeof vast / sizeof *vast; k++) {
		memset(s, 0, sizeof *s);
		s->number[1] = 3;
		s->chunksize = vast[k];
		fence(&(struct fence){ .scenario = one_chunk, .shared = s,
				       .director = let_go_at_rest,
				       .why_stuck = why });
		expect_created(s);
		expect(s->map.ret == 0, why, text("a map with a chunksize of "
		       "%zu succeeds", vast[k]), "%d, %s", s->map.ret,
		       strerror(s->map.err));
		for (int i = 0; i < 10; i++)
			expect(s->runs[i] == 1 && s->ran_by[i] == s->ran_by[0],
			       why, text("10 items, a chunksize of %zu: one "
			       "worker does each of them once", vast[k]),
			       "item %d was done %d times%s", i, s->runs[i],
			       s->ran_by[i] == s->ran_by[0] ? "" :
			       ", by another worker than item 0");
		expect_done(&s->map, why, why);
	}
}

/* ---- sizes ----------------------------------------------------------- */

enum { LARGE = 100000 };

static unsigned char byte_of(int item, int at)
{
	return (unsigned char)(item * 31 + at / 251 + at % 249);
}

/* Each byte goes there and comes back, changed. */
static int turn_bytes(const void *item, void *result)
{
	const unsigned char *from = item;
	unsigned char *to = result;

	for (int i = 0; i < LARGE; i++)
		to[i] = (unsigned char)~from[i];
	return 0;
}

static void large_items(void *arg)
{
	static unsigned char items[2][LARGE], results[2][LARGE];
	struct facts *s = arg;
	struct pool *p = create(s, 2);
	int i;

	if (p == NULL)
		return;
	map_items(&s->second, p, answer, 2, 1, 1);
	for (int k = 0; k < 2; k++)
		for (i = 0; i < LARGE; i++)
			items[k][i] = byte_of(k, i);
	s->map.ret = pool_map(p, turn_bytes, items, 2, LARGE, results, LARGE,
			      1, NULL);
	s->map.err = errno;
	for (int k = 0; k < 2; k++) {
		for (i = 0; i < LARGE; i++)
			if (results[k][i] !=
			    (unsigned char)~byte_of(k, i))
				break;
		s->number[k] = i;
	}
	if (s->map.ret == 0)
		map_items(&s->second, p, answer, 2, 1, 2);
	pool_close(p);
}

static void check_large(void)
{
	static const char why[] = "L02-10 A read may deliver less than you "
				  "asked for.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = large_items, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->map.ret == 0, "L02-10 Either a transfer delivers less than "
	       "you asked for, or a number does not fit into its type, or "
	       "what was large enough for the map before is too small now.",
	       text("2 items and results of %d bytes", LARGE),
	       "pool_map returned %d, %s", s->map.ret, strerror(s->map.err));
	for (int k = 0; k < 2; k++)
		expect(s->number[k] == LARGE, s->number[k] == LARGE % 65536 ?
		       "L02-17 The number no longer fits into the type you "
		       "chose, and C does not tell you." : why,
		       text("%d bytes of result %d are right", LARGE, k),
		       "only the first %d are", s->number[k]);
	expect(s->second.ret == 0 && s->second.first < 0, "After large items "
	       "the pool is not what it was before.", "the next map of small "
	       "items works", "pool_map returned %d, %s", s->second.ret,
	       strerror(s->second.err));
}

struct wide {
	int64_t index, rest[127];
};

static int widen(const void *item, void *result)
{
	const int64_t *index = item;
	struct wide *wide = result;

	memset(wide, 0, sizeof *wide);
	wide->index = *index;
	return 0;
}

/* Much goes in, much more comes out, through pipes as narrow as can be. */
static void much_both_ways(void *arg)
{
	enum { N = 12000, WORDS = 8 };
	struct facts *s = arg;
	int64_t (*items)[WORDS] = calloc(N, sizeof *items);
	struct wide *results = calloc(N, sizeof *results);
	int *errs = calloc(N, sizeof *errs);
	struct pool *p = create(s, 4);

	if (p == NULL)
		return;
	for (int i = 0; i < N; i++)
		items[i][0] = i + 1;
	s->map.ret = pool_map(p, widen, items, N, sizeof *items, results,
			      sizeof *results, (size_t)s->number[0], errs);
	s->map.err = errno;
	for (int i = 0; i < N; i++) {
		s->number[1] += errs[i] == POOL_LOST;
		s->number[2] += errs[i] == 0 && results[i].index != i + 1;
	}
	pool_close(p);
	free(errs);
	free(results);
	free(items);
}

static void check_both_ways(void)
{
	static const int chunksizes[] = { 1, 3000 };
	struct facts *s = shared(sizeof *s);

	for (int k = 0; k < 2; k++) {
		s->number[0] = chunksizes[k];
		if (k == 0)
			small_pipes();
		fence(&(struct fence){
			.scenario = much_both_ways, .shared = s,
			.why_stuck = "L02-08 Both sides were waiting for the "
				     "other to make room." });
		expect_created(s);
		expect(s->number[1] == 0, "No task ends its worker here, and "
		       "yet items are lost: your own code has ended it, or "
		       "what it answered did not stay where it was put.",
		       text("12000 items by 4 workers, %d at a time",
			    chunksizes[k]), "%d are called lost", s->number[1]);
		expect(s->map.ret == 0 && s->number[2] == 0, "What works for "
		       "few items does not work for many.",
		       text("12000 items of 64 bytes with results of 1 KiB, "
			    "%d at a time", chunksizes[k]),
		       "pool_map returned %d, %s, %d results are wrong",
		       s->map.ret, strerror(s->map.err), s->number[2]);
	}
}

/* ---- failures, apply, size ------------------------------------------- */

static int fails_at_some(const void *item, void *result)
{
	const struct item *it = item;

	answer(item, result);
	return it->index == 5 ? 4 : it->index == 8 ? -70000 : 0;
}

static void fail_tasks(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	if (p == NULL)
		return;
	map_items(&s->map, p, fails_at_some, 10, 5, 1);
	s->number[0] = s->all_runs;
	for (int i = 0; i < 10; i++)
		s->number[1] += i != 5 && i != 8 &&
				(s->errs[i] != 0 ||
				 s->values[i] != value_of(i, 1));
	s->number[2] = s->errs[5];
	s->number[3] = s->errs[8];
	map_items(&s->second, p, answer, 10, 1, 2);
	pool_close(p);
}

static void check_failures(void)
{
	static const char why[] = "L02-19 A task reported failure and nobody "
				  "listened.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = fail_tasks, .shared = s });
	expect_created(s);
	expect(s->map.ret == -1 && s->map.err == ECANCELED,
	       s->map.ret == 0 || s->map.err == EOWNERDEAD ? why :
	       "L02-19 errno does not say what went wrong: another call may "
	       "have set it since.",
	       "pool_map returns -1, ECANCELED: 2 of 10 tasks failed",
	       "%d, %s", s->map.ret, s->map.ret ? strerror(s->map.err) : "0");
	expect(s->number[0] == 10, "L02-19 A task that fails takes others "
	       "along.", "all 10 tasks run", "%d", s->number[0]);
	expect(s->number[2] == 4 && s->number[3] == -70000,
	       s->number[2] == 4 && s->number[3] != 0 ? "L02-17 The number no "
	       "longer fits into the type you chose, and C does not tell you."
	       : why,
	       "errs[5] is 4 and errs[8] is -70000, as the tasks returned",
	       "%d and %d", s->number[2], s->number[3]);
	expect(s->number[1] == 0, "L02-19 A task that fails takes others "
	       "along.", "the 8 other results are valid", "%d are not",
	       s->number[1]);
	expect_done(&s->second, "L02-19 After a task has failed the pool is "
		    "not what it was.", NULL);
}

static void apply(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);
	struct item item = { 0, 1 };
	struct result result;

	if (p == NULL)
		return;
	s->number[0] = pool_apply(p, wait_and_answer, &item, sizeof item,
				  &result, sizeof result);
	s->early = !gate_is_open(&s->go);
	still_alone("pool_apply");
	gate_wait(&s->go);
	/* a task that fails, while the others of its map take longer */
	map_items(&s->map, p, fails_at_some, 10, 1, 1);
	for (int i = 1; i <= 4; i++) {
		item.index = i;
		memset(&result, 0, sizeof result);
		s->number[0] |= pool_apply(p, answer, &item, sizeof item,
					   &result, sizeof result);
		s->values[i] = result.index;
	}
	pool_close(p);
}

static void let_go(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started))
		wait_until_asleep(fence_pid());
	gate_open(&s->go);
}

static void check_apply(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = apply, .director = let_go,
			       .shared = s });
	expect_created(s);
	expect(!s->early, "L02-23 Nobody waited for the answer.",
	       "pool_apply returns when its task is done",
	       "it returned while the task was waiting");
	expect(s->number[0] == 0, "The task succeeded, but pool_apply says "
	       "that something went wrong.", "0", "%d", s->number[0]);
	for (int i = 1; i <= 4; i++)
		expect(s->values[i] == i, "L02-23 You took an answer without "
		       "checking which question it belongs to.",
		       text("the result of item %d", i), "that of item %lld",
		       (long long)s->values[i]);
}

static void sizes(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 3);

	if (p == NULL)
		return;
	s->number[0] = pool_size(p);
	map_items(&s->map, p, answer, 10, 0, 1);
	s->number[1] = pool_size(p);
	pool_close(p);
}

static void check_size(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = sizes, .shared = s });
	expect_created(s);
	expect(s->number[0] == 3 && s->number[1] == 3, "The pool does not know "
	       "how many workers it has.", "pool_size is 3 before and after a "
	       "map", "%d and %d", s->number[0], s->number[1]);
}

/* ---- a worker dies --------------------------------------------------- */

enum { WORKERS = 3 };

static void die(void)
{
	if (facts->number[7] == 0)
		raise(SIGKILL);
	_exit(0);
}

/* All have an item; the worker with item 0 dies, and then the others go on. */
static int first_dies(const void *item, void *result)
{
	const struct item *it = item;

	if (it->index == 0)
		facts->owner = getpid();	/* here: who is to die */
	if (!meeting_wait(&facts->meeting, WORKERS))
		facts->gave_up++;
	if (it->index == 0) {
		gate_open(&facts->started);
		die();
	}
	gate_wait(&facts->go);
	return answer(item, result);
}

static void wait_for_death(void *arg)
{
	struct facts *s = arg;

	if (gate_wait(&s->started) && wait_until_ended(s->owner))
		wait_until_asleep(fence_pid());
	gate_open(&s->go);
}

static void lose_one(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, WORKERS);

	if (p == NULL)
		return;
	map_items(&s->map, p, first_dies, WORKERS, 1, 1);
	for (int i = 0; i < WORKERS; i++) {
		s->number[i] = s->errs[i];
		s->number[3] += i > 0 && s->values[i] != value_of(i, 1);
	}
	map_items(&s->second, p, answer, 20, 1, 2);
	for (int i = 0; i < 20; i++) {
		s->number[4] += s->errs[i] == 0;
		s->number[5] += s->errs[i] == 0 &&
				s->values[i] != value_of(i, 2);
	}
	pool_close(p);
}

static void expect_death(const struct outcome *o, const char *death)
{
	expect(o->ret == -1, WHY_DEATH,
	       text("-1, for a worker %s with its item", death), "%d", o->ret);
	expect(o->err == EOWNERDEAD, "L02-13 What you report does not say that "
	       "a worker died.", text("EOWNERDEAD (%s)", strerror(EOWNERDEAD)),
	       "%s", strerror(o->err));
}

static void check_one_dies(void)
{
	static const char *const deaths[] = { "was killed", "left" };

	for (int k = 0; k < 2; k++) {
		struct facts *s = shared(sizeof *s);

		s->number[7] = k;
		fence(&(struct fence){ .scenario = lose_one,
				       .director = wait_for_death, .shared = s,
				       .why_stuck = WHY_DEATH_WAIT });
		expect_created(s);
		expect_death(&s->map, deaths[k]);
		expect(s->number[0] == POOL_LOST, "L02-13 Nobody tells which "
		       "item was lost.", text("errs[0] is POOL_LOST (%d)",
		       POOL_LOST), "%d", s->number[0]);
		expect(s->number[1] == 0 && s->number[2] == 0 &&
		       s->number[3] == 0, "L02-13 What the other workers have "
		       "done is lost too.", "errs[1] and errs[2] are 0, their "
		       "results valid", "%d and %d, %d results are wrong",
		       s->number[1], s->number[2], s->number[3]);
		expect(s->number[4] > 0, "L02-13 After the death of one "
		       "worker the others are of no use any more.",
		       "the living do the next map",
		       "pool_map returned %d, %s", s->second.ret,
		       strerror(s->second.err));
		expect(s->number[5] == 0, "L02-13 Something is called done "
		       "that is not.", "where errs[i] is 0, results[i] is "
		       "valid", "%d such results are wrong", s->number[5]);
		expect_clean(NULL);
	}
}

/* So that no order of looking finds the one that is lost last, others fail
 * before and behind it. */
static bool fails(int64_t index)
{
	return index == 2 || index == 50;
}

static int seventh_dies(const void *item, void *result)
{
	const struct item *it = item;

	if (it->index == 7) {
		facts->owner = getpid();
		facts->ended++;
		die();
	}
	answer(item, result);
	return fails(it->index) ? 4 : 0;
}

static void lose_one_of_many(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, WORKERS);

	if (p == NULL)
		return;
	map_items(&s->map, p, seventh_dies, 60, (size_t)s->number[6], 1);
	for (int i = 0; i < 60; i++) {
		if (s->errs[i] == 0)
			s->number[0] += s->values[i] != value_of(i, 1);
		else if (s->errs[i] != POOL_LOST)
			s->number[1] += !fails(i) || s->errs[i] != 4;
		else if (s->ran_by[i] != 0 && s->ran_by[i] != s->owner)
			s->number[2]++;
	}
	pool_close(p);
}

static void check_one_of_many_dies(void)
{
	static const int chunksizes[] = { 0, 1, 5 };

	for (int k = 0; k < 3; k++) {
		struct facts *s = shared(sizeof *s);

		s->number[6] = chunksizes[k];
		fence(&(struct fence){ .scenario = lose_one_of_many,
				       .shared = s,
				       .why_stuck = WHY_DEATH_WAIT });
		expect_created(s);
		expect(s->ended <= 1, "L02-13 What has killed one worker you "
		       "try again, and it kills the next.",
		       "the task is run once for each item",
		       "that of item 7 was run %d times", s->ended);
		expect_death(&s->map, "was killed");
		expect(s->errs[7] == POOL_LOST, "L02-13 Nobody tells which "
		       "item was lost.", text("errs[7] is POOL_LOST (%d)",
		       POOL_LOST), "%d", s->errs[7]);
		expect(s->number[0] == 0, "L02-13 Something is called done "
		       "that is not.", "where errs[i] is 0, results[i] is "
		       "valid", "%d such results are wrong", s->number[0]);
		expect(s->number[1] == 0, "L02-13 Nobody tells which item was "
		       "lost.", "errs[i] is 0, POOL_LOST or what the task "
		       "returned", "%d are none of these", s->number[1]);
		expect(s->number[2] == 0, "L02-13 What the other workers have "
		       "done is lost too.", "only what the dead worker had is "
		       "lost", "%d items that others had done",
		       s->number[2]);
	}
}

static int each_dies(const void *item, void *result)
{
	(void)item;
	(void)result;
	die();
	return 0;
}

static void lose_all(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	map_items(&s->map, p, each_dies, 6, 1, 1);
	for (int i = 0; i < 6; i++)
		s->number[0] += s->errs[i] == POOL_LOST;
	map_items(&s->second, p, answer, 0, 1, 1);
	pool_close(p);
}

static void check_all_die(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = lose_all, .shared = s,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_created(s);
	expect_death(&s->map, "was killed");
	expect(s->number[0] == 6, "L02-13 Nobody tells which item was lost.",
	       "all 6 items are lost", "%d are", s->number[0]);
	expect(s->second.ret == 0, "No items are a success, also where nobody "
	       "is left to do them.", "0", "%d, %s", s->second.ret,
	       strerror(s->second.err));
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("a pool of no workers is refused", check_no_workers,
		 pool_create),
	FUNCTION("one worker does every item", check_one_worker, pool_map),
	FUNCTION("each map works on the items of today", check_todays_items,
		 pool_map),
	FUNCTION("a closed pool has no workers left", check_close, pool_close),
	FUNCTION("waiting costs nothing", check_quiet, pool_map),
	FUNCTION("as many tasks run at once as there are workers",
		 check_parallel, pool_map),
	FUNCTION("the same workers do all items of a map", check_reuse,
		 pool_map),
	FUNCTION("results come back in the order of the items", check_order,
		 pool_map),
	FUNCTION("items that do not divide evenly are all done", check_rest,
		 pool_map),
	FUNCTION("a pool may have more workers than items", check_few,
		 pool_map),
	FUNCTION("large items and results arrive whole", check_large,
		 pool_map),
	FUNCTION("much to send and more to receive is no dead end",
		 check_both_ways, pool_map),
	FUNCTION("every item is done once, however they divide",
		 check_divisions, pool_map),
	FUNCTION("a great many items are numbered rightly", check_lots,
		 pool_map),
	FUNCTION("the items of a chunk go to one worker", check_chunks,
		 pool_map),
	FUNCTION("a chunk is handed out in one go", check_one_go, pool_map),
	FUNCTION("a chunk may be larger than all there is", check_vast_chunks,
		 pool_map),
	FUNCTION("a task that fails is reported and stops no other",
		 check_failures, pool_map),
	FUNCTION("apply waits for its own task", check_apply, pool_apply),
	FUNCTION("a pool knows its size", check_size, pool_size),
	FUNCTION("a worker that dies loses its own item only",
		 check_one_dies, pool_map),
	FUNCTION("who dies in the middle of a map is reported",
		 check_one_of_many_dies, pool_map),
	FUNCTION("a pool whose workers all die comes back", check_all_die,
		 pool_map),
};

CHECKS("02-pool", checks);
