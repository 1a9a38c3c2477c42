/* kernel/quant_fit.h - the least-squares searches behind the encoders (quant_encode.c).
 *
 * Both take x[n], the values of a block, and weights w[n] > 0, and find what the format can store so that
 * the weighted squared error of the decoded values is small.  n = ngroup * len, at most 256; len is a
 * multiple of 4; |x| <= 1e12.  Pure functions, any thread; the result is the same bits on every machine.
 */
#ifndef SG_KERNEL_QUANT_FIT_H
#define SG_KERNEL_QUANT_FIT_H

#include <stdbool.h>
#include <stdint.h>

/* The integers that a stored quant stands for: lo..hi, or the 16 values of IQ4_NL. */
typedef struct sg_quant_grid {
    float lo, hi;
    bool iq4;
} sg_quant_grid;

/* y = (d * scale[g]) * q.  d is a half float; each group's scale is an integer in [smin, smax] with
 * smin <= 0 (Q3_K, Q6_K, IQ4_XS), or the constant 1 when smin = smax = 1 (Q4_0, Q5_0, IQ4_NL).
 * q[i] is the value of the grid; of IQ4_NL's the index. */
typedef struct sg_quant_scales {
    uint16_t d; /* half float */
    int8_t scale[16];
    int8_t q[256];
} sg_quant_scales;

void sg_quant_fit_scales(sg_quant_scales *fit, const float *x, const float *w, int ngroup, int len,
                         const sg_quant_grid *grid, int smin, int smax);

/* y = (d * scale[g]) * q - dmin * min[g] with half floats d and dmin >= 0, scale and min in 0..smax, q in
 * 0..qmax (Q2_K, Q4_K, Q5_K). */
typedef struct sg_quant_affine {
    uint16_t d, dmin;
    uint8_t scale[16], min[16];
    uint8_t q[256];
} sg_quant_affine;

void sg_quant_fit_affine(sg_quant_affine *fit, const float *x, const float *w, int ngroup, int len, int qmax, int smax);

/* y = d * q + m, q in 0..qmax, one group of n values, m of any sign (Q4_1, Q5_1). */
void sg_quant_fit_line(uint16_t *d, uint16_t *m, uint8_t *q, const float *x, const float *w, int n, int qmax);

/* The half float nearest to f, cut to the finite ones; 0 for NaN. */
uint16_t sg_quant_half(float f);

#endif
