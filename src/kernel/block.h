/* kernel/block.h - block-quantised weights as small integers, for the packers of kernel tables.
 *
 * Every block type of model files is, in groups of 32 values of a row,
 *
 *     value[i] = scale[h] * (level(code[i])) - min[h],    h = i / 16
 *     level(c) = table ? table[c] : c - zero,    scale[h] = d * sc[h],    min[h] = dmin * mn[h]
 *
 * with unsigned codes, half-float d and dmin, and small integers sc and mn.  Types without halves have
 * sc[0] == sc[1] and mn[0] == mn[1]; types without a minimum have mn = 0.  Pure functions, any thread.
 */
#ifndef SG_KERNEL_BLOCK_H
#define SG_KERNEL_BLOCK_H

#include "base/dtype.h"

/* What a type's blocks have. */
typedef struct sg_block_form {
    uint8_t bits;        /* of a code: 2 to 6 or 8; 0: not a block type */
    uint8_t zero;        /* the code of 0 (without a table) */
    uint8_t group;       /* values that share sc: 32 or 16 */
    bool min;            /* whether mn is used */
    bool nested;         /* sc (and mn) multiply a d shared by 256 values; else sc is 1 and mn 0 or -1 */
    const int8_t *table; /* levels of the codes, or NULL */
} sg_block_form;

typedef struct sg_block {
    uint8_t code[32];
    uint16_t d, dmin; /* half floats; MXFP4: d is the exponent byte E */
    int8_t sc[2], mn[2];
} sg_block;

/* bits is 0 when `type` is not a block type that models run with. */
sg_block_form sg_block_form_of(sg_dtype type);

/* Group b (32 values) of a stored row. */
void sg_block_read(sg_block *out, sg_dtype type, const void *row, int b);

/* The same as floats: levels (signed), scale and min of both halves; products are exact or rounded once. */
void sg_block_levels(int8_t level[32], float scale[2], float min[2], sg_dtype type, const void *row, int b);

#endif
