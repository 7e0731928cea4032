/* What is asked of a pool rarely, and promised all the same. */
#include "facts.h"

#include <fcntl.h>
#include <stdio.h>

/* ---- what comes in ---------------------------------------------------- */

static int fails_alike(const void *item, void *result)
{
	answer(item, result);
	return 4;
}

/* errs holds what an earlier map may have left there. One worker: each
 * failure follows another of the same worker. */
static void map_with_old_errs(void *arg)
{
	static const int old[] = { POOL_LOST, 4, -1, 0, 1, POOL_LOST };
	struct facts *s = arg;
	struct pool *p = create(s, 1);
	struct item items[6];
	struct result results[6];
	int errs[6];

	if (p == NULL)
		return;
	for (int i = 0; i < 6; i++)
		items[i] = (struct item){ i, 1 };
	for (int k = 0; k < 2; k++) {
		memset(results, 0, sizeof results);
		memcpy(errs, old, sizeof old);
		s->number[k] = pool_map(p, k == 0 ? answer : fails_alike,
					items, 6, sizeof *items, results,
					sizeof *results, 1, errs);
		for (int i = 0; i < 6; i++) {
			s->number[2 + k] += errs[i] != 4 * k;
			s->number[4] += k == 0 &&
					results[i].value != value_of(i, 1);
		}
	}
	pool_close(p);
}

static void check_old_errs(void)
{
	static const char why[] = "What stands in errs before a map says "
				  "nothing about this map.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = map_with_old_errs, .shared = s });
	expect_created(s);
	expect(s->number[0] == 0 && s->number[2] == 0 && s->number[4] == 0,
	       why, "6 tasks that succeed: 0, errs[i] is 0, each result valid",
	       "%d, %d of errs are not 0, %d results are wrong", s->number[0],
	       s->number[2], s->number[4]);
	expect(s->number[1] == -1 && s->number[3] == 0, "L02-19 Each failure "
	       "is told, also one that is like the failure before it.",
	       "6 tasks that return 4: -1, and errs[i] is 4",
	       "%d, %d of errs are not 4", s->number[1], s->number[3]);
	expect_each_once(s, 6, 2, why);
}

/* Small enough to be done at once, if it were allowed. */
static int who_am_i(const void *item, void *result)
{
	pid_t me = getpid();

	(void)item;
	memcpy(result, &me, sizeof me);
	return 0;
}

static void ask_who(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 1);
	pid_t pids[2] = { getpid(), getpid() };
	int item = 1;

	if (p == NULL)
		return;
	s->number[0] = pool_apply(p, who_am_i, &item, sizeof item, &pids[0],
				  sizeof pids[0]);
	s->number[0] |= pool_map(p, who_am_i, &item, 1, sizeof item, &pids[1],
				 sizeof pids[1], 0, NULL);
	s->number[1] = (pids[0] == getpid()) + (pids[1] == getpid());
	pool_close(p);
}

static void check_who(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = ask_who, .shared = s });
	expect_created(s);
	expect(s->number[0] == 0, "The task succeeded, but you say that "
	       "something went wrong.", "an item of one int: 0", "%d",
	       s->number[0]);
	expect(s->number[1] == 0, "A task never runs in the caller, however "
	       "little there is to do.",
	       "a single small task of a pool of 1 runs in its worker",
	       "%d of 2 ran in the caller", s->number[1]);
}

/* ---- sizes ------------------------------------------------------------ */

/* Nothing to read and nothing to fill; what it does is seen elsewhere. */
static int count_me(const void *item, void *result)
{
	(void)item;
	(void)result;
	facts->all_runs++;
	return 0;
}

static int read_item(const void *item, void *result)
{
	struct result of_my_own;

	(void)result;
	return answer(item, &of_my_own);
}

static int fill_result(const void *item, void *result)
{
	int64_t value = 77;

	memcpy(result, &value, sizeof value);
	return count_me(item, result);
}

static void map_bytes_of_nothing(void *arg)
{
	struct item items[5];
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	for (int i = 0; i < 5; i++)
		items[i] = (struct item){ i, 1 };
	s->number[0] = pool_map(p, read_item, items, 5, sizeof *items, NULL,
				0, 1, NULL);
	s->number[1] = s->all_runs;
	s->number[2] = pool_map(p, fill_result, NULL, 5, 0, s->values,
				sizeof *s->values, 1, NULL);
	s->number[3] = s->all_runs - s->number[1];
	for (int i = 0; i < 5; i++)
		s->number[4] += s->values[i] != 77;
	s->number[5] = pool_map(p, count_me, NULL, 5, 0, NULL, 0, 1, s->errs);
	s->number[6] = s->all_runs - s->number[1] - s->number[3];
	pool_close(p);
}

static void check_bytes_of_nothing(void)
{
	static const char why[] = "An item of 0 bytes is an item, and its task "
				  "is run; a result of 0 bytes needs no room.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = map_bytes_of_nothing,
			       .shared = s });
	expect_created(s);
	expect(s->number[0] == 0 && s->number[1] == 5, why, "5 items with "
	       "results of 0 bytes: 0, and 5 tasks run", "%d, and %d",
	       s->number[0], s->number[1]);
	expect(s->number[2] == 0 && s->number[3] == 5 && s->number[4] == 0,
	       why, "5 items of 0 bytes: 0, 5 tasks run, 5 results",
	       "%d, %d, %d results are wrong", s->number[2], s->number[3],
	       s->number[4]);
	expect(s->number[5] == 0 && s->number[6] == 5, why, "5 items and "
	       "results of 0 bytes: 0, and 5 tasks run", "%d, and %d",
	       s->number[5], s->number[6]);
}

enum { HUNDRED = 100 };

static void hundred(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, HUNDRED);

	if (p == NULL)
		return;
	s->number[0] = pool_size(p);
	map_items(&s->map, p, meet_and_answer, HUNDRED, 1, HUNDRED);
	pool_close(p);
}

static void check_hundred(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = hundred, .shared = s });
	expect_created(s);
	expect(s->number[0] == HUNDRED, "A pool has as many workers as were "
	       "asked for, however many.", "pool_size is 100", "%d",
	       s->number[0]);
	expect_all_met(s, "A pool has as many workers as were asked for, "
		       "however many processors there are.", HUNDRED);
	expect_done(&s->map, NULL, NULL);
	expect_clean(NULL);
}

/* ---- descriptor 0 ----------------------------------------------------- */

/* As in a daemon: who then opens something gets the number 0. */
static void without_stdin(void *arg)
{
	struct facts *s = arg;
	int spare = fcntl(0, F_DUPFD_CLOEXEC, 100);
	struct pool *p;

	close(0);
	s->number[2] = open_descriptors();
	for (int k = 0; k < 2; k++) {
		p = create(s, 2);
		if (p == NULL)
			return;
		s->number[k] = pool_size(p);
		map_items(&s->map, p, meet_and_answer, 2, 1, 2);
		s->meeting = (struct meeting){ 0 };
		end_pool(p, k == 1);
	}
	s->number[3] = open_descriptors();
	dup2(spare, 0);
	close(spare);
}

static void check_without_stdin(void)
{
	static const char why[] = "0 is a descriptor like any other: whose "
				  "stdin is closed gets it.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = without_stdin, .shared = s,
			       .why_stuck = why });
	expect_created(s);
	expect(s->number[0] == 2 && s->number[1] == 2, why, "a pool of 2 has "
	       "the size 2", "%d and %d", s->number[0], s->number[1]);
	expect_all_met(s, why, 2);
	expect(s->map.ret == 0, why, "the map succeeds", "%d, %s", s->map.ret,
	       strerror(s->map.err));
	expect_done(&s->map, why, why);
	expect(s->number[2] == s->number[3], why, "no descriptor is left",
	       "%d more", s->number[3] - s->number[2]);
	expect_clean(why);
}

/* ---- again and again -------------------------------------------------- */

static int count_lines(const char *path)
{
	static char line[4096];
	FILE *f = fopen(path, "re");
	int n = 0;

	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		n++;
	if (f != NULL)
		fclose(f);
	return n;
}

/* What a worker has open and mapped, in every map. */
static int look_at_myself(const void *item, void *result)
{
	int map = (int)((const struct item *)item)->salt;

	facts->number[map == 0 ? 0 : 1] = open_descriptors();
	facts->number[map == 0 ? 2 : 3] = count_lines("/proc/self/maps");
	return answer(item, result);
}

enum { MAPS = 50 };

static void fifty_maps(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 1);

	if (p == NULL)
		return;
	for (int k = 0; k < MAPS; k++) {
		map_items(&s->map, p, look_at_myself, 3, 1, k);
		if (s->map.ret != 0)
			break;
	}
	pool_close(p);
}

static void check_fifty_maps(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = fifty_maps, .shared = s });
	expect_created(s);
	expect_done(&s->map, NULL, NULL);
	expect(s->number[1] < s->number[0] + MAPS / 2, "A worker keeps what it "
	       "had opened for a map that is over: in the end it may open no "
	       "more.", "50 maps need no more descriptors than the first",
	       "%d more in the worker", s->number[1] - s->number[0]);
	expect(s->number[3] < s->number[2] + MAPS / 2, "A worker keeps mapped "
	       "what it needed for a map that is over.",
	       "50 maps need no more mappings than the first",
	       "%d more in the worker", s->number[3] - s->number[2]);
}

/* ---- a map that is refused -------------------------------------------- */

/* number[0]: was anything refused in the large one? A worker to which
 * something was refused dies of it: that is another check's. */
static void ask_for_less(void *arg)
{
	enum { LARGE = 3 << 20 };
	struct facts *s = arg;
	struct pool *p = create(s, 1);
	char *large = calloc(2, LARGE);
	int hits;

	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 10, 1, 1);
	hits = fault_hits();
	errno = 0;
	s->number[1] = pool_map(p, count_me, large, 1, LARGE, large + LARGE,
				LARGE, 1, NULL);
	s->number[2] = errno;
	s->number[0] = fault_hits() > hits && s->number[1] == -1 &&
		       s->number[2] != EOWNERDEAD;
	map_items(&s->second, p, answer, 10, 1, 2);
	pool_close(p);
	free(large);
}

static const char why_less[] = "L02-20 A map was refused what it needs, and "
	"you had already given up what the pool had.";

static void judge_less(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_less, "a smaller map succeeds "
	       "after one that was refused memory",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
	       : "the caller does not come through (%d)", end->status);
	expect_clean(why_less);
	if (s->created && s->number[0])
		expect(s->second.ret == 0 && s->second.first < 0, why_less,
		       "a smaller map succeeds after one that was refused "
		       "memory", "pool_map returned %d, %s; result %lld is "
		       "wrong", s->second.ret, strerror(s->second.err),
		       (long long)s->second.first);
}

static void check_less(void)
{
	static const struct fault refused[] = {
		{ "mmap", ENOMEM, 0, false }, { "malloc", ENOMEM, 0, false },
		{ "space", ENOSPC, 0, false }, { NULL, 0, 0, false }
	};
	struct facts *s = shared(sizeof *s);

	fault_sweep_all(&(struct fence){ .scenario = ask_for_less, .shared = s,
					 .why_stuck = why_less },
			sizeof *s, refused, NULL, judge_less);
}

static const struct check checks[] = {
	{ "functions", "errs tells of this map and no other", check_old_errs,
	  (const void *)pool_map },
	{ "functions", "no task runs in the caller", check_who,
	  (const void *)pool_apply },
	{ "leftovers", "items and results may have no bytes",
	  check_bytes_of_nothing, (const void *)pool_map },
	{ "leftovers", "a pool may have a hundred workers", check_hundred,
	  (const void *)pool_create },
	{ "leftovers", "a pool needs no stdin", check_without_stdin,
	  (const void *)pool_create },
	{ "leftovers", "workers keep nothing of a map", check_fifty_maps,
	  (const void *)pool_map },
	{ "faults", "after a map that was refused a smaller one succeeds",
	  check_less, (const void *)pool_map },
};

CHECKS("02-pool", checks);
