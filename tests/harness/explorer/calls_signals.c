/*
 * Signals, sent and waited for. One arrives when its receiver has the turn
 * next, and a wait of its ends. What is sent to a process that has been
 * collected is noted: its number may be another's by then.
 */
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ---- sent -------------------------------------------------------------- */

static bool is_task(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid &&
		    arena->tasks[i].state != ENDED)
			return true;
	return false;
}

static void task_is_killed(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid) {
			arena->tasks[i].state = ENDED;
			arena->tasks[i].killed = true;
		}
	wake_after_death();
}

/* It arrives when its receiver has the turn next; a wait ends for it. */
static void signal_is_sent(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid &&
		    arena->tasks[i].state == WAITING)
			arena->tasks[i].retry = true;
}

static bool is_stray(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid)
			return arena->tasks[i].collected;
	return pid <= 0;
}

static int send_signal(pid_t pid, int sig, const char *call, const void *pc)
{
	bool ours;
	int r;

	point(nowhere, pc);
	note(CALLS, call, nowhere, pc)->value = (uint64_t)sig;
	if (sig != 0 && is_stray(pid)) {
		arena->stray_signal = true;
		if (pid <= 0)
			return 0;	/* not to all of us */
	}
	ours = is_task(pid);
	r = kill(pid, sig);
	if (r != 0 || !ours)
		return r;
	if (sig == SIGKILL && pid != getpid()) {
		wait_for_end_of(pid);
		task_is_killed(pid);
	} else if (sig != 0) {
		signal_is_sent(pid);
	}
	return r;
}

int explored_kill(pid_t pid, int sig)
{
	if (!exploring())
		return kill(pid, sig);
	return send_signal(pid, sig, "kill", HERE);
}

/* Whose number it is cannot have become another's. */
int signal_by_fd(int fd, int sig, const void *pc)
{
	char path[40], line[64];
	pid_t pid = -1;
	FILE *f;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		sscanf(line, "Pid: %d", &pid);
	if (f != NULL)
		fclose(f);
	if (pid > 0 && is_task(pid))
		return send_signal(pid, sig, "pidfd_send_signal", pc);
	point(nowhere, pc);
	return (int)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
}

int explored_pidfd_send_signal(int fd, int sig, siginfo_t *info,
			       unsigned flags)
{
	if (!exploring())
		return (int)syscall(SYS_pidfd_send_signal, fd, sig, info,
				    flags);
	return signal_by_fd(fd, sig, HERE);
}

/* ---- let in ------------------------------------------------------------ */

/* What is let in arrives at once, and may end the process. */
static int change_mask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t before, after;

	if (!exploring() || set == NULL ||
	    (how != SIG_UNBLOCK && how != SIG_SETMASK))
		return pthread_sigmask(how, set, old);
	pthread_sigmask(SIG_BLOCK, NULL, &before);
	after = how == SIG_SETMASK ? *set : before;
	for (int sig = 1; how == SIG_UNBLOCK && sig < NSIG; sig++)
		if (sigismember(set, sig) == 1)
			sigdelset(&after, sig);
	if (old != NULL)
		*old = before;
	let_signals_in(&after);
	return 0;
}

int explored_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	return change_mask(how, set, old);
}

int explored_sigprocmask(int how, const sigset_t *set, sigset_t *old)
{
	int r = change_mask(how, set, old);

	return r == 0 ? 0 : (errno = r, -1);
}

/* ---- waited for -------------------------------------------------------- */

static int wait_for_signal(const char *call, const void *pc)
{
	while (wait_here(call, nowhere, FOREVER, pc) != INTERRUPTED)
		;
	return errno = EINTR, -1;
}

int explored_pause(void)
{
	if (!exploring())
		return pause();
	point(nowhere, HERE);
	return wait_for_signal("pause", HERE);
}

/* wait_here() lets signals in by the mask it finds. */
int explored_sigsuspend(const sigset_t *mask)
{
	sigset_t before;

	if (!exploring())
		return sigsuspend(mask);
	point(nowhere, HERE);
	if (sigpending(&before) == 0) {
		for (int sig = 1; sig < NSIG; sig++)
			if (sigismember(&before, sig) == 1 &&
			    sigismember(mask, sig) == 0)
				return sigsuspend(mask);
	}
	pthread_sigmask(SIG_SETMASK, mask, &before);
	wait_for_signal("sigsuspend", HERE);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return errno = EINTR, -1;
}

static const struct timespec no_time;

static int take_signal(const sigset_t *set, siginfo_t *info, int64_t deadline,
		       const char *call, const void *pc)
{
	enum wake how = WOKEN;
	int sig;

	point(nowhere, pc);
	while ((sig = sigtimedwait(set, info, &no_time)) < 0) {
		if (errno != EAGAIN || deadline <= arena->now)
			return -1;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		how = wait_here(call, nowhere, deadline, pc);
	}
	note(CALLS, call, nowhere, pc)->value = (uint64_t)sig;
	return sig;
}

int explored_sigtimedwait(const sigset_t *set, siginfo_t *info,
			  const struct timespec *t)
{
	if (!exploring())
		return sigtimedwait(set, info, t);
	return take_signal(set, info, deadline_after(t), "sigtimedwait", HERE);
}

int explored_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	if (!exploring())
		return sigwaitinfo(set, info);
	return take_signal(set, info, FOREVER, "sigwaitinfo", HERE);
}

int explored_sigwait(const sigset_t *set, int *sig)
{
	int r;

	if (!exploring())
		return sigwait(set, sig);
	do
		r = take_signal(set, NULL, FOREVER, "sigwait", HERE);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return errno;
	*sig = r;
	return 0;
}
