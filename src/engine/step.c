/* engine/step.c - the step loop: one thread, one step after another.
 *
 *     gather     take what was submitted; sleep when there is nothing to do          admit.c
 *     sweep      end what was cancelled, give its KV blocks back                     admit.c
 *     plan       snapshot of all gaps -> sched -> admissions and parts of the step
 *     fit        blocks for all parts: evict, preempt                                admit.c
 *     table      parts -> one row per token: id, sequence, position
 *     step       the model computes all rows
 *     absorb     gaps close; a closed gap's next token is drawn and goes to the
 *                reader's ring; what was computed goes to the prefix tree           draw.c, absorb.c, reuse.c
 *
 * A step mixes tokens of prompts and of answers of any number of requests; rows do not see each other
 * outside their own sequence, and sampling depends on (seed, position) only, so a request's answer is
 * the same bits alone and in company.  Nothing here allocates: a request brought its memory with it
 * and the engine's arrays have their largest size from the start.  The one exception is a request with a grammar, whose
 * matcher grows as it reads (constrain.c).
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

/* A step cannot be left half-way, so its length is how long a cancelled request goes on and a new one waits: about
 * step_us_max by the step-time model, but not fewer than ROWS_MIN rows, below which a row costs more.  While the model
 * is not ready, steps beside decodes that have a bound are short. */
static sg_sched_options step_options(const sg_engine *e)
{
    enum { ROWS_MIN = 64, BLIND_ROWS = 8 };
    sg_sched_options o = e->sched;
    sg_step_cost none = {0};
    bool ready = sg_latency_ready(&e->latency);
    int least = e->max_running > ROWS_MIN ? e->max_running : ROWS_MIN;
    int rows = ready ? sg_latency_budget(&e->latency, &none, 0, o.step_tokens_max, (double)o.step_us_max) : ROWS_MIN;
    if (rows < o.step_tokens_max)
        o.step_tokens_max = rows < least ? (least < o.step_tokens_max ? least : o.step_tokens_max) : rows;
    if (o.tbt_us && !ready && o.step_tokens > BLIND_ROWS)
        o.step_tokens = BLIND_ROWS;
    if (o.step_tokens > o.step_tokens_max)
        o.step_tokens = o.step_tokens_max;
    return o;
}

static void make_plan(sg_engine *e)
{
    sg_sched_options options = step_options(e);
    sg_snapshot s;
    sg_engine_snapshot(e, &s);
    sg_sched_plan(&options, &s, &e->plan);
}

/* Parts of the plan as requests, before victims leave the list that they are numbered by. */
static void take_parts(sg_engine *e, const sg_plan *plan)
{
    e->nwork = plan->npart;
    for (int i = 0; i < plan->npart; i++) {
        int at = plan->part[i].index;
        sg_request *r = at < e->nrunning ? e->running[at] : e->shown[plan->admit[at - e->nrunning]];
        e->work[i] = (sg_work){.request = r, .ntoken = plan->part[i].ntoken, .ndraft = plan->part[i].ndraft};
    }
}

/* The prefix tree may have had more of an admitted request than the plan knew; and guesses have so many rows of logits. */
static void trim_parts(sg_engine *e)
{
    int room = e->ndraft_max;
    for (int i = 0; i < e->nwork; i++) {
        sg_work *w = &e->work[i];
        int gap = w->request->known - w->request->computed;
        w->ntoken = w->ntoken < gap ? w->ntoken : gap;
        w->ndraft = w->ntoken < gap ? 0 : w->ndraft < room ? w->ndraft : room;
        w->ndraft = w->ndraft < w->request->ndraft ? w->ndraft : w->request->ndraft;
        room -= w->ndraft;
    }
}

static int blocks_wanted(const sg_engine *e)
{
    int n = 0;
    for (int i = 0; i < e->nwork; i++)
        n += sg_kv_seq_blocks_needed(e->work[i].request->seq, e->work[i].ntoken + e->work[i].ndraft);
    return n;
}

static void drop_work(sg_engine *e, const sg_request *r)
{
    int kept = 0;
    for (int i = 0; i < e->nwork; i++)
        if (e->work[i].request != r)
            e->work[kept++] = e->work[i];
    e->nwork = kept;
}

/* The last one that runs has the pool to itself, and its limit fits; only the copy of a shared last block can be one too
 * many, so it goes back to the border of that block. */
static void fit_alone(sg_engine *e)
{
    sg_work *w = &e->work[0];
    int border = w->request->computed - w->request->computed % sg_kv_pool_block(e->lm.pool);
    sg_kv_seq_truncate(w->request->seq, border);
    w->request->computed = border;
    w->ndraft = 0;
    while (w->ntoken > 1 && !sg_engine_make_room(e, blocks_wanted(e)))
        w->ntoken /= 2;
    SG_ASSERT(sg_engine_make_room(e, blocks_wanted(e)));
}

/* Blocks for all parts, if need be those of others. */
static void fit(sg_engine *e)
{
    while (e->nwork && !sg_engine_make_room(e, blocks_wanted(e))) {
        const sg_request *keep = e->work[0].request;
        for (int i = 1; i < e->nwork; i++)
            if (sg_request_before(e->work[i].request, keep))
                keep = e->work[i].request;
        const sg_request *gone = sg_engine_preempt(e, keep);
        if (gone)
            drop_work(e, gone);
        else
            fit_alone(e);
    }
}

/* The token table.  A part that closes its gap wants the logits of its last row, and those of the guesses behind it. */
static sg_status make_table(sg_engine *e, sg_batch *b, sg_error *err)
{
    int nrow = 0, nout = 0;
    for (int s = 0; s < e->nwork; s++) {
        sg_work *w = &e->work[s];
        sg_request *r = w->request;
        int n = w->ntoken + w->ndraft;
        SG_TRY(sg_kv_seq_extend(r->seq, n, err));
        for (int i = 0; i < n; i++, nrow++) {
            e->row_token[nrow] = i < w->ntoken ? r->token[r->computed + i] : r->draft[i - w->ntoken];
            e->row_seq[nrow] = s;
            e->row_pos[nrow] = r->computed + i;
        }
        e->seqs[s] = r->seq;
        e->extent[s] = r->limit;
        w->out = -1;
        if (r->computed + w->ntoken == r->known) {
            w->out = nout;
            for (int i = 0; i <= w->ndraft; i++)
                e->logit_row[nout++] = nrow - 1 - w->ndraft + i;
        }
    }
    *b = (sg_batch){.nrow = nrow, .id = e->row_token, .pos = e->row_pos, .seq = e->row_seq, .nseq = e->nwork, .seqs = e->seqs,
                    .extent = e->extent, .nout = nout, .out = e->logit_row, .logits = e->logits, .drawn = true};
    return SG_OK;
}

/* A failed step ends the requests that were in it, and no others. */
static void fail_work(sg_engine *e, const sg_error *error)
{
    for (int i = 0; i < e->nwork; i++)
        e->work[i].request->gone = true;
    int kept = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->gone)
            sg_engine_finish(e, e->running[i], SG_FINISH_ERROR, error);
        else
            e->running[kept++] = e->running[i];
    e->nrunning = kept;
}

static void step(sg_engine *e)
{
    sg_batch b = {0};
    sg_error error = {0};
    int64_t start = sg_clock_us();
    sg_engine_cost_begin(e);
    sg_status st = make_table(e, &b, &error);
    if (st == SG_OK)
        st = e->lm.step(e->lm.self, &b, &error);
    sg_engine_count_step(e, &b, sg_clock_us() - start);
    if (st == SG_OK) {
        uint64_t drawn = e->drawn;
        sg_engine_absorb(e);
        int64_t us = sg_clock_us() - start;
        sg_engine_weigh(e, (double)us, e->drawn - drawn);
        sg_engine_cost_end(e, us);
    } else
        fail_work(e, &error);
}

bool sg_engine_turn(sg_engine *e, bool *idle)
{
    sg_engine_warm(e, *idle);
    if (!sg_engine_gather(e, *idle))
        return false;
    sg_engine_run_errand(e);
    sg_engine_sweep(e, false);
    make_plan(e);
    take_parts(e, &e->plan);
    sg_engine_admit(e, &e->plan);
    trim_parts(e);
    fit(e);
    sg_engine_count_now(e);
    *idle = e->nwork == 0;
    if (!*idle)
        step(e);
    return true;
}

void *sg_engine_loop(void *arg)
{
    sg_engine *e = arg;
    bool idle = true;
    while (sg_engine_turn(e, &idle))
        ;
    return NULL;
}
