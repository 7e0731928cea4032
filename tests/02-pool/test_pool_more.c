/* The edges of the promise: chunks of its own choice, apply that
 * fails, no errs, what a pool that lost a worker leaves, memory. */
#include "facts.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>

static int fails_or_dies(const void *item, void *result)
{
	const struct item *it = item;

	if (it->salt == 9)
		raise(SIGKILL);
	answer(item, result);
	return it->salt == 8 ? 3 : 0;
}

static void apply_all(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);
	struct result result;
	struct item item = { 0, 7 };

	for (; p != NULL && item.salt <= 9; item.salt++) {
		s->number[item.salt - 7] = pool_apply(p, fails_or_dies, &item,
				sizeof item, &result, sizeof result);
		s->errs[item.salt - 7] = errno;
	}
	if (p != NULL)
		pool_close(p);
}

static void check_apply_fails(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = apply_all, .shared = s,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_created(s);
	expect(s->number[0] == 0 && s->number[1] == -1, "L02-19 A task reported "
	       "failure and nobody listened.", "apply returns 0 for a task "
	       "that succeeds and -1 for one that fails", "%d and %d",
	       s->number[0], s->number[1]);
	expect(s->number[2] == -1, WHY_DEATH, "apply returns -1 for a task that "
	       "kills its worker", "%d", s->number[2]);
	expect(s->errs[1] == ECANCELED && s->errs[2] == EOWNERDEAD, "errno "
	       "does not say what went wrong: another call may have set it "
	       "since.", text("%s, and %s", strerror(ECANCELED),
			      strerror(EOWNERDEAD)),
	       "%s, and %s", strerror(s->errs[1]), strerror(s->errs[2]));
}

/* Nobody begins before two workers have got something. */
static int two_at_once(const void *item, void *result)
{
	if (is_new_here() && !meeting_wait(&facts->meeting, 2))
		facts->gave_up++;
	return answer(item, result);
}

static void own_choice(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	if (p == NULL)
		return;
	map_items(&s->map, p, two_at_once, 1000, 0, 1);
	pool_close(p);
}

static void check_own_choice(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = own_choice, .shared = s });
	expect_created(s);
	expect(s->gave_up == 0, "Where the pool may choose, it is to choose so "
	       "that nobody has everything.", "1000 items, 2 workers, "
	       "chunksize 0: both get some", "one of them gets all");
	expect_done(&s->map, WHY_REST, NULL);
}

static void without_errs(void *arg)
{
	struct item items[3] = { { 0, 7 }, { 1, 8 }, { 2, 7 } };
	struct result results[3];
	struct facts *s = arg;
	struct pool *p = create(s, 2);

	for (int k = 0; p != NULL && k < 2; k++) {
		items[1].salt = 8 + k;
		s->number[k] = pool_map(p, fails_or_dies, items, 3,
					sizeof *items, results,
					sizeof *results, 1, NULL);
		s->errs[k] = errno;
	}
	if (p != NULL)
		pool_close(p);
}

static void check_without_errs(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = without_errs, .shared = s,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_created(s);
	for (int k = 0; k < 2; k++)
		expect(s->number[k] == -1 &&
		       s->errs[k] == (k ? EOWNERDEAD : ECANCELED),
		       "Who hands in no errs wants to know no less whether all "
		       "is well.", text("-1, %s", strerror(k ? EOWNERDEAD
							      : ECANCELED)),
		       "%d, %s", s->number[k], strerror(s->errs[k]));
}

static struct pool *passed_on;
static pid_t passing;

static void *map_in_passing(void *outcome)
{
	passing = gettid();
	map_items(outcome, passed_on, note_and_answer, 20, 1, 1);
	return NULL;
}

/* The thread that has the pool stays; each map is called by one that ends. */
static void passing_threads(void *arg)
{
	struct facts *s = arg;
	struct outcome *outcomes[] = { &s->map, &s->second };
	pthread_t thread;
	int64_t cpu_ns;

	passed_on = create(s, 3);
	for (int k = 0; passed_on != NULL && k < 2; k++) {
		pthread_create(&thread, NULL, map_in_passing, outcomes[k]);
		pthread_join(thread, NULL);
		/* joined, it may still be about to end */
		while (look_at(getpid(), passing, &cpu_ns) != 'X')
			breathe();
	}
	if (passed_on != NULL)
		pool_close(passed_on);
}

static void check_passing_threads(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = passing_threads, .shared = s,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_created(s);
	expect_done(&s->map, NULL, NULL);
	expect(s->second.ret == 0, "Your workers belong to the thread that "
	       "called the first map, and end with it.", "the next map, called "
	       "by another thread, returns 0", "%d, %s", s->second.ret,
	       strerror(s->second.err));
	expect_done(&s->second, NULL, NULL);
	expect_clean(NULL);
}

/* Two pools lose a worker; one is closed, one is terminated. The caller has
 * another child, which has ended, and will wait for it itself. */
static void end_after_a_death(void *arg)
{
	struct facts *s = arg;
	struct item items[3] = { { 0, 7 }, { 1, 9 }, { 2, 7 } };
	struct result results[3];
	struct pool *p;
	pid_t bystander = fork();

	if (bystander == 0)
		_exit(0);
	wait_until_ended(bystander);
	for (int k = 0; k < 2; k++) {
		p = create(s, 2);
		if (p == NULL)
			return;
		pool_map(p, fails_or_dies, items, 3, sizeof *items, results,
			 sizeof *results, 1, NULL);
		end_pool(p, k != 0);
		still_alone("pool_close");
	}
	s->number[0] = waitpid(bystander, NULL, 0) == bystander;
}

static void check_end_after_a_death(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = end_after_a_death, .shared = s,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_created(s);
	expect(s->number[0] == 1, "You collected whoever had ended, and that "
	       "was none of your workers: somebody else waits for it.",
	       "the caller's other child is left to the caller",
	       "it was collected by the pool");
	expect_clean(NULL);
}

static void many_pools(void *arg)
{
	struct facts *s = arg;
	struct pool *p;

	for (int i = 0; i < 24; i++) {
		if (i == 4)
			s->number[0] = count_mappings("");
		p = create(s, 1);
		if (p == NULL)
			return;
		map_items(&s->map, p, answer, 3000, 100, 1);
		pool_close(p);
	}
	s->number[1] = count_mappings("");
}

static void check_mappings(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = many_pools, .shared = s });
	expect_created(s);
	expect(s->number[1] < s->number[0] + 15, "A pool that is closed leaves "
	       "memory mapped that nobody can reach any more.",
	       "20 more pools need no more mappings", "%d more",
	       s->number[1] - s->number[0]);
}

static const struct check checks[] = {
	{ "functions", "apply tells of failure and death", check_apply_fails,
	  (const void *)pool_apply },
	{ "functions", "chunks of the pool's own choice reach every worker",
	  check_own_choice, (const void *)pool_map },
	{ "functions", "failures and deaths are told without errs too",
	  check_without_errs, (const void *)pool_map },
	{ "leftovers", "maps may be called by threads that end",
	  check_passing_threads, (const void *)pool_map },
	{ "leftovers", "a pool that lost a worker ends cleanly",
	  check_end_after_a_death, (const void *)pool_close },
	{ "leftovers", "closed pools keep no memory", check_mappings,
	  (const void *)pool_close },
};

CHECKS("02-pool", checks);
