/*
 * Waits for one of several things: select, poll, epoll. Each is asked with no
 * time to wait, and asked again when something has happened.
 */
#include "calls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>

struct several {
	struct pollfd *fds;
	nfds_t n;
	fd_set *sets[3], asked[3];
	const sigset_t *mask;
	int set, room;
	struct epoll_event *events;
};

static const struct timespec at_once;

static int try_poll(struct several *s)
{
	return ppoll(s->fds, s->n, &at_once, s->mask);
}

static int try_select(struct several *s)
{
	for (int i = 0; i < 3; i++)
		if (s->sets[i] != NULL)
			*s->sets[i] = s->asked[i];
	return pselect((int)s->n, s->sets[0], s->sets[1], s->sets[2],
		       &at_once, s->mask);
}

static int try_epoll(struct several *s)
{
	return epoll_pwait(s->set, s->events, s->room, 0, s->mask);
}

static enum wake wait_with_mask(const char *call, int64_t deadline,
				const sigset_t *mask, const void *pc)
{
	sigset_t before;
	enum wake how;

	if (mask != NULL)
		pthread_sigmask(SIG_SETMASK, mask, &before);
	how = wait_here(call, nowhere, deadline, pc);
	if (mask != NULL)
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	return how;
}

static int wait_for_one(int (*try)(struct several *), struct several *s,
			int64_t deadline, const char *call, const void *pc)
{
	int64_t timer;
	enum wake how = WOKEN;
	int r;

	point(nowhere, pc);
	for (;;) {
		timers_are_due();
		r = try(s);
		if (r != 0 || deadline <= arena->now)
			break;
		if (how == INTERRUPTED)
			return errno = EINTR, -1;
		timer = next_timer();
		how = wait_with_mask(call, timer < deadline ? timer : deadline,
				     s->mask, pc);
	}
	for (nfds_t i = 0; s->fds != NULL && r > 0 && i < s->n; i++)
		if (s->fds[i].revents != 0)
			acquire_from(place_of_file(s->fds[i].fd));
	acquire_from_dead();
	note(CALLS, call, nowhere, pc)->value = (uint64_t)r;
	return r;
}

int explored_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	if (!exploring())
		return poll(fds, n, timeout);
	return wait_for_one(try_poll, &(struct several){ .fds = fds, .n = n },
			    deadline_after_ms(timeout), "poll", HERE);
}

int explored_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *t,
		   const sigset_t *mask)
{
	if (!exploring())
		return ppoll(fds, n, t, mask);
	return wait_for_one(try_poll,
			    &(struct several){ .fds = fds, .n = n,
					       .mask = mask },
			    deadline_after(t), "ppoll", HERE);
}

static int select_one(int n, fd_set *sets[3], int64_t deadline,
		      const sigset_t *mask, const char *call, const void *pc)
{
	struct several s = { .n = (nfds_t)n, .mask = mask };

	for (int i = 0; i < 3; i++) {
		s.sets[i] = sets[i];
		if (sets[i] != NULL)
			s.asked[i] = *sets[i];
	}
	return wait_for_one(try_select, &s, deadline, call, pc);
}

int explored_select(int n, fd_set *in, fd_set *out, fd_set *other,
		    struct timeval *t)
{
	struct timespec limit;

	if (!exploring())
		return select(n, in, out, other, t);
	if (t != NULL)
		limit = (struct timespec){ t->tv_sec, t->tv_usec * 1000 };
	return select_one(n, (fd_set *[]){ in, out, other },
			  deadline_after(t != NULL ? &limit : NULL), NULL,
			  "select", HERE);
}

int explored_pselect(int n, fd_set *in, fd_set *out, fd_set *other,
		     const struct timespec *t, const sigset_t *mask)
{
	if (!exploring())
		return pselect(n, in, out, other, t, mask);
	return select_one(n, (fd_set *[]){ in, out, other },
			  deadline_after(t), mask, "pselect", HERE);
}

int explored_epoll_wait(int set, struct epoll_event *events, int room,
			int timeout)
{
	if (!exploring())
		return epoll_wait(set, events, room, timeout);
	return wait_for_one(try_epoll,
			    &(struct several){ .set = set, .room = room,
					       .events = events },
			    deadline_after_ms(timeout), "epoll_wait", HERE);
}
