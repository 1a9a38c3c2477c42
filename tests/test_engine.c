/* The step loop over a fake model: same answers alone and in company, cancel in each state, back-pressure, no
 * allocation in steps, stop strings. */
#include "tap.h"

#include "fake_lm.h"

#include <unistd.h>

static sg_error err;

static sg_engine *open_fake(fake_lm **fake, int ctx, int nblock, const sg_engine_options *options)
{
    sg_lm lm;
    sg_engine *e = NULL;
    sg_engine_options none = {0};
    if (fake_lm_open(&lm, fake, ctx, nblock, &err) != SG_OK || sg_engine_open_lm(&e, &lm, options ? options : &none, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return e;
}

static sg_request_options ask(const char *prompt, int32_t *ids, int max_tokens)
{
    sg_request_options o = sg_request_defaults();
    o.nprompt = strlen(prompt);
    for (size_t i = 0; i < o.nprompt; i++)
        ids[i] = (unsigned char)prompt[i];
    o.prompt = ids;
    o.max_tokens = max_tokens;
    return o;
}

typedef struct answer {
    char text[4096];
    int32_t id[2048];
    double logprob[2048];
    int n;
    sg_event end;
    sg_error error;
} answer;

static void collect(sg_request *r, answer *a)
{
    sg_event ev;
    size_t len = 0;
    a->n = 0;
    a->text[0] = 0;
    while (sg_request_next(r, &ev, 20000)) {
        memcpy(a->text + len, ev.text, ev.ntext + 1);
        len += ev.ntext;
        if (ev.end) {
            a->end = ev;
            a->error = ev.error ? *ev.error : (sg_error){0};
            return;
        }
        a->id[a->n] = ev.token;
        a->logprob[a->n++] = ev.logprob;
    }
    tap_fail(__FILE__, __LINE__, "no end event");
}

static bool same(const answer *a, const answer *b)
{
    return a->n == b->n && strcmp(a->text, b->text) == 0 && memcmp(a->id, b->id, (size_t)a->n * sizeof a->id[0]) == 0 &&
           memcmp(a->logprob, b->logprob, (size_t)a->n * sizeof a->logprob[0]) == 0 && a->end.finish == b->end.finish;
}

TEST(one_request_runs_to_its_length)
{
    sg_engine *e = open_fake(NULL, 256, 64, NULL);
    int32_t ids[64];
    sg_request_options o = ask("hello", ids, 10);
    o.ignore_eos = true;
    o.logprobs = 2;
    sg_request *r;
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    static answer a;
    collect(r, &a);
    CHECK_INT(a.n, 10);
    CHECK_INT(strlen(a.text), 10);
    CHECK_INT(a.end.finish, SG_FINISH_LENGTH);
    CHECK_INT(a.end.usage.prompt_tokens, 5);
    CHECK_INT(a.end.usage.completion_tokens, 10);
    sg_event ev;
    CHECK(!sg_request_next(r, &ev, 0));
    sg_request_free(r);
    sg_engine_stats st;
    sg_engine_stats_get(e, &st);
    CHECK_INT(st.prompt_tokens, 5);
    CHECK_INT(st.generated_tokens, 10);
    CHECK_INT(st.finished[SG_FINISH_LENGTH], 1);
    sg_engine_close(e);
}

/* Random requests alone, then all at once under random step sizes: equal ids, texts and log-probabilities. */
TEST(same_answers_alone_and_in_company)
{
    enum { N = 24 };
    static answer alone[N], beside;
    static int32_t ids[N][400];
    static sg_request_options o[N];
    sg_rng *g = tap_rng();
    for (int i = 0; i < N; i++) {
        o[i] = sg_request_defaults();
        o[i].nprompt = 1 + sg_rng_below(g, 390);
        for (size_t k = 0; k < o[i].nprompt; k++)
            ids[i][k] = (int32_t)(sg_rng_below(g, 26) + 'a');
        o[i].prompt = ids[i];
        o[i].max_tokens = 1 + (int64_t)sg_rng_below(g, 60);
        o[i].sampling.temperature = i % 2 ? 0.8f : 0;
        o[i].sampling.seed = (uint64_t)i;
        o[i].logprobs = i % 3 ? 0 : 3;
    }
    sg_request *r[N];
    for (int round = 0; round < 8 && !tap_failed(); round++) {
        sg_engine_options eo = {.max_running = 1 + (int)sg_rng_below(g, 32), .step_tokens = 1 + (int)sg_rng_below(g, 64)};
        sg_engine *e = open_fake(NULL, 512, 30 + (int)sg_rng_below(g, 200), &eo);
        for (int i = 0; i < N; i++) {
            CHECK_OK(sg_request_submit(&r[i], e, &o[i], &err));
            if (round == 0) {
                collect(r[i], &alone[i]);
                sg_request_free(r[i]);
            }
        }
        for (int i = 0; i < N && round; i++) {
            collect(r[i], &beside);
            sg_request_free(r[i]);
            CHECK(same(&alone[i], &beside));
        }
        sg_engine_close(e);
    }
}

static sg_status ask_script(sg_request **r, sg_engine *e, const char *const *stop, size_t nstop)
{
    int32_t ids[8];
    sg_request_options o = ask("x", ids, 0);
    o.stop = stop;
    o.nstop = nstop;
    return sg_request_submit(r, e, &o, &err);
}

TEST(stop_strings_never_leak)
{
    static const struct {
        const char *says, *stop[2], *text;
        int n;
    } cases[] = {
        {"one two three", {"two"}, "one ", 4},
        {"one two three", {"four"}, "one two three", 13},
        {"aaab", {"aab"}, "a", 1},
        {"abcabd", {"abd", "cab"}, "ab", 2},
        {"ends in tw", {"two"}, "ends in tw", 10},
        {"stop", {"stop"}, "", 0},
        {"h\xc3\xa9llo w\xc3\xb6rld", {"\xc3\xb6"}, "h\xc3\xa9llo w", 8},
        {"h\xc3\xa9llo", {"\xc3"}, "h\xc3\xa9llo", 6}, /* half a character stops nothing: no whole text has it alone */
        {"cut \xe2\x82", {"zz"}, "cut \xef\xbf\xbd", 6},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fake_lm *fake;
        sg_engine *e = open_fake(&fake, 256, 64, NULL);
        fake->script = cases[i].says;
        sg_request *r;
        CHECK_OK(ask_script(&r, e, cases[i].stop, cases[i].stop[1] ? 2 : 1));
        static answer a;
        collect(r, &a);
        sg_request_free(r);
        sg_engine_close(e);
        if (i == 7)
            continue;
        CHECK_STR(a.text, cases[i].text);
        CHECK_INT(a.end.finish, SG_FINISH_STOP);
    }
}

TEST(stop_matcher_equals_search)
{
    sg_rng *g = tap_rng();
    for (int round = 0; round < 3000; round++) {
        char text[64], word[2][8];
        const char *words[2] = {word[0], word[1]};
        size_t n = sg_rng_below(g, 40), nword = 1 + sg_rng_below(g, 2);
        for (size_t i = 0; i < n; i++)
            text[i] = (char)('a' + sg_rng_below(g, 2));
        text[n] = 0;
        for (size_t w = 0; w < 2; w++) {
            size_t len = 1 + sg_rng_below(g, 6);
            for (size_t i = 0; i < len; i++)
                word[w][i] = (char)('a' + sg_rng_below(g, 2));
            word[w][len] = 0;
        }
        size_t end = SIZE_MAX, begin = 0;
        for (size_t i = 0; i < n && end == SIZE_MAX; i++)
            for (size_t w = 0; w < nword; w++) {
                size_t len = strlen(word[w]);
                if (i + 1 >= len && memcmp(text + i + 1 - len, word[w], len) == 0 && (end == SIZE_MAX || i + 1 - len < begin))
                    end = i, begin = i + 1 - len;
            }
        sg_stop m;
        CHECK_OK(sg_stop_init(&m, words, nword, &err));
        uint64_t start = 0;
        bool found = false;
        for (size_t i = 0; i < n && !found;) {
            size_t k = 1 + sg_rng_below(g, 5);
            k = k < n - i ? k : n - i;
            found = sg_stop_feed(&m, text + i, k, &start);
            i += k;
        }
        sg_stop_fini(&m);
        CHECK_INT(found, end != SIZE_MAX);
        CHECK(!found || start == begin);
    }
}

static bool stop_once(void *arg)
{
    (void)arg;
    static const char *const words[] = {"abab", "b", "longer one"};
    sg_stop m;
    if (sg_stop_init(&m, words, 3, &err) != SG_OK)
        return false;
    sg_stop_fini(&m);
    return true;
}

TEST(stop_matcher_survives_lack_of_memory) { CHECK_ALLOC_LOOP(stop_once, NULL); }

enum { PATIENCE = 60000 }; /* ms for what must come */

static bool wait_running(sg_engine *e, uint64_t want)
{
    sg_engine_stats st = {0};
    for (int i = 0; i < PATIENCE && st.nrunning != want; i++, usleep(1000))
        sg_engine_stats_get(e, &st);
    return st.nrunning == want;
}

static bool wait_generated(sg_engine *e, uint64_t want)
{
    sg_engine_stats st = {0};
    for (int i = 0; i < PATIENCE && st.generated_tokens < want; i++, usleep(1000))
        sg_engine_stats_get(e, &st);
    return st.generated_tokens == want;
}

static void wait_idle(sg_engine *e)
{
    sg_engine_stats st;
    for (int i = 0; i < PATIENCE; i++, usleep(1000)) {
        sg_engine_stats_get(e, &st);
        if (st.nrunning + st.nwaiting == 0 && st.kv_block_reserved == 0)
            return;
    }
    tap_fail(__FILE__, __LINE__, "still %d running, %d waiting", (int)st.nrunning, (int)st.nwaiting);
}

TEST(cancel_in_each_state)
{
    fake_lm *fake;
    sg_engine_options eo = {.max_running = 1};
    sg_engine *e = open_fake(&fake, 4096, 300, &eo);
    fake->row_us = 1000; /* a prompt of 3 s, unless it is cancelled */
    static int32_t ids[3000], ids2[8];
    for (int i = 0; i < 3000; i++)
        ids[i] = 'a';
    sg_request_options o = sg_request_defaults(), o2 = ask("wait", ids2, 5);
    o.prompt = ids;
    o.nprompt = 3000;
    o.ignore_eos = true;
    sg_request *running, *waiting;
    static answer a;
    CHECK_OK(sg_request_submit(&running, e, &o, &err));
    CHECK(wait_running(e, 1)); /* in prefill */
    CHECK_OK(sg_request_submit(&waiting, e, &o2, &err));
    sg_request_cancel(waiting);
    collect(waiting, &a);
    CHECK_INT(a.end.finish, SG_FINISH_CANCELLED);
    sg_request_free(waiting);
    uint64_t before = fake->nrow;
    CHECK(before < 3000);
    sg_request_cancel(running);
    collect(running, &a);
    CHECK_INT(a.end.finish, SG_FINISH_CANCELLED);
    CHECK(fake->nrow <= before + 256); /* dropped within a step */
    sg_request_cancel(running);        /* after the end: nothing */
    sg_request_free(running);
    o.nprompt = 3;
    CHECK_OK(sg_request_submit(&running, e, &o, &err));
    sg_event ev;
    CHECK(sg_request_next(running, &ev, 5000)); /* in decode */
    sg_request_free(running);
    wait_idle(e);
    CHECK_OK(sg_request_submit(&running, e, &o, &err));
    sg_engine_close(e); /* cancels what runs */
    collect(running, &a);
    CHECK_INT(a.end.finish, SG_FINISH_CANCELLED);
    sg_request_free(running);
}

/* A prompt of 3000 tokens comes while another request decodes: the steps beside it keep to the wanted bound. */
TEST(a_long_prompt_does_not_stop_a_stream)
{
    fake_lm *fake;
    sg_engine_options eo = {.slo_tbt_ms = 16};
    sg_engine *e = open_fake(&fake, 4096, 300, &eo);
    fake->row_us = 1000;
    static int32_t ids[3000];
    int32_t ids2[8], warm_ids[64];
    for (int i = 0; i < 3000; i++)
        ids[i] = 'a';
    sg_request_options warm = ask("a text of some forty tokens to measure..", warm_ids, 1), stream = ask("x", ids2, 60), late = stream;
    stream.ignore_eos = true;
    late.prompt = ids;
    late.nprompt = 3000;
    static answer a;
    sg_request *r, *l;
    CHECK_OK(sg_request_submit(&r, e, &warm, &err));
    collect(r, &a);
    sg_request_free(r);
    CHECK_OK(sg_request_submit(&r, e, &stream, &err));
    sg_event ev;
    CHECK(sg_request_next(r, &ev, 5000));
    CHECK_OK(sg_request_submit(&l, e, &late, &err));
    while (sg_request_next(r, &ev, 5000) && !ev.end)
        ;
    CHECK(fake->mixed_max <= 16 && fake->mixed_max > 1);
    sg_request_free(l);
    sg_request_free(r);
    sg_engine_close(e);
}

TEST(a_slow_reader_stops_itself_only)
{
    fake_lm *fake;
    sg_engine *e = open_fake(&fake, 4096, 600, NULL);
    int32_t ids[8], ids2[8];
    sg_request_options slow = ask("slow", ids, 2000), quick = ask("quick", ids2, 500);
    slow.ignore_eos = quick.ignore_eos = true;
    sg_request *r, *q;
    static answer a;
    CHECK_OK(sg_request_submit(&r, e, &slow, &err));
    CHECK_OK(sg_request_submit(&q, e, &quick, &err));
    collect(q, &a);
    CHECK_INT(a.n, 500);
    sg_request_free(q);
    CHECK(wait_generated(e, 500 + 64));
    usleep(20000);
    sg_engine_stats st;
    sg_engine_stats_get(e, &st);
    CHECK_INT(st.generated_tokens, 500 + 64); /* the ring is full, and no step was made since */
    CHECK_INT(st.nrunning, 1);
    collect(r, &a);
    CHECK_INT(a.n, 2000);
    sg_request_free(r);
    sg_engine_close(e);
}

TEST(steps_allocate_nothing)
{
    sg_engine *e = open_fake(NULL, 4096, 600, NULL);
    int32_t ids[2][8];
    sg_request_options o[2] = {ask("one", ids[0], 2000), ask("two", ids[1], 2000)};
    sg_request *r[2];
    static const char *const stops[] = {"zqzqzq"};
    for (int i = 0; i < 2; i++) {
        o[i].ignore_eos = true;
        o[i].logprobs = 5;
        o[i].stop = stops;
        o[i].nstop = 1;
        CHECK_OK(sg_request_submit(&r[i], e, &o[i], &err));
    }
    uint64_t calls = sg_heap_calls();
    static answer a;
    collect(r[0], &a);
    collect(r[1], &a);
    CHECK_INT(a.n, 2000);
    CHECK_INT(sg_heap_calls(), calls);
    sg_request_free(r[0]);
    sg_request_free(r[1]);
    sg_engine_close(e);
}

/* The same prompt in name space after name space: only who was there before finds it, and all answer the same. */
TEST(name_spaces_share_no_prefix)
{
    static const struct {
        uint64_t space;
        uint32_t tenant;
        bool finds;
    } ask_as[] = {{0, 0, false}, {1, 0, false}, {1ull << 40, 1, false}, {1, 2, true}, {0, 0, true}, {2, 0, false}, {1ull << 40, 0, true}};
    enum { PROMPT = 100 };
    sg_engine *e = open_fake(NULL, 256, 128, NULL);
    static answer a, first;
    char prompt[PROMPT + 1] = {0};
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = (char)('a' + i * 7 % 26);
    for (size_t i = 0; i < sizeof ask_as / sizeof ask_as[0]; i++) {
        sg_request_options o = ask(prompt, ids, 12);
        sg_request *r;
        o.ignore_eos = true;
        o.space = ask_as[i].space;
        o.tenant = ask_as[i].tenant;
        CHECK_OK(sg_request_submit(&r, e, &o, &err));
        collect(r, &a);
        sg_request_free(r);
        CHECK_INT(a.end.usage.cached_tokens, ask_as[i].finds ? PROMPT - 1 : 0);
        first = i ? first : a;
        CHECK(same(&a, &first));
    }
    sg_engine_close(e);
}

typedef struct errand_notes {
    pthread_t thread;
    int runs;
} errand_notes;

static void note_errand(sg_engine *e, void *arg)
{
    errand_notes *n = arg;
    (void)e;
    n->thread = pthread_self();
    n->runs++;
}

/* Between steps, by the loop's thread, whether it sleeps or works; answers do not notice. */
TEST(an_errand_runs_between_turns)
{
    fake_lm *fake;
    int32_t ids[64];
    sg_request *r;
    static answer plain, beside;
    errand_notes n = {0};
    sg_engine *e = open_fake(&fake, 2048, 256, NULL);
    sg_engine_between(e, note_errand, &n);
    CHECK_INT(n.runs, 1);
    CHECK(pthread_equal(n.thread, e->thread));
    sg_request_options o = ask("errand", ids, 1500);
    o.ignore_eos = true;
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    collect(r, &plain);
    sg_request_free(r);
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    for (int i = 0; i < 20; i++)
        sg_engine_between(e, note_errand, &n);
    collect(r, &beside);
    sg_request_free(r);
    CHECK_INT(n.runs, 21);
    CHECK(same(&plain, &beside));
    sg_engine_close(e);

    sg_lm lm; /* without a thread it runs at once */
    sg_engine_options none = {0};
    CHECK_OK(fake_lm_open(&lm, &fake, 512, 64, &err));
    CHECK_OK(sg_engine_make_lm(&e, &lm, &none, &err));
    sg_engine_between(e, note_errand, &n);
    CHECK_INT(n.runs, 22);
    CHECK(pthread_equal(n.thread, pthread_self()));
    sg_engine_close(e);
}

TEST(limits_have_clear_errors)
{
    sg_engine_options eo = {.max_running = 1, .max_waiting = 2};
    fake_lm *fake;
    sg_engine *e = open_fake(&fake, 64, 4, &eo);
    static int32_t ids[100];
    sg_request *r = NULL, *more[3];
    sg_request_options o = sg_request_defaults();
    o.prompt = ids;
    CHECK_FAILS(sg_request_submit(&r, e, &o, &err), SG_E_ARGUMENT, "no tokens");
    o.nprompt = 64;
    CHECK_FAILS(sg_request_submit(&r, e, &o, &err), SG_E_LIMIT, "64 tokens, the context holds 64");
    o.nprompt = 3;
    ids[1] = FAKE_VOCAB;
    CHECK_FAILS(sg_request_submit(&r, e, &o, &err), SG_E_ARGUMENT, "prompt token 1 is 258");
    ids[1] = 'a';
    sg_logit_bias bias = {.id = -1};
    o.sampling.bias = &bias;
    o.sampling.nbias = 1;
    CHECK_FAILS(sg_request_submit(&r, e, &o, &err), SG_E_ARGUMENT, "logit bias");
    o.sampling.nbias = 0;
    o.ignore_eos = true;
    fake->step_us = 5000;
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    CHECK(wait_running(e, 1));
    CHECK_OK(sg_request_submit(&more[0], e, &o, &err));
    CHECK_OK(sg_request_submit(&more[1], e, &o, &err));
    CHECK_FAILS(sg_request_submit(&more[2], e, &o, &err), SG_E_BUSY, "2 requests are waiting");
    CHECK(r != NULL);
    sg_request_free(r);
    sg_request_free(more[0]);
    sg_request_free(more[1]);
    wait_idle(e);
    sg_engine_close(e);
}

TEST(a_failed_step_fails_its_requests_and_no_more)
{
    fake_lm *fake;
    sg_engine *e = open_fake(&fake, 256, 64, NULL);
    int32_t ids[8];
    sg_request_options o = ask("hello", ids, 10);
    o.ignore_eos = true;
    static answer a;
    sg_request *r;
    fake->fail = true;
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    collect(r, &a);
    CHECK_INT(a.end.finish, SG_FINISH_ERROR);
    CHECK_STR(a.error.text, "the fake model was told to fail");
    sg_request_free(r);
    CHECK_OK(sg_request_submit(&r, e, &o, &err));
    collect(r, &a);
    CHECK_INT(a.n, 10);
    sg_request_free(r);
    sg_engine_close(e);
}

static bool open_once(void *arg)
{
    (void)arg;
    sg_lm lm;
    sg_engine *e;
    sg_engine_options eo = {0};
    if (fake_lm_open(&lm, NULL, 64, 16, &err) != SG_OK || sg_engine_open_lm(&e, &lm, &eo, &err) != SG_OK)
        return false;
    int32_t ids[8];
    static const char *const stops[] = {"abc"};
    sg_request_options o = ask("hello", ids, 4);
    o.stop = stops;
    o.nstop = 1;
    o.logprobs = 2;
    sg_logit_bias bias = {.id = 1};
    o.sampling.bias = &bias;
    o.sampling.nbias = 1;
    sg_request *r = NULL;
    sg_status st = sg_request_submit(&r, e, &o, &err);
    sg_event ev = {0};
    while (st == SG_OK && sg_request_next(r, &ev, 5000) && !ev.end)
        ;
    sg_request_free(r);
    sg_engine_close(e);
    return st == SG_OK;
}

TEST(opening_survives_lack_of_memory) { CHECK_ALLOC_LOOP(open_once, NULL); }

TAP_MAIN
