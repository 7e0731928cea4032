/* What a scenario prints. */
#include "internal.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

void capture_output(void)
{
	int fd = memfd_create("output", 0);

	fflush(stdout);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	setvbuf(stdout, NULL, _IOFBF, BUFSIZ);	/* was it a terminal before? */
}

int captured(char *text, size_t size)
{
	ssize_t n;

	fflush(NULL);
	if (text != NULL) {
		n = pread(STDERR_FILENO, text, size - 1, 0);
		text[n > 0 ? n : 0] = '\0';
	}
	return (int)lseek(STDERR_FILENO, 0, SEEK_END);
}

void expect_silence(int bytes)
{
	expect(bytes == 0, "A function of the lab speaks to its caller, by "
	       "what it returns, and to nobody else.", "nothing is printed",
	       "%d bytes on stdout or stderr", bytes);
}
