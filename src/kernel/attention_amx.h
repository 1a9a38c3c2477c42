/* kernel/attention_amx.h - keys, values and queries as AMX tiles.  Private to the attention of the AMX table: attention_amx.c
 * (prompts) and attention_amx_few.c (few queries).
 *
 * One bfloat16 has 8 bits, a cached half float 11 and a query 24: everything is split into two terms, x = hi + lo, 16 bits
 * together, and a product is hi hi + lo hi + hi lo; lo lo is below 2^-16 of it.  A cache in bfloat16 has no lo.  Nor has
 * Q8_0: its whole numbers are bfloat16 already, and its scales stand apart.
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
 * half floats.
 */
#ifndef SG_KERNEL_ATTENTION_AMX_H
#define SG_KERNEL_ATTENTION_AMX_H

#include "kernel/amx.h"
#include "kernel/attention.h"
#include "kernel/vec.h"

enum { TILE = 1024, PAIR = 2 * TILE, BLOCK = 16 };
enum { SCORES = BLOCK * SG_KV_CHUNK }; /* of a block; probabilities, [16][2 steps][hi, lo] of 64 bytes, are as large */

/* From a tile of keys or values to the next: only half floats have a lo tile. */
static inline size_t unit_of(sg_dtype type) { return type == SG_F16 ? PAIR : TILE; }
static inline int steps_of(int dk) { return (dk + 31) / 32; }
static inline int blocks_of(int nquery) { return (nquery + BLOCK - 1) / BLOCK; }
static inline size_t k_tile_bytes(int dk) { return (size_t)steps_of(dk) * 4 * PAIR; }
static inline size_t v_tile_bytes(int dv) { return (size_t)(dv > 64 ? dv / 16 : 4) * 2 * PAIR; }
static inline int slots_of(int dk, int dv) { return steps_of(dk) > steps_of(dv) ? steps_of(dk) : steps_of(dv); }
static inline size_t scale_bytes(int n) { return (size_t)steps_of(n) * SG_KV_CHUNK * sizeof(float); }

/* Scores of a block, which become probabilities in their place: two buffers that blocks (few queries: calls) use in turn.  Q8_0 has a slot
 * for each 32 dimensions. */
static inline float *buffer_at(const sg_attention_chunk *c, int turn)
{
    return c->s + (turn & 1) * (c->type == SG_Q8_0 ? slots_of(c->dk, c->dv) : 1) * SCORES;
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

/* ---- awake ------------------------------------------------------------------------------- */

/* Tile products and tile stores that were not used for 300 ns fall asleep, and the next one of each takes 300 ns (measured on Sapphire
 * Rapids: docs/profile.md).  While vectors work, one of each now and then keeps them awake; nobody looks at the result. */
#define STAY_AWAKE()                      \
    do {                                  \
        _Alignas(64) float ignored[16];   \
        SG_AMX_DOT_BF16(3, 4, 6);         \
        SG_AMX_STORE(3, ignored, 0);      \
    } while (0)

/* ---- keys, and the scales of Q8_0 -------------------------------------------------------- */

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

/* The scales of a group of Q8_0 rows, 0 from the n-th row on. */
VEC_INLINE void load_scales(float *scale, const uint8_t *rows, size_t row_bytes, int n, int dv)
{
    const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i at = _mm512_mullo_epi32(lane, _mm512_set1_epi32((int)row_bytes));
    const __mmask16 stored = (__mmask16)((1u << n) - 1);
    for (int b = 0; b < dv / 32; b++, rows += 34) {
        __m512i d = _mm512_mask_i32gather_epi32(_mm512_setzero_si512(), stored, at, rows, 1);
        v_store(scale + b * SG_KV_CHUNK, _mm512_cvtph_ps(_mm512_cvtepi32_epi16(d)));
    }
}

/* Scales of the groups from position n on are 0. */
static inline void clear_scales(float *scale, int n, int dv)
{
    for (int b = 0; b < dv / 32; b++)
        for (int t = (n + SG_KV_GROUP - 1) / SG_KV_GROUP * SG_KV_GROUP; t < SG_KV_CHUNK; t += SG_KV_GROUP)
            v_store(scale + b * SG_KV_CHUNK + t, v_zero());
}

/* ---- few queries (attention_amx_few.c) ------------------------------------------------------ */

/* `few` and `few_rest` of kernel/attention.h. */
void sg_attention_amx_few(const sg_attention_chunk *c, const sg_attention_place *p);
void sg_attention_amx_few_rest(const sg_attention_chunk *c);

#endif
