/* Does anybody move? And where nobody does: do the waits form a circle? */
#include "doctor_parts.h"

#include <string.h>

static bool is_asleep(const struct thread *t)
{
	return !t->busy && !t->moved && !t->timed && t->state != 'R';
}

bool is_stuck(const struct scene *s)
{
	if (s->blind != NULL || s->n_threads == 0)
		return false;
	for (int i = 0; i < s->n_threads; i++)
		if (!is_asleep(&s->threads[i]) || s->threads[i].outside)
			return false;
	return true;
}

/*
 * The shortest way from a thread back to itself, by looking at all that can
 * be reached in one step, in two, ...; came_from tells the way.
 */
static int circle_from(const struct scene *s, int start, int *came_from)
{
	int queue[THREADS], first = 0, last = 0;

	for (int i = 0; i < s->n_threads; i++)
		came_from[i] = -1;
	queue[last++] = start;
	while (first < last) {
		int i = queue[first++];

		for (int k = 0; k < s->n_threads; k++) {
			if (!s->threads[i].freed_by[k] || came_from[k] >= 0 ||
			    !is_asleep(&s->threads[k]))
				continue;
			came_from[k] = i;
			if (k == start)
				return true;
			queue[last++] = k;
		}
	}
	return false;
}

int find_circle(const struct scene *s, struct thread **circle)
{
	int came_from[THREADS], best = 0;

	for (int start = 0; start < s->n_threads; start++) {
		int n = 1, at;

		if (!is_asleep(&s->threads[start]) ||
		    !circle_from(s, start, came_from))
			continue;
		for (at = came_from[start]; at != start; at = came_from[at])
			n++;
		if (best != 0 && n >= best)
			continue;
		best = n;
		for (at = start; n > 0; at = came_from[at])
			circle[n-- % best] = (struct thread *)&s->threads[at];
	}
	return best;
}
