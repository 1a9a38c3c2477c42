/* base/pool.h - persistent worker threads for the kernels.
 *
 * The caller is worker 0 and works too.  A run hands out task numbers 0..ntask-1 one at a time from a
 * shared counter, so that a worker which the system has descheduled holds up at most the one task it is
 * in: a busy neighbour costs its share and no more.  Results must not depend on which worker runs a
 * task.  One thread may call sg_pool_run at a time; tasks must not call it.
 */
#ifndef SG_BASE_POOL_H
#define SG_BASE_POOL_H

#include "base/error.h"

typedef struct sg_pool sg_pool;

/* One task.  `worker` is in [0, nworker): an index for scratch memory. */
typedef void sg_task_fn(void *arg, int task, int worker);

/* A pool of `nworker` workers (1 to 256), nworker-1 of them new threads. */
sg_status sg_pool_open(sg_pool **pool, int nworker, sg_error *err);
void sg_pool_close(sg_pool *pool);

int sg_pool_nworker(const sg_pool *pool);

/* Run fn(arg, task, worker) for every task in [0, ntask) and return when all are done. */
void sg_pool_run(sg_pool *pool, sg_task_fn *fn, void *arg, int ntask);

#endif
