/* sample/row.h - passes over a whole row of logits.  (Inside sample/.)
 *
 * x[0..n) is the row, w[0..n) are its masses e^((x - most) / t) to seven digits, sum[0..sg_row_nblock(n)) the masses of blocks of
 * SG_ROW_BLOCK, added in double in an order that only n decides: the same bits on every processor.  NaN counts as -INFINITY
 * everywhere.  Nothing here allocates.
 */
#ifndef SG_SAMPLE_ROW_H
#define SG_SAMPLE_ROW_H

#include <stddef.h>
#include <stdint.h>

enum { SG_ROW_BLOCK = 64 };

static inline size_t sg_row_nblock(size_t n) { return n / SG_ROW_BLOCK + (n % SG_ROW_BLOCK != 0); }

/* The largest value; -INFINITY for none. */
float sg_row_largest(const float *x, size_t n);

/* The lowest index of a value; -1 for none. */
int32_t sg_row_find(const float *x, size_t n, float value);

/* The first index from i on with x >= least (NaN never); n for none. */
size_t sg_row_next(const float *x, size_t n, size_t i, float least);

/* Masses and their blocks' sums; returns the total.  `most` is the largest logit, t > 0 the temperature; +INFINITY logits share
 * all the mass. */
double sg_row_mass(float *w, double *sum, const float *x, size_t n, float most, float t);

/* The first index at which the running mass exceeds u; when u was rounded up to the total, the last one that has any. */
int32_t sg_row_draw(const float *w, const double *sum, size_t n, double u);

/* A logit that all of the best `count` tokens reach, and all of the best ones that together have `share` of `total`; little further
 * down than needed where that leaves many.  `most` must be finite.  w NULL: only the number counts. */
float sg_row_cut(const float *x, const float *w, size_t n, float most, size_t count, double share, double total);

#endif
