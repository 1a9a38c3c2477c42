/* kernel/rows_body.h - the loops of kernel/rows.h, written once over kernel/vec.h and compiled for each table.
 *
 * A row is taken sixteen values at a time; the last n % 16 go through a padded copy, so that they see
 * the same instructions as the others and a value's image does not depend on its place.
 */
#include "kernel/rows.h"
#include "kernel/vec.h"

/* For each piece of 16 of rows of n values: BODY may load from and store to `at`; tails are copied in and out. */
#define EACH16(n, BODY, TAIL)             \
    do {                                  \
        int at = 0;                       \
        for (; at + 16 <= (n); at += 16) { \
            BODY                          \
        }                                 \
        if (at < (n)) {                   \
            int rest = (n) - at;          \
            TAIL                          \
        }                                 \
    } while (0)

VEC_INLINE v16 load_some(const float *p, int n)
{
    float t[16] = {0};
    memcpy(t, p, (size_t)n * sizeof *t);
    return v_load(t);
}

VEC_INLINE void store_some(float *p, v16 x, int n)
{
    float t[16];
    v_store(t, x);
    memcpy(p, t, (size_t)n * sizeof *t);
}

/* ---- sums and norms ------------------------------------------------------------------ */

static float sum(const float *x, int n)
{
    v16 s = v_zero();
    EACH16(n, s = v_add(s, v_load(x + at));, s = v_add(s, load_some(x + at, rest)););
    return v_hsum(s);
}

/* Sum of (x - mean)^2. */
static float sum_squares(const float *x, int n, float mean)
{
    v16 s = v_zero(), m = v_set(mean);
    EACH16(n,
           v16 d = v_sub(v_load(x + at), m);
           s = v_fma(d, d, s);
           ,
           v16 d = v_select(v_sub(load_some(x + at, rest), m), v_zero(), 0, rest);
           s = v_fma(d, d, s););
    return v_hsum(s);
}

static void rms_norm(float *out, const float *x, const float *w, int n, float eps)
{
    v16 s = v_set(1.0f / sqrtf(sum_squares(x, n, 0) / (float)n + eps));
    if (w)
        EACH16(n, v_store(out + at, v_mul(v_mul(v_load(x + at), s), v_load(w + at)));
               , store_some(out + at, v_mul(v_mul(load_some(x + at, rest), s), load_some(w + at, rest)), rest););
    else
        EACH16(n, v_store(out + at, v_mul(v_load(x + at), s));, store_some(out + at, v_mul(load_some(x + at, rest), s), rest););
}

static void layer_norm(float *out, const float *x, const float *w, const float *b, int n, float eps)
{
    float mean = sum(x, n) / (float)n;
    v16 m = v_set(mean), s = v_set(1.0f / sqrtf(sum_squares(x, n, mean) / (float)n + eps)), one = v_set(1), zero = v_zero();
    EACH16(n,
           v16 y = v_mul(v_sub(v_load(x + at), m), s);
           v_store(out + at, v_add(v_mul(y, w ? v_load(w + at) : one), b ? v_load(b + at) : zero));
           ,
           v16 y = v_mul(v_sub(load_some(x + at, rest), m), s);
           store_some(out + at, v_add(v_mul(y, w ? load_some(w + at, rest) : one), b ? load_some(b + at, rest) : zero), rest););
}

/* ---- activations ----------------------------------------------------------------------- */

VEC_INLINE v16 sigmoid_times(v16 x, v16 y) /* x * sigmoid(y) */
{
    return v_div(x, v_add(v_set(1), v_exp(v_sub(v_zero(), y))));
}

/* x/2 (1 + tanh u) = x * sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3) */
VEC_INLINE v16 gelu_tanh(v16 x)
{
    v16 u = v_mul(v_fma(v_mul(v_mul(x, x), x), v_set(0.044715f), x), v_set(2 * 0.797884560802865f));
    return sigmoid_times(x, u);
}

/* x/2 (1 + erf(x / sqrt 2)); erf by Abramowitz and Stegun 7.1.26, absolute error 1.5e-7. */
VEC_INLINE v16 gelu(v16 x)
{
    v16 z = v_mul(x, v_set(0.707106781186547f)), neg = v_sub(v_zero(), z), a = v_max(z, neg);
    v16 t = v_div(v_set(1), v_fma(a, v_set(0.3275911f), v_set(1)));
    v16 p = v_set(1.061405429f);
    p = v_fma(p, t, v_set(-1.453152027f));
    p = v_fma(p, t, v_set(1.421413741f));
    p = v_fma(p, t, v_set(-0.284496736f));
    p = v_fma(p, t, v_set(0.254829592f));
    v16 tail = v_mul(v_mul(p, t), v_exp(v_mul(z, neg))); /* 1 - erf |z| */
    v16 half = v_mul(x, v_set(0.5f));
    /* x/2 (1 + erf z): for z >= 0 that is x - x/2 tail, else x/2 tail. */
    v16 pos = v_max(x, v_zero());
    v16 sign = v_mul(v_max(half, v_sub(v_zero(), half)), tail);
    return v_sub(pos, sign);
}

VEC_INLINE v16 curve_of(v16 x, const sg_curve c)
{
    switch (c) {
    case SG_CURVE_SILU: return sigmoid_times(x, x);
    case SG_CURVE_GELU_TANH: return gelu_tanh(x);
    case SG_CURVE_GELU: return gelu(x);
    case SG_CURVE_TANH: return v_tanh(x);
    case SG_CURVE_RELU: return v_max(x, v_zero());
    }
    return x;
}

VEC_INLINE void curve_row(float *x, int n, const sg_curve c)
{
    EACH16(n, v_store(x + at, curve_of(v_load(x + at), c));, store_some(x + at, curve_of(load_some(x + at, rest), c), rest););
}

VEC_INLINE void glu_row(float *out, const float *g, const float *u, int n, const sg_curve c)
{
    EACH16(n, v_store(out + at, v_mul(curve_of(v_load(g + at), c), v_load(u + at)));
           , store_some(out + at, v_mul(curve_of(load_some(g + at, rest), c), load_some(u + at, rest)), rest););
}

/* The curve is a constant in each branch, so the loops have no branch inside. */
static void curve(float *x, int n, sg_curve c)
{
    switch (c) {
    case SG_CURVE_SILU: curve_row(x, n, SG_CURVE_SILU); break;
    case SG_CURVE_GELU_TANH: curve_row(x, n, SG_CURVE_GELU_TANH); break;
    case SG_CURVE_GELU: curve_row(x, n, SG_CURVE_GELU); break;
    case SG_CURVE_TANH: curve_row(x, n, SG_CURVE_TANH); break;
    case SG_CURVE_RELU: curve_row(x, n, SG_CURVE_RELU); break;
    }
}

static void glu(float *out, const float *g, const float *u, int n, sg_curve c)
{
    switch (c) {
    case SG_CURVE_SILU: glu_row(out, g, u, n, SG_CURVE_SILU); break;
    case SG_CURVE_GELU_TANH: glu_row(out, g, u, n, SG_CURVE_GELU_TANH); break;
    case SG_CURVE_GELU: glu_row(out, g, u, n, SG_CURVE_GELU); break;
    case SG_CURVE_TANH: glu_row(out, g, u, n, SG_CURVE_TANH); break;
    case SG_CURVE_RELU: glu_row(out, g, u, n, SG_CURVE_RELU); break;
    }
}

VEC_INLINE v16 oai(v16 g, v16 u)
{
    g = v_min(g, v_set(7));
    u = v_max(v_min(u, v_set(7)), v_set(-7));
    return v_mul(v_add(u, v_set(1)), sigmoid_times(g, v_mul(g, v_set(1.702f))));
}

static void glu_oai(float *out, const float *g, const float *u, int n)
{
    EACH16(n, v_store(out + at, oai(v_load(g + at), v_load(u + at)));
           , store_some(out + at, oai(load_some(g + at, rest), load_some(u + at, rest)), rest););
}

/* ---- additions, scales, rotations -------------------------------------------------------- */

static void add(float *y, const float *x, int n, float a)
{
    v16 s = v_set(a);
    EACH16(n, v_store(y + at, v_fma(v_load(x + at), s, v_load(y + at)));
           , store_some(y + at, v_fma(load_some(x + at, rest), s, load_some(y + at, rest)), rest););
}

static inline v16 with_columns(v16 s, const float *const *c, const float *a, int nc, int at)
{
    for (int j = 0; j < nc; j++)
        s = v_fma(v_load(c[j] + at), v_set(a[j]), s);
    return s;
}

static inline v16 with_some(v16 s, const float *const *c, const float *a, int nc, int at, int rest)
{
    for (int j = 0; j < nc; j++)
        s = v_fma(load_some(c[j] + at, rest), v_set(a[j]), s);
    return s;
}

static void join(float *out, const float *sum, const float *const *c, const float *a, int nc, int n, bool more)
{
    if (more) {
        EACH16(n, v_store(out + at, v_add(with_columns(v_load(sum + at), c, a, nc, at), v_load(out + at)));
               , store_some(out + at, v_add(with_some(load_some(sum + at, rest), c, a, nc, at, rest), load_some(out + at, rest)), rest););
        return;
    }
    EACH16(n, v_store(out + at, with_columns(v_load(sum + at), c, a, nc, at));
           , store_some(out + at, with_some(load_some(sum + at, rest), c, a, nc, at, rest), rest););
}

static void scale(float *x, int n, float a)
{
    for (int i = 0; i < n; i++)
        x[i] *= a;
}

static void softcap(float *x, int n, float cap)
{
    v16 c = v_set(cap);
    EACH16(n, v_store(x + at, v_mul(v_tanh(v_div(v_load(x + at), c)), c));
           , store_some(x + at, v_mul(v_tanh(v_div(load_some(x + at, rest), c)), c), rest););
}

static void rotate_halves(float *x, const float *c, const float *s, int half)
{
    float *y = x + half;
    for (int i = 0; i < half; i++) {
        float a = x[i], b = y[i];
        x[i] = a * c[i] - b * s[i];
        y[i] = a * s[i] + b * c[i];
    }
}

static void rotate_pairs(float *x, const float *c, const float *s, int half)
{
    for (int i = 0; i < half; i++) {
        float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * c[i] - b * s[i];
        x[2 * i + 1] = a * s[i] + b * c[i];
    }
}

static float most(const float *x, int n)
{
    float m = x[0];
    v16 s = v_set(m);
    EACH16(n, s = v_max(v_load(x + at), s);, for (int i = 0; i < rest; i++) m = x[at + i] > m ? x[at + i] : m;);
    float lanes = v_hmax(s);
    return lanes > m ? lanes : m;
}

static void most_of_16(float *out, const float *x, int n)
{
    EACH16(n, *out++ = v_hmax(v_load(x + at));, *out = most(x + at, rest););
}

#define ROWS_NAME_(t) sg_row_kernel_##t
#define ROWS_NAME(t) ROWS_NAME_(t)
const sg_row_kernel ROWS_NAME(VEC_TABLE) = {
    rms_norm, layer_norm, curve, glu, glu_oai, add, join, scale, softcap, rotate_halves, rotate_pairs, most, most_of_16,
};
