/*
 * The threads of C11, made of those of POSIX as glibc makes them, so that the
 * harness needs to know only one kind: a student's mtx_lock() is called
 * c11_mtx_lock().
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>
#include <time.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t), "glibc's mutex");
_Static_assert(sizeof(cnd_t) == sizeof(pthread_cond_t), "glibc's condition");

struct start {
	thrd_start_t run;
	void *arg;
};

static int in_c11(int error)
{
	switch (error) {
	case 0:
		return thrd_success;
	case ENOMEM:
		return thrd_nomem;
	case EBUSY:
		return thrd_busy;
	case ETIMEDOUT:
		return thrd_timedout;
	default:
		return thrd_error;
	}
}

static void *run_thread(void *arg)
{
	struct start start = *(struct start *)arg;

	free(arg);
	return (void *)(intptr_t)start.run(start.arg);
}

int c11_thrd_create(thrd_t *thread, thrd_start_t run, void *arg)
{
	struct start *start = malloc(sizeof *start);
	int error;

	if (start == NULL)
		return thrd_nomem;
	*start = (struct start){ run, arg };
	error = pthread_create(thread, NULL, run_thread, start);
	if (error != 0)
		free(start);
	return in_c11(error);
}

int c11_thrd_join(thrd_t thread, int *result)
{
	void *end;
	int error = pthread_join(thread, &end);

	if (error == 0 && result != NULL)
		*result = (int)(intptr_t)end;
	return in_c11(error);
}

int c11_mtx_init(mtx_t *m, int type)
{
	pthread_mutexattr_t attr;

	pthread_mutexattr_init(&attr);
	if (type & mtx_recursive)
		pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
	return in_c11(pthread_mutex_init((pthread_mutex_t *)m, &attr));
}

int c11_mtx_lock(mtx_t *m)
{
	return pthread_mutex_lock((pthread_mutex_t *)m);
}

int c11_mtx_unlock(mtx_t *m)
{
	return pthread_mutex_unlock((pthread_mutex_t *)m);
}

int c11_mtx_trylock(mtx_t *m)
{
	return in_c11(pthread_mutex_trylock((pthread_mutex_t *)m));
}

int c11_mtx_timedlock(mtx_t *m, const struct timespec *until)
{
	return in_c11(pthread_mutex_timedlock((pthread_mutex_t *)m, until));
}

int c11_cnd_init(cnd_t *c)
{
	return in_c11(pthread_cond_init((pthread_cond_t *)c, NULL));
}

int c11_cnd_wait(cnd_t *c, mtx_t *m)
{
	return pthread_cond_wait((pthread_cond_t *)c, (pthread_mutex_t *)m);
}

int c11_cnd_signal(cnd_t *c)
{
	return pthread_cond_signal((pthread_cond_t *)c);
}

int c11_cnd_broadcast(cnd_t *c)
{
	return pthread_cond_broadcast((pthread_cond_t *)c);
}

void c11_cnd_destroy(cnd_t *c)
{
	pthread_cond_destroy((pthread_cond_t *)c);
}

int c11_cnd_timedwait(cnd_t *c, mtx_t *m, const struct timespec *until)
{
	return in_c11(pthread_cond_timedwait((pthread_cond_t *)c,
					     (pthread_mutex_t *)m, until));
}

int c11_thrd_sleep(const struct timespec *time, struct timespec *left)
{
	return nanosleep(time, left);
}

void c11_thrd_yield(void)
{
	sched_yield();
}
