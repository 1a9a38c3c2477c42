/* kernel/probe_avx512.c - ceilings with AVX-512 and VNNI (probe.h). */
#include "kernel/probe.h"

#include <immintrin.h>

enum { TURNS = 400000, CHAINS = 12 };

#define CHAIN(instruction)                                                                       \
    __m512 a[CHAINS], x = _mm512_set1_ps(0.5f);                                                  \
    _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++) a[i] = _mm512_set1_ps((float)i);   \
    for (int t = 0; t < TURNS; t++)                                                              \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)                                \
            __asm__ volatile(instruction " %1, %1, %0" : "+v"(a[i]) : "v"(x))

static double fp32(void)
{
    CHAIN("vfmadd231ps");
    return 2.0 * 16 * CHAINS * TURNS;
}

static double int8(void)
{
    CHAIN("vpdpbusd");
    return 2.0 * 64 * CHAINS * TURNS;
}

static double reading(const char *p, size_t bytes)
{
    __m512i s = _mm512_setzero_si512(), s2 = s;
    for (size_t i = 0; i < bytes; i += 128) {
        _mm_prefetch(p + i + 4096, _MM_HINT_T0);
        _mm_prefetch(p + i + 4160, _MM_HINT_T0);
        s = _mm512_add_epi32(s, _mm512_loadu_si512(p + i));
        s2 = _mm512_add_epi32(s2, _mm512_loadu_si512(p + i + 64));
    }
    __asm__ volatile("" ::"v"(_mm512_add_epi32(s, s2)));
    return (double)bytes;
}

double sg_probe_avx512(sg_probe what, const void *memory, size_t bytes)
{
    return what == SG_PROBE_READ ? reading(memory, bytes) : what == SG_PROBE_INT8 ? int8() : fp32();
}
