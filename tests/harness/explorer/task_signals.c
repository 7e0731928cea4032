/*
 * Signals arrive when their receiver has the turn: they are all held while
 * another one has it.
 */
#include "tasks.h"

#include <signal.h>
#include <unistd.h>

void hold_signals(sigset_t *before)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, before);
}

static bool is_fatal(int sig)
{
	return sig != SIGCHLD && sig != SIGCONT && sig != SIGURG &&
	       sig != SIGWINCH && sig != SIGTSTP && sig != SIGTTIN &&
	       sig != SIGTTOU;
}

static void end_by_signal(int sig)
{
	struct sigaction a = { .sa_handler = SIG_DFL };
	sigset_t none;

	end_my_process(true);
	sigaction(sig, &a, NULL);
	sigemptyset(&none);
	raise(sig);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	for (;;)
		pause();
}

/* Let in what has arrived; true if a handler is going to run. */
bool let_signals_in(const sigset_t *before)
{
	bool handled = false;
	struct sigaction a;
	sigset_t pending;

	sigpending(&pending);
	for (int sig = 1; sig < NSIG && !sigisemptyset(&pending); sig++) {
		if (sigismember(&pending, sig) != 1 ||
		    sigismember(before, sig) == 1 ||
		    sigaction(sig, NULL, &a) != 0)
			continue;
		if (a.sa_handler == SIG_DFL && is_fatal(sig))
			end_by_signal(sig);
		handled |= a.sa_handler != SIG_DFL && a.sa_handler != SIG_IGN;
	}
	pthread_sigmask(SIG_SETMASK, before, NULL);
	return handled;
}

/* True if it is not kept for later. */
bool signal_arrives(int sig)
{
	sigset_t blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	raise(sig);
	return sigismember(&blocked, sig) == 0;
}
