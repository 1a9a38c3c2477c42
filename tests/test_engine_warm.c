/* What memory of keys and values the loop touches ahead: what requests are expected to take, less what they hold and what was used
 * before.  The engine has no thread; the test takes its turns. */
#include "tap.h"

#include "fake_lm.h"

enum { PROMPT = 200, ANSWER = 60, CTX = 512, BLOCKS = 100, MANY = 1000 };

static sg_error err;

static sg_engine *open_engine(int max_running)
{
    sg_lm lm;
    fake_lm *fake;
    sg_engine *e = NULL;
    sg_engine_options o = {.max_running = max_running, .spec = "off", .no_prefix_cache = true};
    if (fake_lm_open(&lm, &fake, CTX, BLOCKS, &err) != SG_OK || sg_engine_make_lm(&e, &lm, &o, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return e;
}

static sg_request *ask(sg_engine *e, int salt)
{
    int32_t prompt[PROMPT];
    sg_request *r = NULL;
    sg_request_options o = sg_request_defaults();
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = 'a' + (i * salt) % 26;
    o.prompt = prompt;
    o.nprompt = PROMPT;
    o.max_tokens = ANSWER;
    o.ignore_eos = true;
    if (sg_request_submit(&r, e, &o, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return r;
}

static void turns(sg_engine *e, int n)
{
    for (; n > 0; n--) {
        bool idle = false; /* or it would sleep */
        CHECK(sg_engine_turn(e, &idle));
    }
}

/* Blocks that a request will probably take, all in all. */
static int blocks_of(const sg_engine *e, const sg_request *r)
{
    return sg_kv_blocks_for(sg_request_expected(e, r), sg_kv_pool_block(e->lm.pool));
}

TEST(what_waits_wants_all_of_it)
{
    sg_engine *e = open_engine(2);
    CHECK_INT(sg_engine_blocks_wanted(e, MANY), 0);
    sg_request *r[3] = {ask(e, 1), ask(e, 3), ask(e, 5)};
    sg_engine_gather(e, false);
    CHECK_INT(e->nwaiting, 3);
    int two = blocks_of(e, r[0]) + blocks_of(e, r[1]);
    CHECK(two > 2 * PROMPT / sg_kv_pool_block(e->lm.pool));
    CHECK_INT(sg_engine_blocks_wanted(e, MANY), two); /* the third has no place yet */
    CHECK_INT(sg_engine_blocks_wanted(e, 5), 5);
    for (int i = 0; i < 3; i++)
        sg_request_free(r[i]);
    sg_engine_close(e);
}

TEST(what_runs_wants_what_it_does_not_hold)
{
    sg_engine *e = open_engine(2);
    sg_request *r = ask(e, 1);
    turns(e, 4);
    CHECK_INT(e->nrunning, 1);
    CHECK(r->seq->nblock > 0);
    CHECK_INT(sg_kv_pool_nused(e->lm.pool), 0);
    CHECK_INT(sg_engine_blocks_wanted(e, MANY), blocks_of(e, r) - r->seq->nblock);
    sg_request_free(r);
    sg_engine_close(e);
}

TEST(memory_that_was_used_before_is_not_wanted)
{
    sg_engine *e = open_engine(2);
    sg_request *first = ask(e, 1), *second;
    turns(e, PROMPT + 2 * ANSWER);
    CHECK_INT(e->nrunning, 0);
    int had = sg_kv_pool_nused(e->lm.pool);
    CHECK(had >= PROMPT / sg_kv_pool_block(e->lm.pool));
    second = ask(e, 3);
    sg_engine_gather(e, false);
    int want = blocks_of(e, second) - had;
    CHECK_INT(sg_engine_blocks_wanted(e, MANY), want > 0 ? want : 0);
    sg_request_free(first);
    sg_request_free(second);
    sg_engine_close(e);
}

TAP_MAIN
