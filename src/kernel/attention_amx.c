/* kernel/attention_amx.c - attention with AMX tiles: bfloat16 products, float32 sums, softmax in AVX-512.
 *
 *     S [16 queries][64 positions]  =  Q [16][dk]  x  K [dk][64]            dk / 32 steps, four C tiles
 *     P = 2^((S - most) log2 e), two bfloat16 terms (Q8_0: one)
 *     acc [16][dv] +=  P [16][64]  x  V [64][dv]                            2 steps, dv / 64 times four C tiles; acc is scaled
 *                                                                           before where a query has a new maximum
 *
 * This file has the kernel's table and prompts: a chunk's keys and values become tiles, which up to 256 queries meet, 16 at a
 * time.  A step of all products (kernel/attention_amx.h: three for each, of two terms) is 3 x 16 cycles for 16 x 64 x 32
 * multiply-adds, so that the tiles could reach a third of their rate, 1 TFLOP/s a thread; the softmax, 16 scores in about 12
 * cycles, and the stores of tiles take about as long again, unless they run beside the products ("a chunk in a flow").
 *
 *     attention_amx.h           the forms of keys, values and queries, two terms
 *     attention_amx_product.h   products of tiles, at once or dealt out
 *     attention_amx_softmax.h   scores to probabilities, probabilities with values
 *     attention_amx_few.c       few queries: pieces that are split, used and forgotten
 */
#include "kernel/attention_amx_softmax.h"

enum { UNIT_QUERIES = 256 };

static size_t query_bytes(int nquery, int dk) { return (size_t)(blocks_of(nquery) * steps_of(dk)) * PAIR; }
static size_t k_bytes(int dk) { return k_tile_bytes(dk) + scale_bytes(dk); }
static size_t v_bytes(int dv) { return v_tile_bytes(dv) + scale_bytes(dv); }

/* Of two blocks: scores, Q8_0: some for each 32 dimensions, which become probabilities in their places. */
static size_t score_bytes(int nquery, int dk, int dv)
{
    (void)nquery;
    return (size_t)slots_of(dk, dv) * 2 * SCORES * sizeof(float);
}

/* ---- queries, keys, values in tiles ----------------------------------------------------- */

static void prepare(void *queries, const float *const *q, int nquery, int dk, float scale)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(t < 6 && nquery < BLOCK ? nquery : BLOCK);
    }
    SG_AMX_CONFIGURE(c);
    int nstep = steps_of(dk);
    v16 s = v_set(scale), zero = v_zero();
    memset(queries, 0, query_bytes(nquery, dk));
    for (int i = 0; i < nquery; i++)
        for (int d = 0; d < nstep; d++) {
            uint8_t *tile = (uint8_t *)queries + (size_t)(i / BLOCK * nstep + d) * PAIR + (size_t)(i % BLOCK) * 64;
            put_row(tile, v_mul(v_load(q[i] + d * 32), s), d * 32 + 16 < dk ? v_mul(v_load(q[i] + d * 32 + 16), s) : zero);
        }
}

static void finish(void) { SG_AMX_RELEASE(); }

static void load_k(sg_dtype type, void *k, int group, const void *stored, const void *next, int dk)
{
    float *scale = (float *)(void *)((uint8_t *)k + k_tile_bytes(dk)) + (size_t)group * SG_KV_GROUP;
    size_t unit = unit_of(type);
    load_group(type, (uint8_t *)k + (size_t)group * unit, 4 * unit, scale, stored, next, dk);
}

/* Sixteen values become the first (and the second is 0) or the second of the pairs of a line of the hi and lo tiles. */
VEC_INLINE void put_one(uint8_t *tile, v16 a, const bool second, const bool low)
{
    __m512i x = _mm512_castps_si512(a), u = _mm512_castps_si512(v_sub(a, _mm512_castsi512_ps(_mm512_and_epi32(x, HIGH))));
    x = second ? _mm512_or_si512(_mm512_and_epi32(x, HIGH), _mm512_load_si512(tile)) : _mm512_srli_epi32(x, 16);
    _mm512_store_si512(tile, x);
    if (!low)
        return;
    u = second ? _mm512_or_si512(_mm512_and_epi32(u, HIGH), _mm512_load_si512(tile + TILE)) : _mm512_srli_epi32(u, 16);
    _mm512_store_si512(tile + TILE, u);
}

VEC_INLINE void load_one(sg_dtype type, uint8_t *tile, const uint8_t *row, int dv, const bool second)
{
    if (type == SG_Q8_0) {
        for (int d = 0; d < dv; d += 32, row += 34)
            for (int i = 0; i < 2; i++)
                put_one(tile + (size_t)(d / 16 + i) * TILE, v_load_i8((const int8_t *)row + 2 + i * 16), second, false);
        return;
    }
    const uint16_t *x = (const void *)row;
    for (int d = 0; d < dv; d += 16)
        if (type == SG_F16)
            put_one(tile + (size_t)(d / 16) * PAIR, v_load_f16(x + d), second, true);
        else
            put_one(tile + (size_t)(d / 16) * TILE, v_load_bf16(x + d), second, false);
}

VEC_INLINE void load_rows(sg_dtype type, uint8_t *tile, const uint8_t *rows, const char *next, size_t row_bytes, int n, int dv,
                          const bool second)
{
    for (int t = 0; t < n; t++) {
        for (size_t i = 0; i < row_bytes; i += 64)
            __builtin_prefetch(next + (size_t)t * row_bytes + i, 0, 2);
        if (t % 4 == 0)
            STAY_AWAKE();
        load_one(type, tile + (size_t)t * 64, rows + (size_t)t * row_bytes, dv, second);
    }
}

/* A group of positions, which is one half of the lines of a step; the other half comes next. */
static void load_v(sg_dtype type, void *v, int at, const void *rows, const void *next, size_t row_bytes, int n, int dv)
{
    uint8_t *tile = (uint8_t *)v + (size_t)(at / 32 * (dv / 16)) * unit_of(type);
#define HALVES(TYPE)                                                        \
    do {                                                                    \
        if (at % 32)                                                        \
            load_rows(TYPE, tile, rows, next, row_bytes, n, dv, true);      \
        else                                                                \
            load_rows(TYPE, tile, rows, next, row_bytes, n, dv, false);     \
    } while (0)
    if (type == SG_F16)
        HALVES(SG_F16);
    else if (type == SG_BF16)
        HALVES(SG_BF16);
    else
        HALVES(SG_Q8_0);
    if (type == SG_Q8_0)
        load_scales((float *)(void *)((uint8_t *)v + v_tile_bytes(dv)) + at, rows, row_bytes, n, dv);
}

/* Values of positions from n on are 0: lines that no first half was written to. */
static void clear_rest(sg_dtype type, uint8_t *v, int n, int dv)
{
    int ntile = dv / 16 * (type == SG_F16 ? 2 : 1); /* of a step */
    clear_scales((float *)(void *)(v + v_tile_bytes(dv)), n, dv);
    for (int step = 0; step < 2; step++)
        for (int t = n - step * 32 > 0 ? n - step * 32 : 0; t < BLOCK; t++)
            for (int i = 0; i < ntile; i++)
                memset(v + (size_t)(step * ntile + i) * TILE + (size_t)t * 64, 0, 64);
}

/* ---- a chunk, block after block ---------------------------------------------------------------- */

VEC_INLINE void scores_block(const sg_attention_chunk *c, int i0, int nrow, const sg_dtype type)
{
    int nstep = steps_of(c->dk);
    const uint8_t *q = (const uint8_t *)c->queries + (size_t)(i0 / BLOCK * nstep) * PAIR, *k = c->k;
    if (type == SG_Q8_0)
        for (int b = 0; b < nstep; b++)
            product(c->s + (size_t)b * SCORES, 256, false, queries_at(q + (size_t)b * PAIR), k + (size_t)b * 4 * TILE, 0, 1, false, 4);
    else
        product(c->s, 256, false, queries_at(q), k, 4 * unit_of(type), nstep, type == SG_F16, 4);
    for (int i = 0; i < nrow; i++)
        soften_row(c, i0 + i, c->s + i * SG_KV_CHUNK, type == SG_Q8_0);
}

VEC_INLINE void values_block(const sg_attention_chunk *c, int i0, const sg_dtype type)
{
    int ntile = c->dv / 16;
    size_t unit = unit_of(type);
    float *acc = c->acc + (size_t)i0 * (size_t)c->dv;
    for (int d = 0, n; d < ntile; d += n) {
        n = ntile - d >= 4 ? 4 : ntile - d >= 2 ? 2 : 1;
        values_product(c, type, acc, d * 16, (const uint8_t *)c->v + (size_t)d * unit, (size_t)ntile * unit, n);
    }
}

/* ---- a chunk in a flow ------------------------------------------------------------------------ */

/* While vectors soften the scores of a block, tiles multiply: the probabilities of the block before with values, then the
 * next block's queries with keys.
 *
 *     vectors          | soften 0     | soften 1     | soften 2     | ...
 *     tiles     QK 0   | QK 1         | PV 0   QK 2  | PV 1   QK 3  | ...
 *
 * A step, one tile of A with four of B, is dealt out a tile of B at a time between the rows.  Two buffers for scores, which
 * become probabilities in place: keys and values of 64 dimensions, the buffers and what passes by just fit the first level
 * cache. */

/* A whole block of queries from i0 on, with a step in 8, 4, 2 rows or 1. */
VEC_INLINE void flow_block(const sg_attention_chunk *c, int i0, float *s, const flow_step *step, const sg_dtype type, const int rows)
{
#define PART(q)                                                                      \
    do {                                                                             \
        for (int r = (rows * (q) + 3) / 4; r < (rows * ((q) + 1) + 3) / 4; r++, i0++) { \
            soften_row(c, i0, s, type == SG_Q8_0);                                   \
            s += SG_KV_CHUNK;                                                        \
        }                                                                            \
        flow_quarter(step, q, type);                                                 \
    } while (0)
    for (int i = 0; i < BLOCK; i += rows, step++) {
        PART(0);
        PART(1);
        PART(2);
        PART(3);
    }
#undef PART
}

/* Any number of queries and steps. */
VEC_INLINE void flow_any(const sg_attention_chunk *c, int i0, int nrow, float *s, const flow_step *step, int n, const sg_dtype type)
{
    for (int i = 0, done = 0; i < nrow || done < n; i++) {
        if (i < nrow)
            soften_row(c, i0 + i, s + i * SG_KV_CHUNK, type == SG_Q8_0);
        for (; done < n && (done * nrow <= i * n || i >= nrow); done++)
            flow_run(step + done, 1, type);
    }
}

/* Values in whole 64 dimensions, at most FLOW_DIM of keys and values. */
VEC_INLINE void flow_of(const sg_attention_chunk *c, const sg_dtype type)
{
    int nblock = (c->to - c->from + BLOCK - 1) / BLOCK, nstep = steps_of(c->dk);
    flow_step step[FLOW_STEPS];
    for (int b = -1; b <= nblock; b++) {
        int n = 0, i0 = c->from + b * BLOCK, nrow = b < 0 || b == nblock ? 0 : c->to - i0 < BLOCK ? c->to - i0 : BLOCK;
        float *s = buffer_at(c, b), *other = buffer_at(c, b + 1); /* of the block before, then of the next */
        if (b > 0)
            n += flow_values(step, c, c->acc + (size_t)(i0 - BLOCK) * (size_t)c->dv, other);
        if (b + 1 < nblock)
            n += flow_scores(step + n, c, other, (const uint8_t *)c->queries + (size_t)((i0 + BLOCK) / BLOCK * nstep) * PAIR);
        if (nrow == BLOCK && n == 2)
            flow_block(c, i0, s, step, type, 8);
        else if (nrow == BLOCK && n == 4)
            flow_block(c, i0, s, step, type, 4);
        else if (nrow == BLOCK && n == 8)
            flow_block(c, i0, s, step, type, 2);
        else if (nrow == BLOCK && n == 16)
            flow_block(c, i0, s, step, type, 1);
        else
            flow_any(c, i0, nrow, s, step, n, type);
    }
}

/* Q8_0 of more dimensions has scores for each 32 that would not stay in the first level cache beside its keys and values. */
static bool flows(const sg_attention_chunk *c)
{
    int most = c->type == SG_Q8_0 ? 64 : FLOW_DIM;
    return c->dv % 64 == 0 && c->dk <= most && c->dv <= most;
}

VEC_INLINE void chunk_of(const sg_attention_chunk *c, const sg_dtype type)
{
    clear_rest(type, c->v, c->n, c->dv);
    if (flows(c)) {
        flow_of(c, type);
        return;
    }
    for (int i = c->from; i < c->to; i += BLOCK) {
        scores_block(c, i, c->to - i < BLOCK ? c->to - i : BLOCK, type);
        values_block(c, i, type);
    }
}

static void chunk(const sg_attention_chunk *c)
{
    if (c->type == SG_F16)
        chunk_of(c, SG_F16);
    else if (c->type == SG_BF16)
        chunk_of(c, SG_BF16);
    else
        chunk_of(c, SG_Q8_0);
}

const sg_attention_kernel sg_attention_kernel_amx = {
    .queries = UNIT_QUERIES,
    .query_bytes = query_bytes,
    .k_bytes = k_bytes,
    .v_bytes = v_bytes,
    .score_bytes = score_bytes,
    .prepare = prepare,
    .finish = finish,
    .load_k = load_k,
    .load_v = load_v,
    .chunk = chunk,
    .few = sg_attention_amx_few,
    .few_rest = sg_attention_amx_few_rest,
};
