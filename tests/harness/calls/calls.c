/* What the calls of the student's file share. */
#include "calls.h"

#include <unistd.h>

static struct standing *my_standing(void)
{
	static __thread struct standing *mine;
	pid_t tid = gettid();

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
