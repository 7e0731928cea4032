/* The report: who stands where, the circle, the reason. */
#include "doctor_parts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

enum { SHOWN = 16 };

/* ---- one thread -------------------------------------------------------- */

static bool takes_number(const struct thread *t)
{
	return t->doing == READS || t->doing == WRITES ||
	       (t->doing == WAITS_FOR_CHILD &&
		strncmp(t->call, "waitp", 5) == 0) || t->doing == LOCKS_FILE;
}

static void tell_call(const struct scene *s, const struct thread *t, FILE *f)
{
	double ms = s->watched * 1e3;

	if (t->busy)
		fprintf(f, "burns CPU time, and does not wait (%.0f of the"
			" last %.0f ms)", t->cpu_ns / 1e6, ms);
	else if (t->state == 'T')
		fprintf(f, "is stopped by a signal");
	else if (t->state == 't')
		fprintf(f, "is held by a debugger");
	else if (s->blind != NULL)
		fprintf(f, t->state == 'R' ? "is running" : "is asleep");
	else if (t->at_gate)
		fprintf(f, "waits at a gate of the check");
	else if (t->doing == RUNS)
		fprintf(f, t->state == 'D' ? "waits for the disk or the"
					     " memory" : "is running");
	else if (takes_number(t))
		fprintf(f, "waits in %s(%d)", t->call, (int)t->a[0]);
	else
		fprintf(f, "%s in %s()%s", t->doing == SLEEPS ? "sleeps" :
			"waits", t->call, t->timed && t->doing != SLEEPS ?
			", with a time limit" : "");
}

static bool the_same(const struct thread *t, const struct thread *u)
{
	return t != u && strcmp(t->line, u->line) == 0 &&
	       strcmp(t->call, u->call) == 0 && t->what[0] != '\0' &&
	       strcmp(t->what, u->what) == 0 && t->busy == u->busy &&
	       t->state == u->state;
}

/* Those who stand in the same way share one entry. */
static void tell_thread(const struct scene *s, const struct thread *t,
			bool *told, FILE *f)
{
	int alike = 0;

	fprintf(f, "%s (pid %d) ", name_of(s, t), t->tid);
	tell_call(s, t, f);
	if (t->line[0] != '\0')
		fprintf(f, ", %s", t->line);
	if (t->what[0] != '\0' && !t->busy && t->state != 'T')
		fprintf(f, ",\n    for %s", t->what);
	told[t - s->threads] = true;
	for (int i = 0; i < s->n_threads; i++) {
		if (told[i] || !the_same(t, &s->threads[i]))
			continue;
		fprintf(f, "%s%s (pid %d)", alike++ ? ", " :
			"\n    and in the same way: ",
			name_of(s, &s->threads[i]), s->threads[i].tid);
		told[i] = true;
	}
	fputc('\n', f);
}

/* ---- all --------------------------------------------------------------- */

static void tell_ended(const struct scene *s, FILE *f)
{
	for (int i = 0; i < s->n_procs; i++) {
		const struct proc *p = &s->procs[i];

		if (!has_ended(p))
			continue;
		fprintf(f, "%s (pid %d) has ended (%s %d), and nobody has"
			" waited for it\n", p->role, p->pid,
			WIFSIGNALED(p->status) ? "signal" : "status",
			WIFSIGNALED(p->status) ? WTERMSIG(p->status)
					       : WEXITSTATUS(p->status));
	}
}

static void tell_circle(const struct scene *s, struct thread **circle, int n,
			FILE *f)
{
	if (n < 2)
		return;
	fprintf(f, "circle: %s waits for %s", name_of(s, circle[0]),
		name_of(s, circle[1]));
	for (int i = 2; i <= n; i++)
		fprintf(f, ", which waits for %s", name_of(s, circle[i % n]));
	fprintf(f, "\n");
}

/* First whom the reason is about, then the circle, then the others. */
static void tell_threads(const struct scene *s, const struct thread *most,
			 struct thread **circle, int n, FILE *f)
{
	bool told[THREADS] = { false };
	int shown = 0, hidden = 0;

	if (most != NULL)
		tell_thread(s, most, told, f);
	for (int i = 0; i < n; i++)
		if (!told[circle[i] - s->threads])
			tell_thread(s, circle[i], told, f);
	for (int i = 0; i < s->n_threads; i++) {
		if (told[i])
			continue;
		if (shown++ < SHOWN)
			tell_thread(s, &s->threads[i], told, f);
		else
			hidden++;
	}
	tell_ended(s, f);
	if (hidden + s->not_shown > 0)
		fprintf(f, "and %d more\n", hidden + s->not_shown);
}

static void tell_blind(const struct scene *s, FILE *f)
{
	fprintf(f, "%s: what they wait for cannot be told (see ptrace(2) and"
		" /proc/sys/kernel/yama/ptrace_scope).", s->blind);
}

/* What a hint told lies in the student's file; the stack may lead elsewhere. */
static const void *best_pc(const struct scene *s, const struct thread *most)
{
	if (most != NULL && (most->known || most->busy))
		return most->pc;
	for (int i = 0; i < s->n_threads; i++)
		if (s->threads[i].known)
			return s->threads[i].pc;
	return most ? most->pc : NULL;
}

static void tell_all(struct scene *s, FILE *f, const void **pc)
{
	struct thread *circle[THREADS], *most = NULL;
	int n = s->blind ? 0 : find_circle(s, circle);
	char *reason = NULL;
	size_t size;
	FILE *sentence = open_memstream(&reason, &size);
	struct report r = { s, circle, n, sentence };

	if (sentence == NULL)
		return;
	if (s->blind != NULL)
		tell_blind(s, sentence);
	else if (s->n_threads > 0)
		most = tell_reason(&r);
	fclose(sentence);
	tell_threads(s, most, circle, n, f);
	tell_circle(s, circle, n, f);
	if (reason[0] != '\0')
		fprintf(f, "reason: %s", reason);
	free(reason);
	if (pc != NULL)
		*pc = best_pc(s, most);
}

char *doctor_report(const pid_t *pids, int n, const struct doctor_hints *hints,
		    const void **pc)
{
	struct scene *s = calloc(1, sizeof *s);
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);

	if (pc != NULL)
		*pc = NULL;
	if (s != NULL && f != NULL) {
		s->hints = hints;
		look(s, pids, n);
		find_lines(s);
		find_waits(s);
		tell_all(s, f, pc);
	}
	if (f != NULL)
		fclose(f);
	free(s);
	return out;
}
