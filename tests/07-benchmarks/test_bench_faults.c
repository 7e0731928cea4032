/* What runs leave behind, and what they do when the system refuses, or a
 * worker dies. */
#include "facts.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

/* ---- what is left behind -------------------------------------------- */

static int count_kib(void)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	long pages = 0;

	if (statm != NULL && fscanf(statm, "%ld", &pages) != 1)
		pages = 0;
	if (statm != NULL)
		fclose(statm);
	return (int)(pages * (sysconf(_SC_PAGESIZE) / 1024));
}

static void do_nothing(void *arg)
{
	(void)arg;
}

enum { CYCLES = 60, FIRST = 12, LARGE = 2000 };

static void one_cycle(int i)
{
	run_mode(GIL, note_item, 3, 1 + i % 3, 1);
	run_mode(THREADS, note_item, 3, 1 + i % 3, 1);
	run_mode(PROCESSES, note_item, 3, 1, 1);
	bench_measure(do_nothing, NULL, 0, LARGE);
	bench_measure(do_nothing, NULL, 0, LARGE);
}

static void many_cycles(void *arg)
{
	struct facts *s = facts = arg;

	for (int i = 0; i < CYCLES; i++) {
		if (i == FIRST) {
			settle_others();
			s->number[0] = count_mappings("");
			s->number[3] = count_kib();
		}
		one_cycle(i);
	}
	s->number[2] = settle_others();
	s->number[1] = count_mappings("") - s->number[0];
	s->number[4] = count_kib() - s->number[3];
}

static void check_many(void)
{
	struct facts *s = shared(sizeof *s);

	fence(&(struct fence){ .scenario = many_cycles, .shared = s });
	for (enum mode m = GIL; m < MODES; m++)
		expect_ran(s, m);
	expect_clean(NULL);
	expect(s->number[2] == 0, "Threads of a run that is over are still "
	       "there.", "no thread but the caller", "%d others",
	       s->number[2]);
	expect(s->number[1] < 20 && s->number[4] < 1024, "Memory that was had, "
	       "or the stacks of threads that nobody joined, are never given "
	       "back.", text("as much memory after %d cycles as after %d",
	       CYCLES, FIRST), "%d mappings and %d KiB more", s->number[1],
	       s->number[4]);
}

/* ---- a worker dies -------------------------------------------------- */

enum way { BY_SIGNAL, BY_EXIT_0, BY_EXIT_3, BY_ABORT, WAYS };

static const char *const way_names[] = {
	"SIGKILL", "_exit(0)", "exit(3)", "abort()"
};

struct death {
	struct facts facts;
	enum way way;
	int workers, items, victim;	/* the item that kills; -1: each */
	struct bench_run run, next;
	int error;
};

static struct death *death;

static void die(void)
{
	switch (death->way) {
	case BY_SIGNAL:
		raise(SIGKILL);
		break;
	case BY_EXIT_0:
		_exit(0);
	case BY_EXIT_3:
		exit(3);
	default:
		abort();
	}
}

static uint64_t die_in_item(long index, void *arg)
{
	if (death->victim < 0 || index == death->victim)
		die();
	return note_item(index, arg);
}

static void run_with_death(void *arg)
{
	struct death *d = death = arg;
	struct facts *s = facts = &d->facts;

	capture_output();
	others_come();
	d->run = run_mode(PROCESSES, die_in_item, d->items, d->workers, 1);
	d->error = s->errs[PROCESSES];
	s->number[0] = captured(NULL, 0);
	others_go();
	d->next = run_mode(PROCESSES, note_item, 5, 2, 1);
}

/* The victim goes when everybody has come; the others stay at work until the
 * caller has heard of it, and has settled or gone on. */
static uint64_t outlive(long index, void *arg)
{
	facts->in[index] = getpid();
	gate_open(&facts->inside);
	meeting_wait(&facts->meeting, 3);
	if (index == death->victim)
		die();
	gate_wait(&facts->go);
	return note_item(index, arg);
}

static void let_survivors_go(void *arg)
{
	struct death *d = arg;
	struct facts *s = &d->facts;

	gate_wait(&s->inside);
	for (int i = 0; i < 1000 && s->meeting.arrived < 3; i++)
		effort_during(0.001);
	wait_until_ended(s->in[d->victim]);
	wait_until_asleep(fence_pid());
	gate_open(&s->go);
}

static void expect_death_told(const struct death *d, const char *what)
{
	expect(isnan(d->run.seconds), WHY_DEATH, text("%s: NaN", what),
	       "%g seconds", d->run.seconds);
	expect(d->error == EOWNERDEAD, "The run failed, and why it did was "
	       "lost on the way.", text("%s: EOWNERDEAD", what), "%s",
	       strerror(d->error));
	expect_others(&d->facts);
	expect_clean(d->facts.others.left ? "When one worker dies, the others "
		     "still have to be collected." : NULL);
	expect_silence(d->facts.number[0]);
	expect(d->next.seconds >= 0 && d->next.result == sum_of(5), "One run "
	       "failed, and the next one has to suffer for it.",
	       "the next run succeeds", "%g seconds", d->next.seconds);
}

static void expect_death(const struct death *set, const char *what)
{
	struct death *d = shared(sizeof *d);

	*d = *set;
	fence(&(struct fence){ .scenario = run_with_death, .shared = d,
			       .why_stuck = WHY_DEATH_WAIT });
	expect_death_told(d, what);
}

static void check_deaths(void)
{
	for (enum way w = 0; w < WAYS; w++)
		expect_death(&(struct death){ .way = w, .workers = 3,
			.items = 6, .victim = 1 },
			text("item 1 ends its worker by %s", way_names[w]));
	expect_death(&(struct death){ .workers = 2, .items = 7, .victim = 6 },
		     "the last item kills its worker");
	expect_death(&(struct death){ .way = BY_EXIT_0, .workers = 1,
		.items = 4, .victim = 3 }, "the only worker ends with its "
		"last item");
	expect_death(&(struct death){ .workers = 3, .items = 20, .victim = -1 },
		     "each item kills its worker");
}

static void run_with_waiting(void *arg)
{
	struct death *d = death = arg;

	facts = &d->facts;
	others_come();
	d->run = run_mode(PROCESSES, outlive, 3, 3, 1);
	d->error = facts->errs[PROCESSES];
	others_go();
	d->next = (struct bench_run){ .result = sum_of(5) };
}

static void check_survivors(void)
{
	struct death *d;

	for (int victim = 0; victim < 3; victim += 2) {
		d = shared(sizeof *d);
		d->victim = victim;
		fence(&(struct fence){ .scenario = run_with_waiting,
			.director = let_survivors_go, .shared = d,
			.why_stuck = WHY_DEATH_WAIT });
		expect_death_told(d, text("item %d kills its worker while the "
					  "others work", victim));
	}
}

/* ---- a worker cannot be started ------------------------------------- */

#define WHY_HALF "Not every worker could be started, and nobody was told."
#define WHY_WAITS "Somebody waits for a worker that was never started."
#define WHY_EARLY "You came back while some of your workers were still at work."

static void run_processes(void *arg)
{

	capture_output();
	facts = arg;
	others_come();
	run_mode(PROCESSES, note_item, 6, 3, 1);
	others_go();
	facts->number[6] = captured(NULL, 0);
}

static void expect_refused(const struct facts *s, enum mode mode,
			   const struct fence_end *end)
{
	expect(end->how == FENCE_FINISHED, WHY_HALF, "the call returns",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d" :
	       "the caller exited with status %d", end->status);
	if (fault_hits() == 0) {
		expect_ran(s, mode);
		return;
	}
	expect(isnan(s->run[mode].seconds), WHY_HALF,
	       text("%s: NaN", mode_names[mode]), "%g seconds",
	       s->run[mode].seconds);
	expect(s->errs[mode] == EAGAIN || s->errs[mode] == ENOMEM, "The "
	       "system's reason was lost on the way.", "EAGAIN", "%s",
	       strerror(s->errs[mode]));
	expect_clean(s->others.left ? "When one worker cannot be started, the "
		     "others still have to be collected." : NULL);
	expect_silence(s->number[6]);
}

static void judge_processes(void *arg, const struct fence_end *end)
{
	expect_refused(arg, PROCESSES, end);
	expect_others(arg);
}

static void check_no_process(void)
{
	struct facts *s = shared(sizeof *s);
	const struct fence f = { .scenario = run_processes, .shared = s,
				 .why_stuck = WHY_WAITS };

	fault_sweep(&f, sizeof *s, "fork", EAGAIN, NULL, judge_processes);
}

/* Each item stays until the caller sleeps, or is back too early. */
static uint64_t be_late(long index, void *arg)
{
	facts->number[1] += gate_is_open(&facts->inside);	/* returned */
	facts->number[2]++;
	gate_wait(&facts->go);
	facts->number[3]++;
	return note_item(index, arg);
}

static enum mode judged;

static void come_back(void *arg)
{
	struct facts *s = facts = arg;

	capture_output();
	run_mode(judged, be_late, 6, 3, 1);
	s->number[6] = captured(NULL, 0);
	s->number[4] = s->number[2] - s->number[3];	/* still at work */
	gate_open(&s->inside);
	gate_open(&s->go);
	s->number[5] = settle_others();
}

/* A thread is there until its last destructor has ended. */
static pthread_key_t key;

static void end_late(void *arg)
{
	be_late(0, arg);
}

static uint64_t leave_something(long index, void *arg)
{
	pthread_setspecific(key, arg);
	return note_item(index, arg);
}

static void come_back_late(void *arg)
{
	struct facts *s = facts = arg;

	pthread_key_create(&key, end_late);
	run_mode(judged, leave_something, 6, 3, 1);
	s->number[4] = s->number[2] - s->number[3];	/* still ending */
	gate_open(&s->inside);
	gate_open(&s->go);
	s->number[5] = settle_others();
}

static void let_go(void *arg)
{
	wait_until_asleep(fence_pid());
	gate_open(&((struct facts *)arg)->go);
}

static void expect_all_back(const struct facts *s)
{
	expect(s->number[4] == 0 && s->number[1] == 0, WHY_EARLY,
	       text("%s: at the return all threads have ended",
		    mode_names[judged]), "some worked on");
	expect(s->number[5] == 0, "Threads of a run that is over are still "
	       "there.", "no thread but the caller", "%d others",
	       s->number[5]);
}

static void judge_threads(void *arg, const struct fence_end *end)
{
	if (end->how == FENCE_FINISHED)
		expect_all_back(arg);
	expect_refused(arg, judged, end);
}

static void check_no_thread(void)
{
	struct facts *s = shared(sizeof *s);
	const struct fence f = { .scenario = come_back, .director = let_go,
				 .shared = s, .why_stuck = WHY_WAITS };

	for (judged = GIL; judged <= THREADS; judged++)
		fault_sweep(&f, sizeof *s, "pthread_create", EAGAIN, NULL,
			    judge_threads);
}

static void check_return(void)
{
	void (*const runs[])(void *) = { come_back, come_back_late };
	struct facts *s;

	for (int i = 0; i < 4; i++) {
		judged = i % 2 == 0 ? GIL : THREADS;
		s = shared(sizeof *s);
		fence(&(struct fence){ .scenario = runs[i / 2],
				       .director = let_go, .shared = s });
		expect_all_back(s);
		expect_ran(s, judged);
	}
}

/* ---- memory, descriptors, room -------------------------------------- */

struct all {
	struct facts facts;
	double median;
};

static void run_everything(void *arg)
{
	struct all *a = arg;

	facts = &a->facts;
	for (enum mode m = SERIAL; m < MODES; m++)
		run_mode(m, note_item, 6, 2, 2);
	a->median = bench_measure(do_nothing, NULL, 1, 3);
}

static const char why_half[] = "Something that was needed could not be had, "
			       "and you went on without it.";

static void judge_everything(void *arg, const struct fence_end *end)
{
	const struct all *a = arg;
	const struct facts *s = &a->facts;

	expect(end->how == FENCE_FINISHED, why_half, "an error is reported",
	       end->how == FENCE_KILLED ? "the caller was killed by signal %d"
					: "the caller exited with status %d",
	       end->status);
	for (enum mode m = SERIAL; m < MODES; m++) {
		const bool failed = isnan(s->run[m].seconds);

		expect(failed || s->run[m].result == sum_of(6), why_half,
		       text("%s: NaN, or the right result", mode_names[m]),
		       "%g seconds and another result", s->run[m].seconds);
		expect(!failed || s->errs[m] != 0, "Nobody can tell why the "
		       "run failed.", text("%s: errno says why",
		       mode_names[m]), "errno is 0");
	}
	expect(isnan(a->median) || a->median >= 0, why_half,
	       "bench_measure: NaN or a time", "%g", a->median);
	expect_clean(why_half);
}

static void check_refusals(void)
{
	struct all *a = shared(sizeof *a);

	fault_sweep_all(&(struct fence){ .scenario = run_everything,
		.shared = a, .why_stuck = why_half }, sizeof *a,
		fault_refusals, NULL, judge_everything);
}

/* The first ones inside stay until all others rest. */
static uint64_t compute_slowly(long index, void *arg)
{
	peak_enter(&facts->peak);
	if (facts->number[0]++ < 1) {
		settle_others();
	}
	peak_leave(&facts->peak);
	return note_item(index, arg);
}

static void run_everything_slowly(void *arg)
{
	run_everything(arg);
	run_mode(GIL, compute_slowly, 6, 3, 1);
}

static void judge_all_right(void *arg, const struct fence_end *end)
{
	const struct all *a = arg;
	const struct facts *s = &a->facts;

	expect(end->how == FENCE_FINISHED, "A call that did less than all was "
	       "taken for done.", "the calls return", "the caller did not "
	       "come through");
	for (enum mode m = SERIAL; m < MODES; m++)
		expect(s->run[m].seconds >= 0 && s->run[m].result == sum_of(6),
		       "A call that was interrupted, or did less than all, was "
		       "taken for done.", text("%s: the right result",
		       mode_names[m]), "%g seconds, %s", s->run[m].seconds,
		       s->run[m].result == sum_of(6) ? "the right result" :
		       "another result");
	expect(s->peak.most <= 1, "A wait that was interrupted is not over, "
	       "and was taken for it.", "one item in work at a time under the "
	       "lock", "%d", s->peak.most);
	expect_clean(NULL);
}

static void check_interruptions(void)
{
	struct all *a = shared(sizeof *a);

	fault_sweep(&(struct fence){ .scenario = run_everything_slowly,
		.shared = a, .why_stuck = "A call was interrupted, and "
		"somebody waits for ever." }, sizeof *a, "blocking", EINTR,
		NULL, judge_all_right);
}

static void check_short_counts(void)
{
	struct all *a = shared(sizeof *a);

	fault_sweep_all(&(struct fence){ .scenario = run_everything,
		.shared = a, .why_stuck = "A transfer did less than all, and "
		"somebody waits for the rest." }, sizeof *a,
		fault_short_counts, NULL, judge_all_right);
}

static const struct check checks[] = {
	{ "functions", "all threads have ended when a run returns",
	  check_return, (const void *)bench_threads },
	{ "leftovers", "many runs leave nothing behind", check_many,
	  (const void *)bench_processes },
	{ "faults", "a worker process that dies is told", check_deaths,
	  (const void *)bench_processes },
	{ "faults", "when a worker dies the others are collected",
	  check_survivors, (const void *)bench_processes },
	{ "faults", "a process that cannot be started is told",
	  check_no_process, (const void *)bench_processes },
	{ "faults", "a thread that cannot be started is told",
	  check_no_thread, (const void *)bench_threads },
	{ "faults", "what cannot be had is told", check_refusals,
	  (const void *)bench_processes },
	{ "faults", "a call that a signal interrupts is repeated",
	  check_interruptions, (const void *)bench_processes },
	{ "faults", "a transfer that does less goes on with the rest",
	  check_short_counts, (const void *)bench_processes },
};

CHECKS("07-benchmarks", checks);
