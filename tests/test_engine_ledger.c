/* The memory ledger: rows add up, reservations come back, and what does not fit is refused with numbers. */
#include "tap.h"

#include "base/pool.h"
#include "fake_lm.h"

#include <pthread.h>

static sg_error err;

static sg_engine *open_fake(const sg_engine_options *o, int ctx, int nblock)
{
    sg_lm lm;
    sg_engine *e;
    return fake_lm_open(&lm, NULL, ctx, nblock, &err) == SG_OK && sg_engine_open_lm(&e, &lm, o, &err) == SG_OK ? e : NULL;
}

static sg_memory_pool row(const sg_engine *e, const char *name)
{
    sg_memory_pool all[16];
    size_t n = sg_engine_memory(e, all, 16);
    for (size_t i = 0; i < n && i < 16; i++)
        if (strcmp(all[i].name, name) == 0)
            return all[i];
    tap_fail(__FILE__, __LINE__, "no row '%s'", name);
    return (sg_memory_pool){0};
}

static int32_t ids[4096];

static sg_request_options ask(size_t nprompt, int64_t answer)
{
    sg_request_options o = sg_request_defaults();
    for (size_t i = 0; i < nprompt; i++)
        ids[i] = 'a' + (int32_t)(i % 26);
    o.prompt = ids;
    o.nprompt = nprompt;
    o.max_tokens = answer;
    return o;
}

static void finish(sg_request *r)
{
    sg_event ev;
    while (sg_request_next(r, &ev, -1) && !ev.end)
        ;
    sg_request_free(r);
}

TEST(requests_are_counted_and_given_back)
{
    sg_engine_options o = {.max_waiting = 8};
    sg_engine *e = open_fake(&o, 2048, 300);
    CHECK(e);
    CHECK_INT(row(e, "requests").bytes, 0);
    CHECK(row(e, "requests").cap_bytes > 100000 && row(e, "scratch").bytes > 40000 && row(e, "prefix").bytes > 10000);
    sg_request_options q = ask(1000, 40);
    sg_request *r;
    CHECK_OK(sg_request_submit(&r, e, &q, &err));
    uint64_t held = row(e, "requests").bytes;
    CHECK(held > 1040 * 4 && held < row(e, "requests").cap_bytes);
    tap_note("a request of 1,040 tokens takes %llu bytes; its least was %llu", (unsigned long long)held,
             (unsigned long long)sg_request_bytes(e, 1040, -1, 0, false));
    CHECK(sg_request_bytes(e, 1040, -1, 0, false) < held * 2 && held < sg_request_bytes(e, 1040, -1, 0, false) * 2);
    finish(r);
    for (int i = 0; i < 1000 && row(e, "requests").bytes; i++)
        usleep(1000); /* the loop's reference goes a moment later */
    CHECK_INT(row(e, "requests").bytes, 0);
    sg_engine_close(e);
    CHECK_INT(sg_memory_cap(NULL), 0);
}

TEST(a_request_that_outlives_its_engine)
{
    sg_engine_options o = {.max_waiting = 8};
    sg_engine *e = open_fake(&o, 2048, 300);
    CHECK(e);
    sg_request_options q = ask(10, 40);
    sg_request *r;
    CHECK_OK(sg_request_submit(&r, e, &q, &err));
    sg_engine_close(e);
    CHECK(sg_memory_cap(NULL) > 0); /* it holds the house open */
    finish(r);
    CHECK_INT(sg_memory_cap(NULL), 0);
}

TEST(full_memory_is_busy_and_too_much_is_a_limit)
{
    sg_engine_options o = {.max_waiting = 64};
    sg_engine *e = open_fake(&o, 4096, 300);
    CHECK(e);
    sg_request_options small = ask(100, 20);
    sg_request *r[64];
    int n = 0;
    sg_ledger_limit(e->ledger, 200000);
    sg_status st = SG_OK;
    while (n < 64 && (st = sg_request_submit(&r[n], e, &small, &err)) == SG_OK)
        n++;
    CHECK_INT(st, SG_E_BUSY);
    CHECK(n > 2 && n < 60 && strstr(err.text, "try again later"));
    sg_engine_stats stats;
    sg_engine_stats_get(e, &stats);
    CHECK_INT(stats.rejected_memory, 1);
    CHECK_INT(stats.rejected, 0);
    CHECK(row(e, "requests").bytes <= row(e, "requests").cap_bytes);
    for (int i = 0; i < n; i++)
        finish(r[i]);
    for (int i = 0; i < 1000 && row(e, "requests").bytes; i++)
        usleep(1000);
    CHECK_OK(sg_request_submit(&r[0], e, &small, &err));
    finish(r[0]);
    sg_ledger_limit(e->ledger, 20000);
    sg_request_options large = ask(3000, 1000);
    CHECK_INT(sg_request_submit(&r[0], e, &large, &err), SG_E_LIMIT);
    CHECK(strstr(err.text, "MiB"));
    sg_engine_close(e);
}

typedef struct taker {
    sg_ledger *l;
    uint64_t got;
} taker;

static void *take_and_give(void *arg)
{
    taker *t = arg;
    for (int i = 0; i < 20000; i++)
        if (sg_ledger_take(t->l, 700, NULL) == SG_OK) {
            t->got++;
            sg_ledger_give(t->l, 700);
        }
    return NULL;
}

TEST(threads_never_pass_the_cap)
{
    enum { N = 4 };
    sg_ledger *l;
    pthread_t thread[N];
    taker t[N];
    uint64_t got = 0;
    CHECK_OK(sg_ledger_new(&l, 1 << 20, &err));
    sg_ledger_limit(l, 1500); /* two fit */
    for (int i = 0; i < N; i++) {
        t[i] = (taker){l, 0};
        CHECK_INT(pthread_create(&thread[i], NULL, take_and_give, &t[i]), 0);
    }
    sg_memory_pool all[16];
    for (int i = 0; i < 1000; i++) {
        sg_ledger_rows(l, all, 16);
        CHECK(all[SG_LEDGER_REQUESTS].bytes <= 1500);
    }
    for (int i = 0; i < N; i++) {
        pthread_join(thread[i], NULL);
        got += t[i].got;
    }
    CHECK(got > 0);
    sg_ledger_rows(l, all, 16);
    CHECK_INT(all[SG_LEDGER_REQUESTS].bytes, 0);
    sg_ledger_unref(l);
}

/* The estimate that is made before a model is loaded has the samplers of all drawers in it: of a large vocabulary they take as much as
 * many rows of logits. */
TEST(the_loop_takes_what_was_said)
{
    enum { NVOCAB = 200000, RUNNING = 12, WORKERS = 8 };
    static const int workers[] = {1, 2, 4, WORKERS, 2 * WORKERS};
    int64_t at = sg_heap_thread();
    sg_sampler *s = sg_sampler_new(NVOCAB);
    CHECK(s);
    int64_t real = sg_heap_thread() - at;
    CHECK(real >= (int64_t)sg_sampler_bytes(NVOCAB) && real < (int64_t)sg_sampler_bytes(NVOCAB) + (1 << 15)); /* pages */
    sg_sampler_free(s);
    for (size_t i = 0; i < sizeof workers / sizeof workers[0]; i++) {
        sg_lm lm;
        sg_engine *e;
        sg_engine_options o = {.max_running = RUNNING, .spec = "off"};
        sg_pool *pool;
        CHECK_OK(sg_pool_open(&pool, workers[i], &err));
        CHECK_OK(fake_lm_open(&lm, NULL, 512, 40, &err));
        lm.nvocab = NVOCAB; /* no step is made */
        lm.workers = pool;
        CHECK_OK(sg_engine_make_lm(&e, &lm, &o, &err));
        uint64_t said = sg_engine_loop_bytes(workers[i], RUNNING, lm.max_logits, NVOCAB), is = row(e, "scratch").bytes;
        CHECK_INT(e->ndrawer, workers[i] < 8 ? workers[i] : 8);
        CHECK(is <= said && is + (1 << 20) >= said);
        CHECK(said >= ((uint64_t)lm.max_logits * 4 + (uint64_t)e->ndrawer * 24) * NVOCAB);
        sg_engine_close(e);
        sg_pool_close(pool);
    }
}

/* The embedded default, a model of a few hundred KiB. */
TEST(a_model_that_cannot_fit_is_refused_with_numbers)
{
    sg_engine *e = NULL;
    sg_engine_options o = {.memory_bytes = 3 << 20};
    size_t live = sg_heap_live();
    CHECK_INT(sg_engine_open(&e, &o, &err), SG_E_NOMEM);
    tap_note("%s", err.text);
    CHECK(strstr(err.text, "needs") && strstr(err.text, "MiB") && strstr(err.text, "--memory") && !strchr(err.text, '\n'));
    CHECK_INT(sg_heap_live(), live);
    o.memory_bytes = 64 << 20;
    CHECK_OK(sg_engine_open(&e, &o, &err));
    uint64_t fixed = 0;
    sg_memory_pool all[16];
    size_t n = sg_engine_memory(e, all, 16);
    for (size_t i = 0; i < n; i++) {
        CHECK(all[i].bytes <= all[i].cap_bytes);
        if (i < SG_LEDGER_NROW)
            fixed += all[i].cap_bytes;
    }
    const char *from;
    CHECK_INT(sg_memory_cap(&from), 64 << 20);
    CHECK_STR(from, "--memory");
    CHECK(fixed <= 64 << 20);
    CHECK(row(e, "kv").bytes > 1 << 20 && row(e, "packed").bytes > 10000 && row(e, "text").bytes > 10000);
    sg_engine_close(e);
    CHECK_INT(sg_memory_cap(NULL), 0);
}

/* Two engines share one cap: the second gets what the first has left. */
TEST(engines_share_the_cap)
{
    sg_engine *a = NULL, *b = NULL;
    sg_engine_options o = {.memory_bytes = 48 << 20};
    CHECK_OK(sg_engine_open(&a, &o, &err));
    sg_status st = sg_engine_open(&b, &o, &err);
    if (st != SG_OK) {
        CHECK_INT(st, SG_E_NOMEM);
        tap_note("%s", err.text);
    }
    CHECK(sg_heap_live() <= 48 << 20);
    sg_engine_close(b);
    sg_engine_close(a);
}

/* ---- the loop allocates nothing ---- */

static const char *const words[] = {"the same beginning of a prompt that many requests have, long enough to be worth sharing, ",
                                    "abcabcabcabcabc", "something of its own"};

#define IS(c)                                                       \
    do {                                                            \
        if (!(c)) {                                                 \
            tap_fail(__FILE__, __LINE__, "%s does not hold", #c);   \
            return 0;                                               \
        }                                                           \
    } while (0)
#define IS_OK(call) IS((call) == SG_OK)

/* Grammars: every fourth request has one.  Returns the allocation calls of the loop. */
static uint64_t mixed_load(bool grammars)
{
    enum { N = 24 };
    sg_lm lm;
    sg_engine *e;
    fake_lm *fake = NULL;
    sg_engine_options o = {.max_running = 8, .spec = "lookup", .max_waiting = 64};
    IS_OK(fake_lm_open(&lm, &fake, 1024, 44, &err)); /* few blocks: some are preempted */
    static char text[600]; /* what repeats itself is guessed */
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + i % 5);
    fake->script = text;
    fake->step_us = 200; /* so that a row more costs little */
    IS_OK(sg_engine_make_lm(&e, &lm, &o, &err));
    sg_grammar *grammar;
    static const char rule[] = "root ::= [a-z ]+ \".\"";
    IS_OK(sg_grammar_parse(&grammar, rule, strlen(rule), &err));
    static int32_t prompt[N][256];
    sg_request *r[N];
    for (int i = 0; i < N; i++) {
        size_t n = 0;
        for (int w = 0; w < 3 && n < 200; w++)
            for (const char *c = words[w == 2 ? i % 3 : w]; *c && n < 200; c++)
                prompt[i][n++] = (unsigned char)*c;
        prompt[i][n++] = 'a' + i;
        sg_request_options q = sg_request_defaults();
        q.prompt = prompt[i];
        q.nprompt = n;
        q.max_tokens = 180 + 4 * i;
        q.sampling.temperature = 0;
        q.ignore_eos = true;
        q.logprobs = i % 3;
        q.priority = i % 3;
        q.grammar = grammars && i % 4 == 1 ? grammar : NULL;
        IS_OK(sg_request_submit(&r[i], e, &q, &err));
    }
    uint64_t calls = sg_heap_calls();
    bool idle = false;
    int ended = 0;
    bool over[N] = {0};
    for (int turn = 0; turn < 5000 && ended < N; turn++) {
        IS(sg_engine_turn(e, &idle));
        if (turn % 37 == 5 && turn < 400)
            sg_request_cancel(r[turn / 37 % N]);
        sg_event ev;
        for (int i = 0; i < N; i++)
            while (!over[i] && sg_request_next(r[i], &ev, 0))
                if (ev.end) {
                    over[i] = true;
                    ended++;
                }
    }
    calls = sg_heap_calls() - calls;
    IS(ended == N);
    sg_engine_stats s;
    sg_engine_stats_get(e, &s);
    tap_note("%llu steps, %llu tokens found, %llu preempted, %llu cancelled, %llu guesses", (unsigned long long)s.steps,
             (unsigned long long)s.prefix_hit_tokens, (unsigned long long)s.preemptions,
             (unsigned long long)s.finished[SG_FINISH_CANCELLED], (unsigned long long)s.drafted_tokens);
    IS(s.prefix_hit_tokens > 0 && s.finished[SG_FINISH_CANCELLED] > 0 && s.drafted_tokens > 0 && s.preemptions > 0);
    for (int i = 0; i < N; i++)
        sg_request_free(r[i]);
    sg_grammar_free(grammar);
    sg_engine_close(e);
    return calls;
}

TEST(a_mixed_load_allocates_nothing_in_the_loop) { CHECK_INT(mixed_load(false), 0); }

/* The one exception: a grammar's automaton is written down while it is used.  It is charged to its request beforehand. */
TEST(grammars_alone_allocate_and_little)
{
    uint64_t calls = mixed_load(true);
    tap_note("%llu allocations by the automata of six grammars", (unsigned long long)calls);
    CHECK(calls > 0 && calls < 2000);
}

TAP_MAIN
