/* engine/cost.c - the step-time model (sched/latency.h) and the steps it learns from.
 *
 * Every step is described by its rows and the keys that they read, timed from the token table to the last drawn
 * token, and learnt.  Before the first request a few steps of various shapes are timed, so that the first prompt that
 * comes beside a stream is cut by a measured number: some single rows, some rows of several sequences, chunks of growing
 * size, as long as PROBE_US allows.  What they write into the pool is given back; nothing else sees them.
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <math.h>
#include <string.h>

/* Distinct experts that n rows touch in a layer, if rows choose independently. */
static int experts(const sg_lm *lm, int n)
{
    if (lm->nexpert <= 0)
        return 0;
    return (int)lround(lm->nexpert * (1 - pow(1 - (double)lm->nexpert_used / lm->nexpert, n)));
}

/* n rows of a sequence from position `start`, of which the last nout have logits, and whether they are an answer. */
static void add_rows(sg_step_cost *c, int start, int n, int nout, bool decode)
{
    double rows = n, keys = rows * start + rows * (rows + 1) / 2;
    c->tokens += n;
    c->decode_rows += nout;
    if (decode)
        c->decode_context += keys;
    else
        c->chunk_context += keys;
}

void sg_engine_cost_begin(sg_engine *e)
{
    e->cost = (sg_step_cost){0};
    for (int i = 0; i < e->nwork; i++) {
        const sg_work *w = &e->work[i];
        int gap = w->request->known - w->request->computed;
        add_rows(&e->cost, w->request->computed, w->ntoken + w->ndraft, w->ntoken == gap ? 1 + w->ndraft : 0, gap == 1);
    }
    e->cost.experts = experts(&e->lm, e->cost.tokens);
    e->plain_us = e->speculate ? sg_engine_plain_us(e) : 0;
    e->predicted_us = sg_latency_ready(&e->latency) ? sg_latency_predict_us(&e->latency, &e->cost) : 0;
}

void sg_engine_cost_end(sg_engine *e, int64_t us)
{
    sg_latency_observe(&e->latency, &e->cost, (double)us);
    double p90 = e->nstep % 16 == 0 ? sg_latency_error_p90(&e->latency) : -1;
    pthread_mutex_lock(&e->stats_lock);
    if (e->predicted_us > 0) {
        e->stats.step_predicted_us += e->predicted_us;
        e->stats.step_measured_us += (double)us;
    }
    if (p90 >= 0)
        e->stats.step_error_p90 = p90;
    pthread_mutex_unlock(&e->stats_lock);
}

double sg_engine_plain_us(const sg_engine *e)
{
    sg_step_cost c = {0};
    for (int i = 0; i < e->nwork; i++) {
        const sg_request *r = e->work[i].request;
        if (r->known - r->computed != 1 || e->work[i].ntoken != 1)
            return 0;
        add_rows(&c, r->computed, 1, 1, true);
    }
    c.experts = experts(&e->lm, c.tokens);
    return c.tokens && sg_latency_ready(&e->latency) ? sg_latency_predict_us(&e->latency, &c) : 0;
}

/* ---- probing ---- */

enum { PROBE_US = 200000, PROBE_SEQ = 4, PROBE_LEN = 512 };

/* A step of n rows of each of nseq sequences; its time in microseconds, 0 when it failed. */
static int64_t probe_step(sg_engine *e, sg_kv_seq **seq, int nseq, int n, sg_step_cost *c)
{
    int nrow = 0;
    *c = (sg_step_cost){0};
    for (int s = 0; s < nseq; s++) {
        int start = seq[s]->len;
        if (sg_kv_seq_extend(seq[s], n, NULL) != SG_OK)
            return 0;
        for (int i = 0; i < n; i++, nrow++) {
            e->row_token[nrow] = nrow % e->lm.nvocab;
            e->row_seq[nrow] = s;
            e->row_pos[nrow] = start + i;
        }
        e->seqs[s] = seq[s];
        e->extent[s] = PROBE_LEN;
        e->logit_row[s] = nrow - 1;
        add_rows(c, start, n, 1, n == 1);
    }
    c->experts = experts(&e->lm, nrow);
    sg_batch b = {.nrow = nrow, .id = e->row_token, .pos = e->row_pos, .seq = e->row_seq, .nseq = nseq, .seqs = e->seqs,
                  .extent = e->extent, .nout = nseq, .out = e->logit_row, .logits = e->logits, .drawn = true};
    int64_t start = sg_clock_us();
    if (e->lm.step(e->lm.self, &b, NULL) != SG_OK)
        return 0;
    int64_t us = sg_clock_us() - start;
    return us > 0 ? us : 1;
}

void sg_engine_probe(sg_engine *e)
{
    static const struct {
        int nseq, n;
    } shapes[] = {{1, 1}, {1, 1}, {1, 1}, {4, 1}, {4, 1}, {1, 8}, {1, 16}, {1, 1}, {1, 4}, {4, 1}, {1, 32}, {1, 64}, {1, 16}, {1, 128}};
    sg_kv_seq *seq[PROBE_SEQ] = {0};
    bool ok = e->lm.ctx >= PROBE_LEN;
    int most = e->max_running < PROBE_SEQ ? e->max_running : PROBE_SEQ;
    for (int i = 0; i < most && ok; i++)
        ok = sg_kv_seq_new(&seq[i], e->lm.pool, PROBE_LEN, NULL) == SG_OK;
    int64_t begin = sg_clock_us(), us = 1;
    double row_us = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0] && ok && us; i++) {
        sg_step_cost c;
        int nseq = shapes[i].nseq < most ? shapes[i].nseq : most, rows = nseq * shapes[i].n;
        if (rows > e->lm.max_rows || (double)(sg_clock_us() - begin) + row_us * rows > PROBE_US)
            continue;
        us = probe_step(e, seq, nseq, shapes[i].n, &c);
        if (us && i) /* the first one touches everything for the first time */
            sg_latency_observe(&e->latency, &c, (double)us);
        row_us = (double)us / rows;
    }
    for (int i = 0; i < PROBE_SEQ; i++)
        sg_kv_seq_free(seq[i]);
}
