#include "kernel/rows.h"

const sg_row_kernel *sg_row_kernel_find(sg_isa isa)
{
    if (isa == SG_ISA_C)
        return &sg_row_kernel_c;
    return isa == SG_ISA_AVX2 ? &sg_row_kernel_avx2 : &sg_row_kernel_avx512;
}
