/* kernel/quant.h - rows of weights between float32 and the element types of model files.
 *
 * A row is a whole number of blocks (base/dtype.h has their sizes) without padding; blocks need no
 * alignment.  The bit layouts stand at the top of quant_decode.c.  Pure functions, any thread; nothing
 * is allocated; no input can make them read or write outside their rows.
 *
 * Decoding is float32 arithmetic with one rounding per operation in the order that the layouts state,
 * so the result is the same bits everywhere.  Blocks with a NaN or infinite scale decode to NaN or
 * infinity.
 */
#ifndef SG_KERNEL_QUANT_H
#define SG_KERNEL_QUANT_H

#include "base/dtype.h"

/* Whether the functions below know the type.  Decoding: F32 F16 BF16, Q4_0 to Q8_K, IQ4_NL IQ4_XS,
 * MXFP4, NVFP4, TQ1_0 TQ2_0, Q1_0 Q2_0.  Encoding: the same without Q8_1 and Q8_K (these are forms of
 * activations and never stand in files) and without NVFP4, Q1_0 and Q2_0. */
bool sg_quant_can_decode(sg_dtype type);
bool sg_quant_can_encode(sg_dtype type);

/* dst[0..n) = the values of the stored row(s) at src; n is a multiple of the type's block.  A type that
 * cannot be decoded is a broken invariant. */
void sg_quant_decode(sg_dtype type, float *dst, const void *src, size_t n);

/* Encode `nrow` rows of `ncol` values (a multiple of the type's block) one after another into dst,
 * nrow * sg_dtype_row_bytes(type, ncol) bytes.
 *
 * `importance` is NULL or one weight >= 0 for each column: the mean square of the activation that meets
 * it, known from calibration.  Types that search for their scales (Q2_K to Q6_K, IQ4_NL, IQ4_XS; with
 * importance also Q4_0 to Q5_1) minimise the squared error weighted with it, or the plain squared error
 * without; the others have one fixed rule, and without importance Q4_0 to Q8_0, MXFP4 and TQ* give the
 * same bytes as ggml's quantiser.  The bytes are the same on every machine.
 *
 * Values are expected to be finite; a NaN or infinity gives a valid block with arbitrary values.
 * Scales beyond the range of half floats are cut to it. */
void sg_quant_encode(sg_dtype type, void *dst, const float *src, size_t nrow, size_t ncol, const float *importance);

#endif
