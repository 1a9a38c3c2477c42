/* Random traces through the step loop: whatever arrives beside it, is cancelled, preempted, found in the prefix tree, asked for
 * several times at once (n > 1) or guessed ahead, a request gets the tokens and log-probabilities of running alone, to the bit.
 *
 * Drawn for each trace: requests (prompts with common beginnings, greedy and sampled, classes, tenants, name spaces), arrivals, cancels,
 * slow readers, policy, blocks in the pool, rows of a step, budget, bound on gaps, guessing off, by lookup, by a draft model that is
 * the same one or another one; over real kernels also the family, the type of keys and values and the number of threads.
 *
 * The expectation does not come from the engine: `alone` computes a request by itself, row by row, with its own pool.  The
 * engine has no thread here; the test takes its turns.  A failure prints the state of the generator that repeats the trace, but
 * for what depends on the clock: a third of the traces let the step-time model learn.
 *
 * SEGUE_TRACES=N runs N traces over the fake model, and as many more in proportion over real kernels (2000: 525);
 * SEGUE_TEST_SEED=random draws others.
 */
#include "tap.h"

#include "fake_lm.h"
#include "tiny_model.h"

#include <stdlib.h>

enum { NREQUEST = 10, LIMIT_MAX = 256 };

static sg_error err;

/* ---- requests and what they should answer ---- */

typedef struct trace_request {
    sg_request_options options;
    bool sibling; /* another choice of the request before it (n > 1): all the same but the seed */
    int32_t prompt[LIMIT_MAX];
    int limit;
    int32_t id[LIMIT_MAX]; /* expected */
    double logprob[LIMIT_MAX];
    int n;
    sg_finish finish;
    /* while the trace runs */
    sg_request *handle;
    int at; /* turn of its arrival */
    int got, cancel_at;
    int pace, asleep; /* events read at once; turns before the reader reads at all */
    int cached; /* tokens of its prompt that were found computed */
    bool ended, cancelled;
} trace_request;

/* What a model is for these tests: an opener, and whether a token ends a text. */
typedef struct subject {
    sg_status (*open)(sg_lm *lm, int nblock, void *arg, sg_error *err);
    sg_status (*open_other)(sg_lm *lm, int nblock, void *arg, sg_error *err); /* another model with its vocabulary; NULL: none */
    void *arg;
    int nvocab;
    sg_lm lm; /* of the reference */
    sg_sampler *sampler;
    float *logits;
} subject;

/* Prompts with much in common: beginnings of one of three texts, cut anywhere, sometimes with an end of their own; among
 * them the same prompt twice, and prompts that go on behind an earlier request's answer. */
static void write_prompt(trace_request *q, const trace_request *before, int nbefore, int nvocab, sg_rng *g)
{
    int letters = nvocab < 26 ? nvocab : 26, first = nvocab > 128 ? 'a' : 1;
    int text = (int)sg_rng_below(g, 3), n = 1 + (int)sg_rng_below(g, 120);
    if (sg_rng_below(g, 4) == 0)
        n = 1 + (int)sg_rng_below(g, 8);
    for (int i = 0; i < n; i++)
        q->prompt[i] = first + (int32_t)(sg_rng_at(77, (uint64_t)text, (uint64_t)i) % (uint64_t)letters);
    if (nbefore && sg_rng_below(g, 3) == 0) { /* another turn of the same conversation, or the same again */
        const trace_request *o = &before[sg_rng_below(g, (uint64_t)nbefore)];
        n = (int)o->options.nprompt;
        memcpy(q->prompt, o->prompt, (size_t)n * sizeof *q->prompt);
        for (int i = 0; i < o->n && n < 110 && sg_rng_below(g, 40); i++)
            q->prompt[n++] = o->id[i];
    }
    for (int extra = (int)sg_rng_below(g, 20); extra > 0 && n < 136; extra--)
        q->prompt[n++] = first + (int32_t)sg_rng_below(g, (uint64_t)letters);
    q->options.prompt = q->prompt;
    q->options.nprompt = (size_t)n;
}

/* Another choice of the request before it, as serve/exchange.c asks for them. */
static void make_sibling(trace_request *q, const trace_request *before, sg_rng *g)
{
    *q = (trace_request){.options = before->options, .limit = before->limit, .sibling = true, .cancel_at = -1, .at = before->at};
    memcpy(q->prompt, before->prompt, sizeof q->prompt);
    q->options.prompt = q->prompt;
    q->options.sampling.seed++;
    q->pace = sg_rng_below(g, 4) ? 100 : 1 + (int)sg_rng_below(g, 5);
    q->cancel_at = sg_rng_below(g, 5) ? -1 : (int)sg_rng_below(g, 60);
}

static void make_request(trace_request *q, const trace_request *before, int nbefore, int nvocab, int answer, sg_rng *g)
{
    if (nbefore && sg_rng_below(g, 4) == 0) {
        make_sibling(q, q - 1, g);
        return;
    }
    *q = (trace_request){.options = sg_request_defaults()};
    q->at = sg_rng_below(g, 3) ? (int)sg_rng_below(g, 60) : 0;
    write_prompt(q, before, nbefore, nvocab, g);
    sg_request_options *o = &q->options;
    o->max_tokens = 1 + (int64_t)sg_rng_below(g, (uint64_t)answer);
    o->sampling.temperature = sg_rng_below(g, 2) ? 0.7f : 0;
    o->sampling.seed = sg_rng_u64(g);
    if (sg_rng_below(g, 4) == 0)
        o->sampling.repeat_penalty = 1.3f;
    o->logprobs = 0;
    o->ignore_eos = sg_rng_below(g, 2);
    o->priority = (int)sg_rng_below(g, 3);
    o->space = sg_rng_below(g, 5) == 0;
    o->tenant = (uint32_t)sg_rng_below(g, 3);
    q->limit = (int)(o->nprompt + (size_t)o->max_tokens);
    q->pace = sg_rng_below(g, 4) ? 100 : 1 + (int)sg_rng_below(g, 5);
    q->asleep = sg_rng_below(g, 5) ? 0 : (int)sg_rng_below(g, 400);
    q->cancel_at = sg_rng_below(g, 5) ? -1 : (int)sg_rng_below(g, 300);
}

/* The request by itself: one sequence, one row a step. */
static void alone(subject *s, trace_request *q)
{
    static int32_t token[LIMIT_MAX];
    int n = (int)q->options.nprompt;
    memcpy(token, q->prompt, (size_t)n * sizeof *token);
    sg_kv_seq *seq;
    CHECK_OK(sg_kv_seq_new(&seq, s->lm.pool, q->limit, &err));
    q->finish = SG_FINISH_LENGTH;
    for (int i = 0; n < q->limit && !tap_failed(); i++) {
        int32_t pos = i, zero = 0, extent = q->limit;
        bool out = i == n - 1;
        sg_batch b = {.nrow = 1, .id = &token[i], .pos = &pos, .seq = &zero, .nseq = 1, .seqs = &seq, .extent = &extent,
                      .nout = out, .out = &zero, .logits = s->logits, .drawn = true};
        CHECK_OK(sg_kv_seq_extend(seq, 1, &err));
        CHECK_OK(s->lm.step(s->lm.self, &b, &err));
        if (!out)
            continue;
        sg_choice c = {.want_logprob = true};
        sg_sampler_pick(s->sampler, &q->options.sampling, s->logits, token, (size_t)n, (uint64_t)n, NULL, &c);
        if (!q->options.ignore_eos && s->lm.is_end(s->lm.self, c.id)) {
            q->finish = SG_FINISH_STOP;
            break;
        }
        q->id[q->n] = token[n++] = c.id;
        q->logprob[q->n++] = c.logprob;
    }
    sg_kv_seq_free(seq);
}

/* ---- running a trace ---- */

static void read_events(trace_request *q)
{
    sg_event ev;
    for (int i = 0; i < q->pace && !q->ended && sg_request_next(q->handle, &ev, 0); i++) {
        if (ev.end) {
            q->ended = true;
            CHECK(ev.finish == (q->cancelled && ev.finish == SG_FINISH_CANCELLED ? SG_FINISH_CANCELLED : q->finish));
            CHECK(ev.finish == SG_FINISH_CANCELLED ? q->got <= q->n : q->got == q->n);
            CHECK(ev.usage.cached_tokens >= 0 && ev.usage.cached_tokens < (int)q->options.nprompt);
            q->cached = ev.usage.cached_tokens;
            sg_request_free(q->handle);
            q->handle = NULL;
            return;
        }
        CHECK(q->got < q->n && ev.token == q->id[q->got] && memcmp(&ev.logprob, &q->logprob[q->got], sizeof ev.logprob) == 0);
        q->got++;
    }
}

typedef struct totals {
    uint64_t transition[SG_REQUEST_NSTATE][SG_REQUEST_NSTATE];
    uint64_t drafted, accepted, drafted_by[SG_DRAFT_NKIND], accepted_by[SG_DRAFT_NKIND];
    uint64_t steps, hits, preemptions, recomputed, waits, evicted, tokens;
    uint64_t cancels, forks, whole; /* forks: choices beside another one; whole: of them, those that computed one prompt token */
} totals;

static void add_totals(totals *t, const sg_engine *e)
{
    const sg_engine_stats *s = &e->stats;
    t->steps += s->steps;
    t->drafted += s->drafted_tokens;
    t->accepted += s->accepted_tokens;
    for (int k = 0; k < SG_DRAFT_NKIND; k++) {
        t->drafted_by[k] += s->drafted_by[k];
        t->accepted_by[k] += s->accepted_by[k];
    }
    t->hits += s->prefix_hit_tokens;
    t->preemptions += s->preemptions;
    t->recomputed += s->recomputed_tokens;
    t->waits += s->prefix_waits;
    t->evicted += s->prefix_evicted;
    t->tokens += s->generated_tokens;
    for (int i = 0; i < SG_REQUEST_NSTATE; i++)
        for (int k = 0; k < SG_REQUEST_NSTATE; k++)
            t->transition[i][k] += e->transition[i][k];
}

/* Between turns: every block is free, held or idle, and nobody holds more than he may. */
static void check_blocks(const sg_engine *e)
{
    const sg_kv_pool *p = e->lm.pool;
    int held = 0, idle = 0, nfree = 0;
    for (int b = 0; b < sg_kv_pool_nblock(p); b++)
        nfree += sg_kv_pool_refs(p, b) == 0;
    CHECK_INT(nfree, sg_kv_pool_nfree(p));
    idle = sg_kv_pool_nidle(p);
    held = sg_kv_pool_nblock(p) - nfree - idle;
    int most = 0;
    for (int i = 0; i < e->nrunning; i++)
        most += e->running[i]->seq->nblock;
    CHECK(held <= most);
    for (int i = 0; i < e->nwaiting; i++)
        CHECK_INT(e->waiting[i]->seq->nblock, 0);
}

static void one_turn(sg_engine *e, bool *idle)
{
    *idle = false; /* the test must not sleep */
    CHECK(sg_engine_turn(e, idle));
}

static void run_trace(subject *s, trace_request *q, int n, const sg_engine_options *o, int nblock, int draft_block, int max_rows,
                      int patience, totals *t)
{
    sg_lm lm;
    sg_engine *e = NULL;
    CHECK_OK(s->open(&lm, nblock, s->arg, &err));
    lm.max_rows = max_rows;
    CHECK_OK(sg_engine_make_lm(&e, &lm, o, &err));
    e->draw_min = 1; /* the workers draw, as short as these rows are */
    if (draft_block) { /* the same model, or one that agrees now and then; with too little memory for all */
        CHECK_OK((draft_block % 2 || !s->open_other ? s->open : s->open_other)(&lm, draft_block, s->arg, &err));
        CHECK_OK(sg_engine_take_draft(e, &lm, &err));
    }
    const sg_lm *draft = sg_draft_model_lm(e->draft);
    if (n % 2)
        for (int i = 0; i < 2000; i++)
            sg_expect_learn(&e->expect, (uint32_t)(i % 3), 1 + i % 120, 1); /* expects short answers, so the pool will be short */
    int left = n, turn = 0, quiet = 0;
    uint64_t calls = 0;
    while (left > 0 && !tap_failed()) {
        for (int i = 0; i < n; i++) {
            if (q[i].at == turn)
                CHECK_OK(sg_request_submit(&q[i].handle, e, &q[i].options, &err));
            if (q[i].handle && q[i].cancel_at >= 0 && turn == q[i].at + q[i].cancel_at) {
                q[i].cancelled = true;
                sg_request_cancel(q[i].handle);
            }
        }
        bool idle;
        if (n % 3)
            sg_latency_init(&e->latency); /* rows are free as far as anybody knows: guesses are always tried */
        calls = sg_heap_calls();
        one_turn(e, &idle);
        CHECK_INT(sg_heap_calls(), calls);
        if (turn % 8 == 0)
            check_blocks(e);
        left = 0;
        for (int i = 0; i < n; i++) {
            if (q[i].handle && (turn + i) % 3 && turn >= q[i].at + q[i].asleep)
                read_events(&q[i]);
            left += !q[i].ended;
        }
        quiet = idle && turn > 200 ? quiet + 1 : 0;
        if (++turn > patience || quiet > 400)
            tap_fail(__FILE__, __LINE__, "%d requests are left after %d turns, %d quiet ones (policy %s, %d blocks)", left, turn, quiet,
                     e->sched.policy->name, nblock);
    }
    if (!tap_failed()) {
        check_blocks(e);
        CHECK_INT(e->nrunning + e->nwaiting, 0);
        CHECK_INT(sg_kv_pool_nfree(e->lm.pool) + sg_kv_pool_nidle(e->lm.pool), nblock); /* nobody holds anything */
        if (e->prefix) {
            sg_prefix_evict(e->prefix, nblock);
            CHECK_INT(sg_prefix_nblock(e->prefix), 0);
        }
        CHECK_INT(sg_kv_pool_nfree(e->lm.pool), nblock);
        if (draft)
            CHECK_INT(sg_kv_pool_nfree(draft->pool), draft_block);
        add_totals(t, e);
    }
    for (int i = 0; i < n; i++) {
        t->cancels += q[i].cancelled;
        t->forks += q[i].sibling;
        t->whole += q[i].sibling && q[i].cached == (int)q[i].options.nprompt - 1;
        sg_request_free(q[i].handle);
    }
    sg_engine_close(e);
}

static void random_trace(subject *s, int answer, int patience, totals *t, sg_rng *g)
{
    static trace_request q[NREQUEST];
    int n = 2 + (int)sg_rng_below(g, NREQUEST - 1), most = 0, block = sg_kv_pool_block(s->lm.pool);
    for (int i = 0; i < n; i++) {
        make_request(&q[i], q, i, s->nvocab, answer, g);
        alone(s, &q[i]);
        most = q[i].limit > most ? q[i].limit : most;
    }
    static const char *const specs[] = {"lookup", "off", "auto", "auto"};
    int npolicy = 0;
    while (sg_policy_at(npolicy))
        npolicy++;
    sg_engine_options o = {.max_running = 1 + (int)sg_rng_below(g, 8), .step_tokens = 1 + (int)sg_rng_below(g, 64),
                           .policy = sg_policy_at((int)sg_rng_below(g, (uint64_t)npolicy))->name,
                           .spec = specs[sg_rng_below(g, 4)],
                           .no_prefix_cache = sg_rng_below(g, 6) == 0};
    int nblock = sg_kv_blocks_for(most, block);
    nblock += (int)sg_rng_below(g, (uint64_t)(sg_rng_below(g, 2) ? 6 : 60));
    int draft_block = strcmp(o.spec, "auto") == 0 ? 1 + (int)sg_rng_below(g, 80) : 0;
    int max_rows = sg_rng_below(g, 2) ? 128 : 40 + (int)sg_rng_below(g, 80); /* of a step, at least those of all that may have logits */
    o.slo_tbt_ms = sg_rng_below(g, 3) ? 0 : 1 + (double)sg_rng_below(g, 30);
    run_trace(s, q, n, &o, nblock, draft_block, max_rows, patience, t);
}

static void subject_open(subject *s)
{
    CHECK_OK(s->open(&s->lm, 64, s->arg, &err));
    s->nvocab = s->lm.nvocab;
    s->sampler = sg_sampler_new((size_t)s->nvocab);
    s->logits = malloc((size_t)s->nvocab * sizeof *s->logits);
    CHECK(s->sampler && s->logits);
}

static void subject_close(subject *s)
{
    sg_sampler_free(s->sampler);
    free(s->logits);
    s->lm.close(s->lm.self);
}

static void note(const char *what, int ntrace, const totals *t)
{
    tap_note("%s: %d traces, %llu steps, %llu tokens; %llu prompt tokens found, %llu preemptions, %llu tokens recomputed, %llu held, "
             "%llu blocks evicted, %llu guesses, %llu of them right, %llu cancels, %llu choices beside another, %llu with all of its "
             "prompt", what, ntrace, (unsigned long long)t->steps, (unsigned long long)t->tokens, (unsigned long long)t->hits,
             (unsigned long long)t->preemptions, (unsigned long long)t->recomputed, (unsigned long long)t->waits,
             (unsigned long long)t->evicted, (unsigned long long)t->drafted, (unsigned long long)t->accepted,
             (unsigned long long)t->cancels, (unsigned long long)t->forks, (unsigned long long)t->whole);
}

/* ---- the fake model: many traces ---- */

static sg_pool *crew; /* who draws the tokens; NULL: the loop alone */

static sg_status open_fake(sg_lm *lm, int nblock, void *arg, sg_error *e)
{
    fake_lm *fake = NULL;
    SG_TRY(fake_lm_open(lm, &fake, LIMIT_MAX, nblock, e));
    fake->cycle = *(const int *)arg;
    lm->workers = crew;
    return SG_OK;
}

static sg_status open_fake_other(sg_lm *lm, int nblock, void *arg, sg_error *e)
{
    fake_lm *fake = NULL;
    SG_TRY(fake_lm_open(lm, &fake, LIMIT_MAX - 60, nblock, e)); /* and a shorter context */
    fake->cycle = *(const int *)arg;
    fake->forget = 5;
    return SG_OK;
}

static int ntrace(int usual)
{
    const char *s = getenv("SEGUE_TRACES"); /* a longer run on demand */
    return s ? (int)strtol(s, NULL, 10) : usual;
}

TEST(random_traces_give_the_answers_of_running_alone)
{
    int cycle = 9;
    subject s = {.open = open_fake, .open_other = open_fake_other, .arg = &cycle};
    totals t = {0};
    int n = ntrace(2000), i = 0;
    sg_rng *g = tap_rng();
    CHECK_OK(sg_pool_open(&crew, 3, &err));
    subject_open(&s);
    for (; i < n && !tap_failed(); i++) {
        sg_rng one = {sg_rng_u64(g)};
        uint64_t seed = one.state;
        random_trace(&s, i % 4 ? 40 : 120, 20000, &t, &one);
        if (tap_failed())
            tap_note("trace %d of rng state %llu", i, (unsigned long long)seed);
    }
    note("fake model", i, &t);
    subject_close(&s);
    sg_pool_close(crew);
    crew = NULL;
    if (n < 500 || tap_failed())
        return;
    CHECK(t.drafted && t.accepted && t.accepted < t.drafted && t.hits && t.preemptions && t.waits && t.evicted && t.recomputed);
    CHECK(t.cancels && t.forks && t.whole && t.whole < t.forks);
    for (int k = 0; k < SG_DRAFT_NKIND; k++) {
        tap_note("guesses of source %d: %llu, right: %llu", k, (unsigned long long)t.drafted_by[k], (unsigned long long)t.accepted_by[k]);
        CHECK(t.accepted_by[k] && t.accepted_by[k] < t.drafted_by[k]);
    }
    static const char *const names[] = {"queued", "waiting", "held", "prefill", "decode", "paused", "preempted", "ended"};
    for (int a = 0; a < SG_REQUEST_NSTATE; a++)
        for (int b = 0; b < SG_REQUEST_NSTATE; b++)
            if (sg_request_may((sg_request_state)a, (sg_request_state)b) != (t.transition[a][b] > 0))
                tap_fail(__FILE__, __LINE__, "%s -> %s: taken %llu times", names[a], names[b], (unsigned long long)t.transition[a][b]);
}

/* ---- real kernels: tiny models of several families ---- */

typedef struct tiny {
    const char *path;
    const char *other; /* the file of another one */
    int nthread;
    sg_dtype kv;
    sg_weights *weights;
    sg_ops *ops;
    sg_model *model;
    sg_kv_pool *pool;
} tiny;

static sg_status tiny_step(void *self, const sg_batch *b, sg_error *e)
{
    tiny *m = self;
    return sg_model_step(m->model, m->pool, b, e);
}

static bool tiny_is_end(void *self, int32_t id)
{
    (void)self;
    return id == 0;
}

static void tiny_close(void *self)
{
    tiny *m = self;
    sg_kv_pool_close(m->pool);
    sg_model_free(m->model);
    sg_ops_close(m->ops);
    sg_weights_close(m->weights);
    sg_free(m);
}

static sg_status tiny_load(tiny *m, int nblock, sg_error *e)
{
    sg_ops_options o = {.nthread = m->nthread};
    SG_TRY(sg_isa_choose(&o.isa, e));
    SG_TRY(sg_weights_open(&m->weights, m->path, e));
    SG_TRY(sg_ops_open(&m->ops, &o, e));
    SG_TRY(sg_model_load(&m->model, m->weights, m->ops, e));
    SG_TRY(sg_model_reserve(m->model, 128, 32, e));
    const sg_model_info *i = sg_model_info_of(m->model);
    return sg_kv_pool_open(&m->pool, i->kv, i->nlayer, m->kv, 16, nblock, e);
}

static sg_status open_tiny(sg_lm *lm, int nblock, void *arg, sg_error *e)
{
    tiny *m = sg_calloc(1, sizeof *m);
    if (!m)
        return sg_fail_nomem(e, "a tiny model");
    *m = *(const tiny *)arg;
    sg_status st = tiny_load(m, nblock, e);
    if (st != SG_OK) {
        tiny_close(m);
        return st;
    }
    *lm = (sg_lm){.self = m, .architecture = "tiny", .title = "tiny", .nvocab = TINY_VOCAB, .ctx = LIMIT_MAX, .pool = m->pool,
                  .workers = sg_ops_pool(m->ops), .max_rows = 128, .max_logits = 32, .piece_bytes_max = 8,
                  .step = tiny_step, .is_end = tiny_is_end,
                  .encode = fake_encode, .token_bytes = fake_token_bytes, .decoder_new = fake_decoder_new, .decoder_free = sg_free,
                  .decode = fake_decode, .decode_end = fake_decode_end, .close = tiny_close};
    return SG_OK;
}

/* A draft model of another family with the same vocabulary. */
static sg_status open_tiny_other(sg_lm *lm, int nblock, void *arg, sg_error *e)
{
    tiny other = *(const tiny *)arg;
    other.path = other.other;
    other.kv = SG_F16;
    return open_tiny(lm, nblock, &other, e);
}

enum { NFAMILY = 6, NKV = 4 };
static const char *const families[NFAMILY] = {"llama", "llama-window", "gemma3", "qwen3moe", "gpt-oss", "deepseek2"};
static const sg_dtype kv_types[NKV] = {SG_F16, SG_BF16, SG_F32, SG_Q8_0};
enum { KV_Q8 = 3, GEMMA = 2 }; /* heads of 32, which Q8_0 wants, are those of gemma3 */

/* `n` traces with the keys and values of one type: alone with so many threads, in company with other numbers of them. */
static void traces_of(const char (*path)[64], int family, int kv, int n, totals *t, sg_rng *g)
{
    tiny m = {.path = path[family], .other = path[(family + 1) % NFAMILY], .nthread = 1 + (int)sg_rng_below(g, 3), .kv = kv_types[kv]};
    subject s = {.open = open_tiny, .open_other = open_tiny_other, .arg = &m};
    subject_open(&s);
    if (tap_failed())
        return;
    for (int i = 0; i < n && !tap_failed(); i++) {
        sg_rng one = {sg_rng_u64(g)};
        uint64_t seed = one.state;
        m.nthread = 1 + (int)sg_rng_below(g, 4);
        random_trace(&s, 24, 3000, t, &one);
        if (tap_failed())
            tap_note("%s, %s, %d threads, trace %d of rng state %llu", families[family], sg_dtype_name(m.kv), m.nthread, i,
                     (unsigned long long)seed);
    }
    subject_close(&s);
}

TEST(traces_over_real_kernels)
{
    char path[NFAMILY][64];
    sg_rng *g = tap_rng();
    int n = ntrace(2000) / 80, done = 0; /* of each family and type of keys */
    n = n < 2 ? 2 : n;
    for (int f = 0; f < NFAMILY; f++) {
        snprintf(path[f], sizeof path[f], "/tmp/segue-traces-%d-%d.gguf", (int)getpid(), f);
        CHECK_OK(tiny_model_write(path[f], families[f], g, &err));
    }
    totals all[NFAMILY] = {0};
    for (int f = 0; f < NFAMILY && !tap_failed(); f++) {
        int before = done;
        for (int kv = 0; kv < NKV && !tap_failed(); kv++) {
            if (kv == KV_Q8 && f != GEMMA)
                continue;
            traces_of(path, f, kv, kv == KV_Q8 ? 3 * n : n, &all[f], g);
            done += kv == KV_Q8 ? 3 * n : n;
        }
        note(families[f], done - before, &all[f]);
    }
    for (int f = 0; f < NFAMILY; f++)
        remove(path[f]);
}

TAP_MAIN
