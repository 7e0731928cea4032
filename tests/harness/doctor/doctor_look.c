/* What /proc tells of the processes: see proc(5). */
#include "doctor_parts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LOOKS = 5, BETWEEN_MS = 10 };	/* so we watch for 50 ms */

/* ---- reading ----------------------------------------------------------- */

bool read_small_file(char *out, size_t size, const char *format, ...)
{
	char path[128];
	va_list args;
	ssize_t n;
	int fd;

	va_start(args, format);
	vsnprintf(path, sizeof path, format, args);
	va_end(args);
	out[0] = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, out, size - 1);
	close(fd);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

bool read_memory(pid_t pid, unsigned long from, void *to, size_t size)
{
	struct iovec here = { to, size }, there = { (void *)from, size };

	return process_vm_readv(pid, &here, 1, &there, 1, 0) == (ssize_t)size;
}

bool has_ended(const struct proc *p)
{
	return p->state == 'Z' || p->state == 'X';
}

struct proc *proc_of(struct scene *s, pid_t pid)
{
	for (int i = 0; i < s->n_procs; i++)
		if (s->procs[i].pid == pid)
			return &s->procs[i];
	return NULL;
}

struct thread *thread_of(struct scene *s, pid_t tid)
{
	for (int i = 0; i < s->n_threads; i++)
		if (s->threads[i].tid == tid)
			return &s->threads[i];
	return NULL;
}

/* ---- processes --------------------------------------------------------- */

/* "pid (name) S parent ...", where the name may hold anything */
static bool read_proc(struct proc *p)
{
	char stat[1024], *open, *shut, *field;

	if (!read_small_file(stat, sizeof stat, "/proc/%d/stat", p->pid))
		return false;		/* it is gone */
	open = strchr(stat, '(');
	shut = strrchr(stat, ')');
	if (open == NULL || shut == NULL ||
	    sscanf(shut + 2, "%c %d", &p->state, &p->parent) != 2)
		return false;
	snprintf(p->command, sizeof p->command, "%.*s",
		 (int)(shut - open - 1), open + 1);
	field = shut + 2;
	for (int i = 3; i < 22 && field != NULL; i++)
		field = strchr(field + 1, ' ');
	if (field != NULL)
		p->started = strtoull(field, NULL, 10);
	field = strrchr(stat, ' ');		/* the last one */
	p->status = field ? atoi(field) : 0;
	return true;
}

static int by_age(const void *a, const void *b)
{
	const struct proc *p = a, *q = b;

	if (p->started != q->started)
		return p->started < q->started ? -1 : 1;
	return p->pid - q->pid;
}

static void list_procs(struct scene *s, const pid_t *pids, int n)
{
	for (int i = 0; i < n; i++) {
		struct proc *p = &s->procs[s->n_procs];

		if (s->n_procs == PROCS) {
			s->not_shown = n - i;
			break;
		}
		p->pid = pids[i];
		if (read_proc(p))
			s->n_procs++;
	}
	qsort(s->procs, s->n_procs, sizeof *s->procs, by_age);
}

/* ---- threads ----------------------------------------------------------- */

static bool read_effort(const struct thread *t, int64_t *cpu, int64_t *queued,
			int64_t *slices)
{
	char line[128];
	long long c, q, n;

	if (!read_small_file(line, sizeof line, "/proc/%d/task/%d/schedstat",
			     t->of->pid, t->tid) ||
	    sscanf(line, "%lld %lld %lld", &c, &q, &n) != 3)
		return false;
	*cpu = c, *queued = q, *slices = n;
	return true;
}

static char state_of(const struct thread *t)
{
	char stat[512], *shut;

	if (!read_small_file(stat, sizeof stat, "/proc/%d/task/%d/stat",
			     t->of->pid, t->tid))
		return 'X';
	shut = strrchr(stat, ')');
	return shut ? shut[2] : 'X';
}

static void list_threads(struct scene *s, struct proc *p)
{
	char path[64];
	struct dirent *e;
	DIR *d;

	snprintf(path, sizeof path, "/proc/%d/task", p->pid);
	d = opendir(path);
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)e->d_name[0]) ||
		    s->n_threads == THREADS)
			continue;
		s->threads[s->n_threads].of = p;
		s->threads[s->n_threads++].tid = atoi(e->d_name);
	}
	if (d != NULL)
		closedir(d);
}

static void read_call(struct scene *s, struct thread *t)
{
	char line[256];

	t->number = -1;
	errno = 0;
	if (!read_small_file(line, sizeof line, "/proc/%d/task/%d/syscall",
			     t->of->pid, t->tid)) {
		if (errno == EACCES || errno == EPERM)
			s->blind = "The system does not let me look into "
				   "these processes";
		return;
	}
	if (strncmp(line, "running", 7) != 0)
		sscanf(line, "%ld %lx %lx %lx %lx %lx %lx %lx %lx",
		       &t->number, &t->a[0], &t->a[1], &t->a[2], &t->a[3],
		       &t->a[4], &t->a[5], &t->sp, &t->ip);
	name_call(t);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/*
 * Who moves, who burns time? A thread that can run at every look is busy,
 * also on a machine where it hardly ever gets a processor.
 */
static void watch(struct scene *s)
{
	struct { int64_t cpu, queued, slices; int could_run; } before[THREADS];
	struct timespec pause = { .tv_nsec = BETWEEN_MS * 1000000L };
	int64_t cpu = 0, queued = 0, slices = 0;
	double started = now();

	memset(before, 0, sizeof before);
	for (int i = 0; i < s->n_threads; i++)
		read_effort(&s->threads[i], &before[i].cpu, &before[i].queued,
			    &before[i].slices);
	for (int look = 0; look < LOOKS; look++) {
		nanosleep(&pause, NULL);
		for (int i = 0; i < s->n_threads; i++) {
			s->threads[i].state = state_of(&s->threads[i]);
			before[i].could_run += s->threads[i].state == 'R';
		}
	}
	s->watched = now() - started;
	for (int i = 0; i < s->n_threads; i++) {
		struct thread *t = &s->threads[i];

		if (!read_effort(t, &cpu, &queued, &slices))
			continue;
		t->cpu_ns = cpu - before[i].cpu;
		t->wanted_ns = t->cpu_ns + queued - before[i].queued;
		t->moved = slices != before[i].slices || t->state == 'R';
		t->busy = before[i].could_run == LOOKS ||
			  t->wanted_ns > 0.7e9 * s->watched;
	}
}

void look(struct scene *s, const pid_t *pids, int n)
{
	list_procs(s, pids, n);
	name_procs(s);
	for (int i = 0; i < s->n_procs; i++) {
		if (has_ended(&s->procs[i]))
			continue;
		list_threads(s, &s->procs[i]);
		list_ends(s, &s->procs[i]);
	}
	watch(s);
	for (int i = 0; i < s->n_threads; i++)
		read_call(s, &s->threads[i]);
}
