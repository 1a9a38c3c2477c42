/* kernel/linear_amx_bf16.c - linear layers with AMX tiles: bfloat16 weights.
 *
 *     C [16 rows of x][16 rows of W] float32  +=  A [16 rows of x][32 columns]  x  B [16][16 rows of W][2 columns]
 *
 * A packed tile is one B tile (1 KiB) after another, 32 columns each, the last one padded with zeros; A is read in
 * place. Activations are two bfloat16 terms (16 bits together), both multiplied with the same B: with one term,
 * encoders are off by 0.01 from their references where 0.002 is allowed; with two there is nothing left to see, but half
 * of the ceiling is the most that can be reached.  Two row blocks and two tiles of W make four C tiles, which stay in the
 * tile registers over all columns:
 *
 *     tmm0 tmm1   rows  0-15 with W tiles 0, 1      tmm4  A of rows  0-15     tmm6 tmm7   B of W tiles 0, 1
 *     tmm2 tmm3   rows 16-31 with W tiles 0, 1      tmm5  A of rows 16-31
 *
 * Sums that wait in memory while other columns or rows are multiplied were tried and are no faster: a stored tile holds up the loads
 * after it, about 1000 cycles for four tiles.
 *
 * An element of C sees the same products in the same order whatever stands beside it, so the bits do not depend on the
 * number of rows: a single row runs through the same instruction.
 */
#include "kernel/amx.h"
#include "kernel/linear_avx512.h"

enum { STEP_BYTES = 1024, ROWS = 32, NEAR_BYTES = 1 << 20 };

/* An odd number of steps: tiles a power of two apart would share a few sets of the caches. */
static size_t tile_bytes(int k) { return (size_t)((k + 31) / 32 | 1) * STEP_BYTES; }

static void pack(void *tile, const void *stored, int rows, int k)
{
    memset(tile, 0, tile_bytes(k));
    for (int j = 0; j < rows; j++)
        for (int i = 0; i < k; i++) {
            size_t to = (size_t)(i / 32) * 512 + (size_t)(i % 32 / 2 * 32 + j * 2 + i % 2);
            memcpy((uint16_t *)tile + to, (const uint8_t *)stored + ((size_t)j * (size_t)k + (size_t)i) * 2, 2);
        }
}

/* Tiles for r0 rows in the first block and r1 in the second (0: none). */
static void configure(int r0, int r1)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 8; t++) {
        c.row_bytes[t] = 64;
        c.rows[t] = (uint8_t)(t >= 6 ? 16 : t < 2 || t == 4 ? r0 : r1 ? r1 : 1);
    }
    SG_AMX_CONFIGURE(c);
}

/* r0 + r1 rows with two tiles (or one twice); c [2][32][16] gets the sums. */
static void block(float (*c)[ROWS][SG_TILE], const uint8_t *x, size_t stride, int r0, bool second, const uint8_t *w0, const uint8_t *w1,
                  int nstep)
{
    const size_t below = (size_t)r0 * stride;
    SG_AMX_ZERO(0);
    SG_AMX_ZERO(1);
    SG_AMX_ZERO(2);
    SG_AMX_ZERO(3);
    for (int s = 0; s < nstep; s++) {
        const uint8_t *a = x + (size_t)s * 64, *rest = a + (size_t)nstep * 64;
        SG_AMX_LOAD(6, w0 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_LOAD(4, a, stride);
        SG_AMX_DOT_BF16(0, 4, 6);
        SG_AMX_LOAD(7, w1 + (size_t)s * STEP_BYTES, 64);
        SG_AMX_DOT_BF16(1, 4, 7);
        SG_AMX_LOAD(4, rest, stride);
        if (second) {
            SG_AMX_LOAD(5, a + below, stride);
            SG_AMX_DOT_BF16(2, 5, 6);
            SG_AMX_DOT_BF16(3, 5, 7);
            SG_AMX_LOAD(5, rest + below, stride);
        }
        SG_AMX_DOT_BF16(0, 4, 6);
        SG_AMX_DOT_BF16(1, 4, 7);
        if (second) {
            SG_AMX_DOT_BF16(2, 5, 6);
            SG_AMX_DOT_BF16(3, 5, 7);
        }
    }
    SG_AMX_STORE(0, c[0][0], 64);
    SG_AMX_STORE(1, c[1][0], 64);
    if (second) {
        SG_AMX_STORE(2, c[0][r0], 64);
        SG_AMX_STORE(3, c[1][r0], 64);
    }
}

/* Rows at equal distances.  They are dealt evenly to pairs of blocks of up to 16: 33 rows are 9, 8, 8 and 8, because a product with one
 * row takes two thirds of the time of one with 16, and a block alone waits for its own sums. */
static void mul_run(float *const *out, const uint8_t *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    _Alignas(64) float c[2][ROWS][SG_TILE];
    size_t stride = nrow > 1 ? (size_t)(x[1] - x[0]) : 64, bytes = tile_bytes(k);
    int nblock = nrow <= 16 ? 1 : (nrow + 31) / 32 * 2, now0 = 0, now1 = 0; /* rows that the tiles are configured for */
    for (int tile = tile0; tile < tile1; tile += 2) {
        const uint8_t *w0 = (const uint8_t *)packed + (size_t)tile * bytes, *w1 = tile + 1 < tile1 ? w0 + bytes : w0;
        for (int m = 0, b = 0, r0, r1; m < nrow; m += r0 + r1, b += 2) {
            int left = nrow - m;
            r0 = (left + nblock - b - 1) / (nblock - b);
            r1 = b + 1 < nblock ? (left - r0 + nblock - b - 2) / (nblock - b - 1) : 0;
            if (r0 != now0 || r1 != now1)
                configure(r0, r1);
            now0 = r0, now1 = r1;
            block(c, x[m], stride, r0, r1 > 0, w0, w1, (k + 31) / 32);
            for (int i = 0; i < r0 + r1; i++)
                for (int t = 0; t < 2 && tile + t < tile1; t++)
                    sg_store_tile_row(out[m + i], _mm512_load_ps(c[t][i]), tile + t, n);
        }
    }
    SG_AMX_RELEASE();
}

static void mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    const uint8_t *const *row = (const uint8_t *const *)x;
    size_t fit = NEAR_BYTES / sg_act_row_bytes(SG_ACT_BF16, k) / ROWS * ROWS;
    int most = fit < ROWS ? ROWS : (int)fit; /* rows that stay in the second level cache while the weights pass */
    for (int m = 0, run; m < nrow; m += run) {
        run = nrow - m < 2 ? nrow - m : 2;
        while (m + run < nrow && run < most && row[m + run] - row[m + run - 1] == row[m + 1] - row[m])
            run++;
        mul_run(out + m, row + m, run, packed, tile0, tile1, n, k);
    }
}

const sg_linear_kernel *sg_linear_amx_bf16_find(sg_dtype type)
{
    static const sg_linear_kernel bf16 = {.act = SG_ACT_BF16, .tile_bytes = tile_bytes, .pack = pack, .mul = mul};
    return type == SG_BF16 ? &bf16 : NULL;
}
