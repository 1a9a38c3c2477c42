/* op/experts.c - mixture of experts: each row goes through its own few feed-forward networks.
 *
 *     assign   rows x k chosen experts        e: [2,0] [0,1] [2,1]
 *     order    the same, sorted by expert     expert 0: slots 1,2   expert 1: slots 3,5   expert 2: slots 0,4
 *
 *     1 quantise   x, each row once for all of its experts
 *     2 gate, up   units (expert, rows, columns): both products and the activation between them  -> h [slot][nff]
 *     3 quantise   h, each slot
 *     4 down       units (expert, rows, columns)                                                 -> y [slot][dim]
 *     5 sum        out[row] = sum over its slots, in the order of id[row][0..k), of weight * y
 *
 * Each is one parallel region over all experts, through the task table: 8 experts of one decoding row are 2 regions that
 * wake workers, and not 8 times 4.  Activations are not moved: a unit hands the kernel pointers to the rows of x, which lie
 * where they were quantised, and rows of h and y lie in the order of the experts.  The sum runs in the order of the choice,
 * not of the experts, and no row's number enters the arithmetic: a row's result does not depend on its company.
 */
#include "kernel/rows.h"
#include "op/context.h"
#include "op/load.h"

#include <string.h>

enum {
    ROWS = 128,         /* of a unit */
    TILES = 32,         /* of a unit: ROWS * TILES * 16 floats are a quarter of the scratch */
    UNIT_BYTES = 65536, /* of packed weights at least, when there are few rows */
};

typedef struct unit {
    int32_t expert, row0, row1, tile0, tile1;
} unit;

/* Where things lie in the slot. */
typedef struct layout {
    size_t h, y, rows, order, where, first, units, bytes;
} layout;

static bool make_layout(layout *l, int nrow, int k, int dim, int nff, int nexpert)
{
    size_t slots;
    if (__builtin_mul_overflow((size_t)nrow, (size_t)k, &slots) || slots > (size_t)1 << 36)
        return false;
    l->h = 0;
    l->y = l->h + slots * (size_t)nff * sizeof(float);
    l->rows = l->y + slots * (size_t)dim * sizeof(float);
    l->rows = (l->rows + 63) & ~(size_t)63;
    l->order = l->rows + 2 * slots * sizeof(void *);
    l->where = l->order + slots * sizeof(int32_t);
    l->first = l->where + slots * sizeof(int32_t);
    l->units = l->first + ((size_t)nexpert + 2) * sizeof(int32_t);
    l->bytes = l->units + SG_TASKS_MAX * sizeof(unit);
    return true;
}

sg_status sg_ops_reserve_experts(sg_ops *ops, int nrow, int k, int dim, int nff, int nexpert, sg_error *err)
{
    layout l;
    if (!make_layout(&l, nrow, k, dim, nff, nexpert))
        return sg_fail_nomem(err, "the experts' scratch memory");
    SG_TRY(sg_ops_grow(ops, SG_SCRATCH_EXPERTS, l.bytes, err));
    return sg_ops_reserve(ops, nrow * (k > 2 ? k : 2), dim > nff ? dim : nff, err); /* gate and up may want two forms of x */
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

typedef struct pass {
    sg_ops *ops;
    const sg_row_kernel *kernel;
    const sg_experts *e;
    int k, nslot;
    const int32_t *first;
    const void **gate_rows, **up_rows; /* [nslot] in the order of the experts; then the rows of h */
    float *h, *y;
    unit *units;
} pass;

/* ---- activations ------------------------------------------------------------------- */

typedef struct act_job {
    sg_isa isa;
    sg_act act;
    unsigned char *to;
    const float *x;
    size_t row_bytes;
    int n, k, step;
} act_job;

static void act_task(void *arg, int task, int worker)
{
    const act_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->n ? (task + 1) * j->step : j->n;
    for (int r = task * j->step; r < end; r++)
        sg_act_quantize(j->isa, j->act, j->to + (size_t)r * j->row_bytes, j->x + (size_t)r * (size_t)j->k, j->k);
}

/* Rows x [n][k] in the form that layer w wants, at `to`; returns where they are (x itself when it wants floats) and how far
 * apart. */
static const unsigned char *quantize(sg_ops *ops, const sg_linear *w, unsigned char *to, const float *x, int n, size_t *stride)
{
    if (ops->exact || w->kernel->act == SG_ACT_F32) {
        *stride = (size_t)w->k * sizeof(float);
        return (const unsigned char *)x;
    }
    act_job j = {ops->isa, w->kernel->act, to, x, sg_act_row_bytes(w->kernel->act, w->k), n, w->k, sg_ops_row_step(ops, n, w->k)};
    sg_ops_run(ops, "quantise", 0, act_task, &j, (n + j.step - 1) / j.step);
    *stride = j.row_bytes;
    return to;
}

/* ---- products ------------------------------------------------------------------------ */

static void product(const pass *p, const sg_linear *w, float *const *out, const void *const *rows, int n, const unit *u, int j0, int j1)
{
    if (p->ops->exact)
        sg_linear_exact(out, (const float *const *)rows, n, w->stored, w->type, j0, j1, w->k);
    else
        w->kernel->mul(out, rows, n, w->packed, u->tile0, u->tile1, w->n, w->k);
    for (int m = 0; m < n && w->bias; m++)
        for (int j = j0; j < j1; j++)
            out[m][j] += w->bias[j];
}

static void glu(const pass *p, float *gate, const float *up, int n)
{
    static const sg_curve curves[] = {
        [SG_GLU_SILU] = SG_CURVE_SILU, [SG_GLU_GELU_TANH] = SG_CURVE_GELU_TANH, [SG_GLU_GELU] = SG_CURVE_GELU};
    if (p->e->glu == SG_GLU_OAI)
        p->kernel->glu_oai(gate, gate, up, n);
    else
        p->kernel->glu(gate, gate, up, n, curves[p->e->glu]);
}

static int last_column(const unit *u, int n) { return u->tile1 * SG_TILE < n ? u->tile1 * SG_TILE : n; }

/* h of the unit's rows and columns: gate straight there, up in the worker's scratch. */
static void in_task(void *arg, int task, int worker)
{
    const pass *p = arg;
    const unit *u = &p->units[task];
    const sg_experts *e = p->e;
    int n = u->row1 - u->row0, j0 = u->tile0 * SG_TILE, j1 = last_column(u, e->nff);
    float *scratch = sg_ops_worker(p->ops, worker), *gate[ROWS] = {0}, *up[ROWS] = {0};
    size_t width = (size_t)(u->tile1 - u->tile0) * SG_TILE;
    for (int m = 0; m < n; m++) {
        gate[m] = p->h + (size_t)(u->row0 + m) * (size_t)e->nff;
        up[m] = scratch + (size_t)m * width - j0;
    }
    product(p, &e->gate[u->expert], gate, p->gate_rows + u->row0, n, u, j0, j1);
    product(p, &e->up[u->expert], up, p->up_rows + u->row0, n, u, j0, j1);
    for (int m = 0; m < n; m++)
        glu(p, gate[m] + j0, up[m] + j0, j1 - j0);
}

static void out_task(void *arg, int task, int worker)
{
    const pass *p = arg;
    const unit *u = &p->units[task];
    int n = u->row1 - u->row0;
    float *out[ROWS] = {0};
    (void)worker;
    for (int m = 0; m < n; m++)
        out[m] = p->y + (size_t)(u->row0 + m) * (size_t)p->e->dim;
    product(p, &p->e->down[u->expert], out, p->gate_rows + u->row0, n, u, u->tile0 * SG_TILE, last_column(u, p->e->dim));
}

/* Tiles in a unit: some units for each worker, but not so few bytes that taking units costs. */
static int tiles_in_unit(const pass *p, const sg_linear *w, int nlayer, int nactive)
{
    int ntile = (w->n + SG_TILE - 1) / SG_TILE, step = ntile * nactive / (6 * p->ops->nworker);
    size_t tile = w->packed_bytes ? w->packed_bytes / (size_t)ntile * (size_t)nlayer : (size_t)UNIT_BYTES;
    int rows = p->nslot / nactive, least = (int)(UNIT_BYTES / (size_t)(rows < 1 ? 1 : rows < 16 ? rows : 16) / tile);
    step = step < least ? least : step;
    return step < 1 ? 1 : step > TILES ? TILES : step;
}

/* Units for all experts that have rows; layers: w [nexpert], nlayer of them alike are worked on together. */
static void run_units(pass *p, sg_task_fn *fn, const sg_linear *w, int nlayer)
{
    sg_tasks *t = &p->ops->tasks;
    size_t table_bytes = 0;
    int nactive = 0, nunit = 0, ntile = (w->n + SG_TILE - 1) / SG_TILE;
    for (int e = 0; e < p->e->nexpert; e++)
        nactive += p->first[e + 1] > p->first[e];
    int step = tiles_in_unit(p, w, nlayer, nactive);
    sg_tasks_clear(t);
    for (int e = 0; e < p->e->nexpert; e++)
        for (int row = p->first[e]; row < p->first[e + 1]; row += ROWS)
            for (int tile = 0; tile < ntile; tile += step) {
                int row1 = p->first[e + 1] - row < ROWS ? p->first[e + 1] : row + ROWS;
                unit u = {e, row, row1, tile, tile + step < ntile ? tile + step : ntile};
                int n = u.tile1 - u.tile0;
                size_t bytes = w->packed_bytes / (size_t)ntile * (size_t)(n * nlayer);
                if (nunit == SG_TASKS_MAX) { /* a table's worth at a time */
                    sg_ops_run_tasks(p->ops, nlayer == 2 ? "experts gate up" : "experts down", table_bytes, fn, p, t);
                    sg_tasks_clear(t);
                    nunit = 0;
                    table_bytes = 0;
                }
                table_bytes += bytes;
                p->units[nunit++] = u;
                sg_tasks_add(t, sg_load_linear(u.row1 - u.row0, bytes, n * SG_TILE * nlayer, w->k));
            }
    sg_ops_run_tasks(p->ops, nlayer == 2 ? "experts gate up" : "experts down", table_bytes, fn, p, t);
}

/* ---- the sum of a row's experts ---------------------------------------------------------- */

typedef struct sum_job {
    float *out;
    const float *y, *weight;
    const int32_t *where;
    int n, dim, k, step;
    bool add;
} sum_job;

static void sum_task(void *arg, int task, int worker)
{
    const sum_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->n ? (task + 1) * j->step : j->n;
    for (int r = task * j->step; r < end; r++) {
        float *restrict out = j->out + (size_t)r * (size_t)j->dim;
        if (!j->add)
            memset(out, 0, (size_t)j->dim * sizeof *out);
        for (int i = 0; i < j->k; i++) {
            const float *restrict y = j->y + (size_t)j->where[r * j->k + i] * (size_t)j->dim;
            float w = j->weight[r * j->k + i];
            for (int d = 0; d < j->dim; d++)
                out[d] += w * y[d];
        }
    }
}

void sg_op_experts(sg_ops *ops, float *out, const float *x, int nrow, const sg_experts *e, const int32_t *id,
                   const float *weight, int k, bool add)
{
    if (nrow <= 0)
        return;
    layout l;
    SG_ASSERT(make_layout(&l, nrow, k, e->dim, e->nff, e->nexpert));
    unsigned char *m = sg_ops_scratch(ops, SG_SCRATCH_EXPERTS, l.bytes), *act = sg_ops_scratch(ops, SG_SCRATCH_ACT, 0);
    int32_t *order = (int32_t *)(void *)(m + l.order), *first = (int32_t *)(void *)(m + l.first), *where = (int32_t *)(void *)(m + l.where);
    int nslot = nrow * k;
    pass p = {.ops = ops,
              .kernel = sg_row_kernel_find(ops->isa),
              .e = e,
              .k = k,
              .nslot = nslot,
              .first = first,
              .gate_rows = (const void **)(void *)(m + l.rows),
              .h = (float *)(void *)(m + l.h),
              .y = (float *)(void *)(m + l.y),
              .units = (unit *)(void *)(m + l.units)};
    p.up_rows = p.gate_rows + nslot;
    sort_slots(order, first, id, nslot, e->nexpert);

    size_t gate_stride, up_stride, stride;
    const unsigned char *gate_x = quantize(ops, e->gate, act, x, nrow, &gate_stride), *up_x = gate_x;
    up_stride = gate_stride;
    if (!ops->exact && e->up->kernel->act != e->gate->kernel->act)
        up_x = quantize(ops, e->up, act + (gate_x == act ? (size_t)nrow * gate_stride : 0), x, nrow, &up_stride);
    for (int i = 0; i < nslot; i++) {
        where[order[i]] = i;
        p.gate_rows[i] = gate_x + (size_t)(order[i] / k) * gate_stride;
        p.up_rows[i] = up_x + (size_t)(order[i] / k) * up_stride;
    }
    run_units(&p, in_task, e->gate, 2);

    const unsigned char *h = quantize(ops, e->down, act, p.h, nslot, &stride);
    for (int i = 0; i < nslot; i++)
        p.gate_rows[i] = h + (size_t)i * stride;
    run_units(&p, out_task, e->down, 1);

    sum_job sum = {out, p.y, weight, where, nrow, e->dim, k, sg_ops_row_step(ops, nrow, e->dim * k), add};
    sg_ops_run(ops, "experts sum", 0, sum_task, &sum, (nrow + sum.step - 1) / sum.step);
}
