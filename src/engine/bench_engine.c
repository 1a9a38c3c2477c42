/* engine/bench_engine.c - decoding through the step loop, beside the bare forward passes.
 *
 * The same number of sequences with the same number of tokens goes through an engine: admission, plan, token table,
 * sampling, detokeniser, ring, reader.  Rows:
 *
 *     plain, temperature 0      of_bare: against the bare loop with the same batch, which is what the loop around the model costs
 *     auto, temperature 0       of_plain: greedy answers of a model to random tokens soon go in circles, so guesses pay
 *     repeat: plain, auto          greedy answers to a list that stands in the prompt LIST_TIMES: text that repeats itself
 *     plain, auto, temperature 1   answers that hardly repeat themselves: of_plain says what guessing costs where it does not pay
 *
 * All of them, and the bare loop, run in one engine, in the loop's thread: two copies of the same weights, on other pages, are up to a
 * twentieth apart in speed.  Guessing is switched off for the plain runs, whose prefixes have a name space of their own.
 *
 * Runs of the kinds and of the bare loop are made in turns, so that a machine that becomes slower does so for all of them, and ratios are
 * taken turn by turn.  A run is timed from the first to the last token of each request, as the request itself says; the longest counts.
 */
#include "engine/bench_engine.h"
#include "engine/internal.h"

#include "base/clock.h"
#include "base/heap.h"
#include "base/json.h"
#include "base/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { KINDS = 6, REPS_MAX = 64, PROMPT_MIN = 16, LIST_MAX = 512, LIST_TIMES = 12, BATCH_MAX = 256 };

static const struct {
    bool guess;
    float temperature;
    bool list;
} kinds[KINDS] = {{false, 0, false}, {true, 0, false}, {false, 1, false}, {true, 1, false}, {false, 0, true}, {true, 0, true}};

typedef struct run {
    sg_engine *engine;
    const sg_bench_options *o;
    int32_t *prompt;
    int nprompt, nvocab, nlist;
    int32_t list[LIST_MAX];
    uint64_t salt;
} run;

/* ---- the bare loop ---- */

/* In the loop's thread, while the engine has nothing else to do. */
typedef struct bare {
    const run *x;
    int batch;
    sg_kv_seq *seq[BATCH_MAX];
    int64_t us;
    sg_status status;
    sg_error *err;
} bare;

static int32_t random_token(const run *x, uint64_t stream, int at)
{
    return (int32_t)(sg_rng_at(x->salt + (2u << 20), stream, (uint64_t)at) % (uint64_t)x->nvocab);
}

/* One step: n tokens at the end of each of nseq sequences (n 1, or nseq 1), logits of the last one of each. */
static sg_status bare_step(sg_engine *e, const bare *b, sg_kv_seq *const *seq, int nseq, int n)
{
    int nrow = 0;
    for (int s = 0; s < nseq; s++) {
        int start = seq[s]->len;
        SG_TRY(sg_kv_seq_extend(seq[s], n, b->err));
        for (int i = 0; i < n; i++, nrow++) {
            e->row_token[nrow] = random_token(b->x, (uint64_t)s, start + i);
            e->row_seq[nrow] = s;
            e->row_pos[nrow] = start + i;
        }
        e->logit_row[s] = nrow - 1;
    }
    sg_batch batch = {.nrow = nrow, .id = e->row_token, .pos = e->row_pos, .seq = e->row_seq, .nseq = nseq, .seqs = seq,
                      .nout = nseq, .out = e->logit_row, .logits = e->logits, .drawn = true};
    return e->lm.step(e->lm.self, &batch, b->err);
}

static sg_status bare_prompt(sg_engine *e, const bare *b, sg_kv_seq *const *seq)
{
    for (int left = b->x->nprompt, n; left > 0; left -= n) {
        n = left < e->lm.max_rows ? left : e->lm.max_rows;
        SG_TRY(bare_step(e, b, seq, 1, n));
    }
    return SG_OK;
}

static sg_status bare_all(sg_engine *e, bare *b)
{
    int len = b->x->nprompt + b->x->o->generate, block = sg_kv_pool_block(e->lm.pool);
    sg_engine_make_room(e, b->batch * sg_kv_blocks_for(len, block)); /* if it cannot, a step says so */
    for (int s = 0; s < b->batch; s++) {
        SG_TRY(sg_kv_seq_new(&b->seq[s], e->lm.pool, len, b->err));
        SG_TRY(bare_prompt(e, b, &b->seq[s]));
    }
    int64_t start = sg_clock_us();
    for (int i = 0; i < b->x->o->generate; i++)
        SG_TRY(bare_step(e, b, b->seq, b->batch, 1));
    b->us = sg_clock_us() - start;
    return SG_OK;
}

static void bare_errand(sg_engine *e, void *arg)
{
    bare *b = arg;
    b->status = bare_all(e, b);
    for (int s = 0; s < b->batch; s++)
        sg_kv_seq_free(b->seq[s]);
}

/* Tokens a second of `batch` sequences that decode together, nothing else. */
static sg_status bare_run(run *x, int batch, double *tps, sg_error *err)
{
    bare b = {.x = x, .batch = batch, .err = err};
    sg_engine_between(x->engine, bare_errand, &b);
    *tps = (double)x->o->generate * batch * 1e6 / (double)(b.us > 0 ? b.us : 1);
    return b.status;
}

static void guess_errand(sg_engine *e, void *arg) { e->speculate = *(const bool *)arg; }

/* ---- through the engine ---- */

static sg_status submit(run *x, sg_request **r, int i, int kind, sg_error *err)
{
    sg_request_options q = sg_request_defaults();
    float temperature = kinds[kind].temperature;
    uint64_t salt = x->salt + (temperature > 0 ? 1u << 20 : 0);
    int n = kinds[kind].list ? x->nlist : x->nprompt;
    for (int k = 0; k < n; k++) /* the first token of a list differs, so that no request finds what another one computed */
        x->prompt[k] = kinds[kind].list && k ? x->list[k] : (int32_t)(sg_rng_at(salt, (uint64_t)i, (uint64_t)k) % (uint64_t)x->nvocab);
    q.prompt = x->prompt;
    q.nprompt = (size_t)n;
    q.max_tokens = x->o->generate + 1;
    q.ignore_eos = true;
    q.sampling.temperature = temperature;
    q.sampling.seed = x->salt + (uint64_t)i;
    q.space = kinds[kind].guess ? 2 : 1; /* guesses are not to find the answer in the prefix tree */
    return sg_request_submit(r, x->engine, &q, err);
}

/* Tokens a second of `batch` requests together. */
static sg_status one_run(run *x, int kind, int batch, double *tps, sg_error *err)
{
    static const struct timespec nap = {.tv_nsec = 10000000}; /* its events wait in their ring: a reader that comes more often costs more */
    sg_request *r[BATCH_MAX] = {0};
    bool guess = kinds[kind].guess;
    int64_t longest = 1;
    int left = 0;
    sg_status st = SG_OK;
    sg_engine_between(x->engine, guess_errand, &guess);
    for (; left < batch && st == SG_OK; left++)
        st = submit(x, &r[left], left, kind, err);
    while (left > 0 && st == SG_OK) {
        nanosleep(&nap, NULL);
        for (int i = 0; i < batch; i++) {
            sg_event ev = {0};
            while (r[i] && sg_request_next(r[i], &ev, 0) && !ev.end)
                ;
            if (!ev.end)
                continue;
            if (ev.finish == SG_FINISH_ERROR)
                st = sg_fail(err, ev.error->status, "%.200s", ev.error->text);
            longest = ev.timings.decode_us > longest ? ev.timings.decode_us : longest;
            sg_request_free(r[i]);
            r[i] = NULL;
            left--;
        }
    }
    for (int i = 0; i < batch; i++)
        sg_request_free(r[i]);
    *tps = (double)x->o->generate * batch * 1e6 / (double)longest;
    return st;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double rounded(double x) { return isfinite(x) ? round(x * 10000) / 10000 : 0; }

/* Kinds of a group run on the same engines; the lists on their own, as what an engine learnt of other texts is no help to them. */
static int last_of(int first) { return first ? KINDS : KINDS - 2; }

static double median_ratio(const double *a, const double *b, int n)
{
    double ratio[REPS_MAX];
    for (int i = 0; i < n; i++)
        ratio[i] = a[i] / b[i];
    qsort(ratio, (size_t)n, sizeof *ratio, compare);
    return n % 2 ? ratio[n / 2] : (ratio[n / 2 - 1] + ratio[n / 2]) / 2;
}

/* Turns of a batch: tokens a second of each kind, and of the bare loop. */
typedef struct turns {
    int n;
    double tps[KINDS][REPS_MAX], bare[REPS_MAX];
} turns;

static sg_status add_rows(run *x, json_t *results, int batch, int first, turns *t, sg_error *err)
{
    char name[32];
    double ratio[KINDS];
    for (int k = first; k < last_of(first); k++)
        ratio[k] = kinds[k].guess ? median_ratio(t->tps[k], t->tps[k - 1], t->n)
                   : kinds[k].list ? 0 : median_ratio(t->tps[k], t->bare, t->n);
    qsort(t->bare, (size_t)t->n, sizeof *t->bare, compare);
    double middle = t->bare[t->n / 2];
    for (int k = first; k < last_of(first); k++) {
        double *tps = t->tps[k];
        snprintf(name, sizeof name, "%s%d", kinds[k].list ? "repeat" : "engine", x->o->generate);
        qsort(tps, (size_t)t->n, sizeof *tps, compare);
        json_t *row = json_pack("{s:s, s:s, s:f, s:i, s:i, s:{s:f, s:f, s:f}}", "test", name, "spec", kinds[k].guess ? "auto" : "off",
                                "temperature", (double)kinds[k].temperature, "batch", batch, "depth",
                                kinds[k].list ? x->nlist : x->o->depth, "tps", "min",
                                rounded(tps[0]), "median", rounded(tps[t->n / 2]), "max", rounded(tps[t->n - 1]));
        if (row && ratio[k] > 0)
            json_object_set_new(row, kinds[k].guess ? "of_plain" : "of_bare", json_real(rounded(ratio[k])));
        if (row && first == 0 && !kinds[k].guess)
            json_object_set_new(row, "bare", json_real(rounded(middle)));
        if (!row || json_array_append_new(results, row) != 0)
            return sg_fail_nomem(err, "the results");
    }
    return SG_OK;
}

static sg_status run_batch(run *x, json_t *results, int batch, int first, sg_error *err)
{
    static turns t; /* one benchmark at a time */
    t.n = x->o->reps < 1 ? 1 : x->o->reps > REPS_MAX ? REPS_MAX : x->o->reps;
    for (int rep = -1; rep < t.n; rep++) {
        int at = rep < 0 ? 0 : rep;
        x->salt++; /* with and without guesses the same prompts; greedy answers are of no help to sampled ones */
        for (int k = first; k < last_of(first); k++) {
            if (first == 0 && k == first)
                SG_TRY(bare_run(x, batch, &t.bare[at], err));
            SG_TRY(one_run(x, k, batch, &t.tps[k][at], err));
        }
    }
    return add_rows(x, results, batch, first, &t, err);
}

/* The list LIST_TIMES, in the model's tokens. */
static sg_status make_list(run *x, sg_error *err)
{
    static const char text[] = "- bread: 2 loaves\n- milk: 3 bottles\n- eggs: 12 pieces\n- apples: 7 pieces\n- butter: 1 packet\n\n";
    int32_t *ids = NULL;
    size_t n = 0;
    SG_TRY(sg_engine_tokenize(x->engine, text, sizeof text - 1, false, false, &ids, &n, err));
    for (int t = 0; t < LIST_TIMES; t++)
        for (size_t i = 0; i < n && x->nlist < LIST_MAX; i++)
            x->list[x->nlist++] = ids[i];
    sg_free(ids);
    return SG_OK;
}

static sg_status open_engine(run *x, sg_error *err)
{
    const sg_bench_options *o = x->o;
    int batch = 1;
    for (int i = 0; i < o->nbatch; i++)
        batch = o->batch[i] > batch ? o->batch[i] : batch;
    x->nprompt = o->depth > PROMPT_MIN ? o->depth : PROMPT_MIN;
    int longest = x->nprompt > LIST_MAX ? x->nprompt : LIST_MAX;
    sg_engine_options e = {.model = o->model, .tokenizer = o->tokenizer, .kv_type = o->kv_type, .threads = o->threads, .exact = o->exact,
                           .ctx = longest + o->generate + 2, .max_running = batch < 2 ? 2 : batch, .max_waiting = batch + 1,
                           .spec = "auto", .draft = o->draft};
    SG_TRY(sg_engine_open(&x->engine, &e, err));
    sg_engine_info info;
    sg_engine_info_get(x->engine, &info);
    x->nvocab = info.nvocab;
    x->prompt = sg_calloc((size_t)longest, sizeof *x->prompt);
    return x->prompt ? make_list(x, err) : sg_fail_nomem(err, "a prompt");
}

static sg_status run_group(json_t *results, const sg_bench_options *o, int first, sg_error *err)
{
    run x = {.o = o, .salt = o->seed ? o->seed : 1};
    sg_status st = open_engine(&x, err);
    for (int i = 0; i < o->nbatch && st == SG_OK; i++)
        st = run_batch(&x, results, o->batch[i], first, err);
    sg_engine_close(x.engine);
    sg_free(x.prompt);
    return st;
}

sg_status sg_bench_engine(json_t *results, const sg_bench_options *o, sg_error *err)
{
    if (!o->generate)
        return SG_OK;
    SG_TRY(run_group(results, o, 0, err));
    return run_group(results, o, last_of(0), err);
}
