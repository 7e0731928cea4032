/* Semaphores, and the queues and semaphores of System V and POSIX. */
#include "calls.h"

#include <fcntl.h>
#include <mqueue.h>
#include <semaphore.h>
#include <stdarg.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <time.h>

int called_sem_wait(sem_t *s);
int called_sem_wait(sem_t *s)
{
	int r;

	if (struck("sem_wait", "waitpid blocking", true, HERE))
		return -1;
	WAITING("sem_wait", s, HERE, r, sem_wait(s));
	return lock_tried(s, r, HERE);
}

int called_sem_timedwait(sem_t *s, const struct timespec *t);
int called_sem_timedwait(sem_t *s, const struct timespec *t)
{
	int r;

	if (struck("sem_timedwait", "waitpid blocking", true, HERE))
		return -1;
	WAITING("sem_timedwait", s, HERE, r, sem_timedwait(s, t));
	return lock_tried(s, r, HERE);
}

int called_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t);
int called_sem_clockwait(sem_t *s, clockid_t clock, const struct timespec *t)
{
	int r;

	if (struck("sem_clockwait", "blocking", true, HERE))
		return -1;
	WAITING("sem_clockwait", s, HERE, r, sem_clockwait(s, clock, t));
	return lock_tried(s, r, HERE);
}

int called_sem_trywait(sem_t *s);
int called_sem_trywait(sem_t *s)
{
	return lock_tried(s, sem_trywait(s), HERE);
}

int called_sem_post(sem_t *s);
int called_sem_post(sem_t *s)
{
	lock_given(s);
	return sem_post(s);
}

int called_sem_init(sem_t *s, int shared_too, unsigned value);
int called_sem_init(sem_t *s, int shared_too, unsigned value)
{
	if (struck("sem_init", "init", true, HERE))
		return -1;
	return sem_init(s, shared_too, value);
}

sem_t *called_sem_open(const char *name, int flags, ...);
sem_t *called_sem_open(const char *name, int flags, ...)
{
	unsigned mode, value;
	va_list more;

	if (struck("sem_open", "", true, HERE))
		return SEM_FAILED;
	va_start(more, flags);
	mode = va_arg(more, unsigned);
	value = va_arg(more, unsigned);
	va_end(more);
	return sem_open(name, flags, mode, value);
}

/* ---- System V ----------------------------------------------------------- */

int called_semop(int id, struct sembuf *ops, size_t n);
int called_semop(int id, struct sembuf *ops, size_t n)
{
	int r;

	if (struck("semop", "blocking", !(ops[0].sem_flg & IPC_NOWAIT), HERE))
		return -1;
	WAITING("semop", id, HERE, r, semop(id, ops, n));
	return r;
}

int called_semtimedop(int id, struct sembuf *ops, size_t n,
		      const struct timespec *t);
int called_semtimedop(int id, struct sembuf *ops, size_t n,
		      const struct timespec *t)
{
	int r;

	if (struck("semtimedop", "blocking", !(ops[0].sem_flg & IPC_NOWAIT),
		   HERE))
		return -1;
	WAITING("semtimedop", id, HERE, r, semtimedop(id, ops, n, t));
	return r;
}

int called_msgsnd(int id, const void *m, size_t n, int flags);
int called_msgsnd(int id, const void *m, size_t n, int flags)
{
	int r;

	if (struck("msgsnd", "blocking", !(flags & IPC_NOWAIT), HERE))
		return -1;
	WAITING("msgsnd", id, HERE, r, msgsnd(id, m, n, flags));
	return r;
}

ssize_t called_msgrcv(int id, void *m, size_t n, long type, int flags);
ssize_t called_msgrcv(int id, void *m, size_t n, long type, int flags)
{
	ssize_t r;

	if (struck("msgrcv", "blocking", !(flags & IPC_NOWAIT), HERE))
		return -1;
	WAITING("msgrcv", id, HERE, r, msgrcv(id, m, n, type, flags));
	return r;
}

int called_semget(key_t key, int n, int flags);
int called_semget(key_t key, int n, int flags)
{
	if (struck("semget", "sysv", true, HERE))
		return -1;
	return semget(key, n, flags);
}

int called_msgget(key_t key, int flags);
int called_msgget(key_t key, int flags)
{
	if (struck("msgget", "sysv", true, HERE))
		return -1;
	return msgget(key, flags);
}

int called_shmget(key_t key, size_t n, int flags);
int called_shmget(key_t key, size_t n, int flags)
{
	if (struck("shmget", "sysv", true, HERE))
		return -1;
	return shmget(key, n, flags);
}

void *called_shmat(int id, const void *at, int flags);
void *called_shmat(int id, const void *at, int flags)
{
	if (struck("shmat", "mmap", true, HERE))
		return (void *)-1;
	return shmat(id, at, flags);
}

/* ---- POSIX message queues ----------------------------------------------- */

mqd_t called_mq_open(const char *name, int flags, ...);
mqd_t called_mq_open(const char *name, int flags, ...)
{
	struct mq_attr *attr;
	va_list more;
	mode_t mode;

	if (struck("mq_open", "descriptors", true, HERE))
		return -1;
	va_start(more, flags);
	mode = va_arg(more, mode_t);
	attr = va_arg(more, struct mq_attr *);
	va_end(more);
	if (!(flags & O_CREAT))
		return opened(mq_open(name, flags), HERE);
	return opened(mq_open(name, flags, mode, attr), HERE);
}

int called_mq_send(mqd_t q, const char *m, size_t n, unsigned priority);
int called_mq_send(mqd_t q, const char *m, size_t n, unsigned priority)
{
	int r;

	if (struck("mq_send", "blocking", may_wait(q), HERE))
		return -1;
	WAITING("mq_send", q, HERE, r, mq_send(q, m, n, priority));
	return r;
}

int called_mq_timedsend(mqd_t q, const char *m, size_t n, unsigned priority,
			const struct timespec *t);
int called_mq_timedsend(mqd_t q, const char *m, size_t n, unsigned priority,
			const struct timespec *t)
{
	int r;

	if (struck("mq_timedsend", "blocking", may_wait(q), HERE))
		return -1;
	WAITING("mq_timedsend", q, HERE, r, mq_timedsend(q, m, n, priority, t));
	return r;
}

ssize_t called_mq_receive(mqd_t q, char *m, size_t n, unsigned *priority);
ssize_t called_mq_receive(mqd_t q, char *m, size_t n, unsigned *priority)
{
	ssize_t r;

	if (struck("mq_receive", "blocking", may_wait(q), HERE))
		return -1;
	WAITING("mq_receive", q, HERE, r, mq_receive(q, m, n, priority));
	return r;
}

ssize_t called_mq_timedreceive(mqd_t q, char *m, size_t n, unsigned *priority,
			       const struct timespec *t);
ssize_t called_mq_timedreceive(mqd_t q, char *m, size_t n, unsigned *priority,
			       const struct timespec *t)
{
	ssize_t r;

	if (struck("mq_timedreceive", "blocking", may_wait(q), HERE))
		return -1;
	WAITING("mq_timedreceive", q, HERE, r,
		mq_timedreceive(q, m, n, priority, t));
	return r;
}
