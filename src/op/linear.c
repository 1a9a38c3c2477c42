/* op/linear.c - linear layers over the worker pool.
 *
 *     x rows --quantise once--> rows in the kernels' form --+--> job 0 (q)   tiles of 16 columns | row chunks
 *                                                           +--> job 1 (k)   ...
 *                                                           +--> job 2 (v)
 *
 * Jobs that want the same form of activations share one pass over the pool: their tasks are numbered one
 * after another.  A task is a range of tiles and a chunk of rows.  Tasks are small enough that a worker
 * which is held up does not hold up the others for long, and a chunk of activations stays in the second
 * level cache while the task's weights pass.  The kernels' contract makes the result independent of all that.
 *
 * A refined layer (sg_linear_refine) has two activation rows for each row: the quantised row, which the other jobs
 * use too, and the quantised rest.  They are two rows for the kernel, and the sums are added here.
 *
 * Columns that are too large for 8 bits (op/apart.c) are zeros there, and added here in float32.
 *
 * Sums go straight to `out`; a residual or a bias is added right after, while the values are in the cache.  With a
 * residual the task computes into the worker's scratch memory first.
 */
#include "base/f16.h"
#include "base/heap.h"
#include "kernel/quant.h"
#include "kernel/rows.h"
#include "op/context.h"
#include "op/load.h"

#include <string.h>

enum {
    NJOB = 8,         /* jobs in one call */
    ROW_CHUNK = 256,  /* rows in a task */
    TASK_TILES = 32,  /* tiles in a task at most: ROW_CHUNK * TASK_TILES * 16 floats are half of the scratch */
    RUN_ROWS = 16,    /* fewer rows are bound by memory: a worker reads neighbours, in pieces of */
    RUN_TILES = 128,  /* so many tiles at most, */
    RUN_BYTES = 262144, /* or half of a share that is not smaller than this; */
    PIECES_MAX = 4096,
    LEAST_BYTES = 16384, /* below this, times the rows, sharing costs more than it brings */
    TASK_BYTES = 4096,  /* packed bytes in a task of many rows at least */
};
_Static_assert(2 * ROW_CHUNK * TASK_TILES * SG_TILE * 4 <= SG_WORKER_BYTES && RUN_ROWS * RUN_TILES <= ROW_CHUNK * TASK_TILES,
               "a task's results fit the scratch, in two terms");

/* ---- weights ------------------------------------------------------------------ */

typedef struct pack_job {
    sg_linear *w;
    size_t tile_bytes, row_bytes;
    int tile0; /* first of the slice */
} pack_job;

static void pack_task(void *arg, int task, int worker)
{
    const pack_job *p = arg;
    const sg_linear *w = p->w;
    (void)worker;
    task += p->tile0;
    int row = task * SG_TILE, rows = w->n - row < SG_TILE ? w->n - row : SG_TILE;
    w->kernel->pack((char *)w->packed + (size_t)task * p->tile_bytes, (const char *)w->stored + (size_t)row * p->row_bytes, rows, w->k);
}

enum { SLICE_BYTES = 2 << 20 };

/* Pack slice by slice, and tell `used` of each, so that packed and stored bytes are there together for one slice only. */
static void pack_slices(sg_ops *ops, pack_job *p, sg_linear_used_fn *used, void *arg)
{
    int ntile = (p->w->n + SG_TILE - 1) / SG_TILE, step = (int)((size_t)SLICE_BYTES / (p->tile_bytes ? p->tile_bytes : 1)) + 1;
    for (p->tile0 = 0; p->tile0 < ntile; p->tile0 += step) {
        int n = ntile - p->tile0 < step ? ntile - p->tile0 : step;
        sg_pool_run(sg_ops_pool(ops), pack_task, p, n);
        size_t row0 = (size_t)p->tile0 * SG_TILE, row1 = (size_t)(p->tile0 + n) * SG_TILE;
        row1 = row1 < (size_t)p->w->n ? row1 : (size_t)p->w->n;
        if (used)
            used(arg, (const char *)p->w->stored + row0 * p->row_bytes, (row1 - row0) * p->row_bytes);
    }
}

sg_status sg_linear_init(sg_linear *w, sg_ops *ops, sg_dtype type, int n, int k, const void *stored, const float *bias, sg_error *err)
{
    return sg_linear_init_using(w, ops, type, n, k, stored, bias, NULL, NULL, err);
}

sg_status sg_linear_init_using(sg_linear *w, sg_ops *ops, sg_dtype type, int n, int k, const void *stored, const float *bias,
                               sg_linear_used_fn *used, void *arg, sg_error *err)
{
    const sg_dtype_info *info = sg_dtype_of(type);
    if (!info->weight)
        return sg_fail(err, SG_E_UNSUPPORTED, "weights of type %s cannot be used", info->name);
    if (n < 1 || k < 1 || (uint32_t)k % info->block)
        return sg_fail(err, SG_E_FORMAT, "a %s weight of %d x %d: rows are whole blocks of %u", info->name, n, k, info->block);
    sg_linear made = {.n = n, .k = k, .type = type, .stored = stored, .bias = bias};
    if (!sg_ops_exact(ops)) {
        made.kernel = sg_linear_kernel_find(sg_ops_isa(ops), type, k);
        pack_job p = {.w = &made, .tile_bytes = made.kernel->tile_bytes(k), .row_bytes = sg_dtype_row_bytes(type, (uint64_t)k)};
        int ntile = (n + SG_TILE - 1) / SG_TILE;
        if (__builtin_mul_overflow(p.tile_bytes, (size_t)ntile, &made.packed_bytes))
            return sg_fail_nomem(err, "a packed weight");
        made.packed = sg_alloc_lasting(made.packed_bytes);
        if (!made.packed)
            return sg_fail_nomem(err, "a packed weight");
        pack_slices(ops, &p, used, arg);
        made.stored = NULL;
    }
    *w = made;
    return SG_OK;
}

size_t sg_linear_packed_bytes(const sg_ops *ops, sg_dtype type, int n, int k)
{
    const sg_dtype_info *info = sg_dtype_of(type);
    size_t bytes = 0;
    if (sg_ops_exact(ops) || !info->weight || n < 1 || k < 1 || (uint32_t)k % info->block)
        return 0;
    size_t tile = sg_linear_kernel_find(sg_ops_isa(ops), type, k)->tile_bytes(k);
    return __builtin_mul_overflow(tile, (size_t)((n + SG_TILE - 1) / SG_TILE), &bytes) ? 0 : bytes;
}

void sg_linear_fini(sg_linear *w)
{
    if (w->packed)
        sg_free_lasting(w->packed, w->packed_bytes);
    sg_free(w->columns);
    memset(w, 0, sizeof *w);
}

void sg_linear_refine(sg_linear *w)
{
    enum { MOST = SG_WORKER_BYTES / 8 }; /* the scratch has room for the rest of a row (act_task), or what head.c keeps */
    w->precise = w->kernel && w->kernel->act != SG_ACT_F32 && w->k <= MOST && w->n / SG_TILE < MOST;
}

/* ---- activations ---------------------------------------------------------------- */

typedef struct act_pass {
    sg_isa isa;
    sg_act act;
    const float *x;
    size_t stride, row_bytes;
    unsigned char *rows;
    int nrow, k, step;
    bool rest; /* rows nrow + m hold what row m leaves over */
    const sg_linear *apart; /* a layer that says which columns are left out */
    sg_ops *ops;
} act_pass;

void sg_act_leave_over(sg_act act, float *rest, const float *x, const void *row, int k)
{
    if (act == SG_ACT_BF16) {
        for (int i = 0; i < k; i++)
            rest[i] = x[i] - sg_bf16_to_f32(((const uint16_t *)row)[i]);
        return;
    }
    sg_act_q8 a = sg_act_q8_of(row, k);
    for (int i = 0; i < k; i++)
        rest[i] = x[i] - a.d[i / 32] * (float)a.q[i];
}

static void act_task(void *arg, int task, int worker)
{
    const act_pass *p = arg;
    int end = (task + 1) * p->step < p->nrow ? (task + 1) * p->step : p->nrow;
    for (int m = task * p->step; m < end; m++) {
        unsigned char *row = p->rows + (size_t)m * p->row_bytes;
        const float *x = p->x + (size_t)m * p->stride;
        float *rest = sg_ops_worker(p->ops, worker), *some = rest + SG_WORKER_BYTES / 8;
        if (p->apart->napart) {
            memcpy(some, x, (size_t)p->k * sizeof *x);
            for (int i = 0; i < p->apart->napart; i++)
                some[p->apart->apart[i]] = 0;
            x = some;
        }
        sg_act_quantize(p->isa, p->act, row, x, p->k);
        if (!p->rest)
            continue;
        sg_act_leave_over(p->act, rest, x, row, p->k);
        sg_act_quantize(p->isa, p->act, row + (size_t)p->nrow * p->row_bytes, rest, p->k);
    }
}

/* ---- multiplication --------------------------------------------------------------- */

typedef struct part {
    const sg_linear_job *job;
    float **out;     /* [nrow] */
    int step, ntask; /* tiles in a task; tasks, row chunks included */
} part;

/* Tiles of one part for all rows: a task of few rows. */
typedef struct piece {
    const part *part;
    int tile0, tile1;
} piece;

typedef struct mul_pass {
    bool exact;
    const sg_row_kernel *row;
    int nrow, npart;
    const void *const *rows; /* [nrow], and [nrow] more with the rests when a job is refined */
    const float *x;
    size_t x_stride;
    part part[NJOB];
    piece *piece; /* few rows: what tasks are; else NULL */
    sg_ops *ops;
} mul_pass;

/* What follows the products of row m, columns [j0, j1): what is multiplied apart, bias, then the residual; without one `sum` is out
 * itself. */
static void finish(const mul_pass *p, const part *q, int m, float *sum, int j0, int j1)
{
    const sg_linear *w = q->job->w;
    const float *column[SG_APART_MAX + 1] = {0};
    float times[SG_APART_MAX + 1] = {0};
    int n = p->ops->bare ? 0 : sg_apart_terms(w, p->x + (size_t)m * p->x_stride, j0, column, times);
    if (w->bias) {
        column[n] = w->bias + j0;
        times[n++] = 1;
    }
    if (n || q->job->add)
        p->row->join(q->out[m] + j0, sum + j0, column, times, n, j1 - j0, q->job->add);
}

/* Rows [row0, row1) of a refined layer: both terms as rows of one call, then their sum. */
static void mul_refined(const mul_pass *p, const part *q, int tile0, int tile1, int row0, int row1, float *scratch)
{
    const sg_linear *w = q->job->w;
    int j0 = tile0 * SG_TILE, j1 = tile1 * SG_TILE < w->n ? tile1 * SG_TILE : w->n, nrow = row1 - row0;
    size_t width = (size_t)(tile1 - tile0) * SG_TILE;
    float *out[2 * ROW_CHUNK] = {0};
    const void *rows[2 * ROW_CHUNK] = {0};
    for (int m = 0; m < nrow; m++) {
        rows[m] = p->rows[row0 + m];
        rows[nrow + m] = p->rows[p->nrow + row0 + m];
        out[m] = q->job->add ? scratch + (size_t)m * width - j0 : q->out[row0 + m];
        out[nrow + m] = scratch + (size_t)(nrow + m) * width - j0;
    }
    w->kernel->mul(out, rows, 2 * nrow, w->packed, tile0, tile1, w->n, w->k);
    for (int m = 0; m < nrow; m++) {
        p->row->add(out[m] + j0, out[nrow + m] + j0, j1 - j0, 1);
        finish(p, q, row0 + m, out[m], j0, j1);
    }
}

static void mul_range(const mul_pass *p, const part *q, int tile0, int tile1, int row0, int row1, float *scratch)
{
    const sg_linear *w = q->job->w;
    int j0 = tile0 * SG_TILE, j1 = tile1 * SG_TILE < w->n ? tile1 * SG_TILE : w->n, nrow = row1 - row0;
    float *sum[ROW_CHUNK], **out = q->out + row0;
    if (q->job->add) {
        size_t width = (size_t)(tile1 - tile0) * SG_TILE;
        for (int m = 0; m < nrow; m++)
            sum[m] = scratch + (size_t)m * width - j0;
        out = sum;
    }
    if (p->exact)
        sg_linear_exact(out, (const float *const *)p->rows + row0, nrow, w->stored, w->type, j0, j1, w->k);
    else
        w->kernel->mul(out, p->rows + row0, nrow, w->packed, tile0, tile1, w->n, w->k);
    for (int m = 0; m < nrow; m++)
        finish(p, q, row0 + m, out[m], j0, j1);
}

static int tiles_of(const sg_linear *w) { return (w->n + SG_TILE - 1) / SG_TILE; }

static void mul_tiles(const mul_pass *p, const part *q, int tile0, int tile1, int row0, int row1, int worker)
{
    void (*mul)(const mul_pass *, const part *, int, int, int, int, float *) = q->job->w->precise ? mul_refined : mul_range;
    mul(p, q, tile0, tile1, row0, row1, sg_ops_worker(p->ops, worker));
}

static void mul_piece(void *arg, int task, int worker)
{
    const mul_pass *p = arg;
    const piece *u = &p->piece[task];
    mul_tiles(p, u->part, u->tile0, u->tile1, 0, p->nrow, worker);
}

static void mul_task(void *arg, int task, int worker)
{
    const mul_pass *p = arg;
    const part *q = p->part;
    while (task >= q->ntask)
        task -= q++->ntask;
    int ntile = tiles_of(q->job->w), nrange = (ntile + q->step - 1) / q->step;
    int tile0 = task % nrange * q->step, tile1 = tile0 + q->step < ntile ? tile0 + q->step : ntile;
    int row0 = task / nrange * ROW_CHUNK, row1 = row0 + ROW_CHUNK < p->nrow ? row0 + ROW_CHUNK : p->nrow;
    mul_tiles(p, q, tile0, tile1, row0, row1, worker);
}

/* ---- dealing: few rows ----------------------------------------------------------------- */

static uint64_t tile_load(const sg_linear *w, int nrow)
{
    return sg_load_linear(w->precise ? 2 * nrow : nrow, w->packed_bytes / (size_t)tiles_of(w), SG_TILE, w->k);
}

size_t sg_linear_piece_bytes(void) { return PIECES_MAX * sizeof(piece); }

/* Whether what cut_pieces makes has room. */
static bool pieces_fit(const mul_pass *p)
{
    int64_t most = 2 * p->ops->nworker + p->npart;
    for (const part *q = p->part; q < p->part + p->npart; q++)
        most += tiles_of(q->job->w) / RUN_TILES + 1;
    return most <= PIECES_MAX;
}

/* Tiles [tile0, tile1) of a part, in as many pieces as RUN_TILES asks for. */
static void add_pieces(mul_pass *p, sg_tasks *t, const part *q, int tile0, int tile1)
{
    int n = (tile1 - tile0 + RUN_TILES - 1) / RUN_TILES, step = n ? (tile1 - tile0 + n - 1) / n : 1;
    for (int tile = tile0; tile < tile1; tile += step) {
        int end = tile + step < tile1 ? tile + step : tile1;
        p->piece[t->n] = (piece){q, tile, end};
        sg_tasks_add(t, (uint64_t)(end - tile) * tile_load(q->job->w, p->nrow));
    }
}

/* All parts' tiles, one after another, cut where the loads come out even: a share for each worker, large ones in halves, so that
 * something can be stolen from a worker that is held up. */
static void cut_pieces(mul_pass *p, sg_tasks *t, size_t bytes)
{
    const size_t nworker = (size_t)p->ops->nworker;
    size_t nshare = bytes * (size_t)p->nrow < LEAST_BYTES ? 1 : bytes < RUN_BYTES * nworker ? nworker : 2 * nworker, share = 1;
    uint64_t all = 0, sum = 0;
    for (const part *q = p->part; q < p->part + p->npart; q++)
        all += (uint64_t)tiles_of(q->job->w) * tile_load(q->job->w, p->nrow);
    for (const part *q = p->part; q < p->part + p->npart; q++) {
        const uint64_t load = tile_load(q->job->w, p->nrow);
        for (int tile = 0, ntile = tiles_of(q->job->w); tile < ntile;) {
            const uint64_t end = all / nshare * share, left = (uint64_t)(ntile - tile);
            const uint64_t more = end > sum ? (end - sum + load / 2) / load : 0;
            const int n = (int)(share == nshare || more > left ? left : more);
            add_pieces(p, t, q, tile, tile + n);
            tile += n;
            sum += (uint64_t)n * load;
            share += tile < ntile;
        }
    }
}

/* ---- dealing: many rows ----------------------------------------------------------------- */

/* Every part's tasks in mul_task's order, with their loads. */
static void add_tasks(const mul_pass *p, sg_tasks *t)
{
    for (const part *q = p->part; q < p->part + p->npart; q++) {
        const sg_linear *w = q->job->w;
        int ntile = tiles_of(w);
        for (int row = 0; row < p->nrow; row += ROW_CHUNK)
            for (int tile = 0; tile < ntile; tile += q->step) {
                int n = tile + q->step < ntile ? q->step : ntile - tile, nrow = p->nrow - row < ROW_CHUNK ? p->nrow - row : ROW_CHUNK;
                size_t bytes = w->packed_bytes / (size_t)ntile * (size_t)n;
                sg_tasks_add(t, sg_load_linear(w->precise ? 2 * nrow : nrow, bytes, n * SG_TILE, w->k));
            }
    }
}

/* Near `base` tiles in a task, so that the workers' shares of a part come out even: the most tiles that one of them gets, and for
 * each task what beginning it costs (its panels: about two tiles' work).  576 outputs on two workers: 4 tasks of 9 tiles, not 3 of 11
 * and one of 3. */
static int even_step(int ntile, int base, int nworker)
{
    const int high = 2 * base < TASK_TILES ? 2 * base : TASK_TILES;
    int best = base;
    int64_t least = INT64_MAX;
    for (int step = (base + 1) / 2; step <= high; step++) {
        int64_t ntask = (ntile + step - 1) / step, turns = (ntask + nworker - 1) / nworker, cost = turns * (16 * step + 32);
        if (cost < least) {
            least = cost;
            best = step;
        }
    }
    return best;
}

/* Tiles in a task: about six tasks for each worker over all jobs, but not so few bytes that taking tasks costs. */
static int tiles_in_task(const sg_linear *w, int total_tiles, int nworker)
{
    int step = total_tiles / (6 * nworker), ntile = tiles_of(w);
    if (w->packed_bytes) {
        size_t least = (size_t)TASK_BYTES / (w->packed_bytes / (size_t)ntile);
        step = (size_t)step < least ? (int)least : step;
    }
    step = step < 1 ? 1 : step > TASK_TILES ? TASK_TILES : step;
    return nworker > 1 ? even_step(ntile, step, nworker) : step;
}

static void run_tasks(mul_pass *p)
{
    sg_tasks *t = &p->ops->tasks;
    const char *name = p->part[0].job->w->name ? p->part[0].job->w->name : "linear";
    size_t all = 0;
    int total_tiles = 0, ntask = 0, nchunk = (p->nrow + ROW_CHUNK - 1) / ROW_CHUNK;
    for (const part *q = p->part; q < p->part + p->npart; q++) {
        all += q->job->w->packed_bytes;
        total_tiles += tiles_of(q->job->w);
    }
    sg_tasks_clear(t);
    if (p->piece) {
        t->runs = true;
        cut_pieces(p, t, all);
        sg_ops_run_tasks(p->ops, name, all, mul_piece, p, t);
        return;
    }
    for (part *q = p->part; q < p->part + p->npart; q++) {
        q->step = tiles_in_task(q->job->w, total_tiles, p->ops->nworker);
        q->ntask = (tiles_of(q->job->w) + q->step - 1) / q->step * nchunk;
        ntask += q->ntask;
    }
    if (ntask > SG_TASKS_MAX) {
        sg_ops_run(p->ops, name, all, mul_task, p, ntask);
        return;
    }
    add_tasks(p, t);
    SG_ASSERT(t->n == ntask);
    sg_ops_run_tasks(p->ops, name, all, mul_task, p, t);
}

/* The jobs that take x in form `act` (every job on the exact path).  `memory` holds the rows and pointers. */
static void run_form(sg_ops *ops, sg_act act, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob)
{
    mul_pass p = {.exact = ops->exact, .row = sg_row_kernel_find(ops->isa), .nrow = nrow, .x = x, .x_stride = x_stride, .ops = ops};
    int k = 0, nterm = 1;
    for (int i = 0; i < njob; i++)
        if (ops->exact || jobs[i].w->kernel->act == act) {
            p.part[p.npart++].job = &jobs[i];
            k = jobs[i].w->k;
            nterm = jobs[i].w->precise ? 2 : nterm;
        }
    if (!p.npart)
        return;

    const bool direct = ops->exact || act == SG_ACT_F32;
    size_t row_bytes = direct ? 0 : sg_act_row_bytes(act, k), rows_bytes = row_bytes * (size_t)(nterm * nrow);
    unsigned char *memory = sg_ops_scratch(ops, SG_SCRATCH_ACT, rows_bytes + (size_t)(p.npart + nterm) * (size_t)nrow * sizeof(void *));
    const void **rows = (const void **)(void *)(memory + rows_bytes);
    for (int m = 0; m < nterm * nrow; m++)
        rows[m] = direct ? (const void *)(x + (size_t)m * x_stride) : memory + (size_t)m * row_bytes;
    if (!direct) {
        const int step = sg_ops_row_step(ops, nrow, nterm * k);
        act_pass a = {ops->isa, act, x, x_stride, row_bytes, memory, nrow, k, step, nterm == 2, p.part[0].job->w, ops};
        sg_ops_run(ops, "quantise", 0, act_task, &a, (nrow + a.step - 1) / a.step);
    }

    p.rows = rows;
    if (!ops->exact && nrow < RUN_ROWS && pieces_fit(&p))
        p.piece = sg_ops_scratch(ops, SG_SCRATCH_PIECES, sg_linear_piece_bytes());
    for (int i = 0; i < p.npart; i++) {
        part *q = &p.part[i];
        SG_ASSERT(q->job->w->napart == p.part[0].job->w->napart); /* layers that are called together were shown together */
        q->out = (float **)(void *)(rows + (size_t)(i + nterm) * (size_t)nrow);
        for (int m = 0; m < nrow; m++)
            q->out[m] = q->job->out + (size_t)m * q->job->out_stride;
    }
    run_tasks(&p);
}

void sg_op_linear(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob)
{
    SG_ASSERT(njob <= NJOB);
    if (nrow <= 0)
        return;
    if (ops->survey) {
        sg_ops_survey_linear(ops, x, x_stride, nrow, jobs, njob);
        return;
    }
    if (ops->exact) {
        run_form(ops, SG_ACT_F32, x, x_stride, nrow, jobs, njob);
        return;
    }
    for (int act = 0; act < SG_ACT_END; act++)
        run_form(ops, (sg_act)act, x, x_stride, nrow, jobs, njob);
}

void sg_op_linear_bare(sg_ops *ops, const float *x, size_t x_stride, int nrow, const sg_linear_job *jobs, int njob)
{
    ops->bare = true;
    sg_op_linear(ops, x, x_stride, nrow, jobs, njob);
    ops->bare = false;
}

/* ---- embedding rows ------------------------------------------------------------------- */

typedef struct embed_pass {
    float *out;
    const unsigned char *table;
    const int32_t *id;
    size_t row_bytes;
    sg_dtype type;
    int n, nrow, step;
    float scale;
} embed_pass;

static void embed_task(void *arg, int task, int worker)
{
    const embed_pass *p = arg;
    (void)worker;
    int end = (task + 1) * p->step < p->nrow ? (task + 1) * p->step : p->nrow;
    for (int r = task * p->step; r < end; r++) {
        float *out = p->out + (size_t)r * (size_t)p->n;
        sg_quant_decode(p->type, out, p->table + (size_t)p->id[r] * p->row_bytes, (size_t)p->n);
        for (int i = 0; p->scale != 1 && i < p->n; i++)
            out[i] *= p->scale;
    }
}

void sg_op_embed(sg_ops *ops, float *out, sg_dtype type, const void *table, int n, const int32_t *id, int nrow, float scale)
{
    if (nrow <= 0)
        return;
    embed_pass p = {out, table, id, sg_dtype_row_bytes(type, (uint64_t)n), type, n, nrow, sg_ops_row_step(ops, nrow, n * 4), scale};
    sg_ops_run(ops, "embed", 0, embed_task, &p, (nrow + p.step - 1) / p.step);
}
