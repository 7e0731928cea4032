/*
 * limit - workers, of which only so many are in the room at the same time
 *
 * Usage: limit [--workers 6] [--limit 2] [--work 0.2] [--fail-every 0]
 * Twin:  limit.py
 *
 * Who enters tells how many could still get in. At most --limit workers are
 * between "entered" and "left" (or "failed").
 *
 *   --fail-every 3   every third worker fails in the room. Those who wait
 *                    get in all the same.
 */
#include "semaphores.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "fl.h"

enum { MOST_WORKERS = 1000 };

static long workers = 6, limit = 2, fail_every;
static double work_seconds = 0.2;

static void work(void)
{
	struct timespec left = { .tv_sec = (time_t)floor(work_seconds) };

	left.tv_nsec = (long)((work_seconds - floor(work_seconds)) * 1e9);
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

//region: room
/* Runs in worker i, and has a place of the semaphore as long as it runs. */
static int room(int i, void *semaphore)
{
	fl_line("Worker %d entered, %d left", i, semaphore_value(semaphore));
	work();
	if (fail_every > 0 && (i + 1) % fail_every == 0) {
		fl_line("Worker %d failed", i);
		return 1;
	}
	fl_line("Worker %d left", i);
	return 0;
}
//endregion

static void read_command_line(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "workers", .value = "N", .number = &workers,
		  .min = 1, .max = MOST_WORKERS, .help = "how many (6)" },
		{ .name = "limit", .value = "N", .number = &limit,
		  .min = 1, .max = MOST_WORKERS,
		  .help = "how many may be inside (2)" },
		{ .name = "work", .value = "SECONDS", .seconds = &work_seconds,
		  .max = 86400, .help = "how long each is inside (0.2)" },
		{ .name = "fail-every", .value = "N", .number = &fail_every,
		  .max = MOST_WORKERS,
		  .help = "every Nth worker fails; 0 = none (0)" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
}

/* A failure in the room has been told there, by who failed. */
static int tell_end(int error)
{
	if (error == EOWNERDEAD)
		fl_warn("a worker died");
	else if (error != 0 && error != ECANCELED)
		fl_die("cannot start all workers");
	fl_line("All processes have completed");
	return error == 0 ? FL_OK : FL_FAILED;
}

int main(int argc, char **argv)
{
	struct semaphore *s;
	int error;

	read_command_line(argc, argv);
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may ignore it */
	//region: main
	s = semaphore_create((int)limit, false);
	if (s == NULL)
		fl_die("cannot make the semaphore");
	for (long i = 0; i < workers; i++)
		fl_line("Worker %ld is waiting", i);
	error = 0;
	if (semaphore_run(s, (int)workers, room, s, NULL) != 0)
		error = errno;
	semaphore_destroy(s);
	errno = error;
	//endregion
	return tell_end(error);
}
