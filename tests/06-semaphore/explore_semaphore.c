/* A semaphore and its workers, in every order in which processes can meet. */
#include "semaphores.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "explorer.h"
#include "harness.h"

struct facts {
	struct semaphore *s;
	bool ready;
	int inside, peak, entered, left;
	int results[3], errors[3], value;
	int ret, error, most;
	long waited_ms;
	pid_t pid;
	int *visits;		/* what the only one inside may change; or NULL */
};

/* Rooms see it as it was when their worker was made: where the facts are. */
static struct facts *facts;

static bool make(struct facts *f, int initial, bool bounded)
{
	facts = f;
	f->s = semaphore_create(initial, bounded);
	f->ready = f->s != NULL;
	return f->ready;
}

/* ---- what a finding tells about the mistake ----------------------------- */

static const char *why_in(const struct finding *f)
{
	if (f->how == FOUND_STUCK && f->waits_private)
		return "L06-14 Who waits is not told that there is a place: it "
		       "waits at a copy, or at something made for threads.";
	if (f->how == FOUND_STUCK && f->lost_wakeup)
		return "The wake-up came before the other one slept, and "
		       "nobody keeps it for later.";
	if (f->how == FOUND_STUCK)
		return "There is a place, and somebody still waits for one.";
	if (f->how == FOUND_WRONG || f->how == FOUND_RACE)
		return "L06-04 Between your look and your step somebody took "
		       "the place.";
	return NULL;
}

static const char *why_tried(const struct finding *f)
{
	return f->how == FOUND_STUCK ? "L06-04 Between your look and your step "
	       "somebody took the place." : why_in(f);
}

static const char *why_released(const struct finding *f)
{
	if (f->how == FOUND_WRONG || f->how == FOUND_RACE)
		return "L06-05 Two releases both saw room for one.";
	return why_in(f);
}

static const char *why_refused(const struct finding *f)
{
	return f->how == FOUND_WRONG ? "L06-05 A release that is to fail adds "
	       "1 all the same, and takes it back: in between somebody gets "
	       "in." : why_in(f);
}

static const char *why_between(const struct finding *f)
{
	return f->how == FOUND_WRONG ? "There are two numbers, and between the "
	       "step of one and the step of the other they do not fit "
	       "together." : why_in(f);
}

static const char *why_visible(const struct finding *f)
{
	return f->how == FOUND_RACE ? "Who gets in need not see yet what the "
	       "one before has written: nothing puts the two in order." :
	       why_in(f);
}

static const char *why_most(const struct finding *f)
{
	if (f->how == FOUND_WRONG || f->how == FOUND_RACE)
		return "L06-16 Two are allowed inside, so inside is not "
		       "private.";
	return why_in(f);
}

static const char *why_dead(const struct finding *f)
{
	if (f->killed && (f->how == FOUND_STUCK || f->how == FOUND_SPIN ||
			  f->how == FOUND_WRONG))
		return "L06-17 The place of a worker that died is never free "
		       "again.";
	return why_most(f);
}

static const char *why_interrupted(const struct finding *f)
{
	(void)f;
	return "L06-07 You were woken by a signal, not let in.";
}

static const char *why_limit(const struct finding *f)
{
	(void)f;
	return "Who waited in vain has taken something all the same, or who "
	       "was let in is told that it was in vain.";
}

/* ---- inside ------------------------------------------------------------- */

static int visit(int worker, void *arg)
{
	(void)worker;
	(void)arg;
	facts->entered++;
	if (++facts->inside > facts->peak)
		facts->peak = facts->inside;
	explore_yield();
	if (facts->visits != NULL)
		++*facts->visits;
	facts->inside--;
	facts->left++;
	return 0;
}

static void enter(void *arg)
{
	struct facts *f = arg;

	if (semaphore_acquire(f->s, -1) != 0)
		return;
	visit(0, f);
	f->results[0] += semaphore_release(f->s) != 0;
}

/* Whether it can be given back is not asked. */
static void enter_quietly(void *arg)
{
	struct facts *f = arg;

	if (semaphore_acquire(f->s, -1) != 0)
		return;
	visit(0, f);
	semaphore_release(f->s);
}

static void enter_with(void *arg)
{
	semaphore_with(((struct facts *)arg)->s, 0, visit, arg);
}

static void enter_two(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, true))
		return;
	explore_process("process A", enter, f);
	explore_process("process B", enter_with, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

/* What is in the room belongs to who is inside, and is no atomic. */
static void enter_and_change(void *shared)
{
	struct facts *f = shared;

	f->visits = mmap(NULL, sizeof *f->visits, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	enter_two(f);
	munmap(f->visits, sizeof *f->visits);
}

static void enter_three_of_two(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2, false))
		return;
	explore_process("process A", enter, f);
	explore_process("process B", enter, f);
	explore_process("process C", enter, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *all_have_been_inside(const struct facts *f, int places,
					 int visitors)
{
	if (!f->ready)
		return "semaphore_create failed";
	if (f->peak > places)
		return text("%d inside at once", f->peak);
	if (f->entered != visitors)
		return text("%d of %d came in", f->entered, visitors);
	if (f->results[0] != 0)
		return "a release of what was taken failed";
	return f->value == places ? NULL : text("the value is %d afterwards",
						f->value);
}

static const char *one_at_a_time(void *shared)
{
	return all_have_been_inside(shared, 1, 2);
}

static const char *two_at_a_time(void *shared)
{
	return all_have_been_inside(shared, 2, 3);
}

static void crowds(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = enter_two, .judge = one_at_a_time,
		.shared = f, .size = sizeof *f, .schedules = 80,
		.spurious = true, .why = why_in,
		.expected = "one at a time inside, and both once" });
	explore(&(struct exploration){
		.scenario = enter_three_of_two, .judge = two_at_a_time,
		.shared = f, .size = sizeof *f, .schedules = 40,
		.why = why_in,
		.expected = "two at a time inside, and each of three once" });
	explore(&(struct exploration){
		.scenario = enter_and_change, .judge = one_at_a_time,
		.shared = f, .size = sizeof *f, .schedules = 20,
		.why = why_visible,
		.expected = "what one has changed inside the next one sees" });
}

/* ---- asked meanwhile ---------------------------------------------------- */

static void ask_value(void *arg)
{
	struct facts *f = arg;

	f->value = semaphore_value(f->s);
}

static void give_and_take(void *arg)
{
	struct facts *f = arg;

	semaphore_release(f->s);
	semaphore_acquire(f->s, 0);
}

static void asked_meanwhile(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	explore_process("process A", ask_value, f);
	explore_process("process B", give_and_take, f);
	explore_wait();
	semaphore_destroy(f->s);
}

static const char *none_or_one(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	return f->value == 0 || f->value == 1 ? NULL :
	       text("the value is %d", f->value);
}

static void values(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = asked_meanwhile, .judge = none_or_one,
		.shared = f, .size = sizeof *f, .schedules = 40,
		.why = why_between,
		.expected = "none is free, one gives and takes, and another "
			    "asks for the value: 0 or 1" });
}

/* ---- one place left ----------------------------------------------------- */

static void take_first(void *arg)
{
	struct facts *f = arg;

	f->results[0] = semaphore_acquire(f->s, 0);
}

static void take_second(void *arg)
{
	struct facts *f = arg;

	f->results[1] = semaphore_acquire(f->s, 0);
}

static void two_try(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, false))
		return;
	explore_process("process A", take_first, f);
	explore_process("process B", take_second, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *one_has_it(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	return f->results[0] + f->results[1] == 1 && f->value == 0 &&
	       f->results[0] * f->results[1] == 0 ? NULL :
	       text("%d and %d, and the value is %d", f->results[0],
		    f->results[1], f->value);
}

static void tries(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = two_try, .judge = one_has_it,
		.shared = f, .size = sizeof *f, .schedules = 30,
		.no_timers = true, .why = why_tried,
		.expected = "two try to take one place: 0 for one, 1 for the "
			    "other, and 0 is left" });
}

/* ---- room for one release ----------------------------------------------- */

static void give_first(void *arg)
{
	struct facts *f = arg;

	errno = 0;
	f->results[0] = semaphore_release(f->s);
	f->errors[0] = errno;
}

static void give_second(void *arg)
{
	struct facts *f = arg;

	errno = 0;
	f->results[1] = semaphore_release(f->s);
	f->errors[1] = errno;
}

static void two_give(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2, true))
		return;
	semaphore_acquire(f->s, 0);
	explore_process("process A", give_first, f);
	explore_process("process B", give_second, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *one_is_refused(void *shared)
{
	struct facts *f = shared;
	int refused = f->results[0] == -1 ? 0 : 1;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->value != 2)
		return text("the value is %d", f->value);
	return f->results[0] + f->results[1] == -1 &&
	       f->errors[refused] == EOVERFLOW ? NULL :
	       text("%d and %d", f->results[0], f->results[1]);
}

static void releases(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = two_give, .judge = one_is_refused,
		.shared = f, .size = sizeof *f, .schedules = 40,
		.why = why_released,
		.expected = "1 of 2 is left, and two release: one succeeds, "
			    "one gets EOVERFLOW, and the value is 2" });
}

/* A bounded one that is full, and is taken from meanwhile. */
static void take_give(void *arg)
{
	struct facts *f = arg;

	f->results[1] = semaphore_acquire(f->s, 0);
	if (f->results[1] == 0)
		f->results[2] = semaphore_release(f->s);
}

static void give_while_taken(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, true))
		return;
	explore_process("process A", give_first, f);
	explore_process("process B", take_give, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

/* The release in between may have filled it up before the other's. */
static const char *one_in_the_end(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->value != 1)
		return text("the value is %d", f->value);
	return f->results[1] == 0 && (f->results[0] == -1) !=
	       (f->results[2] == -1) ? NULL :
	       text("%d, %d and %d", f->results[0], f->results[1],
		    f->results[2]);
}

/* A release that is refused lets nobody in, not even for a moment. */
static void give_while_two_come(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, true))
		return;
	explore_process("process A", give_first, f);
	explore_process("process B", enter_quietly, f);
	explore_process("process C", enter_quietly, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *refused_lets_nobody_in(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->results[0] == -1 && f->peak > 1)
		return text("%d inside at once, by a release that failed",
			    f->peak);
	return f->entered == 2 && f->value == 1 ? NULL :
	       text("%d of 2 came in, and the value is %d", f->entered,
		    f->value);
}

static void releases_while_taken(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = give_while_two_come,
		.judge = refused_lets_nobody_in,
		.shared = f, .size = sizeof *f, .schedules = 50,
		.why = why_refused,
		.expected = "one place: where the release fails, one at a time "
			    "inside" });

	explore(&(struct exploration){
		.scenario = give_while_taken, .judge = one_in_the_end,
		.shared = f, .size = sizeof *f, .schedules = 40,
		.why = why_released,
		.expected = "one takes and gives, another gives: one release "
			    "fails, and the value is 1" });
}

/* ---- those who wait, and those who let them in -------------------------- */

static void wait_first(void *arg)
{
	struct facts *f = arg;

	f->results[0] = semaphore_acquire(f->s, -1);
	f->entered++;
}

static void wait_second(void *arg)
{
	struct facts *f = arg;

	f->results[1] = semaphore_acquire(f->s, -1);
	f->entered++;
}

static void let_two_in(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	explore_process("process A", wait_first, f);
	explore_process("process B", wait_second, f);
	semaphore_release(f->s);
	semaphore_release(f->s);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *both_are_in(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	return f->results[0] == 0 && f->results[1] == 0 && f->value == 0
	       ? NULL : text("%d, %d, and the value is %d", f->results[0],
			     f->results[1], f->value);
}

static void wait_in_time(void *arg)
{
	struct facts *f = arg;

	f->results[0] = semaphore_acquire(f->s, 1000);
	f->entered++;
}

/* All wait; then nothing happens for a while; then two are let in. */
static void let_two_in_later(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	explore_process("process A", wait_in_time, f);
	explore_process("process B", wait_second, f);
	nanosleep(&(struct timespec){ .tv_nsec = 100000000 }, NULL);
	f->peak = f->entered;
	semaphore_release(f->s);
	semaphore_release(f->s);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *nobody_comes_early(void *shared)
{
	struct facts *f = shared;

	return f->ready && f->peak > 0 ? text("%d got in", f->peak) :
	       both_are_in(shared);
}

/* The first place goes to who is faster: both ask for it at the same time.
 * Another one comes, and that is for who waits. */
static void be_faster(void *arg)
{
	struct facts *f = arg;

	semaphore_release(f->s);
	explore_yield();
	f->results[1] = semaphore_acquire(f->s, 0);
	explore_yield();
	semaphore_release(f->s);
}

static void let_in_late(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	explore_process("process A", wait_first, f);
	explore_process("process B", be_faster, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *it_is_in(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	return f->results[0] == 0 && f->value == f->results[1] ? NULL :
	       text("%d, and the value is %d", f->results[0], f->value);
}

static const char *why_woken(const struct finding *f)
{
	return f->how == FOUND_WRONG ? "Who was woken has to look again: it "
	       "may be for nothing, or somebody was faster." : why_in(f);
}

static void doors(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = let_two_in_later, .judge = nobody_comes_early,
		.shared = f, .size = sizeof *f, .schedules = 30,
		.deviations = 1, .spurious = true, .no_timers = true,
		.why = why_woken,
		.expected = "nobody gets in before a place is given, and then "
			    "both" });

	explore(&(struct exploration){
		.scenario = let_two_in, .judge = both_are_in,
		.shared = f, .size = sizeof *f, .schedules = 50,
		.why = why_in,
		.expected = "two wait, two places are given: both get in" });

	explore(&(struct exploration){
		.scenario = let_in_late, .judge = it_is_in,
		.shared = f, .size = sizeof *f, .schedules = 200,
		.no_timers = true, .why = why_woken,
		.expected = "one waits for ever, another gives two places, and "
			    "may take the first: 0" });
}

/* ---- a time limit that runs out just then ------------------------------- */

static void wait_a_while(void *arg)
{
	struct facts *f = arg;

	f->results[0] = semaphore_acquire(f->s, 1);
}

static void give_in_time(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	explore_process("process A", wait_a_while, f);
	f->results[1] = semaphore_release(f->s);
	explore_wait();
	f->value = semaphore_value(f->s);
	for (int i = 0; i < 2; i++)
		f->results[2] += semaphore_acquire(f->s, 0.1) == 0;
	semaphore_destroy(f->s);
}

static const char *it_is_somewhere(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->results[0] != 0 && f->results[0] != 1)
		return text("semaphore_acquire returned %d", f->results[0]);
	return f->value == f->results[0] && f->results[2] == f->results[0]
	       ? NULL : text("%d, the value is %d, and %d can be taken",
			     f->results[0], f->value, f->results[2]);
}

static void limits(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = give_in_time, .judge = it_is_somewhere,
		.shared = f, .size = sizeof *f, .schedules = 40,
		.why = why_limit,
		.expected = "0 and none is left, or 1 and one is left" });
}

/* ---- signals ------------------------------------------------------------ */

static void nothing(int sig)
{
	(void)sig;
}

static void catch_signal(void)
{
	struct sigaction a = { .sa_handler = nothing };

	sigaction(SIGUSR1, &a, NULL);
}

static void enter_with_handler(void *arg)
{
	catch_signal();
	enter(arg);
}

static void two_with_signals(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, false))
		return;
	explore_process("process A", enter, f);
	explore_process("process B", enter_with_handler, f);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static void signals(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = two_with_signals, .judge = one_at_a_time,
		.shared = f, .size = sizeof *f, .schedules = 50,
		.kill = "process B", .signal = SIGUSR1,
		.why = why_interrupted,
		.expected = "one at a time inside, and both once" });
}

static long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void wait_half_a_second(void *arg)
{
	struct facts *f = arg;
	long begin;

	catch_signal();
	begin = now_ms();
	f->results[0] = semaphore_acquire(f->s, 0.5);
	f->waited_ms = now_ms() - begin;
}

static void interrupt_in_between(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 0, false))
		return;
	f->pid = explore_process("process A", wait_half_a_second, f);
	nanosleep(&(struct timespec){ .tv_nsec = 400000000 }, NULL);
	kill(f->pid, SIGUSR1);
	explore_wait();
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *half_a_second(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->results[0] != 1 || f->value != 0)
		return text("%d, and the value is %d", f->results[0],
			    f->value);
	return f->waited_ms >= 499 && f->waited_ms <= 800 ? NULL :
	       text("a wait of %ld ms", f->waited_ms);
}

static const char *why_anew(const struct finding *f)
{
	(void)f;
	return "A signal that arrives while you wait changes nothing about "
	       "how long you may wait.";
}

static void limits_with_signals(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = interrupt_in_between, .judge = half_a_second,
		.shared = f, .size = sizeof *f, .schedules = 1,
		.no_timers = true, .why = why_anew,
		.expected = "a wait of 500 ms, although a signal comes after "
			    "400" });
}

/* ---- workers ------------------------------------------------------------ */

static void run_three(struct facts *f, int places)
{
	if (!make(f, places, true))
		return;
	errno = 0;
	f->ret = semaphore_run(f->s, 3, visit, f, &f->most);
	f->error = errno;
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static void run_three_of_two(void *shared)
{
	run_three(shared, 2);
}

static const char *run_is_told(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_have_been_inside(f, 2, 3);

	if (wrong != NULL)
		return wrong;
	if (f->ret != 0 || f->left != 3)
		return text("semaphore_run returned %d, and %d of 3 had left",
			    f->ret, f->left);
	return f->most >= f->peak && f->most <= 2 ? NULL :
	       text("most is %d, and %d were inside at once", f->most,
		    f->peak);
}

static void runs(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = run_three_of_two, .judge = run_is_told,
		.shared = f, .size = sizeof *f, .schedules = 80,
		.no_timers = true, .why = why_most,
		.expected = "each of three workers once inside, two at a time, "
			    "and most tells how many there were" });
}

/* Worker 1 has its name for the explorer as long as it is in the room. */
static int mortal_visit(int worker, void *arg)
{
	if (worker != 1)
		return visit(worker, arg);
	facts->entered++;
	facts->inside++;
	explore_name("the one who dies");
	explore_yield();
	explore_yield();
	explore_name("the one who left");
	facts->inside--;
	facts->left++;
	return 0;
}

static void run_and_lose(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1, false))
		return;
	errno = 0;
	f->ret = semaphore_run(f->s, 3, mortal_visit, f, &f->most);
	f->error = errno;
	f->value = semaphore_value(f->s);
	semaphore_destroy(f->s);
}

static const char *loss_is_told(void *shared)
{
	struct facts *f = shared;

	if (!f->ready)
		return "semaphore_create failed";
	if (f->entered != 3)
		return text("%d of 3 came in", f->entered);
	if (f->value != 1)
		return text("the value is %d afterwards", f->value);
	if (explore_killed() ? f->ret != -1 || f->error != EOWNERDEAD :
			       f->ret != 0)
		return text("semaphore_run returned %d, %s", f->ret,
			    strerror(f->error));
	if (f->most != 1)
		return text("most is %d", f->most);
	return explore_stray_signal() ?
	       "a signal to a process that was collected before" : NULL;
}

static void losses(void)
{
	struct facts *f = facts = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = run_and_lose, .judge = loss_is_told,
		.shared = f, .size = sizeof *f, .schedules = 60,
		.kill = "the one who dies", .no_timers = true, .why = why_dead,
		.expected = "the others get in, and the value is 1 again" });
}

static const struct check checks[] = {
	{ "interleavings", "never too many inside, and all get in, whatever "
	  "the order", crowds, semaphore_acquire },
	{ "interleavings", "the value is a number of free places, whatever the "
	  "order", values, semaphore_value },
	{ "interleavings", "one place is taken once, whatever the order",
	  tries, semaphore_acquire },
	{ "interleavings", "two releases never rise above the bound, whatever "
	  "the order", releases, semaphore_release },
	{ "interleavings", "a release beside one who comes and goes never "
	  "rises above the bound", releases_while_taken, semaphore_release },
	{ "interleavings", "who waits is let in, whatever the order", doors,
	  semaphore_release },
	{ "interleavings", "a limit that runs out loses no place", limits,
	  semaphore_acquire },
	{ "interleavings", "a signal is no place, whenever it comes", signals,
	  semaphore_acquire },
	{ "interleavings", "a signal does not change a limit",
	  limits_with_signals, semaphore_acquire },
	{ "interleavings", "workers are counted right, whatever the order",
	  runs, semaphore_run },
	{ "interleavings", "a worker that dies keeps no place, wherever it "
	  "dies", losses, semaphore_run },
};

CHECKS("06-semaphore", checks);
