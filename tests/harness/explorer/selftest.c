/*
 * What the explorer finds, and what it accepts: a table of small programs,
 * right and wrong, and how many schedules it takes for each. The numbers are
 * the same on every run and every machine; when the explorer changes, they
 * may.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#include "story.h"
#include "harness.h"

/* What the processes of a program share. */
struct shared {
	pthread_mutex_t mutex[2];
	pthread_cond_t condition;
	sem_t sem;
	pthread_barrier_t barrier;
	long number, other;
	_Atomic long atomic, flag;
	_Atomic uint32_t word;
	int ends[2];
};

static struct shared *s;
static long *answer;		/* outside of what is explored */

static void make(bool process_shared, bool robust)
{
	pthread_mutexattr_t m;
	pthread_condattr_t c;

	s = mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_init(&m);
	pthread_condattr_init(&c);
	if (process_shared) {
		pthread_mutexattr_setpshared(&m, PTHREAD_PROCESS_SHARED);
		pthread_condattr_setpshared(&c, PTHREAD_PROCESS_SHARED);
	}
	if (robust)
		pthread_mutexattr_setrobust(&m, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&s->mutex[0], &m);
	pthread_mutex_init(&s->mutex[1], &m);
	pthread_cond_init(&s->condition, &c);
}

static void both(void (*a)(void *), void (*b)(void *))
{
	explore_process("A", a, NULL);
	explore_process("B", b, NULL);
	explore_wait();
}

/* ---- counters -------------------------------------------------------------- */

static void add_plainly(void *unused)
{
	(void)unused;
	s->number++;
}

static void unlocked(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_plainly, add_plainly);
	*answer = s->number;
}

static void add_locked(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	s->number++;
	pthread_mutex_unlock(&s->mutex[0]);
}

static void locked(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_locked, add_locked);
	*answer = s->number;
}

static void add_atomically(void *unused)
{
	(void)unused;
	s->atomic++;
}

static void atomically(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_atomically, add_atomically);
	*answer = s->atomic;
}

static void add_in_two_atomic_steps(void *unused)
{
	long old = s->atomic;

	(void)unused;
	s->atomic = old + 1;
}

static void two_atomic_steps(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_in_two_atomic_steps, add_in_two_atomic_steps);
	*answer = s->atomic;
}

static void add_with_own_lock(void *unused)
{
	static pthread_mutex_t mine = PTHREAD_MUTEX_INITIALIZER;

	(void)unused;
	pthread_mutex_lock(&mine);
	s->number++;
	pthread_mutex_unlock(&mine);
}

static void each_its_own_lock(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_with_own_lock, add_with_own_lock);
	*answer = s->number;
}

static void private_lock(void *unused)
{
	(void)unused;
	make(false, false);
	both(add_locked, add_locked);
	*answer = s->number;
}

static void add_by_exchange(void *unused)
{
	(void)unused;
	while (atomic_exchange(&s->flag, 1) != 0)
		;
	s->number++;
	atomic_store(&s->flag, 0);
}

static void spin_lock(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_by_exchange, add_by_exchange);
	*answer = s->number;
}

static void add_by_test_then_set(void *unused)
{
	(void)unused;
	while (atomic_load(&s->flag) != 0)
		;
	atomic_store(&s->flag, 1);
	s->number++;
	atomic_store(&s->flag, 0);
}

static void test_then_set(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_by_test_then_set, add_by_test_then_set);
	*answer = s->number;
}

static void add_by_peterson(int who)
{
	_Atomic long *wants = who == 0 ? &s->flag : &s->atomic,
		     *other = who == 0 ? &s->atomic : &s->flag;

	*wants = 1;
	s->word = (uint32_t)!who;
	while (*other && s->word == (uint32_t)!who)
		;
	s->number++;
	*wants = 0;
}

static void peterson_a(void *unused)
{
	(void)unused;
	add_by_peterson(0);
}

static void peterson_b(void *unused)
{
	(void)unused;
	add_by_peterson(1);
}

static void peterson(void *unused)
{
	(void)unused;
	make(true, false);
	both(peterson_a, peterson_b);
	*answer = s->number;
}

static void add_with_semaphore(void *unused)
{
	(void)unused;
	sem_wait(&s->sem);
	s->number++;
	sem_post(&s->sem);
}

static void semaphore(void *unused)
{
	(void)unused;
	make(true, false);
	sem_init(&s->sem, 1, 1);
	both(add_with_semaphore, add_with_semaphore);
	*answer = s->number;
}

static void private_semaphore(void *unused)
{
	(void)unused;
	make(true, false);
	sem_init(&s->sem, 0, 1);
	both(add_with_semaphore, add_with_semaphore);
	*answer = s->number;
}

/* ---- files ------------------------------------------------------------------- */

static void add_with_flock(void *unused)
{
	(void)unused;
	flock(s->ends[0], LOCK_EX);
	s->number++;
	flock(s->ends[0], LOCK_UN);
}

static void inherited_flock(void *unused)
{
	(void)unused;
	make(true, false);
	s->ends[0] = memfd_create("lock", 0);
	both(add_with_flock, add_with_flock);
	*answer = s->number;
}

static void add_with_record_lock(void *unused)
{
	struct flock lock = { .l_type = F_WRLCK };

	(void)unused;
	fcntl(s->ends[0], F_SETLKW, &lock);
	s->number++;
	lock.l_type = F_UNLCK;
	fcntl(s->ends[0], F_SETLKW, &lock);
}

static void record_lock(void *unused)
{
	(void)unused;
	make(true, false);
	s->ends[0] = memfd_create("lock", 0);
	both(add_with_record_lock, add_with_record_lock);
	*answer = s->number;
}

static void add_with_token(void *unused)
{
	char token;

	(void)unused;
	if (read(s->ends[0], &token, 1) != 1)
		return;
	s->number++;
	if (write(s->ends[1], &token, 1) != 1)
		return;
}

static void token(void *unused)
{
	(void)unused;
	make(true, false);
	if (pipe(s->ends) != 0 || write(s->ends[1], "", 1) != 1)
		return;
	both(add_with_token, add_with_token);
	*answer = s->number;
}

/* The same with a token in a message queue of either kind. */
static void add_with_message(void *unused)
{
	struct { long type; char token; } m;

	(void)unused;
	if (msgrcv(s->ends[0], &m, 1, 0, 0) != 1)
		return;
	s->number++;
	msgsnd(s->ends[0], &m, 1, 0);
}

static void token_in_queue(void *unused)
{
	struct { long type; char token; } m = { .type = 1 };

	(void)unused;
	make(true, false);
	s->ends[0] = msgget(IPC_PRIVATE, 0600);
	if (msgsnd(s->ends[0], &m, 1, 0) == 0)
		both(add_with_message, add_with_message);
	msgctl(s->ends[0], IPC_RMID, NULL);
	*answer = s->number;
}

static void add_with_posix_message(void *unused)
{
	char token;

	(void)unused;
	if (mq_receive(s->ends[0], &token, 1, NULL) != 1)
		return;
	s->number++;
	mq_send(s->ends[0], &token, 1, 0);
}

static void token_in_posix_queue(void *unused)
{
	struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 1 };
	char name[32];

	(void)unused;
	make(true, false);
	snprintf(name, sizeof name, "/forklab-%d", (int)getpid());
	s->ends[0] = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	mq_unlink(name);
	if (mq_send(s->ends[0], "", 1, 0) == 0)
		both(add_with_posix_message, add_with_posix_message);
	*answer = s->number;
}

/* More than a socket holds, in one call, to somebody who reads in pieces. */
static void send_much(void *unused)
{
	static char half[1 << 18];
	struct iovec v[2] = { { half, sizeof half }, { half, sizeof half } };

	(void)unused;
	s->number = writev(s->ends[0], v, 2) == 2 << 18;
}

static void receive_much(void *unused)
{
	static char piece[1 << 17];
	ssize_t n, left = 2 << 18;

	(void)unused;
	while (left > 0 && (n = read(s->ends[1], piece, sizeof piece)) > 0)
		left -= n;
	*answer = left == 0 ? 2 : 0;
}

static void much_through_a_socket(void *unused)
{
	(void)unused;
	make(true, false);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s->ends) == 0)
		both(send_much, receive_much);
	*answer = s->number == 1 ? *answer : 1;
}

/* ---- messages ------------------------------------------------------------------ */

static void send_it(void *order)
{
	s->number = 2;
	atomic_store_explicit(&s->flag, 1, order ? memory_order_relaxed
						 : memory_order_release);
}

static void receive_it(void *order)
{
	while (!atomic_load_explicit(&s->flag, order ? memory_order_relaxed
						     : memory_order_acquire))
		;
	*answer = s->number;
}

static void message(void *unused)
{
	(void)unused;
	make(true, false);
	explore_process("A", send_it, NULL);
	explore_process("B", receive_it, NULL);
	explore_wait();
}

static void relaxed_message(void *unused)
{
	(void)unused;
	make(true, false);
	explore_process("A", send_it, s);
	explore_process("B", receive_it, s);
	explore_wait();
}

static void send_plainly(void *unused)
{
	(void)unused;
	s->number = 2;
	s->other = 1;
}

static void receive_plainly(void *unused)
{
	(void)unused;
	*answer = s->other ? s->number : 2;
}

static void plain_message(void *unused)
{
	(void)unused;
	make(true, false);
	both(send_plainly, receive_plainly);
}

static void set_flag(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	s->number = 2;
	pthread_cond_signal(&s->condition);
	pthread_mutex_unlock(&s->mutex[0]);
}

static void wait_while(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	while (s->number == 0)
		pthread_cond_wait(&s->condition, &s->mutex[0]);
	*answer = s->number;
	pthread_mutex_unlock(&s->mutex[0]);
}

static void condition(void *unused)
{
	(void)unused;
	make(true, false);
	both(set_flag, wait_while);
}

static void wait_if(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	if (s->number == 0)
		pthread_cond_wait(&s->condition, &s->mutex[0]);
	*answer = s->number;
	pthread_mutex_unlock(&s->mutex[0]);
}

static void if_for_while(void *unused)
{
	(void)unused;
	make(true, false);
	both(set_flag, wait_if);
}

static void wait_without_looking(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	pthread_cond_wait(&s->condition, &s->mutex[0]);
	*answer = s->number;
	pthread_mutex_unlock(&s->mutex[0]);
}

static void lost_wakeup(void *unused)
{
	(void)unused;
	make(true, false);
	both(wait_without_looking, set_flag);
}

static void wake_word(void *unused)
{
	(void)unused;
	s->word = 2;
	syscall(SYS_futex, &s->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static void wait_for_word(void *unused)
{
	(void)unused;
	while (s->word == 0)
		syscall(SYS_futex, &s->word, FUTEX_WAIT, 0, NULL, NULL, 0);
	*answer = s->word;
}

static void futex(void *unused)
{
	(void)unused;
	make(true, false);
	both(wait_for_word, wake_word);
}

static void wait_for_private_word(void *unused)
{
	(void)unused;
	while (s->word == 0)
		syscall(SYS_futex, &s->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL,
			0);
	*answer = s->word;
}

static void wake_private_word(void *unused)
{
	(void)unused;
	s->word = 2;
	syscall(SYS_futex, &s->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void private_futex(void *unused)
{
	(void)unused;
	make(true, false);
	both(wait_for_private_word, wake_private_word);
}

static void meet(void *unused)
{
	(void)unused;
	atomic_fetch_add(&s->atomic, 1);
	pthread_barrier_wait(&s->barrier);
	*answer = s->atomic;
}

static void barrier(void *unused)
{
	pthread_barrierattr_t attr;

	(void)unused;
	make(true, false);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&s->barrier, &attr, 2);
	both(meet, meet);
}

/* ---- waits without an end --------------------------------------------------------- */

static void first_then_second(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	pthread_mutex_lock(&s->mutex[1]);
	pthread_mutex_unlock(&s->mutex[1]);
	pthread_mutex_unlock(&s->mutex[0]);
}

static void second_then_first(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[1]);
	pthread_mutex_lock(&s->mutex[0]);
	pthread_mutex_unlock(&s->mutex[0]);
	pthread_mutex_unlock(&s->mutex[1]);
}

static void opposite_order(void *unused)
{
	(void)unused;
	make(true, false);
	both(first_then_second, second_then_first);
	*answer = 2;
}

static void write_much(void *unused)
{
	static char much[200000];

	(void)unused;
	if (write(s->ends[1], much, sizeof much) < 0)
		return;
}

static void wait_before_reading(void *unused)
{
	(void)unused;
	make(true, false);
	if (pipe(s->ends) != 0)
		return;
	explore_process("A", write_much, NULL);
	explore_wait();
	*answer = 2;
}

static void read_to_the_end(void *unused)
{
	char byte;

	(void)unused;
	while (read(s->ends[0], &byte, 1) > 0)
		;
}

static void write_end_not_closed(void *unused)
{
	(void)unused;
	make(true, false);
	if (pipe(s->ends) != 0)
		return;
	explore_process("A", read_to_the_end, NULL);
	close(s->ends[1]);
	explore_wait();		/* A holds it, too */
	*answer = 2;
}

static void echo(void *unused)
{
	char byte;

	(void)unused;
	if (recv(s->ends[1], &byte, 1, 0) == 1)
		send(s->ends[1], &byte, 1, 0);
}

static void ping_pong(void *unused)
{
	char byte = 0;

	(void)unused;
	make(true, false);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s->ends) != 0)
		return;
	explore_process("A", echo, NULL);
	send(s->ends[0], &byte, 1, 0);
	if (recv(s->ends[0], &byte, 1, 0) == 1)
		*answer = 2;
	explore_wait();
}

static void silent_peer(void *unused)
{
	char byte = 0;

	(void)unused;
	make(true, false);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s->ends) != 0)
		return;
	explore_process("A", echo, NULL);
	if (recv(s->ends[0], &byte, 1, 0) == 1)
		*answer = 2;
}

static void wait_for_nobody(void *unused)
{
	(void)unused;
	while (!atomic_load(&s->flag))
		;
}

static void spin_for_ever(void *unused)
{
	(void)unused;
	make(true, false);
	both(wait_for_nobody, add_plainly);
}

static void hoisted_load(void *unused)
{
	volatile long mine = 0;

	(void)unused;
	while (mine == 0)
		;
}

static void spin_blindly(void *unused)
{
	(void)unused;
	make(true, false);
	both(hoisted_load, add_plainly);
}

/* ---- processes ------------------------------------------------------------------------ */

static void child_writes(void *unused)
{
	pid_t pid;

	(void)unused;
	make(true, false);
	pid = fork();
	if (pid == 0) {
		s->number = 2;
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	*answer = s->number;
}

static void nap_for_wait(void *unused)
{
	(void)unused;
	make(true, false);
	if (fork() == 0) {
		s->number = 2;
		_exit(0);
	}
	nanosleep(&(struct timespec){ .tv_sec = 60 }, NULL);
	*answer = s->number;
	wait(NULL);
}

static void one_wait_for_two(void *unused)
{
	(void)unused;
	make(true, false);
	for (int i = 0; i < 2; i++)
		if (fork() == 0) {
			s->atomic++;
			_exit(0);
		}
	wait(NULL);
	*answer = s->atomic;
	wait(NULL);
}

static void die_at_zero(void *unused)
{
	(void)unused;
	if (s->atomic == 0)
		raise(SIGSEGV);
}

static void crash(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_atomically, die_at_zero);
	*answer = 2;
}

static void exit_in_the_middle(void *unused)
{
	(void)unused;
	make(true, false);
	_exit(0);
}

static void add_robustly(void *unused)
{
	(void)unused;
	if (pthread_mutex_lock(&s->mutex[0]) == EOWNERDEAD)
		pthread_mutex_consistent(&s->mutex[0]);
	pthread_mutex_unlock(&s->mutex[0]);
}

static void robust(void *unused)
{
	(void)unused;
	make(true, true);
	both(add_robustly, add_robustly);
	*answer = 2;
}

static void not_robust(void *unused)
{
	(void)unused;
	make(true, false);
	both(add_robustly, add_robustly);
	*answer = 2;
}

static volatile sig_atomic_t arrived;

static void it_arrived(int sig)
{
	(void)sig;
	arrived = 1;
}

static void pause_until_it_comes(void *unused)
{
	(void)unused;
	arrived = 0;
	signal(SIGUSR1, it_arrived);
	s->word = 1;
	while (!arrived)
		pause();
}

static void suspend_until_it_comes(void *unused)
{
	sigset_t usr1, none;

	(void)unused;
	arrived = 0;
	sigemptyset(&none);
	sigemptyset(&usr1);
	sigaddset(&usr1, SIGUSR1);
	signal(SIGUSR1, it_arrived);
	sigprocmask(SIG_BLOCK, &usr1, NULL);
	s->word = 1;
	while (!arrived)
		sigsuspend(&none);
}

static void signal_when_ready(void (*waits)(void *))
{
	pid_t pid;

	make(true, false);
	pid = explore_process("A", waits, NULL);
	while (s->word == 0)
		;
	kill(pid, SIGUSR1);
	explore_wait();
	*answer = 2;
}

static void paused(void *unused)
{
	(void)unused;
	signal_when_ready(pause_until_it_comes);
}

static void suspended(void *unused)
{
	(void)unused;
	signal_when_ready(suspend_until_it_comes);
}

static void read_after_signal(void *again)
{
	struct sigaction a = { .sa_handler = it_arrived };
	ssize_t n;
	char byte;

	sigaction(SIGUSR1, &a, NULL);
	do
		n = read(s->ends[0], &byte, 1);
	while (again != NULL && n < 0 && errno == EINTR);
	*answer = n == 1 ? 2 : -1;
}

static void read_once(void *unused)
{
	(void)unused;
	read_after_signal(NULL);
}

static void read_again(void *unused)
{
	(void)unused;
	read_after_signal(s);
}

static void write_one(void *unused)
{
	(void)unused;
	if (write(s->ends[1], "", 1) != 1)
		return;
}

static void interrupted_read(void *unused)
{
	(void)unused;
	make(true, false);
	if (pipe(s->ends) == 0)
		both(read_once, write_one);
}

static void repeated_read(void *unused)
{
	(void)unused;
	make(true, false);
	if (pipe(s->ends) == 0)
		both(read_again, write_one);
}

static void ended_before_it_begins(void *unused)
{
	int status = 0;
	pid_t pid;

	(void)unused;
	make(true, false);
	pid = fork();
	while (pid == 0)
		pause();
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	*answer = WIFSIGNALED(status) ? 2 : 0;
}

static void write_by_stream(void *unused)
{
	FILE *f = fdopen(s->ends[1], "w");

	(void)unused;
	if (f == NULL)
		return;
	fputc(2, f);
	fclose(f);
}

static void streams(void *unused)
{
	FILE *f;

	(void)unused;
	make(true, false);
	if (pipe(s->ends) != 0)
		return;
	explore_process("A", write_by_stream, NULL);
	f = fdopen(s->ends[0], "r");
	if (f == NULL)
		return;
	*answer = fgetc(f);
	fclose(f);
	explore_wait();
}

static void timer_or_byte(void *unused)
{
	struct itimerspec second = { .it_value = { .tv_sec = 1 } };
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct pollfd fds[2];

	(void)unused;
	make(true, false);
	if (pipe(s->ends) != 0)
		return;
	explore_process("A", write_by_stream, NULL);
	timerfd_settime(timer, 0, &second, NULL);
	fds[0] = (struct pollfd){ .fd = s->ends[0], .events = POLLIN };
	fds[1] = (struct pollfd){ .fd = timer, .events = POLLIN };
	if (ppoll(fds, 2, NULL, NULL) > 0)
		*answer = fds[0].revents || fds[1].revents ? 2 : 0;
	explore_wait();
}

/* ---- threads ----------------------------------------------------------------------------- */

static long counted;

static void *count(void *arg)
{
	if (arg != NULL)
		pthread_mutex_lock(arg);
	counted++;
	if (arg != NULL)
		pthread_mutex_unlock(arg);
	return NULL;
}

static void two_threads(pthread_mutex_t *mutex)
{
	pthread_t t[2];

	counted = 0;
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, count, mutex);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	*answer = counted;
}

static void threads_unlocked(void *unused)
{
	(void)unused;
	two_threads(NULL);
}

static void threads_locked(void *unused)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

	(void)unused;
	two_threads(&mutex);
}

/* ---- time ------------------------------------------------------------------------------------ */

static void hold_it(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&s->mutex[0]);
	nanosleep(&(struct timespec){ .tv_sec = 3600 }, NULL);
	pthread_mutex_unlock(&s->mutex[0]);
}

static void ask_for_a_second(void *unused)
{
	struct timespec end;
	int r;

	(void)unused;
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec++;
	r = pthread_mutex_clocklock(&s->mutex[0], CLOCK_MONOTONIC, &end);
	if (r == 0)
		pthread_mutex_unlock(&s->mutex[0]);
	*answer = r == 0 || r == ETIMEDOUT ? 2 : r;
}

static void time_limit(void *unused)
{
	(void)unused;
	make(true, false);
	both(hold_it, ask_for_a_second);
}

/* ---- the threads of C11 ---------------------------------------------------------------------- */

static mtx_t c11_mutex;
static cnd_t c11_condition;

static int count_as_told(void *looks_first)
{
	mtx_lock(&c11_mutex);
	while (looks_first != NULL && answer[0] == 0)
		cnd_wait(&c11_condition, &c11_mutex);
	answer[0]++;
	cnd_signal(&c11_condition);
	mtx_unlock(&c11_mutex);
	return 0;
}

static int count_untold(void *unused)
{
	(void)unused;
	mtx_lock(&c11_mutex);
	answer[0]++;
	mtx_unlock(&c11_mutex);
	return 0;
}

static void c11_threads(int (*first)(void *))
{
	thrd_t t[2];

	mtx_init(&c11_mutex, mtx_plain);
	cnd_init(&c11_condition);
	thrd_create(&t[0], count_as_told, answer);
	thrd_create(&t[1], first, NULL);
	thrd_join(t[0], NULL);
	thrd_join(t[1], NULL);
}

static void c11_told(void *unused)
{
	(void)unused;
	c11_threads(count_as_told);
}

static void c11_untold(void *unused)
{
	(void)unused;
	c11_threads(count_untold);
}

/* ---- the table ------------------------------------------------------------------------------- */

static const struct program {
	const char *name;
	void (*run)(void *unused);
	enum found found;
	int schedules;
	const char *victim;	/* killed at each point; or with ... */
	bool spurious;
	int signal;		/* ... this signal */
} programs[] = {
#define PROGRAM(...) { __VA_ARGS__ },
#include "selftest.table"
};

static const char *answer_is_two(void *shared)
{
	long n = *(long *)shared;

	return n == 2 || explore_killed() ? NULL : text("%ld", n);
}

static const char *const names[] = {
	"nothing", "a wrong result", "a race", "everybody stuck",
	"an endless spin", "a crash", "an exit", "a wait it does not know",
};

static void try_all(void)
{
	const struct program *p;
	struct finding f;
	long before, schedules;

	answer = shared(sizeof *answer);
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		p = &programs[i];
		before = explore_schedules();
		explore_try(&(struct exploration){ .scenario = p->run,
			.judge = answer_is_two, .shared = answer,
			.size = sizeof *answer, .kill = p->victim,
			.signal = p->signal,
			.spurious = p->spurious, .schedules = 3000 }, &f);
		schedules = explore_schedules() - before;
		if (getenv("SELFTEST_TABLE") != NULL)
			fprintf(stderr, "%-24s %-16s %ld%s%s\n", p->name,
				names[f.how], schedules,
				f.how == p->found ? "" : "  OFF\n",
				f.how == p->found ? "" : story_short());
		else
			expect(f.how == p->found && schedules == p->schedules,
			       p->name, text("%s after %d schedules",
					     names[p->found], p->schedules),
			       "%s after %ld", names[f.how], schedules);
	}
}

static const struct check checks[] = {
	{ "interleavings", "each program of the table is judged as it must be, "
	  "after the same number of schedules", try_all, NULL },
};

CHECKS("harness", checks);
