/* Sampling against a plain full-sort reference in double, and the frequencies that the parameters promise. */
#include "tap.h"

#include "sample/sampler.h"

#include <stdlib.h>

enum { MAX = 400 };

typedef struct item {
    double x, key;
    int id;
} item;

static int by_key(const void *a, const void *b)
{
    const item *p = a, *q = b;
    return p->key != q->key ? (p->key < q->key ? 1 : -1) : p->id - q->id;
}

static double total_of(const item *v, int n, double most)
{
    double t = 0;
    for (int i = 0; i < n; i++)
        t += exp(v[i].x - most);
    return t;
}

static int head(item *v, int n, double share, double most)
{
    qsort(v, (size_t)n, sizeof *v, by_key);
    double total = total_of(v, n, most), sum = 0;
    for (int i = 0; i < n; i++) {
        sum += exp(v[i].x - most);
        if (sum >= share * total)
            return i + 1;
    }
    return n;
}

/* Probability of every token under the parameters (no penalties); false when a cut is too close to call. */
static void reference(const sg_sampling *p, const float *x, int n, double *prob)
{
    item v[MAX];
    double most = -1e30;
    for (int i = 0; i < n; i++) {
        v[i] = (item){(double)x[i], (double)x[i], i};
        most = fmax(most, (double)x[i]);
        prob[i] = 0;
    }
    int m = n;
    if (p->top_k > 0 && p->top_k < m) {
        qsort(v, (size_t)m, sizeof *v, by_key);
        m = p->top_k;
    }
    if (p->typical_p < 1) {
        double total = total_of(v, m, most), h = 0;
        for (int i = 0; i < m; i++)
            h -= exp(v[i].x - most) / total * log(exp(v[i].x - most) / total);
        for (int i = 0; i < m; i++)
            v[i].key = -(double)(float)fabs(-log(exp(v[i].x - most) / total) - h);
        m = head(v, m, (double)p->typical_p, most);
    }
    if (p->top_p < 1) {
        for (int i = 0; i < m; i++)
            v[i].key = v[i].x;
        most = -1e30;
        for (int i = 0; i < m; i++)
            most = fmax(most, v[i].x);
        m = head(v, m, (double)p->top_p, most);
    }
    most = -1e30;
    for (int i = 0; i < m; i++)
        most = fmax(most, v[i].x);
    double total = 0;
    for (int i = 0; i < m; i++)
        if (exp(v[i].x - most) >= (double)p->min_p)
            total += prob[v[i].id] = exp((v[i].x - most) / (double)p->temperature);
    for (int i = 0; i < n; i++)
        prob[i] /= total;
}

static void fill(float *x, int n)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)(sg_rng_unit(tap_rng()) * 10 - 5);
}

TEST(draws_what_the_parameters_promise)
{
    sg_sampler *s = sg_sampler_new(MAX);
    for (int round = 0; round < 40; round++) {
        float x[MAX], y[MAX];
        double prob[MAX], seen[MAX] = {0};
        fill(x, MAX);
        sg_sampling p = sg_sampling_default();
        p.temperature = 0.3f + (float)sg_rng_unit(tap_rng()) * 1.5f;
        p.top_k = sg_rng_below(tap_rng(), 2) ? 1 + (int32_t)sg_rng_below(tap_rng(), 50) : 0;
        p.top_p = sg_rng_below(tap_rng(), 2) ? (float)sg_rng_unit(tap_rng()) : 1;
        p.typical_p = sg_rng_below(tap_rng(), 3) ? 1 : (float)sg_rng_unit(tap_rng());
        p.min_p = sg_rng_below(tap_rng(), 2) ? (float)sg_rng_unit(tap_rng()) * 0.3f : 0;
        p.seed = sg_rng_u64(tap_rng());
        reference(&p, x, MAX, prob);
        enum { DRAWS = 4000 };
        uint64_t calls = sg_heap_calls();
        for (int i = 0; i < DRAWS; i++) {
            memcpy(y, x, sizeof x);
            sg_choice c = {0};
            sg_sampler_pick(s, &p, y, NULL, 0, (uint64_t)i, NULL, &c);
            CHECK(c.id >= 0 && prob[c.id] > 0);
            seen[c.id]++;
        }
        CHECK(calls == sg_heap_calls());
        for (int i = 0; i < MAX; i++) /* six standard deviations; a rare token may come up a few times */
            CHECK_NEAR(seen[i] / DRAWS, prob[i], 6 * sqrt(prob[i] * (1 - prob[i]) / DRAWS) + 3.5 / DRAWS);
    }
    sg_sampler_free(s);
}

TEST(greedy_takes_the_largest_and_the_lowest_id_of_equals)
{
    sg_sampler *s = sg_sampler_new(6);
    float x[6] = {1, 3, NAN, 3, -INFINITY, 2};
    sg_sampling p = sg_sampling_default();
    p.temperature = 0;
    sg_choice c = {.want_logprob = true, .ntop = 3};
    sg_sampler_pick(s, &p, x, NULL, 0, 0, NULL, &c);
    CHECK_INT(c.id, 1);
    double z = exp(1.0) + 2 * exp(3.0) + exp(2.0);
    CHECK_NEAR(c.logprob, 3 - log(z), 1e-7);
    CHECK_INT(c.top[0].id, 1);
    CHECK_INT(c.top[1].id, 3);
    CHECK_INT(c.top[2].id, 5);
    uint32_t mask = 1u << 5 | 1u << 4;
    sg_sampler_pick(s, &p, x, NULL, 0, 0, &mask, &c);
    CHECK_INT(c.id, 5);
    mask = 1u << 2;
    sg_sampler_pick(s, &p, x, NULL, 0, 0, &mask, &c);
    CHECK_INT(c.id, SG_NO_TOKEN);
    float inf[6] = {0, INFINITY, 0, 0, INFINITY, 0};
    p.temperature = 1;
    sg_sampler_pick(s, &p, inf, NULL, 0, 7, NULL, &c);
    CHECK(c.id == 1 || c.id == 4);
    sg_sampler_free(s);
}

TEST(penalties_count_the_newest_history)
{
    sg_sampler *s = sg_sampler_new(4);
    sg_sampling p = sg_sampling_default();
    static const int32_t history[] = {3, 0, 1, 1, 99, -5};
    p.temperature = 0;
    p.repeat_penalty = 2;
    p.frequency_penalty = 0.5f;
    p.presence_penalty = 0.25f;
    p.repeat_last_n = 5;
    sg_choice c = {0};
    for (int round = 0; round < 2; round++) { /* a call leaves nothing behind */
        float x[4] = {4, -1, 0.5f, 8};
        sg_sampler_pick(s, &p, x, history, 6, 0, NULL, &c);
        CHECK_INT(c.id, 3);
        CHECK_NEAR(x[0], 4 / 2.0 - 0.75, 1e-6);
        CHECK_NEAR(x[1], -1 * 2.0 - 1.25, 1e-6);
        CHECK_NEAR(x[3], 8, 0);
    }
    sg_logit_bias bias[] = {{2, 100}, {77, 5}, {3, -INFINITY}};
    p.bias = bias;
    p.nbias = 3;
    float x[4] = {4, -1, 0.5f, 8};
    sg_sampler_pick(s, &p, x, history, 6, 0, NULL, &c);
    CHECK_INT(c.id, 2);
    sg_sampler_free(s);
}

TEST(a_token_depends_on_seed_and_position_only)
{
    sg_sampler *s = sg_sampler_new(MAX), *other = sg_sampler_new(MAX);
    float x[MAX], y[MAX];
    fill(x, MAX);
    sg_sampling p = sg_sampling_default();
    int32_t ids[50];
    int differ = 0;
    for (int i = 0; i < 50; i++) {
        sg_choice c = {0};
        memcpy(y, x, sizeof x);
        sg_sampler_pick(s, &p, y, NULL, 0, (uint64_t)i, NULL, &c);
        ids[i] = c.id;
        differ += i && ids[i] != ids[i - 1];
    }
    CHECK(differ > 10);
    for (int i = 49; i >= 0; i--) {
        sg_choice c = {.want_logprob = true, .ntop = 20};
        memcpy(y, x, sizeof x);
        sg_sampler_pick(other, &p, y, NULL, 0, (uint64_t)i, NULL, &c);
        CHECK_INT(c.id, ids[i]);
    }
    sg_sampler_free(s);
    sg_sampler_free(other);
}

TEST(odd_parameters_are_the_nearest_sensible_ones)
{
    sg_sampler *s = sg_sampler_new(3);
    float x[3] = {1, 2, 3};
    sg_choice c = {0};
    sg_sampling p = sg_sampling_default();
    p.top_p = -1;
    sg_sampler_pick(s, &p, x, NULL, 0, 1, NULL, &c);
    CHECK_INT(c.id, 2);
    p = sg_sampling_default();
    p.min_p = 7;
    sg_sampler_pick(s, &p, x, NULL, 0, 2, NULL, &c);
    CHECK_INT(c.id, 2);
    p.min_p = p.top_p = p.typical_p = p.temperature = p.repeat_penalty = NAN;
    sg_sampler_pick(s, &p, x, NULL, 0, 3, NULL, &c);
    CHECK_INT(c.id, 2);
    sg_sampler_free(s);
}

static bool make(void *arg)
{
    (void)arg;
    sg_sampler *s = sg_sampler_new(100);
    sg_sampler_free(s);
    return s != NULL;
}

TEST(survives_every_failed_allocation) { CHECK_ALLOC_LOOP(make, NULL); }

TAP_MAIN
