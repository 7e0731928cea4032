/*
 * prodcons - producers that put numbers into a queue, consumers that get them
 *
 * usage: prodcons [--items 5] [--producers 1] [--consumers 1] [--capacity 5]
 *                 [--produce-every 0] [--consume-every 0]
 *
 * The numbers 0, 1, 2, ... are produced, each once: number i by producer
 * i modulo the number of producers. Each is told before it is put, and after
 * it was got.
 */
#include "queue.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "fl.h"

enum { MOST_PROCESSES = 200, MOST_SECONDS = 3600 };

static long items = 5, producers = 1, consumers = 1, capacity = 5;
static double produce_every, consume_every;

static void pause_for(double seconds)
{
	struct timespec left = {
		.tv_sec = (time_t)seconds,
		.tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)
	};

	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
}

//region: produce
/* Runs in each producer. A put that fails means: the others have ended. */
static int produce(struct queue *q, int producer, void *unused)
{
	(void)unused;
	for (long i = producer; i < items; i += producers) {
		fl_line("Produced: %ld", i);
		if (queue_put(q, &i, -1) != 0)
			return -1;
		pause_for(produce_every);
	}
	return 0;
}
//endregion

//region: consume
/* Called in a consumer for each number that it got. */
static int consume(const void *item, int consumer, void *unused)
{
	const long *i = item;

	(void)unused;
	if (consumers == 1)
		fl_line("Consumed: %ld", *i);
	else
		fl_line("Consumer %d consumed: %ld", consumer, *i);
	pause_for(consume_every);
	return 0;
}
//endregion

static void read_command_line(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "items", .value = "N", .number = &items,
		  .max = 1000000000, .help = "how many are produced (5)" },
		{ .name = "producers", .value = "N", .number = &producers,
		  .min = 1, .max = MOST_PROCESSES,
		  .help = "how many produce them (1)" },
		{ .name = "consumers", .value = "N", .number = &consumers,
		  .min = 1, .max = MOST_PROCESSES,
		  .help = "how many consume them (1)" },
		{ .name = "capacity", .value = "N", .number = &capacity,
		  .min = 1, .max = 1000000,
		  .help = "how many the queue holds (5)" },
		{ .name = "produce-every", .value = "S", .max = MOST_SECONDS,
		  .seconds = &produce_every,
		  .help = "pause after each put (0 s)" },
		{ .name = "consume-every", .value = "S", .max = MOST_SECONDS,
		  .seconds = &consume_every,
		  .help = "pause after each get (0 s)" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
}

/* Why it did not go well. */
static int complain(void)
{
	if (errno == EOWNERDEAD)
		fl_warn("a process has died");
	else if (errno == ECANCELED)
		fl_warn("a process could not go on");
	else
		fl_die("cannot start all processes");
	return FL_FAILED;
}

int main(int argc, char **argv)
{
	struct queue *q;
	int result;

	read_command_line(argc, argv);
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may ignore it */
	if (fcntl(STDOUT_FILENO, F_GETFD) < 0)	/* not for others to take */
		fl_die("cannot write to stdout");
	//region: main
	q = queue_create((size_t)capacity, sizeof(long));
	if (q == NULL)
		fl_die("cannot make the queue");
	result = queue_run(q, (int)producers, (int)consumers, produce,
			   consume, NULL);
	if (result != 0)
		return complain();
	queue_destroy(q);
	fl_line("All processes have completed");
	return FL_OK;
	//endregion
}
