/* kernel/quant_encode.c - from float32 to stored blocks.
 *
 * Two kinds of types.  Q4_0 to Q8_0, MXFP4 and the ternary types have a rule in closed form; ours is the
 * one that ggml's quantiser follows, byte for byte, so that files can be compared.  The K types and IQ4
 * have no rule, only a least error: quant_fit.c searches, and the functions here put what it found into
 * the layouts of quant_decode.c.  With importance data Q4_0 to Q5_1 are searched for too.
 *
 * A block at a time: values are copied (a NaN or infinity becomes 0), weights are scaled to a mean of 1,
 * so that nothing overflows whatever the units of the importance data.
 */
#include "base/error.h"
#include "kernel/quant.h"
#include "kernel/quant_fit.h"
#include "kernel/quant_layout.h"

#include <math.h>

static void put_u16(uint8_t *b, unsigned v)
{
    b[0] = (uint8_t)v;
    b[1] = (uint8_t)(v >> 8);
}

static void put_half(uint8_t *b, float f) { put_u16(b, sg_quant_half(f)); }

/* v cut to [lo, hi]; NaN gives lo. */
static float cut(float v, float lo, float hi) { return v > lo ? v < hi ? v : hi : lo; }

static float reciprocal(float d) { return d != 0 ? 1.0f / d : 0.0f; }

static float largest_magnitude(const float *x, int n)
{
    float m = 0;
    for (int i = 0; i < n; i++)
        m = fabsf(x[i]) > m ? fabsf(x[i]) : m;
    return m;
}

/* 32 quants of 4 bits as nibble pairs: value j low, value j + 16 high. */
static void put_nibbles(uint8_t *b, const uint8_t *q)
{
    for (int j = 0; j < 16; j++)
        b[j] = (uint8_t)((q[j] & 15) | q[j + 16] << 4);
}

/* 32 quants of 5 bits: the high bits as a word, then nibble pairs. */
static void put_fives(uint8_t *b, const uint8_t *q)
{
    memset(b, 0, 4);
    for (int j = 0; j < 32; j++)
        b[j / 8] = (uint8_t)(b[j / 8] | (q[j] >> 4 & 1) << j % 8);
    put_nibbles(b + 4, q);
}

/* ---- types with a rule --------------------------------------------------------------------------- */

/* w is NULL for the rule, or the weights for the search. */
static void symmetric(uint8_t *b, const float *x, const float *w, int half, void (*put)(uint8_t *, const uint8_t *))
{
    uint8_t q[32];
    if (w) {
        sg_quant_scales fit;
        sg_quant_grid grid = {(float)-half, (float)(half - 1), false};
        sg_quant_fit_scales(&fit, x, w, 1, 32, &grid, 1, 1);
        put_u16(b, fit.d);
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)(fit.q[i] + half);
    } else {
        float m = 0;
        for (int i = 0; i < 32; i++)
            m = fabsf(x[i]) > fabsf(m) ? x[i] : m;
        float d = m / (float)-half, inv = reciprocal(d);
        put_half(b, d);
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)cut(x[i] * inv + ((float)half + 0.5f), 0, (float)(2 * half - 1));
    }
    put(b + 2, q);
}

static void q4_0(uint8_t *b, const float *x, const float *w) { symmetric(b, x, w, 8, put_nibbles); }
static void q5_0(uint8_t *b, const float *x, const float *w) { symmetric(b, x, w, 16, put_fives); }

static void with_minimum(uint8_t *b, const float *x, const float *w, int qmax, void (*put)(uint8_t *, const uint8_t *))
{
    uint8_t q[32];
    if (w) {
        uint16_t d, m;
        sg_quant_fit_line(&d, &m, q, x, w, 32, qmax);
        put_u16(b, d);
        put_u16(b + 2, m);
    } else {
        float min = x[0], max = x[0];
        for (int i = 1; i < 32; i++) {
            min = x[i] < min ? x[i] : min;
            max = x[i] > max ? x[i] : max;
        }
        float d = (max - min) / (float)qmax, inv = reciprocal(d);
        put_half(b, d);
        put_half(b + 2, min);
        for (int i = 0; i < 32; i++)
            q[i] = (uint8_t)cut((x[i] - min) * inv + 0.5f, 0, (float)qmax);
    }
    put(b + 4, q);
}

static void q4_1(uint8_t *b, const float *x, const float *w) { with_minimum(b, x, w, 15, put_nibbles); }
static void q5_1(uint8_t *b, const float *x, const float *w) { with_minimum(b, x, w, 31, put_fives); }

static void q8_0(uint8_t *b, const float *x, const float *w)
{
    (void)w;
    float d = largest_magnitude(x, 32) / 127, inv = reciprocal(d);
    put_half(b, d);
    for (int i = 0; i < 32; i++)
        b[2 + i] = (uint8_t)(int)roundf(cut(x[i] * inv, -127, 127));
}

static void mxfp4(uint8_t *b, const float *x, const float *w)
{
    (void)w;
    int e = 0;
    float m = largest_magnitude(x, 32);
    if (m > 0) {
        frexpf(m, &e); /* m = [0.5, 1) * 2^e; the largest magnitude of E2M1 has exponent 2 */
        e = (int)cut((float)(e - 1 - 2 + 127), 0, 254);
    }
    b[0] = (uint8_t)e;
    float d = sg_quant_mxfp4_scale(b[0]);
    uint8_t q[32];
    for (int i = 0; i < 32; i++) {
        float best = INFINITY;
        q[i] = 0;
        for (int k = 0; k < 16; k++) {
            float err = fabsf(d * (float)sg_quant_fp4_values[k] - x[i]);
            if (err < best) {
                best = err;
                q[i] = (uint8_t)k;
            }
        }
    }
    put_nibbles(b + 1, q);
}

/* The digits 0, 1, 2 of the ternary types. */
static void ternary(uint8_t *q, const float *x, float *d)
{
    *d = largest_magnitude(x, 256);
    float inv = reciprocal(*d);
    for (int i = 0; i < 256; i++)
        q[i] = (uint8_t)(int)(roundf(cut(x[i] * inv, -1, 1)) + 1);
}

static void tq2_0(uint8_t *b, const float *x, const float *w)
{
    (void)w;
    uint8_t q[256];
    float d;
    ternary(q, x, &d);
    for (int i = 0; i < 64; i++) {
        const uint8_t *v = q + i / 32 * 128 + i % 32;
        b[i] = (uint8_t)(v[0] | v[32] << 2 | v[64] << 4 | v[96] << 6);
    }
    put_half(b + 64, d);
}

/* n bytes of `digits` base-3 digits, read `n` apart; the number is spread over 0..255 so that digits come
 * out by multiplication (quant_decode.c). */
static void put_trits(uint8_t *b, const uint8_t *q, int n, int digits)
{
    for (int j = 0; j < n; j++) {
        int number = 0;
        for (int t = 0; t < 5; t++)
            number = number * 3 + (t < digits ? q[t * n + j] : 0);
        b[j] = (uint8_t)((number * 256 + 242) / 243);
    }
}

static void tq1_0(uint8_t *b, const float *x, const float *w)
{
    (void)w;
    uint8_t q[256];
    float d;
    ternary(q, x, &d);
    put_trits(b, q, 32, 5);
    put_trits(b + 32, q + 160, 16, 5);
    put_trits(b + 48, q + 240, 4, 4);
    put_half(b + 52, d);
}

/* ---- types that are searched for ------------------------------------------------------------------ */

static void q2_k(uint8_t *b, const float *x, const float *w)
{
    sg_quant_affine fit;
    sg_quant_fit_affine(&fit, x, w, 16, 16, 3, 15);
    for (int g = 0; g < 16; g++)
        b[g] = (uint8_t)(fit.scale[g] | fit.min[g] << 4);
    for (int i = 0; i < 64; i++) {
        const uint8_t *q = fit.q + i / 32 * 128 + i % 32;
        b[16 + i] = (uint8_t)(q[0] | q[32] << 2 | q[64] << 4 | q[96] << 6);
    }
    put_u16(b + 80, fit.d);
    put_u16(b + 82, fit.dmin);
}

static void q3_k(uint8_t *b, const float *x, const float *w)
{
    sg_quant_scales fit;
    static const sg_quant_grid grid = {-4, 3, false};
    sg_quant_fit_scales(&fit, x, w, 16, 16, &grid, -32, 31);
    memset(b, 0, 110);
    for (int i = 0; i < 256; i++) {
        int q = fit.q[i] + 4, low = 32 + i / 128 * 32 + i % 32;
        b[i % 32] = (uint8_t)(b[i % 32] | q >> 2 << i / 32);
        b[low] = (uint8_t)(b[low] | (q & 3) << 2 * (i % 128 / 32));
    }
    for (int g = 0; g < 16; g++) {
        int s = fit.scale[g] + 32, low = 96 + g % 8, high = 104 + g % 4;
        b[low] = (uint8_t)(b[low] | (s & 15) << 4 * (g / 8));
        b[high] = (uint8_t)(b[high] | s >> 4 << 2 * (g / 4));
    }
    put_u16(b + 108, fit.d);
}

/* The 12 bytes of eight 6-bit scales and minima (quant_layout.h). */
static void put_k_scales(uint8_t *b, const sg_quant_affine *fit)
{
    for (int g = 0; g < 4; g++) {
        unsigned s = fit->scale[g + 4], m = fit->min[g + 4];
        b[g] = (uint8_t)(fit->scale[g] | s >> 4 << 6);
        b[g + 4] = (uint8_t)(fit->min[g] | m >> 4 << 6);
        b[g + 8] = (uint8_t)((s & 15) | (m & 15) << 4);
    }
}

/* 256 quants: 32 bytes hold two groups of 32, the first in the low halves. */
static void put_k_nibbles(uint8_t *b, const uint8_t *q)
{
    for (int i = 0; i < 128; i++)
        b[i] = (uint8_t)((q[i / 32 * 64 + i % 32] & 15) | q[i / 32 * 64 + 32 + i % 32] << 4);
}

static void q4_k(uint8_t *b, const float *x, const float *w)
{
    sg_quant_affine fit;
    sg_quant_fit_affine(&fit, x, w, 8, 32, 15, 63);
    put_u16(b, fit.d);
    put_u16(b + 2, fit.dmin);
    put_k_scales(b + 4, &fit);
    put_k_nibbles(b + 16, fit.q);
}

static void q5_k(uint8_t *b, const float *x, const float *w)
{
    sg_quant_affine fit;
    sg_quant_fit_affine(&fit, x, w, 8, 32, 31, 63);
    put_u16(b, fit.d);
    put_u16(b + 2, fit.dmin);
    put_k_scales(b + 4, &fit);
    memset(b + 16, 0, 32);
    for (int i = 0; i < 256; i++)
        b[16 + i % 32] = (uint8_t)(b[16 + i % 32] | fit.q[i] >> 4 << i / 32);
    put_k_nibbles(b + 48, fit.q);
}

static void q6_k(uint8_t *b, const float *x, const float *w)
{
    sg_quant_scales fit;
    static const sg_quant_grid grid = {-32, 31, false};
    sg_quant_fit_scales(&fit, x, w, 16, 16, &grid, -128, 127);
    memset(b, 0, 192);
    for (int i = 0; i < 256; i++) {
        int q = fit.q[i] + 32, low = i / 128 * 64 + i % 64, high = 128 + i / 128 * 32 + i % 32;
        b[low] = (uint8_t)(b[low] | (q & 15) << 4 * (i % 128 / 64));
        b[high] = (uint8_t)(b[high] | q >> 4 << 2 * (i % 128 / 32));
    }
    memcpy(b + 192, fit.scale, 16);
    put_u16(b + 208, fit.d);
}

static const sg_quant_grid iq4_grid = {-127, 113, true};

static void iq4_nl(uint8_t *b, const float *x, const float *w)
{
    sg_quant_scales fit;
    sg_quant_fit_scales(&fit, x, w, 1, 32, &iq4_grid, 1, 1);
    put_u16(b, fit.d);
    put_nibbles(b + 2, (const uint8_t *)fit.q);
}

static void iq4_xs(uint8_t *b, const float *x, const float *w)
{
    sg_quant_scales fit;
    sg_quant_fit_scales(&fit, x, w, 8, 32, &iq4_grid, -32, 31);
    memset(b, 0, 8);
    put_u16(b, fit.d);
    unsigned high = 0;
    for (int g = 0; g < 8; g++) {
        int s = fit.scale[g] + 32;
        b[4 + g / 2] = (uint8_t)(b[4 + g / 2] | (s & 15) << 4 * (g % 2));
        high |= (unsigned)(s >> 4) << 2 * g;
        put_nibbles(b + 8 + g * 16, (const uint8_t *)fit.q + g * 32);
    }
    put_u16(b + 2, high);
}

/* ---- rows ----------------------------------------------------------------------------------------- */

typedef struct encoder {
    void (*encode)(uint8_t *block, const float *x, const float *w);
    bool searched; /* wants weights always; the others get NULL without importance */
} encoder;

static const encoder encoders[SG_DTYPE_END] = {
    [SG_Q4_0] = {q4_0, false}, [SG_Q4_1] = {q4_1, false},    [SG_Q5_0] = {q5_0, false},    [SG_Q5_1] = {q5_1, false},
    [SG_Q8_0] = {q8_0, false}, [SG_MXFP4] = {mxfp4, false},  [SG_TQ1_0] = {tq1_0, false},  [SG_TQ2_0] = {tq2_0, false},
    [SG_Q2_K] = {q2_k, true},  [SG_Q3_K] = {q3_k, true},     [SG_Q4_K] = {q4_k, true},     [SG_Q5_K] = {q5_k, true},
    [SG_Q6_K] = {q6_k, true},  [SG_IQ4_NL] = {iq4_nl, true}, [SG_IQ4_XS] = {iq4_xs, true},
};

bool sg_quant_can_encode(sg_dtype type)
{
    return (unsigned)type < SG_DTYPE_END && (encoders[type].encode || type == SG_F32 || type == SG_F16 || type == SG_BF16);
}

static void plain_floats(sg_dtype type, uint8_t *dst, const float *src, size_t n)
{
    if (type == SG_F32 && n)
        memcpy(dst, src, n * sizeof *src);
    else
        for (size_t i = 0; i < n; i++)
            put_u16(dst + 2 * i, type == SG_F16 ? sg_f32_to_f16(src[i]) : sg_f32_to_bf16(src[i]));
}

/* Copy n values for an encoder: what is not finite becomes 0; values to search with are cut to where
 * their squares do not overflow (no block format reaches that far). */
static void copy_values(float *x, const float *src, int n, bool searched)
{
    for (int i = 0; i < n; i++) {
        x[i] = isfinite(src[i]) ? src[i] : 0;
        if (searched)
            x[i] = cut(x[i], -1e12f, 1e12f);
    }
}

/* Weights of mean about 1.  Columns that calibration never saw keep a small weight, so that their values
 * are not arbitrary. */
static void copy_weights(float *w, const float *importance, int n)
{
    double sum = 0;
    for (int i = 0; importance && i < n; i++)
        if (importance[i] > 0 && isfinite(importance[i]))
            sum += (double)importance[i];
    for (int i = 0; i < n; i++) {
        bool known = sum > 0 && importance[i] > 0 && isfinite(importance[i]);
        w[i] = sum > 0 ? (known ? (float)((double)importance[i] * n / sum) : 0) + 1e-3f : 1;
    }
}

void sg_quant_encode(sg_dtype type, void *dst, const float *src, size_t nrow, size_t ncol, const float *importance)
{
    SG_ASSERT(sg_quant_can_encode(type));
    const sg_dtype_info *info = sg_dtype_of(type);
    SG_ASSERT(ncol % info->block == 0);
    const encoder *e = &encoders[type];
    uint8_t *b = dst;
    if (!e->encode) {
        plain_floats(type, b, src, nrow * ncol);
        return;
    }
    float x[256], w[256];
    bool weighted = e->searched || importance;
    for (size_t r = 0; r < nrow; r++)
        for (size_t c = 0; c < ncol; c += info->block, b += info->bytes) {
            copy_values(x, src + r * ncol + c, (int)info->block, weighted);
            if (weighted)
                copy_weights(w, importance ? importance + c : NULL, (int)info->block);
            e->encode(b, x, weighted ? w : NULL);
        }
}
