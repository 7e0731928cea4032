/*
 * What is known of places. With a place go the clocks: what one task did
 * before it let go of a lock has happened before what another does after it
 * took it. Two accesses to one byte, one of them a write, that no such chain
 * puts in order are a race.
 */
#include "arena.h"

#include <string.h>

enum { LARGEST = 4096 };	/* larger accesses are not looked into */

/* ---- clocks ------------------------------------------------------------ */

struct sync *sync_known(struct place place)
{
	for (int i = 0; i < arena->n_syncs; i++)
		if (same_place(arena->syncs[i].place, place))
			return &arena->syncs[i];
	return NULL;
}

struct sync *sync_at(struct place place)
{
	struct sync *s = sync_known(place);

	if (s != NULL)
		return s;
	if (arena->n_syncs == SYNCS)
		end_schedule(FOUND_BLIND);
	s = &arena->syncs[arena->n_syncs++];
	memset(s, 0, sizeof *s);
	s->place = place;
	s->owner = NOBODY;
	return s;
}

void join_clock(struct clock *into, const struct clock *from)
{
	for (int i = 0; i < TASKS; i++)
		if (from->at[i] > into->at[i])
			into->at[i] = from->at[i];
}

/* Who sees that somebody is gone comes after all that he did. */
void acquire_from_dead(void)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].state == ENDED)
			join_clock(&self()->clock, &arena->tasks[i].clock);
}

void acquire_from(struct place place)
{
	join_clock(&self()->clock, &sync_at(place)->clock);
}

void release_to(struct place place)
{
	join_clock(&sync_at(place)->clock, &self()->clock);
	self()->clock.at[me]++;
}

static uint64_t value_at(const volatile void *at, size_t size)
{
	switch (size) {
	case 1:
		return *(const volatile uint8_t *)at;
	case 2:
		return *(const volatile uint16_t *)at;
	case 4:
		return (uint64_t)(int64_t)*(const volatile int32_t *)at;
	case 8:
		return *(const volatile uint64_t *)at;
	}
	return 0;
}

/* ---- what a write has written: looked up when its task goes on --------- */

static __thread const volatile void *written_at;
static __thread int written_event;

void settle_write(void)
{
	struct event *e = &arena->events[written_event];

	if (written_at != NULL && is_shared_memory(written_at))
		e->value = value_at(written_at, e->size);
	written_at = NULL;
}

/* ---- the record -------------------------------------------------------- */

struct event *note(enum what what, const char *call, struct place place,
		   const void *pc)
{
	struct task *t = self();
	struct event *e;

	settle_write();
	if (arena->n_events == EVENTS)
		end_schedule(FOUND_SPIN);
	e = &arena->events[arena->n_events++];
	*e = (struct event){ .task = (uint8_t)me, .what = (uint8_t)what,
			     .call = call, .pc = pc, .place = place,
			     .locks = (uint8_t)t->locks };
	if (t->locks > 0) {
		e->lock = t->held[t->locks - 1].place;
		e->lock_private = t->held[t->locks - 1].is_private;
	}
	return e;
}

int first_fork(void)
{
	int i = 0;

	while (i < arena->n_events && arena->events[i].what != STARTS)
		i++;
	return i;
}

void lock_is_held(struct place place)
{
	struct task *t = self();

	if (t->locks < HELD)
		t->held[t->locks++] = (struct held){ place, is_private(place) };
}

void lock_is_free(struct place place)
{
	for (int i = 0; i < arena->n_tasks; i++) {
		struct task *t = &arena->tasks[i];

		for (int k = t->locks - 1; k >= 0; k--)
			if (same_place(t->held[k].place, place))
				t->held[k] = t->held[--t->locks];
	}
}

/* ---- accesses ---------------------------------------------------------- */

/* Words that lie together have cells that lie together: in few pages. */
static struct cell *cell_at(struct place word)
{
	uint64_t block = word.offset / 64 ^ (uint64_t)word.object << 40;
	uint64_t at = (block * 0x9E3779B97F4A7C15u >> 40) * 64 +
		      word.offset % 64;
	struct cell *c;

	for (int k = 0; k < 32; k++) {
		c = &arena->cells[(at + (uint64_t)k * 64) % CELLS];
		if (c->schedule != arena->schedule) {
			memset(c, 0, sizeof *c);
			c->schedule = arena->schedule;
			c->place = word;
		}
		if (same_place(c->place, word))
			return c;
	}
	return NULL;		/* so full that it is not worth it */
}

static bool is_atomic(int event)
{
	enum what what = arena->events[event].what;

	return what == ATOMIC_READ || what == ATOMIC_WRITE;
}

static void found_race(int earlier, int later)
{
	if (arena->race[1] != 0)
		return;
	arena->race[0] = earlier;
	arena->race[1] = later;
}

/* Is what another did at that time ordered before what I do now? */
static bool ordered(int task, uint32_t time)
{
	return time == 0 || task == me || time <= self()->clock.at[task];
}

static void look_for_races(const struct cell *c, int event, uint8_t bytes,
			   bool writes)
{
	bool atomic = is_atomic(event);

	if ((c->write_bytes & bytes) && !ordered(c->writer, c->written) &&
	    !(atomic && is_atomic(c->write_event)))
		found_race(c->write_event, event);
	for (int t = 0; writes && t < arena->n_tasks; t++)
		if ((c->read_bytes[t] & bytes) && !ordered(t, c->read[t]) &&
		    !(atomic && is_atomic(c->read_event[t])))
			found_race(c->read_event[t], event);
}

/* These bytes of one word. Of earlier accesses only the last is known. */
static void touch(struct place word, uint8_t bytes, int event, bool writes)
{
	struct cell *c = cell_at(word);

	if (c == NULL)
		return;
	look_for_races(c, event, bytes, writes);
	if (writes) {
		c->writer = (uint8_t)me;
		c->written = self()->clock.at[me];
		c->write_event = event;
		c->write_bytes = bytes;
	} else {
		c->read[me] = self()->clock.at[me];
		c->read_event[me] = event;
		c->read_bytes[me] = bytes;
	}
}

/* Word by word, and in each the bytes between from and to. */
static void touch_all(struct place place, size_t size, int event, bool writes)
{
	uint64_t from = place.offset, to = from + size, end;
	uint8_t bytes;

	for (; from < to; from = end) {
		end = (from / 8 + 1) * 8;
		bytes = (uint8_t)(0xff << from % 8);
		if (end > to)
			bytes &= (uint8_t)(0xff >> (end - to));
		touch((struct place){ place.object, from / 8 }, bytes, event,
		      writes);
	}
}

static bool has_threads(void)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (i != me && arena->tasks[i].state != ENDED &&
		    arena->tasks[i].process == self()->process)
			return true;
	return false;
}

/* What lies in shared() is the test's own. */
static bool is_fact(const volatile void *at)
{
	const struct exploration *e = arena->exploration;

	return (const volatile char *)at >= (char *)e->shared &&
	       (const volatile char *)at < (char *)e->shared + e->size;
}

void access_memory(const volatile void *at, size_t size, enum what what,
		   const void *pc)
{
	bool writes;
	struct place place;
	struct event *e;
	int number;

	if (size == 0 || is_fact(at) ||
	    (!is_shared_memory(at) && !has_threads()))
		return;
	place = place_of(at);
	point(place, pc);
	e = note(what, NULL, place, pc);
	number = (int)(e - arena->events);
	writes = is_write(e);
	e->size = size > 255 ? 255 : (uint8_t)size;
	e->before = e->value = value_at(at, size);
	if (writes) {
		written_at = at;
		written_event = number;
	}
	touch_all(place, size < LARGEST ? size : LARGEST, number, writes);
}
