/* op/elementwise.c - norms, activations, additions: everything that handles a row by itself.
 *
 * Every function here is a loop over rows, cut into contiguous pieces for the workers.  Sums over a row (norms)
 * run in 16 interleaved partial sums that are added pairwise: the order depends on the row's length only, and
 * compilers make vector code of it without being allowed to reorder anything.
 */
#include "op/context.h"
#include "op/math.h"

enum { LANES = 16 };

static float fold(const float *acc)
{
    float s[LANES];
    for (int i = 0; i < LANES; i++)
        s[i] = acc[i];
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++)
            s[i] += s[i + half];
    return s[0];
}

static float sum(const float *x, int n)
{
    float acc[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] += x[i + l];
    for (; i < n; i++)
        acc[i % LANES] += x[i];
    return fold(acc);
}

/* Sum of (x - mean)^2. */
static float sum_squares(const float *x, int n, float mean)
{
    float acc[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++) {
            float d = x[i + l] - mean;
            acc[l] += d * d;
        }
    for (; i < n; i++) {
        float d = x[i] - mean;
        acc[i % LANES] += d * d;
    }
    return fold(acc);
}

/* ---- loops over rows ----------------------------------------------------------- */

typedef struct rows_job {
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
static void run_rows(sg_ops *ops, rows_job *j, int work)
{
    if (j->nrow <= 0)
        return;
    j->step = sg_ops_row_step(ops, j->nrow, work);
    sg_pool_run(ops->pool, rows_task, j, (j->nrow + j->step - 1) / j->step);
}

/* ---- norms ------------------------------------------------------------------------ */

static void rms_norm_row(const rows_job *j, int r)
{
    for (int g = 0; g < j->group; g++) {
        const float *x = j->x + (size_t)r * j->x_stride + (size_t)g * (size_t)j->n;
        float *out = j->out + (size_t)r * j->out_stride + (size_t)g * (size_t)j->n;
        float s = 1.0f / sqrtf(sum_squares(x, j->n, 0) / (float)j->n + j->a);
        if (j->w)
            for (int i = 0; i < j->n; i++)
                out[i] = x[i] * s * j->w[i];
        else
            for (int i = 0; i < j->n; i++)
                out[i] = x[i] * s;
    }
}

void sg_op_rms_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int group, int n, const float *w, float eps)
{
    rows_job j = {.row = rms_norm_row, .nrow = nrow, .n = n, .group = group, .out = out, .out_stride = stride, .x = x, .x_stride = stride, .w = w, .a = eps};
    run_rows(ops, &j, 2 * n * group);
}

static void layer_norm_row(const rows_job *j, int r)
{
    const float *x = j->x + (size_t)r * j->x_stride;
    float *out = j->out + (size_t)r * j->out_stride;
    float mean = sum(x, j->n) / (float)j->n;
    float s = 1.0f / sqrtf(sum_squares(x, j->n, mean) / (float)j->n + j->a);
    for (int i = 0; i < j->n; i++) {
        float v = (x[i] - mean) * s;
        v = j->w ? v * j->w[i] : v;
        out[i] = j->b ? v + j->b[i] : v;
    }
}

void sg_op_layer_norm(sg_ops *ops, float *out, const float *x, size_t stride, int nrow, int n, const float *w, const float *b, float eps)
{
    rows_job j = {.row = layer_norm_row, .nrow = nrow, .n = n, .out = out, .out_stride = stride, .x = x, .x_stride = stride, .w = w, .b = b, .a = eps};
    run_rows(ops, &j, 3 * n);
}

/* ---- activations -------------------------------------------------------------------- */

/* gpt-oss: gate up to 7, up within [-7, 7]; gate * sigmoid(1.702 gate) * (up + 1). */
static inline float glu_oai(float g, float u)
{
    g = g > 7.0f ? 7.0f : g;
    u = u > 7.0f ? 7.0f : u < -7.0f ? -7.0f : u;
    return (u + 1.0f) * (g / (1.0f + sg_expf(-1.702f * g)));
}

static void glu_row(const rows_job *j, int r)
{
    const float *g = j->x + (size_t)r * j->x_stride, *u = j->y + (size_t)r * j->y_stride;
    float *out = j->out + (size_t)r * j->out_stride;
    int n = j->n;
    switch ((sg_glu)j->kind) {
    case SG_GLU_SILU:
        for (int i = 0; i < n; i++)
            out[i] = sg_silu(g[i]) * u[i];
        break;
    case SG_GLU_GELU_TANH:
        for (int i = 0; i < n; i++)
            out[i] = sg_gelu_tanh(g[i]) * u[i];
        break;
    case SG_GLU_GELU:
        for (int i = 0; i < n; i++)
            out[i] = sg_gelu(g[i]) * u[i];
        break;
    case SG_GLU_OAI:
        for (int i = 0; i < n; i++)
            out[i] = glu_oai(g[i], u[i]);
        break;
    }
}

void sg_op_glu(sg_ops *ops, float *out, size_t out_stride, const float *gate, size_t gate_stride, const float *up, size_t up_stride, int nrow, int n, sg_glu kind)
{
    rows_job j = {.row = glu_row, .nrow = nrow, .n = n, .kind = (int)kind, .out = out, .out_stride = out_stride, .x = gate, .x_stride = gate_stride, .y = up, .y_stride = up_stride};
    run_rows(ops, &j, 8 * n);
}

static void unary_row(const rows_job *j, int r)
{
    float *x = j->out + (size_t)r * j->out_stride;
    int n = j->n;
    switch ((sg_unary)j->kind) {
    case SG_UNARY_GELU:
        for (int i = 0; i < n; i++)
            x[i] = sg_gelu(x[i]);
        break;
    case SG_UNARY_GELU_TANH:
        for (int i = 0; i < n; i++)
            x[i] = sg_gelu_tanh(x[i]);
        break;
    case SG_UNARY_SILU:
        for (int i = 0; i < n; i++)
            x[i] = sg_silu(x[i]);
        break;
    case SG_UNARY_TANH:
        for (int i = 0; i < n; i++)
            x[i] = tanhf(x[i]);
        break;
    case SG_UNARY_RELU:
        for (int i = 0; i < n; i++)
            x[i] = x[i] > 0 ? x[i] : 0;
        break;
    }
}

void sg_op_unary(sg_ops *ops, float *x, size_t stride, int nrow, int n, sg_unary kind)
{
    rows_job j = {.row = unary_row, .nrow = nrow, .n = n, .kind = (int)kind, .out = x, .out_stride = stride};
    run_rows(ops, &j, 16 * n);
}

/* ---- additions and scales ------------------------------------------------------------ */

static void add_row(const rows_job *j, int r)
{
    const float *x = j->x + (size_t)r * j->x_stride;
    float *y = j->out + (size_t)r * j->out_stride;
    float a = j->a;
    if (a == 1.0f)
        for (int i = 0; i < j->n; i++)
            y[i] += x[i];
    else
        for (int i = 0; i < j->n; i++)
            y[i] += x[i] * a;
}

void sg_op_add(sg_ops *ops, float *y, const float *x, int nrow, int n, float scale)
{
    rows_job j = {.row = add_row, .nrow = nrow, .n = n, .out = y, .out_stride = (size_t)n, .x = x, .x_stride = (size_t)n, .a = scale};
    run_rows(ops, &j, n);
}

static void scale_row(const rows_job *j, int r)
{
    float *x = j->out + (size_t)r * j->out_stride;
    for (int i = 0; i < j->n; i++)
        x[i] *= j->a;
}

void sg_op_scale(sg_ops *ops, float *x, int nrow, int n, float scale)
{
    rows_job j = {.row = scale_row, .nrow = nrow, .n = n, .out = x, .out_stride = (size_t)n, .a = scale};
    run_rows(ops, &j, n);
}

static void softcap_row(const rows_job *j, int r)
{
    float *x = j->out + (size_t)r * j->out_stride, cap = j->a, inv = 1.0f / j->a;
    for (int i = 0; i < j->n; i++)
        x[i] = cap * sg_tanhf(x[i] * inv);
}

void sg_op_softcap(sg_ops *ops, float *x, int nrow, int n, float cap)
{
    rows_job j = {.row = softcap_row, .nrow = nrow, .n = n, .out = x, .out_stride = (size_t)n, .a = cap};
    run_rows(ops, &j, 8 * n);
}
