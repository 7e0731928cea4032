/*
 * why - why does this program not move?
 *
 *   why PID
 *
 * Reports on a process and all below it, and on those above it that it was
 * forked from without another program being started: what each waits for, and
 * who could end that. See doctor.h.
 *
 * Exit status: 0; 2 where there is no such process, or it is another user's.
 */
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "fl.h"

enum { ALL = 16384 };

static struct {
	pid_t pid, parent, group;
} all[ALL];
static int n_all;

static bool read_stat(pid_t pid, pid_t *parent, pid_t *group)
{
	char path[64], stat[512], *shut;
	size_t n = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	f = fopen(path, "re");
	if (f != NULL) {
		n = fread(stat, 1, sizeof stat - 1, f);
		fclose(f);
	}
	stat[n] = '\0';
	shut = strrchr(stat, ')');	/* the name may hold anything */
	return shut && sscanf(shut + 2, "%*c %d %d", parent, group) == 2;
}

static void list_all(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;

	while (d != NULL && n_all < ALL && (e = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		all[n_all].pid = atoi(e->d_name);
		n_all += read_stat(all[n_all].pid, &all[n_all].parent,
				   &all[n_all].group);
	}
	if (d != NULL)
		closedir(d);
}

static bool same_program(pid_t a, pid_t b)
{
	char path[64];
	struct stat st[2];

	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "/proc/%d/exe", i ? b : a);
		if (stat(path, &st[i]) != 0)
			return false;
	}
	return st[0].st_dev == st[1].st_dev && st[0].st_ino == st[1].st_ino;
}

/* Up to the process that forked them all: a shell's jobs have groups of
 * their own, and so it ends below the shell. */
static pid_t root_of(pid_t pid)
{
	pid_t parent, group, above, its_group;

	while (read_stat(pid, &parent, &group) &&
	       read_stat(parent, &above, &its_group) && its_group == group &&
	       same_program(pid, parent))
		pid = parent;
	return pid;
}

static int list_below(pid_t root, pid_t *pids)
{
	int n = 0;

	pids[n++] = root;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n_all && n < ALL; k++)
			if (all[k].parent == pids[i] && all[k].pid != getpid())
				pids[n++] = all[k].pid;
	return n;
}

static pid_t read_pid(const char *s)
{
	long pid;

	if (fl_number(s, 1, INT_MAX, &pid) != 0)
		fl_usage("'%s' is not the number of a process", s);
	return pid;
}

static void must_be_ours(pid_t pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%d", pid);
	if (stat(path, &st) != 0)
		fl_usage("there is no process %d", pid);
	if (getuid() != 0 && st.st_uid != getuid())
		fl_usage("process %d belongs to another user", pid);
}

int main(int argc, char **argv)
{
	static const struct fl_option none[] = { { .name = NULL } };
	static pid_t pids[ALL];
	int first = fl_options(argc, argv, none, "PID");
	char *report;
	pid_t pid;

	if (first + 1 != argc)
		fl_usage("the number of one process is wanted");
	pid = read_pid(argv[first]);
	must_be_ours(pid);
	list_all();
	report = doctor_report(pids, list_below(root_of(pid), pids), NULL,
			       NULL);
	if (report == NULL)
		fl_die("out of memory");
	puts(report);
	free(report);
	return 0;
}
