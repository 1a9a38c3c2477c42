/* Grammars on answers in the step loop, over a fake model that would rather write letters. */
#include "tap.h"

#include "fake_lm.h"

static sg_error err;

static sg_engine *open_fake(const char *script)
{
    sg_lm lm;
    fake_lm *fake = NULL;
    sg_engine *e = NULL;
    sg_engine_options none = {0};
    if (fake_lm_open(&lm, &fake, 256, 64, &err) != SG_OK)
        return NULL;
    fake->script = script;
    return sg_engine_open_lm(&e, &lm, &none, &err) == SG_OK ? e : NULL;
}

typedef struct answer {
    char text[1024];
    sg_finish finish;
    int n;
} answer;

static sg_request *ask(sg_engine *e, sg_grammar *g, const char *after, uint64_t seed, int max)
{
    static const int32_t prompt[] = {'h', 'i'};
    sg_request_options o = sg_request_defaults();
    sg_request *r = NULL;
    o.prompt = prompt;
    o.nprompt = 2;
    o.max_tokens = max;
    o.sampling.seed = seed;
    o.logprobs = 2;
    o.grammar = g;
    o.grammar_after = after;
    if (sg_request_submit(&r, e, &o, &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return r;
}

static answer collect(sg_request *r)
{
    answer a = {.finish = SG_FINISH_ERROR};
    sg_event ev;
    size_t n = 0;
    while (r && sg_request_next(r, &ev, 20000)) {
        if (n + ev.ntext < sizeof a.text)
            memcpy(a.text + n, ev.text, ev.ntext);
        n += ev.ntext;
        a.n += !ev.end;
        a.finish = ev.end ? ev.finish : a.finish;
        if (ev.end && ev.error)
            tap_note("%s", ev.error->text);
    }
    sg_request_free(r);
    return a;
}

static sg_grammar *parse(const char *text)
{
    sg_grammar *g = NULL;
    if (sg_grammar_parse(&g, text, strlen(text), &err) != SG_OK)
        tap_fail(__FILE__, __LINE__, "%s", err.text);
    return g;
}

TEST(an_answer_is_what_its_grammar_allows)
{
    sg_engine *e = open_fake(NULL);
    sg_grammar *g = parse("root ::= \"[\" [0-9]{3} \"]\"");
    CHECK(e && g);
    for (uint64_t seed = 0; seed < 20; seed++) {
        answer a = collect(ask(e, g, NULL, seed, 50));
        CHECK_INT(a.finish, SG_FINISH_STOP);
        CHECK_INT(a.n, 5);
        CHECK(a.text[0] == '[' && a.text[4] == ']' && strspn(a.text + 1, "0123456789") == 3);
    }
    answer cut = collect(ask(e, g, NULL, 1, 3));
    CHECK_INT(cut.finish, SG_FINISH_LENGTH);
    CHECK_INT(cut.n, 3);
    sg_grammar_free(g);
    sg_engine_close(e);
}

TEST(the_same_alone_and_in_company)
{
    enum { N = 6 };
    sg_engine *e = open_fake(NULL);
    sg_grammar *g = parse("root ::= (\"<\" [a-z]+ \">\"){2,4}");
    sg_request *r[N];
    answer alone[N];
    CHECK(e && g);
    for (int i = 0; i < N; i++)
        alone[i] = collect(ask(e, g, NULL, (uint64_t)i, 60));
    for (int i = 0; i < N; i++)
        r[i] = ask(e, g, NULL, (uint64_t)i, 60);
    sg_grammar_free(g); /* the requests have their own hold of it */
    for (int i = 0; i < N; i++) {
        answer a = collect(r[i]);
        CHECK_STR(a.text, alone[i].text);
        CHECK_INT(a.finish, alone[i].finish);
    }
    sg_engine_close(e);
}

TEST(the_end_waits_for_the_grammar)
{
    sg_engine *e = open_fake("x"); /* x, and then nothing but the end */
    sg_grammar *may = parse("root ::= \"x\" \"y\"*"), *must = parse("root ::= \"xyy\" \"z\"?");
    CHECK(e && may && must);
    answer a = collect(ask(e, may, NULL, 1, 20));
    CHECK_STR(a.text, "x");
    CHECK_INT(a.finish, SG_FINISH_STOP);
    answer b = collect(ask(e, must, NULL, 1, 20));
    CHECK_STR(b.text, "xyy");
    CHECK_INT(b.finish, SG_FINISH_STOP);
    sg_grammar_free(may);
    sg_grammar_free(must);
    sg_engine_close(e);
}

TEST(a_grammar_may_begin_behind_a_thought)
{
    sg_engine *e = open_fake("let me see </think> yes");
    sg_grammar *g = parse("root ::= \"no\"");
    CHECK(e && g);
    answer a = collect(ask(e, g, "</think>", 1, 40));
    CHECK_STR(a.text, "let me see </think>no");
    CHECK_INT(a.finish, SG_FINISH_STOP);
    sg_grammar_free(g);
    sg_engine_close(e);
}

TAP_MAIN
