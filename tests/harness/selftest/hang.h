/* The functions of hang.c: each can never return. */
#ifndef HANG_H
#define HANG_H

void hang_opposite_order(void);
void hang_semaphores(void);
void hang_after_death(void);
void hang_on_a_condition(void);
void hang_on_a_full_pipe(void);

#endif
