/*
 * What students write at two in the morning, for the harness's own tests.
 * Compiled and changed like a student's file. The test that uses a function
 * stands beside its name in selftest.c.
 */
#include "bad.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

void bad_keeps_the_write_end(void)
{
	int fds[2];
	char c;

	if (pipe(fds) != 0)
		return;
	if (read(fds[0], &c, 1) != 0)
		return;
	close(fds[0]);
	close(fds[1]);
}

void bad_falls_out_of_the_child(void)
{
	if (fork() != 0)
		wait(NULL);
}

void bad_leaves_by_exit(void)
{
	exit(0);
}

void bad_kills_everybody(void)
{
	kill(-1, SIGKILL);
}

void bad_closes_everything(void)
{
	for (int fd = 0; fd < 256; fd++)
		close(fd);
}

void bad_crashes(void)
{
	int *volatile nowhere = NULL;

	*nowhere = 1;	/* cppcheck-suppress nullPointer */
}

void bad_spins(void)
{
	for (;;)
		;
}

void bad_forks_without_end(void)
{
	for (;;)
		if (fork() == 0)
			pause();
}

void bad_forgets_its_child(void)
{
	int fds[2];
	char c;

	if (pipe(fds) != 0)
		return;
	if (fork() == 0)
		_exit(0);
	close(fds[1]);
	(void)!read(fds[0], &c, 1);	/* end of file: the child has ended */
	close(fds[0]);
}

void bad_leaves_a_descriptor(void)
{
	(void)!open("/dev/null", O_RDONLY);
}

void bad_leaves_shared_memory(void)
{
	close(shm_open("/forklab-selftest", O_CREAT | O_RDWR, 0600));
}

void bad_leaves_a_running_child(void)
{
	if (fork() == 0)
		pause();
}

int bad_reads_once(int fd, char *buf, int n)
{
	return read(fd, buf, n);
}

int bad_reads_all(int fd, char *buf, int n)
{
	int done = 0, r;

	while (done < n) {
		r = read(fd, buf + done, n - done);
		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return -1;
		done += r;
	}
	return done;
}

int bad_forks(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	if (pid > 0)
		waitpid(pid, NULL, 0);
	return pid < 0 ? -1 : 0;
}

void bad_prints_a_pass(void)
{
	for (int fd = 1; fd < 64; fd++)
		dprintf(fd, "selftest\t?\tfunctions\tall\tpass\t\t\t\t\t0\n");
	_exit(0);
}
