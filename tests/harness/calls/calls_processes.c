/* Creating, ending and signalling processes. */
#include "calls.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool fork_fails(const char *call, void *pc)
{
	if (board->no_more_forks) {
		errno = EAGAIN;
		return true;
	}
	return struck(call, "fork", true, pc);
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
	return fork_fails("fork", HERE) ? -1 : forked(fork(), HERE);
}

pid_t called__Fork(void);
pid_t called__Fork(void)
{
	return fork_fails("_Fork", HERE) ? -1 : forked(fork(), HERE);
}

/* No C function can return twice into its caller's frame: a plain fork. */
pid_t called_vfork(void);
pid_t called_vfork(void)
{
	return fork_fails("vfork", HERE) ? -1 : forked(fork(), HERE);
}

int called_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...);
int called_clone(int (*fn)(void *), void *stack, int flags, void *arg, ...)
{
	void *a, *b, *c;
	va_list more;

	if (fork_fails("clone", HERE))
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
	if (fork_fails("posix_spawn", HERE))
		return errno;
	return posix_spawn(pid, path, actions, attr, argv, envp);
}

int called_posix_spawnp(pid_t *pid, const char *file,
			const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attr, char *const argv[],
			char *const envp[]);
int called_posix_spawnp(pid_t *pid, const char *file,
			const posix_spawn_file_actions_t *actions,
			const posix_spawnattr_t *attr, char *const argv[],
			char *const envp[])
{
	if (fork_fails("posix_spawnp", HERE))
		return errno;
	return posix_spawnp(pid, file, actions, attr, argv, envp);
}

int called_system(const char *command);
int called_system(const char *command)
{
	int r;

	if (command != NULL && fork_fails("system", HERE))
		return -1;
	WAITING("system", 0, HERE, r, system(command));
	return r;
}

FILE *called_popen(const char *command, const char *mode);
FILE *called_popen(const char *command, const char *mode)
{
	return fork_fails("popen", HERE) ? NULL : popen(command, mode);
}

int called_pclose(FILE *f);
int called_pclose(FILE *f)
{
	int r;

	WAITING("pclose", fileno(f), HERE, r, pclose(f));
	return r;
}

static bool creates_a_process(long number)
{
	bool creates = number == SYS_clone;

#ifdef SYS_fork			/* not on arm64 */
	creates |= number == SYS_fork || number == SYS_vfork;
#endif
#ifdef SYS_clone3
	creates |= number == SYS_clone3;
#endif
	return creates;
}

/* A futex wait may be interrupted; what holds a lock (_PI) goes on. */
static bool waits_for_a_futex(long number, long op)
{
	op &= FUTEX_CMD_MASK;
	return number == SYS_futex &&
	       (op == FUTEX_WAIT || op == FUTEX_WAIT_BITSET);
}

long called_syscall(long number, long a, long b, long c, long d, long e,
		    long f);
long called_syscall(long number, long a, long b, long c, long d, long e,
		    long f)
{
	bool waits = waits_for_a_futex(number, b);
	long r;

	if (creates_a_process(number) && fork_fails("syscall", HERE))
		return -1;
	if (waits && struck("futex", "blocking", true, HERE))
		return -1;
	WAITING(number == SYS_futex ? "futex" : "syscall",
		number == SYS_futex ? a : number, HERE, r,
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
	struck("kill", "", false, HERE);
	if (pid == 0 || pid == -1 || pid == board->test) {
		if (board->forbidden++ == 0)
			board->forbidden_pc = HERE;
		errno = EPERM;
		return -1;
	}
	return kill(pid, sig);
}
