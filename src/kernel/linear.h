/* kernel/linear.h - linear layers: out[m][j] = sum over i of x[m][i] * W[j][i].
 *
 * W is [n][k] in a GGUF element type.  A kernel table repacks it once into tiles of 16 rows (of W) that
 * its instructions want; activations are turned into the table's form once per row.  Then one entry
 * serves every number of rows m, with gathered row pointers.
 *
 * The contract that everything above stands on: out[m][j] is a pure function of row x[m], row W[j] and
 * k.  It does not depend on how many rows travel together, on the tile range, nor on the worker.  For
 * block-quantised weights this comes about because sums inside a block are exact integers and the
 * floating-point operations per block are the same and in the same order in every kernel of a table:
 *
 *     acc = 0
 *     for each block b of 32 in rising order:
 *         acc = fma((float)dot_int(b) * dw[j][b], dx[m][b], acc)        (one rounding for the product, one for the sum)
 *         types with a minimum: acc = fma(-mw[j][b], sx[m][b], acc)     (sx = sum of the block's activations as float)
 *
 * A table may use another order when it uses it for all m.
 */
#ifndef SG_KERNEL_LINEAR_H
#define SG_KERNEL_LINEAR_H

#include "base/isa.h"
#include "base/dtype.h"

enum { SG_TILE = 16 }; /* rows of W in a packed tile */

/* The forms that activations take. */
typedef enum sg_act {
    SG_ACT_F32,  /* as they are */
    SG_ACT_BF16, /* bfloat16, rounded to nearest even, padded to 32 with zeros */
    SG_ACT_Q8,   /* blocks of 32: int8 values, float scale, and what the table needs beside them */
    SG_ACT_END,
} sg_act;

typedef struct sg_linear_kernel {
    sg_act act;

    /* Bytes of one packed tile (16 rows of W, k columns); a multiple of 64. */
    size_t (*tile_bytes)(int k);

    /* Pack `rows` (1 to 16) consecutive stored rows into one tile; missing rows become zeros. */
    void (*pack)(void *tile, const void *stored, int rows, int k);

    /* out[m][j] for m in [0, nrow) and j in [16*tile0, min(16*tile1, n)).  `x[m]` are rows in the form
     * `act`, 64-byte aligned (SG_ACT_F32: plain floats of any alignment); `packed` is the start of all tiles; out[m] points at column 0. */
    void (*mul)(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k);
} sg_linear_kernel;

/* The tables, one a file (kernel/linear_c.c, linear_avx512.c, ...); each returns NULL for what it leaves to
 * the table below.  Used by sg_linear_kernel_find and sg_act_quantize only. */
const sg_linear_kernel *sg_linear_c_find(sg_dtype type, int k);
void sg_linear_c_quantize(sg_act act, void *dst, const float *x, int k);

const sg_linear_kernel *sg_linear_avx2_find(sg_dtype type, int k);
const sg_linear_kernel *sg_linear_avx2_float_find(sg_dtype type); /* a part of the above */
void sg_linear_avx2_quantize(void *dst, const float *x, int k);   /* form SG_ACT_Q8 */
const sg_linear_kernel *sg_linear_avx512_find(sg_dtype type, int k);
const sg_linear_kernel *sg_linear_avx512_float_find(sg_dtype type); /* a part of the above */
void sg_linear_avx512_quantize(void *dst, const float *x, int k); /* the same */
void sg_linear_avx512_quantize_bf16(void *dst, const float *x, int k);
const sg_linear_kernel *sg_linear_amx_find(sg_dtype type, int k);
const sg_linear_kernel *sg_linear_amx_bf16_find(sg_dtype type); /* a part of the above */

/* The kernel of a table for weights of `type` with k columns; every table has one for every type whose
 * sg_dtype_info.weight is set (missing ones fall back to the table below).  k is a multiple of the type's block. */
const sg_linear_kernel *sg_linear_kernel_find(sg_isa isa, sg_dtype type, int k);

/* Bytes of one activation row of k values in form `act`: an odd multiple of 64, so that rows that lie one
 * after another do not fall into the same cache sets. */
size_t sg_act_row_bytes(sg_act act, int k);

/* A row in form SG_ACT_Q8, nb = ceil(k / 32) blocks; each array begins at a multiple of 64 bytes. */
typedef struct sg_act_q8 {
    int8_t *q;       /* [nb][32], -127 to 127 */
    float *d;        /* [nb] x is about d * q; NaN when the block has a value that is not finite */
    float *sx;       /* [nb] d * (sum of q) */
    int32_t *neg;    /* [nb] minus the sum of q */
    int32_t *neg16;  /* [nb][2] the same of each half */
} sg_act_q8;

static inline sg_act_q8 sg_act_q8_of(const void *row, int k)
{
    size_t nb = ((size_t)k + 31) / 32, line = (nb + 15) / 16 * 64;
    unsigned char *p = (unsigned char *)row;
    sg_act_q8 a = {.q = (int8_t *)p};
    p += (nb * 32 + 63) / 64 * 64;
    a.d = (float *)(void *)p;
    a.sx = (float *)(void *)(p + line);
    a.neg = (int32_t *)(void *)(p + 2 * line);
    a.neg16 = (int32_t *)(void *)(p + 3 * line);
    return a;
}

/* Turn x[0..k) into form `act`.  k need not be a multiple of 32: the rest of the last block is zero. */
void sg_act_quantize(sg_isa isa, sg_act act, void *dst, const float *x, int k);

/* The reference: stored rows decoded to float32, products and sums in float32 (64 interleaved partial
 * sums, then pairwise).  out[j] for j in [j0, j1); what --exact uses, and what tests compare to.  Any type that
 * sg_quant_can_decode. */
void sg_linear_exact(float *const *out, const float *const *x, int nrow, const void *stored, sg_dtype type, int j0, int j1, int k);

#endif
