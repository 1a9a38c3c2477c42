/* kernel/quant_fit.c - scales with the least weighted squared error.
 *
 * A block format stores small integers q and scales; which real scale is best for a group of values is a
 * one- or two-dimensional problem whose error is full of local minima, because the nearest q change with the
 * scale.  Storing the scales as integers of few bits under a common half float then couples the groups.
 * The search has three stages, all of which only ever keep what measured better:
 *
 *     start   per group: a fan of scales around the one that maps the extreme value to the end of the
 *             grid; for the q of each, the best scale (and minimum) in closed form; keep the best
 *     settle  per group: nearest q, closed-form scale, again (Lloyd's iteration)
 *     joint   per block: common d from the largest group scale, then rounds of
 *               - each group tries the stored integers around scale/d and keeps the best
 *               - all q fixed, d (and dmin) follow in closed form and are rounded to half floats
 *             the best round's d wins
 *
 * An exhaustive search over the stored integers (64 x 64 pairs a group for Q4_K) finds hardly less and
 * costs a hundred times as much.  Weighting by magnitude, which ggml's quantisers do without importance
 * data, is left out: the plain squared error is what we promise then, and measured activations say
 * better what matters.
 *
 * Vectors of four floats (a GCC extension that clang has too) fix the order of all sums, so a wider
 * machine gives the same bytes.
 */
#include "kernel/quant_fit.h"

#include "kernel/quant_layout.h"

#include <float.h>
#include <math.h>

typedef float vec __attribute__((vector_size(16)));
typedef int32_t ivec __attribute__((vector_size(16)));

static inline vec load(const float *p)
{
    vec v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline vec splat(float f) { return (vec){f, f, f, f}; }
static inline float sum(vec v) { return (v[0] + v[2]) + (v[1] + v[3]); }
static inline vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }
/* Clamped and rounded to the nearest integer, ties to even; the bounds are integers below 2^22. */
static inline vec nearest(vec v, float lo, float hi)
{
    v = pick(v > splat(lo), v, splat(lo));
    v = pick(v < splat(hi), v, splat(hi));
    return v + splat(0x1.8p23f) - splat(0x1.8p23f);
}

/* The IQ4_NL value nearest to v; at a tie the lower one.  The constants are the middles between neighbours
 * of sg_quant_iq4_values and their distances. */
static inline vec nearest_iq4(vec v)
{
    static const float middle[15] = {-115.5f, -93.5f, -74, -57, -42, -28.5f, -16, -4.5f, 7, 19, 31.5f, 45.5f, 61, 79, 101};
    static const float step[15] = {23, 21, 18, 16, 14, 13, 12, 11, 12, 12, 13, 15, 16, 20, 24};
    vec q = splat(-127);
#pragma GCC unroll 15
    for (int i = 0; i < 15; i++)
        q += (vec)((v > splat(middle[i])) & (ivec)splat(step[i]));
    return q;
}

static inline vec nearest_on(const sg_quant_grid *grid, vec v)
{
    return grid->iq4 ? nearest_iq4(v) : nearest(v, grid->lo, grid->hi);
}

uint16_t sg_quant_half(float f)
{
    return sg_f32_to_f16(f > -65504 ? f < 65504 ? f : 65504 : f <= -65504 ? -65504 : 0);
}

/* A half float for a scale that should not vanish: the smallest one when a value above 0 rounds to 0. */
static uint16_t scale_half(float f)
{
    uint16_t h = sg_quant_half(f);
    return (h & 0x7fff) == 0 && f != 0 ? h | 1 : h;
}

static int clamp_int(float f, int lo, int hi) { return f > (float)lo ? f < (float)hi ? (int)lrintf(f) : hi : lo; }

/* 1/s, or 0 where that would not be finite. */
static float inverse(float s)
{
    float inv = 1.0f / s;
    return fabsf(inv) <= FLT_MAX ? inv : 0.0f;
}

/* ---- a scale only -------------------------------------------------------------------------------- */

typedef struct group {
    const float *x, *w;
    int len;
} group;

typedef struct scale_sums {
    float xq, qq; /* sums of w*x*q and w*q*q */
    float err;    /* sum of w*(x - s*q)^2 */
} scale_sums;

/* The nearest q for x * inv, and the sums with them. */
static scale_sums measure_scale(group g, const sg_quant_grid *grid, float inv, float s)
{
    vec xq = {0}, qq = {0}, err = {0};
    for (int i = 0; i < g.len; i += 4) {
        vec x = load(g.x + i), w = load(g.w + i), q = nearest_on(grid, x * splat(inv));
        vec wq = w * q, r = x - splat(s) * q;
        xq += wq * x;
        qq += wq * q;
        err += w * r * r;
    }
    return (scale_sums){sum(xq), sum(qq), sum(err)};
}

static float largest(group g) /* in magnitude, with its sign */
{
    float m = 0;
    for (int i = 0; i < g.len; i++)
        if (fabsf(g.x[i]) > fabsf(m))
            m = g.x[i];
    return m;
}

/* The real scale for one group: start and settle. */
static float best_scale(group g, const sg_quant_grid *grid)
{
    float m = largest(g), best = 0, gain = 0;
    if (m == 0)
        return 0;
    float step = grid->iq4 ? 1.0f : 0.1f;
    for (int end = 0; end < 2; end++)
        for (int t = grid->iq4 ? -8 : -9; t <= 12; t += grid->iq4 ? 2 : 1) {
            float bound = end ? grid->hi : grid->lo;
            float inv = (bound + (end ? step : -step) * (float)t) / m;
            scale_sums f = measure_scale(g, grid, inv, 0);
            if (f.qq > 0 && f.xq * f.xq > gain * f.qq) {
                gain = f.xq * f.xq / f.qq; /* the error is sum(w*x*x) - gain */
                best = f.xq / f.qq;
            }
        }
    for (int i = 0; i < 3; i++) {
        scale_sums f = measure_scale(g, grid, inverse(best), best);
        if (!(f.qq > 0))
            break;
        best = f.xq / f.qq;
    }
    return best;
}

typedef struct scales_task {
    const float *x, *w;
    const sg_quant_grid *grid;
    int ngroup, len, smin, smax;
    float want[16]; /* the groups' real scales */
} scales_task;

static group scales_group(const scales_task *t, int g) { return (group){t->x + g * t->len, t->w + g * t->len, t->len}; }

/* Every group picks its integer under d.  Returns the error; *next is the best d for what was picked. */
static float pick_scales(const scales_task *t, float d, int8_t *scale, float *next)
{
    float err = 0, xu = 0, uu = 0, inv = inverse(d);
    for (int g = 0; g < t->ngroup; g++) {
        int centre = clamp_int(t->want[g] * inv, t->smin, t->smax);
        float best = FLT_MAX;
        scale_sums kept = {0};
        for (int s = centre - 1; s <= centre + 1; s++) {
            if (s < t->smin || s > t->smax)
                continue;
            float ds = d * (float)s;
            scale_sums f = measure_scale(scales_group(t, g), t->grid, inverse(ds), ds);
            if (f.err < best) {
                best = f.err;
                kept = f;
                scale[g] = (int8_t)s;
            }
        }
        err += best;
        xu += (float)scale[g] * kept.xq;
        uu += (float)(scale[g] * scale[g]) * kept.qq;
    }
    *next = uu > 0 ? xu / uu : d;
    return err;
}

static void store_scales(sg_quant_scales *fit, const scales_task *t)
{
    float d = sg_f16_to_f32(fit->d);
    for (int i = 0; i < t->ngroup * t->len; i += 4) {
        float s = d * (float)fit->scale[i / t->len];
        vec v = load(t->x + i) * splat(inverse(s)), q = nearest_on(t->grid, v);
        for (int l = 0; l < 4; l++) {
            fit->q[i + l] = (int8_t)q[l];
            for (int k = 0; t->grid->iq4 && k < 16; k++)
                if ((float)sg_quant_iq4_values[k] == q[l])
                    fit->q[i + l] = (int8_t)k;
        }
    }
}

void sg_quant_fit_scales(sg_quant_scales *fit, const float *x, const float *w, int ngroup, int len,
                         const sg_quant_grid *grid, int smin, int smax)
{
    scales_task t = {.x = x, .w = w, .grid = grid, .ngroup = ngroup, .len = len, .smin = smin, .smax = smax};
    float m = 0;
    for (int g = 0; g < ngroup; g++) {
        t.want[g] = best_scale(scales_group(&t, g), grid);
        if (fabsf(t.want[g]) > fabsf(m))
            m = t.want[g];
    }
    float best = FLT_MAX;
    memset(fit, 0, sizeof *fit);
    for (int end = 0; end < (smin == smax ? 1 : 2); end++) { /* the largest scale is stored as smin, or as smax */
        float d = m / (float)(end ? smax : smin);
        for (int round = 0; round < 3; round++) {
            uint16_t half = scale_half(d);
            int8_t scale[16] = {0};
            float err = pick_scales(&t, sg_f16_to_f32(half), scale, &d);
            if (!(err < best))
                break;
            best = err;
            fit->d = half;
            memcpy(fit->scale, scale, sizeof scale);
        }
    }
    store_scales(fit, &t);
}

/* ---- a scale and a minimum ----------------------------------------------------------------------- */

typedef struct line_sums {
    float q, qq, xq; /* sums of w*q, w*q*q, w*x*q */
    float err;       /* sum of w*(x - (a*q + b))^2 */
} line_sums;

typedef struct line {
    float a, b; /* y = a*q + b */
    float err;
} line;

static line_sums measure_line(group g, float qmax, float inv, float a, float b)
{
    vec sq = {0}, qq = {0}, xq = {0}, err = {0};
    for (int i = 0; i < g.len; i += 4) {
        vec x = load(g.x + i), w = load(g.w + i), q = nearest((x - splat(b)) * splat(inv), 0, qmax);
        vec wq = w * q, r = x - (splat(a) * q + splat(b));
        sq += wq;
        qq += wq * q;
        xq += wq * x;
        err += w * r * r;
    }
    return (line_sums){sum(sq), sum(qq), sum(xq), sum(err)};
}

/* The best line for the q behind the sums; with `below`, b <= 0. */
static line solve_line(line_sums f, float w, float x, bool below)
{
    double det = (double)w * f.qq - (double)f.q * f.q;
    if (det > 1e-6 * (double)w * f.qq) {
        double a = ((double)w * f.xq - (double)f.q * x) / det, b = ((double)f.qq * x - (double)f.q * f.xq) / det;
        if (!below || b <= 0)
            return (line){(float)a, (float)b, 0};
    }
    return (line){f.qq > 0 ? f.xq / f.qq : 0, 0, 0};
}

/* The real line for one group: start and settle. */
static line best_line(group g, float qmax, bool below)
{
    float min = g.x[0], max = g.x[0], w = 0, x = 0;
    for (int i = 0; i < g.len; i++) {
        min = g.x[i] < min ? g.x[i] : min;
        max = g.x[i] > max ? g.x[i] : max;
        w += g.w[i];
        x += g.w[i] * g.x[i];
    }
    if (below && min > 0)
        min = 0;
    if (max <= min)
        return (line){0, min, 0};
    line best = {(max - min) / qmax, min, 0};
    best.err = measure_line(g, qmax, inverse(best.a), best.a, best.b).err;
    for (int t = -9; t <= 9; t++) {
        float inv = (qmax + 0.1f * (float)t) / (max - min);
        line l = solve_line(measure_line(g, qmax, inv, 0, min), w, x, below);
        for (int i = 0; i < 2 && l.a > 0; i++) {
            line_sums f = measure_line(g, qmax, inverse(l.a), l.a, l.b);
            if (f.err < best.err)
                best = (line){l.a, l.b, f.err};
            l = solve_line(f, w, x, below);
        }
    }
    return best;
}

typedef struct affine_task {
    const float *x, *w;
    int ngroup, len, qmax, smax;
    float weight[16]; /* sums of w by group */
    line want[16];
} affine_task;

static group affine_group(const affine_task *t, int g) { return (group){t->x + g * t->len, t->w + g * t->len, t->len}; }

/* Sums over all groups for the best d and dmin with everything else fixed: y = d*u - dmin*v. */
typedef struct pair_sums {
    double uu, uv, vv, xu, xv;
} pair_sums;

static float weighted(group g)
{
    float x = 0;
    for (int i = 0; i < g.len; i++)
        x += g.w[i] * g.x[i];
    return x;
}

static void solve_pair(const pair_sums *p, float *d, float *dmin)
{
    double det = p->uu * p->vv - p->uv * p->uv;
    if (det > 1e-9 * p->uu * p->vv) {
        *d = (float)((p->xu * p->vv - p->xv * p->uv) / det);
        *dmin = (float)((p->xu * p->uv - p->xv * p->uu) / det);
    } else if (p->uu > 0) {
        *d = (float)((p->xu + (double)*dmin * p->uv) / p->uu);
    }
    *d = *d > 0 ? *d : 0;
    *dmin = *dmin > 0 ? *dmin : 0;
}

/* Every group picks its two integers under (d, dmin).  Returns the error; *d and *dmin become the best
 * ones for what was picked. */
static float pick_lines(const affine_task *t, sg_quant_affine *fit, float *d, float *dmin)
{
    float err = 0, inv_d = inverse(*d), inv_m = inverse(*dmin);
    pair_sums p = {0};
    for (int g = 0; g < t->ngroup; g++) {
        int cs = clamp_int(t->want[g].a * inv_d, 0, t->smax), cm = clamp_int(-t->want[g].b * inv_m, 0, t->smax);
        float best = FLT_MAX;
        line_sums kept = {0};
        for (int s = cs - 1; s <= cs + 1; s++)
            for (int m = cm - 1; m <= cm + 1; m++) {
                if (s < 0 || m < 0 || s > t->smax || m > t->smax)
                    continue;
                float a = *d * (float)s, b = -(*dmin * (float)m);
                line_sums f = measure_line(affine_group(t, g), (float)t->qmax, inverse(a), a, b);
                if (f.err < best) {
                    best = f.err;
                    kept = f;
                    fit->scale[g] = (uint8_t)s;
                    fit->min[g] = (uint8_t)m;
                }
            }
        double s = fit->scale[g], m = fit->min[g];
        err += best;
        p.uu += s * s * kept.qq;
        p.uv += s * m * kept.q;
        p.vv += m * m * t->weight[g];
        p.xu += s * kept.xq;
        p.xv += m * weighted(affine_group(t, g));
    }
    solve_pair(&p, d, dmin);
    return err;
}

static void store_line(uint8_t *q, group g, float qmax, float a, float b)
{
    for (int i = 0; i < g.len; i += 4) {
        vec v = nearest((load(g.x + i) - splat(b)) * splat(inverse(a)), 0, qmax);
        for (int l = 0; l < 4; l++)
            q[i + l] = (uint8_t)v[l];
    }
}

void sg_quant_fit_affine(sg_quant_affine *fit, const float *x, const float *w, int ngroup, int len, int qmax, int smax)
{
    affine_task t = {.x = x, .w = w, .ngroup = ngroup, .len = len, .qmax = qmax, .smax = smax};
    float d = 0, dmin = 0, best = FLT_MAX;
    for (int g = 0; g < ngroup; g++) {
        for (int i = 0; i < len; i++)
            t.weight[g] += w[g * len + i];
        t.want[g] = best_line(affine_group(&t, g), (float)qmax, true);
        d = t.want[g].a > d ? t.want[g].a : d;
        dmin = -t.want[g].b > dmin ? -t.want[g].b : dmin;
    }
    d /= (float)smax;
    dmin /= (float)smax;
    memset(fit, 0, sizeof *fit);
    for (int round = 0; round < 3; round++) {
        sg_quant_affine f = {.d = scale_half(d), .dmin = scale_half(dmin)};
        d = sg_f16_to_f32(f.d);
        dmin = sg_f16_to_f32(f.dmin);
        float err = pick_lines(&t, &f, &d, &dmin);
        if (!(err < best))
            break;
        best = err;
        *fit = f;
    }
    d = sg_f16_to_f32(fit->d);
    dmin = sg_f16_to_f32(fit->dmin);
    for (int g = 0; g < ngroup; g++)
        store_line(fit->q + g * len, affine_group(&t, g), (float)qmax, d * (float)fit->scale[g], -(dmin * (float)fit->min[g]));
}

void sg_quant_fit_line(uint16_t *d, uint16_t *m, uint8_t *q, const float *x, const float *w, int n, int qmax)
{
    group g = {x, w, n};
    line l = best_line(g, (float)qmax, false);
    *d = scale_half(l.a);
    *m = sg_quant_half(l.b);
    store_line(q, g, (float)qmax, sg_f16_to_f32(*d), sg_f16_to_f32(*m));
}
