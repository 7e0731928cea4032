/*
 * Where everybody stands, for a scenario that cannot end: each process, the
 * call it waits in, the line of the student's file, and for a pipe who still
 * holds the other end.
 */
#include "internal.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REPORT_SIZE = 4096 };

static struct process list[PROCESSES_MAX];
static int count;

static const char *name_of(pid_t pid)
{
	if (pid == board->fence)
		return "the caller";
	return text("process %d", pid);
}

static int access_mode(pid_t pid, const char *fd)
{
	char path[320], line[64];
	unsigned flags = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/fdinfo/%s", pid, fd);
	f = fopen(path, "re");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		sscanf(line, "flags: %o", &flags);
	if (f != NULL)
		fclose(f);
	return flags & O_ACCMODE;
}

static bool holds(pid_t pid, const char *what, int mode)
{
	char dir[64], link[128];
	bool found = false;
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof dir, "/proc/%d/fd", pid);
	d = opendir(dir);
	while (d != NULL && !found && (e = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)e->d_name[0]))
			continue;
		describe_descriptor(pid, atoi(e->d_name), link, sizeof link);
		found = strcmp(link, what) == 0 &&
			access_mode(pid, e->d_name) == mode;
	}
	if (d != NULL)
		closedir(d);
	return found;
}

static int add(char *out, int used, const char *s)
{
	return used + snprintf(out + used, used < REPORT_SIZE
					   ? REPORT_SIZE - used : 0, "%s", s);
}

/* A pipe: who could still write to it (or read from it)? */
static int add_other_end(char *out, int used, pid_t pid, int fd, bool reads)
{
	int mode = reads ? O_WRONLY : O_RDONLY, holders = 0;
	char what[128];

	describe_descriptor(pid, fd, what, sizeof what);
	if (strncmp(what, "pipe:", 5) != 0)
		return used;
	used = add(out, used, reads ? ", a pipe whose write end is open in "
				    : ", a pipe whose read end is open in ");
	for (int i = 0; i < count; i++)
		if (list[i].state != 'Z' && holds(list[i].pid, what, mode))
			used = add(out, used, text("%s%s", holders++ ? ", " :
				"", list[i].pid == pid ? "itself"
						       : name_of(list[i].pid)));
	return holders ? used : add(out, used, "nobody");
}

static int add_standing(char *out, int used, struct standing *s)
{
	bool reads = strstr(s->call, "read") || strstr(s->call, "recv");
	bool writes = strstr(s->call, "write") || strstr(s->call, "send");

	used = add(out, used, text("waits in %s(", s->call));
	if (reads || writes || strstr(s->call, "wait") == s->call)
		used = add(out, used, text("%ld", s->argument));
	used = add(out, used, ")");
	if (reads || writes)
		used = add_other_end(out, used, s->pid, (int)s->argument,
				     reads);
	return add(out, used, text(", %s", source_line(s->pc)));
}

static const char *state_word(char state)
{
	return state == 'Z' ? "has ended, and nobody has waited for it" :
	       state == 'T' ? "is stopped" :
	       state == 'R' ? "is running" : "is asleep";
}

const char *standing_report(void **pc)
{
	static char out[REPORT_SIZE];
	struct standing *s;
	int used = 0, n;

	out[0] = '\0';
	count = tree_list(board->test, list, PROCESSES_MAX);
	for (int i = 0; i < count && i < 12; i++) {
		if (list[i].pid == board->director)
			continue;
		used = add(out, used, used ? "\n" : "");
		used = add(out, used, text("%s ", name_of(list[i].pid)));
		n = used;
		for (int k = 0; k < STANDINGS; k++) {
			s = &board->standings[k];
			if (s->pid != list[i].pid || s->call == NULL ||
			    list[i].state == 'Z')
				continue;
			used = add(out, used, n == used ? "" : " and ");
			used = add_standing(out, used, s);
			if (*pc == NULL)
				*pc = s->pc;
		}
		if (n == used)
			used = add(out, used, state_word(list[i].state));
	}
	return out;
}
