/* What directors and the harness see of processes and threads in /proc. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

char process_state(pid_t pid)
{
	struct process p;

	return read_process(pid, &p) ? p.state : 'X';
}

pid_t parent_of(pid_t pid)
{
	struct process p;

	return read_process(pid, &p) ? p.parent : 0;
}

static bool thread_is_stopped(const char *task, void *unused)
{
	char path[340];
	struct process p;

	(void)unused;
	snprintf(path, sizeof path, "%s/stat", task);
	return !read_stat(path, &p) || strchr("TtZX", p.state) != NULL;
}

bool is_running(pid_t pid)
{
	char state = process_state(pid);

	return state != 'X' && state != 'Z';
}

bool is_stopped(pid_t pid)
{
	return each_thread(pid, thread_is_stopped, NULL);
}

void breathe(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

char look_at(pid_t pid, pid_t tid, int64_t *cpu_ns)
{
	int64_t queued, slices;
	struct process p;
	char task[64], path[80];

	snprintf(task, sizeof task, "/proc/%d/task/%d", pid, tid);
	snprintf(path, sizeof path, "%s/stat", task);
	if (!read_schedstat(task, cpu_ns, &queued, &slices))
		*cpu_ns = 0;
	return read_stat(path, &p) ? p.state : 'X';
}

bool wait_until_asleep(pid_t pid)
{
	int64_t start, cpu;
	int asleep = 0;
	char state;

	look_at(pid, pid, &start);
	while (asleep < 3 && !board->hopeless) {
		state = look_at(pid, pid, &cpu);
		/* Who has used so much instead of sleeping never will. */
		if (state == 'X' || state == 'Z' ||
		    (state == 'R' && cpu - start > 500 * 1000000LL))
			return false;
		asleep = strchr("STt", state) ? asleep + 1 : 0;
		breathe();
	}
	return asleep >= 3;
}

bool wait_until_ended(pid_t pid)
{
	uint64_t before = 0, now;
	struct process p = { .pid = pid };
	int still = 0;

	while (is_running(pid)) {
		now = tree_stillness(&p, 1);
		still = now != 0 && now == before ? still + 1 : 0;
		if (still > 500)
			return false;
		before = now;
		breathe();
	}
	return true;
}

/* ---- until they rest ----------------------------------------------------- */

enum { CALM_LOOKS = 8, BURNT_NS = 50 * 1000000, LOOKED_AT = 256 };

struct looked_at {
	pid_t pid, tid;
	int64_t start;		/* its processor time at the first look */
	char state;
};

static bool rests(struct looked_at *who, bool first)
{
	int64_t cpu;

	who->state = look_at(who->pid, who->tid, &cpu);
	if (first)
		who->start = cpu;
	return strchr("SXZTt", who->state) != NULL ||
	       cpu - who->start > BURNT_NS;
}

/* Side by side: those who burn time do so together. */
static void settle_them(struct looked_at *who, int n)
{
	bool first = true, all;

	for (int calm = 0; calm < CALM_LOOKS; calm = all ? calm + 1 : 0) {
		if (!first)
			breathe();
		all = true;
		for (int i = 0; i < n; i++)
			all &= rests(&who[i], first);
		first = false;
	}
}

void settle_each(const pid_t *pids, int n)
{
	struct looked_at who[LOOKED_AT];
	int known = 0;

	for (int i = 0; i < n && known < LOOKED_AT; i++)
		if (pids[i] != 0 && pids[i] != getpid())
			who[known++] = (struct looked_at){
				.pid = pids[i], .tid = pids[i] };
	settle_them(who, known);
}

bool settle(pid_t pid)
{
	settle_each(&pid, 1);
	return is_running(pid);
}

int fence_family(pid_t *pids, int max)
{
	struct process list[PROCESSES_MAX];
	int n = 1 + tree_list(board->fence, list, PROCESSES_MAX);

	if (n > max)
		n = max;
	pids[0] = board->fence;
	for (int i = 1; i < n; i++)
		pids[i] = list[i - 1].pid;
	return n;
}

void settle_family(void)
{
	pid_t pids[LOOKED_AT];
	int n = 0, before;

	do {
		before = n;
		n = fence_family(pids, LOOKED_AT);
		settle_each(pids, n);
	} while (n > before);
}

struct crowd {
	struct looked_at who[LOOKED_AT];
	int n;
};

static bool add_other(const char *task, void *arg)
{
	struct crowd *c = arg;
	pid_t tid = atoi(strrchr(task, '/') + 1);

	if (tid != gettid() && c->n < LOOKED_AT)
		c->who[c->n++] = (struct looked_at){
			.pid = getpid(), .tid = tid };
	return true;
}

int settle_others(void)
{
	struct crowd c = {0};
	int before, asleep = 0;

	do {
		before = c.n;
		c.n = 0;
		each_thread(getpid(), add_other, &c);
		settle_them(c.who, c.n);
	} while (c.n > before);
	for (int i = 0; i < c.n; i++)
		asleep += c.who[i].state == 'S';
	return asleep;
}

/* ---- what they use ------------------------------------------------------- */

static bool add_effort(const char *task, void *arg)
{
	struct effort *sum = arg;
	int64_t cpu = 0, queued = 0, slices = 0;
	char path[340], status[4096], *line;

	if (read_schedstat(task, &cpu, &queued, &slices)) {
		sum->cpu_ns += cpu;
		sum->runnable_ns += cpu + queued;
	}
	snprintf(path, sizeof path, "%s/status", task);
	if (slurp(path, status, sizeof status) > 0 &&
	    (line = strstr(status, "\nvoluntary_ctxt_switches:")) != NULL)
		sum->switches += atoll(strchr(line, ':') + 1);
	return true;
}

struct effort effort(void)
{
	static struct process list[PROCESSES_MAX];
	struct effort sum = {0};
	int n = tree_list(board->test, list, PROCESSES_MAX);

	for (int i = 0; i < n; i++) {
		if (list[i].pid == board->director)
			continue;
		sum.processes++;
		each_thread(list[i].pid, add_effort, &sum);
	}
	return sum;
}

struct effort effort_during(double seconds)
{
	struct effort before = effort(), after;
	struct timespec t = { .tv_sec = (time_t)seconds };

	t.tv_nsec = (long)((seconds - t.tv_sec) * 1e9);
	nanosleep(&t, NULL);
	after = effort();
	after.cpu_ns -= before.cpu_ns;
	after.runnable_ns -= before.runnable_ns;
	after.switches -= before.switches;
	return after;
}

/* ---- what it has --------------------------------------------------------- */

int count_mappings(const char *kind)
{
	static char line[4096];
	FILE *maps = fopen("/proc/self/maps", "re");
	int n = 0;

	while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
		n += strstr(line, kind) != NULL;
	if (maps != NULL)
		fclose(maps);
	return n;
}
