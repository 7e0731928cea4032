/*
 * memory - what workers cost that do nothing: a part of bench.c, in a file of
 * its own because it is a lesson of its own
 *
 * The parent has some data, its workers inherit it. They are
 *
 *	threads   of one process
 *	idle      processes that wait, and touch nothing
 *	readers   processes that read the data once, and then wait
 *	writers   processes that write something to each page of it
 *
 * After fork, parent and child have the same pages, until one of them writes
 * to one: then it gets a copy. Three numbers that are easily mixed up, each
 * for one worker:
 *
 *	resident      all pages that it has in memory (Rss). That is what top
 *	              shows. Pages that several have are counted by each.
 *	added         by how much the memory of all has grown, parent and
 *	              workers together, where a page of several is counted
 *	              once (the sum of their Pss, its growth divided by the
 *	              number of workers). That is what a worker costs.
 *	page tables   where the system notes which page is where: not in any of
 *	              the numbers above, and different for each process.
 *
 * See: proc(5) on /proc/PID/smaps_rollup, fork(2)
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fl.h"

/* Of one process, in KiB; or of all together. */
struct memory_use {
	long resident, proportional, page_tables;
};

enum memory_kind { MEMORY_THREADS, MEMORY_IDLE, MEMORY_READERS,
		   MEMORY_WRITERS, MEMORY_KINDS };

static const char *const memory_kinds[] = { "threads", "idle", "readers",
					    "writers" };

/* The crew of one measurement. */
struct memory_crew {
	enum memory_kind kind;
	int workers;
	char *data;
	size_t size;
	int ready[2], leave[2];		/* pipes: "I am ready", "you may go" */
	int started;
	pid_t *pids;
	pthread_t *threads;
};

/* The number behind a word at the beginning of a line of /proc/PID/file. */
static long memory_number(pid_t pid, const char *file, const char *word)
{
	char name[64], line[256];
	long number = -1;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/%s", (int)pid, file);
	f = fopen(name, "re");
	if (f == NULL)
		fl_die("cannot read %s", name);
	while (number < 0 && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, word, strlen(word)) == 0)
			number = atol(line + strlen(word));
	fclose(f);
	errno = 0;
	if (number < 0)
		fl_die("%s does not tell %s", name, word);
	return number;
}

static void memory_add(struct memory_use *sum, pid_t pid)
{
	sum->resident += memory_number(pid, "smaps_rollup", "Rss:");
	sum->proportional += memory_number(pid, "smaps_rollup", "Pss:");
	sum->page_tables += memory_number(pid, "status", "VmPTE:");
}

/* What a worker does before it is ready. */
static void memory_touch(const struct memory_crew *c)
{
	const size_t page = 4096;
	volatile char *p = c->data;	/* or the compiler left it out */

	for (size_t i = 0; i < c->size; i += page) {
		if (c->kind == MEMORY_READERS)
			(void)p[i];
		else if (c->kind == MEMORY_WRITERS)
			p[i] = 1;
	}
}

/* Say "ready", and wait for the end of file that means "go". */
static void *memory_wait(void *arg)
{
	const struct memory_crew *c = arg;
	char byte = 0;

	memory_touch(c);
	while (write(c->ready[1], &byte, 1) < 0 && errno == EINTR)
		;
	while (read(c->leave[0], &byte, 1) < 0 && errno == EINTR)
		;
	return NULL;
}

static bool memory_start_one(struct memory_crew *c, pid_t parent)
{
	pid_t pid;

	if (c->kind == MEMORY_THREADS) {
		errno = pthread_create(&c->threads[c->started], NULL,
				       memory_wait, c);
		return errno == 0;
	}
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);	/* Linux */
		if (getppid() != parent)
			_exit(1);
		close(c->leave[1]);	/* or it would never come to an end */
		memory_wait(c);
		_exit(0);
	}
	c->pids[c->started] = pid;
	return pid > 0;
}

/*
 * Let all go that were started, and collect them. False, with the error, if
 * they were not all there.
 */
static bool memory_dismiss(struct memory_crew *c, int error)
{
	int status;

	close(c->leave[1]);
	for (int i = 0; i < c->started; i++) {
		if (c->kind == MEMORY_THREADS) {
			pthread_join(c->threads[i], NULL);
			continue;
		}
		while (waitpid(c->pids[i], &status, 0) < 0 && errno == EINTR)
			;
		if (status != 0 && error == 0)
			error = EOWNERDEAD;
	}
	close(c->leave[0]);
	errno = error;
	return error == 0;
}

/* Start them all, and wait until they are ready: 0 or an error. */
static int memory_start(struct memory_crew *c)
{
	pid_t parent = getpid();
	int error = 0;
	ssize_t got;
	char byte;

	for (c->started = 0; c->started < c->workers; c->started++) {
		if (!memory_start_one(c, parent)) {
			error = errno;
			break;
		}
	}
	if (c->kind != MEMORY_THREADS)
		close(c->ready[1]);	/* or we waited for the dead */
	for (int i = 0; i < c->workers && error == 0; i++) {
		do
			got = read(c->ready[0], &byte, 1);
		while (got < 0 && errno == EINTR);
		if (got != 1)
			error = EOWNERDEAD;
	}
	if (c->kind == MEMORY_THREADS)
		close(c->ready[1]);
	return error;
}

/* What they all use, parent and workers, while the crew is waiting. */
static struct memory_use memory_of_all(const struct memory_crew *c)
{
	struct memory_use all = { 0 };

	memory_add(&all, getpid());
	if (c->kind != MEMORY_THREADS)
		for (int i = 0; i < c->started; i++)
			memory_add(&all, c->pids[i]);
	return all;
}

static void memory_print(const struct memory_crew *c,
			 const struct memory_use *before,
			 const struct memory_use *all, bool csv)
{
	double w = c->workers;
	double added = (double)(all->proportional - before->proportional) / w;
	double tables = (double)(all->page_tables - before->page_tables) / w;
	double resident = c->kind == MEMORY_THREADS ? (double)all->resident :
			  (double)(all->resident - before->resident) / w;

	if (csv)
		fl_line("%s,%d,%zu,%.1f,%.1f,%.1f", memory_kinds[c->kind],
			c->workers, c->size / 1024, resident, added, tables);
	else
		fl_line("%-10s %7d %12ld %12ld %12ld",
			memory_kinds[c->kind], c->workers, lround(resident),
			lround(added), lround(tables));
}

static void memory_measure(struct memory_crew *c, bool csv)
{
	struct memory_use before = { 0 }, all = { 0 };
	int error;

	if (pipe(c->ready) != 0 || pipe(c->leave) != 0)
		fl_die("cannot make a pipe");
	memory_add(&before, getpid());
	error = memory_start(c);
	if (error == 0)
		all = memory_of_all(c);
	close(c->ready[0]);
	if (!memory_dismiss(c, error))
		fl_die("cannot run %d %s", c->workers,
		       c->kind == MEMORY_THREADS ? "threads" : "processes");
	memory_print(c, &before, &all, csv);
}

/* Measure all kinds, and print a row for each; a head before the first. */
static void memory_tell(int workers, size_t size, bool csv, bool first)
{
	struct memory_crew c = { .workers = workers, .size = size };

	c.data = malloc(size + 1);
	c.pids = calloc((size_t)workers, sizeof *c.pids);
	c.threads = calloc((size_t)workers, sizeof *c.threads);
	if (c.data == NULL || c.pids == NULL || c.threads == NULL)
		fl_die("no memory for %zu MiB", size >> 20);
	memset(c.data, 1, size + 1);
	if (first && csv)
		fl_line("mode,workers,data_kib,resident_kib,added_kib,"
			"page_tables_kib");
	if (first && !csv) {
		fl_line("KiB for each worker, of a parent with %zu MiB of data",
			size >> 20);
		fl_line("%-10s %7s %12s %12s %12s", "mode", "workers",
			"resident", "added", "page tables");
	}
	for (c.kind = 0; c.kind < MEMORY_KINDS; c.kind++)
		memory_measure(&c, csv);
	free(c.threads);
	free(c.pids);
	free(c.data);
}

#endif
