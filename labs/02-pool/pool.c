/*
 * Lab 02: this is your file, edit it here. Each TODO(n) is a part that
 * waits for you; the comment above it says what to write there.
 * `make lab LAB=02` judges it, `make hint LAB=02` gives a hint.
 */

/*
 * pool - workers that are forked once and then fed
 *
 * Two roads lead from the owner to its workers:
 *
 *   control   a socket pair for each worker. "Start" goes one way, "done"
 *             comes back, and in between both sides sleep. When one of them
 *             dies the system closes its descriptors, and the other wakes up
 *             at an end of file: nobody has to look after anybody.
 *   data      items, results and what became of each lie in memory that all
 *             share, and so does the number of the next item to hand out.
 *             No item costs a system call, however large or small it is.
 */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "todo.h"

enum {
	CACHE_LINE = 64,
	PIECE = 1 << 20		/* the shared data grows by so much */
};

/*
 * What became of an item. One byte each: a million of them are looked through
 * in a moment, and the error numbers are read only of those that FAILED.
 */
enum state {
	PENDING,		/* nobody is through with it */
	DONE,
	FAILED,			/* the task did not return 0 */
	LOST			/* its worker died in it */
};

/* What is to be done. The owner writes it while all workers are idle. */
struct job {
	pool_fn *fn;		/* the same address in each: they are copies */
	size_t n, item_size, result_size;
	size_t chunksize;	/* 0 = guided */
	size_t results, errs, states;	/* where in the shared data they begin */
	size_t data_size;
};

/*
 * The board hangs where everybody sees it: in shared memory. What workers
 * write while they work has cache lines of its own, or they would keep taking
 * them out of each other's hands.
 */
struct board {
	struct job job;
	int workers, shares;
	struct progress {
		_Alignas(CACHE_LINE) _Atomic size_t item; /* it is at this one */
		/* a share of the items: those from next on, up to, not
		 * including, end are not handed out yet */
		_Alignas(CACHE_LINE) _Atomic size_t next;
		size_t end;
	} progress[];
};

struct worker {
	pid_t pid;
	int fd;			/* the owner's end; -1 = no worker (any more) */
	bool busy;
};

struct pool {
	struct board *board;
	size_t board_size;
	int data_fd;		/* items, results, errs, states */
	char *data;
	size_t data_size;	/* as much of it as is mapped here */
	struct pool *next;
	int size;
	struct worker workers[];
};

static struct pool *pools;	/* all that this process owns */

/* ---- shared memory ----------------------------------------------------- */

static const void *item_at(const struct pool *p, size_t i)
{
	return p->data + i * p->board->job.item_size;
}

static void *result_at(const struct pool *p, size_t i)
{
	const struct job *job = &p->board->job;

	return p->data + job->results + i * job->result_size;
}

static int *errs_of(const struct pool *p)
{
	return (int *)(p->data + p->board->job.errs);
}

static _Atomic unsigned char *states_of(const struct pool *p)
{
	return (void *)(p->data + p->board->job.states);
}

/* Map the first size bytes of the data, unless that is what we have. */
static bool map_data(struct pool *p, size_t size)
{
	void *data;

	if (p->data_size == size)
		return true;
	data = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, p->data_fd, 0);
	if (data == MAP_FAILED)
		return false;
	if (p->data != NULL)
		munmap(p->data, p->data_size);
	p->data = data;
	p->data_size = size;
	return true;
}

/*
 * Get the memory now: a page that turns out to be missing when it is touched
 * ends the process with SIGBUS. And get it piece by piece: a signal undoes
 * what it interrupts, and where signals are frequent a large piece would
 * never be finished.
 */
static bool grow_data(struct pool *p, size_t size)
{
	size_t reserved = p->data_size;

	while (reserved < size) {
		errno = posix_fallocate(p->data_fd, reserved, PIECE);
		if (errno == 0)
			reserved += PIECE;
		else if (errno != EINTR)
			return false;
	}
	return map_data(p, size);
}

static size_t round_up(size_t size, size_t unit)
{
	return (size + unit - 1) / unit * unit;
}

/* Put the job and its items where the workers find them. */
static bool post(struct pool *p, struct job *job, const void *items)
{
	const size_t most = PTRDIFF_MAX / 4;

	if (job->item_size > most || job->result_size > most ||
	    job->n > most / (job->item_size + job->result_size +
			     sizeof(int) + 1))
		return errno = ENOMEM, false;
	job->results = round_up(job->n * job->item_size, CACHE_LINE);
	job->errs = job->results +
		    round_up(job->n * job->result_size, CACHE_LINE);
	job->states = job->errs + job->n * sizeof(int);
	job->data_size = round_up(job->states + job->n, PIECE);
	if (job->data_size < p->data_size)
		job->data_size = p->data_size;
	else if (!grow_data(p, job->data_size))
		return false;
	p->board->job = *job;
	if (job->item_size > 0)
		memcpy(p->data, items, job->n * job->item_size);
	memset(states_of(p), PENDING, job->n);
	return true;
}

/* ---- a worker ---------------------------------------------------------- */

static bool tell(int fd)
{
	ssize_t n;

	do
		n = send(fd, "", 1, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/* Wait to be told; false when the other side is no more. */
static bool listen_to(int fd)
{
	ssize_t n;
	char byte;

	do
		n = recv(fd, &byte, 1, 0);
	while (n < 0 && errno == EINTR);
	return n == 1;
}

/*
 * Take the next items of a share that nobody has: from *first up to, not
 * including, *end. False when all are handed out.
 *
 * Any number of workers may be in here at the same time, and none may get
 * what another has got.
 */
static bool take_from(const struct board *b, struct progress *share,
		      size_t *first, size_t *end)
{
	/*
	 * TODO 2: move share->next forward by one chunk, and tell what was
	 * passed. A chunk is b->job.chunksize items, the last one what is left
	 * before share->end. If that is 0, choose: large chunks while much is
	 * left, so that few are needed, and small ones towards the end, so
	 * that nobody waits long for the last. Half of a fair part of what is
	 * left, but at least one item, does well.
	 * About 15 lines.
	 */
	TODO(2);
}

/* A worker begins with its own share, and helps the others after that. */
static bool claim(struct board *b, int me, size_t *first, size_t *end)
{
	for (int s = 0; s < b->shares; s++)
		if (take_from(b, &b->progress[(me + s) % b->shares], first,
			      end))
			return true;
	return false;
}

/*
 * Do the items from first up to, not including, end.
 *
 * One that is no longer PENDING was done before, by a worker that died
 * later: leave it alone.
 */
static void work(struct pool *p, struct progress *mine, size_t first,
		 size_t end)
{
	/*
	 * TODO 3: for each item say in mine->item that you are at it, and run
	 * the task (p->board->job.fn) on it and on its own place among the
	 * results. If the task does not return 0, write that down in
	 * errs_of(p). Only then, with all in place, note in states_of(p) that
	 * the item is DONE or has FAILED.
	 * About 10 lines.
	 */
	TODO(3);
}

/* The life of worker number `me`: from one "start" to the next. */
static void serve(struct pool *p, int me, int fd)
{
	size_t first, end;

	while (listen_to(fd)) {
		if (!map_data(p, p->board->job.data_size))
			return;
		while (claim(p->board, me, &first, &end))
			work(p, &p->board->progress[me], first, end);
		if (!tell(fd))
			return;
	}
}

/*
 * End with the owner, even in the middle of a task. An owner that died
 * before the system knew of this wish has left us to another parent.
 */
static void die_with(pid_t owner)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (getppid() != owner)
		_exit(1);
}

/*
 * In a new worker: close the owner's end of each control channel, of this
 * pool and of all others. Fork has copied them, and as long as anybody holds
 * such an end, the worker at the other one hears of no end of file. Here these
 * pools are nobody's: the numbers will soon belong to something else.
 */
static void close_owner_ends(void)
{
	for (struct pool *p = pools; p != NULL; p = p->next)
		for (int w = 0; w < p->size; w++)
			if (p->workers[w].fd >= 0)
				close(p->workers[w].fd);
	pools = NULL;
}

/* Start worker number `me`: true, or false with errno and nothing left. */
static bool start_worker(struct pool *p, int me)
{
	int ends[2];		/* [0] is for the owner, [1] for the worker */

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	/*
	 * TODO 1: make the new process. It keeps ends[1] and nothing that is
	 * for owners, promises to die_with() its owner, serves, and never
	 * comes back from here. The owner writes down in p->workers[me] who
	 * it is and where to reach it. If there is no new process, nobody has
	 * a use for either end.
	 * About 15 lines.
	 */
	TODO(1);
}

/* ---- the owner: a pool from beginning to end --------------------------- */

static void free_pool(struct pool *p)
{
	if (p->data != NULL)
		munmap(p->data, p->data_size);
	if (p->data_fd >= 0)
		close(p->data_fd);
	if (p->board != MAP_FAILED)
		munmap(p->board, p->board_size);
	free(p);
}

/* What must be there before the first fork, so that every worker has it. */
static struct pool *new_pool(int workers)
{
	struct pool *p;

	p = calloc(1, sizeof *p + workers * sizeof p->workers[0]);
	if (p == NULL)
		return NULL;
	p->size = workers;
	for (int w = 0; w < workers; w++)
		p->workers[w].fd = -1;
	p->board_size = sizeof *p->board + workers * sizeof(struct progress);
	p->board = mmap(NULL, p->board_size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	p->data_fd = memfd_create("pool", MFD_CLOEXEC);	/* Linux */
	if (p->board == MAP_FAILED || p->data_fd < 0) {
		free_pool(p);
		return NULL;
	}
	p->board->workers = workers;
	return p;
}

struct pool *pool_create(int workers)
{
	struct pool *p;
	int error;

	if (workers < 1)
		return errno = EINVAL, NULL;
	p = new_pool(workers);
	if (p == NULL)
		return NULL;
	p->next = pools;
	pools = p;
	for (int w = 0; w < workers; w++) {
		if (!start_worker(p, w)) {
			error = errno;
			pool_terminate(p);
			return errno = error, NULL;
		}
	}
	return p;
}

/*
 * Hang up on a worker, which ends it if nothing else did, and collect it. To
 * close our end would not be enough: a process that the caller has forked
 * since then holds a copy of it.
 */
static void bury(struct worker *w)
{
	shutdown(w->fd, SHUT_RDWR);
	close(w->fd);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	*w = (struct worker){ .fd = -1 };
}

int pool_close(struct pool *p)
{
	struct pool **link = &pools;

	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	for (int w = 0; w < p->size; w++)
		if (p->workers[w].fd >= 0)
			bury(&p->workers[w]);
	free_pool(p);
	return 0;
}

int pool_terminate(struct pool *p)
{
	for (int w = 0; w < p->size; w++)
		if (p->workers[w].fd >= 0)
			kill(p->workers[w].pid, SIGKILL);
	return pool_close(p);
}

/* Who has died has hung up, whether anybody has noticed yet or not. */
int pool_size(const struct pool *p)
{
	const int look = MSG_PEEK | MSG_DONTWAIT;
	int living = 0;
	char byte;

	for (int w = 0; w < p->size; w++)
		if (p->workers[w].fd >= 0 &&
		    recv(p->workers[w].fd, &byte, 1, look) != 0)
			living++;
	return living;
}

/* ---- the owner: a map -------------------------------------------------- */

/*
 * Guided chunks come from a single share: they are few. Where the caller
 * chose the size they may be many, and each worker gets a share of its own,
 * or the workers would take the cache lines of neighbouring items out of each
 * other's hands.
 */
static void deal_shares(struct board *b, size_t chunk, size_t chunks)
{
	size_t each, more, end = 0;

	b->shares = b->job.chunksize > 0 ? b->workers : 1;
	each = chunks / b->shares;
	more = chunks % b->shares;	/* so many get one chunk more */
	for (int s = 0; s < b->shares; s++) {
		b->progress[s].next = end;
		end += (each + ((size_t)s < more)) * chunk;
		if (end > b->job.n)
			end = b->job.n;
		b->progress[s].end = end;
	}
}

/* Wake up as many workers as there are chunks. */
static void start_round(struct pool *p)
{
	const struct job *job = &p->board->job;
	size_t chunk = job->chunksize > 0 ? job->chunksize : 1;
	size_t wanted = (job->n - 1) / chunk + 1;

	deal_shares(p->board, chunk, wanted);
	for (int w = 0; w < p->size && wanted > 0; w++) {
		if (p->workers[w].fd < 0)
			continue;
		p->board->progress[w].item = job->n;	/* at none yet */
		p->workers[w].busy = tell(p->workers[w].fd);
		if (p->workers[w].busy)
			wanted--;
		else
			bury(&p->workers[w]);
	}
}

/* Wait until worker number `me`, which was started, has answered or died. */
static void collect(struct pool *p, int me)
{
	/*
	 * TODO 4: after an answer the worker is no longer busy. If there is
	 * none and never will be, bury it. The item that it was at is lost
	 * (tried again, it might well kill the next one), unless it was just
	 * through with it; the others of its chunk are still PENDING.
	 * About 10 lines.
	 */
	TODO(4);
}

static bool all_done(const struct pool *p)
{
	const char *states = (const char *)states_of(p);

	/* the first is, and each of the others is like the one before it */
	return *states == DONE &&
	       memcmp(states, states + 1, p->board->job.n - 1) == 0;
}

/* Something is missing: give the caller what is there, item by item. */
static int hand_back_some(const struct pool *p, char *results, int *errs)
{
	const struct job *job = &p->board->job;
	bool lost = false;
	int err;

	for (size_t i = 0; i < job->n; i++) {
		switch ((enum state)states_of(p)[i]) {
		case DONE:
			err = 0;
			break;
		case FAILED:
			err = errs_of(p)[i];
			break;
		default:
			err = POOL_LOST;
		}
		if (err == 0 && job->result_size > 0)
			memcpy(results + i * job->result_size,
			       result_at(p, i), job->result_size);
		if (errs != NULL)
			errs[i] = err;
		lost = lost || err == POOL_LOST;
	}
	return errno = lost ? EOWNERDEAD : ECANCELED, -1;
}

static int hand_back(const struct pool *p, char *results, int *errs)
{
	const struct job *job = &p->board->job;

	if (!all_done(p))
		return hand_back_some(p, results, errs);
	if (job->result_size > 0)
		memcpy(results, result_at(p, 0), job->n * job->result_size);
	if (errs != NULL)
		memset(errs, 0, job->n * sizeof *errs);
	return 0;
}

/*
 * One round does everything, unless a worker dies in it: then what is still
 * PENDING goes to the living, in another round.
 */
int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct job job = {
		.fn = fn, .n = n, .item_size = item_size,
		.result_size = result_size,
		.chunksize = chunksize < n ? chunksize : n
	};
	int before;

	if (n == 0)
		return 0;
	if (!post(p, &job, items))
		return -1;
	do {
		before = pool_size(p);
		start_round(p);
		for (int w = 0; w < p->size; w++)
			if (p->workers[w].busy)
				collect(p, w);
	} while (pool_size(p) < before && pool_size(p) > 0);
	return hand_back(p, results, errs);
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1,
			NULL);
}
