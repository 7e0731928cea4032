/* The functions of bad.c: each does what its name says. */
#ifndef BAD_H
#define BAD_H

void bad_keeps_the_write_end(void);
void bad_falls_out_of_the_child(void);
void bad_leaves_by_exit(void);
void bad_kills_everybody(void);
void bad_closes_everything(void);
void bad_crashes(void);
void bad_spins(void);
void bad_forks_without_end(void);
void bad_forgets_its_child(void);
void bad_leaves_a_descriptor(void);
void bad_leaves_shared_memory(void);
void bad_leaves_a_running_child(void);
int bad_reads_once(int fd, char *buf, int n);
int bad_reads_all(int fd, char *buf, int n);
int bad_forks(void);
void bad_prints_a_pass(void);

#endif
