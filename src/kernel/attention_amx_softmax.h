/* kernel/attention_amx_softmax.h - scores become probabilities in two bfloat16 terms, and these meet the values.  Private to the
 * attention of the AMX table.
 *
 * With Q8_0 the scales of 32 dimensions of keys multiply the scores of that step, which is kept apart from the others; those of
 * values multiply the probabilities, which become tiles for each 32 dimensions.
 *
 * While tiles were used in the last 300 ns, fused multiply-adds of 512 bits go through one port instead of two (measured:
 * docs/profile.md; additions and whole numbers keep both), so the softmax uses few of them.
 */
#ifndef SG_KERNEL_ATTENTION_AMX_SOFTMAX_H
#define SG_KERNEL_ATTENTION_AMX_SOFTMAX_H

#include "kernel/attention_amx_product.h"

/* 2^(x / 16) for x <= 0 and 0 below -2016, relative error 5e-7: whole part by adding a number whose last place is 1, which also has the
 * exponent's 127; sixteenths from a table; the rest is below half a sixteenth and needs two multiply-adds. */
VEC_INLINE v16 exp2_of(v16 x)
{
    static const uint32_t sixteenth[16] = {0x000000, 0x05aac3, 0x0b95c2, 0x11c3d3, 0x1837f0, 0x1ef532, 0x25fed7, 0x2d583f,
                                           0x3504f3, 0x3d08a4, 0x45672a, 0x4e248c, 0x5744fd, 0x60ccdf, 0x6ac0c7, 0x75257d};
    const v16 round = v_set(12582912.0f + 127 * 16);
    const __m512i exponent = _mm512_set1_epi32(0x7f800000);
    v16 n = v_add(x, round), r = _mm512_reduce_ps(x, 0);
    __m512i bits = _mm512_castps_si512(n);
    __m512i part = _mm512_permutexvar_epi32(bits, _mm512_loadu_si512(sixteenth));
    v16 whole = _mm512_castsi512_ps(_mm512_ternarylogic_epi32(part, _mm512_slli_epi32(bits, 19), exponent, 0xf8));
    v16 p = v_mul(r, v_fma(r, v_set(9.3838479e-4f), v_set(4.3324240e-2f)));
    return _mm512_maskz_fmadd_ps(_mm512_cmp_ps_mask(x, v_set(-2016.0f), _CMP_GE_OQ), whole, p, whole);
}

/* What some models do to scores before the mask. */
static inline void bend(const sg_attention_chunk *c, int i, v16 *s)
{
    static const float lane[SG_KV_GROUP] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    for (int g = 0; g < 4; g++) {
        if (c->softcap > 0)
            s[g] = v_mul(v_tanh(v_div(s[g], v_set(c->softcap))), v_set(c->softcap));
        if (c->slope)
            s[g] = v_fma(v_set(c->slope[i]), v_add(v_load(lane), v_set((float)(c->base + g * SG_KV_GROUP))), s[g]);
    }
}

/* Scores of a query, s [64]; Q8_0: s [steps][16][64], each step times its scales [steps][64]. */
VEC_INLINE void scores_of(v16 *x, const float *s, const float *scale, int nstep, const bool whole)
{
    for (int g = 0; g < 4; g++)
        x[g] = whole ? v_mul(v_load(s + g * 16), v_load(scale + g * 16)) : v_load(s + g * 16);
    for (int b = 1; b < nstep && whole; b++)
        for (int g = 0; g < 4; g++)
            x[g] = v_fma(v_load(s + (size_t)b * BLOCK * SG_KV_CHUNK + g * 16), v_load(scale + b * SG_KV_CHUNK + g * 16), x[g]);
}

/* Probabilities of positions i and i + 16 become a pair of a row of the hi tile, cut off, and of the lo tile, rounded. */
VEC_INLINE void put_probabilities(float *to, v16 a, v16 b)
{
    const __m512i half = _mm512_set1_epi32(0x8000);
    __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    __m512i u = _mm512_castps_si512(v_sub(a, _mm512_castsi512_ps(_mm512_and_epi32(x, HIGH))));
    __m512i v = _mm512_castps_si512(v_sub(b, _mm512_castsi512_ps(_mm512_and_epi32(y, HIGH))));
    _mm512_store_si512(to, pair_high(x, y));
    _mm512_store_si512(to + 16, pair_high(_mm512_add_epi32(u, half), _mm512_add_epi32(v, half)));
}

/* Probabilities s [64] times the scales of values for 32 dimensions become a row of the A tiles. */
VEC_INLINE void put_scaled(float *p, const float *s, const float *scale)
{
    put_probabilities(p, v_mul(v_load(s), v_load(scale)), v_mul(v_load(s + 16), v_load(scale + 16)));
    put_probabilities(p + 32, v_mul(v_load(s + 32), v_load(scale + 32)), v_mul(v_load(s + 48), v_load(scale + 48)));
}

/* Scores of query i, its rows from s on, become in the place of the first a row of the A tiles of probabilities, or with Q8_0 plain
 * numbers.  With a new maximum the old sums are worth less. */
VEC_INLINE void soften(const sg_attention_chunk *c, int i, float *s, const bool whole)
{
    const float sixteenths = 16 * 1.44269504f;             /* of an octave */
    const v16 none = v_set(-1e30f), unit = v_set(sixteenths); /* times that it is still a number */
    v16 x[4];
    scores_of(x, s, (const float *)(const void *)((const uint8_t *)c->k + k_tile_bytes(c->dk)), steps_of(c->dk), whole);
    if (c->softcap > 0 || c->slope)
        bend(c, i, x);
    int first = c->first[i], end = c->end[i];
    __mmask64 see = (end >= 64 ? ~0ull : (1ull << end) - 1) & ~((1ull << first) - 1);
    if (see != ~0ull) {
        x[0] = _mm512_mask_blend_ps((__mmask16)see, none, x[0]);
        x[1] = _mm512_mask_blend_ps((__mmask16)(see >> 16), none, x[1]);
        x[2] = _mm512_mask_blend_ps((__mmask16)(see >> 32), none, x[2]);
        x[3] = _mm512_mask_blend_ps((__mmask16)(see >> 48), none, x[3]);
    }
    v16 most = v_max(v_max(x[0], x[1]), v_max(x[2], x[3]));
    float *sum = c->sum + (size_t)i * 16, old = c->most[i];
    if (_mm512_cmp_ps_mask(most, v_set(old), _CMP_GT_OQ)) { /* rare after some chunks */
        float now = _mm512_reduce_max_ps(most);
        v16 keep = old == -FLT_MAX ? v_zero() : exp2_of(v_set((old - now) * sixteenths));
        v_store(sum, v_mul(v_load(sum), keep));
        for (float *acc = c->acc + (size_t)i * (size_t)c->dv, *to = acc + c->dv; acc < to; acc += 16)
            v_store(acc, v_mul(v_load(acc), keep));
        c->most[i] = old = now;
    }
    v16 top = v_set(-old * sixteenths);
    x[0] = exp2_of(v_fma(x[0], unit, top));
    x[1] = exp2_of(v_fma(x[1], unit, top));
    x[2] = exp2_of(v_fma(x[2], unit, top));
    x[3] = exp2_of(v_fma(x[3], unit, top));
    if (whole) {
        for (int g = 0; g < 4; g++)
            v_store(s + g * 16, x[g]);
    } else {
        put_probabilities(s, x[0], x[1]);
        put_probabilities(s + 32, x[2], x[3]);
    }
    v_store(sum, v_add(v_load(sum), v_add(v_add(x[0], x[1]), v_add(x[2], x[3]))));
}

/* Query i's scores become probabilities; of a chunk that it does not see, 0. */
VEC_INLINE void soften_row(const sg_attention_chunk *c, int i, float *s, const bool whole)
{
    if (c->first[i] < c->end[i])
        soften(c, i, s, whole);
    else
        memset(s, 0, SG_KV_CHUNK * sizeof *s);
}

VEC_INLINE void soften_rows_of(const sg_attention_chunk *c, int i0, int nrow, const bool whole)
{
    for (int i = 0; i < nrow; i++)
        soften_row(c, i0 + i, c->s + (size_t)i * SG_KV_CHUNK, whole);
}

static inline void soften_rows(const sg_attention_chunk *c, int i0, int nrow)
{
    if (c->type == SG_Q8_0)
        soften_rows_of(c, i0, nrow, true);
    else
        soften_rows_of(c, i0, nrow, false);
}

/* P x V of the dimensions from d on, in n tiles from v on, joins the block's sums.  Q8_0 has probabilities for each two tiles. */
VEC_INLINE void values_product(const sg_attention_chunk *c, sg_dtype type, int i0, int nrow, int d, const uint8_t *v, size_t v_step, int n)
{
    float *acc = c->acc + (size_t)i0 * (size_t)c->dv + d;
    size_t stride = (size_t)c->dv * sizeof(float);
    if (type != SG_Q8_0) {
        product(acc, stride, true, probabilities_at(c->s), v, v_step, 2, type == SG_F16, n);
        return;
    }
    const float *scale = (const float *)(const void *)((const uint8_t *)c->v + v_tile_bytes(c->dv)) + d / 32 * SG_KV_CHUNK;
    float *p = c->s + (size_t)steps_of(c->dk) * SCORES;
    for (int b = 0; b < n / 2; b++, scale += SG_KV_CHUNK)
        for (int i = 0; i < nrow; i++)
            put_scaled(p + b * SCORES + i * SG_KV_CHUNK, c->s + (size_t)i * SG_KV_CHUNK, scale);
    for (int b = 0; b < n / 2; b++)
        product(acc + b * 32, stride, true, probabilities_at(p + b * SCORES), v + (size_t)b * PAIR, v_step, 2, false, 2);
}

#endif
