/*
 * Places. An address is turned into a place that is the same in every
 * process: which mapping, and how far into it. A file, pipe or socket is a
 * place by its inode.
 */
#include "arena.h"

#include <sys/stat.h>

enum {
	MAPS = 64,
	PRIVATE = 1 << 16,	/* objects from here on: of one process */
	FILES = 1 << 17,	/* from here on: files, pipes, sockets */
};

const struct place nowhere;

/* The shared mappings of this process; a child begins with the same. */
static struct map {
	const char *at;
	size_t size;
	struct place place;
} maps[MAPS];
static int n_maps;

/* The number of an object that is known by its inode, or a new one. */
static uint32_t *numbered(int fd, uint32_t fresh)
{
	struct stat s;

	if (fstat(fd, &s) != 0)
		return NULL;
	for (int i = 0; i < SYNCS; i++) {
		struct object *o = &arena->objects[i];

		if (o->number == 0)
			*o = (struct object){
				s.st_dev, s.st_ino,
				fresh ? fresh : FILES + (uint32_t)i };
		if (o->inode == s.st_ino && o->device == s.st_dev)
			return &o->number;
	}
	return NULL;
}

static uint32_t file_number(int fd)
{
	uint32_t *number = numbered(fd, 0);

	return number != NULL ? *number : 0;
}

/* What goes in at one end comes out at the other. */
void ends_joined(const int fds[2])
{
	numbered(fds[1], file_number(fds[0]));
}

struct place place_of_file(int fd)
{
	return (struct place){ file_number(fd), UINT64_MAX };
}

bool is_private(struct place place)
{
	return place.object >= PRIVATE && place.object < FILES;
}

void map_added(void *at, size_t size, int fd, off_t from)
{
	struct place place = { fd < 0 ? ++arena->next_object : file_number(fd),
			       fd < 0 ? 0 : (uint64_t)from };

	map_removed(at, size);
	if (n_maps < MAPS)
		maps[n_maps++] = (struct map){ at, size, place };
}

/* A segment of System V, by its number: processes may attach it each. */
void map_added_as(void *at, size_t size, uint64_t id)
{
	struct place place = { UINT32_MAX - 2, id << 40 };

	map_removed(at, size);
	if (n_maps < MAPS)
		maps[n_maps++] = (struct map){ at, size, place };
}

void map_removed(void *at, size_t size)
{
	const char *from = at;

	for (int i = n_maps - 1; i >= 0; i--)
		if (maps[i].at >= from && maps[i].at < from + size)
			maps[i] = maps[--n_maps];
}

static const struct map *map_of(const volatile void *address)
{
	const char *a = (const char *)address;

	for (int i = 0; i < n_maps; i++)
		if (a >= maps[i].at && a < maps[i].at + maps[i].size)
			return &maps[i];
	return NULL;
}

bool is_shared_memory(const volatile void *address)
{
	return map_of(address) != NULL;
}

struct place place_of(const volatile void *address)
{
	const struct map *m = map_of(address);

	if (m == NULL)
		return (struct place){ PRIVATE + (uint32_t)self()->process,
				       (uint64_t)(uintptr_t)address };
	return (struct place){ m->place.object,
		m->place.offset + (uint64_t)((const char *)address - m->at) };
}
