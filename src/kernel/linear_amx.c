/* kernel/linear_amx.c - linear layers with AMX tiles: block-quantised types in int8.
 *
 *     C [16 rows of x][16 rows of W] int32  =  A [16 rows of x][32 columns]  x  B [8][16 rows of W][4 columns]
 *
 * B is exactly a group of a packed tile after its codes are unpacked to signed bytes (linear_wide.h), A is read
 * in place from the activation rows.  A tile product is exact, so what follows it (convert, times the two
 * scales, add) gives the bits of the AVX-512 kernels, which this table uses for few rows.
 *
 * Where the time goes, in cycles for one group and 16 x 16 results (measured on a Sapphire Rapids server, 3.6 GHz):
 * TDPBSSD 16 and storing C 16, both on port 5; then 48 vector operations (convert, product of scales, fma), for which
 * the fused multiply-add unit of port 5 is closed while tiles are in use: 48 on port 0.  About 65 in all against
 * 88 + 12 with VNNI alone.  C goes through a ring of buffers in the first level cache, so that products run ahead of
 * the sums.  What would help is fewer sums, that is one activation scale for more than 32 columns; it costs accuracy.
 *
 * Rows that are left over below 16 use tiles with fewer rows (the second set of the configuration).  The
 * tile state is released at the end of each call, so that a context switch does not have to save it.
 */
#include "kernel/amx.h"
#include "kernel/linear_wide.h"

enum { AHEAD = 2, RING = 8 };

/* tmm0 C, tmm1 A, tmm2 B for 16 rows; tmm3 C, tmm4 A for the rest. */
/* Tiles for products of `depth` columns, with `rest` rows in the second set (0: none). */
static void configure(int depth, int rest)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 5; t++) {
        bool is_a = t == 1 || t == 4;
        c.row_bytes[t] = (uint16_t)(is_a ? depth : 64);
        c.rows[t] = (uint8_t)(t == 2 ? depth / 4 : t < 2 ? 16 : rest ? rest : 1);
    }
    SG_AMX_CONFIGURE(c);
}

/* Rows of x for a block of up to 16: the first, and the distance to the next. */
typedef struct row_block {
    const uint8_t *x;
    size_t stride;
    size_t d, sx, neg16; /* offsets in a row */
} row_block;

SG_INLINE void issue(bool full, int halves, int32_t (*c)[16][16], const row_block *r, const sg_wide *w, int b0, int g)
{
#pragma GCC unroll 2
    for (int h = 0; h < halves; h++) {
        const uint8_t *a = r->x + (b0 + g) * 32 + h * 16;
        const uint8_t *code = w->code[g][4 * h];
        int32_t(*to)[16] = c[(g * halves + h) % RING];
        SG_AMX_LOAD(2, code, 64);
        if (full) {
            SG_AMX_LOAD(1, a, r->stride);
            SG_AMX_ZERO(0);
            SG_AMX_DOT_INT8(0, 1, 2);
            SG_AMX_STORE(0, to, 64);
        } else {
            SG_AMX_LOAD(4, a, r->stride);
            SG_AMX_ZERO(3);
            SG_AMX_DOT_INT8(3, 4, 2);
            SG_AMX_STORE(3, to, 64);
        }
    }
}

SG_INLINE void collect(int rows, int halves, bool min, __m512 *acc, int32_t (*c)[16][16], const row_block *r,
                       const sg_wide *w, int b0, int g)
{
#pragma GCC unroll 2
    for (int h = 0; h < halves; h++) {
        __m512 scale = _mm512_load_ps(w->scale[g][h]), offset = _mm512_load_ps(w->offset[g][h]);
        const uint8_t *x = r->x + (size_t)(b0 + g) * 4;
#pragma GCC unroll 16
        for (int m = 0; m < rows; m++, x += r->stride) {
            float d = float_at(x + r->d);
            acc[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(c[(g * halves + h) % RING][m])),
                                     _mm512_mul_ps(scale, _mm512_set1_ps(d)), acc[m]);
            if (min) {
                float sx = halves == 2 ? -(float)int_at(x + r->neg16 + (size_t)(4 * (b0 + g) + 4 * h)) * d : float_at(x + r->sx);
                acc[m] = _mm512_fmadd_ps(offset, _mm512_set1_ps(sx), acc[m]);
            }
        }
    }
}

/* `rows` rows with ngroup groups; sums [rows][16] is read and written. */
SG_INLINE void block_rows(bool full, int rows, int halves, bool min, float (*sums)[SG_TILE], const row_block *r,
                          const sg_wide *w, int b0, int ngroup)
{
    _Alignas(64) int32_t c[RING][16][16];
    __m512 acc[16];
#pragma GCC unroll 16
    for (int m = 0; m < 16; m++)
        acc[m] = m < rows ? _mm512_load_ps(sums[m]) : _mm512_setzero_ps();
    for (int g = 0; g < AHEAD && g < ngroup; g++)
        issue(full, halves, c, r, w, b0, g);
    for (int g = 0; g < ngroup; g++) {
        if (g + AHEAD < ngroup)
            issue(full, halves, c, r, w, b0, g + AHEAD);
        collect(rows, halves, min, acc, c, r, w, b0, g);
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; m++)
        _mm512_store_ps(sums[m], acc[m]);
}

/* The rows of one call, in blocks of 16. */
typedef struct row_set {
    const uint8_t *const *x;
    int nrow;
    size_t d, sx, neg16;
} row_set;

#define BLOCKS(halves, min)                                                                                            \
    static __attribute__((noinline)) void full_##halves##_##min(float(*sums)[SG_TILE], const row_block *r,             \
                                                                const sg_wide *w, int b0, int ngroup)                  \
    {                                                                                                                  \
        block_rows(true, 16, halves, min, sums, r, w, b0, ngroup);                                                     \
    }                                                                                                                  \
    static __attribute__((noinline)) void part_##halves##_##min(int rows, float(*sums)[SG_TILE], const row_block *r,   \
                                                                const sg_wide *w, int b0, int ngroup)                  \
    {                                                                                                                  \
        block_rows(false, rows, halves, min, sums, r, w, b0, ngroup);                                                  \
    }                                                                                                                  \
    static void blocks_##halves##_##min(float(*sums)[SG_TILE], const row_set *s, const sg_wide *w, int b0, int ngroup) \
    {                                                                                                                  \
        row_block r = {                                                                                                \
            .stride = s->nrow > 1 ? (size_t)(s->x[1] - s->x[0]) : 64, .d = s->d, .sx = s->sx, .neg16 = s->neg16};      \
        for (int m = 0; m < s->nrow; m += 16) {                                                                        \
            r.x = s->x[m];                                                                                             \
            if (s->nrow - m >= 16)                                                                                     \
                full_##halves##_##min(sums + m, &r, w, b0, ngroup);                                                    \
            else                                                                                                       \
                part_##halves##_##min(s->nrow - m, sums + m, &r, w, b0, ngroup);                                       \
        }                                                                                                              \
    }
BLOCKS(1, 0)
BLOCKS(1, 1)
BLOCKS(2, 0)
BLOCKS(2, 1)

/* How many rows from the first on lie at equal distances, which is what a tile load can read. */
static int evenly_spaced(const uint8_t *const *x, int nrow)
{
    int m = nrow < 2 ? nrow : 2;
    while (m < nrow && x[m] - x[m - 1] == x[1] - x[0])
        m++;
    return m;
}

SG_INLINE void amx_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                       int tile1, int n, int k)
{
    const sg_tile_form f = sg_tile_form_of(type);
    sg_act_q8 a = sg_act_q8_of(x[0], k);
    const char *row = x[0];
    sg_wide w;
    _Alignas(64) float sums[SG_WIDE_ROWS][SG_TILE];
    configure(f.halves == 2 ? 16 : 32, nrow % 16);
    for (int tile = tile0; tile < tile1; tile++)
        for (int m0 = 0; m0 < nrow; m0 += SG_WIDE_ROWS) {
            row_set s = {(const uint8_t *const *)x + m0, nrow - m0 < SG_WIDE_ROWS ? nrow - m0 : SG_WIDE_ROWS,
                         (size_t)((char *)a.d - row), (size_t)((char *)a.sx - row), (size_t)((char *)a.neg16 - row)};
            memset(sums, 0, (size_t)s.nrow * sizeof *sums);
            for (int b0 = 0; b0 < k / 32; b0 += SG_WIDE_GROUPS) {
                int ngroup = k / 32 - b0 < SG_WIDE_GROUPS ? k / 32 - b0 : SG_WIDE_GROUPS;
                sg_wide_unpack(type, true, &w, packed, tile, k, b0, ngroup);
                if (f.halves == 1 && !f.min)
                    blocks_1_0(sums, &s, &w, b0, ngroup);
                else if (f.halves == 1)
                    blocks_1_1(sums, &s, &w, b0, ngroup);
                else if (!f.min)
                    blocks_2_0(sums, &s, &w, b0, ngroup);
                else
                    blocks_2_1(sums, &s, &w, b0, ngroup);
            }
            for (int m = 0; m < s.nrow; m++)
                sg_store_tile_row(out[m0 + m], _mm512_load_ps(sums[m]), tile, n);
        }
    SG_AMX_RELEASE();
}

enum { FEW_ROWS = 15 }; /* at most: the AVX-512 kernel is as fast (kcheck --bench) */

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        for (int m = 0, run; m < nrow; m += run) {                                                                         \
            run = evenly_spaced((const uint8_t *const *)x + m, nrow - m);                                                  \
            if (run <= FEW_ROWS)                                                                                           \
                sg_linear_avx512_find(type, k)->mul(out + m, x + m, run, packed, tile0, tile1, n, k);                      \
            else                                                                                                           \
                amx_mul(type, out + m, x + m, run, packed, tile0, tile1, n, k);                                            \
        }                                                                                                                  \
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
