/* kernel/probe.c - the machine's ceilings: choice of a probe, and plain C. */
#include "kernel/probe.h"

/* Independent chains of multiply-adds on 4-float vectors of the compiler. */
static double fp32(void)
{
    enum { TURNS = 500000, CHAINS = 8 };
    typedef float v4 __attribute__((vector_size(16)));
    v4 a[CHAINS], x = {1, 1, 1, 1};
    for (int i = 0; i < CHAINS; i++)
        a[i] = x * (float)i;
    for (int t = 0; t < TURNS; t++)
#pragma GCC unroll 8
        for (int i = 0; i < CHAINS; i++) {
            a[i] = a[i] * x + x;
            __asm__ volatile("" : "+x"(a[i]));
        }
    return 2.0 * 4 * CHAINS * TURNS;
}

static double reading(const void *memory, size_t bytes)
{
    const unsigned long *p = memory;
    unsigned long sum = 0;
    for (size_t i = 0; i < bytes / sizeof *p; i++)
        sum += p[i];
    __asm__ volatile("" ::"r"(sum));
    return (double)bytes;
}

double sg_probe_c(sg_probe what, const void *memory, size_t bytes) { return sg_probe_reads(what) ? reading(memory, bytes) : fp32(); }

double sg_probe_run(sg_isa isa, sg_probe what, const void *memory, size_t bytes)
{
    switch (isa) {
    case SG_ISA_AMX: return sg_probe_amx(what, memory, bytes);
    case SG_ISA_AVX512: return what == SG_PROBE_BF16 && sg_cpu_has_bf16() ? sg_probe_bf16() : sg_probe_avx512(what, memory, bytes);
    case SG_ISA_AVX2: return sg_probe_avx2(what, memory, bytes);
    default: return sg_probe_c(what, memory, bytes);
    }
}
