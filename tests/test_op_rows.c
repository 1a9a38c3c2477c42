/* Norms, activations, rotations and experts against the same formulas in double, at sizes with and without tails, and
 * with the rows in one call or one by one: the same bits. */
#include "op/op.h"
#include "tap.h"

#include <stdlib.h>

enum { ROWS = 13 };

static sg_ops *ops;

static bool open_ops(int nthread)
{
    sg_error err;
    sg_ops_options o = {.nthread = nthread};
    ops = NULL;
    return sg_isa_choose(&o.isa, &err) == SG_OK && sg_ops_open(&ops, &o, &err) == SG_OK &&
           sg_ops_reserve(ops, 64, 4096, &err) == SG_OK;
}

static void fill(float *x, size_t n, float scale)
{
    for (size_t i = 0; i < n; i++)
        x[i] = scale * (float)(2 * sg_rng_unit(tap_rng()) - 1);
}

static const int sizes[] = {1, 7, 16, 33, 64, 100, 576, 1031};

TEST(rms_norm_matches_double)
{
    static float x[ROWS * 1031], out[ROWS * 1031], one[ROWS * 1031], w[1031];
    CHECK(open_ops(3));
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int n = sizes[k];
        fill(x, (size_t)(ROWS * n), 3);
        fill(w, (size_t)n, 2);
        sg_op_rms_norm(ops, out, x, (size_t)n, ROWS, 1, n, w, 1e-5f);
        for (int r = 0; r < ROWS; r++) {
            double sum = 0;
            for (int i = 0; i < n; i++)
                sum += (double)x[r * n + i] * (double)x[r * n + i];
            double s = 1 / sqrt(sum / n + 1e-5);
            for (int i = 0; i < n; i++)
                CHECK_NEAR(out[r * n + i], (double)x[r * n + i] * s * (double)w[i],
                           2e-6 * (1 + fabs((double)out[r * n + i])));
            sg_op_rms_norm(ops, one + r * n, x + r * n, (size_t)n, 1, 1, n, w, 1e-5f);
        }
        CHECK(memcmp(out, one, (size_t)(ROWS * n) * sizeof *out) == 0);
    }
    sg_ops_close(ops);
}

TEST(rms_norm_of_heads_is_the_norm_of_each)
{
    enum { HEADS = 5, N = 24, STRIDE = 150 };
    float x[ROWS * STRIDE], w[N], want[N];
    CHECK(open_ops(2));
    fill(x, ROWS * STRIDE, 1);
    fill(w, N, 1);
    float before[ROWS * STRIDE];
    memcpy(before, x, sizeof x);
    sg_op_rms_norm(ops, x, x, STRIDE, ROWS, HEADS, N, w, 1e-6f);
    for (int r = 0; r < ROWS; r++) {
        for (int h = 0; h < HEADS; h++) {
            sg_op_rms_norm(ops, want, before + r * STRIDE + h * N, N, 1, 1, N, w, 1e-6f);
            CHECK(memcmp(want, x + r * STRIDE + h * N, sizeof want) == 0);
        }
        CHECK(memcmp(x + r * STRIDE + HEADS * N, before + r * STRIDE + HEADS * N, (STRIDE - HEADS * N) * sizeof *x) ==
              0);
    }
    sg_ops_close(ops);
}

TEST(layer_norm_matches_double)
{
    static float x[ROWS * 1031], out[ROWS * 1031], w[1031], b[1031];
    CHECK(open_ops(2));
    for (size_t k = 1; k < sizeof sizes / sizeof *sizes; k++) {
        int n = sizes[k];
        fill(x, (size_t)(ROWS * n), 3);
        fill(w, (size_t)n, 2);
        fill(b, (size_t)n, 2);
        sg_op_layer_norm(ops, out, x, (size_t)n, ROWS, n, w, b, 1e-5f);
        for (int r = 0; r < ROWS; r++) {
            double mean = 0, var = 0;
            for (int i = 0; i < n; i++)
                mean += (double)x[r * n + i] / n;
            for (int i = 0; i < n; i++)
                var += ((double)x[r * n + i] - mean) * ((double)x[r * n + i] - mean) / n;
            for (int i = 0; i < n; i++) {
                double want = ((double)x[r * n + i] - mean) / sqrt(var + 1e-5) * (double)w[i] + (double)b[i];
                CHECK_NEAR(out[r * n + i], want, 4e-6 * (1 + fabs(want)));
            }
        }
    }
    sg_ops_close(ops);
}

static double act(double x, sg_glu kind)
{
    switch (kind) {
    case SG_GLU_SILU:
        return x / (1 + exp(-x));
    case SG_GLU_GELU_TANH:
        return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case SG_GLU_GELU:
        return 0.5 * x * (1 + erf(x / sqrt(2)));
    case SG_GLU_OAI:
        return fmin(x, 7) / (1 + exp(-1.702 * fmin(x, 7)));
    }
    return 0;
}

TEST(gated_units_match_double)
{
    enum { N = 203 };
    static float g[ROWS * N], u[ROWS * N], out[ROWS * N];
    CHECK(open_ops(3));
    for (int kind = SG_GLU_SILU; kind <= SG_GLU_OAI; kind++)
        for (int scale = 1; scale <= 200; scale *= 14) {
            fill(g, ROWS * N, (float)scale);
            fill(u, ROWS * N, (float)scale);
            sg_op_glu(ops, out, N, g, N, u, N, ROWS, N, (sg_glu)kind);
            for (int i = 0; i < ROWS * N; i++) {
                double v = (double)u[i],
                       want = act((double)g[i], (sg_glu)kind) * (kind == SG_GLU_OAI ? fmin(fmax(v, -7), 7) + 1 : v);
                CHECK_NEAR(out[i], want, 1e-6 * (1 + fabs(want) + fabs(v)));
            }
        }
    sg_ops_close(ops);
}

TEST(unary_functions_match_double)
{
    enum { N = 203 };
    static float x[ROWS * N], y[ROWS * N];
    CHECK(open_ops(2));
    for (int kind = SG_UNARY_GELU; kind <= SG_UNARY_RELU; kind++) {
        fill(x, ROWS * N, 12);
        memcpy(y, x, sizeof x);
        sg_op_unary(ops, y, N, ROWS, N, (sg_unary)kind);
        for (int i = 0; i < ROWS * N; i++) {
            double v = (double)x[i], want = kind == SG_UNARY_GELU        ? act(v, SG_GLU_GELU)
                                            : kind == SG_UNARY_GELU_TANH ? act(v, SG_GLU_GELU_TANH)
                                            : kind == SG_UNARY_SILU      ? act(v, SG_GLU_SILU)
                                            : kind == SG_UNARY_TANH      ? tanh(v)
                                                                         : fmax(v, 0);
            CHECK_NEAR(y[i], want, 2e-6 * (1 + fabs(want)));
        }
    }
    fill(x, ROWS * N, 300);
    memcpy(y, x, sizeof x);
    sg_op_softcap(ops, y, ROWS, N, 30);
    for (int i = 0; i < ROWS * N; i++)
        CHECK_NEAR(y[i], 30 * tanh((double)x[i] / 30), 2e-5);
    sg_ops_close(ops);
}

TEST(rotation_matches_double_in_both_conventions)
{
    enum { HEADS = 3, HEAD = 40, ROT = 24, OFFSET = 8, N = HEADS * HEAD };
    float x[ROWS * N], y[ROWS * N], inv[ROT / 2], cosine[ROWS * ROT / 2], sine[ROWS * ROT / 2];
    int32_t pos[ROWS];
    CHECK(open_ops(2));
    for (int i = 0; i < ROT / 2; i++)
        inv[i] = (float)pow(10000, -2.0 * i / ROT);
    for (int r = 0; r < ROWS; r++)
        pos[r] = (int32_t)sg_rng_below(tap_rng(), 100000);
    for (int pairs = 0; pairs < 2; pairs++) {
        sg_rope_table t = {.cos = cosine, .sin = sine, .rot = ROT, .pairs = pairs};
        fill(x, ROWS * N, 1);
        memcpy(y, x, sizeof x);
        sg_op_rope_table(ops, &t, pos, ROWS, inv, 1.25f);
        sg_op_rope(ops, y, N, ROWS, HEADS, HEAD, OFFSET, &t);
        for (int r = 0; r < ROWS; r++)
            for (int h = 0; h < HEADS; h++) {
                const float *a = x + r * N + h * HEAD, *b = y + r * N + h * HEAD;
                for (int i = 0; i < ROT / 2; i++) {
                    int p = OFFSET + (pairs ? 2 * i : i), q = OFFSET + (pairs ? 2 * i + 1 : i + ROT / 2);
                    double angle = pos[r] * (double)inv[i], c = 1.25 * cos(angle), s = 1.25 * sin(angle);
                    CHECK_NEAR(b[p], (double)a[p] * c - (double)a[q] * s, 5e-7);
                    CHECK_NEAR(b[q], (double)a[p] * s + (double)a[q] * c, 5e-7);
                }
                CHECK(memcmp(a, b, OFFSET * sizeof *a) == 0);
                CHECK(memcmp(a + OFFSET + ROT, b + OFFSET + ROT, (HEAD - OFFSET - ROT) * sizeof *a) == 0);
            }
    }
    sg_ops_close(ops);
}

/* The experts' sum against plain loops, rows together and alone. */
TEST(experts_match_double)
{
    enum { E = 5, K = 3, DIM = 32, FF = 24 };
    static float wg[E][FF * DIM], wu[E][FF * DIM], wd[E][DIM * FF], x[ROWS * DIM], out[ROWS * DIM], one[DIM],
        weight[ROWS * K];
    int32_t id[ROWS * K];
    sg_error err = {0};
    sg_linear gate[E] = {0}, up[E] = {0}, down[E] = {0};
    CHECK(open_ops(3));
    CHECK_OK(sg_ops_reserve_experts(ops, ROWS, K, DIM, FF, E, &err));
    for (int e = 0; e < E; e++) {
        fill(wg[e], FF * DIM, 0.3f);
        fill(wu[e], FF * DIM, 0.3f);
        fill(wd[e], FF * DIM, 0.3f);
        CHECK_OK(sg_linear_init(&gate[e], ops, SG_F32, FF, DIM, wg[e], NULL, &err));
        CHECK_OK(sg_linear_init(&up[e], ops, SG_F32, FF, DIM, wu[e], NULL, &err));
        CHECK_OK(sg_linear_init(&down[e], ops, SG_F32, DIM, FF, wd[e], NULL, &err));
    }
    fill(x, ROWS * DIM, 1);
    fill(weight, ROWS * K, 1);
    for (int r = 0; r < ROWS; r++)
        for (int k = 0; k < K; k++)
            id[r * K + k] = (int32_t)((unsigned)(r * 2 + k) % (E - 1)); /* the last expert has no rows */
    sg_experts ex = {.nexpert = E, .nff = FF, .dim = DIM, .gate = gate, .up = up, .down = down, .glu = SG_GLU_SILU};
    sg_op_experts(ops, out, x, ROWS, &ex, id, weight, K, false);
    for (int r = 0; r < ROWS; r++) {
        double want[DIM] = {0};
        for (int k = 0; k < K; k++) {
            int e = id[r * K + k];
            double h[FF];
            for (int f = 0; f < FF; f++) {
                double g = 0, u = 0;
                for (int d = 0; d < DIM; d++) {
                    g += (double)wg[e][f * DIM + d] * (double)x[r * DIM + d];
                    u += (double)wu[e][f * DIM + d] * (double)x[r * DIM + d];
                }
                h[f] = act(g, SG_GLU_SILU) * u;
            }
            for (int d = 0; d < DIM; d++)
                for (int f = 0; f < FF; f++)
                    want[d] += (double)weight[r * K + k] * (double)wd[e][d * FF + f] * h[f];
        }
        for (int d = 0; d < DIM; d++)
            CHECK_NEAR(out[r * DIM + d], want[d], 1e-5);
        sg_op_experts(ops, one, x + r * DIM, 1, &ex, id + r * K, weight + r * K, K, false);
        CHECK(memcmp(one, out + r * DIM, sizeof one) == 0);
    }
    for (int e = 0; e < E; e++) {
        sg_linear_fini(&gate[e]);
        sg_linear_fini(&up[e]);
        sg_linear_fini(&down[e]);
    }
    sg_ops_close(ops);
}

TAP_MAIN
