/* engine/draft_model.c - guessing the next tokens with a small model that has the same vocabulary.
 *
 * The draft model has its own weights and KV memory, shares the workers, and is stepped by the step loop between two steps of the model
 * itself, so its time is part of the gap between tokens and is weighed like everything else.  It reads the same tokens:
 *
 *     request    [ known tokens .......................... ]
 *     draft_seq  [ has read so many ......... |  pending   ][ guess ][ guess ]
 *
 * A round is one step over all requests that want guesses.  The first round reads what is pending (a prompt in pieces that
 * take about CATCH_US), each later one reads the guess before.  Each guess is drawn by the sampler with the request's own
 * settings and the counter of that position: the draw of the model itself uses the same random number, so that two
 * similar distributions draw the same token more often than two independent draws would.  What was read of wrong guesses is
 * forgotten before the next round.
 *
 * How many guesses: those that bring the most tokens a second,
 *
 *     tokens (1 - a^(k+1)) / (1 - a)   over   time of a step with 1 + k rows each + k rounds of the draft model
 *
 * where a is the share that was right lately.  When none bring more than a plain step, there are none.
 *
 * A draft model has to show first that it knows the text, or a useless one would cost a short session 3 to 7 % before worth.c is sure.
 * An exam is one step: it reads a piece of an answer that is there already and draws what follows each of the last tokens,
 *
 *     answer   ... [ EXAM_BEFORE tokens ][ SG_DRAFT_EXAM tokens, drawn by the model ]
 *     read         [ -------------------- one step, logits of the last rows ------- ]    a = share of the same draws
 *
 * which costs as much as two or three rounds and tells as much as sixteen, takes no rows of the model, and reads none of a long prompt.
 * Without the text before the piece it guesses worse than it will (5 to 7 of 16 where all are right later), which is allowed for.
 * Exams may take a fiftieth of the time that decoding took so far and the answers in hand will take, so that is about all that a
 * useless draft model can cost, in a session of any length, and all requests of an engine share what it showed.  After a bad result the
 * next exam comes after 256 tokens, then 512, up to 16384.  A prompt is only read for a request when that takes less than half of what
 * guesses will then save.
 *
 * Rejected: a thread of its own that drafts while the model computes (both are bound by the same memory and cores here);
 * trees of guesses (rows are what costs on a CPU, and a tree spends them on guesses that are less likely).
 */
#include "engine/internal.h"

#include "base/clock.h"
#include "base/heap.h"

#include <math.h>
#include <string.h>

enum { CATCH_US = 50000, CATCH_LEAST = 16, CATCH_BLIND = 64, BLIND = 4, PIECE_MAX = 4096, EXAM_BEFORE = 32, EXAM_LEFT = 256,
       EXAM_REST = 256, EXAM_REST_MAX = 16384 };
static const float exam_lenient = 0.25f;
static const double exam_share = 0.02, catch_share = 0.5;

struct sg_draft_model {
    sg_lm lm;
    sg_sampler *sampler;
    int most_rows, most_seq;
    float *logits;                               /* [most_seq or SG_DRAFT_EXAM][nvocab] */
    int32_t *token, *seq, *pos;                  /* [most_rows] */
    int32_t *out, *extent, *count;               /* [most_seq] */
    sg_kv_seq **seqs;                            /* [most_seq] */
    sg_request **who;                            /* [most_seq] they want guesses */
    int nwho;
    double round_us, row_us; /* of a round of single rows; of a row of a long one; 0: not known */
    double saves; /* part of the time that the best number of guesses saves, as it was decided last */
    sg_kv_seq *exam;
    bool passed;    /* the last exam, or there was none because nobody knows what steps cost */
    double exam_us, exam_cost_us; /* in exams, ever; in one */
    uint64_t exam_at, exam_rest; /* e->drawn at which there may be another one; tokens until the one after it */
};

const sg_lm *sg_draft_model_lm(const sg_draft_model *d) { return d ? &d->lm : NULL; }

void sg_draft_model_free(sg_draft_model *d)
{
    if (!d)
        return;
    sg_kv_seq_free(d->exam);
    if (d->lm.close)
        d->lm.close(d->lm.self);
    sg_ledger_unref(d->lm.ledger);
    sg_sampler_free(d->sampler);
    sg_free(d->logits);
    sg_free(d->token);
    sg_free(d->seq);
    sg_free(d->pos);
    sg_free(d->out);
    sg_free(d->extent);
    sg_free(d->count);
    sg_free(d->seqs);
    sg_free(d->who);
    sg_free(d);
}

static sg_status allocate(sg_draft_model *d, int max_running, sg_error *err)
{
    d->most_rows = d->lm.max_rows;
    d->most_seq = max_running < d->lm.max_logits ? max_running : d->lm.max_logits;
    size_t rows = (size_t)d->most_rows, n = (size_t)d->most_seq, outs = n > SG_DRAFT_EXAM ? n : SG_DRAFT_EXAM;
    d->sampler = sg_sampler_new((size_t)d->lm.nvocab);
    d->logits = sg_calloc(outs * (size_t)d->lm.nvocab, sizeof *d->logits);
    d->token = sg_calloc(rows, sizeof *d->token);
    d->seq = sg_calloc(rows, sizeof *d->seq);
    d->pos = sg_calloc(rows, sizeof *d->pos);
    d->out = sg_calloc(outs, sizeof *d->out);
    d->extent = sg_calloc(n, sizeof *d->extent);
    d->count = sg_calloc(n, sizeof *d->count);
    d->seqs = sg_calloc(n, sizeof *d->seqs);
    d->who = sg_calloc(n, sizeof *d->who);
    if (!d->sampler || !d->logits || !d->token || !d->seq || !d->pos || !d->out || !d->extent || !d->count || !d->seqs || !d->who)
        return sg_fail_nomem(err, "the draft model");
    return sg_kv_seq_new(&d->exam, d->lm.pool, EXAM_BEFORE + SG_DRAFT_EXAM, err);
}

/* The same bytes for every token, and the same ends: else a guess means something else. */
static sg_status same_vocabulary(const sg_lm *a, const sg_lm *b, sg_error *err)
{
    char x[PIECE_MAX], y[PIECE_MAX];
    for (int32_t id = 0; id < a->nvocab || id < b->nvocab; id++) {
        size_t n = id < a->nvocab ? a->token_bytes(a->self, id, x, sizeof x) : 0;
        size_t m = id < b->nvocab ? b->token_bytes(b->self, id, y, sizeof y) : 0;
        if (n != m || memcmp(x, y, n < sizeof x ? n : sizeof x) != 0)
            return sg_fail(err, SG_E_ARGUMENT, "the draft model has another vocabulary: token %d is '%.*s' there and '%.*s' in the model",
                           (int)id, m < 40 ? (int)m : 40, y, n < 40 ? (int)n : 40, x);
        if (id < a->nvocab && id < b->nvocab && a->is_end(a->self, id) != b->is_end(b->self, id))
            return sg_fail(err, SG_E_ARGUMENT, "the draft model has another vocabulary: token %d ends a text in one of the two", (int)id);
    }
    return SG_OK;
}

/* ---- rounds ---- */

static void drop(sg_draft_model *d, int i)
{
    memmove(d->who + i, d->who + i + 1, (size_t)(--d->nwho - i) * sizeof *d->who);
}

/* Rows for what request i has not read yet, at most `most` and what there is memory for; false when it cannot guess. */
static bool add_rows(sg_draft_model *d, int i, int *nrow, int most)
{
    sg_request *r = d->who[i];
    int from = r->draft_seq->len, left = r->known + r->ndraft - from, n = left < most ? left : most;
    for (int k = 0; k < n; k++)
        if (r->token[from + k] >= d->lm.nvocab)
            return false;
    if (n < 1 || sg_kv_seq_extend(r->draft_seq, n, NULL) != SG_OK)
        return false;
    for (int k = 0; k < n; k++, ++*nrow) {
        d->token[*nrow] = r->token[from + k];
        d->seq[*nrow] = i;
        d->pos[*nrow] = from + k;
    }
    d->seqs[i] = r->draft_seq;
    d->extent[i] = r->limit;
    d->count[i] = n;
    d->out[i] = *nrow - 1;
    return true;
}

/* The guess behind what request i has read; false when it ends there. */
static bool draw(sg_draft_model *d, int i)
{
    sg_request *r = d->who[i];
    sg_choice c = {0};
    int n = r->known + r->ndraft;
    sg_sampler_pick(d->sampler, &r->sampling, d->logits + (size_t)i * (size_t)d->lm.nvocab, r->token, (size_t)n, (uint64_t)n, NULL, &c);
    if (c.id < 0 || (!r->ignore_eos && d->lm.is_end(d->lm.self, c.id)))
        return false;
    r->token[n] = r->draft[r->ndraft++] = c.id; /* behind the known ones, where the next draw looks for the past */
    return true;
}

/* Read and draw once for all; who has read everything and drawn stays.  False when the step failed. */
static bool one_round(sg_draft_model *d, int most)
{
    int nrow = 0;
    for (int i = 0; i < d->nwho;)
        if (nrow < most && add_rows(d, i, &nrow, most - nrow))
            i++;
        else
            drop(d, i);
    if (!nrow)
        return true;
    sg_batch b = {.nrow = nrow, .id = d->token, .pos = d->pos, .seq = d->seq, .nseq = d->nwho, .seqs = d->seqs, .extent = d->extent,
                  .nout = d->nwho, .out = d->out, .logits = d->logits, .drawn = true};
    int64_t start = sg_clock_us();
    if (d->lm.step(d->lm.self, &b, NULL) != SG_OK) {
        for (int i = 0; i < d->nwho; i++)
            sg_kv_seq_truncate(d->who[i]->draft_seq, d->who[i]->draft_seq->len - d->count[i]);
        return false;
    }
    double us = (double)(sg_clock_us() - start), *mean = nrow == d->nwho ? &d->round_us : &d->row_us;
    double value = nrow == d->nwho ? us : us / nrow;
    if (nrow == d->nwho || nrow >= CATCH_LEAST)
        *mean = *mean > 0 ? *mean + 0.1 * (fmin(value, 4 * *mean) - *mean) : value;
    for (int i = 0; i < d->nwho; i++) /* count: whether it stays; the rows of logits count as before */
        d->count[i] = d->who[i]->draft_seq->len == d->who[i]->known + d->who[i]->ndraft && draw(d, i);
    for (int i = d->nwho - 1; i >= 0; i--)
        if (!d->count[i])
            drop(d, i);
    return true;
}

/* ---- how many ---- */

static double tokens(double a, int k) { return a < 0.999 ? (1 - pow(a, k + 1)) / (1 - a) : k + 1; }

/* Guesses for each of n requests that bring the most tokens a second; 0: none do.  *saves: the part of the time that they save. */
static int best_length(const sg_engine *e, const sg_draft_model *d, int n, double *saves)
{
    double a = (double)e->guess_accept[SG_DRAFT_MODEL], context = 0, best = 0, plain = 0;
    int most = e->ndraft_max / n < SG_DRAFT_MAX ? e->ndraft_max / n : SG_DRAFT_MAX, at = 0, ndecode = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->state == SG_REQUEST_DECODE) {
            ndecode++;
            context += e->running[i]->known;
        }
    for (int k = 0; k <= most; k++) {
        int rows = ndecode + n * k;
        sg_step_cost c = {.tokens = rows, .decode_rows = rows, .decode_context = context / ndecode * rows};
        double rate = (ndecode - n + n * tokens(a, k)) / (sg_latency_predict_us(&e->latency, &c) + k * d->round_us);
        plain = k ? plain : rate;
        if (rate > best * (k ? 1.03 : 1)) {
            best = rate;
            at = k;
        }
    }
    *saves = best > 0 ? 1 - plain / best : 0;
    return at;
}

/* ---- exams ---- */

/* Rows of the draft model's exam in a text of n tokens; 0 when it cannot read them. */
static int exam_rows(const sg_draft_model *d, const sg_request *r)
{
    int n = r->known - 1 < EXAM_BEFORE + SG_DRAFT_EXAM ? r->known - 1 : EXAM_BEFORE + SG_DRAFT_EXAM, from = r->known - 1 - n;
    if (r->known - r->nprompt < SG_DRAFT_EXAM || r->known - 1 < SG_DRAFT_EXAM || n > d->most_rows)
        return 0;
    for (int i = 0; i < n; i++) {
        if (r->token[from + i] >= d->lm.nvocab)
            return 0;
        d->token[i] = r->token[from + i];
        d->seq[i] = 0;
        d->pos[i] = i;
    }
    return n;
}

/* How many of the last SG_DRAFT_EXAM tokens of an answer the draft model would have drawn; -1 when it could not read them. */
static int examine(sg_draft_model *d, const sg_request *r)
{
    int n = exam_rows(d, r), right = 0, first = r->known - SG_DRAFT_EXAM;
    if (!n || d->lm.max_logits < SG_DRAFT_EXAM || sg_kv_seq_extend(d->exam, n, NULL) != SG_OK)
        return -1;
    for (int i = 0; i < SG_DRAFT_EXAM; i++)
        d->out[i] = n - SG_DRAFT_EXAM + i;
    d->extent[0] = r->limit;
    sg_batch b = {.nrow = n, .id = d->token, .pos = d->pos, .seq = d->seq, .nseq = 1, .seqs = &d->exam, .extent = d->extent,
                  .nout = SG_DRAFT_EXAM, .out = d->out, .logits = d->logits, .drawn = true};
    sg_status st = d->lm.step(d->lm.self, &b, NULL);
    sg_kv_seq_truncate(d->exam, 0);
    for (int i = 0; i < SG_DRAFT_EXAM && st == SG_OK; i++) {
        sg_choice c = {0};
        size_t at = (size_t)(first + i);
        sg_sampler_pick(d->sampler, &r->sampling, d->logits + (size_t)i * (size_t)d->lm.nvocab, r->token, at, at, NULL, &c);
        right += c.id == r->token[at];
    }
    return st == SG_OK ? right : -1;
}

/* An exam by the first text that is long enough, unless exams have taken too long already.  Its result is what the draft model is
 * expected to do from now on. */
static void hold_exam(sg_engine *e, sg_draft_model *d)
{
    sg_step_cost c = {.tokens = 1, .decode_rows = 1};
    int left = 0;
    for (int i = 0; i < d->nwho; i++) {
        int n = sg_request_expected(e, d->who[i]) - d->who[i]->known;
        left = n > left ? n : left;
    }
    double time = e->decode_us + (left < EXAM_LEFT ? left : EXAM_LEFT) * sg_latency_predict_us(&e->latency, &c);
    if (e->drawn < d->exam_at || d->exam_us + d->exam_cost_us > exam_share * time)
        return;
    int right = -1;
    int64_t start = sg_clock_us();
    for (int i = 0; i < d->nwho && right < 0; i++)
        right = examine(d, d->who[i]);
    if (right < 0)
        return;
    double us = (double)(sg_clock_us() - start);
    d->exam_us += us;
    d->exam_cost_us = us;
    e->guess_accept[SG_DRAFT_MODEL] = fminf((float)right / SG_DRAFT_EXAM + (right > 1 ? exam_lenient : 0), 0.95f);
    d->passed = best_length(e, d, d->nwho, &d->saves) > 0;
    d->exam_at = e->drawn + d->exam_rest;
    d->exam_rest = d->passed ? EXAM_REST : 2 * d->exam_rest < EXAM_REST_MAX ? 2 * d->exam_rest : EXAM_REST_MAX;
    pthread_mutex_lock(&e->stats_lock);
    e->stats.draft_seconds += us * 1e-6;
    pthread_mutex_unlock(&e->stats_lock);
}

static int choose_length(sg_engine *e, sg_draft_model *d, int n)
{
    if (!sg_latency_ready(&e->latency)) {
        int most = d->lm.probe ? 0 : e->ndraft_max / n; /* it is soon; only models whose steps cost nothing guess before */
        d->saves = 1;
        return most < BLIND ? most : BLIND;
    }
    int k = best_length(e, d, n, &d->saves);
    if (d->passed && k > 0)
        return k;
    hold_exam(e, d);
    return 0; /* also when it has just passed: the next step will do */
}

/* Those whose rest of an answer is not worth what the draft model has to read for it leave. */
static void drop_expensive(const sg_engine *e, sg_draft_model *d)
{
    for (int i = d->nwho - 1; i >= 0; i--) {
        const sg_request *r = d->who[i];
        int pending = r->known - r->draft_seq->len, left = sg_request_expected(e, r) - r->known;
        sg_step_cost c = {.tokens = 1, .decode_rows = 1, .decode_context = r->known};
        if (pending > CATCH_LEAST && pending * d->row_us > catch_share * d->saves * left * sg_latency_predict_us(&e->latency, &c))
            drop(d, i);
    }
}

/* ---- the engine's side ---- */

/* Nobody who wants guesses while prompts wait: the scheduler would have no rows for them. */
static void collect(sg_engine *e, sg_draft_model *d)
{
    d->nwho = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->state == SG_REQUEST_PREFILL)
            return;
    if (e->nwaiting && e->nrunning < e->max_running)
        return;
    for (int i = 0; i < e->nrunning && d->nwho < d->most_seq; i++) {
        sg_request *r = e->running[i];
        int most = SG_DRAFT_MAX;
        if (r->state != SG_REQUEST_DECODE || r->ndraft || !r->draft_seq || sg_request_guess_most(e, r, sg_request_room(r)) < 1 ||
            !sg_request_may_guess(r, SG_DRAFT_MODEL, &most))
            continue;
        sg_kv_seq_truncate(r->draft_seq, r->known - 1); /* what it read of guesses that were wrong; there is one token to read at least */
        d->who[d->nwho++] = r;
    }
}

static int catch_rows(const sg_draft_model *d)
{
    int n = d->row_us > 0 ? (int)(CATCH_US / d->row_us) : CATCH_BLIND;
    n = n < CATCH_LEAST ? CATCH_LEAST : n;
    n = n < d->nwho ? d->nwho : n;
    return n < d->most_rows ? n : d->most_rows;
}

void sg_engine_guess(sg_engine *e)
{
    sg_draft_model *d = e->draft;
    collect(e, d);
    int length = d->nwho ? choose_length(e, d, d->nwho) : 0;
    if (length && sg_latency_ready(&e->latency))
        drop_expensive(e, d);
    if (!length || !d->nwho)
        return;
    int64_t start = sg_clock_us();
    for (int k = 0; k < length && d->nwho; k++) {
        if (!one_round(d, k ? d->nwho : catch_rows(d)))
            break;
        for (int i = d->nwho - 1; i >= 0; i--) {
            sg_request *r = d->who[i];
            int most = sg_request_guess_most(e, r, sg_request_room(r));
            sg_request_take_guess(r, SG_DRAFT_MODEL, r->ndraft < most ? r->ndraft : most);
            if (r->ndraft >= most)
                drop(d, i);
        }
    }
    int64_t us = sg_clock_us() - start;
    e->draft_us += (double)us;
    pthread_mutex_lock(&e->stats_lock);
    e->stats.draft_seconds += sg_seconds(us);
    pthread_mutex_unlock(&e->stats_lock);
}

sg_status sg_request_join_draft(sg_engine *e, sg_request *r, sg_error *err)
{
    if (!e->draft || r->limit > e->draft->lm.ctx)
        return SG_OK; /* longer than the draft model can read: nobody guesses */
    return sg_kv_seq_new(&r->draft_seq, e->draft->lm.pool, r->limit, err);
}

/* Time a few rounds and what an exam will be. */
static void probe(sg_draft_model *d)
{
    enum { ROUNDS = 4, PROMPT = EXAM_BEFORE + SG_DRAFT_EXAM, PROMPTS = 2, LENGTH = ROUNDS + PROMPTS * PROMPT };
    sg_kv_seq *s = NULL;
    if (!d->lm.probe || d->lm.ctx < LENGTH || sg_kv_seq_new(&s, d->lm.pool, LENGTH, NULL) != SG_OK)
        return;
    for (int k = 0; k < PROMPTS + ROUNDS; k++) {
        int n = k < PROMPTS ? PROMPT : 1;
        if (sg_kv_seq_extend(s, n, NULL) != SG_OK)
            break;
        for (int i = 0; i < n; i++) {
            d->token[i] = i % d->lm.nvocab;
            d->seq[i] = 0;
            d->pos[i] = s->len - n + i;
        }
        int nout = n > 1 && d->lm.max_logits >= SG_DRAFT_EXAM ? SG_DRAFT_EXAM : 1;
        for (int i = 0; i < nout; i++)
            d->out[i] = n - nout + i;
        d->extent[0] = LENGTH;
        sg_batch b = {.nrow = n, .id = d->token, .pos = d->pos, .seq = d->seq, .nseq = 1, .seqs = &s, .extent = d->extent, .nout = nout,
                      .out = d->out, .logits = d->logits, .drawn = true};
        int64_t start = sg_clock_us();
        if (d->lm.step(d->lm.self, &b, NULL) != SG_OK)
            break;
        double us = (double)(sg_clock_us() - start); /* the last one of both kinds counts */
        d->round_us = n == 1 ? us : d->round_us;
        d->row_us = n == 1 ? d->row_us : us / n;
        d->exam_cost_us = n == 1 ? d->exam_cost_us : us;
    }
    sg_kv_seq_free(s);
}

/* All that the draft model has stands in one row of the engine's ledger; its own is not needed any more. */
static void enter(sg_engine *e, sg_draft_model *d, int64_t before)
{
    sg_memory_pool rows[SG_LEDGER_NROW];
    int64_t now = sg_heap_thread();
    uint64_t sum = now > before ? (uint64_t)(now - before) : 0;
    size_t n = d->lm.ledger ? sg_ledger_rows(d->lm.ledger, rows, SG_LEDGER_NROW) : 0;
    for (size_t i = 0; i < n && i < SG_LEDGER_NROW; i++)
        sum += rows[i].bytes;
    sg_ledger_unref(d->lm.ledger);
    d->lm.ledger = NULL;
    sg_ledger_hold(e->ledger, SG_LEDGER_DRAFT, sum);
}

sg_status sg_engine_take_draft(sg_engine *e, sg_lm *lm, sg_error *err)
{
    int64_t before = sg_heap_thread();
    sg_draft_model *d = sg_calloc(1, sizeof *d);
    if (!d) {
        lm->close(lm->self);
        sg_ledger_unref(lm->ledger);
        return sg_fail_nomem(err, "the draft model");
    }
    *d = (sg_draft_model){.lm = *lm, .exam_rest = EXAM_REST};
    e->draft = d; /* the engine frees it */
    SG_TRY(same_vocabulary(&e->lm, lm, err));
    SG_TRY(allocate(d, e->max_running, err));
    enter(e, d, before);
    probe(d);
    return SG_OK;
}
