/* The functions of selftest_calls.c: each does what its name says. */
#ifndef SELFTEST_CALLS_H
#define SELFTEST_CALLS_H

void keeps_the_write_end(void);
void falls_out_of_the_child(void);
void leaves_by_exit(void);
void kills_everybody(void);
void closes_everything(void);
void crashes(void);
void spins(void);
void forks_without_end(void);
void forgets_its_child(void);
void leaves_a_descriptor(void);
void leaves_shared_memory(void);
void leaves_a_running_child(void);
int reads_once(int fd, char *buf, int n);
int reads_all(int fd, char *buf, int n);
int forks(void);
void prints_a_pass(void);

#endif
