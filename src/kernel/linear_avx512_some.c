/* kernel/linear_avx512_some.c - linear layers with AVX-512 and VNNI: 7 to 32 rows, from a copy of the rows.
 *
 * From 7 rows on their pointers no longer fit the registers.  32 groups of the rows are copied beside each other, with where each
 * sum starts: MAGIC - zero * sum(x), so that a group ends with two operations (linear_wide.h).  Up to 15 rows at once meet a tile; sums
 * of the tiles wait meanwhile.
 */
#include "kernel/linear_wide.h"

enum {
    SOME_GROUPS = 32,
    SOME_TILES = 32,
    SOME_ROWS = 15, /* at a time */
    SOME_MOST = SG_SOME_ROWS, /* in all */
    SOME_D = SOME_GROUPS * 32,
    SOME_START = SOME_D + SOME_GROUPS * 4,
    SOME_SX = SOME_START + SOME_GROUPS * 8,
    SOME_BYTES = SOME_SX + SOME_GROUPS * 4 + 64,
    SOME_AHEAD = 2048
};
_Static_assert(SOME_BYTES / 64 % 2 == 1, "an odd number of lines: rows do not share cache sets");

typedef struct some_panel {
    _Alignas(64) uint8_t row[SOME_MOST][SOME_BYTES];
} some_panel;

/* One tile's groups, and those that follow: of the next tile, or the same. */
typedef struct some_groups {
    const uint8_t *meta, *planes, *next;
    int b0, n;
} some_groups;

SG_INLINE void some_fill(sg_dtype type, some_panel *p, const void *const *x, int nrow, int k, int b0, int ngroup)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const unsigned shift = (unsigned)sg_tile_zero_shift(type);
    const __m512i magic = _mm512_set1_epi32(SG_WIDE_MAGIC);
    for (int m = 0; m < nrow; m++) {
        sg_act_q8 a = sg_act_q8_of(x[m], k);
        uint8_t *to = p->row[m];
        for (int i = 0; i < (ngroup + 1) / 2; i++)
            _mm512_store_si512(to + i * 64, _mm512_load_si512(a.q + (b0 + 2 * i) * 32));
        for (int i = 0; i < (ngroup + 15) / 16; i++) {
            _mm512_store_ps(to + SOME_D + i * 64, _mm512_load_ps(a.d + b0 + 16 * i));
            if (f.min)
                _mm512_store_ps(to + SOME_SX + i * 64, _mm512_load_ps(a.sx + b0 + 16 * i));
            for (int h = 0; h < f.halves; h++) {
                __m512i neg = _mm512_load_si512(f.halves == 2 ? a.neg16 + 2 * b0 + 32 * i + 16 * h : a.neg + b0 + 16 * i);
                neg = f.zero ? _mm512_slli_epi32(neg, shift) : _mm512_setzero_si512();
                _mm512_store_si512(to + SOME_START + (i * f.halves + h) * 64, _mm512_add_epi32(magic, neg));
            }
        }
    }
}

/* MB rows with a tile's groups; sums (rows of 16) are read, unless `first`, and written. */
SG_INLINE void some_rows(sg_dtype type, int MB, bool first, float (*sums)[SG_TILE], const uint8_t *x, some_groups s)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const int near = SOME_AHEAD / f.plane_bytes;
    __m512i table = f.table ? sg_tile_table(type) : _mm512_setzero_si512();
    __m512 acc[SOME_ROWS];
#pragma GCC unroll 15
    for (int m = 0; m < MB; m++)
        acc[m] = first ? _mm512_setzero_ps() : _mm512_load_ps(sums[m]);
    for (int g = 0; g < s.n; g++) {
        const uint8_t *plane = s.planes + (size_t)g * (size_t)f.plane_bytes;
        const uint8_t *fetch = g + near < s.n ? plane + near * f.plane_bytes : s.next + (g + near - s.n) * f.plane_bytes;
        for (int z = 0; z < f.plane_bytes; z += 64)
            _mm_prefetch((const char *)fetch + z, _MM_HINT_T0);
#pragma GCC unroll 2
        for (int h = 0; h < f.halves; h++) {
            __m512i dot[SOME_ROWS];
#pragma GCC unroll 15
            for (int m = 0; m < MB; m++)
                dot[m] = _mm512_set1_epi32(int_at(x + m * SOME_BYTES + SOME_START + 4 * (g * f.halves + h)));
            const int v0 = h * 4, v1 = f.halves == 2 ? v0 + 4 : 8;
#pragma GCC unroll 8
            for (int v = v0; v < v1; v++) {
                __m512i w = sg_tile_codes(type, plane, v, table);
#pragma GCC unroll 15
                for (int m = 0; m < MB; m++)
                    dot[m] = _mm512_dpbusd_epi32(dot[m], w, _mm512_set1_epi32(int_at(x + m * SOME_BYTES + g * 32 + v * 4)));
            }
            __m512 scale = sg_tile_scale(type, s.meta, s.b0 + g, h), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
#pragma GCC unroll 15
            for (int m = 0; m < MB; m++) {
                __m512 v = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[m]), scale, base);
                acc[m] = _mm512_fmadd_ps(v, _mm512_set1_ps(float_at(x + m * SOME_BYTES + SOME_D + 4 * g)), acc[m]);
            }
        }
        if (f.min) {
            __m512 offset = sg_tile_offset(type, s.meta, s.b0 + g, 0);
#pragma GCC unroll 15
            for (int m = 0; m < MB; m++)
                acc[m] = _mm512_fmadd_ps(offset, _mm512_set1_ps(float_at(x + m * SOME_BYTES + SOME_SX + 4 * g)), acc[m]);
        }
    }
#pragma GCC unroll 15
    for (int m = 0; m < MB; m++)
        _mm512_store_ps(sums[m], acc[m]);
}

#define SOME(MB) \
    case MB: some_rows(type, MB, b0 == 0, sums[t] + m, panel.row[m], s); break;

SG_INLINE void some_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n,
                        int k)
{
    const sg_tile_form f = sg_tile_form_of(type);
    _Alignas(64) float sums[SOME_TILES][SOME_MOST][SG_TILE];
    some_panel panel;
    for (int t0 = tile0; t0 < tile1; t0 += SOME_TILES) {
        int tiles = tile1 - t0 < SOME_TILES ? tile1 - t0 : SOME_TILES;
        for (int b0 = 0; b0 < k / 32; b0 += SOME_GROUPS) {
            int ngroup = k / 32 - b0 < SOME_GROUPS ? k / 32 - b0 : SOME_GROUPS;
            some_fill(type, &panel, x, nrow, k, b0, ngroup);
            for (int t = 0; t < tiles; t++) {
                sg_tile_view v = sg_tile_view_of(type, packed, t0 + t, k);
                some_groups s = {v.meta, v.planes + (size_t)b0 * (size_t)f.plane_bytes, NULL, b0, ngroup};
                s.next = t + 1 < tiles ? s.planes + sg_tile_bytes(type, k) : s.planes;
                for (int m = 0, left = (nrow + SOME_ROWS - 1) / SOME_ROWS, rows; m < nrow; m += rows, left--, s.next = s.planes) {
                    rows = (nrow - m + left - 1) / left;
                    switch (rows) {
                        SOME(7)
                        SOME(8)
                        SOME(9)
                        SOME(10)
                        SOME(11)
                        SOME(12)
                        SOME(13)
                        SOME(14)
                        SOME(15)
                    }
                }
            }
        }
        for (int m = 0; m < nrow; m++)
            for (int t = 0; t < tiles; t++)
                sg_store_tile_row(out[m], _mm512_load_ps(sums[t][m]), t0 + t, n);
    }
}

/* ---- the table -------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                       \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                            \
        if (!sg_tile_form_of(type).fold) /* those go few rows at a time, or many */                                                   \
            some_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                             \
    }
SG_TILE_TYPES(DEFINE)

sg_tile_mul *sg_avx512_some(sg_dtype type)
{
    static sg_tile_mul *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = name##_mul,
        SG_TILE_TYPES(ENTRY)
    };
    return table[type];
}
