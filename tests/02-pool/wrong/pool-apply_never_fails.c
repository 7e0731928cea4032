/*
 * misconception: L02-19 apply does not tell that the task failed or was lost
 * rejected by:   apply tells of failure and death
 * message:       A task reported failure and nobody listened
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct request {
	pool_fn *fn;
	size_t count, item_size, result_size;
};

struct link {
	pid_t pid;
	int fd;
};

struct pool {
	int size;
	struct pool *older;
	struct link links[];
};

static struct pool *newest;
static pthread_mutex_t newest_lock = PTHREAD_MUTEX_INITIALIZER;

static int talk(int fd, void *buf, size_t n, int sending)
{
	char *b = buf;

	while (n > 0) {
		ssize_t r = sending ? send(fd, b, n, MSG_NOSIGNAL) : recv(fd, b, n, MSG_WAITALL);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return 0;
		b += r;
		n -= (size_t)r;
	}
	return 1;
}

static void serve(int fd)
{
	struct request q;

	while (talk(fd, &q, sizeof q, 0)) {
		char *items = malloc(q.count * q.item_size + 1);
		char *result = calloc(1, q.result_size + 1);

		if (!items || !result || !talk(fd, items, q.count * q.item_size, 0))
			_exit(1);
		for (size_t i = 0; i < q.count; i++) {
			int err = q.fn(items + i * q.item_size, result);
			if (!talk(fd, &err, sizeof err, 1) ||
			    !talk(fd, result, q.result_size, 1))
				_exit(1);
		}
		free(items);
		free(result);
	}
	_exit(0);
}

static int start(struct link *l)
{
	int pair[2];
	pid_t owner = getpid();

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	pid_t pid = fork();
	int e = errno;
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != owner)
			_exit(1);
		close(pair[0]);
		for (struct pool *p = newest; p; p = p->older)
			for (int i = 0; i < p->size; i++)
				if (p->links[i].pid > 0)
					close(p->links[i].fd);
		serve(pair[1]);
	}
	close(pair[1]);
	if (pid < 0) {
		close(pair[0]);
		errno = e;
		return -1;
	}
	l->fd = pair[0];
	l->pid = pid;
	return 0;
}

static void stop(struct link *l, int sig)
{
	if (l->pid <= 0)
		return;
	if (sig)
		kill(l->pid, sig);
	shutdown(l->fd, SHUT_RDWR);
	close(l->fd);
	while (waitpid(l->pid, NULL, 0) == -1 && errno == EINTR)
		;
	l->pid = -1;
}

static int stop_all(struct pool *p, int sig)
{
	pthread_mutex_lock(&newest_lock);
	struct pool **q = &newest;
	while (*q != p)
		q = &(*q)->older;
	*q = p->older;
	pthread_mutex_unlock(&newest_lock);
	for (int i = 0; i < p->size; i++)
		stop(&p->links[i], sig);
	free(p);
	return 0;
}

struct pool *pool_create(int workers)
{
	if (workers < 1) {
		errno = EINVAL;
		return NULL;
	}
	struct pool *p = calloc(1, sizeof *p + (size_t)workers * sizeof p->links[0]);
	if (!p)
		return NULL;
	p->size = workers;
	pthread_mutex_lock(&newest_lock);
	p->older = newest;
	newest = p;
	int e = 0;
	for (int i = 0; i < workers && !e; i++)
		if (start(&p->links[i]) < 0)
			e = errno;
	pthread_mutex_unlock(&newest_lock);
	if (!e)
		return p;
	stop_all(p, SIGKILL);
	errno = e;
	return NULL;
}

int pool_close(struct pool *p)
{
	return stop_all(p, 0);
}

int pool_terminate(struct pool *p)
{
	return stop_all(p, SIGKILL);
}

int pool_size(const struct pool *p)
{
	int n = 0;

	for (int i = 0; i < p->size; i++) {
		char c;
		if (p->links[i].pid > 0 &&
		    recv(p->links[i].fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) != 0)
			n++;
	}
	return n;
}

struct work {
	pthread_mutex_t lock;
	struct request q;
	const char *items;
	char *results;
	size_t n, next, chunk;
	int *errs;
};

struct job {
	struct work *w;
	struct link *l;
	pthread_t thread;
	int threaded;
};

static void *attend(void *arg)
{
	struct job *j = arg;
	struct work *w = j->w;

	while (j->l->pid > 0) {
		struct request q = w->q;
		pthread_mutex_lock(&w->lock);
		size_t first = w->next;
		q.count = w->n - first < w->chunk ? w->n - first : w->chunk;
		w->next += q.count;
		pthread_mutex_unlock(&w->lock);
		if (q.count == 0)
			break;
		int ok = talk(j->l->fd, &q, sizeof q, 1) &&
			 talk(j->l->fd, (char *)w->items + first * q.item_size,
			      q.count * q.item_size, 1);
		for (size_t i = first; ok && i < first + q.count; i++) {
			int err;
			ok = talk(j->l->fd, &err, sizeof err, 0) &&
			     talk(j->l->fd, w->results + i * q.result_size,
				  q.result_size, 0);
			if (ok)
				w->errs[i] = err;
		}
		if (!ok)
			stop(j->l, SIGKILL);
	}
	return NULL;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct work w = { .q = { fn, 0, item_size, result_size }, .items = items,
			  .results = results, .n = n, .chunk = chunksize };
	sigset_t all, old;
	int worst = 0;

	if (n == 0)
		return 0;
	if (w.chunk == 0)
		w.chunk = n / ((size_t)p->size * 3);
	if (w.chunk == 0)
		w.chunk = 1;
	if (w.chunk > n)
		w.chunk = n;
	w.errs = errs ? errs : calloc(n, sizeof *w.errs);
	struct job *jobs = calloc(p->size, sizeof *jobs);
	if (!jobs || !w.errs) {
		if (!errs)
			free(w.errs);
		free(jobs);
		errno = ENOMEM;
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		w.errs[i] = POOL_LOST;
	pthread_mutex_init(&w.lock, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);	/* signals are for the caller's own threads */
	for (int i = 0; i < p->size; i++) {
		jobs[i].w = &w;
		jobs[i].l = &p->links[i];
		jobs[i].threaded =
			pthread_create(&jobs[i].thread, NULL, attend, &jobs[i]) == 0;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	for (int i = 0; i < p->size; i++)
		if (jobs[i].threaded)
			pthread_join(jobs[i].thread, NULL);
		else
			attend(&jobs[i]);
	pthread_mutex_destroy(&w.lock);
	for (size_t i = 0; i < n; i++) {
		if (w.errs[i] == POOL_LOST)
			worst = EOWNERDEAD;
		else if (w.errs[i] != 0 && worst == 0)
			worst = ECANCELED;
	}
	if (!errs)
		free(w.errs);
	free(jobs);
	if (worst == 0)
		return 0;
	errno = worst;
	return -1;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	pool_map(p, fn, item, 1, item_size, result, result_size, 1, NULL);
	return 0;
}
