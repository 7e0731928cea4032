/*
 * The calls of the student's file. Its object file is changed after it was
 * compiled (objcopy --redefine-syms calls.map), so that what it names
 * read() is called_read() here; the harness's own calls, the demo programs'
 * and libc's stay as they are. Each called_NAME
 *
 *   notes in which line a thread may wait, for the report of a hang
 *   is a place where a fault may strike
 *   remembers in which line a process or a descriptor was made
 *
 * and does what NAME does. The map is made from the names in this file.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define HERE __builtin_return_address(0)

/* ---- faults -------------------------------------------------------------- */

static const char *const families[FAMILIES] = {
	"fork", "read", "write", "waitpid", "mmap", "pipe", "malloc",
	"pthread_create", "kill", "ftruncate", "open", "shm_open",
};

static int family(const char *call)
{
	for (int i = 0; i < FAMILIES && families[i] != NULL; i++)
		if (strcmp(families[i], call) == 0)
			return i;
	return FAMILIES - 1;
}

int calls_of(const char *call)
{
	return board->calls[family(call)];
}

void fault_set(const struct fault *fault)
{
	board->fault = *fault;
	board->fault_counter = 0;
	board->fault_struck = 0;
	board->fault_pc = NULL;
}

int fault_hits(void)
{
	return board->fault_struck;
}

/* Is it this call's turn? Then errno is what it shall fail with. */
static bool struck(const char *call, bool suits, void *pc)
{
	const struct fault *f = &board->fault;
	int turn;

	if (strcmp(call, "malloc") != 0)
		board->calls[family(call)]++;
	if (f->call == NULL || !suits || strcmp(f->call, call) != 0)
		return false;
	turn = ++board->fault_counter;
	if (turn != f->k && !(f->onwards && turn > f->k))
		return false;
	if (board->fault_struck++ == 0)
		board->fault_pc = pc;
	errno = f->error;
	return true;
}

static bool short_transfers(void)
{
	return board->fault.error == 0;
}

void small_pipes(void)
{
	board->small_pipes = 1;
}

int forbidden_kills(void)
{
	return board->forbidden;
}

/* A pipe or a stream socket on which a call may wait and may be short. */
static bool is_stream(int fd)
{
	int type;
	socklen_t size = sizeof type;
	struct stat s;

	if (fstat(fd, &s) != 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK))
		return false;
	if (S_ISFIFO(s.st_mode))
		return true;
	return S_ISSOCK(s.st_mode) &&
	       getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_STREAM;
}

/*
 * May a fault strike this transfer? The system itself keeps some promises: a
 * write of up to PIPE_BUF bytes is whole, and is read whole from a pipe.
 */
static bool transfer_suits(int fd, size_t n, bool writes, int flags)
{
	struct stat s;

	if (!is_stream(fd) || (flags & (MSG_WAITALL | MSG_DONTWAIT)))
		return false;
	if (writes)
		return n > PIPE_BUF;
	if (!short_transfers())
		return true;
	return n > PIPE_BUF ||
	       (n > 1 && fstat(fd, &s) == 0 && S_ISSOCK(s.st_mode));
}

/* ---- where each thread stands --------------------------------------------- */

static struct standing *my_standing(void)
{
	static __thread struct standing *mine;
	pid_t tid = gettid();

	if (mine == NULL || mine->tid != tid) {
		mine = &board->standings[board->next_standing++ % STANDINGS];
		mine->tid = tid;
		mine->pid = getpid();
	}
	return mine;
}

static void stand(const char *call, long argument, void *pc)
{
	struct standing *s = my_standing();

	s->argument = argument;
	s->pc = pc;
	s->call = call;
}

static void go_on(void)
{
	my_standing()->call = NULL;
}

/* result = expression, an expression that may wait */
#define WAITING(call, argument, pc, result, expression) do {	\
	stand(call, (long)(argument), pc);			\
	result = (expression);					\
	go_on();						\
} while (0)

/* ---- processes ------------------------------------------------------------ */

static bool fork_fails(void *pc)
{
	if (board->no_more_forks) {
		errno = EAGAIN;
		return true;
	}
	return struck("fork", true, pc);
}

static pid_t forked(pid_t pid, void *pc)
{
	unsigned i;

	if (pid > 0 && (i = board->next_fork++) < FORKS - 1) {
		board->forks[i].pid = pid;
		board->forks[i].pc = pc;
	}
	return pid;
}

pid_t called_fork(void);
pid_t called_fork(void)
{
	return fork_fails(HERE) ? -1 : forked(fork(), HERE);
}

pid_t called__Fork(void);
pid_t called__Fork(void)
{
	return fork_fails(HERE) ? -1 : forked(fork(), HERE);
}

/* No C function can return twice into its caller's frame: a plain fork. */
pid_t called_vfork(void);
pid_t called_vfork(void)
{
	return fork_fails(HERE) ? -1 : forked(fork(), HERE);
}

int called_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int called_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	void *a, *b, *c;
	va_list more;

	if (fork_fails(HERE))
		return -1;
	va_start(more, arg);
	a = va_arg(more, void *);
	b = va_arg(more, void *);
	c = va_arg(more, void *);
	va_end(more);
	return forked(clone(fn, stack, flags, arg, a, b, c), HERE);
}

int called_posix_spawn(pid_t *pid, const char *path,
		       const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attr, char *const argv[],
		       char *const envp[]);
int called_posix_spawn(pid_t *pid, const char *path,
		       const posix_spawn_file_actions_t *actions,
		       const posix_spawnattr_t *attr, char *const argv[],
		       char *const envp[])
{
	if (fork_fails(HERE))
		return errno;
	return posix_spawn(pid, path, actions, attr, argv, envp);
}

long called_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long called_syscall(long number, long a, long b, long c, long d, long e,
		    long f)
{
	bool creates = number == SYS_clone;
	long r;

#ifdef SYS_fork
	creates |= number == SYS_fork || number == SYS_vfork;
#endif
#ifdef SYS_clone3
	creates |= number == SYS_clone3;
#endif
	if (creates && fork_fails(HERE))
		return -1;
	WAITING("syscall", number, HERE, r,
		syscall(number, a, b, c, d, e, f));
	return r;
}

_Noreturn void called_exit(int status);
_Noreturn void called_exit(int status)
{
	if (getpid() == board->fence) {
		board->exit_pc = HERE;
		board->exit_status = status;
	}
	exit(status);
}

_Noreturn void called__exit(int status);
_Noreturn void called__exit(int status)
{
	if (getpid() == board->fence) {
		board->exit_pc = HERE;
		board->exit_status = status;
	}
	_exit(status);
}

int called_kill(pid_t pid, int sig);
int called_kill(pid_t pid, int sig)
{
	struck("kill", false, HERE);
	if (pid == 0 || pid == -1 || pid == board->test) {
		if (board->forbidden++ == 0)
			board->forbidden_pc = HERE;
		errno = EPERM;
		return -1;
	}
	return kill(pid, sig);
}

/* ---- waits ------------------------------------------------------------------ */

pid_t called_waitpid(pid_t pid, int *status, int options);
pid_t called_waitpid(pid_t pid, int *status, int options)
{
	pid_t r;

	if (struck("waitpid", !(options & WNOHANG), HERE))
		return -1;
	WAITING("waitpid", pid, HERE, r, waitpid(pid, status, options));
	return r;
}

pid_t called_wait(int *status);
pid_t called_wait(int *status)
{
	pid_t r;

	if (struck("waitpid", true, HERE))
		return -1;
	WAITING("wait", -1, HERE, r, wait(status));
	return r;
}

pid_t called_wait4(pid_t pid, int *status, int options, void *usage);
pid_t called_wait4(pid_t pid, int *status, int options, void *usage)
{
	pid_t r;

	if (struck("waitpid", !(options & WNOHANG), HERE))
		return -1;
	WAITING("wait4", pid, HERE, r, wait4(pid, status, options, usage));
	return r;
}

int called_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int called_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	int r;

	if (struck("waitpid", !(options & WNOHANG), HERE))
		return -1;
	WAITING("waitid", id, HERE, r, waitid(type, id, info, options));
	return r;
}

int called_poll(struct pollfd *fds, nfds_t n, int timeout);
int called_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int r;

	if (struck("waitpid", timeout != 0, HERE))
		return -1;
	WAITING("poll", n > 0 ? fds[0].fd : -1, HERE, r,
		poll(fds, n, timeout));
	return r;
}

int called_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t);
int called_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t)
{
	int result;

	if (struck("waitpid", true, HERE))
		return -1;
	WAITING("select", n, HERE, result, select(n, r, w, x, t));
	return result;
}

int called_sem_wait(sem_t *s);
int called_sem_wait(sem_t *s)
{
	int r;

	if (struck("waitpid", true, HERE))
		return -1;
	WAITING("sem_wait", s, HERE, r, sem_wait(s));
	return r;
}

int called_sem_timedwait(sem_t *s, const struct timespec *t);
int called_sem_timedwait(sem_t *s, const struct timespec *t)
{
	int r;

	if (struck("waitpid", true, HERE))
		return -1;
	WAITING("sem_timedwait", s, HERE, r, sem_timedwait(s, t));
	return r;
}

int called_pthread_mutex_lock(pthread_mutex_t *m);
int called_pthread_mutex_lock(pthread_mutex_t *m)
{
	int r;

	WAITING("pthread_mutex_lock", m, HERE, r, pthread_mutex_lock(m));
	return r;
}

int called_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m);
int called_pthread_cond_wait(pthread_cond_t *c, pthread_mutex_t *m)
{
	int r;

	WAITING("pthread_cond_wait", c, HERE, r, pthread_cond_wait(c, m));
	return r;
}

int called_pthread_join(pthread_t thread, void **result);
int called_pthread_join(pthread_t thread, void **result)
{
	int r;

	WAITING("pthread_join", 0, HERE, r, pthread_join(thread, result));
	return r;
}

/* A timer may wake who seems to sleep for ever: leave more time before that
 * is said. */
unsigned called_alarm(unsigned seconds);
unsigned called_alarm(unsigned seconds)
{
	board->timers = 1;
	return alarm(seconds);
}

int called_setitimer(int which, const struct itimerval *new,
		     struct itimerval *old);
int called_setitimer(int which, const struct itimerval *new,
		     struct itimerval *old)
{
	board->timers = 1;
	return setitimer(which, new, old);
}

int called_timer_settime(timer_t timer, int flags,
			 const struct itimerspec *new, struct itimerspec *old);
int called_timer_settime(timer_t timer, int flags,
			 const struct itimerspec *new, struct itimerspec *old)
{
	board->timers = 1;
	return timer_settime(timer, flags, new, old);
}

int called_timerfd_settime(int fd, int flags, const struct itimerspec *new,
			   struct itimerspec *old);
int timerfd_settime(int fd, int flags, const struct itimerspec *new,
		    struct itimerspec *old);
int called_timerfd_settime(int fd, int flags, const struct itimerspec *new,
			   struct itimerspec *old)
{
	board->timers = 1;
	return timerfd_settime(fd, flags, new, old);
}

/* ---- descriptors ------------------------------------------------------------ */

static int opened(int fd, void *pc)
{
	if (fd >= 0 && fd < DESCRIPTORS && getpid() == board->fence)
		board->opened[fd] = pc;
	return fd;
}

static int opened_pair(int result, const int *fds, bool sockets, void *pc)
{
	int least = 1;

	for (int i = 0; i < 2 && result == 0; i++) {
		opened(fds[i], pc);
		if (board->small_pipes && sockets) {
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &least,
				   sizeof least);
			setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &least,
				   sizeof least);
		} else if (board->small_pipes) {
			fcntl(fds[i], F_SETPIPE_SZ, 4096);
		}
	}
	return result;
}

int called_pipe(int fds[2]);
int called_pipe(int fds[2])
{
	if (struck("pipe", true, HERE))
		return -1;
	return opened_pair(pipe(fds), fds, false, HERE);
}

int called_pipe2(int fds[2], int flags);
int called_pipe2(int fds[2], int flags)
{
	if (struck("pipe", true, HERE))
		return -1;
	return opened_pair(pipe2(fds, flags), fds, false, HERE);
}

int called_socketpair(int domain, int type, int protocol, int fds[2]);
int called_socketpair(int domain, int type, int protocol, int fds[2])
{
	if (struck("pipe", true, HERE))
		return -1;
	return opened_pair(socketpair(domain, type, protocol, fds), fds, true,
			   HERE);
}

int called_dup(int fd);
int called_dup(int fd)
{
	return opened(dup(fd), HERE);
}

int called_memfd_create(const char *name, unsigned flags);
int called_memfd_create(const char *name, unsigned flags)
{
	if (struck("shm_open", true, HERE))
		return -1;
	return opened(memfd_create(name, flags), HERE);
}

int called_shm_open(const char *name, int flags, mode_t mode);
int called_shm_open(const char *name, int flags, mode_t mode)
{
	if (struck("shm_open", true, HERE))
		return -1;
	return opened(shm_open(name, flags, mode), HERE);
}

int called_ftruncate(int fd, off_t size);
int called_ftruncate(int fd, off_t size)
{
	return struck("ftruncate", true, HERE) ? -1 : ftruncate(fd, size);
}

int called_open(const char *path, int flags, ...);
int called_open(const char *path, int flags, ...)
{
	va_list more;
	int mode;

	if (struck("open", true, HERE))
		return -1;
	va_start(more, flags);
	mode = va_arg(more, int);
	va_end(more);
	return opened(open(path, flags, mode), HERE);
}

/* ---- transfers ---------------------------------------------------------------- */

ssize_t called_read(int fd, void *buf, size_t n);
ssize_t called_read(int fd, void *buf, size_t n)
{
	ssize_t r;

	if (struck("read", transfer_suits(fd, n, false, 0), HERE)) {
		if (!short_transfers())
			return -1;
		n = 1;
	}
	WAITING("read", fd, HERE, r, read(fd, buf, n));
	return r;
}

ssize_t called_write(int fd, const void *buf, size_t n);
ssize_t called_write(int fd, const void *buf, size_t n)
{
	ssize_t r;

	if (struck("write", transfer_suits(fd, n, true, 0), HERE)) {
		if (!short_transfers())
			return -1;
		n = 1;
	}
	WAITING("write", fd, HERE, r, write(fd, buf, n));
	return r;
}

ssize_t called_recv(int fd, void *buf, size_t n, int flags);
ssize_t called_recv(int fd, void *buf, size_t n, int flags)
{
	ssize_t r;

	if (struck("read", transfer_suits(fd, n, false, flags), HERE)) {
		if (!short_transfers())
			return -1;
		n = 1;
	}
	WAITING("recv", fd, HERE, r, recv(fd, buf, n, flags));
	return r;
}

ssize_t called_send(int fd, const void *buf, size_t n, int flags);
ssize_t called_send(int fd, const void *buf, size_t n, int flags)
{
	ssize_t r;

	if (struck("write", transfer_suits(fd, n, true, flags), HERE)) {
		if (!short_transfers())
			return -1;
		n = 1;
	}
	WAITING("send", fd, HERE, r, send(fd, buf, n, flags));
	return r;
}

/* Vectors may fail, but are not cut short. */
ssize_t called_readv(int fd, const struct iovec *v, int n);
ssize_t called_readv(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	if (struck("read", !short_transfers() && is_stream(fd), HERE))
		return -1;
	WAITING("readv", fd, HERE, r, readv(fd, v, n));
	return r;
}

ssize_t called_writev(int fd, const struct iovec *v, int n);
ssize_t called_writev(int fd, const struct iovec *v, int n)
{
	ssize_t r;

	WAITING("writev", fd, HERE, r, writev(fd, v, n));
	return r;
}

ssize_t called_recvmsg(int fd, struct msghdr *m, int flags);
ssize_t called_recvmsg(int fd, struct msghdr *m, int flags)
{
	ssize_t r;

	if (struck("read", !short_transfers() && is_stream(fd) &&
		   !(flags & MSG_DONTWAIT), HERE))
		return -1;
	WAITING("recvmsg", fd, HERE, r, recvmsg(fd, m, flags));
	return r;
}

ssize_t called_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t called_sendmsg(int fd, const struct msghdr *m, int flags)
{
	ssize_t r;

	WAITING("sendmsg", fd, HERE, r, sendmsg(fd, m, flags));
	return r;
}

/* ---- memory -------------------------------------------------------------------- */

void *called_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *called_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
	if (struck("mmap", true, HERE))
		return MAP_FAILED;
	return mmap(at, n, prot, flags, fd, from);
}

void *called_malloc(size_t n);
void *called_malloc(size_t n)
{
	return struck("malloc", true, HERE) ? NULL : malloc(n);
}

void *called_calloc(size_t n, size_t size);
void *called_calloc(size_t n, size_t size)
{
	return struck("malloc", true, HERE) ? NULL : calloc(n, size);
}

void *called_realloc(void *p, size_t n);
void *called_realloc(void *p, size_t n)
{
	return struck("malloc", true, HERE) ? NULL : realloc(p, n);
}

/* ---- threads ------------------------------------------------------------------- */

struct thread_start {
	void *(*run)(void *);
	void *arg;
};

void hold_threads_until(int created)
{
	board->hold_threads = created;
}

static void *held_start(void *arg)
{
	struct thread_start start = *(struct thread_start *)arg;

	free(arg);
	meeting_wait(&board->threads, board->hold_threads);
	return start.run(start.arg);
}

int called_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int called_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	struct thread_start *start;
	int error, errno_before = errno;

	if (struck("pthread_create", true, HERE)) {
		error = errno;
		errno = errno_before;	/* it does not set errno */
		return error;
	}
	if (board->hold_threads == 0)
		return pthread_create(thread, attr, run, arg);
	start = malloc(sizeof *start);
	if (start == NULL)
		return EAGAIN;
	*start = (struct thread_start){ run, arg };
	return pthread_create(thread, attr, held_start, start);
}

/* ---- signals that interrupt ------------------------------------------------------ */

static void nothing(int sig)
{
	(void)sig;
}

static void every(long microseconds)
{
	struct itimerval t = { .it_interval.tv_usec = microseconds,
			       .it_value.tv_usec = microseconds };

	setitimer(ITIMER_REAL, &t, NULL);
}

void interrupts_start(void)
{
	struct sigaction a = { .sa_handler = nothing };

	sigemptyset(&a.sa_mask);
	sigaction(SIGALRM, &a, NULL);
	every(5000);
}

void interrupts_stop(void)
{
	struct sigaction a = { .sa_handler = SIG_DFL };

	every(0);
	sigaction(SIGALRM, &a, NULL);
}
