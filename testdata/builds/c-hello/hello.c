#include <stdio.h>
#include <unistd.h>

int main(void)
{
	printf("%s, run by %u:%u\n", GREETING, (unsigned) getuid(), (unsigned) getgid());
	return 0;
}
