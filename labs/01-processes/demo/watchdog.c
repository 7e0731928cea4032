/*
 * watchdog - a child gives a sign of life while the parent computes n!
 *
 * Usage: watchdog [--every 5] [--n 100000]
 * Twin:  watchdog.py
 */
#include <errno.h>
#include <gmp.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fl.h"
#include "process.h"

/* Sleep until fl_now() is so far: beats counted from the start do not drift. */
static void sleep_until(double moment)
{
	struct timespec t;
	double seconds = floor(moment);

	t.tv_sec = (time_t)seconds;
	t.tv_nsec = (long)((moment - seconds) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) ==
	       EINTR)
		continue;
}

//region: heartbeat
/* Runs in the child, for as long as it has its parent. */
static int heartbeat(void *args)
{
	const double every = *(double *)args, start = fl_now();
	const pid_t parent = getppid();

	for (long beat = 1; getppid() == parent; beat++) {
		fl_line("Heartbeat %ld", beat);
		sleep_until(start + (double)beat * every);
	}
	return 0;
}
//endregion

/* n!, one factor after the other, as the lesson does it. */
static void factorial(mpz_t product, long n)
{
	mpz_set_ui(product, 1);
	for (long i = 2; i <= n; i++)
		mpz_mul_ui(product, product, (unsigned long)i);
}

/* The number of decimal digits, exactly: sizeinbase may be one too many. */
static size_t digits(const mpz_t number)
{
	char *text = mpz_get_str(NULL, 10, number);
	size_t n = strlen(text);

	free(text);
	return n;
}

//region: main
static void run(double every, long n)
{
	struct process watchdog = {
		.target = heartbeat, .args = &every, .name = "Watchdog",
	};
	mpz_t product;
	int code;

	if (process_start(&watchdog) != 0)
		fl_die("cannot start the watchdog");
	mpz_init(product);
	factorial(product, n);
	fl_line("%ld! has %zu digits", n, digits(product));
	mpz_clear(product);

	process_terminate(&watchdog);
	if (process_join(&watchdog, -1) != 0)
		fl_die("cannot join the watchdog");
	code = process_exitcode(&watchdog);
	if (code != -SIGTERM) {
		fl_warn("the watchdog ended too early, with exit code %d",
			code);
		exit(FL_FAILED);
	}
}
//endregion

int main(int argc, char **argv)
{
	double every = 5;
	long n = 100000;
	const struct fl_option options[] = {
		{ .name = "every", .value = "SECONDS", .seconds = &every,
		  .help = "between two heartbeats (5)",
		  .min = 0.001, .max = 86400 },
		{ .name = "n", .value = "N", .help = "compute N! (100000)",
		  .number = &n, .min = 0, .max = 10000000 },
		{ 0 },
	};

	fl_options(argc, argv, options, NULL);
	run(every, n);
	return FL_OK;
}
