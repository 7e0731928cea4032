/* The source lines of a story: one call of addr2line(1) for all. */
#include "story.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINES = 512 };

static struct line lines[LINES];
static int n_lines;

void story_forget_lines(void)
{
	n_lines = 0;
	story_line(NULL);	/* the first, for what has none */
}

struct line *story_line(const void *pc)
{
	for (int i = 0; i < n_lines; i++)
		if (lines[i].pc == pc)
			return &lines[i];
	if (n_lines == LINES)
		return &lines[0];
	lines[n_lines].pc = pc;
	return &lines[n_lines++];
}

/* The text of "file:12", without the space around it. */
static void read_source(struct line *l)
{
	char file[96], text[512];
	char *colon, *s;
	int number;
	FILE *f;

	snprintf(file, sizeof file, "%s", l->where);
	colon = strrchr(file, ':');
	if (colon == NULL)
		return;
	*colon = '\0';
	number = atoi(colon + 1);
	f = fopen(file, "re");
	while (f != NULL && number-- > 0)
		if (fgets(text, sizeof text, f) == NULL)
			break;
	if (f == NULL)
		return;
	fclose(f);
	if (number >= 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	s = text + strspn(text, " \t");
	snprintf(l->source, sizeof l->source, "%.90s", s);
}

void story_look_up_lines(void)
{
	char exe[256], *command, function[256], where[512];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	size_t size, length;
	FILE *f;

	if (n <= 0)
		return;
	exe[n] = '\0';
	f = open_memstream(&command, &size);
	if (f == NULL)
		return;
	fprintf(f, "addr2line -fe '%s'", exe);
	for (int i = 0; i < n_lines; i++)	/* of the call before */
		fprintf(f, " %#lx", lines[i].pc == NULL ? 0ul :
			(unsigned long)lines[i].pc - 1);
	fprintf(f, " 2>/dev/null");
	fclose(f);
	f = popen(command, "r");
	for (int i = 0; f != NULL && i < n_lines; i++) {
		if (fgets(function, sizeof function, f) == NULL ||
		    fgets(where, sizeof where, f) == NULL)
			break;
		if (lines[i].pc == NULL || where[0] == '?')
			continue;
		where[strcspn(where, " \n")] = '\0';
		function[strcspn(function, "\n")] = '\0';
		length = strncmp(where, "./", 2) == 0 ? 2 : 0;
		snprintf(lines[i].where, sizeof lines[i].where, "%.95s",
			 where + length);
		snprintf(lines[i].function, sizeof lines[i].function, "%.47s",
			 function);
		read_source(&lines[i]);
	}
	if (f != NULL)
		pclose(f);
	free(command);
}
