/* op/elementwise.c - norms, activations, additions: everything that handles a row by itself.
 *
 * Every function here is a loop over rows, cut into contiguous pieces for the workers; the loops over a row's
 * values are kernel/rows.h.
 */
#include "kernel/rows.h"
#include "op/context.h"

/* ---- loops over rows ----------------------------------------------------------- */

typedef struct rows_job {
    const sg_row_kernel *kernel;
    void (*row)(const struct rows_job *j, int r);
    int nrow, step, n, group, kind;
    float *out;
    const float *x, *y, *w, *b;
    size_t out_stride, x_stride, y_stride;
    float a;
} rows_job;

static void rows_task(void *arg, int task, int worker)
{
    const rows_job *j = arg;
    (void)worker;
    int end = (task + 1) * j->step < j->nrow ? (task + 1) * j->step : j->nrow;
    for (int r = task * j->step; r < end; r++)
        j->row(j, r);
}

/* `work` is about the number of simple operations in a row. */
static void run_rows(sg_ops *ops, const char *name, rows_job *j, int work)
{
    if (j->nrow <= 0)
        return;
    j->kernel = sg_row_kernel_find(ops->isa);
    j->step = sg_ops_row_step(ops, j->nrow, work);
    sg_ops_run(ops, name, 0, rows_task, j, (j->nrow + j->step - 1) / j->step);
}

/* ---- norms ------------------------------------------------------------------------ */

static void rms_norm_row(const rows_job *j, int r)
{
    for (int g = 0; g < j->group; g++) {
        const float *x = j->x + (size_t)r * j->x_stride + (size_t)g * (size_t)j->n;
        float *out = j->out + (size_t)r * j->out_stride + (size_t)g * (size_t)j->n;
        j->kernel->rms_norm(out, x, j->w, j->n, j->a);
    }
}

void sg_op_rms_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int group, int n, const float *w,
                    float eps)
{
    rows_job j = {.row = rms_norm_row,
                  .nrow = nrow,
                  .n = n,
                  .group = group,
                  .out = out,
                  .out_stride = stride,
                  .x = x,
                  .x_stride = stride,
                  .w = w,
                  .a = eps};
    run_rows(ops, "norm", &j, 2 * n * group);
}

static void layer_norm_row(const rows_job *j, int r)
{
    j->kernel->layer_norm(j->out + (size_t)r * j->out_stride, j->x + (size_t)r * j->x_stride, j->w, j->b, j->n, j->a);
}

void sg_op_layer_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int n, const float *w,
                      const float *b, float eps)
{
    rows_job j = {.row = layer_norm_row,
                  .nrow = nrow,
                  .n = n,
                  .out = out,
                  .out_stride = stride,
                  .x = x,
                  .x_stride = stride,
                  .w = w,
                  .b = b,
                  .a = eps};
    run_rows(ops, "norm", &j, 3 * n);
}

/* ---- activations -------------------------------------------------------------------- */

static void glu_row(const rows_job *j, int r)
{
    static const sg_curve curves[] = {
        [SG_GLU_SILU] = SG_CURVE_SILU, [SG_GLU_GELU_TANH] = SG_CURVE_GELU_TANH, [SG_GLU_GELU] = SG_CURVE_GELU};
    const float *g = j->x + (size_t)r * j->x_stride, *u = j->y + (size_t)r * j->y_stride;
    float *out = j->out + (size_t)r * j->out_stride;
    if (j->kind == SG_GLU_OAI)
        j->kernel->glu_oai(out, g, u, j->n);
    else
        j->kernel->glu(out, g, u, j->n, curves[j->kind]);
}

void sg_op_glu(sg_ops *ops, float *out, size_t out_stride, const float *gate, size_t gate_stride, const float *up,
               size_t up_stride, int nrow, int n, sg_glu kind)
{
    rows_job j = {.row = glu_row,
                  .nrow = nrow,
                  .n = n,
                  .kind = (int)kind,
                  .out = out,
                  .out_stride = out_stride,
                  .x = gate,
                  .x_stride = gate_stride,
                  .y = up,
                  .y_stride = up_stride};
    run_rows(ops, "glu", &j, 8 * n);
}

typedef struct glu_job {
    rows_job rows;
    const sg_linear *w[2];
    float *y[2];
    const float *x;
    size_t x_stride;
} glu_job;

/* The rows' columns that were multiplied apart are added here, where their values are read anyway. */
static void glu_of_row(const rows_job *rows, int r)
{
    const glu_job *j = (const glu_job *)(const void *)rows;
    for (int i = 0; i < 2; i++) {
        const float *column[SG_APART_MAX] = {0};
        float times[SG_APART_MAX] = {0}, *y = j->y[i] + (size_t)r * rows->x_stride;
        int n = sg_apart_terms(j->w[i], j->x + (size_t)r * j->x_stride, 0, column, times);
        if (n)
            rows->kernel->join(y, y, column, times, n, rows->n, false);
    }
    glu_row(rows, r);
}

void sg_op_glu_of(sg_ops *ops, const sg_linear *wgate, const sg_linear *wup, float *gate, float *up, size_t stride, const float *x,
                  size_t x_stride, int nrow, sg_glu kind)
{
    if (ops->survey || (!wgate->napart && !wup->napart)) { /* a survey's layers were called before they had any */
        sg_op_glu(ops, gate, stride, gate, stride, up, stride, nrow, wgate->n, kind);
        return;
    }
    glu_job j = {.rows = {.row = glu_of_row,
                          .nrow = nrow,
                          .n = wgate->n,
                          .kind = (int)kind,
                          .out = gate,
                          .out_stride = stride,
                          .x = gate,
                          .x_stride = stride,
                          .y = up,
                          .y_stride = stride},
                 .w = {wgate, wup},
                 .y = {gate, up},
                 .x = x,
                 .x_stride = x_stride};
    run_rows(ops, "glu", &j.rows, 8 * wgate->n);
}

static void unary_row(const rows_job *j, int r)
{
    static const sg_curve curves[] = {[SG_UNARY_GELU] = SG_CURVE_GELU,
                                      [SG_UNARY_GELU_TANH] = SG_CURVE_GELU_TANH,
                                      [SG_UNARY_SILU] = SG_CURVE_SILU,
                                      [SG_UNARY_TANH] = SG_CURVE_TANH,
                                      [SG_UNARY_RELU] = SG_CURVE_RELU};
    j->kernel->curve(j->out + (size_t)r * j->out_stride, j->n, curves[j->kind]);
}

void sg_op_unary(sg_ops *ops, float *x, size_t stride, int nrow, int n, sg_unary kind)
{
    rows_job j = {.row = unary_row, .nrow = nrow, .n = n, .kind = (int)kind, .out = x, .out_stride = stride};
    run_rows(ops, "unary", &j, 16 * n);
}

/* ---- additions and scales ------------------------------------------------------------ */

static void add_row(const rows_job *j, int r)
{
    j->kernel->add(j->out + (size_t)r * j->out_stride, j->x + (size_t)r * j->x_stride, j->n, j->a);
}

void sg_op_add(sg_ops *ops, float *y, const float *x, int nrow, int n, float scale)
{
    rows_job j = {.row = add_row,
                  .nrow = nrow,
                  .n = n,
                  .out = y,
                  .out_stride = (size_t)n,
                  .x = x,
                  .x_stride = (size_t)n,
                  .a = scale};
    run_rows(ops, "add", &j, n);
}

static void scale_row(const rows_job *j, int r) { j->kernel->scale(j->out + (size_t)r * j->out_stride, j->n, j->a); }

void sg_op_scale(sg_ops *ops, float *x, int nrow, int n, float scale)
{
    rows_job j = {.row = scale_row, .nrow = nrow, .n = n, .out = x, .out_stride = (size_t)n, .a = scale};
    run_rows(ops, "scale", &j, n);
}

static void softcap_row(const rows_job *j, int r)
{
    j->kernel->softcap(j->out + (size_t)r * j->out_stride, j->n, j->a);
}

void sg_op_softcap(sg_ops *ops, float *x, int nrow, int n, float cap)
{
    rows_job j = {.row = softcap_row, .nrow = nrow, .n = n, .out = x, .out_stride = (size_t)n, .a = cap};
    run_rows(ops, "softcap", &j, 8 * n);
}
