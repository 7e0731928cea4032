/*
 * fifo - two programs that are not related send each other messages
 *
 * usage: fifo [--serve] [--count 3] [--size 0] PATH
 *
 * With --serve it waits at PATH, answers what the other one asks, and ends
 * when that has closed. Without, it asks: "ping 0", "ping 1", ...
 *
 *   --count N    so many questions; with --serve, as many as come
 *   --size N     then as many messages of N bytes go there and back
 *
 * PATH and what else is beside it are names of pipes, and gone when the two
 * have met. The other side may as well be fifo.py.
 */
#include "talk.h"

static struct talk talk = { .count = 3 };
static bool serve;

//region: serve
static bool answer_at(const char *path)
{
	struct connection c;
	bool well;

	fl_line("Server: waiting at %s", path);
	if (connection_listen(&c, path) != 0)
		fl_die("cannot wait at %s", path);
	well = answer(&c, "Server");
	connection_close(&c);
	return well;
}
//endregion

//region: client
static bool ask_at(const char *path)
{
	struct connection c;
	bool well;

	if (connection_connect(&c, path) != 0) {
		if (errno != ENOENT)
			fl_die("cannot connect to %s", path);
		fl_warn("nobody waits at %s", path);
		return false;
	}
	well = ask(&c, &talk, "Client");
	connection_close(&c);
	return well;
}
//endregion

int main(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "serve", .flag = &serve,
		  .help = "wait for the other side, and answer" },
		{ .name = "count", .value = "N", .number = &talk.count,
		  .max = MOST_QUESTIONS, .help = "so many messages (3)" },
		{ .name = "size", .value = "N", .number = &talk.size,
		  .max = CONNECTION_MAX,
		  .help = "then as many of N bytes (0: none)" },
		{ 0 }
	};
	int first = fl_options(argc, argv, options, "PATH");
	bool well;

	if (argc - first != 1 || argv[first][0] == '\0')
		fl_usage("one PATH is wanted");
	keep_low_numbers();
	make_filler(&talk);
	well = serve ? answer_at(argv[first]) : ask_at(argv[first]);
	free_filler(&talk);
	return well ? FL_OK : FL_FAILED;
}
