/*
 * names - two programs that meet at a name: who listens, who connects, in a
 * folder of their own, and what is in it
 */
#ifndef NAMES_H
#define NAMES_H

#include <dirent.h>

#include "facts.h"

enum { LISTENER = 1, CONNECTOR, OTHER };	/* in pids, ready, heard */

/* ---- the folder ----------------------------------------------------- */

static char folder[4096];

static inline bool make_folder(struct facts *s, const char *name)
{
	const char *tmp = getenv("TMPDIR");

	facts = s;
	snprintf(folder, sizeof folder, "%s/doors-XXXXXX",
		 tmp != NULL ? tmp : "/tmp");
	if (mkdtemp(folder) == NULL)
		return false;
	snprintf(s->path, sizeof s->path, "%.3000s/%s", folder, name);
	return true;
}

/* Everything in the folder, each name between two slashes. */
static inline void list_names(char *out, size_t size)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	size_t used = 1;

	snprintf(out, size, "/");
	while (d != NULL && (e = readdir(d)) != NULL && used + 260 < size)
		if (e->d_name[0] != '.' ||
		    (strcmp(e->d_name, ".") && strcmp(e->d_name, "..")))
			used += (size_t)snprintf(out + used, size - used,
						 "%s/", e->d_name);
	if (d != NULL)
		closedir(d);
}

static inline void remove_folder(void)
{
	char name[8192];
	struct dirent *e;
	DIR *d = opendir(folder);

	while (d != NULL && (e = readdir(d)) != NULL) {
		snprintf(name, sizeof name, "%s/%s", folder, e->d_name);
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, "..") &&
		    unlink(name) != 0)
			rmdir(name);
	}
	if (d != NULL)
		closedir(d);
	rmdir(folder);
}

/* ---- the two -------------------------------------------------------- */

static inline void note_call(int i, long got)
{
	facts->heard[i] = (struct heard){ .got = got, .error = errno,
					  .called = true };
}

/* number[i]: how many descriptors it has left open after all. */
static inline bool do_listen(struct connection *c, int i)
{
	int before = open_descriptors();

	poison(c);
	errno = 0;
	note_call(i, connection_listen(c, facts->path));
	if (facts->heard[i].got < 0)
		facts->number[i] = open_descriptors() - before;
	return facts->heard[i].got == 0;
}

static inline bool do_connect(struct connection *c, int i)
{
	int before = open_descriptors();

	poison(c);
	errno = 0;
	note_call(i, connection_connect(c, facts->path));
	if (facts->heard[i].got < 0)
		facts->number[i] = open_descriptors() - before;
	return facts->heard[i].got == 0;
}

static inline bool nobody_there(int i)
{
	return facts->heard[i].got < 0 && facts->heard[i].error == ENOENT;
}

static inline pid_t program(int i, void (*run)(void))
{
	pid_t pid = fork();

	if (pid == 0) {
		be_interruptible();
		run();
		_exit(0);
	}
	return facts->pids[i] = pid;
}

/* A few words, to see that it is a connection. */
static inline void greet(struct connection *c, int me)
{
	int other = LISTENER + CONNECTOR - me;

	say(c, 10 + me, 10 + me, 50);
	hear(c, 10 + me, 10 + other, 100);
	connection_close(c);
}

#define WHY_NAMES "The names have done their service, and are still there."
#define WHY_DOORS "Each of you waits at another door for the other one."

static inline void expect_meeting(const struct facts *s)
{
	static const char *const of[] = { "", "listen", "connect" };

	for (int i = LISTENER; i <= CONNECTOR; i++)
		expect(s->heard[i].got == 0, "Two programs look for each "
		       "other, and one of them is told that it has failed.",
		       text("connection_%s returns 0", of[i]), "%s",
		       result_text(&s->heard[i]));
	for (int i = LISTENER; i <= CONNECTOR; i++)
		expect_heard(s, 10 + i, 50, "The two have met, and do not "
			     "understand each other.");
}

static inline void expect_no_names(const struct facts *s, const char *why)
{
	expect(strcmp(s->names, "/") == 0, why, "no name is left", "%s",
	       s->names);
}

#endif
