/* The scheduler for millions of steps in virtual time: random machines, loads and faults, checked after every step. */
#include "tap.h"

#include "replay/sim.h"
#include "segue.h"

#include <stdlib.h>

enum { NPOLICY = 16 };

typedef struct totals {
    int64_t of_policy[NPOLICY]; /* steps */
    int64_t runs, steps, preemptions, cancelled, failed, requests, drafts, reused;
} totals;

static void random_trace(sg_trace *t, sg_rng *r, sg_trace_request *request, size_t n)
{
    double at = 0, gap = 200 + sg_rng_unit(r) * 60000;
    for (size_t i = 0; i < n; i++) {
        request[i] = (sg_trace_request){.arrival_us = (int64_t)at, .prompt = 1 + (int32_t)sg_rng_below(r, sg_rng_below(r, 6) ? 80 : 1500),
                                        .output = 1 + (int32_t)sg_rng_below(r, 90)};
        at += -log(1 - sg_rng_unit(r)) * gap;
    }
    *t = (sg_trace){.request = request, .n = n, .timed = true};
}

/* Prompts that begin alike: of six texts, numbered by blocks of 32 tokens. */
static void random_prefixes(sg_trace *t, sg_rng *r, int64_t *hash, size_t most)
{
    t->hash = hash;
    for (size_t i = 0; i < t->n; i++) {
        int text = (int)sg_rng_below(r, 6), n = (int)sg_rng_below(r, most + 1);
        t->request[i].hash = t->nhash;
        for (int b = 0; b < n && b * 32 < t->request[i].prompt; b++, t->request[i].nhash++)
            hash[t->nhash++] = text * 100 + b;
    }
}

static void one_seed(uint64_t seed, totals *sum)
{
    enum { N = 128, HASHES = 8 };
    static int64_t hash[N * HASHES];
    static sg_record record;
    sg_rng r = {seed};
    sg_error err;
    sg_trace trace;
    sg_trace_request request[N];
    size_t n = 8 + (size_t)sg_rng_below(&r, N - 7);
    random_trace(&trace, &r, request, n);
    sg_machine m = {.name = "random", .fixed_us = 10 + sg_rng_unit(&r) * 2000, .weights_us = 100 + sg_rng_unit(&r) * 20000,
                    .row_us = 5 + sg_rng_unit(&r) * 1000, .logit_us = sg_rng_unit(&r) * 50, .decode_key_us = sg_rng_unit(&r) * 0.3,
                    .chunk_key_us = sg_rng_unit(&r) * 0.3, .tile = 1 << sg_rng_below(&r, 5), .noise = sg_rng_unit(&r) * 0.1,
                    .spike = sg_rng_below(&r, 2) ? 0.005 : 0, .step_rows = 32 << sg_rng_below(&r, 5)};
    sg_sim_options o = {.machine = &m, .max_running = 1 + (int)sg_rng_below(&r, 32), .block = 1 << sg_rng_below(&r, 6), .seed = seed,
                        .tenants = true, .last = -1, .check = true};
    m.kv_tokens = 600 + (int64_t)sg_rng_below(&r, 6000);
    if (sg_rng_below(&r, 2)) {
        o.cancel = 0.01;
        o.fail = 0.002;
        o.pause = 0.02;
    }
    o.reuse = (sg_reuse)sg_rng_below(&r, 3);
    o.scale_lengths = SG_TRACE_HASH_TOKENS / 32;
    random_prefixes(&trace, &r, hash, HASHES);
    o.accept = sg_rng_below(&r, 3) ? 0 : sg_rng_unit(&r) * 0.95;
    int which = (int)sg_rng_below(&r, 9); /* slo more often than the others */
    const sg_policy *p = sg_policy_at(which);
    o.sched = (sg_sched_options){.policy = p ? p : sg_policy_at(0),
                                 .step_tokens = 16 + (int)sg_rng_below(&r, 100),
                                 .preempt = sg_rng_below(&r, 4) != 0,
                                 .tbt_us = sg_rng_below(&r, 2) ? 0 : 2000 + (int64_t)sg_rng_below(&r, 200000),
                                 .step_us_max = sg_rng_below(&r, 2) ? 250000 : 0};
    if (o.max_running > m.step_rows)
        o.max_running = m.step_rows;
    if (record.nrequest)
        sg_record_fini(&record);
    CHECK_OK(sg_record_init(&record, n, &err));
    sg_sim_report report;
    if (sg_sim_run(&o, &trace, &record, &report, &err) != SG_OK) {
        tap_fail(__FILE__, __LINE__, "seed %llu: %s", (unsigned long long)seed, err.text);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const sg_record_request *q = &record.request[i];
        sum->reused += q->cached;
        bool whole = q->finish == SG_FINISH_LENGTH;
        if (!q->ended || q->output > request[i].output || (whole && q->output != request[i].output) ||
            (whole && q->first_us < q->arrival_us))
            tap_fail(__FILE__, __LINE__, "seed %llu: request %zu ended wrongly", (unsigned long long)seed, i);
    }
    /* Somebody who runs moves again within the steps that all others could take at most. */
    bool batchwise = strcmp(o.sched.policy->name, "request") == 0 || strcmp(o.sched.policy->name, "prefill-first") == 0;
    if (!batchwise && report.wait_steps_max > 4000)
        tap_fail(__FILE__, __LINE__, "seed %llu: %s: a request stood still for %lld steps", (unsigned long long)seed,
                 o.sched.policy->name, (long long)report.wait_steps_max);
    sum->runs++;
    sum->requests += (int64_t)n;
    sum->steps += report.steps;
    sum->of_policy[p ? which : 0] += report.steps;
    sum->preemptions += report.preemptions;
    sum->cancelled += report.cancelled;
    sum->failed += report.failed;
    sum->drafts += report.drafts;
    sg_record_fini(&record);
}

/* At least a million steps, of every policy some; after each the simulator checks what must hold (replay/sim.c): no more blocks than
 * there are, nobody admitted in a step that threw somebody out, nobody left aside for ever, every request ended once.
 * SEGUE_SIM_SEEDS=N runs N seeds (docs/scheduling.md). */
TEST(a_million_steps_hold)
{
    enum { LEAST = 1000000, SEEDS = 2000, SEEDS_MAX = 8 * SEEDS };
    const char *s = getenv("SEGUE_SIM_SEEDS");
    int seeds = s ? (int)strtol(s, NULL, 10) : SEEDS;
    uint64_t first = sg_rng_u64(tap_rng());
    totals sum = {0};
    for (int i = 0; (i < seeds || (!s && sum.steps < LEAST && i < SEEDS_MAX)) && !tap_failed(); i++)
        one_seed(first + (uint64_t)i, &sum);
    tap_note("%lld steps simulated and checked: %lld seeds, %lld requests, %lld thrown out, %lld cancelled, %lld failed",
             (long long)sum.steps, (long long)sum.runs, (long long)sum.requests, (long long)sum.preemptions, (long long)sum.cancelled,
             (long long)sum.failed);
    tap_note("%lld guesses, %lld tokens reused", (long long)sum.drafts, (long long)sum.reused);
    for (int i = 0; i < NPOLICY && sg_policy_at(i); i++) {
        tap_note("%lld steps of %s", (long long)sum.of_policy[i], sg_policy_at(i)->name);
        CHECK(tap_failed() || s || sum.of_policy[i] >= LEAST / 50);
    }
    CHECK(tap_failed() || s || (sum.steps >= LEAST && sum.preemptions && sum.cancelled && sum.failed && sum.drafts && sum.reused));
}

TAP_MAIN
