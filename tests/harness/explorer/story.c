/*
 * The story of a schedule, from its record: who did what in which line, with
 * which values, where somebody was paused, and what was lost by it. As a few
 * lines for the failure, as a page for `make race`, and as a picture.
 */
#include "arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

enum { ROWS = 400, LINES = 512, SHORT = 14, WIDTH = 38 };

/* ---- source lines: one call of addr2line(1) for all ------------------------------- */

static struct line {
	const void *pc;
	char where[96], function[48], source[96];
} lines[LINES];
static int n_lines;

static struct line *line_of(const void *pc)
{
	for (int i = 0; i < n_lines; i++)
		if (lines[i].pc == pc)
			return &lines[i];
	if (n_lines == LINES)
		return &lines[0];
	lines[n_lines].pc = pc;
	return &lines[n_lines++];
}

/* The text of "file:12", without the space around it. */
static void read_source(struct line *l)
{
	char file[96], text[512];
	char *colon, *s;
	int number;
	FILE *f;

	snprintf(file, sizeof file, "%s", l->where);
	colon = strrchr(file, ':');
	if (colon == NULL)
		return;
	*colon = '\0';
	number = atoi(colon + 1);
	f = fopen(file, "re");
	while (f != NULL && number-- > 0)
		if (fgets(text, sizeof text, f) == NULL)
			break;
	if (f == NULL)
		return;
	fclose(f);
	if (number >= 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	s = text + strspn(text, " \t");
	snprintf(l->source, sizeof l->source, "%.90s", s);
}

static void look_up_lines(void)
{
	char exe[256], *command, function[256], where[512];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	size_t size, length;
	FILE *f;

	if (n <= 0)
		return;
	exe[n] = '\0';
	f = open_memstream(&command, &size);
	if (f == NULL)
		return;
	fprintf(f, "addr2line -fe '%s'", exe);
	for (int i = 0; i < n_lines; i++)	/* the line of the call before */
		fprintf(f, " %#lx", lines[i].pc == NULL ? 0ul :
			(unsigned long)lines[i].pc - 1);
	fprintf(f, " 2>/dev/null");
	fclose(f);
	f = popen(command, "r");
	for (int i = 0; f != NULL && i < n_lines; i++) {
		if (fgets(function, sizeof function, f) == NULL ||
		    fgets(where, sizeof where, f) == NULL)
			break;
		if (lines[i].pc == NULL || where[0] == '?')
			continue;
		where[strcspn(where, " \n")] = '\0';
		function[strcspn(function, "\n")] = '\0';
		length = strncmp(where, "./", 2) == 0 ? 2 : 0;
		snprintf(lines[i].where, sizeof lines[i].where, "%.95s",
			 where + length);
		snprintf(lines[i].function, sizeof lines[i].function, "%.47s",
			 function);
		read_source(&lines[i]);
	}
	if (f != NULL)
		pclose(f);
	free(command);
}

/* ---- what the record says ------------------------------------------------------------ */

static bool is_access(const struct event *e)
{
	return e->what <= ATOMIC_WRITE;
}

static bool is_write(const struct event *e)
{
	return e->what == WRITE || e->what == ATOMIC_WRITE;
}

static int first_fork(void)
{
	int i = 0;

	while (i < arena->n_events && arena->events[i].what != STARTS)
		i++;
	return i;
}

/*
 * The last thing that task read there, before event i, and whether another
 * one has written since: then i writes over what its task has not seen.
 */
static int stale_read(int i)
{
	const struct event *w = &arena->events[i], *e;
	bool overtaken = false;

	for (int k = i - 1; k >= 0; k--) {
		e = &arena->events[k];
		if (!is_access(e) || !same_place(e->place, w->place))
			continue;
		if (e->task != w->task)
			overtaken |= is_write(e) && e->value != e->before;
		else
			return overtaken && !is_write(e) ? k : NOBODY;
	}
	return NOBODY;
}

static int first_overwriting(int *read)
{
	for (int i = first_fork(); i < arena->n_events; i++) {
		if (!is_write(&arena->events[i]))
			continue;
		*read = stale_read(i);
		if (*read != NOBODY)
			return i;
	}
	return NOBODY;
}

static struct step step_of(int i)
{
	const struct event *e = &arena->events[i];

	return (struct step){
		.who = arena->tasks[e->task].name, .pc = e->pc,
		.writes = is_write(e), .locks = e->locks,
		.atomic = e->what == ATOMIC_READ || e->what == ATOMIC_WRITE,
		.lock = e->lock.offset ^ ((unsigned long)e->lock.object << 48),
		.lock_private = e->lock_private,
	};
}

static struct sync *known_sync(struct place place)
{
	for (int i = 0; i < arena->n_syncs && place.object != 0; i++)
		if (same_place(arena->syncs[i].place, place))
			return &arena->syncs[i];
	return NULL;
}

/* Is it a thread beside others? */
static bool has_company(const struct task *t)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (&arena->tasks[i] != t &&
		    arena->tasks[i].process == t->process)
			return true;
	return false;
}

static void look_at_waiter(struct finding *f, const struct task *t)
{
	struct sync *s = known_sync(t->waits_for);

	if (f->first.who == NULL)
		f->first = (struct step){ .who = t->name, .pc = t->pc };
	else if (f->second.who == NULL)
		f->second = (struct step){ .who = t->name, .pc = t->pc };
	f->of_dead |= arena->killed_one;
	if (s == NULL)
		return;
	f->waits_private |= s->kind != NULL && !s->shared &&
			    s->owner != (int)(t - arena->tasks) &&
			    !(is_private(t->waits_for) && has_company(t));
	f->of_self |= s->owner == (int)(t - arena->tasks);
	f->lost_wakeup |= t->queued && s->signals > 0;
}

void story_finding(struct finding *f)
{
	int read, write;

	*f = (struct finding){ .how = arena->found,
			       .undisturbed = arena->planned == 0,
			       .killed = arena->killed_one,
			       .signal = arena->found == FOUND_CRASH ?
					 arena->crash_signal : 0 };
	if (f->how == FOUND_RACE) {
		f->first = step_of(arena->race[0]);
		f->second = step_of(arena->race[1]);
		return;
	}
	for (int i = 0; f->how == FOUND_STUCK && i < arena->n_tasks; i++)
		if (arena->tasks[i].state == WAITING)
			look_at_waiter(f, &arena->tasks[i]);
	if (f->how == FOUND_SPIN)
		f->first = (struct step){
			.who = arena->tasks[arena->running].name,
			.pc = arena->tasks[arena->running].pc };
	if (f->how != FOUND_WRONG)
		return;
	write = first_overwriting(&read);
	f->overwritten = write != NOBODY;
	if (f->overwritten) {
		f->first = step_of(read);
		f->second = step_of(write);
	}
}

static const struct decision *first_deviation(void)
{
	return arena->planned > 0 ? &arena->decisions[arena->plan[0].at] : NULL;
}

const char *story_where(const struct finding *f)
{
	const struct decision *d = first_deviation();
	const void *pc = f->second.pc;
	const char *line;

	if (d != NULL && d->pc != NULL && !f->overwritten &&
	    f->how != FOUND_RACE)
		pc = d->pc;
	if (pc == NULL)
		pc = f->first.pc;
	line = source_line(pc);
	if (line[0] == '\0')
		return line;
	if (f->overwritten)
		return text("%s, paused between its read and its write", line);
	if (d == NULL || f->how == FOUND_RACE || pc != d->pc)
		return line;
	return text("%s, where %s was %s", line, arena->tasks[d->task].name,
		    arena->plan[0].act == KILL ? "killed" :
		    arena->plan[0].act == SIGNAL ? "interrupted" : "paused");
}

/* ---- rows ------------------------------------------------------------------------------ */

static struct row {
	int task;
	bool mark;		/* a deviation, or the end: no step of a task */
	const void *pc;
	char text[160];
	int times;
} rows[ROWS];
static int n_rows;

static struct row *add_row(int task, bool mark, const void *pc)
{
	struct row *r = &rows[n_rows < ROWS - 1 ? n_rows++ : ROWS - 1];

	*r = (struct row){ .task = task, .mark = mark, .pc = pc, .times = 1 };
	if (pc != NULL)
		line_of(pc);
	return r;
}

/* Good until the next call: a story has more of them than text() holds. */
static const char *digits(const char *format, long n)
{
	static char s[24];

	snprintf(s, sizeof s, format, n);
	return s;
}

static const char *number(const struct event *e)
{
	/* where memory lies is another thing in each run */
	if (e->size == 8 && e->value >> 32 >= 0x5000 && e->value >> 48 == 0)
		return "an address";
	if (e->size == 8 && llabs((long long)e->value) >> 40 != 0)
		return "a large number";
	return digits(e->size == 8 || e->size == 4 ? "%ld" : "%#lx",
		      (long)e->value);
}

static void tell_access(struct row *r, int i)
{
	const struct event *e = &arena->events[i];
	const char *verb = is_write(e) ? "writes" : "reads";
	int read = is_write(e) ? stale_read(i) : NOBODY;

	if (e->size > 8)
		snprintf(r->text, sizeof r->text, "%s %d bytes", verb, e->size);
	else
		snprintf(r->text, sizeof r->text, "%s %s%s%s", verb, number(e),
			 e->what >= ATOMIC_READ ? ", atomically" : "",
			 read == NOBODY ? "" : "  <- over what it has not seen");
}

static bool waits_for_child(const struct event *e)
{
	return strncmp(e->call, "wait", 4) == 0 && (pid_t)e->value > 0;
}

static const char *name_of_pid(pid_t pid)
{
	for (int i = 0; i < arena->n_tasks; i++)
		if (arena->tasks[i].pid == pid)
			return arena->tasks[i].name;
	return "a child";
}

static void tell_call(struct row *r, const struct event *e)
{
	struct sync *s = known_sync(e->place);
	const char *kind = s != NULL && s->kind != NULL ? s->kind : "lock";

	switch (e->what) {
	case LOCKS:
		snprintf(r->text, sizeof r->text, "has the %s%s%s", kind,
			 is_private(e->place) ? " (its own copy of it)" : "",
			 e->value != 0 ? ", whose owner had died" : "");
		break;
	case UNLOCKS:
		snprintf(r->text, sizeof r->text, "gives the %s back", kind);
		break;
	case WAITS:
		snprintf(r->text, sizeof r->text, "%s: is about to wait",
			 e->call);
		break;
	case WAKES:
		snprintf(r->text, sizeof r->text, "%s: wakes %s", e->call,
			 e->value == 0 ? "nobody" :
			 digits("%ld", (long)e->value));
		break;
	case STARTS:
		snprintf(r->text, sizeof r->text, "starts %s",
			 arena->tasks[e->value].name);
		break;
	case CALLS:
		if (waits_for_child(e))
			snprintf(r->text, sizeof r->text, "%s: has collected %s",
				 e->call, name_of_pid((pid_t)e->value));
		else
			snprintf(r->text, sizeof r->text, "%s: %ld", e->call,
				 (long)e->value);
		break;
	case ENDS:
		snprintf(r->text, sizeof r->text, "ends");
		break;
	case SLEEPS:
		snprintf(r->text, sizeof r->text, "%s: pauses", e->call);
		break;
	}
}

static void tell_deviation(const struct deviation *v)
{
	const struct decision *d = &arena->decisions[v->at];
	const char *who = arena->tasks[d->task].name,
		   *other = arena->tasks[v->task].name;
	struct row *r = add_row(d->task, true, d->pc);

	switch (v->act) {
	case SWITCH:
		snprintf(r->text, sizeof r->text, d->free ?
			 "%s waits; %s goes on" : "%s is paused here; %s goes on",
			 who, other);
		break;
	case TIME_OUT:
		snprintf(r->text, sizeof r->text,
			 "the time of %s runs out", other);
		break;
	case KILL:
		snprintf(r->text, sizeof r->text, "%s is killed here", who);
		break;
	case SIGNAL:
		snprintf(r->text, sizeof r->text, "%s gets a signal here", who);
		break;
	case SPURIOUS:
		snprintf(r->text, sizeof r->text,
			 "the wait of %s ends for no reason", who);
		break;
	}
}

/* Does more than one task touch it, and one of them write to it? */
static bool concerns_several(const struct event *e)
{
	bool written = false, by_another = false;
	const struct event *other;

	for (int i = first_fork(); i < arena->n_events; i++) {
		other = &arena->events[i];
		if (!same_place(other->place, e->place))
			continue;
		written |= is_write(other);
		by_another |= other->task != e->task;
	}
	return written && by_another;
}

static bool same_again(const struct row *r, int task, const void *pc,
		       const char *was)
{
	return !r->mark && r->task == task && r->pc == pc &&
	       strcmp(r->text, was) == 0;
}

static void add_event(int i)
{
	const struct event *e = &arena->events[i];
	struct row *r;

	if (is_access(e) && !concerns_several(e))
		return;
	if (e->what == CALLS && e->place.object == 0 && !waits_for_child(e) &&
	    strcmp(e->call, "kill") != 0)
		return;
	if (e->what == ENDS && (e->task == 0 || e->pc == NULL))
		return;		/* said elsewhere */
	r = add_row(e->task, false, e->what == ENDS ? NULL : e->pc);
	if (is_access(e))
		tell_access(r, i);
	else
		tell_call(r, e);
	if (n_rows >= 2 && same_again(r - 1, e->task, e->pc, r->text)) {
		n_rows--;
		(r - 1)->times++;
	}
}

static void add_outcome(void)
{
	const struct task *t;
	struct row *r;

	for (int i = 0; i < arena->n_tasks; i++) {
		t = &arena->tasks[i];
		if (arena->found != FOUND_STUCK || t->state != WAITING)
			continue;
		r = add_row(i, true, t->pc);
		snprintf(r->text, sizeof r->text, "%s waits for ever in %s",
			 t->name, t->call ? t->call : "a call");
	}
	if (arena->found == FOUND_RACE) {
		r = add_row(arena->events[arena->race[1]].task, true, NULL);
		snprintf(r->text, sizeof r->text, "nothing puts these two in "
			 "order: %s and %s",
			 arena->tasks[arena->events[arena->race[0]].task].name,
			 arena->tasks[arena->events[arena->race[1]].task].name);
	}
	if (arena->got[0] != '\0')
		snprintf(add_row(0, true, NULL)->text, 160, "in the end: %.140s",
			 arena->got);
}

static void make_rows(void)
{
	int from = first_fork(), to = arena->n_events, next = 0;

	n_rows = n_lines = 0;
	line_of(NULL);
	if (arena->found == FOUND_RACE)
		to = arena->race[1] + 1;
	for (int i = from; i <= to; i++) {
		while (next < arena->planned &&
		       arena->plan[next].at < arena->n_decisions &&
		       arena->decisions[arena->plan[next].at].event <= i)
			tell_deviation(&arena->plan[next++]);
		if (i < to)
			add_event(i);
	}
	add_outcome();
	look_up_lines();
}

static const char *file_of(const struct row *r)
{
	const char *where = line_of(r->pc)->where, *slash = strrchr(where, '/');

	return slash != NULL ? slash + 1 : where;
}

/* As wide as the widest; the source only up to WIDTH. */
static void measure(int *file, int *source)
{
	int n;

	*file = *source = 0;
	for (int i = 0; i < n_rows; i++) {
		if (rows[i].mark)
			continue;
		n = (int)strlen(file_of(&rows[i]));
		*file = n > *file ? n : *file;
		n = (int)strlen(line_of(rows[i].pc)->source);
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
		file, file_of(r), source, source, line_of(r->pc)->source,
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

	make_rows();
	f = open_memstream(&out, &size);
	if (f == NULL)
		return "";
	while (mark < n_rows && !rows[mark].mark)
		mark++;
	from = mark > 3 ? mark - 3 : 0;
	for (int i = from; i < n_rows; i++) {
		if (i >= from + SHORT && i < n_rows - 3) {
			fprintf(f, "  ... (make race shows it all)\n");
			i = n_rows - 4;
			continue;
		}
		put_row(f, &rows[i]);
	}
	fclose(f);
	size = strlen(out);
	if (size > 0 && out[size - 1] == '\n')
		out[size - 1] = '\0';
	return text("%s", out);
}

void story_write(FILE *out)
{
	make_rows();
	for (int i = 0; i < n_rows; i++)
		put_row(out, &rows[i]);
}

/* ---- the picture: one lane for each ---------------------------------------------------------- */

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

	make_rows();
	width = LEFT * 2 + LANE * arena->n_tasks;
	height = TOP + ROW * (n_rows + 1);
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
	for (int i = 0; i < n_rows; i++) {
		x = LEFT + LANE * rows[i].task;
		y = TOP + ROW * i;
		fprintf(out, "<circle cx=\"%d\" cy=\"%d\" r=\"4\" "
			"fill=\"%s\"/>\n", x, y - 4,
			rows[i].mark ? "#b00020" : "#1a5fb4");
		put_text(out, x + 12, y, rows[i].mark ? "mark" : "what",
			 rows[i].text);
		if (!rows[i].mark)
			put_text(out, x + 12, y + 15, "source",
				 line_of(rows[i].pc)->source);
	}
	fputs("</svg>\n", out);
}
