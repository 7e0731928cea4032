/* style: the caller takes the places and lets the workers in */
#include "semaphores.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void *map_shared(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static struct timespec deadline(double timeout)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	if (timeout > 1e9)
		timeout = 1e9;
	t.tv_sec += (time_t)timeout;
	t.tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

/* The number, a mutex that guards it, and a bell for those who wait. */
struct semaphore {
	pthread_mutex_t mutex;
	pthread_cond_t more;
	int places, bound;
};

struct semaphore *semaphore_create(int initial, bool bounded)
{
	struct semaphore *s = NULL;
	pthread_mutexattr_t mutex;
	pthread_condattr_t more;
	int error;

	if (initial < 0)
		errno = EINVAL;
	else
		s = map_shared(sizeof *s);
	if (s == NULL)
		return NULL;
	s->places = initial;
	s->bound = bounded ? initial : INT_MAX;
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST);
	pthread_condattr_init(&more);
	pthread_condattr_setpshared(&more, PTHREAD_PROCESS_SHARED);
	pthread_condattr_setclock(&more, CLOCK_MONOTONIC);
	error = pthread_mutex_init(&s->mutex, &mutex);
	if (error == 0)
		error = pthread_cond_init(&s->more, &more);
	pthread_mutexattr_destroy(&mutex);
	pthread_condattr_destroy(&more);
	if (error == 0)
		return s;
	munmap(s, sizeof *s);
	errno = error;
	return NULL;
}

/* Nothing is ever half done while it is held. */
static void lock(struct semaphore *s)
{
	if (pthread_mutex_lock(&s->mutex) == EOWNERDEAD)
		pthread_mutex_consistent(&s->mutex);
}

static int wait_for_more(struct semaphore *s, double timeout,
			 const struct timespec *until)
{
	int error = timeout < 0 ? pthread_cond_wait(&s->more, &s->mutex) :
		    pthread_cond_timedwait(&s->more, &s->mutex, until);

	if (error == EOWNERDEAD)
		error = pthread_mutex_consistent(&s->mutex);
	return error;
}

int semaphore_acquire(struct semaphore *s, double timeout)
{
	struct timespec until = deadline(timeout > 0 ? timeout : 0);
	int error = 0;

	lock(s);
	while (s->places == 0 && timeout != 0 && error == 0)
		error = wait_for_more(s, timeout, &until);
	if (s->places > 0) {
		s->places--;
		error = 0;
	} else {
		error = 1;
	}
	pthread_mutex_unlock(&s->mutex);
	return error;
}

int semaphore_release(struct semaphore *s)
{
	bool room;

	lock(s);
	room = s->places < s->bound;
	if (room) {
		s->places++;
		pthread_cond_signal(&s->more);
	}
	pthread_mutex_unlock(&s->mutex);
	if (room)
		return 0;
	errno = EOVERFLOW;
	return -1;
}

int semaphore_value(struct semaphore *s)
{
	int places;

	lock(s);
	places = s->places;
	pthread_mutex_unlock(&s->mutex);
	return places;
}

void semaphore_destroy(struct semaphore *s)
{
	pthread_cond_destroy(&s->more);
	pthread_mutex_destroy(&s->mutex);
	munmap(s, sizeof *s);
}

int semaphore_with(struct semaphore *s, int worker,
		   int (*room)(int worker, void *arg), void *arg)
{
	int result;

	if (semaphore_acquire(s, -1) != 0)
		return -1;
	result = room(worker, arg);
	semaphore_release(s);
	return result;
}

/*
 * The caller takes each place for a worker and gives it back after it. The
 * worker itself only waits until it is told to go in. So the caller knows at
 * each moment who has a place.
 */
struct worker {
	_Atomic int result;
};

/* What the caller knows about it. */
struct known {
	pid_t pid;			/* 0: it has ended */
	int go;				/* to be written to; -1: it was told */
};

enum { NOT_BACK = 1, FAILED, DONE };

static _Noreturn void work(struct worker *w, int number, int go,
			   int (*room)(int worker, void *arg), void *arg)
{
	char byte;
	ssize_t n;

	do
		n = read(go, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n != 1)
		_exit(1);
	w->result = room(number, arg) == 0 ? DONE : FAILED;
	_exit(0);
}

static int start(struct worker *w, struct known *known, int workers,
		 int (*room)(int worker, void *arg), void *arg, int *error)
{
	int ends[2];
	pid_t pid;

	for (int i = 0; i < workers; i++) {
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends)) {
			*error = errno;
			return i;
		}
		w[i].result = NOT_BACK;
		pid = fork();
		if (pid == 0) {
			for (int k = 0; k < i; k++)
				close(known[k].go);
			close(ends[1]);
			work(&w[i], i, ends[0], room, arg);
		}
		if (pid < 0)
			*error = errno;
		close(ends[0]);
		known[i].pid = pid;
		known[i].go = ends[1];
		if (pid < 0) {
			close(ends[1]);
			return i;
		}
	}
	return workers;
}

struct crew {
	struct semaphore *s;
	struct worker *workers;
	struct known *known;
	int n, left, inside, most, error;
};

/* A worker that has died does not read; that is no reason to die, too. */
static ssize_t send_byte(int fd)
{
	return send(fd, "", 1, MSG_NOSIGNAL);
}

static void let_in(struct crew *c, struct known *w)
{
	ssize_t n;

	do
		n = send_byte(w->go);
	while (n < 0 && errno == EINTR);
	close(w->go);
	w->go = -1;
	if (++c->inside > c->most)
		c->most = c->inside;
}

static void collect(struct crew *c)
{
	for (int i = 0; i < c->n; i++) {
		struct known *w = &c->known[i];
		int result;

		if (w->pid == 0 || waitpid(w->pid, NULL, WNOHANG) != w->pid)
			continue;
		w->pid = 0;
		c->left--;
		if (w->go < 0) {
			c->inside--;
			semaphore_release(c->s);
		} else {
			close(w->go);
		}
		result = c->workers[i].result;
		if (result != DONE && c->error == 0)
			c->error = result == FAILED ? ECANCELED : EOWNERDEAD;
	}
}

static struct known *next_outside(struct crew *c)
{
	for (struct known *w = c->known; w < c->known + c->n; w++)
		if (w->pid != 0 && w->go >= 0)
			return w;
	return NULL;
}

static void conduct(struct crew *c)
{
	struct known *w;

	while (c->left > 0) {
		collect(c);
		w = next_outside(c);
		if (w == NULL)
			nanosleep(&(struct timespec){ .tv_nsec = 2000000 },
				  NULL);
		else if (semaphore_acquire(c->s, 0.002) == 0)
			let_in(c, w);
	}
}

int semaphore_run(struct semaphore *s, int workers,
		  int (*room)(int worker, void *arg), void *arg, int *most)
{
	struct crew c = { .s = s };
	size_t size;
	int error = 0;

	if (workers < 1) {
		errno = EINVAL;
		return -1;
	}
	size = (size_t)workers * sizeof(struct worker);
	c.known = calloc((size_t)workers, sizeof *c.known);
	c.workers = c.known != NULL ? map_shared(size) : NULL;
	if (c.workers == NULL) {
		free(c.known);
		errno = ENOMEM;
		return -1;
	}
	c.n = c.left = start(c.workers, c.known, workers, room, arg, &error);
	conduct(&c);
	error = error != 0 ? error : c.error;
	if (most != NULL)
		*most = c.most;
	munmap(c.workers, size);
	free(c.known);
	errno = error;
	return error == 0 ? 0 : -1;
}
