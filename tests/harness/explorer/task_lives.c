/*
 * How tasks begin and end. With a process all its threads end; the turn goes
 * to another one before, and with nobody left the schedule is over.
 */
#include "tasks.h"

#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

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

/*
 * A process that has registered robust futexes and dies between freeing one
 * and taking it off its list wakes a waiter: the kernel does it, see
 * get_robust_list(2). All other waiters look into their word themselves.
 */
static void wake_for_pending(void)
{
	struct robust_list_head *head = NULL;
	uint32_t *word;
	size_t size;

	if (syscall(SYS_get_robust_list, 0, &head, &size) != 0 ||
	    head == NULL || head->list_op_pending == NULL)
		return;
	word = (uint32_t *)((char *)head->list_op_pending +
			    head->futex_offset);
	if (*word == 0)
		wake(place_of(word), true, 1);
}

static void all_end(int process, bool killed)
{
	wake_for_pending();
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].process == process) {
			arena->tasks[i].state = ENDED;
			arena->tasks[i].killed = killed;
		}
	wake_after_death();
	arena->leaving = getpid();
}

static bool everybody_ended(void)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].state != ENDED)
			return false;
	return true;
}

/* I am through: hand the turn on, if there is anybody. */
static void hand_on(void)
{
	int next = successor(true);

	if (next != NOBODY) {
		give_turn_to(next);
		return;
	}
	if (!everybody_ended())
		arena->found = arena->found ? arena->found : FOUND_STUCK;
	wake_on(&arena->over);
}

void end_my_process(bool killed)
{
	all_end(self()->process, killed);
	hand_on();
}

/* What _exit() does, with the turn handed on before. */
void leave_process(int status, bool flush, const void *pc)
{
	if (pc != NULL)
		self()->pc = pc;
	note(ENDS, flush ? "exit" : "_exit", nowhere, self()->pc)
		->value = (uint64_t)status;
	end_my_process(false);
	me = NOBODY;
	_exit(status);
}

void leave_thread(void)
{
	note(ENDS, "end of thread", nowhere, NULL);
	self()->state = ENDED;
	wake_all_waits();
	hand_on();
	me = NOBODY;
}
