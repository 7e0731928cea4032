/* The system calls in which a thread may wait, by number. */
#include "doctor_parts.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

/*
 * time: the argument that holds the time limit: NULL, or -1 for an int,
 * means for ever. NEVER: it has none; ALWAYS: it ends by itself.
 */
enum { NEVER = -1, ALWAYS = -2, INT = 16 };

static const struct {
	long number;
	const char *name;
	enum doing doing;
	int time;
} calls[] = {
	{ SYS_read, "read", READS, NEVER },
	{ SYS_pread64, "pread", READS, NEVER },
	{ SYS_readv, "readv", READS, NEVER },
	{ SYS_recvfrom, "recv", READS, NEVER },
	{ SYS_recvmsg, "recvmsg", READS, NEVER },
	{ SYS_accept, "accept", SOMETHING, NEVER },
	{ SYS_accept4, "accept", SOMETHING, NEVER },
	{ SYS_splice, "splice", READS, NEVER },
	{ SYS_write, "write", WRITES, NEVER },
	{ SYS_pwrite64, "pwrite", WRITES, NEVER },
	{ SYS_writev, "writev", WRITES, NEVER },
	{ SYS_sendto, "send", WRITES, NEVER },
	{ SYS_sendmsg, "sendmsg", WRITES, NEVER },
	{ SYS_vmsplice, "vmsplice", WRITES, NEVER },
	{ SYS_openat, "open", OPENS, NEVER },
	{ SYS_wait4, "waitpid", WAITS_FOR_CHILD, NEVER },
	{ SYS_waitid, "waitid", WAITS_FOR_CHILD, NEVER },
	{ SYS_futex, "futex", FUTEX, 3 },
	{ SYS_ppoll, "poll", POLLS, 2 },
	{ SYS_pselect6, "select", POLLS, 4 },
	{ SYS_epoll_pwait, "epoll_wait", POLLS, 3 | INT },
	{ SYS_fcntl, "fcntl", LOCKS_FILE, NEVER },
	{ SYS_flock, "flock", LOCKS_FILE, NEVER },
	{ SYS_rt_sigsuspend, "sigsuspend", WAITS_FOR_SIGNAL, NEVER },
	{ SYS_rt_sigtimedwait, "sigwait", WAITS_FOR_SIGNAL, 2 },
	{ SYS_nanosleep, "nanosleep", SLEEPS, ALWAYS },
	{ SYS_clock_nanosleep, "sleep", SLEEPS, ALWAYS },
	{ SYS_restart_syscall, "sleep", SLEEPS, ALWAYS },
	{ SYS_semop, "semop", SOMETHING, NEVER },
	{ SYS_semtimedop, "semop", SOMETHING, 3 },
	{ SYS_msgsnd, "msgsnd", SOMETHING, NEVER },
	{ SYS_msgrcv, "msgrcv", SOMETHING, NEVER },
	{ SYS_mq_timedsend, "mq_send", SOMETHING, 4 },
	{ SYS_mq_timedreceive, "mq_receive", SOMETHING, 4 },
	{ SYS_connect, "connect", SOMETHING, NEVER },
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, "futex_waitv", FUTEX, 3 },
#endif
#ifdef SYS_poll			/* older calls; not on arm64 */
	{ SYS_open, "open", OPENS, NEVER },
	{ SYS_poll, "poll", POLLS, 2 | INT },
	{ SYS_select, "select", POLLS, 4 },
	{ SYS_epoll_wait, "epoll_wait", POLLS, 3 | INT },
	{ SYS_pause, "pause", WAITS_FOR_SIGNAL, NEVER },
#endif
};

static bool has_limit(const struct thread *t, int time)
{
	if (time < 0)
		return time == ALWAYS;
	return time & INT ? (int)t->a[time & ~INT] != -1 : t->a[time] != 0;
}

void name_call(struct thread *t)
{
	t->doing = t->number < 0 ? RUNS : SOMETHING;
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
		if (calls[i].number != t->number)
			continue;
		t->doing = calls[i].doing;
		t->timed = has_limit(t, calls[i].time);
		snprintf(t->call, sizeof t->call, "%s", calls[i].name);
		return;
	}
	if (t->number >= 0)
		snprintf(t->call, sizeof t->call, "system call %ld",
			 t->number);
}
