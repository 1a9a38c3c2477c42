/* kernel/linear_avx512.c - linear layers with AVX-512 and VNNI: block-quantised types.
 *
 * Few rows (up to 16, 8 at a time): straight from the packed tile, bound by memory.  A group of 32 columns is 8 vectors
 * [16 rows of W][4 columns]; each is unpacked once and multiplied with four broadcast activations of every
 * row of x:
 *
 *     dot[m]  = -zero * sum(x)                      from the activations' own sums, exact
 *     dot[m] += VPDPBUSD(codes v, x[m][4v .. 4v+3])  v = 0 .. 7
 *     acc[m]  = fma(float(dot[m]), scale * d[m], acc[m]);   minimum: acc[m] = fma(offset, sx[m], acc[m])
 *
 * More rows: the codes of two tiles and up to 512 columns are unpacked to bytes in the first level cache and
 * serve up to 256 rows, 6 at a time.  The integers are exact and the float operations are the same, so both
 * ways, and the AMX table's, give the same bits.
 */
#include "kernel/linear_wide.h"

/* ---- few rows ------------------------------------------------------------------- */

/* Where the parts of an activation row begin, as offsets from the row. */
typedef struct act_offsets {
    size_t d, sx, neg, neg16;
} act_offsets;

SG_INLINE act_offsets act_offsets_of(const void *row, int k)
{
    sg_act_q8 a = sg_act_q8_of(row, k);
    const char *p = row;
    return (act_offsets){(size_t)((char *)a.d - p), (size_t)((char *)a.sx - p), (size_t)((char *)a.neg - p), (size_t)((char *)a.neg16 - p)};
}

/* One tile with MB rows. */
SG_INLINE void small_tile(sg_dtype type, int MB, __m512 *acc, const uint8_t *const *x, act_offsets at, sg_tile_view t, int nb)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const unsigned shift = (unsigned)sg_tile_zero_shift(type);
    __m512i table = f.table ? sg_tile_table(type) : _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int m = 0; m < MB; m++)
        acc[m] = _mm512_setzero_ps();
    for (int b = 0; b < nb; b++) {
        const uint8_t *plane = t.planes + (size_t)b * (size_t)f.plane_bytes;
        for (int z = 0; z < f.plane_bytes; z += 64)
            _mm_prefetch((const char *)plane + 2048 + z, _MM_HINT_T0);
        __m512i dot[2][8];
#pragma GCC unroll 8
        for (int m = 0; m < MB; m++)
#pragma GCC unroll 2
            for (int h = 0; h < f.halves; h++) {
                int32_t neg = f.halves == 2 ? int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) : int_at(x[m] + at.neg + (size_t)(4 * b));
                dot[h][m] = f.zero ? _mm512_slli_epi32(_mm512_set1_epi32(neg), shift) : _mm512_setzero_si512();
            }
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m512i w = sg_tile_codes(type, plane, v, table);
            int h = f.halves == 2 ? v / 4 : 0;
#pragma GCC unroll 8
            for (int m = 0; m < MB; m++)
                dot[h][m] = _mm512_dpbusd_epi32(dot[h][m], w, _mm512_set1_epi32(int_at(x[m] + b * 32 + v * 4)));
        }
#pragma GCC unroll 2
        for (int h = 0; h < f.halves; h++) {
            __m512 scale = sg_tile_scale(type, t.meta, b, h);
            __m512 offset = f.min ? sg_tile_offset(type, t.meta, b, h) : scale;
#pragma GCC unroll 8
            for (int m = 0; m < MB; m++) {
                float d = float_at(x[m] + at.d + (size_t)(4 * b));
                acc[m] = sg_group_end(acc[m], dot[h][m], scale, d);
                if (f.min) {
                    float sx = f.halves == 2 ? -(float)int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) * d
                                             : float_at(x[m] + at.sx + (size_t)(4 * b));
                    acc[m] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sx), acc[m]);
                }
            }
        }
    }
}

#define SMALL(MB)                                                                        \
    case MB: {                                                                           \
        __m512 acc[MB];                                                                  \
        small_tile(type, MB, acc, (const uint8_t *const *)x + m, at, t, k / 32);         \
        for (int i = 0; i < MB; i++)                                                     \
            sg_store_tile_row(out[m + i], acc[i], tile, n);                              \
        break;                                                                           \
    }

SG_INLINE void small_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                         int tile1, int n, int k)
{
    act_offsets at = act_offsets_of(x[0], k);
    for (int tile = tile0; tile < tile1; tile++) {
        sg_tile_view t = sg_tile_view_of(type, packed, tile, k);
        for (int m = 0, step; m < nrow; m += step) {
            int left = nrow - m;
            step = left >= 8 ? 8 : left == 7 ? 4 : left == 5 ? 3 : left;
            switch (step) {
                SMALL(1)
                SMALL(2)
                SMALL(3)
                SMALL(4)
                SMALL(6)
                SMALL(8)
            }
        }
    }
}

/* ---- many rows --------------------------------------------------------------------- */

/* What differs between types once the codes are bytes.  shift: log2 of the zero code, 0 for none. */
typedef struct wide_kind {
    int halves;
    bool min;
    unsigned shift;
} wide_kind;

enum { TILE_SUMS = SG_WIDE_ROWS * SG_TILE };

/* MB rows with the groups of NT tiles; sums (rows of 16, tiles TILE_SUMS apart) are read and written.  Two tiles share each broadcast
 * of activations: with one, loads would bound the loop. */
SG_INLINE void wide_rows(wide_kind kind, int NT, int MB, float *sums, const sg_wide *w, const uint8_t *const *x,
                         act_offsets at, int b0, int ngroup)
{
    __m512 acc[2][6];
#pragma GCC unroll 2
    for (int t = 0; t < NT; t++)
#pragma GCC unroll 6
        for (int m = 0; m < MB; m++)
            acc[t][m] = _mm512_load_ps(sums + t * TILE_SUMS + m * SG_TILE);
    for (int g = 0; g < ngroup; g++) {
        int b = b0 + g;
#pragma GCC unroll 2
        for (int h = 0; h < kind.halves; h++) {
            __m512i dot[2][6];
#pragma GCC unroll 6
            for (int m = 0; m < MB; m++) {
                int32_t neg = kind.halves == 2 ? int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h))
                                               : int_at(x[m] + at.neg + (size_t)(4 * b));
                dot[0][m] = kind.shift ? _mm512_slli_epi32(_mm512_set1_epi32(neg), kind.shift) : _mm512_setzero_si512();
                dot[1][m] = dot[0][m];
            }
            int v0 = h * 4, v1 = kind.halves == 2 ? v0 + 4 : 8;
#pragma GCC unroll 8
            for (int v = v0; v < v1; v++)
#pragma GCC unroll 6
                for (int m = 0; m < MB; m++) {
                    __m512i four = _mm512_set1_epi32(int_at(x[m] + b * 32 + v * 4));
#pragma GCC unroll 2
                    for (int t = 0; t < NT; t++)
                        dot[t][m] = _mm512_dpbusd_epi32(dot[t][m], _mm512_load_si512(w[t].code[g][v]), four);
                }
#pragma GCC unroll 6
            for (int m = 0; m < MB; m++) {
                float d = float_at(x[m] + at.d + (size_t)(4 * b));
                float sx = !kind.min          ? 0
                           : kind.halves == 2 ? -(float)int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) * d
                                              : float_at(x[m] + at.sx + (size_t)(4 * b));
#pragma GCC unroll 2
                for (int t = 0; t < NT; t++) {
                    acc[t][m] = sg_group_end(acc[t][m], dot[t][m], _mm512_load_ps(w[t].scale[g][h]), d);
                    if (kind.min)
                        acc[t][m] = _mm512_fmadd_ps(_mm512_load_ps(w[t].offset[g][h]), _mm512_set1_ps(sx), acc[t][m]);
                }
            }
        }
    }
#pragma GCC unroll 2
    for (int t = 0; t < NT; t++)
#pragma GCC unroll 6
        for (int m = 0; m < MB; m++)
            _mm512_store_ps(sums + t * TILE_SUMS + m * SG_TILE, acc[t][m]);
}

typedef void wide_fn(int ntile, float *sums, const sg_wide *w, const uint8_t *const *x, int nrow, act_offsets at,
                     int b0, int ngroup);

#define WIDE(name, ...)                                                                                                    \
    static void wide_##name(int ntile, float *sums, const sg_wide *w, const uint8_t *const *x, int nrow, \
                            act_offsets at, int b0, int ngroup)                                                            \
    {                                                                                                                      \
        const wide_kind kind = {__VA_ARGS__};                                                                              \
        int m = 0, rest = nrow % 6;                                                                                        \
        for (; ntile == 2 && m + 6 <= nrow; m += 6)                                                                        \
            wide_rows(kind, 2, 6, sums + m * SG_TILE, w, x + m, at, b0, ngroup);          \
        for (; ntile == 2 && rest && m + 2 <= nrow; m += 2)                                                                \
            wide_rows(kind, 2, 2, sums + m * SG_TILE, w, x + m, at, b0, ngroup);          \
        for (int t = 0; t < ntile; t++)                                                                                    \
            for (int i = m; i < nrow; i++)                                                                                 \
                wide_rows(kind, 1, 1, sums + t * TILE_SUMS + i * SG_TILE, w + t, x + i, at, b0, ngroup);  \
    }
WIDE(zero_8, 1, false, 3)
WIDE(zero_16, 1, false, 4)
WIDE(zero_128, 1, false, 7)
WIDE(min, 1, true, 0)
WIDE(halves_4, 2, false, 2)
WIDE(halves_32, 2, false, 5)
WIDE(halves_min, 2, true, 0)

/* The function for a type; a constant when `type` is. */
SG_INLINE wide_fn *wide_of(sg_dtype type)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (f.halves == 2)
        return f.min ? wide_halves_min : f.zero == 4 ? wide_halves_4 : wide_halves_32;
    return f.min ? wide_min : f.zero == 8 ? wide_zero_8 : f.zero == 16 ? wide_zero_16 : wide_zero_128;
}

enum { WIDE_STEP = 16 }; /* groups at once: two tiles' codes are 16 KiB */

SG_INLINE void wide_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                        int tile1, int n, int k)
{
    act_offsets at = act_offsets_of(x[0], k);
    sg_wide w[2];
    _Alignas(64) float sums[2 * TILE_SUMS];
    for (int tile = tile0; tile < tile1; tile += 2)
        for (int m0 = 0; m0 < nrow; m0 += SG_WIDE_ROWS) {
            int rows = nrow - m0 < SG_WIDE_ROWS ? nrow - m0 : SG_WIDE_ROWS, ntile = tile1 - tile < 2 ? 1 : 2;
            for (int t = 0; t < ntile; t++)
                memset(sums + t * TILE_SUMS, 0, (size_t)rows * SG_TILE * sizeof *sums);
            for (int b0 = 0; b0 < k / 32; b0 += WIDE_STEP) {
                int ngroup = k / 32 - b0 < WIDE_STEP ? k / 32 - b0 : WIDE_STEP;
                for (int t = 0; t < ntile; t++)
                    sg_wide_unpack(type, false, &w[t], packed, tile + t, k, b0, ngroup);
                wide_of(type)(ntile, sums, w, (const uint8_t *const *)x + m0, rows, at, b0, ngroup);
            }
            for (int t = 0; t < ntile; t++)
                for (int m = 0; m < rows; m++)
                    sg_store_tile_row(out[m0 + m], _mm512_load_ps(sums + t * TILE_SUMS + m * SG_TILE), tile + t, n);
        }
}

enum { FEW_ROWS = 16 }; /* at most: straight from the packed tile is as fast (kcheck --bench) */

/* ---- the table -------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        if (nrow <= FEW_ROWS)                                                                                                  \
            small_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                     \
        else                                                                                                               \
            wide_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                      \
    }                                                                                                                      \
    static const sg_linear_kernel name = {.act = SG_ACT_Q8, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
SG_TILE_TYPES(DEFINE)

const sg_linear_kernel *sg_linear_avx512_find(sg_dtype type, int k)
{
    static const sg_linear_kernel *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = &name,
        SG_TILE_TYPES(ENTRY)
    };
    (void)k;
    return table[type] ? table[type] : sg_linear_avx512_float_find(type);
}
