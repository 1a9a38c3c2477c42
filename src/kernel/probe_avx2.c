/* kernel/probe_avx2.c - ceilings with AVX2 (probe.h). */
#include "kernel/probe.h"

#include <immintrin.h>

enum { TURNS = 400000, CHAINS = 12 };

static double fp32(void)
{
    __m256 a[CHAINS];
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm256_set1_ps((float)i);
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            __asm__ volatile("vfmadd231ps %1, %1, %0" : "+x"(a[i]) : "x"(_mm256_set1_ps(0.5f)));
    return 2.0 * 8 * CHAINS * TURNS;
}

/* maddubs, madd, add: 32 products each. */
static double int8(void)
{
    __m256i sum[6], x = _mm256_set1_epi8(1), one = _mm256_set1_epi16(1);
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++)
        sum[i] = _mm256_set1_epi32(i);
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            __asm__ volatile("" : "+x"(x));
            sum[i] = _mm256_add_epi32(sum[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x, x), one));
            __asm__ volatile("" : "+x"(sum[i]));
        }
    return 2.0 * 32 * 6 * TURNS;
}

static double reading(const char *p, size_t bytes)
{
    __m256i s = _mm256_setzero_si256(), s2 = s;
    for (size_t i = 0; i < bytes; i += 128) {
        _mm_prefetch(p + i + 4096, _MM_HINT_T0);
        _mm_prefetch(p + i + 4160, _MM_HINT_T0);
        s = _mm256_add_epi32(s, _mm256_loadu_si256((const void *)(p + i)));
        s2 = _mm256_add_epi32(s2, _mm256_loadu_si256((const void *)(p + i + 32)));
        s = _mm256_add_epi32(s, _mm256_loadu_si256((const void *)(p + i + 64)));
        s2 = _mm256_add_epi32(s2, _mm256_loadu_si256((const void *)(p + i + 96)));
    }
    __asm__ volatile("" ::"x"(_mm256_add_epi32(s, s2)));
    return (double)bytes;
}

double sg_probe_avx2(sg_probe what, const void *memory, size_t bytes)
{
    return sg_probe_reads(what) ? reading(memory, bytes) : what == SG_PROBE_INT8 || what == SG_PROBE_VNNI ? int8() : fp32();
}
