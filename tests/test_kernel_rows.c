/* Row loops of every table against double-precision formulas; a value's image does not depend on its place. */
#include "tap.h"

#include "kernel/rows.h"

enum { MAX = 300 };

static double curve_ref(double x, sg_curve c)
{
    switch (c) {
    case SG_CURVE_SILU: return x / (1 + exp(-x));
    case SG_CURVE_GELU_TANH: return x / 2 * (1 + tanh(0.797884560802865 * (x + 0.044715 * x * x * x)));
    case SG_CURVE_GELU: return x / 2 * (1 + erf(x / sqrt(2.0)));
    case SG_CURVE_TANH: return tanh(x);
    case SG_CURVE_RELU: return x > 0 ? x : 0;
    }
    return 0;
}

static void fill(float *x, int n, double range)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)((sg_rng_unit(tap_rng()) * 2 - 1) * range);
}

static void norms(const sg_row_kernel *k, int n)
{
    float x[MAX], w[MAX], b[MAX], out[MAX + 1];
    fill(x, n, 3);
    fill(w, n, 2);
    fill(b, n, 2);
    double sq = 0, mean = 0, var = 0;
    for (int i = 0; i < n; i++) {
        sq += (double)x[i] * (double)x[i] / n;
        mean += (double)x[i] / n;
    }
    for (int i = 0; i < n; i++)
        var += ((double)x[i] - mean) * ((double)x[i] - mean) / n;
    out[n] = 77;
    k->rms_norm(out, x, w, n, 1e-5f);
    for (int i = 0; i < n; i++)
        CHECK_NEAR(out[i], (double)x[i] / sqrt(sq + 1e-5) * (double)w[i], 2e-6);
    k->layer_norm(out, x, w, b, n, 1e-5f);
    for (int i = 0; i < n; i++)
        CHECK_NEAR(out[i], ((double)x[i] - mean) / sqrt(var + 1e-5) * (double)w[i] + (double)b[i],
                   4e-6 * (1 + fabs(mean) / sqrt(var + 1e-5)));
    CHECK_NEAR(out[n], 77, 0);
    k->rms_norm(x, x, NULL, n, 1e-5f);
    double again = 0;
    for (int i = 0; i < n; i++)
        again += (double)x[i] * (double)x[i] / n;
    CHECK_NEAR(again, sq / (sq + 1e-5), 1e-5);
}

static void curves(const sg_row_kernel *k, int n)
{
    float x[MAX], y[MAX + 1], u[MAX];
    for (int c = SG_CURVE_SILU; c <= SG_CURVE_RELU; c++) {
        fill(x, n, sg_rng_below(tap_rng(), 2) ? 1 : 12);
        fill(u, n, 2);
        y[n] = 77;
        k->glu(y, x, u, n, (sg_curve)c);
        for (int i = 0; i < n; i++)
            CHECK_NEAR(y[i], curve_ref((double)x[i], (sg_curve)c) * (double)u[i], 4e-6 * (1 + fabs((double)x[i])));
        CHECK_NEAR(y[n], 77, 0);
        memcpy(y, x, sizeof x);
        k->curve(y, n, (sg_curve)c);
        for (int i = 0; i < n; i++) { /* the same bits for a value anywhere in a row */
            float one = x[i];
            k->curve(&one, 1, (sg_curve)c);
            CHECK(memcmp(&one, &y[i], sizeof one) == 0);
        }
    }
    fill(x, n, 12);
    fill(u, n, 12);
    k->glu_oai(y, x, u, n);
    for (int i = 0; i < n; i++) {
        double g = fmin((double)x[i], 7), v = fmax(fmin((double)u[i], 7), -7);
        CHECK_NEAR(y[i], (v + 1) * g / (1 + exp(-1.702 * g)), 2e-5);
    }
    memcpy(y, x, sizeof x);
    k->softcap(y, n, 5);
    for (int i = 0; i < n; i++)
        CHECK_NEAR(y[i], 5 * tanh((double)x[i] / 5), 3e-6);
    k->add(y, u, n, 0.5f);
    for (int i = 0; i < n; i++)
        CHECK_NEAR(y[i], 5 * tanh((double)x[i] / 5) + 0.5 * (double)u[i], 4e-6);
    for (int nc = 0; nc < 3; nc++)
        for (int more = 0; more < 2; more++) {
            const float *columns[2] = {u, x}, times[2] = {0.5f, -2};
            for (int i = 0; i <= n; i++)
                y[i] = 7;
            k->join(y, x, columns, times, nc, n, more);
            for (int i = 0; i < n; i++)
                CHECK_NEAR(y[i], (double)x[i] + (nc > 0) * 0.5 * (double)u[i] - (nc > 1) * 2 * (double)x[i] + 7 * more, 1e-5);
            CHECK(y[n] == 7);
        }
}

static void rotations(const sg_row_kernel *k, int half)
{
    float x[MAX], h[MAX], p[MAX], c[MAX], s[MAX];
    fill(x, 2 * half, 3);
    for (int i = 0; i < half; i++) {
        double a = sg_rng_unit(tap_rng()) * 6;
        c[i] = (float)cos(a);
        s[i] = (float)sin(a);
    }
    for (int i = 0; i < half; i++) { /* the same pairs in both conventions */
        h[i] = p[2 * i] = x[2 * i];
        h[i + half] = p[2 * i + 1] = x[2 * i + 1];
    }
    k->rotate_halves(h, c, s, half);
    k->rotate_pairs(p, c, s, half);
    for (int i = 0; i < half; i++) {
        CHECK_NEAR(p[2 * i], (double)x[2 * i] * (double)c[i] - (double)x[2 * i + 1] * (double)s[i], 1e-6);
        CHECK_NEAR(p[2 * i + 1], (double)x[2 * i] * (double)s[i] + (double)x[2 * i + 1] * (double)c[i], 1e-6);
        CHECK(h[i] == p[2 * i] && h[i + half] == p[2 * i + 1]);
    }
}

static void on_table(sg_isa isa)
{
    if (!sg_isa_available(isa)) {
        tap_skip("this machine has no %s", sg_isa_name(isa));
        return;
    }
    const sg_row_kernel *k = sg_row_kernel_find(isa);
    for (int i = 0; i < 200 && !tap_failed(); i++) {
        int n = i < 40 ? i + 1 : 1 + (int)sg_rng_below(tap_rng(), MAX - 1);
        norms(k, n);
        curves(k, n);
        rotations(k, 1 + n / 2 < MAX / 2 ? 1 + n / 2 : MAX / 2);
    }
}

TEST(plain_c) { on_table(SG_ISA_C); }
TEST(avx2) { on_table(SG_ISA_AVX2); }
TEST(avx512) { on_table(SG_ISA_AVX512); }

TAP_MAIN
