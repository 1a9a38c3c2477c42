/* op/apart.c - columns of activations that are too large for 8 bits.
 *
 * Activations have one scale for 32 neighbours, set by the largest.  In trained models a few columns of the hidden state are 10 to 100
 * times larger than the others, in every row, and so are some of the values that a layer's way down reads:
 *
 *     x      0.3 -0.1 0.8 ... 41.7 ... -0.5     scale 41.7 / 127: the other 31 are off by 0.1 on average
 *     apart                   41.7              times its column of W, in float32
 *     x      0.3 -0.1 0.8 ...  0   ... -0.5     scale  0.8 / 127: off by 0.002
 *
 * One such column has 20 to 90 % of the squared error of a layer's activations, and no arithmetic on the other 575 is needed to be rid of
 * it.  Where they are is nowhere in the weights: norms give them large and small factors alike.  So the model is shown some rows once,
 * when it is loaded (model/survey.c), and every call of sg_op_linear looks at what it reads.  What is measured for a column is how much
 * of the squared error, relative to the row, would go with it: 32 (a^2 - b^2) of its block, with a its size and b that of the next.  (Two
 * large ones in one block hide each other; that case is left as it is.)
 *
 * The column of W comes out of the kernel itself: the product with a row that is 1 there and 0 elsewhere.  Adding a column costs each
 * row and 16 results about as much as multiplying 32 columns, so that few are taken, and only ones with a large share.
 *
 * The same step tells which layers write rows anew instead of adding to them: nothing that came before is left to be right beside their
 * error, and all later layers read it.  One is the way down of layer 0, which makes words of embeddings (with random weights the first few
 * layers do so, ever less: one is taken).  Others blow the first row up to a hundred times its size, for all later rows to attend to, and
 * take it back.  Where weights are coarse, these 5 of 60 layers are a fifth of what 8-bit activations cost (SmolLM2 135M), and are refined
 * (sg_linear_refine).
 */
#include "base/heap.h"
#include "op/context.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 32 };

/* Of the squared error of a call's activations before any column is left out: what one column must have.  Half of the mean squared
 * difference of log-probabilities from two terms everywhere (docs/profile.md), SmolLM2 135M: none 0.116 %, at most 4 columns of 0.35,
 * 0.25, 0.15 0.094, 0.082, 0.080; Gemma 3 270M 0.149, 0.115, 0.107, 0.086. */
static const double SHARE = 0.15;

/* The row's squares grow or shrink by that where it is written anew: its size by 2. */
static const double ANEW = 4;

void sg_ops_survey_begin(sg_ops *ops)
{
    ops->survey = !ops->exact;
    ops->surveyed = SG_OK;
    ops->written = false;
}

sg_status sg_ops_survey_end(sg_ops *ops, sg_error *err)
{
    ops->survey = false;
    return ops->surveyed == SG_OK ? SG_OK : sg_fail_nomem(err, "columns of weights");
}

/* gain[k] += what leaving a column out would save of row x, of a total of all blocks, which is returned; both relative to the row. */
static double add_row(float *gain, const float *x, int k)
{
    double squares = 0, total = 0;
    for (int i = 0; i < k; i++)
        squares += (double)x[i] * x[i];
    if (!(squares > 0) || !isfinite(squares))
        return 0;
    for (int b = 0; b < k; b += BLOCK) {
        int n = k - b < BLOCK ? k - b : BLOCK, at = b;
        float most = 0, next = 0;
        for (int i = b; i < b + n; i++) {
            float size = fabsf(x[i]);
            if (size > most) {
                next = most;
                most = size;
                at = i;
            } else if (size > next) {
                next = size;
            }
        }
        gain[at] += (float)(((double)most * most - (double)next * next) / squares);
        total += (double)most * most / squares;
    }
    return total;
}

/* Up to SG_APART_MAX columns, each with SHARE of the error at least; `some` is a copy of the rows, which changes. */
static int choose(int32_t *apart, float *some, float *gain, int nrow, int k)
{
    double all = 0;
    for (int n = 0; n < SG_APART_MAX; n++) {
        double total = 0;
        int best = 0;
        memset(gain, 0, (size_t)k * sizeof *gain);
        for (int m = 0; m < nrow; m++)
            total += add_row(gain, some + (size_t)m * (size_t)k, k);
        all = n ? all : total;
        for (int i = 1; i < k; i++)
            best = gain[i] > gain[best] ? i : best;
        if (!((double)gain[best] > SHARE * all))
            return n;
        for (int m = 0; m < nrow; m++)
            some[(size_t)m * (size_t)k + (size_t)best] = 0;
        apart[n] = best;
    }
    return SG_APART_MAX;
}

size_t sg_linear_apart_bytes(const sg_ops *ops, sg_dtype type, int n, int k)
{
    if (sg_ops_exact(ops) || !sg_dtype_of(type)->weight || n < 1)
        return 0;
    return sg_linear_kernel_find(sg_ops_isa(ops), type, k)->act == SG_ACT_Q8 ? SG_APART_MAX * (size_t)n * sizeof(float) : 0;
}

/* Give w the columns; x [n][k] is ones at them. */
static sg_status take_columns(sg_ops *ops, sg_linear *w, const float *x, const int32_t *apart, int n)
{
    float *columns = sg_calloc((size_t)n * (size_t)w->n, sizeof *columns);
    if (!columns)
        return SG_E_NOMEM;
    sg_linear plain = *w;
    plain.bias = NULL;
    plain.precise = false;
    sg_op_linear(ops, x, (size_t)w->k, n, &(sg_linear_job){&plain, columns, (size_t)w->n, false}, 1);
    w->columns = columns;
    w->napart = n;
    memcpy(w->apart, apart, (size_t)n * sizeof *apart);
    return SG_OK;
}

static bool is_bytes(const sg_linear *w) { return w->kernel && w->kernel->act == SG_ACT_Q8; }

/* Whether the jobs are to be looked at: one of them sees 8 bits only, and none was looked at before. */
static bool wanted(const sg_linear_job *jobs, int njob)
{
    bool one = false;
    for (int i = 0; i < njob; i++) {
        if (jobs[i].w->napart)
            return false;
        one |= is_bytes(jobs[i].w) && !jobs[i].w->precise;
    }
    return one && jobs[0].w->k <= SG_WORKER_BYTES / 8; /* act_task's copy */
}

/* Choose the columns of jobs' layers from rows x. */
static void choose_columns(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob)
{
    if (ops->surveyed != SG_OK || !wanted(jobs, njob))
        return;
    const int k = jobs[0].w->k;
    const size_t width = (size_t)k, rows = (size_t)(nrow > SG_APART_MAX ? nrow : SG_APART_MAX);
    float *some = sg_calloc((rows + 1) * width, sizeof *some), *gain = some ? some + rows * width : NULL;
    int32_t apart[SG_APART_MAX];
    if (!some) {
        ops->surveyed = SG_E_NOMEM;
        return;
    }
    for (int m = 0; m < nrow; m++)
        memcpy(some + (size_t)m * width, x + (size_t)m * x_stride, width * sizeof *x);
    int n = choose(apart, some, gain, nrow, k);
    memset(some, 0, rows * width * sizeof *some);
    for (int i = 0; i < n; i++)
        some[(size_t)i * width + (size_t)apart[i]] = 1;
    for (int i = 0; n && i < njob && ops->surveyed == SG_OK; i++)
        if (is_bytes(jobs[i].w))
            ops->surveyed = take_columns(ops, (sg_linear *)(uintptr_t)jobs[i].w, some, apart, n);
    sg_free(some);
}

/* ---- layers that write rows anew -------------------------------------------------- */

enum { SIZES = 64 }; /* rows that are looked at */

static double squares_of(const sg_linear_job *j, int m)
{
    const float *y = j->out + (size_t)m * j->out_stride;
    double sum = 0;
    for (int i = 0; i < j->w->n; i++)
        sum += (double)y[i] * y[i];
    return sum;
}

static void note_sizes(double *before, const sg_linear_job *j, int nrow)
{
    for (int m = 0; j->add && m < nrow && m < SIZES; m++)
        before[m] = squares_of(j, m);
}

/* Weights of 6 bits and fewer; models with more lose less than the goal's 0.1 % without this. */
static bool is_coarse(const sg_linear *w)
{
    const sg_dtype_info *t = sg_dtype_of(w->type);
    return 8 * t->bytes <= 6 * t->block;
}

/* Refine a layer that writes rows anew: the first one that does so to most of them, and all that do so to the first row alone. */
static void refine_writer(sg_ops *ops, const double *before, const sg_linear_job *j, int nrow)
{
    int anew = 0, seen = nrow < SIZES ? nrow : SIZES;
    bool first = false;
    for (int m = 0; j->add && m < seen; m++) {
        double after = squares_of(j, m);
        bool now = after > ANEW * before[m] || before[m] > ANEW * after;
        anew += now;
        first |= now && m == 0;
    }
    bool most = 2 * anew > seen;
    if ((most ? !ops->written : first && anew == 1) && is_bytes(j->w) && is_coarse(j->w))
        sg_linear_refine((sg_linear *)(uintptr_t)j->w);
    ops->written |= most;
}

void sg_ops_survey_linear(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob)
{
    double before[SIZES];
    ops->survey = false;
    note_sizes(before, &jobs[0], nrow);
    sg_op_linear(ops, x, x_stride, nrow, jobs, njob);
    choose_columns(ops, x, x_stride, nrow, jobs, njob);
    if (njob == 1)
        refine_writer(ops, before, &jobs[0], nrow);
    ops->survey = true;
}

int sg_apart_terms(const sg_linear *w, const float *x, int j0, const float *column[SG_APART_MAX], float times[SG_APART_MAX])
{
    for (int i = 0; i < w->napart; i++) {
        column[i] = w->columns + (size_t)i * (size_t)w->n + j0;
        times[i] = x[w->apart[i]];
    }
    return w->napart;
}
