/* kernel/vec.h - a small vocabulary for kernels that are the same on every instruction set: sixteen floats.
 *
 * A kernel body includes this once; which forms it gets is decided by the flags its file is compiled
 * with (AVX-512, AVX2 with FMA and F16C, or plain C).  v16 is one zmm register, two ymm registers, or an
 * array.  Multiply-add is fused on the vector forms and two roundings in plain C, so results of
 * different tables may differ in the last bits; within a table a lane's result depends on that lane's
 * inputs alone.
 */
#ifndef SG_KERNEL_VEC_H
#define SG_KERNEL_VEC_H

#include "base/f16.h"

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define VEC_INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#define VEC_TABLE avx512
enum { VEC_GROUPS = 4 }; /* v16 accumulators side by side that leave room for 6 rows of them */
typedef __m512 v16;

VEC_INLINE v16 v_zero(void) { return _mm512_setzero_ps(); }
VEC_INLINE v16 v_set(float x) { return _mm512_set1_ps(x); }
VEC_INLINE v16 v_load(const float *p) { return _mm512_loadu_ps(p); }
VEC_INLINE void v_store(float *p, v16 a) { _mm512_storeu_ps(p, a); }
VEC_INLINE v16 v_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
VEC_INLINE v16 v_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
VEC_INLINE v16 v_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
VEC_INLINE v16 v_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
VEC_INLINE v16 v_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
VEC_INLINE v16 v_max(v16 a, v16 b) { return _mm512_max_ps(a, b); } /* b when a is a NaN */
VEC_INLINE v16 v_min(v16 a, v16 b) { return _mm512_min_ps(a, b); }
VEC_INLINE v16 v_round(v16 a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
VEC_INLINE v16 v_scale2(v16 a, v16 n) { return _mm512_scalef_ps(a, n); } /* a * 2^n, n whole */
VEC_INLINE v16 v_load_f16(const uint16_t *p) { return _mm512_cvtph_ps(_mm256_loadu_si256((const void *)p)); }
VEC_INLINE void v_store_f16(uint16_t *p, v16 a)
{
    _mm256_storeu_si256((void *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VEC_INLINE v16 v_load_bf16(const uint16_t *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)p)), 16));
}
VEC_INLINE v16 v_load_i8(const int8_t *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)p))); }
/* Lanes [a, b) of x, the others from y. */
VEC_INLINE v16 v_select(v16 x, v16 y, int a, int b)
{
    uint32_t m = (b >= 16 ? 0xffffu : (1u << (b < 0 ? 0 : b)) - 1) & ~(a <= 0 ? 0u : a >= 16 ? 0xffffu : (1u << a) - 1);
    return _mm512_mask_blend_ps((__mmask16)m, y, x);
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define VEC_TABLE avx2
enum { VEC_GROUPS = 1 };
typedef struct v16 {
    __m256 a, b;
} v16;

#define VEC_BOTH(e, f) ((v16){(e), (f)})
VEC_INLINE v16 v_zero(void) { return VEC_BOTH(_mm256_setzero_ps(), _mm256_setzero_ps()); }
VEC_INLINE v16 v_set(float x) { return VEC_BOTH(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
VEC_INLINE v16 v_load(const float *p) { return VEC_BOTH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
VEC_INLINE void v_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
VEC_INLINE v16 v_add(v16 x, v16 y) { return VEC_BOTH(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
VEC_INLINE v16 v_sub(v16 x, v16 y) { return VEC_BOTH(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
VEC_INLINE v16 v_mul(v16 x, v16 y) { return VEC_BOTH(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
VEC_INLINE v16 v_div(v16 x, v16 y) { return VEC_BOTH(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
VEC_INLINE v16 v_fma(v16 x, v16 y, v16 z) { return VEC_BOTH(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)); }
VEC_INLINE v16 v_max(v16 x, v16 y) { return VEC_BOTH(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
VEC_INLINE v16 v_min(v16 x, v16 y) { return VEC_BOTH(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
VEC_INLINE v16 v_round(v16 x)
{
    return VEC_BOTH(_mm256_round_ps(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
                    _mm256_round_ps(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VEC_INLINE __m256 vec_pow2(__m256 n)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
VEC_INLINE v16 v_scale2(v16 x, v16 n)
{
    return VEC_BOTH(_mm256_mul_ps(x.a, vec_pow2(n.a)), _mm256_mul_ps(x.b, vec_pow2(n.b)));
}
VEC_INLINE v16 v_load_f16(const uint16_t *p)
{
    return VEC_BOTH(_mm256_cvtph_ps(_mm_loadu_si128((const void *)p)), _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 8))));
}
VEC_INLINE void v_store_f16(uint16_t *p, v16 x)
{
    _mm_storeu_si128((void *)p, _mm256_cvtps_ph(x.a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    _mm_storeu_si128((void *)(p + 8), _mm256_cvtps_ph(x.b, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
VEC_INLINE __m256 vec_bf16(const uint16_t *p)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)p)), 16));
}
VEC_INLINE v16 v_load_bf16(const uint16_t *p) { return VEC_BOTH(vec_bf16(p), vec_bf16(p + 8)); }
VEC_INLINE __m256 vec_i8(const int8_t *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)p))); }
VEC_INLINE v16 v_load_i8(const int8_t *p) { return VEC_BOTH(vec_i8(p), vec_i8(p + 8)); }
VEC_INLINE __m256 vec_within(int a, int b, int from)
{
    __m256i lane = _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(from));
    __m256i in = _mm256_andnot_si256(_mm256_cmpgt_epi32(_mm256_set1_epi32(a), lane), _mm256_cmpgt_epi32(_mm256_set1_epi32(b), lane));
    return _mm256_castsi256_ps(in);
}
VEC_INLINE v16 v_select(v16 x, v16 y, int a, int b)
{
    return VEC_BOTH(_mm256_blendv_ps(y.a, x.a, vec_within(a, b, 0)), _mm256_blendv_ps(y.b, x.b, vec_within(a, b, 8)));
}

#else
#define VEC_TABLE c
enum { VEC_GROUPS = 1 };
typedef struct v16 {
    float f[16];
} v16;

#define VEC_EACH(e)                  \
    v16 r_;                          \
    for (int i = 0; i < 16; i++)     \
        r_.f[i] = (e);               \
    return r_
VEC_INLINE v16 v_set(float x) { VEC_EACH(x); }
VEC_INLINE v16 v_zero(void) { return v_set(0); }
VEC_INLINE v16 v_load(const float *p) { VEC_EACH(p[i]); }
VEC_INLINE void v_store(float *p, v16 x) { memcpy(p, x.f, sizeof x.f); }
VEC_INLINE v16 v_add(v16 x, v16 y) { VEC_EACH(x.f[i] + y.f[i]); }
VEC_INLINE v16 v_sub(v16 x, v16 y) { VEC_EACH(x.f[i] - y.f[i]); }
VEC_INLINE v16 v_mul(v16 x, v16 y) { VEC_EACH(x.f[i] * y.f[i]); }
VEC_INLINE v16 v_div(v16 x, v16 y) { VEC_EACH(x.f[i] / y.f[i]); }
VEC_INLINE v16 v_fma(v16 x, v16 y, v16 z) { VEC_EACH(x.f[i] * y.f[i] + z.f[i]); }
VEC_INLINE v16 v_max(v16 x, v16 y) { VEC_EACH(x.f[i] > y.f[i] ? x.f[i] : y.f[i]); }
VEC_INLINE v16 v_min(v16 x, v16 y) { VEC_EACH(x.f[i] < y.f[i] ? x.f[i] : y.f[i]); }
VEC_INLINE v16 v_round(v16 x) { VEC_EACH((x.f[i] + 12582912.0f) - 12582912.0f); } /* |x| < 2^22 */
VEC_INLINE v16 v_scale2(v16 x, v16 n) { VEC_EACH(x.f[i] * sg_f32_of_bits((uint32_t)((int32_t)n.f[i] + 127) << 23)); }
VEC_INLINE v16 v_load_f16(const uint16_t *p) { VEC_EACH(sg_f16_to_f32(p[i])); }
VEC_INLINE void v_store_f16(uint16_t *p, v16 x)
{
    for (int i = 0; i < 16; i++)
        p[i] = sg_f32_to_f16(x.f[i]);
}
VEC_INLINE v16 v_load_bf16(const uint16_t *p) { VEC_EACH(sg_bf16_to_f32(p[i])); }
VEC_INLINE v16 v_load_i8(const int8_t *p) { VEC_EACH((float)p[i]); }
VEC_INLINE v16 v_select(v16 x, v16 y, int a, int b) { VEC_EACH(i >= a && i < b ? x.f[i] : y.f[i]); }
#endif

/* Sum and largest of the lanes, always in the same order: halves, quarters, ... */
VEC_INLINE float v_hsum(v16 x)
{
    float t[16];
    v_store(t, x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            t[i] += t[i + half];
    return t[0];
}

VEC_INLINE float v_hmax(v16 x)
{
#ifdef __AVX512F__
    return _mm512_reduce_max_ps(x);
#else
    float t[16];
    v_store(t, x);
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++)
            t[i] = t[i] > t[i + half] ? t[i] : t[i + half];
    return t[0];
#endif
}

/* e^x within 2 units in the last place for x <= 88; below -87 it is e^-87.  x = n ln 2 + r with |r| <= ln 2 / 2
 * in two steps (Cody and Waite), e^r by its polynomial. */
VEC_INLINE v16 v_exp(v16 x)
{
    x = v_min(v_max(x, v_set(-87.0f)), v_set(88.0f));
    v16 n = v_round(v_mul(x, v_set(1.44269504f)));
    v16 r = v_fma(n, v_set(-0.693359375f), x);
    r = v_fma(n, v_set(2.12194440e-4f), r);
    v16 p = v_set(1.9875691500e-4f);
    p = v_fma(p, r, v_set(1.3981999507e-3f));
    p = v_fma(p, r, v_set(8.3334519073e-3f));
    p = v_fma(p, r, v_set(4.1665795894e-2f));
    p = v_fma(p, r, v_set(1.6666665459e-1f));
    p = v_fma(p, r, v_set(5.0000001201e-1f));
    p = v_fma(v_mul(p, r), r, v_add(r, v_set(1.0f)));
    return v_scale2(p, n);
}

/* tanh x = 1 - 2 / (e^2x + 1); absolute error about 1e-7. */
VEC_INLINE v16 v_tanh(v16 x)
{
    v16 e = v_exp(v_min(v_add(x, x), v_set(40.0f)));
    return v_sub(v_set(1.0f), v_div(v_set(2.0f), v_add(e, v_set(1.0f))));
}

#endif
