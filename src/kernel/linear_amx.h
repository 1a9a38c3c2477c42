/* kernel/linear_amx.h - what the two kinds of int8 kernels on AMX tiles share.  Private to the AMX table.
 */
#ifndef SG_KERNEL_LINEAR_AMX_H
#define SG_KERNEL_LINEAR_AMX_H

#include "kernel/amx.h"
#include "kernel/linear_wide.h"

/* Where sums begin.  (One row for all 16, at a stride of 0, is 2 % slower.) */
#define SG_ROW4(...) __VA_ARGS__, __VA_ARGS__, __VA_ARGS__, __VA_ARGS__
#define SG_MAGIC_ROW {SG_ROW4(SG_ROW4(SG_WIDE_MAGIC))}
static const _Alignas(64) int32_t sg_magic[16][16] = {SG_ROW4(SG_ROW4(SG_MAGIC_ROW))};

/* The product of 16 rows of x, 32 columns at `x`, with a group's levels; to the tile register of the group's parity: tmm0 and tmm1
 * C, tmm2 A, tmm3 B.  `odd` is a constant where this is inlined. */
SG_INLINE void sg_amx_multiply(bool odd, const int8_t *levels, const uint8_t *x, size_t stride)
{
    SG_AMX_LOAD(3, levels, 64);
    SG_AMX_LOAD(2, x, stride);
    if (odd) {
        SG_AMX_LOAD(1, sg_magic, 64);
        SG_AMX_DOT_INT8(1, 2, 3);
    } else {
        SG_AMX_LOAD(0, sg_magic, 64);
        SG_AMX_DOT_INT8(0, 2, 3);
    }
}

SG_INLINE void sg_amx_put(bool odd, int32_t (*to)[16])
{
    if (odd)
        SG_AMX_STORE(1, to, 64);
    else
        SG_AMX_STORE(0, to, 64);
}

/* Some rows, as sg_linear_kernel.mul; NULL: this type or number of rows has no such kernel (linear_amx_some.c). */
typedef void sg_amx_some_fn(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k);
sg_amx_some_fn *sg_amx_few_find(sg_dtype type, int nrow, int k); /* 10 to 15 rows (linear_amx_few.c) */
sg_amx_some_fn *sg_amx_some_find(sg_dtype type, const void *const *x, int nrow, int k);

#endif
