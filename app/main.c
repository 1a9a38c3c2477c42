#include "segue.h"

#include <stdio.h>

int main(void)
{
    printf("segue %s\n", SG_VERSION);
    return 0;
}
