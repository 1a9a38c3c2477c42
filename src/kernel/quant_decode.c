/* kernel/quant_decode.c - from stored blocks to float32.
 *
 * One function a type, table at the end.  The functions are written for reading: each is the type's
 * definition.  They serve embedding rows, the exact path, packing (kernel/linear.h) and tests, none of
 * which decodes in an inner loop.
 *
 * Layouts, little-endian, bytes of a block from left to right; d and m are half floats:
 *
 *   32 values     q4_0   d | 16 nibble pairs                       y = d * (q - 8)
 *                 q4_1   d m | 16 nibble pairs                     y = d * q + m
 *                 q5_0   d | 32 high bits | 16 nibble pairs        y = d * (q - 16)
 *                 q5_1   d m | 32 high bits | 16 nibble pairs      y = d * q + m
 *                 q8_0   d | 32 int8                               y = q * d
 *                 iq4_nl d | 16 nibble pairs                       y = d * K[q]
 *                 mxfp4  E | 16 nibble pairs                       y = 2^(E-128) * V[q]
 *     Byte j of the nibble pairs has value j in its low half and value j + 16 in its high half.
 *
 *   256 values    q2_k   16 (scale, min) nibbles | 64 bytes of 2 bits | d dmin
 *                 q3_k   256 high bits | 64 bytes of 2 bits | 16 scales of 6 bits in 12 bytes | d
 *                 q4_k   d dmin | 8 (scale, min) of 6 bits in 12 bytes | 128 nibble pairs
 *                 q5_k   d dmin | the same 12 bytes | 256 high bits | 128 nibble pairs
 *                 q6_k   128 nibble pairs | 64 bytes of 2 high bits | 16 int8 scales | d
 *                 iq4_xs d | high scale bits | low scale nibbles | 8 groups of 16 nibble pairs
 *     Groups of 16 (q2_k, q3_k, q6_k) or 32 values (the others) have an integer scale that multiplies d.
 *     How the bits interleave is what the code below says.
 *
 * The format is fixed by ggml (https://github.com/ggml-org/ggml, docs/gguf.md names the types); MXFP4 by
 * the OCP Microscaling Formats specification 1.0.
 */
#include "kernel/quant.h"

#include "base/error.h"
#include "base/f16.h"
#include "kernel/quant_layout.h"

static void f32(float *y, const uint8_t *b) { memcpy(y, b, 4); }
static void f16(float *y, const uint8_t *b) { *y = sg_quant_f16(b); }
static void bf16(float *y, const uint8_t *b) { *y = sg_bf16_to_f32(sg_quant_u16(b)); }

static void q4_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)((b[2 + j] & 15) - 8);
        y[j + 16] = d * (float)((b[2 + j] >> 4) - 8);
    }
}

static void q4_1(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b), m = sg_quant_f16(b + 2);
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)(b[4 + j] & 15) + m;
        y[j + 16] = d * (float)(b[4 + j] >> 4) + m;
    }
}

static void q5_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b);
    uint32_t high = sg_quant_u32(b + 2);
    for (int j = 0; j < 16; j++) {
        int q0 = (b[6 + j] & 15) | (int)(high >> j & 1) << 4, q1 = b[6 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
        y[j] = d * (float)(q0 - 16);
        y[j + 16] = d * (float)(q1 - 16);
    }
}

static void q5_1(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b), m = sg_quant_f16(b + 2);
    uint32_t high = sg_quant_u32(b + 4);
    for (int j = 0; j < 16; j++) {
        int q0 = (b[8 + j] & 15) | (int)(high >> j & 1) << 4, q1 = b[8 + j] >> 4 | (int)(high >> (j + 16) & 1) << 4;
        y[j] = d * (float)q0 + m;
        y[j + 16] = d * (float)q1 + m;
    }
}

static void int8s(float *y, const uint8_t *q, int n, float d)
{
    for (int i = 0; i < n; i++)
        y[i] = d * (float)(int8_t)q[i];
}

static void q8_0(float *y, const uint8_t *b) { int8s(y, b + 2, 32, sg_quant_f16(b)); }
static void q8_1(float *y, const uint8_t *b) { int8s(y, b + 4, 32, sg_quant_f16(b)); }
static void q8_k(float *y, const uint8_t *b) { int8s(y, b + 4, 256, sg_f32_of_bits(sg_quant_u32(b))); }

static void q2_k(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b + 80), dmin = sg_quant_f16(b + 82);
    for (int g = 0; g < 16; g++) { /* 16 values with one scale byte */
        float scale = d * (float)(b[g] & 15), min = dmin * (float)(b[g] >> 4);
        const uint8_t *q = b + 16 + g / 8 * 32 + g % 2 * 16;
        for (int i = 0; i < 16; i++)
            y[g * 16 + i] = scale * (float)(q[i] >> 2 * (g % 8 / 2) & 3) - min;
    }
}

static void q3_k(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b + 108);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)sg_quant_q3_k_scale(b, g);
        const uint8_t *low = b + 32 + g / 8 * 32 + g % 2 * 16, *high = b + g % 2 * 16;
        for (int i = 0; i < 16; i++) {
            int q = (low[i] >> 2 * (g % 8 / 2) & 3) - (high[i] >> g / 2 & 1 ? 0 : 4);
            y[g * 16 + i] = scale * (float)q;
        }
    }
}

static void q4_k(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b), dmin = sg_quant_f16(b + 2);
    for (int g = 0; g < 8; g++) { /* 32 values with one scale and minimum; two groups share 32 bytes */
        int sc, mn;
        sg_quant_k_scale(b + 4, g, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        const uint8_t *q = b + 16 + g / 2 * 32;
        for (int i = 0; i < 32; i++)
            y[g * 32 + i] = scale * (float)(q[i] >> 4 * (g % 2) & 15) - min;
    }
}

static void q5_k(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b), dmin = sg_quant_f16(b + 2);
    for (int g = 0; g < 8; g++) {
        int sc, mn;
        sg_quant_k_scale(b + 4, g, &sc, &mn);
        float scale = d * (float)sc, min = dmin * (float)mn;
        const uint8_t *low = b + 48 + g / 2 * 32, *high = b + 16;
        for (int i = 0; i < 32; i++) {
            int q = (low[i] >> 4 * (g % 2) & 15) | (high[i] >> g & 1) << 4;
            y[g * 32 + i] = scale * (float)q - min;
        }
    }
}

static void q6_k(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b + 208);
    for (int g = 0; g < 16; g++) {
        float scale = d * (float)(int8_t)b[192 + g];
        const uint8_t *low = b + g / 8 * 64 + g % 4 * 16, *high = b + 128 + g / 8 * 32 + g % 2 * 16;
        for (int i = 0; i < 16; i++) {
            int q = (low[i] >> 4 * (g % 8 / 4) & 15) | (high[i] >> 2 * (g % 8 / 2) & 3) << 4;
            y[g * 16 + i] = scale * (float)(q - 32);
        }
    }
}

const int8_t sg_quant_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};

/* The sixteen values of E2M1, doubled. */
const int8_t sg_quant_fp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2n values: n bytes of nibble pairs, looked up. */
static void looked_up(float *y, const uint8_t *q, int n, float d, const int8_t values[16])
{
    for (int j = 0; j < n; j++) {
        y[j] = d * (float)values[q[j] & 15];
        y[j + n] = d * (float)values[q[j] >> 4];
    }
}

static void iq4_nl(float *y, const uint8_t *b) { looked_up(y, b + 2, 16, sg_quant_f16(b), sg_quant_iq4_values); }
static void mxfp4(float *y, const uint8_t *b) { looked_up(y, b + 1, 16, sg_quant_mxfp4_scale(b[0]), sg_quant_fp4_values); }

static void iq4_xs(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b);
    unsigned high = sg_quant_u16(b + 2);
    for (int g = 0; g < 8; g++) {
        int s = (b[4 + g / 2] >> 4 * (g % 2) & 15) | (int)(high >> 2 * g & 3) << 4;
        looked_up(y + g * 32, b + 8 + g * 16, 16, d * (float)(s - 32), sg_quant_iq4_values);
    }
}

static void nvfp4(float *y, const uint8_t *b)
{
    for (int g = 0; g < 4; g++) { /* 16 values with one UE4M3 scale */
        int e = b[g] >> 3 & 15, m = b[g] & 7;
        float scale = b[g] == 0 || b[g] == 0x7f ? 0 : e ? (float)(8 + m) * 0x1p-10f * (float)(1 << e) : (float)m * 0x1p-9f;
        looked_up(y + g * 16, b + 4 + g * 8, 8, scale * 0.5f, sg_quant_fp4_values);
    }
}

static void tq2_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b + 64);
    for (int i = 0; i < 256; i++)
        y[i] = d * (float)((b[i / 128 * 32 + i % 32] >> 2 * (i % 128 / 32) & 3) - 1);
}

/* `digits` base-3 digits from each of n bytes, most significant first; digit t of all bytes, then t + 1. */
static float *trits(float *y, const uint8_t *b, int n, int digits, float d)
{
    for (unsigned t = 0, power = 1; t < (unsigned)digits; t++, power *= 3)
        for (int j = 0; j < n; j++)
            *y++ = d * (float)((int)((b[j] * power & 255) * 3 >> 8) - 1);
    return y;
}

static void tq1_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b + 52);
    y = trits(y, b, 32, 5, d);
    y = trits(y, b + 32, 16, 5, d);
    trits(y, b + 48, 4, 4, d);
}

static void q1_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b);
    for (int i = 0; i < 128; i++)
        y[i] = b[2 + i / 8] >> i % 8 & 1 ? d : -d;
}

static void q2_0(float *y, const uint8_t *b)
{
    float d = sg_quant_f16(b);
    for (int i = 0; i < 64; i++)
        y[i] = (float)((b[2 + i / 4] >> 2 * (i % 4) & 3) - 1) * d;
}

static void (*const decoders[SG_DTYPE_END])(float *y, const uint8_t *block) = {
    [SG_F32] = f32,       [SG_F16] = f16,       [SG_BF16] = bf16,   [SG_Q4_0] = q4_0,   [SG_Q4_1] = q4_1,
    [SG_Q5_0] = q5_0,     [SG_Q5_1] = q5_1,     [SG_Q8_0] = q8_0,   [SG_Q8_1] = q8_1,   [SG_Q2_K] = q2_k,
    [SG_Q3_K] = q3_k,     [SG_Q4_K] = q4_k,     [SG_Q5_K] = q5_k,   [SG_Q6_K] = q6_k,   [SG_Q8_K] = q8_k,
    [SG_IQ4_NL] = iq4_nl, [SG_IQ4_XS] = iq4_xs, [SG_MXFP4] = mxfp4, [SG_NVFP4] = nvfp4, [SG_TQ1_0] = tq1_0,
    [SG_TQ2_0] = tq2_0,   [SG_Q1_0] = q1_0,     [SG_Q2_0] = q2_0,
};

bool sg_quant_can_decode(sg_dtype type) { return (unsigned)type < SG_DTYPE_END && decoders[type]; }

void sg_quant_decode(sg_dtype type, float *dst, const void *src, size_t n)
{
    SG_ASSERT(sg_quant_can_decode(type));
    const sg_dtype_info *info = sg_dtype_of(type);
    SG_ASSERT(n % info->block == 0);
    const uint8_t *b = src;
    if (type == SG_F32 && n)
        memcpy(dst, b, n * sizeof *dst);
    else
        for (size_t i = 0; i < n; i += info->block, b += info->bytes)
            decoders[type](dst + i, b);
}
