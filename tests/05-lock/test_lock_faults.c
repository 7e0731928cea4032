/* What a lock and a value leave behind, and what they do when the system
 * refuses. */
#include "facts.h"

/* ---- what is left behind ---------------------------------------------- */

static int use_both(void)
{
	int got = lock_acquire(lock, -1);

	return got + lock_release(lock) + counter_worker(value, 2);
}

enum { CYCLES = 200 };

static void many_quick(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < CYCLES; i++) {
		if (i == 4)
			s->number[0] = count_mappings("");
		if (!create(s))
			return;
		use_both();
		if (i % 40 == 0)
			lock_acquire(lock, -1);
		if (i % 40 == 0)
			lock_acquire(lock, 0.001);
		lock_release(lock);
		destroy();
		s->number[2]++;
	}
	s->number[1] = count_mappings("");
}

static void many_with_children(void *arg)
{
	struct facts *s = arg;

	for (int i = 0; i < 10; i++) {
		if (!create(s))
			return;
		s->number[0] += ask(use_both);
		destroy();
	}
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s), *t = shared(sizeof *t);

	fence(&(struct fence){ .scenario = many_with_children, .shared = t });
	expect_created(t);
	expect_clean(NULL);
	expect(t->number[0] == 0, "After others were destroyed a lock or value "
	       "does not work.", "0", "%d", t->number[0]);
	fence(&(struct fence){ .scenario = many_quick, .shared = s });
	expect(s->number[2] == CYCLES, "Sooner or later there are no locks or "
	       "values any more.", text("%d can be had one after the other",
	       CYCLES), "the %d. was refused: %s", s->number[2] + 1,
	       strerror(s->error));
	expect_clean(NULL);
	expect(s->number[1] - s->number[0] < 20, "Memory that was mapped is "
	       "never given back.", "as many mappings after 200 cycles as after "
	       "4", "%d more", s->number[1] - s->number[0]);
}

/* ---- names ------------------------------------------------------------- */

static void create_and_wait(int i)
{
	(void)i;
	create(facts);
	if (facts->created) {
		lock_acquire(lock, -1);
		counter_worker(value, 1);
	}
	gate_open(&facts->held);
	for (;;)
		pause();
}

static void kill_owner(void *arg)
{
	struct facts *s = facts = arg;

	child(0, create_and_wait);
	gate_wait(&s->held);
	kill(s->pids[0], SIGKILL);
	collect(s->pids[0]);
}

static void check_killed(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = kill_owner, .shared = s });
	expect_created(s);
	expect_clean("L05-22 The program was killed, and what it had made is "
		     "still there for the next one.");
}

/* Each makes its own, and none knows the other's. */
static void run_program(int i)
{
	long now = 0;

	if (i == 0) {
		create(facts);
		if (facts->created) {
			facts->number[0] = lock_acquire(lock, 0);
			facts->number[1] = counter_worker(value, 7);
		}
		gate_open(&facts->held);
		gate_wait(&facts->go);
	} else {
		gate_wait(&facts->held);
		lock = lock_create();
		value = value_create(20);
		if (lock != NULL && value != NULL) {
			facts->number[2] = lock_acquire(lock, 0);
			facts->number[3] = counter_worker(value, 1);
			gate_open(&facts->go);
		}
	}
	if (lock != NULL && value != NULL) {
		value_update(value, NULL, NULL, &now);
		facts->longs[i] = now;
		lock_release(lock);
		destroy();
	}
}

/* Two programs, or the children of one, who know what that has made. */
static void two_programs(void *arg)
{
	struct facts *s = facts = arg;
	bool siblings = s->number[15];
	struct lock *own_lock;
	struct value *own_value;

	if (siblings && !create(s))
		return;
	own_lock = lock;
	own_value = value;
	child(0, run_program);
	child(1, run_program);
	collect(s->pids[0]);
	collect(s->pids[1]);
	if (siblings) {
		lock_destroy(own_lock);
		value_destroy(own_value);
	}
}

static void check_two_programs(void)
{
	for (int siblings = 0; siblings < 2; siblings++) {
		struct facts *s = shared(sizeof *s);
		const char *why = siblings ? "Two processes that have the same "
			"parent have one lock or value for two." : WHY_22;

		s->number[15] = siblings;
		fence(&(struct fence){ .scenario = two_programs, .shared = s,
				       .why_stuck = why });
		expect_created(s);
		expect(!s->number[0] && !s->number[1] && !s->number[2] &&
		       !s->number[3], why, "each has a lock of its own: 0",
		       "%d, %d, %d and %d", s->number[0], s->number[1],
		       s->number[2], s->number[3]);
		expect(s->longs[0] == 107 && s->longs[1] == 21, why, "each "
		       "counts for itself: 107 and 21", "%ld and %ld",
		       s->longs[0], s->longs[1]);
		expect_clean(NULL);
	}
}

/* ---- who leaves early --------------------------------------------------- */

static void use_and_exit(int i)
{
	if (facts->number[15] == 0)
		facts->number[i] = use_both();
	exit(0);
}

static void hold_and_exit(int i)
{
	facts->got[i] = lock_acquire(lock, 0);
	exit(0);
}

static void leave_one_by_one(void *arg)
{
	struct facts *s = arg;
	long now = 0;

	if (!create(s))
		return;
	for (int i = 0; i < 3; i++)
		collect(child(i, use_and_exit));
	s->number[3] = use_both();
	s->number[4] = lock_acquire(lock, 0);
	s->number[15] = 1;
	collect(child(3, use_and_exit));
	s->number[5] = ask(try_lock);
	s->number[6] = lock_release(lock);
	value_update(value, NULL, NULL, &now);
	s->longs[0] = now;
	collect(child(4, hold_and_exit));
	s->number[7] = lock_acquire(lock, 0);
	s->number[8] = lock_release(lock);
	/* and somebody still waits for somebody else */
	memset(s->pids, 0, sizeof s->pids);
	child(0, holder);
	child(1, passer);
	gate_open(&s->forked);
	collect(s->pids[0]);
	collect(s->pids[1]);
	destroy();
}

static void check_leave(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ .scenario = leave_one_by_one,
					 .director = let_go, .shared = s });
	expect(end.how == FENCE_FINISHED, WHY_23, "the lock works when others "
	       "have ended", end.how == FENCE_KILLED ?
	       "the process that created it was killed by signal %d" :
	       end.how == FENCE_STUCK ? "nothing moves any more" :
	       "it does not come to an end", end.status);
	expect_created(s);
	for (int i = 0; i < 4; i++)
		expect(s->number[i] == 0, WHY_23, text("acquire, release and "
		       "increments by %s succeed", i < 3 ? "each child" :
		       "the parent"), "%d", s->number[i]);
	expect(s->number[4] == 0 && s->number[5] == 1 && s->number[6] == 0,
	       WHY_23, "the parent holds the lock, also when a child ends: 0, "
	       "1, 0", "%d, %d, %d", s->number[4], s->number[5],
	       s->number[6]);
	expect(s->longs[0] == 108, WHY_23, "4 processes add 2 to 100: 108",
	       "%ld", s->longs[0]);
	expect(s->number[7] == LOCK_OWNER_DIED && s->number[8] == 0, WHY_23,
	       "a holder ended by exit: the next gets 2, and can release it",
	       "%d, and lock_release returned %d", s->number[7], s->number[8]);
	expect(s->got_in == 1 && s->early == 0, WHY_23, "who waits gets in",
	       "%d did, %d before its time", s->got_in, s->early);
}

/* ---- the system refuses -------------------------------------------------- */

static const char why_half[] = "Part of the lock or value could not be had, "
			       "and you went on without it.";
static const char shared_memory[] = " rw-s ";

/* number[0]: did it strike while they were created? Later it shall not. */
static void try_both(void *arg)
{
	static const struct fault none;
	struct facts *s = facts = arg;
	int before = count_mappings(shared_memory);
	long now = 0;

	capture_output();
	errno = 0;
	lock = lock_create();
	s->errs[0] = errno;
	errno = 0;
	value = value_create(5);
	s->errs[1] = errno;
	settle_family();	/* a server may not be ready yet */
	s->number[0] = fault_hits() > 0;
	if (!s->number[0])
		fault_set(&none);
	if (lock != NULL) {
		s->number[1] = lock_acquire(lock, -1);
		s->number[2] = ask(try_lock);
		s->number[3] = lock_release(lock);
		lock_destroy(lock);
	}
	if (value != NULL) {
		s->number[4] = counter_worker(value, 3);
		s->number[5] = value_update(value, NULL, NULL, &now);
		s->longs[0] = now;
		value_destroy(value);
	}
	s->number[6] = lock != NULL;
	s->number[7] = value != NULL;
	s->number[8] = count_mappings(shared_memory) - before;
	s->number[9] = captured(NULL, 0);
}

static int usually_mapped;	/* by try_both, when nothing is refused */

static void judge_try(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_half, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	expect(s->number[6] || s->errs[0] != 0, "Nobody can tell why there is "
	       "no lock.", "NULL, and errno says why", "errno is 0");
	expect(s->number[7] || s->errs[1] != 0, "Nobody can tell why there is "
	       "no value.", "NULL, and errno says why", "errno is 0");
	expect_clean(why_half);
	expect_silence(s->number[9]);
	expect(s->number[8] <= usually_mapped, "Part of the lock or value "
	       "could not be had, and the other part was left where it is.",
	       "no more memory is shared than before", "%d more mappings",
	       s->number[8] - usually_mapped);
	if (!s->number[0])
		return;
	expect(!s->number[6] || (s->number[1] == 0 && s->number[2] == 1 &&
	       s->number[3] == 0), why_half, "NULL, or a lock that works: 0, "
	       "1, 0", "%d, %d, %d", s->number[1], s->number[2], s->number[3]);
	expect(!s->number[7] || (s->number[4] == 0 && s->number[5] == 0 &&
	       s->longs[0] == 8), why_half, "NULL, or a value that works: 0, "
	       "0, 8", "%d, %d, %ld", s->number[4], s->number[5],
	       s->longs[0]);
}

static void refuse(const char *call, int error)
{
	struct facts *s = shared(sizeof *s);
	struct fence f = { .scenario = try_both, .shared = s,
			   .why_stuck = why_half };

	fence(&f);
	usually_mapped = s->number[8];
	fault_sweep(&f, sizeof *s, call, error, NULL, judge_try);
}

static void check_no_mapping(void)
{
	refuse("mmap", ENOMEM);
}

static void check_no_memory(void)
{
	refuse("malloc", ENOMEM);
}

static void check_no_descriptor(void)
{
	refuse("descriptors", EMFILE);
}

static void check_no_room(void)
{
	refuse("space", ENOSPC);
}

static void check_no_init(void)
{
	refuse("init", EAGAIN);
}

static void check_no_process(void)
{
	refuse("fork", EAGAIN);
}

/* ---- interruptions -------------------------------------------------------- */

static const char why_interrupted[] = "A wait that was interrupted is not "
				      "over, and was taken for it.";
static enum way swept;

static void by_way(void *arg)
{
	((struct facts *)arg)->way = swept;
}

static void judge_interrupted(void *arg, const struct fence_end *end)
{
	struct facts *s = arg;

	expect(end->how == FENCE_FINISHED, why_interrupted, "the wait goes on",
	       "the caller did not come through");
	expect_created(s);
	expect(s->got[0] == 0 && s->got[1] == 0 && s->peak.most == 1,
	       why_interrupted, "0 and 0, one at a time", "%d and %d, %d at "
	       "once", s->got[0], s->got[1], s->peak.most);
}

static void check_interrupted_calls(void)
{
	struct facts *s = shared(sizeof *s);

	for (swept = BY_LOCK; swept < WAYS; swept++)
		fault_sweep(&(struct fence){ .scenario = hand_over,
			.director = let_go, .shared = s,
			.why_stuck = why_interrupted },
			sizeof *s, "blocking", EINTR, by_way,
			judge_interrupted);
}

static const struct check checks[] = {
	{ "leftovers", "two hundred locks and values leave nothing behind",
	  check_many, (const void *)lock_destroy },
	{ "leftovers", "two programs never meet", check_two_programs,
	  (const void *)lock_create },
	{ "leftovers", "a program that is killed leaves nothing behind",
	  check_killed, (const void *)lock_create },
	{ "leftovers", "who leaves early takes nothing along", check_leave,
	  (const void *)lock_destroy },
	{ "faults", "memory that cannot be mapped is reported",
	  check_no_mapping, (const void *)lock_create },
	{ "faults", "memory that cannot be had is reported", check_no_memory,
	  (const void *)lock_create },
	{ "faults", "a descriptor that cannot be had is reported",
	  check_no_descriptor, (const void *)lock_create },
	{ "faults", "room that cannot be had is reported", check_no_room,
	  (const void *)lock_create },
	{ "faults", "a lock that cannot be made is reported", check_no_init,
	  (const void *)lock_create },
	{ "faults", "a process that cannot be had is reported",
	  check_no_process, (const void *)lock_create },
	{ "faults", "a call that a signal interrupts is repeated",
	  check_interrupted_calls, (const void *)lock_acquire },
};

CHECKS("05-lock", checks);
