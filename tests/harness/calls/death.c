/* Who is killed, stopped or interrupted, at a moment that is known. */
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

/* ---- holders ------------------------------------------------------------ */

bool holder_stay(struct holder *h)
{
	h->pid = getpid();
	gate_open(&h->inside);
	return gate_wait(&h->free);
}

pid_t holder_wait(struct holder *h)
{
	return gate_wait(&h->inside) ? h->pid : 0;
}

pid_t holder_kill(struct holder *h)
{
	pid_t pid = holder_wait(h);

	if (pid == 0 || kill(pid, SIGKILL) != 0)
		return 0;
	hit(INJECT_KILL);
	return wait_until_ended(pid) ? pid : 0;
}

void holder_let_go(struct holder *h)
{
	gate_open(&h->free);
}

/* ---- stopped for a while ------------------------------------------------ */

static bool becomes(pid_t pid, bool stopped)
{
	while (is_running(pid)) {
		if (is_stopped(pid) == stopped)
			return true;
		breathe();
	}
	return false;
}

bool stop_process(pid_t pid)
{
	if (pid <= 0 || kill(pid, SIGSTOP) != 0 || !becomes(pid, true))
		return false;
	hit(INJECT_STOP);
	return true;
}

bool continue_process(pid_t pid)
{
	return pid > 0 && kill(pid, SIGCONT) == 0 && becomes(pid, false);
}

/* ---- interrupted again and again ---------------------------------------- */

static void note_interrupt(int sig)
{
	(void)sig;
	hit(INJECT_INTERRUPT);
}

static void every(long microseconds)
{
	struct itimerval t = { .it_interval.tv_usec = microseconds,
			       .it_value.tv_usec = microseconds };

	setitimer(ITIMER_REAL, &t, NULL);
}

void interrupts_start(void)
{
	struct sigaction a = { .sa_handler = note_interrupt };

	sigemptyset(&a.sa_mask);
	sigaction(SIGALRM, &a, NULL);
	every(5000);
}

void interrupts_stop(void)
{
	struct sigaction a = { .sa_handler = SIG_DFL };

	every(0);
	sigaction(SIGALRM, &a, NULL);
}
