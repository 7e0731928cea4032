/*
 * counter - processes that all add to one number at the same time
 *
 * usage: counter [--processes 4] [--increments 100000] [--unsafe]
 *
 * Each process adds 1 as often as it is told; then the number is printed. 4
 * times 100000 is 400000, if the lock does what it is for.
 *
 *   --unsafe    without the lock: increments are lost, in every run
 */
#include "lock.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fl.h"

enum { MOST_PROCESSES = 1000, MEET_EVERY = 1000 };

/* What the processes of --unsafe share. */
struct race {
	_Atomic long number;
	pthread_barrier_t meeting;
};

static long processes = 4, increments = 100000;
static bool unsafe;
static struct value *total;
static struct race *race;

//region: unsafe
/*
 * number += 1 in its steps: read, add, write. Each of them is whole, and yet
 * another process may do any number of increments in between, because the
 * system makes us pause there, or because it runs on another core. Then our
 * write undoes all that the other did.
 *
 * In one run this happens often, in the next not at all. So that it happens
 * in every run, on one core as on many, all processes meet there: at their
 * first increment, and at each thousandth after it, everybody waits between
 * reading and writing until everybody has read. (Nothing happens that could
 * not happen without it: any of them may be made to wait there, at any time.)
 * None of the writes after a meeting builds upon another one, so at the most
 * one of them counts in the end: 4 processes lose at least 3 increments each
 * time they meet. What one of them had added while others waited at the
 * meeting, holding an old number, is often lost as well.
 */
static void add_unsafely(void)
{
	long number;

	for (long i = 0; i < increments; i++) {
		number = atomic_load(&race->number);
		if (i % MEET_EVERY == 0)
			pthread_barrier_wait(&race->meeting);
		atomic_store(&race->number, number + 1);
	}
}
//endregion

static struct race *make_race(void)
{
	struct race *r = mmap(NULL, sizeof *r, PROT_READ | PROT_WRITE,
			      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_t shared;

	if (r == MAP_FAILED)
		return NULL;
	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	errno = pthread_barrier_init(&r->meeting, &shared,
				     (unsigned)processes);
	pthread_barrierattr_destroy(&shared);
	return errno == 0 ? r : NULL;
}

//region: add
/* The whole life of process i. Nobody needs it when its parent is gone. */
static _Noreturn void add(long i, pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
	if (getppid() != parent)
		_exit(FL_FAILED);
	if (unsafe) {
		add_unsafely();
	} else if (counter_worker(total, increments) != 0) {
		fl_warn("process %ld cannot count: %s", i, strerror(errno));
		_exit(FL_FAILED);
	}
	_exit(FL_OK);
}
//endregion

/* End and collect those that still run; 0 stands for one that does not. */
static void stop(const pid_t *pids, long n)
{
	for (long i = 0; i < n; i++)
		if (pids[i] > 0)
			kill(pids[i], SIGKILL);
	for (long i = 0; i < n; i++)
		while (pids[i] > 0 && waitpid(pids[i], NULL, 0) < 0 &&
		       errno == EINTR)
			;
}

/* SIGCHLD is blocked here, for join to wait for, but not in the children. */
static bool start(pid_t *pids, const sigset_t *mask)
{
	pid_t parent = getpid();

	for (long i = 0; i < processes; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			sigprocmask(SIG_SETMASK, mask, NULL);
			add(i, parent);
		}
		if (pids[i] < 0) {
			fl_warn("cannot start process %ld: %s", i,
				strerror(errno));
			stop(pids, i);
			return false;
		}
	}
	return true;
}

/* Say so if the process did not do its work. */
static bool did_well(long i, int status)
{
	if (WIFSIGNALED(status))
		fl_warn("process %ld was killed by signal %d", i,
			WTERMSIG(status));
	else if (WEXITSTATUS(status) != 0)
		fl_warn("process %ld failed with exit code %d", i,
			WEXITSTATUS(status));
	return status == 0;
}

/*
 * Collect them in the order in which they end, and only our own: there may
 * be children that we know nothing of, behind the lock. If one did not do
 * its work there is no total, and the others may wait for it in vain.
 */
static bool join(pid_t *pids, const sigset_t *child_ends)
{
	long running = processes;
	int status;

	while (running > 0) {
		sigwaitinfo(child_ends, NULL);
		for (long i = 0; i < processes; i++) {
			if (pids[i] == 0 ||
			    waitpid(pids[i], &status, WNOHANG) != pids[i])
				continue;
			pids[i] = 0;
			running--;
			if (!did_well(i, status)) {
				stop(pids, processes);
				return false;
			}
		}
	}
	return true;
}

/*
 * Keep the signal that tells of a child's end for join. Called before there
 * is any other thread, which would take it away.
 */
static void expect_ends(sigset_t *child_ends, sigset_t *mask)
{
	signal(SIGCHLD, SIG_DFL);	/* whoever started us may ignore it */
	sigemptyset(child_ends);
	sigaddset(child_ends, SIGCHLD);
	sigprocmask(SIG_BLOCK, child_ends, mask);
}

static void read_command_line(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "processes", .value = "N", .number = &processes,
		  .min = 1, .max = MOST_PROCESSES,
		  .help = "how many add at the same time (4)" },
		{ .name = "increments", .value = "N", .number = &increments,
		  .max = 1000000000, .help = "how often each adds 1 (100000)" },
		{ .name = "unsafe", .flag = &unsafe, .help = "without a lock" },
		{ 0 }
	};

	fl_options(argc, argv, options, NULL);
}

int main(int argc, char **argv)
{
	pid_t pids[MOST_PROCESSES];
	sigset_t child_ends, mask;
	long now = 0;
	bool well;

	read_command_line(argc, argv);
	expect_ends(&child_ends, &mask);
	//region: main
	total = value_create(0);
	if (total == NULL)
		fl_die("cannot make the value");
	if (unsafe && (race = make_race()) == NULL)
		fl_die("cannot make what --unsafe shares");
	well = start(pids, &mask) && join(pids, &child_ends);
	if (well && unsafe)
		now = atomic_load(&race->number);
	else if (well && value_update(total, NULL, NULL, &now) != 0)
		fl_die("cannot read the value");
	value_destroy(total);
	if (well)
		fl_line("Final counter value: %ld", now);
	return well ? FL_OK : FL_FAILED;
	//endregion
}
