/*
 * duplex - a parent and its child send each other messages
 *
 * usage: duplex [--count 3] [--size 0] [--simplex]
 *
 * The parent sends "ping 0", the child answers "pong 0", and so on. When the
 * parent closes its end the child finds the end of file, and when the child
 * is gone the parent finds one.
 *
 *   --size N     then as many messages of N bytes go to the child and back,
 *                the next one before the last has come back
 *   --simplex    the one-way pipe of the lesson: the child only sends
 */
#include <signal.h>
#include <sys/wait.h>

#include "talk.h"

static struct talk talk = { .count = 3 };
static bool simplex;

static pid_t child;		/* 0 in the child itself, or when collected */

static bool start(void)
{
	child = fork();
	if (child < 0)
		fl_die("cannot start the child");
	return child > 0;
}

/* Its exit status, or minus the signal that killed it. */
static int collect_child(void)
{
	int status = 0;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			break;
	child = 0;
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* However we end, we do not leave it behind. */
static void end_child(void)
{
	int status;

	if (child <= 0)
		return;
	kill(child, SIGTERM);
	status = collect_child();
	if (status < 0 && status != -SIGTERM)
		fl_warn("the child was killed by signal %d", -status);
}

/* All was said and heard: now the child has to end well, too. */
static bool join(void)
{
	int status = collect_child();

	if (status < 0)
		fl_warn("the child was killed by signal %d", -status);
	return status == 0;
}

/* Nothing is ever sent here: only an end can come. */
static bool hear_the_end(struct connection *c)
{
	char text[TEXT_MAX + 1];
	ssize_t n = hear(c, text);

	if (n == CONNECTION_EOF)
		fl_line("Parent: end of file");
	else
		fl_warn("the end of file did not come");
	return n == CONNECTION_EOF;
}

/* ---- both ways --------------------------------------------------------- */

//region: both_ways
/*
 * Two connections: one to talk over, and one over which nothing is ever sent.
 * Only the child has the sending end of that, so the end of file comes there
 * when the child is gone, however it went: a sign of life.
 */
static bool talk_both_ways(void)
{
	struct connection mine, theirs, alive, life;
	bool well;

	//region: two_connections
	if (connection_pair(&mine, &theirs, true) != 0 ||
	    connection_pair(&alive, &life, false) != 0)
		fl_die("cannot make a connection");
	if (!start()) {
		connection_close(&mine);	/* or its end never comes */
		connection_close(&alive);
		_exit(answer(&theirs, "Child") ? FL_OK : FL_FAILED);
	}
	connection_close(&theirs);
	connection_close(&life);		/* the same here */
	well = ask(&mine, &talk, "Parent");
	connection_close(&mine);
	well = well && hear_the_end(&alive);
	connection_close(&alive);
	//endregion
	return well && join();
}
//endregion

/* ---- one way: the lesson's worker -------------------------------------- */

//region: worker
static bool send_all(struct connection *c)
{
	char text[TEXT_MAX + 1];

	for (long i = 0; i < talk.count; i++) {
		snprintf(text, sizeof text, "ping %ld", i);
		fl_line("Child sent: %s", text);
		if (!say(c, text, strlen(text)))
			return false;
	}
	if (!say(c, "", 0))
		return false;
	for (long i = 0; talk.size > 0 && i < talk.count; i++)
		if (!say(c, filler(&talk, i), (size_t)talk.size))
			return false;
	return true;
}
//endregion

static bool receive_all(struct connection *c)
{
	char text[TEXT_MAX + 1];
	ssize_t n;

	while ((n = hear(c, text)) > 0)
		fl_line("Parent received: %s", text);
	if (n < 0)
		return no_message(n);
	for (long i = 0; talk.size > 0 && i < talk.count; i++)
		if (!take_filler(c, &talk, i))
			return false;
	if (talk.size > 0)
		print_checksum(&talk);
	return hear_the_end(c);
}

//region: one_way
static bool talk_one_way(void)
{
	struct connection receiver, sender;
	bool well;

	if (connection_pair(&receiver, &sender, false) != 0)
		fl_die("cannot make a connection");
	if (!start()) {
		connection_close(&receiver);
		_exit(send_all(&sender) ? FL_OK : FL_FAILED);
	}
	connection_close(&sender);
	well = receive_all(&receiver);
	connection_close(&receiver);
	return well && join();
}
//endregion

static void read_command_line(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "count", .value = "N", .number = &talk.count,
		  .max = MOST_QUESTIONS, .help = "so many messages (3)" },
		{ .name = "size", .value = "N", .number = &talk.size,
		  .max = CONNECTION_MAX,
		  .help = "then as many of N bytes (0: none)" },
		{ .name = "simplex", .flag = &simplex,
		  .help = "one way: the child only sends" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
}

int main(int argc, char **argv)
{
	bool well;

	read_command_line(argc, argv);
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may ignore it */
	keep_low_numbers();
	atexit(end_child);
	make_filler(&talk);
	well = simplex ? talk_one_way() : talk_both_ways();
	free_filler(&talk);
	if (well)
		fl_line("All processes have completed");
	return well ? FL_OK : FL_FAILED;
}
