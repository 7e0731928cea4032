/*
 * gil - threads under a simulated global interpreter lock, and processes
 * without one
 *
 * Python's interpreter lets only the thread that holds the GIL run Python
 * code. Here compute() plays the Python code, and blocking() what a thread
 * does with the GIL released: wait for a disk or the network, or compute in a
 * C library such as zlib or numpy that gives the GIL back meanwhile.
 */
#ifndef GIL_H
#define GIL_H

struct gil;

/*
 * worker: 0..n-1, another for each thread or process
 * step:   0..steps-1; each worker gets them in this order, each once
 * arg:    as handed to gil_run_threads or gil_run_processes
 */
typedef void gil_step(int worker, int step, void *arg);

/*
 * gil_create - make a lock that nobody holds
 *
 * Returns it, or NULL with ENOMEM. Free it with gil_destroy.
 * See: pthread_mutex_init(3)
 */
struct gil *gil_create(void);

/*
 * gil_run_threads - let n threads of this process work under the GIL
 *
 * n:         at least 1
 * compute:   runs while its thread holds the GIL: at most one at a time
 * blocking:  runs after each compute while its thread does not hold the
 *            GIL: all threads may be inside at once, and another may
 *            compute; NULL = nothing
 * Returns when all threads have ended; then nobody holds the GIL, and it may
 * be used for another run, one run at a time. In which order the threads get
 * the GIL is not promised.
 * Returns 0, or -1 with EAGAIN or ENOMEM if not every thread could be made;
 * those that were made have ended by then.
 * Python: threading.Thread     See: pthread_create(3), sys.setswitchinterval
 */
int gil_run_threads(struct gil *g, int n, int steps, gil_step *compute,
		    gil_step *blocking, void *arg);

/*
 * gil_run_processes - let n processes work: there is no GIL between them
 *
 * As gil_run_threads, but each worker is a child process with memory of its
 * own, and all of them may be inside compute at once. What a worker
 * wants to tell it has to put into memory that is really shared (mmap with
 * MAP_SHARED). Children leave without the caller's atexit handlers, and text
 * that waits in the caller's stdout buffer is not printed a second time.
 * Returns when all of them have ended and were collected.
 * Returns 0, or -1 with EAGAIN or ENOMEM if not every child could be made,
 * with EOWNERDEAD if one died before its last step had ended.
 * Python: multiprocessing.Process     See: fork(2), waitpid(2)
 */
int gil_run_processes(int n, int steps, gil_step *compute,
		      gil_step *blocking, void *arg);

/* gil_destroy - free the lock; nobody may use it any more. */
void gil_destroy(struct gil *g);

#endif
