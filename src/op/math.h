/* op/math.h - float32 functions that compilers turn into vector code.  Private to op/.
 *
 * The same formula for every lane and every build, with no table and no branch, so that a value's image does not
 * depend on where in a row it stands.
 */
#ifndef SG_OP_MATH_H
#define SG_OP_MATH_H

#include "base/f16.h"

#include <math.h>

/* e^x within 2 units in the last place for x in [-87, 88]; below it 0 to within 2^-125, above it a value over 1e38.
 * x = n ln 2 + r with |r| <= ln 2 / 2 in two steps (Cody and Waite), then e^r by its polynomial and 2^n by the
 * exponent bits.  A NaN stays one. */
static inline float sg_expf(float x)
{
    float c = x < -87.0f ? -87.0f : x;
    c = c > 88.0f ? 88.0f : c;
    float n = c * 1.44269504f + 12582912.0f; /* 1.5 * 2^23: the sum's low bits are the rounded integer */
    int32_t i = (int32_t)sg_f32_bits(n) - 0x4b400000;
    n -= 12582912.0f;
    float r = (c - n * 0.693359375f) - n * -2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    return p * sg_f32_of_bits((uint32_t)(i + 127) << 23);
}

static inline float sg_silu(float x) { return x / (1.0f + sg_expf(-x)); }

/* tanh through e^-2|x|; relative error about 1e-7 except near 0, where the absolute error is that small. */
static inline float sg_tanhf(float x)
{
    float e = sg_expf(-2.0f * (x < 0 ? -x : x));
    float t = (1.0f - e) / (1.0f + e);
    return x < 0 ? -t : t;
}

/* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
static inline float sg_gelu_tanh(float x)
{
    float u = 0.797884560802865f * (x + 0.044715f * x * x * x);
    return x / (1.0f + sg_expf(-2.0f * u)); /* (1 + tanh u) / 2 = 1 / (1 + e^-2u) */
}

static inline float sg_gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.707106781186547f)); }

#endif
