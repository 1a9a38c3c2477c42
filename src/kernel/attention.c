#include "kernel/attention.h"

const sg_attention_kernel *sg_attention_vector_find(sg_isa isa)
{
    if (isa == SG_ISA_C)
        return &sg_attention_kernel_c;
    return isa == SG_ISA_AVX2 ? &sg_attention_kernel_avx2 : &sg_attention_kernel_avx512;
}

const sg_attention_kernel *sg_attention_kernel_find(sg_isa isa, sg_dtype type, int dk, int dv, bool grouped)
{
    if (isa == SG_ISA_AMX && grouped && type != SG_F32 && dk % 16 == 0 && dv % 16 == 0)
        return &sg_attention_kernel_amx;
    return sg_attention_vector_find(isa);
}
