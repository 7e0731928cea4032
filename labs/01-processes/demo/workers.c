/*
 * workers - start some processes, wait for all of them, say how they ended
 *
 * Usage: workers [--workers 4] [--fail K]
 * Twin:  workers.py
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fl.h"
#include "process.h"

enum { MOST_WORKERS = 1000, FAILED_CODE = 3, NAME_SIZE = 32 };

struct worker {
	struct process process;
	char name[NAME_SIZE];
	long number, failing;
};

//region: target
/* Runs in the child; what it returns is the exit code of the child. */
static int work(void *args)
{
	const struct worker *w = args;

	fl_line("Worker process %ld is running", w->number);
	return w->number == w->failing ? FAILED_CODE : 0;
}
//endregion

//region: start
static int start(struct worker *w, long number, long failing)
{
	w->number = number;
	w->failing = failing;
	snprintf(w->name, sizeof w->name, "Worker-%ld", number);
	w->process = (struct process){
		.target = work, .args = w, .name = w->name,
	};
	return process_start(&w->process);
}
//endregion

/* Leave nobody behind: end and collect those that were started. */
static void give_up(struct worker *workers, long started)
{
	int error = errno;

	for (long i = 0; i < started; i++)
		process_terminate(&workers[i].process);
	for (long i = 0; i < started; i++)
		process_join(&workers[i].process, -1);
	errno = error;
	fl_die("cannot start worker %ld", started);
}

/* Wait for one worker; true if it did well. */
static bool join(struct worker *w)
{
	int code;

	if (process_join(&w->process, -1) != 0)
		fl_die("cannot join worker %ld", w->number);
	code = process_exitcode(&w->process);
	if (code > 0)
		fl_line("Worker %ld failed with exit code %d", w->number, code);
	if (code < 0)
		fl_line("Worker %ld was killed by signal %d", w->number, -code);
	return code == 0;
}

//region: main
static bool run(struct worker *workers, long n, long failing)
{
	bool well = true;

	fl_line("Starting %ld workers", n);
	for (long i = 0; i < n; i++)
		if (start(&workers[i], i, failing) != 0)
			give_up(workers, i);
	for (long i = 0; i < n; i++)
		well = join(&workers[i]) && well;
	fl_line("All processes have completed");
	return well;
}
//endregion

int main(int argc, char **argv)
{
	struct worker *workers;
	long n = 4, failing = -1;
	bool well;
	const struct fl_option options[] = {
		{ .name = "workers", .value = "N", .help = "how many (4)",
		  .number = &n, .min = 1, .max = MOST_WORKERS },
		{ .name = "fail", .value = "K", .help = "worker K fails",
		  .number = &failing, .min = 0, .max = MOST_WORKERS - 1 },
		{ 0 },
	};

	fl_options(argc, argv, options, NULL);
	if (failing >= n)
		fl_usage("--fail wants one of the workers, 0 to %ld, not '%ld'",
			 n - 1, failing);
	workers = calloc((size_t)n, sizeof *workers);
	if (workers == NULL)
		fl_die("no memory for %ld workers", n);
	well = run(workers, n, failing);
	free(workers);
	return well ? FL_OK : FL_FAILED;
}
