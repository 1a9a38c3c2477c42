/* op/attention.c - attention over paged keys and values.
 *
 *     positions   0 ........ 1024 ........ 2048 .... pos          spans of 1024, chunks of 64
 *     tile        rows that are handled together: neighbours of one sequence
 *     unit        (tile, KV heads, piece of the group, spans [a, b)), up to 32 or 256 query vectors of a head
 *
 *     for each span of the unit, from nothing:
 *         for each chunk of 64 positions that the tile sees:
 *             the chunk's K and V in the kernel's form in the worker's scratch, once for all queries of the unit
 *             all queries: scores -> running softmax (Milakov and Gimelshein 2018, arXiv:1805.02867) -> weighted sum of V
 *         the span's maximum, sum and weighted sum join those of the spans before, in rising order
 *
 * A query's result is thus a function of its own q, position and keys: chunks and spans begin at fixed positions
 * whatever the row, a query handles only the part that it sees, and spans are joined in the same order whether one
 * worker went through them (the running total) or several (parts in the step's memory, joined in a second pass).  The
 * same bits come out in any tile, batch, chunking of the prompt or number of threads.
 *
 * That freedom is used twice.  A long context that would keep one worker busy while others wait is cut into a unit for
 * each span.  And sequences that decode behind the same blocks (a system prompt: kv/prefix.h) share a unit for each
 * span that all of them see whole: its keys and values are read and decoded once for all.
 *
 * Few queries (decoding) are limited by reading, and a block's heads are neighbours in memory: their units hold several KV
 * heads, which meet each chunk in turn.
 *
 * Units go through the task table with their loads, prompts' tiles and single rows side by side.
 *
 * Keys are stored in kernel/attention.h's groups of 16 positions when the block is a multiple of 16.  Small blocks, and
 * MLA's latent rows where V aliases K, stay in rows and are turned around on the way to the scratch.
 */
#include "kernel/attention.h"
#include "op/context.h"
#include "op/load.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum {
    QUERIES = 256,      /* query vectors of a unit at most, whatever the kernel */
    SPAN = 1024,        /* positions; part of the results' bits */
    SLAB = 4096,        /* rows that are planned at once */
    SHARE_GROUPS = 8,   /* prefixes that a new row is compared with */
    PART_BYTES = 8 << 20, /* memory for results of spans */
};

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
    write_job j = {sg_attention_vector_find(ops->isa),
                   kv,
                   rows,
                   k,
                   v,
                   k_stride,
                   v_stride,
                   sg_ops_row_step(ops, rows->nrow, 12 * kv->nkv * (kv->dk + kv->dv))};
    sg_ops_run(ops, "kv write", 0, write_task, &j, (rows->nrow + j.step - 1) / j.step);
}

/* ---- units ------------------------------------------------------------------------- */

typedef struct tile {
    int32_t at, n;       /* rows list[at .. at + n) */
    int32_t span0, span1; /* spans that some row sees */
    int32_t shared;      /* spans below this one are done by shared units */
    bool parts;          /* results of spans go to memory */
} tile;

typedef struct unit {
    int32_t at, n;         /* rows list[at .. at + n) */
    int32_t span0, span1;
    int16_t head0, head1;  /* KV heads */
    bool parts;
} unit;

typedef struct attention_job {
    const sg_attention_kernel *kernel;
    float *out;
    const float *q;
    size_t out_stride, q_stride;
    const sg_attention *a;
    const sg_kv_layer *kv;
    const sg_rows *rows;
    sg_ops *ops;
    int row0, nrow;       /* the slab */
    int group;            /* query heads of a KV head */
    int queries;          /* of a unit at most */
    int piece;            /* query heads of a group that are handled at once */
    int heads;            /* KV heads of a unit */
    int few_heads;        /* the same where queries are few */
    tile *tiles;
    unit *units;
    int32_t *list, nlist; /* rows, unit by unit */
    int32_t *part;        /* [nrow] where the parts of a row begin, or -1 */
    int32_t ntile, nunit, npart, part_max;
    float *parts;         /* [npart][nhead][part_width] */
    bool plain;           /* no unit writes parts */
} attention_job;

enum { TILES_MAX = SLAB, LIST_MAX = 4 * SLAB };

/* What a plan needs beside the parts. */
static size_t plan_bytes(void)
{
    return TILES_MAX * sizeof(tile) + SG_TASKS_MAX * sizeof(unit) + (LIST_MAX + SLAB) * sizeof(int32_t);
}

size_t sg_attention_plan_bytes(void) { return plan_bytes() + PART_BYTES + 256; }

/* A part: maximum, sum, [dv] weighted sum. */
static size_t part_width(const sg_kv_layer *kv) { return (size_t)kv->dv + 2; }

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

static const int32_t *table_of(const attention_job *j, int r) { return j->rows->table[j->rows->seq[r]]; }

/* ---- the worker's memory -------------------------------------------------------------- */

typedef struct scratch {
    void *queries, *k, *v;
    size_t k_bytes, v_bytes;
    float *s, *acc, *total; /* scores; [queries][dv] of the span, of all spans */
    float sum[QUERIES * 16], most[QUERIES], total_sum[QUERIES], total_most[QUERIES], slope[QUERIES];
    int first[QUERIES], end[QUERIES], row[QUERIES], head[QUERIES];
    int turn;      /* calls of the kernel's `few` in the span */
    float *before; /* acc of the last one */
    struct {
        int first, end;
    } see[QUERIES]; /* positions that the query sees */
    const float *q[QUERIES];
} scratch;

static size_t up64(size_t n) { return (n + 63) & ~(size_t)63; }

static size_t scratch_bytes(const sg_attention_kernel *k, int nquery, int dk, int dv)
{
    return up64(sizeof(scratch)) + k->query_bytes(nquery, dk) + k->k_bytes(dk) + k->v_bytes(dv) + k->score_bytes(nquery, dk, dv) +
           2 * up64((size_t)nquery * (size_t)dv * sizeof(float));
}

static scratch *scratch_of(const attention_job *j, int worker)
{
    const sg_attention_kernel *k = j->kernel;
    unsigned char *p = sg_ops_worker(j->ops, worker);
    scratch *s = (scratch *)(void *)p;
    p += up64(sizeof *s);
    s->queries = p;
    s->k = p += k->query_bytes(j->queries, j->kv->dk);
    s->k_bytes = k->k_bytes(j->kv->dk);
    s->v_bytes = k->v_bytes(j->kv->dv);
    s->v = p += s->k_bytes;
    s->s = (float *)(void *)(p += s->v_bytes);
    s->acc = (float *)(void *)(p += k->score_bytes(j->queries, j->kv->dk, j->kv->dv));
    s->total = (float *)(void *)(p + up64((size_t)j->queries * (size_t)j->kv->dv * sizeof(float)));
    return s;
}

static bool are_few(const attention_job *j, int nquery) { return j->kernel->few && nquery <= 16; }

static void *queries_of(const attention_job *j, int slot, scratch *s)
{
    return (unsigned char *)s->queries + (size_t)slot * (slot ? j->kernel->query_bytes(16, j->kv->dk) : 0);
}

/* ---- chunks and spans ------------------------------------------------------------------- */

/* Where a run of positions of a chunk is stored, and the same run of the next chunk (itself when that is not below `ahead`). */
typedef struct run {
    int n;
    int32_t block, next;
    int offset, next_offset;
} run;

static run run_at(const attention_job *j, const int32_t *table, int c, int i, int n, int ahead)
{
    int block = j->kv->block, pos = c + i, later = pos + SG_KV_CHUNK < ahead ? pos + SG_KV_CHUNK : pos;
    int most = grouped(j->kv) && block > SG_KV_GROUP ? SG_KV_GROUP : block, left = block - pos % block;
    most = left < most ? left : most;
    return (run){n - i < most ? n - i : most, table[pos / block], table[later / block], pos % block, later % block};
}

/* Keys of positions [c, c + n) of a sequence in the kernel's form. */
static void load_keys(const attention_job *j, const int32_t *table, int head, int c, int n, int ahead, scratch *s)
{
    const sg_kv_layer *kv = j->kv;
    for (int i = 0; i < n;) {
        run r = run_at(j, table, c, i, n, ahead);
        const unsigned char *k = k_row(kv, r.block, head, r.offset);
        if (grouped(kv))
            j->kernel->load_k(kv->type, s->k, i / SG_KV_GROUP, k, k_row(kv, r.next, head, r.next_offset), kv->dk);
        else
            j->kernel->load_turned(kv->type, s->k, i, k, kv->k_row_bytes, r.n, kv->dk);
        i += r.n;
    }
}

static void load_values(const attention_job *j, const int32_t *table, int head, int c, int n, int ahead, void *v)
{
    const sg_kv_layer *kv = j->kv;
    for (int i = 0; i < n;) {
        run r = run_at(j, table, c, i, n, ahead);
        j->kernel->load_v(kv->type, v, i, v_row(kv, r.block, head, r.offset), v_row(kv, r.next, head, r.next_offset), kv->v_row_bytes, r.n,
                          kv->dv);
        i += r.n;
    }
}

/* The kernel loads for itself, from blocks that hold whole groups; then it is the turn of head `then` of positions from `later` on. */
static void run_few(const attention_job *j, const int32_t *table, int head, int c, int then, int later, int end,
                    const sg_attention_chunk *chunk)
{
    const sg_kv_layer *kv = j->kv;
    int block = c / kv->block, at = c % kv->block, next = later / kv->block, next_at = later % kv->block;
    sg_attention_place p = {.v_row_bytes = kv->v_row_bytes};
    for (int i = 0, g = 0; i < chunk->n; i += SG_KV_GROUP, g++) {
        p.k[g] = k_row(kv, table[block], head, at);
        p.v[g] = v_row(kv, table[block], head, at);
        if (later + i < end) { /* there are no blocks beyond */
            p.next_k[g] = k_row(kv, table[next], then, next_at);
            p.next_v[g] = v_row(kv, table[next], then, next_at);
        } else {
            p.next_k[g] = p.next_k[g - 1];
            p.next_v[g] = p.next_v[g - 1];
        }
        if ((at += SG_KV_GROUP) == kv->block)
            at = 0, block++;
        if ((next_at += SG_KV_GROUP) == kv->block)
            next_at = 0, next++;
    }
    j->kernel->few(chunk, &p);
}

/* What is the same for all chunks of a span; heads beyond the first of the unit have their slots behind it. */
static sg_attention_chunk chunk_of(const attention_job *j, int slot, int nquery, scratch *s)
{
    int i = slot * nquery;
    return (sg_attention_chunk){.type = j->kv->type,
                                .to = nquery,
                                .dk = j->kv->dk,
                                .dv = j->kv->dv,
                                .q = s->q + i,
                                .queries = queries_of(j, slot, s),
                                .k = s->k,
                                .v = s->v,
                                .first = s->first,
                                .end = s->end,
                                .slope = j->a->alibi ? s->slope + i : NULL,
                                .scale = j->a->scale,
                                .softcap = j->a->softcap,
                                .most = s->most + i,
                                .sum = s->sum + (size_t)i * 16,
                                .acc = s->acc + (size_t)i * (size_t)j->kv->dv,
                                .s = s->s,
                                .turn = s->turn,
                                .acc_before = s->before};
}

/* All queries of `nhead` KV heads, more than one only when they are few, against positions [c, end) of a chunk. */
static void run_chunk(const attention_job *j, const int32_t *table, int head0, int nhead, int c, int end, int nquery, scratch *s)
{
    int n = end - c < SG_KV_CHUNK ? end - c : SG_KV_CHUNK, from = nquery, to = 0;
    for (int i = 0; i < nquery; i++) {
        s->first[i] = s->see[i].first > c ? s->see[i].first - c : 0;
        s->end[i] = s->see[i].end < c + n ? s->see[i].end - c : n;
        if (s->first[i] >= s->end[i]) {
            s->first[i] = s->end[i] = 0;
            continue;
        }
        from = i < from ? i : from;
        to = i + 1;
    }
    if (from >= to)
        return;
    for (int i = 0; i < nhead && are_few(j, nquery); i++, s->turn++) {
        sg_attention_chunk chunk = chunk_of(j, i, nquery, s);
        int last = i + 1 == nhead, later = last && c + SG_KV_CHUNK < end ? c + SG_KV_CHUNK : c;
        chunk.n = n;
        chunk.base = c;
        run_few(j, table, head0 + i, c, last ? head0 : head0 + i + 1, later, end, &chunk);
        s->before = chunk.acc;
    }
    if (are_few(j, nquery))
        return;
    sg_attention_chunk chunk = chunk_of(j, 0, nquery, s);
    chunk.n = n;
    chunk.base = c;
    chunk.from = from / 16 * 16;
    chunk.to = (to + 15) / 16 * 16 < nquery ? (to + 15) / 16 * 16 : nquery;
    load_keys(j, table, head0, c, n, end, s);
    load_values(j, table, head0, c, n, end, s->v);
    j->kernel->chunk(&chunk);
}

/* A span's result joins a query's total.  A span of which the query saw nothing (sum 0) changes nothing; the first one
 * that it saw is copied. */
static void join(float *most, float *sum, float *acc, float span_most, float span_sum, const float *span_acc, int dv)
{
    if (span_sum == 0)
        return;
    if (*sum == 0) {
        *most = span_most;
        *sum = span_sum;
        memcpy(acc, span_acc, (size_t)dv * sizeof *acc);
        return;
    }
    float top = span_most > *most ? span_most : *most, a = expf(*most - top), b = expf(span_most - top);
    *most = top;
    *sum = *sum * a + span_sum * b;
    for (int d = 0; d < dv; d++)
        acc[d] = acc[d] * a + span_acc[d] * b;
}

/* The sink joins the sum; then out = acc / sum. */
static void put_out(const attention_job *j, float *out, int head, float most, float sum, const float *acc)
{
    float scale = 1;
    if (j->a->sinks) {
        float sink = j->a->sinks[head], top = sink > most ? sink : most;
        scale = expf(most - top);
        sum = sum * scale + expf(sink - top);
    }
    scale /= sum;
    for (int d = 0; d < j->kv->dv; d++)
        out[d] = acc[d] * scale;
}

static float *part_of(const attention_job *j, int r, int span, int head)
{
    return j->parts + ((size_t)(j->part[r - j->row0] + span) * (size_t)j->a->nhead + (size_t)head) * part_width(j->kv);
}

static float sum_lanes(const float *s)
{
    float t[8];
    for (int i = 0; i < 8; i++)
        t[i] = s[i] + s[i + 8];
    for (int half = 4; half; half /= 2)
        for (int i = 0; i < half; i++)
            t[i] += t[i + half];
    return t[0];
}

static void run_span(const attention_job *j, const unit *u, int head0, int nhead, int span, int nquery, scratch *s)
{
    int dv = j->kv->dv, lo = INT32_MAX, hi = 0, nall = nhead * nquery;
    for (int i = 0; i < nquery; i++) {
        lo = s->see[i].first < lo ? s->see[i].first : lo;
        hi = s->see[i].end > hi ? s->see[i].end : hi;
    }
    for (int i = 0; i < nall; i++)
        s->most[i] = -FLT_MAX;
    lo = lo > span * SPAN ? lo : span * SPAN;
    hi = hi < (span + 1) * SPAN ? hi : (span + 1) * SPAN;
    memset(s->sum, 0, (size_t)nall * 16 * sizeof(float));
    memset(s->acc, 0, (size_t)nall * (size_t)dv * sizeof(float));
    s->turn = 0;
    for (int c = lo / SG_KV_CHUNK * SG_KV_CHUNK; c < hi; c += SG_KV_CHUNK)
        run_chunk(j, table_of(j, j->list[u->at]), head0, nhead, c, hi, nquery, s);
    if (s->turn) {
        sg_attention_chunk chunk = chunk_of(j, 0, nquery, s);
        j->kernel->few_rest(&chunk);
    }
    for (int i = 0; i < nall; i++) {
        const float *acc = s->acc + (size_t)i * (size_t)dv;
        float sum = sum_lanes(s->sum + (size_t)i * 16);
        if (u->parts) {
            float *part = part_of(j, s->row[i], span, s->head[i]);
            part[0] = s->most[i];
            part[1] = sum;
            memcpy(part + 2, acc, (size_t)dv * sizeof *acc);
        } else {
            join(&s->total_most[i], &s->total_sum[i], s->total + (size_t)i * (size_t)dv, s->most[i], sum, acc, dv);
        }
    }
}

/* ---- tasks --------------------------------------------------------------------------------- */

/* One piece of the query heads of a KV head, or all those of several KV heads of few queries. */
static void run_piece(const attention_job *j, const unit *u, int kv_head, int nhead, int h0, int nh, scratch *s)
{
    int nquery = u->n * nh, nall = nhead * nquery, dv = j->kv->dv;
    for (int i = 0; i < nall; i++) {
        s->row[i] = j->list[u->at + i % nquery / nh];
        s->head[i] = h0 + i / nquery * j->group + i % nh;
        s->q[i] = j->q + (size_t)s->row[i] * j->q_stride + (size_t)s->head[i] * (size_t)j->kv->dk;
        s->slope[i] = j->a->alibi ? j->a->alibi[s->head[i]] : 0;
        s->total_sum[i] = 0;
        visible(j, s->row[i], &s->see[i].first, &s->see[i].end);
    }
    for (int i = 0; i < nhead; i++)
        j->kernel->prepare(queries_of(j, i, s), s->q + i * nquery, nquery, j->kv->dk, j->a->scale);
    for (int span = u->span0; span < u->span1; span++)
        run_span(j, u, kv_head, nhead, span, nquery, s);
    j->kernel->finish();
    for (int i = 0; i < nall && !u->parts; i++)
        put_out(j, j->out + (size_t)s->row[i] * j->out_stride + (size_t)s->head[i] * (size_t)dv, s->head[i], s->total_most[i],
                s->total_sum[i], s->total + (size_t)i * (size_t)dv);
}

/* KV heads whose queries may take turns. */
static int heads_at_once(const attention_job *j, int nrow)
{
    return are_few(j, nrow * j->group) && j->piece == j->group ? j->queries / 16 : 1;
}

static void attention_task(void *arg, int task, int worker)
{
    const attention_job *j = arg;
    const unit *u = &j->units[task];
    scratch *s = scratch_of(j, worker);
    int most = heads_at_once(j, u->n);
    for (int head = u->head0, n; head < u->head1; head += n) {
        n = u->head1 - head < most ? u->head1 - head : most;
        for (int h = 0; h < j->group; h += j->piece)
            run_piece(j, u, head, n, head * j->group + h, j->group - h < j->piece ? j->group - h : j->piece, s);
    }
}

/* Join the parts of the tiles that have them. */
static void join_task(void *arg, int task, int worker)
{
    const attention_job *j = arg;
    const tile *t = &j->tiles[task];
    scratch *s = scratch_of(j, worker);
    for (int i = 0; i < t->n && t->parts; i++)
        for (int h = 0, r = j->list[t->at + i]; h < j->a->nhead; h++) {
            float most = 0, sum = 0;
            for (int span = t->span0; span < t->span1; span++) {
                const float *part = part_of(j, r, span, h);
                join(&most, &sum, s->total, part[0], part[1], part + 2, j->kv->dv);
            }
            put_out(j, j->out + (size_t)r * j->out_stride + (size_t)h * (size_t)j->kv->dv, h, most, sum, s->total);
        }
}

/* ---- the plan -------------------------------------------------------------------------------- */

/* Rows of a tile of a run of `n` neighbours.  Fewer tiles bring keys and values to the kernel's form less often, which costs about
 * what sixteen queries do; but the units of a tile, one for each KV head, should come out even over the workers. */
static int tile_rows(const attention_job *j, int n)
{
    enum { BLOCK = 16, UNIT_LEAST = 64 };
    int most = j->piece == j->group ? j->queries / j->group : 1, best = most;
    int64_t least = INT64_MAX;
    for (int t = (n + most - 1) / most; t == (n + most - 1) / most || (int64_t)n * j->group >= (int64_t)t * UNIT_LEAST; t++) {
        int rows = (n + t - 1) / t;
        while (rows < most && rows < n && rows * j->group % BLOCK) /* a block of queries costs the same, full or not */
            rows++;
        int64_t units = (int64_t)((n + rows - 1) / rows) * j->kv->nkv, rounds = (units + j->ops->nworker - 1) / j->ops->nworker;
        int64_t cost = rounds * ((rows * j->group + BLOCK - 1) / BLOCK + 1);
        if (cost < least)
            least = cost, best = rows;
    }
    return best;
}

/* Runs of rows of one sequence, cut into tiles. */
static void make_tiles(attention_job *j)
{
    int end = j->row0 + j->nrow, most = 1;
    for (int r = j->row0; r < end; r++) {
        tile *t = &j->tiles[j->ntile - 1];
        int first, last;
        visible(j, r, &first, &last);
        bool begins = r == j->row0 || j->rows->seq[r] != j->rows->seq[r - 1];
        if (begins) {
            int n = 1;
            while (r + n < end && j->rows->seq[r + n] == j->rows->seq[r])
                n++;
            most = tile_rows(j, n);
        }
        if (begins || t->n == most) {
            t = &j->tiles[j->ntile++];
            *t = (tile){.at = j->nlist, .span0 = first / SPAN, .span1 = 1};
        }
        j->list[j->nlist++] = r;
        j->part[r - j->row0] = -1;
        t->n++;
        t->span0 = first / SPAN < t->span0 ? first / SPAN : t->span0;
        t->span1 = (last + SPAN - 1) / SPAN > t->span1 ? (last + SPAN - 1) / SPAN : t->span1;
    }
}

static uint64_t head_load(const attention_job *j, int nrow, int npos)
{
    return sg_load_attention(nrow * j->group, npos, j->kv->dk, j->kv->dv);
}

/* KV heads of a unit. */
static int heads_of(const attention_job *j, int nrow)
{
    return are_few(j, nrow * j->group) && j->few_heads > j->heads ? j->few_heads : j->heads;
}

static int positions(const attention_job *j, const tile *t, int span0, int span1)
{
    int first, end, last;
    visible(j, j->list[t->at], &first, &end);
    visible(j, j->list[t->at + t->n - 1], &last, &end);
    first = first > span0 * SPAN ? first : span0 * SPAN;
    end = end < span1 * SPAN ? end : span1 * SPAN;
    return end > first ? end - first : 0;
}

/* Give a tile's rows memory for the parts of their spans; false when there is none left. */
static bool want_parts(attention_job *j, tile *t)
{
    int need = t->n * t->span1;
    if (t->parts)
        return true;
    if (need > j->part_max - j->npart)
        return false;
    for (int i = 0; i < t->n; i++)
        j->part[j->list[t->at + i] - j->row0] = j->npart + i * t->span1;
    j->npart += need;
    t->parts = true;
    j->plain = false;
    return true;
}

static void add_units(attention_job *j, const unit *u, int npos)
{
    int heads = heads_of(j, u->n);
    SG_ASSERT(j->nunit + (j->kv->nkv + heads - 1) / heads <= SG_TASKS_MAX);
    for (int h = 0; h < j->kv->nkv; h += heads) {
        unit *to = &j->units[j->nunit++];
        *to = *u;
        to->head0 = (int16_t)h;
        to->head1 = (int16_t)(h + heads < j->kv->nkv ? h + heads : j->kv->nkv);
        sg_tasks_add(&j->ops->tasks, head_load(j, u->n, npos) * (uint64_t)(to->head1 - h));
    }
}

/* Single rows that see the whole of a span, all of it in the same blocks. */
static bool may_share(const attention_job *j, const tile *t, int span)
{
    int first, end;
    visible(j, j->list[t->at], &first, &end);
    return t->n == 1 && t->shared == span && first <= span * SPAN && end >= (span + 1) * SPAN;
}

static bool same_blocks(const attention_job *j, const tile *a, const tile *b, int span)
{
    int b0 = span * SPAN / j->kv->block, b1 = ((span + 1) * SPAN - 1) / j->kv->block + 1;
    const int32_t *x = table_of(j, j->list[a->at]), *y = table_of(j, j->list[b->at]);
    return memcmp(x + b0, y + b0, (size_t)(b1 - b0) * sizeof *x) == 0;
}

/* Units for one span of tiles that share it: members are tiles `next` leads through from `head`. */
static void share_units(attention_job *j, const int16_t *next, int head, int span)
{
    int most = j->queries / j->piece;
    for (int m = head; m >= 0;) {
        unit u = {.at = j->nlist, .span0 = span, .span1 = span + 1, .parts = true};
        int begin = m, count = 0;
        for (int i = m; i >= 0 && count < most; i = next[i])
            count++;
        if (count < 2 || j->nlist + count > LIST_MAX || j->nunit + j->kv->nkv > SG_TASKS_MAX - j->ntile * j->kv->nkv)
            return; /* the tiles' own units have their place */
        for (int i = 0; i < count; i++, m = next[m])
            if (!want_parts(j, &j->tiles[m]))
                return;
        for (int i = 0, t = begin; i < count; i++, t = next[t])
            j->list[j->nlist++] = j->list[j->tiles[t].at];
        u.n = count;
        add_units(j, &u, SPAN);
        for (int i = 0, t = begin; i < count; i++, t = next[t])
            j->tiles[t].shared = span + 1;
    }
}

/* Spans from 0 on that several rows read through the same blocks. */
static void share_spans(attention_job *j)
{
    int16_t next[TILES_MAX];
    for (int span = 0, found = 1; found && j->kv->block <= SPAN; span++) {
        int head[SHARE_GROUPS], tail[SHARE_GROUPS], ngroup = 0;
        found = 0;
        for (int i = 0; i < j->ntile; i++) {
            int g = 0;
            next[i] = -1;
            if (!may_share(j, &j->tiles[i], span))
                continue;
            while (g < ngroup && !same_blocks(j, &j->tiles[head[g]], &j->tiles[i], span))
                g++;
            if (g == SHARE_GROUPS)
                continue;
            if (g < ngroup) {
                next[tail[g]] = (int16_t)i;
                found = 1;
            } else {
                head[ngroup++] = i;
            }
            tail[g] = i;
        }
        for (int g = 0; g < ngroup && found; g++)
            if (next[head[g]] >= 0)
                share_units(j, next, head[g], span);
    }
}

static uint64_t tile_load(const attention_job *j, const tile *t) { return head_load(j, t->n, positions(j, t, 0, t->span1)); }

/* The tasks as they would be with every tile whole, or cut into spans; false when they are many. */
static bool try_tasks(attention_job *j, bool cut)
{
    enum { FEW = 64 };
    sg_tasks *tasks = &j->ops->tasks;
    for (int i = 0; i < j->ntile; i++) {
        const tile *t = &j->tiles[i];
        int heads = heads_of(j, t->n);
        for (int span = t->span0; span < t->span1; span = cut ? span + 1 : t->span1)
            for (int h = 0; h < j->kv->nkv; h += heads) {
                int n = j->kv->nkv - h < heads ? j->kv->nkv - h : heads;
                if (tasks->n == FEW)
                    return false;
                sg_tasks_add(tasks, head_load(j, t->n, positions(j, t, span, cut ? span + 1 : t->span1)) * (uint64_t)n);
            }
    }
    return true;
}

/* Whether the workers get even shares; of many units (false) nobody knows, but they are even anyway, or have large ones among them. */
static bool even(attention_job *j, bool cut)
{
    sg_tasks *tasks = &j->ops->tasks;
    int nworker = j->ops->nworker;
    uint64_t total = 0, most = 0;
    if (tasks->n)
        return false;
    bool known = try_tasks(j, cut);
    sg_tasks_rank(tasks);
    for (int w = 0; w < nworker && known; w++) {
        uint64_t sum = 0;
        for (int i = 0; sg_tasks_dealt(nworker, w, i) < tasks->n; i++)
            sum += sg_tasks_load(tasks, (int)sg_tasks_dealt(nworker, w, i));
        most = sum > most ? sum : most;
        total += sum;
    }
    sg_tasks_clear(tasks);
    return known && most * (uint64_t)nworker <= total + total / 24;
}

/* Heads of few queries in a unit: neighbours in memory, so as many as leave the workers even shares. */
static void choose_heads(attention_job *j)
{
    int most = heads_at_once(j, 1);
    j->few_heads = j->kv->nkv < most ? j->kv->nkv : most;
    while (j->few_heads > 1 && j->ntile < 64 && !even(j, false) && !even(j, true))
        j->few_heads /= 2;
}

static void make_units(attention_job *j)
{
    uint64_t total = 0;
    for (int i = 0; i < j->ntile; i++)
        total += tile_load(j, &j->tiles[i]) * (uint64_t)j->kv->nkv;
    uint64_t large = even(j, false) ? UINT64_MAX : total / (uint64_t)(4 * j->ops->nworker);
    for (int i = j->ntile - 1; i >= 0; i--) {
        tile *t = &j->tiles[i];
        int from = t->shared > t->span0 ? t->shared : t->span0, left = SG_TASKS_MAX - j->nunit - (i + 1) * j->kv->nkv;
        uint64_t load = head_load(j, t->n, positions(j, t, from, t->span1)) * (uint64_t)heads_of(j, t->n);
        bool cut = j->ops->nworker > 1 && t->span1 - from > 1 && load > large &&
                   (t->span1 - from) * j->kv->nkv < left && want_parts(j, t);
        for (int span = from; span < t->span1; span += cut ? 1 : t->span1 - from) {
            unit u = {.at = t->at, .n = t->n, .span0 = span, .span1 = cut ? span + 1 : t->span1, .parts = t->parts};
            add_units(j, &u, positions(j, t, u.span0, u.span1));
        }
    }
}

static void run_slab(attention_job *j)
{
    unsigned char *p = sg_ops_scratch(j->ops, SG_SCRATCH_ATTENTION, sg_attention_plan_bytes());
    j->ntile = j->nunit = j->npart = j->nlist = 0;
    j->plain = true;
    j->tiles = (tile *)(void *)p;
    j->units = (unit *)(void *)(p += TILES_MAX * sizeof(tile));
    j->list = (int32_t *)(void *)(p += SG_TASKS_MAX * sizeof(unit));
    j->part = j->list + LIST_MAX;
    j->parts = (float *)(void *)(p + (LIST_MAX + SLAB) * sizeof(int32_t));
    size_t width = part_width(j->kv) * (size_t)j->a->nhead * sizeof(float);
    j->part_max = (int)(PART_BYTES / width);
    sg_tasks_clear(&j->ops->tasks);
    make_tiles(j);
    j->heads = 1; /* of a unit; more when there would be too many units */
    while ((int64_t)j->ntile * ((j->kv->nkv + j->heads - 1) / j->heads) > SG_TASKS_MAX / 2)
        j->heads *= 2;
    choose_heads(j);
    if (j->heads == 1)
        share_spans(j);
    make_units(j);
    sg_ops_run_tasks(j->ops, "attention", 0, attention_task, j, &j->ops->tasks);
    if (!j->plain)
        sg_ops_run(j->ops, "attention join", 0, join_task, j, j->ntile);
}

void sg_op_attention(sg_ops *ops, float *out, size_t out_stride, const float *q, size_t q_stride, const sg_attention *a,
                     const sg_kv_layer *kv, const sg_rows *rows)
{
    SG_ASSERT(kv->dk <= SG_HEAD_DIM_MAX && kv->dv <= SG_HEAD_DIM_MAX && a->nhead % kv->nkv == 0);
    attention_job j = {.kernel = sg_attention_kernel_find(ops->isa, kv->type, kv->dk, kv->dv, grouped(kv)),
                       .out = out,
                       .q = q,
                       .out_stride = out_stride,
                       .q_stride = q_stride,
                       .a = a,
                       .kv = kv,
                       .rows = rows,
                       .ops = ops};
    j.queries = j.kernel->queries;
    while (j.queries > 16 && scratch_bytes(j.kernel, j.queries, kv->dk, kv->dv) > SG_WORKER_BYTES)
        j.queries /= 2;
    SG_ASSERT(scratch_bytes(j.kernel, j.queries, kv->dk, kv->dv) <= SG_WORKER_BYTES);
    j.group = a->nhead / kv->nkv;
    j.piece = j.group < j.queries ? j.group : j.queries;
    for (j.row0 = 0; j.row0 < rows->nrow; j.row0 += SLAB) {
        j.nrow = rows->nrow - j.row0 < SLAB ? rows->nrow - j.row0 : SLAB;
        run_slab(&j);
    }
}
