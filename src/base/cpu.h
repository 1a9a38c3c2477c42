/* base/cpu.h - what the processor can do, and which kernel table is used because of it. */
#ifndef SG_BASE_CPU_H
#define SG_BASE_CPU_H

#include "base/error.h"
#include "base/isa.h"

/* The table to use: what SEGUE_ISA names, or else the best available.  A name that is unknown or not
 * available here is SG_E_ARGUMENT. */
sg_status sg_isa_choose(sg_isa *isa, sg_error *err);

/* CPUs that this process may use: affinity mask and cgroup quota (rounded up), at least 1. */
int sg_cpu_count(void);

/* The processor's name from CPUID, such as "Intel(R) Xeon(R) Processor"; "unknown" when it has none. */
const char *sg_cpu_name(void);

#endif
