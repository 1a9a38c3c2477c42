/* format/imatrix.h - importance data for quantising: how large the activations are that meet each column.
 *
 * Two forms, told apart by their first bytes, both written by llama.cpp's imatrix program:
 *
 *     GGUF     tensors NAME.in_sum2 [nmatrix][ncol], sums of squared activations, and NAME.counts [nmatrix]
 *     .dat     i32 number of entries; each: i32 length, name, i32 calls, i32 values, f32 values[]
 *
 * NAME is the name of a weight ("blk.0.attn_q.weight"); a stack of experts has one row for each.
 */
#ifndef SG_FORMAT_IMATRIX_H
#define SG_FORMAT_IMATRIX_H

#include "base/error.h"

typedef struct sg_imatrix sg_imatrix;

/* Read a file of either form.  SG_E_FORMAT names the entry: names, sizes and values (finite, not negative)
 * are checked.  On failure *m is untouched. */
sg_status sg_imatrix_open(sg_imatrix **m, const char *path, sg_error *err);
void sg_imatrix_close(sg_imatrix *m); /* NULL is fine */

size_t sg_imatrix_count(const sg_imatrix *m);

/* The values of a weight, *n of them (columns times matrices), or NULL when there is no entry.  Only
 * their ratios within a matrix mean something.  Any thread. */
const float *sg_imatrix_find(const sg_imatrix *m, const char *name, size_t *n);

#endif
