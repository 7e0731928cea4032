/* The functions of stuck.c: none comes back. */
#ifndef STUCK_H
#define STUCK_H

void stuck_in_descriptors(void);
void stuck_in_signals_and_locks(void);
void stuck_in_system_v(int queue, int semaphores);

#endif
