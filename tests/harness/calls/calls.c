/* What the calls of the student's file share. */
#include "calls.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fl.h"

/* A thread of this process. A new process, however it was made, finds 0. */
static _Atomic pid_t *anybody;

__attribute__((constructor)) static void make_room(void)
{
	anybody = mmap(NULL, sizeof *anybody, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (anybody == MAP_FAILED ||
	    madvise((void *)anybody, sizeof *anybody, MADV_WIPEONFORK) != 0)
		fl_die("cannot map memory");
}

/* For each lock it is asked three times, and gettid() asks the system. */
pid_t own_tid(void)
{
	static __thread pid_t mine, of;

	if (*anybody == 0)
		*anybody = gettid();
	if (of != *anybody) {
		mine = gettid();
		of = *anybody;
	}
	return mine;
}

static struct standing *my_standing(void)
{
	static __thread struct standing *mine;
	pid_t tid = own_tid();

	if (mine == NULL || mine->tid != tid) {
		mine = &board->standings[board->next_standing++ % STANDINGS];
		mine->tid = tid;
		mine->pid = getpid();
	}
	return mine;
}

void stand(const char *call, long argument, void *pc)
{
	struct standing *s = my_standing();

	s->argument = argument;
	s->pc = pc;
	s->call = call;
}

void go_on(void)
{
	my_standing()->call = NULL;
}
