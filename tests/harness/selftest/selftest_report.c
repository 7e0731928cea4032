/*
 * Programs that cannot go on, for the tests of the hang report: one for each
 * name. A comment "stands: WHO" marks the line that the report must name.
 * Nobody sleeps to meet another: they meet at barriers, or end by themselves.
 * Some set done after a wait, each to another number: or else a compiler makes
 * one call of two that are alike, and of two lines.
 */
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	pthread_mutex_t a, b;
	pthread_cond_t changed;
	sem_t full;
	pthread_barrier_t both;
	atomic_int done;
} *all;

static void share(void)
{
	pthread_mutexattr_t m;
	pthread_barrierattr_t b;
	pthread_condattr_t c;

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
	sem_init(&all->full, 1, 0);
}

static pid_t start(void (*run)(int *fds), int *fds)
{
	pid_t pid = fork();

	if (pid < 0)
		exit(3);
	if (pid == 0) {
		run(fds);
		_exit(0);
	}
	return pid;
}

static void make_pipe(int *fds)
{
	if (pipe(fds) != 0)
		exit(3);
}

/* ---- pipes ------------------------------------------------------------- */

static void read_to_the_end(int *fds)
{
	char c;

	while (read(fds[0], &c, 1) > 0)		/* stands: reader */
		;
}

static void write_end(void)
{
	int fds[2];
	pid_t pid;

	make_pipe(fds);
	pid = start(read_to_the_end, fds);
	(void)!write(fds[1], "x", 1);
	close(fds[0]);
	close(fds[1]);
	waitpid(pid, NULL, 0);			/* stands: parent of reader */
}

static void consume(int *fds)
{
	char c = 'x';

	close(fds[1]);
	while (c != '.')
		(void)!read(fds[0], &c, 1);	/* stands: consumer */
}

static void second_consumer(void)
{
	int fds[2];
	pid_t a, b;

	make_pipe(fds);
	a = start(consume, fds);
	b = start(consume, fds);
	close(fds[0]);
	(void)!write(fds[1], "xxxx.", 5);
	waitpid(a, NULL, 0);
	waitpid(b, NULL, 0);
}

static void write_much(int *fds)
{
	static char much[1 << 20];

	close(fds[0]);
	if (write(fds[1], much, sizeof much) < 0)	/* stands: writer */
		_exit(1);
}

static void full_pipe(void)
{
	int fds[2];
	char c;
	pid_t pid;

	make_pipe(fds);
	pid = start(write_much, fds);
	close(fds[1]);
	waitpid(pid, NULL, 0);			/* stands: who should read */
	while (read(fds[0], &c, 1) > 0)
		;
}

static void itself(void)
{
	int fds[2];

	make_pipe(fds);
	read_to_the_end(fds);
}

static void hear_first(int *fds)
{
	char c;

	close(fds[0]);
	(void)!recv(fds[1], &c, 1, 0);		/* stands: child hears */
	(void)!send(fds[1], "x", 1, 0);
}

static void silent_peer(void)
{
	int fds[2];
	char c;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		exit(3);
	pid = start(hear_first, fds);
	close(fds[1]);
	(void)!read(fds[0], &c, 1);		/* stands: parent hears */
	(void)!write(fds[0], "x", 1);
	waitpid(pid, NULL, 0);
}

static void say_much(int *fds)
{
	static char much[1 << 20];

	if (write(fds[1], much, sizeof much) < 0)	/* stands: both write */
		_exit(2);
}

static void both_write(void)
{
	int fds[2], swapped[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) != 0)
		exit(3);
	swapped[0] = fds[1];
	swapped[1] = fds[0];
	start(say_much, fds);
	say_much(swapped);
}

/* ---- locks ------------------------------------------------------------- */

static void a_then_b(int *fds)
{
	(void)fds;
	pthread_mutex_lock(&all->a);
	pthread_barrier_wait(&all->both);
	pthread_mutex_lock(&all->b);		/* stands: a then b */
	all->done = 1;
}

static void b_then_a(int *fds)
{
	(void)fds;
	pthread_mutex_lock(&all->b);
	pthread_barrier_wait(&all->both);
	pthread_mutex_lock(&all->a);		/* stands: b then a */
	all->done = 2;
}

static void opposite(void)
{
	share();
	start(a_then_b, NULL);
	start(b_then_a, NULL);
	wait(NULL);
	wait(NULL);
}

static void same_twice(void)
{
	share();
	pthread_mutex_lock(&all->a);
	pthread_mutex_lock(&all->a);		/* stands: again */
	all->done = 6;
}

static void take_and_leave(int *fds)
{
	(void)fds;
	pthread_mutex_lock(&all->a);
}

static void dead_holder(void)
{
	share();
	waitpid(start(take_and_leave, NULL), NULL, 0);
	pthread_mutex_lock(&all->a);		/* stands: heir */
	all->done = 7;
}

static void want_b(int *fds)
{
	(void)fds;
	pthread_mutex_lock(&all->b);		/* stands: only b */
	all->done = 3;
}

/* A mutex without its attribute: the child sleeps where nobody wakes it. */
static void for_threads(void)
{
	share();
	pthread_mutex_init(&all->b, NULL);
	pthread_mutex_lock(&all->b);
	start(want_b, NULL);
	wait(NULL);				/* stands: who holds it */
	all->done = 4;
}

static void lock_byte(int fd, int byte)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET,
			   .l_start = byte, .l_len = 1 };

	fcntl(fd, F_SETLKW, &l);		/* stands: file lock */
}

static void second_byte_first(int *fds)
{
	lock_byte(fds[0], 1);
	pthread_barrier_wait(&all->both);
	lock_byte(fds[0], 0);
}

/* The kernel refuses a circle of such locks (EDEADLK), but sees no further
 * than them: here the parent waits for its child's end. */
static void file_locks(void)
{
	char name[] = "/tmp/forklab-XXXXXX";
	int fd = mkstemp(name);

	unlink(name);
	share();
	lock_byte(fd, 0);
	start(second_byte_first, &fd);
	pthread_barrier_wait(&all->both);
	wait(NULL);
}

static void take(int *fds)
{
	(void)fds;
	sem_wait(&all->full);			/* stands: taker */
	all->done = 5;
}

static void never_posted(void)
{
	share();
	waitpid(start(take, NULL), NULL, 0);
}

static void hear_of_change(int *fds)
{
	(void)fds;
	pthread_mutex_lock(&all->a);
	while (!all->done)
		pthread_cond_wait(&all->changed, &all->a);  /* stands: hearer */
	pthread_mutex_unlock(&all->a);
}

static void never_signalled(void)
{
	share();
	waitpid(start(hear_of_change, NULL), NULL, 0);
}

/* ---- not waiting ------------------------------------------------------- */

static void spin(int *fds)
{
	(void)fds;
	while (!all->done)			/* stands: spinner */
		;
}

static void busy(void)
{
	share();
	waitpid(start(spin, NULL), NULL, 0);
}

static void nap(int *fds)
{
	(void)fds;
	nanosleep(&(struct timespec){ .tv_sec = 5 }, NULL);
}

/* Longer than the supervisor needs to see that nobody moves any more. */
static void slow(void)
{
	waitpid(start(nap, NULL), NULL, 0);
}

static void *end_alone(void *arg)
{
	pthread_mutex_lock(&all->a);		/* stands: thread */
	return arg;
}

static void threads(void)
{
	pthread_t t;

	share();
	pthread_mutex_lock(&all->a);
	pthread_create(&t, NULL, end_alone, NULL);
	pthread_join(t, NULL);			/* stands: joiner */
}

/* Its name tells when it is as far. */
static void hidden(void)
{
	prctl(PR_SET_DUMPABLE, 0);
	prctl(PR_SET_NAME, "hidden");
	pause();
}

static const struct {
	const char *name;
	void (*run)(void);
} programs[] = {
	{ "write_end", write_end }, { "second_consumer", second_consumer },
	{ "full_pipe", full_pipe }, { "itself", itself },
	{ "silent_peer", silent_peer }, { "both_write", both_write },
	{ "opposite", opposite }, { "same_twice", same_twice },
	{ "dead_holder", dead_holder },
	{ "file_locks", file_locks }, { "never_posted", never_posted },
	{ "never_signalled", never_signalled }, { "busy", busy },
	{ "slow", slow }, { "threads", threads },
	{ "for_threads", for_threads }, { "hidden", hidden },
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		if (argc == 2 && strcmp(argv[1], programs[i].name) == 0) {
			programs[i].run();
			return 0;
		}
	}
	fprintf(stderr, "which program?\n");
	return 2;
}
