/*
 * The ledger: what was there before a scenario, and what is there after it.
 */
#include "internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct {
	bool open[DESCRIPTORS];
	struct sigaction actions[NSIG];
	sigset_t blocked;
	bool told;		/* something about them */
	char shm[1024], tmp[1024];
	int ipc;
} before;

void left_behind(void *pc, const char *format, ...)
{
	size_t used = strlen(board->left);
	va_list args;

	if (used > 0 && used + 2 < LEFT_SIZE)
		used += snprintf(board->left + used, LEFT_SIZE - used, "; ");
	va_start(args, format);
	vsnprintf(board->left + used, LEFT_SIZE - used, format, args);
	va_end(args);
	if (board->left_pc == NULL)
		board->left_pc = pc;
}

/* The names in a folder, one after the other, each between two slashes. */
static void list_folder(const char *path, char *out, size_t size)
{
	DIR *d = path ? opendir(path) : NULL;
	struct dirent *e;
	size_t used = 1;

	snprintf(out, size, "/");
	while (d != NULL && (e = readdir(d)) != NULL)
		if (e->d_name[0] != '.' && used < size)
			used += snprintf(out + used, size - used, "%s/",
					 e->d_name);
	if (d != NULL)
		closedir(d);
}

static int system_v_objects(void)
{
	static const char *const kinds[] = { "shm", "sem", "msg" };
	char path[64], line[512];
	int n = 0;
	FILE *f;

	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "/proc/sysvipc/%s", kinds[i]);
		f = fopen(path, "re");
		while (f != NULL && fgets(line, sizeof line, f) != NULL)
			n++;
		if (f != NULL) {
			n--;		/* the headline */
			fclose(f);
		}
	}
	return n;
}

/* From the list that the system keeps: to ask for each takes its time. */
static void which_are_open(bool *open)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	int fd;

	memset(open, 0, DESCRIPTORS * sizeof *open);
	for (fd = 0; d == NULL && fd < DESCRIPTORS; fd++)	/* none is free */
		open[fd] = fcntl(fd, F_GETFD) != -1;
	while (d != NULL && (e = readdir(d)) != NULL) {
		fd = e->d_name[0] == '.' ? -1 : atoi(e->d_name);
		if (fd >= 0 && fd < DESCRIPTORS && fd != dirfd(d))
			open[fd] = true;
	}
	if (d != NULL)
		closedir(d);
}

void leftovers_before(void)
{
	which_are_open(before.open);
	keep_signals();
	list_folder("/dev/shm", before.shm, sizeof before.shm);
	list_folder(getenv("TMPDIR"), before.tmp, sizeof before.tmp);
	before.ipc = system_v_objects();
}

void describe_descriptor(pid_t pid, int fd, char *out, size_t size)
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, out, size - 1);
	out[n > 0 ? n : 0] = '\0';
}

static void look_at_descriptors(void)
{
	static bool now[DESCRIPTORS];
	char what[128];

	which_are_open(now);
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		if (now[fd] && !before.open[fd]) {
			describe_descriptor(getpid(), fd, what, sizeof what);
			left_behind(board->opened[fd], "descriptor %d (%s)"
				    " still open", fd, what);
		} else if (before.open[fd] && !now[fd]) {
			left_behind(NULL, "descriptor %d of the caller closed",
				    fd);
		}
	}
}

/* ---- signals ----------------------------------------------------------- */

void keep_signals(void)
{
	for (int s = 1; s < NSIG; s++)
		sigaction(s, NULL, &before.actions[s]);
	sigprocmask(SIG_BLOCK, NULL, &before.blocked);
}

static bool same_set(const sigset_t *a, const sigset_t *b)
{
	for (int s = 1; s < NSIG; s++)
		if (sigismember(a, s) != sigismember(b, s))
			return false;
	return true;
}

/* Flags and mask of what is not handled mean nothing, but for children. */
static bool same_action(const struct sigaction *a, const struct sigaction *b)
{
	const int any = SA_NOCLDSTOP | SA_NOCLDWAIT,
		  handled = any | SA_NODEFER | SA_ONSTACK | SA_RESETHAND |
			    SA_RESTART | SA_SIGINFO;
	bool is_handled = a->sa_handler != SIG_DFL && a->sa_handler != SIG_IGN;

	return a->sa_handler == b->sa_handler &&
	       ((a->sa_flags ^ b->sa_flags) & (is_handled ? handled : any))
	       == 0 && (!is_handled || same_set(&a->sa_mask, &b->sa_mask));
}

/* The first that is found is enough. */
void look_at_signals(const char *when)
{
	struct sigaction now;
	sigset_t blocked;

	sigprocmask(SIG_BLOCK, NULL, &blocked);
	for (int s = 1; s < NSIG && !before.told; s++) {
		if (sigismember(&blocked, s) !=
		    sigismember(&before.blocked, s))
			left_behind(NULL, "%s is %s%s", strsignal(s),
				    sigismember(&blocked, s) ? "blocked" :
				    "unblocked", when);
		else if (sigaction(s, NULL, &now) == 0 &&
			 !same_action(&now, &before.actions[s]))
			left_behind(NULL, "another action for %s%s",
				    strsignal(s), when);
		else
			continue;
		before.told = true;
	}
}

/* ---- the system -------------------------------------------------------- */

/* Names in folder that are not in the list made before. */
static void look_at_folder(const char *folder, const char *old)
{
	char now[1024], name[300];

	list_folder(folder, now, sizeof now);
	for (char *p = now + 1, *end; (end = strchr(p, '/')); p = end + 1) {
		snprintf(name, sizeof name, "/%.*s/", (int)(end - p), p);
		if (strstr(old, name) == NULL)
			left_behind(NULL, "%s/%.*s left behind", folder,
				    (int)(end - p), p);
	}
}

static void *forked_at(pid_t pid)
{
	for (int i = 0; i < FORKS && board->forks[i].pid != 0; i++)
		if (board->forks[i].pid == pid)
			return board->forks[i].pc;
	return NULL;
}

static void look_at_children(void)
{
	static struct process list[PROCESSES_MAX];
	int n = tree_list(getpid(), list, PROCESSES_MAX);
	int zombies = 0, alive = 0;
	void *pc = NULL;

	for (int i = 0; i < n; i++) {
		if (list[i].parent != getpid() || list[i].state == 'X')
			continue;
		if (list[i].state == 'Z')
			zombies++;
		else
			alive++;
		if (pc == NULL)
			pc = forked_at(list[i].pid);
	}
	if (zombies > 0)
		left_behind(pc, "%d child process%s ended, and nobody waited"
			    " for %s", zombies, zombies > 1 ? "es" : "",
			    zombies > 1 ? "them" : "it");
	if (alive > 0)
		left_behind(pc, "%d process%s still running", alive,
			    alive > 1 ? "es" : "");
}

void leftovers_files(void)
{
	look_at_folder("/dev/shm", before.shm);
	if (getenv("TMPDIR") != NULL)
		look_at_folder(getenv("TMPDIR"), before.tmp);
	if (system_v_objects() > before.ipc)
		left_behind(NULL, "a System V object left behind");
}

void leftovers_after(void)
{
	look_at_children();
	look_at_descriptors();
	look_at_signals("");
	leftovers_files();
}

int open_descriptors(void)
{
	bool open[DESCRIPTORS];
	int n = 0;

	which_are_open(open);
	for (int fd = 0; fd < DESCRIPTORS; fd++)
		n += open[fd];
	return n;
}
