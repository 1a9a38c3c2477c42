/* kernel/quant_layout.h - pieces of the block layouts that decoding, encoding and packing share
 * (the layouts themselves: quant_decode.c).  Pure functions, any thread. */
#ifndef SG_KERNEL_QUANT_LAYOUT_H
#define SG_KERNEL_QUANT_LAYOUT_H

#include "base/f16.h"

/* Little-endian loads from any address. */
static inline uint16_t sg_quant_u16(const uint8_t *b) { return (uint16_t)(b[0] | b[1] << 8); }
static inline uint32_t sg_quant_u32(const uint8_t *b) { return sg_quant_u16(b) | (uint32_t)sg_quant_u16(b + 2) << 16; }
static inline float sg_quant_f16(const uint8_t *b) { return sg_f16_to_f32(sg_quant_u16(b)); }

extern const int8_t sg_quant_iq4_values[16]; /* IQ4_NL and IQ4_XS, rising */
extern const int8_t sg_quant_fp4_values[16]; /* MXFP4 and NVFP4: E2M1 doubled */

/* 2^(E-128), which for E = 0 and 1 is subnormal. */
static inline float sg_quant_mxfp4_scale(uint8_t e)
{
    return sg_f32_of_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Scale and minimum (0 to 63) of group g (0 to 7) from the 12 bytes of Q4_K and Q5_K.  The first four
 * groups have six bits of a byte; the others a nibble and two bits that the first four leave. */
static inline void sg_quant_k_scale(const uint8_t s[12], int g, int *scale, int *min)
{
    if (g < 4) {
        *scale = s[g] & 63;
        *min = s[g + 4] & 63;
    } else {
        *scale = (s[g + 4] & 15) | s[g - 4] >> 6 << 4;
        *min = s[g + 4] >> 4 | s[g] >> 6 << 4;
    }
}

/* Scale (-32 to 31) of group g (0 to 15) of a Q3_K block. */
static inline int sg_quant_q3_k_scale(const uint8_t *block, int g)
{
    return ((block[96 + g % 8] >> 4 * (g / 8) & 15) | (block[104 + g % 4] >> 2 * (g / 4) & 3) << 4) - 32;
}

#endif
