/* What each policy is known for, on small snapshots that a reader can check by hand. */
#include "tap.h"

#include "base/clock.h"
#include "sched/sched.h"

enum { MAX = 512 };

static sg_plan plan;

static sg_gap stream(int known)
{
    return (sg_gap){.known = known,
                    .computed = known - 1,
                    .prompt = known - 1,
                    .limit = known + 100,
                    .deadline_us = INT64_MAX,
                    .held_block = known / 16 + 1,
                    .own_block = known / 16 + 1,
                    .priority = SG_PRIORITY_NORMAL};
}

static sg_gap prompt(int n, int64_t arrival)
{
    return (sg_gap){.known = n, .prompt = n, .limit = n + 50, .arrival_us = arrival, .last_us = arrival, .deadline_us = INT64_MAX,
                    .priority = SG_PRIORITY_NORMAL};
}

/* A machine that the model has learnt: 5 ms a step, 100 us a row. */
static void learn(sg_latency *l)
{
    sg_latency_init(l);
    sg_rng r = {1};
    for (int i = 0; i < 400; i++) {
        int n = 1 + (int)sg_rng_below(&r, 512);
        sg_step_cost c = {.tokens = n, .decode_rows = n < 9 ? n : 1};
        sg_latency_observe(l, &c, 5000 + 100.0 * n);
    }
}

static void ask(const char *policy, sg_snapshot s, sg_sched_options o)
{
    static bool made;
    sg_error err;
    if (!made)
        CHECK_OK(sg_plan_init(&plan, MAX, MAX, &err));
    made = true;
    CHECK_OK(sg_policy_find(&o, policy, &err));
    s.block = 16;
    s.nblock = s.nblock ? s.nblock : 1000;
    s.free_block = s.free_block ? s.free_block : 900;
    s.free_slot = s.free_slot ? s.free_slot : 8;
    o.step_tokens = o.step_tokens ? o.step_tokens : 64;
    o.step_tokens_max = o.step_tokens_max ? o.step_tokens_max : 512;
    sg_sched_plan(&o, &s, &plan);
}

#define RUNS(a) .running = (a), .nrunning = (int)(sizeof(a) / sizeof *(a))
#define WAITS(a) .waiting = (a), .nwaiting = (int)(sizeof(a) / sizeof *(a))

TEST(static_puts_decodes_first_and_keeps_its_budget)
{
    sg_gap running[] = {stream(10), prompt(4000, 0), stream(20)}, waiting[] = {prompt(50, 1)};
    ask("static:128", (sg_snapshot){RUNS(running), WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.ntoken, 128);
    CHECK_INT(plan.ndecode, 2);
    CHECK_INT(plan.part[0].index, 0);
    CHECK_INT(plan.part[1].index, 2);
    CHECK_INT(plan.part[2].ntoken, 126);
    CHECK_INT(plan.nadmit, 0); /* nothing is left of the budget */
    sg_gap alone[] = {prompt(4000, 0)};
    ask("static:128", (sg_snapshot){RUNS(alone)}, (sg_sched_options){0});
    CHECK_INT(plan.ntoken, 128); /* fixed, even when nobody decodes */
}

TEST(chunked_takes_turns)
{
    sg_gap running[] = {stream(10), prompt(4000, 0)};
    for (uint64_t step = 0; step < 4; step++) {
        ask("chunked:100", (sg_snapshot){RUNS(running), .nstep = step}, (sg_sched_options){0});
        CHECK_INT(plan.ndecode, step % 2);
        CHECK_INT(plan.ntoken, step % 2 ? 1 : 96); /* whole tiles of 16 */
    }
}

TEST(prefill_first_stops_the_streams)
{
    sg_gap running[] = {stream(10)}, waiting[] = {prompt(300, 1), prompt(100, 2)};
    ask("prefill-first", (sg_snapshot){RUNS(running), WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.nadmit, 2);
    CHECK_INT(plan.ndecode, 0);
    CHECK_INT(plan.ntoken, 400);
    ask("prefill-first", (sg_snapshot){RUNS(running)}, (sg_sched_options){0});
    CHECK_INT(plan.ndecode, 1);
}

TEST(hybrid_mixes_whole_prompts)
{
    sg_gap running[] = {stream(10)}, waiting[] = {prompt(300, 1)}, large[] = {stream(10), prompt(2000, 1)}, late[] = {prompt(9, 2)};
    ask("hybrid", (sg_snapshot){RUNS(running), WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.ntoken, 301);
    /* A prompt of several steps is one iteration: its streams wait, and so do newcomers. */
    ask("hybrid", (sg_snapshot){RUNS(large), WAITS(late)}, (sg_sched_options){0});
    CHECK_INT(plan.ndecode, 0);
    CHECK_INT(plan.nadmit, 0);
    CHECK_INT(plan.ntoken, 512);
}

TEST(orca_runs_sixteen_and_reserves_whole_lives)
{
    static sg_gap running[15], waiting[4];
    for (int i = 0; i < 15; i++)
        running[i] = stream(10);
    for (int i = 0; i < 4; i++)
        waiting[i] = prompt(10, i);
    ask("orca", (sg_snapshot){RUNS(running), WAITS(waiting)}, (sg_sched_options){.preempt = true});
    CHECK_INT(plan.nadmit, 1);
    sg_gap one[] = {prompt(16, 0)}; /* 66 tokens in its life: 5 blocks */
    ask("orca", (sg_snapshot){WAITS(one), .nblock = 4, .free_block = 4}, (sg_sched_options){.preempt = true});
    CHECK_INT(plan.nadmit, 0);
    ask("static", (sg_snapshot){WAITS(one), .nblock = 4, .free_block = 4}, (sg_sched_options){.preempt = true});
    CHECK_INT(plan.nadmit, 1);
}

TEST(request_lets_a_batch_end)
{
    sg_gap running[] = {stream(10)}, waiting[] = {prompt(30, 1), prompt(40, 2)};
    ask("request", (sg_snapshot){RUNS(running), WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.nadmit, 0);
    CHECK_INT(plan.ndecode, 1);
    ask("request", (sg_snapshot){WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.nadmit, 2);
    CHECK_INT(plan.ntoken, 70);
}

TEST(slo_fills_a_step_up_to_the_bound)
{
    sg_latency l;
    learn(&l);
    sg_gap running[] = {stream(10), stream(20), prompt(4000, 0)};
    ask("slo", (sg_snapshot){RUNS(running), .latency = &l}, (sg_sched_options){.tbt_us = 30000});
    CHECK_INT(plan.ndecode, 2);
    CHECK(plan.predicted_us > 0.6 * 30000 && plan.predicted_us <= 0.9 * 30000);
    CHECK_INT(plan.ntoken % 16, 0);
    ask("slo", (sg_snapshot){RUNS(running), .latency = &l, .now_us = 10000}, (sg_sched_options){.tbt_us = 30000});
    CHECK(plan.predicted_us <= 0.9 * 20000); /* ten have passed */
    ask("slo", (sg_snapshot){.running = running + 2, .nrunning = 1, .latency = &l}, (sg_sched_options){.tbt_us = 30000});
    CHECK_INT(plan.ntoken, 512); /* nobody is at risk: it opens */
    ask("slo", (sg_snapshot){RUNS(running)}, (sg_sched_options){.tbt_us = 30000});
    CHECK_INT(plan.ntoken, 64); /* nothing is known of the machine */
    ask("slo", (sg_snapshot){RUNS(running), .latency = &l}, (sg_sched_options){.tbt_us = 100});
    CHECK(plan.ndecode == 2 && plan.predicted_us < 8000); /* a bound that cannot be kept: decodes, and little more */
}

TEST(slo_lets_short_prompts_pass_and_starves_nobody)
{
    sg_latency l;
    learn(&l);
    sg_gap running[] = {prompt(4000, 0)}, waiting[] = {prompt(5000, 1000), prompt(20, 2000)};
    ask("slo", (sg_snapshot){RUNS(running), WAITS(waiting), .latency = &l, .now_us = 3000}, (sg_sched_options){.step_us_max = 20000});
    CHECK_INT(plan.nadmit, 1);
    CHECK_INT(plan.admit[0], 1);
    CHECK(plan.part[0].index == 1 && plan.part[0].ntoken == 20);
    waiting[1].arrival_us = 60000000; /* a minute later: the long one's turn */
    ask("slo", (sg_snapshot){RUNS(running), WAITS(waiting), .latency = &l, .now_us = 60000001}, (sg_sched_options){.step_us_max = 20000});
    CHECK_INT(plan.part[0].index, 0);
}

TEST(slo_orders_by_class_and_ages)
{
    sg_gap waiting[] = {prompt(100, 0), prompt(100, 0), prompt(100, 0)};
    waiting[0].priority = SG_PRIORITY_BATCH;
    waiting[2].priority = SG_PRIORITY_INTERACTIVE;
    ask("slo", (sg_snapshot){WAITS(waiting)}, (sg_sched_options){0});
    CHECK_INT(plan.nadmit, 3);
    CHECK(plan.admit[0] == 2 && plan.admit[1] == 1 && plan.admit[2] == 0);
    waiting[1].arrival_us = waiting[2].arrival_us = 40000000;
    ask("slo", (sg_snapshot){WAITS(waiting), .now_us = 40000000}, (sg_sched_options){0});
    CHECK_INT(plan.admit[0], 0);
    waiting[1].deadline_us = 5; /* a deadline wins over class and age */
    ask("slo", (sg_snapshot){WAITS(waiting), .now_us = 40000000}, (sg_sched_options){0});
    CHECK_INT(plan.admit[0], 1);
}

TEST(slo_throws_out_the_lower_class_and_admits_nobody_then)
{
    sg_gap running[] = {stream(16), stream(16), stream(16)}, waiting[] = {prompt(1, 0)};
    for (int i = 0; i < 3; i++) {
        running[i].known = 17, running[i].computed = 16, running[i].held_block = running[i].own_block = 1;
        running[i].arrival_us = i;
    }
    running[1].priority = SG_PRIORITY_BATCH;
    sg_snapshot s = {RUNS(running), WAITS(waiting), .nblock = 4, .free_block = 1};
    ask("slo", s, (sg_sched_options){.preempt = true});
    CHECK_INT(plan.nvictim, 1);
    CHECK_INT(plan.victim[0], 1);
    CHECK_INT(plan.ndecode, 2);
    CHECK_INT(plan.nadmit, 0);
    running[1].priority = SG_PRIORITY_NORMAL;
    running[0].expect = 10; /* has over-run what was expected of it; the first to come is kept all the same */
    running[2].expect = 10;
    ask("slo", s, (sg_sched_options){.preempt = true});
    CHECK(plan.nvictim == 1 && plan.victim[0] == 2);
}

TEST(slo_verifies_guesses_while_they_pay)
{
    sg_latency l;
    sg_latency_init(&l);
    for (int i = 0; i < 400; i++) { /* rows are nearly free up to 8, then cost a step's worth */
        int n = 1 + i % 40;
        sg_step_cost c = {.tokens = n, .decode_rows = n};
        sg_latency_observe(&l, &c, 10000 + 50.0 * (n < 8 ? n : 8) + 3000.0 * (n > 8 ? n - 8 : 0));
    }
    sg_gap one[] = {stream(10)};
    one[0].draft = 6, one[0].accept = 0.8F;
    ask("slo", (sg_snapshot){RUNS(one), .latency = &l}, (sg_sched_options){0});
    CHECK_INT(plan.part[0].ndraft, 6);
    sg_gap two[] = {one[0], prompt(100, 20)};
    ask("slo", (sg_snapshot){RUNS(two), .latency = &l}, (sg_sched_options){0});
    CHECK_INT(plan.ndraft, 0); /* the rows belong to the prompt */
    one[0].accept = 0.001F;
    ask("slo", (sg_snapshot){RUNS(one), .latency = &l}, (sg_sched_options){0});
    CHECK_INT(plan.ndraft, 0);
    static sg_gap many[32];
    for (int i = 0; i < 32; i++)
        many[i] = stream(10), many[i].draft = 6, many[i].accept = 0.5F;
    ask("slo", (sg_snapshot){RUNS(many), .latency = &l}, (sg_sched_options){0});
    CHECK(plan.ndraft <= 2); /* every row costs as much as it brings */
}

TEST(a_plan_of_256_requests_is_cheap)
{
    static sg_gap running[256], waiting[256];
    sg_latency l;
    learn(&l);
    for (int i = 0; i < 256; i++) {
        running[i] = i % 4 ? stream(500 + i) : prompt(3000, i);
        waiting[i] = prompt(100 + (i * 37) % 900, 256 - i);
    }
    for (int i = 0; sg_policy_at(i); i++) {
        int64_t best = INT64_MAX;
        for (int k = 0; k < 50; k++) {
            int64_t t = sg_clock_ns();
            ask(sg_policy_at(i)->name,
                (sg_snapshot){RUNS(running), WAITS(waiting), .latency = &l, .nblock = 100000, .free_block = 90000,
                              .free_slot = 200},
                (sg_sched_options){.tbt_us = 200000, .preempt = true});
            t = sg_clock_ns() - t;
            best = t < best ? t : best;
        }
        tap_note("%-14s %.1f us", sg_policy_at(i)->name, (double)best / 1e3);
    }
}

TAP_MAIN
