/* kernel/linear_wide.h - a tile's codes unpacked to bytes, for kernels that use them for many rows.
 * Private to the AVX-512 and AMX tables.
 */
#ifndef SG_KERNEL_LINEAR_WIDE_H
#define SG_KERNEL_LINEAR_WIDE_H

#include "kernel/linear_avx512.h"

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

enum { SG_WIDE_GROUPS = 32, SG_WIDE_ROWS = 256 };

/* Up to SG_WIDE_GROUPS groups of one tile.  Codes are unsigned (AVX-512) or signed levels (AMX). */
typedef struct sg_wide {
    _Alignas(64) uint8_t code[SG_WIDE_GROUPS][8][64];
    float scale[SG_WIDE_GROUPS][2][SG_TILE], offset[SG_WIDE_GROUPS][2][SG_TILE];
} sg_wide;

typedef void sg_wide_fn(sg_wide *w, const void *packed, int tile, int k, int b0, int ngroup);

SG_INLINE void sg_wide_unpack(sg_dtype type, bool is_signed, sg_wide *w, const void *packed, int tile, int k, int b0, int ngroup)
{
    const sg_tile_form f = sg_tile_form_of(type);
    sg_tile_view t = sg_tile_view_of(type, packed, tile, k);
    __m512i table = f.table ? sg_tile_table(type) : _mm512_setzero_si512(), zero = _mm512_set1_epi8((char)f.zero);
    for (int g = 0; g < ngroup; g++) {
        const uint8_t *plane = t.planes + (size_t)(b0 + g) * (size_t)f.plane_bytes;
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m512i q = sg_tile_codes(type, plane, v, table);
            if (is_signed && f.zero)
                q = _mm512_sub_epi8(q, zero);
            _mm512_store_si512(w->code[g][v], q);
        }
        for (int h = 0; h < f.halves; h++) {
            _mm512_store_ps(w->scale[g][h], sg_tile_scale(type, t.meta, b0 + g, h));
            if (f.min)
                _mm512_store_ps(w->offset[g][h], sg_tile_offset(type, t.meta, b0 + g, h));
        }
    }
}

#endif
