/* Waiting costs nothing: neither processor time nor looks again and again. */
#include "internal.h"

enum { FAMILY = 256 };

static const double a_span = 0.15;

/* Who never gets a processor in a span, and is in the queue for one, works. */
static bool is_quiet(const struct effort *e, int64_t cpu_ns, int64_t wakes)
{
	bool always_there = e->runnable_ns > 50000000 && e->switches < 5;

	return e->cpu_ns < cpu_ns && !always_there &&
	       (wakes == 0 || e->switches < wakes);
}

static bool ever_sleeps(pid_t pid)
{
	for (int i = 0; i < 1000; i++) {
		if (process_state(pid) != 'R')
			return true;
		breathe();
	}
	return false;
}

struct calm watch_waiting(int64_t cpu_ns, int64_t wakes)
{
	pid_t family[FAMILY];
	int n = fence_family(family, FAMILY);
	struct calm c = {0};
	struct effort e;

	for (int i = 0; i < 20 && !c.quiet && c.cpu_ns < 300000000 &&
			(wakes == 0 || c.wakes < 5 * wakes); i++) {
		e = effort_during(a_span);
		c.quiet = is_quiet(&e, cpu_ns, wakes);
		c.seconds += a_span;
		c.cpu_ns += e.cpu_ns;
		c.wakes += e.switches;
	}
	for (int i = 0; c.quiet && i < n; i++)
		c.restless += !ever_sleeps(family[i]);
	return c;
}

void expect_calm(const struct calm *c, const char *why, const char *when)
{
	const char *expected = text("next to no processor time %s", when);

	expect(c->quiet, why, expected, "%.0f ms of it, and %lld times awake, "
	       "in %.2f s", c->cpu_ns / 1e6, (long long)c->wakes, c->seconds);
	expect(c->restless == 0, why, expected, "%d who never sleep",
	       c->restless);
}
