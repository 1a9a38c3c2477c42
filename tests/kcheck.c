/* Every kernel of every table that this machine has, against a double-precision reference.
 *
 *   kcheck            check; TAP on standard output
 *   kcheck --bench [ISA [TYPE]]
 *                     time instead: M from 1 to 256 rows for N = K = 2048, one thread
 *
 * A check makes random weights in the type, random activations, and runs the kernel over all rows.  Then
 *   - each result is within a few float32 roundings of the sum in double over the same quantised values;
 *   - each row alone, and each tile alone, gives the same bits;
 *   - cells before and after each output row, and the packed bytes, are untouched.
 */
#include "base/clock.h"
#include "base/cpu.h"
#include "base/f16.h"
#include "kernel/linear.h"
#include "kernel/quant.h"
#include "tap.h"

#include <stdlib.h>
#include <time.h>

static const sg_dtype types[] = {SG_F32,  SG_F16,  SG_BF16, SG_Q4_0, SG_Q4_1, SG_Q5_0,   SG_Q5_1,   SG_Q8_0,
                                 SG_Q2_K, SG_Q3_K, SG_Q4_K, SG_Q5_K, SG_Q6_K, SG_IQ4_NL, SG_IQ4_XS, SG_MXFP4};
enum { NTYPE = sizeof types / sizeof *types, GUARD = 16 };

/* Weights of one shape: stored bytes, their values, and the packed tiles. */
typedef struct weights {
    sg_dtype type;
    int n, k;
    const sg_linear_kernel *kernel;
    unsigned char *stored;
    float *value;
    unsigned char *packed;
    size_t packed_bytes, tile_bytes;
} weights;

static float normal(void)
{
    double u = sg_rng_unit(tap_rng()) + 1e-12, v = sg_rng_unit(tap_rng());
    return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

/* The weights of `value` [n][k], which belongs to them from now on. */
static weights weights_of(sg_isa isa, sg_dtype type, int n, int k, float *value)
{
    size_t row = sg_dtype_row_bytes(type, (uint64_t)k);
    weights w = {.type = type, .n = n, .k = k, .kernel = sg_linear_kernel_find(isa, type, k), .value = value};
    w.stored = sg_alloc(row * (size_t)n);
    sg_quant_encode(type, w.stored, w.value, (size_t)n, (size_t)k, NULL);
    if (type == SG_Q8_0) /* files may have it, encoding does not make it */
        for (size_t i = 0; i < row * (size_t)n; i++)
            if (i % 34 > 1 && w.stored[i] == 0x81)
                w.stored[i] = 0x80;
    for (int j = 0; j < n; j++)
        sg_quant_decode(type, w.value + (size_t)j * (size_t)k, w.stored + (size_t)j * row, (size_t)k);
    w.tile_bytes = w.kernel->tile_bytes(k);
    int ntile = (n + SG_TILE - 1) / SG_TILE;
    w.packed_bytes = w.tile_bytes * (size_t)ntile;
    w.packed = sg_alloc_aligned(64, w.packed_bytes);
    for (int t = 0; t < ntile; t++) {
        int rows = n - t * SG_TILE < SG_TILE ? n - t * SG_TILE : SG_TILE;
        w.kernel->pack(w.packed + (size_t)t * w.tile_bytes, w.stored + (size_t)t * SG_TILE * row, rows, k);
    }
    return w;
}

static weights make_weights(sg_isa isa, sg_dtype type, int n, int k)
{
    size_t count = (size_t)n * (size_t)k;
    float *value = sg_alloc(count * sizeof *value);
    for (size_t i = 0; i < count; i++)
        value[i] = normal() * 0.05f + 0.01f;
    return weights_of(isa, type, n, k, value);
}

static void free_weights(weights *w)
{
    sg_free(w->value);
    sg_free(w->stored);
    sg_free_aligned(w->packed, w->packed_bytes);
}

/* Rows of activations: floats, the kernel's form, pointers. */
typedef struct rows {
    int nrow, k;
    float *x;
    unsigned char *form;
    size_t row_bytes, form_bytes;
    const void **at;
} rows;

static rows make_rows(sg_isa isa, sg_act act, int nrow, int k)
{
    rows r = {.nrow = nrow, .k = k, .row_bytes = sg_act_row_bytes(act, k)};
    r.form_bytes = r.row_bytes * (size_t)nrow;
    r.x = sg_alloc((size_t)nrow * (size_t)k * sizeof *r.x);
    r.form = sg_alloc_aligned(64, r.form_bytes);
    r.at = sg_alloc((size_t)nrow * sizeof *r.at);
    for (int m = 0; m < nrow; m++) {
        float *x = r.x + (size_t)m * (size_t)k;
        for (int i = 0; i < k; i++)
            x[i] = normal();
        sg_act_quantize(isa, act, r.form + (size_t)m * r.row_bytes, x, k);
        r.at[m] = r.form + (size_t)m * r.row_bytes;
    }
    return r;
}

static void free_rows(rows *r)
{
    sg_free(r->x);
    sg_free_aligned(r->form, r->form_bytes);
    sg_free(r->at);
}

/* Value i of a row in form `act`. */
static double form_value(sg_act act, const void *row, int k, int i)
{
    if (act == SG_ACT_F32)
        return ((const float *)row)[i];
    if (act == SG_ACT_BF16)
        return (double)sg_bf16_to_f32(((const uint16_t *)row)[i]);
    sg_act_q8 a = sg_act_q8_of(row, k);
    return (double)a.d[i / 32] * a.q[i];
}

/* The largest of |have - want| over the sum of |w x| of that output, in units of 2^-24. */
static double worst_error(const weights *w, const rows *r, const float *out, size_t stride)
{
    double worst = 0;
    double *x = sg_alloc((size_t)w->k * sizeof *x);
    for (int m = 0; m < r->nrow; m++) {
        for (int i = 0; i < w->k; i++)
            x[i] = form_value(w->kernel->act, r->at[m], w->k, i);
        for (int j = 0; j < w->n; j++) {
            double want = 0, size = 1e-30;
            for (int i = 0; i < w->k; i++) {
                double term = (double)w->value[(size_t)j * (size_t)w->k + (size_t)i] * x[i];
                want += term;
                size += fabs(term);
            }
            double e = fabs((double)out[(size_t)m * stride + (size_t)j] - want) / size * 0x1p24;
            worst = e > worst || isnan(e) ? e : worst;
        }
    }
    sg_free(x);
    return worst;
}

/* The sums of rows [m0, m1) and tiles [t0, t1) into `out`, whose row m is at out + m*stride. */
static void multiply(const weights *w, const rows *r, float *out, size_t stride, int m0, int m1, int t0, int t1)
{
    float **at = sg_alloc((size_t)r->nrow * sizeof *at);
    for (int m = m0; m < m1; m++)
        at[m] = out + (size_t)m * stride;
    w->kernel->mul(at + m0, r->at + m0, m1 - m0, w->packed, t0, t1, w->n, w->k);
    sg_free(at);
}

/* `out` of `count` floats filled with a pattern that no kernel writes. */
static float *guarded(size_t count)
{
    float *p = sg_alloc(count * sizeof *p);
    memset(p, 0x5a, count * sizeof *p);
    return p;
}

static bool same(const float *a, const float *b, size_t n) { return memcmp(a, b, n * sizeof *a) == 0; }

static void check_shape(sg_isa isa, sg_dtype type, int n, int k, int nrow)
{
    weights w = make_weights(isa, type, n, k);
    rows r = make_rows(isa, w.kernel->act, nrow, k);
    size_t stride = (size_t)n + GUARD, count = stride * (size_t)nrow + GUARD;
    int ntile = (n + SG_TILE - 1) / SG_TILE;
    float *buffer = guarded(count), *other = guarded(count), *out = buffer + GUARD, *out2 = other + GUARD;
    multiply(&w, &r, out, stride, 0, nrow, 0, ntile);
    double worst = worst_error(&w, &r, out, stride);
    double roundings = sg_dtype_of(type)->block == 1 ? k : k / 32.0; /* additions one after another */
    if (!(worst < 6 + 0.25 * roundings))
        tap_fail(__FILE__, __LINE__, "%s %s m %d n %d k %d: error %.1f roundings", sg_isa_name(isa),
                 sg_dtype_name(type), nrow, n, k, worst);
    for (int m = 0; m < nrow; m++)
        multiply(&w, &r, out2, stride, m, m + 1, 0, ntile);
    if (!same(buffer, other, count)) /* guard cells too: both have the same pattern there */
        tap_fail(__FILE__, __LINE__, "%s %s m %d n %d k %d: a row alone gives other bits", sg_isa_name(isa),
                 sg_dtype_name(type), nrow, n, k);
    float *third = guarded(count);
    if (nrow > 20) { /* rows at unequal distances: the first two change places, and the last two */
        const void *first = r.at[0], *last = r.at[nrow - 1];
        r.at[0] = r.at[1], r.at[1] = first;
        r.at[nrow - 1] = r.at[nrow - 2], r.at[nrow - 2] = last;
        multiply(&w, &r, third + GUARD, stride, 0, nrow, 0, ntile);
        size_t end = stride * (size_t)(nrow - 1);
        if (!same(out, third + GUARD + stride, (size_t)n) || !same(out + end, third + GUARD + end - stride, (size_t)n) ||
            !same(out + 2 * stride, third + GUARD + 2 * stride, stride * (size_t)(nrow - 4)))
            tap_fail(__FILE__, __LINE__, "%s %s m %d n %d k %d: scattered rows give other bits", sg_isa_name(isa),
                     sg_dtype_name(type), nrow, n, k);
        r.at[1] = r.at[0], r.at[0] = first;
        r.at[nrow - 2] = r.at[nrow - 1], r.at[nrow - 1] = last;
    }
    for (int t = ntile - 1; t >= 0; t--)
        for (int m = 0; m < nrow; m += 5)
            multiply(&w, &r, third + GUARD, stride, m, m + 5 < nrow ? m + 5 : nrow, t, t + 1);
    if (!same(buffer, third, count))
        tap_fail(__FILE__, __LINE__, "%s %s m %d n %d k %d: a tile alone gives other bits", sg_isa_name(isa),
                 sg_dtype_name(type), nrow, n, k);
    for (size_t i = 0; i < GUARD; i++) {
        uint32_t u;
        memcpy(&u, &buffer[i], 4);
        if (u != 0x5a5a5a5a)
            tap_fail(__FILE__, __LINE__, "%s %s: wrote before the output", sg_isa_name(isa), sg_dtype_name(type));
        memcpy(&u, &buffer[count - 1 - i], 4);
        if (u != 0x5a5a5a5a)
            tap_fail(__FILE__, __LINE__, "%s %s: wrote after the output", sg_isa_name(isa), sg_dtype_name(type));
    }
    sg_free(buffer);
    sg_free(other);
    sg_free(third);
    free_rows(&r);
    free_weights(&w);
}

TEST(linear_kernels_are_right_and_independent_of_the_batch)
{
    int shapes = 0;
    for (int isa = 0; isa < SG_ISA_END; isa++) {
        if (!sg_isa_available((sg_isa)isa))
            continue;
        for (int t = 0; t < NTYPE && !tap_failed(); t++) {
            int block = (int)sg_dtype_of(types[t])->block;
            int unit = block == 1 ? 7 : block;
            check_shape((sg_isa)isa, types[t], 16, unit, 1);
            check_shape((sg_isa)isa, types[t], 33, unit * (block == 1 ? 41 : block == 32 ? 9 : 3), 37);
            if (block == 1) /* more than a second level cache holds at once */
                check_shape((sg_isa)isa, types[t], 33, 4133, 131);
            else /* more than 32 groups, and more than 32 tiles */
                for (int m = 6; m <= 64; m += m < 33 ? 9 : 15)
                    check_shape((sg_isa)isa, types[t], m == 24 ? 530 : 33, 1280, m);
            if (isa == SG_ISA_AMX && block > 1) /* more than is copied of scattered rows */
                check_shape((sg_isa)isa, types[t], 17, 8448, 39);
            if (isa == SG_ISA_AVX2 && block > 1) /* more columns than few rows go straight through a tile with */
                check_shape((sg_isa)isa, types[t], 17, 33024, 5);
            if (isa == SG_ISA_AVX2 && block > 1) /* more rows than a block has */
                check_shape((sg_isa)isa, types[t], 17, 512, 261);
            for (int i = 0; i < 3; i++, shapes++) {
                int n = 1 + (int)sg_rng_below(tap_rng(), 80), m = 1 + (int)sg_rng_below(tap_rng(), 70);
                int k = unit * (1 + (int)sg_rng_below(tap_rng(), block == 1 ? 90 : block == 32 ? 45 : 6));
                check_shape((sg_isa)isa, types[t], n, k, m);
            }
            shapes += 2;
        }
        tap_note("table %s checked", sg_isa_name((sg_isa)isa));
    }
    tap_note("%d shapes", shapes);
}

/* Weights and activations of one size whose signs agree, disagree, or are drawn: the largest sums that 16 bits must hold. */
static void check_largest(sg_isa isa, sg_dtype type, int nrow)
{
    enum { N = 48, K = 512 };
    float *value = sg_alloc(sizeof *value * N * K);
    for (int j = 0; j < N; j++)
        for (int i = 0; i < K; i++)
            value[j * K + i] = (j % 3 == 0 ? i % 7 < 3 : j % 3 == 1 ? true : sg_rng_below(tap_rng(), 2) == 0) ? -1.0f : 1.0f;
    weights w = weights_of(isa, type, N, K, value);
    rows r = make_rows(isa, w.kernel->act, nrow, K);
    for (int m = 0; m < nrow; m++) {
        float *x = r.x + m * K;
        for (int i = 0; i < K; i++)
            x[i] = (m % 2 ? 1.0f : -1.0f) * (m % 5 < 4 ? value[m % 5 % 4 * 5 * K + i] < 0 ? -2.0f : 2.0f : normal());
        sg_act_quantize(isa, w.kernel->act, r.form + (size_t)m * r.row_bytes, x, K);
    }
    float *out = guarded(N * (size_t)nrow);
    multiply(&w, &r, out, N, 0, nrow, 0, N / SG_TILE);
    double worst = worst_error(&w, &r, out, N);
    if (!(worst < 8))
        tap_fail(__FILE__, __LINE__, "%s %s m %d: largest sums, error %.1f roundings", sg_isa_name(isa), sg_dtype_name(type), nrow, worst);
    sg_free(out);
    free_rows(&r);
    free_weights(&w);
}

TEST(the_largest_sums_are_exact)
{
    for (int isa = 0; isa < SG_ISA_END; isa++)
        for (int t = 0; t < NTYPE && sg_isa_available((sg_isa)isa); t++)
            for (int m = 1; m <= 81 && sg_dtype_of(types[t])->block > 1; m += 20)
                check_largest((sg_isa)isa, types[t], m);
}

TEST(exact_linear_is_close_to_double)
{
    for (int t = 0; t < NTYPE; t++) {
        int block = (int)sg_dtype_of(types[t])->block, k = block == 1 ? 4171 : 17 * 256, n = 9, nrow = 19;
        weights w = make_weights(SG_ISA_C, types[t], n, k);
        rows r = make_rows(SG_ISA_C, SG_ACT_F32, nrow, k);
        float *out = guarded((size_t)(n * nrow)), *at[19];
        const float *x[19];
        for (int m = 0; m < nrow; m++)
            at[m] = out + m * n, x[m] = r.x + (size_t)m * (size_t)k;
        sg_linear_exact(at, x, nrow, w.stored, types[t], 0, n, k);
        double worst = 0;
        for (int m = 0; m < nrow; m++)
            for (int j = 0; j < n; j++) {
                double want = 0, size = 1e-30;
                for (int i = 0; i < k; i++) {
                    double term = (double)w.value[(size_t)j * (size_t)k + (size_t)i] * (double)x[m][i];
                    want += term, size += fabs(term);
                }
                worst = fmax(worst, fabs((double)at[m][j] - want) / size * 0x1p24);
            }
        sg_free(out);
        free_rows(&r);
        free_weights(&w);
        CHECK_NEAR(worst, 0, 8);
    }
}

TEST(values_that_are_not_finite_stay_visible)
{
    for (int isa = 0; isa < SG_ISA_END; isa++) {
        if (!sg_isa_available((sg_isa)isa))
            continue;
        for (int t = 0; t < NTYPE; t++) {
            weights w = make_weights((sg_isa)isa, types[t], 16, 256);
            rows r = make_rows((sg_isa)isa, w.kernel->act, 2, 256);
            r.x[256 + 77] = t % 2 ? NAN : INFINITY;
            sg_act_quantize((sg_isa)isa, w.kernel->act, r.form + r.row_bytes, r.x + 256, 256);
            float out[32];
            multiply(&w, &r, out, 16, 0, 2, 0, 1);
            for (int j = 0; j < 16; j++) {
                CHECK(isfinite(out[j]));
                CHECK(!isfinite(out[16 + j]) || w.value[(size_t)j * 256 + 77] == 0);
            }
            free_rows(&r);
            free_weights(&w);
        }
    }
}

/* Every table quantises activations to the bytes of the plain C one: ends of rows, ties, and what is not finite. */
TEST(activations_are_quantised_alike_by_every_table)
{
    static float x[1200];
    for (int rep = 0; rep < 400; rep++) {
        int k = 1 + (int)sg_rng_below(tap_rng(), rep % 2 ? 200 : 1200);
        size_t bytes = sg_act_row_bytes(SG_ACT_Q8, k);
        for (int i = 0; i < k; i++)
            x[i] = rep % 3 == 0 ? (float)((int)sg_rng_below(tap_rng(), 509) - 254) / 2 : normal() * (rep % 3 == 1 ? 1e-20f : 1e5f);
        if (rep % 5 == 0)
            x[sg_rng_below(tap_rng(), (uint64_t)k)] = rep % 2 ? NAN : -INFINITY;
        unsigned char *want = sg_alloc_aligned(64, bytes), *have = sg_alloc_aligned(64, bytes);
        sg_act_quantize(SG_ISA_C, SG_ACT_Q8, want, x, k);
        for (int isa = SG_ISA_AVX2; isa < SG_ISA_END; isa++) {
            memset(have, 0, bytes);
            if (sg_isa_available((sg_isa)isa))
                sg_act_quantize((sg_isa)isa, SG_ACT_Q8, have, x, k);
            if (sg_isa_available((sg_isa)isa) && memcmp(have, want, bytes) != 0)
                tap_fail(__FILE__, __LINE__, "%s: repetition %d, k %d: other bytes", sg_isa_name((sg_isa)isa), rep, k);
        }
        sg_free_aligned(want, bytes);
        sg_free_aligned(have, bytes);
    }
}

/* Block types: sums inside a block are exact and the order after them is fixed, so the vector tables agree. */
/* Every table from AVX2 on: [m][n] of one shape, each against the first. */
static void same_bits(sg_dtype type, int n, int k, int m)
{
    enum { MOST = 117 * 33 };
    static float first[MOST], out[MOST];
    uint64_t state = tap_rng()->state;
    for (int isa = SG_ISA_AVX2; isa < SG_ISA_END && sg_isa_available((sg_isa)isa); isa++) {
        tap_rng()->state = state;
        weights w = make_weights((sg_isa)isa, type, n, k);
        rows r = make_rows((sg_isa)isa, w.kernel->act, m, k);
        multiply(&w, &r, out, (size_t)n, 0, m, 0, (n + SG_TILE - 1) / SG_TILE);
        size_t bytes = sizeof *out * (size_t)n * (size_t)m;
        if (isa == SG_ISA_AVX2)
            memcpy(first, out, bytes);
        if (memcmp(first, out, bytes) != 0)
            tap_fail(__FILE__, __LINE__, "%s %s, %d x %d x %d: not the bits of the avx2 table", sg_isa_name((sg_isa)isa),
                     sg_dtype_name(type), m, n, k);
        free_rows(&r);
        free_weights(&w);
    }
}

/* Eight tiles, so that few rows take them by four, two and one; 18 or 24 groups of columns, so that panels are cut. */
TEST(vector_tables_give_the_same_bits_for_block_types)
{
    static const int rows_of[] = {1, 2, 3, 4, 5, 6, 7, 12, 15, 16, 33};
    for (int t = 0; t < NTYPE; t++) {
        int block = (int)sg_dtype_of(types[t])->block;
        if (block == 1)
            continue;
        same_bits(types[t], 40, 512, 13);
        for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++)
            same_bits(types[t], i % 2 ? 117 : 16 * 7, block == 32 ? 576 : 768, rows_of[i]);
    }
}

/* ---- timing --------------------------------------------------------------------- */

static const int bench_rows[] = {1,  2,  3,  4,  6,  7,  8,  9,  10, 12, 14, 15,  16,  17, 20,
                                 23, 24, 31, 32, 33, 39, 48, 64, 65, 71, 100, 128, 129, 256};
enum { NBENCH = sizeof bench_rows / sizeof *bench_rows };

/* Time that this thread ran: what others do on the machine does not count, but for the caches. */
static int64_t ran_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void bench_type(sg_isa isa, sg_dtype type)
{
    int n = 2048, k = 2048;
    weights w = make_weights(isa, type, n, k);
    rows r = make_rows(isa, w.kernel->act, 256, k);
    float *out = sg_alloc((size_t)n * 256 * sizeof *out);
    printf("%-7s %-7s", sg_isa_name(isa), sg_dtype_name(type));
    for (size_t i = 0; i < NBENCH; i++) {
        int m = bench_rows[i];
        int64_t best = INT64_MAX, end = sg_clock_ns() + (m < 64 ? 30000000 : 100000000);
        do {
            int64_t t = ran_ns();
            for (int tile = 0; tile < n / SG_TILE; tile += 32) /* as tasks are */
                multiply(&w, &r, out, (size_t)n, 0, m, tile, tile + 32);
            t = ran_ns() - t;
            best = t < best ? t : best;
        } while (sg_clock_ns() < end);
        printf(" %5.0f", 2.0 * m * n * k / (double)best);
    }
    int64_t t = sg_clock_ns();
    for (int i = 0; i < 20; i++)
        for (int m = 0; m < 16; m++)
            sg_act_quantize(isa, w.kernel->act, r.form, r.x, k);
    printf("  quantize %.2f us/row\n", (double)(sg_clock_ns() - t) / 320e3);
    sg_free(out);
    free_rows(&r);
    free_weights(&w);
}

static int bench(const char *isa_name, const char *only)
{
    printf("GOP/s M:       ");
    for (size_t i = 0; i < NBENCH; i++)
        printf(" %5d", bench_rows[i]);
    printf("  (one thread, N = K = 2048)\n");
    for (int isa = SG_ISA_AVX2; isa < SG_ISA_END; isa++)
        for (int t = 0; t < NTYPE && sg_isa_available((sg_isa)isa); t++)
            if ((!isa_name || strcmp(isa_name, sg_isa_name((sg_isa)isa)) == 0) && (!only || strcmp(only, sg_dtype_name(types[t])) == 0))
                bench_type((sg_isa)isa, types[t]);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--bench") == 0)
        return bench(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL);
    return tap_main(argc, argv);
}
