/* Streams of libc, with our read and write below them. */
#include "calls.h"

#include <stdio.h>

enum { STREAMS = 32 };

static struct { FILE *stream; int fd; } streams[STREAMS];
static int n_streams;

static ssize_t stream_reads(void *fd, char *buf, size_t n)
{
	return explored_read((int)(intptr_t)fd, buf, n);
}

/* 0 is its word for an error. */
static ssize_t stream_writes(void *fd, const char *buf, size_t n)
{
	ssize_t r = explored_write((int)(intptr_t)fd, buf, n);

	return r < 0 ? 0 : r;
}

static int stream_closes(void *fd)
{
	for (int i = 0; i < n_streams; i++)
		if (streams[i].fd == (int)(intptr_t)fd)
			streams[i] = streams[--n_streams];
	return explored_close((int)(intptr_t)fd);
}

FILE *explored_fdopen(int fd, const char *mode)
{
	cookie_io_functions_t ours = { .read = stream_reads,
		.write = stream_writes, .close = stream_closes };
	FILE *f;

	if (!exploring())
		return fdopen(fd, mode);
	if (n_streams == STREAMS)
		end_schedule(FOUND_BLIND);
	f = fopencookie((void *)(intptr_t)fd, mode, ours);
	if (f == NULL)
		return NULL;
	streams[n_streams].stream = f;
	streams[n_streams++].fd = fd;
	return f;
}

int explored_fileno(FILE *f)
{
	for (int i = 0; i < n_streams; i++)
		if (streams[i].stream == f)
			return streams[i].fd;
	return fileno(f);
}
