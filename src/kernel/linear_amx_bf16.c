/* kernel/linear_amx_bf16.c - linear layers with AMX tiles: bfloat16 weights.
 *
 *     C [16 rows of x][16 rows of W] float32  +=  A [16 rows of x][32 columns]  x  B [16][16 rows of W][2 columns]
 *
 * A packed tile is one B tile (1 KiB) after another, 32 columns each, the last one padded with zeros; A is read in
 * place. Activations are two bfloat16 terms (16 bits together), both multiplied with the same B: with one term,
 * encoders are off by 0.01 from their references where 0.002 is allowed; with two there is nothing left to see.  Two
 * row blocks and two tiles of W make four C tiles, which stay in the tile registers over all columns:
 *
 *     tmm0 tmm1   rows  0-15 with W tiles 0, 1      tmm4  A of rows  0-15     tmm6 tmm7   B of W tiles 0, 1
 *     tmm2 tmm3   rows 16-31 with W tiles 0, 1      tmm5  A of rows 16-31
 *
 * An element of C sees the same products in the same order whatever stands beside it, so the bits do not depend on the
 * number of rows: a single row runs through the same instruction.
 */
#include "kernel/amx.h"
#include "kernel/linear_avx512.h"

enum { STEP_BYTES = 1024, ROWS = 32 };

static size_t tile_bytes(int k) { return (size_t)((k + 31) / 32) * STEP_BYTES; }

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

/* Up to 32 rows with two tiles (or one twice); c [2][32][16] gets the sums. */
static void block(float (*c)[ROWS][SG_TILE], const uint8_t *x, size_t stride, bool second, const uint8_t *w0, const uint8_t *w1, int nstep)
{
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
            SG_AMX_LOAD(5, a + 16 * stride, stride);
            SG_AMX_DOT_BF16(2, 5, 6);
            SG_AMX_DOT_BF16(3, 5, 7);
            SG_AMX_LOAD(5, rest + 16 * stride, stride);
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
        SG_AMX_STORE(2, c[0][16], 64);
        SG_AMX_STORE(3, c[1][16], 64);
    }
}

/* Rows at equal distances. */
static void mul_run(float *const *out, const uint8_t *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    _Alignas(64) float c[2][ROWS][SG_TILE];
    size_t stride = nrow > 1 ? (size_t)(x[1] - x[0]) : 64, bytes = tile_bytes(k);
    int now = 0; /* rows that the tiles are configured for */
    for (int tile = tile0; tile < tile1; tile += 2) {
        const uint8_t *w0 = (const uint8_t *)packed + (size_t)tile * bytes, *w1 = tile + 1 < tile1 ? w0 + bytes : w0;
        for (int m0 = 0; m0 < nrow; m0 += ROWS) {
            int rows = nrow - m0 < ROWS ? nrow - m0 : ROWS;
            if (rows != now)
                configure(rows < 16 ? rows : 16, rows < 16 ? 0 : rows - 16);
            now = rows;
            block(c, x[m0], stride, rows > 16, w0, w1, (k + 31) / 32);
            for (int t = 0; t < 2 && tile + t < tile1; t++)
                for (int m = 0; m < rows; m++)
                    sg_store_tile_row(out[m0 + m], _mm512_load_ps(c[t][m]), tile + t, n);
        }
    }
    SG_AMX_RELEASE();
}

static void mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    const uint8_t *const *row = (const uint8_t *const *)x;
    for (int m = 0, run; m < nrow; m += run) {
        run = nrow - m < 2 ? nrow - m : 2;
        while (m + run < nrow && row[m + run] - row[m + run - 1] == row[m + 1] - row[m])
            run++;
        mul_run(out + m, row + m, run, packed, tile0, tile1, n, k);
    }
}

const sg_linear_kernel *sg_linear_amx_bf16_find(sg_dtype type)
{
    static const sg_linear_kernel bf16 = {.act = SG_ACT_BF16, .tile_bytes = tile_bytes, .pack = pack, .mul = mul};
    return type == SG_BF16 ? &bf16 : NULL;
}
