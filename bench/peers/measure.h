/* bench/peers/measure.h - what the peers' small programs share.  PROGRAM is the name that their errors begin with. */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A count from 1 to 2^20 at the start of `text`. */
static long count(const char *text)
{
    char *end;
    long v = strtol(text, &end, 10);
    if (end == text || v < 1 || v > 1 << 20) {
        fprintf(stderr, "%s: a number from 1 to 1048576 was expected, not '%s'\n", PROGRAM, text);
        exit(2);
    }
    return v;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
