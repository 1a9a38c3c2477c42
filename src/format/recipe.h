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

/* A strided view.  Its values are visited with the last dimension fastest. */
typedef struct sg_part {
    const sg_file *file;
    size_t base;     /* byte in the file where the stored tensor begins */
    size_t bytes;    /* of the stored tensor */
    size_t scales;   /* MXFP4: byte where the scales begin */
    size_t scales_bytes;
    sg_dtype type;   /* of the stored tensor: F32, F16, BF16; MXFP4: I8 (its bytes) */
    uint64_t start;  /* first element */
    uint64_t n[SG_VIEW_DIMS];      /* extents, 1 when unused; MXFP4: the last one counts blocks */
    int64_t stride[SG_VIEW_DIMS];  /* in elements; MXFP4: in blocks */
} sg_part;

typedef struct sg_recipe {
    sg_recipe_op op;
    size_t npart;
    sg_part parts[];
} sg_recipe;

void sg_recipe_free(sg_recipe *r);

/* Make rows [row, row + nrow) of t. */
sg_status sg_recipe_run(const sg_tensor *t, uint64_t row, uint64_t nrow, void *dst, sg_error *err);

/* Give the pages of its parts back. */
void sg_recipe_drop(const sg_recipe *r);

#endif
