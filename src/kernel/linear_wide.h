/* kernel/linear_wide.h - a tile's codes unpacked to signed bytes, and a panel of activations, for kernels that use them
 * for many rows.  Private to the AVX-512 and AMX tables.
 *
 *     for 16 groups (512 columns) at a time         the rows' part of these columns stays in the second level cache
 *         for each two tiles                        16 KiB of levels, in the first level cache
 *             for all rows                          sums [tile][row][16] wait in the second level cache
 *
 * VPDPBUSD wants one unsigned operand.  It is the activations, + 128 in the panel: what that adds is 128 times the sum
 * of 32 levels, the same for every row, so sums start from minus that.  They also start from MAGIC = 1.5 * 2^23, whose
 * bits read as a float are the float 1.5 * 2^23: while |dot| < 2^22, the bits of MAGIC + dot are the float MAGIC + dot,
 * and fma(MAGIC + dot, scale, -MAGIC * scale) is dot * scale rounded once, without a conversion.  MAGIC * scale is exact,
 * because scales have at most 19 significant bits.  Two operations end a group of a row, 8 products before them.
 *
 * Types with two scales for 32 columns: where scale times level fits a signed byte (Q2_K, Q3_K), it is multiplied out
 * here and one scale for 256 columns is left.  A Q3_K group with a scale of -32 would reach 128: its scales and d change
 * sign.  Q6_K ends each half.
 */
#ifndef SG_KERNEL_LINEAR_WIDE_H
#define SG_KERNEL_LINEAR_WIDE_H

#include "kernel/linear_avx512.h"

enum {
    SG_WIDE_GROUPS = 16,
    SG_WIDE_ROWS = 256,
    SG_WIDE_TILES = 32,  /* tiles whose sums wait, with up to SG_WIDE_ROWS / 2 rows; half of them with more */
    SG_PANEL_BYTES = 704 /* of a row: 16 groups, 16 scales, 32 sums; an odd multiple of 64 */
};
#define SG_WIDE_MAGIC 0x4b400000

/* What differs between types once levels are bytes: scales and minima for 32 columns. */
typedef struct sg_wide_kind {
    int halves, nmin;
} sg_wide_kind;

SG_INLINE sg_wide_kind sg_wide_kind_of(sg_dtype type)
{
    const sg_tile_form f = sg_tile_form_of(type);
    return (sg_wide_kind){f.halves == 2 && !f.fold ? 2 : 1, !f.min ? 0 : f.halves};
}

/* Up to SG_WIDE_GROUPS groups of one tile. */
typedef struct sg_wide {
    _Alignas(64) int8_t code[SG_WIDE_GROUPS][8][64];
    float scale[SG_WIDE_GROUPS][2][SG_TILE], offset[SG_WIDE_GROUPS][2][SG_TILE];
    float base[SG_WIDE_GROUPS][2][SG_TILE];    /* -MAGIC * scale */
    int32_t start[SG_WIDE_GROUPS][2][SG_TILE]; /* MAGIC - 128 * sum of levels */
} sg_wide;

/* Activations of some columns: q + 128 [16][32], d [16], and what minima are multiplied with, sx [16] or [16][2]. */
typedef struct sg_panel {
    _Alignas(64) uint8_t row[SG_WIDE_ROWS][SG_PANEL_BYTES];
} sg_panel;

enum { SG_PANEL_D = 512, SG_PANEL_SX = 576 };

/* What is wanted after all rows have been multiplied: the planes of groups of tiles `bytes` apart.  Fetched a group at a time beside the
 * products of the first rows, because many requests at once would wait for each other. */
typedef struct sg_fetch {
    const char *at, *meta; /* the planes of the first group, and about where its scales are */
    size_t tile_bytes;
    int group_bytes, meta_bytes, tiles; /* bytes of a group; tiles: 0 to 2 */
} sg_fetch;

SG_INLINE sg_fetch sg_fetch_of(sg_dtype type, const void *packed, int tile, int tiles, int k, int b0)
{
    const sg_tile_form form = sg_tile_form_of(type);
    const int bytes = form.plane_bytes, meta = form.nested ? form.meta_bytes / 8 : form.meta_bytes;
    const sg_tile_view t = sg_tile_view_of(type, packed, tile, k);
    return (sg_fetch){.at = (const char *)t.planes + (size_t)b0 * (size_t)bytes,
                      .meta = (const char *)t.meta + (size_t)b0 * (size_t)meta,
                      .tile_bytes = sg_tile_bytes(type, k),
                      .group_bytes = bytes,
                      .meta_bytes = meta,
                      .tiles = tiles};
}

/* Without a loop, so that the loop around it can be unrolled. */
SG_INLINE void sg_fetch_lines(const char *at, int bytes)
{
    _mm_prefetch(at, _MM_HINT_T1);
    _mm_prefetch(at + 64, _MM_HINT_T1);
    _mm_prefetch(at + 128, _MM_HINT_T1);
    _mm_prefetch(at + 192, _MM_HINT_T1);
    if (bytes <= 256)
        return;
    _mm_prefetch(at + 256, _MM_HINT_T1);
    _mm_prefetch(at + 320, _MM_HINT_T1);
    if (bytes <= 384)
        return;
    _mm_prefetch(at + 384, _MM_HINT_T1);
    _mm_prefetch(at + 448, _MM_HINT_T1);
}

SG_INLINE void sg_fetch_group(sg_fetch f, int g)
{
    if (f.tiles > 0) {
        sg_fetch_lines(f.at + g * f.group_bytes, f.group_bytes);
        _mm_prefetch(f.meta + g * f.meta_bytes, _MM_HINT_T1);
    }
    if (f.tiles > 1) {
        sg_fetch_lines(f.at + f.tile_bytes + g * f.group_bytes, f.group_bytes);
        _mm_prefetch(f.meta + f.tile_bytes + g * f.meta_bytes, _MM_HINT_T1);
    }
}

/* The first tiles of a call, while its panel is filled. */
SG_INLINE void sg_fetch_first(sg_dtype type, const void *packed, int tile, int tiles, int k, int b0, int ngroup)
{
    sg_fetch f = sg_fetch_of(type, packed, tile, tiles < 2 ? tiles : 2, k, b0);
    for (int g = 0; g < ngroup; g++)
        sg_fetch_group(f, g);
}

/* Sums of all rows of up to SG_WIDE_TILES tiles. */
typedef struct sg_wide_sums {
    _Alignas(64) float at[SG_WIDE_TILES][SG_WIDE_ROWS][SG_TILE];
} sg_wide_sums;

/* Rows of `w` and of the panel multiplied and added to sums (of the first tile and row; with `first`, to zero); ntile is 1 or 2.
 * One for each kind. */
typedef void sg_wide_dot_fn(bool first, int ntile, float *sums, const sg_wide *w, const uint8_t *panel, int nrow, int ngroup, sg_fetch f);
sg_wide_dot_fn sg_wide_dot_plain, sg_wide_dot_min, sg_wide_dot_min2, sg_wide_dot_halves;

/* The function for a type; a constant when `type` is. */
SG_INLINE sg_wide_dot_fn *sg_wide_dot_of(sg_dtype type)
{
    const sg_wide_kind k = sg_wide_kind_of(type);
    return k.halves == 2 ? sg_wide_dot_halves : k.nmin == 2 ? sg_wide_dot_min2 : k.nmin ? sg_wide_dot_min : sg_wide_dot_plain;
}

/* Row by row, because rows of `out` are often far apart and at distances that share cache sets. */
SG_INLINE void sg_wide_store(float *const *out, const sg_wide_sums *s, int rows, int tile, int tiles, int n)
{
    for (int m = 0; m < rows; m++)
        for (int t = 0; t < tiles; t++)
            sg_store_tile_row(out[m], _mm512_load_ps(s->at[t][m]), tile + t, n);
}

/* Rows' groups b0 to b0 + ngroup (b0 even) for the panel; `flip` is xored to each byte of q. */
SG_INLINE void sg_panel_fill(int nmin, int flip, uint8_t (*to)[SG_PANEL_BYTES], const void *const *x, int nrow, int k, int b0, int ngroup)
{
    const __m512i change = _mm512_set1_epi8((char)flip), twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    for (int m = 0; m < nrow; m++) {
        sg_act_q8 a = sg_act_q8_of(x[m], k);
        for (int i = 0; i < (ngroup + 1) / 2; i++)
            _mm512_store_si512(to[m] + i * 64, _mm512_xor_si512(change, _mm512_load_si512(a.q + (b0 + 2 * i) * 32)));
        __m512 d = _mm512_loadu_ps(a.d + b0);
        _mm512_store_ps(to[m] + SG_PANEL_D, d);
        if (nmin == 1)
            _mm512_store_ps(to[m] + SG_PANEL_SX, _mm512_loadu_ps(a.sx + b0));
        for (int h = 0; nmin == 2 && h < 2; h++) { /* d times the sums of halves */
            __m512 neg = _mm512_cvtepi32_ps(_mm512_loadu_si512(a.neg16 + 2 * b0 + 16 * h));
            __m512 d2 = _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8 * h)), d);
            _mm512_store_ps(to[m] + SG_PANEL_SX + 64 * h, _mm512_mul_ps(_mm512_xor_ps(neg, _mm512_set1_ps(-0.0f)), d2));
        }
    }
}

/* Bytes of four columns of 16 rows, each times its row's number; products fit a byte. */
SG_INLINE __m512i sg_times_rows(__m512i q, __m512i times)
{
    const __m512i high = _mm512_set1_epi16((short)0xff00);
    __m512i even = _mm512_mullo_epi16(q, times), odd = _mm512_mullo_epi16(_mm512_and_si512(q, high), times);
    return _mm512_ternarylogic_epi32(high, even, odd, 0xae); /* odd | (even & ~high) */
}

/* Scale, its multiple and where sums start, of half h with levels [v0, v1). */
SG_INLINE void sg_wide_ends(sg_wide *w, int g, int h, __m512 scale, bool dots, int v0, int v1)
{
    _mm512_store_ps(w->scale[g][h], scale);
    if (!dots)
        return;
    __m512i sum = _mm512_setzero_si512(), ones = _mm512_set1_epi8(1);
#pragma GCC unroll 8
    for (int v = v0; v < v1; v++)
        sum = _mm512_dpbusd_epi32(sum, ones, _mm512_load_si512(w->code[g][v]));
    _mm512_store_si512(w->start[g][h], _mm512_sub_epi32(_mm512_set1_epi32(SG_WIDE_MAGIC), _mm512_slli_epi32(sum, 7)));
    _mm512_store_ps(w->base[g][h], _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f)));
}

/* Groups that are unpacked at once: all parts of k about as large, and of an even number, so that blocks of rows can overlap at
 * their ends.  18 groups (k = 576) are 10 and 8, not 16 and 2. */
SG_INLINE int sg_wide_step(int k)
{
    int n = k / 32, parts = (n + SG_WIDE_GROUPS - 1) / SG_WIDE_GROUPS, step = (n + parts - 1) / parts;
    return (step + 1) / 2 * 2;
}

/* Tiles that share a panel of `rows` rows. */
SG_INLINE int sg_wide_tiles(int rows) { return rows <= SG_WIDE_ROWS / 2 ? SG_WIDE_TILES : SG_WIDE_TILES / 2; }

/* Where a nested group's small integers begin. */
SG_INLINE const uint8_t *sg_nested_at(sg_dtype type, const uint8_t *meta, int b)
{
    const sg_tile_form f = sg_tile_form_of(type);
    return meta + (size_t)(b / 8) * (size_t)f.meta_bytes + (f.min ? 64 : 32) + b % 8 * 16 * f.halves * (f.min ? 2 : 1);
}

/* Groups whose levels are multiplied by their scales. */
SG_INLINE void sg_wide_fold(sg_dtype type, sg_wide *w, int g, const uint8_t *plane, const uint8_t *meta, int b, bool dots)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const __m512i each = _mm512_set_epi32(0x0f0f0f0f, 0x0e0e0e0e, 0x0d0d0d0d, 0x0c0c0c0c, 0x0b0b0b0b, 0x0a0a0a0a, 0x09090909, 0x08080808,
                                          0x07070707, 0x06060606, 0x05050505, 0x04040404, 0x03030303, 0x02020202, 0x01010101, 0);
    const uint8_t *s = sg_nested_at(type, meta, b);
    __m128i sc[2] = {_mm_loadu_si128((const __m128i *)(const void *)s), _mm_loadu_si128((const __m128i *)(const void *)(s + 16))};
    __m512 d = sg_load_half(meta + (size_t)(b / 8) * (size_t)f.meta_bytes);
    if (type == SG_Q3_K) {
        __m128i low = _mm_set1_epi8(-32), none = _mm_setzero_si128();
        __mmask16 m = (__mmask16)(_mm_cmpeq_epi8_mask(sc[0], low) | _mm_cmpeq_epi8_mask(sc[1], low));
        sc[0] = _mm_mask_sub_epi8(sc[0], m, none, sc[0]);
        sc[1] = _mm_mask_sub_epi8(sc[1], m, none, sc[1]);
        d = _mm512_mask_sub_ps(d, m, _mm512_setzero_ps(), d);
    }
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        __m512i q = sg_tile_codes(type, plane, v, each), times = _mm512_shuffle_epi8(_mm512_broadcast_i32x4(sc[v / 4]), each);
        if (f.zero)
            q = _mm512_sub_epi8(q, _mm512_set1_epi8((char)f.zero));
        _mm512_store_si512(w->code[g][v], sg_times_rows(q, times));
    }
    sg_wide_ends(w, g, 0, d, dots, 0, 8);
}

/* Group b of a tile to slot g of `w`; `dots`: also what only VPDPBUSD needs. */
SG_INLINE void sg_wide_unpack_group(sg_dtype type, bool dots, sg_wide *w, int g, sg_tile_view t, int b)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const __m512i table = f.table ? sg_tile_levels(type) : _mm512_setzero_si512(), zero = _mm512_set1_epi8((char)f.zero);
    const uint8_t *plane = t.planes + (size_t)b * (size_t)f.plane_bytes;
    for (int h = 0; f.min && h < f.halves; h++)
        _mm512_store_ps(w->offset[g][h], sg_tile_offset(type, t.meta, b, h));
    if (f.fold) {
        sg_wide_fold(type, w, g, plane, t.meta, b, dots);
        return;
    }
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        __m512i q = sg_tile_codes(type, plane, v, table);
        if (f.zero && !f.table)
            q = f.bits == 8 ? _mm512_xor_si512(q, zero) : _mm512_sub_epi8(q, zero);
        _mm512_store_si512(w->code[g][v], q);
    }
#pragma GCC unroll 2
    for (int h = 0; h < f.halves; h++)
        sg_wide_ends(w, g, h, sg_tile_scale(type, t.meta, b, h), dots, h * 4, f.halves == 2 ? h * 4 + 4 : 8);
}

/* Groups b0 to b0 + ngroup of a tile. */
SG_INLINE void sg_wide_unpack(sg_dtype type, bool dots, sg_wide *w, const void *packed, int tile, int k, int b0, int ngroup)
{
    sg_tile_view t = sg_tile_view_of(type, packed, tile, k);
    for (int g = 0; g < ngroup; g++)
        sg_wide_unpack_group(type, dots, w, g, t, b0 + g);
}

#endif
