/*
 * How a thread's stack is read, by libdw.
 *
 * A thread that waits is not touched if that can be: the system tells its
 * stack pointer, which is enough to find its way out of libc. To stop it would
 * interrupt its call, and a long write() into a full pipe would return.
 */
#include "doctor_walk.h"

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>

/* ---- without touching it ----------------------------------------------- */

static pid_t next_thread(Dwfl *dwfl, void *arg, void **thread_arg)
{
	(void)dwfl;
	if (*thread_arg != NULL)
		return 0;
	*thread_arg = arg;
	return ((struct thread *)arg)->tid;
}

static bool get_thread(Dwfl *dwfl, pid_t tid, void *arg, void **thread_arg)
{
	(void)dwfl, (void)tid;
	*thread_arg = arg;
	return true;
}

static bool read_word(Dwfl *dwfl, Dwarf_Addr from, Dwarf_Word *to, void *arg)
{
	(void)dwfl;
	return read_memory(((struct thread *)arg)->of->pid, from, to,
			   sizeof *to);
}

#ifdef __aarch64__
enum { SP = 31 };
#else
enum { SP = 7 };		/* x86-64; see its ABI, table 3.36 */
#endif

static bool set_registers(Dwfl_Thread *thread, void *arg)
{
	struct thread *t = arg;
	Dwarf_Word sp = t->sp, ip = t->ip;

#ifdef __x86_64__
	dwfl_thread_state_registers(thread, 16, 1, &ip);
#endif
	dwfl_thread_state_register_pc(thread, ip);
	return dwfl_thread_state_registers(thread, SP, 1, &sp);
}

static void walk_from_outside(struct walk *w)
{
	static const Dwfl_Thread_Callbacks callbacks = {
		.next_thread = next_thread, .get_thread = get_thread,
		.memory_read = read_word,
		.set_initial_registers = set_registers,
	};
	struct thread *t = w->thread;

	if (dwfl_attach_state(w->dwfl, NULL, t->of->pid, &callbacks, t))
		dwfl_getthread_frames(w->dwfl, t->tid, visit_frame, w);
}

/* ---- stopping it for a moment ------------------------------------------ */

/*
 * A thread deep in the system may not stop at once, or not at all. It may
 * also stop for a signal that arrives right now, which it gets later.
 */
static bool stop_thread(pid_t tid, long *signal)
{
	struct timespec ms = { .tv_nsec = 1000000 };
	int status;

	if (ptrace(PTRACE_SEIZE, tid, NULL, NULL) != 0)
		return false;
	if (ptrace(PTRACE_INTERRUPT, tid, NULL, NULL) != 0)
		return false;
	for (int i = 0; i < 500; i++) {
		if (waitpid(tid, &status, WNOHANG | __WALL) == tid) {
			if (status >> 16 == 0)
				*signal = WSTOPSIG(status);
			return WIFSTOPPED(status);
		}
		nanosleep(&ms, NULL);
	}
	return false;		/* let go when we end */
}

static void walk_stopped(struct walk *w)
{
	struct thread *t = w->thread;
	long signal = 0;

	if (!stop_thread(t->tid, &signal))
		return;
	if (dwfl_linux_proc_attach(w->dwfl, t->of->pid, true) == 0)
		dwfl_getthread_frames(w->dwfl, t->tid, visit_frame, w);
	ptrace(PTRACE_DETACH, t->tid, NULL, signal);
}

void walk_stack(struct thread *t, bool stop)
{
	struct walk w = { .thread = t, .dwfl = open_process(t->of->pid) };

	if (w.dwfl == NULL)
		return;
	if (stop)
		walk_stopped(&w);
	else
		walk_from_outside(&w);
	dwfl_end(w.dwfl);
}
