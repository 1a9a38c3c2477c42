/* kernel/probe_amx.c - ceilings with AMX tiles (probe.h). */
#include "kernel/probe.h"

#include "kernel/amx.h"

double sg_probe_amx(sg_probe what, const void *memory, size_t bytes)
{
    enum { TURNS = 100000 };
    if (what != SG_PROBE_BF16 && what != SG_PROBE_INT8)
        return sg_probe_avx512(what, memory, bytes);
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++)
        c.row_bytes[t] = 64, c.rows[t] = 16;
    SG_AMX_CONFIGURE(c);
    /* Not zeros: the clock falls by a fifth when bits change, as they do in a model. */
    _Alignas(64) uint32_t data[2][16][16], seed = 1;
    for (int i = 0; i < 2 * 16 * 16; i++) {
        seed = seed * 1664525 + 1013904223;
        data[i / 256][i / 16 % 16][i % 16] = what == SG_PROBE_INT8 ? seed : (seed & 0x80ff80ff) | 0x3c003c00;
    }
    SG_AMX_LOAD(4, data[0], 64);
    SG_AMX_LOAD(5, data[1], 64);
    for (int i = 0; i < TURNS; i++) {
        if (what == SG_PROBE_INT8)
            __asm__ volatile("tdpbssd %tmm5, %tmm4, %tmm0\n\ttdpbssd %tmm5, %tmm4, %tmm1\n\ttdpbssd %tmm5, %tmm4, "
                             "%tmm2\n\ttdpbssd %tmm5, %tmm4, %tmm3");
        else
            __asm__ volatile("tdpbf16ps %tmm5, %tmm4, %tmm0\n\ttdpbf16ps %tmm5, %tmm4, %tmm1\n\ttdpbf16ps %tmm5, "
                             "%tmm4, %tmm2\n\ttdpbf16ps %tmm5, %tmm4, %tmm3");
    }
    SG_AMX_RELEASE();
    return 2.0 * 4 * TURNS * 16 * 16 * (what == SG_PROBE_INT8 ? 64 : 32);
}
