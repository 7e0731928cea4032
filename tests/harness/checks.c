/*
 * Checks and verdicts. cmocka runs the checks; each verdict is one row of a
 * table (tab-separated), from which everything that is shown is made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#undef fail

#include "internal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "fl.h"

enum { CHECKS_MAX = 256, TEXTS_MAX = 4096, SHARED_MAX = 16 };

static struct {
	const char *lab, *implementation, *kinds, *only;
	int results;
	bool keep_going, not_run, failed;
	const struct check *checks[CHECKS_MAX];
	size_t n_checks;
	const struct check *check;
	double started;
	char *texts[TEXTS_MAX];
	int n_texts;
	struct { void *at; size_t size; } shared[SHARED_MAX];
	int n_shared;
} the;

const char *text(const char *format, ...)
{
	va_list args;
	char *s;

	va_start(args, format);
	if (vasprintf(&s, format, args) < 0)
		s = NULL;
	va_end(args);
	if (s == NULL || the.n_texts == TEXTS_MAX)
		fl_die("there are more than %d texts in a check", TEXTS_MAX);
	return the.texts[the.n_texts++] = s;
}

void *shared(size_t size)
{
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (at == MAP_FAILED || the.n_shared == SHARED_MAX)
		fl_die("cannot share %zu bytes", size);
	the.shared[the.n_shared].at = at;
	the.shared[the.n_shared++].size = size;
	return at;
}

/* A field must not break its row. report reads it back. */
static void put_field(FILE *f, const char *s, char after)
{
	for (; *s != '\0'; s++) {
		if (strchr("\t\n\\", *s) != NULL)
			fprintf(f, "\\%c", *s == '\t' ? 't' :
					   *s == '\n' ? 'n' : '\\');
		else
			putc(*s, f);
	}
	putc(after, f);
}

static void put_row(const char *verdict, const char *expected,
		    const char *got, const char *why, const char *where)
{
	const char *fields[] = { the.lab, the.implementation, the.check->kind,
				 the.check->name, verdict, expected, got, why,
				 where };
	char *row = NULL;
	size_t size;
	FILE *f = open_memstream(&row, &size);

	if (f == NULL)
		fl_die("cannot make a row of the results");
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
		put_field(f, fields[i], '\t');
	fprintf(f, "%.0f\n", (fl_now() - the.started) * 1000);
	fclose(f);
	if (write(the.results, row, size) != (ssize_t)size)
		fl_die("cannot write the results");
	free(row);
}

void fail_check(const char *verdict, const char *why, const char *where,
		const char *expected, const char *got)
{
	const char *fault = fault_text();

	if (where[0] == '\0')
		where = source_of_function(the.check->function);
	if (fault[0] != '\0')
		got = text("%s\n(%s)", got, fault);
	put_row(verdict, expected, got, why, where);
	the.failed = true;
	_fail(__FILE__, __LINE__);
	abort();		/* not reached: _fail jumps */
}

void expect(bool ok, const char *why, const char *expected, const char *got,
	    ...)
{
	char seen[2048];
	va_list args;

	if (ok)
		return;
	va_start(args, got);
	vsnprintf(seen, sizeof seen, got, args);
	va_end(args);
	fail_check("fail", why, fence_where(), expected, seen);
}

void skip_check(const char *reason, ...)
{
	char why[512];
	va_list args;

	va_start(args, reason);
	vsnprintf(why, sizeof why, reason, args);
	va_end(args);
	put_row("skip", "", "", why, "");
	_skip(__FILE__, __LINE__);
	abort();		/* not reached: _skip jumps */
}

static void run_check(void **state)
{
	the.check = *state;
	the.started = fl_now();
	if (the.not_run || (the.failed && !the.keep_going)) {
		put_row("notrun", "", "", "", "");
		return;
	}
	fence_prepare();
	the.check->run();
	put_row("pass", "", "", "", "");
}

static int tear_down(void **state)
{
	(void)state;
	while (the.n_texts > 0)
		free(the.texts[--the.n_texts]);
	while (the.n_shared > 0) {
		the.n_shared--;
		munmap(the.shared[the.n_shared].at,
		       the.shared[the.n_shared].size);
	}
	return 0;
}

static bool is_wanted(const struct check *c)
{
	char kinds[256], kind[64];

	if (the.only != NULL && strcmp(the.only, c->name) != 0)
		return false;
	if (the.kinds == NULL)
		return true;
	snprintf(kinds, sizeof kinds, ",%s,", the.kinds);
	snprintf(kind, sizeof kind, ",%s,", c->kind);
	return strstr(kinds, kind) != NULL;
}

static void block_sigchld(void)
{
	sigset_t child;

	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
}

static void make_board(void)
{
	board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (board == MAP_FAILED)
		fl_die("cannot map the board");
	board->test = getpid();
}

void harness_add(const char *lab, const struct check *checks, size_t n)
{
	the.lab = lab;
	if (the.n_checks + n > CHECKS_MAX)
		fl_die("there are more than %d checks", CHECKS_MAX);
	for (size_t i = 0; i < n; i++)
		the.checks[the.n_checks++] = &checks[i];
}

int main(int argc, char **argv)
{
	const char *results = "/dev/null";
	const struct fl_option options[] = {
		{ .name = "results", .value = "FILE", .text = &results,
		  .help = "append one row for each check" },
		{ .name = "implementation", .value = "NAME",
		  .text = &the.implementation, .help = "who is judged" },
		{ .name = "kinds", .value = "A,B", .text = &the.kinds,
		  .help = "only checks of these kinds" },
		{ .name = "only", .value = "CHECK", .text = &the.only,
		  .help = "only the check of this name" },
		{ .name = "keep-going", .flag = &the.keep_going,
		  .help = "do not stop at the first failure" },
		{ .name = "not-run", .flag = &the.not_run,
		  .help = "only tell which checks there are" },
		{ .name = NULL },
	};
	struct CMUnitTest tests[CHECKS_MAX] = {{0}};
	size_t wanted = 0;

	the.implementation = "?";
	fl_options(argc, argv, options, NULL);
	the.results = open(results, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
			   0666);
	if (the.results < 0)
		fl_die("%s", results);
	for (size_t i = 0; i < the.n_checks; i++)
		if (is_wanted(the.checks[i]))
			tests[wanted++] = (struct CMUnitTest){
				.name = the.checks[i]->name,
				.test_func = run_check,
				.teardown_func = tear_down,
				.initial_state = (void *)the.checks[i],
			};
	make_board();
	block_sigchld();
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	_cmocka_run_group_tests(the.lab, tests, wanted, NULL, NULL);
	/* a program that ends early has not written this row */
	the.check = &(struct check){ .kind = "end", .name = "end" };
	put_row("end", "", "", "", "");
	return the.failed ? FL_FAILED : FL_OK;
}
