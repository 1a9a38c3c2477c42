/* op/head.c - logits: every one of them from activations in one term (8 bits, or bfloat16), those that matter from two.
 *
 * Two terms of activations in the whole head (sg_linear_refine) are twice the arithmetic of what is a fifth to a third of a step of
 * many streams.  But a logit that lies far below the largest of its row is a token that is never drawn: its error changes nothing.
 * So all logits are computed with one term, and the second term is added where a tile of 16 has one within a window of the row's
 * largest: a hundred of ten thousand tiles.  Where more than one tile in 256 lies within it, the row is flat, a single logit matters less,
 * and a narrower window is taken.
 *
 *     row of x --+-- first term --> all logits --> largest of each tile --> window ---+
 *                +-- second term -----------------------------------------------------+--> added there
 *
 * What is added depends on the row alone, so its bits do not depend on what travels with it.
 */
#include "kernel/rows.h"
#include "op/context.h"

enum {
    SHARE = 256,  /* of the tiles, one in so many is sharpened at most, */
    NARROWER = 5, /* in a window of the first width, a half, a quarter, ...; else those alone that have the largest */
};

typedef struct head_pass {
    sg_ops *ops;
    const sg_linear *w;
    const sg_row_kernel *row;
    const float *x;
    float *out;
    size_t x_stride, out_stride, row_bytes;
    float window;
} head_pass;

/* What the first term of x leaves over, in the kernel's form. */
static void second_term(const head_pass *p, void *rest, void *row, float *left, const float *x)
{
    const sg_act act = p->w->kernel->act;
    sg_act_quantize(p->ops->isa, act, row, x, p->w->k);
    sg_act_leave_over(act, left, x, row, p->w->k);
    sg_act_quantize(p->ops->isa, act, rest, left, p->w->k);
}

static int count_above(const float *most, int n, float floor)
{
    int count = 0;
    for (int i = 0; i < n; i++)
        count += most[i] >= floor;
    return count;
}

/* From which largest logit on tiles are sharpened; most[ntile] are the tiles' largest. */
static float floor_of(const head_pass *p, const float *most, int ntile)
{
    float top = p->row->most(most, ntile), window = p->window;
    for (int i = 0; i < NARROWER; i++, window /= 2)
        if (count_above(most, ntile, top - window) <= ntile / SHARE + 1)
            return top - window;
    return top; /* flat to the end */
}

static void sharpen(const head_pass *p, float *out, const void *rest, const float *most, int ntile, float *more)
{
    const sg_linear *w = p->w;
    float floor = floor_of(p, most, ntile);
    for (int t = 0; t < ntile; t++) {
        int j = t * SG_TILE, n = w->n - j < SG_TILE ? w->n - j : SG_TILE;
        if (!(most[t] >= floor))
            continue;
        float *at = more - j; /* kernels write column j of a row at [j] */
        w->kernel->mul(&at, &rest, 1, w->packed, t, t + 1, w->n, w->k);
        p->row->add(out + j, more, n, 1);
    }
}

static void head_task(void *arg, int task, int worker)
{
    const head_pass *p = arg;
    float *more = sg_ops_worker(p->ops, worker);
    unsigned char *row = (unsigned char *)(more + SG_TILE), *rest = row + p->row_bytes;
    float *most = (float *)(void *)(rest + p->row_bytes); /* first it holds what is left over of x */
    float *out = p->out + (size_t)task * p->out_stride;
    int ntile = (p->w->n + SG_TILE - 1) / SG_TILE;
    second_term(p, rest, row, most, p->x + (size_t)task * p->x_stride);
    p->row->most_of_16(most, out, p->w->n);
    sharpen(p, out, rest, most, ntile, more);
}

void sg_op_head(sg_ops *ops, const sg_linear *w, float *out, size_t out_stride, const float *x, size_t x_stride, int nrow, float window)
{
    sg_linear once = *w;
    once.precise = false;
    sg_op_linear(ops, x, x_stride, nrow, &(sg_linear_job){&once, out, out_stride, false}, 1);
    if (!w->precise || nrow <= 0)
        return;
    head_pass p = {ops, w, sg_row_kernel_find(ops->isa), x, out, x_stride, out_stride, sg_act_row_bytes(w->kernel->act, w->k), window};
    sg_ops_run(ops, "head, sharper", 0, head_task, &p, nrow);
}
