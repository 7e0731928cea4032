/*
 * Every call that can wait for ever, doing so: the report of a hang must know
 * each one's name and line. Compiled and changed like a student's file.
 */
#include "stuck.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- what never comes -------------------------------------------------- */

/* A pipe whose write end stays open. */
static int silent(void)
{
	int fds[2];

	return pipe(fds) == 0 ? fds[0] : -1;
}

static FILE *stream;

static FILE *silent_stream(void)
{
	return stream = fdopen(silent(), "r");
}

/* The same file, opened once more. */
static int again(int fd)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, O_RDWR);
}

static int listening(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	bind(fd, (struct sockaddr *)&name, sizeof name.sun_family);
	listen(fd, 1);
	return fd;
}

static sigset_t one_signal(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return set;
}

/* ---- and who waits for it ---------------------------------------------- */

static char room[64];

static void in_read(void) { (void)!read(silent(), room, 1); }
static void in_fgets(void) { (void)!fgets(room, 2, silent_stream()); }
static void in_fread(void) { (void)!fread(room, 1, 1, silent_stream()); }
static void in_fgetc(void) { (void)!fgetc(silent_stream()); }
static void in_accept(void) { accept(listening(), NULL, NULL); }
static void in_pause(void) { pause(); }

static void in_getline(void)
{
	char *line = NULL;
	size_t size = 0;

	(void)!getline(&line, &size, silent_stream());
	free(line);
}

static void in_recv(void)
{
	int fds[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	(void)!recv(fds[0], room, 1, 0);
}

static void in_ppoll(void)
{
	struct pollfd p = { silent(), POLLIN, 0 };

	ppoll(&p, 1, NULL, NULL);
}

static void in_pselect(void)
{
	fd_set set;
	int fd = silent();

	FD_ZERO(&set);
	FD_SET(fd, &set);
	pselect(fd + 1, &set, NULL, NULL, NULL, NULL);
}

static void in_epoll_wait(void)
{
	struct epoll_event event;

	epoll_wait(epoll_create1(0), &event, 1, -1);
}

static void in_sigwait(void)
{
	sigset_t set = one_signal();
	int sig;

	sigwait(&set, &sig);
}

static void in_sigwaitinfo(void)
{
	sigset_t set = one_signal();

	sigwaitinfo(&set, NULL);
}

static void in_sigsuspend(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigsuspend(&none);
}

static void in_flock(void)
{
	int fd = memfd_create("locked", 0);

	flock(fd, LOCK_EX);
	flock(again(fd), LOCK_EX);
}

static void in_fcntl(void)
{
	struct flock all = { .l_type = F_WRLCK };
	int fd = memfd_create("locked", 0);

	fcntl(fd, F_OFD_SETLK, &all);
	fcntl(again(fd), F_OFD_SETLKW, &all);
}

static void in_sem_wait(void)
{
	sem_t s;

	sem_init(&s, 0, 0);
	sem_wait(&s);
}

static void in_futex(void)
{
	uint32_t word = 0;

	syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void in_rwlock(void)
{
	pthread_rwlock_t l = PTHREAD_RWLOCK_INITIALIZER;

	pthread_rwlock_rdlock(&l);
	pthread_rwlock_wrlock(&l);
}

static void in_barrier(void)
{
	pthread_barrier_t b;

	pthread_barrier_init(&b, NULL, 2);
	pthread_barrier_wait(&b);
}

static void in_cond(void)
{
	pthread_mutex_t m = PTHREAD_MUTEX_INITIALIZER;
	pthread_cond_t c = PTHREAD_COND_INITIALIZER;

	pthread_mutex_lock(&m);
	pthread_cond_wait(&c, &m);
}

/* ---- all of them ------------------------------------------------------- */

static void (*const calls[])(void) = {
	in_read, in_fgets, in_fread, in_fgetc, in_getline, in_recv, in_accept,
	in_ppoll, in_pselect, in_epoll_wait, in_pause, in_sigwait,
	in_sigwaitinfo, in_sigsuspend, in_flock, in_fcntl, in_sem_wait,
	in_futex, in_rwlock, in_barrier, in_cond,
};

static void each(int from, int to)
{
	for (int i = from; i < to; i++)
		if (fork() == 0) {
			calls[i]();
			_exit(0);
		}
}

void stuck_in_descriptors(void)
{
	each(0, 10);
	while (wait(NULL) > 0)
		;
}

void stuck_in_signals_and_locks(void)
{
	each(10, (int)(sizeof calls / sizeof *calls));
	while (wait(NULL) > 0)
		;
}

void stuck_in_system_v(int queue, int semaphores)
{
	struct sembuf down = { 0, -1, 0 };

	if (fork() == 0) {
		msgrcv(queue, room, sizeof room - sizeof(long), 0, 0);
		_exit(0);
	}
	semop(semaphores, &down, 1);
}
