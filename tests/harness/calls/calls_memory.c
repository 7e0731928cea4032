/* Memory. */
#include "calls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void *called_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from);
void *called_mmap(void *at, size_t n, int prot, int flags, int fd, off_t from)
{
	if (struck("mmap", "", true, HERE))
		return MAP_FAILED;
	return mmap(at, n, prot, flags, fd, from);
}

void *called_malloc(size_t n);
void *called_malloc(size_t n)
{
	return struck("malloc", "", true, HERE) ? NULL : malloc(n);
}

void *called_calloc(size_t n, size_t size);
void *called_calloc(size_t n, size_t size)
{
	return struck("calloc", "malloc", true, HERE) ? NULL : calloc(n, size);
}

void *called_realloc(void *p, size_t n);
void *called_realloc(void *p, size_t n)
{
	return struck("realloc", "malloc", true, HERE) ? NULL : realloc(p, n);
}

void *called_reallocarray(void *p, size_t n, size_t size);
void *called_reallocarray(void *p, size_t n, size_t size)
{
	if (struck("reallocarray", "malloc", true, HERE))
		return NULL;
	return reallocarray(p, n, size);
}

void *called_aligned_alloc(size_t alignment, size_t n);
void *called_aligned_alloc(size_t alignment, size_t n)
{
	if (struck("aligned_alloc", "malloc", true, HERE))
		return NULL;
	return aligned_alloc(alignment, n);
}

/* Returns the error and leaves errno alone. */
int called_posix_memalign(void **p, size_t alignment, size_t n);
int called_posix_memalign(void **p, size_t alignment, size_t n)
{
	int before = errno, error;

	error = struck("posix_memalign", "malloc", true, HERE)
		? errno : posix_memalign(p, alignment, n);
	errno = before;
	return error;
}

char *called_strdup(const char *s);
char *called_strdup(const char *s)
{
	if (struck("strdup", "malloc", true, HERE))
		return NULL;
	return strdup(s);
}

char *called_strndup(const char *s, size_t n);
char *called_strndup(const char *s, size_t n)
{
	if (struck("strndup", "malloc", true, HERE))
		return NULL;
	return strndup(s, n);
}

void *called_mremap(void *at, size_t old, size_t new, int flags, void *to);
void *called_mremap(void *at, size_t old, size_t new, int flags, void *to)
{
	if (struck("mremap", "mmap", true, HERE))
		return MAP_FAILED;
	return mremap(at, old, new, flags, to);
}
