/* kernel/linear_avx2_float.c - AVX2: linear layers over F32, F16 and BF16 weights, and quantising activations.
 *
 * A packed tile is [k][16] weights of the stored type, so a step of the inner loop loads one column of 16
 * weights, widens it to float32 and multiplies with one broadcast activation of each row.  Each output has
 * four partial sums, of the columns 4i, 4i + 1, 4i + 2 and 4i + 3, added as (0 + 1) + (2 + 3): one sum alone
 * would wait for itself, four are enough for a single row of x.  With more rows the registers hold one
 * partial sum of each row at a time, and the columns are walked in pieces of 128 so that the weights stay
 * in the first-level cache between the four.  The order of every sum is the same either way.
 *
 * Activations stay float32: nothing is lost beside the weights' own rounding.
 */
#include "kernel/linear.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 6, PARTS = 4, PIECE = 128 };

INLINE size_t value_bytes(sg_dtype type) { return type == SG_F32 ? 4 : 2; }
INLINE size_t tile_bytes(sg_dtype type, int k) { return ((size_t)k * SG_TILE * value_bytes(type) + 63) / 64 * 64; }

/* Eight weights, rows 8p to 8p + 7 of column i. */
INLINE __m256 weights(sg_dtype type, const uint8_t *tile, int i, int p)
{
    const uint8_t *at = tile + ((size_t)i * SG_TILE + (size_t)(8 * p)) * value_bytes(type);
    if (type == SG_F32)
        return _mm256_load_ps((const float *)(const void *)at);
    __m128i half = _mm_load_si128((const __m128i *)(const void *)at);
    if (type == SG_F16)
        return _mm256_cvtph_ps(half);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
}

typedef struct sums {
    __m256 at[PARTS][ROWS][2];
} sums;

/* One row: all four partial sums in registers. */
INLINE void single(sg_dtype type, sums *s, const uint8_t *tile, const float *x, int k)
{
    __m256 acc[PARTS][2];
    for (int c = 0; c < PARTS; c++)
        acc[c][0] = acc[c][1] = _mm256_setzero_ps();
    int i = 0;
    for (; i + PARTS <= k; i += PARTS)
#pragma GCC unroll 4
        for (int c = 0; c < PARTS; c++)
#pragma GCC unroll 2
            for (int p = 0; p < 2; p++)
                acc[c][p] = _mm256_fmadd_ps(weights(type, tile, i + c, p), _mm256_set1_ps(x[i + c]), acc[c][p]);
#pragma GCC unroll 4
    for (int c = 0; c < PARTS; c++)
        for (int p = 0; p < 2; p++) {
            if (i + c < k)
                acc[c][p] = _mm256_fmadd_ps(weights(type, tile, i + c, p), _mm256_set1_ps(x[i + c]), acc[c][p]);
            s->at[c][0][p] = acc[c][p];
        }
}

/* MB rows, one partial sum of each at a time. */
INLINE void several(sg_dtype type, int MB, sums *s, const uint8_t *tile, const float *const *x, int k)
{
    memset(s, 0, sizeof *s);
    for (int i0 = 0; i0 < k; i0 += PIECE) {
        int end = i0 + PIECE < k ? i0 + PIECE : k;
        for (int c = 0; c < PARTS; c++) {
            __m256 acc[ROWS][2];
#pragma GCC unroll 6
            for (int m = 0; m < MB; m++)
                acc[m][0] = s->at[c][m][0], acc[m][1] = s->at[c][m][1];
            for (int i = i0 + c; i < end; i += PARTS) {
                __m256 w0 = weights(type, tile, i, 0), w1 = weights(type, tile, i, 1);
#pragma GCC unroll 6
                for (int m = 0; m < MB; m++) {
                    __m256 a = _mm256_set1_ps(x[m][i]);
                    acc[m][0] = _mm256_fmadd_ps(w0, a, acc[m][0]);
                    acc[m][1] = _mm256_fmadd_ps(w1, a, acc[m][1]);
                }
            }
#pragma GCC unroll 6
            for (int m = 0; m < MB; m++)
                s->at[c][m][0] = acc[m][0], s->at[c][m][1] = acc[m][1];
        }
    }
}

static void store(float *const *out, const sums *s, int rows, int tile, int n)
{
    int width = n - tile * SG_TILE < SG_TILE ? n - tile * SG_TILE : SG_TILE;
    for (int m = 0; m < rows; m++) {
        float row[SG_TILE];
        for (int p = 0; p < 2; p++) {
            __m256 a = _mm256_add_ps(s->at[0][m][p], s->at[1][m][p]), b = _mm256_add_ps(s->at[2][m][p], s->at[3][m][p]);
            _mm256_storeu_ps(row + 8 * p, _mm256_add_ps(a, b));
        }
        memcpy(out[m] + tile * SG_TILE, row, (size_t)width * sizeof *row);
    }
}

#define SEVERAL(MB) \
    case MB: several(type, MB, &s, start, (const float *const *)x + m, k); break;

INLINE void mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    sums s;
    for (int tile = tile0; tile < tile1; tile++) {
        const uint8_t *start = (const uint8_t *)packed + (size_t)tile * tile_bytes(type, k);
        for (int m = 0, rows; m < nrow; m += rows) {
            rows = nrow - m < ROWS ? nrow - m : ROWS;
            switch (rows) {
            case 1: single(type, &s, start, x[m], k); break;
                SEVERAL(2)
                SEVERAL(3)
                SEVERAL(4)
                SEVERAL(5)
                SEVERAL(6)
            }
            store(out + m, &s, rows, tile, n);
        }
    }
}

static void pack(size_t bytes, void *tile, const void *stored, int rows, int k)
{
    for (int i = 0; i < k; i++)
        for (int j = 0; j < SG_TILE; j++) {
            uint8_t *to = (uint8_t *)tile + ((size_t)i * SG_TILE + (size_t)j) * bytes;
            if (j < rows)
                memcpy(to, (const uint8_t *)stored + ((size_t)j * (size_t)k + (size_t)i) * bytes, bytes);
            else
                memset(to, 0, bytes);
        }
}

#define DEFINE(name, type)                                                                                                  \
    static size_t name##_bytes(int k) { return tile_bytes(type, k); }                                                       \
    static void name##_pack(void *t, const void *s, int rows, int k) { pack(value_bytes(type), t, s, rows, k); }            \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                       \
        mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                                \
    }                                                                                                                       \
    static const sg_linear_kernel name = {.act = SG_ACT_F32, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
DEFINE(f32, SG_F32)
DEFINE(f16, SG_F16)
DEFINE(bf16, SG_BF16)

const sg_linear_kernel *sg_linear_avx2_float_find(sg_dtype type)
{
    return type == SG_F32 ? &f32 : type == SG_F16 ? &f16 : type == SG_BF16 ? &bf16 : NULL;
}

/* ---- activations ---------------------------------------------------------------------------------------- */

INLINE float largest(__m256 v)
{
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
}

INLINE int sum4(__m128i v)
{
    v = _mm_add_epi32(v, _mm_unpackhi_epi64(v, v));
    return _mm_cvtsi128_si32(v) + _mm_extract_epi32(v, 1);
}

/* Block b of 32 values, bit for bit as in linear_c.c. */
INLINE void quantize_block(const sg_act_q8 *a, int b, const float *x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f), limit = _mm256_set1_ps(3.4028235e38f);
    __m256 v[4], max = _mm256_setzero_ps(), inside = _mm256_castsi256_ps(_mm256_set1_epi32(-1));
    for (int i = 0; i < 4; i++) {
        v[i] = _mm256_loadu_ps(x + 8 * i);
        __m256 size = _mm256_andnot_ps(sign, v[i]);
        inside = _mm256_and_ps(inside, _mm256_cmp_ps(size, limit, _CMP_LE_OQ)); /* false for a NaN */
        max = _mm256_max_ps(max, size);
    }
    bool finite = _mm256_movemask_ps(inside) == 255;
    float m = finite ? largest(max) : 0, inv = m > 1e-30f ? 127 / m : 0, d = finite ? (inv > 0 ? m / 127 : 0) : __builtin_nanf("");
    __m256i q = _mm256_setzero_si256();
    if (inv > 0) {
        __m256i n[4];
        for (int i = 0; i < 4; i++)
            n[i] = _mm256_cvtps_epi32(_mm256_mul_ps(v[i], _mm256_set1_ps(inv)));
        q = _mm256_packs_epi16(_mm256_packs_epi32(n[0], n[1]), _mm256_packs_epi32(n[2], n[3]));
        q = _mm256_permutevar8x32_epi32(q, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
    }
    _mm256_storeu_si256((__m256i *)(void *)(a->q + 32 * b), q);
    __m256i pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), q), _mm256_set1_epi16(1));
    int low = sum4(_mm256_castsi256_si128(pairs)), high = sum4(_mm256_extracti128_si256(pairs, 1));
    a->d[b] = d;
    a->sx[b] = d * (float)(low + high);
    a->neg[b] = -(low + high);
    a->neg16[2 * b] = -low;
    a->neg16[2 * b + 1] = -high;
}

void sg_linear_avx2_quantize(void *dst, const float *x, int k)
{
    sg_act_q8 a = sg_act_q8_of(dst, k);
    for (int b = 0; b < k / 32; b++)
        quantize_block(&a, b, x + 32 * b);
    if (k % 32) {
        float rest[32] = {0};
        memcpy(rest, x + k / 32 * 32, (size_t)(k % 32) * sizeof *rest);
        quantize_block(&a, k / 32, rest);
    }
}
