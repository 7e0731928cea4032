/*
 * bench - the same work by one worker, by threads that share an interpreter
 * lock, by threads, and by processes: how long each of them takes
 *
 * usage: bench [--work factorial|sleep|tiny|memory] [--n 4] [--times 1]
 *              [--seconds 1] [--workers 1,2,4] [--chunks 1]
 *              [--modes gil,threads,processes] [--rounds 5] [--warmups 1]
 *              [--data 64] [--timeline FILE] [--csv]
 *
 *   factorial   an item is 5000!, computed so many --times (4 items)
 *   sleep       an item is a pause of so many --seconds (4 items)
 *   tiny        an item is a few instructions (1000000 items)
 *   memory      what workers cost that do nothing: see memory.h
 *
 * Beside each figure stands the number of cores that were really free while
 * it was taken. A figure without it means little: where somebody else uses
 * one of two cores, nothing can be twice as fast.
 *
 *   --csv           one line for each row, for other programs
 *   --timeline F    writes to F who did which item, when, on which core
 */
#include "bench.h"

#include <errno.h>
#include <gmp.h>
#include <inttypes.h>
#include <math.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fl.h"
#include "memory.h"

enum { FACTORIAL_OF = 5000, MODULUS = 1000000007, MOST_ENTRIES = 32,
       MOST_WORKERS = 1000, MOST_ROUNDS = 1000, TEXT = 16 };

struct list {
	long numbers[MOST_ENTRIES];
	int n;
};

/* ---- the work ---------------------------------------------------------- */

static long times = 1;
static double pause_seconds = 1;

//region: factorial
/* The lesson's work. Somebody must need the result, or the compiler finds
 * out that nobody does, and leaves the work out. */
static uint64_t factorial(long index, void *unused)
{
	uint64_t sum = 0;
	mpz_t number;

	(void)index;
	(void)unused;
	mpz_init(number);
	for (long i = 0; i < times; i++) {
		mpz_fac_ui(number, FACTORIAL_OF);
		sum += mpz_fdiv_ui(number, MODULUS);
	}
	mpz_clear(number);
	return sum;
}
//endregion

//region: sleep
static void pause_a_while(void *unused)
{
	struct timespec t = { (time_t)pause_seconds, 0 };

	(void)unused;
	t.tv_nsec = (long)((pause_seconds - (double)t.tv_sec) * 1e9);
	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR)
		;
}

/* Who only waits gives the interpreter lock to others meanwhile. */
static uint64_t sleep_task(long index, void *unused)
{
	(void)unused;
	bench_allow_threads(pause_a_while, NULL);
	return (uint64_t)index + 1;
}
//endregion

//region: tiny
/* Some ten instructions that scatter the numbers. */
static uint64_t tiny(long index, void *unused)
{
	uint64_t x = (uint64_t)index + 1;

	(void)unused;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}
//endregion

/* A work, and what is measured when the command line does not say. */
static const struct work {
	const char *name;
	bench_work *f;
	long n, rounds, warmups;
	const char *workers, *chunks, *modes;
} works[] = {
	{ "factorial", factorial, 4, 5, 1, "1,2,4", "1",
	  "gil,threads,processes" },
	{ "sleep", sleep_task, 4, 1, 0, "4", "1", "gil,threads,processes" },
	/* To hand the lock on a million times takes seconds: ask for it. */
	{ "tiny", tiny, 1000000, 5, 1, "2", "1,10,100,1000,10000,100000",
	  "threads,processes" },
	{ "memory", NULL, 0, 0, 0, "4", "1", "" },
};

/* ---- the command line -------------------------------------------------- */

static const struct work *work;
static struct list workers, chunks;
static bool with_gil, with_threads, with_processes, csv;
static long n = -1, rounds = -1, warmups = -1, data = 64;
static const char *timeline_name;

static void read_list(struct list *list, const char *name, const char *text,
		      long max)
{
	char copy[256], *word, *rest = copy;

	if (strlen(text) >= sizeof copy)
		fl_usage("--%s is too long", name);
	strcpy(copy, text);
	while ((word = strsep(&rest, ",")) != NULL) {
		if (list->n == MOST_ENTRIES)
			fl_usage("--%s wants %d numbers at most", name,
				 MOST_ENTRIES);
		if (fl_number(word, 1, max, &list->numbers[list->n]) != 0)
			fl_usage("--%s wants whole numbers from 1 to %ld, with"
				 " commas between them, not '%s'", name, max,
				 text);
		list->n++;
	}
}

static void read_modes(const char *text)
{
	char copy[64], *word, *rest = copy;

	snprintf(copy, sizeof copy, "%s", text);
	while ((word = strsep(&rest, ",")) != NULL) {
		if (strcmp(word, "gil") == 0)
			with_gil = true;
		else if (strcmp(word, "threads") == 0)
			with_threads = true;
		else if (strcmp(word, "processes") == 0)
			with_processes = true;
		else if (strcmp(word, "serial") != 0)
			fl_usage("--modes wants some of gil,threads,processes,"
				 " not '%s'", text);
	}
}

/* It is one of those: fl_options has seen to that. */
static const struct work *find_work(const char *name)
{
	size_t i = sizeof works / sizeof works[0] - 1;

	while (i > 0 && strcmp(works[i].name, name) != 0)
		i--;
	return &works[i];
}

static void read_command_line(int argc, char **argv)
{
	const char *name = "factorial", *w = NULL, *c = NULL, *m = NULL;
	const struct fl_option options[] = {
		{ .name = "work", .value = "WORK", .text = &name,
		  .choices = "factorial|sleep|tiny|memory",
		  .help = "factorial (default), sleep, tiny, memory" },
		{ .name = "n", .value = "N", .number = &n, .max = 1e9,
		  .help = "items (4; tiny 1000000)" },
		{ .name = "times", .value = "N", .number = &times, .min = 1,
		  .max = 1e9, .help = "factorials in an item (1)" },
		{ .name = "seconds", .value = "S", .seconds = &pause_seconds,
		  .max = 3600, .help = "how long an item of sleep pauses (1)" },
		{ .name = "workers", .value = "W,...", .text = &w,
		  .help = "threads and processes (1,2,4; sleep 4; tiny 2)" },
		{ .name = "chunks", .value = "C,...", .text = &c,
		  .help = "items taken at a time (1; tiny 1,10,...,100000)" },
		{ .name = "modes", .value = "M,...", .text = &m,
		  .help = "beside serial (gil,threads,processes)" },
		{ .name = "rounds", .value = "N", .number = &rounds, .min = 1,
		  .max = MOST_ROUNDS, .help = "measured (5; sleep 1)" },
		{ .name = "warmups", .value = "N", .number = &warmups,
		  .max = MOST_ROUNDS,
		  .help = "before them, not measured (1; sleep 0)" },
		{ .name = "data", .value = "MIB", .number = &data,
		  .max = 1e5, .help = "workers of memory inherit it (64)" },
		{ .name = "timeline", .value = "FILE", .text = &timeline_name,
		  .help = "who did which item, when and where, as CSV" },
		{ .name = "csv", .flag = &csv, .help = "rows for programs" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
	work = find_work(name);
	read_list(&workers, "workers", w != NULL ? w : work->workers,
		  MOST_WORKERS);
	read_list(&chunks, "chunks", c != NULL ? c : work->chunks, 1000000000);
	if (m != NULL || work->f != NULL)
		read_modes(m != NULL ? m : work->modes);
	n = n >= 0 ? n : work->n;
	rounds = rounds >= 0 ? rounds : work->rounds;
	warmups = warmups >= 0 ? warmups : work->warmups;
}

/* ---- the timeline ------------------------------------------------------ */

/* Who did an item. Each has its own, so nobody needs a lock. */
struct span {
	pid_t who;
	int core;
	double start, end;
};

static struct span *spans;	/* in memory that processes share */
static FILE *timeline;
static double run_started;

//region: timeline
/* The work, and a note of who did it when. */
static uint64_t watched(long index, void *arg)
{
	struct span *s = &spans[index];
	uint64_t result;

	s->who = gettid();	/* Linux; of a process: its pid */
	s->core = sched_getcpu();
	s->start = fl_now() - run_started;
	result = work->f(index, arg);
	s->end = fl_now() - run_started;
	return result;
}
//endregion

static void open_timeline(void)
{
	if (timeline_name == NULL)
		return;
	timeline = fopen(timeline_name, "we");
	if (timeline == NULL)
		fl_die("cannot write %s", timeline_name);
	spans = mmap(NULL, ((size_t)n + 1) * sizeof *spans,
		     PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (spans == MAP_FAILED)
		fl_die("no memory for the timeline of %ld items", n);
	fprintf(timeline, "mode,workers,chunk,worker,item,start,end,core\n");
}

/* Workers are numbered in the order in which their numbers are first met. */
static int number_of(pid_t who, pid_t *known, int *met)
{
	int i = 0;

	while (i < *met && known[i] != who)
		i++;
	if (i == *met && *met < MOST_WORKERS)
		known[(*met)++] = who;
	return i;
}

/* The items of the last run. */
static void write_timeline(const char *mode, int w, long chunk)
{
	pid_t known[MOST_WORKERS];
	int met = 0;

	if (timeline == NULL)
		return;
	for (long i = 0; i < n; i++)
		fprintf(timeline, "%s,%d,%ld,%d,%ld,%.9f,%.9f,%d\n", mode, w,
			chunk, number_of(spans[i].who, known, &met), i,
			spans[i].start, spans[i].end, spans[i].core);
}

static void close_timeline(void)
{
	if (timeline != NULL && (ferror(timeline) | fclose(timeline)) != 0)
		fl_die("cannot write %s", timeline_name);
}

/* ---- measuring --------------------------------------------------------- */

/* One way to do it. */
struct way {
	const char *mode, *kind;
	struct bench_run (*run)(bench_work *f, long n, void *arg, int workers,
				long chunk);
	int workers;
	long chunk;
	struct bench_run runs[2 * MOST_ROUNDS];		/* of each call */
	int calls, error;
};

struct row {
	const char *mode;
	int workers;
	long chunk;
	double seconds, cpu_seconds, speedup, efficiency, free;
	uint64_t result;
};

static struct bench_run serially(bench_work *f, long items, void *arg,
				 int unused_workers, long unused_chunk)
{
	(void)unused_workers;
	(void)unused_chunk;
	return bench_serial(f, items, arg);
}

//region: measure
static void run_once(void *arg)
{
	struct way *way = arg;
	struct bench_run *r = &way->runs[way->calls];

	if (way->error == 0 && way->calls == 2 * MOST_ROUNDS)
		way->error = EOVERFLOW;
	if (way->error != 0)
		return;
	run_started = fl_now();
	*r = way->run(timeline != NULL ? watched : work->f, n, NULL,
		      way->workers, way->chunk);
	if (isnan(r->seconds))
		way->error = errno;
	way->calls++;
}

/* The processor seconds of that run which took nearest to the median. */
static double cpu_of(const struct way *way, double median)
{
	int best = (int)warmups;

	for (int i = best; i < way->calls; i++)
		if (fabs(way->runs[i].seconds - median) <
		    fabs(way->runs[best].seconds - median))
			best = i;
	return way->runs[best].cpu_seconds;
}

/* serial: the row to compare with; NULL = this is it. */
static struct row measure(struct way *way, const struct row *serial)
{
	struct row row = { .mode = way->mode, .workers = way->workers,
			   .chunk = way->chunk };

	row.seconds = bench_measure(run_once, way, (int)warmups, (int)rounds);
	if (way->error != 0) {
		errno = way->error;
		fl_die("cannot run %d %s", way->workers, way->kind);
	}
	row.cpu_seconds = cpu_of(way, row.seconds);
	row.speedup = bench_speedup(serial ? serial->seconds : row.seconds,
				    row.seconds);
	row.efficiency = bench_efficiency(row.speedup, row.workers);
	row.result = way->runs[0].result;
	for (int i = 0; i < way->calls; i++)
		if (way->runs[i].result != (serial ? serial : &row)->result)
			row.result = way->runs[i].result;
	return row;
}
//endregion

//region: free
/* Keep a core busy for about a quarter of a millisecond. */
static uint64_t spin(long index, void *unused)
{
	uint64_t x = (uint64_t)index;

	(void)unused;
	for (int i = 0; i < 200000; i++)
		x = x * 6364136223846793005u + 1442695040888963407u;
	return x;
}

static int cores(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
							     : 1;
}

/*
 * How many cores this program gets right now: how long would a few spins for
 * each core take one core that does nothing else, and how long do they take
 * a thread for each core? (What others do, in this machine or beside it,
 * shows in the second, and not in processor time.)
 */
static double free_cores(void)
{
	const int all = cores(), spins = 20;
	double alone = bench_threads(spin, spins, NULL, 1, 1).cpu_seconds;
	double many = bench_threads(spin, spins * all, NULL, all, 1).seconds;
	double again = bench_threads(spin, spins, NULL, 1, 1).cpu_seconds;
	double free = all * fmin(alone, again) / many;

	return free < all ? free : all;
}
//endregion

/* ---- telling ----------------------------------------------------------- */

static const char *show_time(double seconds, char *text)
{
	static const struct { const char *name; double size; } units[] = {
		{ "s", 1 }, { "ms", 1e-3 }, { "us", 1e-6 }, { "ns", 1e-9 } };
	int u = 0;

	while (u < 3 && seconds < units[u].size)
		u++;
	snprintf(text, TEXT, seconds / units[u].size < 99.95 ? "%.3g %s"
		 : "%.0f %s", seconds / units[u].size, units[u].name);
	return text;
}

static void describe(char *text, size_t size)
{
	if (work->f == factorial)
		snprintf(text, size, "%ld items: factorial(%d), %ld time%s "
			 "each", n, FACTORIAL_OF, times, times == 1 ? "" : "s");
	else if (work->f == sleep_task)
		snprintf(text, size, "%ld items: a pause of %g s each", n,
			 pause_seconds);
	else
		snprintf(text, size, "%ld items: a few instructions each", n);
}

static void print_head(void)
{
	char what[128];

	if (csv) {
		fl_line("mode,workers,chunk,seconds,cpu_seconds,speedup,"
			"efficiency,result");
		return;
	}
	describe(what, sizeof what);
	fl_line("%s", what);
	fl_line("rounds: %ld, after %ld to warm up; cores: %d", rounds, warmups,
		cores());
	fl_line("%-10s %7s %7s %9s %10s %9s %11s %11s", "mode", "workers",
		"chunk", "median", "processor", "speed-up", "efficiency",
		"cores free");
}

static void print_row(const struct row *r)
{
	char elapsed[TEXT], cpu[TEXT];

	if (csv)
		fl_line("%s,%d,%ld,%.9f,%.9f,%.6f,%.6f,%" PRIu64, r->mode,
			r->workers, r->chunk, r->seconds, r->cpu_seconds,
			r->speedup, r->efficiency, r->result);
	else
		fl_line("%-10s %7d %7ld %9s %10s %9.2f %11.2f %11.1f", r->mode,
			r->workers, r->chunk, show_time(r->seconds, elapsed),
			show_time(r->cpu_seconds, cpu), r->speedup,
			r->efficiency, r->free);
}

//region: limit
/*
 * Karp and Flatt: Amdahl's law, asked the other way round. Which part of the
 * work was not divided, if that speed-up is all that came of it?
 */
static double undivided_part(double speedup, int w)
{
	return (1 / speedup - 1. / w) / (1 - 1. / w);
}
//endregion

/* Did each of its several workers have a core, and did they gain anything? */
static bool has_limit(const struct row *r)
{
	return r->workers >= 2 && r->workers < r->free + 0.3 &&
	       r->speedup > 1.2 && undivided_part(r->speedup, r->workers) > 0;
}

/* What no number of workers could do. */
static void print_limit(const struct row *r)
{
	double part = undivided_part(r->speedup, r->workers);

	fl_line("%s by %d: as if %.1f %% of it could not be divided; then no "
		"number of workers is", r->mode, r->workers, part * 100);
	fl_line("more than %.1f times as fast (Amdahl)",
		bench_amdahl(1 - part, INFINITY));
}

/* ---- all of it --------------------------------------------------------- */

static double free_before;

/* False if it found something else than the one to compare with. */
static bool measure_and_tell(struct way *way, const struct row *serial,
			     struct row *row)
{
	double free_after;

	way->calls = way->error = 0;
	if (timeline != NULL)
		memset(spans, 0, (size_t)n * sizeof *spans);
	*row = measure(way, serial);
	if (!csv) {
		free_after = free_cores();
		row->free = (free_before + free_after) / 2;
		free_before = free_after;
	}
	write_timeline(row->mode, row->workers, row->chunk);
	print_row(row);
	if (serial == NULL || row->result == serial->result)
		return true;
	fl_warn("%d %s found %" PRIu64 ", one worker alone %" PRIu64,
		way->workers, way->kind, row->result, serial->result);
	return false;
}

/*
 * One mode with each number of workers and each chunk. Of those rows that
 * have a limit, the last is kept.
 */
static bool measure_mode(struct way *way, const struct row *serial,
			 struct row *limited)
{
	struct row row;

	for (int w = 0; w < workers.n; w++) {
		for (int c = 0; c < chunks.n; c++) {
			way->workers = (int)workers.numbers[w];
			way->chunk = chunks.numbers[c];
			if (!measure_and_tell(way, serial, &row))
				return false;
			if (has_limit(&row))
				*limited = row;
		}
	}
	return true;
}

static bool measure_all(void)
{
	static struct way serial = { .mode = "serial", .kind = "worker",
				     .run = serially, .workers = 1 };
	static struct way gil = { .mode = "gil", .kind = "threads",
				  .run = bench_gil };
	static struct way threads = { .mode = "threads", .kind = "threads",
				      .run = bench_threads };
	static struct way processes = { .mode = "processes",
					.kind = "processes",
					.run = bench_processes };
	struct row first, limited[3] = { 0 };

	serial.chunk = n;
	if (!csv)
		free_before = free_cores();
	if (!measure_and_tell(&serial, NULL, &first) ||
	    (with_gil && !measure_mode(&gil, &first, &limited[0])) ||
	    (with_threads && !measure_mode(&threads, &first, &limited[1])) ||
	    (with_processes && !measure_mode(&processes, &first, &limited[2])))
		return false;
	for (int i = 0; i < 3; i++)
		if (!csv && limited[i].workers > 0)
			print_limit(&limited[i]);
	return true;
}

int main(int argc, char **argv)
{
	bool well;

	read_command_line(argc, argv);
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may ignore it */
	if (work->f == NULL) {
		for (int i = 0; i < workers.n; i++)
			memory_tell((int)workers.numbers[i], (size_t)data << 20,
				    csv, i == 0);
		return FL_OK;
	}
	open_timeline();
	print_head();
	well = measure_all();
	close_timeline();
	return well ? FL_OK : FL_FAILED;
}
