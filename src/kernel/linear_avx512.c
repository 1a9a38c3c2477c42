/* kernel/linear_avx512.c - linear layers with AVX-512 and VNNI: many rows, and the table of block-quantised types.
 *
 * There are three ways through a layer, by the number of rows:
 *
 *     few     up to 6 (15 of types whose scales are folded in)   straight from the packed tile         linear_avx512_few.c
 *     some    7 to 15 (8-bit levels: to 32)                      the same from a copy of the rows that lies side by side; it does not pay
 *                                                                for up to 9 rows and 16 tiles         linear_avx512_some.c
 *     many                                                       levels are unpacked to bytes once for up to 256 rows (linear_wide.h)
 *
 * The integers are exact and the float operations are the same, so all ways, and the AMX table's, give the same bits.
 */
#include "kernel/linear_wide.h"

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
enum { FEW_ROWS = 6, FOLDED_ROWS = 15, ONCE_ROWS = 15, NEAR_ROWS = 9, NEAR_TILES = 16 };

typedef enum way { FEW, SOME, MANY } way;

SG_INLINE way way_of(sg_dtype type, int nrow, int ntile)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const int few = f.fold ? FOLDED_ROWS : nrow <= NEAR_ROWS && ntile <= NEAR_TILES ? NEAR_ROWS : FEW_ROWS;
    const int some = f.fold ? 0 : f.bits == 8 ? SG_SOME_ROWS : ONCE_ROWS;
    return nrow <= few ? FEW : nrow <= some ? SOME : MANY;
}

/* ---- the table -------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        const way w = way_of(type, nrow, tile1 - tile0);                                                                   \
        if (w == MANY)                                                                                                     \
            wide_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                      \
        else                                                                                                               \
            (w == FEW ? sg_avx512_few(type) : sg_avx512_some(type))(out, x, nrow, packed, tile0, tile1, n, k);             \
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
