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

/* Some rows, as sg_linear_kernel.mul; NULL: this type or number of rows has no such kernel (linear_amx_some.c). */
typedef void sg_amx_some_fn(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k);
sg_amx_some_fn *sg_amx_some_find(sg_dtype type, const void *const *x, int nrow, int k);

#endif
