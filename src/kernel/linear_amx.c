/* kernel/linear_amx.c - linear layers with AMX tiles: block-quantised types in int8.
 *
 *     C [16 rows of x][16 rows of W] int32  =  A [16 rows of x][32 columns]  x  B [8][16 rows of W][4 columns]
 *
 * B is exactly a group of a packed tile after its codes are unpacked to signed bytes, A is read from a panel of activations
 * (linear_wide.h).  A tile product is exact, so what follows it gives the bits of the AVX-512 kernels, which this table uses for up
 * to 9 rows, and for Q6_K, whose halves need two products and two stores and come to the same speed.  10 to 15 rows are in
 * linear_amx_few.c, 16 to 76 in linear_amx_some.c.  As there, sums begin at MAGIC, so that they are floats
 * without a conversion: two operations end a row's group, not three.
 *
 * Where the time goes, in ns for one group and 16 x 16 results at 3 GHz (a Sapphire Rapids server): product with both loads 5.5, the
 * store of C 4.7, each of the operations 2 to 4.5.  These add up, they do not overlap: 18.5 with three operations, 16.8 with two and C
 * loaded, 14.3 with two and C cleared.  A step must be a straight line: tests and jumps between tile instructions cost as much as
 * an operation.  In the kernel it is 23 to 25: unpacking, panels and results take the rest (docs/profile.md).
 *
 * A last block of 8 to 15 rows is multiplied as tiles of fewer rows.  Fewer than that go through VPDPBUSD, because a tile product
 * and its store take as long for any number of rows.  The tile state is released at the end of each call, so that a
 * context switch does not have to save it.
 */
#include "kernel/linear_amx.h"

enum { ROWS_MIN = 8 };

/* tmm0 tmm1 C, tmm2 A, tmm3 B for 16 rows; tmm4 tmm5 C, tmm6 A for `rest` rows (0: none). */
static void configure(int rest)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 7; t++) {
        bool is_a = t == 2 || t == 6;
        c.row_bytes[t] = (uint16_t)(is_a ? 32 : 64);
        c.rows[t] = (uint8_t)(t == 3 ? 8 : t < 4 ? 16 : rest ? rest : 1);
    }
    SG_AMX_CONFIGURE(c);
}

/* sg_amx_multiply for a full block; fewer rows have registers of their own.  All of `full`, `odd` are constants where these are inlined. */
SG_INLINE void multiply(bool full, bool odd, const uint8_t *x, const sg_wide *w, int g)
{
    if (full) {
        sg_amx_multiply(odd, w->code[g][0], x + g * 32, SG_PANEL_BYTES);
        return;
    }
    SG_AMX_LOAD(3, w->code[g][0], 64);
    SG_AMX_LOAD(6, x + g * 32, SG_PANEL_BYTES);
    if (odd) {
        SG_AMX_LOAD(5, sg_magic, 64);
        SG_AMX_DOT_INT8(5, 6, 3);
    } else {
        SG_AMX_LOAD(4, sg_magic, 64);
        SG_AMX_DOT_INT8(4, 6, 3);
    }
}

SG_INLINE void put(bool full, bool odd, int32_t (*to)[16])
{
    if (full)
        sg_amx_put(odd, to);
    else if (odd)
        SG_AMX_STORE(5, to, 64);
    else
        SG_AMX_STORE(4, to, 64);
}

SG_INLINE void collect(int rows, int nmin, __m512 *acc, int32_t (*c)[16], const uint8_t *x, const sg_wide *w, int g)
{
    __m512 scale = _mm512_load_ps(w->scale[g][0]), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++) {
        const uint8_t *row = x + m * SG_PANEL_BYTES;
        __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_load_si512(c[m])), scale, base);
        acc[m] = _mm512_fmadd_ps(sum, _mm512_set1_ps(float_at(row + SG_PANEL_D + 4 * g)), acc[m]);
#pragma GCC unroll 2
        for (int i = 0; i < nmin; i++) {
            __m512 sx = _mm512_set1_ps(float_at(row + SG_PANEL_SX + 4 * (nmin * g + i)));
            acc[m] = _mm512_fmadd_ps(_mm512_load_ps(w->offset[g][i]), sx, acc[m]);
        }
    }
}

/* Two products that wait for their sums, and whether the next block's first two are under way. */
typedef struct ring {
    _Alignas(64) int32_t c[2][16][16];
    bool primed;
} ring;

/* `rows` rows with ngroup groups; sums [rows][16] is read (unless `first`) and written.  A step stores the products of the
 * group after its own, starts those of the one after that, and does its own sums meanwhile.  At the end of a full block the steps go on
 * with the block of rows at `next` (NULL: nothing follows; else ngroup is even). */
SG_INLINE void block_rows(bool full, bool fetch, int rows, int nmin, bool first, float (*sums)[SG_TILE], ring *r, const uint8_t *x,
                          const uint8_t *next, const sg_wide *w, int ngroup, sg_fetch f)
{
    __m512 acc[16];
#pragma GCC unroll 16
    for (int m = 0; m < 16; m++)
        acc[m] = m < rows && !first ? _mm512_load_ps(sums[m]) : _mm512_setzero_ps();
    if (!full || !r->primed) {
        multiply(full, false, x, w, 0);
        if (ngroup > 1)
            multiply(full, true, x, w, 1);
        put(full, false, r->c[0]);
    }
    int g = 0;
    for (; g + 3 < ngroup; g += 2) { /* nothing to decide: a jump between tile instructions costs as much as the sums do */
        multiply(full, false, x, w, g + 2);
        put(full, true, r->c[1]);
        if (fetch)
            sg_fetch_group(f, g);
        collect(rows, nmin, acc, r->c[0], x, w, g);
        multiply(full, true, x, w, g + 3);
        put(full, false, r->c[0]);
        if (fetch)
            sg_fetch_group(f, g + 1);
        collect(rows, nmin, acc, r->c[1], x, w, g + 1);
    }
    if (full && next) {
        multiply(full, false, next, w, 0);
        put(full, true, r->c[1]);
        collect(rows, nmin, acc, r->c[0], x, w, g);
        multiply(full, true, next, w, 1);
        put(full, false, r->c[0]);
        collect(rows, nmin, acc, r->c[1], x, w, g + 1);
    } else {
        const int left = ngroup - g; /* 1 to 3 */
        if (left > 1)
            put(full, true, r->c[1]);
        if (left > 2)
            multiply(full, false, x, w, g + 2);
        collect(rows, nmin, acc, r->c[0], x, w, g);
        if (left > 2)
            put(full, false, r->c[0]);
        if (left > 1)
            collect(rows, nmin, acc, r->c[1], x, w, g + 1);
        if (left > 2)
            collect(rows, nmin, acc, r->c[0], x, w, g + 2);
    }
    r->primed = full && next;
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
        _mm512_store_ps(sums[m], acc[m]);
}

typedef void block_fn(bool first, float (*sums)[SG_TILE], ring *r, const uint8_t *x, const uint8_t *next, const sg_wide *w, int rows,
                      int ngroup, sg_fetch f);

#define BLOCK(name, full, fetch, nmin)                                                                                    \
    static __attribute__((noinline)) void name##_##nmin(bool first, float(*sums)[SG_TILE], ring *r, const uint8_t *x,     \
                                                        const uint8_t *next, const sg_wide *w, int rows, int ngroup, sg_fetch f) \
    {                                                                                                                     \
        block_rows(full, fetch, full ? 16 : rows, nmin, first, sums, r, x, next, w, ngroup, f);                           \
    }
#define BLOCKS(nmin) BLOCK(first, true, true, nmin) BLOCK(full, true, false, nmin) BLOCK(part, false, true, nmin)
BLOCKS(0)
BLOCKS(1)
BLOCKS(2)

/* All rows of the panel with one tile. */
SG_INLINE void panel_rows(sg_dtype type, bool first, float (*sums)[SG_TILE], const sg_panel *p, const sg_wide *w, int rows, int ngroup,
                          sg_fetch f)
{
    const int nmin = sg_wide_kind_of(type).nmin;
    block_fn *full = nmin == 0 ? full_0 : nmin == 1 ? full_1 : full_2, *part = nmin == 0 ? part_0 : nmin == 1 ? part_1 : part_2;
    block_fn *start = nmin == 0 ? first_0 : nmin == 1 ? first_1 : first_2;
    ring r;
    int m = 0;
    r.primed = false;
    for (; m + 16 <= rows; m += 16, f.tiles = 0)
        (f.tiles ? start : full)(first, sums + m, &r, p->row[m], m + 32 <= rows && ngroup % 2 == 0 ? p->row[m + 16] : NULL, w, 16,
                                 ngroup, f);
    if (m < rows)
        part(first, sums + m, &r, p->row[m], NULL, w, rows - m, ngroup, f);
}

SG_INLINE void amx_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                       int tile1, int n, int k)
{
    sg_wide w[2];
    sg_panel panel;
    sg_wide_sums sums;
    const int step = sg_wide_step(k);
    for (int m0 = 0; m0 < nrow; m0 += SG_WIDE_ROWS) {
        int rows = nrow - m0 < SG_WIDE_ROWS ? nrow - m0 : SG_WIDE_ROWS, dots = rows % 16 < ROWS_MIN ? rows % 16 : 0, tiled = rows - dots;
        configure(tiled % 16);
        for (int t0 = tile0, tiles; t0 < tile1; t0 += tiles) {
            tiles = tile1 - t0 < sg_wide_tiles(rows) ? tile1 - t0 : sg_wide_tiles(rows);
            for (int b0 = 0; b0 < k / 32; b0 += step) {
                int ngroup = k / 32 - b0 < step ? k / 32 - b0 : step;
                const int nmin = sg_wide_kind_of(type).nmin;
                sg_fetch_first(type, packed, t0, tiles, k, b0, ngroup);
                sg_panel_fill(nmin, 0, panel.row, x + m0, tiled, k, b0, ngroup);
                sg_panel_fill(nmin, 0x80, panel.row + tiled, x + m0 + tiled, dots, k, b0, ngroup);
                for (int t = 0; t < tiles; t += 2) {
                    int ntile = tiles - t < 2 ? 1 : 2;
                    for (int i = 0; i < ntile; i++)
                        sg_wide_unpack(type, dots > 0, &w[i], packed, t0 + t + i, k, b0, ngroup);
                    for (int i = 0; i < ntile; i++)
                        panel_rows(type, b0 == 0, sums.at[t + i], &panel, &w[i], tiled, ngroup,
                                   sg_fetch_of(type, packed, t0 + t + i + 2, t0 + t + i + 2 < tile1, k, b0));
                    if (dots)
                        sg_wide_dot_of(type)(b0 == 0, ntile, sums.at[t][tiled], w, panel.row[tiled], dots, ngroup, (sg_fetch){0});
                }
            }
            sg_wide_store(out + m0, &sums, rows, t0, tiles, n);
        }
    }
    SG_AMX_RELEASE();
}

enum { FEW_ROWS = 15 }; /* at most, where linear_amx_few.c has nothing: the AVX-512 kernel is as fast (kcheck --bench) */

static void mul_few_or_some(sg_dtype type, sg_amx_some_fn *many, float *const *out, const void *const *x, int nrow, const void *packed,
                            int tile0, int tile1, int n, int k)
{
    sg_amx_some_fn *mul = many;
    if (sg_amx_few_find(type, nrow, k))
        mul = sg_amx_few_find(type, nrow, k);
    else if (nrow <= FEW_ROWS || type == SG_Q6_K)
        mul = sg_linear_avx512_find(type, k)->mul;
    else if (sg_amx_some_find(type, x, nrow, k))
        mul = sg_amx_some_find(type, x, nrow, k);
    mul(out, x, nrow, packed, tile0, tile1, n, k);
}

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_many(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        amx_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                           \
    }                                                                                                                      \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        mul_few_or_some(type, name##_many, out, x, nrow, packed, tile0, tile1, n, k);                                      \
    }                                                                                                                      \
    static const sg_linear_kernel name = {.act = SG_ACT_Q8, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
SG_TILE_TYPES(DEFINE)

const sg_linear_kernel *sg_linear_amx_find(sg_dtype type, int k)
{
    static const sg_linear_kernel *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = &name,
        SG_TILE_TYPES(ENTRY)
    };
    (void)k;
    return table[type] ? table[type] : sg_linear_amx_bf16_find(type);
}
