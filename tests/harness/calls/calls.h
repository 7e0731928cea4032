/*
 * calls - the calls of the student's file
 *
 * Its object file is changed after it was compiled (objcopy --redefine-syms
 * calls.map), so that what it names read() is called_read() here; the
 * harness's own calls, the demo programs' and libc's stay as they are. Each
 * called_NAME of the files calls_*.c
 *
 *   notes in which line a thread may wait, for the report of a hang
 *   is a place where a fault may strike
 *   remembers in which line a process or a descriptor was made
 *
 * and does what NAME does. The map is made from the names in those files.
 */
#ifndef CALLS_H
#define CALLS_H

#include "internal.h"

/* The line of the student's file that the called_NAME returns to. */
#define HERE __builtin_return_address(0)

/*
 * struck - is it this call's turn? Then errno is what it shall fail with
 *
 * call:   its name
 * groups: the others it may be meant by, for example "waitpid blocking"; see
 *         struct fault
 * suits:  may the fault strike this one? The system keeps some promises, and
 *         a fault must keep them too
 */
bool struck(const char *call, const char *groups, bool suits, void *pc);

/* Is the fault that is set meant for such calls? */
bool fault_is_for(const char *call, const char *groups);

/* Does it cut transfers short? Then shortened(n) bytes are left of n. */
bool short_transfers(void);
size_t shortened(size_t n);

/* Count for injected(). */
void hit(enum injector injector);

/* calls_descriptors.c: note the line in which fd was opened; returns fd. */
int opened(int fd, void *pc);
/* Could a call on it wait? Not on a file, and not under O_NONBLOCK. */
bool may_wait(int fd);

/* calls_time.c: a pause of so many ns; true if it shall take no time. */
bool pause_skipped(int64_t ns);

/* gettid(), that asks the system once */
pid_t own_tid(void);

/* Where this thread waits: stand before the call, go_on after it. */
void stand(const char *call, long argument, void *pc);
void go_on(void);

/* result = expression, an expression that may wait */
#define WAITING(call, argument, pc, result, expression) do {	\
	stand(call, (long)(argument), pc);			\
	result = (expression);					\
	go_on();						\
} while (0)

#endif
