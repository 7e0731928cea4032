/*
 * A process is not alone: the caller has children, descriptors and signals of
 * its own, and so has the child. What belongs to others is left alone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helpers.h"

#define WHY_05 "L01-05 You waited for some child to finish, not for the " \
	"child this handle stands for."
#define LONG_NAME "a worker with a name that is longer than most names are"

struct facts {
	struct gated child;
	struct gate grandchild, joining;
	int own, own_status, result[3];
	bool alive[2], open, was_open;
	int handlers, blocked;
	pid_t fork_of_child;
	int fd;
	dev_t in_device;
	ino_t in_inode;
	char name[128];
};

/* ---- children of the caller -------------------------------------------- */

static int returns_4(void *args)
{
	(void)args;
	return 4;
}

/* A child that the caller made itself, and that has ended. */
static pid_t own_child(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(5);
	wait_until_ended(pid);
	return pid;
}

static void ask_what_never_was(void *facts)
{
	struct facts *f = facts;
	pid_t own = own_child();
	struct process never = handle(returns_4, NULL);

	f->alive[0] = process_is_alive(&never);
	f->result[0] = process_join(&never, 0);
	process_terminate(&never);
	f->own = waitpid(own, &f->own_status, WNOHANG) == own;
}

static void callers_child_is_left_alone(void)
{
	struct facts *f = shared(sizeof *f);

	run(ask_what_never_was, NULL, f, NULL);
	expect(f->own && WIFEXITED(f->own_status) &&
	       WEXITSTATUS(f->own_status) == 5, WHY_05,
	       "nothing was started, and a child that the caller forked itself "
	       "is still there for it",
	       f->own ? "its status is another" : "it is gone");
	expect(!f->alive[0] && f->result[0] == -1, WHY_05,
	       "a handle that was not started: not alive, and join is -1",
	       "%s, %d", f->alive[0] ? "alive" : "not alive", f->result[0]);
}

/* ---- what a child gets ---------------------------------------------------- */

static int look_around(void *args)
{
	struct facts *f = args;
	struct sigaction action;
	struct stat in;
	sigset_t mask;

	f->open = fcntl(f->fd, F_GETFD) != -1;
	if (fstat(STDIN_FILENO, &in) == 0) {
		f->in_device = in.st_dev;
		f->in_inode = in.st_ino;
	}
	sigprocmask(SIG_BLOCK, NULL, &mask);
	f->blocked = sigismember(&mask, SIGUSR1);
	for (int s = 1; s < SIGRTMIN; s++)
		if (sigaction(s, NULL, &action) == 0)
			f->handlers += action.sa_handler == SIG_IGN;
	snprintf(f->name, sizeof f->name, "%s", process_current());
	return 0;
}

static void give_much(void *facts)
{
	struct facts *f = facts;
	struct process p = handle(look_around, f);
	struct stat before = { 0 };
	sigset_t mask;
	int ends[2];

	if (pipe(ends) != 0)
		return;
	dup2(ends[0], STDIN_FILENO);
	fstat(STDIN_FILENO, &before);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR1);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	f->fd = ends[1];
	p.name = LONG_NAME;
	f->result[0] = start(&p);
	f->result[1] = process_join(&p, -1);
	f->result[2] = f->in_device == before.st_dev &&
		       f->in_inode == before.st_ino;
}

static void child_gets_what_the_parent_has(void)
{
	struct facts *f = shared(sizeof *f);

	run(give_much, NULL, f, NULL);
	expect(f->open && f->result[2], "A child begins with the descriptors "
	       "of its parent; what it needs of them only its target knows.",
	       "a pipe of the parent is open, stdin is the same", "it is not");
	expect(f->blocked == 1, "A child begins with the signal mask of its "
	       "parent.", "SIGUSR1 is blocked, as in the parent", "it is not");
	expect(f->handlers == 0, "What a signal does in the child is not "
	       "yours to decide.", "no signal is ignored that the parent does "
	       "not ignore", "%d are", f->handlers);
	expect(strcmp(f->name, LONG_NAME) == 0, "L01-23 The name belongs to "
	       "the process that is running, and you changed it in the wrong "
	       "one, or changed it.", LONG_NAME, "%s", f->name);
}

/* ---- children of the child -------------------------------------------------- */

static int has_a_child(void *args)
{
	struct facts *f = args;
	pid_t pid = fork();

	if (pid == 0) {
		/* whom a signal awaits never comes back from here */
		gate_wait(&f->grandchild);
		f->alive[0] = true;
		_exit(0);
	}
	f->fork_of_child = pid;
	gate_open(&f->child.ready);
	gate_wait(&f->child.gate);
	return 0;
}

static void terminate_the_child(void *facts)
{
	struct facts *f = facts;
	struct process p = handle(has_a_child, f);

	start(&p);
	gate_wait(&f->child.ready);
	process_terminate(&p);
	f->result[0] = process_join(&p, -1);
	gate_open(&f->grandchild);
	wait_until_ended(f->fork_of_child);
}

static void terminate_is_for_one(void)
{
	struct facts *f = shared(sizeof *f);

	run(terminate_the_child, NULL, f, NULL);
	expect(f->alive[0], "L01-13 You sent a signal to a process number that "
	       "does not name one process but a whole group.",
	       "terminate ends the child and not what the child has started",
	       "that has ended too");
}

/* ---- long times, and many signals --------------------------------------------- */

static void join_for_long(void *facts)
{
	struct facts *f = facts;
	struct process p;

	start_gated(&p, &f->child, 0);
	gate_open(&f->joining);
	f->result[0] = process_join(&p, 1e8);
	f->was_open = gate_is_open(&f->child.gate);
	gate_open(&f->child.gate);
	process_join(&p, -1);
}

static void open_in_the_end(void *facts)
{
	struct facts *f = facts;

	gate_wait(&f->joining);
	settle(fence_pid());
	gate_open(&f->child.gate);
}

static void a_long_time_is_long(void)
{
	struct facts *f = shared(sizeof *f);

	run(join_for_long, open_in_the_end, f, NULL);
	expect(f->result[0] == 0 && f->was_open, "The number no longer fits "
	       "into the type you chose, and a long time became none.",
	       "join(p, 1e8) waits until the child has ended, and returns 0",
	       "%d%s", f->result[0], f->was_open ? "" : ", before that");
}

static void join_among_signals(void *facts)
{
	struct facts *f = facts;
	struct process p;

	start_gated(&p, &f->child, 0);
	interrupts_start();
	f->result[0] = process_join(&p, 0.1);
	interrupts_stop();
	gate_open(&f->child.gate);
	process_join(&p, -1);
}

static void signals_give_no_more_time(void)
{
	static const char why[] = "L01-14 A signal arriving while you wait "
		"neither ends the wait nor begins it anew.";
	struct facts *f = shared(sizeof *f);

	fence(&(struct fence){ .scenario = join_among_signals, .shared = f,
			       .limit = 10, .why_stuck = why });
	expect(f->result[0] == 1, why,
	       "join(p, 0.1) returns 1 though a signal comes every 5 ms", "%d",
	       f->result[0]);
}

#define FUNCTION(name, run, function) \
	{ "functions", name, run, (const void *)function }

static const struct check checks[] = {
	FUNCTION("a handle that was not started is nobody's",
		 callers_child_is_left_alone, process_join),
	FUNCTION("a child gets what its parent has",
		 child_gets_what_the_parent_has, process_start),
	FUNCTION("terminate is for the child alone",
		 terminate_is_for_one, process_terminate),
	FUNCTION("a long time limit is long", a_long_time_is_long,
		 process_join),
	FUNCTION("signals do not prolong the time limit",
		 signals_give_no_more_time, process_join),
};

CHECKS("01-processes", checks);
