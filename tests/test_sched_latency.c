/* The step-time model against machines that are known: it must find them, through noise, and follow. */
#include "tap.h"

#include "sched/latency.h"

/* A machine with a knee at `knee` tokens. */
typedef struct machine {
    double fixed, slow, fast, row, decode, chunk, knee;
} machine;

static double truth(const machine *m, const sg_step_cost *c)
{
    double n = c->tokens;
    return m->fixed + m->slow * fmin(n, m->knee) + m->fast * fmax(n - m->knee, 0) + m->row * c->decode_rows +
           m->decode * c->decode_context + m->chunk * c->chunk_context;
}

static sg_step_cost random_step(sg_rng *r)
{
    sg_step_cost c = {0};
    c.decode_rows = (int)sg_rng_below(r, 17);
    c.decode_context = c.decode_rows * (double)sg_rng_below(r, 2000);
    int prompt = sg_rng_below(r, 2) ? (int)sg_rng_below(r, 512) : 0;
    c.tokens = c.decode_rows + prompt;
    c.chunk_context = prompt * (double)sg_rng_below(r, 4000);
    if (c.tokens == 0)
        c.tokens = c.decode_rows = 1;
    return c;
}

TEST(finds_a_machine_through_noise)
{
    sg_rng *r = tap_rng();
    static const machine m = {3000, 40, 180, 30, 0.05, 0.06, 16};
    sg_latency l;
    sg_latency_init(&l);
    for (int i = 0; i < 2000; i++) {
        sg_step_cost c = random_step(r);
        sg_latency_observe(&l, &c, truth(&m, &c) * (0.95 + 0.1 * sg_rng_unit(r)));
    }
    CHECK(sg_latency_error_p90(&l) < 0.08);
    for (int i = 0; i < 200; i++) {
        sg_step_cost c = random_step(r);
        CHECK_NEAR(sg_latency_predict_us(&l, &c) / truth(&m, &c), 1, 0.1);
    }
}

TEST(lone_outliers_are_not_learnt_and_a_change_is)
{
    sg_rng *r = tap_rng();
    static const machine quiet = {3000, 40, 180, 30, 0.05, 0.06, 16}, loaded = {15000, 200, 900, 150, 0.25, 0.3, 16};
    sg_latency l;
    sg_latency_init(&l);
    for (int i = 0; i < 600; i++) {
        sg_step_cost c = random_step(r);
        sg_latency_observe(&l, &c, truth(&quiet, &c) * (i % 50 == 49 ? 30 : 1));
    }
    sg_step_cost c = {.tokens = 4, .decode_rows = 4, .decode_context = 2000};
    CHECK_NEAR(sg_latency_predict_us(&l, &c) / truth(&quiet, &c), 1, 0.1);
    for (int i = 0; i < 3000; i++) {
        sg_step_cost s = random_step(r);
        sg_latency_observe(&l, &s, truth(&loaded, &s));
    }
    CHECK_NEAR(sg_latency_predict_us(&l, &c) / truth(&loaded, &c), 1, 0.15);
}

TEST(budget_is_the_largest_that_fits)
{
    sg_rng *r = tap_rng();
    static const machine m = {3000, 40, 180, 30, 0.05, 0.06, 16};
    sg_latency l;
    sg_latency_init(&l);
    sg_step_cost base = {.tokens = 4, .decode_rows = 4, .decode_context = 4000};
    CHECK_INT(sg_latency_budget(&l, &base, 0, 512, 1), 512); /* knows nothing yet */
    for (int i = 0; i < 1000; i++) {
        sg_step_cost c = random_step(r);
        sg_latency_observe(&l, &c, truth(&m, &c));
    }
    double limit = 30000;
    int n = sg_latency_budget(&l, &base, 1000, 4096, limit);
    CHECK(n > 20 && n < 200);
    sg_step_cost at = base, over = base;
    at.tokens += n;
    at.chunk_context += 1000.0 * n + n * (n - 1) / 2.0;
    over.tokens += n + 1;
    over.chunk_context += 1000.0 * (n + 1) + (n + 1) * n / 2.0;
    CHECK(sg_latency_predict_us(&l, &at) * sg_latency_safety(&l, &at) <= limit);
    CHECK(sg_latency_predict_us(&l, &over) * sg_latency_safety(&l, &at) > limit);
    CHECK_INT(sg_latency_budget(&l, &base, 1000, 4096, 10), 0);
}

TEST(prediction_is_monotone_whatever_was_seen)
{
    sg_rng *r = tap_rng();
    sg_latency l;
    sg_latency_init(&l);
    for (int i = 0; i < 500; i++) { /* nonsense times */
        sg_step_cost c = random_step(r);
        sg_latency_observe(&l, &c, 1 + 1e5 * sg_rng_unit(r));
    }
    for (int i = 0; i < 500; i++) {
        sg_step_cost c = random_step(r), d = c;
        d.tokens += (int)sg_rng_below(r, 50);
        if (c.chunk_context > 0) /* steps with prompts are a kind of their own */
            d.chunk_context += (double)sg_rng_below(r, 5000);
        CHECK(sg_latency_predict_us(&l, &d) >= sg_latency_predict_us(&l, &c));
    }
}

TAP_MAIN
