/* Waiting for children and for descriptors. */
#include "calls.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define SECOND (1000 * MS)

/* ---- how a child ended -------------------------------------------------- */

static bool dumped;

void cores_dumped(bool on)
{
	dumped = on;
}

static pid_t with_core(pid_t r, int *status)
{
	if (dumped && r > 0 && status != NULL && WIFSIGNALED(*status)) {
		*status |= WCOREFLAG;
		hit(INJECT_CORE);
	}
	return r;
}

static int with_core_in(int r, siginfo_t *info)
{
	if (dumped && r == 0 && info != NULL && info->si_pid != 0 &&
	    info->si_code == CLD_KILLED) {
		info->si_code = CLD_DUMPED;
		hit(INJECT_CORE);
	}
	return r;
}

/* ---- children ------------------------------------------------------------- */

pid_t called_waitpid(pid_t pid, int *status, int options);
pid_t called_waitpid(pid_t pid, int *status, int options)
{
	pid_t r;

	if (struck("waitpid", "blocking", !(options & WNOHANG), HERE))
		return -1;
	WAITING("waitpid", pid, HERE, r, waitpid(pid, status, options));
	return with_core(r, status);
}

pid_t called_wait(int *status);
pid_t called_wait(int *status)
{
	pid_t r;

	if (struck("wait", "waitpid blocking", true, HERE))
		return -1;
	WAITING("wait", -1, HERE, r, wait(status));
	return with_core(r, status);
}

pid_t called_wait4(pid_t pid, int *status, int options, void *usage);
pid_t called_wait4(pid_t pid, int *status, int options, void *usage)
{
	pid_t r;

	if (struck("wait4", "waitpid blocking", !(options & WNOHANG), HERE))
		return -1;
	WAITING("wait4", pid, HERE, r, wait4(pid, status, options, usage));
	return with_core(r, status);
}

int called_waitid(idtype_t type, id_t id, siginfo_t *info, int options);
int called_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	int r;

	if (struck("waitid", "waitpid blocking", !(options & WNOHANG), HERE))
		return -1;
	WAITING("waitid", id, HERE, r, waitid(type, id, info, options));
	return with_core_in(r, info);
}

/* ---- descriptors ---------------------------------------------------------- */

int called_poll(struct pollfd *fds, nfds_t n, int timeout);
int called_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	int r;

	if (n == 0 && timeout >= 0 && pause_skipped(timeout * MS))
		return 0;
	if (struck("poll", "waitpid blocking", timeout != 0, HERE))
		return -1;
	WAITING("poll", n > 0 ? fds[0].fd : -1, HERE, r,
		poll(fds, n, timeout));
	return r;
}

int called_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t);
int called_select(int n, fd_set *r, fd_set *w, fd_set *x, struct timeval *t)
{
	int result;

	if (n == 0 && t != NULL &&
	    pause_skipped(t->tv_sec * SECOND + t->tv_usec * 1000))
		return 0;
	if (struck("select", "waitpid blocking", true, HERE))
		return -1;
	WAITING("select", n, HERE, result, select(n, r, w, x, t));
	return result;
}

pid_t called_wait3(int *status, int options, struct rusage *usage);
pid_t called_wait3(int *status, int options, struct rusage *usage)
{
	pid_t r;

	if (struck("wait3", "waitpid blocking", !(options & WNOHANG), HERE))
		return -1;
	WAITING("wait3", -1, HERE, r, wait3(status, options, usage));
	return with_core(r, status);
}

int called_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
		 const sigset_t *mask);
int called_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
		 const sigset_t *mask)
{
	int r;

	if (n == 0 && t != NULL &&
	    pause_skipped(t->tv_sec * SECOND + t->tv_nsec))
		return 0;
	if (struck("ppoll", "blocking", true, HERE))
		return -1;
	WAITING("ppoll", n > 0 ? fds[0].fd : -1, HERE, r,
		ppoll(fds, n, t, mask));
	return r;
}

int called_pselect(int n, fd_set *r, fd_set *w, fd_set *x,
		   const struct timespec *t, const sigset_t *mask);
int called_pselect(int n, fd_set *r, fd_set *w, fd_set *x,
		   const struct timespec *t, const sigset_t *mask)
{
	int result;

	if (n == 0 && t != NULL &&
	    pause_skipped(t->tv_sec * SECOND + t->tv_nsec))
		return 0;
	if (struck("pselect", "blocking", true, HERE))
		return -1;
	WAITING("pselect", n, HERE, result, pselect(n, r, w, x, t, mask));
	return result;
}

int called_epoll_wait(int fd, struct epoll_event *events, int n, int timeout);
int called_epoll_wait(int fd, struct epoll_event *events, int n, int timeout)
{
	int r;

	if (struck("epoll_wait", "blocking", timeout != 0, HERE))
		return -1;
	WAITING("epoll_wait", fd, HERE, r, epoll_wait(fd, events, n, timeout));
	return r;
}

int called_epoll_pwait(int fd, struct epoll_event *events, int n, int timeout,
		       const sigset_t *mask);
int called_epoll_pwait(int fd, struct epoll_event *events, int n, int timeout,
		       const sigset_t *mask)
{
	int r;

	if (struck("epoll_pwait", "blocking", timeout != 0, HERE))
		return -1;
	WAITING("epoll_pwait", fd, HERE, r,
		epoll_pwait(fd, events, n, timeout, mask));
	return r;
}

/* Signals. sigwait is never interrupted, and pause always is. */
int called_pause(void);
int called_pause(void)
{
	int r;

	if (struck("pause", "blocking", true, HERE))
		return -1;
	WAITING("pause", 0, HERE, r, pause());
	return r;
}

int called_sigsuspend(const sigset_t *mask);
int called_sigsuspend(const sigset_t *mask)
{
	int r;

	if (struck("sigsuspend", "blocking", true, HERE))
		return -1;
	WAITING("sigsuspend", 0, HERE, r, sigsuspend(mask));
	return r;
}

int called_sigwait(const sigset_t *set, int *sig);
int called_sigwait(const sigset_t *set, int *sig)
{
	int r;

	WAITING("sigwait", 0, HERE, r, sigwait(set, sig));
	return r;
}

int called_sigwaitinfo(const sigset_t *set, siginfo_t *info);
int called_sigwaitinfo(const sigset_t *set, siginfo_t *info)
{
	int r;

	if (struck("sigwaitinfo", "blocking", true, HERE))
		return -1;
	WAITING("sigwaitinfo", 0, HERE, r, sigwaitinfo(set, info));
	return r;
}

int called_sigtimedwait(const sigset_t *set, siginfo_t *info,
			const struct timespec *t);
int called_sigtimedwait(const sigset_t *set, siginfo_t *info,
			const struct timespec *t)
{
	int r;

	if (struck("sigtimedwait", "blocking", true, HERE))
		return -1;
	WAITING("sigtimedwait", 0, HERE, r, sigtimedwait(set, info, t));
	return r;
}
