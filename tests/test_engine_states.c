/* Cancelling a request in each state of its life (the picture is in engine/admit.c): it ends within one turn of the loop, gives
 * its blocks back, and what runs beside it answers as if it had never been there.  The engine has no thread here; the
 * test takes its turns, so that a request stands in just the state that is wanted. */
#include "tap.h"

#include "fake_lm.h"

enum { PROMPT = 200, CTX = 512, BLOCKS = 100, TURNS = 2000 };

static sg_error err;

typedef struct scene {
    sg_engine *e;
    fake_lm *fake;
    int32_t prompt[2][PROMPT];
} scene;

static void scene_open(scene *s, int max_running)
{
    sg_lm lm;
    sg_engine_options o = {.max_running = max_running, .spec = "off"};
    *s = (scene){0};
    CHECK_OK(fake_lm_open(&lm, &s->fake, CTX, BLOCKS, &err));
    CHECK_OK(sg_engine_make_lm(&s->e, &lm, &o, &err));
    for (int i = 0; i < PROMPT; i++)
        for (int k = 0; k < 2; k++)
            s->prompt[k][i] = 'a' + (i * (k + 3) + k) % 26;
}

static uint64_t taken[SG_REQUEST_NSTATE][SG_REQUEST_NSTATE]; /* arrows, by all tests of this file */

static void scene_close(scene *s)
{
    for (int i = 0; i < SG_REQUEST_NSTATE; i++)
        for (int k = 0; k < SG_REQUEST_NSTATE; k++)
            taken[i][k] += s->e->transition[i][k];
    sg_engine_close(s->e);
}

static void turn(scene *s)
{
    bool idle = false;
    CHECK(sg_engine_turn(s->e, &idle));
}

/* A request with the first or the second prompt, of n tokens. */
static sg_request *ask(scene *s, int which, int n, int answer)
{
    sg_request_options o = sg_request_defaults();
    sg_request *r = NULL;
    o.prompt = s->prompt[which];
    o.nprompt = (size_t)n;
    o.max_tokens = answer;
    o.ignore_eos = true;
    if (sg_request_submit(&r, s->e, &o, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return r;
}

/* Turns until the request is in that state. */
static void reach(scene *s, const sg_request *r, sg_request_state want)
{
    for (int i = 0; i < TURNS && r->state != want; i++)
        turn(s);
    CHECK_INT(r->state, want);
}

/* Read what is there; true at the end. */
static bool drain(sg_request *r, uint64_t *sum, int *n, sg_finish *how)
{
    sg_event ev;
    while (sg_request_next(r, &ev, 0)) {
        if (ev.end) {
            *how = ev.finish;
            return true;
        }
        *sum = *sum * 31 + (uint64_t)ev.token;
        ++*n;
    }
    return false;
}

static void finish(scene *s, sg_request *r, uint64_t *sum, int *n, sg_finish *how)
{
    bool ended = false;
    for (int i = 0; i < TURNS && !(ended = drain(r, sum, n, how)); i++)
        turn(s);
    CHECK(ended);
}

/* What the second prompt answers when nobody else is there. */
static uint64_t alone(int answer)
{
    scene s;
    uint64_t sum = 0;
    int n = 0;
    sg_finish how;
    scene_open(&s, 2);
    sg_request *r = ask(&s, 1, 50, answer);
    finish(&s, r, &sum, &n, &how);
    sg_request_free(r);
    scene_close(&s);
    return sum;
}

static void everything_is_free(const scene *s)
{
    CHECK_INT(s->e->nrunning + s->e->nwaiting, 0);
    CHECK_INT(sg_kv_pool_nfree(s->e->lm.pool) + sg_kv_pool_nidle(s->e->lm.pool), BLOCKS);
}

/* Cancel r, which is in state `from`: the next turn ends it.  Then the other one goes on to its answer. */
static void cancelled(scene *s, sg_request *r, sg_request_state from, sg_request *other, uint64_t want)
{
    uint64_t sum = 0;
    int n = 0;
    sg_finish how = SG_FINISH_ERROR;
    CHECK_INT(r->state, from);
    uint64_t ends = s->e->transition[from == SG_REQUEST_QUEUED ? SG_REQUEST_WAITING : from][SG_REQUEST_ENDED];
    sg_request_cancel(r);
    turn(s);
    CHECK_INT(r->state, SG_REQUEST_ENDED);
    CHECK_INT(s->e->transition[from == SG_REQUEST_QUEUED ? SG_REQUEST_WAITING : from][SG_REQUEST_ENDED], ends + 1);
    CHECK(r->seq == NULL && r->engine == NULL);
    for (int i = 0; i < s->e->nrunning; i++)
        CHECK(s->e->running[i] != r);
    for (int i = 0; i < s->e->nwaiting; i++)
        CHECK(s->e->waiting[i] != r);
    CHECK(drain(r, &sum, &n, &how));
    CHECK_INT(how, SG_FINISH_CANCELLED);
    sg_request_cancel(r); /* once more: nothing */
    sg_request_free(r);
    if (other) {
        sum = 0;
        n = 0;
        finish(s, other, &sum, &n, &how);
        CHECK_INT(how, SG_FINISH_LENGTH);
        CHECK(sum == want);
        sg_request_free(other);
    }
    everything_is_free(s);
    scene_close(s);
}

TEST(cancel_queued)
{
    scene s;
    uint64_t want = alone(40);
    scene_open(&s, 2);
    sg_request *other = ask(&s, 1, 50, 40), *r = ask(&s, 0, 100, 10);
    cancelled(&s, r, SG_REQUEST_QUEUED, other, want);
}

TEST(cancel_waiting)
{
    scene s;
    uint64_t want = alone(40);
    scene_open(&s, 1);
    sg_request *other = ask(&s, 1, 50, 40);
    reach(&s, other, SG_REQUEST_DECODE);
    sg_request *r = ask(&s, 0, 100, 10);
    turn(&s);
    cancelled(&s, r, SG_REQUEST_WAITING, other, want);
}

TEST(cancel_held)
{
    scene s;
    scene_open(&s, 4);
    sg_request *leader = ask(&s, 0, PROMPT, 10), *r = ask(&s, 0, PROMPT, 10);
    turn(&s);
    CHECK_INT(leader->state, SG_REQUEST_PREFILL);
    sg_request_free(leader); /* cancelled later, while it runs */
    cancelled(&s, r, SG_REQUEST_HELD, NULL, 0);
}

/* Who waits for another one's prefix computes it itself when that one leaves. */
TEST(cancel_whom_another_one_waits_for)
{
    scene s;
    uint64_t want = 0, sum = 0;
    int n = 0;
    sg_finish how;
    scene_open(&s, 4);
    sg_request *r = ask(&s, 0, PROMPT, 10);
    finish(&s, r, &want, &n, &how);
    sg_request_free(r);
    scene_close(&s);
    scene_open(&s, 4);
    sg_request *leader = ask(&s, 0, PROMPT, 10), *follower = ask(&s, 0, PROMPT, 10);
    turn(&s);
    CHECK_INT(leader->state, SG_REQUEST_PREFILL);
    CHECK_INT(follower->state, SG_REQUEST_HELD);
    int computed = leader->computed;
    sg_request_cancel(leader);
    turn(&s);
    CHECK_INT(leader->state, SG_REQUEST_ENDED);
    CHECK_INT(follower->state, SG_REQUEST_PREFILL);
    CHECK(follower->usage.cached_tokens >= computed - computed % 16 && computed > 0); /* not from the start: what is there is used */
    sg_request_free(leader);
    finish(&s, follower, &sum, &n, &how);
    CHECK(sum == want && how == SG_FINISH_LENGTH);
    sg_request_free(follower);
    everything_is_free(&s);
    scene_close(&s);
}

/* Reach a state beside another request, then cancel there.  The one that decodes without a reader is paused, so its answer is long
 * where that state is wanted. */
static void cancel_in(sg_request_state state, int prompt, int answer)
{
    scene s;
    uint64_t want = alone(40);
    scene_open(&s, 2);
    sg_request *r = ask(&s, 0, prompt, answer), *other = ask(&s, 1, 50, 40);
    reach(&s, r, state);
    cancelled(&s, r, state, other, want);
}

TEST(cancel_in_prefill) { cancel_in(SG_REQUEST_PREFILL, PROMPT, 10); }
TEST(cancel_in_decode) { cancel_in(SG_REQUEST_DECODE, PROMPT, 10); }
TEST(cancel_paused) { cancel_in(SG_REQUEST_PAUSED, 10, 300); }

/* Thrown out of a prompt, while it answered, while its reader was behind. */
TEST(cancel_preempted)
{
    static const sg_request_state from[] = {SG_REQUEST_PREFILL, SG_REQUEST_DECODE, SG_REQUEST_PAUSED};
    for (int i = 0; i < 3 && !tap_failed(); i++) {
        scene s;
        uint64_t want = alone(40);
        scene_open(&s, 2);
        sg_request *other = ask(&s, 1, 50, 40), *r = ask(&s, 0, PROMPT, from[i] == SG_REQUEST_PAUSED ? 300 : 10);
        reach(&s, r, from[i]);
        CHECK(sg_engine_preempt(s.e, other) == r);
        cancelled(&s, r, SG_REQUEST_PREEMPTED, other, want);
    }
}

/* A cancel and a step that fails in one turn: it ends once, by what came first. */
TEST(cancel_while_the_step_fails)
{
    for (int before = 0; before < 2 && !tap_failed(); before++) {
        scene s;
        uint64_t sum = 0;
        int n = 0;
        sg_finish how = SG_FINISH_LENGTH;
        scene_open(&s, 2);
        sg_request *r = ask(&s, 0, 20, 50);
        reach(&s, r, SG_REQUEST_DECODE);
        s.fake->fail = true;
        if (before)
            sg_request_cancel(r);
        turn(&s);
        sg_request_cancel(r);
        turn(&s);
        CHECK_INT(r->state, SG_REQUEST_ENDED);
        CHECK(drain(r, &sum, &n, &how));
        CHECK_INT(how, before ? SG_FINISH_CANCELLED : SG_FINISH_ERROR);
        CHECK_INT(s.e->stats.finished[SG_FINISH_CANCELLED] + s.e->stats.finished[SG_FINISH_ERROR], 1);
        sg_request_free(r);
        everything_is_free(&s);
        scene_close(&s);
    }
}

/* Every detour that a life can take, and the answer of a life without one. */
TEST(a_life_with_every_detour)
{
    enum { ANSWER = 200 };
    scene s;
    uint64_t want = alone(ANSWER), sum = 0;
    int n = 0;
    sg_finish how = SG_FINISH_ERROR;
    scene_open(&s, 2);
    sg_request *r = ask(&s, 1, 50, ANSWER);
    reach(&s, r, SG_REQUEST_PREFILL);
    CHECK(sg_engine_preempt(s.e, NULL) == r); /* of its prompt */
    CHECK_INT(r->state, SG_REQUEST_PREEMPTED);
    reach(&s, r, SG_REQUEST_DECODE);
    CHECK(sg_engine_preempt(s.e, NULL) == r);
    reach(&s, r, SG_REQUEST_PREFILL);
    reach(&s, r, SG_REQUEST_PAUSED); /* nobody reads */
    CHECK(!drain(r, &sum, &n, &how));
    reach(&s, r, SG_REQUEST_DECODE);
    reach(&s, r, SG_REQUEST_PAUSED);
    CHECK(sg_engine_preempt(s.e, NULL) == r);
    for (int i = 0; i < 20; i++)
        turn(&s);
    CHECK_INT(r->state, SG_REQUEST_PREEMPTED); /* its reader is behind: it is not taken in again */
    finish(&s, r, &sum, &n, &how);
    CHECK(how == SG_FINISH_LENGTH && n == ANSWER && sum == want);
    CHECK_INT(r->npreempt, 3);
    sg_request_free(r);
    everything_is_free(&s);
    scene_close(&s);
}

/* A request that is cancelled while the step draws its tokens: by its own reader, from within the loop. */
typedef struct trigger {
    sg_request *r;
    int left; /* notifications until it cancels */
} trigger;

static void cancel_at(void *arg)
{
    trigger *t = arg;
    if (t->left > 0 && --t->left == 0)
        sg_request_cancel(t->r);
}

TEST(cancel_while_finishing)
{
    enum { ANSWER = 5 };
    for (int at = 1; at <= ANSWER && !tap_failed(); at++) {
        scene s;
        trigger t = {.left = at};
        uint64_t sum = 0;
        int n = 0;
        sg_finish how = SG_FINISH_ERROR;
        scene_open(&s, 2);
        sg_request_options o = sg_request_defaults();
        o.prompt = s.prompt[0];
        o.nprompt = 20;
        o.max_tokens = ANSWER;
        o.ignore_eos = true;
        o.notify = cancel_at;
        o.arg = &t;
        CHECK_OK(sg_request_submit(&t.r, s.e, &o, &err));
        finish(&s, t.r, &sum, &n, &how);
        CHECK_INT(how, at < ANSWER ? SG_FINISH_CANCELLED : SG_FINISH_LENGTH); /* the last token was drawn: it has ended by itself */
        CHECK_INT(n, at);
        sg_request_free(t.r);
        everything_is_free(&s);
        CHECK_INT(s.e->stats.finished[SG_FINISH_CANCELLED] + s.e->stats.finished[SG_FINISH_LENGTH], 1); /* ends once */
        scene_close(&s);
    }
}

TEST(cancel_after_the_end)
{
    scene s;
    uint64_t sum = 0;
    int n = 0;
    sg_finish how;
    scene_open(&s, 2);
    sg_request *r = ask(&s, 0, 20, 3);
    for (int i = 0; i < 20; i++)
        turn(&s);
    CHECK_INT(r->state, SG_REQUEST_ENDED);
    sg_request_cancel(r);
    turn(&s);
    CHECK(drain(r, &sum, &n, &how));
    CHECK(how == SG_FINISH_LENGTH && n == 3);
    sg_request_free(r);
    everything_is_free(&s);
    scene_close(&s);
}

/* Closing an engine ends requests in any state. */
TEST(closing_ends_all)
{
    static const sg_request_state states[] = {SG_REQUEST_QUEUED, SG_REQUEST_PREFILL, SG_REQUEST_DECODE, SG_REQUEST_PAUSED,
                                              SG_REQUEST_PREEMPTED};
    for (size_t i = 0; i < sizeof states / sizeof states[0] && !tap_failed(); i++) {
        scene s;
        uint64_t sum = 0;
        int n = 0;
        sg_finish how = SG_FINISH_ERROR;
        scene_open(&s, 2);
        sg_request *r = ask(&s, 0, PROMPT, 300), *held = ask(&s, 0, PROMPT, 300);
        if (states[i] == SG_REQUEST_PREEMPTED) {
            reach(&s, r, SG_REQUEST_PREFILL);
            sg_engine_preempt(s.e, NULL);
        } else if (states[i] != SG_REQUEST_QUEUED)
            reach(&s, r, states[i]);
        CHECK_INT(r->state, states[i]);
        scene_close(&s);
        CHECK(drain(r, &sum, &n, &how) && how == SG_FINISH_CANCELLED);
        CHECK(drain(held, &sum, &n, &how) && how == SG_FINISH_CANCELLED);
        sg_request_free(r);
        sg_request_free(held);
    }
}

/* The last test: those before it took every arrow of the picture, and no other one. */
TEST(every_arrow_was_taken)
{
    int arrows = 0;
    for (int a = 0; a < SG_REQUEST_NSTATE; a++)
        for (int b = 0; b < SG_REQUEST_NSTATE; b++) {
            bool may = sg_request_may((sg_request_state)a, (sg_request_state)b);
            arrows += may;
            if (may != (taken[a][b] > 0))
                tap_fail(__FILE__, __LINE__, "state %d to %d: taken %llu times", a, b, (unsigned long long)taken[a][b]);
        }
    tap_note("%d arrows", arrows);
}

TAP_MAIN
