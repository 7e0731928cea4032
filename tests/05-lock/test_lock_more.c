/* Corners of the promise that independent submissions got wrong. */
#include "facts.h"

#include <limits.h>

/* ---- who is stopped, or has started somebody, is no other ---------------- */

static void hold_until_let_go(int i)
{
	facts->got[i] = lock_acquire(lock, 0);
	gate_open(&facts->held);
	gate_wait(&facts->go);
	lock_release(lock);
}

static void stopped_holder(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, hold_until_let_go);
	gate_wait(&s->held);
	stop_process(s->pids[0]);
	s->number[0] = ask(try_lock);
	s->number[1] = lock_acquire(lock, 0.3);
	continue_process(s->pids[0]);
	gate_open(&s->go);
	collect(s->pids[0]);
	s->number[2] = lock_acquire(lock, -1);
	destroy();
}

#define WHY_ALIVE "A holder that is stopped, or slow, is not dead."

static void check_stopped(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = stopped_holder, .shared = s,
		.limit = 5, .why_stuck = WHY_ALIVE });
	expect_created(s);
	expect(s->number[0] == 1 && s->number[1] == 1, WHY_ALIVE, "1 while the holder is stopped",
	       "%d, and %d after 0.3 s", s->number[0], s->number[1]);
	expect(s->number[2] == 0, "The holder lived, and has released.", "0",
	       "%d", s->number[2]);
}

/* The holder starts a process, which does not hold the lock, and dies. */
static void die_with_a_child(int i)
{
	facts->got[i] = lock_acquire(lock, 0);
	if (fork() == 0) {
		facts->gave_up += !gate_wait(&facts->go);
		_exit(0);
	}
	raise(SIGKILL);
}

static void orphaned_child(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	collect(child(0, die_with_a_child));
	s->number[0] = lock_acquire(lock, -1);
	gate_open(&s->go);
	destroy();
}

static void check_child_of_dead(void)
{
	static const char why[] = "What the dead holder had started keeps the "
				  "lock for it.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = orphaned_child, .shared = s,
			       .limit = 5, .why_stuck = why });
	expect_created(s);
	expect(s->gave_up == 0, why, "LOCK_OWNER_DIED (2) while a child of "
	       "the dead holder lives", "nothing moves any more until that "
	       "child ends");
	expect(s->number[0] == LOCK_OWNER_DIED, why, "LOCK_OWNER_DIED (2)",
	       "%d", s->number[0]);
}

/* ---- limits --------------------------------------------------------------- */

static void wait_for_ever(int i)
{
	come(i);
	facts->got[i] = lock_acquire(lock, facts->limits[0]);
	facts->early = !gate_is_open(&facts->go);
	lock_release(lock);
}

static void any_negative(void *arg)
{
	struct facts *s = arg;

	if (!create(s))
		return;
	child(0, holder);
	child(1, wait_for_ever);
	gate_open(&s->forked);
	collect(s->pids[1]);
	collect(s->pids[0]);
	destroy();
}

static void check_negative(void)
{
	const double limits[] = { -0.5, -1e-9, -3600, -INFINITY };

	for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
		struct facts *s = shared(sizeof *s);

		s->limits[0] = limits[i];
		fence(&(struct fence){ .scenario = any_negative,
			.director = let_go, .shared = s });
		expect_created(s);
		expect(s->got[1] == 0 && !s->early, "Every negative limit "
		       "waits for ever, not only one of them.",
		       "0, after the holder has released", "%d, with %g "
		       "seconds", s->got[1], limits[i]);
	}
}

/* ---- nothing is said, and nothing stays ------------------------------------ */

static int refuse(long *v, void *unused)
{
	(void)unused;
	*v += 1;
	return 1;
}

static int add_one(long *v, void *unused)
{
	(void)unused;
	*v += 1;
	return 0;
}

static void hold_and_die(int i)
{
	facts->got[i] = lock_acquire(lock, 0);
	_exit(0);
}

static void all_refusals(void)
{
	lock_release(lock);			/* nobody holds it */
	collect(child(0, hold_and_die));
	lock_acquire(lock, -1);			/* 2 */
	lock_acquire(lock, 0);			/* 1 */
	lock_acquire(lock, 0.01);		/* 1 */
	lock_release(lock);
	value_update(value, refuse, NULL, NULL);
	counter_worker(value, -1);
	counter_worker(value, 3);
}

static void in_silence(void *arg)
{
	struct facts *s = arg;

	capture_output();
	if (!create(s))
		return;
	all_refusals();
	s->number[0] = captured(NULL, 0);
	destroy();
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = in_silence, .shared = s });
	expect_created(s);
	expect_silence(s->number[0]);
	expect_signals();
}

/* ---- large numbers ----------------------------------------------------------- */

static void count_beyond(void *arg)
{
	struct facts *s = arg;
	struct value *v = value_create(1L << 40);
	long now = 0;

	s->created = v != NULL;
	if (v == NULL)
		return;
	value_update(v, add_one, NULL, &now);
	s->longs[0] = now;
	counter_worker(v, 2);
	value_update(v, NULL, NULL, &now);
	s->longs[1] = now;
	value_destroy(v);
}

/* Who makes 3 of it is through at once; nobody waits for the others. */
static const long many = (1L << 32) + 3;

static void count_many(int i)
{
	facts->got[i] = counter_worker(value, many);
	facts->through++;
}

static void count_at_length(void *arg)
{
	struct facts *s = arg;
	int64_t cpu_ns = 0;
	long now = 0;

	if (!create(s))
		return;
	child(0, count_many);
	while (is_running(s->pids[0]) && cpu_ns < 20000000) {
		look_at(s->pids[0], s->pids[0], &cpu_ns);
		breathe();
	}
	kill(s->pids[0], SIGKILL);
	collect(s->pids[0]);
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now - 100;
	destroy();
}

static void check_large(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);
	long one = (1L << 40) + 1, three = (1L << 40) + 3;

	fence(&(struct fence){ .scenario = count_at_length, .shared = t });
	expect_created(t);
	expect(t->through == 0 || (t->got[0] == 0 && t->longs[0] == many),
	       WHY_19, text("counter_worker adds 1 %ld times", many),
	       "it returned %d after %ld", t->got[0], t->longs[0]);
	fence(&(struct fence){ .scenario = count_beyond, .shared = s });
	expect_created(s);
	expect(s->longs[0] == one && s->longs[1] == three, "L05-19 The counter "
	       "is too small for the count.", text("%ld and %ld", one, three),
	       "%ld and %ld", s->longs[0], s->longs[1]);
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("a number beyond 32 bits is counted on", check_large,
		 value_update),
	FUNCTION("every negative limit waits for ever", check_negative,
		 lock_acquire),
	FUNCTION("nothing is printed, and no signal blocked", check_silence,
		 value_update),
	FUNCTION("a holder that is stopped is not dead", check_stopped,
		 lock_acquire),
	FUNCTION("what a dead holder has started does not keep the lock",
		 check_child_of_dead, lock_acquire),
};

CHECKS("05-lock", checks);
