/* The source lines of a story, each looked up once. */
#include "internal.h"
#include "story.h"

#include <stdio.h>
#include <string.h>

enum { LINES = 512 };

static struct told lines[LINES];
static int n_lines;

void story_forget_lines(void)
{
	n_lines = 0;
	story_line(NULL);	/* the first, for what has none */
}

struct told *story_line(const void *pc)
{
	for (int i = 0; i < n_lines; i++)
		if (lines[i].pc == pc)
			return &lines[i];
	if (n_lines == LINES)
		return &lines[0];
	lines[n_lines].pc = pc;
	return &lines[n_lines++];
}

/* The text of that line, without the space around it. */
static void read_source(struct told *l, const char *file, int number)
{
	FILE *f = fopen(file, "re");
	char text[512] = "";

	while (f != NULL && number-- > 0)
		if (fgets(text, sizeof text, f) == NULL)
			break;
	if (f == NULL)
		return;
	fclose(f);
	if (number >= 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	for (char *tab = text; (tab = strchr(tab, '\t')) != NULL;)
		*tab = ' ';
	snprintf(l->source, sizeof l->source, "%.90s",
		 text + strspn(text, " "));
}

void story_look_up_lines(void)
{
	struct line at;

	for (int i = 0; i < n_lines; i++) {
		if (!find_line(before_return(lines[i].pc), &at))
			continue;
		snprintf(lines[i].where, sizeof lines[i].where, "%.80s:%d",
			 at.file, at.number);
		snprintf(lines[i].function, sizeof lines[i].function, "%.47s",
			 at.function);
		read_source(&lines[i], at.file, at.number);
	}
}
