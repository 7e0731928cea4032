/* Whose turn it is to fail, and how often each injector struck. */
#include "calls.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* ---- the fault that is set ---------------------------------------------- */

static const char *const families[FAMILIES] = {
	"fork", "read", "write", "waitpid", "mmap", "pipe", "malloc",
	"pthread_create", "kill", "ftruncate", "open", "shm_open",
};

/* The place of its first word in the table; the last one for all others. */
static int family(const char *call)
{
	size_t n = strcspn(call, " ");

	for (int i = 0; i < FAMILIES && families[i] != NULL; i++)
		if (strncmp(families[i], call, n) == 0 && !families[i][n])
			return i;
	return FAMILIES - 1;
}

int calls_of(const char *call)
{
	return board->calls[family(call)];
}

static void count(const char *call, const char *groups)
{
	int i = family(call);

	board->calls[i < FAMILIES - 1 ? i : family(groups)]++;
}

void fault_set(const struct fault *fault)
{
	board->fault = *fault;
	board->fault_counter = 0;
	board->fault_struck = 0;
	board->fault_pc = NULL;
}

int fault_hits(void)
{
	return board->fault_struck;
}

/* Is word one of the words of the list? */
static bool is_one_of(const char *word, const char *list)
{
	size_t n = strlen(word);

	for (const char *p = list; (p = strstr(p, word)) != NULL; p += n)
		if ((p == list || p[-1] == ' ') &&
		    (p[n] == ' ' || p[n] == '\0'))
			return true;
	return false;
}

bool fault_is_for(const char *call, const char *groups)
{
	const char *wanted = board->fault.call;

	return wanted != NULL && (strcmp(wanted, call) == 0 ||
				  is_one_of(wanted, groups));
}

/* Who has blocked all signals is never interrupted. */
static bool can_be_interrupted(void)
{
	sigset_t blocked;

	pthread_sigmask(SIG_BLOCK, NULL, &blocked);
	for (int sig = 1; sig < SIGSYS; sig++)
		if (sig != SIGKILL && sig != SIGSTOP &&
		    sigismember(&blocked, sig) == 0)
			return true;
	return false;
}

bool struck(const char *call, const char *groups, bool suits, void *pc)
{
	const struct fault *f = &board->fault;
	int turn;

	count(call, groups);
	if (!suits || !fault_is_for(call, groups) ||
	    (f->error == EINTR && !can_be_interrupted()))
		return false;
	turn = ++board->fault_counter;
	if (turn != f->k && !(f->onwards && turn > f->k))
		return false;
	if (board->fault_struck++ == 0) {
		board->fault_pc = pc;
		board->fault_name = call;
	}
	errno = f->error;
	return true;
}

bool short_transfers(void)
{
	return board->fault.error <= 0;
}

size_t shortened(size_t n)
{
	switch (board->fault.error) {
	case SHORT_HALF:
		return n > 1 ? n / 2 : n;
	case SHORT_BUT_ONE:
		return n > 1 ? n - 1 : n;
	default:
		return 1;
	}
}

static const char *what_happened(int error)
{
	switch (error) {
	case SHORT_ONE:
		return "moved one byte only";
	case SHORT_HALF:
		return "moved half of it";
	case SHORT_BUT_ONE:
		return "moved all but one byte";
	case EINTR:
		return "was interrupted: EINTR";
	default:
		return text("failed: %s", strerrorname_np(error));
	}
}

const char *fault_text(void)
{
	const struct fault *f = &board->fault;

	if (board->fault_struck == 0)
		return "";
	return text("fault: %s, number %d of %s%s, %s", board->fault_name,
		    f->k, f->call, f->onwards ? ", and all later ones" : "",
		    what_happened(f->error));
}

/* ---- hits --------------------------------------------------------------- */

static const char *const injectors[INJECTORS] = {
	[INJECT_CALL] = "no call that could fail so",
	[INJECT_SMALL_PIPES] = "no pipe, no socket pair",
	[INJECT_NO_PAUSE] = "no pause",
	[INJECT_CLOCK] = "nobody looks at the wall clock",
	[INJECT_INTERRUPT] = "no signal arrived",
	[INJECT_SMALL_SHM] = "nobody asks for more than /dev/shm has",
	[INJECT_DESCRIPTORS] = "there were descriptors enough",
	[INJECT_KILL] = "nobody was killed",
	[INJECT_STOP] = "nobody was stopped",
	[INJECT_HELD_THREADS] = "no thread was started",
	[INJECT_CORE] = "nobody asks how a child ended that a signal ended",
};

void hit(enum injector injector)
{
	board->injected[injector]++;
}

int injected(enum injector injector)
{
	return injector == INJECT_CALL ? board->fault_struck
				       : board->injected[injector];
}

void expect_exercised(enum injector injector)
{
	if (injected(injector) == 0)
		skip_check("not exercised: %s", injectors[injector]);
}

int forbidden_kills(void)
{
	return board->forbidden;
}

void hits_reset(void)
{
	memset(board->calls, 0, sizeof board->calls);
	memset(board->injected, 0, sizeof board->injected);
	board->skipped_ns = 0;
}

void faults_reset(void)
{
	static const struct fault none;

	fault_set(&none);
	board->small_pipes = board->hold_threads = 0;
	board->shm_size = 0;
	pauses_skip(false);
	clock_jumps(0);
}
