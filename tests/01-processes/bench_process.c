/*
 * bench_process - what it costs to start and join processes
 *
 * usage: bench_process one|five|small-pages|huge-pages
 *
 *   one          one process at a time
 *   five         five started, then five joined
 *   small-pages  one, from a parent that has touched 500 MB
 *   huge-pages   the same, with memory in pages of 2 MB instead of 4 KiB
 *
 * process.c, and fork and waitpid with nothing else, take turns within each
 * repetition, so that whatever disturbs the machine disturbs both. From the
 * large parent so does a server that was forked while its parent was small,
 * and forks when it is asked to. A thread is measured by itself. Every child's
 * exit status is looked at.
 */
#include "process.h"

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/measure.h"
#include "fl.h"

enum { MANY = 5, STATUS = 7, LARGE = 500 << 20, HUGE = 2 << 20 };

static int asks[2], answers[2];		/* the server's pipes */

static int target(void *args)
{
	(void)args;
	return STATUS;
}

static void *thread_target(void *args)
{
	return (void *)(intptr_t)target(args);
}

static void with_process(int n)
{
	struct process children[MANY];

	for (int i = 0; i < n; i++) {
		children[i] = (struct process){ .target = target, .name = "c" };
		if (process_start(&children[i]) != 0)
			fl_die("cannot start a process");
	}
	for (int i = 0; i < n; i++)
		if (process_join(&children[i], -1) != 0 ||
		    process_exitcode(&children[i]) != STATUS)
			fl_die("cannot join a process");
}

static pid_t bare_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fl_die("cannot fork");
	if (pid == 0)
		_exit(target(NULL));
	return pid;
}

static int bare_wait(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) != STATUS)
		fl_die("cannot wait for a child");
	return WEXITSTATUS(status);
}

static void with_fork(int n)
{
	pid_t children[MANY];

	for (int i = 0; i < n; i++)
		children[i] = bare_fork();
	for (int i = 0; i < n; i++)
		bare_wait(children[i]);
}

static void with_threads(int n)
{
	pthread_t threads[MANY];
	void *result;

	for (int i = 0; i < n; i++)
		if (pthread_create(&threads[i], NULL, thread_target, NULL) != 0)
			fl_die("cannot start a thread");
	for (int i = 0; i < n; i++)
		if (pthread_join(threads[i], &result) != 0 ||
		    (intptr_t)result != STATUS)
			fl_die("cannot join a thread");
}

static void serve(void)
{
	char byte;

	close(asks[1]);
	close(answers[0]);
	while (read(asks[0], &byte, 1) == 1) {
		byte = (char)bare_wait(bare_fork());
		if (write(answers[1], &byte, 1) != 1)
			_exit(FL_FAILED);
	}
	_exit(FL_OK);
}

static void start_server(void)
{
	pid_t pid;

	if (pipe(asks) != 0 || pipe(answers) != 0)
		fl_die("cannot make a pipe");
	pid = fork();
	if (pid < 0)
		fl_die("cannot fork");
	if (pid == 0)
		serve();
	close(asks[0]);
	close(answers[1]);
}

static void with_server(int n)
{
	char byte = 0;

	for (int i = 0; i < n; i++)
		if (write(asks[1], &byte, 1) != 1 ||
		    read(answers[0], &byte, 1) != 1 || byte != STATUS)
			fl_die("the server does not answer");
}

/* How many MB of this process lie in huge pages. */
static long huge_megabytes(void)
{
	FILE *rollup = fopen("/proc/self/smaps_rollup", "r");	/* Linux */
	char line[200];
	long kilobytes = 0;

	if (rollup == NULL)
		return 0;
	while (fgets(line, sizeof line, rollup) != NULL)
		if (sscanf(line, "AnonHugePages: %ld", &kilobytes) == 1)
			break;
	fclose(rollup);
	return kilobytes / 1024;
}

/* Touch 500 MB, in pages of the wanted size. */
static void grow(bool huge)
{
	char *memory = mmap(NULL, LARGE + HUGE, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *start;

	if (memory == MAP_FAILED)
		fl_die("no memory");
	start = memory + HUGE - (uintptr_t)memory % HUGE;
	madvise(start, LARGE, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(start, 1, LARGE);
	if (huge && huge_megabytes() < 400) {
		fl_warn("the system gives no huge pages");
		exit(MEASURE_SKIP);
	}
}

struct way {
	const char *key;
	void (*run)(int n);
	struct times times;
};

/* Each way goes first as often as the others: what came before matters. */
static void measure(struct way *ways, int count, int n, int repetitions)
{
	struct way *w;
	double start;

	for (int i = 0; i <= repetitions; i++) {
		for (int turn = 0; turn < count; turn++) {
			w = &ways[(i + turn) % count];
			start = fl_now();
			w->run(n);
			if (i > 0)		/* the first is a warm-up */
				times_add(&w->times, fl_now() - start);
		}
	}
	for (w = ways; w < ways + count; w++)
		times_print(&w->times, w->key, n);
}

int main(int argc, char **argv)
{
	static struct way forks[] = {
		{ .key = "process", .run = with_process },
		{ .key = "fork", .run = with_fork },
	}, thread = {
		.key = "thread", .run = with_threads
	}, from_large[] = {
		{ .key = "process", .run = with_process },
		{ .key = "fork", .run = with_fork },
		{ .key = "server", .run = with_server },
	};
	const char *what = argc == 2 ? argv[1] : "";

	if (strcmp(what, "one") == 0) {
		measure(forks, 2, 1, 200);
		measure(&thread, 1, 1, 200);
	} else if (strcmp(what, "five") == 0) {
		measure(forks, 2, MANY, 100);
		measure(&thread, 1, MANY, 100);
	} else if (strcmp(what, "small-pages") == 0 ||
		   strcmp(what, "huge-pages") == 0) {
		start_server();
		grow(strcmp(what, "huge-pages") == 0);
		measure(from_large, 3, 1, 15);
	} else {
		fl_usage("expected one, five, small-pages or huge-pages");
	}
	return FL_OK;
}
