/*
 * The harness judged by itself: each check here has the verdict it must come
 * to as its kind, "pass" or "fail", and selftest.bats compares the two.
 */
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bad.h"

/* ---- ends of a scenario ------------------------------------------------------ */

static void call(void *function)
{
	(*(void (**)(void))function)();
	still_alone("the function");
}

static void run(void (*function)(void), double limit)
{
	void (**f)(void) = shared(sizeof *f);

	*f = function;
	fence(&(struct fence){ .scenario = call, .shared = f, .limit = limit });
}

static void stuck(void) { run(bad_keeps_the_write_end, 0); }
static void copied(void) { run(bad_falls_out_of_the_child, 0); }
static void exited(void) { run(bad_leaves_by_exit, 0); }
static void killed_all(void) { run(bad_kills_everybody, 0); }
static void closed(void) { run(bad_closes_everything, 0); }
static void crashed(void) { run(bad_crashes, 0); }
static void busy(void) { run(bad_spins, 0.5); }
static void storm(void) { run(bad_forks_without_end, 10); }
static void cheat(void) { run(bad_prints_a_pass, 0); }

static void clean_after(void (*function)(void))
{
	run(function, 0);
	expect_clean(NULL);
}

static void zombie(void) { clean_after(bad_forgets_its_child); }
static void descriptor(void) { clean_after(bad_leaves_a_descriptor); }
static void memory(void) { clean_after(bad_leaves_shared_memory); }
static void orphan(void) { clean_after(bad_leaves_a_running_child); }
static void nothing(void) { }
static void clean(void) { clean_after(nothing); }

/* ---- signals of the caller ------------------------------------------------------- */

static void handle(int sig) { (void)sig; }

static void handle_usr1(int with)
{
	struct sigaction a = { .sa_handler = handle };

	sigaddset(&a.sa_mask, with);
	sigaction(SIGUSR1, &a, NULL);
	keep_signals();
}

static void blocks(void)
{
	sigset_t hup;

	sigemptyset(&hup);
	sigaddset(&hup, SIGHUP);
	sigprocmask(SIG_BLOCK, &hup, NULL);
}

static void handles_alone(void)
{
	handle_usr1(SIGUSR2);
	signal(SIGUSR1, signal(SIGUSR1, SIG_IGN));	/* SIGUSR2 is lost */
}

static void ignores_meanwhile(void)
{
	handle_usr1(SIGUSR2);
	signal(SIGUSR1, SIG_IGN);
	look_at_signals(" meanwhile");
	handle_usr1(SIGUSR2);
}

static void puts_back(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN }, usr1;

	handle_usr1(SIGUSR2);
	sigaction(SIGUSR1, &ignore, &usr1);
	sigaction(SIGUSR1, &usr1, NULL);
	signal(SIGUSR2, signal(SIGUSR2, SIG_IGN));
}

static void blocked(void) { clean_after(blocks); }
static void alone(void) { clean_after(handles_alone); }
static void meanwhile(void) { clean_after(ignores_meanwhile); }
static void put_back(void) { clean_after(puts_back); }

/* ---- gates, meetings, peaks ---------------------------------------------------- */

struct order {
	struct gate gate, other;
	struct meeting meeting;
	struct peak peak;
	bool first, second;
	pid_t child;
};

static void wait_at_gate(void *arg)
{
	struct order *o = arg;

	o->first = gate_wait(&o->gate);
	o->second = gate_wait(&o->other);
}

static void open_gate_of_a_sleeper(void *arg)
{
	struct order *o = arg;

	if (wait_until_asleep(fence_pid()))
		gate_open(&o->gate);
}

static void hopeless_gate(void)
{
	struct order *o = shared(sizeof *o);

	fence(&(struct fence){ wait_at_gate, open_gate_of_a_sleeper, o, 0, NULL });
	expect(o->first, "", "the director opened the first gate", "it did not");
	expect(!o->second, "", "nobody opened the second gate", "it opened");
}

static void meet(void *arg)
{
	struct order *o = arg;
	pid_t pid = fork();

	peak_enter(&o->peak);
	o->first = meeting_wait(&o->meeting, 2);
	peak_leave(&o->peak);
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	o->second = meeting_wait(&o->meeting, 4);
}

static void meeting(void)
{
	struct order *o = shared(sizeof *o);

	fence(&(struct fence){ .scenario = meet, .shared = o });
	expect(o->first, "", "two meet", "they do not");
	expect(!o->second, "", "nobody comes to the second meeting", "somebody");
	expect(o->peak.most == 2, "", "2 inside", "%d", o->peak.most);
}

/* ---- faults ---------------------------------------------------------------------- */

struct transfer {
	int (*take)(int fd, char *buf, int n);
	char text[6];
	int result;
};

static int (*taker)(int fd, char *buf, int n);

static void set_taker(void *arg)
{
	struct transfer *t = arg;

	t->take = taker;
}

static void transfer(void *arg)
{
	struct transfer *t = arg;
	int fds[2];

	if (pipe(fds) != 0 || write(fds[1], "hello", 6) != 6)
		return;
	t->result = t->take(fds[0], t->text, 6);
	close(fds[0]);
	close(fds[1]);
}

static void expect_hello(void *arg, const struct fence_end *end)
{
	struct transfer *t = arg;

	expect(end->how == FENCE_FINISHED && t->result == 6, "", "6 bytes",
	       "%d", t->result);
	expect(strcmp(t->text, "hello") == 0, "", "hello", "'%.6s'", t->text);
}

static void sweep(int (*take)(int fd, char *buf, int n))
{
	struct transfer *t = shared(sizeof *t);

	taker = take;
	fault_sweep(&(struct fence){ .scenario = transfer, .shared = t },
		    sizeof *t, "read", EINTR, set_taker, expect_hello);
}

static void interrupted_once(void) { sweep(bad_reads_once); }
static void interrupted_all(void) { sweep(bad_reads_all); }

static void fork_in_scenario(void *arg)
{
	*(int *)arg = bad_forks();
}

static void fork_fails(void)
{
	int *result = shared(sizeof *result);

	fault_set(&(struct fault){ "fork", EAGAIN, 1, false });
	fence(&(struct fence){ .scenario = fork_in_scenario, .shared = result });
	expect(*result == -1, "", "-1", "%d", *result);
	expect(fault_hits() == 1, "", "1 hit", "%d", fault_hits());
}

/* ---- observing ---------------------------------------------------------------------- */

struct seen {
	int64_t cpu_ns;
	struct gate ready;
};

static void spin_until_killed(void *arg)
{
	gate_open(&((struct seen *)arg)->ready);
	for (;;)
		;
}

static void measure_and_kill(void *arg)
{
	struct seen *s = arg;

	gate_wait(&s->ready);
	s->cpu_ns = effort_during(0.2).cpu_ns;
	kill(fence_pid(), SIGKILL);
}

static void effort_is_seen(void)
{
	struct seen *s = shared(sizeof *s);
	struct fence_end end;

	end = fence_try(&(struct fence){ spin_until_killed, measure_and_kill, s,
					 0, NULL });
	expect(end.how == FENCE_KILLED && end.status == SIGKILL, "",
	       "killed by SIGKILL", "%d %d", end.how, end.status);
	expect(s->cpu_ns > 10000000, "", "more than 10 ms of CPU time",
	       "%lld ns", (long long)s->cpu_ns);
}

static const struct check checks[] = {
	{ "fail", "a reader that holds the write end is stuck", stuck, NULL },
	{ "fail", "a child that falls out is noticed", copied, NULL },
	{ "fail", "an exit in the middle is noticed", exited, NULL },
	{ "fail", "a kill of everybody is stopped", killed_all, NULL },
	{ "pass", "closing every descriptor hurts nobody else", closed, NULL },
	{ "fail", "a crash is told with its line", crashed, bad_crashes },
	{ "fail", "a busy loop ends at the limit", busy, NULL },
	{ "fail", "a fork storm ends", storm, NULL },
	{ "fail", "a pass that is only printed does not count", cheat, NULL },
	{ "fail", "a zombie is left", zombie, NULL },
	{ "fail", "a descriptor is left", descriptor, NULL },
	{ "fail", "shared memory is left", memory, NULL },
	{ "fail", "a running process is left", orphan, NULL },
	{ "pass", "nothing is left", clean, NULL },
	{ "fail", "a signal is left blocked", blocked, NULL },
	{ "fail", "an action is put back without its mask", alone, NULL },
	{ "fail", "an action is another one meanwhile", meanwhile, NULL },
	{ "pass", "actions are put back", put_back, NULL },
	{ "pass", "a gate that nobody can open gives up", hopeless_gate, NULL },
	{ "pass", "a meeting proves presence", meeting, NULL },
	{ "fail", "one read is not enough under EINTR", interrupted_once, NULL },
	{ "pass", "a loop is enough under EINTR", interrupted_all, NULL },
	{ "pass", "a fork can be made to fail", fork_fails, NULL },
	{ "pass", "the effort of the scenario is seen", effort_is_seen, NULL },
};

CHECKS("selftest", checks);
