/* Guessing is switched off where it is measured not to pay, and tried again less and less often. */
#include "tap.h"

#include "fake_lm.h"

static sg_error err;

static sg_engine *open_engine(void)
{
    sg_lm lm;
    sg_engine *e = NULL;
    sg_engine_options o = {.max_running = 32};
    if (fake_lm_open(&lm, NULL, 256, 64, &err) != SG_OK || sg_engine_make_lm(&e, &lm, &o, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return e;
}

/* A step of n streams with so many guesses, that would take 1000 us without them. */
static void step(sg_engine *e, int n, int ndraft, double us, int drawn)
{
    for (int i = 0; i < n; i++)
        e->work[i].ndraft = i < ndraft;
    e->nwork = n;
    e->plain_us = 1000;
    sg_engine_weigh(e, us, (uint64_t)drawn);
}

static int rest(sg_engine *e)
{
    int n = 0;
    while (!sg_engine_may_guess(e) && n < 100000)
        n++;
    return n;
}

TEST(what_pays_goes_on)
{
    sg_engine *e = open_engine();
    for (int i = 0; i < 2000; i++) {
        CHECK(sg_engine_may_guess(e));
        step(e, 1, 1, i % 3 ? 1300 : 1500, 1 + (i % 2)); /* 1.5 tokens in 1.37 times the time */
    }
    sg_engine_close(e);
}

TEST(what_does_not_pay_rests_longer_each_time)
{
    sg_engine *e = open_engine();
    int before = 0;
    for (int trial = 0; trial < 8; trial++) {
        int steps = 0;
        for (; sg_engine_may_guess(e) && steps < 100; steps++)
            step(e, 1, 1, 1500, 1 + (steps % 4 == 0)); /* 1.25 tokens in 1.5 times the time */
        CHECK(steps <= 13);
        int now = rest(e) + 1;
        CHECK(now >= 128 && now >= before && now <= 4096);
        CHECK(trial > 4 || now >= 2 * before);
        before = now;
    }
    CHECK_INT(before, 4096);
    for (int i = 0; i < 12; i++)
        step(e, 1, 1, 1000, 2); /* a clear gain: the next rest is short again */
    for (int i = 0; sg_engine_may_guess(e) && i < 200; i++)
        step(e, 1, 1, 1500, 1);
    CHECK(rest(e) < 130);
    sg_engine_close(e);
}

TEST(a_large_loss_is_noticed_at_once)
{
    sg_engine *e = open_engine();
    step(e, 1, 1, 6000, 1);
    CHECK(!sg_engine_may_guess(e));
    rest(e);
    e->draft_us = 9000; /* a draft model that reads a long text, and then has no guess */
    step(e, 1, 0, 1000, 1);
    CHECK(!sg_engine_may_guess(e));
    sg_engine_close(e);
}

TEST(plain_steps_are_the_measure)
{
    sg_engine *e = open_engine();
    for (int i = 0; i < 200; i++)
        step(e, 1, 0, 2000, 1); /* twice as slow as predicted: somebody else is there */
    for (int i = 0; i < 100; i++) {
        CHECK(sg_engine_may_guess(e));
        step(e, 1, 1, 2500, 2);
    }
    step(e, 4, 3, 9000, 4); /* beside four streams it is another matter, which does not change this one */
    CHECK(sg_engine_may_guess(e));
    CHECK(e->worth[2].rest > 0);
    e->plain_us = 0; /* nobody knows: nothing is learnt */
    sg_worth w = e->worth[0];
    sg_engine_weigh(e, 1e9, 1);
    CHECK(memcmp(&w, &e->worth[0], sizeof w) == 0);
    sg_engine_close(e);
}

TAP_MAIN
