/* kernel/attention_body.h - the attention loops, written once over kernel/vec.h and compiled for each table.
 *
 * Scores: for a block of up to 6 queries and VEC_GROUPS groups of 16 keys, each dimension costs one load
 * of keys a group and one fused multiply-add a query and group, with the query's value broadcast from
 * memory: on AVX-512 24 accumulators, 4 keys, near the peak of the multipliers.  Sums over dimensions
 * run in rising order in one accumulator, so a score has the same bits in any block.
 *
 * Values: the same shape, with probabilities in the place of queries and positions in the place of
 * dimensions.  A position that a query does not see has probability exactly 0; adding 0 * v leaves the
 * accumulator as it is (v is finite: it was computed by the same sequence's step or an earlier one).
 */
#include "kernel/attention.h"
#include "kernel/vec.h"

enum { QUERY_BLOCK = 6 };

/* ---- stored forms ------------------------------------------------------------------- */

/* Ask for the lines of `bytes` bytes. */
VEC_INLINE void ask(const void *p, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 64)
        __builtin_prefetch((const char *)p + i, 0, 2);
}

static void load_k(sg_dtype type, void *k, int at, const void *group, const void *next, int dk)
{
    ask(next, sg_dtype_row_bytes(type, (uint64_t)dk) * SG_KV_GROUP);
    const uint16_t *h = group;
    float *kt = (float *)k + (size_t)at * (size_t)dk * SG_KV_GROUP;
    if (type == SG_F32)
        memcpy(kt, group, (size_t)dk * SG_KV_GROUP * sizeof *kt);
    else if (type == SG_F16)
        for (int d = 0; d < dk; d++)
            v_store(kt + d * SG_KV_GROUP, v_load_f16(h + d * SG_KV_GROUP));
    else if (type == SG_BF16)
        for (int d = 0; d < dk; d++)
            v_store(kt + d * SG_KV_GROUP, v_load_bf16(h + d * SG_KV_GROUP));
    else
        for (int b = 0; b < dk / 32; b++) {
            const unsigned char *p = (const unsigned char *)group + (size_t)b * 544;
            v16 scale = v_load_f16((const void *)p);
            for (int d = 0; d < 32; d++)
                v_store(kt + (b * 32 + d) * SG_KV_GROUP, v_mul(v_load_i8((const int8_t *)p + 32 + d * SG_KV_GROUP), scale));
        }
}

static void load_row(sg_dtype type, float *x, const void *row, int n)
{
    const uint16_t *h = row;
    int i = 0;
    if (type == SG_F32) {
        memcpy(x, row, (size_t)n * sizeof *x);
    } else if (type == SG_F16) {
        for (; i + 16 <= n; i += 16)
            v_store(x + i, v_load_f16(h + i));
        for (; i < n; i++)
            x[i] = sg_f16_to_f32(h[i]);
    } else if (type == SG_BF16) {
        for (; i + 16 <= n; i += 16)
            v_store(x + i, v_load_bf16(h + i));
        for (; i < n; i++)
            x[i] = sg_bf16_to_f32(h[i]);
    } else {
        for (const unsigned char *b = row; i < n; i += 32, b += 34) {
            uint16_t d;
            memcpy(&d, b, sizeof d);
            v16 scale = v_set(sg_f16_to_f32(d));
            v_store(x + i, v_mul(v_load_i8((const int8_t *)b + 2), scale));
            v_store(x + i + 16, v_mul(v_load_i8((const int8_t *)b + 18), scale));
        }
    }
}

static void load_v(sg_dtype type, void *v, int at, const void *rows, const void *next, size_t row_bytes, int n, int dv)
{
    ask(next, row_bytes * (size_t)n);
    for (int t = 0; t < n; t++)
        load_row(type, (float *)v + (size_t)(at + t) * (size_t)dv, (const unsigned char *)rows + (size_t)t * row_bytes, dv);
}

/* Rows as columns of the groups; behind the groups there is room for a row. */
static void load_turned(sg_dtype type, void *k, int at, const void *rows, size_t row_bytes, int n, int dk)
{
    float *row = (float *)k + (size_t)SG_KV_CHUNK * (size_t)dk;
    for (int t = at; t < at + n; t++) {
        float *kt = (float *)k + (size_t)(t / SG_KV_GROUP) * (size_t)dk * SG_KV_GROUP + t % SG_KV_GROUP;
        load_row(type, row, (const unsigned char *)rows + (size_t)(t - at) * row_bytes, dk);
        for (int d = 0; d < dk; d++)
            kt[(size_t)d * SG_KV_GROUP] = row[d];
    }
}

enum { UNIT_QUERIES = 32 };

static size_t lines(size_t nfloat) { return (nfloat * sizeof(float) + 63) & ~(size_t)63; }
static size_t k_bytes(int dk) { return lines((size_t)(SG_KV_CHUNK + 1) * (size_t)dk); }
static size_t v_bytes(int dv) { return lines((size_t)SG_KV_CHUNK * (size_t)dv); }
static size_t score_bytes(int nquery, int dk, int dv)
{
    (void)dv;
    (void)dk;
    return lines((size_t)SG_KV_CHUNK * (size_t)nquery);
}

/* Queries are read as they are. */
static size_t query_bytes(int nquery, int dk)
{
    (void)nquery, (void)dk;
    return 0;
}

static void prepare(void *queries, const float *const *q, int nquery, int dk, float scale)
{
    (void)queries, (void)q, (void)nquery, (void)dk, (void)scale;
}

static void finish(void) {}

/* One block of 32 values as int8 with a half-float scale. */
static uint16_t quantize32(int8_t *q, const float *x)
{
    float most = 0;
    for (int i = 0; i < 32; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    float d = most / 127.0f, inv = d > 0 ? 1.0f / d : 0;
    for (int i = 0; i < 32; i++) {
        float y = x[i] * inv;
        y = y > 127.0f ? 127.0f : y < -127.0f ? -127.0f : y;
        q[i] = (int8_t)lrintf(y);
    }
    return sg_f32_to_f16(d);
}

static void store_row(sg_dtype type, void *row, const float *x, int n)
{
    uint16_t *h = row;
    int i = 0;
    if (type == SG_F32) {
        memcpy(row, x, (size_t)n * sizeof *x);
    } else if (type == SG_F16) {
        for (; i + 16 <= n; i += 16)
            v_store_f16(h + i, v_load(x + i));
        for (; i < n; i++)
            h[i] = sg_f32_to_f16(x[i]);
    } else if (type == SG_BF16) {
        for (; i < n; i++)
            h[i] = sg_f32_to_bf16(x[i]);
    } else {
        for (unsigned char *b = row; i < n; i += 32, b += 34) {
            uint16_t d = quantize32((int8_t *)b + 2, x + i);
            memcpy(b, &d, sizeof d);
        }
    }
}

static void store_k(sg_dtype type, void *group, int lane, const float *x, int dk)
{
    if (type == SG_F32) {
        for (int d = 0; d < dk; d++)
            ((float *)group)[d * SG_KV_GROUP + lane] = x[d];
    } else if (type == SG_F16 || type == SG_BF16) {
        uint16_t t[64];
        for (int d = 0; d < dk; d += 64) {
            int n = dk - d < 64 ? dk - d : 64;
            store_row(type, t, x + d, n);
            for (int i = 0; i < n; i++)
                ((uint16_t *)group)[(d + i) * SG_KV_GROUP + lane] = t[i];
        }
    } else {
        for (int b = 0; b < dk / 32; b++) {
            unsigned char *p = (unsigned char *)group + (size_t)b * 544;
            int8_t q[32];
            uint16_t d = quantize32(q, x + b * 32);
            memcpy(p + 2 * lane, &d, sizeof d);
            for (int i = 0; i < 32; i++)
                p[32 + i * SG_KV_GROUP + lane] = (unsigned char)q[i];
        }
    }
}

/* ---- scores ---------------------------------------------------------------------------- */

/* s[i][16 g ..] = q[i] . keys of groups [g, g + ng) for nq queries; nq and ng are constants where this is inlined. */
VEC_INLINE void scores_block(const sg_attention_chunk *c, int i0, const int nq, int g, const int ng)
{
    v16 sum[QUERY_BLOCK][VEC_GROUPS];
    const float *q[QUERY_BLOCK], *k = (const float *)c->k + (size_t)g * (size_t)c->dk * SG_KV_GROUP;
    size_t next = (size_t)c->dk * SG_KV_GROUP;
    for (int i = 0; i < nq; i++) {
        q[i] = c->q[i0 + i];
        for (int j = 0; j < ng; j++)
            sum[i][j] = v_zero();
    }
    for (int d = 0; d < c->dk; d++, k += SG_KV_GROUP) {
        v16 key[VEC_GROUPS];
        for (int j = 0; j < ng; j++)
            key[j] = v_load(k + (size_t)j * next);
        for (int i = 0; i < nq; i++) {
            v16 x = v_set(q[i][d]);
            for (int j = 0; j < ng; j++)
                sum[i][j] = v_fma(x, key[j], sum[i][j]);
        }
    }
    for (int i = 0; i < nq; i++)
        for (int j = 0; j < ng; j++)
            v_store(c->s + (size_t)(i0 + i) * SG_KV_CHUNK + (g + j) * SG_KV_GROUP, sum[i][j]);
}

VEC_INLINE void scores_groups(const sg_attention_chunk *c, int i0, const int nq)
{
    int ngroup = (c->n + SG_KV_GROUP - 1) / SG_KV_GROUP, g = 0;
    if (VEC_GROUPS > 1)
        for (; g + VEC_GROUPS <= ngroup; g += VEC_GROUPS)
            scores_block(c, i0, nq, g, VEC_GROUPS);
    for (; g < ngroup; g++)
        scores_block(c, i0, nq, g, 1);
}

/* ---- running softmax ------------------------------------------------------------------- */

/* Scores of query i become probabilities against the new running maximum; returns what the old sums are worth. */
static float soften(const sg_attention_chunk *c, int i)
{
    float *s = c->s + (size_t)i * SG_KV_CHUNK;
    int first = c->first[i], end = c->end[i], ngroup = (c->n + SG_KV_GROUP - 1) / SG_KV_GROUP;
    v16 most = v_set(-FLT_MAX), none = v_set(-FLT_MAX), scale = v_set(c->scale);
    for (int g = 0; g < ngroup; g++) {
        v16 x = v_mul(v_load(s + g * SG_KV_GROUP), scale);
        if (c->softcap > 0)
            x = v_mul(v_tanh(v_div(x, v_set(c->softcap))), v_set(c->softcap));
        if (c->slope) {
            static const float lane[SG_KV_GROUP] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
            v16 at = v_add(v_load(lane), v_set((float)(c->base + g * SG_KV_GROUP)));
            x = v_fma(v_set(c->slope[i]), at, x);
        }
        x = v_select(x, none, first - g * SG_KV_GROUP, end - g * SG_KV_GROUP);
        most = v_max(most, x);
        v_store(s + g * SG_KV_GROUP, x);
    }
    float old = c->most[i], now = v_hmax(most);
    now = now > old ? now : old;
    v16 sum = v_zero(), zero = v_zero(), top = v_set(now);
    for (int g = 0; g < ngroup; g++) {
        v16 p = v_exp(v_sub(v_load(s + g * SG_KV_GROUP), top));
        p = v_select(p, zero, first - g * SG_KV_GROUP, end - g * SG_KV_GROUP);
        sum = v_add(sum, p);
        v_store(s + g * SG_KV_GROUP, p);
    }
    float t[16];
    v_store(t, v_exp(v_set(old - now)));
    float keep = old == -FLT_MAX ? 0 : t[0];
    c->most[i] = now;
    v_store(c->sum + (size_t)i * 16, v_fma(v_load(c->sum + (size_t)i * 16), v_set(keep), sum));
    return keep;
}

/* ---- values ------------------------------------------------------------------------------ */

/* acc[i][d ..] = acc * keep + sum over positions of p * v, for nq queries and nv vectors of dimensions. */
VEC_INLINE void values_block(const sg_attention_chunk *c, const float *keep, int i0, const int nq, int d, const int nv)
{
    v16 sum[QUERY_BLOCK][VEC_GROUPS];
    for (int i = 0; i < nq; i++)
        for (int j = 0; j < nv; j++)
            sum[i][j] = v_mul(v_load(c->acc + (size_t)(i0 + i) * (size_t)c->dv + d + j * 16), v_set(keep[i0 + i]));
    const float *v = (const float *)c->v + d, *s = c->s + (size_t)i0 * SG_KV_CHUNK;
    for (int t = 0; t < c->n; t++, v += c->dv) {
        v16 value[VEC_GROUPS];
        for (int j = 0; j < nv; j++)
            value[j] = v_load(v + j * 16);
        for (int i = 0; i < nq; i++) {
            v16 p = v_set(s[i * SG_KV_CHUNK + t]);
            for (int j = 0; j < nv; j++)
                sum[i][j] = v_fma(p, value[j], sum[i][j]);
        }
    }
    for (int i = 0; i < nq; i++)
        for (int j = 0; j < nv; j++)
            v_store(c->acc + (size_t)(i0 + i) * (size_t)c->dv + d + j * 16, sum[i][j]);
}

VEC_INLINE void values_dims(const sg_attention_chunk *c, const float *keep, int i0, const int nq)
{
    int d = 0;
    if (VEC_GROUPS > 1)
        for (; d + 16 * VEC_GROUPS <= c->dv; d += 16 * VEC_GROUPS)
            values_block(c, keep, i0, nq, d, VEC_GROUPS);
    for (; d + 16 <= c->dv; d += 16)
        values_block(c, keep, i0, nq, d, 1);
    for (; d < c->dv; d++) /* head sizes that are no multiple of 16 */
        for (int i = i0; i < i0 + nq; i++) {
            float x = c->acc[(size_t)i * (size_t)c->dv + (size_t)d] * keep[i];
            for (int t = 0; t < c->n; t++)
                x += c->s[(size_t)i * SG_KV_CHUNK + (size_t)t] * ((const float *)c->v)[(size_t)t * (size_t)c->dv + (size_t)d];
            c->acc[(size_t)i * (size_t)c->dv + (size_t)d] = x;
        }
}

#define FOR_BLOCKS(call)                                                          \
    for (int i = c->from; i < c->to;) {                                           \
        int left = c->to - i;                                                     \
        switch (left) {                                                           \
        case 1: call(1); i += 1; break;                                           \
        case 2: call(2); i += 2; break;                                           \
        case 3: call(3); i += 3; break;                                           \
        case 4: call(4); i += 4; break;                                           \
        case 5: call(5); i += 5; break;                                           \
        default: call(6); i += 6; break;                                          \
        }                                                                         \
    }

static void chunk(const sg_attention_chunk *c)
{
    float keep[UNIT_QUERIES];
#define SCORES(k) scores_groups(c, i, k)
    FOR_BLOCKS(SCORES)
    for (int i = c->from; i < c->to; i++) {
        keep[i] = c->first[i] < c->end[i] ? soften(c, i) : 1;
        if (c->first[i] >= c->end[i])
            memset(c->s + (size_t)i * SG_KV_CHUNK, 0, SG_KV_CHUNK * sizeof *c->s);
    }
#define VALUES(k) values_dims(c, keep, i, k)
    FOR_BLOCKS(VALUES)
}

#define ATTENTION_NAME_(t) sg_attention_kernel_##t
#define ATTENTION_NAME(t) ATTENTION_NAME_(t)
const sg_attention_kernel ATTENTION_NAME(VEC_TABLE) = {
    .queries = UNIT_QUERIES,
    .query_bytes = query_bytes,
    .k_bytes = k_bytes,
    .v_bytes = v_bytes,
    .score_bytes = score_bytes,
    .prepare = prepare,
    .finish = finish,
    .load_k = load_k,
    .load_turned = load_turned,
    .load_v = load_v,
    .store_k = store_k,
    .store_row = store_row,
    .chunk = chunk,
};
