/* kernel/rows.h - loops over one row of float32 values: norms, activations, rotations.
 *
 * Every table computes the same formulas (kernel/rows_body.h over kernel/vec.h).  A value's image does
 * not depend on where in the row it stands; sums run in 16 interleaved partial sums, added pairwise.
 * Rows need no alignment; n is any length from 1 on; out may be x where both are given.
 */
#ifndef SG_KERNEL_ROWS_H
#define SG_KERNEL_ROWS_H

#include "base/isa.h"

#include <stdbool.h>

/* Activations of one argument. */
typedef enum sg_curve { SG_CURVE_SILU, SG_CURVE_GELU_TANH, SG_CURVE_GELU, SG_CURVE_TANH, SG_CURVE_RELU } sg_curve;

typedef struct sg_row_kernel {
    /* out = x / sqrt(mean(x^2) + eps) * w (w NULL: ones). */
    void (*rms_norm)(float *out, const float *x, const float *w, int n, float eps);
    /* out = (x - mean) / sqrt(variance + eps) * w + b (each may be NULL). */
    void (*layer_norm)(float *out, const float *x, const float *w, const float *b, int n, float eps);
    /* x = curve(x); out = curve(gate) * up. */
    void (*curve)(float *x, int n, sg_curve curve);
    void (*glu)(float *out, const float *gate, const float *up, int n, sg_curve curve);
    /* gpt-oss: gate up to 7, up within [-7, 7]; out = (up + 1) * gate * sigmoid(1.702 gate). */
    void (*glu_oai)(float *out, const float *gate, const float *up, int n);
    /* y += x * a. */
    void (*add)(float *y, const float *x, int n, float a);
    /* s = sum + a[0] * c[0] + a[1] * c[1] ..., nc columns of n each, added in this order; out = s, or with `more` out += s.  sum may
     * be out. */
    void (*join)(float *out, const float *sum, const float *const *c, const float *a, int nc, int n, bool more);
    /* x *= a;  x = cap * tanh(x / cap). */
    void (*scale)(float *x, int n, float a);
    void (*softcap)(float *x, int n, float cap);
    /* Rotate x[i] with x[i + half] (halves) or x[2i] with x[2i + 1] (pairs) by the angles of c and s [half]. */
    void (*rotate_halves)(float *x, const float *c, const float *s, int half);
    void (*rotate_pairs)(float *x, const float *c, const float *s, int half);
    /* The largest of x[0..n); of each 16 of them, the last ones fewer.  Any of the values when there are NaNs. */
    float (*most)(const float *x, int n);
    void (*most_of_16)(float *out, const float *x, int n);
} sg_row_kernel;

/* The table's loops; AMX uses those of AVX-512. */
const sg_row_kernel *sg_row_kernel_find(sg_isa isa);

extern const sg_row_kernel sg_row_kernel_c, sg_row_kernel_avx2, sg_row_kernel_avx512;

#endif
