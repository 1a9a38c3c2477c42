/* kernel/linear_avx512_float.c - AVX-512: linear layers over F32, F16 and BF16 weights.
 *
 * A packed tile is [k][16] weights of the stored type, so one load gives a column of 16 weights, widened to float32
 * without loss and multiplied with one broadcast activation of each of up to 12 rows.  Each output has two partial
 * sums, of the even and the odd columns: one alone would wait for itself twice as long when there are few rows.
 * Twelve rows with two sums are 24 registers.  The order of a row's sums is the same in every batch.
 */
#include "kernel/linear_avx512.h"

enum { ROWS = 12, PARTS = 2 };

SG_INLINE size_t value_bytes(sg_dtype type) { return type == SG_F32 ? 4 : 2; }
SG_INLINE size_t tile_bytes(sg_dtype type, int k) { return ((size_t)k * SG_TILE * value_bytes(type) + 63) / 64 * 64; }

/* Column i of a tile. */
SG_INLINE __m512 column(sg_dtype type, const uint8_t *tile, int i)
{
    const uint8_t *at = tile + (size_t)i * SG_TILE * value_bytes(type);
    if (type == SG_F32)
        return _mm512_load_ps(at);
    __m256i half = _mm256_load_si256((const __m256i *)(const void *)at);
    return type == SG_F16 ? _mm512_cvtph_ps(half) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* MB rows of one tile. */
SG_INLINE void tile_rows(sg_dtype type, int MB, float *const *out, const void *const *x, const uint8_t *tile, int number, int n, int k)
{
    __m512 acc[PARTS][ROWS];
#pragma GCC unroll 2
    for (int c = 0; c < PARTS; c++)
#pragma GCC unroll 12
        for (int m = 0; m < MB; m++)
            acc[c][m] = _mm512_setzero_ps();
    for (int i = 0; i < k; i += PARTS)
#pragma GCC unroll 2
        for (int c = 0; c < PARTS; c++) {
            if (i + c >= k)
                break;
            __m512 w = column(type, tile, i + c);
#pragma GCC unroll 12
            for (int m = 0; m < MB; m++)
                acc[c][m] = _mm512_fmadd_ps(w, _mm512_set1_ps(((const float *)x[m])[i + c]), acc[c][m]);
        }
#pragma GCC unroll 12
    for (int m = 0; m < MB; m++)
        sg_store_tile_row(out[m], _mm512_add_ps(acc[0][m], acc[1][m]), number, n);
}

SG_INLINE void mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    for (int t = tile0; t < tile1; t++) {
        const uint8_t *tile = (const uint8_t *)packed + (size_t)t * tile_bytes(type, k);
        int m = 0;
        for (; m + 12 <= nrow; m += 12)
            tile_rows(type, 12, out + m, x + m, tile, t, n, k);
        for (; m + 4 <= nrow; m += 4)
            tile_rows(type, 4, out + m, x + m, tile, t, n, k);
        for (; m + 2 <= nrow; m += 2)
            tile_rows(type, 2, out + m, x + m, tile, t, n, k);
        for (; m < nrow; m++)
            tile_rows(type, 1, out + m, x + m, tile, t, n, k);
    }
}

static void pack(sg_dtype type, uint8_t *tile, const uint8_t *stored, int rows, int k)
{
    size_t size = value_bytes(type), row_bytes = (size_t)k * size;
    memset(tile, 0, tile_bytes(type, k));
    for (int i = 0; i < k; i++)
        for (int j = 0; j < rows; j++)
            memcpy(tile + ((size_t)i * SG_TILE + (size_t)j) * size, stored + (size_t)j * row_bytes + (size_t)i * size, size);
}

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return tile_bytes(type, k); }                                                      \
    static void name##_pack(void *t, const void *s, int rows, int k) { pack(type, t, s, rows, k); }                        \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                               \
    }                                                                                                                      \
    static const sg_linear_kernel name = {.act = SG_ACT_F32, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
DEFINE(f32, SG_F32)
DEFINE(f16, SG_F16)
DEFINE(bf16, SG_BF16)

const sg_linear_kernel *sg_linear_avx512_float_find(sg_dtype type)
{
    return type == SG_F32 ? &f32 : type == SG_F16 ? &f16 : type == SG_BF16 ? &bf16 : NULL;
}
