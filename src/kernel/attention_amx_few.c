/* kernel/attention_amx_few.c - attention of up to 16 queries of a KV head with AMX tiles: keys and values become tiles a piece at
 * a time, which are used before they leave the first level cache.
 *
 * One block of queries meets the cache, so bringing keys and values into tiles is most of the work and reading them is the limit; what
 * comes next is asked for line by line while this chunk is worked on.  Two ways:
 *
 *     piece by piece   a group of 16 keys, then its products; all softmax; 64 dimensions of values, then their products
 *     in a flow        keys and values of a chunk of at most 64 dimensions; tiles multiply while vectors split the next ones
 *
 * The results have the bits of kernel/attention_amx.c: the same terms, the same steps of a sum in the same order.
 */
#include "kernel/attention_amx_softmax.h"

/* ---- piece by piece --------------------------------------------------------------------------- */

/* Two rows of values, b NULL: the second one is 0. */
VEC_INLINE void load_two(sg_dtype type, uint8_t *tile, const uint8_t *a, const uint8_t *b, int dv)
{
    static const uint8_t none[34];
    if (type == SG_Q8_0) {
        for (int d = 0; d < dv; d += 32, a += 34, b += b ? 34 : 0) {
            const uint8_t *c = b ? b : none;
            for (int i = 0; i < 2; i++)
                put_whole(tile + (size_t)(d / 16 + i) * TILE, v_load_i8((const int8_t *)a + 2 + i * 16),
                          v_load_i8((const int8_t *)c + 2 + i * 16));
        }
        return;
    }
    const uint16_t *x = (const void *)a, *y = (const void *)b;
    for (int d = 0; d < dv; d += 16)
        if (type == SG_F16)
            put_pairs(tile + (size_t)(d / 16) * PAIR, v_load_f16(x + d), b ? v_load_f16(y + d) : v_zero());
        else
            _mm512_store_si512(tile + (size_t)(d / 16) * TILE, interleave_two(x + d, b ? y + d : NULL));
}

/* Positions [from, from + 32) and `dims` dimensions (at most 64) of V from byte `at` of a row on, as [dims / 16][hi, lo]. */
VEC_INLINE void load_part(sg_dtype type, uint8_t *tile, const sg_attention_place *p, int from, int n, size_t at, size_t bytes, int dims)
{
    for (int t = from; t < from + BLOCK; t++, tile += 64) {
        const int g = from / SG_KV_GROUP;
        size_t row = (size_t)(t - from) * p->v_row_bytes + at;
        if (t >= n) {
            for (int d = 0; d < dims / 16 * (type == SG_F16 ? 2 : 1); d++)
                _mm512_store_si512(tile + (size_t)d * TILE, _mm512_setzero_si512());
            continue;
        }
        for (size_t i = 0; i < bytes; i += 64)
            __builtin_prefetch((const char *)p->next_v[g] + row + i, 0, 2);
        for (size_t i = 0; i < bytes && t + BLOCK < n; i += 64)
            __builtin_prefetch((const char *)p->next_v[g + 1] + row + i, 0, 2);
        if (t % 4 == 0)
            STAY_AWAKE();
        load_two(type, tile, (const uint8_t *)p->v[g] + row, t + BLOCK < n ? (const uint8_t *)p->v[g + 1] + row : NULL, dims);
    }
}

VEC_INLINE void few_values(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type)
{
    const size_t wide = type == SG_Q8_0 ? 68 : 128, unit = unit_of(type);
    for (int d = 0; d < c->dv; d += 64) {
        int dims = c->dv - d < 64 ? c->dv - d : 64;
        uint8_t *v = c->v, *half = v + 4 * unit;
        size_t at = (size_t)d / 64 * wide;
        if (dims == 64) {
            load_part(type, v, p, 0, c->n, at, wide, 64);
            load_part(type, half, p, 32, c->n, at, wide, 64);
            values_product(c, type, c->acc, d, v, 4 * unit, 4);
            continue;
        }
        load_part(type, v, p, 0, c->n, at, wide * (size_t)dims / 64, dims);
        load_part(type, half, p, 32, c->n, at, wide * (size_t)dims / 64, dims);
        for (int i = 0, n; i < dims / 16; i += n) {
            n = dims / 16 - i >= 2 ? 2 : 1;
            values_product(c, type, c->acc, d + i * 16, v + (size_t)i * unit, 4 * unit, n);
        }
    }
}

/* Of all values. */
VEC_INLINE void few_scales(const sg_attention_chunk *c, const sg_attention_place *p)
{
    float *scale = (float *)(void *)((uint8_t *)c->v + v_tile_bytes(c->dv));
    for (int i = 0, g = 0; i < c->n; i += SG_KV_GROUP, g++)
        load_scales(scale + i, p->v[g], p->v_row_bytes, c->n - i < SG_KV_GROUP ? c->n - i : SG_KV_GROUP, c->dv);
    clear_scales(scale, c->n, c->dv);
}

VEC_INLINE void few_of(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type)
{
    int nstep = steps_of(c->dk), ngroup = (c->n + SG_KV_GROUP - 1) / SG_KV_GROUP;
    uint8_t *k = c->k;
    const size_t unit = unit_of(type), group = (size_t)nstep * unit;
    float *scale = (float *)(void *)(k + k_tile_bytes(c->dk));
    load_group(type, k, unit, scale, p->k[0], p->next_k[0], c->dk);
    for (int g = 0; g < ngroup; g++) {
        const uint8_t *b = k + (size_t)(g % 2) * group;
        if (g + 1 < ngroup)
            load_group(type, k + (size_t)((g + 1) % 2) * group, unit, scale + (g + 1) * SG_KV_GROUP, p->k[g + 1], p->next_k[g + 1], c->dk);
        if (type != SG_Q8_0)
            product_n(c->s + g * SG_KV_GROUP, 256, false, queries_at(c->queries), b, unit, nstep, type == SG_F16, 1);
        else
            for (int i = 0; i < nstep; i++)
                product_n(c->s + (size_t)i * SCORES + g * SG_KV_GROUP, 256, false,
                          queries_at((const uint8_t *)c->queries + (size_t)i * PAIR), b + (size_t)i * TILE, 0, 1, false, 1);
    }
    if (type == SG_Q8_0)
        few_scales(c, p);
    for (int i = 0; i < c->to; i++)
        soften_row(c, i, c->s + i * SG_KV_CHUNK, type == SG_Q8_0);
    few_values(c, p, type);
}

/* ---- in a flow ----------------------------------------------------------------------------------- */

/* Keys and values are brought into tiles by vectors while tiles multiply what is there already; one B tile's products take 5 ns
 * whatever the number of queries, and wait for one another, which nobody sees here.
 *
 *     vectors    keys of chunk c          | values of c, first half | second half, softmax of c | keys of c + 1
 *     tiles      P V of the chunk before  | Q K of c                |                           | P V of c
 */
typedef struct flow_dealer {
    const flow_step *step;
    int n, done; /* quarters */
} flow_dealer;

/* Quarters up to i of n parts of the work. */
VEC_INLINE void flow_deal(flow_dealer *f, int i, int n, const sg_dtype type)
{
    for (; f->done < f->n && f->done * n < f->n * i; f->done++) {
        const flow_step *s = f->step + f->done / 4;
        switch (f->done % 4) {
        case 0:
            flow_quarter(s, 0, type);
            break;
        case 1:
            flow_quarter(s, 1, type);
            break;
        case 2:
            flow_quarter(s, 2, type);
            break;
        default:
            flow_quarter(s, 3, type);
        }
    }
}

/* Products come often enough; stores do not. */
#define STORES_AWAKE()                   \
    do {                                 \
        _Alignas(64) float ignored[16];  \
        SG_AMX_STORE(5, ignored, 0);     \
    } while (0)

VEC_INLINE void few_keys(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type, flow_dealer *f)
{
    const size_t unit = unit_of(type);
    int ngroup = (c->n + SG_KV_GROUP - 1) / SG_KV_GROUP, nslice = c->dk / 16, part = 0;
    float *scale = (float *)(void *)((uint8_t *)c->k + k_tile_bytes(c->dk));
    for (int g = 0; g < ngroup; g++) {
        const char *from = p->k[g]; /* of pairs of lines; Q8_0: behind the scales of every second slice */
        const char *next = p->next_k[g];
        uint8_t *tile = (uint8_t *)c->k + (size_t)g * unit;
        for (int i = 0; i < nslice; i++) {
            uint8_t *to = tile + (size_t)(i / 2) * 4 * unit + (size_t)(i % 2) * 512;
            if (type == SG_Q8_0 && i % 2 == 0) {
                v_store(scale + i / 2 * SG_KV_CHUNK + g * SG_KV_GROUP, v_load_f16((const void *)from));
                __builtin_prefetch(next, 0, 2);
                from += 32, next += 32;
            }
            for (int j = 0; j < 8; j++, to += 64) {
                if (type != SG_Q8_0 || j % 2 == 0)
                    __builtin_prefetch(next, 0, 2);
                next += type == SG_Q8_0 ? 32 : 64;
                if (type == SG_F16)
                    put_pairs(to, v_load_f16((const void *)from), v_load_f16((const void *)(from + 32)));
                else if (type == SG_BF16)
                    _mm512_store_si512(to, interleave(_mm512_loadu_si512(from)));
                else
                    put_whole(to, v_load_i8((const void *)from), v_load_i8((const void *)(from + 16)));
                from += type == SG_Q8_0 ? 32 : 64;
            }
            flow_deal(f, ++part, ngroup * nslice, type);
            if (part % 4 == 0)
                STORES_AWAKE();
        }
        for (size_t t = 0; t < unit && c->dk % 32; t += TILE)
            memset(tile + (size_t)(nslice / 2) * 4 * unit + t + 512, 0, 512);
    }
}

/* Line t of 32 of the tiles of values: positions i and i + 16. */
VEC_INLINE void few_line(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type, int t)
{
    const size_t unit = unit_of(type), ntile = (size_t)c->dv / 16, row = (size_t)(t % 16) * p->v_row_bytes;
    const int g = t / 16 * 2, i = g * 16 + t % 16;
    uint8_t *tile = (uint8_t *)c->v + (size_t)(t / 16) * ntile * unit + (size_t)(t % 16) * 64;
    if (i >= c->n) {
        for (size_t d = 0; d < ntile * unit; d += TILE)
            _mm512_store_si512(tile + d, _mm512_setzero_si512());
        return;
    }
    const bool two = i + 16 < c->n;
    const char *next = (const char *)p->next_v[two ? g + t % 16 / 8 : g] + (size_t)(t % (two ? 8 : 16)) * (two ? 2 : 1) * p->v_row_bytes;
    for (size_t d = 0; d < (two ? 2 : 1) * p->v_row_bytes; d += 64)
        __builtin_prefetch(next + d, 0, 2);
    load_two(type, tile, (const uint8_t *)p->v[g] + row, two ? (const uint8_t *)p->v[g + 1] + row : NULL, c->dv);
}

VEC_INLINE void few_flow_of(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type)
{
    enum { LINES = 2 * BLOCK, SOFT_FROM = 18 };
    flow_step step[FLOW_STEPS];
    float *s = buffer_at(c, c->turn);
    flow_dealer f = {step, c->turn ? 4 * flow_values(step, c, c->acc_before, buffer_at(c, c->turn + 1)) : 0, 0};
    few_keys(c, p, type, &f);
    f = (flow_dealer){step, 4 * flow_scores(step, c, s, c->queries), 0};
    if (type == SG_Q8_0)
        few_scales(c, p);
    for (int t = 0, i = 0; t < LINES; t++) {
        few_line(c, p, type, t);
        if (t % 2)
            flow_deal(&f, t + 1, LINES / 2, type);
        if (t % 8 == 7)
            STORES_AWAKE();
        for (; t >= SOFT_FROM && i * (LINES - SOFT_FROM) < c->to * (t + 1 - SOFT_FROM); i++)
            soften_row(c, i, s + i * SG_KV_CHUNK, type == SG_Q8_0);
    }
}

/* Keys and values of a chunk in tiles fit the first level cache. */
static bool few_flows(const sg_attention_chunk *c) { return c->dk <= 64 && c->dv == 64; }

/* The values of the last chunk. */
void sg_attention_amx_few_rest(const sg_attention_chunk *c)
{
    flow_step step[FLOW_STEPS];
    if (!few_flows(c) || !c->turn)
        return;
    int n = flow_values(step, c, c->acc_before, buffer_at(c, c->turn + 1));
    if (c->type == SG_F16)
        flow_run(step, n, SG_F16);
    else if (c->type == SG_BF16)
        flow_run(step, n, SG_BF16);
    else
        flow_run(step, n, SG_Q8_0);
}

void sg_attention_amx_few(const sg_attention_chunk *c, const sg_attention_place *p)
{
    if (few_flows(c) && c->type == SG_F16)
        few_flow_of(c, p, SG_F16);
    else if (few_flows(c) && c->type == SG_BF16)
        few_flow_of(c, p, SG_BF16);
    else if (few_flows(c))
        few_flow_of(c, p, SG_Q8_0);
    else if (c->type == SG_F16)
        few_of(c, p, SG_F16);
    else if (c->type == SG_BF16)
        few_of(c, p, SG_BF16);
    else
        few_of(c, p, SG_Q8_0);
}
