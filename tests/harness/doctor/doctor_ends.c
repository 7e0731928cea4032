/* Descriptors: what they lead to, and who holds the other end. */
#include "doctor_parts.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- listing ----------------------------------------------------------- */

static bool read_end(struct end *e, pid_t pid, int fd)
{
	char path[64], info[1024], *at;
	unsigned flags = 0;
	struct stat st;
	ssize_t n;

	memset(e, 0, sizeof *e);
	e->fd = fd;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
	n = readlink(path, e->name, sizeof e->name - 1);
	if (n < 0 || stat(path, &st) != 0)
		return false;
	e->device = st.st_dev;
	e->inode = st.st_ino;
	e->mode = st.st_mode;
	if (read_small_file(info, sizeof info, "/proc/%d/fdinfo/%d", pid, fd)) {
		if ((at = strstr(info, "flags:")) != NULL)
			sscanf(at, "flags: %o", &flags);
		if ((at = strstr(info, "\nPid:")) != NULL)
			e->child = atoi(at + 5);
	}
	e->reads = (flags & O_ACCMODE) != O_WRONLY;
	e->writes = (flags & O_ACCMODE) != O_RDONLY;
	return true;
}

/* visit each descriptor of a process; false: it is not ours to see */
static bool each_end(pid_t pid, void (*visit)(const struct end *e, void *arg),
		     void *arg)
{
	char path[64];
	struct dirent *d;
	struct end e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	dir = opendir(path);
	if (dir == NULL)
		return false;
	while ((d = readdir(dir)) != NULL)
		if (isdigit((unsigned char)d->d_name[0]) &&
		    read_end(&e, pid, atoi(d->d_name)))
			visit(&e, arg);
	closedir(dir);
	return true;
}

struct listing {
	struct scene *scene;
	struct proc *of;
};

static void keep_end(const struct end *e, void *arg)
{
	struct listing *l = arg;
	struct scene *s = l->scene;

	if (s->n_ends == ENDS)
		return;
	s->ends[s->n_ends] = *e;
	s->ends[s->n_ends++].of = l->of;
}

void list_ends(struct scene *s, struct proc *p)
{
	each_end(p->pid, keep_end, &(struct listing){ s, p });
}

struct end *end_of(struct scene *s, const struct proc *p, int fd)
{
	for (int i = 0; i < s->n_ends; i++)
		if (s->ends[i].of == p && s->ends[i].fd == fd)
			return &s->ends[i];
	return NULL;
}

/* ---- who holds the other end? ------------------------------------------ */

struct search {
	dev_t device;
	ino_t inode;
	bool reads, writes;	/* which end is meant; both for a socket */
	bool found;
};

static void compare(const struct end *e, void *arg)
{
	struct search *x = arg;

	x->found |= e->device == x->device && e->inode == x->inode &&
		    ((x->reads && e->reads) || (x->writes && e->writes));
}

/* All the processes of the machine that we may see, for the case that none
 * of ours holds it. */
static bool tell_outsider(struct scene *s, struct thread *t,
			  struct search *x)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	char name[40];

	while (d != NULL && !x->found && (e = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)e->d_name[0]) ||
		    proc_of(s, atoi(e->d_name)) != NULL ||
		    !each_end(atoi(e->d_name), compare, x) || !x->found)
			continue;
		read_small_file(name, sizeof name, "/proc/%s/comm", e->d_name);
		name[strcspn(name, "\n")] = '\0';
		tell(t, "%s (pid %s), which is not one of these processes",
		     name, e->d_name);
	}
	if (d != NULL)
		closedir(d);
	t->outside |= x->found;
	return x->found;
}

/* One process once, by its first descriptor; the waiting one itself first. */
static void tell_holders(struct scene *s, struct thread *t, struct search *x)
{
	const struct proc *last = NULL;
	struct list l = { .of = t };

	for (int mine = 1; mine >= 0; mine--) {
		for (int i = 0; i < s->n_ends; i++) {
			struct end *e = &s->ends[i];

			x->found = false;
			compare(e, x);
			if (!x->found || e->of == last ||
			    (e->of == t->of) != mine)
				continue;
			last = e->of;
			may_free(s, t, e->of);
			t->holds_other_end |= mine;
			list_add(&l, "%s (descriptor %d)", mine ? "itself" :
				 e->of->role, e->fd);
		}
	}
	list_end(&l);
	x->found = false;
	if (l.n == 0 && !tell_outsider(s, t, x))
		tell(t, "nobody");
}

static void wait_for_pipe(struct scene *s, struct thread *t,
			  const struct end *e, bool reads)
{
	struct search x = { .device = e->device, .inode = e->inode,
			    .reads = !reads, .writes = reads };
	bool named = strncmp(e->name, "pipe:", 5) != 0;

	t->about = reads ? PIPE_EMPTY : PIPE_FULL;
	snprintf(t->object, sizeof t->object, "pipe %lu",
		 (unsigned long)e->inode);
	tell(t, "%s a pipe%s%s whose %s end is open in ",
	     reads ? "data from" : "room in", named ? " named " : "",
	     named ? e->name : "", reads ? "write" : "read");
	tell_holders(s, t, &x);
}

static void wait_for_socket(struct scene *s, struct thread *t,
			    const struct end *e, bool reads)
{
	ino_t peer = peer_of(e->inode);
	struct search x = { .device = e->device, .inode = peer,
			    .reads = true, .writes = true };

	t->about = reads ? SOCKET_EMPTY : SOCKET_FULL;
	tell(t, "%s a socket", reads ? "data from" : "room in");
	if (peer == 0) {
		t->outside = true;
		tell(t, "; the system does not tell who holds its other end");
		return;
	}
	snprintf(t->object, sizeof t->object, "socket %lu",
		 (unsigned long)(e->inode < peer ? e->inode : peer));
	tell(t, " whose other end is open in ");
	tell_holders(s, t, &x);
}

void wait_for_end(struct scene *s, struct thread *t, int fd, bool reads)
{
	const struct end *e = end_of(s, t->of, fd);
	struct proc *child;

	t->fd = fd;
	if (e == NULL) {
		tell(t, "descriptor %d, which the system does not show", fd);
		t->outside = true;
	} else if (S_ISFIFO(e->mode)) {
		wait_for_pipe(s, t, e, reads);
	} else if (S_ISSOCK(e->mode)) {
		wait_for_socket(s, t, e, reads);
	} else if (e->child > 0) {
		child = proc_of(s, e->child);
		t->about = CHILD;
		tell(t, "%s to end", child ? child->role : "a process");
		if (child != NULL)
			may_free(s, t, child);
	} else {
		t->about = S_ISCHR(e->mode) ? TERMINAL : NOT_KNOWN;
		t->outside = true;
		tell(t, "%s%s", strncmp(e->name, "/dev/pts", 8) == 0 && reads ?
		     "what somebody types at " : "", e->name);
	}
}
