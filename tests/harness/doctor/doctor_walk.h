/*
 * doctor_walk - what needs libdw: from one frame of a stack to the next one
 * out, and from an address to a line of source
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

/* What is mapped where in a process; NULL if that cannot be known. */
Dwfl *open_process(pid_t pid);

/* "labs/02-pool/pool.c" and the line; NULL for what is not ours */
const char *find_source(Dwfl_Module *module, Dwarf_Addr pc, int *line);

/* stop: for a moment; else it is not touched */
void walk_stack(struct thread *t, bool stop);

#endif
