/* twice - a text that waits in a buffer at fork is printed by both */
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

//region: twice
int main(void)
{
	printf("hello\n");
	fork();
	wait(NULL);
}
//endregion
