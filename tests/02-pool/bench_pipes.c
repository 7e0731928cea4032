/*
 * bench_pipes - the pool that one would write first: all items go to the
 * workers through one pipe, all results come back through another
 *
 * usage: bench_pipes TASKS WORKERS BATCH WAITING
 *
 * A message carries BATCH items, and up to WAITING messages are under way at
 * the same time. BATCH 1 and WAITING as many as there are workers is the
 * simplest of all: one message for each task there, and one back.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/measure.h"
#include "bench.h"
#include "fl.h"

enum { MAPS = 3, BATCH_MAX = 64, ROOM = 65536 };	/* a pipe's */

/* No longer than PIPE_BUF, so it is written and read in one piece. */
struct message {
	size_t first, n;
	uint64_t values[BATCH_MAX];
};

static size_t n, batch, message_size;
static int to_workers[2], to_owner[2];

static void send_message(int fd, const struct message *m)
{
	if (write(fd, m, message_size) != (ssize_t)message_size)
		fl_die("cannot write a message");
}

static void serve(void)
{
	struct message m;

	close(to_workers[1]);
	close(to_owner[0]);
	while (read(to_workers[0], &m, message_size) == (ssize_t)message_size) {
		for (size_t i = 0; i < m.n; i++)
			if (bench_task(&m.values[i], &m.values[i]) != 0)
				_exit(FL_FAILED);
		send_message(to_owner[1], &m);
	}
	_exit(FL_OK);
}

static void start_workers(long workers)
{
	if (pipe(to_workers) != 0 || pipe(to_owner) != 0)
		fl_die("cannot make the pipes");
	for (long w = 0; w < workers; w++) {
		pid_t pid = fork();

		if (pid < 0)
			fl_die("cannot start %ld workers", workers);
		if (pid == 0)
			serve();
	}
	close(to_workers[0]);
	close(to_owner[1]);
}

/* Hand out the next batch; returns where the one after it begins. */
static size_t hand_out(const uint64_t *items, size_t first)
{
	struct message m = { .first = first };

	m.n = n - first < batch ? n - first : batch;
	memcpy(m.values, &items[first], m.n * sizeof items[0]);
	send_message(to_workers[1], &m);
	return first + m.n;
}

/* Take in what has come: one or more messages. Returns how many. */
static size_t take_in(uint64_t *results)
{
	static char buffer[ROOM];
	const struct message *m;
	ssize_t size;

	size = read(to_owner[0], buffer, ROOM / message_size * message_size);
	if (size <= 0 || size % message_size != 0)
		fl_die("cannot read a message");
	for (ssize_t at = 0; at < size; at += message_size) {
		m = (const void *)&buffer[at];
		memcpy(&results[m->first], m->values, m->n * sizeof results[0]);
	}
	return size / message_size;
}

static void map(const uint64_t *items, uint64_t *results, size_t waiting)
{
	size_t next = 0, under_way = 0;

	do {
		for (; next < n && under_way < waiting; under_way++)
			next = hand_out(items, next);
		under_way -= take_in(results);
	} while (next < n || under_way > 0);
}

int main(int argc, char **argv)
{
	static struct times times;
	uint64_t *items, *results;
	size_t waiting;
	double start;

	n = measure_argument(argc == 5 ? argv[1] : NULL, 100000000);
	batch = measure_argument(argv[3], BATCH_MAX);
	message_size = offsetof(struct message, values) +
		       batch * sizeof(uint64_t);
	waiting = measure_argument(argv[4], ROOM / message_size);
	items = bench_items(n);
	results = bench_results(n);
	start_workers(measure_argument(argv[2], 1000));
	for (int i = 0; i < MAPS; i++) {
		start = fl_now();
		map(items, results, waiting);
		times_add(&times, fl_now() - start);
		bench_check(results, n);
	}
	close(to_workers[1]);
	while (wait(NULL) > 0)
		;
	times_print(&times, "pipes", (long)n);
	free(results);
	free(items);
	return FL_OK;
}
