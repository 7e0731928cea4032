/*
 * fl - what every program of the course needs and no lab teaches:
 * command lines, error messages, whole lines, a clock
 *
 * Nothing here starts a process, opens a pipe, maps memory or takes a lock:
 * those are lessons, and each lab writes its own.
 */
#ifndef FL_H
#define FL_H

#include <stdbool.h>
#include <stdint.h>

enum { FL_OK = 0, FL_FAILED = 1, FL_USAGE = 2 };	/* exit statuses */

/*
 * One option of a program. Exactly one of the targets is set.
 *
 * name:     without the dashes: "workers"
 * value:    the word for its value in the usage text; NULL for a flag
 * min, max: the smallest and largest number accepted, both inclusive
 * choices:  for text: the accepted words, separated by '|'; NULL = any
 */
struct fl_option {
	const char *name, *value, *help;
	bool *flag;
	long *number;
	double *seconds;
	const char **text;
	double min, max;
	const char *choices;
};

/*
 * fl_options - read a command line
 *
 * options: a table that ends with an entry whose name is NULL
 * rest:    the word for further arguments in the usage text; NULL = none
 *          are allowed
 * Returns the index in argv of the first further argument (argc if none).
 * --help prints the usage and exits with 0; anything else that does not
 * fit is one line on stderr and exit status 2.
 * Python: argparse     See: getopt_long(3)
 */
int fl_options(int argc, char **argv, const struct fl_option *options,
	       const char *rest);

/*
 * fl_number - the whole of text as a decimal number between min and max
 *
 * Returns 0, or -1 with EINVAL (no number) or ERANGE (out of bounds).
 */
int fl_number(const char *text, long min, long max, long *number);

/* "program: message: strerror(errno)" on stderr, then exit(FL_FAILED). */
_Noreturn void fl_die(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* "program: message" on stderr, then exit(FL_USAGE). */
_Noreturn void fl_usage(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* "program: message" on stderr; the program goes on. */
void fl_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * fl_line - print one line to stdout, whole: with one write, past stdio, so
 * that lines of several processes never mix and no copy waits in a buffer
 * that fork would double
 *
 * At most 1023 bytes; a newline is added. Dies when stdout cannot be
 * written (a full disk, a closed pipe).
 */
void fl_line(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Seconds on a clock that never jumps (its zero means nothing). */
double fl_now(void);

#endif
