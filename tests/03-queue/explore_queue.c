/* Put, get and close, in every order in which processes can meet. */
#include "queue.h"

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "explorer.h"
#include "harness.h"

enum { ITEMS = 12 };

struct facts {
	struct queue *queue;
	int put[ITEMS];		/* item i: 0 not yet, 1 put returned 0, -1 failed,
				 * 2 the time ran out */
	int seen[ITEMS];	/* how often item i was got */
	int order[4 * ITEMS], got;	/* what was got at last, alone */
	int odd;		/* results that nobody promised */
	int closed, again;
	int handled;
	int in_hand;		/* what the one that is killed would get */
	size_t size;		/* what queue_qsize returned */
	bool served;
};

/* ---- what they do ------------------------------------------------------------- */

static void put_one(struct facts *f, int item, double timeout)
{
	int r = queue_put(f->queue, &item, timeout);

	if (r == 0)
		f->put[item] = 1;
	else if (r == 1 && timeout >= 0)
		f->put[item] = 2;
	else if (r == -1 && errno == EPIPE)
		f->put[item] = -1;
	else
		f->odd++;
}

/* False: nothing came. */
static bool get_one(struct facts *f, double timeout)
{
	int item = -1, r = queue_get(f->queue, &item, timeout);

	if (r == 0 && item >= 0 && item < ITEMS) {
		f->seen[item]++;
		return true;
	}
	if (r == 0 || (r == 1 && timeout < 0) || (r == -1 && errno != EPIPE))
		f->odd++;
	return false;
}

/* At the end, alone: what is left, in its order. */
static void get_the_rest(struct facts *f)
{
	int item;

	while (f->got < 2 * ITEMS) {
		item = -1;
		if (queue_get(f->queue, &item, 0) != 0)
			break;
		f->order[f->got++] = item;
		if (item >= 0 && item < ITEMS)
			f->seen[item]++;
		else
			f->odd++;
	}
}

static bool make(struct facts *f, size_t maxsize)
{
	f->queue = queue_create(maxsize, sizeof(int));
	return f->queue != NULL;
}

/* ---- what must come out ---------------------------------------------------------- */

/* Items 1 to n: got as often as they were put; lost so many at most. */
static const char *all_of(const struct facts *f, int n, int lost)
{
	if (f->queue == NULL)
		return "queue_create failed";
	if (f->odd)
		return "a call returned what nobody promised";
	for (int i = 0; i < ITEMS; i++) {
		if (f->seen[i] > 1)
			return text("item %d was got twice", i);
		if (f->seen[i] == 1 && (i == 0 || i > n))
			return text("item %d was got, which nobody put", i);
		if (f->seen[i] == 1 && f->put[i] < 0)
			return text("item %d was got, although its put failed",
				    i);
		if (f->seen[i] == 1 && f->put[i] == 2)
			return text("item %d was got, although there was no "
				    "time to put it", i);
		if (f->seen[i] == 0 && f->put[i] == 1 && --lost < 0)
			return text("item %d was put and never got", i);
	}
	return NULL;
}

static const char *why_mixed(const struct finding *f)
{
	if (f->how == FOUND_STUCK && f->waits_private)
		return "Somebody waits for what has come long ago; those whom "
		       "you wake are not those who wait.";
	if (f->how == FOUND_STUCK && f->killed)
		return "L03-17 Somebody died with the key in the pocket.";
	if (f->how == FOUND_STUCK && !f->killed)
		return "L03-05 Somebody waits for what is already there, and "
		       "nobody told it.";
	if (f->how == FOUND_RACE)
		return "Two processes are at the same place of the queue at "
		       "the same time.";
	if (f->how == FOUND_WRONG && f->overwritten)
		return "Two processes are at the same place of the queue at "
		       "the same time.";
	return NULL;
}

/* ---- two producers, two consumers ---------------------------------------------------- */

static void put_1_and_2(void *arg)
{
	put_one(arg, 1, -1);
	put_one(arg, 2, -1);
}

static void put_3(void *arg)
{
	put_one(arg, 3, -1);
}

static void get_a_last(void *arg)
{
	get_one(arg, -1);
}

static void two_put(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1))
		return;
	explore_process("producer A", put_1_and_2, f);
	explore_process("producer B", put_3, f);
	get_one(f, -1);
	get_one(f, -1);
	get_one(f, -1);
	explore_wait();
	get_the_rest(f);
}

static void two_get(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2))
		return;
	explore_process("consumer A", get_a_last, f);
	explore_process("consumer B", get_a_last, f);
	put_one(f, 1, -1);
	put_one(f, 2, -1);
	explore_wait();
	get_the_rest(f);
}

static const char *all_three(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_of(f, 3, 0);

	return wrong != NULL ? wrong : f->put[1] + f->put[2] + f->put[3] != 3 ?
	       "a put failed" : NULL;
}

static const char *both(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_of(f, 2, 0);

	return wrong != NULL ? wrong : f->got > 0 ? "an item is left, and "
	       "somebody got nothing" : NULL;
}

static void producers(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = two_put, .judge = all_three, .shared = f,
		.size = sizeof *f, .why = why_mixed, .schedules = 80,
		.expected = "three items, each got once" });
}

static void consumers(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = two_get, .judge = both, .shared = f,
		.size = sizeof *f, .why = why_mixed, .schedules = 80,
		.spurious = true, .expected = "two items, one for each" });
}

/* ---- how many there are ------------------------------------------------------------------ */

static void look_at_size(struct facts *f)
{
	f->size = queue_qsize(f->queue);
}

static void put_2_and_get_both(void *arg)
{
	put_one(arg, 2, 0);
	get_one(arg, 0);
	get_one(arg, 0);
}

static void close_it(void *arg)
{
	struct facts *f = arg;

	f->closed = queue_close(f->queue) == 0 ? 1 : -1;
}

static void (*meanwhile)(void *arg);

static void size_meanwhile(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2))
		return;
	put_one(f, 1, 0);
	explore_from_here();
	explore_process("process A", meanwhile, f);
	look_at_size(f);
	explore_wait();
}

static const char *was_once_true(void *shared)
{
	struct facts *f = shared;

	if (f->queue == NULL)
		return "queue_create failed";
	return f->size <= 2 ? NULL : text("there never were more than 2, and "
		"queue_qsize said %zd", (ssize_t)f->size);
}

static const char *why_size(const struct finding *f)
{
	if (f->how == FOUND_STUCK)
		return "Each of two has a lock that the other one wants.";
	return f->how == FOUND_WRONG ? "Two counts that were read at different "
	       "moments do not belong together." : why_mixed(f);
}

static void explore_size(void (*run)(void *arg))
{
	struct facts *f = shared(sizeof *f);

	meanwhile = run;
	explore(&(struct exploration){
		.scenario = size_meanwhile, .judge = was_once_true,
		.shared = f, .size = sizeof *f, .why = why_size,
		.deviations = 1, .expected = "0, 1 or 2" });
}

static void sizing(void)
{
	explore_size(put_2_and_get_both);
	explore_size(close_it);
}

/* ---- closing ---------------------------------------------------------------------------- */

static void get_all(void *arg)
{
	while (get_one(arg, -1))
		;
}

/* The closer comes between the put, a wait for room, and a wait for items. */
static void close_beside(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1))
		return;
	explore_process("producer", put_1_and_2, f);
	explore_process("closer", close_it, f);
	get_all(f);
	explore_wait();
	f->again = get_one(f, 0);
	get_the_rest(f);
}

static const char *refused_or_got(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_of(f, 2, 0);

	if (wrong != NULL)
		return wrong;
	if (f->put[1] == 0 || f->put[2] == 0 || f->closed != 1)
		return "a call failed";
	if (f->again || f->got > 0)
		return "an item came after the end had been told";
	return f->put[1] < 0 && f->put[2] > 0 ? "the second item was taken, "
	       "and the first was not" : NULL;
}

static const char *why_close(const struct finding *f)
{
	if (f->how == FOUND_STUCK)
		return "The queue is closed, and somebody still waits for it.";
	if (f->how == FOUND_WRONG)
		return "An item whose put returned 0 was in the queue before it "
		       "was closed, and is got; one that was refused is not.";
	return why_mixed(f);
}

static void closing(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = close_beside, .judge = refused_or_got, .shared = f,
		.size = sizeof *f, .why = why_close, .schedules = 80,
		.expected = "each put returns 0 and its item is got, or EPIPE "
			    "and it is not" });
}

/* ---- time limits that run out ---------------------------------------------------------------- */

static void put_with_limit(void *arg)
{
	put_one(arg, 2, 5);
}

static void get_with_limit(void *arg)
{
	get_one(arg, 5);
}

static void limits_for_items(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2))
		return;
	explore_process("consumer", get_with_limit, f);
	put_one(f, 1, -1);
	explore_wait();
	put_one(f, 3, 0);
	get_the_rest(f);
	put_one(f, 4, 0);
	get_the_rest(f);
}

static void limits_for_room(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1))
		return;
	put_one(f, 1, -1);
	explore_process("producer", put_with_limit, f);
	get_one(f, 5);
	explore_wait();
	get_the_rest(f);
	put_one(f, 3, 0);
	get_the_rest(f);
	put_one(f, 4, 0);
	get_the_rest(f);
}

static const char *in_time_or_not(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_of(f, 4, 0);

	if (wrong != NULL)
		return wrong;
	return f->put[1] != 1 || f->put[3] != 1 || f->put[4] != 1 ?
	       "there is room, and it is not given" : NULL;
}

static const char *why_limits(const struct finding *f)
{
	return f->how == FOUND_WRONG ? "Somebody waited in vain, and took "
	       "something along all the same." : why_mixed(f);
}

static void limits(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = limits_for_items, .judge = in_time_or_not,
		.shared = f, .size = sizeof *f, .why = why_limits,
		.schedules = 60,
		.expected = "each item is got once, in time or later" });
	explore(&(struct exploration){
		.scenario = limits_for_room, .judge = in_time_or_not,
		.shared = f, .size = sizeof *f, .why = why_limits,
		.schedules = 60,
		.expected = "an item is put in time, or is not there" });
}

/* ---- signals ------------------------------------------------------------------------------------ */

static struct facts *handled_by;

static void note_signal(int sig)
{
	(void)sig;
	handled_by->handled++;
}

static void interrupted_get(void *arg)
{
	handled_by = arg;
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = note_signal },
		  NULL);
	get_one(arg, -1);
}

static void interrupted_put(void *arg)
{
	handled_by = arg;
	sigaction(SIGUSR1, &(struct sigaction){ .sa_handler = note_signal },
		  NULL);
	put_one(arg, 2, -1);
}

static void signal_a_consumer(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 2))
		return;
	explore_process("process A", interrupted_get, f);
	put_one(f, 1, -1);
	explore_wait();
	get_the_rest(f);
}

static void signal_a_producer(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 1))
		return;
	put_one(f, 1, -1);
	explore_process("process A", interrupted_put, f);
	get_one(f, -1);
	explore_wait();
	get_the_rest(f);
}

static const char *as_without(void *shared)
{
	struct facts *f = shared;
	const char *wrong = all_of(f, 2, 0);

	if (wrong != NULL)
		return wrong;
	return f->put[1] != 1 || f->put[2] < 0 || f->put[2] == 2 ?
	       "a put failed" : NULL;
}

static const char *why_signal(const struct finding *f)
{
	(void)f;
	return "L03-19 A signal woke you, not an item.";
}

static void signals(void)
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = signal_a_consumer, .judge = as_without,
		.shared = f, .size = sizeof *f, .kill = "process A",
		.signal = SIGUSR1, .why = why_signal, .deviations = 1,
		.expected = "the item is got, as without the signal" });
	explore(&(struct exploration){
		.scenario = signal_a_producer, .judge = as_without,
		.shared = f, .size = sizeof *f, .kill = "process A",
		.signal = SIGUSR1, .why = why_signal, .deviations = 1,
		.expected = "the item is put, as without the signal" });
}

/* ---- death, at each point ------------------------------------------------------------------------ */

static void put_2(void *arg)
{
	put_one(arg, 2, 0);
}

static void get_0(void *arg)
{
	get_one(arg, 0);
}

static void wait_for_item(void *arg)
{
	get_one(arg, -1);
}

/*
 * Afterwards, alone: the queue for 3 takes at least two items, gives them in
 * their order, and can be closed.
 */
static void go_on_alone(struct facts *f)
{
	get_the_rest(f);
	for (int item = 6; item <= 9; item++)
		put_one(f, item, 0);
	get_the_rest(f);
	put_one(f, 10, 0);
	get_the_rest(f);
	close_it(f);
	get_the_rest(f);
	f->again = get_one(f, -1);
}

static void die_putting(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 3))
		return;
	put_one(f, 1, 0);
	explore_from_here();
	explore_process("process A", put_2, f);
	explore_wait();
	look_at_size(f);
	explore_process("process B", get_0, f);
	put_one(f, 3, 0);
	explore_wait();
	get_the_rest(f);
	look_at_size(f);
	go_on_alone(f);
}

static void die_getting(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 3))
		return;
	f->in_hand = 1;
	put_one(f, 1, 0);
	put_one(f, 2, 0);
	explore_from_here();
	explore_process("process A", get_0, f);
	explore_wait();
	go_on_alone(f);
}

static void die_waiting(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 3))
		return;
	f->in_hand = 1;
	explore_from_here();
	explore_process("process A", wait_for_item, f);
	put_one(f, 1, 0);
	explore_wait();
	go_on_alone(f);
}

static void put_6_and_7(void *arg)
{
	put_one(arg, 6, 0);
	put_one(arg, 7, 0);
}

/*
 * One waits while another one dies; later one more waits, and is served. The
 * first need not be: when it came there was no death yet.
 */
static void die_putting_beside(void *shared)
{
	struct facts *f = shared;
	pid_t a, b;

	if (!make(f, 3))
		return;
	b = explore_process("process B", wait_for_item, f);
	a = explore_process("process A", put_2, f);
	explore_from_here();
	waitpid(a, NULL, 0);
	get_one(f, 0);
	explore_process("process C", put_6_and_7, f);
	f->served = get_one(f, -1);
	kill(b, SIGKILL);
}

static void wait_for_room(void *arg)
{
	put_one(arg, 3, -1);
}

static void die_getting_beside(void *shared)
{
	struct facts *f = shared;
	pid_t a, b, c;

	if (!make(f, 2))
		return;
	put_one(f, 1, 0);
	put_one(f, 2, 0);
	b = explore_process("process B", wait_for_room, f);
	a = explore_process("process A", get_0, f);
	explore_from_here();
	waitpid(a, NULL, 0);
	put_one(f, 4, 0);
	c = explore_process("process C", get_all, f);
	put_one(f, 5, -1);
	f->served = f->put[5] == 1;
	kill(b, SIGKILL);
	kill(c, SIGKILL);
}

static void die_closing(void *shared)
{
	struct facts *f = shared;

	if (!make(f, 3))
		return;
	put_one(f, 1, 0);
	explore_from_here();
	explore_process("process A", close_it, f);
	explore_wait();
	get_the_rest(f);
	close_it(f);
	put_one(f, 6, 0);
	f->again = get_one(f, -1);
	get_the_rest(f);
}

static const char *in_order(const struct facts *f)
{
	for (int i = 1; i < f->got; i++)
		if (f->order[i] <= f->order[i - 1])
			return text("item %d came out after item %d",
				    f->order[i], f->order[i - 1]);
	return NULL;
}

/* What the dead one had in hand may be lost, and the room of one item. */
static const char *others_go_on(void *shared)
{
	struct facts *f = shared;
	const char *wrong;
	bool later = false;	/* something came out that was put later */
	int lost = 0;

	if (f->queue == NULL)
		return "queue_create failed";
	if (!explore_killed())
		return NULL;
	for (int i = 0; i < ITEMS; i++)
		if (f->seen[i] > 1)
			return text("item %d was got twice", i);
	wrong = in_order(f);
	if (wrong != NULL)
		return wrong;
	if (f->size > 1)	/* what was lost may count */
		return text("nothing is left, and queue_qsize said %zd",
			    (ssize_t)f->size);
	if (f->odd)
		return "something else than an item was got";
	if (f->put[6] != 1 || f->put[7] != 1)
		return "an empty queue for 3 does not take two items";
	if (f->put[9] == 1)
		return "a queue for 3 takes 4 items";
	if (f->put[10] != 1)
		return "after that there is no room for another";
	for (int i = ITEMS - 1; i > 0; i--) {
		later = later || f->seen[i];
		if (f->put[i] != 1 || f->seen[i])
			continue;
		if (later && i != f->in_hand)
			return text("item %d is lost, which the dead one did "
				    "not have in hand", i);
		if (++lost > 1)
			return "more than one item did not come out";
	}
	if (f->closed != 1 || f->again)
		return "the queue cannot be closed";
	return NULL;
}

static const char *is_served(void *shared)
{
	struct facts *f = shared;

	if (f->queue == NULL)
		return "queue_create failed";
	return f->served ? NULL : "who waits after a death is not served";
}

static const char *closed_in_the_end(void *shared)
{
	struct facts *f = shared;

	if (f->queue == NULL)
		return "queue_create failed";
	if (f->odd || f->closed != 1 || f->again)
		return "it could not be closed again";
	if (f->seen[1] != 1)
		return "what was in it is lost";
	return f->put[6] == 1 || f->seen[6] ? "an item was put into the closed "
	       "queue" : NULL;
}

static const char *why_dead(const struct finding *f)
{
	if (f->how == FOUND_STUCK)
		return "L03-17 Somebody died with the key in the pocket.";
	if (f->how == FOUND_WRONG || ((f->how == FOUND_CRASH ||
	    f->how == FOUND_RACE) && f->killed))
		return "L03-17 Somebody died in the middle of it, and the queue "
		       "is not what it was.";
	return NULL;
}

static const char *why_not_woken(const struct finding *f)
{
	return f->how == FOUND_STUCK && f->killed ? "L03-17 Somebody died "
	       "before it had woken who waits, and nobody does it now." :
	       why_dead(f);
}

static void explore_death(void (*scenario)(void *), const char *(*judge)(void *),
			  const char *(*why)(const struct finding *))
{
	struct facts *f = shared(sizeof *f);

	explore(&(struct exploration){
		.scenario = scenario, .judge = judge, .shared = f,
		.size = sizeof *f, .kill = "process A", .why = why,
		.deviations = 1, .no_timers = true,
		.expected = "calls that begin after a death work as before" });
}

static void death_putting(void)
{
	explore_death(die_putting, others_go_on, why_dead);
	explore_death(die_putting_beside, is_served, why_not_woken);
}

static void death_getting(void)
{
	explore_death(die_getting, others_go_on, why_dead);
	explore_death(die_waiting, others_go_on, why_dead);
	explore_death(die_getting_beside, is_served, why_not_woken);
}

static void death_closing(void)
{
	explore_death(die_closing, closed_in_the_end, why_dead);
}

static const struct check checks[] = {
	{ "interleavings", "what two put at once is got once, whatever the "
	  "order", producers, queue_put },
	{ "interleavings", "two that get at once get one each, whatever the "
	  "order", consumers, queue_get },
	{ "interleavings", "a put beside a close is refused or its item is "
	  "got, whatever the order", closing, queue_close },
	{ "interleavings", "how many there are was once true, whatever the "
	  "order", sizing, queue_qsize },
	{ "interleavings", "who comes too late has done nothing, whatever the "
	  "order", limits, queue_get },
	{ "interleavings", "a signal changes nothing, wherever it comes",
	  signals, queue_get },
	{ "interleavings", "who dies putting keeps nobody out, wherever it "
	  "dies", death_putting, queue_put },
	{ "interleavings", "who dies getting keeps nobody out, wherever it "
	  "dies", death_getting, queue_get },
	{ "interleavings", "who dies closing keeps nobody out, wherever it "
	  "dies", death_closing, queue_close },
};

CHECKS("03-queue", checks);
