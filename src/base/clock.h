/* base/clock.h - monotonic time in microseconds and nanoseconds.  Any thread. */
#ifndef SG_BASE_CLOCK_H
#define SG_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t sg_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline int64_t sg_clock_us(void) { return sg_clock_ns() / 1000; }

#endif
