/* base/limits.h - how much of the machine is ours: processors and memory, as containers and shells limit them. */
#ifndef SG_BASE_LIMITS_H
#define SG_BASE_LIMITS_H

#include <stdint.h>

typedef struct sg_limits {
    int cpus;                /* that this process may keep busy: affinity and the tightest quota (rounded up), at least 1 */
    double cpu_quota;        /* processors that the tightest quota gives; 0: there is none */
    uint64_t memory_bytes;   /* that may still be taken; 0: not known */
    uint64_t memory_limit;   /* what it is a rest of: a cgroup's limit, RLIMIT_AS or MemTotal */
    const char *memory_from; /* who says so, such as "MemAvailable" or "memory.max of a cgroup"; static */
} sg_limits;

/* Read them anew.  `root` stands before /proc and /sys/fs/cgroup: "" on a real machine, a folder in tests (affinity and
 * RLIMIT_AS are then left out).  What cannot be read is no limit.  Any thread. */
void sg_limits_read(sg_limits *limits, const char *root);

#endif
