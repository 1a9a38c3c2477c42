/* kernel/attention_amx_softmax.h - scores become probabilities, A tiles of two bfloat16 terms (Q8_0: one).  Private to the attention of
 * the AMX table.
 *
 * With Q8_0 the scales of 32 dimensions of keys multiply the scores of that step, which is kept apart from the others; those of
 * values multiply the probabilities, which become tiles for each 32 dimensions, in one term: they are off by 2^-8 at most, where a value
 * is off by 2^-8 of the largest of 32.
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

/* Probabilities x [64] times the scales of values for 32 dimensions become a row of A tiles of one term, rounded: the values have
 * 8 bits themselves. */
VEC_INLINE void put_scaled(float *to, const v16 *x, const float *scale)
{
    const __m512i half = _mm512_set1_epi32(0x8000);
    __m512i p[4];
    for (int g = 0; g < 4; g++)
        p[g] = _mm512_add_epi32(_mm512_castps_si512(v_mul(x[g], v_load(scale + g * 16))), half);
    _mm512_store_si512(to, pair_high(p[0], p[1]));
    _mm512_store_si512(to + 16, pair_high(p[2], p[3]));
}

/* Scores of query i, its rows from s on, become in their place rows of the A tiles of probabilities: one, or with Q8_0 one for each 32
 * dimensions of values.  With a new maximum the old sums are worth less. */
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
        const float *scale = (const float *)(const void *)((const uint8_t *)c->v + v_tile_bytes(c->dv));
        for (int b = 0; b < c->dv / 32; b++)
            put_scaled(s + b * SCORES, x, scale + b * SG_KV_CHUNK);
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
        for (int b = 0; b < (whole ? c->dv / 32 : 1); b++)
            memset(s + b * SCORES, 0, SG_KV_CHUNK * sizeof *s);
}

#endif
