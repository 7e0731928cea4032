/*
 * doctor - why does nobody move?
 *
 * Looks at some processes from outside, by what the system tells of them in
 * /proc and by their stacks, and writes for each: its role, the line of the
 * source where it stands, the call it waits in, what for, and who could end
 * that wait. Then the circle, where the waits form one, and one sentence that
 * names the reason.
 *
 * Looking takes 50 ms: so long it watches who moves and who burns CPU time.
 * To read a stack, each thread is stopped for a moment (ptrace(2)), which
 * interrupts a call as a stop signal would: see signal(7).
 */
#ifndef DOCTOR_H
#define DOCTOR_H

#include <stdbool.h>
#include <sys/types.h>

/* What the asker knows better than /proc. role, stands and holder may be
 * NULL; line is needed with either of the last two. */
struct doctor_hints {
	/* "the caller"; NULL = a name made from the tree */
	const char *(*role)(pid_t pid);
	/* the line at which a thread waits, and in which call; else false */
	bool (*stands)(pid_t tid, const char **call, const void **pc);
	/* who took the lock at this address last, and where; else 0 */
	pid_t (*holder)(unsigned long lock, const void **pc);
	/* a line of the source: "labs/02-pool/pool.c:41 (collect)" */
	const char *(*line)(const void *pc);
};

/*
 * doctor_report - the report on n processes, some plain lines; to be freed
 *
 * pids:   parents before their children; only the first 64 are looked at
 * hints:  may be NULL
 * pc:     if not NULL: where the thread stands that the report is most about,
 *         for a program linked without -pie; NULL if that is not known
 * Returns NULL when there is no memory.
 */
char *doctor_report(const pid_t *pids, int n, const struct doctor_hints *hints,
		    const void **pc);

#endif
