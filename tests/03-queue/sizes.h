/*
 * sizes - items of all sizes, from one process to another: smaller than a
 * word, larger than what a pipe takes, larger than a stack
 */
#ifndef SIZES_H
#define SIZES_H

#include "facts.h"

static const size_t item_sizes[] = { 1, 3, 8, 24, 5000, 70000, 9 << 20 };
enum { SMALL = 5 };		/* of them */
enum { ITEM_SIZES = sizeof item_sizes / sizeof *item_sizes, MARGIN = 64 };

static inline void fill_item(unsigned char *item, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		item[i] = (unsigned char)(seed * 37 + i * 7 + (i >> 8));
}

static inline bool is_filled(const unsigned char *item, size_t size, unsigned seed)
{
	for (size_t i = 0; i < size; i++)
		if (item[i] != (unsigned char)(seed * 37 + i * 7 + (i >> 8)))
			return false;
	return true;
}

static inline bool all_are(const unsigned char *byte, size_t n, unsigned char what)
{
	for (size_t i = 0; i < n; i++)
		if (byte[i] != what)
			return false;
	return true;
}

/* The item is made after the fork, at an odd address, and spoilt at once. */
static inline void put_and_spoil(int i)
{
	size_t size = facts->size, n = size > 1 << 20 ? 1 : 2;
	unsigned char *room = malloc(size + 2);

	(void)i;
	for (unsigned k = 0; k < n; k++) {
		fill_item(room + 1, size, k);
		facts->number[7]++;
		facts->number[5] += queue_put(queue, room + 1, 0) != 0;
		facts->number[7]--;
		memset(room, 0xee, size + 2);
	}
	free(room);
}

static inline void get_whole(struct facts *s)
{
	size_t size = s->size, n = size > 1 << 20 ? 1 : 2;
	unsigned char *room = malloc(size + 2 * MARGIN);

	for (unsigned k = 0; k <= n; k++) {
		memset(room, 0xcc, size + 2 * MARGIN);
		s->number[1] = queue_get(queue, room + MARGIN - 1, 0);
		if (k == n)
			s->number[4] += s->number[1] != 1 ||
				!all_are(room, size + 2 * MARGIN, 0xcc);
		else if (s->number[1] != 0)
			s->number[2]++;
		else if (all_are(room + MARGIN - 1, size, 0xee))
			s->number[6]++;
		else if (!is_filled(room + MARGIN - 1, size, k))
			s->number[2]++;
		if (!all_are(room, MARGIN - 1, 0xcc) ||
		    !all_are(room + MARGIN - 1 + size, MARGIN, 0xcc))
			s->number[3]++;
	}
	free(room);
}

static inline void any_size(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = s->number[10]; i < s->number[11]; i++) {
		s->size = item_sizes[i];
		if (!create(s, s->size > 1 << 20 ? 1 : 2, s->size)) {
			/* no descriptor takes so much at once */
			s->created = s->size > 1 << 20 && s->error != 0;
			return;
		}
		in_child(0, put_and_spoil);
		get_whole(s);
		queue_destroy(queue);
		if (s->number[2] + s->number[3] + s->number[4] + s->number[5] +
		    s->number[6] + s->number[7])
			return;
	}
}

static inline void check_sizes(int first, int last)
{
	static const char why_size[] = "An item is as long as was said when "
				       "the queue was made.";
	struct facts *s = shared(sizeof *s);
	struct fence_end end;
	struct fence f = { .scenario = any_size, .shared = s,
			   .why_stuck = why_size };

	s->number[10] = first;
	s->number[11] = last;
	end = fence_try(&f);
	expect(end.how != FENCE_KILLED, WHY_11, text("items of %zu bytes go "
	       "through", s->size), "the caller was killed by signal %d",
	       end.status);
	if (end.how != FENCE_FINISHED)
		fence(&f);
	expect_created(s);
	expect(s->number[7] == 0, "An item may be larger than what your "
	       "function has room for.", text("queue_put returns for an item of "
	       "%zu bytes", s->size), "its caller died");
	expect(s->number[5] == 0, why_size, text("2 items of %zu bytes are put",
	       s->size), "%d were not", s->number[5]);
	expect(s->number[6] == 0, WHY_11, "an item is what it was when it was "
	       "put", "it is what its producer did with its memory later");
	expect(s->number[2] == 0, s->size > 8 ? why_size : WHY_11, text("items "
	       "of %zu bytes arrive as they were put", s->size),
	       "%d do not", s->number[2]);
	expect(s->number[3] == 0, why_size, text("get writes %zu bytes",
	       s->size), "what lies beside them was written to");
	expect(s->number[4] == 0, "Nothing was got, and the caller's item has "
	       "changed.", "an empty queue leaves the item as it is: 1",
	       "%s", s->number[1] == 1 ? "1, and it was written to" :
	       text("%d", s->number[1]));
}

#endif
