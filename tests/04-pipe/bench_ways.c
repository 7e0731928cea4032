/*
 * bench_ways - messages between two processes, by one way or another
 *
 * usage: bench_ways there_and_back|one_way CORES SIZE MESSAGES WAY...
 *
 * there_and_back: the child sends each message back before the next one comes.
 * one_way: the child sends them all, the parent receives, and then says so.
 * CORES: 1 lets both run on the same core, 2 anywhere. The ways take turns.
 * "ours" and what begins so is the lab's connection; the table at the end
 * tells the others. Raw ones have no frames: both sides know the SIZE.
 */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../bench/measure.h"
#include "fl.h"

enum { TURNS = 15, LARGE = 1 << 20 };	/* or until they took ENOUGH each */
static const double ENOUGH = 0.4;

/* One process's end of it: any way uses what it needs. */
struct end {
	struct connection connection;
	int rfd, wfd;
	struct ring *in, *out;
};

static struct end parent, child;
static size_t size;

static void failed(const char *what)
{
	fl_die("cannot %s", what);
}

/* ---- ours ---------------------------------------------------------------- */

static void make_ours(void)
{
	if (connection_pair(&parent.connection, &child.connection, true) != 0)
		failed("make a connection");
}

static void make_ours_by_pipe(void)
{
	if (connection_pair(&parent.connection, &child.connection, false) != 0)
		failed("make a connection");
}

/* Both ends of the named pipes; a child of ours connects, to be known here. */
static void make_ours_by_names(void)
{
	char path[] = "/tmp/bench_ways.XXXXXX";
	int fd = mkstemp(path);
	pid_t pid;

	if (fd < 0 || close(fd) != 0 || unlink(path) != 0)
		failed("find a name");
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		failed("fork");
	if (pid == 0) {
		while (connection_connect(&child.connection, path) != 0)
			if (errno != ENOENT)
				failed("connect");
		return;			/* it goes on as the child */
	}
	if (connection_listen(&parent.connection, path) != 0)
		failed("listen");
	child.rfd = pid;		/* tells start that it is there */
}

static void send_ours(struct end *e, const void *message)
{
	if (connection_send(&e->connection, message, size) != 0)
		failed("send");
}

static void recv_ours(struct end *e, void *message)
{
	if (connection_recv(&e->connection, message, size) != (ssize_t)size)
		failed("receive");
}

static void close_ours(struct end *e)
{
	connection_close(&e->connection);
}

/* ---- raw descriptors ----------------------------------------------------- */

static void make_sockets(int type, int buffer)
{
	int ends[2];

	if (socketpair(AF_UNIX, type, 0, ends) != 0)
		failed("make a socket pair");
	for (int i = 0; i < 2 && buffer > 0; i++)
		if (setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &buffer,
			       sizeof buffer) != 0)
			setsockopt(ends[i], SOL_SOCKET, SO_SNDBUF, &buffer,
				   sizeof buffer);
	parent.rfd = parent.wfd = ends[0];
	child.rfd = child.wfd = ends[1];
}

static void make_stream(void)
{
	make_sockets(SOCK_STREAM, 0);
}

static void make_large_stream(void)
{
	make_sockets(SOCK_STREAM, LARGE);
}

static void make_packets(void)
{
	make_sockets(SOCK_SEQPACKET, 0);
}

static void make_two_pipes(int room)
{
	int there[2], back[2];

	if (pipe(there) != 0 || pipe(back) != 0)
		failed("make a pipe");
	if (room > 0 && (fcntl(there[1], F_SETPIPE_SZ, room) < 0 ||
			 fcntl(back[1], F_SETPIPE_SZ, room) < 0))
		failed("make the pipes larger");
	parent.wfd = there[1];
	child.rfd = there[0];
	child.wfd = back[1];
	parent.rfd = back[0];
}

static void make_pipes(void)
{
	make_two_pipes(0);
}

static void make_large_pipes(void)
{
	make_two_pipes(LARGE);
}

static void send_raw(struct end *e, const void *message)
{
	const char *from = message;
	ssize_t n;

	for (size_t done = 0; done < size; done += (size_t)n) {
		n = write(e->wfd, from + done, size - done);
		if (n < 0)
			failed("write");
	}
}

static void recv_raw(struct end *e, void *message)
{
	char *to = message;
	ssize_t n;

	for (size_t done = 0; done < size; done += (size_t)n) {
		n = read(e->rfd, to + done, size - done);
		if (n <= 0)
			failed("read");
	}
}

static void close_raw(struct end *e)
{
	close(e->rfd);
	if (e->wfd != e->rfd)
		close(e->wfd);
}

/* ---- shared memory: a ring of bytes for each direction ------------------- */

enum { RING = 256 << 10, LOOKS = 100, YIELDS = 3 };

/* Who writes moves `written` on, who reads `seen`; both only count up. */
struct ring {
	_Alignas(64) atomic_uint written;
	_Alignas(64) atomic_uint seen;
	_Alignas(64) atomic_uint sleepers;
	unsigned char bytes[RING];
};

static struct ring *rings;
static int looks;

static void make_rings(void)
{
	rings = mmap(NULL, 2 * sizeof *rings, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (rings == MAP_FAILED)
		failed("share memory");
	parent.in = child.out = &rings[0];
	parent.out = child.in = &rings[1];
	looks = LOOKS;
}

static void make_rings_that_sleep(void)
{
	make_rings();
	looks = 0;
}

static void pause_a_moment(void)
{
#if defined __x86_64__ || defined __i386__
	__builtin_ia32_pause();
#endif
}

/* Wait until it is no longer `old`: look, give way, and in the end sleep. */
static void wait_while(struct ring *r, atomic_uint *word, unsigned old)
{
	for (int i = 0; i < looks; i++) {
		if (atomic_load(word) != old)
			return;
		pause_a_moment();
	}
	for (int i = 0; looks > 0 && i < YIELDS; i++) {
		if (atomic_load(word) != old)
			return;
		sched_yield();
	}
	atomic_fetch_add(&r->sleepers, 1);
	while (atomic_load(word) == old)
		syscall(SYS_futex, word, FUTEX_WAIT, old, NULL, NULL, 0);
	atomic_fetch_sub(&r->sleepers, 1);
}

static void move_on(struct ring *r, atomic_uint *word, size_t n)
{
	atomic_fetch_add(word, (unsigned)n);
	if (atomic_load(&r->sleepers) > 0)
		syscall(SYS_futex, word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* The next bytes that can be moved at once: no further than the ring's end. */
static size_t piece(size_t there, size_t left, unsigned at)
{
	size_t n = there < left ? there : left;
	size_t straight = RING - at % RING;

	n = n < straight ? n : straight;
	return n < RING / 4 ? n : RING / 4;	/* so that both sides work */
}

static void send_ring(struct end *e, const void *message)
{
	struct ring *r = e->out;
	const char *from = message;
	unsigned at = atomic_load(&r->written), seen;
	size_t n;

	for (size_t done = 0; done < size; done += n, at += (unsigned)n) {
		seen = atomic_load(&r->seen);
		if (at - seen == RING)
			wait_while(r, &r->seen, seen);
		n = piece(RING - (at - atomic_load(&r->seen)), size - done, at);
		memcpy(r->bytes + at % RING, from + done, n);
		move_on(r, &r->written, n);
	}
}

static void recv_ring(struct end *e, void *message)
{
	struct ring *r = e->in;
	char *to = message;
	unsigned at = atomic_load(&r->seen), written;
	size_t n;

	for (size_t done = 0; done < size; done += n, at += (unsigned)n) {
		written = atomic_load(&r->written);
		if (at == written)
			wait_while(r, &r->written, written);
		n = piece(atomic_load(&r->written) - at, size - done, at);
		memcpy(to + done, r->bytes + at % RING, n);
		move_on(r, &r->seen, n);
	}
}

static void close_rings(struct end *e)
{
	(void)e;
	munmap(rings, 2 * sizeof *rings);
}

/* ---- all of them --------------------------------------------------------- */

static const struct way {
	const char *key;
	void (*make)(void);
	void (*send)(struct end *e, const void *message);
	void (*recv)(struct end *e, void *message);
	void (*close)(struct end *e);
} ways[] = {
	{ "ours", make_ours, send_ours, recv_ours, close_ours },
	{ "ours_pipe", make_ours_by_pipe, send_ours, recv_ours, close_ours },
	{ "ours_names", make_ours_by_names, send_ours, recv_ours, close_ours },
	{ "stream", make_stream, send_raw, recv_raw, close_raw },
	{ "large_stream", make_large_stream, send_raw, recv_raw, close_raw },
	{ "packets", make_packets, send_raw, recv_raw, close_raw },
	{ "pipes", make_pipes, send_raw, recv_raw, close_raw },
	{ "large_pipes", make_large_pipes, send_raw, recv_raw, close_raw },
	{ "ring", make_rings, send_ring, recv_ring, close_rings },
	{ "sleeping_ring", make_rings_that_sleep, send_ring, recv_ring,
	  close_rings },
};

enum { WAYS = sizeof ways / sizeof ways[0] };

static struct times times[WAYS];
static unsigned char *message;
static pid_t caller;

static int find_way(const char *key)
{
	for (int i = 0; i < WAYS; i++)
		if (strcmp(ways[i].key, key) == 0)
			return i;
	fl_usage("there is no way '%s'", key);
}

static void mark(long i)
{
	message[0] = message[size - 1] = (unsigned char)i;
}

static void look(long i)
{
	unsigned char wanted = (unsigned char)i;

	if (message[0] != wanted || message[size - 1] != wanted)
		fl_die("message %ld is not what was sent", i);
}

static _Noreturn void run_child(const struct way *w, bool back, long n)
{
	for (long i = 0; i < n; i++) {
		if (back)
			w->recv(&child, message);
		else
			mark(i);
		w->send(&child, message);
	}
	_exit(FL_OK);
}

static double run_parent(const struct way *w, bool back, long n)
{
	double start;

	if (!back) {			/* the first one: both are awake */
		w->recv(&parent, message);
		look(0);
	}
	start = fl_now();
	for (long i = back ? 0 : 1; i < n; i++) {
		if (back) {
			mark(i);
			w->send(&parent, message);
		}
		w->recv(&parent, message);
		look(i);
	}
	return fl_now() - start;
}

/* The child's process; 0 in the child itself. */
static pid_t start(const struct way *w)
{
	parent.rfd = parent.wfd = child.rfd = child.wfd = -1;
	w->make();
	if (w->make == make_ours_by_names)
		return getpid() == caller ? child.rfd : 0;
	return fork();
}

static double run_once(const struct way *w, bool back, long n)
{
	double seconds;
	pid_t pid = start(w);
	int status;

	if (pid < 0)
		failed("fork");
	if (pid == 0)
		run_child(w, back, n);
	seconds = run_parent(w, back, n);
	if (waitpid(pid, &status, 0) < 0 || status != 0)
		fl_die("the child failed");
	w->close(&parent);
	if (w->make != make_ours_by_names)
		w->close(&child);
	return seconds;
}

static void run_on_one_core(void)
{
	cpu_set_t cores;

	CPU_ZERO(&cores);
	CPU_SET(sched_getcpu(), &cores);
	if (sched_setaffinity(0, sizeof cores, &cores) != 0)
		failed("choose a core");
}

int main(int argc, char **argv)
{
	bool back = argc > 5 && strcmp(argv[1], "there_and_back") == 0;
	long cores = measure_argument(argc > 5 ? argv[2] : NULL, 2), n;
	double end;
	int w;

	size = (size_t)measure_argument(argv[3], CONNECTION_MAX);
	n = measure_argument(argv[4], LONG_MAX);
	caller = getpid();
	message = calloc(1, size);
	if (message == NULL)
		failed("get memory");
	if (cores == 1)
		run_on_one_core();
	end = fl_now() + ENOUGH * (argc - 5);
	for (int t = 0; t < TURNS && (t == 0 || fl_now() < end); t++)
		for (int i = 5; i < argc; i++) {
			w = find_way(argv[i]);
			times_add(&times[w], run_once(&ways[w], back, n));
		}
	for (int i = 5; i < argc; i++)
		times_print(&times[find_way(argv[i])], argv[i],
			    back ? n : n - 1);
	return FL_OK;
}
