/*
 * The mappings through which memory is shared, and what has a name in
 * /dev/shm: it goes with the schedule.
 */
#include "calls.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <unistd.h>

/* ---- mappings ---------------------------------------------------------- */

void *explored_mmap(void *at, size_t n, int prot, int flags, int fd,
		    off_t from)
{
	void *p = mmap(at, n, prot, flags, fd, from);

	if (exploring() && p != MAP_FAILED &&
	    ((flags & MAP_TYPE) == MAP_SHARED ||
	     (flags & MAP_TYPE) == MAP_SHARED_VALIDATE))
		map_added(p, n, flags & MAP_ANONYMOUS ? -1 : fd, from);
	return p;
}

int explored_munmap(void *at, size_t n)
{
	if (exploring()) {
		settle_write();
		map_removed(at, n);
	}
	return munmap(at, n);
}

void *explored_shmat(int id, const void *at, int flags)
{
	void *p = shmat(id, at, flags);
	struct shmid_ds facts;

	if (exploring() && p != (void *)-1 && shmctl(id, IPC_STAT, &facts) == 0)
		map_added_as(p, facts.shm_segsz, (uint64_t)id);
	return p;
}

int explored_shmdt(const void *at)
{
	if (exploring()) {
		settle_write();
		map_removed((void *)(uintptr_t)at, 1);
	}
	return shmdt(at);
}

/* ---- names ------------------------------------------------------------- */

static void name_made(const char *prefix, const char *name)
{
	while (*name == '/')
		name++;
	if (exploring() && arena->n_names < 16)
		snprintf(arena->names[arena->n_names++], NAME, "%s%s", prefix,
			 name);
}

int explored_shm_open(const char *name, int flags, mode_t mode)
{
	int fd;

	if (exploring())
		point(nowhere, HERE);
	fd = shm_open(name, flags, mode);
	if (fd >= 0 && (flags & O_CREAT))
		name_made("", name);
	return fd;
}

int explored_shm_unlink(const char *name)
{
	if (exploring())
		point(nowhere, HERE);
	return shm_unlink(name);
}

sem_t *explored_sem_open(const char *name, int flags, ...)
{
	char path[64];
	unsigned value;
	va_list more;
	sem_t *s;
	int mode, fd;

	va_start(more, flags);
	mode = va_arg(more, int);
	value = va_arg(more, unsigned);
	va_end(more);
	if (exploring())
		point(nowhere, HERE);
	s = sem_open(name, flags, mode, value);
	if (!exploring() || s == SEM_FAILED)
		return s;
	name_made("sem.", name);
	snprintf(path, sizeof path, "/dev/shm/sem.%s",
		 name + strspn(name, "/"));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	map_added(s, sizeof *s, fd, 0);
	if (fd >= 0)
		close(fd);
	sync_at(place_of(s))->kind = "semaphore";
	sync_at(place_of(s))->shared = true;
	return s;
}

int explored_sem_unlink(const char *name)
{
	if (exploring())
		point(nowhere, HERE);
	return sem_unlink(name);
}
