/* base/isa.h - the kernel tables by name.  Apart from base/cpu.h, so that kernels see nothing that changes often: they take minutes to
 * compile. */
#ifndef SG_BASE_ISA_H
#define SG_BASE_ISA_H

#include <stdbool.h>

/* Kernel tables, in rising order of preference. */
typedef enum sg_isa {
    SG_ISA_C,      /* plain C, any machine */
    SG_ISA_AVX2,   /* AVX2, FMA, F16C */
    SG_ISA_AVX512, /* F, BW, VL, DQ and VNNI; BF16 used when there */
    SG_ISA_AMX,    /* the above with BF16, and AMX tiles for int8 and bf16 that the kernel lets us use */
    SG_ISA_END,
} sg_isa;

const char *sg_isa_name(sg_isa isa); /* "c", "avx2", "avx512", "amx" */

/* Whether this machine and kernel run that table (checks CPUID, XCR0, and asks Linux for the AMX state
 * once per process).  Any thread. */
bool sg_isa_available(sg_isa isa);

/* Whether the machine has AVX512_BF16 (always with SG_ISA_AMX). */
bool sg_cpu_has_bf16(void);

#endif
