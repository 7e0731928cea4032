/* The processes below one process, read from /proc. See proc(5). */
#include "internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

ssize_t slurp(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, out, size - 1);
	close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n;
}

bool read_stat(const char *path, struct process *p)
{
	char stat[512], *end;

	if (slurp(path, stat, sizeof stat) <= 0)
		return false;
	end = strrchr(stat, ')');	/* the name may hold anything */
	return end != NULL &&
	       sscanf(end + 2, "%c %d", &p->state, &p->parent) == 2;
}

bool read_process(pid_t pid, struct process *p)
{
	char path[64];

	p->pid = pid;
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	return pid > 0 && read_stat(path, p);
}

static int all_processes(struct process *list, int max)
{
	DIR *proc = opendir("/proc");
	struct dirent *e;
	int n = 0;

	while (proc != NULL && n < max && (e = readdir(proc)) != NULL)
		n += read_process(atoi(e->d_name), &list[n]);
	if (proc != NULL)
		closedir(proc);
	return n;
}

/* System calls that end by themselves: the argument that holds the time. */
static const struct {
	long number;
	int argument;		/* -1: always */
	bool is_int;		/* -1 means for ever; else NULL does */
} timed_calls[] = {
	{ SYS_nanosleep, -1, false }, { SYS_clock_nanosleep, -1, false },
	{ SYS_restart_syscall, -1, false }, { SYS_futex, 3, false },
	{ SYS_ppoll, 2, false }, { SYS_pselect6, 4, false },
	{ SYS_epoll_pwait, 3, true }, { SYS_rt_sigtimedwait, 2, false },
	{ SYS_semtimedop, 3, false }, { SYS_mq_timedsend, 4, false },
	{ SYS_mq_timedreceive, 4, false },
#ifdef SYS_futex_waitv
	{ SYS_futex_waitv, 3, false },
#endif
#ifdef SYS_poll			/* not on arm64 */
	{ SYS_poll, 2, true }, { SYS_select, 4, false },
	{ SYS_epoll_wait, 3, true },
#endif
};

static bool is_timed(const char *task)
{
	char path[320], line[256];
	unsigned long a[6] = {0};
	long number;

	snprintf(path, sizeof path, "%s/syscall", task);
	if (slurp(path, line, sizeof line) <= 0)
		return true;		/* cannot know: prove nothing */
	if (sscanf(line, "%ld %lx %lx %lx %lx %lx %lx", &number, &a[0], &a[1],
		   &a[2], &a[3], &a[4], &a[5]) < 1)
		return true;		/* "running" */
	for (size_t i = 0; i < sizeof timed_calls / sizeof *timed_calls; i++) {
		if (timed_calls[i].number != number)
			continue;
		if (timed_calls[i].argument < 0)
			return true;
		if (timed_calls[i].is_int)
			return (int)a[timed_calls[i].argument] != -1;
		return a[timed_calls[i].argument] != 0;
	}
	return false;
}

bool read_schedstat(const char *task, int64_t *cpu, int64_t *queued,
		    int64_t *slices)
{
	char path[320], line[128];
	long long c, q, s;

	snprintf(path, sizeof path, "%s/schedstat", task);
	if (slurp(path, line, sizeof line) <= 0 ||
	    sscanf(line, "%lld %lld %lld", &c, &q, &s) != 3)
		return false;
	*cpu = c;
	*queued = q;
	*slices = s;
	return true;
}

/*
 * Not by opendir(), which takes 32 KB from the heap: the address sanitizer
 * holds back what was given back, and each fork would copy it.
 */
bool each_thread(pid_t pid, bool (*visit)(const char *task, void *arg),
		 void *arg)
{
	_Alignas(struct dirent64) char entries[2048];
	char dir[64], task[320];
	const struct dirent64 *e;
	bool on = true;
	ssize_t n;
	int fd;

	snprintf(dir, sizeof dir, "/proc/%d/task", pid);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (fd >= 0 && on &&
	       (n = getdents64(fd, entries, sizeof entries)) > 0) {
		for (ssize_t at = 0; at < n && on; at += e->d_reclen) {
			e = (const void *)(entries + at);
			if (!isdigit((unsigned char)e->d_name[0]))
				continue;
			snprintf(task, sizeof task, "%s/%s", dir, e->d_name);
			on = visit(task, arg);
		}
	}
	if (fd >= 0)
		close(fd);
	return on;
}

/* Everybody, and then who descends from whom: where /proc/.../children, which
 * not every kernel has, is missing. */
static int list_all(pid_t root, struct process *list, int max)
{
	enum { ALL = 16384 };
	static struct process all[ALL];
	static bool below[ALL];
	int n = all_processes(all, ALL), found = 0;
	bool more = true;

	memset(below, 0, sizeof below);
	while (more) {
		more = false;
		for (int i = 0; i < n && found < max; i++) {
			bool in = all[i].parent == root;

			for (int j = 0; j < found && !in; j++)
				in = list[j].pid == all[i].parent;
			if (in && !below[i] && all[i].pid != root) {
				below[i] = more = true;
				list[found++] = all[i];
			}
		}
	}
	return found;
}

struct children {
	struct process *list;
	int n, max;
};

/* The children that one thread has started. */
static bool add_children(const char *task, void *arg)
{
	struct children *c = arg;
	char path[340], numbers[8192], *at = numbers, *end;
	struct process p;
	pid_t pid;

	snprintf(path, sizeof path, "%s/children", task);
	if (slurp(path, numbers, sizeof numbers) < 0)
		return true;			/* just gone */
	for (;; at = end) {
		pid = strtol(at, &end, 10);
		if (end == at || c->n == c->max)
			return end == at;
		if (read_process(pid, &p))
			c->list[c->n++] = p;
	}
}

int tree_list(pid_t root, struct process *list, int max)
{
	struct children c = { .list = list, .max = max };

	if (access("/proc/thread-self/children", R_OK) != 0)
		return list_all(root, list, max);
	each_thread(root, add_children, &c);
	for (int i = 0; i < c.n; i++)
		each_thread(list[i].pid, add_children, &c);
	return c.n;
}

void tree_kill(pid_t root)
{
	static struct process list[PROCESSES_MAX * 4];
	int n;

	board->no_more_forks = 1;
	do {
		n = tree_list(root, list, PROCESSES_MAX * 4);
		for (int i = 0; i < n; i++)
			kill(list[i].pid, SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
	} while (n > 0);
	board->no_more_forks = 0;
}

static bool add_if_asleep(const char *task, void *sum)
{
	char path[340];
	struct process p;
	int64_t cpu, queued, slices;

	snprintf(path, sizeof path, "%s/stat", task);
	if (!read_stat(path, &p))
		return true;			/* just gone */
	if (p.state == 'Z' || p.state == 'X')
		return true;
	if ((p.state != 'S' && p.state != 'T' && p.state != 't') ||
	    !read_schedstat(task, &cpu, &queued, &slices) ||
	    (p.state == 'S' && is_timed(task)))
		return false;
	*(uint64_t *)sum += slices * 31 + 1;
	return true;
}

uint64_t tree_stillness(const struct process *list, int n)
{
	uint64_t sum = 1;

	for (int i = 0; i < n; i++)
		if (!each_thread(list[i].pid, add_if_asleep, &sum))
			return 0;
	return sum;
}
