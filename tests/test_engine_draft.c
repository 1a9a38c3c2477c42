/* The exam of the draft model (engine/draft_model.c): who is right passes and guesses, who is wrong does not, both may change, and the
 * text is that of no draft model at all.
 *
 * Both models draw from logits that the last two tokens decide, of which one is read from the KV pool: a draft model that knows
 * this is right always, unless its sequence holds something else than the text.  Told to be wrong it says what the model never says.
 *
 * Times are made up: before each turn the step-time model and what worth.c measured are put back, and a step is said to take so many
 * seconds that the few microseconds which these models really take decide nothing. */
#include "tap.h"

#include "fake_lm.h"

enum { CTX = 2048, BLOCKS = 600, ANSWER = 1000, WRONG = '~', TURNS = 20000 };

static sg_error err;

typedef struct chain {
    fake_lm *fake;
    bool wrong, fail;
    int nexam, nstep; /* steps that were exams; all */
    int step_us;
} chain;

static chain of_draft; /* one at a time */

static void chain_logits(float *x, int before, int id, bool wrong)
{
    uint64_t h = sg_rng_at(7, (uint64_t)(before + 1), (uint64_t)id);
    for (int i = 0; i < FAKE_VOCAB; i++)
        x[i] = i >= 'a' && i <= 'z' ? (float)(sg_rng_unit_at(h, (uint64_t)i, 1) * 8) : -20;
    if (wrong)
        x[WRONG] = 50;
}

/* cell[0] of a position: its token. */
static void chain_run(fake_lm *f, const sg_batch *b, bool wrong)
{
    for (int r = 0, o = 0; r < b->nrow; r++) {
        const sg_kv_seq *seq = b->seqs[b->seq[r]];
        fake_cell(f, seq, b->pos[r])[0] = (uint32_t)b->id[r];
        if (o < b->nout && b->out[o] == r)
            chain_logits(b->logits + (size_t)o++ * FAKE_VOCAB, b->pos[r] ? (int)fake_cell(f, seq, b->pos[r] - 1)[0] : -1, b->id[r], wrong);
    }
}

static sg_status chain_step(void *self, const sg_batch *b, sg_error *e)
{
    (void)e;
    chain_run(self, b, false);
    return SG_OK;
}

static sg_status draft_step(void *self, const sg_batch *b, sg_error *e)
{
    of_draft.nstep++;
    of_draft.nexam += b->nout == SG_DRAFT_EXAM;
    if (of_draft.step_us)
        usleep((useconds_t)of_draft.step_us);
    if (of_draft.fail)
        return sg_fail(e, SG_E_IO, "the draft model was told to fail");
    chain_run(self, b, of_draft.wrong);
    return SG_OK;
}

/* ---- a scene ---- */

typedef struct scene {
    sg_engine *e;
    sg_latency latency; /* what the engine believes of its steps */
    sg_request *r[8];
    int n;
    uint64_t sum; /* of the answers' tokens */
    int got[8], ntoken, nended;
} scene;

/* A step of one row takes `us`, each further row a fifth of that. */
static void make_latency(sg_latency *l, double us)
{
    sg_latency_init(l);
    for (int i = 0; i < 400; i++) {
        int n = 1 + i % 12;
        sg_step_cost c = {.tokens = n, .decode_rows = n};
        sg_latency_observe(l, &c, us * (0.8 + 0.2 * n));
    }
    sg_step_cost one = {.tokens = 1, .decode_rows = 1}, two = {.tokens = 2, .decode_rows = 2};
    double a = sg_latency_predict_us(l, &one), b = sg_latency_predict_us(l, &two);
    CHECK(sg_latency_ready(l) && fabs(a / us - 1) < 0.05 && fabs(b / us - 1.2) < 0.05);
}

static void open_scene(scene *s, bool draft, bool probe, double step_us)
{
    sg_lm lm;
    sg_engine_options o = {.max_running = 4, .spec = "auto", .no_prefix_cache = true};
    *s = (scene){0};
    CHECK_OK(fake_lm_open(&lm, NULL, CTX, BLOCKS, &err));
    lm.step = chain_step;
    CHECK_OK(sg_engine_make_lm(&s->e, &lm, &o, &err));
    make_latency(&s->latency, step_us);
    if (!draft)
        return;
    CHECK_OK(fake_lm_open(&lm, &of_draft.fake, CTX, BLOCKS, &err));
    lm.step = draft_step;
    lm.probe = probe;
    CHECK_OK(sg_engine_take_draft(s->e, &lm, &err));
    of_draft.nexam = of_draft.nstep = 0; /* probing does not count */
}

static void ask(scene *s, int first, int answer, float temperature)
{
    static int32_t prompt[20];
    sg_request_options o = sg_request_defaults();
    for (int i = 0; i < 20; i++)
        prompt[i] = 'a' + (first + i * 5) % 26;
    o.prompt = prompt;
    o.nprompt = 20;
    o.max_tokens = answer;
    o.sampling.temperature = temperature;
    o.sampling.seed = (uint64_t)first;
    CHECK_OK(sg_request_submit(&s->r[s->n], s->e, &o, &err));
    sg_drafter_free(s->r[s->n]->drafter); /* the draft model alone guesses */
    s->r[s->n]->drafter = NULL;
    s->got[s->n++] = 0;
}

static void turn(scene *s)
{
    bool idle = false;
    sg_event ev;
    s->e->latency = s->latency;
    memset(s->e->worth, 0, sizeof s->e->worth);
    CHECK(sg_engine_turn(s->e, &idle));
    for (int i = 0; i < s->n; i++)
        while (s->r[i] && sg_request_next(s->r[i], &ev, 0)) {
            if (!ev.end) {
                s->sum += sg_rng_at((uint64_t)i, (uint64_t)ev.token, (uint64_t)s->got[i]++);
                s->ntoken++;
                continue;
            }
            CHECK_INT(ev.finish, SG_FINISH_LENGTH);
            sg_request_free(s->r[i]);
            s->r[i] = NULL;
            s->nended++;
            break;
        }
}

static void finish(scene *s)
{
    for (int i = 0; i < TURNS && s->nended < s->n && !tap_failed(); i++)
        turn(s);
    CHECK_INT(s->nended, s->n);
}

static uint64_t drafted(const scene *s) { return s->e->stats.drafted_by[SG_DRAFT_MODEL]; }
static uint64_t accepted(const scene *s) { return s->e->stats.accepted_by[SG_DRAFT_MODEL]; }

static void close_scene(scene *s)
{
    const sg_lm *draft = sg_draft_model_lm(s->e->draft);
    if (draft)
        CHECK_INT(sg_kv_pool_nfree(draft->pool), BLOCKS); /* exams leave nothing behind */
    CHECK_INT(sg_kv_pool_nfree(s->e->lm.pool), BLOCKS);
    sg_engine_close(s->e);
}

static const double SECONDS = 1e6;

/* What the requests answer without a draft model. */
static uint64_t plain(int n, int answer, float temperature)
{
    scene s;
    open_scene(&s, false, false, 100 * SECONDS);
    for (int i = 0; i < n; i++)
        ask(&s, i, answer, temperature);
    finish(&s);
    uint64_t sum = s.ntoken == n * answer ? s.sum : 0;
    close_scene(&s);
    return sum;
}

TEST(who_is_right_passes_once_and_guesses)
{
    for (int sampled = 0; sampled < 2 && !tap_failed(); sampled++) {
        float temperature = sampled ? 0.8f : 0;
        uint64_t want = plain(1, ANSWER, temperature);
        scene s;
        of_draft = (chain){0};
        open_scene(&s, true, false, 100 * SECONDS);
        s.e->guess_accept[SG_DRAFT_MODEL] = 0;
        ask(&s, 0, ANSWER, temperature);
        while (s.r[0]->known - s.r[0]->nprompt < SG_DRAFT_EXAM && !tap_failed()) {
            turn(&s);
            CHECK_INT(of_draft.nexam, 0); /* there is no answer yet to be examined in */
        }
        CHECK_INT(of_draft.nstep, 0);
        turn(&s);
        CHECK_INT(of_draft.nexam, 1);
        CHECK(s.e->guess_accept[SG_DRAFT_MODEL] == 0.95f); /* all were right */
        CHECK_INT(drafted(&s), 0);
        turn(&s);
        CHECK(s.r[0]->ndraft > 1 && drafted(&s) > 0); /* the request itself has seen none that was right, so it gives them few rows */
        finish(&s);
        CHECK_INT(of_draft.nexam, 1);
        CHECK(accepted(&s) > ANSWER / 2 && accepted(&s) == drafted(&s)); /* its sequence holds the text and nothing else */
        CHECK(s.sum == want);
        tap_note("%d tokens in %llu steps, %llu guesses", s.ntoken, (unsigned long long)s.e->stats.steps, (unsigned long long)drafted(&s));
        close_scene(&s);
    }
}

/* Exams come ever more rarely: after 256 tokens, then 512, 1024, 2048. */
TEST(who_is_wrong_never_guesses)
{
    uint64_t want = plain(4, ANSWER, 0.8f);
    scene s;
    of_draft = (chain){.wrong = true};
    open_scene(&s, true, false, 100 * SECONDS);
    s.e->guess_accept[SG_DRAFT_MODEL] = 0;
    for (int i = 0; i < 4; i++)
        ask(&s, i, ANSWER, 0.8f);
    uint64_t at[16] = {0};
    int seen = 0;
    for (int i = 0; i < TURNS && s.nended < s.n && !tap_failed(); i++) {
        uint64_t drawn = s.e->drawn;
        turn(&s);
        CHECK(of_draft.nexam - seen <= 1);
        if (of_draft.nexam > seen)
            at[seen++ % 16] = drawn;
    }
    CHECK_INT(drafted(&s), 0);
    CHECK(s.sum == want);
    CHECK_INT(seen, 5); /* of 4000 tokens */
    CHECK(at[0] >= SG_DRAFT_EXAM && at[0] < 4 * (SG_DRAFT_EXAM + 2));
    for (int i = 1; i < seen; i++)
        CHECK(at[i] - at[i - 1] >= 128u << i && at[i] - at[i - 1] < (128u << i) + 8);
    tap_note("exams at %llu, %llu, %llu, %llu and %llu of %d tokens", (unsigned long long)at[0], (unsigned long long)at[1],
             (unsigned long long)at[2], (unsigned long long)at[3], (unsigned long long)at[4], s.ntoken);
    CHECK_INT(of_draft.nstep, seen); /* it did nothing else */
    close_scene(&s);
}

TEST(who_was_wrong_may_pass_the_next_time)
{
    uint64_t want = plain(2, ANSWER, 0);
    scene s;
    of_draft = (chain){.wrong = true};
    open_scene(&s, true, false, 100 * SECONDS);
    s.e->guess_accept[SG_DRAFT_MODEL] = 0;
    ask(&s, 0, ANSWER, 0);
    ask(&s, 1, ANSWER, 0);
    for (int i = 0; i < TURNS && !of_draft.nexam; i++)
        turn(&s);
    of_draft.wrong = false;
    uint64_t drawn = s.e->drawn;
    for (int i = 0; i < TURNS && !drafted(&s); i++)
        turn(&s);
    CHECK(s.e->drawn - drawn >= 240 && s.e->drawn - drawn < 300);
    CHECK_INT(of_draft.nexam, 2);
    finish(&s);
    CHECK_INT(of_draft.nexam, 2);
    CHECK(accepted(&s) == drafted(&s) && accepted(&s) > 100);
    CHECK(s.sum == want);
    close_scene(&s);
}

/* Somebody who passed and guesses wrong from then on is examined again and falls through. */
TEST(who_becomes_wrong_stops)
{
    scene s;
    of_draft = (chain){0};
    open_scene(&s, true, false, 100 * SECONDS);
    s.e->guess_accept[SG_DRAFT_MODEL] = 0;
    ask(&s, 0, 300, 0);
    finish(&s);
    CHECK(of_draft.nexam == 1 && accepted(&s) > 100);
    of_draft.wrong = true;
    uint64_t before = accepted(&s), wrong = drafted(&s);
    for (int round = 0; round < 100 && of_draft.nexam < 2 && !tap_failed(); round++) {
        s.n = s.nended = 0;
        ask(&s, round, 300, 0);
        finish(&s);
    }
    CHECK_INT(of_draft.nexam, 2);
    CHECK(accepted(&s) == before && s.e->guess_accept[SG_DRAFT_MODEL] < 0.3f);
    wrong = drafted(&s) - wrong;
    tap_note("%llu wrong guesses until it was examined again", (unsigned long long)wrong);
    uint64_t then = drafted(&s);
    s.n = s.nended = 0;
    ask(&s, 1, 200, 0);
    finish(&s);
    CHECK_INT(drafted(&s), then);
    close_scene(&s);
}

/* A draft model whose step fails is as if it were not there. */
TEST(a_failed_exam_changes_nothing)
{
    uint64_t want = plain(1, 200, 0);
    scene s;
    of_draft = (chain){.fail = true};
    open_scene(&s, true, false, 100 * SECONDS);
    s.e->guess_accept[SG_DRAFT_MODEL] = 0;
    ask(&s, 0, 200, 0);
    for (int i = 0; i < 100; i++)
        turn(&s);
    CHECK(of_draft.nexam > 1 && drafted(&s) == 0 && s.e->guess_accept[SG_DRAFT_MODEL] == 0);
    of_draft.fail = false;
    finish(&s);
    CHECK(accepted(&s) > 20 && accepted(&s) == drafted(&s) && s.sum == want);
    of_draft.fail = true; /* and in a round */
    s.n = s.nended = 0;
    s.sum = 0;
    uint64_t before = drafted(&s);
    ask(&s, 0, 200, 0);
    finish(&s);
    CHECK(s.sum == want && drafted(&s) == before);
    close_scene(&s);
}

/* Exams take a fiftieth of the time that there is, so one that is as long as twenty steps waits for a thousand of them. */
TEST(exams_that_take_too_long_are_not_held)
{
    scene s;
    of_draft = (chain){.step_us = 20000};
    open_scene(&s, true, true, 1000);
    s.e->guess_accept[SG_DRAFT_MODEL] = 0;
    ask(&s, 0, 250, 0);
    finish(&s);
    CHECK_INT(of_draft.nstep, 0);
    s.e->decode_us = 3600 * SECONDS; /* there was an hour of decoding */
    s.n = s.nended = 0;
    ask(&s, 0, 60, 0);
    finish(&s);
    CHECK_INT(of_draft.nexam, 1);
    CHECK_INT(drafted(&s), 0); /* it is right, and its rounds take longer than they save */
    close_scene(&s);
}

TAP_MAIN
