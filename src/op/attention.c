/* op/attention.c - attention over paged keys and values.
 *
 *     task = (tile of rows, KV head, up to 32 query vectors of that head's group)
 *     for each chunk of 64 positions that the tile sees:
 *         decode K and V of the chunk to float32 in the worker's scratch, once for all queries of the task
 *         each query: scores of the positions it sees -> running softmax (Milakov and Gimelshein 2018,
 *         arXiv:1805.02867) -> weighted sum of V
 *
 * A tile is a run of neighbouring rows of one sequence, so a prompt decodes each key about once for 32 / group rows
 * and a decoding sequence is a tile of one row.  Chunks begin at multiples of 64 positions, whatever the row, and a
 * query handles only the part of a chunk that it sees: its result is a function of its own q, position and keys,
 * and the same bits come out in any tile, batch or chunking of the prompt.
 */
#include "op/context.h"
#include "op/math.h"

#include <float.h>
#include <string.h>

enum {
    CHUNK = 64,   /* positions */
    QUERIES = 32, /* query vectors of a task */
    LANES = 16,
};

/* ---- rows of the cache ------------------------------------------------------------ */

typedef struct q8_block {
    uint16_t d; /* half float */
    int8_t q[32];
} q8_block;

static void store_q8(q8_block *b, const float *x, int n)
{
    for (; n > 0; n -= 32, x += 32, b++) {
        float most = 0;
        for (int i = 0; i < 32; i++)
            most = fmaxf(most, fabsf(x[i]));
        float d = most / 127.0f, inv = d > 0 ? 1.0f / d : 0;
        b->d = sg_f32_to_f16(d);
        for (int i = 0; i < 32; i++)
            b->q[i] = (int8_t)lrintf(fminf(fmaxf(x[i] * inv, -127.0f), 127.0f));
    }
}

static void store_row(sg_dtype type, void *dst, const float *x, int n)
{
    uint16_t *h = dst;
    if (type == SG_F32)
        memcpy(dst, x, (size_t)n * sizeof *x);
    else if (type == SG_F16)
        for (int i = 0; i < n; i++)
            h[i] = sg_f32_to_f16(x[i]);
    else if (type == SG_BF16)
        for (int i = 0; i < n; i++)
            h[i] = sg_f32_to_bf16(x[i]);
    else
        store_q8(dst, x, n);
}

/* The first n values of a stored row. */
static void load_row(sg_dtype type, float *x, const void *src, int n)
{
    const uint16_t *h = src;
    if (type == SG_F32)
        memcpy(x, src, (size_t)n * sizeof *x);
    else if (type == SG_F16)
        for (int i = 0; i < n; i++)
            x[i] = sg_f16_to_f32(h[i]);
    else if (type == SG_BF16)
        for (int i = 0; i < n; i++)
            x[i] = sg_bf16_to_f32(h[i]);
    else
        for (const q8_block *b = src; n > 0; n -= 32, x += 32, b++)
            for (int i = 0; i < 32; i++)
                x[i] = sg_f16_to_f32(b->d) * (float)b->q[i];
}

static unsigned char *k_row(const sg_kv_layer *kv, int32_t block, int head, int at)
{
    return kv->k + (size_t)block * kv->k_block_bytes + ((size_t)head * (size_t)kv->block + (size_t)at) * kv->k_row_bytes;
}

static unsigned char *v_row(const sg_kv_layer *kv, int32_t block, int head, int at)
{
    return kv->v + (size_t)block * kv->v_block_bytes + ((size_t)head * (size_t)kv->block + (size_t)at) * kv->v_row_bytes;
}

typedef struct write_job {
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
            store_row(kv->type, k_row(kv, block, h, at), j->k + (size_t)r * j->k_stride + (size_t)h * (size_t)kv->dk, kv->dk);
            if (j->v)
                store_row(kv->type, v_row(kv, block, h, at), j->v + (size_t)r * j->v_stride + (size_t)h * (size_t)kv->dv, kv->dv);
        }
    }
}

void sg_op_kv_write(sg_ops *ops, const sg_kv_layer *kv, const sg_rows *rows, const float *k, size_t k_stride, const float *v, size_t v_stride)
{
    if (rows->nrow <= 0)
        return;
    write_job j = {kv, rows, k, v, k_stride, v_stride, sg_ops_row_step(ops, rows->nrow, 2 * kv->nkv * (kv->dk + kv->dv))};
    sg_pool_run(ops->pool, write_task, &j, (rows->nrow + j.step - 1) / j.step);
}

/* ---- attention --------------------------------------------------------------------- */

typedef struct attention_job {
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
    float *k, *v;   /* [CHUNK][dk], [CHUNK][dv] */
    float *acc;     /* [QUERIES][dv] */
    float p[CHUNK];
    float most[QUERIES], sum[QUERIES];
} scratch;

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

static float dot(const float *a, const float *b, int n)
{
    float acc[LANES] = {0};
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            acc[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        acc[i % LANES] += a[i] * b[i];
    for (int half = LANES / 2; half; half /= 2)
        for (int l = 0; l < half; l++)
            acc[l] += acc[l + half];
    return acc[0];
}

/* Decode positions [c, c + n) of a sequence. */
static void load_chunk(const attention_job *j, const int32_t *table, int head, int c, int n, scratch *s)
{
    const sg_kv_layer *kv = j->kv;
    for (int i = 0; i < n; i++) {
        int32_t block = table[(c + i) / kv->block];
        int at = (c + i) % kv->block;
        load_row(kv->type, s->k + (size_t)i * (size_t)kv->dk, k_row(kv, block, head, at), kv->dk);
        load_row(kv->type, s->v + (size_t)i * (size_t)kv->dv, v_row(kv, block, head, at), kv->dv);
    }
}

/* Query number i of the task over positions [c + a, c + b) of the loaded chunk. */
static void add_chunk(const attention_job *j, scratch *s, int i, const float *q, int head, int c, int a, int b)
{
    int dk = j->kv->dk, dv = j->kv->dv;
    float cap = j->a->softcap, slope = j->a->alibi ? j->a->alibi[head] : 0, most = s->most[i];
    for (int t = a; t < b; t++) {
        float x = dot(q, s->k + (size_t)t * (size_t)dk, dk) * j->a->scale;
        if (cap > 0)
            x = cap * sg_tanhf(x / cap);
        x += slope * (float)(c + t);
        s->p[t] = x;
        most = x > most ? x : most;
    }
    float keep = s->most[i] == -FLT_MAX ? 0 : sg_expf(s->most[i] - most), sum = s->sum[i] * keep;
    float *restrict acc = s->acc + (size_t)i * (size_t)dv;
    for (int d = 0; d < dv; d++)
        acc[d] *= keep;
    for (int t = a; t < b; t++) {
        float p = sg_expf(s->p[t] - most);
        const float *restrict v = s->v + (size_t)t * (size_t)dv;
        sum += p;
        for (int d = 0; d < dv; d++)
            acc[d] += p * v[d];
    }
    s->most[i] = most;
    s->sum[i] = sum;
}

/* The sink joins the sum; then out = acc / sum. */
static void finish(const attention_job *j, scratch *s, int i, float *out, int head)
{
    int dv = j->kv->dv;
    const float *acc = s->acc + (size_t)i * (size_t)dv;
    float sum = s->sum[i], scale = 1;
    if (j->a->sinks) {
        float sink = j->a->sinks[head], most = sink > s->most[i] ? sink : s->most[i];
        scale = sg_expf(s->most[i] - most);
        sum = sum * scale + sg_expf(sink - most);
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

    scratch *s = sg_ops_worker(j->ops, worker);
    s->k = (float *)((unsigned char *)s + ((sizeof *s + 63) & ~(size_t)63));
    s->v = s->k + (size_t)CHUNK * (size_t)kv->dk;
    s->acc = s->v + (size_t)CHUNK * (size_t)kv->dv;
    memset(s->acc, 0, (size_t)(nrow * nh) * (size_t)kv->dv * sizeof(float));
    int lo = INT32_MAX, hi = 0;
    for (int r = 0; r < nrow; r++) {
        int first, end;
        visible(j, r0 + r, &first, &end);
        lo = first < lo ? first : lo;
        hi = end > hi ? end : hi;
    }
    for (int i = 0; i < nrow * nh; i++) {
        s->most[i] = -FLT_MAX;
        s->sum[i] = 0;
    }

    const int32_t *table = j->rows->table[j->rows->seq[r0]];
    for (int c = lo / CHUNK * CHUNK; c < hi; c += CHUNK) {
        load_chunk(j, table, head, c, hi - c < CHUNK ? hi - c : CHUNK, s);
        for (int r = 0; r < nrow; r++) {
            int first, end;
            visible(j, r0 + r, &first, &end);
            int a = first > c ? first - c : 0, b = end < c + CHUNK ? end - c : CHUNK;
            for (int h = 0; h < nh && a < b; h++)
                add_chunk(j, s, r * nh + h, j->q + (size_t)(r0 + r) * j->q_stride + (size_t)(h0 + h) * (size_t)kv->dk, h0 + h, c, a, b);
        }
    }
    for (int r = 0; r < nrow; r++)
        for (int h = 0; h < nh; h++)
            finish(j, s, r * nh + h, j->out + (size_t)(r0 + r) * j->out_stride + (size_t)(h0 + h) * (size_t)kv->dv, h0 + h);
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

void sg_op_attention(sg_ops *ops, float *out, size_t out_stride, const float *q, size_t q_stride, const sg_attention *a, const sg_kv_layer *kv, const sg_rows *rows)
{
    if (rows->nrow <= 0)
        return;
    SG_ASSERT(kv->dk <= SG_HEAD_DIM_MAX && kv->dv <= SG_HEAD_DIM_MAX && a->nhead % kv->nkv == 0);
    int32_t *tiles = sg_ops_scratch(ops, SG_SCRATCH_ROWS, ((size_t)rows->nrow + 1) * sizeof *tiles);
    attention_job j = {.out = out, .q = q, .out_stride = out_stride, .q_stride = q_stride, .a = a, .kv = kv, .rows = rows, .ops = ops, .tiles = tiles};
    j.group = a->nhead / kv->nkv;
    j.nsplit = (j.group + QUERIES - 1) / QUERIES;
    int ntile = make_tiles(tiles, rows, j.group < QUERIES ? QUERIES / j.group : 1);
    sg_pool_run(ops->pool, attention_task, &j, ntile * kv->nkv * j.nsplit);
}
