/*
 * misconception: L01-11 the nanny between caller and worker is never collected
 * rejected by:   nothing is left after start and join
 * message:       Your finished children were never collected
 */
#include "process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DONE = -1 };	/* state: 0 new, > 0 the nanny, DONE collected */

struct note {
	int value;	/* first the worker's pid or -errno, then its status */
};

static const char *current = "MainProcess";

static bool send_note(int fd, int value)
{
	struct note n = { value };

	return write(fd, &n, sizeof n) == (ssize_t)sizeof n;
}

static bool receive_note(int fd, int *value)
{
	struct note n;
	ssize_t got;

	do
		got = read(fd, &n, sizeof n);
	while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof n)
		return false;
	*value = n.value;
	return true;
}

static _Noreturn void nanny(struct process *p, int fd)
{
	pid_t worker = fork();
	siginfo_t end;

	if (worker == 0) {
		close(fd);
		current = p->name;
		_exit(p->target(p->args));
	}
	send_note(fd, worker < 0 ? -errno : worker);
	if (worker > 0) {
		while (waitid(P_PID, worker, &end, WEXITED | WNOWAIT) < 0)
			continue;
		send_note(fd, end.si_code == CLD_EXITED
			  ? W_EXITCODE(end.si_status, 0)
			  : W_EXITCODE(0, end.si_status));
		/* its number stays its own until nobody signals it any more */
		while (read(fd, &end, 1) < 0)
			continue;
		waitpid(worker, NULL, 0);
	}
	_exit(0);
}

static void collect_nanny(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		continue;
}

int process_start(struct process *p)
{
	int fds[2], answer = -EAGAIN;
	pid_t pid;

	if (p->state != 0) {
		errno = EINVAL;
		return -1;
	}
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return -1;
	pid = fork();
	if (pid == 0) {
		close(fds[0]);
		nanny(p, fds[1]);
	}
	close(fds[1]);
	if (pid < 0) {
		close(fds[0]);
		errno = EAGAIN;
		return -1;
	}
	if (!receive_note(fds[0], &answer) || answer < 0) {
		collect_nanny(pid);
		close(fds[0]);
		errno = -answer;
		return -1;
	}
	p->pid = answer;
	p->state = pid;
	p->status = fds[0];
	return 0;
}

/* The message is there, or the time is over. */
static bool has_answer(const struct process *p, double timeout)
{
	struct timespec now, left;
	double end;
	struct pollfd fd = { .fd = p->status, .events = POLLIN };
	int r;

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + now.tv_nsec / 1e9 + timeout;
	do {
		if (timeout < 0) {
			r = poll(&fd, 1, -1);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		double rest = end - (now.tv_sec + now.tv_nsec / 1e9);
		if (rest < 0)
			rest = 0;
		left.tv_sec = (time_t)rest;
		left.tv_nsec = (long)((rest - left.tv_sec) * 1e9);
		r = ppoll(&fd, 1, &left, NULL);
	} while (r < 0 && errno == EINTR);
	return r > 0;
}

int process_join(struct process *p, double timeout)
{
	int status;

	if (p->state == 0) {
		errno = EINVAL;
		return -1;
	}
	if (p->state == DONE)
		return 0;
	if (!has_answer(p, timeout))
		return 1;
	if (!receive_note(p->status, &status))
		status = SIGKILL;		/* the nanny was killed */
	shutdown(p->status, SHUT_RDWR);	/* others may have a copy of it */
	close(p->status);
	p->status = status;
	p->state = DONE;
	return 0;
}

bool process_is_alive(struct process *p)
{
	return p->state > 0 && !has_answer(p, 0);
}

int process_exitcode(const struct process *p)
{
	if (p->state != DONE)
		return PROCESS_NONE;
	return WIFEXITED(p->status) ? WEXITSTATUS(p->status)
				    : -WTERMSIG(p->status);
}

int process_terminate(struct process *p)
{
	if (process_is_alive(p))
		kill(p->pid, SIGTERM);
	return 0;
}

const char *process_current(void)
{
	return current;
}

int process_cpu_count(void)
{
	return sysconf(_SC_NPROCESSORS_CONF) > 0
	       ? (int)sysconf(_SC_NPROCESSORS_CONF) : 1;
}
