/* The story as a picture: one lane for each task. */
#include "story.h"

#include <stdio.h>

static void put_escaped(FILE *out, const char *s)
{
	for (; *s != '\0'; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", out);
			break;
		case '>':
			fputs("&gt;", out);
			break;
		case '&':
			fputs("&amp;", out);
			break;
		default:
			putc(*s, out);
		}
	}
}

static void put_text(FILE *out, int x, int y, const char *class,
		     const char *s)
{
	fprintf(out, "<text x=\"%d\" y=\"%d\" class=\"%s\">", x, y, class);
	put_escaped(out, s);
	fputs("</text>\n", out);
}

void story_picture(FILE *out)
{
	enum { LANE = 300, ROW = 34, TOP = 60, LEFT = 20 };
	int width, height, x, y;

	story_make_rows();
	width = LEFT * 2 + LANE * arena->n_tasks;
	height = TOP + ROW * (story_n_rows + 1);
	fprintf(out, "<svg xmlns=\"http://www.w3.org/2000/svg\" "
		"viewBox=\"0 0 %d %d\" font-family=\"monospace\" "
		"font-size=\"13\">\n<style>text{fill:#222}"
		".who{font-weight:bold;font-size:15px}.source{fill:#555}"
		".mark{fill:#b00020;font-weight:bold}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
		width, height);
	for (int t = 0; t < arena->n_tasks; t++) {
		x = LEFT + LANE * t;
		put_text(out, x + 12, 30, "who", arena->tasks[t].name);
		fprintf(out, "<line x1=\"%d\" y1=\"40\" x2=\"%d\" y2=\"%d\" "
			"stroke=\"#bbb\"/>\n", x, x, height - 10);
	}
	for (int i = 0; i < story_n_rows; i++) {
		x = LEFT + LANE * story_rows[i].task;
		y = TOP + ROW * i;
		fprintf(out, "<circle cx=\"%d\" cy=\"%d\" r=\"4\" "
			"fill=\"%s\"/>\n", x, y - 4,
			story_rows[i].mark ? "#b00020" : "#1a5fb4");
		put_text(out, x + 12, y, story_rows[i].mark ? "mark" : "what",
			 story_rows[i].text);
		if (!story_rows[i].mark)
			put_text(out, x + 12, y + 15, "source",
				 story_line(story_rows[i].pc)->source);
	}
	fputs("</svg>\n", out);
}
