/* kernel/linear_c.c - linear layers in plain C: the table that runs anywhere.
 *
 * Written to be read and to be right; the compiler may vectorise it.  Packed forms of a tile of 16 rows:
 *
 *     block types   per group of 32: int8 level[16][32] | float scale[2][16] | float min[2][16]
 *                   (768 bytes; the halves of 16 have scales of their own in Q2_K, Q3_K and Q6_K)
 *     F32 F16 BF16  per column: float w[16]
 *
 * Sums over a half block are exact integers; then  acc += dot * (scale * d)  and  acc -= min * (d * sum)
 * in rising order of halves, for every number of rows.
 */
#include "base/error.h"
#include "base/f16.h"
#include "kernel/block.h"
#include "kernel/linear.h"
#include "kernel/quant.h"

#include <math.h>
#include <string.h>

typedef struct c_block {
    int8_t level[SG_TILE][32];
    float scale[2][SG_TILE], min[2][SG_TILE];
} c_block;

/* ---- activations ------------------------------------------------------------ */

static void quantize_q8(void *dst, const float *x, int k)
{
    sg_act_q8 a = sg_act_q8_of(dst, k);
    int nb = (k + 31) / 32;
    for (int b = 0; b < nb; b++) {
        int n = k - b * 32 < 32 ? k - b * 32 : 32;
        float max = 0;
        bool finite = true;
        for (int i = 0; i < n; i++) {
            float v = fabsf(x[b * 32 + i]);
            finite &= v <= 3.4028235e38f;
            max = v > max ? v : max;
        }
        float inv = finite && max > 1e-30f ? 127 / max : 0;
        int sum[2] = {0, 0};
        for (int i = 0; i < 32; i++) {
            int q = i < n && inv > 0 ? (int)lrintf(x[b * 32 + i] * inv) : 0;
            a.q[b * 32 + i] = (int8_t)q;
            sum[i / 16] += q;
        }
        a.d[b] = finite ? (inv > 0 ? max / 127 : 0) : NAN;
        a.sx[b] = a.d[b] * (float)(sum[0] + sum[1]);
        a.neg[b] = -(sum[0] + sum[1]);
        a.neg16[2 * b] = -sum[0];
        a.neg16[2 * b + 1] = -sum[1];
    }
}

void sg_linear_c_quantize(sg_act act, void *dst, const float *x, int k)
{
    switch (act) {
    case SG_ACT_F32:
        memset((char *)dst + (size_t)(k / 16) * 64, 0, k % 16 ? 64 : 0);
        memcpy(dst, x, (size_t)k * sizeof *x);
        break;
    case SG_ACT_BF16: {
        int n = (k + 31) / 32 * 32;
        uint16_t *y = dst;
        for (int i = 0; i < n; i++)
            y[i] = i < k ? sg_f32_to_bf16(x[i]) : 0;
        break;
    }
    default: quantize_q8(dst, x, k);
    }
}

/* ---- block types -------------------------------------------------------------- */

static size_t block_tile_bytes(int k) { return (size_t)(k / 32) * sizeof(c_block); }

static inline void block_pack(sg_dtype type, void *tile, const void *stored, int rows, int k)
{
    c_block *t = tile;
    size_t row_bytes = sg_dtype_row_bytes(type, (uint64_t)k);
    for (int b = 0; b < k / 32; b++) {
        memset(&t[b], 0, sizeof t[b]);
        for (int j = 0; j < rows; j++) {
            float scale[2], min[2];
            sg_block_levels(t[b].level[j], scale, min, type, (const char *)stored + (size_t)j * row_bytes, b);
            for (int h = 0; h < 2; h++)
                t[b].scale[h][j] = scale[h], t[b].min[h][j] = min[h];
        }
    }
}

/* One row of activations with one tile. */
static void block_row(float acc[SG_TILE], const sg_act_q8 *a, const c_block *tile, int nb)
{
    memset(acc, 0, SG_TILE * sizeof *acc);
    for (int b = 0; b < nb; b++)
        for (int h = 0; h < 2; h++) {
            float d = a->d[b], sx = -(float)a->neg16[2 * b + h] * d;
            for (int j = 0; j < SG_TILE; j++) {
                const int8_t *w = tile[b].level[j] + 16 * h, *x = a->q + b * 32 + 16 * h;
                int dot = 0;
                for (int i = 0; i < 16; i++)
                    dot += w[i] * x[i];
                acc[j] += (float)dot * (tile[b].scale[h][j] * d);
                acc[j] -= tile[b].min[h][j] * sx;
            }
        }
}

static void block_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    for (int t = tile0; t < tile1; t++)
        for (int m = 0; m < nrow; m++) {
            float acc[SG_TILE];
            sg_act_q8 a = sg_act_q8_of(x[m], k);
            block_row(acc, &a, (const c_block *)packed + (size_t)t * (size_t)(k / 32), k / 32);
            int width = n - t * SG_TILE < SG_TILE ? n - t * SG_TILE : SG_TILE;
            memcpy(out[m] + t * SG_TILE, acc, (size_t)width * sizeof *acc);
        }
}

/* ---- floats ----------------------------------------------------------------------- */

static size_t float_tile_bytes(int k) { return (size_t)k * SG_TILE * sizeof(float); }

static inline void float_pack(sg_dtype type, void *tile, const void *stored, int rows, int k)
{
    float *t = tile;
    size_t bytes = sg_dtype_of(type)->bytes;
    for (int i = 0; i < k; i++)
        for (int j = 0; j < SG_TILE; j++) {
            t[(size_t)i * SG_TILE + (size_t)j] = 0;
            if (j < rows)
                sg_quant_decode(type, &t[(size_t)i * SG_TILE + (size_t)j],
                                (const char *)stored + ((size_t)j * (size_t)k + (size_t)i) * bytes, 1);
        }
}

static void float_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    for (int t = tile0; t < tile1; t++)
        for (int m = 0; m < nrow; m++) {
            const float *w = (const float *)packed + (size_t)t * (size_t)k * SG_TILE, *a = x[m];
            float acc[SG_TILE] = {0};
            for (int i = 0; i < k; i++)
                for (int j = 0; j < SG_TILE; j++)
                    acc[j] += a[i] * w[(size_t)i * SG_TILE + (size_t)j];
            int width = n - t * SG_TILE < SG_TILE ? n - t * SG_TILE : SG_TILE;
            memcpy(out[m] + t * SG_TILE, acc, (size_t)width * sizeof *acc);
        }
}

/* ---- the table ---------------------------------------------------------------------- */

#define BLOCK_TYPE(name, type)                                                                                    \
    static void name##_pack(void *t, const void *s, int rows, int k) { block_pack(type, t, s, rows, k); }         \
    static const sg_linear_kernel name = {.act = SG_ACT_Q8, .tile_bytes = block_tile_bytes, .pack = name##_pack, .mul = block_mul};
#define FLOAT_TYPE(name, type)                                                                                    \
    static void name##_pack(void *t, const void *s, int rows, int k) { float_pack(type, t, s, rows, k); }         \
    static const sg_linear_kernel name = {.act = SG_ACT_F32, .tile_bytes = float_tile_bytes, .pack = name##_pack, .mul = float_mul};

BLOCK_TYPE(q4_0, SG_Q4_0)
BLOCK_TYPE(q4_1, SG_Q4_1)
BLOCK_TYPE(q5_0, SG_Q5_0)
BLOCK_TYPE(q5_1, SG_Q5_1)
BLOCK_TYPE(q8_0, SG_Q8_0)
BLOCK_TYPE(q2_k, SG_Q2_K)
BLOCK_TYPE(q3_k, SG_Q3_K)
BLOCK_TYPE(q4_k, SG_Q4_K)
BLOCK_TYPE(q5_k, SG_Q5_K)
BLOCK_TYPE(q6_k, SG_Q6_K)
BLOCK_TYPE(iq4_nl, SG_IQ4_NL)
BLOCK_TYPE(iq4_xs, SG_IQ4_XS)
BLOCK_TYPE(mxfp4, SG_MXFP4)
FLOAT_TYPE(f32, SG_F32)
FLOAT_TYPE(f16, SG_F16)
FLOAT_TYPE(bf16, SG_BF16)

static const sg_linear_kernel *const table[SG_DTYPE_END] = {
    [SG_Q4_0] = &q4_0, [SG_Q4_1] = &q4_1, [SG_Q5_0] = &q5_0, [SG_Q5_1] = &q5_1,     [SG_Q8_0] = &q8_0,     [SG_Q2_K] = &q2_k,
    [SG_Q3_K] = &q3_k, [SG_Q4_K] = &q4_k, [SG_Q5_K] = &q5_k, [SG_Q6_K] = &q6_k,     [SG_IQ4_NL] = &iq4_nl, [SG_IQ4_XS] = &iq4_xs,
    [SG_MXFP4] = &mxfp4, [SG_F32] = &f32, [SG_F16] = &f16,   [SG_BF16] = &bf16,
};

const sg_linear_kernel *sg_linear_c_find(sg_dtype type, int k)
{
    (void)k;
    return table[type];
}
