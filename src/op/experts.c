/* op/experts.c - mixture of experts: each row goes through its own few feed-forward networks.
 *
 *     assign   rows x k chosen experts        e: [2,0] [0,1] [2,1]
 *     order    the same, sorted by expert     expert 0: slots 1,2   expert 1: slots 3,5   expert 2: slots 0,4
 *     gather   x of each slot's row, in that order; gate, up, glu, down of one expert over its rows
 *     sum      out[row] = sum over its slots, in the order of id[row][0..k), of weight * result
 *
 * An expert's rows are contiguous after the gather, so the linear kernels see plain matrices.  The sum runs in the
 * order of the choice, not in the order of the experts, and no row's number enters the arithmetic: a row's result does
 * not depend on its company.
 */
#include "op/context.h"

#include <string.h>

/* Where things lie in the slot: floats first, then integers. */
typedef struct layout {
    size_t x, gate, up, down, order, first, bytes;
} layout;

static bool make_layout(layout *l, int nrow, int k, int dim, int nff, int nexpert)
{
    size_t slots;
    if (__builtin_mul_overflow((size_t)nrow, (size_t)k, &slots) || slots > (size_t)1 << 40)
        return false;
    size_t d = slots * (size_t)dim * sizeof(float), f = slots * (size_t)nff * sizeof(float),
           i = (slots + (size_t)nexpert + 2) * sizeof(int32_t);
    l->x = 0;
    l->down = l->x; /* the results take the place of the inputs, which gate and up have used */
    l->gate = d;
    l->up = l->gate + f;
    l->order = l->up + f;
    l->first = l->order + slots * sizeof(int32_t);
    l->bytes = l->order + i;
    return true;
}

sg_status sg_ops_reserve_experts(sg_ops *ops, int nrow, int k, int dim, int nff, int nexpert, sg_error *err)
{
    layout l;
    if (!make_layout(&l, nrow, k, dim, nff, nexpert))
        return sg_fail_nomem(err, "the experts' scratch memory");
    SG_TRY(sg_ops_grow(ops, SG_SCRATCH_EXPERTS, l.bytes, err));
    return sg_ops_reserve(ops, nrow * k, dim > nff ? dim : nff, err);
}

/* Count sort of the slots by expert: order[first[e] .. first[e+1]) are the slots of expert e, rising. */
static void sort_slots(int32_t *order, int32_t *first, const int32_t *id, int nslot, int nexpert)
{
    memset(first, 0, ((size_t)nexpert + 1) * sizeof *first);
    for (int s = 0; s < nslot; s++)
        first[id[s] + 1]++;
    for (int e = 0; e < nexpert; e++)
        first[e + 1] += first[e];
    for (int s = 0; s < nslot; s++)
        order[first[id[s]]++] = s;
    for (int e = nexpert; e > 0; e--)
        first[e] = first[e - 1];
    first[0] = 0;
}

typedef struct move_job {
    float *out;
    const float *in;
    const int32_t *order, *where;
    const float *weight;
    int n, dim, k, step;
    bool add;
} move_job;

static void gather_task(void *arg, int task, int worker)
{
    const move_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->n ? (task + 1) * j->step : j->n;
    for (int i = task * j->step; i < end; i++)
        memcpy(j->out + (size_t)i * (size_t)j->dim, j->in + (size_t)(j->order[i] / j->k) * (size_t)j->dim,
               (size_t)j->dim * sizeof(float));
}

static void sum_task(void *arg, int task, int worker)
{
    const move_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->n ? (task + 1) * j->step : j->n;
    for (int r = task * j->step; r < end; r++) {
        float *restrict out = j->out + (size_t)r * (size_t)j->dim;
        if (!j->add)
            memset(out, 0, (size_t)j->dim * sizeof *out);
        for (int i = 0; i < j->k; i++) {
            const float *restrict y = j->in + (size_t)j->where[r * j->k + i] * (size_t)j->dim;
            float w = j->weight[r * j->k + i];
            for (int d = 0; d < j->dim; d++)
                out[d] += w * y[d];
        }
    }
}

static void run_moves(sg_ops *ops, sg_task_fn *fn, move_job *j)
{
    j->step = sg_ops_row_step(ops, j->n, j->dim);
    sg_pool_run(ops->pool, fn, j, (j->n + j->step - 1) / j->step);
}

/* gate, up, glu, down of one expert over n gathered rows; the result replaces x. */
static void run_expert(sg_ops *ops, const sg_experts *e, int which, float *x, float *gate, float *up, int n)
{
    size_t dim = (size_t)e->dim, ff = (size_t)e->nff;
    sg_linear_job in[2] = {{&e->gate[which], gate, ff, false}, {&e->up[which], up, ff, false}};
    sg_op_linear(ops, x, dim, n, in, 2);
    sg_op_glu(ops, gate, ff, gate, ff, up, ff, n, e->nff, e->glu);
    sg_linear_job out = {&e->down[which], x, dim, false};
    sg_op_linear(ops, gate, ff, n, &out, 1);
}

void sg_op_experts(sg_ops *ops, float *out, const float *x, int nrow, const sg_experts *e, const int32_t *id,
                   const float *weight, int k, bool add)
{
    if (nrow <= 0)
        return;
    layout l;
    SG_ASSERT(make_layout(&l, nrow, k, e->dim, e->nff, e->nexpert));
    unsigned char *p = sg_ops_scratch(ops, SG_SCRATCH_EXPERTS, l.bytes);
    float *rows = (float *)p, *gate = (float *)(p + l.gate), *up = (float *)(p + l.up);
    int32_t *order = (int32_t *)(p + l.order), *first = (int32_t *)(p + l.first);
    int nslot = nrow * k;

    sort_slots(order, first, id, nslot, e->nexpert);
    move_job gather = {.out = rows, .in = x, .order = order, .n = nslot, .dim = e->dim, .k = k};
    run_moves(ops, gather_task, &gather);
    for (int i = 0; i < e->nexpert; i++) {
        size_t at = (size_t)first[i];
        int n = first[i + 1] - first[i];
        if (n)
            run_expert(ops, e, i, rows + at * (size_t)e->dim, gate + at * (size_t)e->nff, up + at * (size_t)e->nff, n);
    }
    /* Invert the order in place of it: where[slot] = gathered row.  gate is free now and large enough. */
    int32_t *where = (int32_t *)gate;
    for (int i = 0; i < nslot; i++)
        where[order[i]] = i;
    move_job sum = {
        .out = out, .in = rows, .where = where, .weight = weight, .n = nrow, .dim = e->dim, .k = k, .add = add};
    run_moves(ops, sum_task, &sum);
}
