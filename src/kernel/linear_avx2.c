/* kernel/linear_avx2.c - linear layers with AVX2, without VNNI: block-quantised types.
 *
 * The tiles are those of tile.h: vectors of 64 bytes, [16 rows of W][4 columns], here taken as two of 32
 * bytes.  VPMADDUBSW multiplies unsigned codes with signed activations and adds neighbours, giving 16 sums
 * of 16 bits; turning those into sums of 32 bits costs as much as the product, so it waits as long as no
 * sum can overflow.  With |x| <= 127:
 *
 *     codes of 2, 3, 4 bits   15 * 127 * 2 * 8 = 30480      all 8 vectors of a group of 32 columns
 *     5 bits with a minimum   31 * 127 * 2 * 4 = 31496      4 vectors
 *     8 bits, IQ4 levels      128 * 127 * 2    = 32512      1 vector; codes do not fit even once, so the sign
 *                                                           moves to the activation: |w| * (x with w's sign)
 *
 * Where the code of 0 is in the middle, level times activation is smaller than code times activation:
 *
 *     6 bits                  32 * 127 * 2 * 4 = 32512      all 4 vectors of a half
 *     5 bits, MXFP4 (+ 12)    16 * 127 * 2 * 8 = 32512      all 8 vectors of a group
 *
 * Their sums begin at -zero times the sums of the activations that meet in 16 bits.  They may wrap on the way, which VPADDW undoes, and
 * are right at the end.  (One VPMADDUBSW gives at most 63 * 127 * 2 = 16002 and does not saturate.)
 *
 * The sums of a group are exact, the zero code is taken off by the activations' own sum, and the float
 * operations that follow are those of the other tables in the same order, so the bits are theirs as well.  Sums
 * begin at MAGIC, so that they need no conversion (linear_wide.h).
 *
 * Up to eight rows (6 bits: 4) go straight through the packed tile, four at a time.  With more, the codes of a tile are
 * unpacked to bytes once, 640 columns at a time, stay in the first level cache, and serve all rows, two to four at a time, which
 * fetch what is unpacked next; the sums of eight tiles wait in the second level.  Levels of 8 bits have ways of their own from four
 * rows on (linear_avx2_signs.c).
 *
 * All loops take 16 rows of W: an activation that is broadcast serves two products, without which loads hold the additions up.  What a
 * compiler makes of them is worth a look after any change: `objdump -d`, 230 instructions for 4 rows, 4 bits and 32 columns, no stack.
 *
 * Rejected: weights widened to 16 bits and VPMADDWD: as many operations for 32 products (4) as 8-bit levels take here, twice the bytes.
 */
#include "kernel/linear_avx2.h"

/* Nor is what is needed after the products kept in registers before them. */
#define IN_MEMORY(v) __asm__("" : "+m"(v))

enum { ROWS = 4 }; /* rows of x at a time: 8 sums of 16 bits, and operands fit 16 registers */

/* ---- a type's constants ----------------------------------------------------------------------------- */

typedef struct kind {
    int halves; /* groups of 16 have two scales */
    int flush;  /* vectors that 16-bit sums may take; 0: signed levels, one vector */
    int zero;   /* the code of 0 */
    bool min;
    bool fold;  /* the two scales are small integers, multiplied in where sums are widened */
    bool wrap;  /* 16-bit sums begin at -zero times the activations' sums and may wrap on the way */
} kind;

INLINE kind kind_of(sg_dtype type)
{
    sg_tile_form f = sg_tile_form_of(type);
    kind k = {.halves = f.halves, .zero = f.zero, .min = f.min, .fold = f.fold};
    if (type == SG_MXFP4)
        k.flush = 4, k.zero = 12;
    else if (f.bits == 8 || f.table)
        k.flush = 0, k.zero = 0;
    else
        k.flush = f.bits == 5 ? 4 : 8;
    k.wrap = type == SG_MXFP4 || type == SG_Q5_0 || type == SG_Q6_K;
    if (k.wrap)
        k.flush = 8;
    return k;
}

/* ---- sums --------------------------------------------------------------------------------------------- */

/* Rows of x as kernels take them. */
typedef struct acts {
    const uint8_t *const *x;
    act_offsets at;
    const int32_t *start; /* [row][`stride`]: where sums of a half (or of a group) begin, from group b0 on (fill_starts) */
    int stride, b0;
    const uint8_t *const *next; /* rows that are wanted after these */
} acts;

INLINE __m256 row_scale(const acts *r, int m, int b) { return _mm256_set1_ps(float_at(r->x[m] + r->at.d + (size_t)(4 * b))); }

/* Sums of a group that begin at something that depends on x. */
INLINE int starts_of(kind k) { return !k.zero ? 0 : k.halves == 2 && !k.fold ? 2 : 1; }

/* -zero * the sums of columns 4v, 4v + 1 and of 4v + 2, 4v + 3, as a pair of 16 bits for each half or group. */
INLINE void fill_pairs(kind k, int32_t *start, const uint8_t *x, int b0, int ngroup)
{
    const __m256i ones = _mm256_set1_epi8(1), times = _mm256_set1_epi16((short)-k.zero);
    for (int i = 0; i < ngroup; i++) {
        __m256i v = _mm256_mullo_epi16(_mm256_maddubs_epi16(ones, load32(x + (size_t)(b0 + i) * 32)), times);
        v = _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0x4e));
        v = _mm256_add_epi16(v, _mm256_shuffle_epi32(v, 0xb1));
        __m128i low = _mm256_castsi256_si128(v), high = _mm256_extracti128_si256(v, 1);
        if (k.halves == 2)
            _mm_storel_epi64((__m128i *)(void *)(start + 2 * i), _mm_unpacklo_epi32(low, high));
        else
            start[i] = _mm_cvtsi128_si32(_mm_add_epi16(low, high));
    }
}

/* MAGIC - zero * (sum of x) of groups [b0, b0 + ngroup) of a row; with folded scales -4 * sums of both halves as a pair of 16 bits. */
INLINE void fill_starts(kind k, int32_t *start, const uint8_t *x, act_offsets at, int b0, int ngroup)
{
    if (k.wrap) {
        fill_pairs(k, start, x, b0, ngroup);
        return;
    }
    const uint8_t *neg = x + (k.halves == 2 ? at.neg16 + (size_t)(8 * b0) : at.neg + (size_t)(4 * b0));
    const __m256i magic = _mm256_set1_epi32(MAGIC);
    for (int i = 0; i < ngroup * starts_of(k); i += k.fold ? 4 : 8) {
        if (k.fold) {
            __m256i v = load32(neg + 8 * (size_t)i);
            __m128i both = _mm_packs_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
            _mm_storeu_si128((__m128i *)(void *)(start + i), _mm_slli_epi16(both, 2));
        } else {
            __m256i v = _mm256_mullo_epi32(load32(neg + 4 * (size_t)i), _mm256_set1_epi32(k.zero));
            _mm256_storeu_si256((__m256i *)(void *)(start + i), _mm256_add_epi32(v, magic));
        }
    }
}

/* What a half of a group (or all of it) of eight rows of W has beside codes. */
typedef struct ends {
    __m256 scale, base, offset; /* base: -MAGIC * scale */
    __m256i start;              /* of signed levels */
} ends;

/* Codes of a group of 16 rows of W, in two vectors: in memory as bytes, or still packed. */
typedef struct source {
    bool packed;
    const __m256i (*code)[8]; /* not packed: [2][8] */
    const uint8_t *plane;     /* packed */
    sg_dtype type;
    __m256i table;
} source;

INLINE __m256i code_at(source s, int p, int v) { return s.packed ? codes(s.type, s.plane + 32 * p, v, s.table) : s.code[p][v]; }

/* dot += the exact sums of code * x, or of level * x where flush is 0: vector v of [v0, v1), whose 16-bit sums wait in `sum`.
 * `ones`: 16-bit ones, or the rows' scales. */
INLINE void dot_step(kind k, __m256i *sum, __m256i *dot, __m256i ones, __m256i size, __m256i a, int v, int v0, int v1)
{
    __m256i pair = _mm256_maddubs_epi16(size, a);
    if (!k.flush) {
        *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(pair, ones));
        IN_ORDER(*dot);
        return;
    }
    *sum = (v - v0) % k.flush == 0 && !k.wrap ? pair : _mm256_add_epi16(*sum, pair);
    IN_ORDER(*sum);
    if ((v - v0) % k.flush == k.flush - 1 || v == v1 - 1) {
        *dot = _mm256_add_epi32(*dot, _mm256_madd_epi16(*sum, ones));
        IN_ORDER(*dot);
    }
}

/* The end of a half for one row: sums times scales, and what minima add. */
INLINE void end_half(kind k, __m256 *acc, const __m256i *dot, const ends (*e)[2], const acts *r, int m, int b, int h)
{
    __m256 d = row_scale(r, m, b), sx = d;
    if (k.min)
        sx = _mm256_set1_ps(float_at(r->x[m] + r->at.sx + (size_t)(4 * b)));
#pragma GCC unroll 2
    for (int p = 0; p < 2; p++) {
        acc[p] = _mm256_fmadd_ps(_mm256_fmadd_ps(_mm256_castsi256_ps(dot[p]), e[p][h].scale, e[p][h].base), d, acc[p]);
        if (k.min)
            acc[p] = _mm256_fmadd_ps(e[p][h].offset, sx, acc[p]);
    }
}

/* Where sums of row m that depend on x begin. */
INLINE __m256i start_at(kind k, const acts *r, int m, int b, int h)
{
    const int n = starts_of(k);
    return _mm256_set1_epi32(r->start[m * r->stride + (b - r->b0) * n + (n == 2 ? h : 0)]);
}

/* One half of a group's columns, or all of them: 16 rows of W, MB rows of x; e: [p][half]. */
INLINE void half_group(kind k, int MB, __m256 (*acc)[2], source s, const ends (*e)[2], const acts *r, int b, int h)
{
    __m256i dot[ROWS][2], sum[ROWS][2], ones = _mm256_set1_epi16(1);
    const int v0 = h * 4, v1 = k.halves == 2 ? h * 4 + 4 : 8;
    const int first = !k.flush ? v0 : k.flush < v1 - v0 ? v0 + k.flush - 1 : v1 - 1; /* where `dot` is needed */
#pragma GCC unroll 8
    for (int v = v0; v < v1; v++) {
        __m256i w[2] = {code_at(s, 0, v), code_at(s, 1, v)}, size[2] = {w[0], w[1]};
        for (int p = 0; p < 2 && !k.flush; p++)
            size[p] = _mm256_abs_epi8(w[p]);
        IN_ORDER(size[0]);
        IN_ORDER(size[1]);
#pragma GCC unroll 6
        for (int m = 0; m < MB; m++) {
            if (v == v0 && k.wrap)
                sum[m][0] = sum[m][1] = start_at(k, r, m, b, h);
            if (v == first && starts_of(k) && !k.wrap)
                dot[m][0] = dot[m][1] = start_at(k, r, m, b, h);
            else if (v == first)
                dot[m][0] = e[0][h].start, dot[m][1] = e[1][h].start;
            __m256i a = _mm256_set1_epi32(int_at(r->x[m] + (size_t)b * 32 + (size_t)(v * 4)));
#pragma GCC unroll 2
            for (int p = 0; p < 2; p++)
                dot_step(k, &sum[m][p], &dot[m][p], ones, size[p], k.flush ? a : _mm256_sign_epi8(a, w[p]), v, v0, v1);
            if (v + 1 == v1)
                end_half(k, acc[m], dot[m], e, r, m, b, h);
        }
    }
}

/* The scales of a group as 16-bit numbers: of each half twice, and of both as a pair. */
typedef struct small_scales {
    __m256i half[2], pair;
} small_scales;

INLINE small_scales small_scales_of(sg_dtype type, const uint8_t *meta, int b, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *s = meta + (size_t)(b / 8) * (size_t)f.meta_bytes + (f.min ? 64 : 32) + b % 8 * 16 * f.halves * (f.min ? 2 : 1) + p * 8;
    const __m256i low = _mm256_set1_epi32(0xffff);
    __m256i a = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)s));
    __m256i c = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(s + 16)));
    __m256i a0 = _mm256_and_si256(a, low), a1 = _mm256_slli_epi32(a, 16), c0 = _mm256_and_si256(c, low), c1 = _mm256_slli_epi32(c, 16);
    return (small_scales){{_mm256_or_si256(a0, a1), _mm256_or_si256(c0, c1)}, _mm256_or_si256(a0, c1)};
}

/* A whole group of a type whose scales are folded in: 16 rows of W, MB rows of x; e[p][0].scale is what both halves share. */
INLINE void fold_group(kind k, int MB, __m256 (*acc)[2], source s, const small_scales *small, const ends (*e)[2], const acts *r, int b)
{
    __m256i dot[ROWS][2], sum[ROWS][2];
#pragma GCC unroll 8
    for (int v = 0; v < 8; v++) {
        __m256i w[2] = {code_at(s, 0, v), code_at(s, 1, v)};
#pragma GCC unroll 6
        for (int m = 0; m < MB; m++) {
            __m256i a = _mm256_set1_epi32(int_at(r->x[m] + (size_t)b * 32 + (size_t)(v * 4)));
#pragma GCC unroll 2
            for (int p = 0; p < 2; p++) {
                if (v == 3)
                    dot[m][p] = _mm256_set1_epi32(MAGIC);
                if (v == 3 && k.zero) {
                    __m256i neg = _mm256_set1_epi32(r->start[m * r->stride + b - r->b0]);
                    dot[m][p] = _mm256_add_epi32(dot[m][p], _mm256_madd_epi16(neg, small[p].pair));
                }
                dot_step(k, &sum[m][p], &dot[m][p], small[p].half[v / 4], w[p], a, v, v / 4 * 4, v / 4 * 4 + 4);
            }
        }
    }
#pragma GCC unroll 6
    for (int m = 0; m < MB; m++) {
        float dx = float_at(r->x[m] + r->at.d + (size_t)(4 * b));
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) {
            __m256 sum32 = _mm256_fmadd_ps(_mm256_castsi256_ps(dot[m][p]), e[p][0].scale, e[p][0].base);
            acc[m][p] = _mm256_fmadd_ps(sum32, _mm256_set1_ps(dx), acc[m][p]);
            for (int h = 0; k.min && h < 2; h++) {
                float sx = -(float)int_at(r->x[m] + r->at.neg16 + (size_t)(8 * b + 4 * h)) * dx;
                acc[m][p] = _mm256_fmadd_ps(e[p][h].offset, _mm256_set1_ps(sx), acc[m][p]);
            }
        }
    }
}

/* A group: MB rows of x times 16 rows of W. */
INLINE void one_group(kind k, int MB, __m256 (*acc)[2], source s, const small_scales *small, const ends (*e)[2], const acts *r, int b)
{
    if (k.fold) {
        fold_group(k, MB, acc, s, small, e, r, b);
        return;
    }
#pragma GCC unroll 2
    for (int h = 0; h < k.halves; h++)
        half_group(k, MB, acc, s, e, r, b, h);
}

/* What 256 columns of nested types share, [p]. */
typedef struct shared {
    __m256 d[2], minus_min[2];
} shared;

INLINE void shared_of(sg_dtype type, shared *to, const uint8_t *tile, int b)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *at = tile + (size_t)(b / 8) * (size_t)f.meta_bytes;
    for (int p = 0; p < 2; p++) {
        to->d[p] = load_half(at + p * 16);
        to->minus_min[p] = f.min ? _mm256_xor_ps(load_half(at + 32 + p * 16), _mm256_set1_ps(-0.0f)) : to->d[p];
    }
}

/* What group b of eight rows of W ends with: [halves]; `of`: of its 256 columns. */
INLINE void ends_of(sg_dtype type, ends *e, const shared *of, const uint8_t *tile, int b, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *small = tile + (size_t)(b / 8) * (size_t)f.meta_bytes + (f.min ? 64 : 32) + p * 8;
    small += b % 8 * 16 * f.halves * (f.min ? 2 : 1);
#pragma GCC unroll 2
    for (int h = 0; h < f.halves; h++) {
        if (f.nested)
            e[h].scale = f.fold ? of->d[p] : _mm256_mul_ps(of->d[p], load_int8(small + h * 16));
        else
            e[h].scale = scale_of(type, tile, b, h, p);
        e[h].base = base_of(e[h].scale);
        if (f.min && f.nested)
            e[h].offset = _mm256_mul_ps(of->minus_min[p], load_int8(small + 16 * f.halves + h * 16));
        else
            e[h].offset = f.min ? offset_of(type, tile, b, h, p) : e[h].scale;
        e[h].start = _mm256_set1_epi32(MAGIC);
    }
}

/* Rows at most: straight from the tile, in passes of up to four, they cost less than unpacking to memory first; six bits are too much work
 * to unpack twice, and signed levels have a better way from four rows on.  (kcheck --bench avx2) */
INLINE int few_of(sg_dtype type)
{
    return !kind_of(type).flush ? 3 : sg_tile_form_of(type).bits == 6 ? 4 : 8;
}

/* How many of the `left` rows come next: three, whose sums stay in registers over all groups, or four where that leaves no single row. */
static int next_rows(int left)
{
    if (left <= 2)
        return left;
    return left % 3 == 1 || (left % 3 == 2 && left >= 8) ? 4 : 3;
}

/* ---- few rows ------------------------------------------------------------------------------------------ */

enum { SMALL_GROUPS = 1024, SMALL_ROWS = 8 }; /* rows whose sums begin at something */

/* One tile with MB rows; acc[m][p] belongs to rows 8p to 8p + 7 of W. */
INLINE void small_tile(sg_dtype type, int MB, __m256 (*acc)[2], const acts *r, const uint8_t *tile, int k)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const kind kd = kind_of(type);
    const uint8_t *planes = tile + sg_tile_meta_bytes(type, k);
    for (int m = 0; m < MB; m++)
        acc[m][0] = acc[m][1] = _mm256_setzero_ps();
    shared of = {0};
    for (int b = 0; b < k / 32; b++) {
        if (f.nested && b % 8 == 0)
            shared_of(type, &of, tile, b);
        IN_MEMORY(of);
        const source s = {.packed = true, .plane = planes + (size_t)b * (size_t)f.plane_bytes, .type = type, .table = table_of(type)};
        for (int z = 0; z < f.plane_bytes; z += 64)
            _mm_prefetch((const char *)s.plane + 2048 + z, _MM_HINT_T0);
        ends e[2][2];
        small_scales small[2];
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) {
            ends_of(type, e[p], &of, tile, b, p);
            if (f.fold)
                small[p] = small_scales_of(type, tile, b, p);
        }
        IN_MEMORY(e);
        if (f.fold)
            IN_MEMORY(small);
        one_group(kd, MB, acc, s, small, (const ends (*)[2])e, r, b);
    }
}

#define SMALL(MB)                                                                                      \
    case MB: {                                                                                         \
        __m256 acc[ROWS][2];                                                                           \
        small_tile(type, MB, acc, &r, tile_at, k);                                                     \
        for (int i = 0; i < MB; i++)                                                                   \
            store_row(out[m + i], acc[i][0], acc[i][1], tile, n);                                      \
        break;                                                                                         \
    }

INLINE void small_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                      int n, int k)
{
    const kind kd = kind_of(type);
    const int stride = SMALL_GROUPS * starts_of(kd);
    int32_t start[SMALL_ROWS * SMALL_GROUPS];
    act_offsets at = act_offsets_of(x[0], k);
    for (int m = 0; m < nrow && stride; m++)
        fill_starts(kd, start + m * stride, x[m], at, 0, k / 32);
    for (int tile = tile0; tile < tile1; tile++) {
        const uint8_t *tile_at = (const uint8_t *)packed + (size_t)tile * sg_tile_bytes(type, k);
        for (int m = 0, rows; m < nrow; m += rows) {
            const acts r = {(const uint8_t *const *)x + m, at, start + m * stride, stride, 0, NULL};
            rows = next_rows(nrow - m);
            switch (rows) {
                SMALL(1)
                SMALL(2)
                SMALL(3)
                SMALL(4)
            }
        }
    }
}

/* ---- many rows ------------------------------------------------------------------------------------------ */

enum { WIDE_GROUPS = 20, WIDE_ROWS = 256, WIDE_TILES = 8, WIDE_STRIDE = 2 * WIDE_GROUPS }; /* sums of 128 KiB */

/* Groups of one tile with codes as bytes. */
typedef struct wide {
    __m256i code[WIDE_GROUPS][2][8];
    ends ends[WIDE_GROUPS][2][2]; /* [group][p][half] */
    small_scales small[WIDE_GROUPS][2];
} wide;

/* Groups at a time, so that all of them together come out even. */
INLINE int groups_of(int all)
{
    int turns = (all + WIDE_GROUPS - 1) / WIDE_GROUPS;
    return (all + turns - 1) / turns;
}

INLINE void unpack(sg_dtype type, wide *w, const uint8_t *tile, int k, int b0, int ngroup)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *planes = tile + sg_tile_meta_bytes(type, k);
    __m256i table = table_of(type);
    shared of = {0};
    for (int g = 0; g < ngroup; g++) {
        if (f.nested && (g == 0 || (b0 + g) % 8 == 0))
            shared_of(type, &of, tile, b0 + g);
        for (int p = 0; p < 2; p++) {
            const uint8_t *plane = planes + (size_t)(b0 + g) * (size_t)f.plane_bytes + 32 * p;
#pragma GCC unroll 8
            for (int v = 0; v < 8; v++)
                w->code[g][p][v] = codes(type, plane, v, table);
            ends_of(type, w->ends[g][p], &of, tile, b0 + g, p);
            if (f.fold)
                w->small[g][p] = small_scales_of(type, tile, b0 + g, p);
        }
    }
}

INLINE void wide_rows(kind k, int MB, __m256 (*sums)[2], const wide *w, const acts *r, int ngroup)
{
    const bool local = MB < ROWS && k.flush == 8 && !k.fold; /* registers for sums that wait */
    __m256 acc[ROWS][2];
    for (int m = 0; m < MB && local; m++)
        acc[m][0] = sums[m][0], acc[m][1] = sums[m][1];
    for (int g = 0; g < ngroup; g++) {
        for (int m = 0; m < MB; m++)
            _mm_prefetch((const char *)r->next[m] + (size_t)(r->b0 + g) * 32, _MM_HINT_T0);
        const source s = {.code = w->code[g]};
        one_group(k, MB, local ? acc : sums, s, w->small[g], w->ends[g], r, r->b0 + g);
    }
    for (int m = 0; m < MB && local; m++)
        sums[m][0] = acc[m][0], sums[m][1] = acc[m][1];
}

/* A single row as two. */
INLINE void wide_single(kind k, __m256 (*sums)[2], const wide *w, const acts *r, int ngroup)
{
    const uint8_t *x[2] = {r->x[0], r->x[0]};
    const acts two = {x, r->at, r->start, r->stride, r->b0, x};
    wide_rows(k, 2, sums, w, &two, ngroup);
}

/* The same for unpacked codes: two rows where a group ends twice. */
INLINE int next_wide(kind k, int left)
{
    if (k.wrap && k.halves == 2)
        return left < 2 ? left : 2;
    return next_rows(left);
}

/* All rows with the unpacked groups: one function for each kind that types have. */
#define WIDE(name, ...)                                                                                                         \
    static __attribute__((noinline)) void name(__m256 (*sums)[2], const wide *w, const uint8_t *const *x, int nrow,             \
                                               act_offsets at, const int32_t *start, int b0, int ngroup, ahead next)            \
    {                                                                                                                           \
        const kind k = {__VA_ARGS__};                                                                                           \
        for (int m = 0, rows; m < nrow; m += rows) {                                                                            \
            rows = next_wide(k, nrow - m);                                                                                      \
            fetch_share(&next, m, m + rows, nrow);                                                                              \
            const acts r = {x + m, at, start + m * WIDE_STRIDE, WIDE_STRIDE, b0, m + 2 * rows <= nrow ? x + m + rows : x};      \
            switch (rows) {                                                                                                     \
            case 4: wide_rows(k, 4, sums + m, w, &r, ngroup); break;                                                            \
            case 3: wide_rows(k, 3, sums + m, w, &r, ngroup); break;                                                            \
            case 2: wide_rows(k, 2, sums + m, w, &r, ngroup); break;                                                            \
            default: wide_single(k, sums + m, w, &r, ngroup); break;                                                            \
            }                                                                                                                   \
        }                                                                                                                       \
    }
typedef void wide_fn(__m256 (*sums)[2], const wide *w, const uint8_t *const *x, int nrow, act_offsets at, const int32_t *start, int b0,
                     int ngroup, ahead next);
WIDE(wide_4bit, 1, 8, 8, false, false, false)
WIDE(wide_4bit_min, 1, 8, 0, true, false, false)
WIDE(wide_5bit, 1, 8, 16, false, false, true)
WIDE(wide_5bit_min, 1, 4, 0, true, false, false)
WIDE(wide_fp4, 1, 8, 12, false, false, true)
WIDE(wide_2bit, 2, 8, 0, true, true, false)
WIDE(wide_3bit, 2, 8, 4, false, true, false)
WIDE(wide_6bit, 2, 8, 32, false, false, true)

INLINE wide_fn *wide_of(sg_dtype type)
{
    switch (type) {
    case SG_Q4_0: return wide_4bit;
    case SG_Q4_1:
    case SG_Q4_K: return wide_4bit_min;
    case SG_Q5_0: return wide_5bit;
    case SG_Q5_1:
    case SG_Q5_K: return wide_5bit_min;
    case SG_MXFP4: return wide_fp4;
    case SG_Q2_K: return wide_2bit;
    case SG_Q3_K: return wide_3bit;
    case SG_Q6_K: return wide_6bit;
    default: return NULL; /* signed levels: linear_avx2_signs.c */
    }
}

/* Sums of up to WIDE_TILES tiles wait here, not in `out`, whose rows may all fall into the same cache sets. */
typedef struct wide_sums {
    __m256 at[WIDE_TILES][WIDE_ROWS][2];
} wide_sums;

/* Rows of x, WIDE_ROWS at most, times tiles [tile0, tile0 + ntile), WIDE_TILES at most. */
INLINE void wide_block(sg_dtype type, wide_sums *sums, const uint8_t *const *x, int rows, const void *packed, int tile0, int ntile, int k)
{
    const kind kd = kind_of(type);
    act_offsets at = act_offsets_of(x[0], k);
    wide w;
    int32_t start[WIDE_ROWS * WIDE_STRIDE];
    for (int t = 0; t < ntile; t++)
        memset(sums->at[t], 0, (size_t)rows * sizeof sums->at[t][0]);
    const int step = groups_of(k / 32);
    for (int b0 = 0; b0 < k / 32; b0 += step) {
        int ngroup = k / 32 - b0 < step ? k / 32 - b0 : step;
        for (int m = 0; m < rows && starts_of(kd); m++)
            fill_starts(kd, start + m * WIDE_STRIDE, x[m], at, b0, ngroup);
        for (int t = 0; t < ntile; t++) {
            unpack(type, &w, (const uint8_t *)packed + (size_t)(tile0 + t) * sg_tile_bytes(type, k), k, b0, ngroup);
            const bool more = t + 1 < ntile, end = b0 + step >= k / 32;
            const ahead next = ahead_of(type, (const uint8_t *)packed + (size_t)(tile0 + (more ? t + 1 : 0)) * sg_tile_bytes(type, k), k,
                                        more ? b0 : b0 + step, more || !end ? ngroup : 0, 1);
            wide_of(type)(sums->at[t], &w, x, rows, at, start, b0, ngroup, next);
        }
    }
}

INLINE void wide_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                     int n, int k)
{
    wide_sums sums;
    for (int m0 = 0; m0 < nrow; m0 += WIDE_ROWS)
        for (int tile = tile0; tile < tile1; tile += WIDE_TILES) {
            int rows = nrow - m0 < WIDE_ROWS ? nrow - m0 : WIDE_ROWS, ntile = tile1 - tile < WIDE_TILES ? tile1 - tile : WIDE_TILES;
            wide_block(type, &sums, (const uint8_t *const *)x + m0, rows, packed, tile, ntile, k);
            for (int m = 0; m < rows; m++)
                for (int t = 0; t < ntile; t++)
                    store_row(out[m0 + m], sums.at[t][m][0], sums.at[t][m][1], tile + t, n);
        }
}

/* ---- the table ------------------------------------------------------------------------------------------ */

#define TYPES(X)                                                                                                   \
    X(q4_0, SG_Q4_0) X(q4_1, SG_Q4_1) X(q5_0, SG_Q5_0) X(q5_1, SG_Q5_1) X(q8_0, SG_Q8_0) X(q2_k, SG_Q2_K)          \
    X(q3_k, SG_Q3_K) X(q4_k, SG_Q4_K) X(q5_k, SG_Q5_K) X(q6_k, SG_Q6_K) X(iq4_nl, SG_IQ4_NL) X(iq4_xs, SG_IQ4_XS) \
    X(mxfp4, SG_MXFP4)

#define DEFINE(name, type)                                                                                                 \
    static size_t name##_bytes(int k) { return sg_tile_bytes(type, k); }                                                   \
    static void name##_pack(void *t, const void *s, int rows, int k) { sg_tile_pack(type, t, s, rows, k); }                \
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,    \
                           int n, int k)                                                                                   \
    {                                                                                                                      \
        if (nrow <= few_of(type) && k <= SMALL_GROUPS * 32)                                                                \
            small_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                     \
        else if (!kind_of(type).flush && nrow <= (type == SG_Q8_0 ? SG_AVX2_SIGNS_FEW : 8))                                \
            sg_linear_avx2_mul_signs_few(type, out, x, nrow, packed, tile0, tile1, n, k);                                  \
        else if (!kind_of(type).flush)                                                                                     \
            sg_linear_avx2_mul_signs(type, out, x, nrow, packed, tile0, tile1, n, k);                                      \
        else                                                                                                               \
            wide_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                      \
    }                                                                                                                      \
    static const sg_linear_kernel name = {.act = SG_ACT_Q8, .tile_bytes = name##_bytes, .pack = name##_pack, .mul = name##_mul};
TYPES(DEFINE)

const sg_linear_kernel *sg_linear_avx2_find(sg_dtype type, int k)
{
    static const sg_linear_kernel *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = &name,
        TYPES(ENTRY)
    };
    (void)k;
    return table[type] ? table[type] : sg_linear_avx2_float_find(type);
}
