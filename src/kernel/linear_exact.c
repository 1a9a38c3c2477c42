/* kernel/linear_exact.c - the reference for linear layers.
 *
 * Stored rows are decoded to float32 in pieces; products and sums are float32.  64 partial sums take the
 * columns i, i + 64, ... in rising order and are then added pairwise, so that the compiler can use vectors
 * of any width without changing a bit, and errors grow slowly.  A decoded piece serves 16 rows of x.
 */
#include "kernel/linear.h"
#include "kernel/quant.h"

#include <string.h>

enum { LANES = 64, PIECE = 2048, ROWS = 16 };

static void accumulate(float part[LANES], const float *x, const float *w, int n)
{
    int i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            part[l] += x[i + l] * w[i + l];
    for (int l = 0; i + l < n; l++)
        part[l] += x[i + l] * w[i + l];
}

static float sum(float part[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int l = 0; l < half; l++)
            part[l] += part[l + half];
    return part[0];
}

void sg_linear_exact(float *const *out, const float *const *x, int nrow, const void *stored, sg_dtype type, int j0, int j1, int k)
{
    const sg_dtype_info *info = sg_dtype_of(type);
    size_t row_bytes = sg_dtype_row_bytes(type, (uint64_t)k);
    for (int j = j0; j < j1; j++) {
        const unsigned char *row = (const unsigned char *)stored + (size_t)j * row_bytes;
        for (int m0 = 0; m0 < nrow; m0 += ROWS) {
            int m1 = nrow - m0 < ROWS ? nrow : m0 + ROWS;
            float part[ROWS][LANES], w[PIECE];
            memset(part, 0, sizeof part);
            for (int i = 0; i < k; i += PIECE) {
                int n = k - i < PIECE ? k - i : PIECE;
                sg_quant_decode(type, w, row + (size_t)i / info->block * info->bytes, (size_t)n);
                for (int m = m0; m < m1; m++)
                    accumulate(part[m - m0], x[m] + i, w, n);
            }
            for (int m = m0; m < m1; m++)
                out[m][j] = sum(part[m - m0]);
        }
    }
}
