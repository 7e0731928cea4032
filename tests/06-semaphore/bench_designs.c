/*
 * bench_designs - processes that go through a room with two places, by one
 * design of a semaphore or another
 *
 * usage: bench_designs PROCESSES PAIRS DESIGN...
 *
 * Each process takes a place and gives it back, so many times. The designs
 * take turns. "ours" is the lab's; the table at the end tells the others.
 */
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench/crowd.h"
#include "../bench/measure.h"
#include "fl.h"

enum { PLACES = 2, TURNS = 15 };	/* or until they took ENOUGH each */
static const double ENOUGH = 0.4;	/* seconds */

static struct {
	sem_t semaphore;
	struct {
		pthread_mutex_t mutex;
		pthread_cond_t more;
		int places;
	} monitor;
	struct {
		atomic_uint places, waiting;
	} word;
} *shared;

static struct semaphore *ours;
static int event, tokens[2], system_v;

/* ---- ours ---------------------------------------------------------------- */

static void make_ours(bool bounded)
{
	ours = semaphore_create(PLACES, bounded);
	if (ours == NULL)
		fl_die("cannot make the semaphore");
}

static void make_plain(void)
{
	make_ours(false);
}

static void make_bounded(void)
{
	make_ours(true);
}

static void by_ours(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++)
		if (semaphore_acquire(ours, -1) != 0 ||
		    semaphore_release(ours) != 0)
			fl_die("cannot acquire or release");
}

static long end_ours(void)
{
	long places = semaphore_value(ours);

	semaphore_destroy(ours);
	return places;
}

/* ---- the system's semaphore ---------------------------------------------- */

static void make_semaphore(void)
{
	sem_init(&shared->semaphore, 1, PLACES);
}

static void by_semaphore(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		while (sem_wait(&shared->semaphore) != 0)
			;
		sem_post(&shared->semaphore);
	}
}

static long end_semaphore(void)
{
	int places = 0;

	sem_getvalue(&shared->semaphore, &places);
	return places;
}

/* ---- a word and a futex, and nothing else -------------------------------- */

static void make_word(void)
{
	shared->word.places = PLACES;
}

static void futex(int operation, int argument)
{
	syscall(SYS_futex, &shared->word.places, operation, argument, NULL,
		NULL, 0);
}

static bool take_word(void)
{
	unsigned n = atomic_load(&shared->word.places);

	while (n > 0)
		if (atomic_compare_exchange_weak(&shared->word.places, &n,
						 n - 1))
			return true;
	return false;
}

static void by_word(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		if (!take_word()) {
			atomic_fetch_add(&shared->word.waiting, 1);
			while (!take_word())
				futex(FUTEX_WAIT, 0);
			atomic_fetch_sub(&shared->word.waiting, 1);
		}
		atomic_fetch_add(&shared->word.places, 1);
		if (atomic_load(&shared->word.waiting) > 0)
			futex(FUTEX_WAKE, 1);
	}
}

static long end_word(void)
{
	return shared->word.places;
}

/* ---- a mutex, a condition variable and a number -------------------------- */

static void make_monitor(void)
{
	pthread_mutexattr_t mutex;
	pthread_condattr_t more;

	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&shared->monitor.mutex, &mutex);
	pthread_condattr_init(&more);
	pthread_condattr_setpshared(&more, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&shared->monitor.more, &more);
	shared->monitor.places = PLACES;
}

static void by_monitor(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		pthread_mutex_lock(&shared->monitor.mutex);
		while (shared->monitor.places == 0)
			pthread_cond_wait(&shared->monitor.more,
					  &shared->monitor.mutex);
		shared->monitor.places--;
		pthread_mutex_unlock(&shared->monitor.mutex);
		pthread_mutex_lock(&shared->monitor.mutex);
		shared->monitor.places++;
		pthread_cond_signal(&shared->monitor.more);
		pthread_mutex_unlock(&shared->monitor.mutex);
	}
}

static long end_monitor(void)
{
	return shared->monitor.places;
}

/* ---- descriptors: two system calls a pair -------------------------------- */

static void make_event(void)
{
	event = eventfd(PLACES, EFD_SEMAPHORE | EFD_CLOEXEC);	/* Linux */
	if (event < 0)
		fl_die("cannot make an eventfd");
}

static void move(int fd, bool out, void *buffer, size_t size)
{
	ssize_t n;

	do
		n = out ? read(fd, buffer, size) : write(fd, buffer, size);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)size)
		fl_die("cannot move a token");
}

static void by_event(long me, long n)
{
	uint64_t one = 1;

	(void)me;
	for (long i = 0; i < n; i++) {
		move(event, true, &one, sizeof one);
		move(event, false, &one, sizeof one);
	}
}

/* How many are still in there, without waiting for more. */
static long drain(int fd, size_t size)
{
	char buffer[8];
	long n = 0;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (read(fd, buffer, size) == (ssize_t)size)
		n++;
	return n;
}

static long end_event(void)
{
	long places = drain(event, 8);

	close(event);
	return places;
}

static void make_tokens(void)
{
	char token = 0;

	if (pipe2(tokens, O_CLOEXEC) != 0)
		fl_die("cannot make a pipe");
	for (int i = 0; i < PLACES; i++)
		move(tokens[1], false, &token, 1);
}

static void by_tokens(long me, long n)
{
	char token;

	(void)me;
	for (long i = 0; i < n; i++) {
		move(tokens[0], true, &token, 1);
		move(tokens[1], false, &token, 1);
	}
}

static long end_tokens(void)
{
	long places = drain(tokens[0], 1);

	close(tokens[0]);
	close(tokens[1]);
	return places;
}

/* ---- System V: the kernel gives back what a dead process had ------------- */

static void make_system_v(void)
{
	struct sembuf give = { .sem_op = PLACES };

	system_v = semget(IPC_PRIVATE, 1, 0600);
	if (system_v < 0 || semop(system_v, &give, 1) != 0)
		fl_die("cannot make a semaphore");
}

static void by_system_v(long me, long n)
{
	struct sembuf take = { .sem_op = -1, .sem_flg = SEM_UNDO };
	struct sembuf give = { .sem_op = 1, .sem_flg = SEM_UNDO };

	(void)me;
	for (long i = 0; i < n; i++) {
		while (semop(system_v, &take, 1) != 0)
			if (errno != EINTR)
				fl_die("cannot wait");
		semop(system_v, &give, 1);
	}
}

static long end_system_v(void)
{
	long places = semctl(system_v, 0, GETVAL);

	semctl(system_v, 0, IPC_RMID);
	return places;
}

/* ---- all of them --------------------------------------------------------- */

static const struct design {
	const char *key;
	void (*make)(void);	/* before the fork, in zeroed memory */
	void (*pass)(long me, long n);
	long (*end)(void);	/* gives all back; the free places */
} designs[] = {
	{ "ours", make_plain, by_ours, end_ours },
	{ "bounded", make_bounded, by_ours, end_ours },
	{ "semaphore", make_semaphore, by_semaphore, end_semaphore },
	{ "word", make_word, by_word, end_word },
	{ "monitor", make_monitor, by_monitor, end_monitor },
	{ "event", make_event, by_event, end_event },
	{ "tokens", make_tokens, by_tokens, end_tokens },
	{ "system_v", make_system_v, by_system_v, end_system_v },
};

enum { DESIGNS = sizeof designs / sizeof designs[0] };

static struct times times[DESIGNS];

static int find_design(const char *key)
{
	for (int i = 0; i < DESIGNS; i++)
		if (strcmp(designs[i].key, key) == 0)
			return i;
	fl_usage("there is no design '%s'", key);
}

static double pass_once(const struct design *d, long processes, long n)
{
	double seconds;
	long places;

	memset(shared, 0, sizeof *shared);
	d->make();
	seconds = crowd_run(processes, d->pass, n);
	places = d->end();
	if (places != PLACES)
		fl_die("%s has %ld places in the end, not %d", d->key, places,
		       PLACES);
	return seconds;
}

int main(int argc, char **argv)
{
	long processes = measure_argument(argc > 3 ? argv[1] : NULL,
					  CROWD_MAX);
	long n = measure_argument(argv[2], LONG_MAX / processes);
	double end;
	int d;

	shared = crowd_share(sizeof *shared);
	end = fl_now() + ENOUGH * (argc - 3);
	for (int t = 0; t < TURNS && (t == 0 || fl_now() < end); t++)
		for (int i = 3; i < argc; i++) {
			d = find_design(argv[i]);
			times_add(&times[d],
				  pass_once(&designs[d], processes, n));
		}
	for (int i = 3; i < argc; i++)
		times_print(&times[find_design(argv[i])], argv[i],
			    processes * n);
	return FL_OK;
}
