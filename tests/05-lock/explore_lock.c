/* Lock, value and counter, in every order in which processes can meet. */
#include "lock.h"

#include <errno.h>
#include <unistd.h>

#include "explorer.h"
#include "harness.h"

struct facts {
	struct lock *lock;
	struct value *value;
	long now, seen[3];
	int inside, most, results[3], entered, in_fn;
	bool ready;
};

/* ---- what a finding tells about the mistake ------------------------------------ */

static bool looks_unlocked(const struct step *a, const struct step *b)
{
	return !a->writes && a->locks == 0 && b->locks > 0;
}

static const char *why_lost(const struct finding *f)
{
	const struct step *a = &f->first, *b = &f->second;

	if (f->how == FOUND_STUCK && f->waits_private)
		return "L05-05 This lock was made for threads of one process.";
	if (f->how != FOUND_WRONG && f->how != FOUND_RACE)
		return NULL;
	if (f->how == FOUND_WRONG && f->undisturbed)
		return NULL;
	if (f->how == FOUND_WRONG && !f->overwritten)
		return "L05-07 The value was already old when you locked.";
	if (a->atomic && b->atomic)
		return "L05-08 Two atomic steps are not one atomic step.";
	if (f->how == FOUND_WRONG && a->locks == 0 && b->locks > 0)
		return "L05-07 The value was already old when you locked.";
	if (a->locks > 0 && b->locks > 0)
		return "L05-04 Everybody locks a door, but each a different "
		       "one.";
	if (looks_unlocked(a, b) || looks_unlocked(b, a))
		return "Something is read while others may change it: before "
		       "the lock is taken, or after it was given back.";
	return "L05-02 Reading, adding and storing are three steps, and "
	       "another process can come in between.";
}

/* ---- the value ------------------------------------------------------------------ */

/* In two steps, so that it can die between them. */
static int add_ten(long *v, void *unused)
{
	(void)unused;
	*v += 4;
	*v += 6;
	return 0;
}

static void count_twice(void *arg)
{
	counter_worker(((struct facts *)arg)->value, 2);
}

static void update_once(void *arg)
{
	value_update(((struct facts *)arg)->value, add_ten, NULL, NULL);
}

static void count_and_update(void *shared)
{
	struct facts *f = shared;

	f->value = value_create(0);
	f->ready = f->value != NULL;
	if (!f->ready)
		return;
	explore_process("process A", count_twice, f);
	explore_process("process B", update_once, f);
	explore_wait();
	value_update(f->value, NULL, NULL, &f->now);
	value_destroy(f->value);
}

static const char *nothing_is_lost(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "value_create failed";
	return f->now == 12 ? NULL : text("%ld", f->now);
}

static void updates(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = count_and_update, .judge = nothing_is_lost,
		.shared = f, .size = sizeof *f, .why = why_lost,
		.expected = "12, after 1 was added twice and 10 once" });
}

static void add_and_look(void *arg)
{
	struct facts *f = arg;
	long now;

	value_update(f->value, add_ten, NULL, &now);
	f->seen[f->entered++] = now;
}

static void add_and_look_twice(void *shared)
{
	struct facts *f = shared;

	f->value = value_create(0);
	f->ready = f->value != NULL;
	if (!f->ready)
		return;
	explore_process("process A", add_and_look, f);
	explore_process("process B", add_and_look, f);
	explore_wait();
	value_destroy(f->value);
}

static const char *each_sees_its_own(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "value_create failed";
	return f->seen[0] + f->seen[1] == 30 && f->seen[0] != f->seen[1]
	       ? NULL : text("%ld and %ld", f->seen[0], f->seen[1]);
}

static const char *why_later(const struct finding *f)
{
	return f->how == FOUND_WRONG || f->how == FOUND_RACE ?
	       "The number was looked up when others could change it again." :
	       why_lost(f);
}

static void results(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = add_and_look_twice, .judge = each_sees_its_own,
		.shared = f, .size = sizeof *f, .why = why_later,
		.expected = "two processes add 10: one is told 10, one 20" });
}

/* ---- the lock --------------------------------------------------------------------- */

static void enter_once(void *arg)
{
	struct facts *f = arg;

	if (lock_acquire(f->lock, -1) == -1)
		return;
	f->entered++;
	if (++f->inside > f->most)
		f->most = f->inside;
	explore_yield();
	f->inside--;
	if (lock_release(f->lock) != 0)
		f->results[0]--;
}

/* Who does not hold the lock changes nothing by releasing it. */
static bool tries_to_release;

static void enter_last(void *arg)
{
	struct facts *f = arg;

	if (tries_to_release && lock_release(f->lock) != -1)
		f->results[0]--;
	enter_once(arg);
}

static void enter_three(void *shared)
{
	struct facts *f = shared;

	f->lock = lock_create();
	f->ready = f->lock != NULL;
	if (!f->ready)
		return;
	explore_process("process A", enter_once, f);
	explore_process("process B", enter_once, f);
	explore_process("process C", enter_last, f);
	explore_wait();
	lock_destroy(f->lock);
}

static const char *one_at_a_time(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "lock_create failed";
	if (f->most > 1)
		return text("%d at once", f->most);
	if (f->entered != 3)
		return text("%d of 3 came in", f->entered);
	return f->results[0] == 0 ? NULL : "a release failed, or one by who "
					   "does not hold the lock did not";
}

/*
 * What comes out must be right; a race is none. Who asks whether the lock is
 * its own may do so before it has it, and two mappings of /dev/zero, which are
 * two pieces of memory, are one to the explorer.
 */
static void explore_results(const struct exploration *e)
{
	struct finding found;

	explore_try(e, &found);
	if (found.how != FOUND_NOTHING && found.how != FOUND_RACE)
		explore(e);
}

static const char *why_open(const struct finding *f)
{
	return f->how == FOUND_WRONG && !f->undisturbed && !f->overwritten ?
	       "For a moment the lock was open, though somebody held it." :
	       why_lost(f);
}

static void exclusion(void)
{
	struct facts *f = shared(sizeof *f);
	const struct exploration e = {
		.scenario = enter_three, .judge = one_at_a_time,
		.shared = f, .size = sizeof *f, .why = why_open,
		.expected = "one process at a time inside, and each once" };

	tries_to_release = false;
	explore(&e);
	tries_to_release = true;
	explore_results(&e);
}

/* ---- each its own ------------------------------------------------------------------- */

static void own_value(struct facts *f, int who)
{
	struct value *v = value_create(5);

	if (v == NULL)
		return;
	value_update(v, add_ten, NULL, &f->seen[who]);
	value_destroy(v);
}

static void own_first(void *arg)
{
	own_value(arg, 0);
}

static void own_second(void *arg)
{
	own_value(arg, 1);
}

static void own_each(void *shared)
{
	explore_process("process A", own_first, shared);
	explore_process("process B", own_second, shared);
	explore_wait();
}

static const char *nobody_elses(void *shared)
{
	struct facts *f = shared;

	return f->seen[0] == 15 && f->seen[1] == 15 ? NULL :
	       text("%ld and %ld", f->seen[0], f->seen[1]);
}

static const char *why_met(const struct finding *f)
{
	return f->undisturbed ? NULL : "L05-22 Another run of the same program "
	       "is using (or has left) the same name.";
}

static void meetings(void)
{
	struct facts *f = shared(sizeof *f);
	const struct exploration e = {
		.scenario = own_each, .judge = nobody_elses,
		.shared = f, .size = sizeof *f, .why = why_met,
		.expected = "two processes make a value of 5 each and add 10: "
			    "15 and 15" };

	explore_results(&e);
}

/* ---- a holder that dies, at each point ------------------------------------------------ */

static void come_after(struct facts *f, int who)
{
	f->results[who] = lock_acquire(f->lock, -1);
	if (f->results[who] == -1)
		return;
	if (++f->inside > f->most)
		f->most = f->inside;
	explore_yield();
	f->inside--;
	lock_release(f->lock);
	f->entered++;
}

static void come_second(void *arg)
{
	come_after(arg, 1);
}

static void come_third(void *arg)
{
	come_after(arg, 2);
}

static void take_and_give_back(void *arg)
{
	struct facts *f = arg;

	if (lock_acquire(f->lock, -1) != -1)
		lock_release(f->lock);
}

static void one_dies(void *shared)
{
	struct facts *f = shared;

	f->lock = lock_create();
	f->ready = f->lock != NULL;
	if (!f->ready)
		return;
	lock_acquire(f->lock, -1);
	explore_process("process A", take_and_give_back, f);
	explore_process("process B", come_second, f);
	explore_process("process C", come_third, f);
	explore_yield();
	lock_release(f->lock);
	explore_wait();
	lock_destroy(f->lock);
}

static const char *the_others_go_on(void *shared)
{
	struct facts *f = shared;
	int told = (f->results[1] == LOCK_OWNER_DIED) +
		   (f->results[2] == LOCK_OWNER_DIED);

	if (!f->ready)
		return "lock_create failed";
	if (f->results[1] == -1 || f->results[2] == -1)
		return "lock_acquire failed";
	if (f->most > 1)
		return "two at once after the death";
	return told > 1 ? "LOCK_OWNER_DIED twice" : NULL;
}

static const char *why_kept_out(const struct finding *f)
{
	return f->how != FOUND_STUCK || !f->killed ? NULL : "L05-14 Somebody died while "
	       "holding the lock and nobody will ever open it.";
}

static void deaths(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = one_dies, .judge = the_others_go_on,
		.shared = f, .size = sizeof *f, .kill = "process A",
		.why = why_kept_out,
		.expected = "the others come in, one at a time, and at most one "
			    "is told of the death" });
}

static void two_updates(void *arg)
{
	update_once(arg);
	update_once(arg);
}

static int spoil_and_die(long *v, void *unused)
{
	(void)unused;
	*v = 4711;
	_exit(0);
}

static void die_updating(void *arg)
{
	value_update(((struct facts *)arg)->value, spoil_and_die, NULL, NULL);
}

/* A may also die while it puts in order what somebody has left. */
static void one_dies_updating(void *shared)
{
	struct facts *f = shared;

	f->value = value_create(0);
	f->ready = f->value != NULL;
	if (!f->ready)
		return;
	explore_process("process D", die_updating, f);
	explore_wait();
	explore_process("process A", update_once, f);
	explore_process("process B", two_updates, f);
	explore_wait();
	value_update(f->value, NULL, NULL, &f->now);
	value_destroy(f->value);
}

static const char *value_is_whole(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "value_create failed";
	return f->now == 20 || f->now == 30 ? NULL : text("%ld", f->now);
}

static const char *why_half_done(const struct finding *f)
{
	return f->how == FOUND_WRONG ? "Who died in the middle of an update "
	       "has left its half-done work behind." : why_kept_out(f);
}

static void deaths_updating(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = one_dies_updating, .judge = value_is_whole,
		.shared = f, .size = sizeof *f, .kill = "process A",
		.why = why_half_done,
		.expected = "20, or 30 if the dead one was through" });
}

static const struct check checks[] = {
	{ "interleavings", "two processes at once lose nothing, whatever the "
	  "order", updates, value_update },
	{ "interleavings", "each update is told its own result, whatever the "
	  "order", results, value_update },
	{ "interleavings", "two never hold the lock at once, whatever the "
	  "order", exclusion, lock_acquire },
	{ "interleavings", "two programs that begin at once never meet, "
	  "whatever the order", meetings, value_create },
	{ "interleavings", "a holder that dies keeps nobody out, wherever it "
	  "dies", deaths, lock_acquire },
	{ "interleavings", "an update that dies is made whole or not at all, "
	  "wherever it dies", deaths_updating, value_update },
};

CHECKS("05-lock", checks);
