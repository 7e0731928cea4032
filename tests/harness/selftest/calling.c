/*
 * Calls that faults may strike, made with care and without it: what the self
 * test of the faults judges. Compiled and changed like a student's file.
 */
#include "calling.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Again, while it is only interrupted. */
#define AGAIN(r, call) do { r = (call); } while (r == -1 && errno == EINTR)

/* ---- transfers ---------------------------------------------------------- */

static int put_all(int fd, const char *buf, size_t n)
{
	ssize_t r;

	for (size_t done = 0; done < n; done += (size_t)r) {
		AGAIN(r, write(fd, buf + done, n - done));
		if (r <= 0)
			return -1;
	}
	return 0;
}

static int take_all(int fd, char *buf, size_t n)
{
	ssize_t r;

	for (size_t done = 0; done < n; done += (size_t)r) {
		AGAIN(r, read(fd, buf + done, n - done));
		if (r <= 0)
			return -1;
	}
	return 0;
}

static int put_once(int fd, const char *buf, size_t n)
{
	(void)!write(fd, buf, n);
	return 0;
}

static int take_once(int fd, char *buf, size_t n)
{
	(void)!read(fd, buf, n);
	return 0;
}

/* A child writes, this process reads, and 0 means that all is as it was. */
static int carry(int from, int to, size_t n,
		 int (*put)(int, const char *, size_t),
		 int (*take)(int, char *, size_t))
{
	static char buf[1 << 14], out[1 << 14];
	int r, bad = 0;
	pid_t pid;

	for (size_t i = 0; i < n; i++)
		out[i] = (char)(i % 251 + 1);
	memset(buf, 0, n);
	pid = fork();
	if (pid == 0)
		_exit(put(to, out, n) != 0);
	close(to);
	bad |= take(from, buf, n) != 0;
	close(from);
	AGAIN(r, waitpid(pid, NULL, 0));
	bad |= memcmp(buf, out, n) != 0;
	return bad ? -1 : 0;
}

int calling_carries(size_t n)
{
	int fds[2];

	return pipe(fds) == 0 ? carry(fds[0], fds[1], n, put_all, take_all)
			      : -1;
}

int calling_carries_carelessly(size_t n)
{
	int fds[2];

	return pipe(fds) == 0 ? carry(fds[0], fds[1], n, put_once, take_once)
			      : -1;
}

static int send_all(int fd, const char *buf, size_t n)
{
	ssize_t r;

	for (size_t done = 0; done < n; done += (size_t)r) {
		AGAIN(r, send(fd, buf + done, n - done, MSG_NOSIGNAL));
		if (r <= 0)
			return -1;
	}
	return 0;
}

static int recv_all(int fd, char *buf, size_t n)
{
	ssize_t r;

	for (size_t done = 0; done < n; done += (size_t)r) {
		AGAIN(r, recv(fd, buf + done, n - done, 0));
		if (r <= 0)
			return -1;
	}
	return 0;
}

int calling_carries_by_socket(size_t n)
{
	int fds[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0
	       ? carry(fds[0], fds[1], n, send_all, recv_all) : -1;
}

/* ---- processes ---------------------------------------------------------- */

int calling_starts(int n)
{
	int started = 0, status;
	char name[] = "true", *argv[] = { name, NULL };
	bool failed = false;
	pid_t pid, r;

	for (int i = 0; i < n && !failed; i++) {
		if (i % 2 == 0)
			pid = fork();
		else if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, NULL))
			pid = -1;
		if (pid == 0)
			_exit(0);
		failed = pid < 0;
		started += !failed;
	}
	for (int i = 0; i < started; i++)
		AGAIN(r, wait(&status));
	return failed ? -1 : 0;
}

/* A fork that fails is not looked at. */
int calling_starts_carelessly(int n)
{
	for (int i = 0; i < n; i++)
		if (fork() == 0)
			_exit(0);
	while (wait(NULL) > 0)
		;
	return 0;
}

/* A child that is killed: did it die of SIGKILL? By wait and by waitid. */
int calling_hears_of_deaths(void)
{
	siginfo_t info = {0};
	int status = 0;
	pid_t pid;

	for (int by_info = 0; by_info < 2; by_info++) {
		pid = fork();
		if (pid == 0)
			raise(SIGKILL);
		if (by_info == 0)
			waitpid(pid, &status, 0);
		else
			waitid(P_PID, (id_t)pid, &info, WEXITED);
	}
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	       info.si_code != CLD_EXITED && info.si_status == SIGKILL
	       ? 0 : -1;
}

int calling_hears_of_deaths_carelessly(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		raise(SIGKILL);
	waitpid(pid, &status, 0);
	return (status & 0xff) == SIGKILL ? 0 : -1;
}

/* ---- what may be refused ------------------------------------------------ */

static int make_locks(void)
{
	pthread_mutex_t m;
	pthread_cond_t c;
	sem_t s;

	if (pthread_mutex_init(&m, NULL) != 0)
		return -1;
	if (pthread_cond_init(&c, NULL) != 0)
		return -1;
	return sem_init(&s, 1, 0);
}

static void *nothing(void *arg)
{
	return arg;
}

static int make_thread(void)
{
	pthread_t t;

	if (pthread_create(&t, NULL, nothing, NULL) != 0)
		return -1;
	return pthread_join(t, NULL) == 0 ? 0 : -1;
}

/* How many threads have been asked for when one comes to run? */
static _Atomic int begun, early;

static void *look(void *arg)
{
	early += begun < 3;
	return arg;
}

int calling_threads(void)
{
	pthread_t t[3];

	begun = early = 0;
	for (int i = 0; i < 3; i++) {
		begun++;
		if (pthread_create(&t[i], NULL, look, NULL) != 0)
			return -1;
	}
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	return early ? -1 : 0;
}

static int make_semaphore(void)
{
	char name[32];
	sem_t *s;

	snprintf(name, sizeof name, "/fl-%d", (int)getpid());
	s = sem_open(name, O_CREAT, 0600, 1);
	if (s == SEM_FAILED)
		return -1;
	sem_close(s);
	return sem_unlink(name);
}

static int make_memory(void)
{
	char *a = malloc(10), *b = calloc(2, 5), *c = strdup("x"), *d = NULL;
	void *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int bad = a == NULL || b == NULL || c == NULL || m == MAP_FAILED ||
		  posix_memalign((void **)&d, 64, 64) != 0;

	if (m != MAP_FAILED)
		munmap(m, 4096);
	free(a);
	free(b);
	free(c);
	free(d);
	return bad ? -1 : 0;
}

static int make_descriptors(void)
{
	int fds[2], one, bad = 0;

	if (pipe(fds) != 0)
		return -1;
	bad |= (one = open("/dev/null", O_RDONLY)) < 0 || close(one) != 0;
	bad |= (one = dup(fds[0])) < 0 || close(one) != 0;
	bad |= (one = eventfd(0, 0)) < 0 || close(one) != 0;
	close(fds[0]);
	close(fds[1]);
	return bad ? -1 : 0;
}

int calling_makes_everything(void)
{
	if (make_memory() != 0 || make_descriptors() != 0 ||
	    make_locks() != 0 || make_thread() != 0 || make_semaphore() != 0)
		return -1;
	if (calling_shares(4096) != 0)
		return -1;
	return calling_starts(2);
}

int calling_makes_carelessly(void)
{
	int *volatile numbers = malloc(4 * sizeof *numbers);

	numbers[0] = 1;
	free(numbers);
	return 0;
}

/* ---- room in /dev/shm --------------------------------------------------- */

static int share(size_t bytes, bool carefully)
{
	char name[32], *at = MAP_FAILED;
	int fd, error = 0;

	snprintf(name, sizeof name, "/fl-%d", (int)getpid());
	fd = shm_open(name, O_CREAT | O_RDWR, 0600);
	if (fd < 0)
		return -1;
	shm_unlink(name);
	if (ftruncate(fd, (off_t)bytes) != 0)
		error = errno;
	if (carefully && error == 0)
		error = posix_fallocate(fd, 0, (off_t)bytes);
	if (carefully && error == 0 && write(fd, "x", 1) != 1)
		error = errno;
	if (error == 0)
		at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			  0);
	close(fd);
	if (at == MAP_FAILED)
		return -1;
	memset(at, 1, bytes);
	munmap(at, bytes);
	return 0;
}

int calling_shares(size_t bytes)
{
	return share(bytes, true);
}

int calling_shares_carelessly(size_t bytes)
{
	return share(bytes, false);
}

/* ---- time --------------------------------------------------------------- */

static double by(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static double wait_by(clockid_t clock, double seconds)
{
	double begin = by(clock), now;

	do {
		now = by(clock);
	} while (now - begin < seconds);
	return now - begin;
}

double calling_waits_so_long(double seconds)
{
	return wait_by(CLOCK_MONOTONIC, seconds);
}

double calling_waits_by_the_wall(double seconds)
{
	return wait_by(CLOCK_REALTIME, seconds);
}

double calling_waits_by_the_processor(double seconds)
{
	return wait_by(CLOCK_PROCESS_CPUTIME_ID, seconds);
}

void calling_pauses(void)
{
	struct timespec t = { 100, 0 };
	struct timeval v = { 100, 0 };

	sleep(100);
	usleep(100000000);
	nanosleep(&t, NULL);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL);
	poll(NULL, 0, 100000);
	select(0, NULL, NULL, NULL, &v);
	ppoll(NULL, 0, &t, NULL);
	pselect(0, NULL, NULL, NULL, &t, NULL);
}

/* ---- a lock whose holder dies ------------------------------------------- */

void calling_makes_a_lock(void *memory, bool robust)
{
	pthread_mutexattr_t a;

	pthread_mutexattr_init(&a);
	pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (robust)
		pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(memory, &a);
}

void calling_locks(void *lock, void (*inside)(void *), void *arg)
{
	if (pthread_mutex_lock(lock) == EOWNERDEAD)
		pthread_mutex_consistent(lock);
	inside(arg);
	pthread_mutex_unlock(lock);
}

/* ---- descriptors -------------------------------------------------------- */

int calling_opens(int n)
{
	int fds[64], opened = 0;

	while (opened < n && opened < 64 &&
	       (fds[opened] = open("/dev/null", O_RDONLY)) >= 0)
		opened++;
	for (int i = 0; i < opened; i++)
		close(fds[i]);
	return opened;
}

int calling_computes(void)
{
	return 0;
}
