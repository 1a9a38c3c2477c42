/* sched/latency.c - the step-time model: decayed least squares with non-negative coefficients.
 *
 * Every observation (x, t) is divided by t, so that what is minimised is the relative error: a 5 ms
 * decode step counts as much as a 500 ms prompt chunk.  The normal equations A = sum w x x^T and
 * b = sum w x are decayed (half-life about 350 steps), which follows a machine whose clock or neighbours
 * change.  Dividing by t has a price: steps that were learnt while the machine was five times faster weigh
 * 25 times as much as those of now, and would hold the fit back for thousands of steps.  So the mean of
 * log(actual / predicted) over about sixteen steps is watched, and while it is far from 0 the past is
 * forgotten in tens of steps.  Solving is coordinate descent with every coefficient clamped at zero: seven variables, a few
 * dozen sweeps, about 5 us, and it starts from the last solution.
 *
 * What the formula does not know (a neighbour on the other hyperthread, caches that another prompt fills, attention that is
 * dearer at this length) stays for many steps, so the error of the last steps predicts that of the next one.  The mean of
 * log(actual / formula) over about five steps of the same kind is added to the prediction; steps with rows of prompts
 * are one kind, others the other one, because what disturbs them differs.  The safety factor comes from the errors of
 * these corrected predictions, kind by kind.
 *
 * The knee is not differentiable, so six candidates are fitted side by side and the one with the least
 * decayed prediction error is used.  The error is measured before an observation is learnt: it is what
 * the scheduler really experiences.
 *
 * Rejected: recursive least squares (coefficients go negative when features are collinear, which decode
 * rows and tokens are in a pure decode load, and the budget search then has no monotone function); a
 * table by batch size (no generalisation over contexts); Niyama's two regressions over disjoint ranges
 * (they disagree where they meet).
 */
#include "sched/latency.h"

#include <math.h>
#include <string.h>

/* Powers of four around the ridge points that were seen: 6-14 tokens with VNNI, 40-60 with AMX. */
static const double knees[SG_LATENCY_NKNEE] = {4, 8, 16, 32, 64, 128};

enum { WARM = 8, SWEEPS = 24, REJECT_RUN = 3 };
static const double decay = 0.998, decay_changed = 0.95, ridge = 1e-9, reject_factor = 4;
/* Mean log error at which the machine counts as changed; its rate; how much one step may add. */
static const double drift_changed = 0.2, drift_rate = 1.0 / 16, drift_clip = 1.5;
/* How fast a kind's bias follows, and how much one step may say, so that a lone slow step changes little. */
static const double bias_rate = 0.2, bias_clip = 0.3, safety_first = 1.15, safety_quantile = 0.9;

/* Natural size of each term, so that one ridge fits all of them. */
static const double unit[SG_LATENCY_NTERM] = {1, 1, 1, 1, 1e-3, 1e-3, 1};

static void terms(double x[SG_LATENCY_NTERM], const sg_step_cost *c, double knee)
{
    double n = c->tokens;
    x[0] = 1;
    x[1] = n < knee ? n : knee;
    x[2] = n > knee ? n - knee : 0;
    x[3] = c->decode_rows;
    x[4] = c->decode_context * unit[4];
    x[5] = c->chunk_context * unit[5];
    x[6] = c->experts;
}

static double dot(const double *a, const double *b)
{
    double s = 0;
    for (int i = 0; i < SG_LATENCY_NTERM; i++)
        s += a[i] * b[i];
    return s;
}

void sg_latency_init(sg_latency *l)
{
    memset(l, 0, sizeof *l);
    l->kind[0].safety = l->kind[1].safety = safety_first;
    l->best = 2;
}

bool sg_latency_ready(const sg_latency *l) { return l->nobserved >= WARM; }

static void solve(sg_latency_fit *f)
{
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int i = 0; i < SG_LATENCY_NTERM; i++) {
            if (f->a[i][i] <= 0)
                continue;
            double rest = dot(f->a[i], f->coef) - f->a[i][i] * f->coef[i];
            double v = (f->b[i] - rest) / (f->a[i][i] * (1 + ridge));
            f->coef[i] = v > 0 ? v : 0;
        }
}

static void learn(sg_latency_fit *f, const double *x, double us, double keep)
{
    double y[SG_LATENCY_NTERM];
    for (int i = 0; i < SG_LATENCY_NTERM; i++)
        y[i] = x[i] / us;
    for (int i = 0; i < SG_LATENCY_NTERM; i++) {
        for (int j = 0; j < SG_LATENCY_NTERM; j++)
            f->a[i][j] = f->a[i][j] * keep + y[i] * y[j];
        f->b[i] = f->b[i] * keep + y[i];
    }
    solve(f);
}

static int compare(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

/* Order statistic of n values without touching the heap: n is at most the window. */
static double quantile(float *v, int n, double q)
{
    for (int i = 1; i < n; i++) { /* insertion sort of a window that is mostly random: 256^2/4 moves, 20 us */
        float x = v[i];
        int j = i;
        for (; j > 0 && compare(&v[j - 1], &x) > 0; j--)
            v[j] = v[j - 1];
        v[j] = x;
    }
    int at = (int)ceil(q * n) - 1;
    return (double)v[at < 0 ? 0 : at];
}

static int window(const sg_latency_kind *k) { return k->n < SG_LATENCY_WINDOW ? (int)k->n : SG_LATENCY_WINDOW; }

static int kind_of(const sg_step_cost *c) { return c->chunk_context > 0; }

static double formula_us(const sg_latency *l, const sg_step_cost *cost)
{
    double x[SG_LATENCY_NTERM];
    terms(x, cost, knees[l->best]);
    return dot(x, l->fits[l->best].coef);
}

static void refresh_safety(sg_latency_kind *k)
{
    enum { FEW = 16 };
    float v[SG_LATENCY_WINDOW];
    int n = window(k);
    memcpy(v, k->errors, (size_t)n * sizeof *v);
    double want = n < FEW ? safety_first : 1 + quantile(v, n, safety_quantile);
    want = want < 1 ? 1 : want > 2 ? 2 : want;
    k->safety += (want - k->safety) * 0.25; /* bounded steps: one bad minute does not halve the throughput */
}

/* A lone step far above its prediction says nothing about the steps to come; the third in a row does. */
static bool rejected(sg_latency *l, double predicted, double us)
{
    if (!sg_latency_ready(l) || us <= predicted * reject_factor || ++l->nrun == REJECT_RUN) {
        l->nrun = 0;
        return false;
    }
    l->nrejected++;
    return true;
}

static double clip(double x, double most) { return x > most ? most : x < -most ? -most : x; }

/* What this step says about the predictions: `formula` was without the bias, `predicted` with it. */
static void watch(sg_latency *l, sg_latency_kind *k, double formula, double predicted, double us)
{
    if (!(formula > 0))
        return;
    k->errors[k->n++ % SG_LATENCY_WINDOW] = (float)((us - predicted) / predicted);
    double e = log(us / formula);
    l->drift += (clip(e, drift_clip) - l->drift) * drift_rate;
    k->bias += clip(e - k->bias, bias_clip) * bias_rate;
    k->bias = clip(k->bias, drift_clip);
    if (k->n % 8 == 0)
        refresh_safety(k);
}

void sg_latency_observe(sg_latency *l, const sg_step_cost *cost, double us)
{
    if (!(us > 0) || cost->tokens <= 0)
        return;
    double predicted = sg_latency_predict_us(l, cost);
    if (rejected(l, predicted, us))
        return;
    watch(l, &l->kind[kind_of(cost)], formula_us(l, cost), predicted, us);
    l->nobserved++;
    double keep = sg_latency_ready(l) && fabs(l->drift) > drift_changed ? decay_changed : decay;
    for (int k = 0; k < SG_LATENCY_NKNEE; k++) {
        sg_latency_fit *f = &l->fits[k];
        double x[SG_LATENCY_NTERM];
        terms(x, cost, knees[k]);
        double e = (dot(x, f->coef) - us) / us;
        e = e > 2 ? 2 : e;
        f->loss = l->nobserved == 1 ? 1 : f->loss * 0.98 + e * e * 0.02;
        learn(f, x, us, keep);
    }
    /* Change only for a clear gain, so that the budget does not jump between equals. */
    for (int k = 0; k < SG_LATENCY_NKNEE; k++)
        if (l->fits[k].loss < l->fits[l->best].loss * 0.9)
            l->best = k;
}

double sg_latency_predict_us(const sg_latency *l, const sg_step_cost *cost)
{
    double us = formula_us(l, cost), bias = l->kind[kind_of(cost)].bias;
    return bias != 0 ? us * exp(bias) : us;
}

double sg_latency_safety(const sg_latency *l, const sg_step_cost *cost) { return l->kind[kind_of(cost)].safety; }

double sg_latency_error_p90(const sg_latency *l)
{
    float v[2 * SG_LATENCY_WINDOW];
    int n = 0;
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < window(&l->kind[k]); i++) { /* relative to the prediction -> relative to the truth */
            double e = (double)l->kind[k].errors[i];
            v[n++] = (float)fabs(e / (1 + e));
        }
    return n ? quantile(v, n, 0.9) : 0;
}

/* `base` with n prompt rows more, whose first row reads `context` keys. */
static sg_step_cost with_prompt(const sg_step_cost *base, double context, int n)
{
    sg_step_cost c = *base;
    c.tokens += n;
    c.chunk_context += context * n + (double)n * (n - 1) / 2;
    return c;
}

int sg_latency_budget(const sg_latency *l, const sg_step_cost *base, double context, int max, double limit_us)
{
    if (!sg_latency_ready(l))
        return max;
    int lo = 0, hi = max; /* lo fits or is 0; everything above hi does not */
    while (lo < hi) {
        int mid = lo + (hi - lo + 1) / 2;
        sg_step_cost c = with_prompt(base, context, mid);
        if (sg_latency_predict_us(l, &c) * sg_latency_safety(l, &c) <= limit_us)
            lo = mid;
        else
            hi = mid - 1;
    }
    return lo;
}
