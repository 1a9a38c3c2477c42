/* op/rope.c - rotary position embedding (Su et al. 2021, arXiv:2104.09864).
 *
 * The angles of a step are computed once, in double, and used by all its layers that share the frequencies.  Two
 * conventions exist for which dimensions form a pair: i with i + rot/2 (Hugging Face, GGML's NEOX) and 2i with
 * 2i + 1 (the paper, GGML's NORM).  Both read the same table.
 */
#include "kernel/rows.h"
#include "op/context.h"

#include <math.h>

typedef struct table_job {
    const sg_rope_table *t;
    const int32_t *pos;
    const float *inv_freq;
    float factor;
    int nrow, step;
} table_job;

static void table_task(void *arg, int task, int worker)
{
    const table_job *j = arg;
    (void)worker;
    int half = j->t->rot / 2, end = (task + 1) * j->step < j->nrow ? (task + 1) * j->step : j->nrow;
    for (int r = task * j->step; r < end; r++)
        for (int i = 0; i < half; i++) {
            double angle = (double)j->pos[r] * (double)j->inv_freq[i], c, s;
            sincos(angle, &s, &c);
            j->t->cos[(size_t)r * (size_t)half + (size_t)i] = (float)c * j->factor;
            j->t->sin[(size_t)r * (size_t)half + (size_t)i] = (float)s * j->factor;
        }
}

void sg_op_rope_table(sg_ops *ops, sg_rope_table *t, const int32_t *pos, int nrow, const float *inv_freq, float factor)
{
    if (nrow <= 0)
        return;
    table_job j = {t, pos, inv_freq, factor, nrow, sg_ops_row_step(ops, nrow, 20 * t->rot)};
    sg_ops_run(ops, "rope table", 0, table_task, &j, (nrow + j.step - 1) / j.step);
}

typedef struct rope_job {
    const sg_row_kernel *kernel;
    float *x;
    size_t stride;
    int nrow, nhead, head_dim, offset, step;
    const sg_rope_table *t;
} rope_job;

static void rope_task(void *arg, int task, int worker)
{
    const rope_job *j = arg;
    (void)worker;
    int half = j->t->rot / 2, end = (task + 1) * j->step < j->nrow ? (task + 1) * j->step : j->nrow;
    for (int r = task * j->step; r < end; r++) {
        const float *c = j->t->cos + (size_t)r * (size_t)half, *s = j->t->sin + (size_t)r * (size_t)half;
        for (int h = 0; h < j->nhead; h++) {
            float *x = j->x + (size_t)r * j->stride + (size_t)h * (size_t)j->head_dim + j->offset;
            if (j->t->pairs)
                j->kernel->rotate_pairs(x, c, s, half);
            else
                j->kernel->rotate_halves(x, c, s, half);
        }
    }
}

void sg_op_rope(sg_ops *ops, float *x, size_t stride, int nrow, int nhead, int head_dim, int offset,
                const sg_rope_table *t)
{
    if (nrow <= 0)
        return;
    rope_job j = {sg_row_kernel_find(ops->isa),
                  x,
                  stride,
                  nrow,
                  nhead,
                  head_dim,
                  offset,
                  sg_ops_row_step(ops, nrow, 3 * nhead * t->rot),
                  t};
    sg_ops_run(ops, "rope", 0, rope_task, &j, (nrow + j.step - 1) / j.step);
}
