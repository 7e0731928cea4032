/*
 * factorials - n! in full for each n below N, by a pool of workers
 *
 * usage: factorials [--n 12000] [--workers 5] [--chunksize 0] [--serial]
 *                   [--list] [--crash I]
 *
 * 11999! alone has 43738 digits. What comes back from a worker are its
 * number of decimal digits and its residue modulo 1000000007. Each factorial
 * is made from scratch, as in the lesson; the README tells what that is
 * worth.
 *
 *   --serial    no pool: the same function, called here n times
 *   --list      a line for each factorial, in order
 *   --crash I   the worker that gets item I is killed by it
 */
#include "pool.h"

#include <gmp.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fl.h"

enum { MODULUS = 1000000007, BAR_WIDTH = 50 };

struct task {
	long n, crash;
};

struct answer {
	long digits, residue;
};

/*
 * The progress bar: a counter in memory that all share. NULL = no bar. The
 * task that completes a percent draws it, so nobody has to sit and watch.
 */
struct progress {
	_Atomic long done;
	long total;
};
static struct progress *progress;

static long n = 12000, workers = 5, chunksize, crash = -1;
static bool serial, list;

static void draw_bar(long percent)
{
	char line[BAR_WIDTH + 32], bar[BAR_WIDTH + 1];
	int length, filled = percent * BAR_WIDTH / 100;

	memset(bar, ' ', BAR_WIDTH);
	memset(bar, '#', filled);
	bar[BAR_WIDTH] = '\0';
	length = snprintf(line, sizeof line, "\r[%s] %3ld%%%s", bar, percent,
			  percent == 100 ? "\n" : "");
	if (write(STDERR_FILENO, line, length) < 0)
		return;		/* a bar is not worth failing for */
}

static void count_progress(void)
{
	long before, total, percent;

	if (progress == NULL)
		return;
	total = progress->total;
	before = atomic_fetch_add(&progress->done, 1);
	percent = (before + 1) * 100 / total;
	if (percent != before * 100 / total)
		draw_bar(percent);
}

/*
 * The logarithm tells the number of digits, unless the number is so close to
 * a power of ten that rounding could go either way: then compare.
 */
static long count_digits(const mpz_t number)
{
	mpz_t power;
	double mantissa, logarithm, whole;
	long exponent, digits;

	mantissa = mpz_get_d_2exp(&exponent, number);
	logarithm = log10(mantissa) + exponent * log10(2);
	whole = round(logarithm);
	if (fabs(logarithm - whole) > 1e-6)
		return (long)floor(logarithm) + 1;
	mpz_init(power);
	mpz_ui_pow_ui(power, 10, (unsigned long)whole);
	digits = (long)whole + (mpz_cmp(number, power) >= 0);
	mpz_clear(power);
	return digits;
}

//region: task
static int factorial(const void *item, void *result)
{
	const struct task *task = item;
	struct answer *answer = result;
	mpz_t number;

	if (task->crash)
		raise(SIGKILL);
	mpz_init(number);
	mpz_fac_ui(number, task->n);
	answer->digits = count_digits(number);
	answer->residue = mpz_fdiv_ui(number, MODULUS);
	mpz_clear(number);
	count_progress();
	return 0;
}
//endregion

static struct progress *make_progress(void)
{
	struct progress *p;

	if (!isatty(STDERR_FILENO) || n == 0)
		return NULL;
	p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	p->total = n;
	return p;
}

/* Without a pool: the same function, called in a loop. */
static int run_serially(const struct task *tasks, struct answer *answers)
{
	for (long i = 0; i < n; i++)
		factorial(&tasks[i], &answers[i]);
	return 0;
}

//region: run
static int run_in_pool(const struct task *tasks, struct answer *answers,
		       int *errs)
{
	struct pool *pool;
	int result;

	pool = pool_create((int)workers);
	if (pool == NULL)
		fl_die("cannot start %ld workers", workers);
	result = pool_map(pool, factorial, tasks, n, sizeof tasks[0], answers,
			  sizeof answers[0], chunksize, errs);
	pool_close(pool);
	return result;
}
//endregion

static void print_answers(const struct answer *answers, double seconds)
{
	long digits = 0, sum = 0;

	for (long i = 0; i < n; i++) {
		if (list)
			fl_line("%ld! has %ld digits, residue %ld", i,
				answers[i].digits, answers[i].residue);
		digits += answers[i].digits;
		sum += answers[i].residue;
	}
	fl_line("workers=%ld tasks=%ld digits=%ld sum=%ld seconds=%.3f",
		serial ? 0 : workers, n, digits, sum, seconds);
}

/* One line for each item that was lost; their number. */
static long report_lost(const int *errs)
{
	long lost = 0;

	for (long i = 0; i < n; i++) {
		if (errs[i] == POOL_LOST) {
			fprintf(stderr, "%slost %ld\n",
				progress && lost == 0 ? "\n" : "", i);
			lost++;
		}
	}
	return lost;
}

static void read_command_line(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "n", .value = "N", .number = &n, .max = 1000000,
		  .help = "the factorials of 0 to N-1 (12000)" },
		{ .name = "workers", .value = "W", .number = &workers,
		  .min = 1, .max = 1000, .help = "processes (5)" },
		{ .name = "chunksize", .value = "C", .number = &chunksize,
		  .max = 1000000,
		  .help = "items a worker gets at a time (0 = choose)" },
		{ .name = "serial", .flag = &serial, .help = "no pool" },
		{ .name = "list", .flag = &list,
		  .help = "a line for each factorial" },
		{ .name = "crash", .value = "I", .number = &crash,
		  .max = 999999, .help = "item I kills its worker" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
	if (crash >= n)
		fl_usage("--crash wants one of the %ld items, not %ld", n,
			 crash);
	if (crash >= 0 && serial)
		fl_usage("--crash needs a worker to kill, --serial has none");
}

/* Run them all, and say what came of it. */
static int run(struct task *tasks, struct answer *answers, int *errs)
{
	double start;
	int result;

	for (long i = 0; i < n; i++)
		tasks[i] = (struct task){ .n = i, .crash = i == crash };
	progress = make_progress();
	start = fl_now();
	result = serial ? run_serially(tasks, answers)
			: run_in_pool(tasks, answers, errs);
	if (result == 0) {
		print_answers(answers, fl_now() - start);
		return FL_OK;
	}
	if (report_lost(errs) == 0)
		fl_die("cannot map");
	return FL_FAILED;
}

int main(int argc, char **argv)
{
	struct task *tasks;
	struct answer *answers;
	int *errs, status;

	read_command_line(argc, argv);
	tasks = calloc(n + 1, sizeof *tasks);
	answers = calloc(n + 1, sizeof *answers);
	errs = calloc(n + 1, sizeof *errs);
	if (tasks == NULL || answers == NULL || errs == NULL)
		fl_die("no memory for %ld tasks", n);
	status = run(tasks, answers, errs);
	free(errs);
	free(answers);
	free(tasks);
	return status;
}
