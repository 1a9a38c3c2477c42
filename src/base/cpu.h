/* base/cpu.h - what the processor can do, and which kernel table is used because of it. */
#ifndef SG_BASE_CPU_H
#define SG_BASE_CPU_H

#include "base/error.h"

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

/* The table to use: what SEGUE_ISA names, or else the best available.  A name that is unknown or not
 * available here is SG_E_ARGUMENT. */
sg_status sg_isa_choose(sg_isa *isa, sg_error *err);

/* CPUs that this process may use: affinity mask and cgroup quota (rounded up), at least 1. */
int sg_cpu_count(void);

/* The processor's name from CPUID, such as "Intel(R) Xeon(R) Processor"; "unknown" when it has none. */
const char *sg_cpu_name(void);

#endif
