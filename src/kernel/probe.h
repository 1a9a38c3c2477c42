/* kernel/probe.h - how fast this machine can be: what benchmarks divide by.
 *
 * Each probe does a fixed amount of the cheapest useful work on one thread and returns how much it was.  Run
 * it on all workers at once and divide by the wall time.
 */
#ifndef SG_KERNEL_PROBE_H
#define SG_KERNEL_PROBE_H

#include "base/isa.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum sg_probe {
    SG_PROBE_FP32, /* float32 multiply-adds from registers: operations (two for each multiply-add) */
    SG_PROBE_BF16, /* the same in bfloat16; tables without it: float32 */
    SG_PROBE_INT8, /* the same in int8 with int32 sums */
    SG_PROBE_VNNI, /* the same with VPDPBUSD, where tables of tiles have something faster; others: as SG_PROBE_INT8 */
    SG_PROBE_READ, /* reads of `memory`: bytes; several streams at once where kernels read so */
    SG_PROBE_READ_LONG, /* the same from the first byte to the last, which is faster where caches do not help */
} sg_probe;

static inline bool sg_probe_reads(sg_probe what) { return what == SG_PROBE_READ || what == SG_PROBE_READ_LONG; }

/* One unit of work, some milliseconds long.  `memory` (reads only) is [bytes], a multiple of 1024. */
double sg_probe_run(sg_isa isa, sg_probe what, const void *memory, size_t bytes);

/* The tables' own. */
double sg_probe_c(sg_probe what, const void *memory, size_t bytes);
double sg_probe_avx2(sg_probe what, const void *memory, size_t bytes);
double sg_probe_avx512(sg_probe what, const void *memory, size_t bytes);
double sg_probe_bf16(void); /* AVX512_BF16 */
double sg_probe_amx(sg_probe what, const void *memory, size_t bytes);

#endif
