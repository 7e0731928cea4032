/* From an address in this program to a line of source, by addr2line(1). */
#include "internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *without_newline(char *s)
{
	s[strcspn(s, "\n")] = '\0';
	return s;
}

static const char *look_up(unsigned long address, bool with_function)
{
	char exe[512], command[640], function[256], where[600], *file;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	bool ok;
	FILE *f;

	if (n <= 0)
		return "";
	exe[n] = '\0';
	snprintf(command, sizeof command, "addr2line -fe '%s' %#lx 2>&1", exe,
		 address);
	f = popen(command, "r");
	if (f == NULL)
		return "";
	ok = fgets(function, sizeof function, f) != NULL &&
	     fgets(where, sizeof where, f) != NULL;
	pclose(f);
	if (!ok || where[0] == '?')
		return "";
	where[strcspn(where, " \n")] = '\0';	/* " (discriminator 2)" */
	file = strncmp(where, "./", 2) == 0 ? where + 2 : where;
	if (!with_function)
		return text("%s", file);
	return text("%s (%s)", file, without_newline(function));
}

const char *source_line(const void *address)
{
	/* a return address belongs to the line of the call before it */
	return address ? look_up((unsigned long)address - 1, true) : "";
}

const char *source_of_function(const void *function)
{
	return function ? look_up((unsigned long)function, true) : "";
}
