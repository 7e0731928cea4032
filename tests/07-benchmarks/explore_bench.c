/* Threads and processes that share out items, in every order. */
#include "bench.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/wait.h>

#include "explorer.h"
#include "harness.h"

#define WHY_KEPT "The lock that serialises computing is also being held while" \
	" nothing is computed, or is not given back to somebody who waits for" \
	" it."
#define WHY_TWICE "L07-11 Two workers looked for their next item at once, and" \
	" took the same one."
#define WHY_BEHIND "L07-11 Between looking at what is left and taking it" \
	" there is a gap: another worker takes the last one, and this one an" \
	" item that is none."
#define WHY_LOST "Two workers added what they had to one sum, and one wrote" \
	" over the other's."

enum { ITEMS = 4, WORKERS = 2 };

struct facts {
	struct bench_run run;
	int error, expected;
	int done[ITEMS];
	int order[ITEMS], n_done;	/* items in the order of their begin */
	int strange;			/* so many were none, as this one */
	long strange_item;
	struct peak computing;
	bool left;
	long counted;
};

/* Memory of the process, which the GIL is there for. */
static long counter;

static uint64_t value_of(long index)
{
	return UINT64_C(1) << (8 * index);
}

static uint64_t note(long index, struct facts *f)
{
	if (index < 0 || index >= f->expected) {
		f->strange++;
		f->strange_item = index;
		return 0;
	}
	f->done[index]++;
	if (f->n_done < ITEMS)
		f->order[f->n_done++] = (int)index;
	return value_of(index);
}

static uint64_t item(long index, void *arg)
{
	explore_yield();
	return note(index, arg);
}

/* ---- what a finding tells ------------------------------------------- */

static struct facts *facts;

static bool all_once(const struct facts *f)
{
	for (int i = 0; i < f->expected; i++)
		if (f->done[i] != 1)
			return false;
	return true;
}

static const char *judge(const struct facts *f)
{
	uint64_t sum = 0;

	if (f->strange > 0)
		return text("item %ld was done, and there are %d",
			    f->strange_item, f->expected);
	for (int i = 0; i < f->expected; i++)
		if (f->done[i] != 1)
			return text("item %d was done %d times", i, f->done[i]);
	for (int i = 0; i < f->expected; i++)
		sum += value_of(i);
	if (isnan(f->run.seconds))
		return text("seconds is NaN, %s", strerror(f->error));
	return f->run.result == sum ? NULL :
	       text("the result is %#llx instead of %#llx",
		    (unsigned long long)f->run.result, (unsigned long long)sum);
}

static const char *each_once(void *shared)
{
	return judge(shared);
}

static const char *why_shared(const struct finding *f)
{
	if (f->how == FOUND_WRONG)
		return facts->strange > 0 ? WHY_BEHIND :
		       all_once(facts) ? WHY_LOST : WHY_TWICE;
	if (f->how == FOUND_RACE)
		return "Two workers come to the same number, and nothing puts "
		       "them in order.";
	if (f->how == FOUND_STUCK && f->lost_wakeup)
		return "A worker was woken before it slept, and nobody wakes "
		       "it again.";
	return NULL;
}

/* ---- threads -------------------------------------------------------- */

static void run_threads(void *shared)
{
	struct facts *f = shared;

	f->expected = 3;
	f->run = bench_threads(item, 3, f, WORKERS, 1);
	f->error = errno;
}

static void threads(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = run_threads, .judge = each_once, .shared = f,
		.size = sizeof *f, .why = why_shared, .schedules = 200,
		.spurious = true,
		.expected = "each item once, and the sum of all" });
}

/* ---- under the lock ------------------------------------------------- */

/* In all schedules together: did another item ever come between two? */
static int *handed_on;

static uint64_t compute(long index, void *arg)
{
	struct facts *f = arg;
	uint64_t r;

	peak_enter(&f->computing);
	counter++;
	explore_yield();
	r = note(index, f);
	peak_leave(&f->computing);
	return r;
}

static void run_gil(void *shared)
{
	struct facts *f = shared;

	f->expected = 4;
	counter = 0;
	f->run = bench_gil(compute, 4, f, WORKERS, 2);
	f->error = errno;
	f->counted = counter;
}

static const char *one_computes(void *shared)
{
	struct facts *f = shared;
	const char *wrong;

	if (f->computing.most > 1)
		return text("%d threads compute at once", f->computing.most);
	for (int i = 0; i + 1 < f->n_done; i++)
		if (f->order[i] % 2 == 0 && f->order[i + 1] != f->order[i] + 1)
			*handed_on = 1;
	wrong = judge(f);
	if (wrong == NULL && f->counted != f->expected)
		return text("%ld of %d were counted", f->counted, f->expected);
	return wrong;
}

static const char *why_together(const struct finding *f)
{
	if (f->how == FOUND_WRONG && facts->computing.most > 1)
		return "Two threads were computing at the same time: between "
		       "looking at the lock and taking it there is a gap, or "
		       "there is none.";
	if (f->how == FOUND_STUCK && !f->lost_wakeup)
		return WHY_KEPT;
	return why_shared(f);
}

static void gil(void)
{
	struct facts *f = facts = shared(sizeof *f);

	handed_on = shared(sizeof *handed_on);
	explore(&(struct exploration){
		.scenario = run_gil, .judge = one_computes, .shared = f,
		.size = sizeof *f, .why = why_together, .schedules = 250,
		.spurious = true,
		.expected = "one thread at a time computes, and each item "
			    "once" });
	expect(*handed_on, "The lock is kept over a whole chunk: nobody else "
	       "has a turn until all of it is done.", "in some order another "
	       "worker's item comes between two of a chunk", "in none of them");
}

/* With a third, somebody is woken whose turn it is not. */
static void run_three(void *shared)
{
	struct facts *f = shared;

	f->expected = 3;
	counter = 0;
	f->run = bench_gil(compute, 3, f, 3, 1);
	f->error = errno;
	f->counted = counter;
}

static const char *why_forgotten(const struct finding *f)
{
	if (f->how == FOUND_STUCK)
		return "Who lets the lock go wakes one of those who wait, and "
		       "it is not always the one whose turn it is.";
	return why_together(f);
}

static void three(void)
{
	struct facts *f = facts = shared(sizeof *f);

	handed_on = shared(sizeof *handed_on);
	explore(&(struct exploration){
		.scenario = run_three, .judge = one_computes, .shared = f,
		.size = sizeof *f, .why = why_forgotten, .schedules = 100,
		.expected = "each of three has its turn" });
}

/* ---- outside the lock ----------------------------------------------- */

static void wait_a_little(void *arg)
{
	(void)arg;
	explore_yield();
}

static uint64_t compute_and_wait(long index, void *arg)
{
	uint64_t r = compute(index, arg);
	struct facts *f = arg;

	bench_allow_threads(wait_a_little, NULL);
	peak_enter(&f->computing);
	counter++;
	explore_yield();
	peak_leave(&f->computing);
	return r;
}

static void run_waiting(void *shared)
{
	struct facts *f = shared;

	f->expected = 2;
	counter = 0;
	f->run = bench_gil(compute_and_wait, 2, f, WORKERS, 1);
	f->error = errno;
	f->counted = counter / 2;
}

static void waiting(void)
{
	struct facts *f = facts = shared(sizeof *f);

	handed_on = shared(sizeof *handed_on);
	explore(&(struct exploration){
		.scenario = run_waiting, .judge = one_computes, .shared = f,
		.size = sizeof *f, .why = why_together, .schedules = 200,
		.spurious = true,
		.expected = "one thread at a time computes, before its wait "
			    "and after it" });
}

/* ---- processes ------------------------------------------------------ */

static void run_processes(void *shared)
{
	struct facts *f = shared;

	f->expected = 3;
	f->run = bench_processes(item, 3, f, WORKERS, 1);
	f->error = errno;
	f->left = waitpid(-1, NULL, WNOHANG) != -1;
}

static void processes(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = run_processes, .judge = each_once, .shared = f,
		.size = sizeof *f, .why = why_shared, .schedules = 150,
		.expected = "each item once, and the sum of all" });
}

/* ---- a worker that dies, at each point ------------------------------ */

/* Both are there, and the one that has item 1 will be killed. */
static uint64_t mortal_item(long index, void *arg)
{
	struct facts *f = arg;

	if (index == 1)
		explore_name("the victim");
	explore_yield();
	return note(index, f);
}

static void run_mortal(void *shared)
{
	struct facts *f = shared;

	f->expected = 3;
	f->run = bench_processes(mortal_item, 3, f, WORKERS, 1);
	f->error = errno;
	f->left = waitpid(-1, NULL, WNOHANG) != -1;
}

/* Who had done all and said so may be counted as dead, or as through. */
static const char *death_is_told(void *shared)
{
	struct facts *f = shared;

	if (f->left)
		return "somebody was not collected";
	if (!explore_killed() || !isnan(f->run.seconds))
		return judge(f);
	return f->error == EOWNERDEAD ? NULL : strerror(f->error);
}

static const char *why_missed(const struct finding *f)
{
	if (f->how == FOUND_STUCK && f->killed)
		return "A worker died, and somebody goes on waiting for what "
		       "it will never do.";
	if (f->how != FOUND_WRONG)
		return why_shared(f);
	if (facts->left)
		return "When one worker dies, the others still have to be "
		       "collected.";
	if (f->killed && isnan(facts->run.seconds))
		return "The run failed, and why it did was lost on the way.";
	return !f->killed ? why_shared(f) : "A worker died, and its items died "
	       "with it, but the caller was not told.";
}

static void deaths(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = run_mortal, .judge = death_is_told, .shared = f,
		.size = sizeof *f, .kill = "the victim", .why = why_missed,
		.schedules = 150,
		.expected = "NaN and EOWNERDEAD, or all of it if the dead one "
			    "was through" });
}

static const struct check checks[] = {
	{ "interleavings", "threads do each item once, whatever the order",
	  threads, (const void *)bench_threads },
	{ "interleavings", "under the lock one computes at a time, whatever "
	  "the order", gil, (const void *)bench_gil },
	{ "interleavings", "under the lock nobody is forgotten, whatever the "
	  "order", three, (const void *)bench_gil },
	{ "interleavings", "who has waited outside the lock computes under it "
	  "again, whatever the order", waiting,
	  (const void *)bench_allow_threads },
	{ "interleavings", "processes do each item once, whatever the order",
	  processes, (const void *)bench_processes },
	{ "interleavings", "a worker process that dies is told, wherever it "
	  "dies", deaths, (const void *)bench_processes },
};

CHECKS("07-benchmarks", checks);
