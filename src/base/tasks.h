/* base/tasks.h - a task table: the units of work of one parallel region and what each of them costs.
 *
 *     unit    0   1   2   3   4   5              units as an op numbers them, each with a load
 *     load    3   9   1   5   4   2
 *     rank    1   3   4   0   5   2              by load, heaviest first; equal loads by number
 *     deal    worker 0: 1 5 2     worker 1: 3 0     worker 2: 4 ...      in snake order: 0 1 2 2 1 0 0 1 2 ...
 *
 * A load is about how many nanoseconds one worker needs (op/load.h), so units of different kinds may stand in one
 * table.  Dealt in snake order, no two workers' sums differ by more than the heaviest unit: in each round the
 * difference is at most that of the round's first and last unit, and those differences are disjoint pieces of the
 * way from the heaviest to the lightest (XY-Serve, arXiv:2412.18106, section on task reordering).  What the loads
 * did not foresee, idle workers steal (base/pool.h).  Results must not depend on the dealing.
 *
 * Units that are read from memory one after another are better dealt in runs: each worker gets neighbours, cut where the sums
 * come out even, because a stream from memory that goes on costs nothing and one that begins costs up to a microsecond.
 *
 * A table's memory is made once; filling and ranking allocate nothing.  One thread fills it; workers read it.
 */
#ifndef SG_BASE_TASKS_H
#define SG_BASE_TASKS_H

#include "base/error.h"

typedef struct sg_tasks {
    int n, max;
    bool runs;     /* dealt in runs of neighbours, in the order of their numbers */
    uint64_t *key; /* [max] load and unit; after sg_tasks_rank heaviest first */
} sg_tasks;

/* Room for `max` units (1 to 2^24).  SG_E_NOMEM. */
sg_status sg_tasks_init(sg_tasks *t, int max, sg_error *err);
void sg_tasks_fini(sg_tasks *t);

static inline void sg_tasks_clear(sg_tasks *t)
{
    t->n = 0;
    t->runs = false;
}

/* Unit number t->n; there must be room.  Loads above 2^32 - 1 count as that. */
static inline void sg_tasks_add(sg_tasks *t, uint64_t load)
{
    SG_ASSERT(t->n < t->max);
    t->key[t->n] = (load > UINT32_MAX ? UINT32_MAX : load) << 32 | (UINT32_MAX - (uint32_t)t->n);
    t->n++;
}

/* Bring the units into the order of their loads. */
void sg_tasks_rank(sg_tasks *t);

/* The unit and its load at a rank. */
static inline int sg_tasks_unit(const sg_tasks *t, int rank) { return (int)(UINT32_MAX - (uint32_t)t->key[rank]); }
static inline uint32_t sg_tasks_load(const sg_tasks *t, int rank) { return (uint32_t)(t->key[rank] >> 32); }

/* For tables in runs: the first unit of each worker's run, and of what would be one more worker's (t->n): first[nworker + 1].  No sum is
 * more than the heaviest unit above the mean. */
void sg_tasks_cut(const sg_tasks *t, int nworker, int *first);

/* The rank of the i-th unit of worker `w` of `nworker` in snake order; at or above n: there is none. */
static inline int64_t sg_tasks_dealt(int nworker, int w, int i)
{
    return (int64_t)i * nworker + (i & 1 ? nworker - 1 - w : w);
}

#endif
