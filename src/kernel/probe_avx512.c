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

/* Four streams at once, as the kernels read four tiles. */
static double reading(const char *p, size_t bytes)
{
    const size_t part = bytes / 4;
    __m512i s[4];
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++)
        s[t] = _mm512_setzero_si512();
    for (size_t i = 0; i < part; i += 64)
#pragma GCC unroll 4
        for (size_t t = 0; t < 4; t++) {
            _mm_prefetch(p + t * part + i + 2048, _MM_HINT_T0);
            s[t] = _mm512_add_epi32(s[t], _mm512_loadu_si512(p + t * part + i));
        }
#pragma GCC unroll 4
    for (int t = 0; t < 4; t++)
        __asm__ volatile("" ::"v"(s[t]));
    return (double)bytes;
}

/* One stream, prefetched: with 400 MB beside a cache of 480 MB 36 GB/s, where four streams got 33 and loads alone 31 (two threads, Sapphire
 * Rapids class); with 100 MB it is the other way round. */
static double reading_long(const char *p, size_t bytes)
{
    enum { AHEAD = 1024 };
    __m512i s[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t i = 0; i < bytes; i += 128) {
        _mm_prefetch(p + i + AHEAD, _MM_HINT_T0);
        s[0] = _mm512_add_epi32(s[0], _mm512_loadu_si512(p + i));
        _mm_prefetch(p + i + AHEAD + 64, _MM_HINT_T0);
        s[1] = _mm512_add_epi32(s[1], _mm512_loadu_si512(p + i + 64));
    }
    __asm__ volatile("" ::"v"(s[0]), "v"(s[1]));
    return (double)bytes;
}

double sg_probe_avx512(sg_probe what, const void *memory, size_t bytes)
{
    if (sg_probe_reads(what))
        return what == SG_PROBE_READ ? reading(memory, bytes) : reading_long(memory, bytes);
    return what == SG_PROBE_INT8 || what == SG_PROBE_VNNI ? int8() : fp32();
}
