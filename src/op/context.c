/* op/context.c - the context of the operations: worker pool, arithmetic path, scratch memory.
 *
 * Operations return nothing, so that a forward pass reads without error handling.  The price is that they
 * must not need memory: everything is sized by the reserve calls, which can fail, before the first op of a
 * step runs.
 */
#include "op/context.h"

#include "base/heap.h"

#include <string.h>

sg_status sg_ops_open(sg_ops **out, const sg_ops_options *options, sg_error *err)
{
    sg_ops *ops = sg_calloc(1, sizeof *ops);
    if (!ops)
        return sg_fail_nomem(err, "the operations");
    ops->nworker = options->pool ? sg_pool_nworker(options->pool) : options->nthread ? options->nthread : sg_cpu_count();
    ops->shared = options->pool != NULL;
    ops->pool = options->pool;
    ops->exact = options->exact;
    ops->isa = options->isa;
    sg_status st = ops->shared ? SG_OK : sg_pool_open(&ops->pool, ops->nworker, err);
    if (st == SG_OK) {
        ops->worker = sg_alloc_aligned(64, (size_t)ops->nworker * SG_WORKER_BYTES);
        if (!ops->worker)
            st = sg_fail_nomem(err, "the workers' scratch memory");
    }
    if (st == SG_OK)
        st = sg_tasks_init(&ops->tasks, SG_TASKS_MAX, err);
    if (st == SG_OK)
        st = sg_ops_grow(ops, SG_SCRATCH_PIECES, sg_linear_piece_bytes(), err);
    if (st == SG_OK)
        st = sg_ops_grow(ops, SG_SCRATCH_ATTENTION, sg_attention_plan_bytes(), err);
    if (st != SG_OK) {
        sg_ops_close(ops);
        return st;
    }
    *out = ops;
    return SG_OK;
}

void sg_ops_close(sg_ops *ops)
{
    if (!ops)
        return;
    if (!ops->shared)
        sg_pool_close(ops->pool);
    if (ops->worker)
        sg_free_aligned(ops->worker, (size_t)ops->nworker * SG_WORKER_BYTES);
    for (int i = 0; i < SG_SCRATCH_END; i++)
        if (ops->slot[i].p)
            sg_free_aligned(ops->slot[i].p, ops->slot[i].bytes);
    sg_tasks_fini(&ops->tasks);
    sg_free(ops);
}

sg_pool *sg_ops_pool(sg_ops *ops) { return ops->pool; }
bool sg_ops_exact(const sg_ops *ops) { return ops->exact; }
sg_isa sg_ops_isa(const sg_ops *ops) { return ops->isa; }

sg_status sg_ops_grow(sg_ops *ops, sg_scratch_slot slot, size_t bytes, sg_error *err)
{
    sg_scratch *s = &ops->slot[slot];
    if (bytes <= s->bytes)
        return SG_OK;
    void *p = sg_alloc_aligned(64, bytes);
    if (!p)
        return sg_fail_nomem(err, "the operations' scratch memory");
    if (s->p)
        sg_free_aligned(s->p, s->bytes);
    *s = (sg_scratch){p, bytes};
    return SG_OK;
}

void *sg_ops_scratch(sg_ops *ops, sg_scratch_slot slot, size_t bytes)
{
    SG_ASSERT(bytes <= ops->slot[slot].bytes);
    return ops->slot[slot].p;
}

/* The activation slot holds nrow rows of `width` values in the widest form (float32, rounded up to 64 bytes, with room
 * for what a form keeps beside the values) and one pointer for each row in and for each row out of up to 8 jobs. */
sg_status sg_ops_reserve(sg_ops *ops, int nrow, int width, sg_error *err)
{
    size_t n = (size_t)(nrow > 0 ? nrow : 1), w = (size_t)(width > 0 ? width : 1);
    size_t row = 0;
    for (int act = 0; act < SG_ACT_END; act++) {
        size_t bytes =
            sg_act_row_bytes((sg_act)act, (int)w) * (act == SG_ACT_F32 ? 1 : 2); /* refined layers: two terms */
        row = bytes > row ? bytes : row;
    }
    size_t act;
    if (__builtin_mul_overflow(n, row + 9 * sizeof(void *) + 64, &act) || act > SIZE_MAX - 4096)
        return sg_fail_nomem(err, "the operations' scratch memory");
    return sg_ops_grow(ops, SG_SCRATCH_ACT, act + 4096, err);
}

/* ---- the account ------------------------------------------------------------------ */

void sg_ops_profile(sg_ops *ops, sg_profile *profile) { ops->profile = profile; }

static sg_profile_row *row_of(sg_profile *p, const char *name)
{
    int i = 0;
    while (i < p->nrow && strcmp(p->row[i].name, name) != 0)
        i++;
    if (i == SG_PROFILE_ROWS)
        return &p->row[i - 1];
    if (i == p->nrow)
        p->row[p->nrow++] = (sg_profile_row){.name = name};
    return &p->row[i];
}

static void run_counted(sg_ops *ops, const char *name, size_t bytes, sg_task_fn *fn, void *arg, int ntask, sg_tasks *tasks)
{
    sg_pool_times t = {0};
    sg_profile_row *row = row_of(ops->profile, name);
    sg_pool_watch(ops->pool, &t);
    if (tasks)
        sg_pool_run_tasks(ops->pool, fn, arg, tasks);
    else
        sg_pool_run(ops->pool, fn, arg, ntask);
    sg_pool_watch(ops->pool, NULL);
    row->calls++;
    row->wall_ns += t.wall_ns;
    row->busy_ns += t.busy_ns;
    row->bytes += (int64_t)bytes;
}

void sg_ops_run(sg_ops *ops, const char *name, size_t bytes, sg_task_fn *fn, void *arg, int ntask)
{
    if (ops->profile)
        run_counted(ops, name, bytes, fn, arg, ntask, NULL);
    else
        sg_pool_run(ops->pool, fn, arg, ntask);
}

void sg_ops_run_tasks(sg_ops *ops, const char *name, size_t bytes, sg_task_fn *fn, void *arg, sg_tasks *tasks)
{
    if (ops->profile)
        run_counted(ops, name, bytes, fn, arg, 0, tasks);
    else
        sg_pool_run_tasks(ops->pool, fn, arg, tasks);
}

int sg_ops_row_step(const sg_ops *ops, int nrow, int work)
{
    enum { WAKE = 16384 };
    int64_t total = (int64_t)nrow * (work > 0 ? work : 1);
    int64_t ntask = total / WAKE + 1, most = (int64_t)ops->nworker * 4;
    if (ops->nworker == 1)
        ntask = 1;
    ntask = ntask > most ? most : ntask;
    ntask = ntask > nrow ? nrow : ntask;
    return ntask > 0 ? (int)((nrow + ntask - 1) / ntask) : 1;
}

typedef struct each_job {
    void (*fn)(void *arg, int r);
    void *arg;
    int nrow, step;
} each_job;

static void each_task(void *arg, int task, int worker)
{
    const each_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->nrow ? (task + 1) * j->step : j->nrow;
    for (int r = task * j->step; r < end; r++)
        j->fn(j->arg, r);
}

void sg_op_each_row(sg_ops *ops, int nrow, int work, void (*fn)(void *arg, int r), void *arg)
{
    if (nrow <= 0)
        return;
    each_job j = {fn, arg, nrow, sg_ops_row_step(ops, nrow, work)};
    sg_ops_run(ops, "rows", 0, each_task, &j, (nrow + j.step - 1) / j.step);
}
