/* tasks - what the files about tasks tell each other */
#ifndef TASKS_H
#define TASKS_H

#include "arena.h"

/* tasks.c - hand_over_to(): and sleep until it comes back; true if a signal
 * came in. NOBODY: only sleep. */
void give_turn_to(int task);
bool hand_over_to(int task);
void wake_on(_Atomic uint32_t *word);	/* set it to 1: go on */

/* task_lives.c - hand the turn on for the last time; the caller ends then */
void end_my_process(bool killed);

/* task_order.c - sets: a bit for each task */
unsigned others_ready(void);
unsigned timers_running(void);		/* whose wait has a time limit */
void run_out(int task);			/* its time limit is reached */
/* Who goes on next, or else whose time runs out first, which it then has. */
int successor(bool myself_too);

/* task_signals.c - to me; true if it is not kept for later */
bool signal_arrives(int sig);

#endif
