/* kernel/probe_bf16.c - the ceiling of AVX512_BF16 dot products (probe.h). */
#include "kernel/probe.h"

#include <immintrin.h>

double sg_probe_bf16(void)
{
    enum { TURNS = 400000, CHAINS = 12 };
    __m512 a[CHAINS], x = _mm512_setzero_ps();
#pragma GCC unroll 12
    for (int i = 0; i < CHAINS; i++)
        a[i] = _mm512_set1_ps((float)i);
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++)
            __asm__ volatile("vdpbf16ps %1, %1, %0" : "+v"(a[i]) : "v"(x));
    return 2.0 * 32 * CHAINS * TURNS;
}
