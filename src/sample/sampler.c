/* sample/sampler.c - from one row of logits to one token; the formulas are in the header.
 *
 * Candidates are one array of (logit, key, id).  Every step that keeps "the best until enough" (top_k, typical_p,
 * top_p) is the same thing: make a heap of the candidates by a key and pop until a count or a mass is
 * reached.  Building the heap is linear and few candidates are popped, so a vocabulary of 150,000 is never
 * sorted.  The popped ones stand at the end of the array, best last; they become the candidates.
 *
 * Drawing from a whole row, and finding about where top_k or top_p will end, so that only those that may stay become candidates, are
 * passes over the row (row.c).
 *
 * Masses are summed in double, in the order of the candidates or, over a whole row, in one that its length alone decides (row.h), so
 * that a token depends on nothing but the arguments.
 */
#include "sample/sampler.h"

#include "base/heap.h"
#include "base/rng.h"
#include "sample/row.h"

#include <math.h>
#include <string.h>

typedef struct candidate {
    float x, key;
    int32_t id;
} candidate;

struct sg_sampler {
    size_t nvocab;
    candidate *all;   /* [nvocab] */
    float *row;       /* [nvocab] the row as it came, when log-probabilities are wanted */
    float *mass;      /* [nvocab] of the row, for passes over all of it... */
    double *sum;      /* [sg_row_nblock(nvocab)] ...and of its blocks */
    double total;     /* the mass that a share is of, when the candidates are only a part; 0: theirs */
    int32_t *count;   /* [nvocab] times in the history, 0 between calls */
    candidate *at;    /* the candidates: a part of `all` */
    size_t n;
};

sg_sampler *sg_sampler_new(size_t nvocab)
{
    sg_sampler *s = sg_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->nvocab = nvocab;
    s->all = sg_calloc(nvocab, sizeof *s->all);
    s->row = sg_calloc(nvocab, sizeof *s->row);
    s->mass = sg_calloc(nvocab, sizeof *s->mass);
    s->sum = sg_calloc(sg_row_nblock(nvocab), sizeof *s->sum);
    s->count = sg_calloc(nvocab, sizeof *s->count);
    if (!s->all || !s->row || !s->mass || !s->sum || !s->count) {
        sg_sampler_free(s);
        return NULL;
    }
    return s;
}

size_t sg_sampler_bytes(size_t nvocab)
{
    const sg_sampler *s = NULL;
    return sizeof *s + nvocab * (sizeof *s->all + sizeof *s->row + sizeof *s->mass + sizeof *s->count) +
           sg_row_nblock(nvocab) * sizeof *s->sum;
}

void sg_sampler_free(sg_sampler *s)
{
    if (!s)
        return;
    sg_free(s->all);
    sg_free(s->row);
    sg_free(s->mass);
    sg_free(s->sum);
    sg_free(s->count);
    sg_free(s);
}

sg_sampling sg_sampling_default(void)
{
    return (sg_sampling){.temperature = 1, .top_p = 1, .typical_p = 1, .repeat_penalty = 1, .repeat_last_n = 64};
}

/* ---- log-probabilities ---------------------------------------------------------------- */

/* The ntop likeliest, best first, by insertion: most blocks of tokens have none of them. */
static void find_top(const float *x, size_t n, double lse, sg_choice *c)
{
    size_t want = c->ntop < SG_TOP_LOGPROBS_MAX ? c->ntop : SG_TOP_LOGPROBS_MAX, have = 0;
    float value[SG_TOP_LOGPROBS_MAX];
    for (size_t i = 0; want && (i = sg_row_next(x, n, i, have == want ? value[have - 1] : -INFINITY)) < n; i++) {
        if (have == want && !(x[i] > value[have - 1]))
            continue;
        size_t j = have < want ? have++ : have - 1;
        for (; j > 0 && x[i] > value[j - 1]; j--) {
            value[j] = value[j - 1];
            c->top[j] = c->top[j - 1];
        }
        value[j] = x[i];
        c->top[j] = (sg_token_logprob){(int32_t)i, (double)x[i] - lse};
    }
    for (; have < want; have++)
        c->top[have] = (sg_token_logprob){SG_NO_TOKEN, -INFINITY};
}

/* ---- changes to the row ------------------------------------------------------------------ */

static float or_off(float v, float off) { return isnan(v) ? off : v; }

static void penalize(sg_sampler *s, const sg_sampling *p, float *x, const int32_t *history, size_t n)
{
    float repeat = or_off(p->repeat_penalty, 1), frequency = or_off(p->frequency_penalty, 0), presence = or_off(p->presence_penalty, 0);
    if (repeat <= 0)
        repeat = 1;
    if (repeat == 1 && frequency == 0 && presence == 0)
        return;
    size_t last = p->repeat_last_n < 0 || (size_t)p->repeat_last_n > n ? n : (size_t)p->repeat_last_n;
    for (size_t i = n - last; i < n; i++)
        if (history[i] >= 0 && (size_t)history[i] < s->nvocab)
            s->count[history[i]]++;
    for (size_t i = n - last; i < n; i++) {
        int32_t id = history[i];
        if (id < 0 || (size_t)id >= s->nvocab || !s->count[id])
            continue;
        x[id] = x[id] > 0 ? x[id] / repeat : x[id] * repeat;
        x[id] -= (float)s->count[id] * frequency + presence;
        s->count[id] = 0; /* done, and clean for the next call */
    }
}

static void add_bias(const sg_sampler *s, const sg_sampling *p, float *x)
{
    for (size_t i = 0; i < p->nbias; i++)
        if (p->bias[i].id >= 0 && (size_t)p->bias[i].id < s->nvocab)
            x[p->bias[i].id] += p->bias[i].bias;
}

/* Everything above -INFINITY and from `least` on that the mask allows. */
static void collect(sg_sampler *s, const float *x, const uint32_t *mask, float least)
{
    s->at = s->all;
    s->n = 0;
    for (size_t i = 0; (i = sg_row_next(x, s->nvocab, i, least)) < s->nvocab; i++)
        if (x[i] > -INFINITY && (!mask || mask[i / 32] >> i % 32 & 1))
            s->at[s->n++] = (candidate){.x = x[i], .id = (int32_t)i};
}

/* ---- keeping the best ---------------------------------------------------------------------- */

static bool better(const candidate *a, const candidate *b) { return a->key > b->key || (a->key == b->key && a->id < b->id); }

static void sift_down(candidate *h, size_t n, size_t i)
{
    candidate c = h[i];
    for (;;) {
        size_t kid = 2 * i + 1;
        if (kid >= n)
            break;
        if (kid + 1 < n && better(&h[kid + 1], &h[kid]))
            kid++;
        if (!better(&h[kid], &c))
            break;
        h[i] = h[kid];
        i = kid;
    }
    h[i] = c;
}

static float largest(const sg_sampler *s)
{
    float most = -INFINITY;
    for (size_t i = 0; i < s->n; i++)
        most = s->at[i].x > most ? s->at[i].x : most;
    return most;
}

/* e^((x - most) / t); +INFINITY logits share all the mass. */
static double mass(float x, float most, float t)
{
    if (isinf(most))
        return x == most;
    return exp(((double)x - (double)most) / (double)t);
}

/* Keep the best by key until `count` are there or their mass is at least `share` of all (of s->total, where that is known);
 * best first. */
static void keep_best(sg_sampler *s, size_t count, double share)
{
    float most = largest(s);
    double total = s->total, sum = 0;
    s->total = 0;
    if (share < 1 && !(total > 0))
        for (size_t i = 0; i < s->n; i++)
            total += mass(s->at[i].x, most, 1);
    for (size_t i = s->n / 2; i-- > 0;)
        sift_down(s->at, s->n, i);
    size_t left = s->n;
    while (left > 0 && s->n - left < count) {
        candidate best = s->at[0];
        s->at[0] = s->at[--left];
        sift_down(s->at, left, 0);
        s->at[left] = best;
        sum += share < 1 ? mass(best.x, most, 1) : 0;
        if (share < 1 && sum >= share * total)
            break;
    }
    s->at += left;
    s->n -= left;
    for (size_t i = 0; i < s->n / 2; i++) {
        candidate t = s->at[i];
        s->at[i] = s->at[s->n - 1 - i];
        s->at[s->n - 1 - i] = t;
    }
}

static void key_by_logit(sg_sampler *s)
{
    for (size_t i = 0; i < s->n; i++)
        s->at[i].key = s->at[i].x;
}

static void key_by_typicality(sg_sampler *s)
{
    float most = largest(s);
    double total = 0, entropy = 0;
    for (size_t i = 0; i < s->n; i++)
        total += mass(s->at[i].x, most, 1);
    for (size_t i = 0; i < s->n; i++) {
        double p = mass(s->at[i].x, most, 1) / total;
        entropy -= p > 0 ? p * log(p) : 0;
    }
    for (size_t i = 0; i < s->n; i++) {
        double p = mass(s->at[i].x, most, 1) / total;
        s->at[i].key = p > 0 ? -(float)fabs(-log(p) - entropy) : -INFINITY;
    }
}

static void drop_unlikely(sg_sampler *s, float min_p)
{
    float most = largest(s);
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (mass(s->at[i].x, most, 1) >= (double)min_p)
            s->at[n++] = s->at[i];
    s->n = n;
}

static void truncate(sg_sampler *s, const sg_sampling *p)
{
    if (p->top_k > 0 && (size_t)p->top_k < s->n) {
        key_by_logit(s);
        keep_best(s, (size_t)p->top_k, 1);
    }
    if (p->typical_p < 1) {
        key_by_typicality(s);
        keep_best(s, s->n, p->typical_p > 0 ? (double)p->typical_p : 0);
    }
    if (p->top_p < 1) {
        key_by_logit(s);
        keep_best(s, s->n, p->top_p > 0 ? (double)p->top_p : 0);
    }
    if (p->min_p > 0)
        drop_unlikely(s, p->min_p < 1 ? p->min_p : 1);
}

/* To the seven digits of the row's masses. */
static double log_sum_exp(sg_sampler *s, const float *x)
{
    float most = sg_row_largest(x, s->nvocab);
    if (!(most > -INFINITY))
        return 0;
    return (double)most + log(sg_row_mass(s->mass, s->sum, x, s->nvocab, most, 1));
}

/* ---- the choice -------------------------------------------------------------------------------- */

static int32_t draw(const sg_sampler *s, float temperature, uint64_t seed, uint64_t position)
{
    float most = largest(s);
    double total = 0, sum = 0;
    for (size_t i = 0; i < s->n; i++)
        total += mass(s->at[i].x, most, temperature);
    double u = sg_rng_unit_at(seed, position, 0) * total;
    int32_t last = s->at[0].id;
    for (size_t i = 0; i < s->n; i++) {
        double m = mass(s->at[i].x, most, temperature);
        if (m > 0)
            last = s->at[i].id;
        sum += m;
        if (sum > u)
            return s->at[i].id;
    }
    return last; /* u was rounded up to the total */
}

static int32_t likeliest(const sg_sampler *s)
{
    size_t best = 0;
    for (size_t i = 1; i < s->n; i++)
        if (s->at[i].x > s->at[best].x)
            best = i;
    return s->at[best].id;
}

/* Under a mask, which usually leaves few. */
static int32_t pick_masked(sg_sampler *s, const sg_sampling *p, const float *x, const uint32_t *mask, uint64_t position)
{
    collect(s, x, mask, -INFINITY);
    s->total = 0;
    if (s->n == 0)
        return SG_NO_TOKEN;
    if (!(p->temperature > 0))
        return likeliest(s);
    truncate(s, p);
    return draw(s, p->temperature, p->seed, position);
}

/* A logit that all reach which top-k, top-p or min-p may leave; sets the mass that a share is of, where it is known. */
static float least_wanted(sg_sampler *s, const sg_sampling *p, const float *x, float most)
{
    size_t n = s->nvocab;
    s->total = 0;
    if (isinf(most))
        return -INFINITY;
    if (p->top_k > 0 && (size_t)p->top_k < n)
        return sg_row_cut(x, NULL, n, most, (size_t)p->top_k, 1, 0);
    if (p->typical_p < 1)
        return -INFINITY;
    if (p->top_p < 1) {
        s->total = sg_row_mass(s->mass, s->sum, x, n, most, 1);
        return sg_row_cut(x, s->mass, n, most, n, p->top_p > 0 ? (double)p->top_p : 0, s->total);
    }
    return most + logf(p->min_p < 1 ? p->min_p : 1) - 0.01f; /* drop_unlikely decides */
}

/* Among all tokens: passes over the row; only what may be left of it becomes a list. */
static int32_t pick(sg_sampler *s, const sg_sampling *p, const float *x, uint64_t position)
{
    size_t n = s->nvocab;
    float most = sg_row_largest(x, n);
    if (!(most > -INFINITY))
        return SG_NO_TOKEN;
    if (!(p->temperature > 0))
        return sg_row_find(x, n, most);
    if ((p->top_k <= 0 || (size_t)p->top_k >= n) && !(p->top_p < 1) && !(p->min_p > 0) && !(p->typical_p < 1)) {
        double total = sg_row_mass(s->mass, s->sum, x, n, most, p->temperature);
        return sg_row_draw(s->mass, s->sum, n, sg_rng_unit_at(p->seed, position, 0) * total);
    }
    collect(s, x, NULL, least_wanted(s, p, x, most));
    truncate(s, p);
    return draw(s, p->temperature, p->seed, position);
}

void sg_sampler_pick(sg_sampler *s, const sg_sampling *p, float *logits, const int32_t *history, size_t nhistory, uint64_t position,
                     const uint32_t *mask, sg_choice *c)
{
    bool want = c->want_logprob || c->ntop > 0;
    double lse = 0;
    if (want) {
        memcpy(s->row, logits, s->nvocab * sizeof *logits);
        lse = log_sum_exp(s, s->row);
        find_top(s->row, s->nvocab, lse, c);
    }
    penalize(s, p, logits, history, nhistory);
    add_bias(s, p, logits);
    c->id = mask ? pick_masked(s, p, logits, mask, position) : pick(s, p, logits, position);
    c->logprob = want && c->id != SG_NO_TOKEN ? (double)s->row[c->id] - lse : 0;
}
