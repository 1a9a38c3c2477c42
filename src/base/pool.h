/* base/pool.h - persistent worker threads for the kernels.
 *
 * The caller is worker 0 and works too.  A run's units are dealt to the workers in snake order by load
 * (base/tasks.h); each worker takes its own one at a time, then those of the others.  So a worker which the
 * system has descheduled, or which is still asleep, holds up at most the one unit it is in: a busy neighbour
 * costs its share and no more.  Results must not depend on which worker runs a unit, nor when.  One thread may
 * call sg_pool_run or sg_pool_run_tasks at a time; tasks must not call them.
 */
#ifndef SG_BASE_POOL_H
#define SG_BASE_POOL_H

#include "base/error.h"
#include "base/tasks.h"

typedef struct sg_pool sg_pool;

/* One task.  `worker` is in [0, nworker): an index for scratch memory. */
typedef void sg_task_fn(void *arg, int task, int worker);

/* A pool of `nworker` workers (1 to 256), nworker-1 of them new threads. */
sg_status sg_pool_open(sg_pool **pool, int nworker, sg_error *err);
void sg_pool_close(sg_pool *pool);

int sg_pool_nworker(const sg_pool *pool);

/* Run fn(arg, task, worker) for every task in [0, ntask), all of the same load, and return when all are done. */
void sg_pool_run(sg_pool *pool, sg_task_fn *fn, void *arg, int ntask);

/* The same for the units of a table, which is ranked first unless it is dealt in runs. */
void sg_pool_run_tasks(sg_pool *pool, sg_task_fn *fn, void *arg, sg_tasks *tasks);

/* What runs have taken, for whoever wants an account (op/profile.h).  Busy is each worker's time from its first unit to the end of
 * its last; what is left of nworker * wall is waking, waiting for the last unit, and closing. */
typedef struct sg_pool_times {
    int64_t runs, wall_ns, busy_ns;
} sg_pool_times;

/* Add every later run to *times, until another call; NULL: stop.  Without, nothing is counted and no clock is read for it. */
void sg_pool_watch(sg_pool *pool, sg_pool_times *times);

#endif
