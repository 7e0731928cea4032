/*
 * Lab 06: this is your file, edit it here. Each TODO(n) is a part that
 * waits for you; the comment above it says what to write there.
 * `make lab LAB=06` judges it, `make hint LAB=06` gives a hint.
 */

/*
 * semaphores - a number of free places, in memory that processes share
 *
 * The number is one word. Whoever wants a place changes it from n to n - 1 in
 * one step that fails if it is no longer n, and then looks again. Who finds 0
 * sleeps in the system, which is told the address of the word, until somebody
 * has added 1 and wakes one sleeper.
 *
 * A semaphore has no owner, so who dies inside takes its place with it. For
 * the workers of semaphore_run we do better: each has a seat, where stands
 * how far it has got, and a keeper clears up after it.
 */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "todo.h"

/* How far a worker has got: each comes after the one before it. */
enum progress { OUTSIDE = 1, INSIDE, LEFT };

enum { SEATS = 1 << 16, CACHE_LINE = 64 };

/*
 * word:  the lower half is the number of free places. In the upper half is a
 *        note: which worker of a semaphore_run changed the number last, and
 *        how far it has got by that. Both halves change in one step.
 * seats: what is noted of a worker is carried over to its seat before the
 *        next note is written. So its seat and the word together tell at
 *        each moment whether it has a place: not even a kill between two
 *        instructions leaves a doubt.
 */
struct semaphore {
	_Atomic uint64_t word;
	/* seldom changed: who looks there need not wait for the word's line */
	_Alignas(CACHE_LINE) _Atomic uint32_t waiting;	/* at least so many */
	uint32_t limit;			/* the number does not rise above */
	_Atomic uint32_t tickets;	/* given out to workers up to now */
	_Atomic uint32_t seats[SEATS];	/* notes; 0 = nobody's */
};

/* ---- plumbing ---------------------------------------------------------- */

static int failed(int error)
{
	errno = error;
	return -1;
}

/* New memory, all zero, for us and for whoever is forked from us. */
static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/*
 * The moment that lies so many seconds ahead; a long gone one unless they are
 * more than 0. What is over 30 years, or infinite, becomes 30 years: not
 * every time_t has room for more.
 */
static struct timespec moment(double seconds)
{
	const double longest = 1e9;
	struct timespec t = { 0 };
	long whole;

	if (!(seconds > 0))
		return t;
	if (seconds > longest)
		seconds = longest;
	whole = (long)seconds;
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += whole;
	t.tv_nsec += (long)((seconds - (double)whole) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* ---- the word ---------------------------------------------------------- */

static uint32_t number_in(uint64_t word)
{
	return (uint32_t)word;
}

static uint32_t *number_at(struct semaphore *s)
{
	uint32_t *halves = (uint32_t *)&s->word;

	return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? halves : halves + 1;
}

/*
 * A note is the ticket of a worker, and its progress in the lowest two bits.
 * Carry the one in the word over to the seat, unless somebody has done so.
 * It may be done late and it may be done twice: only a worker that stands
 * exactly one step before it is moved on.
 */
static void carry_over(struct semaphore *s, uint64_t word)
{
	uint32_t note = (uint32_t)(word >> 32), before = note - 1;

	if (note != 0)
		atomic_compare_exchange_strong(&s->seats[(note >> 2) % SEATS],
					       &before, note);
}

/*
 * What shall stand in the place of this word when the number is changed by
 * 1 or -1. note: of the worker that changes it, 0 = any other process, which
 * leaves the note that is there alone.
 */
static uint64_t changed(struct semaphore *s, uint64_t word, int by,
			uint32_t note)
{
	word += (uint64_t)by;
	if (note == 0)
		return word;
	carry_over(s, word);
	return (uint64_t)note << 32 | number_in(word);
}

/*
 * Sleep until somebody wakes us, but not at all if the number is not 0. It
 * may end for no reason. False when the time has run out; end: NULL = never
 */
static bool sleep_at_zero(struct semaphore *s, const struct timespec *end)
{
	return syscall(SYS_futex, number_at(s), FUTEX_WAIT_BITSET, 0, end,
		       NULL, FUTEX_BITSET_MATCH_ANY) == 0 ||	/* Linux */
	       errno != ETIMEDOUT;
}

static void wake_one(struct semaphore *s)
{
	syscall(SYS_futex, number_at(s), FUTEX_WAKE, 1, NULL, NULL, 0);
}

/* ---- the semaphore ----------------------------------------------------- */

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s;

	if (initial < 0)
		return errno = EINVAL, NULL;
	s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->word = (uint64_t)initial;
	s->limit = bounded ? (uint32_t)initial : INT_MAX;
	return s;
}

/* Take 1 if there is any: true if so. Never waits. */
static bool take(struct semaphore *s, uint32_t note)
{
	/*
	 * TODO 1: look at the word. As long as its number is above 0, try to
	 * put in its place what changed(s, word, -1, note) says: in one step
	 * that fails if the word is no longer the one you looked at, because
	 * somebody was faster. Then look again.
	 * About 6 lines.
	 */
	TODO(1);
}

/* There was nothing to take. Wait for it: 0, or 1 when the time ran out. */
static int wait_and_take(struct semaphore *s, double timeout, uint32_t note)
{
	/*
	 * TODO 2: sleep_at_zero() until you can take() 1, or until the moment()
	 * has come that timeout stands for; a negative one never comes.
	 * Whoever wakes up has not got a place by that: a signal may have
	 * come, or somebody else was faster. Releasing looks at s->waiting to
	 * see if there is anybody to wake: be counted there before you sleep,
	 * and no longer when you are through, on every way out.
	 * About 9 lines.
	 */
	TODO(2);
}

static int acquire(struct semaphore *s, double timeout, uint32_t note)
{
	if (take(s, note))
		return 0;
	return timeout == 0 ? 1 : wait_and_take(s, timeout, note);
}

static int release(struct semaphore *s, uint32_t note)
{
	/*
	 * TODO 3: add 1 as take() takes it: changed(s, word, +1, note), in one
	 * step, and again if somebody was faster. But each time that you look,
	 * see whether the number has reached s->limit: then it stays as it is,
	 * and the answer is failed(EOVERFLOW). When 1 was added and somebody
	 * is waiting, wake one of them.
	 * About 9 lines.
	 */
	TODO(3);
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	return acquire(s, timeout, 0);
}

int semaphore_release(struct semaphore *s)
{
	return release(s, 0);
}

int semaphore_value(struct semaphore *s)
{
	return (int)number_in(atomic_load(&s->word));
}

void semaphore_destroy(struct semaphore *s)
{
	munmap(s, sizeof *s);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	result = room(worker, arg);
	semaphore_release(s);
	return result;
}

/* ---- workers, and a keeper --------------------------------------------- */

/*
 * What one worker leaves behind, in memory that all share. Nobody else
 * writes there while it lives, so two that are inside at the same time have
 * nothing to lose.
 *
 * in, out: when it went into the room and when it came out. This clock ticks
 *          whenever somebody looks at it; 0 = never
 */
struct record {
	pid_t pid;
	uint32_t ticket;
	uint32_t in, out;
	enum { NOT_BACK, SUCCEEDED, FAILED } outcome;
};

struct run {
	struct semaphore *s;
	int (*room)(int worker, void *arg);
	void *arg;
	int workers;
	int error;			/* of the worker that was not started */
	sigset_t mask;			/* the caller's, and what it does */
	struct sigaction on_child;	/* when a child ends */
	_Atomic uint32_t ticks;
	struct record records[];
};

static uint32_t tick(struct run *run)
{
	return atomic_fetch_add(&run->ticks, 1) + 1;
}

/*
 * End with the parent, however it goes. One that died before the system knew
 * of this wish has left us to another.
 */
static void die_with(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (getppid() != parent)
		_exit(1);
}

static uint32_t note_of(const struct record *r, enum progress progress)
{
	return r->ticket << 2 | (uint32_t)progress;
}

static _Atomic uint32_t *seat_of(struct semaphore *s, const struct record *r)
{
	return &s->seats[r->ticket % SEATS];
}

/* Find a free seat for a worker that is outside; false if there is none. */
static bool find_seat(struct semaphore *s, struct record *r)
{
	for (int i = 0; i < SEATS; i++) {
		uint32_t nobodys = 0;

		r->ticket = atomic_fetch_add(&s->tickets, 1) & UINT32_MAX >> 2;
		if (atomic_compare_exchange_strong(seat_of(s, r), &nobodys,
						   note_of(r, OUTSIDE)))
			return true;
	}
	return errno = EAGAIN, false;
}

/* The life of one worker: what semaphore_with does, and a record of it. */
static _Noreturn void work(struct run *run, int worker)
{
	struct record *r = &run->records[worker];
	int result;

	acquire(run->s, -1, note_of(r, INSIDE));
	r->in = tick(run);
	result = run->room(worker, run->arg);
	r->out = tick(run);
	release(run->s, note_of(r, LEFT));
	r->outcome = result == 0 ? SUCCEEDED : FAILED;
	_exit(0);
}

/* Start a worker, which is to find everything as its caller had it. */
static bool start_worker(struct run *run, int worker)
{
	struct record *r = &run->records[worker];
	pid_t keeper = getpid(), pid;
	int error;

	if (!find_seat(run->s, r))
		return false;
	pid = fork();
	if (pid == 0) {
		die_with(keeper);
		sigaction(SIGCHLD, &run->on_child, NULL);
		sigprocmask(SIG_SETMASK, &run->mask, NULL);
		work(run, worker);
	}
	if (pid < 0) {
		error = errno;
		atomic_store(seat_of(run->s, r), 0);
		return errno = error, false;
	}
	r->pid = pid;
	return true;
}

/* A worker has ended: give back the place that it has not given back. */
static void clear_up(struct semaphore *s, const struct record *r)
{
	/*
	 * TODO 4: the last note is still in the word, and may be about this
	 * worker: carry_over() what the word says now. After that its seat
	 * (seat_of() tells where it is) holds its last note. Only if that is
	 * the one of a worker that is INSIDE, it had a place: give that back,
	 * as a process that is no worker (note 0).
	 * About 4 lines.
	 */
	TODO(4);
}

/*
 * If it died when it had just been woken, it has not taken what it was woken
 * for, and somebody else must be told of that. (If it died while it waited,
 * s->waiting stays too high: others are then called sometimes for nothing.)
 */
static void bury(struct run *run, pid_t pid)
{
	struct record *r = run->records;

	while (r->pid != pid)
		r++;
	if (r->in != 0 && r->out == 0)
		r->out = tick(run);
	clear_up(run->s, r);
	if (r->outcome == NOT_BACK)
		wake_one(run->s);
	atomic_store(seat_of(run->s, r), 0);
}

/*
 * The keeper is a process between the caller and the workers, for one reason:
 * it has no other children. So it may wait for whichever ends first, and
 * takes no child away from its caller. Signals are not meant for it.
 */
static _Noreturn void keep(struct run *run, pid_t caller)
{
	const struct sigaction usual = { .sa_handler = SIG_DFL };
	pid_t pid;

	die_with(caller);
	sigaction(SIGCHLD, &usual, &run->on_child);
	for (int w = 0; w < run->workers && run->error == 0; w++)
		if (!start_worker(run, w))
			run->error = errno;
	while ((pid = wait(NULL)) > 0 || errno == EINTR)
		if (pid > 0)
			bury(run, pid);
	_exit(0);
}

/* Start the keeper, and wait for its end: 0, or what fork has to say. */
static int run_keeper(struct run *run)
{
	pid_t caller = getpid(), keeper;
	sigset_t all;
	int error;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &run->mask);
	keeper = fork();
	error = errno;
	if (keeper == 0)
		keep(run, caller);
	sigprocmask(SIG_SETMASK, &run->mask, NULL);
	if (keeper < 0)
		return error;
	while (waitpid(keeper, NULL, 0) < 0 && errno == EINTR)
		;
	return run->error;
}

/* Of those that entered, who was inside when another one had just entered? */
static int most_at_once(const struct run *run)
{
	const struct record *r = run->records;
	int most = 0, inside;

	for (int v = 0; v < run->workers; v++) {
		inside = 0;
		for (int w = 0; w < run->workers && r[v].in != 0; w++)
			inside += r[w].in != 0 && r[w].in <= r[v].in &&
				  r[v].in < r[w].out;
		if (inside > most)
			most = inside;
	}
	return most;
}

/* The error number that stands for how the workers ended. */
static int verdict(const struct run *run)
{
	int error = 0;

	for (int w = 0; w < run->workers; w++) {
		if (run->records[w].outcome == NOT_BACK)
			return EOWNERDEAD;
		if (run->records[w].outcome == FAILED)
			error = ECANCELED;
	}
	return error;
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	size_t size = sizeof(struct run) + sizeof(struct record) *
		      (size_t)(workers > 0 ? workers : 0);
	struct run *run;
	int error;

	if (workers < 1)
		return failed(EINVAL);
	run = map_shared(size);
	if (run == NULL)
		return -1;
	run->s = s;
	run->room = room;
	run->arg = arg;
	run->workers = workers;
	error = run_keeper(run);
	if (error == 0)
		error = verdict(run);
	if (most != NULL)
		*most = most_at_once(run);
	munmap(run, size);
	return error == 0 ? 0 : failed(error);
}
