/* kernel/linear_avx512_float.c - AVX-512: linear layers over F32, F16 and BF16 weights.
 *
 * A packed tile is [k][16] weights of the stored type, so one load gives a column of 16 weights, widened to float32
 * without loss and multiplied with one broadcast activation of each row.  A sum takes 256 columns one after another; these sums are
 * added in rising order: fewer roundings follow each other than in one long sum, and the order is the same in every batch.
 *
 *     for a panel of columns        x [rows][columns] copied side by side: rows of x are often a power of two apart
 *         for 2 or 4 tiles          weights of 256 columns are 32 KiB, in the first level cache
 *             for up to 14 rows     28 sums in registers, 28 multiply-adds for 2 + 14 loads
 *
 * Many rows: a panel has 256 columns and half precision weights are widened once for all rows.  Up to 12 rows: a panel has 4096
 * columns, for long reads of memory.  Rows are dealt evenly: 15 are 8 and 7, because few rows leave the adders waiting for each other.
 * The next weights are fetched into the second level cache a share at a time beside all rows: fetched beside the first rows only,
 * they came one after another (two threads, M = 64: 256 GFLOP/s, now 290).
 */
#include "kernel/linear_wide.h"

enum { ROWS = 12, MANY_ROWS = 14, TILES = 32, PIECE = 256, LONG = 4096, MANY_BYTES = PIECE * 4 + 64, FEW_BYTES = LONG * 4 + 64 };

SG_INLINE size_t value_bytes(sg_dtype type) { return type == SG_F32 ? 4 : 2; }
SG_INLINE size_t tile_bytes(sg_dtype type, int k) { return ((size_t)k * SG_TILE * value_bytes(type) + 63) / 64 * 64; }

/* Column i of a tile. */
SG_INLINE __m512 column(sg_dtype type, const uint8_t *tile, int i)
{
    const uint8_t *at = tile + (size_t)i * SG_TILE * value_bytes(type);
    if (type == SG_F32)
        return _mm512_load_ps(at);
    __m256i half = _mm256_load_si256((const __m256i *)(const void *)at);
    return type == SG_F16 ? _mm512_cvtph_ps(half) : _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

/* MB rows, x_bytes apart, with ncol columns of NT tiles, tile_bytes apart; added to sums, or put there when `first`.  Meanwhile
 * weights of fetch_type at `fetch` (NULL: none), fetch_bytes apart, are brought near, a column of 16 for each `every` columns. */
SG_INLINE void rows_of_tiles(sg_dtype type, int NT, int MB, bool first, float (*sums)[SG_WIDE_ROWS][SG_TILE], const uint8_t *tile,
                             size_t bytes, const uint8_t *x, size_t x_bytes, int ncol, sg_dtype fetch_type, const uint8_t *fetch,
                             size_t fetch_bytes, int every)
{
    for (int i0 = 0; i0 < ncol; i0 += PIECE, first = false) {
        int i1 = ncol - i0 < PIECE ? ncol : i0 + PIECE;
        __m512 acc[4][MANY_ROWS];
#pragma GCC unroll 4
        for (int t = 0; t < NT; t++)
#pragma GCC unroll 14
            for (int m = 0; m < MB; m++)
                acc[t][m] = _mm512_setzero_ps();
        for (int i = i0; i < i1; i++) {
            __m512 w[4];
#pragma GCC unroll 4
            for (int t = 0; t < NT; t++) {
                const uint8_t *at = tile + (size_t)t * bytes;
                w[t] = column(type, at, i);
                if (every == 1 && fetch)
                    _mm_prefetch((const char *)fetch + (size_t)t * fetch_bytes + (size_t)i * SG_TILE * value_bytes(fetch_type),
                                 _MM_HINT_T0);
            }
            if (every > 1 && (i & (every - 1)) == 0 && fetch) {
#pragma GCC unroll 4
                for (int t = 0; t < NT; t++)
                    _mm_prefetch((const char *)fetch + (size_t)t * fetch_bytes, _MM_HINT_T1);
                fetch += SG_TILE * value_bytes(fetch_type);
            }
#pragma GCC unroll 14
            for (int m = 0; m < MB; m++) {
                __m512 a = _mm512_set1_ps(float_at(x + (size_t)m * x_bytes + (size_t)i * 4));
#pragma GCC unroll 4
                for (int t = 0; t < NT; t++)
                    acc[t][m] = _mm512_fmadd_ps(w[t], a, acc[t][m]);
            }
        }
#pragma GCC unroll 4
        for (int t = 0; t < NT; t++)
#pragma GCC unroll 14
            for (int m = 0; m < MB; m++)
                _mm512_store_ps(sums[t][m], first ? acc[t][m] : _mm512_add_ps(_mm512_load_ps(sums[t][m]), acc[t][m]));
    }
}

/* Columns [i0, i0 + ncol) of rows of x, `bytes` apart. */
static void copy_rows(uint8_t *to, size_t bytes, const void *const *x, int nrow, int i0, int ncol)
{
    for (int m = 0; m < nrow; m++)
        memcpy(to + (size_t)m * bytes, (const float *)x[m] + i0, (size_t)ncol * sizeof(float));
}

typedef struct float_panel {
    _Alignas(64) uint8_t x[SG_WIDE_ROWS * MANY_BYTES > ROWS * FEW_BYTES ? SG_WIDE_ROWS * MANY_BYTES : ROWS * FEW_BYTES];
} float_panel;

typedef struct float_sums {
    _Alignas(64) float at[TILES][SG_WIDE_ROWS][SG_TILE];
} float_sums;


/* Row by row, because rows of `out` are often far apart and at distances that share cache sets. */
static void store(float *const *out, const float_sums *s, int rows, int tile, int tiles, int n)
{
    for (int m = 0; m < rows; m++)
        for (int t = 0; t < tiles; t++)
            sg_store_tile_row(out[m], _mm512_load_ps(s->at[t][m]), tile + t, n);
}

/* ---- up to 12 rows ------------------------------------------------------------------------------------------------------ */

#define FEW(NT, MB) \
    case MB: rows_of_tiles(type, NT, MB, i0 == 0, sums.at + t, at, bytes, panel.x, FEW_BYTES, ncol, type, at + 1024, bytes, 1); break;

SG_INLINE void few_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const uint8_t *packed, int tile0, int tile1,
                       int n, int k)
{
    const size_t bytes = tile_bytes(type, k);
    float_panel panel;
    float_sums sums;
    for (int t0 = tile0; t0 < tile1; t0 += TILES) {
        int tiles = tile1 - t0 < TILES ? tile1 - t0 : TILES;
        for (int i0 = 0; i0 < k; i0 += LONG) {
            int ncol = k - i0 < LONG ? k - i0 : LONG;
            copy_rows(panel.x, FEW_BYTES, x, nrow, i0, ncol);
            for (int t = 0, step; t < tiles; t += step) {
                const uint8_t *at = packed + (size_t)(t0 + t) * bytes + (size_t)i0 * SG_TILE * value_bytes(type);
                step = nrow <= 6 && tiles - t >= 4 ? 4 : tiles - t >= 2 ? 2 : 1;
                if (step == 4)
                    switch (nrow) {
                        FEW(4, 1)
                        FEW(4, 2)
                        FEW(4, 3)
                        FEW(4, 4)
                        FEW(4, 5)
                        FEW(4, 6)
                    }
                else if (step == 2)
                    switch (nrow) {
                        FEW(2, 1)
                        FEW(2, 2)
                        FEW(2, 3)
                        FEW(2, 4)
                        FEW(2, 5)
                        FEW(2, 6)
                        FEW(2, 7)
                        FEW(2, 8)
                        FEW(2, 9)
                        FEW(2, 10)
                        FEW(2, 11)
                        FEW(2, 12)
                    }
                else /* one row at a time */
                    for (int m = 0; m < nrow; m++)
                        rows_of_tiles(type, 1, 1, i0 == 0, (void *)sums.at[t][m], at, bytes, panel.x + (size_t)m * FEW_BYTES, 0, ncol, type,
                                      NULL, 0, 1);
            }
        }
        store(out, &sums, nrow, t0, tiles, n);
    }
}

/* ---- more rows ----------------------------------------------------------------------------------------------------------- */

#define MANY(MB)                                                                                                              \
    case MB:                                                                                                                  \
        rows_of_tiles(SG_F32, 2, MB, first, (void *)sums[0][m], tile, bytes, x + (size_t)m * MANY_BYTES, MANY_BYTES, ncol, type,      \
                      share, fetch_bytes, every);                                                                             \
        break;

/* All rows of a panel with two tiles (or the second time the first, whose sums nobody reads). */
SG_INLINE void many_rows(sg_dtype type, bool first, float (*sums)[SG_WIDE_ROWS][SG_TILE], const uint8_t *tile, size_t bytes,
                         const uint8_t *x, int nrow, int ncol, const uint8_t *fetch, size_t fetch_bytes)
{
    int left = (nrow + MANY_ROWS - 1) / MANY_ROWS, every = 2, rows;
    while (2 * every <= left)
        every *= 2;
    for (int m = 0, b = 0; m < nrow; m += rows, left--, b++) {
        const uint8_t *share = fetch && b < every ? fetch + (size_t)(b * (PIECE / every) * SG_TILE) * value_bytes(type) : NULL;
        rows = (nrow - m + left - 1) / left;
        switch (rows) {
            MANY(7)
            MANY(8)
            MANY(9)
            MANY(10)
            MANY(11)
            MANY(12)
            MANY(13)
            MANY(14)
        }
    }
}

static __attribute__((noinline)) void many_32(bool first, float (*sums)[SG_WIDE_ROWS][SG_TILE], const uint8_t *tile, size_t bytes,
                                              const uint8_t *x, int nrow, int ncol, const uint8_t *fetch, size_t fetch_bytes)
{
    many_rows(SG_F32, first, sums, tile, bytes, x, nrow, ncol, fetch, fetch_bytes);
}

static __attribute__((noinline)) void many_16(bool first, float (*sums)[SG_WIDE_ROWS][SG_TILE], const uint8_t *tile, size_t bytes,
                                              const uint8_t *x, int nrow, int ncol, const uint8_t *fetch, size_t fetch_bytes)
{
    many_rows(SG_F16, first, sums, tile, bytes, x, nrow, ncol, fetch, fetch_bytes);
}

/* ncol columns of two tiles as float32, [2][PIECE][16]. */
SG_INLINE void widen(sg_dtype type, float (*to)[PIECE][SG_TILE], const uint8_t *tile, size_t bytes, int tiles, int ncol)
{
    for (int t = 0; t < tiles; t++)
        for (int i = 0; i < ncol; i++)
            _mm512_store_ps(to[t][i], column(type, tile + (size_t)t * bytes, i));
}

SG_INLINE void many_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const uint8_t *packed, int tile0, int tile1,
                        int n, int k)
{
    const size_t bytes = tile_bytes(type, k);
    _Alignas(64) float wide[2][PIECE][SG_TILE];
    float_panel panel;
    float_sums sums;
    if (type != SG_F32)
        memset(wide, 0, sizeof wide);
    for (int t0 = tile0; t0 < tile1; t0 += TILES) {
        int tiles = tile1 - t0 < TILES ? tile1 - t0 : TILES;
        for (int i0 = 0; i0 < k; i0 += PIECE) {
            int ncol = k - i0 < PIECE ? k - i0 : PIECE;
            copy_rows(panel.x, MANY_BYTES, x, nrow, i0, ncol);
            for (int t = 0; t < tiles; t += 2) {
                const uint8_t *at = packed + (size_t)(t0 + t) * bytes + (size_t)i0 * SG_TILE * value_bytes(type);
                int both = tiles - t < 2 ? 1 : 2;
                const uint8_t *fetch = tiles - t < 4 ? NULL : at + 2 * bytes;
                if (type == SG_F32) {
                    many_32(i0 == 0, sums.at + t, at, both == 2 ? bytes : 0, panel.x, nrow, ncol, fetch, bytes);
                } else {
                    widen(type, wide, at, bytes, both, ncol);
                    many_16(i0 == 0, sums.at + t, (const uint8_t *)wide, sizeof wide[0], panel.x, nrow, ncol, fetch, bytes);
                }
            }
        }
        store(out, &sums, nrow, t0, tiles, n);
    }
}

SG_INLINE void mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    for (int m = 0, rows; m < nrow; m += rows) {
        rows = nrow - m < SG_WIDE_ROWS ? nrow - m : SG_WIDE_ROWS;
        if (rows <= ROWS)
            few_mul(type, out + m, x + m, rows, packed, tile0, tile1, n, k);
        else
            many_mul(type, out + m, x + m, rows, packed, tile0, tile1, n, k);
    }
}

/* ---- the table ------------------------------------------------------------------------------------------------------------ */

static void pack(sg_dtype type, uint8_t *tile, const uint8_t *stored, int rows, int k)
{
    size_t size = value_bytes(type), row_bytes = (size_t)k * size;
    memset(tile, 0, tile_bytes(type, k));
    for (int i = 0; i < k; i++)
        for (int j = 0; j < rows; j++)
            memcpy(tile + ((size_t)i * SG_TILE + (size_t)j) * size, stored + (size_t)j * row_bytes + (size_t)i * size, size);
}

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return tile_bytes(type, k); }                                                      \
    static void name##_pack(void *t, const void *s, int rows, int k) { pack(type, t, s, rows, k); }                        \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                               \
    }                                                                                                                      \
    static const sg_linear_kernel name = {.act = SG_ACT_F32, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
DEFINE(f32, SG_F32)
DEFINE(f16, SG_F16)
DEFINE(bf16, SG_BF16)

const sg_linear_kernel *sg_linear_avx512_float_find(sg_dtype type)
{
    return type == SG_F32 ? &f32 : type == SG_F16 ? &f16 : type == SG_BF16 ? &bf16 : NULL;
}
