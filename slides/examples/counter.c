/*
 * counter - four processes add to one number, and nothing keeps them apart
 *
 * It has a race. It nearly always prints the right total all the same:
 *     gcc -O0 -o counter counter.c; for i in $(seq 40); do ./counter; done
 */
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

//region: counter
static void add(long *counter)
{
	for (int i = 0; i < 100000; i++)
		(*counter)++;
}

int main(void)
{
	long *counter = mmap(NULL, sizeof *counter, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	for (int i = 0; i < 4; i++)
		if (fork() == 0) {
			add(counter);
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	printf("%ld\n", *counter);
}
//endregion
