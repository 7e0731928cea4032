/*
 * The story as text: a few lines for the failure, a page for `make race`.
 */
#include "story.h"

#include <stdio.h>
#include <string.h>

#include "internal.h"

enum {
	SHORT = 14,		/* rows of the short form, about */
	WIDTH = 38,		/* of the source, at most */
};

static const char *file_of(const struct row *r)
{
	const char *where = story_line(r->pc)->where;
	const char *slash = strrchr(where, '/');

	return slash != NULL ? slash + 1 : where;
}

/* As wide as the widest; the source only up to WIDTH. */
static void measure(int *file, int *source)
{
	int n;

	*file = *source = 0;
	for (int i = 0; i < story_n_rows; i++) {
		if (story_rows[i].mark)
			continue;
		n = (int)strlen(file_of(&story_rows[i]));
		*file = n > *file ? n : *file;
		n = (int)strlen(story_line(story_rows[i].pc)->source);
		*source = n > *source ? n : *source;
	}
	*source = *source < WIDTH ? *source : WIDTH;
}

static void put_row(FILE *out, const struct row *r)
{
	int file, source;

	measure(&file, &source);
	if (r->mark) {
		fprintf(out, "  %-12s -- %s --\n", "", r->text);
		return;
	}
	fprintf(out, "  %-12s %-*s  %-*.*s  %s", arena->tasks[r->task].name,
		file, file_of(r), source, source, story_line(r->pc)->source,
		r->text);
	if (r->times > 1)
		fprintf(out, " (%d times)", r->times);
	putc('\n', out);
}

/* The rows around the first deviation and the last ones. */
const char *story_short(void)
{
	int from = 0, mark = 0;
	char *out = NULL;
	size_t size;
	FILE *f;

	story_make_rows();
	f = open_memstream(&out, &size);
	if (f == NULL)
		return "";
	while (mark < story_n_rows && !story_rows[mark].mark)
		mark++;
	from = mark > 3 ? mark - 3 : 0;
	for (int i = from; i < story_n_rows; i++) {
		if (i >= from + SHORT && i < story_n_rows - 3) {
			fprintf(f, "  ... (make race shows it all)\n");
			i = story_n_rows - 4;
			continue;
		}
		put_row(f, &story_rows[i]);
	}
	fclose(f);
	size = strlen(out);
	if (size > 0 && out[size - 1] == '\n')
		out[size - 1] = '\0';
	return text("%s", out);
}

void story_write(FILE *out)
{
	story_make_rows();
	for (int i = 0; i < story_n_rows; i++)
		put_row(out, &story_rows[i]);
}
