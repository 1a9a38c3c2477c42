/* What the loop adds to a step: snapshot, plan, admission, token table, draws, rings, with 256 requests of 700 to 1,300 tokens.  The
 * model is the fake one, whose own time is taken out.  Printed, and bounded loosely, as the machine may be busy. */
#include "tap.h"

#include "fake_lm.h"

#include <stdlib.h>

enum { N = 256, COMMON = 200, PROMPT = 600, ANSWER = 700, WARM = 40, TURNS = 400 };

static sg_error err;
static sg_status (*inner)(void *self, const sg_batch *b, sg_error *err);
static int64_t step_ns;
static int step_rows;

static sg_status timed_step(void *self, const sg_batch *b, sg_error *e)
{
    int64_t t = sg_clock_ns();
    sg_status st = inner(self, b, e);
    step_ns += sg_clock_ns() - t;
    step_rows = b->nrow;
    return st;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void drain(sg_request **r, int n)
{
    sg_event ev;
    for (int i = 0; i < n; i++)
        while (sg_request_next(r[i], &ev, 0))
            ;
}

/* The median of a turn's own time, in microseconds; and of its plan. */
static void run(const char *what, const char *spec, int nwait, int places, double *turn_us, double *plan_us)
{
    static sg_request *r[2 * N];
    static int32_t prompt[PROMPT];
    static int64_t own[TURNS], plan[TURNS];
    sg_lm lm;
    sg_engine *e;
    fake_lm *fake;
    sg_engine_options o = {.max_running = places, .max_waiting = 2 * N, .spec = spec, .slo_tbt_ms = 100};
    CHECK_OK(fake_lm_open(&lm, &fake, 2048, places > N ? 12000 : 30000, &err));
    inner = lm.step;
    lm.step = timed_step;
    lm.max_logits = 3 * N;
    lm.max_rows = 2048;
    CHECK_OK(sg_engine_make_lm(&e, &lm, &o, &err));
    for (int i = 0; i < N + nwait; i++) {
        sg_request_options q = sg_request_defaults();
        for (int k = 0; k < PROMPT; k++)
            prompt[k] = 'a' + (int32_t)(sg_rng_at(k < COMMON ? 0 : (uint64_t)i, (uint64_t)k, 1) % 26);
        q.prompt = prompt;
        q.nprompt = PROMPT;
        q.max_tokens = ANSWER;
        q.ignore_eos = true;
        CHECK_OK(sg_request_submit(&r[i], e, &q, &err));
    }
    bool idle = false;
    int n = 0, decoding = 0;
    for (int i = 0; i < 4000 && decoding < (places > N ? N / 2 : N); i++) {
        idle = false;
        CHECK(sg_engine_turn(e, &idle));
        drain(r, N + nwait);
        decoding = 0;
        for (int k = 0; k < e->nrunning; k++)
            decoding += e->running[k]->state == SG_REQUEST_DECODE;
    }
    CHECK(decoding >= (places > N ? N / 2 : N));
    for (int i = 0; i < WARM + TURNS; i++) {
        idle = false;
        step_ns = 0;
        int64_t t = sg_clock_ns();
        CHECK(sg_engine_turn(e, &idle));
        t = sg_clock_ns() - t - step_ns;
        drain(r, N + nwait);
        if (i < WARM || step_rows < N / 4)
            continue;
        own[n] = t;
        sg_snapshot s = {.now_us = sg_clock_us(), .running = e->gap_running, .nrunning = e->nrunning, .waiting = e->gap_waiting,
                         .nwaiting = e->nshown, .free_block = 10000, .nblock = 30000, .block = 16,
                         .free_slot = e->max_running - e->nrunning, .latency = &e->latency};
        t = sg_clock_ns();
        sg_sched_plan(&e->sched, &s, &e->plan);
        plan[n++] = sg_clock_ns() - t;
    }
    CHECK(n > TURNS / 2);
    qsort(own, (size_t)n, sizeof *own, compare);
    qsort(plan, (size_t)n, sizeof *plan, compare);
    *turn_us = (double)own[n / 2] / 1e3;
    *plan_us = (double)plan[n / 2] / 1e3;
    tap_note("%s: %d streams, %d wait: a turn %.0f us besides the model, of which the plan %.1f us", what, e->nrunning,
             e->nwaiting, *turn_us, *plan_us);
    for (int i = 0; i < N + nwait; i++)
        sg_request_free(r[i]);
    sg_engine_close(e);
}

TEST(the_loop_costs_little_beside_256_requests)
{
    double turn, plan;
    run("plain", "off", 0, N, &turn, &plan);
    CHECK(tap_failed() || plan < 1000);
    run("256 wait for a place", "off", N, N, &turn, &plan);
    run("256 wait for memory", "off", N, 2 * N, &turn, &plan);
    run("guessing", "lookup", 0, N, &turn, &plan);
}

TAP_MAIN
