/* kernel/tile.h - packed tiles of block-quantised weights for 512-bit integer dot products.
 *
 * A tile holds 16 rows of W.  The unit of arithmetic is a vector of 64 bytes, [16 rows][4 columns]: what
 * VPDPBUSD multiplies by four broadcast activations, and row by row what AMX calls a B tile.  A group of
 * 32 columns is 8 such vectors.  Codes keep their own number of bits:
 *
 *     tile    | meta of all groups | pad to 64 | planes of group 0 | planes of group 1 | ...
 *     planes, each vector 64 bytes; byte [j][c] belongs to row j and column 4 v + c of vector v (0 to 7):
 *       8 bits   8 vectors
 *       4 bits   4 vectors; vector z: low half v = z, high half v = z + 4
 *       2 bits   2 vectors; vector h: bits 2t, 2t+1 are v = 4 h + t
 *       1 bit    1 vector: bit v
 *       6 = 4 bits, then 2 bits above them; 5 = 4 + 1; 3 = 2 + 1
 *     meta of types without nested scales, for each group:   half d[16] | half m[16] when there is a minimum
 *       (MXFP4: float d[16])
 *     meta of nested types, for each 256 columns:   half d[16] | half dmin[16] when there is a minimum
 *       then for each of 8 groups:   int8 sc[16] (twice for types with groups of 16) | mn likewise
 *
 * Everything here is plain C on bytes; the vector code that reads it is in linear_avx512.h.
 */
#ifndef SG_KERNEL_TILE_H
#define SG_KERNEL_TILE_H

#include "kernel/block.h"

/* Constants of a type, all known at compile time when `type` is. */
typedef struct sg_tile_form {
    int bits, zero, halves; /* halves: 2 for groups of 16, else 1 */
    bool min, nested, table;
    bool fold;              /* two scales for 32 columns, which times a level fit a signed byte */
    int plane_bytes;        /* of a group */
    int meta_bytes;         /* of a group, or of 256 columns when nested */
} sg_tile_form;

static inline __attribute__((always_inline)) sg_tile_form sg_tile_form_of(sg_dtype type)
{
    sg_tile_form f = {0};
    switch (type) {
    case SG_Q4_0: f.bits = 4, f.zero = 8; break;
    case SG_Q4_1: f.bits = 4, f.min = true; break;
    case SG_Q5_0: f.bits = 5, f.zero = 16; break;
    case SG_Q5_1: f.bits = 5, f.min = true; break;
    case SG_Q8_0: f.bits = 8, f.zero = 128; break;
    case SG_IQ4_NL:
    case SG_MXFP4: f.bits = 4, f.zero = 128, f.table = true; break;
    case SG_IQ4_XS: f.bits = 4, f.zero = 128, f.table = true, f.nested = true; break;
    case SG_Q2_K: f.bits = 2, f.min = true, f.nested = true; break;
    case SG_Q3_K: f.bits = 3, f.zero = 4, f.nested = true; break;
    case SG_Q4_K: f.bits = 4, f.min = true, f.nested = true; break;
    case SG_Q5_K: f.bits = 5, f.min = true, f.nested = true; break;
    default: f.bits = 6, f.zero = 32, f.nested = true; break; /* Q6_K */
    }
    f.halves = type == SG_Q2_K || type == SG_Q3_K || type == SG_Q6_K ? 2 : 1;
    f.fold = type == SG_Q2_K || type == SG_Q3_K;
    f.plane_bytes = f.bits * 64;
    if (type == SG_MXFP4)
        f.meta_bytes = 64;
    else
        f.meta_bytes = f.min ? 64 : 32;
    if (f.nested)
        f.meta_bytes += 8 * 16 * f.halves * (f.min ? 2 : 1);
    return f;
}

/* Bytes of all meta of a tile, a multiple of 64. */
static inline __attribute__((always_inline)) size_t sg_tile_meta_bytes(sg_dtype type, int k)
{
    sg_tile_form f = sg_tile_form_of(type);
    return (((size_t)k / (f.nested ? 256 : 32) * (size_t)f.meta_bytes) + 63) / 64 * 64;
}

/* Bytes of a tile. */
static inline __attribute__((always_inline)) size_t sg_tile_bytes(sg_dtype type, int k)
{
    return sg_tile_meta_bytes(type, k) + (size_t)(k / 32) * (size_t)sg_tile_form_of(type).plane_bytes;
}

/* Pack `rows` stored rows into a tile; missing rows become zeros (scale 0). */
void sg_tile_pack(sg_dtype type, void *tile, const void *stored, int rows, int k);

#endif
