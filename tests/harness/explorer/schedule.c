/*
 * One schedule, in fresh processes: run the scenario by a plan, look after
 * who has the turn, and clear away what is left. Nothing else decides what
 * happens, so the same plan gives the same schedule.
 */
#include "search.h"

#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "calls.h"
#include "fl.h"
#include "internal.h"

enum {
	LOOK_MS = 20,			/* how often the controller looks */
	SLEEPS_LOOKS = 100,		/* asleep so often: a wait unknown */
	BUSY_NS = 1000000000,		/* of processor time without a point */
};

static void reset_arena(const struct deviation *plan, int n)
{
	arena->schedule++;
	memcpy(arena->plan, plan, (size_t)n * sizeof *plan);
	arena->planned = n;
	arena->n_tasks = arena->n_syncs = arena->n_events = 0;
	arena->n_decisions = arena->n_names = arena->n_sysv = 0;
	arena->leaving = 0;
	arena->asked_at = -1;
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
	memset(arena->exploration->shared, 0, arena->exploration->size);
}

/* In a fresh process: the scenario, from the beginning to the end. */
static _Noreturn void be_the_caller(void)
{
	arena->tasks[0].pid = getpid();
	watch_processes();
	begin_task(0);
	arena->exploration->scenario(arena->exploration->shared);
	if (me != 0) {
		board->copied = "a function";
		_exit(0);
	}
	leave_process(0, false, NULL);
}

static int64_t cpu_ns(pid_t pid)
{
	clockid_t clock;
	struct timespec t = {0};

	if (clock_getcpuclockid(pid, &clock) != 0 ||
	    clock_gettime(clock, &t) != 0)
		return 0;
	return in_ns(&t);
}

struct look {
	pid_t pid;
	int events, decisions, asleep;
	int64_t cpu;
};

/*
 * That task has ended: with the caller, perhaps, as it had asked for. Who has
 * handed on the turn since we saw it there may end.
 */
static void is_gone(int task)
{
	if (arena->over || arena->running != task)
		return;
	if (arena->tasks[0].state == ENDED)
		arena->over = 1;
	else
		arena->found = FOUND_CRASH;
}

/* Is who has the turn still getting anywhere? Sets arena->found if not. */
static void look_after(struct look *last)
{
	int running = arena->running;
	pid_t pid = arena->tasks[running].pid;
	int64_t cpu = cpu_ns(pid);

	if (pid != last->pid || arena->n_events != last->events ||
	    arena->n_decisions != last->decisions) {
		*last = (struct look){ pid, arena->n_events,
				       arena->n_decisions, 0, cpu };
		return;
	}
	if (cpu - last->cpu > BUSY_NS)
		arena->found = FOUND_SPIN;
	else if (pid > 0 && ended_within(pid, 0))
		is_gone(running);
	else if (strchr("STt", process_state(pid)) == NULL)
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
	const struct exploration *e = arena->exploration;
	const char *got;

	if (arena->found != FOUND_NOTHING || e->judge == NULL)
		return;
	got = e->judge(e->shared);
	if (got == NULL)
		return;
	arena->found = FOUND_WRONG;
	snprintf(arena->got, sizeof arena->got, "%s", got);
}

void schedule_run(const struct deviation *plan, int n)
{
	pid_t pid;

	explore_total->schedules++;
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
