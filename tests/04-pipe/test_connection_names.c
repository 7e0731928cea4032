/* Two programs that are not related meet at a name. */
#include "names.h"

#include <sys/mman.h>

/* ---- held at each name it makes ------------------------------------- */

static int names_made;

/* Called by the student's file instead of libc's. */
int mkfifo(const char *path, mode_t mode)
{
	int r = mknod(path, S_IFIFO | (mode & 0777), 0);

	if (facts != NULL && r == 0 && ++names_made == facts->number[9] &&
	    facts->number[10] == getpid()) {
		gate_open(&facts->ready[6]);
		gate_wait(&facts->go[6]);
	}
	return r;
}

int mkfifoat(int at, const char *path, mode_t mode)
{
	return at == AT_FDCWD || path[0] == '/' ? mkfifo(path, mode) :
	       mknodat(at, path, S_IFIFO | (mode & 0777), 0);
}

/* ---- they meet ------------------------------------------------------ */

static void listener(void)
{
	facts->number[10] = getpid();
	if (do_listen(&mine, LISTENER)) {
		list_names(facts->names, sizeof facts->names);
		gate_open(&facts->ready[LISTENER]);
		greet(&mine, LISTENER);
	}
}

static void connector(void)
{
	if (do_connect(&mine, CONNECTOR))
		greet(&mine, CONNECTOR);
}

/* Whoever comes too early tries again. */
static bool connect_at_last(void)
{
	while (!do_connect(&mine, CONNECTOR) && nobody_there(CONNECTOR))
		breathe();
	return facts->heard[CONNECTOR].got == 0;
}

static void eager_connector(void)
{
	if (connect_at_last())
		greet(&mine, CONNECTOR);
}

static void listener_first(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	if (s->number[15]) {
		kill(s->pids[LISTENER], SIGUSR1);
		settle(s->pids[LISTENER]);
	}
	program(CONNECTOR, connector);
	collect(s->pids[LISTENER]);
	collect(s->pids[CONNECTOR]);
	remove_folder();
}

static void check_listener_first(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = listener_first, .shared = s,
			       .why_stuck = WHY_DOORS });
	expect_meeting(s);
	expect_no_names(s, WHY_NAMES);
	expect_clean(NULL);
}

static void check_signal(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	s->number[15] = true;
	fence(&(struct fence){ .scenario = listener_first, .shared = s,
			       .why_stuck = WHY_05 });
	expect(s->heard[LISTENER].got == 0, WHY_05, "a signal comes, and "
	       "connection_listen waits on and returns 0", "%s",
	       result_text(&s->heard[LISTENER]));
	expect_meeting(s);
	expect_no_names(s, WHY_NAMES);
}

static void both_at_once(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	program(CONNECTOR, eager_connector);
	program(LISTENER, listener);
	collect(s->pids[LISTENER]);
	collect(s->pids[CONNECTOR]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void check_connector_first(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = both_at_once, .shared = s,
			       .limit = 10, .why_stuck = WHY_DOORS });
	expect_meeting(s);
	expect_no_names(s, WHY_NAMES);
}

/* The listener does not get on: who has connected waits for its words. */
static void hearing_connector(void)
{
	if (!connect_at_last())
		return;
	hear(&mine, 10 + CONNECTOR, 10 + LISTENER, 100);
	say(&mine, 10 + CONNECTOR, 10 + CONNECTOR, 50);
	connection_close(&mine);
}

static void hear_at_once(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	stop_process(s->pids[LISTENER]);
	settle(program(CONNECTOR, hearing_connector));
	continue_process(s->pids[LISTENER]);
	collect(s->pids[LISTENER]);
	collect(s->pids[CONNECTOR]);
	remove_folder();
}

static void check_hear_at_once(void)
{
	struct facts *s = shared(sizeof *s);
	struct fence_end end;

	make_messages();
	end = fence_try(&(struct fence){ .scenario = hear_at_once, .shared = s,
					 .limit = 10 });
	expect(s->heard[10 + CONNECTOR].got != CONNECTION_EOF, "An end came "
	       "before the beginning: the other side is not there yet.",
	       "who has connected waits for a message", "CONNECTION_EOF");
	expect(end.how == FENCE_FINISHED, WHY_DOORS, "the two meet, though one "
	       "of them is slow", "they do not");
	expect_meeting(s);
}

/* The listener has made the k-th of its names, and pauses there. */
static void patient_connector(void)
{
	do_connect(&mine, CONNECTOR);
	if (nobody_there(CONNECTOR)) {
		gate_open(&facts->ready[5]);
		gate_wait(&facts->go[5]);
		eager_connector();
	} else if (facts->heard[CONNECTOR].got == 0) {
		greet(&mine, CONNECTOR);
	}
}

static void in_between(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	s->number[8] = gate_is_open(&s->ready[6]);
	settle(program(CONNECTOR, patient_connector));
	if (!gate_is_open(&s->ready[5])) {
		kill(s->pids[CONNECTOR], SIGUSR1);
		settle(s->pids[CONNECTOR]);
	}
	gate_open(&s->go[6]);
	settle(s->pids[LISTENER]);
	gate_open(&s->go[5]);
	collect(s->pids[LISTENER]);
	collect(s->pids[CONNECTOR]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void check_in_between(void)
{
	static const char why[] = "Who connects while the names are being "
		"made finds some of them, and is lost.";
	bool held = true;
	int k;

	make_messages();
	for (k = 1; held && k < 6; k++) {
		struct facts *s = shared(sizeof *s);

		s->number[9] = k;
		fence(&(struct fence){ .scenario = in_between, .shared = s,
				       .limit = 10, .why_stuck = why });
		held = s->number[8];
		if (!held)
			break;
		expect(s->heard[CONNECTOR].got == 0, why, "connection_connect "
		       "waits, or returns -1, ENOENT, and 0 when it is called "
		       "again", "%s", result_text(&s->heard[CONNECTOR]));
		expect_meeting(s);
		expect_no_names(s, WHY_NAMES);
	}
	check_hear_at_once();
	if (k == 1)
		skip_check("not exercised: no name is made by mkfifo");
}

/* ---- a conversation ------------------------------------------------- */

static void talk(struct connection *c, int me)
{
	int other = LISTENER + CONNECTOR - me;

	for (int i = 0; i < 3; i++)
		say(c, 10 * me + i, 10 * me + i, (size_t)i * 700);
	facts->polled[me] = connection_poll(c, -1);
	for (int i = 0; i < 3; i++)
		hear(c, 10 * me + i, 10 * other + i, 2000);
	say(c, 10 * me + 3, 10 * me + 3, 2 * MIB);
	hear(c, 10 * me + 3, 10 * other + 3, 2 * MIB);
}

/* What the caller has arranged for signals stays as it is. */
static void say_to_nobody(int i)
{
	have_signals(true);
	say(&mine, i, 0, 100);
	look_at_signals("");
	have_signals(false);
	say(&mine, i + 1, 0, 100);
}

/* Who leaves says something first; the other one stays. */
static void talk_and_part(int me)
{
	int other = LISTENER + CONNECTOR - me;

	if (facts->number[14]) {
		talk(&mine, me);
		connection_close(&mine);
		return;
	}
	if (facts->number[15] == me) {
		say(&mine, 10 * me + 4, 10 * me + 4, 60);
		connection_close(&mine);
		gate_open(&facts->go[0]);
		return;
	}
	gate_wait(&facts->go[0]);
	hear(&mine, 10 * me + 4, 10 * other + 4, 100);
	hear(&mine, 10 * me + 5, 0, 100);
	say_to_nobody(10 * me + 4);
	connection_close(&mine);
}

static void talking_listener(void)
{
	int before = open_descriptors();

	if (do_listen(&mine, LISTENER))
		talk_and_part(LISTENER);
	facts->number[5] = open_descriptors() - before;
}

static void talking_connector(void)
{
	int before = open_descriptors();

	if (do_connect(&mine, CONNECTOR))
		talk_and_part(CONNECTOR);
	facts->number[6] = open_descriptors() - before;
}

static void converse(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, talking_listener));
	program(CONNECTOR, talking_connector);
	s->number[11] = collect(s->pids[LISTENER]);
	s->number[12] = collect(s->pids[CONNECTOR]);
	remove_folder();
}

static void expect_talk(const struct facts *s)
{
	for (int me = LISTENER; me <= CONNECTOR; me++) {
		expect(s->polled[me] == 1, "A message is there, and something "
		       "else is told.", "connection_poll returns 1", "%d",
		       s->polled[me]);
		for (int i = 0; i < 4; i++) {
			expect_said(s, 10 * me + i, WHY_14);
			expect_heard(s, 10 * me + i, i < 3 ? (size_t)i * 700 :
				     2 * MIB, "Both sides of a named pipe send "
				     "and receive, and not all arrives.");
		}
	}
}

static void expect_parting(const struct facts *s)
{
	int stays = LISTENER + CONNECTOR - s->number[15];
	int killed = s->number[10 + stays];

	expect(killed == 0, WHY_KILLED, "connection_send returns -1, EPIPE",
	       "killed by %s", strsignal(killed));
	expect_heard(s, 10 * stays + 4, 60, "What was sent before the other "
		     "side went is lost.");
	expect_eof(s, 10 * stays + 5, WHY_08);
	for (int i = 4; i < 6; i++)
		expect_failed(&s->said[10 * stays + i], "connection_send",
			      EPIPE, ECONNRESET, WHY_KILLED);
	expect_signals();
}

static void expect_met(const struct facts *s)
{
	expect(s->heard[LISTENER].got == 0 && s->heard[CONNECTOR].got == 0,
	       WHY_DOORS, "connection_listen and connection_connect return 0",
	       "%s and %s", result_text(&s->heard[LISTENER]),
	       result_text(&s->heard[CONNECTOR]));
	expect(s->number[5] == 0 && s->number[6] == 0, WHY_20, "as many "
	       "descriptors after connection_close as before", "%d more who "
	       "listened, %d who connected", s->number[5], s->number[6]);
}

static void check_conversation(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	s->number[14] = true;
	fence(&(struct fence){ .scenario = converse, .shared = s,
			       .why_stuck = WHY_14 });
	expect_met(s);
	expect_talk(s);
}

static void check_parting(void)
{
	for (int leaves = LISTENER; leaves <= CONNECTOR; leaves++) {
		struct facts *s = shared(sizeof *s);

		make_messages();
		s->number[15] = leaves;
		fence(&(struct fence){ .scenario = converse, .shared = s,
				       .limit = 5, .why_stuck = WHY_08 });
		expect_met(s);
		expect_parting(s);
	}
}

/* ---- a peer that only sends ----------------------------------------- */

/* It plays back one message of ours, again and again, and reads nothing. */
enum { A_PAIR, MOST = 3 * CONNECTION_MAX, PLAYED = 3000 };

static char block[MIB];
static size_t frame, block_size;	/* on its way; so many whole ones */

/* What more is taken: until nothing goes while the other side is at rest. */
static long push_all(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	long sent = 0;
	ssize_t n;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (sent < MOST && !gate_is_open(&facts->ready[2])) {
		n = write(fd, block + (size_t)sent % block_size,
			  block_size - (size_t)sent % block_size);
		if (n > 0)
			sent += n;
		else if (errno != EAGAIN ||
			 (poll(&p, 1, 5) == 0 && settle(fence_pid()) &&
			  poll(&p, 1, 0) == 0))
			break;
	}
	fcntl(fd, F_SETFL, 0);
	return sent;
}

static void only_send(struct connection *c)
{
	struct pollfd p = { .fd = c->rfd, .events = POLLIN };
	size_t rest;

	gate_wait(&facts->ready[0]);
	frame = drain(c->rfd, block, sizeof block);
	if (frame < PLAYED || !is_stream(c->rfd))
		return;
	for (block_size = frame; block_size + frame <= sizeof block;
	     block_size += frame)
		memcpy(block + block_size, block, frame);
	fcntl(c->wfd, F_SETFL, 0);
	pour(c->wfd, block, frame);
	if (!gate_wait(&facts->ready[1]))
		return;			/* it is not to be played back */
	pour(c->wfd, block, block_size);
	facts->longs[0] = facts->number[15] == A_PAIR ? push_all(c->wfd) : 0;
	while (!gate_is_open(&facts->ready[2]) && poll(&p, 1, 5) >= 0)
		drain(c->rfd, (char *)into, sizeof into);
	rest = (frame - (size_t)facts->longs[0] % frame) % frame;
	pour(c->wfd, block + (frame - rest), rest);
	facts->longs[1] = ((long)block_size + facts->longs[0] + (long)rest) /
			  (long)frame;
	drain(c->rfd, (char *)into, sizeof into);
}

static void send_and_hear(struct connection *c)
{
	struct facts *s = facts;

	say(c, 0, 0, PLAYED);
	gate_open(&s->ready[0]);
	s->number[0] = hear(c, 0, 0, PLAYED) && s->heard[0].wrong < 0;
	if (!s->number[0])
		return;
	gate_open(&s->ready[1]);
	say(c, 1, 1, 4 * MIB);
	gate_open(&s->ready[2]);
	while (hear(c, 1, 0, PLAYED) && s->heard[1].got == PLAYED &&
	       s->heard[1].wrong < 0)
		s->number[2]++;
}

static void listening_sender(void)
{
	if (do_listen(&mine, LISTENER))
		only_send(&mine);
}

static void connecting_sender(void)
{
	if (connect_at_last())
		only_send(&mine);
}

static void sender_of_pair(void)
{
	only_send(&theirs);
}

static void one_only_sends(void *arg)
{
	struct facts *s = arg;
	bool met;

	if (s->number[15] == A_PAIR) {
		if (!make_pair(s, true))
			return;
		partner(sender_of_pair);
		send_and_hear(&mine);
		connection_close(&mine);
		collect(s->pids[0]);
		return;
	}
	if (!make_folder(s, "door"))
		return;
	if (s->number[15] == CONNECTOR) {
		settle(program(OTHER, listening_sender));
		met = do_connect(&mine, CONNECTOR);
	} else {
		program(OTHER, connecting_sender);
		met = do_listen(&mine, LISTENER);
	}
	if (met)
		send_and_hear(&mine);
	connection_close(&mine);
	collect(s->pids[OTHER]);
	remove_folder();
}

static void check_only_sends(void)
{
	bool played = false;

	for (int end = A_PAIR; end <= CONNECTOR; end++) {
		struct facts *s = shared(sizeof *s);
		struct fence_end how;

		make_messages();
		s->number[15] = end;
		how = fence_try(&(struct fence){ .scenario = one_only_sends,
						 .shared = s });
		if (!s->number[0])
			continue;
		played = true;
		expect(how.how == FENCE_FINISHED, WHY_14, "what arrives while "
		       "connection_send waits is taken in", "both sides wait");
		expect(s->longs[0] < MOST, "Who takes in everything can be "
		       "made to use up all memory.", "connection_send takes in "
		       "CONNECTION_MAX bytes and a little while it waits",
		       "%ld MiB, and it would have taken more",
		       s->longs[0] >> 20);
		expect_said(s, 1, WHY_14);
		expect(s->number[2] == s->longs[1], WHY_INBOX,
		       text("%ld messages of %d bytes, most of which came while "
			    "we were sending", s->longs[1], PLAYED),
		       "after %d of them: %s", s->number[2],
		       result_text(&s->heard[1]));
	}
	if (!played)
		skip_check("not exercised: a message cannot be played back");
}

/* ---- names that are there ------------------------------------------- */

enum { A_FILE, A_FOLDER, A_PIPE, A_LINK, KINDS };

static void put_there(const char *path, int kind)
{
	int fd;

	switch (kind) {
	case A_FILE:
		fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0644);
		if (fd >= 0 && write(fd, "precious", 8) == 8)
			close(fd);
		break;
	case A_FOLDER:
		mkdir(path, 0755);
		break;
	case A_PIPE:
		mknod(path, S_IFIFO | 0600, 0);
		break;
	default:
		if (symlink("/nowhere/at-all", path) != 0)
			perror(path);
	}
}

static bool is_there(const char *path, int kind)
{
	static const mode_t types[] = { S_IFREG, S_IFDIR, S_IFIFO, S_IFLNK };
	char inside[16];
	struct stat s;
	ssize_t n;
	int fd;

	if (lstat(path, &s) != 0 || (s.st_mode & S_IFMT) != types[kind])
		return false;
	if (kind != A_FILE)
		return true;
	fd = open(path, O_RDONLY);
	n = read(fd, inside, sizeof inside);
	close(fd);
	return n == 8 && memcmp(inside, "precious", 8) == 0;
}

static void taken(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	put_there(s->path, s->number[15]);
	s->number[0] = do_listen(&mine, LISTENER);
	s->number[8] = is_there(s->path, s->number[15]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

#define WHY_TAKEN "A name that is there already belongs to somebody else."

static void check_taken(void)
{
	for (int kind = 0; kind < KINDS; kind++) {
		struct facts *s = shared(sizeof *s);

		s->number[15] = kind;
		fence(&(struct fence){ .scenario = taken, .shared = s,
				       .why_stuck = WHY_TAKEN });
		expect_failed(&s->heard[LISTENER], "connection_listen, where "
			      "there is something of that name,", EEXIST, 0,
			      WHY_TAKEN);
		expect(s->number[8], WHY_TAKEN, "it is still there, and what "
		       "it was", "it is not");
		expect(strcmp(s->names, "/door/") == 0, WHY_TAKEN, "no other "
		       "name is left", "%s", s->names);
		expect(s->number[LISTENER] == 0, WHY_22, "nothing is left "
		       "open", "%d descriptors", s->number[LISTENER]);
	}
}

/* Two listeners: the second is refused, and harms the first one in nothing. */
static void second_listener(void)
{
	if (do_listen(&mine, OTHER))
		connection_close(&mine);
}

static void two_listen(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	collect(program(OTHER, second_listener));
	program(CONNECTOR, connector);
	collect(s->pids[CONNECTOR]);
	if (s->heard[CONNECTOR].got != 0)
		kill(s->pids[LISTENER], SIGKILL);
	collect(s->pids[LISTENER]);
	remove_folder();
}

static void check_two_listen(void)
{
	struct facts *s = shared(sizeof *s);

	make_messages();
	fence(&(struct fence){ .scenario = two_listen, .shared = s,
			       .why_stuck = WHY_TAKEN });
	expect_failed(&s->heard[OTHER], "connection_listen, where somebody "
		      "else listens,", EEXIST, 0, WHY_TAKEN);
	expect(s->heard[CONNECTOR].got == 0, WHY_TAKEN, "who was first can "
	       "still be found: connection_connect returns 0", "%s",
	       result_text(&s->heard[CONNECTOR]));
	expect_meeting(s);
	expect_no_names(s, WHY_NAMES);
}

/* Somebody has one of the names beside path: which they are, a look tells. */
static void find_names(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	settle(program(LISTENER, listener));
	list_names(s->names, sizeof s->names);
	kill(s->pids[LISTENER], SIGKILL);
	collect(s->pids[LISTENER]);
	remove_folder();
}

static void taken_beside(void *arg)
{
	struct facts *s = arg;
	char path[8400];

	if (!make_folder(s, "door"))
		return;
	snprintf(path, sizeof path, "%s/%s", folder, s->raw);
	put_there(path, A_FILE);
	settle(program(LISTENER, listener));
	if (!s->heard[LISTENER].called)
		program(CONNECTOR, connector);
	collect(s->pids[LISTENER]);
	if (s->pids[CONNECTOR] != 0)
		collect(s->pids[CONNECTOR]);
	s->number[8] = is_there(path, A_FILE);
	unlink(path);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void check_taken_beside(void)
{
	struct facts *s = shared(sizeof *s), *t;

	make_messages();
	fence(&(struct fence){ .scenario = find_names, .shared = s });
	expect(strstr(s->names, "/door/") != NULL, "Who listens cannot be "
	       "found.", "the name is there while connection_listen waits",
	       "in its folder: %s", s->names);
	for (char *p = s->names + 1, *end; (end = strchr(p, '/')) != NULL;
	     p = end + 1) {
		t = shared(sizeof *t);
		snprintf(t->raw, sizeof t->raw, "%.*s", (int)(end - p), p);
		expect(strncmp(t->raw, "door", 4) == 0, "A name was made that "
		       "has nothing to do with the one that was given.",
		       "names that begin with path", "%s", t->raw);
		fence(&(struct fence){ .scenario = taken_beside, .shared = t,
				       .why_stuck = WHY_TAKEN });
		expect(t->number[8], WHY_TAKEN, text("the file %s of somebody "
		       "else is still there", t->raw), "it is not");
		expect(t->heard[LISTENER].got == 0 ||
		       t->heard[LISTENER].error == EEXIST, WHY_TAKEN,
		       "connection_listen returns -1, EEXIST", "%s",
		       result_text(&t->heard[LISTENER]));
		expect_no_names(t, WHY_TAKEN);
		expect(t->number[LISTENER] == 0, WHY_22, "nothing is left "
		       "open", "%d descriptors", t->number[LISTENER]);
	}
}

/* ---- nobody there, or no place -------------------------------------- */

static void to_nobody(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	capture_output();
	do_connect(&mine, CONNECTOR);
	list_names(s->names, sizeof s->names);
	strcat(s->path, "/behind");
	do_listen(&mine, LISTENER);
	s->number[8] = captured(NULL, 0);
	remove_folder();
}

static void check_nobody(void)
{
	static const char why[] = "Nobody listens there, and that is an error "
		"at once.";
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = to_nobody, .shared = s,
			       .limit = 5, .why_stuck = why });
	expect_failed(&s->heard[CONNECTOR], "connection_connect, where nobody "
		      "listens,", ENOENT, 0, why);
	expect_no_names(s, "Who connects makes no name.");
	expect(s->number[CONNECTOR] == 0, WHY_22, "nothing is left open",
	       "%d descriptors", s->number[CONNECTOR]);
	expect_failed(&s->heard[LISTENER], "connection_listen, where there is "
		      "no such folder,", ENOENT, 0, "There is no such folder, "
		      "and nobody is told.");
	expect(s->number[LISTENER] == 0, WHY_22, "nothing is left open",
	       "%d descriptors", s->number[LISTENER]);
	expect_silence(s->number[8]);
}

/* There is something of that name, and nobody behind it. */
static void to_something_else(void *arg)
{
	struct facts *s = arg;

	if (!make_folder(s, "door"))
		return;
	put_there(s->path, s->number[15]);
	do_connect(&mine, CONNECTOR);
	s->number[8] = is_there(s->path, s->number[15]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void check_something_else(void)
{
	static const char why[] = "Where nobody listens nobody is found, "
		"whatever has that name.";
	static const int kinds[] = { A_FILE, A_FOLDER, A_LINK };

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct facts *s = shared(sizeof *s);
		const struct heard *h = &s->heard[CONNECTOR];

		s->number[15] = kinds[i];
		fence(&(struct fence){ .scenario = to_something_else,
				       .shared = s, .limit = 5,
				       .why_stuck = why });
		expect(h->got == -1 && h->error != 0, why,
		       "connection_connect returns -1, and errno says why",
		       "%s", result_text(h));
		expect(s->number[8] && strcmp(s->names, "/door/") == 0,
		       "Who only looks for somebody changes nothing.",
		       text("%s of that name is what it was",
			    (const char *[]){ "a file", "a folder", "a pipe",
					      "a link" }[kinds[i]]),
		       "it is not, or there are more names: %s", s->names);
		expect(s->number[CONNECTOR] == 0, WHY_22, "nothing is left "
		       "open", "%d descriptors", s->number[CONNECTOR]);
	}
}

/* A name that has just room: perhaps not with what is put behind it. */
static void long_name(void *arg)
{
	struct facts *s = arg;
	char name[300];

	memset(name, 'n', sizeof name);
	name[s->number[15]] = '\0';
	if (!make_folder(s, name))
		return;
	settle(program(LISTENER, listener));
	list_names(s->names, sizeof s->names);
	for (char *p = s->names + 1, *end; (end = strchr(p, '/')) != NULL;
	     p = end + 1)
		s->number[8] += strncmp(p, name, strlen(name)) != 0;
	if (!s->heard[LISTENER].called)
		program(CONNECTOR, connector);
	collect(s->pids[LISTENER]);
	if (s->pids[CONNECTOR] != 0)
		collect(s->pids[CONNECTOR]);
	list_names(s->names, sizeof s->names);
	remove_folder();
}

static void check_long_names(void)
{
	static const int lengths[] = { 255, 254, 252, 250, 200 };

	make_messages();
	for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
		struct facts *s = shared(sizeof *s);

		s->number[15] = lengths[i];
		fence(&(struct fence){ .scenario = long_name, .shared = s,
				       .why_stuck = WHY_DOORS });
		if (s->heard[LISTENER].got == 0 || lengths[i] == 200)
			expect_meeting(s);
		expect_no_names(s, WHY_22);
		expect(s->number[8] == 0, "A long name was cut short.",
		       text("each name begins with the %d letters that were "
			    "given", lengths[i]), "%d do not", s->number[8]);
		expect(s->number[LISTENER] == 0, WHY_22, "nothing is left "
		       "open", "%d descriptors", s->number[LISTENER]);
	}
}

#define FUNCTION(name, run, of) \
	{ "functions", name, run, (const void *)(of) }

static const struct check checks[] = {
	FUNCTION("two programs meet at a name", check_listener_first,
		 connection_listen),
	FUNCTION("where nobody listens nobody is found", check_nobody,
		 connection_connect),
	FUNCTION("who looks for somebody changes nothing",
		 check_something_else, connection_connect),
	FUNCTION("who has met at a name sees the other side go",
		 check_parting, connection_listen),
	FUNCTION("two programs talk by a name", check_conversation,
		 connection_listen),
	FUNCTION("a signal does not end the wait for somebody", check_signal,
		 connection_listen),
	FUNCTION("who comes while the names are made is not lost",
		 check_in_between, connection_connect),
	FUNCTION("a name that is there is not taken", check_taken,
		 connection_listen),
	FUNCTION("a second listener is refused", check_two_listen,
		 connection_listen),
	FUNCTION("a name beside it that is there is not taken",
		 check_taken_beside, connection_listen),
	FUNCTION("a long name works or leaves nothing", check_long_names,
		 connection_listen),
	FUNCTION("it does not matter who comes first", check_connector_first,
		 connection_connect),
	FUNCTION("who only sends is listened to, within a limit",
		 check_only_sends, connection_send),
};

CHECKS("04-pipe", checks);
