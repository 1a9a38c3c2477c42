/* kernel/linear.c - choice of a kernel, and the forms of activations.
 *
 * A table is a find function; a type that it leaves out is looked for in the table below, down to plain
 * C, which has every type.  All tables share the layout of activations (linear.h), so a kernel of a lower
 * table works on rows that a higher one has quantised.
 */
#include "kernel/linear.h"

#include "base/error.h"

const sg_linear_kernel *sg_linear_kernel_find(sg_isa isa, sg_dtype type, int k)
{
    const sg_linear_kernel *kernel = NULL;
    if (isa >= SG_ISA_AMX && (kernel = sg_linear_amx_find(type, k)))
        return kernel;
    if (isa >= SG_ISA_AVX512 && (kernel = sg_linear_avx512_find(type, k)))
        return kernel;
    if (isa >= SG_ISA_AVX2 && (kernel = sg_linear_avx2_find(type, k)))
        return kernel;
    return sg_linear_c_find(type, k);
}

size_t sg_act_row_bytes(sg_act act, int k)
{
    size_t n = k > 0 ? (size_t)k : 1, nb = (n + 31) / 32, line = (nb + 15) / 16;
    size_t lines = 0; /* of 64 bytes */
    switch (act) {
    case SG_ACT_F32: lines = (n + 15) / 16; break;
    case SG_ACT_BF16: lines = nb; break;
    default: lines = (nb + 1) / 2 + 5 * line; break;
    }
    return (lines | 1) * 64;
}

void sg_act_quantize(sg_isa isa, sg_act act, void *dst, const float *x, int k)
{
    if (isa >= SG_ISA_AVX512 && act == SG_ACT_Q8)
        sg_linear_avx512_quantize(dst, x, k);
    else if (isa >= SG_ISA_AVX2 && act == SG_ACT_Q8)
        sg_linear_avx2_quantize(dst, x, k);
    else if (isa >= SG_ISA_AVX512 && act == SG_ACT_BF16)
        sg_linear_avx512_quantize_bf16(dst, x, k);
    else
        sg_linear_c_quantize(act, dst, x, k);
}
