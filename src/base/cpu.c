/* base/cpu.c - CPUID and the AMX permission.
 *
 * A feature counts only when the operating system saves its registers too (XCR0).  AMX is asked for
 * once per process: Linux gives tile state only on request, and refuses in some sandboxes.  How many processors
 * and how much memory are ours is for limits.c.
 */
#include "base/cpu.h"

#include "base/limits.h"

#include <cpuid.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const isa_names[SG_ISA_END] = {"c", "avx2", "avx512", "amx"};

const char *sg_isa_name(sg_isa isa) { return isa_names[isa]; }

static bool available[SG_ISA_END];
static bool has_bf16;
static char name[64] = "unknown";
static pthread_once_t once = PTHREAD_ONCE_INIT;

static uint64_t xcr0(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

/* Linux gives the 8 KiB of tile state only to processes that ask (arch_prctl ARCH_REQ_XCOMP_PERM). */
static bool ask_for_tiles(void)
{
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static void brand(void)
{
    unsigned r[12];
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u)
        return;
    for (unsigned i = 0; i < 3; i++)
        __get_cpuid(0x80000002u + i, r + 4 * i, r + 4 * i + 1, r + 4 * i + 2, r + 4 * i + 3);
    memcpy(name, r, 48);
    name[48] = '\0';
    size_t skip = strspn(name, " ");
    memmove(name, name + skip, strlen(name + skip) + 1);
}

static void detect(void)
{
    unsigned a, b, c, d;
    available[SG_ISA_C] = true;
    brand();
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 27)) /* OSXSAVE */
        return;
    uint64_t x = xcr0();
    bool fma = c & 1u << 12, f16c = c & 1u << 29;
    unsigned b7, c7, d7, a71, b71, c71, d71;
    if (!__get_cpuid_count(7, 0, &a, &b7, &c7, &d7))
        return;
    if (!__get_cpuid_count(7, 1, &a71, &b71, &c71, &d71))
        a71 = 0;
    bool avx2 = (x & 6) == 6 && fma && f16c && b7 & 1u << 5;
    bool avx512 = avx2 && (x & 0xe6) == 0xe6 && b7 & 1u << 16 && b7 & 1u << 17 && b7 & 1u << 30 && b7 & 1u << 31 && c7 & 1u << 11;
    bool bf16 = a71 & 1u << 5;
    bool tiles = (x & 0x60000) == 0x60000 && d7 & 1u << 24 && d7 & 1u << 25 && d7 & 1u << 22;
    has_bf16 = avx512 && bf16;
    available[SG_ISA_AVX2] = avx2;
    available[SG_ISA_AVX512] = avx512;
    available[SG_ISA_AMX] = avx512 && bf16 && tiles && ask_for_tiles();
}

bool sg_cpu_has_bf16(void)
{
    pthread_once(&once, detect);
    return has_bf16;
}

bool sg_isa_available(sg_isa isa)
{
    pthread_once(&once, detect);
    return available[isa];
}

sg_status sg_isa_choose(sg_isa *isa, sg_error *err)
{
    const char *want = getenv("SEGUE_ISA");
    if (want && *want) {
        for (int i = 0; i < SG_ISA_END; i++)
            if (strcmp(want, isa_names[i]) == 0) {
                if (!sg_isa_available((sg_isa)i))
                    return sg_fail(err, SG_E_ARGUMENT, "SEGUE_ISA=%s: this machine cannot run it", want);
                *isa = (sg_isa)i;
                return SG_OK;
            }
        return sg_fail(err, SG_E_ARGUMENT, "SEGUE_ISA=%s: unknown; one of c, avx2, avx512, amx", want);
    }
    for (int i = SG_ISA_END - 1; i >= 0; i--)
        if (sg_isa_available((sg_isa)i)) {
            *isa = (sg_isa)i;
            break;
        }
    return SG_OK;
}

const char *sg_cpu_name(void)
{
    pthread_once(&once, detect);
    return name;
}

int sg_cpu_count(void)
{
    sg_limits l;
    sg_limits_read(&l, "");
    return l.cpus;
}

uint64_t sg_memory_available(void)
{
    sg_limits l;
    sg_limits_read(&l, "");
    return l.memory_bytes;
}
