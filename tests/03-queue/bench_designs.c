/*
 * bench_designs - items go from process to process, by one queue or another
 *
 * usage: bench_designs HOW SIZE PRODUCERS CONSUMERS ITEMS DESIGN...
 *
 *   through    so many ITEMS of SIZE bytes, shared out between the producers,
 *              and between the consumers: the time from the first put to the
 *              last get
 *   one-core   the same, and all of them on one core
 *   one-way    two processes and two queues: an item goes there, the answer
 *              comes back, and only then the next one goes; ITEMS counts both
 *
 * The designs, which stand in bench.c, take turns.
 */
#include "bench.h"

#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/measure.h"
#include "fl.h"

/* TURNS, or until they took ENOUGH seconds each. */
enum { TURNS = 9, MOST = 64, LARGEST = 4096 };
static const double ENOUGH = 0.3;

static const char *how;
static long size, producers, consumers, items;
static char item[LARGEST];	/* what this process puts, or got */

/* What the processes of one turn share. */
static struct crowd {
	pthread_barrier_t start;
	struct {
		double begin, end;
		uint64_t sum;
	} members[MOST];
} *crowd;

/* ---- what they do -------------------------------------------------------- */

/* Numbers p, p + producers, ...: each is in one item, and nowhere else. */
static void produce(const struct bench_queue *d, void *q, long p)
{
	for (uint64_t i = (uint64_t)p; i < (uint64_t)items;
	     i += (uint64_t)producers) {
		memcpy(item, &i, sizeof i);
		d->put(q, item);
	}
	if (d->flush != NULL)
		d->flush(q);
}

static uint64_t consume(const struct bench_queue *d, void *q)
{
	uint64_t sum = 0, i;

	bench_wanted = (size_t)(items / consumers);
	for (; bench_wanted > 0; bench_wanted--) {
		d->get(q, item);
		memcpy(&i, item, sizeof i);
		sum += i;
	}
	return sum;
}

/* The one who begins puts into the first queue, the other into the second. */
static uint64_t play(const struct bench_queue *d, void *const *q, bool begins)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < (uint64_t)items / 2; i++) {
		if (!begins)
			d->get(q[0], item);
		memcpy(item, &i, sizeof i);
		d->put(q[begins ? 0 : 1], item);
		if (d->flush != NULL)
			d->flush(q[begins ? 0 : 1]);
		if (begins) {
			d->get(q[1], item);
			memcpy(&i, item, sizeof i);
		}
		sum += i;
	}
	return sum;
}

/* ---- a turn -------------------------------------------------------------- */

static void make_crowd(unsigned members)
{
	pthread_barrierattr_t shared;

	crowd = bench_share(sizeof *crowd);
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crowd->start, &shared, members);
	pthread_barrierattr_destroy(&shared);
}

static void stay_on_one_core(void)
{
	cpu_set_t allowed, one;
	int core = 0;

	sched_getaffinity(0, sizeof allowed, &allowed);
	while (!CPU_ISSET(core, &allowed))
		core++;
	CPU_ZERO(&one);
	CPU_SET(core, &one);
	if (sched_setaffinity(0, sizeof one, &one) != 0)
		fl_die("cannot stay on one core");
}

static _Noreturn void live(const struct bench_queue *d, void *const *q, long me)
{
	uint64_t sum = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (strcmp(how, "one-core") == 0)
		stay_on_one_core();
	pthread_barrier_wait(&crowd->start);
	crowd->members[me].begin = fl_now();
	if (strcmp(how, "one-way") == 0)
		sum = play(d, q, me == 0);
	else if (me < producers)
		produce(d, q[0], me);
	else
		sum = consume(d, q[0]);
	crowd->members[me].end = fl_now();
	crowd->members[me].sum = sum;
	_exit(FL_OK);
}

/* From the first that begins until the last is through. */
static double whole_span(long members)
{
	double begin = crowd->members[0].begin, end = 0;

	for (long m = 0; m < members; m++) {
		if (crowd->members[m].begin < begin)
			begin = crowd->members[m].begin;
		if (crowd->members[m].end > end)
			end = crowd->members[m].end;
	}
	return end - begin;
}

static void check_sum(const struct bench_queue *d, long members)
{
	bool one_way = strcmp(how, "one-way") == 0;
	uint64_t n = (uint64_t)(one_way ? items / 2 : items), sum = 0;

	for (long m = 0; m < members; m++)
		sum += crowd->members[m].sum;
	if (sum != n * (n - 1) / 2 * (one_way ? 2 : 1))
		fl_die("%s has lost or invented something", d->key);
}

static double turn(const struct bench_queue *d)
{
	long members = producers + consumers;
	void *q[2] = { d->make((size_t)size), NULL };
	double seconds;
	int status;

	if (strcmp(how, "one-way") == 0)
		q[1] = d->make((size_t)size);
	make_crowd((unsigned)members);
	for (long m = 0; m < members; m++) {
		pid_t pid = fork();

		if (pid < 0)
			fl_die("cannot start %ld processes", members);
		if (pid == 0)
			live(d, q, m);
	}
	for (long m = 0; m < members; m++)
		if (wait(&status) < 0 || status != 0)
			fl_die("a process failed with %s", d->key);
	seconds = whole_span(members);
	check_sum(d, members);
	bench_unshare(crowd);
	for (int i = 0; i < 2; i++)
		if (q[i] != NULL)
			d->end(q[i]);
	return seconds;
}

/* ---- all turns ----------------------------------------------------------- */

static const struct bench_queue *find_design(const char *key)
{
	if (strcmp(key, "pair") == 0 && producers + consumers > 2)
		fl_usage("a pair is one producer and one consumer");
	for (const struct bench_queue *d = bench_queues; d->key != NULL; d++)
		if (strcmp(d->key, key) == 0)
			return d;
	fl_usage("there is no design '%s'", key);
}

int main(int argc, char **argv)
{
	static struct times times[MOST];
	double end;

	if (argc < 7 || argc > MOST)
		fl_usage("HOW SIZE PRODUCERS CONSUMERS ITEMS DESIGN...");
	how = argv[1];
	size = measure_argument(argv[2], LARGEST);
	producers = measure_argument(argv[3], MOST / 2);
	consumers = measure_argument(argv[4], MOST / 2);
	items = measure_argument(argv[5], INT_MAX);
	items -= items % (2 * producers * consumers);
	if (size < (long)sizeof(uint64_t))
		fl_usage("an item has 8 bytes, or more");
	end = fl_now() + ENOUGH * (argc - 6);
	for (int t = 0; t < TURNS && (t == 0 || fl_now() < end); t++)
		for (int i = 6; i < argc; i++)
			times_add(&times[i], turn(find_design(argv[i])));
	for (int i = 6; i < argc; i++)
		times_print(&times[i], argv[i], items);
	return FL_OK;
}
