/* A pool in a program that has more to do than to use it: with signals,
 * output, children, and other pools of its own. */
#include "facts.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

/* Item 3 kills its worker, item 5 fails. */
static int some_fail(const void *item, void *result)
{
	const struct item *it = item;

	if (it->index == 3)
		raise(SIGKILL);
	answer(item, result);
	return it->index == 5 ? 4 : 0;
}

static void apply_one(struct pool *p)
{
	struct item item = { 1, 1 };
	struct result result;

	pool_apply(p, some_fail, &item, sizeof item, &result, sizeof result);
	still_alone("pool_apply");
}

/* ---- what the caller does about signals ------------------------------- */

enum how { IGNORED, HANDLED, BLOCKED, HOWS };

/* These tell the harness of a crash. */
static bool is_of_a_crash(int sig)
{
	return sig == SIGSEGV || sig == SIGBUS || sig == SIGILL ||
	       sig == SIGFPE || sig == SIGABRT;
}

static void handle(int sig)
{
	(void)sig;
}

/* What is done about each signal, and about no other: those that cannot be
 * caught, and those that belong to the C library, are refused. Who ignores
 * SIGCHLD has nothing to wait for. */
static void set_signals(enum how how)
{
	struct sigaction a = { .sa_handler = how == IGNORED ? SIG_IGN : handle,
			       .sa_flags = SA_RESTART };
	sigset_t all;

	sigaddset(&a.sa_mask, SIGUSR2);
	for (int sig = 1; how != BLOCKED && sig < NSIG; sig++)
		if (!is_of_a_crash(sig) &&
		    (how == HANDLED || sig != SIGCHLD))
			sigaction(sig, &a, NULL);
	sigfillset(&all);
	if (how == BLOCKED)
		sigprocmask(SIG_BLOCK, &all, NULL);
}

static void use_with_signals(void *arg)
{
	struct itimerval timer = { { 500, 0 }, { 1000, 0 } };
	struct facts *s = arg;
	struct pool *p;

	set_signals(s->number[7]);
	setitimer(ITIMER_REAL, &timer, NULL);
	keep_signals();
	for (int k = 0; k < 2; k++) {
		p = create(s, 2);
		look_at_signals(" after pool_create");
		if (p == NULL)
			return;
		map_items(&s->map, p, some_fail, 10, 1, 1);
		look_at_signals(" after pool_map");
		apply_one(p);
		look_at_signals(" after pool_apply");
		end_pool(p, k == 1);
		still_alone("pool_close");
		look_at_signals(k == 1 ? " after pool_terminate" :
				" after pool_close");
	}
	getitimer(ITIMER_REAL, &timer);
	s->number[4] = (int)timer.it_value.tv_sec;
	s->number[5] = (int)timer.it_interval.tv_sec;
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
}

static void check_signals(void)
{
	struct facts *s = shared(sizeof *s);

	for (int how = 0; how < HOWS; how++) {
		memset(s, 0, sizeof *s);
		s->number[7] = how;
		fence(&(struct fence){
			.scenario = use_with_signals, .shared = s,
			.why_stuck = "A worker begins with what its owner does "
				     "about signals: one that the owner "
				     "ignores or blocks tells it nothing." });
		expect_created(s);
		expect(s->number[4] > 0 && s->number[5] == 500, "The caller's "
		       "alarm is the caller's: a process has only one.",
		       "a timer that the caller has set still runs",
		       "%d s are left, %d s between two", s->number[4],
		       s->number[5]);
		expect_clean(NULL);
	}
}

/* ---- nobody speaks ---------------------------------------------------- */

static void use_in_silence(void *arg)
{
	struct facts *s = arg;
	struct pool *p;

	capture_output();
	for (int k = 0; k < 2; k++) {
		p = create(s, 2);
		if (p == NULL)
			break;
		map_items(&s->map, p, some_fail, 10, 1, 1);
		apply_one(p);
		end_pool(p, k == 1);
	}
	s->number[1] = captured(NULL, 0);
}

static void check_silence(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = use_in_silence, .shared = s });
	expect_created(s);
	expect_silence(s->number[1]);
	memset(s, 0, sizeof *s);
	fault_set(&(struct fault){ "fork", EAGAIN, 2, true });
	fence(&(struct fence){ .scenario = use_in_silence, .shared = s });
	expect_silence(s->number[1]);
}

/* ---- other children, other pools -------------------------------------- */

/* Lives until the gate is open; gave_up: nothing else could go on. */
static pid_t have_a_child(struct facts *s)
{
	pid_t child = fork();

	if (child != 0)
		return child;
	if (!gate_wait(&s->go))
		s->gave_up++;
	_exit(0);
}

/* It has come after the workers: it holds whatever the owner held then. */
static void end_beside_a_child(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);
	pid_t children[2];

	if (p == NULL)
		return;
	children[0] = have_a_child(s);
	map_items(&s->map, p, answer, 10, 1, 1);
	children[1] = have_a_child(s);
	end_pool(p, s->number[7] == 1);
	gate_open(&s->go);
	for (int i = 0; i < 2; i++)
		waitpid(children[i], NULL, 0);
}

static void check_beside_a_child(void)
{
	struct facts *s = shared(sizeof *s);

	for (int k = 0; k < 2; k++) {
		memset(s, 0, sizeof *s);
		s->number[7] = k;
		fence(&(struct fence){ .scenario = end_beside_a_child,
				       .shared = s });
		expect_created(s);
		expect(s->gave_up == 0, "L02-11 A child that the caller has "
		       "forked since then holds copies of your descriptors: to "
		       "close yours ends nobody.",
		       text("pool_%s returns while the caller has another "
			    "child", k == 0 ? "close" : "terminate"),
		       "it returned when the child had ended");
		expect_done(&s->map, NULL, NULL);
		expect_clean(NULL);
	}
}

/* number[7]: what the child does: it uses a pool of its own, or it ends in
 * the way of a whole program. */
static void use_around_a_child(void *arg)
{
	struct facts *s = arg;
	struct pool *p = create(s, 2);
	pid_t child;

	if (p == NULL)
		return;
	map_items(&s->map, p, answer, 10, 1, 1);
	child = fork();
	if (child == 0 && s->number[7] == 1)
		exit(0);
	if (child == 0) {
		s->owner = getpid();
		p = create(s, 2);
		if (p == NULL)
			_exit(1);
		map_items(&s->second, p, answer, 10, 1, 2);
		_exit(pool_close(p));
	}
	waitpid(child, &s->number[1], 0);
	s->owner = getpid();
	map_items(&s->map, p, answer, 10, 1, 3);
	pool_close(p);
}

static void check_around_a_child(void)
{
	static const char *const deeds[] = { "has used a pool of its own",
					     "has called exit" };
	struct facts *s = shared(sizeof *s);

	for (int k = 0; k < 2; k++) {
		memset(s, 0, sizeof *s);
		s->number[7] = k;
		fence(&(struct fence){ .scenario = use_around_a_child,
				       .shared = s });
		expect_created(s);
		expect(s->second.ret == 0 && s->number[1] == 0, "What you "
		       "remember of the process that made the first pool is "
		       "not true of its child, which makes another.",
		       "the pool of a child works as that of its parent does",
		       "pool_map returned %d, %s; the child ended with %d",
		       s->second.ret, strerror(s->second.err), s->number[1]);
		if (k == 0)
			expect_done(&s->second, NULL, NULL);
		expect(s->map.ret == 0, "A child of the caller has ended, and "
		       "took the caller's pool along.",
		       text("after a child %s the caller's next map succeeds",
			    deeds[k]), "%d, %s", s->map.ret,
		       strerror(s->map.err));
		expect_done(&s->map, NULL, NULL);
		expect_clean(NULL);
	}
}

/* number[7]: which of the first two is closed before the third is made. */
static void three_pools(void *arg)
{
	struct facts *s = arg;
	struct pool *p[2] = { create(s, 2), create(s, 2) }, *third;
	int first = s->number[7];

	if (p[0] == NULL || p[1] == NULL)
		return;
	map_items(&s->map, p[0], answer, 10, 1, 1);
	map_items(&s->map, p[1], answer, 10, 1, 1);
	pool_close(p[first]);
	third = create(s, 2);
	if (third == NULL)
		return;
	map_items(&s->map, third, answer, 10, 1, 2);
	pool_close(p[1 - first]);
	map_items(&s->second, third, answer, 10, 1, 3);
	pool_close(third);
}

static void check_three_pools(void)
{
	struct facts *s = shared(sizeof *s);

	for (int first = 0; first < 2; first++) {
		memset(s, 0, sizeof *s);
		s->number[7] = first;
		fence(&(struct fence){
			.scenario = three_pools, .shared = s,
			.why_stuck = "L02-11 A worker of one pool holds open "
				     "what belongs to another, although you "
				     "keep a list of them: the wrong one was "
				     "taken off it." });
		expect_created(s);
		expect(s->map.ret == 0 && s->second.ret == 0, "What you know "
		       "of the pools that there are is not true any more, and "
		       "a worker of one has closed what belongs to another.",
		       text("A and B are made, %s closed, C is made: the maps "
			    "of C return 0", first == 0 ? "A" : "B"),
		       "%d and %d, %s", s->map.ret, s->second.ret,
		       strerror(s->map.ret != 0 ? s->map.err
						: s->second.err));
		expect_done(&s->map, NULL, NULL);
		expect_done(&s->second, NULL, "Two pools at once get in each "
			    "other's way.");
		expect_clean(NULL);
	}
}

static const struct check checks[] = {
	{ "leftovers", "what the caller does about signals stays",
	  check_signals, (const void *)pool_map },
	{ "leftovers", "no function prints anything", check_silence,
	  (const void *)pool_map },
	{ "leftovers", "pools may come and go in any order",
	  check_three_pools, (const void *)pool_close },
	{ "leftovers", "another child of the caller holds up nobody",
	  check_beside_a_child, (const void *)pool_close },
	{ "leftovers", "another child of the caller does no harm",
	  check_around_a_child, (const void *)pool_create },
};

CHECKS("02-pool", checks);
