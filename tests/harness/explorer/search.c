/*
 * The search: one schedule after the other, each in fresh processes. First
 * nobody is disturbed; then each decision of that schedule is made otherwise,
 * one at a time; then two at a time, up to the number of schedules allowed.
 *
 * A plan is a list of deviations. What a schedule leaves behind is the list
 * of its decisions, from which the next plans are made. Nothing else decides
 * what happens, so the same plan gives the same schedule.
 */
#include "calls.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fl.h"
#include "internal.h"

enum {
	DEVIATIONS = 2, SCHEDULES = 400,	/* unless told otherwise */
	LOOK_MS = 20,			/* how often the controller looks */
	SLEEPS_LOOKS = 100,		/* asleep so often: a wait unknown */
	BUSY_NS = 1000000000,		/* of processor time without a point */
	SHARED_PLACES = 4096,
};

/* What this test program has done up to now, all scenarios together. */
static struct { long schedules; double seconds; } *total;

static const struct exploration *the;

/* ---- one schedule -------------------------------------------------------------- */

static void reset_arena(const struct deviation *plan, int n)
{
	arena->schedule++;
	memcpy(arena->plan, plan, (size_t)n * sizeof *plan);
	arena->planned = n;
	arena->exploration = the;
	arena->n_tasks = arena->n_syncs = arena->n_events = 0;
	arena->n_decisions = arena->n_names = arena->n_sysv = 0;
	arena->leaving = 0;
	arena->now = 0;
	arena->over = 0;
	arena->next_object = 0;
	memset(arena->objects, 0, sizeof arena->objects);
	arena->found = FOUND_NOTHING;
	arena->race[0] = arena->race[1] = 0;
	arena->got[0] = '\0';
	arena->killed_one = arena->stray_signal = false;
	arena->crash_signal = 0;
	arena->first_decision = 0;
	board->frames = 0;
	memset(the->shared, 0, the->size);
}

/* In a fresh process: the scenario, from the beginning to the end. */
static _Noreturn void be_the_caller(void)
{
	arena->tasks[0].pid = getpid();
	watch_processes();
	begin_task(0);
	the->scenario(the->shared);
	if (me != 0) {
		board->copied = "a function";
		_exit(0);
	}
	leave_process(0, false, NULL);
}

static bool has_ended(pid_t pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	bool ended = fd < 0 ||
		     poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1,
			  0) == 1;

	if (fd >= 0)
		close(fd);
	return ended;
}

static int64_t cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec t = {0};

	if (clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &t) != 0)
		return 0;
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

struct look {
	pid_t pid;
	int events, decisions, asleep;
	int64_t cpu;
};

/* Is who has the turn still getting anywhere? Sets arena->found if not. */
static void look_after(struct look *last)
{
	struct task *t = &arena->tasks[arena->running];
	pid_t pid = t->pid;
	int64_t cpu = cpu_ns(pid);

	if (pid != last->pid || arena->n_events != last->events ||
	    arena->n_decisions != last->decisions) {
		*last = (struct look){ pid, arena->n_events,
				       arena->n_decisions, 0, cpu };
		return;
	}
	if (cpu - last->cpu > BUSY_NS)
		arena->found = FOUND_SPIN;
	else if (pid > 0 && has_ended(pid) && !arena->over)
		arena->found = FOUND_CRASH;
	else if (process_state(pid) != 'S')
		last->asleep = 0;
	else if (++last->asleep > SLEEPS_LOOKS)
		arena->found = FOUND_BLIND;
}

static void wait_until_over(void)
{
	struct timespec a_look = { .tv_nsec = LOOK_MS * 1000000 };
	struct look last = {0};

	while (arena->over == 0 && arena->found == FOUND_NOTHING) {
		if (syscall(SYS_futex, &arena->over, FUTEX_WAIT, 0, &a_look,
			    NULL, 0) != 0 && errno == ETIMEDOUT)
			look_after(&last);
		if (board->todo || board->copied)
			pause();	/* the test program ends this */
	}
}

/* Nobody and nothing of a schedule lives on into the next. */
static void clear_away(void)
{
	pid_t last = arena->tasks[arena->running].pid, pid;
	char path[64];
	int status;

	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].state != ENDED && arena->tasks[i].pid > 0)
			kill(arena->tasks[i].pid, SIGKILL);
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid > 0)
			wait_for_end_of(arena->tasks[i].pid);
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == last && WIFSIGNALED(status))
			arena->crash_signal = WTERMSIG(status);
	if (errno != ECHILD)
		tree_kill(getpid());
	for (int i = 0; i < arena->n_names; i++) {
		snprintf(path, sizeof path, "/dev/shm/%s", arena->names[i]);
		unlink(path);
	}
	for (int i = 0; i < arena->n_sysv; i++)
		semctl(arena->sysv[i], 0, IPC_RMID);
}

static void judge_it(void)
{
	const char *got;

	if (arena->found != FOUND_NOTHING || the->judge == NULL)
		return;
	got = the->judge(the->shared);
	if (got == NULL)
		return;
	arena->found = FOUND_WRONG;
	snprintf(arena->got, sizeof arena->got, "%s", got);
}

static void run_schedule(const struct deviation *plan, int n)
{
	pid_t pid;

	total->schedules++;
	reset_arena(plan, n);
	me = NOBODY;
	new_task("the caller");
	arena->tasks[0].turn = 1;
	arena->running = 0;
	pid = fork();
	if (pid < 0)
		fl_die("cannot start a process");
	if (pid == 0)
		be_the_caller();
	arena->tasks[0].pid = pid;
	wait_until_over();
	clear_away();
	judge_it();
}

/* ---- where a switch can make a difference ----------------------------------------- */

/*
 * Words of shared memory that several tasks have touched in any schedule up
 * to now. Somebody who goes on before an access that concerns nobody else
 * might as well have gone on later.
 */
static struct { struct place place; unsigned who; } words[SHARED_PLACES];
static int n_words;

static unsigned *word_at(struct place place)
{
	place.offset /= 8;
	for (int i = 0; i < n_words; i++)
		if (same_place(words[i].place, place))
			return &words[i].who;
	if (n_words == SHARED_PLACES)
		return NULL;
	words[n_words].place = place;
	return &words[n_words++].who;
}

static void learn_from_schedule(void)
{
	const struct event *e = arena->events;
	unsigned *who;
	int i = 0;

	while (i < arena->n_events && e[i].what != STARTS)
		i++;
	for (; i < arena->n_events; i++) {
		if (e[i].place.object == 0 || e[i].what == STARTS)
			continue;
		who = word_at(e[i].place);
		if (who != NULL)
			*who |= 1u << e[i].task;
	}
}

static bool concerns_others(const struct decision *d)
{
	unsigned *who;

	if (d->free || d->place.object == 0)
		return true;
	who = word_at(d->place);
	return who == NULL || (*who & ~(1u << d->task)) != 0;
}

/* Who waits in a loop decides the same thing again and again. */
static void mark_idle(struct decision *decisions, int n)
{
	struct { const void *pc; struct place place; int changes; bool free; }
		last[TASKS];
	int changes = 0, event = 0;
	struct decision *d;

	memset(last, 0, sizeof last);
	for (int i = 0; i < n; i++) {
		d = &decisions[i];
		for (; event < d->event; event++) {
			const struct event *e = &arena->events[event];

			changes += e->what == WRITE || e->what == ATOMIC_WRITE
				   ? e->value != e->before
				   : e->what != READ && e->what != ATOMIC_READ;
		}
		d->idle = last[d->task].pc == d->pc && d->pc != NULL &&
			  same_place(last[d->task].place, d->place) &&
			  last[d->task].free == d->free &&
			  last[d->task].changes == changes;
		last[d->task].pc = d->pc;
		last[d->task].place = d->place;
		last[d->task].free = d->free;
		last[d->task].changes = changes;
	}
}

/* ---- all plans ------------------------------------------------------------------------ */

struct search {
	struct deviation plan[PLAN], race_plan[PLAN];
	int race_planned;	/* 0..: a plan that shows a race; -1: none yet */
	int depth, schedules;
};

static void visit(struct search *s, int n);

static bool through(const struct search *s)
{
	return arena->found != FOUND_NOTHING || s->schedules <= 0;
}

static void deviate(struct search *s, int n, int at, enum act act, int task)
{
	if (through(s))
		return;
	s->plan[n] = (struct deviation){ at, act, task };
	visit(s, n + 1);
}

static bool kills_already(const struct search *s, int n)
{
	for (int i = 0; i < n; i++)
		if (s->plan[i].act == KILL || s->plan[i].act == SIGNAL)
			return true;
	return false;
}

static void deviate_at(struct search *s, int n, int at,
		       const struct decision *d)
{
	bool kills = the->kill != NULL && !kills_already(s, n);

	if (kills && d->can_be_killed && !d->idle)
		deviate(s, n, at, the->signal ? SIGNAL : KILL, d->task);
	if (kills && n + 1 == s->depth)
		return;		/* a schedule without the death says nothing */
	if (d->spurious)
		deviate(s, n, at, SPURIOUS, d->task);
	for (int task = 0; task < TASKS; task++) {
		if ((d->others >> task & 1) && !d->idle && concerns_others(d))
			deviate(s, n, at, SWITCH, task);
		if ((d->timers >> task & 1) && !d->idle)
			deviate(s, n, at, TIME_OUT, task);
	}
}

/* Run the plan of n deviations, and if it is to have more, all longer ones. */
static void visit(struct search *s, int n)
{
	struct decision *decisions;
	int count, first = n > 0 ? s->plan[n - 1].at + 1 : 0;

	s->schedules--;
	run_schedule(s->plan, n);
	if (arena->race[1] != 0 && !arena->killed_one && s->race_planned < 0) {
		memcpy(s->race_plan, s->plan, sizeof s->plan);
		s->race_planned = n;
	}
	if (through(s))
		return;
	learn_from_schedule();
	if (n == s->depth)
		return;
	count = arena->n_decisions;
	if (first < arena->first_decision)
		first = arena->first_decision;
	decisions = malloc(sizeof *decisions * (size_t)(count + 1));
	if (decisions == NULL)
		fl_die("no memory for %d decisions", count);
	memcpy(decisions, arena->decisions,
	       sizeof *decisions * (size_t)count);
	mark_idle(decisions, count);
	for (int at = first; at < count && !through(s); at++)
		deviate_at(s, n, at, &decisions[at]);
	free(decisions);
}

static void stay_on_one_core(void)
{
	cpu_set_t set, one;
	int cpu = sched_getcpu();

	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	if (sched_getaffinity(0, sizeof set, &set) == 0 && CPU_ISSET(cpu, &set))
		sched_setaffinity(0, sizeof one, &one);
}

/* In the fence, of which the callers are children. */
static void search(void *unused)
{
	struct search s = { .race_planned = -1,
		.schedules = the->schedules ? the->schedules : SCHEDULES };
	int most = the->deviations ? the->deviations : DEVIATIONS;
	double start = fl_now();

	(void)unused;
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	stay_on_one_core();
	for (s.depth = 0; s.depth <= most && !through(&s); s.depth++)
		visit(&s, 0);
	if (arena->found == FOUND_NOTHING && s.race_planned >= 0) {
		run_schedule(s.race_plan, s.race_planned);
		arena->found = FOUND_RACE;
	}
	total->seconds += fl_now() - start;
}

/* ---- in the test program ------------------------------------------------------------------ */

static void *map_shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED)
		fl_die("cannot map the explorer's memory");
	return at;
}

long explore_schedules(void)
{
	return total == NULL ? 0 : total->schedules;
}

/* One line for each test program, which make check adds up. */
static void report_total(void)
{
	const char *path = getenv("EXPLORED");
	FILE *f = path != NULL ? fopen(path, "ae") : NULL;

	if (f == NULL)
		return;
	fprintf(f, "%ld %.3f\n", total->schedules, total->seconds);
	fclose(f);
}

static void write_story(const char *variable, void (*write)(FILE *out))
{
	const char *path = getenv(variable);
	FILE *f = path != NULL ? fopen(path, "we") : NULL;

	if (f == NULL)
		return;
	write(f);
	fclose(f);
}

static const char *general_why(const struct finding *f)
{
	switch (f->how) {
	case FOUND_RACE:
		return "Two processes use the same memory, one of them to write "
		       "it, and nothing puts the two in an order.";
	case FOUND_STUCK:
		return f->waits_private ? "What they wait at was made for "
			"threads of one process: nobody in another process "
			"is ever woken by it." :
		       f->of_dead ? "Somebody died while the others depended "
			"on it, and they wait for ever." :
		       f->of_self ? "A process waits for what only it could "
			"give." :
		       f->lost_wakeup ? "The wake-up came before the other one "
			"slept, and nobody keeps it for later." :
		       "Everybody waits, and nobody is left who could end it.";
	case FOUND_SPIN:
		return "Somebody goes round and round, and what it looks for "
		       "never comes.";
	case FOUND_CRASH:
		return "In this order a process is killed by its own fault.";
	case FOUND_EXIT:
		return "Your function ended the process that called it.";
	default:
		return f->overwritten ? "A value was written over another one "
			"that the writer had not seen." :
		       "In this order of events the result is wrong.";
	}
}

static const char *what_came_out(const struct finding *f)
{
	switch (f->how) {
	case FOUND_RACE:
		return "two accesses that nothing puts in order";
	case FOUND_STUCK:
		return "everybody waits for ever";
	case FOUND_SPIN:
		return "it goes on for ever";
	case FOUND_CRASH:
		return text("killed by %s", f->signal != 0 ?
			    strsignal(f->signal) : "a signal");
	case FOUND_EXIT:
		return "the caller has ended";
	default:
		return arena->got;
	}
}

void explore_try(const struct exploration *e, struct finding *f)
{
	if (arena == NULL) {
		arena = map_shared(sizeof *arena);
		total = map_shared(sizeof *total);
		atexit(report_total);
	}
	the = e;
	arena->found = FOUND_NOTHING;
	fence(&(struct fence){ .scenario = search, .limit = 300 });
	story_finding(f);
}

void explore(const struct exploration *e)
{
	const char *why = NULL;
	struct finding f;

	explore_try(e, &f);
	if (f.how == FOUND_NOTHING)
		return;
	if (f.how == FOUND_BLIND)
		skip_check("not exercised: your code waits in a way that "
			   "cannot be scheduled");
	write_story("STORY", story_write);
	write_story("PICTURE", story_picture);
	if (e->why != NULL)
		why = e->why(&f);
	fail_check("fail", why != NULL ? why : general_why(&f), story_where(&f),
		   e->expected ? e->expected : "the same in every order",
		   text("%s\n%s", what_came_out(&f), story_short()));
}
