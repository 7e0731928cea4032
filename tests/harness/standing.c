/*
 * Where everybody stands, for a scenario that cannot end: the doctor's report
 * with what only the harness knows - the line of each call of the student's
 * file, who took which lock where, and who called the student's function.
 */
#include "internal.h"

#include <stdlib.h>

#include "doctor.h"

static const char *role(pid_t pid)
{
	return pid == board->fence ? "the caller" : NULL;
}

static bool stands(pid_t tid, const char **call, const void **pc)
{
	for (int i = 0; i < STANDINGS; i++) {
		struct standing *s = &board->standings[i];

		if (s->tid != tid || s->call == NULL)
			continue;
		*call = s->call;
		*pc = s->pc;
		return true;
	}
	return false;
}

const char *standing_report(void **pc)
{
	static const struct doctor_hints hints = {
		.role = role, .stands = stands, .holder = lock_holder,
		.line = source_line,
	};
	static struct process list[PROCESSES_MAX];
	static pid_t pids[PROCESSES_MAX];
	static char *report;
	const void *at = NULL;
	int n = tree_list(board->test, list, PROCESSES_MAX), seen = 0;

	for (int i = 0; i < n; i++)
		if (list[i].pid != board->director)
			pids[seen++] = list[i].pid;
	free(report);
	report = doctor_report(pids, seen, &hints, &at);
	*pc = (void *)at;
	return report ? report : "";
}
