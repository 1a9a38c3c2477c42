/* base/f16.h - half floats and bfloat16 in plain C.
 *
 * Bit for bit what the processor's own conversions do (VCVTPH2PS, VCVTPS2PH and VCVTNEPS2BF16 with
 * subnormals kept): round to nearest, ties to even, overflow to infinity, subnormals exact in both
 * directions; a NaN keeps its sign and the upper bits of its payload and becomes quiet.  The integer and
 * add tricks do not depend on the flush-to-zero flags for half floats: every float they add or subtract
 * is normal.  Pure functions, any thread.
 */
#ifndef SG_BASE_F16_H
#define SG_BASE_F16_H

#include <stdint.h>
#include <string.h>

static inline uint32_t sg_f32_bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float sg_f32_of_bits(uint32_t u)
{
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Every half float is a float32, so this is exact. */
static inline float sg_f16_to_f32(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, u = (uint32_t)(h & 0x7fff) << 13, e = u & 0x0f800000;
    if (e == 0x0f800000) /* infinity, or a NaN, which becomes quiet */
        return sg_f32_of_bits(sign | 0x7f800000 | (u & 0x007fe000) | (u & 0x007fe000 ? 0x00400000 : 0));
    if (e == 0) /* mantissa * 2^-24: put it below a leading 1 of weight 2^-14, then take that away */
        return sg_f32_of_bits(sign | sg_f32_bits(sg_f32_of_bits(u + 0x38800000) - 0x1p-14f));
    return sg_f32_of_bits(sign | (u + 0x38000000)); /* exponent bias 15 becomes 127 */
}

static inline uint16_t sg_f32_to_f16(float f)
{
    uint32_t u = sg_f32_bits(f), sign = u >> 16 & 0x8000;
    u &= 0x7fffffff;
    if (u >= 0x47800000) /* 65536 and up, infinity, NaN */
        return (uint16_t)(sign | 0x7c00 | (u > 0x7f800000 ? 0x0200 | (u >> 13 & 0x03ff) : 0));
    if (u < 0x38800000) /* below 2^-14: adding 0.5 rounds to the half float's fixed step of 2^-24 */
        return (uint16_t)(sign | (sg_f32_bits(sg_f32_of_bits(u) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (u - 0x38000000 + 0x0fff + (u >> 13 & 1)) >> 13); /* the carry may reach infinity */
}

static inline float sg_bf16_to_f32(uint16_t b)
{
    uint32_t u = (uint32_t)b << 16;
    return sg_f32_of_bits((u & 0x7fffffff) > 0x7f800000 ? u | 0x00400000 : u);
}

static inline uint16_t sg_f32_to_bf16(float f)
{
    uint32_t u = sg_f32_bits(f);
    if ((u & 0x7fffffff) > 0x7f800000)
        return (uint16_t)(u >> 16 | 0x0040);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

#endif
