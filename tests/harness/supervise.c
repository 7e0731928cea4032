/*
 * supervise - run a program so that nothing it does reaches further
 *
 *   supervise [options] -- PROGRAM [ARGUMENT...]
 *
 * The program gets a session of its own, a /dev/shm and System V objects of
 * its own where the system lets us, an empty TMPDIR, no input, its output in
 * files, and a time limit. At its end everything below it is killed, and the
 * report tells how it ended and what it left behind:
 *
 *   status N | signal N | stuck | overtime      one of these
 *   hang TEXT                                   why, where it was stopped
 *   left TEXT                                   one line for each thing
 *
 * Exit status: the program's; 128 + N for a signal; 124 when it was stopped.
 */
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "doctor.h"
#include "fl.h"

enum { LOOK_MS = 50, STOPPED = 124 };

static const double still_seconds = 3;

static const char *out = "/dev/null", *err = "/dev/null", *report = "/dev/null",
		  *kind = "file";
static double limit = 60;
static char folder[] = "/tmp/forklab-XXXXXX";
static FILE *ledger;

struct board *board;

/* Only the checks keep texts; here a line is used at once. */
const char *text(const char *format, ...)
{
	static char s[512];
	va_list args;

	va_start(args, format);
	vsnprintf(s, sizeof s, format, args);
	va_end(args);
	return s;
}

/* Best effort: without it, what others leave in /dev/shm is seen as well. */
static void isolate(void)
{
	(void)own_shm(CLONE_NEWIPC, "size=256m");
}

static int output_to(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (fd < 0)
		fl_die("%s", path);
	return fd;
}

static _Noreturn void be_program(char **argv, int fd_out)
{
	pid_t forbidden[] = { -1, getppid(), -getpgid(getppid()) };
	int in = open("/dev/null", O_RDONLY);
	struct rlimit none = { 0, 0 }, files = { 256 << 20, 256 << 20 };
	sigset_t mask;

	setsid();
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	dup2(in, STDIN_FILENO);
	dup2(fd_out, STDOUT_FILENO);
	dup2(output_to(err), STDERR_FILENO);
	close_range(3, ~0U, 0);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGCHLD, SIG_DFL);
	sigemptyset(&mask);
	sigprocmask(SIG_SETMASK, &mask, NULL);
	setrlimit(RLIMIT_CORE, &none);
	setrlimit(RLIMIT_FSIZE, &files);
	setenv("TMPDIR", folder, 1);
	guard_install(forbidden, sizeof forbidden / sizeof *forbidden);
	execvp(argv[0], argv);
	fl_die("%s", argv[0]);
}

/* The program's stdout, and our end of it (-1 for a file). */
static int make_stdout(int *ours)
{
	int ends[2], ok = 0;

	*ours = -1;
	if (strcmp(kind, "file") == 0)
		return output_to(out);
	if (strcmp(kind, "pipe") == 0)
		ok = pipe2(ends, O_CLOEXEC);
	else
		ok = openpty(&ends[0], &ends[1], NULL, NULL, NULL);
	if (ok != 0)
		fl_die("cannot make a %s", kind);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	*ours = ends[0];
	return ends[1];
}

static void drain(int from, int to)
{
	char buffer[65536];
	ssize_t n;

	while (from >= 0 && (n = read(from, buffer, sizeof buffer)) > 0)
		if (write(to, buffer, n) != n)
			fl_die("%s", out);
}

static pid_t ended(idtype_t type, id_t id)
{
	siginfo_t info = { .si_pid = 0 };

	waitid(type, id, &info, WEXITED | WNOHANG | WNOWAIT);
	return info.si_pid;
}

/*
 * Has the program ended? Its orphans are collected meanwhile, but only while
 * it goes on: what is dead and not collected when it ends is its own.
 */
static bool is_over(pid_t program, int *status)
{
	pid_t pid = ended(P_ALL, 0);

	while (pid > 0 && ended(P_PID, program) == 0) {
		waitpid(pid, NULL, 0);
		pid = ended(P_ALL, 0);
	}
	return pid > 0 && waitpid(program, status, 0) == program;
}

/* Those that were ours already while the program went on: nobody's to wait
 * for, like those that have left its session for one of their own. */
static pid_t orphans[PROCESSES_MAX];
static int n_orphans;

static bool is_orphan(pid_t pid)
{
	for (int i = 0; i < n_orphans; i++)
		if (orphans[i] == pid)
			return true;
	return false;
}

static void note_orphans(const struct process *list, int n, pid_t program)
{
	for (int i = 0; i < n && n_orphans < PROCESSES_MAX; i++)
		if (list[i].parent == getpid() && list[i].pid != program &&
		    !is_orphan(list[i].pid))
			orphans[n_orphans++] = list[i].pid;
}

/*
 * How many still run who have left the program's session. They may need a
 * moment to see that nobody needs them any more.
 */
static int strangers(pid_t program)
{
	static struct process list[PROCESSES_MAX];
	double end = fl_now() + 5;
	int n, alive;

	for (;;) {
		n = tree_list(getpid(), list, PROCESSES_MAX);
		alive = 0;
		for (int i = 0; i < n; i++)
			alive += list[i].state != 'Z' &&
				 getsid(list[i].pid) != program;
		if (alive == 0 || fl_now() > end)
			return alive;
		breathe();
	}
}

static void look_at_children(pid_t program)
{
	static struct process list[PROCESSES_MAX];
	int n = tree_list(getpid(), list, PROCESSES_MAX);
	int dead = 0, alive = 0;

	for (int i = 0; i < n; i++)
		if (getsid(list[i].pid) != program)
			continue;
		else if (list[i].state != 'Z')
			alive++;
		else if (!is_orphan(list[i].pid))
			dead++;
	alive += strangers(program);
	if (dead > 0)
		left_behind(NULL, "%d child process(es) ended, and nobody "
			    "waited for them", dead);
	if (alive > 0)
		left_behind(NULL, "%d process(es) still running", alive);
}

static bool nothing_moves(pid_t program)
{
	static struct process list[PROCESSES_MAX];
	static uint64_t before;
	static double since;
	int n = tree_list(getpid(), list, PROCESSES_MAX);
	uint64_t now = tree_stillness(list, n);

	if (ended(P_PID, program) == 0)
		note_orphans(list, n, program);
	if (now == 0 || now != before) {
		before = now;
		since = fl_now();
		return false;
	}
	return fl_now() - since > still_seconds;
}

/* Returns how it ended: "status 0", "signal 9", "stuck", "overtime". */
static const char *watch(pid_t program, int ours, int file, int signals,
			 int *exit_status)
{
	double end = fl_now() + limit;
	struct signalfd_siginfo info;
	struct pollfd fds[] = { { signals, POLLIN, 0 }, { ours, POLLIN, 0 } };
	int status = 0;

	while (!is_over(program, &status)) {
		*exit_status = STOPPED;
		if (fl_now() > end)
			return "overtime";
		if (nothing_moves(program))
			return "stuck";
		poll(fds, 2, LOOK_MS);
		drain(ours, file);
		while (read(signals, &info, sizeof info) == sizeof info)
			if (info.ssi_signo != SIGCHLD) {
				*exit_status = 128 + info.ssi_signo;
				return "interrupted";
			}
	}
	look_at_children(program);
	drain(ours, file);
	if (WIFSIGNALED(status)) {
		*exit_status = 128 + WTERMSIG(status);
		return text("signal %d", WTERMSIG(status));
	}
	*exit_status = WEXITSTATUS(status);
	return text("status %d", *exit_status);
}

static void tell_hang(const char *end)
{
	static struct process list[PROCESSES_MAX];
	static pid_t pids[PROCESSES_MAX];
	int n = tree_list(getpid(), list, PROCESSES_MAX);
	char *why, *line;

	if (strcmp(end, "stuck") != 0 && strcmp(end, "overtime") != 0)
		return;
	for (int i = 0; i < n; i++)
		pids[i] = list[i].pid;
	why = doctor_report(pids, n, NULL, NULL);
	for (line = why ? strtok(why, "\n") : NULL; line != NULL;
	     line = strtok(NULL, "\n"))
		fprintf(ledger, "hang %s\n", line);
	free(why);
}

static int signals_as_file(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void empty_folder(void)
{
	DIR *d = opendir(folder);
	struct dirent *e;

	while (d != NULL && (e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d != NULL)
		closedir(d);
	rmdir(folder);
}

static void read_options(int argc, char **argv)
{
	const struct fl_option options[] = {
		{ .name = "limit", .value = "SECONDS", .seconds = &limit,
		  .min = 0.1, .max = 3600, .help = "stop it after so long" },
		{ .name = "stdout", .value = "FILE", .text = &out,
		  .help = "where its output goes" },
		{ .name = "stderr", .value = "FILE", .text = &err,
		  .help = "where its error messages go" },
		{ .name = "kind", .value = "KIND", .text = &kind,
		  .choices = "file|pipe|tty", .help = "what its stdout is" },
		{ .name = "report", .value = "FILE", .text = &report,
		  .help = "how it ended and what it left" },
		{ .name = NULL },
	};
	int first = fl_options(argc, argv, options, "PROGRAM [ARGUMENT...]");

	if (first == argc)
		fl_usage("which program?");
	memmove(argv, argv + first, (argc - first + 1) * sizeof *argv);
}

int main(int argc, char **argv)
{
	int ours, theirs, file, signals, status;
	const char *end;
	pid_t program;

	read_options(argc, argv);
	board = calloc(1, sizeof *board);
	ledger = fopen(report, "we");
	if (board == NULL || ledger == NULL)
		fl_die("%s", report);
	if (mkdtemp(folder) == NULL)
		fl_die("%s", folder);
	isolate();
	setenv("TMPDIR", folder, 1);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	signals = signals_as_file();
	theirs = make_stdout(&ours);
	file = ours >= 0 ? output_to(out) : -1;
	leftovers_before();
	program = fork();
	if (program < 0)
		fl_die("cannot start a process");
	if (program == 0)
		be_program(argv, theirs);
	close(theirs);
	board->test = getpid();
	end = watch(program, ours, file, signals, &status);
	fprintf(ledger, "%s\n", end);
	tell_hang(end);
	leftovers_files();
	tree_kill(getpid());
	if (board->left[0] != '\0')
		fprintf(ledger, "left %s\n", board->left);
	empty_folder();
	if (fclose(ledger) != 0)
		fl_die("%s", report);
	return status;
}
