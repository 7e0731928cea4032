/*
 * Who has the turn. A task that reaches a point decides for itself, by the
 * plan, whether it goes on; if not, it hands the turn to another and sleeps
 * on a futex of its own. All its signals wait meanwhile, so that they arrive
 * at a point, too.
 */
#include "arena.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE = 60 };		/* points in a row, while others could go on */

struct arena *arena;
__thread int me = NOBODY;

struct task *self(void)
{
	return &arena->tasks[me];
}

static void sleep_on(_Atomic uint32_t *word, uint32_t value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void wake_on(_Atomic uint32_t *word)
{
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- signals arrive when their receiver has the turn ------------------------- */

static void hold_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static bool is_fatal(int sig)
{
	return sig != SIGCHLD && sig != SIGCONT && sig != SIGURG &&
	       sig != SIGWINCH && sig != SIGTSTP && sig != SIGTTIN &&
	       sig != SIGTTOU;
}

static void end_by_signal(int sig);

/* Let in what has arrived; true if a handler is going to run. */
bool let_signals_in(const sigset_t *before)
{
	bool handled = false;
	struct sigaction a;
	sigset_t pending;

	sigpending(&pending);
	for (int sig = 1; sig < NSIG && !sigisemptyset(&pending); sig++) {
		if (sigismember(&pending, sig) != 1 ||
		    sigismember(before, sig) == 1 ||
		    sigaction(sig, NULL, &a) != 0)
			continue;
		if (a.sa_handler == SIG_DFL && is_fatal(sig))
			end_by_signal(sig);
		handled |= a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN;
	}
	pthread_sigmask(SIG_SETMASK, before, NULL);
	return handled;
}

/* ---- the turn ------------------------------------------------------------------ */

void wait_for_end_of(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	siginfo_t unused;

	if (fd < 0)
		return;
	while (poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, -1) < 0 &&
	       errno == EINTR)
		;
	close(fd);
	/* its parent hears of it a moment later, under a lock that this takes */
	waitid(P_ALL, 0, &unused, WEXITED | WNOHANG | WNOWAIT);
}

static void give_turn_to(int task)
{
	arena->running = task;
	wake_on(&arena->tasks[task].turn);
}

/*
 * Give the turn to that task (or to nobody, at the beginning), and sleep
 * until it comes back; true if a signal came in. The signals are held before
 * the other one goes on: it may send some.
 */
static bool hand_over_to(int task)
{
	sigset_t before;

	hold_signals(&before);
	if (task != NOBODY)
		give_turn_to(task);
	while (self()->turn == 0)
		sleep_on(&self()->turn, 0);
	self()->turn = 0;
	self()->points = 0;
	if (arena->leaving != 0) {
		wait_for_end_of(arena->leaving);
		arena->leaving = 0;
	}
	return let_signals_in(&before);
}

void end_schedule(enum found found)
{
	if (arena->found == FOUND_NOTHING)
		arena->found = found;
	wake_on(&arena->over);
	for (;;)
		pause();
}

static bool can_go(const struct task *t)
{
	return t->state == READY || (t->state == WAITING && t->retry);
}

static unsigned others_ready(void)
{
	unsigned set = 0;

	for (int i = 0; i < arena->n_tasks; i++)
		if (i != me && can_go(&arena->tasks[i]))
			set |= 1u << i;
	return set;
}

static unsigned timers_running(void)
{
	unsigned set = 0;
	struct task *t;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (t->state == WAITING && !t->retry && t->deadline != FOREVER)
			set |= 1u << i;
	}
	return set;
}

/* Who comes after me, round and round; NOBODY if nobody can go. */
static int next_in_turn(bool myself_too)
{
	int n = arena->n_tasks, i;

	for (int k = 1; k <= n; k++) {
		i = (me + k) % n;
		if ((i != me || myself_too) && can_go(&arena->tasks[i]))
			return i;
	}
	return NOBODY;
}

static int first_timer(void)
{
	unsigned set = timers_running();
	int first = NOBODY;

	for (int i = 0; i < arena->n_tasks; i++)
		if ((set >> i & 1) &&
		    (first == NOBODY || arena->tasks[i].deadline <
					arena->tasks[first].deadline))
			first = i;
	return first;
}

static void run_out(int task)
{
	struct task *t = &arena->tasks[task];

	if (t->deadline > arena->now)
		arena->now = t->deadline;
	t->wake = TIMED_OUT;
	t->retry = true;
}

/* Who goes on when I cannot: the next, or whose time runs out first. */
static int successor(void)
{
	int next = next_in_turn(true);

	if (next == NOBODY && (next = first_timer()) != NOBODY)
		run_out(next);
	return next;
}

static bool everybody_ended(void)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].state != ENDED)
			return false;
	return true;
}

static struct sync *lock_waited_for(const struct task *t)
{
	struct sync *s = t->waits_for.object ? sync_at(t->waits_for) : NULL;

	return s != NULL && s->kind != NULL ? s : NULL;
}

void wake_all_waits(void)
{
	struct task *t;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (t->state == WAITING && !t->queued &&
		    lock_waited_for(t) == NULL)
			t->retry = true;
	}
}

/* With a process goes what it held; only some kinds of locks notice. */
void wake_after_death(void)
{
	struct sync *s;

	wake_all_waits();
	for (int i = 0; i < arena->n_tasks; i++) {
		struct task *t = &arena->tasks[i];

		if (t->state != WAITING || t->queued)
			continue;
		s = lock_waited_for(t);
		if (s != NULL && s->shared)
			t->retry = true;
	}
}

/* ---- decisions ------------------------------------------------------------------ */

static bool names_me(const char *name)
{
	return name != NULL && strcmp(self()->name, name) == 0;
}

/* Write down what could be done here, and look up what shall be. */
static const struct deviation *decide(struct place place, const void *pc,
				      bool is_free, bool spurious)
{
	const struct exploration *e = arena->exploration;
	struct decision *d = &arena->decisions[arena->n_decisions];

	*d = (struct decision){
		.task = (int8_t)me, .others = (uint16_t)others_ready(),
		.timers = e->no_timers ? 0 : (uint16_t)timers_running(),
		.free = is_free, .spurious = spurious && e->spurious,
		.can_be_killed = names_me(e->kill) && !arena->killed_one,
		.place = place, .pc = pc, .event = arena->n_events,
	};
	if (!d->others && !d->timers && !d->spurious && !d->can_be_killed)
		return NULL;
	if (arena->n_decisions == EVENTS - 1)
		end_schedule(FOUND_SPIN);
	arena->n_decisions++;
	for (int i = 0; i < arena->planned; i++)
		if (arena->plan[i].at == arena->n_decisions - 1)
			return &arena->plan[i];
	return NULL;
}

static void all_end(int process, bool killed)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].process == process) {
			arena->tasks[i].state = ENDED;
			arena->tasks[i].killed = killed;
		}
	wake_after_death();
	arena->leaving = getpid();
}

/* I am through: hand the turn on, if there is anybody. */
static void hand_on(void)
{
	int next = successor();

	if (next != NOBODY) {
		give_turn_to(next);
		return;
	}
	if (!everybody_ended())
		arena->found = arena->found ? arena->found : FOUND_STUCK;
	wake_on(&arena->over);
}

static void end_by_signal(int sig)
{
	struct sigaction a = { .sa_handler = SIG_DFL };
	sigset_t none;

	all_end(self()->process, true);
	hand_on();
	sigaction(sig, &a, NULL);
	sigemptyset(&none);
	raise(sig);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	for (;;)
		pause();
}

static void be_killed(void)
{
	note(ENDS, "SIGKILL", (struct place){0}, NULL);
	arena->killed_one = true;
	all_end(self()->process, true);
	hand_on();
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

/* True if it is not kept for later. */
static bool arrives(int sig)
{
	sigset_t blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	raise(sig);
	return sigismember(&blocked, sig) == 0;
}

/* The turn goes to another, or I end; true if it comes back with a signal. */
static bool obey(const struct deviation *d)
{
	switch (d->act) {
	case TIME_OUT:
		run_out(d->task);
		return hand_over_to(d->task);
	case SWITCH:
		return hand_over_to(d->task);
	case KILL:
		be_killed();
		return false;
	case SIGNAL:
		return arrives(arena->exploration->signal);
	case SPURIOUS:
		break;
	}
	return false;
}

void point(struct place place, const void *pc)
{
	struct task *t = self();
	const struct deviation *d;

	t->pc = pc;
	settle_write();
	if (++t->points > 20 * EVENTS)
		end_schedule(FOUND_SPIN);
	d = decide(place, pc, false, false);
	if (d != NULL)
		obey(d);
	else if (t->points % PATIENCE == 0)
		yield_turn(pc);
}

void yield_turn(const void *pc)
{
	const struct deviation *d = decide((struct place){0}, pc, true, false);
	int next;

	if (++self()->points > 20 * EVENTS)
		end_schedule(FOUND_SPIN);	/* nobody else is left */
	if (d != NULL) {
		obey(d);
		return;
	}
	next = next_in_turn(false);
	if (next == NOBODY && (next = first_timer()) != NOBODY)
		run_out(next);
	if (next == NOBODY)
		return;
	hand_over_to(next);
}

/* ---- waiting ---------------------------------------------------------------------- */

static enum wake sleep_here(const char *call, struct place place,
			    int64_t deadline, const void *pc, bool queued)
{
	struct task *t = self();
	const struct deviation *d;
	bool interrupted = false;
	int next;

	settle_write();
	t->state = WAITING;
	t->call = call;
	t->pc = pc;
	t->waits_for = place;
	t->deadline = deadline;
	t->retry = t->woken = false;
	t->queued = queued;
	t->wake = WOKEN;
	d = decide(place, pc, true, queued);
	if (d != NULL && d->act == SPURIOUS) {
		t->wake = FOR_NO_REASON;
	} else if (d != NULL) {
		interrupted = obey(d);
	} else if ((next = successor()) == me) {
		/* nobody else: my own time has run out */
	} else if (next != NOBODY) {
		interrupted = hand_over_to(next);
	} else {
		end_schedule(FOUND_STUCK);
	}
	t->state = READY;
	t->call = NULL;
	if (t->cancelled && place.object == 0)
		pthread_exit(PTHREAD_CANCELED);
	if (interrupted && !t->woken && t->wake == WOKEN)
		t->wake = INTERRUPTED;
	return t->wake;
}

enum wake wait_here(const char *call, struct place place, int64_t deadline,
		    const void *pc)
{
	return sleep_here(call, place, deadline, pc, false);
}

enum wake queue_here(const char *call, struct place place, int64_t deadline,
		     const void *pc)
{
	return sleep_here(call, place, deadline, pc, true);
}

/* The first in the line first: who has waited for the lowest event. */
int wake(struct place place, bool shared, int n)
{
	struct task *t;
	int woken = 0;

	for (int k = 1; k <= arena->n_tasks && woken < n; k++) {
		t = &arena->tasks[(me + k) % arena->n_tasks];
		if (t->state != WAITING || t->retry ||
		    !same_place(t->waits_for, place) ||
		    (!shared && t->process != self()->process))
			continue;
		t->retry = t->woken = true;
		woken++;
	}
	return woken;
}

/* ---- from the beginning to the end ------------------------------------------------- */

int new_task(const char *name)
{
	int i = arena->n_tasks;
	struct task *t = &arena->tasks[i];

	if (i == TASKS)
		end_schedule(FOUND_BLIND);
	arena->n_tasks++;
	memset(t, 0, sizeof *t);
	t->state = READY;
	t->deadline = FOREVER;
	t->process = i;
	t->last_event = NOBODY;
	if (name != NULL)
		snprintf(t->name, sizeof t->name, "%s", name);
	else
		snprintf(t->name, sizeof t->name, "child %d", i);
	if (exploring()) {
		t->clock = self()->clock;
		self()->clock.at[me]++;
	}
	t->clock.at[i] = 1;
	return i;
}

void begin_task(int task)
{
	me = task;
	hand_over_to(NOBODY);
}

/* What _exit() does, with the turn handed on before. */
void leave_process(int status, bool flush, const void *pc)
{
	if (pc != NULL)
		self()->pc = pc;
	note(ENDS, flush ? "exit" : "_exit", (struct place){0}, self()->pc)
		->value = (uint64_t)status;
	all_end(self()->process, false);
	hand_on();
	me = NOBODY;
	_exit(status);
}

void leave_thread(void)
{
	note(ENDS, "end of thread", (struct place){0}, NULL);
	self()->state = ENDED;
	wake_all_waits();
	hand_on();
	me = NOBODY;
}
