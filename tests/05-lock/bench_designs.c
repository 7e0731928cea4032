/*
 * bench_designs - processes that add 1 to a number, by one design or another
 *
 * usage: bench_designs PROCESSES INCREMENTS DESIGN...
 *
 * Each process makes so many INCREMENTS. The designs take turns. "ours" is the
 * lab's counter_worker; the table at the end tells the others. The lock and the
 * number that it guards lie side by side, as in the lab.
 */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sem.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../bench/crowd.h"
#include "../bench/measure.h"
#include "fl.h"

enum { TURNS = 15 };		/* or until they took ENOUGH seconds each */
static const double ENOUGH = 0.4;

static struct {
	union {
		pthread_mutex_t mutex;
		sem_t semaphore;
		atomic_int word;
	};
	long number;
	atomic_long total;	/* for those who need no lock */
	struct {
		_Alignas(64) atomic_long sum;
	} shards[CROWD_MAX];
} *shared;

static struct value *value;
static int file, semaphores;

/* ---- ours ---------------------------------------------------------------- */

static void make_ours(void)
{
	value = value_create(0);
	if (value == NULL)
		fl_die("cannot make the value");
}

static void by_ours(long me, long n)
{
	(void)me;
	if (counter_worker(value, n) != 0)
		fl_die("cannot count");
}

static long end_ours(void)
{
	long now = 0;

	value_update(value, NULL, NULL, &now);
	value_destroy(value);
	return now;
}

/* ---- mutexes of three kinds ---------------------------------------------- */

static void make_mutex(int robustness, int protocol)
{
	pthread_mutexattr_t kind;

	pthread_mutexattr_init(&kind);
	pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&kind, robustness);
	pthread_mutexattr_setprotocol(&kind, protocol);
	errno = pthread_mutex_init(&shared->mutex, &kind);
	if (errno != 0)
		fl_die("cannot make such a mutex");
	pthread_mutexattr_destroy(&kind);
}

static void make_robust(void)
{
	make_mutex(PTHREAD_MUTEX_ROBUST, PTHREAD_PRIO_NONE);
}

static void make_plain(void)
{
	make_mutex(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_NONE);
}

static void make_inheriting(void)
{
	make_mutex(PTHREAD_MUTEX_STALLED, PTHREAD_PRIO_INHERIT);
}

static void by_mutex(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		if (pthread_mutex_lock(&shared->mutex) == EOWNERDEAD)
			pthread_mutex_consistent(&shared->mutex);
		shared->number++;
		pthread_mutex_unlock(&shared->mutex);
	}
}

static long end_number(void)
{
	return shared->number;
}

/* ---- a semaphore --------------------------------------------------------- */

static void make_semaphore(void)
{
	sem_init(&shared->semaphore, 1, 1);
}

static void by_semaphore(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		while (sem_wait(&shared->semaphore) != 0)
			;
		shared->number++;
		sem_post(&shared->semaphore);
	}
}

/* ---- a word and a futex: 0 free, 1 held, 2 held and somebody may sleep --- */

static void futex(int operation, int word)
{
	syscall(SYS_futex, &shared->word, operation, word, NULL, NULL, 0);
}

static void by_futex(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		int was = 0;

		if (!atomic_compare_exchange_strong(&shared->word, &was, 1))
			while (atomic_exchange(&shared->word, 2) != 0)
				futex(FUTEX_WAIT, 2);
		shared->number++;
		if (atomic_exchange(&shared->word, 0) == 2)
			futex(FUTEX_WAKE, 1);
	}
}

/* ---- a word and no sleep: look until it is free, and give way ------------ */

static void by_spinning(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++) {
		while (atomic_load_explicit(&shared->word,
					    memory_order_relaxed) != 0 ||
		       atomic_exchange(&shared->word, 1) != 0)
			sched_yield();
		shared->number++;
		atomic_store_explicit(&shared->word, 0, memory_order_release);
	}
}

/* ---- no lock ------------------------------------------------------------- */

static void by_addition(long me, long n)
{
	(void)me;
	for (long i = 0; i < n; i++)
		atomic_fetch_add(&shared->total, 1);
}

static long end_total(void)
{
	return shared->total;
}

/* Nobody else writes to our shard: a load and a store will do. */
static void by_shard(long me, long n)
{
	atomic_long *sum = &shared->shards[me].sum;

	for (long i = 0; i < n; i++)
		atomic_store_explicit(sum, 1 +
			atomic_load_explicit(sum, memory_order_relaxed),
			memory_order_relaxed);
}

static long end_shards(void)
{
	long sum = 0;

	for (long p = 0; p < CROWD_MAX; p++)
		sum += shared->shards[p].sum;
	return sum;
}

/* ---- two system calls an increment --------------------------------------- */

static void make_file(void)
{
	file = memfd_create("bench", MFD_CLOEXEC);	/* Linux */
	if (file < 0)
		fl_die("cannot make a file");
}

static void by_record_lock(long me, long n)
{
	struct flock take = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct flock give = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	(void)me;
	for (long i = 0; i < n; i++) {
		while (fcntl(file, F_SETLKW, &take) != 0)
			if (errno != EINTR)
				fl_die("cannot lock");
		shared->number++;
		fcntl(file, F_SETLK, &give);
	}
}

static long end_file(void)
{
	close(file);
	return shared->number;
}

static void make_system_v(void)
{
	struct sembuf give = { .sem_op = 1 };

	semaphores = semget(IPC_PRIVATE, 1, 0600);
	if (semaphores < 0 || semop(semaphores, &give, 1) != 0)
		fl_die("cannot make a semaphore");
}

static void by_system_v(long me, long n)
{
	struct sembuf take = { .sem_op = -1, .sem_flg = SEM_UNDO };
	struct sembuf give = { .sem_op = 1, .sem_flg = SEM_UNDO };

	(void)me;
	for (long i = 0; i < n; i++) {
		while (semop(semaphores, &take, 1) != 0)
			if (errno != EINTR)
				fl_die("cannot wait");
		shared->number++;
		semop(semaphores, &give, 1);
	}
}

static long end_system_v(void)
{
	semctl(semaphores, 0, IPC_RMID);
	return shared->number;
}

/* ---- all of them --------------------------------------------------------- */

static const struct design {
	const char *key;
	void (*make)(void);	/* before the fork, in zeroed memory */
	void (*count)(long me, long n);
	long (*end)(void);	/* gives all back; the total */
} designs[] = {
	{ "ours", make_ours, by_ours, end_ours },
	{ "robust", make_robust, by_mutex, end_number },
	{ "plain", make_plain, by_mutex, end_number },
	{ "inheriting", make_inheriting, by_mutex, end_number },
	{ "semaphore", make_semaphore, by_semaphore, end_number },
	{ "futex", NULL, by_futex, end_number },
	{ "spinning", NULL, by_spinning, end_number },
	{ "addition", NULL, by_addition, end_total },
	{ "shards", NULL, by_shard, end_shards },
	{ "record_lock", make_file, by_record_lock, end_file },
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

static double count_once(const struct design *d, long processes, long n)
{
	double seconds;
	long total;

	memset(shared, 0, sizeof *shared);
	if (d->make != NULL)
		d->make();
	seconds = crowd_run(processes, d->count, n);
	total = d->end();
	if (total != processes * n)
		fl_die("the total of %s is %ld, not %ld", d->key, total,
		       processes * n);
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
				  count_once(&designs[d], processes, n));
		}
	for (int i = 3; i < argc; i++)
		times_print(&times[find_design(argv[i])], argv[i],
			    processes * n);
	return FL_OK;
}
