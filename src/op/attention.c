/* op/attention.c - attention over paged keys and values.
 *
 *     task = (tile of rows, KV head, up to 32 query vectors of that head's group)
 *     for each chunk of 64 positions that the tile sees:
 *         the chunk's K and V as float32 in the worker's scratch, once for all queries of the task
 *         all queries: scores -> running softmax (Milakov and Gimelshein 2018, arXiv:1805.02867) -> weighted sum of V
 *
 * A tile is a run of neighbouring rows of one sequence, so a prompt decodes each key about once for 32 / group rows
 * and a decoding sequence is a tile of one row.  Chunks begin at multiples of 64 positions, whatever the row, and a
 * query handles only the part of a chunk that it sees: its result is a function of its own q, position and keys,
 * and the same bits come out in any tile, batch or chunking of the prompt.  The inner loops are kernel/attention.h.
 *
 * Keys are stored in that header's groups of 16 positions when the block is a multiple of 16.  Small blocks, and
 * MLA's latent rows where V aliases K, stay in rows and are turned around in the scratch.
 */
#include "kernel/attention.h"
#include "op/context.h"
#include "op/load.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { QUERIES = 32 }; /* query vectors of a task */

/* ---- rows of the cache ------------------------------------------------------------ */

static bool grouped(const sg_kv_layer *kv) { return kv->block % SG_KV_GROUP == 0 && kv->v != kv->k; }

static unsigned char *k_row(const sg_kv_layer *kv, int32_t block, int head, int at)
{
    return kv->k + (size_t)block * kv->k_block_bytes +
           ((size_t)head * (size_t)kv->block + (size_t)at) * kv->k_row_bytes;
}

static unsigned char *v_row(const sg_kv_layer *kv, int32_t block, int head, int at)
{
    return kv->v + (size_t)block * kv->v_block_bytes +
           ((size_t)head * (size_t)kv->block + (size_t)at) * kv->v_row_bytes;
}

typedef struct write_job {
    const sg_attention_kernel *kernel;
    const sg_kv_layer *kv;
    const sg_rows *rows;
    const float *k, *v;
    size_t k_stride, v_stride;
    int step;
} write_job;

static void write_task(void *arg, int task, int worker)
{
    const write_job *j = arg;
    const sg_kv_layer *kv = j->kv;
    (void)worker;
    int end = (task + 1) * j->step < j->rows->nrow ? (task + 1) * j->step : j->rows->nrow;
    for (int r = task * j->step; r < end; r++) {
        int pos = j->rows->pos[r], at = pos % kv->block;
        int32_t block = j->rows->table[j->rows->seq[r]][pos / kv->block];
        for (int h = 0; h < kv->nkv; h++) {
            const float *k = j->k + (size_t)r * j->k_stride + (size_t)h * (size_t)kv->dk;
            if (grouped(kv))
                j->kernel->store_k(kv->type, k_row(kv, block, h, at - at % SG_KV_GROUP), at % SG_KV_GROUP, k, kv->dk);
            else
                j->kernel->store_row(kv->type, k_row(kv, block, h, at), k, kv->dk);
            if (j->v)
                j->kernel->store_row(kv->type, v_row(kv, block, h, at),
                                     j->v + (size_t)r * j->v_stride + (size_t)h * (size_t)kv->dv, kv->dv);
        }
    }
}

void sg_op_kv_write(sg_ops *ops, const sg_kv_layer *kv, const sg_rows *rows, const float *k, size_t k_stride,
                    const float *v, size_t v_stride)
{
    if (rows->nrow <= 0)
        return;
    write_job j = {sg_attention_kernel_find(ops->isa),
                   kv,
                   rows,
                   k,
                   v,
                   k_stride,
                   v_stride,
                   sg_ops_row_step(ops, rows->nrow, 2 * kv->nkv * (kv->dk + kv->dv))};
    sg_pool_run(ops->pool, write_task, &j, (rows->nrow + j.step - 1) / j.step);
}

/* ---- attention --------------------------------------------------------------------- */

typedef struct attention_job {
    const sg_attention_kernel *kernel;
    float *out;
    const float *q;
    size_t out_stride, q_stride;
    const sg_attention *a;
    const sg_kv_layer *kv;
    const sg_rows *rows;
    sg_ops *ops;
    const int32_t *tiles; /* [ntile + 1] first row of each tile, then nrow */
    int group;            /* query heads of a KV head */
    int nsplit;           /* pieces of a group */
} attention_job;

/* The worker's memory during a task. */
typedef struct scratch {
    float *kt, *v;  /* [4][dk][16], [64][dv] */
    float *acc, *s; /* [QUERIES][dv], [QUERIES][64] */
    float *row;     /* [dk] */
    float most[QUERIES], sum[QUERIES], slope[QUERIES];
    int first[QUERIES], end[QUERIES];
    const float *q[QUERIES];
} scratch;

static scratch *scratch_of(const attention_job *j, int worker)
{
    size_t dk = (size_t)j->kv->dk, dv = (size_t)j->kv->dv;
    scratch *s = sg_ops_worker(j->ops, worker);
    s->kt = (float *)((unsigned char *)s + ((sizeof *s + 63) & ~(size_t)63));
    s->v = s->kt + SG_KV_CHUNK * dk;
    s->s = s->v + SG_KV_CHUNK * ((dv + 15) & ~(size_t)15);
    s->acc = s->s + (size_t)QUERIES * SG_KV_CHUNK;
    s->row = s->acc + (size_t)QUERIES * ((dv + 15) & ~(size_t)15);
    return s;
}

/* Positions [first, end) that row r sees. */
static void visible(const attention_job *j, int r, int *first, int *end)
{
    int pos = j->rows->pos[r], window = j->a->window;
    if (j->a->causal) {
        *first = window && pos >= window ? pos - window + 1 : 0;
        *end = pos + 1;
    } else {
        int len = j->rows->seq_len[j->rows->seq[r]];
        *first = window && pos > window / 2 ? pos - window / 2 : 0;
        *end = window && pos + window / 2 + 1 < len ? pos + window / 2 + 1 : len;
    }
}

/* Rows [at, at + n) of a block as columns of kt, from lane `lane` of the chunk on. */
static void turn_rows(const attention_job *j, scratch *s, const unsigned char *rows, int lane, int n)
{
    const sg_kv_layer *kv = j->kv;
    for (int i = 0; i < n; i++) {
        j->kernel->load_v(kv->type, s->row, rows + (size_t)i * kv->k_row_bytes, kv->k_row_bytes, 1, kv->dk);
        float *kt =
            s->kt + (size_t)((lane + i) / SG_KV_GROUP) * (size_t)kv->dk * SG_KV_GROUP + (lane + i) % SG_KV_GROUP;
        for (int d = 0; d < kv->dk; d++)
            kt[(size_t)d * SG_KV_GROUP] = s->row[d];
    }
}

/* Positions [c, c + n) of a sequence as float32 in the scratch. */
static void load_chunk(const attention_job *j, const int32_t *table, int head, int c, int n, scratch *s)
{
    const sg_kv_layer *kv = j->kv;
    bool groups = grouped(kv);
    for (int i = 0; i < n;) {
        int32_t block = table[(c + i) / kv->block];
        int at = (c + i) % kv->block, run = kv->block - at < n - i ? kv->block - at : n - i;
        if (groups && run > SG_KV_GROUP)
            run = SG_KV_GROUP;
        if (groups)
            j->kernel->load_k(kv->type, s->kt + (size_t)(i / SG_KV_GROUP) * (size_t)kv->dk * SG_KV_GROUP,
                              k_row(kv, block, head, at), kv->dk);
        else
            turn_rows(j, s, k_row(kv, block, head, at), i, run);
        j->kernel->load_v(kv->type, s->v + (size_t)i * (size_t)kv->dv, v_row(kv, block, head, at), kv->v_row_bytes, run,
                          kv->dv);
        i += run;
    }
}

/* The sink joins the sum; then out = acc / sum. */
static void finish(const attention_job *j, scratch *s, int i, float *out, int head)
{
    int dv = j->kv->dv;
    const float *acc = s->acc + (size_t)i * (size_t)dv;
    float sum = s->sum[i], scale = 1;
    if (j->a->sinks) {
        float sink = j->a->sinks[head], most = sink > s->most[i] ? sink : s->most[i];
        scale = expf(s->most[i] - most);
        sum = sum * scale + expf(sink - most);
    }
    scale /= sum;
    for (int d = 0; d < dv; d++)
        out[d] = acc[d] * scale;
}

static void attention_task(void *arg, int task, int worker)
{
    const attention_job *j = arg;
    const sg_kv_layer *kv = j->kv;
    int split = task % j->nsplit, head = task / j->nsplit % kv->nkv, tile = task / j->nsplit / kv->nkv;
    int r0 = j->tiles[tile], nrow = j->tiles[tile + 1] - r0;
    int h0 = split * QUERIES, nh = j->group - h0 < QUERIES ? j->group - h0 : QUERIES;
    h0 += head * j->group;

    scratch *s = scratch_of(j, worker);
    memset(s->acc, 0, (size_t)(nrow * nh) * (size_t)kv->dv * sizeof(float));
    int lo = INT32_MAX, hi = 0, nquery = nrow * nh;
    for (int i = 0; i < nquery; i++) {
        int r = r0 + i / nh, h = h0 + i % nh, first, end;
        visible(j, r, &first, &end);
        lo = first < lo ? first : lo;
        hi = end > hi ? end : hi;
        s->q[i] = j->q + (size_t)r * j->q_stride + (size_t)h * (size_t)kv->dk;
        s->slope[i] = j->a->alibi ? j->a->alibi[h] : 0;
        s->most[i] = -FLT_MAX;
        s->sum[i] = 0;
    }
    const int32_t *table = j->rows->table[j->rows->seq[r0]];
    for (int c = lo / SG_KV_CHUNK * SG_KV_CHUNK; c < hi; c += SG_KV_CHUNK) {
        int n = hi - c < SG_KV_CHUNK ? hi - c : SG_KV_CHUNK, from = nquery, to = 0;
        load_chunk(j, table, head, c, n, s);
        for (int i = 0; i < nquery; i++) { /* those who see something of it are neighbours: ranges move with the row */
            int first, end;
            visible(j, r0 + i / nh, &first, &end);
            s->first[i] = first > c ? first - c : 0;
            s->end[i] = end < c + n ? end - c : n;
            if (s->first[i] >= s->end[i])
                continue;
            from = i < from ? i : from;
            to = i + 1;
        }
        if (from >= to)
            continue;
        j->kernel->chunk(&(sg_attention_chunk){.nquery = to - from,
                                               .dk = kv->dk,
                                               .dv = kv->dv,
                                               .n = n,
                                               .base = c,
                                               .q = s->q + from,
                                               .kt = s->kt,
                                               .v = s->v,
                                               .first = s->first + from,
                                               .end = s->end + from,
                                               .slope = j->a->alibi ? s->slope + from : NULL,
                                               .scale = j->a->scale,
                                               .softcap = j->a->softcap,
                                               .most = s->most + from,
                                               .sum = s->sum + from,
                                               .acc = s->acc + (size_t)from * (size_t)kv->dv,
                                               .s = s->s});
    }
    for (int r = 0; r < nrow; r++)
        for (int h = 0; h < nh; h++)
            finish(j, s, r * nh + h, j->out + (size_t)(r0 + r) * j->out_stride + (size_t)(h0 + h) * (size_t)kv->dv,
                   h0 + h);
}

/* Runs of rows of one sequence, `most` at a time.  Returns their number. */
static int make_tiles(int32_t *tiles, const sg_rows *rows, int most)
{
    int n = 0;
    for (int r = 0; r < rows->nrow; r++)
        if (r == 0 || rows->seq[r] != rows->seq[r - 1] || r - tiles[n - 1] == most)
            tiles[n++] = r;
    tiles[n] = rows->nrow;
    return n;
}

/* The task table: (tile, KV head, piece of the group), with the tile's longest range as its load. */
static void run_units(attention_job *j, int ntile)
{
    int per = j->kv->nkv * j->nsplit;
    if ((int64_t)ntile * per > SG_TASKS_MAX) {
        sg_pool_run(j->ops->pool, attention_task, j, ntile * per);
        return;
    }
    sg_tasks *t = &j->ops->tasks;
    sg_tasks_clear(t);
    for (int i = 0; i < ntile; i++) {
        int nrow = j->tiles[i + 1] - j->tiles[i], first, end, last, nh = j->group < QUERIES ? j->group : QUERIES;
        visible(j, j->tiles[i], &first, &last);
        visible(j, j->tiles[i + 1] - 1, &last, &end);
        uint64_t load = sg_load_attention(nrow * nh, end - first, j->kv->dk, j->kv->dv);
        for (int u = 0; u < per; u++)
            sg_tasks_add(t, load);
    }
    sg_pool_run_tasks(j->ops->pool, attention_task, j, t);
}

void sg_op_attention(sg_ops *ops, float *out, size_t out_stride, const float *q, size_t q_stride, const sg_attention *a,
                     const sg_kv_layer *kv, const sg_rows *rows)
{
    if (rows->nrow <= 0)
        return;
    SG_ASSERT(kv->dk <= SG_HEAD_DIM_MAX && kv->dv <= SG_HEAD_DIM_MAX && a->nhead % kv->nkv == 0);
    int32_t *tiles = sg_ops_scratch(ops, SG_SCRATCH_ROWS, ((size_t)rows->nrow + 1) * sizeof *tiles);
    attention_job j = {.kernel = sg_attention_kernel_find(ops->isa),
                       .out = out,
                       .q = q,
                       .out_stride = out_stride,
                       .q_stride = q_stride,
                       .a = a,
                       .kv = kv,
                       .rows = rows,
                       .ops = ops,
                       .tiles = tiles};
    j.group = a->nhead / kv->nkv;
    j.nsplit = (j.group + QUERIES - 1) / QUERIES;
    int ntile = make_tiles(tiles, rows, j.group < QUERIES ? QUERIES / j.group : 1);
    run_units(&j, ntile);
}
