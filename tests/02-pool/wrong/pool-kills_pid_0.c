/*
 * misconception: L01-13 terminate sends a signal to worker 0: to its whole process group
 * rejected by:   a pool that lost a worker ends cleanly
 * message:       does not name one process
 */
#include "pool.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

struct sheet {
	pool_fn *fn;
	size_t n, is, rs, chunk, live;
	off_t items, results, errs;
};

struct mate {
	pid_t pid;
	int down[2];		/* the owner keeps both ends: no SIGPIPE ever */
	int up;
};

struct pool {
	int size, file;
	struct mate mates[];
};

static int pio(int fd, void *buf, size_t n, off_t at, int out)
{
	char *b = buf;
	ssize_t r;

	while (n > 0) {
		r = out ? pwrite(fd, b, n, at) : pread(fd, b, n, at);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -1;
		if (r == 0) {
			errno = EIO;
			return -1;
		}
		b += r;
		n -= r;
		at += r;
	}
	return 0;
}

static int byte(int fd, unsigned char *b, int out)
{
	ssize_t r;

	do
		r = out ? write(fd, b, 1) : read(fd, b, 1);
	while (r < 0 && errno == EINTR);
	return r == 1 ? 0 : -1;
}

/* my: which of the living ones I am, for this sheet */
static void work(int file, size_t my, pid_t owner)
{
	struct sheet s;
	char *item, *result;
	int err;

	if (pio(file, &s, sizeof s, 0, 0) < 0)
		_exit(1);
	item = malloc(s.is + 1);
	result = calloc(1, s.rs + 1);
	if (item == NULL || result == NULL)
		_exit(1);
	for (size_t c = my; c <= (s.n - 1) / s.chunk; c += s.live) {
		size_t i = c * s.chunk, k = s.n - i < s.chunk ? s.n - i : s.chunk;
		for (; k > 0; k--, i++) {
			if (getppid() != owner ||
			    pio(file, item, s.is, s.items + i * s.is, 0) < 0)
				_exit(1);
			err = s.fn(item, result);
			if (pio(file, result, s.rs, s.results + i * s.rs, 1) < 0 ||
			    pio(file, &err, sizeof err, s.errs + i * sizeof err, 1) < 0)
				_exit(1);
		}
	}
	free(item);
	free(result);
}

static _Noreturn void live(int file, int down, int up, pid_t owner)
{
	unsigned char b[2];

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != owner)
		_exit(1);
	for (;;) {
		if (byte(down, &b[0], 0) < 0 || byte(down, &b[1], 0) < 0)
			_exit(1);
		if (b[0] == 255 && b[1] == 255)
			_exit(0);
		work(file, b[0] * 256u + b[1], owner);
		if (byte(up, b, 1) < 0)
			_exit(1);
	}
}

static int temp(void)
{
	const char *dir = getenv("TMPDIR");
	char name[PATH_MAX];
	int fd;

	if (dir == NULL || *dir == 0)
		dir = "/tmp";
	snprintf(name, sizeof name, "%s/poolXXXXXX", dir);
	fd = mkostemp(name, O_CLOEXEC);
	if (fd >= 0)
		unlink(name);
	return fd;
}

static void clear(struct mate *m, int signal)
{
	if (signal != 0)
		kill(m->pid, signal);
	close(m->down[0]);
	close(m->down[1]);
	close(m->up);
	while (waitpid(m->pid, NULL, 0) < 0 && errno == EINTR)
		;
	m->pid = 0;
}

static int start(struct pool *p, struct mate *m)
{
	pid_t owner = getpid();
	int up[2], e;

	if (pipe2(m->down, O_CLOEXEC) < 0)
		return -1;
	if (pipe2(up, O_CLOEXEC) < 0) {
		e = errno;
		close(m->down[0]);
		close(m->down[1]);
		return errno = e, -1;
	}
	m->pid = fork();
	e = errno;
	if (m->pid == 0) {
		close(up[0]);
		live(p->file, m->down[0], up[1], owner);
	}
	close(up[1]);
	m->up = up[0];
	if (m->pid < 0) {
		m->pid = 0;
		close(up[0]);
		close(m->down[0]);
		close(m->down[1]);
		return errno = e, -1;
	}
	return 0;
}

static int end(struct pool *p, int signal)
{
	unsigned char quit[2] = { 255, 255 };

	for (int i = 0; i < p->size; i++)
		if (p->mates[i].pid > 0 && signal == 0)
			for (int k = 0; k < 2; k++)
				byte(p->mates[i].down[1], &quit[k], 1);
	for (int i = 0; i < p->size; i++)
		if (p->mates[i].pid > 0)
			clear(&p->mates[i], signal);
		else if (signal != 0)
			kill(p->mates[i].pid, signal);
	close(p->file);
	free(p);
	return 0;
}

struct pool *pool_create(int workers)
{
	struct pool *p;
	int e;

	if (workers < 1)
		return errno = EINVAL, NULL;
	if (workers >= 65535)
		return errno = EAGAIN, NULL;
	p = calloc(1, sizeof *p + workers * sizeof(struct mate));
	if (p == NULL)
		return NULL;
	p->file = temp();
	if (p->file < 0) {
		e = errno;
		free(p);
		return errno = e, NULL;
	}
	for (; p->size < workers; p->size++) {
		if (start(p, &p->mates[p->size]) < 0) {
			e = errno;
			end(p, SIGKILL);
			return errno = e, NULL;
		}
	}
	return p;
}

static int alive(const struct mate *m)
{
	siginfo_t si = { .si_pid = 0 };

	return m->pid > 0 &&
	       waitid(P_PID, m->pid, &si, WEXITED | WNOWAIT | WNOHANG) == 0 &&
	       si.si_pid == 0;
}

int pool_size(const struct pool *p)
{
	int n = 0;

	for (int i = 0; i < p->size; i++)
		n += alive(&p->mates[i]);
	return n;
}

int pool_map(struct pool *p, pool_fn *fn, const void *items, size_t n,
	     size_t item_size, void *results, size_t result_size,
	     size_t chunksize, int *errs)
{
	struct sheet s = { fn, n, item_size, result_size, chunksize, 0, 0, 0, 0 };
	size_t size, my = 0;
	int *back, e, lost = 0, failed = 0;
	unsigned char b[2];

	if (n == 0)
		return 0;
	if (__builtin_mul_overflow(n, item_size, &size) || size > SIZE_MAX / 8 ||
	    __builtin_mul_overflow(n, result_size, &size) || size > SIZE_MAX / 8 ||
	    n > SIZE_MAX / 64)
		return errno = ENOMEM, -1;
	s.items = 4096;
	s.errs = s.items + (n * item_size + 4095) / 4096 * 4096;
	s.results = s.errs + (n * sizeof(int) + 4095) / 4096 * 4096;
	size = s.results + n * result_size;
	back = malloc(n * sizeof *back);
	if (back == NULL)
		return -1;
	for (size_t i = 0; i < n; i++)
		back[i] = POOL_LOST;
	for (int i = 0; i < p->size; i++) {
		if (p->mates[i].pid > 0 && !alive(&p->mates[i]))
			clear(&p->mates[i], 0);
		s.live += p->mates[i].pid > 0;
	}
	if (s.chunk == 0)
		s.chunk = (n - 1) / (s.live + (s.live == 0)) + 1;
	if (s.chunk > n)
		s.chunk = n;
	do
		e = posix_fallocate(p->file, 0, size);
	while (e == EINTR);
	if (e != 0 || pio(p->file, &s, sizeof s, 0, 1) < 0 ||
	    pio(p->file, (void *)items, n * item_size, s.items, 1) < 0 ||
	    pio(p->file, back, n * sizeof *back, s.errs, 1) < 0) {
		free(back);
		return errno = e ? e : errno, -1;
	}
	for (int i = 0; i < p->size; i++) {
		if (p->mates[i].pid == 0)
			continue;
		b[0] = my / 256;
		b[1] = my++ % 256;
		byte(p->mates[i].down[1], &b[0], 1);
		byte(p->mates[i].down[1], &b[1], 1);
	}
	for (int i = 0; i < p->size; i++)
		if (p->mates[i].pid > 0 && byte(p->mates[i].up, b, 0) < 0)
			clear(&p->mates[i], 0);
	pio(p->file, back, n * sizeof *back, s.errs, 0);
	for (size_t i = 0; i < n; i++) {
		if (back[i] == 0 && pio(p->file, (char *)results + i * result_size,
					result_size, s.results + i * result_size, 0) < 0)
			back[i] = POOL_LOST;
		lost |= back[i] == POOL_LOST;
		failed |= back[i] != 0;
		if (errs != NULL)
			errs[i] = back[i];
	}
	free(back);
	if (failed)
		return errno = lost ? EOWNERDEAD : ECANCELED, -1;
	return 0;
}

int pool_apply(struct pool *p, pool_fn *fn, const void *item,
	       size_t item_size, void *result, size_t result_size)
{
	return pool_map(p, fn, item, 1, item_size, result, result_size, 1, NULL);
}

int pool_close(struct pool *p)
{
	return end(p, 0);
}

int pool_terminate(struct pool *p)
{
	return end(p, SIGKILL);
}
