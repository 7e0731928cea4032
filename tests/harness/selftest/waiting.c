/*
 * Every call that a signal may interrupt, made once where it need not wait,
 * with care and without it. Compiled and changed like a student's file.
 */
#include "calling.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static bool careless;

/* Carelessly: whatever it returned, it is taken for done. */
#define DO(call) do {						\
	long r_;						\
	do {							\
		r_ = (long)(call);				\
	} while (!careless && r_ == -1 && errno == EINTR);	\
	bad += r_ == -1;					\
} while (0)

static int wait_for_children(void)
{
	int bad = 0;

	for (int i = 0; i < 4; i++) {
		if (fork() == 0)
			_exit(0);
		if (i == 0)
			DO(wait(NULL));
		else if (i == 1)
			DO(waitpid(-1, NULL, 0));
		else if (i == 2)
			DO(waitid(P_ALL, 0, NULL, WEXITED));
		else
			DO(wait4(-1, NULL, 0, NULL));
	}
	return bad;
}

static int wait_for_descriptors(void)
{
	struct epoll_event event = { .events = EPOLLIN };
	struct pollfd p = { .events = POLLIN };
	int bad = 0, many = epoll_create1(0);
	struct timespec soon = { 0, 1000000 };
	uint64_t one;
	fd_set set;

	p.fd = eventfd(1, 0);
	epoll_ctl(many, EPOLL_CTL_ADD, p.fd, &event);
	DO(poll(&p, 1, -1));
	DO(ppoll(&p, 1, NULL, NULL));
	DO(epoll_wait(many, &event, 1, -1));
	FD_ZERO(&set);
	FD_SET(p.fd, &set);
	DO(select(p.fd + 1, &set, NULL, NULL, NULL));
	DO(pselect(p.fd + 1, &set, NULL, NULL, &soon, NULL));
	DO(read(p.fd, &one, sizeof one));
	close(p.fd);
	close(many);
	return bad;
}

static int wait_for_signals(void)
{
	struct timespec none = {0};
	sigset_t set, before;
	int bad = 0;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	sigprocmask(SIG_BLOCK, &set, &before);
	raise(SIGUSR2);
	DO(sigwaitinfo(&set, NULL));
	raise(SIGUSR2);
	DO(sigtimedwait(&set, NULL, &none));
	sigprocmask(SIG_SETMASK, &before, NULL);
	return bad;
}

static int wait_for_semaphores(void)
{
	struct timespec late = { INT32_MAX, 0 };
	uint32_t word = 1;
	int bad = 0;
	sem_t s;

	sem_init(&s, 1, 3);
	DO(sem_wait(&s));
	DO(sem_timedwait(&s, &late));
	DO(sem_clockwait(&s, CLOCK_MONOTONIC, &late));
	sem_destroy(&s);
	/* the word is not 0 any more: EAGAIN at once is the right answer */
	DO(syscall(SYS_futex, &word, FUTEX_WAIT, 0, NULL, NULL, 0) == -1 &&
	   errno == EINTR ? -1 : 0);
	return bad;
}

/* Some systems have no such queues: then there is nothing to wait for. */
static int wait_for_named_queue(void)
{
	struct mq_attr small = { .mq_maxmsg = 1, .mq_msgsize = 8 };
	char name[32], m[8];
	int bad = 0;
	mqd_t q;

	snprintf(name, sizeof name, "/fl-%d", (int)getpid());
	q = mq_open(name, O_CREAT | O_RDWR, 0600, &small);
	if (q == -1)
		return 0;
	mq_unlink(name);
	DO(mq_send(q, "x", 1, 0));
	DO(mq_receive(q, m, sizeof m, NULL));
	mq_close(q);
	return bad;
}

static int wait_for_queues(void)
{
	struct { long type; char c; } m = { 1, 'x' };
	struct sembuf down = { 0, -1, 0 }, up = { 0, 1, 0 };
	int bad = 0, q = msgget(IPC_PRIVATE, 0600);
	int s = semget(IPC_PRIVATE, 1, 0600);

	DO(msgsnd(q, &m, 1, 0));
	DO(msgrcv(q, &m, 1, 0, 0));
	msgctl(q, IPC_RMID, NULL);
	DO(semop(s, &up, 1));
	DO(semop(s, &down, 1));
	semctl(s, 0, IPC_RMID);
	return bad + wait_for_named_queue();
}

static int wait_for_files(void)
{
	struct flock all = { .l_type = F_WRLCK };
	int bad = 0, fd = memfd_create("locked", MFD_CLOEXEC);

	DO(flock(fd, LOCK_EX));
	DO(fcntl(fd, F_SETLKW, &all));
	DO(lockf(fd, F_LOCK, 0));
	close(fd);
	return bad;
}

static int wait_for_sockets(void)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 12;
	int bad = 0, listens = socket(AF_UNIX, SOCK_STREAM, 0);
	int connects = socket(AF_UNIX, SOCK_STREAM, 0), accepted;

	snprintf(name.sun_path + 1, 12, "fl%08x", (unsigned)getpid());
	bind(listens, (struct sockaddr *)&name, size);
	listen(listens, 1);
	DO(connect(connects, (struct sockaddr *)&name, size));
	DO(accepted = accept(listens, NULL, NULL));
	if (accepted >= 0)
		close(accepted);
	close(connects);
	close(listens);
	return bad;
}

static int wait_for_time(void)
{
	struct timespec t = { 0, 1000 };
	int bad = 0;

	DO(nanosleep(&t, &t));
	DO(usleep(1));
	DO(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) == EINTR
	   ? (errno = EINTR, -1) : 0);
	return bad;
}

static int wait_everywhere(void)
{
	return wait_for_children() + wait_for_descriptors() +
	       wait_for_signals() + wait_for_semaphores() +
	       wait_for_queues() + wait_for_files() + wait_for_time();
}

int waiting_everywhere(void)
{
	careless = false;
	return wait_everywhere() + wait_for_sockets() ? -1 : 0;
}

/* Not at all by a socket: who goes on there waits for ever. */
int waiting_carelessly(void)
{
	careless = true;
	return wait_everywhere() ? -1 : 0;
}

/* A byte for a pipe that is full, and that nobody reads. */
static int write_without_room(void)
{
	static char page[4096];
	int fds[2], bad;

	if (pipe(fds) != 0 || fcntl(fds[0], F_SETPIPE_SZ, 4096) < 0)
		return -1;
	bad = write(fds[1], page, sizeof page) != sizeof page;
	bad |= write(fds[1], page, 1) != -1 || errno != EINTR;
	close(fds[0]);
	close(fds[1]);
	return bad;
}

int waiting_until_interrupted(void)
{
	sigset_t none;
	int bad = write_without_room();

	sigemptyset(&none);
	bad |= pause() != -1 || errno != EINTR;
	bad |= sigsuspend(&none) != -1 || errno != EINTR;
	return bad ? -1 : 0;
}
