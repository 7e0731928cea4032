#include "fl.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPTIONS_MAX = 16, LINE_SIZE = 1024 };

static const char *program(void)
{
	return program_invocation_short_name;
}

static void complain(const char *format, va_list args, int error)
{
	char text[LINE_SIZE];

	vsnprintf(text, sizeof text, format, args);
	if (error)
		fprintf(stderr, "%s: %s: %s\n", program(), text, strerror(error));
	else
		fprintf(stderr, "%s: %s\n", program(), text);
}

void fl_die(const char *format, ...)
{
	va_list args;
	int error = errno;

	va_start(args, format);
	complain(format, args, error);
	va_end(args);
	exit(FL_FAILED);
}

void fl_usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, 0);
	va_end(args);
	exit(FL_USAGE);
}

void fl_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args, 0);
	va_end(args);
}

void fl_line(const char *format, ...)
{
	char line[LINE_SIZE];
	va_list args;
	size_t length, done = 0;
	ssize_t n;

	va_start(args, format);
	n = vsnprintf(line, sizeof line - 1, format, args);
	va_end(args);
	if (n < 0)
		fl_die("cannot format a line");
	length = (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;
	line[length++] = '\n';
	while (done < length) {
		n = write(STDOUT_FILENO, line + done, length - done);
		if (n < 0 && errno != EINTR)
			fl_die("cannot write to stdout");
		if (n > 0)
			done += n;
	}
}

double fl_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int fl_number(const char *text, long min, long max, long *number)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || *end != '\0') {
		errno = EINVAL;
		return -1;
	}
	if (errno == ERANGE || n < min || n > max) {
		errno = ERANGE;
		return -1;
	}
	*number = n;
	return 0;
}

static bool is_choice(const char *text, const char *choices)
{
	size_t length = strlen(text);

	for (const char *c = choices; length > 0 && c != NULL; c++) {
		if (strncmp(c, text, length) == 0 &&
		    (c[length] == '|' || c[length] == '\0'))
			return true;
		c = strchr(c, '|');
		if (c == NULL)
			break;
	}
	return false;
}

static void take(const struct fl_option *o, const char *text)
{
	char *end;

	if (o->flag != NULL) {
		*o->flag = true;
	} else if (o->number != NULL) {
		if (fl_number(text, (long)o->min, (long)o->max, o->number) != 0)
			fl_usage("--%s wants a whole number from %.0f to %.0f,"
				 " not '%s'", o->name, o->min, o->max, text);
	} else if (o->seconds != NULL) {
		*o->seconds = strtod(text, &end);
		if (end == text || *end != '\0' || !isfinite(*o->seconds) ||
		    *o->seconds < o->min || *o->seconds > o->max)
			fl_usage("--%s wants seconds from %g to %g, not '%s'",
				 o->name, o->min, o->max, text);
	} else {
		if (o->choices != NULL && !is_choice(text, o->choices))
			fl_usage("--%s wants one of %s, not '%s'", o->name,
				 o->choices, text);
		*o->text = text;
	}
}

static void print_usage(const struct fl_option *options, const char *rest)
{
	const char *value;

	printf("usage: %s [options]%s%s\n", program(), rest ? " " : "",
	       rest ? rest : "");
	for (const struct fl_option *o = options; o->name != NULL; o++) {
		value = o->value ? o->value : "";
		printf("  --%s %-*s %s\n", o->name,
		       (int)(18 - strlen(o->name)), value, o->help);
	}
	printf("  --help %-*s print this\n", 14, "");
}

int fl_options(int argc, char **argv, const struct fl_option *options,
	       const char *rest)
{
	struct option longs[OPTIONS_MAX] = {{0}};
	int n = 0, index, c;

	for (; n < OPTIONS_MAX - 2 && options[n].name != NULL; n++) {
		longs[n].name = options[n].name;
		longs[n].has_arg = options[n].flag ? no_argument
						   : required_argument;
	}
	longs[n].name = "help";
	while ((c = getopt_long(argc, argv, "", longs, &index)) != -1) {
		if (c == '?')		/* getopt_long has said why */
			exit(FL_USAGE);
		if (index == n) {
			print_usage(options, rest);
			exit(FL_OK);
		}
		take(&options[index], optarg);
	}
	if (rest == NULL && optind < argc)
		fl_usage("no argument is wanted, but there is '%s'",
			 argv[optind]);
	return optind;
}
