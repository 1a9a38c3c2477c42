/* format/recipe.h - how a tensor is made whose stored bytes are not in GGUF form.  Private to format/.
 *
 * A tensor is a list of parts, one after another in its flat order; a part is a strided view of a stored
 * tensor.  That is enough for everything converters do: concatenating and stacking (many parts), splitting
 * fused matrices (a view that starts later), transposing and reordering the rows of heads for the other
 * rope style (a view with other strides).
 */
#ifndef SG_FORMAT_RECIPE_H
#define SG_FORMAT_RECIPE_H

#include "format/weights.h"

enum { SG_VIEW_DIMS = 5 };

typedef enum sg_recipe_op {
    SG_RECIPE_COPY,    /* values as they are, converted to the tensor's type */
    SG_RECIPE_ADD_ONE, /* v + 1: gemma's norms */
    SG_RECIPE_MXFP4,   /* Hugging Face's blocks and scales to GGUF's 17-byte blocks */
} sg_recipe_op;

/* A strided view, visited with the last dimension fastest.  Units are elements; for MXFP4 blocks of 32. */
typedef struct sg_part {
    const sg_file *file;
    size_t base, bytes; /* where the stored tensor lies in the file */
    sg_dtype type;      /* F32, F16, BF16; MXFP4: 16 bytes a block, the exponents apart */
    const sg_file *file_scales;  /* MXFP4: where the exponents lie, a byte a block */
    size_t scales, scales_bytes;
    uint64_t start;                /* the first unit */
    uint64_t n[SG_VIEW_DIMS];      /* extents, at least 1 */
    uint64_t stride[SG_VIEW_DIMS]; /* in units */
} sg_part;

typedef struct sg_recipe {
    sg_recipe_op op;
    size_t npart;
    sg_part parts[];
} sg_recipe;

void sg_recipe_free(sg_recipe *r);

/* Whether all that a view reaches lies in the stored tensor.  Every part is held against this before it
 * is used; the parts together must have as many values as the tensor. */
bool sg_part_sound(const sg_part *p);

/* Make rows [row, row + nrow) of t, which must exist. */
void sg_recipe_run(const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst);

/* Give the pages of its parts back. */
void sg_recipe_drop(const sg_recipe *r);

#endif
