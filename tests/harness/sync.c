/*
 * Gates, meetings and peaks. All waits are on one futex, the board's event
 * counter: waking everybody for each event is simple, and so the test
 * program can tell all who wait that there is no hope any more.
 */
#include "internal.h"

#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <unistd.h>

static void sleep_while(uint32_t events)
{
	syscall(SYS_futex, &board->events, FUTEX_WAIT, events, NULL, NULL, 0);
}

void announce_event(void)
{
	board->events++;
	syscall(SYS_futex, &board->events, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

static bool wait_for(const uint32_t *value, uint32_t at_least)
{
	uint32_t events;

	for (;;) {
		events = board->events;
		if (__atomic_load_n(value, __ATOMIC_SEQ_CST) >= at_least)
			return true;
		if (board->hopeless)
			return false;
		sleep_while(events);
	}
}

/*
 * When all hope was given up, whoever waits goes on, and may do what others
 * had waited for in vain. That must not count: one that is told late, because
 * the machine is busy, would take it for true.
 */
void gate_open(struct gate *g)
{
	if (!board->hopeless)
		__atomic_store_n(&g->open, 1, __ATOMIC_SEQ_CST);
	announce_event();
}

bool gate_wait(struct gate *g)
{
	return wait_for(&g->open, 1);
}

bool gate_is_open(const struct gate *g)
{
	return __atomic_load_n(&g->open, __ATOMIC_SEQ_CST) != 0;
}

bool meeting_wait(struct meeting *m, uint32_t n)
{
	if (!board->hopeless)
		__atomic_add_fetch(&m->arrived, 1, __ATOMIC_SEQ_CST);
	announce_event();
	return wait_for(&m->arrived, n);
}

int32_t peak_enter(struct peak *p)
{
	int32_t now = __atomic_add_fetch(&p->inside, 1, __ATOMIC_SEQ_CST);
	int32_t most = __atomic_load_n(&p->most, __ATOMIC_SEQ_CST);

	while (now > most &&
	       !__atomic_compare_exchange_n(&p->most, &most, now, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
		;
	return now;
}

void peak_leave(struct peak *p)
{
	__atomic_sub_fetch(&p->inside, 1, __ATOMIC_SEQ_CST);
}
