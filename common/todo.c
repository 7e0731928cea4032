#include "todo.h"

#include <stdio.h>
#include <unistd.h>

void todo_reached(int n, const char *file, int line)
{
	dprintf(STDERR_FILENO, "%s:%d: TODO %d is still to be written\n", file,
		line, n);
	_exit(TODO_STATUS);
}
