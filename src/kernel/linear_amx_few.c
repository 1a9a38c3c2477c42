/* kernel/linear_amx_few.c - linear layers with AMX tiles: block-quantised types, 10 to 15 rows.
 *
 *     for each tile of W, step after step without a pause between tiles
 *         for each group of 32 columns          unpack 3 ahead | multiply 2 ahead | store C 1 ahead | add up
 *
 * The steps of linear_amx_some.c, but only the rows that are there are multiplied and added up: the end of a group is half of a step.
 * The bits are the same.  Below 10 rows (12 of 8-bit levels, which VPDPBUSD takes as they lie) the AVX-512 kernels are as fast or,
 * from memory, faster.  Sums for 10, 12, 14 or 15 rows are kept in registers; with a row fewer one of them is of zeros.
 */
#include "kernel/linear_amx.h"

enum {
    ROWS_MIN = 10,
    BYTES_ROWS_MIN = 12, /* of levels of 8 bits */
    ROWS = 15,
    COLUMNS = 8192, /* at most */
    NUMBERS = COLUMNS / 16 + 16,
    RING = 4,
    AHEAD_BYTES = 2048,
};
_Static_assert(NUMBERS * 4 / 64 % 2 == 1, "an odd number of lines: rows do not share cache sets");

/* The rows of a call: those that are not at equal distances are copied; of all rows what sums are multiplied with, scales, then
 * what belongs to minima (one or two numbers for each group). */
typedef struct few {
    _Alignas(64) uint8_t apart[ROWS][COLUMNS + 64];
    float numbers[2][ROWS][NUMBERS];
} few;

typedef struct ring {
    _Alignas(64) int32_t c[2][16][16]; /* products that wait for their sums */
    sg_wide w;                         /* RING slots of it: weights that wait to be multiplied */
} ring;

/* tmm0 tmm1 C, tmm2 A, tmm3 B. */
static void configure(int nrow)
{
    sg_amx_config c = {.palette = 1};
    for (int t = 0; t < 4; t++) {
        c.row_bytes[t] = (uint16_t)(t == 2 ? 32 : 64);
        c.rows[t] = (uint8_t)(t == 3 ? 8 : nrow);
    }
    SG_AMX_CONFIGURE(c);
}

/* ---- rows --------------------------------------------------------------------------------- */

typedef struct place {
    const uint8_t *q;
    size_t stride;
} place;

static place place_rows(few *f, const void *const *x, int nrow, int k)
{
    const size_t stride = (size_t)((const char *)x[1] - (const char *)x[0]);
    bool equal = (const char *)x[1] > (const char *)x[0];
    for (int m = 1; m + 1 < nrow; m++)
        equal &= (const char *)x[m + 1] - (const char *)x[m] == (const char *)x[1] - (const char *)x[0];
    if (equal)
        return (place){x[0], stride};
    for (int m = 0; m < nrow; m++)
        memcpy(f->apart[m], x[m], (size_t)k);
    return (place){f->apart[0], sizeof f->apart[0]};
}

SG_INLINE void fill_numbers(few *f, int nmin, const void *const *x, int nrow, int k)
{
    const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 0);
    for (int m = 0; m < nrow; m++) {
        sg_act_q8 a = sg_act_q8_of(x[m], k);
        for (int g = 0; g < k / 32; g += 16) {
            __m512 d = _mm512_load_ps(a.d + g);
            _mm512_storeu_ps(f->numbers[0][m] + g, d);
            if (nmin == 1)
                _mm512_storeu_ps(f->numbers[1][m] + g, _mm512_load_ps(a.sx + g));
            for (int h = 0; nmin == 2 && h < 2; h++) { /* of both halves, side by side */
                __m512 neg = _mm512_cvtepi32_ps(_mm512_load_si512(a.neg16 + 2 * g + 16 * h));
                __m512 d2 = _mm512_permutexvar_ps(_mm512_add_epi32(twice, _mm512_set1_epi32(8 * h)), d);
                _mm512_storeu_ps(f->numbers[1][m] + 2 * g + 16 * h, _mm512_mul_ps(_mm512_xor_ps(neg, _mm512_set1_ps(-0.0f)), d2));
            }
        }
    }
}

/* A row that is added up although it is not there is of zeros: denormal numbers would take a hundred times as long. */
SG_INLINE void fill_missing(few *f, ring *r, int nmin, int m, int k)
{
    memset(r->c[0][m], 0, sizeof r->c[0][m]);
    memset(r->c[1][m], 0, sizeof r->c[1][m]);
    memset(f->numbers[0][m], 0, (size_t)(k / 32) * sizeof(float));
    memset(f->numbers[1][m], 0, (size_t)(k / 32 * nmin) * sizeof(float));
}

/* ---- steps -------------------------------------------------------------------------------- */

/* Where unpacking has come to.  After the last group it begins again: what is unpacked then is not used. */
typedef struct cursor {
    sg_tile_view t;
    int g, tile;
} cursor;

SG_INLINE void unpack(sg_dtype type, ring *r, cursor *u, const void *packed, int tile0, int tile1, unsigned step, int k)
{
    const sg_tile_form f = sg_tile_form_of(type);
    const char *ahead = (const char *)u->t.planes + u->g * f.plane_bytes + AHEAD_BYTES;
    for (int z = 0; z < f.plane_bytes; z += 64)
        _mm_prefetch(ahead + z, _MM_HINT_T0);
    sg_wide_unpack_group(type, false, &r->w, (int)(step % RING), u->t, u->g);
    if (__builtin_expect(++u->g == k / 32, 0)) {
        u->g = 0;
        u->tile = u->tile + 1 == tile1 ? tile0 : u->tile + 1;
        u->t = sg_tile_view_of(type, packed, u->tile, k);
    }
}

SG_INLINE void collect(int rows, int nmin, bool odd, __m512 *acc, const ring *r, const few *f, int g, unsigned step)
{
    const unsigned slot = step % RING;
    __m512 scale = _mm512_load_ps(r->w.scale[slot][0]), base = _mm512_mul_ps(scale, _mm512_set1_ps(-12582912.0f));
#pragma GCC unroll 15
    for (int m = 0; m < rows; m++) {
        __m512 sum = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_load_si512(r->c[odd][m])), scale, base);
        acc[m] = _mm512_fmadd_ps(sum, _mm512_set1_ps(f->numbers[0][m][g]), acc[m]);
#pragma GCC unroll 2
        for (int i = 0; i < nmin; i++)
            acc[m] = _mm512_fmadd_ps(_mm512_load_ps(r->w.offset[slot][i]), _mm512_set1_ps(f->numbers[1][m][g * nmin + i]), acc[m]);
    }
}

/* `rows`: nrow, or one more. */
SG_INLINE void few_mul(sg_dtype type, int rows, float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1,
                       int n, int k)
{
    const int nmin = sg_wide_kind_of(type).nmin, steps = k / 32;
    few f;
    ring r;
    fill_numbers(&f, nmin, x, nrow, k);
    if (nrow < rows)
        fill_missing(&f, &r, nmin, nrow, k);
    const place a = place_rows(&f, x, nrow, k);
    cursor u = {sg_tile_view_of(type, packed, tile0, k), 0, tile0};
    unsigned t = 0;    /* the step that is added up */
    int g2 = 0;        /* the group that is multiplied */
    bool odd = false;  /* parity of a tile's first step */
    __m512 acc[ROWS];
    configure(nrow);
#define MULTIPLY(odd, step)                                                                  \
    sg_amx_multiply(odd, r.w.code[(step) % RING][0], a.q + (size_t)g2 * 32, a.stride);       \
    g2 = g2 + 1 == steps ? 0 : g2 + 1
#define STEP(odd)                                             \
    unpack(type, &r, &u, packed, tile0, tile1, t + 3, k);     \
    MULTIPLY(odd, t + 2);                                     \
    sg_amx_put(!odd, r.c[!odd]);                              \
    collect(rows, nmin, odd, acc, &r, &f, g, t);              \
    g++, t++;
#pragma GCC unroll 1
    for (unsigned i = 0; i < 3; i++)
        unpack(type, &r, &u, packed, tile0, tile1, i, k);
    MULTIPLY(false, 0);
    MULTIPLY(true, 1);
    sg_amx_put(false, r.c[0]);
    for (int tile = tile0; tile < tile1; tile++) {
        int g = 0;
#pragma GCC unroll 15
        for (int m = 0; m < rows; m++)
            acc[m] = _mm512_setzero_ps();
        if (odd) {
            STEP(true)
        }
        for (int i = (steps - g) / 2; i > 0; i--) {
            STEP(false)
            STEP(true)
        }
        if (g < steps) {
            STEP(false)
        }
        odd ^= steps % 2 == 1;
#pragma GCC unroll 15
        for (int m = 0; m < rows; m++)
            if (m < nrow)
                sg_store_tile_row(out[m], acc[m], tile, n);
    }
    SG_AMX_RELEASE();
}

/* ---- the table ---------------------------------------------------------------------------- */

#define DEFINE(name, type)                                                                                                      \
    static void name(float *const *out, const void *const *x, int nrow, const void *packed, int tile0, int tile1, int n, int k) \
    {                                                                                                                           \
        if (sg_wide_kind_of(type).halves == 2) /* Q6_K: another kernel's */                                                     \
            return;                                                                                                             \
        if (nrow <= 10)                                                                                                         \
            few_mul(type, 10, out, x, nrow, packed, tile0, tile1, n, k);                                                        \
        else if (nrow <= 12)                                                                                                    \
            few_mul(type, 12, out, x, nrow, packed, tile0, tile1, n, k);                                                        \
        else if (nrow <= 14)                                                                                                    \
            few_mul(type, 14, out, x, nrow, packed, tile0, tile1, n, k);                                                        \
        else                                                                                                                    \
            few_mul(type, 15, out, x, nrow, packed, tile0, tile1, n, k);                                                        \
    }
SG_TILE_TYPES(DEFINE)

sg_amx_some_fn *sg_amx_few_find(sg_dtype type, int nrow, int k)
{
    static sg_amx_some_fn *const table[SG_DTYPE_END] = {
#define ENTRY(name, type) [type] = name,
        SG_TILE_TYPES(ENTRY)
    };
    const int least = sg_tile_form_of(type).bits == 8 ? BYTES_ROWS_MIN : ROWS_MIN;
    return nrow >= least && nrow <= ROWS && k <= COLUMNS && sg_wide_kind_of(type).halves == 1 ? table[type] : NULL;
}
