/* base/dtype.c - the table of element types.  Sizes are those of GGML's file format; types without
 * `weight` can be named and measured but no model runs with them.
 */
#include "base/dtype.h"

#include <string.h>
#include <strings.h>

static const sg_dtype_info table[SG_DTYPE_END] = {
    [SG_F32] = {"f32", 1, 4, true},
    [SG_F16] = {"f16", 1, 2, true},
    [SG_Q4_0] = {"q4_0", 32, 18, true},
    [SG_Q4_1] = {"q4_1", 32, 20, true},
    [SG_Q5_0] = {"q5_0", 32, 22, true},
    [SG_Q5_1] = {"q5_1", 32, 24, true},
    [SG_Q8_0] = {"q8_0", 32, 34, true},
    [SG_Q8_1] = {"q8_1", 32, 36, false},
    [SG_Q2_K] = {"q2_k", 256, 84, true},
    [SG_Q3_K] = {"q3_k", 256, 110, true},
    [SG_Q4_K] = {"q4_k", 256, 144, true},
    [SG_Q5_K] = {"q5_k", 256, 176, true},
    [SG_Q6_K] = {"q6_k", 256, 210, true},
    [SG_Q8_K] = {"q8_k", 256, 292, false},
    [SG_IQ2_XXS] = {"iq2_xxs", 256, 66, false},
    [SG_IQ2_XS] = {"iq2_xs", 256, 74, false},
    [SG_IQ3_XXS] = {"iq3_xxs", 256, 98, false},
    [SG_IQ1_S] = {"iq1_s", 256, 50, false},
    [SG_IQ4_NL] = {"iq4_nl", 32, 18, true},
    [SG_IQ3_S] = {"iq3_s", 256, 110, false},
    [SG_IQ2_S] = {"iq2_s", 256, 82, false},
    [SG_IQ4_XS] = {"iq4_xs", 256, 136, true},
    [SG_I8] = {"i8", 1, 1, false},
    [SG_I16] = {"i16", 1, 2, false},
    [SG_I32] = {"i32", 1, 4, false},
    [SG_I64] = {"i64", 1, 8, false},
    [SG_F64] = {"f64", 1, 8, false},
    [SG_IQ1_M] = {"iq1_m", 256, 56, false},
    [SG_BF16] = {"bf16", 1, 2, true},
    [SG_TQ1_0] = {"tq1_0", 256, 54, false},
    [SG_TQ2_0] = {"tq2_0", 256, 66, false},
    [SG_MXFP4] = {"mxfp4", 32, 17, true},
    [SG_NVFP4] = {"nvfp4", 64, 36, false},
    [SG_Q1_0] = {"q1_0", 128, 18, false},
    [SG_Q2_0] = {"q2_0", 64, 18, false},
};

const sg_dtype_info *sg_dtype_find(uint32_t number)
{
    return number < SG_DTYPE_END && table[number].name ? &table[number] : NULL;
}

bool sg_dtype_parse(const char *name, sg_dtype *type)
{
    for (uint32_t i = 0; i < SG_DTYPE_END; i++)
        if (table[i].name && strcasecmp(table[i].name, name) == 0) {
            *type = (sg_dtype)i;
            return true;
        }
    return false;
}

size_t sg_dtype_row_bytes(sg_dtype type, uint64_t n)
{
    const sg_dtype_info *info = sg_dtype_of(type);
    return n % info->block ? 0 : (size_t)(n / info->block * info->bytes);
}
