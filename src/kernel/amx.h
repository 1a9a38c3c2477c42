/* kernel/amx.h - tile instructions as asm statements with memory clobbers: some compilers let stores to the
 * configuration and to the operands move across their intrinsics.  Tile numbers are literals.
 */
#ifndef SG_KERNEL_AMX_H
#define SG_KERNEL_AMX_H

#include <stddef.h>
#include <stdint.h>

typedef struct sg_amx_config {
    _Alignas(64) uint8_t palette; /* 1 */
    uint8_t start, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} sg_amx_config;

#define SG_AMX_CONFIGURE(config) __asm__ volatile("ldtilecfg %0" ::"m"(config) : "memory")
#define SG_AMX_RELEASE() __asm__ volatile("tilerelease" ::: "memory")
#define SG_AMX_LOAD(t, p, stride) __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t ::"r"(p), "r"((size_t)(stride)) : "memory")
#define SG_AMX_STORE(t, p, stride) __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" ::"r"(p), "r"((size_t)(stride)) : "memory")
#define SG_AMX_ZERO(t) __asm__ volatile("tilezero %%tmm" #t ::: "memory")
#define SG_AMX_DOT_INT8(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")
#define SG_AMX_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c ::: "memory")

#endif
