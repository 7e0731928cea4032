/* style: a process of its own keeps the order: it tells who may write to which
 * place, who may read it, and lets everybody else wait */
#include "queue.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/*
 * Each call is a connection: the client asks, waits for an answer, uses the
 * place that it names, and says that it is done. Who dies in between closes
 * its end, and the server has the place back.
 */
enum what { PUT, GET, CLOSE, COUNT, QUIT };
enum { PLACE, NONE, CLOSED, WELL };	/* kinds of answers */

struct request {
	enum what what;
	bool waits;
};

struct answer {
	int kind;
	size_t number;		/* of a place, or of items */
};

struct queue {
	int fd;			/* to the server */
	pid_t server;
	size_t maxsize, item_size;
	unsigned char *places;	/* shared */
};

static int failed(int error)
{
	errno = error;
	return -1;
}

/* ---- the server --------------------------------------------------------- */

struct client {
	int fd;
	enum what what;
	bool has_place;
	size_t place;
};

static struct {
	size_t *free, n_free;
	size_t *filled, first, n_filled, room;	/* a ring of places */
	struct client *clients;			/* in the order they came */
	struct pollfd *fds;			/* one more than clients */
	size_t n_clients, most;
	bool closed;
} s;

static bool answer(int fd, int kind, size_t number)
{
	struct answer a = { kind, number };
	ssize_t n;

	do
		n = send(fd, &a, sizeof a, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof a;
}

static void forget(size_t i)
{
	close(s.clients[i].fd);
	s.n_clients--;
	memmove(&s.clients[i], &s.clients[i + 1],
		(s.n_clients - i) * sizeof *s.clients);
}

/* A place was used, or its user is gone. */
static void give_back(struct client *c, bool done)
{
	if (c->what == PUT && done && !s.closed) {
		s.filled[(s.first + s.n_filled++) % s.room] = c->place;
		answer(c->fd, WELL, 0);
		return;
	}
	s.free[s.n_free++] = c->place;
	answer(c->fd, c->what == PUT ? CLOSED : WELL, 0);
}

/* False: it has to wait. */
static bool serve_now(struct client *c)
{
	if (c->what == PUT && s.closed)
		return answer(c->fd, CLOSED, 0), c->fd = -c->fd, true;
	if (c->what == PUT && s.n_free > 0) {
		c->place = s.free[--s.n_free];
	} else if (c->what == GET && s.n_filled > 0) {
		c->place = s.filled[s.first];
		s.first = (s.first + 1) % s.room;
		s.n_filled--;
	} else if (c->what == GET && s.closed) {
		return answer(c->fd, CLOSED, 0), c->fd = -c->fd, true;
	} else {
		return false;
	}
	c->has_place = true;
	answer(c->fd, PLACE, c->place);
	return true;
}

static void serve_waiting(void)
{
	for (size_t i = 0; i < s.n_clients; i++) {
		struct client *c = &s.clients[i];

		if (c->has_place || !serve_now(c) || c->fd > 0)
			continue;
		c->fd = -c->fd;
		forget(i--);
	}
}

/* Room for twice as many clients. */
static bool grow(void)
{
	size_t more = 2 * s.most;
	struct client *clients = realloc(s.clients, more * sizeof *clients);
	struct pollfd *fds;

	if (clients == NULL)
		return false;
	s.clients = clients;
	fds = realloc(s.fds, (more + 1) * sizeof *fds);
	if (fds == NULL)
		return false;
	s.fds = fds;
	s.most = more;
	return true;
}

static bool add_client(int fd, const struct request *r)
{
	struct client c = { fd, r->what, false, 0 };

	if (s.n_clients == s.most && !grow())
		return false;
	s.clients[s.n_clients++] = c;
	serve_waiting();
	if (s.n_clients == 0 || s.clients[s.n_clients - 1].fd != fd)
		return true;
	if (!s.clients[s.n_clients - 1].has_place && !r->waits) {
		answer(fd, NONE, 0);
		forget(s.n_clients - 1);
	}
	return true;
}

static void serve_request(const struct request *r, int fd)
{
	if ((r->what == PUT || r->what == GET) && add_client(fd, r))
		return;
	if (r->what == CLOSE) {
		s.closed = true;
		serve_waiting();
	}
	answer(fd, WELL, s.n_filled);
	close(fd);
}

/* A client says that it is done, or waits no more, or is gone. */
static void hear_client(size_t i)
{
	struct client *c = &s.clients[i];
	ssize_t n;
	char word;

	n = recv(c->fd, &word, 1, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == 1 && word == 'n' && c->has_place)
		return;			/* too late: it has a place */
	if (c->has_place)
		give_back(c, n == 1);
	else
		answer(c->fd, NONE, 0);
	forget(i);
}

/* False when nobody is left who could ask. */
static bool receive(int from)
{
	struct request r;
	struct iovec v = { &r, sizeof r };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof c };
	ssize_t n;
	int fd;

	do
		n = recvmsg(from, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0 || r.what == QUIT)
		return false;
	if (CMSG_FIRSTHDR(&m) == NULL)
		return true;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
	serve_request(&r, fd);
	return true;
}

static void look_around(int from)
{
	struct pollfd *fds = s.fds;
	size_t n = s.n_clients;

	fds[0] = (struct pollfd){ .fd = from, .events = POLLIN };
	for (size_t i = 0; i < n; i++)
		fds[i + 1] = (struct pollfd){ .fd = s.clients[i].fd,
					      .events = POLLIN };
	if (poll(fds, (nfds_t)n + 1, -1) < 0)
		return;
	for (size_t i = n; i-- > 0;)
		if (fds[i + 1].revents)
			hear_client(i);
	serve_waiting();
	if (fds[0].revents && !receive(from))
		_exit(0);
}

static _Noreturn void serve(int from)
{
	for (;;)
		look_around(from);
}

/* ---- its clients --------------------------------------------------------- */

static void forget_all(void)
{
	free(s.free);
	free(s.filled);
	free(s.clients);
	free(s.fds);
}

/* In the caller, so that what cannot be had is missed at once. */
static bool prepare(size_t maxsize)
{
	memset(&s, 0, sizeof s);
	s.room = maxsize;
	s.most = 64;
	s.free = calloc(maxsize, sizeof *s.free);
	s.filled = calloc(maxsize, sizeof *s.filled);
	s.clients = calloc(s.most, sizeof *s.clients);
	s.fds = calloc(s.most + 1, sizeof *s.fds);
	if (!s.free || !s.filled || !s.clients || !s.fds) {
		forget_all();
		return false;
	}
	while (s.n_free < maxsize) {
		s.free[s.n_free] = maxsize - 1 - s.n_free;
		s.n_free++;
	}
	return true;
}

static void start_server(struct queue *q, int ends[2])
{
	q->fd = ends[0];
	q->server = fork();
	if (q->server != 0)
		return;
	dup2(ends[1], 3);
	close_range(4, ~0U, 0);
	serve(3);
}

struct queue *queue_create(size_t maxsize, size_t item_size)
{
	int ends[2] = { -1, -1 }, error;
	struct queue *q;

	if (maxsize == 0 || item_size == 0)
		return errno = EINVAL, NULL;
	if (maxsize > ((size_t)1 << 40) / item_size)
		return errno = ENOMEM, NULL;
	q = malloc(sizeof *q);
	if (q == NULL)
		return NULL;
	*q = (struct queue){ -1, -1, maxsize, item_size, NULL };
	q->places = mmap(NULL, maxsize * item_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (q->places != MAP_FAILED && prepare(maxsize)) {
		if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
			       ends) == 0)
			start_server(q, ends);
		error = errno;
		forget_all();
	} else {
		error = errno;
	}
	if (ends[1] >= 0)
		close(ends[1]);
	if (q->server > 0)
		return q;
	if (ends[0] >= 0)
		close(ends[0]);
	if (q->places != MAP_FAILED)
		munmap(q->places, maxsize * item_size);
	free(q);
	errno = error;
	return NULL;
}

/* Ask; the answer comes over a connection of its own. -1 if there is none. */
static int request(struct queue *q, enum what what, bool waits)
{
	struct request r;
	struct iovec v = { &r, sizeof r };
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = &c,
			    .msg_controllen = sizeof c };
	int ends[2], error;
	ssize_t n;

	memset(&r, 0, sizeof r);
	r.what = what;
	r.waits = waits;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return -1;	/* not even when asked twice */
	memset(&c, 0, sizeof c);
	c.h = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS,
				.cmsg_len = CMSG_LEN(sizeof(int)) };
	memcpy(CMSG_DATA(&c.h), &ends[1], sizeof(int));
	do
		n = sendmsg(q->fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	error = errno;
	close(ends[1]);
	if (n >= 0)
		return ends[0];
	close(ends[0]);
	return failed(error);
}

static struct answer hear_answer(int fd)
{
	struct answer a = { NONE, 0 };
	size_t done = 0;
	ssize_t n;

	while (done < sizeof a) {
		n = recv(fd, (char *)&a + done, sizeof a - done, 0);
		if (n == 0 || (n < 0 && errno != EINTR))
			return (struct answer){ CLOSED, 0 };
		if (n > 0)
			done += (size_t)n;
	}
	return a;
}

static void say(int fd, char word)
{
	while (send(fd, &word, 1, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

static double seconds_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool answered_within(int fd, double timeout)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	double left, end = seconds_now() + timeout;

	for (;;) {
		left = end - seconds_now();
		if (left <= 0)
			return false;
		if (poll(&p, 1, left > 1e6 ? 1000000000
					   : (int)(left * 1e3) + 1) > 0)
			return true;
	}
}

/* A place to use, over the connection *fd; or another answer. */
static struct answer ask(struct queue *q, enum what what, double timeout,
			 int *fd)
{
	struct answer a = { CLOSED, 0 };

	*fd = request(q, what, timeout != 0);
	if (*fd < 0)
		return a;
	if (timeout > 0 && !answered_within(*fd, timeout))
		say(*fd, 'n');		/* and hear what became of it */
	return hear_answer(*fd);
}

int queue_put(struct queue *q, const void *item, double timeout)
{
	struct answer a;
	int fd;

	if (item == NULL)
		return failed(EINVAL);
	a = ask(q, PUT, timeout, &fd);
	if (a.kind == PLACE) {
		memcpy(q->places + a.number * q->item_size, item, q->item_size);
		say(fd, 'd');
		a = hear_answer(fd);
	}
	if (fd >= 0)
		close(fd);
	return a.kind == WELL ? 0 : a.kind == NONE ? 1 : failed(EPIPE);
}

int queue_get(struct queue *q, void *item, double timeout)
{
	struct answer a;
	int fd;

	if (item == NULL)
		return failed(EINVAL);
	a = ask(q, GET, timeout, &fd);
	if (a.kind == PLACE) {
		memcpy(item, q->places + a.number * q->item_size, q->item_size);
		say(fd, 'd');
		a = hear_answer(fd);
	}
	if (fd >= 0)
		close(fd);
	return a.kind == WELL ? 0 : a.kind == NONE ? 1 : failed(EPIPE);
}

static size_t tell(struct queue *q, enum what what)
{
	int fd = request(q, what, false);
	struct answer a = { CLOSED, 0 };

	if (fd < 0)
		return 0;
	a = hear_answer(fd);
	close(fd);
	return a.number;
}

int queue_close(struct queue *q)
{
	tell(q, CLOSE);
	return 0;
}

size_t queue_qsize(struct queue *q)
{
	return tell(q, COUNT);
}

void queue_destroy(struct queue *q)
{
	struct request r;

	memset(&r, 0, sizeof r);
	r.what = QUIT;
	while (send(q->fd, &r, sizeof r, MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
	while (waitpid(q->server, NULL, 0) < 0 && errno == EINTR)
		;
	close(q->fd);
	munmap(q->places, q->maxsize * q->item_size);
	free(q);
}

/* ---- producers and consumers ------------------------------------------- */

/*
 * Each process holds the write end of one pipe, and says there how it went.
 * Who says nothing has died: its end of file comes without a word.
 */
struct worker {
	pid_t pid;
	int from;		/* read end; -1 when it has ended */
};

struct run {
	struct queue *q;
	int producers, consumers;
	int (*produce)(struct queue *q, int producer, void *arg);
	int (*consume)(const void *item, int consumer, void *arg);
	void *arg;
	struct worker *workers;
	int started, error;
};

static char consume_all(const struct run *r, int consumer)
{
	void *item = malloc(r->q->item_size);

	if (item == NULL)
		return 'f';
	while (queue_get(r->q, item, -1) == 0)
		if (r->consume(item, consumer, r->arg) != 0)
			return 'f';
	return 'd';
}

static _Noreturn void work(const struct run *r, int i, int to)
{
	char word;

	for (int k = 0; k < r->started; k++)
		close(r->workers[k].from);
	if (i >= r->producers)
		word = consume_all(r, i - r->producers);
	else
		word = r->produce(r->q, i, r->arg) == 0 ? 'd' : 'f';
	while (write(to, &word, 1) < 0 && errno == EINTR)
		;
	_exit(0);
}

static void wrong(struct run *r, int error)
{
	if (r->error == 0)
		r->error = error;
	queue_close(r->q);
}

static bool start(struct run *r)
{
	int ends[2], i = r->started;
	pid_t pid;

	if (pipe(ends) != 0)
		return false;
	pid = fork();
	if (pid == 0) {
		close(ends[0]);
		work(r, i, ends[1]);
	}
	if (pid < 0) {
		int error = errno;

		close(ends[0]);
		close(ends[1]);
		errno = error;
		return false;
	}
	close(ends[1]);
	r->workers[i] = (struct worker){ pid, ends[0] };
	r->started++;
	return true;
}

static void hear(struct run *r, int i)
{
	struct worker *w = &r->workers[i];
	bool producing = false;
	ssize_t n;
	char word;

	do
		n = read(w->from, &word, 1);
	while (n < 0 && errno == EINTR);
	close(w->from);
	w->from = -1;
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (n != 1)
		wrong(r, EOWNERDEAD);
	else if (word != 'd')
		wrong(r, ECANCELED);
	for (int k = 0; k < r->producers && k < r->started; k++)
		producing |= r->workers[k].from >= 0;
	if (!producing)
		queue_close(r->q);
}

static void hear_all(struct run *r)
{
	fd_set ready;
	int most;

	for (;;) {
		FD_ZERO(&ready);
		most = -1;
		for (int i = 0; i < r->started; i++)
			if (r->workers[i].from >= 0) {
				FD_SET(r->workers[i].from, &ready);
				if (r->workers[i].from > most)
					most = r->workers[i].from;
			}
		if (most < 0)
			return;
		if (select(most + 1, &ready, NULL, NULL, NULL) <= 0)
			continue;
		for (int i = 0; i < r->started; i++)
			if (r->workers[i].from >= 0 &&
			    FD_ISSET(r->workers[i].from, &ready))
				hear(r, i);
	}
}

int queue_run(struct queue *q, int producers, int consumers,
	      int (*produce)(struct queue *q, int producer, void *arg),
	      int (*consume)(const void *item, int consumer, void *arg),
	      void *arg)
{
	struct run r = { q, producers, consumers, produce, consume, arg,
			 NULL, 0, 0 };
	int n = producers + consumers;

	if (producers < 1 || consumers < 1)
		return failed(EINVAL);
	r.workers = calloc((size_t)n, sizeof *r.workers);
	if (r.workers == NULL)
		wrong(&r, ENOMEM);
	while (r.error == 0 && r.started < n)
		if (!start(&r))
			wrong(&r, errno);
	hear_all(&r);
	free(r.workers);
	return r.error == 0 ? 0 : failed(r.error);
}
