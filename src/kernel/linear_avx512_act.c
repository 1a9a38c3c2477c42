/* kernel/linear_avx512_act.c - AVX-512: activations in the forms that kernels take.
 *
 * Bytes with a scale for each 32 values: 16 blocks at a time, so that the divisions of 16 scales are one instruction and what is taken
 * across a block (the largest value, two sums) is taken by transposing: 16 vectors of a block become one vector of 16 blocks in 15
 * steps of two shuffles and one operation, where one vector alone takes four of each.  Sizes are compared as whole numbers, which
 * orders floats without a sign and puts infinities and NaNs above them.  Bit for bit what linear_c.c makes.
 *
 * bfloat16: rounded to nearest even in whole numbers, since not every machine of this table has the instruction.
 */
#include "kernel/linear.h"

#include <immintrin.h>
#include <string.h>

enum { BLOCK = 32, MANY = 16 };

/* ---- bytes ---------------------------------------------------------------------------------------------- */

/* Two vectors become one: of each 128-bit lane z of a, b, c, d what is across the lane, at [4 z + 0..3]. */
#define ACROSS_LANES(OP, a, b, c, d)                                                                                        \
    ({                                                                                                                      \
        __m512i ab_ = OP(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));                                         \
        __m512i cd_ = OP(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));                                         \
        OP(_mm512_unpacklo_epi64(ab_, cd_), _mm512_unpackhi_epi64(ab_, cd_));                                               \
    })

/* [4 z + i] to [4 i + z]. */
static inline __m512i turned(__m512i v)
{
    return _mm512_permutexvar_epi32(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), v);
}

/* Lane b: the largest of the 16 numbers of v[b]. */
static inline __m512i largest(const __m512i v[MANY])
{
    __m512i two[8], four[4];
    for (int i = 0; i < 8; i++)
        two[i] = _mm512_max_epu32(_mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0x44), _mm512_shuffle_i32x4(v[2 * i], v[2 * i + 1], 0xee));
    for (int i = 0; i < 4; i++)
        four[i] = _mm512_max_epu32(_mm512_shuffle_i32x4(two[2 * i], two[2 * i + 1], 0x88),
                                   _mm512_shuffle_i32x4(two[2 * i], two[2 * i + 1], 0xdd));
    return turned(ACROSS_LANES(_mm512_max_epu32, four[0], four[1], four[2], four[3]));
}

/* Sums of the 16 half blocks of 8 blocks, in order: each block's first half, then its second. */
static inline __m512i half_sums(const int8_t *q)
{
    __m512i v[4];
    for (int i = 0; i < 4; i++)
        v[i] = _mm512_madd_epi16(_mm512_maddubs_epi16(_mm512_set1_epi8(1), _mm512_loadu_si512(q + 64 * i)), _mm512_set1_epi16(1));
    return turned(ACROSS_LANES(_mm512_add_epi32, v[0], v[1], v[2], v[3]));
}

/* Values [16 i, 16 i + 16) of x, which has k; 0 behind its end. */
static inline __m512 values(const float *x, int i, int k, const bool whole)
{
    int left = k - i * 16 < 0 ? 0 : k - i * 16 < 16 ? k - i * 16 : 16;
    return whole ? _mm512_loadu_ps(x + i * 16) : _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), x + (left ? i * 16 : 0));
}

static inline __m512i size_of(__m512 v) { return _mm512_and_si512(_mm512_castps_si512(v), _mm512_set1_epi32(0x7fffffff)); }

/* 16 blocks, of which n are there, with k values; whole: all of them. */
static inline __attribute__((always_inline)) void quantize_blocks(const sg_act_q8 *a, int b0, const float *x, int n, int k,
                                                                  const bool whole)
{
    const __m512i zero = _mm512_setzero_si512(), evens = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    int8_t rest[MANY * BLOCK], *q = whole ? a->q + BLOCK * b0 : rest;
    float inverse[MANY] __attribute__((aligned(64)));
    __m512i most[MANY];
    for (int b = 0; b < MANY; b++)
        most[b] = _mm512_max_epu32(size_of(values(x, 2 * b, k, whole)), size_of(values(x, 2 * b + 1, k, whole)));
    __m512i bits = largest(most);
    __m512 m = _mm512_castsi512_ps(bits);
    __mmask16 finite = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(0x7f800000));
    __mmask16 some = _mm512_mask_cmp_ps_mask(finite, m, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    __m512 d = _mm512_maskz_div_ps(some, m, _mm512_set1_ps(127));
    d = _mm512_mask_blend_ps(finite, _mm512_set1_ps(__builtin_nanf("")), d);
    _mm512_store_ps(inverse, _mm512_maskz_div_ps(some, _mm512_set1_ps(127), m));
    for (int i = 0; i < 2 * MANY; i++) {
        __mmask16 all = (__mmask16)-(some >> (i / 2) & 1);
        __m512i y = _mm512_maskz_cvtps_epi32(all, _mm512_mul_ps(values(x, i, k, whole), _mm512_set1_ps(inverse[i / 2])));
        _mm_storeu_si128((__m128i *)(void *)(q + 16 * i), _mm512_cvtsepi32_epi8(y));
    }
    __m512i first = half_sums(q), second = half_sums(q + 8 * BLOCK);
    __m512i sum = _mm512_add_epi32(_mm512_permutex2var_epi32(first, evens, second),
                                   _mm512_permutex2var_epi32(first, _mm512_add_epi32(evens, _mm512_set1_epi32(1)), second));
    __mmask16 there = (__mmask16)((1u << n) - 1);
    _mm512_mask_storeu_ps(a->d + b0, there, d);
    _mm512_mask_storeu_ps(a->sx + b0, there, _mm512_mul_ps(d, _mm512_cvtepi32_ps(sum)));
    _mm512_mask_storeu_epi32(a->neg + b0, there, _mm512_sub_epi32(zero, sum));
    _mm512_mask_storeu_epi32(a->neg16 + 2 * b0, (__mmask16)((1u << (n < 8 ? 2 * n : 16)) - 1), _mm512_sub_epi32(zero, first));
    if (n > 8)
        _mm512_mask_storeu_epi32(a->neg16 + 2 * b0 + 16, (__mmask16)((1u << (2 * n - 16)) - 1), _mm512_sub_epi32(zero, second));
    if (!whole)
        memcpy(a->q + BLOCK * b0, q, (size_t)(n * BLOCK));
}

void sg_linear_avx512_quantize(void *dst, const float *x, int k)
{
    sg_act_q8 a = sg_act_q8_of(dst, k);
    int nb = (k + BLOCK - 1) / BLOCK;
    int b = 0;
    for (; b + MANY <= k / BLOCK; b += MANY)
        quantize_blocks(&a, b, x + BLOCK * b, MANY, MANY * BLOCK, true);
    if (b < nb)
        quantize_blocks(&a, b, x + BLOCK * b, nb - b, k - BLOCK * b, false);
}

/* ---- bfloat16 ------------------------------------------------------------------------------------------ */

/* Sixteen values rounded to bfloat16, to nearest even; a NaN stays one. */
static inline __m256i rounded(__m512 x)
{
    __m512i u = _mm512_castps_si512(x), even = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(even, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
    return _mm512_cvtepi32_epi16(_mm512_srli_epi32(up, 16));
}

void sg_linear_avx512_quantize_bf16(void *dst, const float *x, int k)
{
    int n = (k + 31) / 32 * 32;
    uint16_t *y = dst;
    for (int i = 0; i < n; i += 16) {
        int left = k - i < 0 ? 0 : k - i < 16 ? k - i : 16;
        __m512 v = _mm512_maskz_loadu_ps((__mmask16)((1u << left) - 1), x + (left ? i : 0));
        _mm256_storeu_si256((__m256i *)(void *)(y + i), rounded(v));
    }
}
