/*
 * What hangs in a check, for the harness's own tests. Compiled and changed
 * like a student's file, so that its calls tell who took which lock.
 */
#include "hang.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct objects {
	pthread_mutex_t a, b;
	pthread_cond_t changed;
	sem_t first, second;
	pthread_barrier_t both;
} *all;

static void share(void)
{
	pthread_mutexattr_t m;
	pthread_condattr_t c;
	pthread_barrierattr_t b;

	all = mmap(NULL, sizeof *all, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (all == MAP_FAILED)
		exit(3);
	pthread_mutexattr_init(&m);
	pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&all->a, &m);
	pthread_mutex_init(&all->b, &m);
	pthread_condattr_init(&c);
	pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&all->changed, &c);
	pthread_barrierattr_init(&b);
	pthread_barrierattr_setpshared(&b, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&all->both, &b, 2);
	sem_init(&all->first, 1, 1);
	sem_init(&all->second, 1, 1);
}

static void lock_both(pthread_mutex_t *first, pthread_mutex_t *second)
{
	pthread_mutex_lock(first);	/* stands: taken */
	pthread_barrier_wait(&all->both);
	pthread_mutex_lock(second);	/* stands: wanted */
}

void hang_opposite_order(void)
{
	share();
	if (fork() == 0)
		lock_both(&all->a, &all->b);
	else
		lock_both(&all->b, &all->a);
}

static void take_both(sem_t *first, sem_t *second)
{
	sem_wait(first);		/* stands: got through */
	pthread_barrier_wait(&all->both);
	sem_wait(second);		/* stands: not posted */
}

void hang_semaphores(void)
{
	share();
	if (fork() == 0)
		take_both(&all->first, &all->second);
	else
		take_both(&all->second, &all->first);
}

void hang_after_death(void)
{
	pid_t pid;

	share();
	pid = fork();
	if (pid == 0) {
		pthread_mutex_lock(&all->a);	/* stands: died with it */
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	pthread_mutex_lock(&all->a);		/* stands: heir */
}

/* The mutex is free while it waits: nobody is said to hold it. */
void hang_on_a_condition(void)
{
	share();
	if (fork() == 0) {
		pthread_mutex_lock(&all->a);
		pthread_cond_wait(&all->changed, &all->a);	/* stands: c */
	}
	wait(NULL);
}

void hang_on_a_full_pipe(void)
{
	static char much[1 << 20];
	int fds[2];

	if (pipe(fds) != 0)
		exit(3);
	if (fork() == 0) {
		(void)!write(fds[1], much, sizeof much);  /* stands: writer */
		_exit(0);
	}
	wait(NULL);			/* stands: who should read */
}
