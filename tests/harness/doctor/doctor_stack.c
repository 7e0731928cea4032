/*
 * The line at which a thread stands: its stack is walked, from the system
 * call outwards, up to the first function that somebody here has written.
 * elfutils' libdw does the walking: libc is compiled without frame pointers,
 * so it takes the tables that compilers leave for exceptions and debuggers.
 */
#include "doctor_walk.h"

#include <string.h>

/* Files of ours that only stand between a student's line and the system. */
static bool is_between(const char *file)
{
	return strstr(file, "harness/calls") != NULL ||
	       strstr(file, "harness/explorer") != NULL ||
	       strstr(file, "harness/sync.c") != NULL ||
	       strncmp(file, "common/", 7) == 0;
}

/* Who wrote pthread_mutex_lock knows no __GI___pthread_mutex_lock, nor
 * called_pthread_mutex_lock. */
static const char *plain_name(const char *name)
{
	static const char *const before[] = { "_", "GI_", "new_", "called_",
					      "libc_", NULL };

	for (int i = 0; before[i] != NULL; i++) {
		if (strncmp(name, before[i], strlen(before[i])) == 0) {
			name += strlen(before[i]);
			i = -1;
		}
	}
	return name;
}

/* Many calls of libc wait in the same system call, futex. */
static bool says_more(const char *function)
{
	static const char *const words[] = { "mutex", "sem_", "cond_", "join",
					     "barrier", "rwlock", "syscall" };

	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (strstr(function, words[i]) != NULL)
			return true;
	return false;
}

static void found_line(struct walk *w, const char *file, int line,
		       const char *function, Dwarf_Addr pc)
{
	struct thread *t = w->thread;

	snprintf(t->line, sizeof t->line, "%s:%d (%s)", file, line, function);
	t->pc = (const void *)(uintptr_t)pc;
	if (t->doing == FUTEX && says_more(w->inner))
		snprintf(t->call, sizeof t->call, "%s", w->inner);
	w->found = !is_between(file);
}

int visit_frame(Dwfl_Frame *frame, void *arg)
{
	struct walk *w = arg;
	Dwarf_Addr pc;
	bool exact;		/* else it is the address after a call */
	const char *function, *file;
	Dwfl_Module *module;
	int line;

	if (!dwfl_frame_pc(frame, &pc, &exact) || w->frames++ > 60)
		return DWARF_CB_ABORT;
	if (!exact)
		pc--;
	module = dwfl_addrmodule(w->dwfl, pc);
	if (module == NULL)
		return DWARF_CB_OK;
	function = dwfl_module_addrname(module, pc);
	function = function ? plain_name(function) : "";
	file = find_source(module, pc, &line);
	if (strcmp(function, "gate_wait") == 0 ||
	    strcmp(function, "meeting_wait") == 0)
		w->thread->at_gate = true;
	if (file != NULL)
		found_line(w, file, line, function, pc + 1);
	snprintf(w->inner, sizeof w->inner, "%s", function);
	return w->found ? DWARF_CB_ABORT : DWARF_CB_OK;
}

/* Where the harness knows it, or from the stack. */
static void find_line_of(const struct doctor_hints *h, struct thread *t)
{
	const char *call;

	if (h && h->stands && !t->busy && h->stands(t->tid, &call, &t->pc)) {
		snprintf(t->call, sizeof t->call, "%s", call);
		snprintf(t->line, sizeof t->line, "%s", h->line(t->pc));
		t->known = true;
		return;
	}
	if (t->number >= 0)
		walk_stack(t, false);
	if (t->line[0] == '\0' && t->doing != WRITES)
		walk_stack(t, true);
}

void find_lines(struct scene *s)
{
	for (int i = 0; i < s->n_threads; i++)
		find_line_of(s->hints, &s->threads[i]);
}
