/* Timers. */
#include "calls.h"

#include <signal.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

/* A timer may wake who seems to sleep for ever: leave more time before that
 * is said. */
unsigned called_alarm(unsigned seconds);
unsigned called_alarm(unsigned seconds)
{
	board->timers = 1;
	return alarm(seconds);
}

int called_setitimer(int which, const struct itimerval *new,
		     struct itimerval *old);
int called_setitimer(int which, const struct itimerval *new,
		     struct itimerval *old)
{
	board->timers = 1;
	return setitimer(which, new, old);
}

int called_timer_settime(timer_t timer, int flags,
			 const struct itimerspec *new, struct itimerspec *old);
int called_timer_settime(timer_t timer, int flags,
			 const struct itimerspec *new, struct itimerspec *old)
{
	board->timers = 1;
	return timer_settime(timer, flags, new, old);
}

int called_timerfd_settime(int fd, int flags, const struct itimerspec *new,
			   struct itimerspec *old);
int called_timerfd_settime(int fd, int flags, const struct itimerspec *new,
			   struct itimerspec *old)
{
	board->timers = 1;
	return timerfd_settime(fd, flags, new, old);
}
