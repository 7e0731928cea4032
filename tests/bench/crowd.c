#include "crowd.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fl.h"

struct crowd {
	pthread_barrier_t start;
	struct {
		double begin, end;
	} spans[CROWD_MAX];
};

void *crowd_share(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		fl_die("no shared memory");
	return memory;
}

static struct crowd *make_crowd(long processes)
{
	struct crowd *crowd = crowd_share(sizeof *crowd);
	pthread_barrierattr_t shared;

	pthread_barrierattr_init(&shared);
	pthread_barrierattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&crowd->start, &shared, (unsigned)processes);
	pthread_barrierattr_destroy(&shared);
	return crowd;
}

static double whole_span(const struct crowd *crowd, long processes)
{
	double begin = crowd->spans[0].begin, end = crowd->spans[0].end;

	for (long p = 1; p < processes; p++) {
		if (crowd->spans[p].begin < begin)
			begin = crowd->spans[p].begin;
		if (crowd->spans[p].end > end)
			end = crowd->spans[p].end;
	}
	return end - begin;
}

double crowd_run(long processes, void (*work)(long me, long times),
		 long times)
{
	struct crowd *crowd = make_crowd(processes);
	double seconds;
	int status;

	for (long p = 0; p < processes; p++) {
		pid_t pid = fork();

		if (pid < 0)
			fl_die("cannot start %ld processes", processes);
		if (pid > 0)
			continue;
		pthread_barrier_wait(&crowd->start);
		crowd->spans[p].begin = fl_now();
		work(p, times);
		crowd->spans[p].end = fl_now();
		_exit(FL_OK);
	}
	for (long p = 0; p < processes; p++)
		if (wait(&status) < 0 || status != 0)
			fl_die("a process failed");
	seconds = whole_span(crowd, processes);
	munmap(crowd, sizeof *crowd);
	return seconds;
}
