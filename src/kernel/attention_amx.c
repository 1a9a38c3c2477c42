/* kernel/attention_amx.c - attention with AMX tiles: bfloat16 products, float32 sums, softmax in AVX-512.
 *
 *     S [16 queries][64 positions]  =  Q [16][dk]  x  K [dk][64]            dk / 32 steps, four C tiles
 *     P = 2^((S - most) log2 e), two bfloat16 terms
 *     acc [16][dv] +=  P [16][64]  x  V [64][dv]                            2 steps, dv / 64 times four C tiles; acc is scaled
 *                                                                           before where a query has a new maximum
 *
 * One bfloat16 has 8 bits, a cached half float 11 and a query 24: everything is split into two terms, x = hi + lo, 16 bits
 * together, and a product is hi hi + lo hi + hi lo; lo lo is below 2^-16 of it.  A cache in bfloat16 has no lo.  Nor has
 * Q8_0: its whole numbers are bfloat16 already.  The scales of 32 dimensions of keys multiply the scores of that step, which
 * is kept apart from the others; those of values multiply the probabilities, which become tiles for each 32 dimensions.  A step
 * of all products is 3 x 16 cycles for 16 x 64 x 32 multiply-adds, so that the tiles could reach a third of their rate,
 * 1 TFLOP/s a thread; the softmax, 16 scores in about 12 cycles, and the stores of tiles take about as long again.
 *
 * Keys and values are brought into the form of B tiles, [16 pairs][16][2], once for all queries of the unit:
 *
 *     K   [dk / 32 steps][4 groups][hi, lo]   pairs of dimensions of 16 positions
 *     V   [2 steps][dv / 16][hi, lo]          pairs of positions, i and i + 16 of 32, of 16 dimensions; 0 from position n on
 *         behind them the scales of Q8_0, [dk / 32][64] and [dv / 32][64] floats
 *     Q   [blocks of 16 queries][dk / 32 steps][hi, lo]   A tiles [16 queries][32 dimensions], times the scale; 0 where
 *                                             there is no query or dimension
 *
 * The hi term of a cached value is cut off, not rounded, because that is one instruction for a pair; lo then is exact for
 * half floats.  A row of a tile is computed from that row of A alone and all 16 rows are always computed, so a
 * query's bits do not depend on the others.  A query that sees nothing of a chunk has probabilities of 0 there.
 *
 * While tiles were used in the last 300 ns, fused multiply-adds of 512 bits go through one port instead of two (measured:
 * docs/profile.md; additions and whole numbers keep both), so the softmax uses few of them.
 */
#include "kernel/amx.h"
#include "kernel/attention.h"
#include "kernel/vec.h"

enum { TILE = 1024, PAIR = 2 * TILE, BLOCK = 16, UNIT_QUERIES = 256 };
enum { SCORES = BLOCK * SG_KV_CHUNK }; /* of a block; probabilities, [16][2 steps][hi, lo] of 64 bytes, are as large */

/* From a tile of keys or values to the next: only half floats have a lo tile. */
static inline size_t unit_of(sg_dtype type) { return type == SG_F16 ? PAIR : TILE; }
static int steps_of(int dk) { return (dk + 31) / 32; }
static int blocks_of(int nquery) { return (nquery + BLOCK - 1) / BLOCK; }
static size_t query_bytes(int nquery, int dk) { return (size_t)(blocks_of(nquery) * steps_of(dk)) * PAIR; }
static size_t k_tile_bytes(int dk) { return (size_t)steps_of(dk) * 4 * PAIR; }
static size_t v_tile_bytes(int dv) { return (size_t)(dv > 64 ? dv / 16 : 4) * 2 * PAIR; }
static size_t scale_bytes(int n) { return (size_t)steps_of(n) * SG_KV_CHUNK * sizeof(float); }
static size_t k_bytes(int dk) { return k_tile_bytes(dk) + scale_bytes(dk); }
static size_t v_bytes(int dv) { return v_tile_bytes(dv) + scale_bytes(dv); }

/* Of a block: scores (Q8_0: some for each 32 dimensions, and probabilities for two times 32 dimensions).  In a flow of two blocks. */
static size_t score_bytes(int nquery, int dk)
{
    (void)nquery;
    return (size_t)(steps_of(dk) + 2) * SCORES * sizeof(float);
}

/* ---- two terms ----------------------------------------------------------------------- */

#define HIGH _mm512_set1_epi32((int)0xffff0000)

/* Upper halves of a (lower half of the result's pairs) and of b. */
VEC_INLINE __m512i pair_high(__m512i a, __m512i b)
{
    const __m512i up = _mm512_broadcast_i32x4(_mm_setr_epi8(2, 3, 0, 0, 6, 7, 0, 0, 10, 11, 0, 0, 14, 15, 0, 0));
    return _mm512_mask_shuffle_epi8(b, 0x3333333333333333, a, up);
}

/* Lines of the hi and lo tiles for 16 pairs (a, b) of at most 16 bits. */
VEC_INLINE void put_pairs(uint8_t *tile, v16 a, v16 b)
{
    __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    _mm512_store_si512(tile, pair_high(x, y));
    __m512i u = _mm512_castps_si512(v_sub(a, _mm512_castsi512_ps(_mm512_and_epi32(x, HIGH))));
    __m512i v = _mm512_castps_si512(v_sub(b, _mm512_castsi512_ps(_mm512_and_epi32(y, HIGH))));
    _mm512_store_si512(tile + TILE, pair_high(u, v));
}

/* A line of 16 pairs of the lower and the upper half of x: bfloat16 needs no more. */
VEC_INLINE __m512i interleave(__m512i x)
{
    static const uint16_t pairs[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(pairs), x);
}

/* The same of 16 values each at a and b (NULL: 0). */
VEC_INLINE __m512i interleave_two(const uint16_t *a, const uint16_t *b)
{
    __m256i zero = _mm256_setzero_si256(), low = _mm256_loadu_si256((const void *)a);
    return interleave(_mm512_inserti64x4(_mm512_castsi256_si512(low), b ? _mm256_loadu_si256((const void *)b) : zero, 1));
}

/* A line of a hi tile for 16 pairs of whole numbers up to 128. */
VEC_INLINE void put_whole(uint8_t *tile, v16 a, v16 b)
{
    _mm512_store_si512(tile, pair_high(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}

/* 32 neighbouring values of a row of an A tile, both terms rounded. */
VEC_INLINE void put_row(uint8_t *tile, v16 a, v16 b)
{
    __m512i hi = (__m512i)_mm512_cvtne2ps_pbh(b, a);
    __m512i x = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(hi)), 16);
    __m512i y = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(hi, 1)), 16);
    _mm512_store_si512(tile, hi);
    _mm512_store_si512(tile + TILE, (__m512i)_mm512_cvtne2ps_pbh(v_sub(b, _mm512_castsi512_ps(y)), v_sub(a, _mm512_castsi512_ps(x))));
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

/* Tile products and tile stores that were not used for 300 ns fall asleep, and the next one of each takes 300 ns (measured on Sapphire
 * Rapids: docs/profile.md).  While vectors work, one of each now and then keeps them awake; nobody looks at the result. */
#define STAY_AWAKE()                      \
    do {                                  \
        _Alignas(64) float ignored[16];   \
        SG_AMX_DOT_BF16(3, 4, 6);         \
        SG_AMX_STORE(3, ignored, 0);      \
    } while (0)

/* The steps of a group lie `step` bytes apart. */
VEC_INLINE void load_group(sg_dtype type, uint8_t *tile, const size_t step, float *scale, const void *stored, const void *next, int dk)
{
    const uint16_t *h = stored;
#define BYTE(d) v_load_i8((const int8_t *)p + 32 + (d) * SG_KV_GROUP)
    if (type != SG_Q8_0)
        for (int d = 0; d < dk; d += 2) { /* dimensions d and d + 1 */
            uint8_t *to = tile + (size_t)(d / 32) * step + (size_t)(d % 32 / 2) * 64;
            if (d % 32 == 0)
                STAY_AWAKE();
            __builtin_prefetch((const char *)next + (size_t)d * 32, 0, 2);
            if (type == SG_F16)
                put_pairs(to, v_load_f16(h + d * SG_KV_GROUP), v_load_f16(h + (d + 1) * SG_KV_GROUP));
            else
                _mm512_store_si512(to, interleave(_mm512_loadu_si512(h + d * SG_KV_GROUP)));
        }
    else
        for (int b = 0; b < dk / 32; b++) {
            const uint8_t *p = (const uint8_t *)stored + (size_t)b * 544, *ahead = (const uint8_t *)next + (size_t)b * 544;
            v_store(scale + (size_t)b * SG_KV_CHUNK, v_load_f16((const void *)p));
            STAY_AWAKE();
            __builtin_prefetch(ahead + 512, 0, 2);
            for (int d = 0; d < 32; d += 2) {
                if (d % 4 == 0)
                    __builtin_prefetch(ahead + (size_t)d * 16, 0, 2);
                put_whole(tile + (size_t)b * step + (size_t)(d / 2) * 64, BYTE(d), BYTE(d + 1));
            }
        }
    if (dk % 32) /* the rest of the last step: dk is a multiple of 16 */
        for (int t = 0; t < (type == SG_F16 ? 2 : 1); t++)
            memset(tile + (size_t)(dk / 32) * step + (size_t)t * TILE + 512, 0, 512);
}

static void load_k(sg_dtype type, void *k, int group, const void *stored, const void *next, int dk)
{
    float *scale = (float *)(void *)((uint8_t *)k + k_tile_bytes(dk)) + (size_t)group * SG_KV_GROUP;
    size_t unit = unit_of(type);
    load_group(type, (uint8_t *)k + (size_t)group * unit, 4 * unit, scale, stored, next, dk);
}

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

/* The scales of a Q8_0 row at position t of the chunk. */
VEC_INLINE void load_scales(float *scale, int t, const uint8_t *row, int dv)
{
    for (int b = 0; b < dv / 32; b++) {
        uint16_t d;
        memcpy(&d, row + (size_t)b * 34, sizeof d);
        scale[b * SG_KV_CHUNK + t] = _cvtsh_ss(d);
    }
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
    for (int t = 0; t < n && type == SG_Q8_0; t++)
        load_scales((float *)(void *)((uint8_t *)v + v_tile_bytes(dv)), at + t, (const uint8_t *)rows + (size_t)t * row_bytes, dv);
}

/* Scales of positions from n on are 0. */
static void clear_scales(float *scale, int n, int dv)
{
    for (int b = 0; b < dv / 32 && n < SG_KV_CHUNK; b++)
        memset(scale + b * SG_KV_CHUNK + n, 0, (size_t)(SG_KV_CHUNK - n) * sizeof *scale);
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

/* ---- products --------------------------------------------------------------------------- */

/* A C tile begins as what is in memory, or at 0. */
#define BEGIN(C, at, stride, join)          \
    do {                                    \
        if (join)                           \
            SG_AMX_LOAD(C, at, stride);     \
        else                                \
            SG_AMX_ZERO(C);                 \
    } while (0)

/* A tile of B with both terms of A, then its lo with A's hi. */
#define TERMS(C, at)                                       \
    do {                                                   \
        SG_AMX_LOAD(6, b + (at), 64);                      \
        SG_AMX_DOT_BF16(C, 4, 6);                          \
        SG_AMX_DOT_BF16(C, 5, 6);                          \
        if (low) {                                         \
            SG_AMX_LOAD(7, b + (at) + TILE, 64);           \
            SG_AMX_DOT_BF16(C, 4, 7);                      \
        }                                                  \
    } while (0)

/* Tiles of A: from row to row, from hi to lo, from a step to the next. */
typedef struct a_tiles {
    const uint8_t *at;
    size_t stride, low, step;
} a_tiles;

/* Queries stand tile by tile; the probabilities of a query are its row of 256 bytes, which takes the place of its scores. */
static inline a_tiles queries_at(const void *q) { return (a_tiles){q, 64, TILE, PAIR}; }
static inline a_tiles probabilities_at(const void *p) { return (a_tiles){p, 256, 64, 128}; }

/* c [16][n * 16], rows `stride` bytes apart, = A x B over nstep steps, or that joins it; B tiles of a step lie b_step bytes from those
 * of the last. */
VEC_INLINE void product_n(float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep, bool low, const int n)
{
    const size_t unit = low ? PAIR : TILE;
    BEGIN(0, c, stride, join);
    if (n > 1)
        BEGIN(1, c + 16, stride, join);
    if (n > 2) {
        BEGIN(2, c + 32, stride, join);
        BEGIN(3, c + 48, stride, join);
    }
    for (int s = 0; s < nstep; s++, a.at += a.step, b += b_step) {
        SG_AMX_LOAD(4, a.at, a.stride);
        SG_AMX_LOAD(5, a.at + a.low, a.stride);
        TERMS(0, 0);
        if (n > 1)
            TERMS(1, unit);
        if (n > 2) {
            TERMS(2, 2 * unit);
            TERMS(3, 3 * unit);
        }
    }
    SG_AMX_STORE(0, c, stride);
    if (n > 1)
        SG_AMX_STORE(1, c + 16, stride);
    if (n > 2) {
        SG_AMX_STORE(2, c + 32, stride);
        SG_AMX_STORE(3, c + 48, stride);
    }
}

static void product(float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep, bool low, int n)
{
    if (n == 4)
        product_n(c, stride, join, a, b, b_step, nstep, low, 4);
    else if (n == 2)
        product_n(c, stride, join, a, b, b_step, nstep, low, 2);
    else
        product_n(c, stride, join, a, b, b_step, nstep, low, 1);
}

/* ---- softmax ------------------------------------------------------------------------------ */

/* 2^(x / 16) for x <= 0 and 0 below -2016, relative error 5e-7: whole part by adding a number whose last place is 1, which also has the
 * exponent's 127; sixteenths from a table; the rest is below half a sixteenth and needs two multiply-adds. */
VEC_INLINE v16 exp2_of(v16 x)
{
    static const uint32_t sixteenth[16] = {0x000000, 0x05aac3, 0x0b95c2, 0x11c3d3, 0x1837f0, 0x1ef532, 0x25fed7, 0x2d583f,
                                           0x3504f3, 0x3d08a4, 0x45672a, 0x4e248c, 0x5744fd, 0x60ccdf, 0x6ac0c7, 0x75257d};
    const v16 round = v_set(12582912.0f + 127 * 16);
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    v16 n = v_add(x, round), r = _mm512_reduce_ps(x, 0);
    __m512i bits = _mm512_castps_si512(n);
    __m512i part = _mm512_permutexvar_epi32(bits, _mm512_loadu_si512(sixteenth));
    v16 whole = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(part, _mm512_slli_epi32(bits, 19), exponent, 0xf8));
    v16 p = v_mul(r, v_fma(r, v_set(9.3838479e-4f), v_set(4.3324240e-2f)));
    return _mm512_maskz_fmadd_ps(_mm512_cmp_ps_mask(x, v_set(-2016.0f), _CMP_GE_OQ), whole, p, whole);
}

/* What some models do to scores before the mask. */
static void bend(const sg_attention_chunk *c, int i, v16 *s)
{
    static const float lane[SG_KV_GROUP] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int g = 0; g < 4; g++) {
        if (c->softcap > 0)
            s[g] = v_mul(v_tanh(v_div(s[g], v_set(c->softcap))), v_set(c->softcap));
        if (c->slope)
            s[g] = v_fma(v_set(c->slope[i]), v_add(v_load(lane), v_set((float)(c->base + g * SG_KV_GROUP))), s[g]);
    }
}

/* Scores of a query, s [64]; Q8_0: s [steps][16][64], each step times its scales [steps][64]. */
VEC_INLINE void scores_of(v16 *x, const float *s, const float *scale, int nstep, const bool whole)
{
    for (int g = 0; g < 4; g++)
        x[g] = whole ? v_mul(v_load(s + g * 16), v_load(scale + g * 16)) : v_load(s + g * 16);
    for (int b = 1; b < nstep && whole; b++)
        for (int g = 0; g < 4; g++)
            x[g] = v_fma(v_load(s + (size_t)b * BLOCK * SG_KV_CHUNK + g * 16), v_load(scale + b * SG_KV_CHUNK + g * 16), x[g]);
}

/* Probabilities of positions i and i + 16 become a pair of a row of the hi tile, cut off, and of the lo tile, rounded. */
VEC_INLINE void put_probabilities(float *to, v16 a, v16 b)
{
    const __m512i half = _mm512_set1_epi32(0x8000);
    __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    __m512i u = _mm512_castps_si512(v_sub(a, _mm512_castsi512_ps(_mm512_and_epi32(x, HIGH))));
    __m512i v = _mm512_castps_si512(v_sub(b, _mm512_castsi512_ps(_mm512_and_epi32(y, HIGH))));
    _mm512_store_si512(to, pair_high(x, y));
    _mm512_store_si512(to + 16, pair_high(_mm512_add_epi32(u, half), _mm512_add_epi32(v, half)));
}

/* Probabilities s [64] times the scales of values for 32 dimensions become a row of the A tiles. */
VEC_INLINE void put_scaled(float *p, const float *s, const float *scale)
{
    put_probabilities(p, v_mul(v_load(s), v_load(scale)), v_mul(v_load(s + 16), v_load(scale + 16)));
    put_probabilities(p + 32, v_mul(v_load(s + 32), v_load(scale + 32)), v_mul(v_load(s + 48), v_load(scale + 48)));
}

/* Scores of query i, its rows from s on, become in the place of the first a row of the A tiles of probabilities, or with Q8_0 plain
 * numbers.  With a new maximum the old sums are worth less. */
VEC_INLINE void soften(const sg_attention_chunk *c, int i, float *s, const bool whole)
{
    const float sixteenths = 16 * 1.44269504f;             /* of an octave */
    const v16 none = v_set(-1e30f), unit = v_set(sixteenths); /* times that it is still a number */
    v16 x[4];
    scores_of(x, s, (const float *)(const void *)((const uint8_t *)c->k + k_tile_bytes(c->dk)), steps_of(c->dk), whole);
    if (c->softcap > 0 || c->slope)
        bend(c, i, x);
    int first = c->first[i], end = c->end[i];
    __mmask64 see = (end >= 64 ? ~0ull : (1ull << end) - 1) & ~((1ull << first) - 1);
    if (see != ~0ull) {
        x[0] = _mm512_mask_blend_ps((__mmask16)see, none, x[0]);
        x[1] = _mm512_mask_blend_ps((__mmask16)(see >> 16), none, x[1]);
        x[2] = _mm512_mask_blend_ps((__mmask16)(see >> 32), none, x[2]);
        x[3] = _mm512_mask_blend_ps((__mmask16)(see >> 48), none, x[3]);
    }
    v16 most = v_max(v_max(x[0], x[1]), v_max(x[2], x[3]));
    float *sum = c->sum + (size_t)i * 16, old = c->most[i];
    if (_mm512_cmp_ps_mask(most, v_set(old), _CMP_GT_OQ)) { /* rare after some chunks */
        float now = _mm512_reduce_max_ps(most);
        v16 keep = old == -FLT_MAX ? v_zero() : exp2_of(v_set((old - now) * sixteenths));
        v_store(sum, v_mul(v_load(sum), keep));
        for (float *acc = c->acc + (size_t)i * (size_t)c->dv, *to = acc + c->dv; acc < to; acc += 16)
            v_store(acc, v_mul(v_load(acc), keep));
        c->most[i] = old = now;
    }
    v16 top = v_set(-old * sixteenths);
    x[0] = exp2_of(v_fma(x[0], unit, top));
    x[1] = exp2_of(v_fma(x[1], unit, top));
    x[2] = exp2_of(v_fma(x[2], unit, top));
    x[3] = exp2_of(v_fma(x[3], unit, top));
    if (whole) {
        for (int g = 0; g < 4; g++)
            v_store(s + g * 16, x[g]);
    } else {
        put_probabilities(s, x[0], x[1]);
        put_probabilities(s + 32, x[2], x[3]);
    }
    v_store(sum, v_add(v_load(sum), v_add(v_add(x[0], x[1]), v_add(x[2], x[3]))));
}

/* ---- a chunk, block after block ---------------------------------------------------------------- */

/* Query i's scores become probabilities; of a chunk that it does not see, 0. */
VEC_INLINE void soften_row(const sg_attention_chunk *c, int i, float *s, const bool whole)
{
    if (c->first[i] < c->end[i])
        soften(c, i, s, whole);
    else
        memset(s, 0, SG_KV_CHUNK * sizeof *s);
}

VEC_INLINE void soften_rows_of(const sg_attention_chunk *c, int i0, int nrow, const bool whole)
{
    for (int i = 0; i < nrow; i++)
        soften_row(c, i0 + i, c->s + (size_t)i * SG_KV_CHUNK, whole);
}

static void soften_rows(const sg_attention_chunk *c, int i0, int nrow)
{
    if (c->type == SG_Q8_0)
        soften_rows_of(c, i0, nrow, true);
    else
        soften_rows_of(c, i0, nrow, false);
}

static void scores_block(const sg_attention_chunk *c, int i0, int nrow)
{
    int nstep = steps_of(c->dk);
    const uint8_t *q = (const uint8_t *)c->queries + (size_t)(i0 / BLOCK * nstep) * PAIR, *k = c->k;
    if (c->type == SG_Q8_0)
        for (int b = 0; b < nstep; b++)
            product(c->s + (size_t)b * SCORES, 256, false, queries_at(q + (size_t)b * PAIR), k + (size_t)b * 4 * TILE, 0, 1, false, 4);
    else
        product(c->s, 256, false, queries_at(q), k, 4 * unit_of(c->type), nstep, c->type == SG_F16, 4);
    soften_rows(c, i0, nrow);
}

/* P x V of the dimensions from d on, in n tiles from v on, joins the block's sums.  Q8_0 has probabilities for each two tiles. */
VEC_INLINE void values_product(const sg_attention_chunk *c, sg_dtype type, int i0, int nrow, int d, const uint8_t *v, size_t v_step, int n)
{
    float *acc = c->acc + (size_t)i0 * (size_t)c->dv + d;
    size_t stride = (size_t)c->dv * sizeof(float);
    if (type != SG_Q8_0) {
        product(acc, stride, true, probabilities_at(c->s), v, v_step, 2, type == SG_F16, n);
        return;
    }
    const float *scale = (const float *)(const void *)((const uint8_t *)c->v + v_tile_bytes(c->dv)) + d / 32 * SG_KV_CHUNK;
    float *p = c->s + (size_t)steps_of(c->dk) * SCORES;
    for (int b = 0; b < n / 2; b++, scale += SG_KV_CHUNK)
        for (int i = 0; i < nrow; i++)
            put_scaled(p + b * SCORES + i * SG_KV_CHUNK, c->s + (size_t)i * SG_KV_CHUNK, scale);
    for (int b = 0; b < n / 2; b++)
        product(acc + b * 32, stride, true, probabilities_at(p + b * SCORES), v + (size_t)b * PAIR, v_step, 2, false, 2);
}

static void values_block(const sg_attention_chunk *c, int i0, int nrow)
{
    int ntile = c->dv / 16;
    size_t unit = unit_of(c->type);
    for (int d = 0, n; d < ntile; d += n) {
        n = ntile - d >= 4 ? 4 : ntile - d >= 2 ? 2 : 1;
        values_product(c, c->type, i0, nrow, d * 16, (const uint8_t *)c->v + (size_t)d * unit, (size_t)ntile * unit, n);
    }
}

/* ---- a chunk in a flow ------------------------------------------------------------------------ */

/* While vectors soften the scores of a block, tiles multiply: the probabilities of the block before with values, then the
 * next block's queries with keys.
 *
 *     vectors          | soften 0     | soften 1     | soften 2     | ...
 *     tiles     QK 0   | QK 1         | PV 0   QK 2  | PV 1   QK 3  | ...
 *
 * Tile instructions wait in the core's queues for one another while vector instructions pass them, if they stand close
 * together: a step, one tile of A with four of B, is dealt out a tile of B at a time between the rows.  Two buffers for
 * scores, which become probabilities in place: keys and values of 64 dimensions, the buffers and what passes by just fit the
 * first level cache. */
typedef struct flow_step {
    a_tiles a;
    const uint8_t *b;
    float *c;      /* where the four C tiles end, 64 columns */
    size_t stride; /* bytes between its rows */
    bool join;     /* the C tiles begin as what is there */
    bool first, last; /* step of the product */
} flow_step;

enum { FLOW_DIM = 256, FLOW_STEPS = FLOW_DIM / 32 * 2 };

static int flow_product(flow_step *to, float *c, size_t stride, bool join, a_tiles a, const uint8_t *b, size_t b_step, int nstep)
{
    for (int s = 0; s < nstep; s++, a.at += a.step, b += b_step)
        to[s] = (flow_step){a, b, c, stride, join, s == 0, s + 1 == nstep};
    return nstep;
}

/* Probabilities p of the block whose sums are at acc with all values. */
static int flow_values(flow_step *to, const sg_attention_chunk *c, float *acc, const float *p, size_t unit)
{
    int n = 0;
    for (int d = 0; d < c->dv; d += 64)
        n += flow_product(to + n, acc + d, (size_t)c->dv * sizeof(float), true, probabilities_at(p),
                          (const uint8_t *)c->v + (size_t)(d / 16) * unit, (size_t)(c->dv / 16) * unit, 2);
    return n;
}

/* Quarter q of a step. */
VEC_INLINE void flow_quarter(const flow_step *s, const int q, const bool low)
{
    const size_t unit = low ? PAIR : TILE;
    const uint8_t *b = s->b;
    if (q == 0) {
        if (s->first) {
            BEGIN(0, s->c, s->stride, s->join);
            BEGIN(1, s->c + 16, s->stride, s->join);
            BEGIN(2, s->c + 32, s->stride, s->join);
            BEGIN(3, s->c + 48, s->stride, s->join);
        }
        SG_AMX_LOAD(4, s->a.at, s->a.stride);
        SG_AMX_LOAD(5, s->a.at + s->a.low, s->a.stride);
        TERMS(0, 0);
    } else if (q == 1) {
        TERMS(1, unit);
    } else if (q == 2) {
        TERMS(2, 2 * unit);
    } else {
        TERMS(3, 3 * unit);
        if (s->last) {
            SG_AMX_STORE(0, s->c, s->stride);
            SG_AMX_STORE(1, s->c + 16, s->stride);
            SG_AMX_STORE(2, s->c + 32, s->stride);
            SG_AMX_STORE(3, s->c + 48, s->stride);
        }
    }
}

/* A whole block of queries from i0 on, with a step in 8, 4, 2 rows or 1. */
VEC_INLINE void flow_block(const sg_attention_chunk *c, int i0, float *s, const flow_step *step, const bool low, const int rows)
{
#define PART(q)                                                                      \
    do {                                                                             \
        for (int r = (rows * (q) + 3) / 4; r < (rows * ((q) + 1) + 3) / 4; r++, i0++) { \
            soften_row(c, i0, s, false);                                             \
            s += SG_KV_CHUNK;                                                        \
        }                                                                            \
        flow_quarter(step, q, low);                                                  \
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
VEC_INLINE void flow_any(const sg_attention_chunk *c, int i0, int nrow, float *s, const flow_step *step, int n, const bool low)
{
    for (int i = 0, done = 0; i < nrow || done < n; i++) {
        if (i < nrow)
            soften_row(c, i0 + i, s + i * SG_KV_CHUNK, false);
        for (; done < n && (done * nrow <= i * n || i >= nrow); done++) {
            flow_quarter(step + done, 0, low);
            flow_quarter(step + done, 1, low);
            flow_quarter(step + done, 2, low);
            flow_quarter(step + done, 3, low);
        }
    }
}

/* f16 and bf16, values in whole 64 dimensions, at most FLOW_DIM of keys and values. */
VEC_INLINE void flow_of(const sg_attention_chunk *c, const bool low)
{
    int nblock = (c->to - c->from + BLOCK - 1) / BLOCK, nstep = steps_of(c->dk);
    const size_t unit = low ? PAIR : TILE;
    flow_step step[FLOW_STEPS];
    for (int b = -1; b <= nblock; b++) {
        int n = 0, i0 = c->from + b * BLOCK, nrow = b < 0 || b == nblock ? 0 : c->to - i0 < BLOCK ? c->to - i0 : BLOCK;
        float *s = c->s + (b & 1) * SCORES, *other = c->s + (~b & 1) * SCORES; /* of the block before, then of the next */
        if (b > 0)
            n += flow_values(step, c, c->acc + (size_t)(i0 - BLOCK) * (size_t)c->dv, other, unit);
        if (b + 1 < nblock)
            n += flow_product(step + n, other, 256, false,
                              queries_at((const uint8_t *)c->queries + (size_t)((i0 + BLOCK) / BLOCK * nstep) * PAIR), c->k, 4 * unit,
                              nstep);
        if (nrow == BLOCK && n == 2)
            flow_block(c, i0, s, step, low, 8);
        else if (nrow == BLOCK && n == 4)
            flow_block(c, i0, s, step, low, 4);
        else if (nrow == BLOCK && n == 8)
            flow_block(c, i0, s, step, low, 2);
        else if (nrow == BLOCK && n == 16)
            flow_block(c, i0, s, step, low, 1);
        else
            flow_any(c, i0, nrow, s, step, n, low);
    }
}

static bool flows(const sg_attention_chunk *c)
{
    return c->dv % 64 == 0 && c->dk <= FLOW_DIM && c->dv <= FLOW_DIM && (c->type == SG_F16 || c->type == SG_BF16);
}

static void chunk(const sg_attention_chunk *c)
{
    clear_rest(c->type, c->v, c->n, c->dv);
    if (flows(c) && c->type == SG_F16) {
        flow_of(c, true);
    } else if (flows(c)) {
        flow_of(c, false);
    } else {
        for (int i = c->from; i < c->to; i += BLOCK) {
            int nrow = c->to - i < BLOCK ? c->to - i : BLOCK;
            scores_block(c, i, nrow);
            values_block(c, i, nrow);
        }
    }
}

/* ---- few queries ------------------------------------------------------------------------------ */

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
            values_product(c, type, 0, c->to, d, v, 4 * unit, 4);
            continue;
        }
        load_part(type, v, p, 0, c->n, at, wide * (size_t)dims / 64, dims);
        load_part(type, half, p, 32, c->n, at, wide * (size_t)dims / 64, dims);
        for (int i = 0, n; i < dims / 16; i += n) {
            n = dims / 16 - i >= 2 ? 2 : 1;
            values_product(c, type, 0, c->to, d + i * 16, v + (size_t)i * unit, 4 * unit, n);
        }
    }
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
    if (type == SG_Q8_0) {
        float *scales = (float *)(void *)((uint8_t *)c->v + v_tile_bytes(c->dv));
        for (int t = 0; t < c->n; t++)
            load_scales(scales, t, (const uint8_t *)p->v[t / SG_KV_GROUP] + (size_t)(t % SG_KV_GROUP) * p->v_row_bytes, c->dv);
        clear_scales(scales, c->n, c->dv);
    }
    soften_rows_of(c, 0, c->to, type == SG_Q8_0);
    few_values(c, p, type);
}

/* ---- few queries in a flow -------------------------------------------------------------------- */

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
VEC_INLINE void flow_deal(flow_dealer *f, int i, int n, const bool low)
{
    for (; f->done < f->n && f->done * n < f->n * i; f->done++) {
        const flow_step *s = f->step + f->done / 4;
        switch (f->done % 4) {
        case 0:
            flow_quarter(s, 0, low);
            break;
        case 1:
            flow_quarter(s, 1, low);
            break;
        case 2:
            flow_quarter(s, 2, low);
            break;
        default:
            flow_quarter(s, 3, low);
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
    for (int g = 0; g < ngroup; g++) {
        const uint16_t *h = p->k[g];
        const char *next = p->next_k[g];
        uint8_t *tile = (uint8_t *)c->k + (size_t)g * unit;
        for (int i = 0; i < nslice; i++) {
            uint8_t *to = tile + (size_t)(i / 2) * 4 * unit + (size_t)(i % 2) * 512;
            for (int j = 0; j < 8; j++, h += 32, next += 64, to += 64) {
                __builtin_prefetch(next, 0, 2);
                if (type == SG_F16)
                    put_pairs(to, v_load_f16(h), v_load_f16(h + 16));
                else
                    _mm512_store_si512(to, interleave(_mm512_loadu_si512(h)));
            }
            flow_deal(f, ++part, ngroup * nslice, type == SG_F16);
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
    const uint16_t *a = (const void *)((const uint8_t *)p->v[g] + row);
    const uint16_t *b = two ? (const void *)((const uint8_t *)p->v[g + 1] + row) : NULL;
    for (size_t d = 0; d < ntile; d++, tile += unit, a += 16) {
        if (type == SG_F16)
            put_pairs(tile, v_load_f16(a), b ? v_load_f16(b + d * 16) : v_zero());
        else
            _mm512_store_si512(tile, interleave_two(a, b ? b + d * 16 : NULL));
    }
}

VEC_INLINE void few_flow_of(const sg_attention_chunk *c, const sg_attention_place *p, const sg_dtype type)
{
    enum { LINES = 2 * BLOCK, SOFT_FROM = 18 };
    const size_t unit = unit_of(type);
    flow_step step[FLOW_STEPS];
    float *s = c->s + (c->turn & 1) * SCORES;
    flow_dealer f = {step, c->turn ? 4 * flow_values(step, c, c->acc_before, c->s + (~c->turn & 1) * SCORES, unit) : 0, 0};
    few_keys(c, p, type, &f);
    f = (flow_dealer){step, 4 * flow_product(step, s, 256, false, queries_at(c->queries), c->k, 4 * unit, steps_of(c->dk)), 0};
    for (int t = 0, i = 0; t < LINES; t++) {
        few_line(c, p, type, t);
        if (t % 2)
            flow_deal(&f, t + 1, LINES / 2, type == SG_F16);
        if (t % 8 == 7)
            STORES_AWAKE();
        for (; t >= SOFT_FROM && i * (LINES - SOFT_FROM) < c->to * (t + 1 - SOFT_FROM); i++)
            soften_row(c, i, s + i * SG_KV_CHUNK, false);
    }
}

/* Keys and values of a chunk in tiles fit the first level cache. */
static bool few_flows(const sg_attention_chunk *c) { return c->dk <= 64 && c->dv == 64 && c->type != SG_Q8_0; }

/* The values of the last chunk. */
static void few_rest(const sg_attention_chunk *c)
{
    flow_step step[FLOW_STEPS];
    if (!few_flows(c) || !c->turn)
        return;
    flow_dealer f = {step, 4 * flow_values(step, c, c->acc_before, c->s + (~c->turn & 1) * SCORES, unit_of(c->type)), 0};
    if (c->type == SG_F16)
        flow_deal(&f, 1, 1, true);
    else
        flow_deal(&f, 1, 1, false);
}

static void few(const sg_attention_chunk *c, const sg_attention_place *p)
{
    if (few_flows(c) && c->type == SG_F16)
        few_flow_of(c, p, SG_F16);
    else if (few_flows(c))
        few_flow_of(c, p, SG_BF16);
    else if (c->type == SG_F16)
        few_of(c, p, SG_F16);
    else if (c->type == SG_BF16)
        few_of(c, p, SG_BF16);
    else
        few_of(c, p, SG_Q8_0);
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
    .few = few,
    .few_rest = few_rest,
};
