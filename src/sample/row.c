/* sample/row.c - passes over a whole row of logits, as vectors.
 *
 * A draw looks at 50,000 to 250,000 logits, 0.2 to 1 MB from the second level cache; one call of exp for each would take as long as a
 * small model takes for its step.  So every pass is a loop over blocks that the compiler makes vectors of:
 *
 *     largest      lanes, because one running maximum would wait for itself
 *     mass         exponentials and, while they are in registers, the sum of each block
 *     draw         over the sums of blocks, then within one block
 *     next, find   a block at a time, until one has what is looked for
 *     cut          how many tokens, and how much mass, lie within four distances from the best at once; then within four
 *                  that divide the step in which there was enough
 *
 * Loops are compiled twice, for any processor and for AVX2.  They are the same operations in the same lanes (no fused multiply-adds),
 * so the same bits.
 */
#include "sample/row.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define AVX2 __attribute__((target("avx2")))

enum { BLOCK = SG_ROW_BLOCK, LANES = 8 };

static bool has_avx2(void) { return __builtin_cpu_supports("avx2"); }

static size_t block_end(size_t n, size_t i) { return n - i < BLOCK ? n : i + BLOCK; }

/* ---- the largest ------------------------------------------------------------------------ */

INLINE float largest_loop(const float *x, size_t n)
{
    enum { WIDE = 4 * LANES };
    float most[WIDE];
    size_t i = 0;
    for (size_t k = 0; k < WIDE; k++)
        most[k] = -INFINITY;
    for (; i + WIDE <= n; i += WIDE)
        for (size_t k = 0; k < WIDE; k++)
            most[k] = x[i + k] > most[k] ? x[i + k] : most[k];
    for (; i < n; i++)
        most[0] = x[i] > most[0] ? x[i] : most[0];
    for (size_t k = 1; k < WIDE; k++)
        most[0] = most[k] > most[0] ? most[k] : most[0];
    return most[0];
}

AVX2 static float largest_avx2(const float *x, size_t n) { return largest_loop(x, n); }
static float largest_any(const float *x, size_t n) { return largest_loop(x, n); }

float sg_row_largest(const float *x, size_t n) { return has_avx2() ? largest_avx2(x, n) : largest_any(x, n); }

/* ---- looking for something ----------------------------------------------------------------- */

/* The first block from the one of i on that has a value from `least` on; n for none. */
INLINE size_t block_loop(const float *x, size_t n, size_t i, float least)
{
    for (i -= i % BLOCK; i + BLOCK <= n; i += BLOCK) {
        int any = 0;
        for (size_t k = 0; k < BLOCK; k++)
            any |= x[i + k] >= least;
        if (any)
            return i;
    }
    return i;
}

AVX2 static size_t block_avx2(const float *x, size_t n, size_t i, float least) { return block_loop(x, n, i, least); }
static size_t block_any(const float *x, size_t n, size_t i, float least) { return block_loop(x, n, i, least); }

size_t sg_row_next(const float *x, size_t n, size_t i, float least)
{
    while (i < n) {
        for (size_t end = block_end(n, i - i % BLOCK); i < end; i++)
            if (x[i] >= least)
                return i;
        i = i < n ? has_avx2() ? block_avx2(x, n, i, least) : block_any(x, n, i, least) : n;
    }
    return n;
}

int32_t sg_row_find(const float *x, size_t n, float value)
{
    for (size_t i = 0; (i = sg_row_next(x, n, i, value)) < n; i++)
        if (x[i] == value)
            return (int32_t)i;
    return -1;
}

/* ---- masses ----------------------------------------------------------------------------------- */

/* e^-d of d >= 0 to seven digits: 2^n e^r with |r| <= ln 2 / 2.  From 88 on, and for what is no number, n is -127 and 2^n,
 * made of its bits, 0.  The comparison is one of bits, or the compiler would not make vectors of the loop around it. */
INLINE float fast_exp(float d)
{
    const uint32_t far = 0x42b00000; /* 88 */
    uint32_t in;
    memcpy(&in, &d, sizeof in);
    in = in < far ? in : far;
    memcpy(&d, &in, sizeof d);
    int32_t n = (int32_t)(d * -1.44269504f - 0.5f), bits = (n + 127) * (1 << 23); /* rounded, as it is negative */
    float scale, r = (float)n * 2.12194440e-4f - (d + (float)n * 0.693359375f);
    float p = 1 + r * (1 + r * (0.5f + r * (0.166666667f + r * (0.0416666667f + r * (0.00833333333f + r * 0.00138888889f)))));
    memcpy(&scale, &bits, sizeof scale);
    return p * scale;
}

INLINE double block_sum(const float *w, size_t n)
{
    double s[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t k = 0; k < LANES; k++)
            s[k] += (double)w[i + k];
    for (; i < n; i++)
        s[i % LANES] += (double)w[i];
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

INLINE void mass_loop(float *restrict w, double *restrict sum, const float *restrict x, size_t n, float most, float inverse)
{
    size_t i = 0;
    for (; i + BLOCK <= n; i += BLOCK) {
        for (size_t k = 0; k < BLOCK; k++)
            w[i + k] = fast_exp((most - x[i + k]) * inverse);
        sum[i / BLOCK] = block_sum(w + i, BLOCK);
    }
    for (size_t k = i; k < n; k++)
        w[k] = fast_exp((most - x[k]) * inverse);
    if (i < n)
        sum[i / BLOCK] = block_sum(w + i, n - i);
}

AVX2 static void mass_avx2(float *restrict w, double *restrict sum, const float *restrict x, size_t n, float most, float inverse)
{
    mass_loop(w, sum, x, n, most, inverse);
}

static void mass_any(float *restrict w, double *restrict sum, const float *restrict x, size_t n, float most, float inverse)
{
    mass_loop(w, sum, x, n, most, inverse);
}

static void mass_of_infinite(float *w, double *sum, const float *x, size_t n)
{
    for (size_t i = 0; i < n; i += BLOCK) {
        size_t end = block_end(n, i);
        for (size_t k = i; k < end; k++)
            w[k] = isinf(x[k]) && x[k] > 0 ? 1.0f : 0.0f;
        sum[i / BLOCK] = block_sum(w + i, end - i);
    }
}

double sg_row_mass(float *w, double *sum, const float *x, size_t n, float most, float t)
{
    float inverse = 1 / t < FLT_MAX ? 1 / t : FLT_MAX;
    double total = 0;
    if (isinf(most))
        mass_of_infinite(w, sum, x, n);
    else if (has_avx2())
        mass_avx2(w, sum, x, n, most, inverse);
    else
        mass_any(w, sum, x, n, most, inverse);
    for (size_t b = 0; b < sg_row_nblock(n); b++)
        total += sum[b];
    return total;
}

int32_t sg_row_draw(const float *w, const double *sum, size_t n, double u)
{
    double before = 0;
    size_t b = 0, nblock = sg_row_nblock(n), last = 0;
    for (; b + 1 < nblock && before + sum[b] <= u; b++)
        before += sum[b];
    for (; b < nblock; b++) /* in another order the block's sum may be a little less */
        for (size_t k = b * BLOCK, end = block_end(n, k); k < end; k++) {
            last = w[k] > 0 ? k : last;
            before += (double)w[k];
            if (before > u && w[k] > 0)
                return (int32_t)k;
        }
    for (size_t k = n; last == 0 && k-- > 0;)
        last = w[k] > 0 ? k : 0;
    return (int32_t)last;
}

/* ---- where the best end ------------------------------------------------------------------------- */

enum { CUTS = 4, PIECE = 8 * BLOCK };

/* Of what reaches each of four logits: how many, and their mass. */
typedef struct cuts {
    float at[CUTS];
    size_t many[CUTS];
    double mass[CUTS];
} cuts;

typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));
typedef int32_t masks __attribute__((vector_size(LANES * sizeof(int32_t))));

INLINE void count_piece(cuts *c, const float *x, const float *w)
{
    masks many[CUTS] = {0};
    lanes mass[CUTS] = {0};
    for (size_t i = 0; i < PIECE; i += LANES) {
        const lanes at = *(const lanes *)(x + i);
        const masks weight = (masks) * (const lanes *)(w + i);
        for (size_t q = 0; q < CUTS; q++) {
            masks in = at >= c->at[q]; /* -1 where it is so */
            many[q] -= in;
            mass[q] += (lanes)(weight & in);
        }
    }
    for (size_t q = 0; q < CUTS; q++)
        for (size_t k = 0; k < LANES; k++) {
            c->many[q] += (size_t)many[q][k];
            c->mass[q] += (double)mass[q][k];
        }
}

/* Sums of 64 in a lane are floats, the rest is double: four digits more than `enough` asks for. */
INLINE void count_loop(cuts *c, const float *x, const float *w, size_t n)
{
    size_t i = 0;
    for (; i + PIECE <= n; i += PIECE)
        count_piece(c, x + i, w + i);
    for (; i < n; i++)
        for (size_t q = 0; q < CUTS; q++)
            if (x[i] >= c->at[q]) {
                c->many[q]++;
                c->mass[q] += (double)w[i];
            }
}

AVX2 static void count_avx2(cuts *c, const float *x, const float *w, size_t n) { count_loop(c, x, w, n); }
static void count_any(cuts *c, const float *x, const float *w, size_t n) { count_loop(c, x, w, n); }

static void count(cuts *c, const float *x, const float *w, size_t n)
{
    for (size_t q = 0; q < CUTS; q++) {
        c->many[q] = 0;
        c->mass[q] = 0;
    }
    if (has_avx2())
        count_avx2(c, x, w, n);
    else
        count_any(c, x, w, n);
}

/* The first of the distances within which there is enough; CUTS for none. */
static size_t enough(const cuts *c, size_t number, double mass)
{
    size_t q = 0;
    while (q < CUTS && c->many[q] < number && c->mass[q] <= mass)
        q++;
    return q;
}

float sg_row_cut(const float *x, const float *w, size_t n, float most, size_t number, double share, double total)
{
    enum { FEW = 256 };
    float low = 0, step = 2, known = -INFINITY; /* there is not enough within `low` */
    for (;;) {
        bool found = known > -INFINITY;
        cuts c;
        for (size_t q = 0; q < CUTS; q++)
            c.at[q] = most - (found ? low + step * (float)(q + 1) : step * (float)(1 << q));
        count(&c, x, w ? w : x, n);
        size_t q = enough(&c, number, w ? share * total * (1 + 1e-5) : INFINITY);
        if (q == CUTS) {
            step *= 1 << CUTS;
            if (found || step > 512)
                return known; /* all of them, as far as these sums can tell */
            continue;
        }
        float far = most - c.at[q], near = found ? low + step * (float)q : q ? far / 2 : step < 4 ? 0 : step / 2;
        known = c.at[q];
        if (c.many[q] <= FEW || far - near <= 0.25f)
            return known;
        low = near;
        step = (far - near) / CUTS;
    }
}
