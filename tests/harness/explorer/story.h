/*
 * story - what happened in the last schedule, from the record in the arena
 */
#ifndef STORY_H
#define STORY_H

#include "arena.h"

/* ---- findings.c -------------------------------------------------------- */

void story_finding(struct finding *f);
/* The line that is to blame most, and what happened there. */
const char *story_where(const struct finding *f);
/* The last thing that the task of the write i read there, if another one has
 * written since: i writes over what its task has not seen. Else NOBODY. */
int story_stale_read(int i);

/* ---- story_show.c, story_picture.c ------------------------------------- */

const char *story_short(void);	/* the rows that matter most, a text() */
void story_write(FILE *out);
void story_picture(FILE *out);	/* SVG */

/* ---- story.c: the rows, in the order of the events --------------------- */

enum { ROWS = 400 };

struct row {
	int task;
	bool mark;		/* a deviation, or the end: no step of a task */
	const void *pc;
	char text[160];
	int times;
};

extern struct row story_rows[ROWS];
extern int story_n_rows;

void story_make_rows(void);

/* ---- story_lines.c ----------------------------------------------------- */

struct told {
	const void *pc;
	char where[96], function[48], source[96];
};

/* The line of the call that returns to pc; empty until they are looked up. */
struct told *story_line(const void *pc);
void story_look_up_lines(void);
void story_forget_lines(void);

#endif
