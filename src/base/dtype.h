/* base/dtype.h - the element types that a tensor in a file can have.
 *
 * The numbers are GGML's (the file format's), so a GGUF type field is an sg_dtype once it has been
 * looked up.  `block` values share `bytes` bytes; a row is a whole number of blocks.  Layouts:
 * kernel/quant.h.
 */
#ifndef SG_BASE_DTYPE_H
#define SG_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sg_dtype {
    SG_F32 = 0,
    SG_F16 = 1,
    SG_Q4_0 = 2,
    SG_Q4_1 = 3,
    SG_Q5_0 = 6,
    SG_Q5_1 = 7,
    SG_Q8_0 = 8,
    SG_Q8_1 = 9,
    SG_Q2_K = 10,
    SG_Q3_K = 11,
    SG_Q4_K = 12,
    SG_Q5_K = 13,
    SG_Q6_K = 14,
    SG_Q8_K = 15,
    SG_IQ2_XXS = 16,
    SG_IQ2_XS = 17,
    SG_IQ3_XXS = 18,
    SG_IQ1_S = 19,
    SG_IQ4_NL = 20,
    SG_IQ3_S = 21,
    SG_IQ2_S = 22,
    SG_IQ4_XS = 23,
    SG_I8 = 24,
    SG_I16 = 25,
    SG_I32 = 26,
    SG_I64 = 27,
    SG_F64 = 28,
    SG_IQ1_M = 29,
    SG_BF16 = 30,
    SG_TQ1_0 = 34,
    SG_TQ2_0 = 35,
    SG_MXFP4 = 39,
    SG_NVFP4 = 40,
    SG_Q1_0 = 41,
    SG_Q2_0 = 42,
    SG_DTYPE_END = 43,
} sg_dtype;

typedef struct sg_dtype_info {
    const char *name; /* lower case, as the command line takes it: "q4_k" */
    uint32_t block;   /* values in a block */
    uint32_t bytes;   /* bytes of a block */
    bool weight;      /* models may be run with weights of this type */
} sg_dtype_info;

/* NULL when the number is no type that we know. */
const sg_dtype_info *sg_dtype_find(uint32_t number);

/* By name, without regard to case; false when there is none. */
bool sg_dtype_parse(const char *name, sg_dtype *type);

/* The info of a known type. */
static inline const sg_dtype_info *sg_dtype_of(sg_dtype type) { return sg_dtype_find((uint32_t)type); }
static inline const char *sg_dtype_name(sg_dtype type) { return sg_dtype_of(type)->name; }

/* Bytes of a row of n values; 0 when n is not a whole number of blocks. */
size_t sg_dtype_row_bytes(sg_dtype type, uint64_t n);

#endif
