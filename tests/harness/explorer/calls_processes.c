/*
 * Processes, threads, signals, and time. Time is virtual: it stands still
 * while anybody can go on, and then jumps to the first moment for which
 * somebody waits. So a pause of an hour takes nothing, and whether a pause
 * was long enough is never luck: with a deviation it was not.
 */
#include "calls.h"

#include <errno.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct place nowhere;

/* ---- processes ------------------------------------------------------------------- */

static void all_signals_wait(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

/* Before the student's own atfork handlers run in the child. */
static int forked_task = NOBODY;

static void child_begins(void)
{
	if (forked_task != NOBODY)
		begin_task(forked_task);
}

static pid_t fork_task(const char *name, const char *call, const void *pc)
{
	sigset_t before;
	int task;
	pid_t pid;

	point(nowhere, pc);
	note(STARTS, call, nowhere, pc)->value = (uint64_t)arena->n_tasks;
	task = new_task(name);
	all_signals_wait(&before);
	forked_task = task;
	pid = fork();
	forked_task = NOBODY;
	if (pid > 0)
		arena->tasks[task].pid = pid;
	else if (pid < 0)
		arena->n_tasks--;
	let_signals_in(&before);	/* a child may have got some already */
	return pid;
}

/* Those of the scenario; a student's function may have made others. */
static pid_t started[TASKS];
static int n_started;

pid_t explore_process(const char *name, void (*run)(void *arg), void *arg)
{
	pid_t pid = fork_task(name, "fork", NULL);

	if (pid == 0) {
		n_started = 0;
		run(arg);
		leave_process(0, false, NULL);
	}
	if (pid > 0 && n_started < TASKS)
		started[n_started++] = pid;
	return pid;
}

pid_t explored_fork(void)
{
	return exploring() ? fork_task(NULL, "fork", HERE) : fork();
}

pid_t explored__Fork(void)
{
	return exploring() ? fork_task(NULL, "_Fork", HERE) : fork();
}

pid_t explored_vfork(void)
{
	return exploring() ? fork_task(NULL, "vfork", HERE) : fork();
}

/* Whatever it asks for besides, it is a fork, or nobody can schedule it. */
static pid_t clone_task(unsigned long flags, int *pidfd, const void *pc)
{
	pid_t pid;

	if (flags & (CLONE_VM | CLONE_THREAD | CLONE_FILES))
		end_schedule(FOUND_BLIND);
	pid = fork_task(NULL, "clone", pc);
	if (pid > 0 && (flags & CLONE_PIDFD))
		*pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	return pid;
}

/* The caller must come back from the scenario; its children need not. */
static _Noreturn void leave(int status, bool flush, const void *pc)
{
	if (me == 0) {
		self()->pc = pc;
		note(ENDS, flush ? "exit" : "_exit", nowhere, pc);
		end_schedule(FOUND_EXIT);
	}
	point(nowhere, pc);
	if (flush)
		exit(status);		/* at_exit() below comes last */
	leave_process(status, false, pc);
}

int explored_clone(int (*run)(void *), void *stack, int flags, void *arg, ...)
{
	va_list more;
	int *pidfd;
	pid_t pid;

	va_start(more, arg);
	pidfd = va_arg(more, int *);
	va_end(more);
	if (!exploring())
		return clone(run, stack, flags, arg, pidfd);
	pid = clone_task((unsigned)flags, pidfd, HERE);
	if (pid == 0)
		leave(run(arg), false, HERE);
	return pid;
}

static int exit_status;

static void at_exit(void)
{
	if (exploring())
		leave_process(exit_status, true, self()->pc);
}

/* Before anything else registers: the last to run at an exit, and the first
 * in a child. */
void watch_processes(void)
{
	atexit(at_exit);
	at_quick_exit(at_exit);
	pthread_atfork(NULL, NULL, child_begins);
}

_Noreturn void explored_exit(int status)
{
	exit_status = status;
	if (exploring())
		leave(status, true, HERE);
	exit(status);
}

_Noreturn void explored_quick_exit(int status)
{
	exit_status = status;
	if (exploring() && me == 0)
		leave(status, true, HERE);
	if (exploring())
		point(nowhere, HERE);
	quick_exit(status);
}

_Noreturn void explored__exit(int status)
{
	if (exploring())
		leave(status, false, HERE);
	_exit(status);
}

_Noreturn void explored__Exit(int status)
{
	if (exploring())
		leave(status, false, HERE);
	_exit(status);
}

/* ---- waiting for children ------------------------------------------------------------ */

static void child_is_collected(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid) {
			join_clock(&self()->clock, &arena->tasks[i].clock);
			arena->tasks[i].collected = true;
		}
}

static pid_t wait_for_child(pid_t pid, int *status, int options,
			    struct rusage *usage, const char *call,
			    const void *pc)
{
	enum wake how = WOKEN;
	pid_t r;

	point(nowhere, pc);
	while ((r = wait4(pid, status, options | WNOHANG, usage)) == 0 &&
	       !(options & WNOHANG)) {
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		self()->waits_pid = pid > 0 ? pid : 0;
		how = wait_here(call, nowhere, FOREVER, pc);
		self()->waits_pid = -1;
	}
	if (r > 0)
		child_is_collected(r);
	note(CALLS, call, nowhere, pc)->value = (uint64_t)r;
	return r;
}

pid_t explored_waitpid(pid_t pid, int *status, int options)
{
	if (!exploring())
		return waitpid(pid, status, options);
	return wait_for_child(pid, status, options, NULL, "waitpid", HERE);
}

pid_t explored_wait(int *status)
{
	if (!exploring())
		return wait(status);
	return wait_for_child(-1, status, 0, NULL, "wait", HERE);
}

pid_t explored_wait3(int *status, int options, struct rusage *usage)
{
	if (!exploring())
		return wait3(status, options, usage);
	return wait_for_child(-1, status, options, usage, "wait3", HERE);
}

pid_t explored_wait4(pid_t pid, int *status, int options,
		     struct rusage *usage)
{
	if (!exploring())
		return wait4(pid, status, options, usage);
	return wait_for_child(pid, status, options, usage, "wait4", HERE);
}

int explored_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	enum wake how = WOKEN;
	siginfo_t mine;
	int r;

	if (!exploring())
		return waitid(type, id, info, options);
	point(nowhere, HERE);
	if (info == NULL)
		info = &mine;
	info->si_pid = 0;
	while ((r = waitid(type, id, info, options | WNOHANG)) == 0 &&
	       info->si_pid == 0 && !(options & WNOHANG)) {
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		self()->waits_pid = type == P_PID ? (int)id : 0;
		how = wait_here("waitid", nowhere, FOREVER, HERE);
		self()->waits_pid = -1;
	}
	if (r == 0 && info->si_pid > 0 && !(options & WNOWAIT))
		child_is_collected(info->si_pid);
	else if (r == 0 && info->si_pid > 0)
		acquire_from_dead();
	note(CALLS, "waitid", nowhere, HERE)->value = (uint64_t)r;
	return r;
}

void explore_wait(void)
{
	while (n_started > 0)
		wait_for_child(started[--n_started], NULL, 0, NULL, "waitpid",
			       NULL);
}

void explore_yield(void)
{
	if (exploring())
		yield_turn(NULL);
}

bool explore_killed(void)
{
	return arena->killed_one;
}

bool explore_stray_signal(void)
{
	return arena->stray_signal;
}

void explore_from_here(void)
{
	arena->first_decision = arena->n_decisions;
}

void explore_name(const char *name)
{
	if (exploring())
		snprintf(self()->name, NAME, "%s", name);
}

/* ---- signals ---------------------------------------------------------------------------- */

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
static int signal_by_fd(int fd, int sig, const void *pc)
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

/* ---- threads ------------------------------------------------------------------------------ */

struct start {
	void *(*run)(void *);
	void *arg;
	int task;
	sigset_t mask;
};

static pthread_t handles[TASKS];

static void end_thread(void *unused)
{
	(void)unused;
	leave_thread();
}

/* It may end by pthread_exit(). */
static void *run_thread(void *arg)
{
	struct start start = *(struct start *)arg;
	void *result;

	free(arg);
	begin_task(start.task);
	let_signals_in(&start.mask);
	pthread_cleanup_push(end_thread, NULL);
	result = start.run(start.arg);
	pthread_cleanup_pop(1);
	return result;
}

int explored_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
			    void *(*run)(void *), void *arg)
{
	struct start *start;
	sigset_t before;
	int r;

	if (!exploring())
		return pthread_create(thread, attr, run, arg);
	point(nowhere, HERE);
	note(STARTS, "pthread_create", nowhere, HERE)->value =
		(uint64_t)arena->n_tasks;
	start = malloc(sizeof *start);
	if (start == NULL)
		return EAGAIN;
	*start = (struct start){ .run = run, .arg = arg,
				 .task = new_task(NULL) };
	arena->tasks[start->task].process = self()->process;
	arena->tasks[start->task].pid = getpid();
	arena->tasks[start->task].thread = true;
	snprintf(arena->tasks[start->task].name, NAME, "thread %d",
		 start->task);
	all_signals_wait(&before);
	start->mask = before;
	r = pthread_create(&handles[start->task], attr, run_thread, start);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (r == 0)
		*thread = handles[start->task];
	else
		arena->n_tasks--;
	return r;
}

int explored_pthread_join(pthread_t thread, void **result)
{
	int task = 0;

	if (!exploring())
		return pthread_join(thread, result);
	point(nowhere, HERE);
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].thread &&
		    pthread_equal(handles[i], thread))
			task = i;
	while (task != 0 && arena->tasks[task].state != ENDED)
		wait_here("pthread_join", nowhere, FOREVER, HERE);
	if (task != 0)
		join_clock(&self()->clock, &arena->tasks[task].clock);
	note(CALLS, "pthread_join", nowhere, HERE);
	return pthread_join(thread, result);
}

/* Its wait for a process, a file or a time ends; others it may not end. */
int explored_pthread_cancel(pthread_t thread)
{
	struct task *t;

	if (!exploring())
		return pthread_cancel(thread);
	point(nowhere, HERE);
	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (!t->thread || !pthread_equal(handles[i], thread) ||
		    t->process != self()->process || t->state == ENDED)
			continue;
		t->cancelled = true;
		if (t->state == WAITING && t->waits_for.object == 0)
			t->retry = true;
		note(CALLS, "pthread_cancel", nowhere, HERE);
		return 0;
	}
	return ESRCH;
}

/* ---- time ------------------------------------------------------------------------------------ */

enum { TICK = 1000, LONG_TICK = 10000000 };	/* virtual ns a look at a clock takes */

static const int64_t monotonic_start = 1000 * 1000000000ll,
		     real_start = 1700000000ll * 1000000000ll;

static int64_t start_of(clockid_t clock)
{
	return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE ||
	       clock == CLOCK_TAI ? real_start : monotonic_start;
}

int64_t virtual_time(clockid_t clock, const struct timespec *at)
{
	if (at->tv_sec > (INT64_MAX / 2 - real_start) / 1000000000)
		return FOREVER - 1;
	return at->tv_sec * 1000000000ll + at->tv_nsec - start_of(clock);
}

/* Who looks at the clock again and again, and nobody else can go on, waits. */
static void tick(void)
{
	bool alone = true;

	for (int i = 0; i < arena->n_tasks; i++)
		if (i != me && (arena->tasks[i].state == READY ||
				arena->tasks[i].retry))
			alone = false;
	arena->now += alone ? LONG_TICK : TICK;
}

int explored_clock_gettime(clockid_t clock, struct timespec *t)
{
	int64_t now;

	if (!exploring() || clock == CLOCK_PROCESS_CPUTIME_ID ||
	    clock == CLOCK_THREAD_CPUTIME_ID)
		return clock_gettime(clock, t);
	tick();
	now = start_of(clock) + arena->now;
	*t = (struct timespec){ now / 1000000000, now % 1000000000 };
	return 0;
}

int explored_gettimeofday(struct timeval *t, void *zone)
{
	struct timespec now;

	if (!exploring())
		return gettimeofday(t, zone);
	explored_clock_gettime(CLOCK_REALTIME, &now);
	*t = (struct timeval){ now.tv_sec, now.tv_nsec / 1000 };
	return 0;
}

time_t explored_time(time_t *t)
{
	struct timespec now;

	if (!exploring())
		return time(t);
	explored_clock_gettime(CLOCK_REALTIME, &now);
	if (t != NULL)
		*t = now.tv_sec;
	return now.tv_sec;
}

static int sleep_until(int64_t deadline, const char *call, const void *pc)
{
	note(SLEEPS, call, nowhere, pc);
	while (deadline > arena->now)
		switch (queue_here(call, (struct place){ UINT32_MAX, 0 },
				   deadline, pc)) {
		case INTERRUPTED:
			return errno = EINTR, -1;
		default:
			break;
		}
	return 0;
}

unsigned explored_sleep(unsigned seconds)
{
	if (!exploring())
		return sleep(seconds);
	sleep_until(arena->now + seconds * 1000000000ll, "sleep", HERE);
	return 0;
}

int explored_usleep(useconds_t us)
{
	if (!exploring())
		return usleep(us);
	return sleep_until(arena->now + us * 1000ll, "usleep", HERE);
}

int explored_nanosleep(const struct timespec *t, struct timespec *left)
{
	if (!exploring())
		return nanosleep(t, left);
	return sleep_until(arena->now + t->tv_sec * 1000000000ll + t->tv_nsec,
			   "nanosleep", HERE);
}

int explored_clock_nanosleep(clockid_t clock, int flags,
			     const struct timespec *t, struct timespec *left)
{
	int64_t until;

	if (!exploring())
		return clock_nanosleep(clock, flags, t, left);
	until = flags & TIMER_ABSTIME ? virtual_time(clock, t) :
		arena->now + t->tv_sec * 1000000000ll + t->tv_nsec;
	return sleep_until(until, "clock_nanosleep", HERE) == 0 ? 0 : EINTR;
}

int explored_sched_yield(void)
{
	if (!exploring())
		return sched_yield();
	yield_turn(HERE);
	return 0;
}

/* ---- system calls by number --------------------------------------------------------------------- */

long explored_syscall(long number, long a, long b, long c, long d, long e,
		      long f)
{
	if (!exploring())
		return syscall(number, a, b, c, d, e, f);
	if (number == SYS_futex)
		return explored_futex((uint32_t *)a, (int)b, (uint32_t)c,
				      (const struct timespec *)d, HERE);
	if (number == SYS_exit_group || number == SYS_exit)
		leave((int)a, false, HERE);
#ifdef SYS_fork
	if (number == SYS_fork || number == SYS_vfork)
		return fork_task(NULL, "fork", HERE);
#endif
	if (number == SYS_clone3)
		return clone_task((unsigned long)((struct clone_args *)a)->flags,
			(int *)(uintptr_t)((struct clone_args *)a)->pidfd,
			HERE);
	if (number == SYS_clone)
		return clone_task((unsigned long)a, (int *)c, HERE);
	if (number == SYS_pidfd_send_signal)
		return signal_by_fd((int)a, (int)b, HERE);
	point(nowhere, HERE);
	return syscall(number, a, b, c, d, e, f);
}
