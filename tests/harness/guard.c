/*
 * A student's kill(pid, ...) after a fork that failed is kill(-1, ...): every
 * process of the user. This filter, which a process and its descendants can
 * never take off again, lets such a call fail with EPERM, whichever way it
 * is made. See seccomp(2).
 */
#include "internal.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

enum { MOST = 8 };

int guard_install(const pid_t *forbidden, int n)
{
	struct sock_filter f[MOST + 6];
	struct sock_fprog program = { .filter = f };
	int i = 0;

	if (n > MOST) {
		errno = EINVAL;
		return -1;
	}
	f[i++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
				offsetof(struct seccomp_data, nr));
	f[i++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
				SYS_kill, 0, n + 1);
	/* the low half of the first argument: all that a pid has */
	f[i++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
				offsetof(struct seccomp_data, args[0]));
	for (int k = 0; k < n; k++, i++)
		f[i] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K,
				(uint32_t)forbidden[k], n - k, 0);
	f[i++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
				SECCOMP_RET_ALLOW);
	f[i++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
				SECCOMP_RET_ERRNO | EPERM);
	program.len = i;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return -1;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
