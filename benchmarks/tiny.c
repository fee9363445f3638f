/* The smallest sensor there can be: what it costs to run is what it costs to run anything. */
#include <unistd.h>

int main(void)
{
    return write(1, "1\n", 2) != 2;
}
