/*
 * doctor_walk - inside doctor_stack.c and doctor_threads.c: from one frame of
 * a stack to the next one out
 */
#ifndef DOCTOR_WALK_H
#define DOCTOR_WALK_H

#include <elfutils/libdwfl.h>

#include "doctor_parts.h"

struct walk {
	Dwfl *dwfl;
	struct thread *thread;
	char inner[40];		/* the function inside the one we are in */
	bool found;
	int frames;
};

/* For each frame; says whether to go on (DWARF_CB_OK). */
int visit_frame(Dwfl_Frame *frame, void *walk);

/* stop: for a moment; else it is not touched */
void walk_stack(struct thread *t, bool stop);

#endif
