/* kernel/linear_avx2.c - linear layers with AVX2, without VNNI: block-quantised types.
 *
 * The tiles are those of tile.h: vectors of 64 bytes, [16 rows of W][4 columns], here taken as two of 32
 * bytes.  VPMADDUBSW multiplies unsigned codes with signed activations and adds neighbours, giving 16 sums
 * of 16 bits; turning those into sums of 32 bits costs as much as the product, so it waits as long as no
 * sum can overflow.  With |x| <= 127:
 *
 *     codes of 2, 3, 4 bits   15 * 127 * 2 * 8 = 30480      all 8 vectors of a group of 32 columns
 *     5 bits, MXFP4 (+ 12)    31 * 127 * 2 * 4 = 31496      4 vectors
 *     6 bits                  63 * 127 * 2 * 2 = 32004      2 vectors
 *     8 bits, IQ4 levels      128 * 127 * 2    = 32512      1 vector; codes do not fit even once, so the sign
 *                                                           moves to the activation: |w| * (x with w's sign)
 *
 * The sums of a group are exact, the zero code is taken off by the activations' own sum, and the float
 * operations that follow are those of the other tables in the same order, so the bits are theirs as well.
 *
 * Up to 3 or 4 rows (8 bits: 12) go straight through the packed tile.  With more, the codes of a tile are unpacked to bytes
 * once, 1024 columns at a time, stay in the first-level cache, and serve all rows, 6 at a time.
 *
 * Rejected: weights widened to 16 bits and VPMADDWD.  It needs no care about overflow but does half the
 * products an instruction and doubles the bytes that are read.
 */
#include "kernel/linear.h"
#include "kernel/quant_layout.h"
#include "kernel/tile.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

/* The compiler takes no part in the order of additions: as a tree they need more registers than there are, and everything goes through
 * memory (a fifth to a third of the time). */
#define IN_ORDER(v) __asm__("" : "+x"(v))

enum { ROWS = 6 }; /* rows of x at a time: 6 sums, 6 more where they are flushed, and operands fit 16 registers */

/* ---- a type's constants ----------------------------------------------------------------------------- */

typedef struct kind {
    int halves; /* groups of 16 have two scales */
    int flush;  /* vectors that 16-bit sums may take; 0: signed levels, one vector */
    int zero;   /* the code of 0 */
    bool min;
    bool fold;  /* the two scales are small integers, multiplied in where sums are widened */
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
        k.flush = f.bits == 6 ? 2 : f.bits == 5 ? 4 : 8;
    return k;
}

INLINE __m256i load32(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }

/* Levels by code: signed for IQ4, + 12 for MXFP4. */
INLINE __m256i table_of(sg_dtype type)
{
    if (!sg_tile_form_of(type).table)
        return _mm256_setzero_si256();
    const int8_t *t = type == SG_MXFP4 ? sg_quant_fp4_values : sg_quant_iq4_values;
    __m256i v = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)t));
    return type == SG_MXFP4 ? _mm256_add_epi8(v, _mm256_set1_epi8(12)) : v;
}

/* Eight rows of vector v of a group: plane is the group's, plus 32 for the upper eight.  Unsigned codes, or
 * signed levels where flush is 0. */
INLINE __m256i codes(sg_dtype type, const uint8_t *plane, int v, __m256i table)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (f.bits == 8)
        return _mm256_xor_si256(load32(plane + v * 64), _mm256_set1_epi8((char)0x80));
    __m256i q;
    if (f.bits < 4) {
        q = _mm256_srli_epi16(load32(plane + v / 4 * 64), 2 * (v % 4));
        q = _mm256_and_si256(q, _mm256_set1_epi8(3));
    } else {
        q = load32(plane + v % 4 * 64);
        q = _mm256_and_si256(v < 4 ? q : _mm256_srli_epi16(q, 4), _mm256_set1_epi8(15));
    }
    if (f.bits == 5 || f.bits == 3) { /* one more bit, from bit v of the last vector to bit 4 or 2 */
        int to = f.bits - 1;
        __m256i high = load32(plane + (f.bits == 5 ? 256 : 128));
        high = v > to ? _mm256_srli_epi16(high, v - to) : _mm256_slli_epi16(high, to - v);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi8((char)(1 << to))));
    }
    if (f.bits == 6) {
        __m256i high = load32(plane + 256 + v / 4 * 64);
        int from = 2 * (v % 4);
        high = from > 4 ? _mm256_srli_epi16(high, from - 4) : _mm256_slli_epi16(high, 4 - from);
        q = _mm256_or_si256(q, _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
    }
    return f.table ? _mm256_shuffle_epi8(table, q) : q;
}

/* ---- scales ------------------------------------------------------------------------------------------- */

INLINE __m256 load_half(const uint8_t *p) { return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p)); }
INLINE __m256 load_int8(const uint8_t *p)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}

/* Scales of half h of group b, rows 8p to 8p + 7. */
INLINE __m256 scale_of(sg_dtype type, const uint8_t *meta, int b, int h, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (type == SG_MXFP4)
        return _mm256_loadu_ps((const float *)(const void *)(meta + (size_t)b * 64 + (size_t)(p * 32)));
    if (!f.nested)
        return load_half(meta + (size_t)b * (size_t)f.meta_bytes + p * 16);
    const uint8_t *at = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = at + (f.min ? 64 : 32) + b % 8 * 16 * f.halves * (f.min ? 2 : 1);
    return _mm256_mul_ps(load_half(at + p * 16), load_int8(s + h * 16 + p * 8));
}

/* What is added times the sum of activations: m, or -dmin*mn. */
INLINE __m256 offset_of(sg_dtype type, const uint8_t *meta, int b, int h, int p)
{
    const sg_tile_form f = sg_tile_form_of(type);
    if (!f.nested)
        return load_half(meta + (size_t)b * (size_t)f.meta_bytes + 32 + p * 16);
    const uint8_t *at = meta + (size_t)(b / 8) * (size_t)f.meta_bytes;
    const uint8_t *s = at + 64 + b % 8 * 16 * f.halves * 2 + 16 * f.halves;
    __m256 v = _mm256_mul_ps(load_half(at + 32 + p * 16), load_int8(s + h * 16 + p * 8));
    return _mm256_xor_ps(v, _mm256_set1_ps(-0.0f));
}

/* ---- sums --------------------------------------------------------------------------------------------- */

/* Where the parts of an activation row begin, as offsets from the row. */
typedef struct act_offsets {
    size_t d, sx, neg, neg16;
} act_offsets;

static act_offsets act_offsets_of(const void *row, int k)
{
    sg_act_q8 a = sg_act_q8_of(row, k);
    const char *p = row;
    return (act_offsets){(size_t)((char *)a.d - p), (size_t)((char *)a.sx - p), (size_t)((char *)a.neg - p),
                         (size_t)((char *)a.neg16 - p)};
}

INLINE int32_t int_at(const uint8_t *p)
{
    int32_t v;
    memcpy(&v, p, 4);
    return v;
}

INLINE float float_at(const uint8_t *p)
{
    float v;
    memcpy(&v, p, 4);
    return v;
}

/* The exact sums of code * x, or of level * x where flush is 0, over vectors [v0, v1) of a group whose
 * codes are in `code`, for MB rows; x[m] + 4v are its four activations.
 * `ones`: 16-bit ones, or the rows' scales. */
INLINE void dot_rows(kind k, int MB, __m256i *dot, __m256i ones, const __m256i *code, const uint8_t *const *x, size_t at, int v0, int v1)
{
    __m256i sum[ROWS];
#pragma GCC unroll 8
    for (int v = v0; v < v1; v++) {
        __m256i w = code[v];
        __m256i size = k.flush ? w : _mm256_abs_epi8(w);
#pragma GCC unroll 6
        for (int m = 0; m < MB; m++) {
            __m256i a = _mm256_set1_epi32(int_at(x[m] + at + (size_t)(v * 4)));
            __m256i pair = _mm256_maddubs_epi16(size, k.flush ? a : _mm256_sign_epi8(a, w));
            if (!k.flush) {
                dot[m] = _mm256_add_epi32(dot[m], _mm256_madd_epi16(pair, ones));
                IN_ORDER(dot[m]);
                continue;
            }
            sum[m] = (v - v0) % k.flush == 0 ? pair : _mm256_add_epi16(sum[m], pair);
            IN_ORDER(sum[m]);
            if ((v - v0) % k.flush == k.flush - 1 || v == v1 - 1)
                dot[m] = _mm256_add_epi32(dot[m], _mm256_madd_epi16(sum[m], ones));
            if (k.flush < 8) /* more than one addition to it */
                IN_ORDER(dot[m]);
        }
    }
}

/* zero * minus the sum of activations. */
INLINE __m256i dot_start(kind k, const uint8_t *x, act_offsets at, int b, int h)
{
    if (!k.zero)
        return _mm256_setzero_si256();
    int32_t neg = k.halves == 2 ? int_at(x + at.neg16 + (size_t)(8 * b + 4 * h)) : int_at(x + at.neg + (size_t)(4 * b));
    __m256i v = _mm256_set1_epi32(neg);
    switch (k.zero) {
    case 4: return _mm256_slli_epi32(v, 2);
    case 8: return _mm256_slli_epi32(v, 3);
    case 12: return _mm256_add_epi32(_mm256_slli_epi32(v, 2), _mm256_slli_epi32(v, 3));
    case 16: return _mm256_slli_epi32(v, 4);
    default: return _mm256_slli_epi32(v, 5);
    }
}

/* One half of a group's columns, eight rows of W, MB rows of x. */
INLINE void half_group(kind k, int MB, __m256 *acc, const __m256i *code, __m256 scale, __m256 offset, const uint8_t *const *x,
                       act_offsets at, int b, int h)
{
    __m256i dot[ROWS];
#pragma GCC unroll 6
    for (int m = 0; m < MB; m++)
        dot[m] = dot_start(k, x[m], at, b, h);
    dot_rows(k, MB, dot, _mm256_set1_epi16(1), code, x, (size_t)b * 32, h * 4, k.halves == 2 ? h * 4 + 4 : 8);
#pragma GCC unroll 6
    for (int m = 0; m < MB; m++) {
        float d = float_at(x[m] + at.d + (size_t)(4 * b));
        acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[m]), scale), _mm256_set1_ps(d), acc[m]);
        if (k.min) {
            float sx = k.halves == 2 ? -(float)int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) * d
                                     : float_at(x[m] + at.sx + (size_t)(4 * b));
            acc[m] = _mm256_fmadd_ps(offset, _mm256_set1_ps(sx), acc[m]);
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

/* A whole group of a type whose scales are folded in: eight rows of W, MB rows of x; d [8] is what both halves share. */
INLINE void fold_group(kind k, int MB, __m256 *acc, const __m256i *code, small_scales s, __m256 d, const __m256 *offset,
                       const uint8_t *const *x, act_offsets at, int b)
{
    __m256i dot[ROWS];
#pragma GCC unroll 6
    for (int m = 0; m < MB; m++) {
        dot[m] = _mm256_setzero_si256();
        if (k.zero) { /* 4 times the negated sums of both halves, as a pair of 16 bits */
            int32_t n0 = int_at(x[m] + at.neg16 + (size_t)(8 * b)), n1 = int_at(x[m] + at.neg16 + (size_t)(8 * b + 4));
            __m256i n = _mm256_set1_epi32((int32_t)((uint32_t)(n0 & 0xffff) | (uint32_t)n1 << 16));
            dot[m] = _mm256_madd_epi16(_mm256_slli_epi16(n, 2), s.pair);
        }
    }
    dot_rows(k, MB, dot, s.half[0], code, x, (size_t)b * 32, 0, 4);
    dot_rows(k, MB, dot, s.half[1], code, x, (size_t)b * 32, 4, 8);
#pragma GCC unroll 6
    for (int m = 0; m < MB; m++) {
        float dx = float_at(x[m] + at.d + (size_t)(4 * b));
        acc[m] = _mm256_fmadd_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(dot[m]), d), _mm256_set1_ps(dx), acc[m]);
        for (int h = 0; k.min && h < 2; h++) {
            float sx = -(float)int_at(x[m] + at.neg16 + (size_t)(8 * b + 4 * h)) * dx;
            acc[m] = _mm256_fmadd_ps(offset[h], _mm256_set1_ps(sx), acc[m]);
        }
    }
}

INLINE void store_row(float *out, __m256 low, __m256 high, int tile, int n)
{
    float *at = out + tile * SG_TILE;
    int left = n - tile * SG_TILE;
    if (left >= SG_TILE) {
        _mm256_storeu_ps(at, low);
        _mm256_storeu_ps(at + 8, high);
    } else {
        float both[SG_TILE];
        _mm256_storeu_ps(both, low);
        _mm256_storeu_ps(both + 8, high);
        memcpy(at, both, (size_t)left * sizeof *both);
    }
}

/* Rows at most: straight from the tile they cost less than unpacking to memory first.  8 bits, which need no unpacking, are taken
 * in two passes, the second from the first level cache.  (kcheck --bench avx2) */
INLINE int few_of(sg_dtype type) { return sg_tile_form_of(type).bits == 8 ? 2 * ROWS : sg_tile_form_of(type).bits == 6 ? 3 : 4; }

/* ---- few rows ------------------------------------------------------------------------------------------ */

/* One tile with MB rows; acc[p][m] belongs to rows 8p to 8p + 7 of W. */
INLINE void small_tile(sg_dtype type, int MB, __m256 acc[2][ROWS], const uint8_t *const *x, act_offsets at, const uint8_t *tile, int k)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const kind kd = kind_of(type);
    const uint8_t *planes = tile + sg_tile_meta_bytes(type, k);
    __m256i table = table_of(type);
    for (int m = 0; m < MB; m++)
        acc[0][m] = acc[1][m] = _mm256_setzero_ps();
    for (int b = 0; b < k / 32; b++) {
        const uint8_t *plane = planes + (size_t)b * (size_t)f.plane_bytes;
        for (int z = 0; z < f.plane_bytes; z += 64)
            _mm_prefetch((const char *)plane + 2048 + z, _MM_HINT_T0);
        for (int p = 0; p < 2; p++) {
            __m256i code[8];
#pragma GCC unroll 8
            for (int v = 0; v < 8; v++)
                code[v] = codes(type, plane + 32 * p, v, table);
            if (kd.fold) {
                __m256 d = load_half(tile + (size_t)(b / 8) * (size_t)f.meta_bytes + p * 16), offset[2] = {d, d};
                for (int h = 0; kd.min && h < 2; h++)
                    offset[h] = offset_of(type, tile, b, h, p);
                fold_group(kd, MB, acc[p], code, small_scales_of(type, tile, b, p), d, offset, x, at, b);
                continue;
            }
#pragma GCC unroll 2
            for (int h = 0; h < kd.halves; h++) {
                __m256 scale = scale_of(type, tile, b, h, p);
                __m256 offset = kd.min ? offset_of(type, tile, b, h, p) : scale;
                half_group(kd, MB, acc[p], code, scale, offset, x, at, b, h);
            }
        }
    }
}

#define SMALL(MB)                                                                                      \
    case MB: {                                                                                         \
        __m256 acc[2][ROWS];                                                                           \
        small_tile(type, MB, acc, (const uint8_t *const *)x + m, at, start, k);                        \
        for (int i = 0; i < MB; i++)                                                                   \
            store_row(out[m + i], acc[0][i], acc[1][i], tile, n);                                      \
        break;                                                                                         \
    }

INLINE void small_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                      int n, int k)
{
    act_offsets at = act_offsets_of(x[0], k);
    for (int tile = tile0; tile < tile1; tile++) {
        const uint8_t *start = (const uint8_t *)packed + (size_t)tile * sg_tile_bytes(type, k);
        for (int m = 0, rows; m < nrow; m += rows) {
            rows = nrow - m <= ROWS ? nrow - m : (nrow - m + 1) / 2;
            switch (rows) {
                SMALL(1)
                SMALL(2)
                SMALL(3)
                SMALL(4)
                SMALL(5)
                SMALL(6)
            }
        }
    }
}

/* ---- many rows ------------------------------------------------------------------------------------------ */

enum { WIDE_GROUPS = 32, WIDE_ROWS = 192 }; /* 16 KiB of codes; sums of 12 KiB */

/* Groups of one tile with codes as bytes. */
typedef struct wide {
    __m256i code[WIDE_GROUPS][2][8];
    __m256 scale[WIDE_GROUPS][2][2], offset[WIDE_GROUPS][2][2]; /* [group][p][half] */
    small_scales small[WIDE_GROUPS][2];
} wide;

INLINE void unpack(sg_dtype type, wide *w, const uint8_t *tile, int k, int b0, int ngroup)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const uint8_t *planes = tile + sg_tile_meta_bytes(type, k);
    __m256i table = table_of(type);
    for (int g = 0; g < ngroup; g++)
        for (int p = 0; p < 2; p++) {
            const uint8_t *plane = planes + (size_t)(b0 + g) * (size_t)f.plane_bytes + 32 * p;
#pragma GCC unroll 8
            for (int v = 0; v < 8; v++)
                w->code[g][p][v] = codes(type, plane, v, table);
            if (f.fold) {
                w->small[g][p] = small_scales_of(type, tile, b0 + g, p);
                w->scale[g][p][0] = load_half(tile + (size_t)((b0 + g) / 8) * (size_t)f.meta_bytes + p * 16);
                for (int h = 0; f.min && h < 2; h++)
                    w->offset[g][p][h] = offset_of(type, tile, b0 + g, h, p);
                continue;
            }
#pragma GCC unroll 2
            for (int h = 0; h < f.halves; h++) {
                w->scale[g][p][h] = scale_of(type, tile, b0 + g, h, p);
                w->offset[g][p][h] = f.min ? offset_of(type, tile, b0 + g, h, p) : w->scale[g][p][h];
            }
        }
}

INLINE void wide_rows(kind k, int MB, __m256 (*sums)[2], const wide *w, const uint8_t *const *x, act_offsets at, int b0, int ngroup)
{
    for (int p = 0; p < 2; p++) {
        __m256 acc[ROWS];
        for (int m = 0; m < MB; m++)
            acc[m] = sums[m][p];
        for (int g = 0; g < ngroup; g++) {
            if (k.fold) {
                fold_group(k, MB, acc, w->code[g][p], w->small[g][p], w->scale[g][p][0], w->offset[g][p], x, at, b0 + g);
                continue;
            }
#pragma GCC unroll 2
            for (int h = 0; h < k.halves; h++)
                half_group(k, MB, acc, w->code[g][p], w->scale[g][p][h], w->offset[g][p][h], x, at, b0 + g, h);
        }
        for (int m = 0; m < MB; m++)
            sums[m][p] = acc[m];
    }
}

/* All rows with the unpacked groups: one function for each kind that types have. */
#define WIDE(name, ...)                                                                                                         \
    static __attribute__((noinline)) void name(__m256 (*sums)[2], const wide *w, const uint8_t *const *x, int nrow,             \
                                               act_offsets at, int b0, int ngroup)                                              \
    {                                                                                                                           \
        const kind k = {__VA_ARGS__};                                                                                           \
        int m = 0;                                                                                                              \
        for (; m + ROWS <= nrow; m += ROWS)                                                                                     \
            wide_rows(k, ROWS, sums + m, w, x + m, at, b0, ngroup);                                                             \
        for (; m + 3 <= nrow; m += 3)                                                                                           \
            wide_rows(k, 3, sums + m, w, x + m, at, b0, ngroup);                                                                \
        for (; m < nrow; m++)                                                                                                   \
            wide_rows(k, 1, sums + m, w, x + m, at, b0, ngroup);                                                                \
    }
typedef void wide_fn(__m256 (*sums)[2], const wide *w, const uint8_t *const *x, int nrow, act_offsets at, int b0, int ngroup);
WIDE(wide_4bit, 1, 8, 8, false, false)
WIDE(wide_4bit_min, 1, 8, 0, true, false)
WIDE(wide_5bit, 1, 4, 16, false, false)
WIDE(wide_5bit_min, 1, 4, 0, true, false)
WIDE(wide_fp4, 1, 4, 12, false, false)
WIDE(wide_signed, 1, 0, 0, false, false)
WIDE(wide_2bit, 2, 8, 0, true, true)
WIDE(wide_3bit, 2, 8, 4, false, true)
WIDE(wide_6bit, 2, 2, 32, false, false)

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
    default: return wide_signed; /* Q8_0, IQ4_NL, IQ4_XS */
    }
}

INLINE void wide_mul(sg_dtype type, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                     int n, int k)
{
    act_offsets at = act_offsets_of(x[0], k);
    wide w;
    __m256 sums[WIDE_ROWS][2];
    for (int tile = tile0; tile < tile1; tile++) {
        const uint8_t *start = (const uint8_t *)packed + (size_t)tile * sg_tile_bytes(type, k);
        for (int m0 = 0; m0 < nrow; m0 += WIDE_ROWS) {
            int rows = nrow - m0 < WIDE_ROWS ? nrow - m0 : WIDE_ROWS;
            memset(sums, 0, (size_t)rows * sizeof *sums);
            for (int b0 = 0; b0 < k / 32; b0 += WIDE_GROUPS) {
                int ngroup = k / 32 - b0 < WIDE_GROUPS ? k / 32 - b0 : WIDE_GROUPS;
                unpack(type, &w, start, k, b0, ngroup);
                wide_of(type)(sums, &w, (const uint8_t *const *)x + m0, rows, at, b0, ngroup);
            }
            for (int m = 0; m < rows; m++)
                store_row(out[m0 + m], sums[m][0], sums[m][1], tile, n);
        }
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
    static void name##_mul(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                      \
        if (nrow <= few_of(type))                                                                                          \
            small_mul(type, out, x, nrow, packed, tile0, tile1, n, k);                                                     \
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
