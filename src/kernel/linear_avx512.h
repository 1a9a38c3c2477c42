/* kernel/linear_avx512.h - reading packed tiles (tile.h) with 512-bit vectors.  Private to the AVX-512 and
 * AMX tables; included by files compiled with those instruction sets.
 *
 * Functions take `type` as a constant and are inlined, so that each use is one type's code.
 */
#ifndef SG_KERNEL_LINEAR_AVX512_H
#define SG_KERNEL_LINEAR_AVX512_H

#include "kernel/linear.h"
#include "kernel/quant_layout.h"
#include "kernel/tile.h"

#include <immintrin.h>
#include <string.h>

#define SG_INLINE static inline __attribute__((always_inline))

/* The compilers disagree about the type of a 16-bit shift's count. */
#ifdef __clang__
typedef unsigned sg_shift16;
#else
typedef int sg_shift16;
#endif

/* linear_avx512_few.c, linear_avx512_some.c: `mul` of a block-quantised type (linear.h) for few rows, and for 7 to SG_SOME_ROWS. */
enum { SG_SOME_ROWS = 32 };
typedef void sg_tile_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k);
sg_tile_mul *sg_avx512_few(sg_dtype type), *sg_avx512_some(sg_dtype type);

/* A tile, and where its parts begin. */
typedef struct sg_tile_view {
    const uint8_t *meta, *planes;
} sg_tile_view;

SG_INLINE sg_tile_view sg_tile_view_of(sg_dtype type, const void *packed, int tile, int k)
{
    const uint8_t *p = (const uint8_t *)packed + (size_t)tile * sg_tile_bytes(type, k);
    return (sg_tile_view){p, p + sg_tile_meta_bytes(type, k)};
}

SG_INLINE __m512 sg_load_half(const uint8_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p)); }

SG_INLINE __m512 sg_load_int8(const uint8_t *p)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}

/* Scales of half h of group b for the 16 rows. */
SG_INLINE __m512 sg_tile_scale(sg_dtype type, const uint8_t *meta, int b, int h)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (type == SG_MXFP4)
        return _mm512_loadu_ps(meta + (size_t)b * 64);
    if (!f.nested)
        return sg_load_half(meta + (size_t)b * (size_t)f.meta_bytes);
    const uint8_t *p = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = p + (f.min ? 64 : 32) + b % 8 * 16 * f.halves * (f.min ? 2 : 1);
    return _mm512_mul_ps(sg_load_half(p), sg_load_int8(s + h * 16));
}

/* What is added times the sum of activations: m, or -dmin*mn. */
SG_INLINE __m512 sg_tile_offset(sg_dtype type, const uint8_t *meta, int b, int h)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (!f.nested)
        return sg_load_half(meta + (size_t)b * (size_t)f.meta_bytes + 32);
    const uint8_t *p = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = p + 64 + b % 8 * 16 * f.halves * 2 + 16 * f.halves;
    __m512 v = _mm512_mul_ps(sg_load_half(p + 32), sg_load_int8(s + h * 16));
    return _mm512_xor_ps(v, _mm512_set1_ps(-0.0f));
}

/* Table types: levels in each 16 bytes. */
SG_INLINE __m512i sg_tile_levels(sg_dtype type)
{
    const int8_t *t = type == SG_MXFP4 ? sg_quant_fp4_values : sg_quant_iq4_values;
    return _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)(const void *)t));
}

/* The same + 128. */
SG_INLINE __m512i sg_tile_table(sg_dtype type) { return _mm512_xor_si512(sg_tile_levels(type), _mm512_set1_epi8((char)0x80)); }

/* Vector v of a group: unsigned codes (table types: level + 128).  Loads repeat between calls; the compiler
 * keeps them in registers. */
SG_INLINE __m512i sg_tile_codes(sg_dtype type, const uint8_t *plane, int v, __m512i table)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (f.bits == 8)
        return _mm512_load_si512(plane + v * 64);
    __m512i q;
    if (f.bits < 4) {
        q = _mm512_srli_epi16(_mm512_load_si512(plane + v / 4 * 64), (sg_shift16)(2 * (v % 4)));
        q = _mm512_and_si512(q, _mm512_set1_epi8(3));
    } else {
        q = _mm512_load_si512(plane + v % 4 * 64);
        q = _mm512_and_si512(v < 4 ? q : _mm512_srli_epi16(q, 4), _mm512_set1_epi8(15));
    }
    if (f.bits == 5 || f.bits == 3) { /* one more bit, from bit v of the last vector to bit 4 or 2 */
        int to = f.bits - 1;
        __m512i high = _mm512_load_si512(plane + (f.bits == 5 ? 256 : 128));
        high = v > to ? _mm512_srli_epi16(high, (sg_shift16)(v - to)) : _mm512_slli_epi16(high, (sg_shift16)(to - v));
        q = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi8((char)(1 << to)), 0xf8); /* q | (high & bit) */
    }
    if (f.bits == 6) {
        __m512i high = _mm512_load_si512(plane + 256 + v / 4 * 64);
        int from = 2 * (v % 4);
        high = from > 4 ? _mm512_srli_epi16(high, (sg_shift16)(from - 4)) : _mm512_slli_epi16(high, (sg_shift16)(4 - from));
        q = _mm512_ternarylogic_epi32(q, high, _mm512_set1_epi8(0x30), 0xf8);
    }
    return f.table ? _mm512_shuffle_epi8(table, q) : q;
}

/* log2 of the zero code, 0 for none. */
SG_INLINE int sg_tile_zero_shift(sg_dtype type)
{
    int z = sg_tile_form_of(type).zero;
    return z == 4 ? 2 : z == 8 ? 3 : z == 16 ? 4 : z == 32 ? 5 : z == 128 ? 7 : 0;
}

/* Numbers at any address of an activation row. */
SG_INLINE float float_at(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

SG_INLINE int32_t int_at(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* What every integer kernel does with a group's exact sums, in this order. */
SG_INLINE __m512 sg_group_end(__m512 acc, __m512i dot, __m512 scale, float d)
{
    return _mm512_fmadd_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(dot), scale), _mm512_set1_ps(d), acc);
}

#define SG_TILE_TYPES(X)                                                                                            \
    X(q4_0, SG_Q4_0) X(q4_1, SG_Q4_1) X(q5_0, SG_Q5_0) X(q5_1, SG_Q5_1) X(q8_0, SG_Q8_0) X(q2_k, SG_Q2_K)           \
    X(q3_k, SG_Q3_K) X(q4_k, SG_Q4_K) X(q5_k, SG_Q5_K) X(q6_k, SG_Q6_K) X(iq4_nl, SG_IQ4_NL) X(iq4_xs, SG_IQ4_XS)  \
    X(mxfp4, SG_MXFP4)

/* Columns [16*tile, min(16*tile + 16, n)) of a row. */
SG_INLINE void sg_store_tile_row(float *out, __m512 v, int tile, int n)
{
    int left = n - tile * SG_TILE;
    unsigned mask = left >= SG_TILE ? 0xffff : (1u << left) - 1;
    _mm512_mask_storeu_ps(out + tile * SG_TILE, (__mmask16)mask, v);
}

#endif
