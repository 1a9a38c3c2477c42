/* kernel/linear_avx512.c - linear layers with AVX-512 and VNNI: block-quantised types.
 *
 * Few rows (up to 6; 15 of types whose scales are folded in): straight from the packed tile, bound by memory.  A group of 32
 * columns is 8 vectors [16 rows of W][4 columns]; each is unpacked once and multiplied with four broadcast activations of
 * every row of x:
 *
 *     dot[m]  = MAGIC - zero * sum(x)               from the activations' own sums, exact; MAGIC: linear_wide.h
 *     dot[m] += VPDPBUSD(codes v, x[m][4v .. 4v+3])  v = 0 .. 7
 *     acc[m]  = fma(dot[m] * scale, d[m], acc[m]);   minimum: acc[m] = fma(offset, sx[m], acc[m])
 *
 * One or two rows take four tiles side by side, three to six rows two: four streams from memory reach a quarter more than one
 * (as the probe's do), each broadcast serves all tiles, and what comes after a tile is the tiles NT further on, so that is what is
 * fetched ahead.
 *
 * Some rows (7 to 15; 8-bit levels to 32): the same from a copy of the rows that lies side by side, up to 15 at once.  With
 * pointers to each row, seven did not fit the registers.  The copy does not pay for up to 9 rows and 16 tiles.
 *
 * More rows: levels are unpacked to bytes once for up to 256 rows (linear_wide.h).  The integers are exact and the float
 * operations are the same, so all ways, and the AMX table's, give the same bits.
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

/* What is fetched ahead: of each of NT tiles side by side, then of the tiles NT further on. */
enum { AHEAD_BYTES = 2048 };

typedef struct ahead {
    const char *at[4], *end[4];
    size_t jump;
} ahead;

SG_INLINE ahead ahead_of(sg_dtype type, int NT, const sg_tile_view *t, int k, bool cold)
{
    const size_t bytes = sg_tile_bytes(type, k);
    ahead f = {.jump = (size_t)(NT - 1) * bytes};
#pragma GCC unroll 4
    for (int i = 0; i < NT; i++) {
        const char *p = (const char *)t[i].meta;
        for (int z = 0; cold && z < AHEAD_BYTES; z += 64)
            _mm_prefetch(p + z, _MM_HINT_T0);
        f.at[i] = p + AHEAD_BYTES;
        f.end[i] = p + bytes;
        if (f.at[i] >= f.end[i])
            f.at[i] += f.jump;
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
        if (f->at[i] >= f->end[i] && f->at[i] < f->end[i] + (bytes + 63) / 64 * 64)
            f->at[i] += f->jump;
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

/* NT tiles at once, as long as there are so many; returns the first that is left. */
SG_INLINE int small_rows(sg_dtype type, int NT, int MB, float *const *out, const uint8_t *const *x, act_offsets at, const void *packed,
                         int tile0, int tile1, int n, int k)
{
    __m512 acc[4][SMALL_ROWS];
    sg_tile_view t[4];
    int tile = tile0;
    for (; tile + NT <= tile1; tile += NT) {
        for (int i = 0; i < NT; i++)
            t[i] = sg_tile_view_of(type, packed, tile + i, k);
        small_tiles(type, NT, MB, acc, x, at, t, k / 32, ahead_of(type, NT, t, k, tile == tile0));
#pragma GCC unroll 4
        for (int i = 0; i < NT; i++)
#pragma GCC unroll 12
            for (int m = 0; m < MB; m++)
                sg_store_tile_row(out[m], acc[i][m], tile + i, n);
    }
    return tile;
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

/* ---- some rows ---------------------------------------------------------------------- */

/* From 7 rows on their pointers no longer fit the registers.  32 groups of the rows are copied beside each other, with where each
 * sum starts:
 * MAGIC - zero * sum(x), so that a group ends with two operations (linear_wide.h).  Sums of the tiles wait meanwhile. */
enum {
    SOME_GROUPS = 32,
    SOME_TILES = 32,
    SOME_ROWS = 15, /* at a time */
    SOME_MOST = 32, /* in all */
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

/* ---- many rows --------------------------------------------------------------------- */

enum { TILE_SUMS = SG_WIDE_ROWS * SG_TILE };

/* What follows the exact sums of half h of group g, for MB rows and NT tiles. */
SG_INLINE void wide_end(int NT, int MB, __m512 acc[2][7], __m512i dot[2][7], const sg_wide *w, const uint8_t *x, int g, int h)
{
#pragma GCC unroll 2
    for (int t = 0; t < NT; t++) {
        __m512 scale = _mm512_load_ps(w[t].scale[g][h]), base = _mm512_load_ps(w[t].base[g][h]);
#pragma GCC unroll 7
        for (int m = 0; m < MB; m++) {
            __m512 v = _mm512_fmadd_ps(_mm512_castsi512_ps(dot[t][m]), scale, base);
            acc[t][m] = _mm512_fmadd_ps(v, _mm512_set1_ps(float_at(x + m * SG_PANEL_BYTES + SG_PANEL_D + 4 * g)), acc[t][m]);
        }
    }
}

/* MB rows with the groups of NT tiles; sums (rows of 16, tiles TILE_SUMS apart) are read and written.  Two tiles share each
 * broadcast of activations: with one, loads would bound the loop. */
SG_INLINE void wide_rows(sg_wide_kind kind, int NT, int MB, bool first, float *sums, const sg_wide *w, const uint8_t *x, int ngroup,
                         sg_fetch f)
{
    __m512 acc[2][7];
#pragma GCC unroll 2
    for (int t = 0; t < NT; t++)
#pragma GCC unroll 7
        for (int m = 0; m < MB; m++)
            acc[t][m] = first ? _mm512_setzero_ps() : _mm512_load_ps(sums + t * TILE_SUMS + m * SG_TILE);
    for (int g = 0; g < ngroup; g++) {
        sg_fetch_group(f, g);
#pragma GCC unroll 2
        for (int h = 0; h < kind.halves; h++) {
            __m512i dot[2][7];
#pragma GCC unroll 2
            for (int t = 0; t < NT; t++)
#pragma GCC unroll 7
                for (int m = 0; m < MB; m++)
                    dot[t][m] = _mm512_load_si512(w[t].start[g][h]);
            int v0 = h * 4, v1 = kind.halves == 2 ? v0 + 4 : 8;
#pragma GCC unroll 8
            for (int v = v0; v < v1; v++)
#pragma GCC unroll 7
                for (int m = 0; m < MB; m++) {
                    __m512i four = _mm512_set1_epi32(int_at(x + m * SG_PANEL_BYTES + g * 32 + v * 4));
#pragma GCC unroll 2
                    for (int t = 0; t < NT; t++)
                        dot[t][m] = _mm512_dpbusd_epi32(dot[t][m], four, _mm512_load_si512(w[t].code[g][v]));
                }
            wide_end(NT, MB, acc, dot, w, x, g, h);
        }
#pragma GCC unroll 2
        for (int i = 0; i < kind.nmin; i++)
#pragma GCC unroll 2
            for (int t = 0; t < NT; t++)
#pragma GCC unroll 7
                for (int m = 0; m < MB; m++) {
                    __m512 sx = _mm512_set1_ps(float_at(x + m * SG_PANEL_BYTES + SG_PANEL_SX + 4 * (kind.nmin * g + i)));
                    acc[t][m] = _mm512_fmadd_ps(_mm512_load_ps(w[t].offset[g][i]), sx, acc[t][m]);
                }
    }
#pragma GCC unroll 2
    for (int t = 0; t < NT; t++)
#pragma GCC unroll 7
        for (int m = 0; m < MB; m++)
            _mm512_store_ps(sums + t * TILE_SUMS + m * SG_TILE, acc[t][m]);
}

#define REST(NT, MB) \
    case MB: wide_rows(kind, NT, MB, first, to, w, x, ngroup, f); break;

/* Six rows at a time, then the rest (up to 7) at once. */
#define WIDE(name, ...)                                                                                    \
    void name(bool first, int ntile, float *sums, const sg_wide *w, const uint8_t *panel, int nrow, int ngroup, sg_fetch f) \
    {                                                                                                      \
        const sg_wide_kind kind = {__VA_ARGS__};                                                           \
        for (int m = 0, rows; m < nrow; m += rows, f.tiles = 0) {                                          \
            int left = nrow - m;                                                                           \
            rows = left > 7 ? 6 : left;                                                                    \
            const uint8_t *x = panel + (size_t)m * SG_PANEL_BYTES;                                         \
            float *to = sums + m * SG_TILE;                                                                \
            if (ntile == 2)                                                                                \
                switch (rows) {                                                                            \
                    REST(2, 1)                                                                             \
                    REST(2, 2)                                                                             \
                    REST(2, 3)                                                                             \
                    REST(2, 4)                                                                             \
                    REST(2, 5)                                                                             \
                    REST(2, 6)                                                                             \
                    REST(2, 7)                                                                             \
                }                                                                                          \
            else                                                                                           \
                switch (rows) {                                                                            \
                    REST(1, 1)                                                                             \
                    REST(1, 2)                                                                             \
                    REST(1, 3)                                                                             \
                    REST(1, 4)                                                                             \
                    REST(1, 5)                                                                             \
                    REST(1, 6)                                                                             \
                    REST(1, 7)                                                                             \
                }                                                                                          \
        }                                                                                                  \
    }
WIDE(sg_wide_dot_plain, 1, 0)
WIDE(sg_wide_dot_min, 1, 1)
WIDE(sg_wide_dot_min2, 1, 2)
WIDE(sg_wide_dot_halves, 2, 0)

SG_INLINE void wide_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                        int tile1, int n, int k)
{
    sg_wide w[2];
    sg_panel panel;
    sg_wide_sums sums;
    const int step = sg_wide_step(k);
    for (int m0 = 0; m0 < nrow; m0 += SG_WIDE_ROWS)
        for (int t0 = tile0, tiles; t0 < tile1; t0 += tiles) {
            int rows = nrow - m0 < SG_WIDE_ROWS ? nrow - m0 : SG_WIDE_ROWS;
            tiles = tile1 - t0 < sg_wide_tiles(rows) ? tile1 - t0 : sg_wide_tiles(rows);
            for (int b0 = 0; b0 < k / 32; b0 += step) {
                int ngroup = k / 32 - b0 < step ? k / 32 - b0 : step;
                sg_fetch_first(type, packed, t0, tiles, k, b0, ngroup);
                sg_panel_fill(sg_wide_kind_of(type).nmin, 0x80, panel.row, x + m0, rows, k, b0, ngroup);
                for (int t = 0; t < tiles; t += 2) {
                    int ntile = tiles - t < 2 ? 1 : 2;
                    for (int i = 0; i < ntile; i++)
                        sg_wide_unpack(type, true, &w[i], packed, t0 + t + i, k, b0, ngroup);
                    sg_wide_dot_of(type)(b0 == 0, ntile, sums.at[t][0], w, panel.row[0], rows, ngroup,
                                         sg_fetch_of(type, packed, t0 + t + 2, t0 + t + 2 < tile1 ? 2 : 0, k, b0));
                }
            }
            sg_wide_store(out + m0, &sums, rows, t0, tiles, n);
        }
}

/* Rows at most for each way (kcheck --bench).  Levels of 8 bits need no unpacking, so going through them two or three times costs less
 * than bytes in between. */
enum { FEW_ROWS = 6, FOLDED_ROWS = 15, NEAR_ROWS = 9, NEAR_TILES = 16 };
SG_INLINE int some_most(sg_dtype type)
{
    const sg_tile_form f = sg_tile_form_of(type);
    return f.fold ? 0 : f.bits == 8 ? SOME_MOST : SOME_ROWS;
}

/* ---- the table -------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        const bool near = nrow <= NEAR_ROWS && tile1 - tile0 <= NEAR_TILES;                                                 \
        if (nrow > FEW_ROWS && nrow <= some_most(type) && !near)                                                           \
            some_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                      \
        else if (nrow <= FEW_ROWS || near || (sg_tile_form_of(type).fold && nrow <= FOLDED_ROWS))                               \
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
