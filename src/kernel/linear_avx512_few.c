/* kernel/linear_avx512_few.c - linear layers with AVX-512 and VNNI: few rows, straight from the packed tile, bound by memory.
 *
 * A group of 32 columns is 8 vectors [16 rows of W][4 columns]; each is unpacked once and multiplied with four broadcast
 * activations of every row of x:
 *
 *     dot[m]  = MAGIC - zero * sum(x)               from the activations' own sums, exact; MAGIC: linear_wide.h
 *     dot[m] += VPDPBUSD(codes v, x[m][4v .. 4v+3])  v = 0 .. 7
 *     acc[m]  = fma(dot[m] * scale, d[m], acc[m]);   minimum: acc[m] = fma(offset, sx[m], acc[m])
 *
 * One or two rows take four tiles at once, three to six rows two: four streams from memory reach a quarter more than one (as the probe's
 * do), and each broadcast serves all tiles.  The streams lie a quarter of the call's tiles apart and run on from tile to tile: side by side
 * they would have to begin anew with every four tiles, and the processor's own prefetcher follows a stream only after a while.
 */
#include "kernel/linear_wide.h"

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

enum { SMALL_ROWS = 12 };

/* Both halves of a group whose scales times levels are small: whole numbers below 2^24, as the wide kernels have them. */
SG_INLINE void small_fold(sg_dtype type, int MB, __m512 *acc, __m512i dot[2][SMALL_ROWS], const uint8_t *const *x, act_offsets at,
                          const uint8_t *meta, int b)
{
    const uint8_t *s = sg_nested_at(type, meta, b);
    __m512 low = sg_load_int8(s), high = sg_load_int8(s + 16);
    __m512 d = sg_load_half(meta + (size_t)(b / 8) * (size_t)sg_tile_form_of(type).meta_bytes);
#pragma GCC unroll 12
    for (int m = 0; m < MB; m++) {
        __m512 sum = _mm512_mul_ps(_mm512_cvtepi32_ps(dot[0][m]), low);
        sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[1][m]), high, sum);
        acc[m] = _mm512_fmadd_ps(_mm512_mul_ps(sum, d), _mm512_set1_ps(float_at(x[m] + at.d + (size_t)(4 * b))), acc[m]);
    }
}

SG_INLINE void small_min(sg_dtype type, int MB, __m512 *acc, const uint8_t *const *x, act_offsets at, const uint8_t *meta, int b)
{
    const int halves = sg_tile_form_of(type).halves;
#pragma GCC unroll 2
    for (int h = 0; h < halves; h++) {
        __m512 offset = sg_tile_offset(type, meta, b, h);
#pragma GCC unroll 12
        for (int m = 0; m < MB; m++) {
            float d = float_at(x[m] + at.d + (size_t)(4 * b));
            float sx = halves == 2 ? -(float)int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) * d
                                   : float_at(x[m] + at.sx + (size_t)(4 * b));
            acc[m] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sx), acc[m]);
        }
    }
}

/* What is fetched ahead of each of NT streams. */
enum { AHEAD_BYTES = 2048 };

typedef struct ahead {
    const char *at[4];
} ahead;

SG_INLINE ahead ahead_of(int NT, const sg_tile_view *t, bool cold)
{
    ahead f = {0};
#pragma GCC unroll 4
    for (int i = 0; i < NT; i++) {
        const char *p = (const char *)t[i].meta;
        for (int z = 0; cold && z < AHEAD_BYTES; z += 64)
            _mm_prefetch(p + z, _MM_HINT_T0);
        f.at[i] = p + AHEAD_BYTES;
    }
    return f;
}

/* The lines of one group. */
SG_INLINE void ahead_group(sg_dtype type, int NT, ahead *f)
{
    const sg_tile_form form = sg_tile_form_of(type);
    const int bytes = form.plane_bytes + (form.nested ? form.meta_bytes / 8 : form.meta_bytes);
#pragma GCC unroll 4
    for (int i = 0; i < NT; i++) {
        for (int z = 0; z < bytes; z += 64)
            _mm_prefetch(f->at[i] + z, _MM_HINT_T0);
        f->at[i] += (bytes + 63) / 64 * 64;
    }
}

/* NT tiles with MB rows. */
SG_INLINE void small_tiles(sg_dtype type, int NT, int MB, __m512 (*acc)[SMALL_ROWS], const uint8_t *const *x, act_offsets at,
                           const sg_tile_view *t, int nb, ahead f_ahead)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const unsigned shift = (unsigned)sg_tile_zero_shift(type);
    __m512i table = f.table ? sg_tile_table(type) : _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int i = 0; i < NT; i++)
#pragma GCC unroll 12
        for (int m = 0; m < MB; m++)
            acc[i][m] = _mm512_setzero_ps();
    for (int b = 0; b < nb; b++) {
        if (NT > 1)
            ahead_group(type, NT, &f_ahead);
        for (int z = 0; NT == 1 && z < f.plane_bytes; z += 64)
            _mm_prefetch((const char *)t[0].planes + (size_t)b * (size_t)f.plane_bytes + AHEAD_BYTES + z, _MM_HINT_T0);
        __m512i dot[4][2][SMALL_ROWS];
#pragma GCC unroll 2
        for (int h = 0; h < f.halves; h++) {
#pragma GCC unroll 12
            for (int m = 0; m < MB; m++) {
                size_t from = f.halves == 2 ? at.neg16 + (size_t)(8 * b + 4 * h) : at.neg + (size_t)(4 * b);
                uint32_t neg = (uint32_t)int_at(x[m] + from);
                __m512i start = _mm512_set1_epi32((int32_t)((f.zero ? neg << shift : 0) + (f.fold ? 0 : SG_WIDE_MAGIC)));
#pragma GCC unroll 4
                for (int i = 0; i < NT; i++)
                    dot[i][h][m] = start;
            }
            const int v0 = h * 4, v1 = f.halves == 2 ? v0 + 4 : 8;
#pragma GCC unroll 8
            for (int v = v0; v < v1; v++)
#pragma GCC unroll 4
                for (int i = 0; i < NT; i++) {
                    __m512i w = sg_tile_codes(type, t[i].planes + (size_t)b * (size_t)f.plane_bytes, v, table);
#pragma GCC unroll 12
                    for (int m = 0; m < MB; m++)
                        dot[i][h][m] = _mm512_dpbusd_epi32(dot[i][h][m], w, _mm512_set1_epi32(int_at(x[m] + b * 32 + v * 4)));
                }
            if (f.fold)
                continue;
#pragma GCC unroll 4
            for (int i = 0; i < NT; i++) {
                __m512 scale = sg_tile_scale(type, t[i].meta, b, h), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
#pragma GCC unroll 12
                for (int m = 0; m < MB; m++) {
                    __m512 v = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[i][h][m]), scale, base);
                    acc[i][m] = _mm512_fmadd_ps(v, _mm512_set1_ps(float_at(x[m] + at.d + (size_t)(4 * b))), acc[i][m]);
                }
            }
        }
#pragma GCC unroll 4
        for (int i = 0; i < NT; i++) {
            if (f.fold)
                small_fold(type, MB, acc[i], dot[i], x, at, t[i].meta, b);
            if (f.min)
                small_min(type, MB, acc[i], x, at, t[i].meta, b);
        }
    }
}

/* NT tiles at once, each from its own part of the range, as long as the parts are whole; returns the first tile that is left. */
SG_INLINE int small_rows(sg_dtype type, int NT, int MB, float *const *out, const uint8_t *const *x, act_offsets at, const void *packed,
                         int tile0, int tile1, int n, int k)
{
    __m512 acc[4][SMALL_ROWS];
    sg_tile_view t[4];
    const int part = (tile1 - tile0) / NT;
    for (int tile = tile0; tile < tile0 + part; tile++) {
        for (int i = 0; i < NT; i++)
            t[i] = sg_tile_view_of(type, packed, tile + i * part, k);
        small_tiles(type, NT, MB, acc, x, at, t, k / 32, ahead_of(NT, t, tile == tile0));
#pragma GCC unroll 4
        for (int i = 0; i < NT; i++)
#pragma GCC unroll 12
            for (int m = 0; m < MB; m++)
                sg_store_tile_row(out[m], acc[i][m], tile + i * part, n);
    }
    return tile0 + part * NT;
}

#define SMALL(MB, NT)                                                                                        \
    case MB:                                                                                                 \
        tile = t0;                                                                                           \
        if (NT >= 4)                                                                                         \
            tile = small_rows(type, 4, MB, out + m, (const uint8_t *const *)x + m, at, packed, tile, t1, n, k); \
        if (NT >= 2)                                                                                         \
            tile = small_rows(type, 2, MB, out + m, (const uint8_t *const *)x + m, at, packed, tile, t1, n, k); \
        small_rows(type, 1, MB, out + m, (const uint8_t *const *)x + m, at, packed, tile, t1, n, k);         \
        break;

SG_INLINE void small_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                         int tile1, int n, int k)
{
    act_offsets at = act_offsets_of(x[0], k);
    int each = nrow <= SMALL_ROWS ? tile1 - tile0 : 1; /* rows in two parts: a tile comes from the first level cache for the second */
    for (int t0 = tile0, t1, tile; t0 < tile1; t0 = t1) {
        t1 = t0 + each;
        for (int m = 0, step; m < nrow; m += step) {
            step = nrow - m <= SMALL_ROWS ? nrow - m : (nrow - m + 1) / 2;
            switch (step) {
                SMALL(1, 4)
                SMALL(2, 4)
                SMALL(3, 2)
                SMALL(4, 2)
                SMALL(5, 2)
                SMALL(6, 2)
                SMALL(7, 1)
                SMALL(8, 1)
                SMALL(9, 1)
                SMALL(10, 1)
                SMALL(11, 1)
                SMALL(12, 1)
            }
        }
    }
}

/* ---- the table -------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                       \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                            \
        small_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                                   \
    }
SG_TILE_TYPES(DEFINE)

sg_tile_mul *sg_avx512_few(sg_dtype type)
{
    static sg_tile_mul *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = name##_mul,
        SG_TILE_TYPES(ENTRY)
    };
    return table[type];
}
