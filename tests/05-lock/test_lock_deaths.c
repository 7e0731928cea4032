/* What becomes of a lock and a value when somebody who uses them dies. */
#include "facts.h"

#define WHY_UNTOLD "L05-14 Somebody died while holding the lock, and who " \
	"comes next is not told."

enum death { KILLED, LEFT };
static const char *const deaths[] = { "was killed", "left by _exit" };

static void die(enum death how)
{
	if (how == KILLED)
		raise(SIGKILL);
	_exit(0);
}

/* Child i takes the lock, and that is the last it does. */
static void die_with_lock(int i)
{
	facts->got[i] = lock_acquire(lock, 0);
	die((enum death)facts->number[15]);
}

static int release_after_death(void)
{
	return try_release() ? 0 : 1;
}

static void lose_holder(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, die_with_lock);
	wait_until_ended(s->pids[0]);
	if (s->number[14])
		collect(s->pids[0]);
	s->number[0] = ask(release_after_death);
	s->number[1] = lock_acquire(lock, s->number[14] ? 1000 : 0);
	if (s->number[1] == LOCK_OWNER_DIED || s->number[1] == 0) {
		s->number[2] = ask(try_lock);
		s->number[3] = lock_release(lock);
		s->number[4] = ask(try_lock);
		s->number[5] = lock_acquire(lock, -1);
		s->number[6] = lock_release(lock);
	}
	if (!s->number[14])
		collect(s->pids[0]);
	/* two die, one after the other */
	for (int i = 1; i <= 2; i++)
		collect(child(i, die_with_lock));
	s->number[7] = lock_acquire(lock, -1);
	s->number[8] = lock_release(lock);
	s->number[9] = ask(try_lock);
	destroy();
}

static void expect_told(const struct facts *s, const char *who)
{
	const char *next = text("the next after a holder that %s gets "
				"LOCK_OWNER_DIED (%d)", who, LOCK_OWNER_DIED);

	expect(s->got[0] == 0, "A free lock cannot be had.", "0", "%d",
	       s->got[0]);
	expect(s->number[1] != 1 && s->number[1] != -1, WHY_14, next, "%d",
	       s->number[1]);
	expect(s->number[0] == 0, "Who does not hold the lock has opened it.",
	       "-1, EPERM for a process that only knows the dead holder",
	       "something else");
	expect(s->number[1] == LOCK_OWNER_DIED, WHY_UNTOLD, next, "%d",
	       s->number[1]);
	expect(s->number[2] == 1 && s->number[3] == 0, "Who was told of the "
	       "death does not hold the lock.", "others get 1, and it can "
	       "release it", "%d, and lock_release returned %d", s->number[2],
	       s->number[3]);
	expect(s->number[4] == 0 && s->number[5] == 0 && s->number[6] == 0,
	       s->number[4] == LOCK_OWNER_DIED || s->number[5] ==
	       LOCK_OWNER_DIED ? "One death is reported again and again." :
	       WHY_14, "whoever comes after that gets 0", "%d and %d",
	       s->number[4], s->number[5]);
	expect(s->got[2] == LOCK_OWNER_DIED && s->number[7] == LOCK_OWNER_DIED,
	       WHY_UNTOLD, "the next holder dies, too, and the one after it: "
	       "2 and 2", "%d and %d", s->got[2], s->number[7]);
	expect(s->number[8] == 0 && s->number[9] == 0, WHY_14, "0 afterwards",
	       "%d and %d", s->number[8], s->number[9]);
}

static void check_holder_dies(void)
{
	for (enum death how = KILLED; how <= LEFT; how++)
		for (int collected = 0; collected < 2; collected++) {
			struct facts *s = shared(sizeof *s);

			s->number[15] = (int)how;
			s->number[14] = collected;
			fence(&(struct fence){ .scenario = lose_holder,
				.shared = s, .why_stuck = WHY_14 });
			expect_created(s);
			expect_told(s, deaths[how]);
		}
}

/* ---- some wait when it happens ---------------------------------------- */

/* A section: change the value, and stay until the end. */
static int spoil_and_stay(long *v, void *arg)
{
	*v = 4711;
	stay(v, arg);
	die((enum death)facts->number[15]);
	return 0;
}

static void dying_holder(int i)
{
	enter(i, spoil_and_stay);
}

enum { WAITERS = 3 };

static void die_before_others(void *arg)
{
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	child(0, dying_holder);
	for (int i = 1; i <= WAITERS; i++)
		child(i, passer);
	gate_open(&s->forked);
	for (int i = 0; i <= WAITERS; i++)
		collect(s->pids[i]);
	s->number[0] = ask(try_lock);
	s->number[1] = value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	destroy();
}

static int how_many_got(const struct facts *s, int what)
{
	int n = 0;

	for (int i = 1; i <= WAITERS; i++)
		n += s->got[i] == what;
	return n;
}

static struct facts *run_waiters(enum way way, enum death how)
{
	struct facts *s = shared(sizeof *s);

	s->way = way;
	s->number[15] = (int)how;
	fence(&(struct fence){ .scenario = die_before_others,
			       .director = let_go, .shared = s,
			       .why_stuck = WHY_14 });
	expect_created(s);
	expect(s->early == 0, WHY_02, "nobody gets in while the lock is held",
	       "%d did", s->early);
	return s;
}

static void check_waiters_told(void)
{
	for (enum way way = BY_LOCK; way <= BY_LIMIT; way++) {
		struct facts *s = run_waiters(way, KILLED);
		int told = how_many_got(s, LOCK_OWNER_DIED);

		expect(s->got_in == WAITERS, WHY_14, "each of 3 that wait gets "
		       "the lock", "%d did", s->got_in);
		expect(told == 1, told == 0 ? WHY_UNTOLD : "One death is "
		       "reported again and again.", "one of 3 that wait gets "
		       "LOCK_OWNER_DIED, the others 0", "%d of them get it",
		       told);
		expect(s->peak.most == 1, WHY_02, "one at a time",
		       "%d at once", s->peak.most);
		expect(s->number[0] == 0, WHY_14, "0 afterwards", "%d",
		       s->number[0]);
	}
}

static void check_inside_fn(void)
{
	for (enum death how = KILLED; how <= LEFT; how++) {
		struct facts *s = run_waiters(BY_VALUE, how);

		expect(s->got_in == WAITERS && s->number[1] == 0 &&
		       how_many_got(s, 0) == WAITERS, WHY_14,
		       text("the others go on after one %s in fn: 0",
			    deaths[how]), "%d, %d, %d and %d", s->got[1],
		       s->got[2], s->got[3], s->number[1]);
		expect(s->longs[0] == 100, "Who died in fn has left its "
		       "half-done work behind.", "the value is 100 as before",
		       "%ld", s->longs[0]);
	}
}

/* As above, but nobody waits, and the dead is found by whoever comes. */
static void die_alone(void *arg)
{
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	gate_open(&s->go);
	child(0, dying_holder);
	wait_until_ended(s->pids[0]);
	s->number[0] = value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	collect(s->pids[0]);
	collect(child(1, dying_holder));
	s->number[1] = counter_worker(value, 2);
	s->number[2] = value_update(value, NULL, NULL, &now);
	s->longs[1] = now;
	destroy();
}

static void check_found_dead(void)
{
	struct facts *s = shared(sizeof *s);

	s->way = BY_VALUE;
	fence(&(struct fence){ .scenario = die_alone, .shared = s,
			       .why_stuck = WHY_14 });
	expect_created(s);
	expect(!s->number[0] && !s->number[1] && !s->number[2], "Who died in "
	       "fn has changed nothing, and so it is no error of whoever comes "
	       "next.", "0 for whoever comes after a death", "%d, %d and %d",
	       s->number[0], s->number[1], s->number[2]);
	expect(s->longs[0] == 100, "Who died in fn has left its half-done work "
	       "behind.", "the value is 100 as before", "%ld", s->longs[0]);
	expect(s->longs[1] == 102, WHY_14, "102 after two more increments",
	       "%ld", s->longs[1]);
}

/* ---- one of those who wait dies ---------------------------------------- */

static void lose_waiter(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	collect(s->pids[1]);
	child(2, passer);
	gate_open(&s->in[0]);
	collect(s->pids[0]);
	collect(s->pids[2]);
	s->number[0] = ask(try_lock);
	destroy();
}

static void kill_waiter(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	settle_all(s);
	kill(s->pids[1], SIGKILL);
	gate_wait(&s->in[0]);
	gate_wait(&s->ready[2]);
	settle(s->pids[2]);
	gate_open(&s->go);
}

static void check_waiter_dies(void)
{
	static const char why[] = "Somebody died who only waited, and the "
				  "others wait for it.";

	for (enum way way = BY_LOCK; way < WAYS; way++) {
		struct facts *s = shared(sizeof *s);

		s->way = way;
		fence(&(struct fence){ .scenario = lose_waiter,
				       .director = kill_waiter, .shared = s,
				       .why_stuck = why });
		expect_created(s);
		expect(s->got_in == 1 && s->early == 0, why, "who waits then "
		       "gets in, when the holder has released", "%d got in, %d "
		       "of them before", s->got_in, s->early);
		expect_got(s, 2, 0, "Who died did not hold the lock.");
		expect(s->number[0] == 0, why, "0 afterwards", "%d",
		       s->number[0]);
	}
}

/* ---- families ----------------------------------------------------------- */

/* Here a child owns lock and value, and its children use them. */
static void own(int i)
{
	struct facts *s = facts;
	long now = 0;

	(void)i;
	if (!create(s))
		return;
	child(1, holder);
	child(2, passer);
	gate_open(&s->in[0]);
	collect(s->pids[1]);
	collect(s->pids[2]);
	collect(child(3, die_with_lock));
	s->number[0] = lock_acquire(lock, -1);
	s->number[1] = lock_release(lock);
	s->number[2] = counter_worker(value, 5);
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	destroy();
}

static void have_family(void *arg)
{
	facts = arg;
	child(0, own);
	collect(facts->pids[0]);
}

static void let_family_go(void *arg)
{
	struct facts *s = arg;

	gate_wait(&s->held);
	gate_wait(&s->in[0]);
	gate_wait(&s->ready[2]);
	settle(s->pids[2]);
	gate_open(&s->go);
}

static void check_family(void)
{
	static const char why[] = "Only the first process of all can do what "
				  "each can do.";

	for (enum way way = BY_LOCK; way < WAYS; way++) {
		struct facts *s = shared(sizeof *s);

		s->way = way;
		fence(&(struct fence){ .scenario = have_family,
				       .director = let_family_go, .shared = s,
				       .why_stuck = why });
		expect_created(s);
		expect(s->got[1] == 0 && s->got[2] == 0 && s->got_in == 1 &&
		       s->early == 0, why, "a grandchild waits for another",
		       "%d and %d", s->got[1], s->got[2]);
		expect(s->number[0] == LOCK_OWNER_DIED && s->number[1] == 0 &&
		       s->number[2] == 0 && s->longs[0] == 105, why,
		       "2, 0, 0, and the value is 105", "%d, %d, %d, and %ld",
		       s->number[0], s->number[1], s->number[2], s->longs[0]);
		expect_clean(NULL);
	}
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("a dead holder is reported once", check_holder_dies,
		 lock_acquire),
	FUNCTION("the death of the holder wakes those who wait",
		 check_waiters_told, lock_acquire),
	FUNCTION("who comes after a death inside fn goes on",
		 check_found_dead, value_update),
	FUNCTION("who dies inside fn has changed nothing", check_inside_fn,
		 value_update),
	FUNCTION("who dies waiting takes nothing along", check_waiter_dies,
		 lock_acquire),
	FUNCTION("a child has locks of its own for its children",
		 check_family, lock_create),
};

CHECKS("05-lock", checks);
