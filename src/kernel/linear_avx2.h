/* kernel/linear_avx2.h - what the AVX2 linear layers of block-quantised types share: codes of packed tiles (tile.h), scales, and ends of
 * activation rows.  Private to linear_avx2*.c; everything is inlined with a constant type.
 */
#ifndef SG_KERNEL_LINEAR_AVX2_H
#define SG_KERNEL_LINEAR_AVX2_H

#include "kernel/linear.h"
#include "kernel/quant_layout.h"
#include "kernel/tile.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The compiler takes no part in the order of additions: as a tree they need more registers than there are, and everything goes through
 * memory (a fifth to a third of the time). */
#define IN_ORDER(v) __asm__("" : "+x"(v))
#define MAGIC 0x4b400000 /* the bits of 1.5 * 2^23: MAGIC + n are those of 1.5 * 2^23 + n for |n| < 2^22 (linear_wide.h) */

/* ---- codes ---------------------------------------------------------------------------------------------- */

INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Levels by code: signed for IQ4, + 12 for MXFP4. */
INLINE __m256i table_of(sg_dtype type)
{
    if (!sg_tile_form_of(type).table)
        return _mm256_setzero_si256();
    const int8_t *t = type == SG_MXFP4 ? sg_quant_fp4_values : sg_quant_iq4_values;
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
    return type == SG_MXFP4 ? _mm256_add_epi8(v, _mm256_set1_epi8(12)) : v;
}

/* Eight rows of vector v of a group: plane is the group's, plus 32 for the upper eight.  Unsigned codes, or
 * signed levels where flush is 0. */
INLINE __m256i codes(sg_dtype type, const uint8_t *plane, int v, __m256i table)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (f.bits == 8)
        return _mm256_xor_si256(load32(plane + v * 64), _mm256_set1_epi8((char)0x80));
    __m256i q;
    if (f.bits < 4) {
        q = _mm256_srli_epi16(load32(plane + v / 4 * 64), 2 * (v % 4));
        q = _mm256_and_si256(q, _mm256_set1_epi8(3));
    } else {
        q = load32(plane + v % 4 * 64);
        q = _mm256_and_si256(v < 4 ? q : _mm256_srli_epi16(q, 4), _mm256_set1_epi8(15));
    }
    if (f.bits == 5 || f.bits == 3) { /* one more bit, from bit v of the last vector to bit 4 or 2 */
        int to = f.bits - 1;
        __m256i high = load32(plane + (f.bits == 5 ? 256 : 128));
        high = v > to ? _mm256_srli_epi16(high, v - to) : _mm256_slli_epi16(high, to - v);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi8((char)(1 << to))));
    }
    if (f.bits == 6) {
        __m256i high = load32(plane + 256 + v / 4 * 64);
        int from = 2 * (v % 4);
        high = from > 4 ? _mm256_srli_epi16(high, from - 4) : _mm256_slli_epi16(high, 4 - from);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
    }
    return f.table ? _mm256_shuffle_epi8(table, q) : q;
}

/* ---- scales ------------------------------------------------------------------------------------------- */

INLINE __m256 load_half(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
INLINE __m256 load_int8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Scales of half h of group b, rows 8p to 8p + 7. */
INLINE __m256 scale_of(sg_dtype type, const uint8_t *meta, int b, int h, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (type == SG_MXFP4)
        return _mm256_loadu_ps((const float *)(const void *)(meta + (size_t)b * 64 + (size_t)(p * 32)));
    if (!f.nested)
        return load_half(meta + (size_t)b * (size_t)f.meta_bytes + p * 16);
    const uint8_t *at = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = at + (f.min ? 64 : 32) + b % 8 * 16 * f.halves * (f.min ? 2 : 1);
    return _mm256_mul_ps(load_half(at + p * 16), load_int8(s + h * 16 + p * 8));
}

/* What is added times the sum of activations: m, or -dmin*mn. */
INLINE __m256 offset_of(sg_dtype type, const uint8_t *meta, int b, int h, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (!f.nested)
        return load_half(meta + (size_t)b * (size_t)f.meta_bytes + 32 + p * 16);
    const uint8_t *at = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = at + 64 + b % 8 * 16 * f.halves * 2 + 16 * f.halves;
    __m256 v = _mm256_mul_ps(load_half(at + 32 + p * 16), load_int8(s + h * 16 + p * 8));
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

INLINE __m256 base_of(__m256 scale) { return _mm256_mul_ps(scale, _mm256_set1_ps(-0x1.8p23f)); }

/* ---- rows ----------------------------------------------------------------------------------------------- */

/* Where the parts of an activation row begin, as offsets from the row. */
typedef struct act_offsets {
    size_t d, sx, neg, neg16;
} act_offsets;

INLINE act_offsets act_offsets_of(const void *row, int k)
{
    sg_act_q8 a = sg_act_q8_of(row, k);
    const char *p = row;
    return (act_offsets){(size_t)((char *)a.d - p), (size_t)((char *)a.sx - p), (size_t)((char *)a.neg - p),
                         (size_t)((char *)a.neg16 - p)};
}

INLINE int32_t int_at(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

INLINE float float_at(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

/* 16 results of a row, or what is left of n. */
INLINE void store_row(float *out, __m256 low, __m256 high, int tile, int n)
{
    float *at = out + tile * SG_TILE;
    int left = n - tile * SG_TILE;
    if (left >= SG_TILE) {
        _mm256_storeu_ps(at, low);
        _mm256_storeu_ps(at + 8, high);
    } else {
        float both[SG_TILE];
        _mm256_storeu_ps(both, low);
        _mm256_storeu_ps(both + 8, high);
        memcpy(at, both, (size_t)left * sizeof *both);
    }
}

/* ---- what is unpacked next ---------------------------------------------------------------------------------- */

/* Groups of one tile or two: planes and what describes them.  They lie too far apart for the machine to see what comes. */
typedef struct ahead {
    const uint8_t *meta, *planes;
    size_t meta_bytes, plane_bytes, next_tile; /* 0: no second tile */
} ahead;

INLINE ahead ahead_of(sg_dtype type, const uint8_t *tile, int k, int b0, int ngroup, int ntile)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const int m0 = f.nested ? b0 / 8 : b0, m1 = f.nested ? (b0 + ngroup + 7) / 8 : b0 + ngroup;
    return (ahead){tile + (size_t)m0 * (size_t)f.meta_bytes, tile + sg_tile_meta_bytes(type, k) + (size_t)b0 * (size_t)f.plane_bytes,
                   ngroup ? (size_t)(m1 - m0) * (size_t)f.meta_bytes : 0, (size_t)ngroup * (size_t)f.plane_bytes,
                   ntile == 2 ? sg_tile_bytes(type, k) : 0};
}

INLINE void fetch_bytes(const uint8_t *at, size_t from, size_t to, size_t next_tile)
{
    for (size_t z = from; z < to; z += 64) {
        _mm_prefetch((const char *)at + z, _MM_HINT_T0);
        if (next_tile)
            _mm_prefetch((const char *)at + next_tile + z, _MM_HINT_T0);
    }
}

/* Fetch parts [i, j) of n. */
INLINE void fetch_share(const ahead *next, int i, int j, int n)
{
    if (i == 0)
        fetch_bytes(next->meta, 0, next->meta_bytes, next->next_tile);
    const size_t share = (next->plane_bytes / 64 + (size_t)n - 1) / (size_t)n * 64, end = (size_t)j * share;
    fetch_bytes(next->planes, (size_t)i * share, end < next->plane_bytes ? end : next->plane_bytes, next->next_tile);
}

/* Types with levels of 8 bits, many rows (linear_avx2_signs.c); the type is q8_0, iq4_nl or iq4_xs.  As sg_linear_kernel.mul. */
void sg_linear_avx2_mul_signs(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                              int n, int k);

/* The same for up to SG_AVX2_SIGNS_FEW rows: nothing is unpacked. */
enum { SG_AVX2_SIGNS_FEW = 12 };
void sg_linear_avx2_mul_signs_few(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                                  int tile1, int n, int k);

#endif
