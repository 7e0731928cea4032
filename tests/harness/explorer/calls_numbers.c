/*
 * System calls by number: those that another function here stands for are
 * that function's, the others are points.
 */
#include "calls.h"

#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

long explored_syscall(long number, long a, long b, long c, long d, long e,
		      long f)
{
	if (!exploring())
		return syscall(number, a, b, c, d, e, f);
	if (number == SYS_futex)
		return explored_futex((uint32_t *)a, (int)b, (uint32_t)c,
				      (const struct timespec *)d, HERE);
	if (number == SYS_exit_group || number == SYS_exit)
		process_leave((int)a, false, HERE);
#ifdef SYS_fork
	if (number == SYS_fork || number == SYS_vfork)
		return process_fork(NULL, "fork", HERE);
#endif
	if (number == SYS_clone3) {
		const struct clone_args *how = (struct clone_args *)a;

		return process_clone((unsigned long)how->flags,
				     (int *)(uintptr_t)how->pidfd, HERE);
	}
	if (number == SYS_clone)
		return process_clone((unsigned long)a, (int *)c, HERE);
	if (number == SYS_pidfd_send_signal)
		return signal_by_fd((int)a, (int)b, HERE);
	point(nowhere, HERE);
	return syscall(number, a, b, c, d, e, f);
}
