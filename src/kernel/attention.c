#include "kernel/attention.h"

const sg_attention_kernel *sg_attention_kernel_find(sg_isa isa)
{
    if (isa == SG_ISA_C)
        return &sg_attention_kernel_c;
    return isa == SG_ISA_AVX2 ? &sg_attention_kernel_avx2 : &sg_attention_kernel_avx512;
}
