/*
 * The functions of calling.c and waiting.c. They return 0 when they did their
 * work, whatever struck them, or -1 when they say that they could not; those
 * called careless do neither.
 */
#ifndef CALLING_H
#define CALLING_H

#include <stdbool.h>
#include <stddef.h>

int calling_carries(size_t n);			/* up to 16 KiB, by a pipe */
int calling_carries_carelessly(size_t n);
int calling_carries_by_socket(size_t n);

int waiting_everywhere(void);			/* each blocking call once */
int waiting_carelessly(void);
int waiting_until_interrupted(void);		/* three times */

int calling_starts(int n);			/* n children, all collected */
int calling_starts_carelessly(int n);

int calling_hears_of_deaths(void);		/* of two, by SIGKILL */
int calling_hears_of_deaths_carelessly(void);

int calling_threads(void);			/* -1: one ran too early */

int calling_makes_everything(void);		/* memory, descriptors, ... */
int calling_makes_carelessly(void);

int calling_shares(size_t bytes);		/* through /dev/shm */
int calling_shares_carelessly(size_t bytes);

double calling_waits_so_long(double seconds);	/* how long, it believes */
double calling_waits_by_the_wall(double seconds);
double calling_waits_by_the_processor(double seconds);
void calling_pauses(void);			/* 100 s, in eight ways */

void calling_makes_a_lock(void *memory, bool robust);
void calling_locks(void *lock, void (*inside)(void *), void *arg);

int calling_opens(int n);			/* how many could be had */
int calling_computes(void);			/* no call at all */

#endif
