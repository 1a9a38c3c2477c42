/* kernel/linear_avx2_signs.c - linear layers with AVX2: levels of 8 bits and four rows of x or more.
 *
 * VPMADDUBSW wants one unsigned operand, and neither levels nor activations are.  Giving the activations the signs of the levels costs
 * an operation for each product (linear_avx2.c): product, sign, widening and addition, four for 32 columns and rows.  Here the unsigned
 * operand is |x|, and its sign goes to the weights once for all rows: of four columns of x only the signs matter, and in a vector of
 * [8 rows of W][4 columns] sums of 16 bits are of columns 0, 1 and of columns 2, 3.  The sign of column 0, and that of column 2, is
 * multiplied in where sums are widened anyway (VPMADDWD).  What is left is whether the signs of columns 0 and 1 differ, and those of
 * 2 and 3:
 *
 *     unpacked:  [group][vector of 4 columns][4 versions][4 times 8 rows of W]      columns 1, 3, none or both with the other sign
 *     a row's panel:  |x| [32] | sign [16] (of columns 0, 2, 4, ...) | where the version begins [8] | start | scale
 *
 * Three operations instead of four; loads, five for six operations otherwise, are fewer with two tiles at a time.  The other sign is
 * w ^ -1 = -w - 1, because -128 has no negative; sums begin at what that leaves out, minus the sum of the x that were changed.
 *
 * Unpacking writes four times the bytes.  Up to eight rows (q8_0: twelve) change the weights by a mask in place of it, four rows to a
 * loaded vector: four operations again, but half of them on any port, where a sign is one more for the two ports that multiply (18 of
 * 34, not 26).  The float operations are those of linear_avx2.c, in their order.  Rejected: all 16 versions and no VPMADDWD with signs:
 * 256 stores for 16 rows of W and 32 columns.
 */
#include "kernel/linear_avx2.h"

enum {
    GROUPS = 4,    /* unpacked at a time: 16 KiB; 6 and 8 are no faster */
    MOST_ROWS = 256,
    MOST_TILES = 32,
    VERSION = 128, /* bytes */
    VECTOR = 4 * VERSION,
};

/* 32 columns of a row. */
typedef struct panel {
    uint8_t size[32];
    int16_t sign[16];
    uint32_t version[8]; /* few rows: what the weights are changed by */
    int32_t start;
    float d;
} panel;

/* Groups of two tiles. */
typedef struct versions {
    __m256i at[GROUPS][8][4][4];
    __m256 scale[GROUPS][4], base[GROUPS][4];
} versions;

typedef struct all_sums {
    __m256 at[MOST_TILES / 2][MOST_ROWS][4]; /* of two tiles */
} all_sums;

/* `few`: masks instead of versions, which also turn the tile's codes of 8 bits into levels. */
INLINE void fill_panel(sg_dtype type, bool few, panel *p, const uint8_t *x, act_offsets at, int b0, int ngroup)
{
    const __m256i odd = _mm256_set1_epi16((short)0xff00), level = _mm256_set1_epi8(sg_tile_form_of(type).bits == 8 ? (char)0x80 : 0);
    const __m256i where = _mm256_set1_epi32((int)(((unsigned)-2 * VERSION) << 16 | ((unsigned)-VERSION & 0xffff)));
    for (int g = 0; g < ngroup; g++, p++) {
        const __m256i q = load32(x + (size_t)(b0 + g) * 32), first = _mm256_slli_epi16(q, 8);
        const __m256i differ = _mm256_srai_epi16(_mm256_xor_si256(q, first), 15);
        const __m256i sign = _mm256_or_si256(_mm256_srai_epi16(first, 15), _mm256_set1_epi16(1));
        _mm256_storeu_si256((__m256i *)(void *)p->size, _mm256_abs_epi8(q));
        _mm256_storeu_si256((__m256i *)(void *)p->sign, sign);
        const __m256i mask = _mm256_xor_si256(_mm256_and_si256(differ, odd), level);
        _mm256_storeu_si256((__m256i *)(void *)p->version, few ? mask : _mm256_madd_epi16(differ, where));
        __m256i change = _mm256_madd_epi16(_mm256_and_si256(_mm256_srai_epi16(q, 8), differ), _mm256_set1_epi16(-1));
        __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(change), _mm256_extracti128_si256(change, 1));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
        sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
        p->start = MAGIC + _mm_cvtsi128_si32(sum);
        p->d = float_at(x + at.d + (size_t)(4 * (b0 + g)));
    }
}

/* Groups of tile `half` of a pair. */
INLINE void unpack(sg_dtype type, versions *to, int half, const uint8_t *tile, int k, int b0, int ngroup)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *planes = tile + sg_tile_meta_bytes(type, k);
    const __m256i table = table_of(type), odd = _mm256_set1_epi32(0x0000ff00), odd3 = _mm256_set1_epi32((int)0xff000000);
    for (int g = 0; g < ngroup; g++) {
        const uint8_t *plane = planes + (size_t)(b0 + g) * (size_t)f.plane_bytes;
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m256i(*at)[4] = to->at[g][v];
            const __m256i w[2] = {codes(type, plane, v, table), codes(type, plane + 32, v, table)};
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
#pragma GCC unroll 2
                for (int p = 0; p < 2; p++) { /* a line together */
                    __m256i other = i & 1 ? _mm256_xor_si256(w[p], odd) : w[p];
                    _mm256_store_si256(&at[i][2 * half + p], i & 2 ? _mm256_xor_si256(other, odd3) : other);
                }
        }
        for (int p = 0; p < 2; p++) {
            to->scale[g][2 * half + p] = scale_of(type, tile, b0 + g, 0, p);
            to->base[g][2 * half + p] = base_of(to->scale[g][2 * half + p]);
        }
    }
}

/* One row of x: `np` times 8 rows of W. */
INLINE void one_row(int np, __m256 *sums, const versions *w, const panel *x, int ngroup)
{
    __m256 acc[4];
    for (int p = 0; p < np; p++)
        acc[p] = sums[p];
    for (int g = 0; g < ngroup; g++, x++) {
        __m256i dot[4];
#pragma GCC unroll 4
        for (int p = 0; p < np; p++)
            dot[p] = _mm256_set1_epi32(x->start);
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            const uint8_t *at = (const uint8_t *)w->at[g] + x->version[v];
            __asm__("" : "+r"(at)); /* one register, or the front end has more to do; v is added by operands, not by LEA on their ports */
            const __m256i size = _mm256_set1_epi32(int_at(x->size + 4 * v));
            const __m256i sign = _mm256_set1_epi32(int_at((const uint8_t *)x->sign + 4 * v));
#pragma GCC unroll 4
            for (int p = 0; p < np; p++) {
                dot[p] = _mm256_add_epi32(dot[p], _mm256_madd_epi16(_mm256_maddubs_epi16(size, load32(at + v * VECTOR + 32 * p)), sign));
                IN_ORDER(dot[p]);
            }
        }
        const __m256 d = _mm256_set1_ps(x->d);
#pragma GCC unroll 4
        for (int p = 0; p < np; p++)
            acc[p] = _mm256_fmadd_ps(_mm256_fmadd_ps(_mm256_castsi256_ps(dot[p]), w->scale[g][p], w->base[g][p]), d, acc[p]);
    }
    for (int p = 0; p < np; p++)
        sums[p] = acc[p];
}

static __attribute__((noinline)) void rows_of_two(__m256 (*sums)[4], const versions *w, const panel *x, int nrow, int ngroup,
                                                  ahead next)
{
    for (int m = 0; m < nrow; m++) {
        fetch_share(&next, m, m + 1, nrow);
        one_row(4, sums[m], w, x + m * ngroup, ngroup);
    }
}

static __attribute__((noinline)) void rows_of_one(__m256 (*sums)[4], const versions *w, const panel *x, int nrow, int ngroup)
{
    for (int m = 0; m < nrow; m++)
        one_row(2, sums[m], w, x + m * ngroup, ngroup);
}

/* Rows of x, MOST_ROWS at most, times tiles [tile0, tile0 + ntile), MOST_TILES at most. */
INLINE void mul_block(sg_dtype type, all_sums *sums, const uint8_t *const *x, int nrow, const uint8_t *packed, int tile0, int ntile, int k)
{
    const int all = k / 32, turns = (all + GROUPS - 1) / GROUPS, step = (all + turns - 1) / turns;
    const act_offsets at = act_offsets_of(x[0], k);
    const size_t bytes = sg_tile_bytes(type, k);
    panel rows[MOST_ROWS * GROUPS];
    versions w;
    for (int t = 0; t < ntile; t += 2)
        memset(sums->at[t / 2], 0, (size_t)nrow * sizeof sums->at[0][0]);
    for (int b0 = 0; b0 < all; b0 += step) {
        const int ngroup = all - b0 < step ? all - b0 : step;
        for (int m = 0; m < nrow; m++)
            fill_panel(type, false, rows + m * ngroup, x[m], at, b0, ngroup);
        for (int t = 0; t < ntile; t += 2) {
            const uint8_t *tile = packed + (size_t)(tile0 + t) * bytes;
            const bool more = t + 3 < ntile, end = b0 + step >= all;
            const ahead next = ahead_of(type, packed + (size_t)(tile0 + (more ? t + 2 : 0)) * bytes, k, more ? b0 : b0 + step,
                                        more || !end ? ngroup : 0, ntile > 1 ? 2 : 1);
            unpack(type, &w, 0, tile, k, b0, ngroup);
            if (t + 1 < ntile) {
                unpack(type, &w, 1, tile + bytes, k, b0, ngroup);
                rows_of_two(sums->at[t / 2], &w, rows, nrow, ngroup, next);
            } else {
                rows_of_one(sums->at[t / 2], &w, rows, nrow, ngroup);
            }
        }
    }
}

INLINE void mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k)
{
    all_sums sums;
    for (int m0 = 0; m0 < nrow; m0 += MOST_ROWS)
        for (int tile = tile0; tile < tile1; tile += MOST_TILES) {
            const int rows = nrow - m0 < MOST_ROWS ? nrow - m0 : MOST_ROWS, ntile = tile1 - tile < MOST_TILES ? tile1 - tile : MOST_TILES;
            mul_block(type, &sums, (const uint8_t *const *)x + m0, rows, packed, tile, ntile, k);
            for (int m = 0; m < rows; m++)
                for (int t = 0; t < ntile; t++)
                    store_row(out[m0 + m], sums.at[t / 2][m][t % 2 * 2], sums.at[t / 2][m][t % 2 * 2 + 1], tile + t, n);
        }
}

/* ---- few rows ------------------------------------------------------------------------------------------- */

enum { FEW_GROUPS = 160, FEW_TILES = 32 }; /* as many columns as most layers have: a tile is read from end to end */

/* Groups [b0, b0 + ngroup) of one tile, MB rows of x; x[m * FEW_GROUPS] are row m's panels.  The first rows fetch the tile. */
INLINE void masked_rows(sg_dtype type, int MB, __m256 (*sums)[2], const panel *x, const uint8_t *tile, int k, int b0, int ngroup,
                        bool first)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const __m256i table = table_of(type);
    const uint8_t *plane = tile + sg_tile_meta_bytes(type, k) + (size_t)b0 * (size_t)f.plane_bytes;
    for (int g = 0; g < ngroup; g++, x++, plane += f.plane_bytes) {
        __m256i dot[4][2];
        for (int z = 0; z < f.plane_bytes && first; z += 64)
            _mm_prefetch((const char *)plane + 2048 + z, _MM_HINT_T0);
        for (int m = 0; m < MB; m++)
            dot[m][0] = dot[m][1] = _mm256_set1_epi32(x[m * FEW_GROUPS].start);
#pragma GCC unroll 8
        for (int v = 0; v < 8; v++) {
            __m256i w[2];
            for (int p = 0; p < 2; p++)
                w[p] = f.bits == 8 ? load32(plane + v * 64 + 32 * p) : codes(type, plane + 32 * p, v, table);
            IN_ORDER(w[0]);
            IN_ORDER(w[1]);
#pragma GCC unroll 4
            for (int m = 0; m < MB; m++) {
                const panel *at = x + m * FEW_GROUPS;
                const __m256i mask = _mm256_set1_epi32((int)at->version[v]), size = _mm256_set1_epi32(int_at(at->size + 4 * v));
                const __m256i sign = _mm256_set1_epi32(int_at((const uint8_t *)at->sign + 4 * v));
#pragma GCC unroll 2
                for (int p = 0; p < 2; p++) {
                    __m256i pair = _mm256_maddubs_epi16(size, _mm256_xor_si256(mask, w[p]));
                    dot[m][p] = _mm256_add_epi32(dot[m][p], _mm256_madd_epi16(pair, sign));
                    IN_ORDER(dot[m][p]);
                }
            }
        }
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) {
            const __m256 scale = scale_of(type, tile, b0 + g, 0, p), base = base_of(scale);
#pragma GCC unroll 4
            for (int m = 0; m < MB; m++) {
                __m256 sum = _mm256_fmadd_ps(_mm256_castsi256_ps(dot[m][p]), scale, base);
                sums[m][p] = _mm256_fmadd_ps(sum, _mm256_set1_ps(x[m * FEW_GROUPS].d), sums[m][p]);
            }
        }
    }
}

#define MASKED(type)                                                                                                                    \
    static __attribute__((noinline)) void masked_##type(__m256 (*sums)[2], const panel *x, int nrow, const uint8_t *tile, int k,        \
                                                        int b0, int ngroup)                                                             \
    {                                                                                                                                   \
        for (int m = 0; m < nrow; m += 4) {                                                                                             \
            switch (nrow - m) {                                                                                                         \
            case 1: masked_rows(type, 1, sums + m, x + m * FEW_GROUPS, tile, k, b0, ngroup, m == 0); break;                             \
            case 2: masked_rows(type, 2, sums + m, x + m * FEW_GROUPS, tile, k, b0, ngroup, m == 0); break;                             \
            case 3: masked_rows(type, 3, sums + m, x + m * FEW_GROUPS, tile, k, b0, ngroup, m == 0); break;                             \
            default: masked_rows(type, 4, sums + m, x + m * FEW_GROUPS, tile, k, b0, ngroup, m == 0); break;                            \
            }                                                                                                                           \
        }                                                                                                                               \
    }
typedef void masked_fn(__m256 (*sums)[2], const panel *x, int nrow, const uint8_t *tile, int k, int b0, int ngroup);
MASKED(SG_Q8_0)
MASKED(SG_IQ4_NL)
MASKED(SG_IQ4_XS)

/* Rows of x, SG_AVX2_SIGNS_FEW at most, times tiles [tile0, tile0 + ntile), FEW_TILES at most. */
INLINE void few_block(sg_dtype type, masked_fn *run, float *const *out, const uint8_t *const *x, int nrow, const uint8_t *packed, int tile0,
                      int ntile, int n, int k)
{
    const act_offsets at = act_offsets_of(x[0], k);
    const size_t bytes = sg_tile_bytes(type, k);
    __m256 sums[FEW_TILES][SG_AVX2_SIGNS_FEW][2];
    panel rows[SG_AVX2_SIGNS_FEW * FEW_GROUPS];
    for (int t = 0; t < ntile; t++)
        memset(sums[t], 0, (size_t)nrow * sizeof sums[t][0]);
    for (int b0 = 0, all = k / 32; b0 < all; b0 += FEW_GROUPS) {
        const int ngroup = all - b0 < FEW_GROUPS ? all - b0 : FEW_GROUPS;
        for (int m = 0; m < nrow; m++)
            fill_panel(type, true, rows + m * FEW_GROUPS, x[m], at, b0, ngroup);
        for (int t = 0; t < ntile; t++)
            run(sums[t], rows, nrow, packed + (size_t)(tile0 + t) * bytes, k, b0, ngroup);
    }
    for (int m = 0; m < nrow; m++)
        for (int t = 0; t < ntile; t++)
            store_row(out[m], sums[t][m][0], sums[t][m][1], tile0 + t, n);
}

void sg_linear_avx2_mul_signs_few(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0,
                                  int tile1, int n, int k)
{
    const uint8_t *const *rows = (const uint8_t *const *)x;
    for (int tile = tile0; tile < tile1; tile += FEW_TILES) {
        const int ntile = tile1 - tile < FEW_TILES ? tile1 - tile : FEW_TILES;
        if (type == SG_Q8_0)
            few_block(SG_Q8_0, masked_SG_Q8_0, out, rows, nrow, packed, tile, ntile, n, k);
        else if (type == SG_IQ4_NL)
            few_block(SG_IQ4_NL, masked_SG_IQ4_NL, out, rows, nrow, packed, tile, ntile, n, k);
        else
            few_block(SG_IQ4_XS, masked_SG_IQ4_XS, out, rows, nrow, packed, tile, ntile, n, k);
    }
}

void sg_linear_avx2_mul_signs(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                              int n, int k)
{
    if (type == SG_Q8_0)
        mul(SG_Q8_0, out, x, nrow, packed, tile0, tile1, n, k);
    else if (type == SG_IQ4_NL)
        mul(SG_IQ4_NL, out, x, nrow, packed, tile0, tile1, n, k);
    else
        mul(SG_IQ4_XS, out, x, nrow, packed, tile0, tile1, n, k);
}
