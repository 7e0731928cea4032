/* Scenarios: the fence, the director, and the watch over both. */
#include "internal.h"

#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "todo.h"

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

enum {
	DEFAULT_LIMIT = 20,
	STILL_MS = 300,		/* asleep so long: nothing will happen */
	STILL_TIMER_MS = 3000,	/* the same when a timer may be armed */
	LOOK_MS = 20,
	STILL_LOOKS = 10,	/* and seen so often: we may be kept waiting */
};

struct board *board;

static void *where_pc;

/* ---- what the student's processes tell ------------------------------------- */

pid_t fence_pid(void)
{
	return board->fence;
}

void still_alone(const char *function)
{
	if (getpid() == board->fence)
		return;
	board->copied = function;
	_exit(0);
}

/* Instead of common/todo.c's: the verdict comes first, not the message. */
void todo_reached(int n, const char *file, int line)
{
	board->todo_file = file;
	board->todo_line = line;
	board->todo = n;
	_exit(TODO_STATUS);
}

static void crashed(int sig)
{
	void *frames[FRAMES];
	int n = backtrace(frames, FRAMES);

	if (board->frames == 0) {
		memcpy(board->crash, frames, n * sizeof *frames);
		board->frames = n;
		board->crash_signal = sig;
	}
	raise(sig);		/* reset to default: dies on return */
}

static void catch_crashes(void)
{
	static char stack[64 * 1024];
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL,
				       SIGABRT };
	struct sigaction a = { .sa_handler = SANITIZED ? SIG_DFL : crashed,
			       .sa_flags = SA_RESETHAND | SA_ONSTACK };
	void *warm_up[1];

	backtrace(warm_up, 1);	/* loads what it needs */
	sigaltstack(&(stack_t){ .ss_sp = stack, .ss_size = sizeof stack },
		    NULL);
	sigemptyset(&a.sa_mask);
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &a, NULL);
}

/* ---- the two children -------------------------------------------------------- */

static void to_null(void)
{
	const char *output = getenv("HARNESS_OUTPUT");
	int in = open("/dev/null", O_RDONLY);
	int out = open(output ? output : "/dev/null",
		       O_WRONLY | O_CREAT | O_APPEND, 0666);

	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	close_range(3, ~0U, 0);
}

static void unblock_signals(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Who started us, in the background perhaps, may ignore some. */
static void ignore_no_signal(void)
{
	for (int sig = 1; sig <= SIGRTMAX; sig++)
		signal(sig, SIG_DFL);
}

static void set_limit(int resource, rlim_t most)
{
	struct rlimit limit;

	getrlimit(resource, &limit);
	if (limit.rlim_cur > most)
		limit.rlim_cur = most;
	setrlimit(resource, &limit);
}

static void limits(void)
{
	pid_t forbidden[] = { -1, board->test, getppid(), -getpgid(board->test),
			      getsid(board->test) };

	set_limit(RLIMIT_CORE, 0);
	set_limit(RLIMIT_FSIZE, 256u << 20);
	set_limit(RLIMIT_NOFILE, 1024);
	if (!SANITIZED)
		set_limit(RLIMIT_DATA, 2ul << 30);
	guard_install(forbidden, sizeof forbidden / sizeof *forbidden);
}

static _Noreturn void be_fence(const struct fence *f)
{
	board->fence = getpid();
	setsid();
	to_null();
	ignore_no_signal();
	unblock_signals();
	catch_crashes();
	limits();
	leftovers_before();
	f->scenario(f->shared);
	still_alone("a function");
	leftovers_after();
	board->finished = 1;
	_exit(0);
}

static _Noreturn void be_director(const struct fence *f)
{
	setsid();
	to_null();
	unblock_signals();
	f->director(f->shared);
	_exit(0);
}

static pid_t start(void (*be)(const struct fence *), const struct fence *f)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("harness: cannot start a process");
		exit(3);
	}
	if (pid == 0)
		be(f);
	return pid;
}

/* ---- the watch ----------------------------------------------------------------- */

struct watch {
	pid_t fence, director;		/* 0 once collected */
	int status;			/* of the fence */
	double limit, deadline;
	bool hurried;
	int64_t queued_ns, cpu_ns;	/* of the thread that had most of it */
	uint64_t stillness;
	double still_since;
	int still_looks;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void give_up_gates(void)
{
	board->hopeless = 1;
	announce_event();
}

/* Collect who has ended; orphans that the test program adopted too. */
static void collect(struct watch *w)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == w->fence) {
			w->fence = 0;
			w->status = status;
		} else if (pid == w->director) {
			w->director = 0;
		}
	}
}

/* Sleep until a child ends, but not long. */
static void doze(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigtimedwait(&child, NULL,
		     &(struct timespec){ .tv_nsec = LOOK_MS * 1000000L });
}

/* Has nothing moved for so long that nothing ever will? */
static bool nothing_moves(struct watch *w, const struct process *list, int n)
{
	uint64_t stillness = tree_stillness(list, n);
	int ms = board->timers ? STILL_TIMER_MS : STILL_MS;
	bool somebody_is_missed = n == 0 && (w->fence != 0 || w->director != 0);

	if (somebody_is_missed || stillness == 0 ||
	    stillness != w->stillness) {
		w->stillness = stillness;
		w->still_since = now();
		w->still_looks = 0;
		return false;
	}
	return ++w->still_looks >= STILL_LOOKS &&
	       now() - w->still_since > ms / 1e3;
}

static bool look_at_times(const char *task, void *arg)
{
	int64_t cpu, queued, slices;
	struct watch *w = arg;

	if (read_schedstat(task, &cpu, &queued, &slices)) {
		w->cpu_ns = cpu > w->cpu_ns ? cpu : w->cpu_ns;
		w->queued_ns = queued > w->queued_ns ? queued : w->queued_ns;
	}
	return true;
}

/*
 * A busy machine is no fault of the student: that somebody waited for a
 * processor does not count. Who has computed for a fifth of the time allowed
 * goes round and round.
 */
static bool time_is_over(struct watch *w, const struct process *list, int n)
{
	for (int i = 0; i < n; i++)
		if (list[i].pid != w->director)
			each_thread(list[i].pid, look_at_times, w);
	return now() > w->deadline + w->queued_ns / 1e9 ||
	       w->cpu_ns / 1e9 > w->limit / 5;
}

/* The scenario is over: what is still there ends soon, or is left behind. */
static void hurry(struct watch *w)
{
	double soon = now() + w->limit / 5;

	if (!w->hurried && soon < w->deadline)
		w->deadline = soon;
	w->hurried = true;
}

static enum fence_how end_of(const struct watch *w)
{
	if (WIFSIGNALED(w->status))
		return FENCE_KILLED;
	return board->finished ? FENCE_FINISHED : FENCE_EXITED;
}

static enum fence_how watch_over(struct watch *w)
{
	static struct process list[PROCESSES_MAX + 1];
	int n;

	for (;;) {
		collect(w);
		if (board->todo)
			return FENCE_TODO;
		if (board->copied)
			return FENCE_COPIED;
		n = tree_list(board->test, list, PROCESSES_MAX + 1);
		if (w->fence == 0 && w->director == 0) {
			if (n == 0)
				return end_of(w);
			hurry(w);
		}
		if (n > PROCESSES_MAX)
			return FENCE_STORM;
		if (nothing_moves(w, list, n)) {
			w->stillness = 0;
			if (w->fence == 0 && w->director == 0)
				return end_of(w);	/* leftovers */
			if (board->hopeless)
				return FENCE_STUCK;
			give_up_gates();
		}
		if (time_is_over(w, list, n))
			return w->fence == 0 && w->director == 0
			       ? end_of(w) : FENCE_OVERTIME;
		doze();
	}
}

/* Processes that outlive everybody who could have waited for them. */
static void note_survivors(void)
{
	static struct process list[PROCESSES_MAX];
	int n = tree_list(board->test, list, PROCESSES_MAX), alive = 0;
	void *pc = NULL;

	for (int i = 0; i < n; i++)
		alive += list[i].state != 'Z' && list[i].state != 'X';
	for (int k = 0; k < FORKS && alive > 0 && pc == NULL; k++)
		for (int i = 0; i < n; i++)
			if (board->forks[k].pid == list[i].pid)
				pc = board->forks[k].pc;
	if (alive > 0 && strstr(board->left, "still running") == NULL)
		left_behind(pc, "%d process%s still running after the caller"
			    " had ended", alive, alive > 1 ? "es" : "");
}

static void reset(void)
{
	board->events = board->hopeless = 0;
	board->finished = board->todo = board->timers = 0;
	board->copied = NULL;
	board->exit_status = 0;
	board->exit_pc = board->forbidden_pc = board->left_pc = NULL;
	board->frames = board->forbidden = 0;
	board->left[0] = '\0';
	board->threads.arrived = 0;
	board->next_standing = board->next_fork = 0;
	memset(board->standings, 0, sizeof board->standings);
	memset(board->taken, 0, sizeof board->taken);
	memset(board->forks, 0, sizeof board->forks);
	memset(board->opened, 0, sizeof board->opened);
	hits_reset();
	where_pc = NULL;
}

void fence_prepare(void)
{
	faults_reset();
	reset();
}

static const char *stuck_report;

struct fence_end fence_try(const struct fence *f)
{
	struct watch w = { .limit = f->limit > 0 ? f->limit : DEFAULT_LIMIT };
	struct fence_end end = {0};

	reset();
	w.deadline = now() + w.limit;
	w.fence = end.pid = start(be_fence, f);
	board->fence = end.pid;		/* the director asks for it at once */
	board->director = w.director = f->director ? start(be_director, f) : 0;
	end.how = watch_over(&w);
	if (end.how == FENCE_STUCK || end.how == FENCE_OVERTIME)
		stuck_report = standing_report(&where_pc);
	else
		note_survivors();
	tree_kill(board->test);
	end.status = end.how == FENCE_KILLED ? WTERMSIG(w.status) :
		     end.how == FENCE_EXITED ? WEXITSTATUS(w.status) : 0;
	if (end.how == FENCE_TODO)
		fail_check("todo", text("TODO %d is still to be written.",
					board->todo),
			   text("%s:%d", board->todo_file, board->todo_line),
			   "your part of this function",
			   text("TODO %d reached", board->todo));
	if (board->forbidden > 0)
		fail_check("fail", "L01-13 You sent a signal to a process "
			   "number that does not name one process but a whole "
			   "group.", source_line(board->forbidden_pc),
			   "signals only to a process you started",
			   "a signal to process number 0 or -1");
	return end;
}

/* The first line of the crash that lies in a source file of a lab. */
static const char *crash_line(void)
{
	const char *line;

	for (int i = 0; i < board->frames; i++) {
		line = source_line(board->crash[i]);
		if (line[0] != '\0' && strstr(line, "harness/") == NULL)
			return line;
	}
	return "";
}

const char *fence_where(void)
{
	if (board->fault_struck && board->fault_pc != NULL)
		return source_line(board->fault_pc);
	if (where_pc != NULL)
		return source_line(where_pc);
	return "";
}

_Noreturn void fail_end(const struct fence *f, struct fence_end end)
{
	const char *at = end.how == FENCE_KILLED ? crash_line() :
			 end.how == FENCE_EXITED ? source_line(board->exit_pc)
						 : fence_where();

	switch (end.how) {
	case FENCE_KILLED:
		fail_check("fail", "The process that called your function was "
			   "killed by a signal.", at, "the call returns",
			   text("killed by %s", strsignal(end.status)));
	case FENCE_EXITED:
		fail_check("fail", "Your function ended the process that "
			   "called it, and everything it still had to do.", at,
			   "the call returns",
			   text("exit status %d in the middle", end.status));
	case FENCE_COPIED:
		fail_check("fail", "L01-01 Your child process kept going after "
			   "its own work and executed code that was meant for "
			   "the parent only.", at, text("%s returns once, in "
			   "the process that called it", board->copied),
			   "it also returned in a child");
	case FENCE_STORM:
		fail_check("fail", "L01-02 fork returns in the child too, so "
			   "your children are forking children of their own.",
			   at, "a handful of processes",
			   text("more than %d processes at once",
				PROCESSES_MAX));
	case FENCE_OVERTIME:
		fail_check("fail", f->why_stuck ? f->why_stuck :
			   "Something goes on for ever.", at,
			   "the scenario comes to an end",
			   text("it is still busy\n%s", stuck_report));
	default:
		fail_check("fail", f->why_stuck ? f->why_stuck :
			   "Everybody was waiting, and nobody was left who "
			   "could end the wait.", at,
			   "the scenario comes to an end",
			   text("nothing moves any more\n%s", stuck_report));
	}
}

void fence(const struct fence *f)
{
	struct fence_end end = fence_try(f);

	if (end.how != FENCE_FINISHED)
		fail_end(f, end);
}

static const char why_signals[] = "What a signal does, and which are blocked, "
	"is the caller's to decide: leave it, or put it back as it was.";

static bool is_about_signals(const char *left)
{
	return strstr(left, "another action for") || strstr(left, "blocked");
}

void expect_signals(void)
{
	if (is_about_signals(board->left))
		expect_clean(why_signals);
}

void expect_clean(const char *why)
{
	const char *left = board->left;

	if (left[0] == '\0')
		return;
	if (why == NULL && strstr(left, "nobody waited"))
		why = "L01-11 Your finished children were never collected, so "
		      "the system has to keep a record of each of them.";
	else if (why == NULL && strstr(left, "still running"))
		why = "A process you started goes on although nobody needs it "
		      "any more.";
	else if (why == NULL && strstr(left, "still open"))
		why = "Something you opened is never closed.";
	else if (why == NULL && is_about_signals(left))
		why = why_signals;
	else if (why == NULL)
		why = "Your function left a trace in the process that called "
		      "it, or in the system.";
	fail_check("fail", why, board->left_pc != NULL ?
		   source_line(board->left_pc) : fence_where(),
		   "nothing left behind",
		   text("%s", left));
}
