/*
 * Who has the turn. A task that reaches a point decides for itself, by the
 * plan, whether it goes on; if not, it hands the turn to another and sleeps
 * on a futex of its own.
 */
#include "tasks.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
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

void wake_on(_Atomic uint32_t *word)
{
	*word = 1;
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

/* ---- the turn ---------------------------------------------------------- */

bool ended_within(pid_t pid, int timeout_ms)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0), r;

	if (fd < 0)
		return true;
	do
		r = poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1,
			 timeout_ms);
	while (r < 0 && errno == EINTR);
	close(fd);
	return r == 1;
}

void wait_for_end_of(pid_t pid)
{
	siginfo_t unused;

	ended_within(pid, -1);
	/* its parent hears of it a moment later, under a lock taken here */
	waitid(P_ALL, 0, &unused, WEXITED | WNOHANG | WNOWAIT);
}

void give_turn_to(int task)
{
	arena->running = task;
	wake_on(&arena->tasks[task].turn);
}

/*
 * Give the turn to that task (or to nobody, at the beginning), and sleep
 * until it comes back; true if a signal came in. The signals are held before
 * the other one goes on: it may send some.
 */
bool hand_over_to(int task)
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

/* ---- decisions --------------------------------------------------------- */

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

/* ---- decisions carried out --------------------------------------------- */

static void be_killed(void)
{
	note(ENDS, "SIGKILL", nowhere, NULL);
	arena->killed_one = true;
	end_my_process(true);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
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
		return signal_arrives(arena->exploration->signal);
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
	const struct deviation *d = decide(nowhere, pc, true, false);
	int next;

	if (++self()->points > 20 * EVENTS)
		end_schedule(FOUND_SPIN);	/* nobody else is left */
	if (d != NULL) {
		obey(d);
		return;
	}
	next = successor(false);
	if (next != NOBODY)
		hand_over_to(next);
}

/* ---- waiting ----------------------------------------------------------- */

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
	} else if ((next = successor(true)) == me) {
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
