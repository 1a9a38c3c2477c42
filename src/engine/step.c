/* engine/step.c - the step loop: one thread, one step after another.
 *
 *     gather     take what was submitted; sleep when there is nothing to do
 *     sweep      end what was cancelled, give its KV blocks back
 *     plan       snapshot of all gaps -> sched -> parts of the step
 *     table      parts -> one row per token: id, sequence, position
 *     step       the model computes all rows
 *     absorb     gaps close; a closed gap samples its next token, which goes to the reader's ring
 *
 * A step mixes tokens of prompts and of answers of any number of requests; rows do not see each other
 * outside their own sequence, and sampling depends on (seed, position) only, so a request's answer is
 * the same bits alone and in company.  Nothing here allocates: a request brought its memory with it
 * and the engine's arrays have their largest size from the start.
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

/* A step cannot be left half-way, so its length is how long a cancelled request goes on and a new one waits: at most about
 * STEP_US, by the measured time of a row, but not fewer than ROWS_MIN rows, below which a row costs more.  With a
 * bound on the time between tokens, steps beside decodes keep to it. */
static sg_sched_options step_options(const sg_engine *e)
{
    enum { STEP_US = 250000, ROWS_MIN = 64, BESIDE_MIN = 4 };
    sg_sched_options o = e->sched;
    double rows = e->row_us > 0 ? STEP_US / e->row_us : ROWS_MIN;
    int least = e->max_running > ROWS_MIN ? e->max_running : ROWS_MIN;
    if (rows < o.step_tokens_max)
        o.step_tokens_max = rows < least ? (least < o.step_tokens_max ? least : o.step_tokens_max) : (int)rows;
    if (e->slo_tbt_us && e->row_us > 0) {
        double beside = (double)e->slo_tbt_us / e->row_us;
        o.step_tokens = beside < BESIDE_MIN ? BESIDE_MIN : beside > o.step_tokens_max ? o.step_tokens_max : (int)beside;
    }
    return o;
}

static void make_plan(sg_engine *e)
{
    sg_sched_options options = step_options(e);
    for (int i = 0; i < e->nrunning; i++)
        e->gap_running[i] = sg_request_gap(e->running[i], !sg_request_has_room(e->running[i]));
    int nwaiting = e->nwaiting < e->max_running ? e->nwaiting : e->max_running;
    for (int i = 0; i < nwaiting; i++)
        e->gap_waiting[i] = sg_request_gap(e->waiting[i], false);
    sg_snapshot s = {.nstep = e->nstep++, .now_us = sg_clock_us(), .running = e->gap_running, .nrunning = e->nrunning,
                     .waiting = e->gap_waiting, .nwaiting = nwaiting, .free_block = sg_kv_pool_nfree(e->lm.pool),
                     .nblock = sg_kv_pool_nblock(e->lm.pool), .block = sg_kv_pool_block(e->lm.pool),
                     .free_slot = e->max_running - e->nrunning};
    sg_sched_plan(&options, &s, &e->plan);
}

/* The token table.  A part that closes its gap wants the logits of its last row. */
static sg_status make_table(sg_engine *e, const sg_plan *plan, sg_batch *b, sg_error *err)
{
    int nrow = 0, nlogit = 0;
    for (int s = 0; s < plan->npart; s++) {
        sg_request *r = e->running[plan->part[s].index];
        int n = plan->part[s].ntoken;
        SG_TRY(sg_kv_seq_extend(r->seq, n, err)); /* within what admission reserved */
        for (int i = 0; i < n; i++, nrow++) {
            e->row_token[nrow] = r->token[r->computed + i];
            e->row_seq[nrow] = s;
            e->row_pos[nrow] = r->computed + i;
        }
        e->seqs[s] = r->seq;
        e->extent[s] = r->limit;
        if (r->computed + n == r->known) {
            e->logit_request[nlogit] = r;
            e->logit_row[nlogit++] = nrow - 1;
        }
    }
    *b = (sg_batch){.nrow = nrow, .id = e->row_token, .pos = e->row_pos, .seq = e->row_seq, .nseq = plan->npart, .seqs = e->seqs,
                    .extent = e->extent, .nout = nlogit, .out = e->logit_row, .logits = e->logits};
    return SG_OK;
}

/* A failed step ends the requests that were in it, and no others. */
static void fail_parts(sg_engine *e, const sg_plan *plan, const sg_error *error)
{
    for (int s = 0; s < plan->npart; s++)
        e->running[plan->part[s].index]->gone = true;
    int kept = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->gone)
            sg_engine_finish(e, e->running[i], SG_FINISH_ERROR, error);
        else
            e->running[kept++] = e->running[i];
    e->nrunning = kept;
}

void *sg_engine_loop(void *arg)
{
    sg_engine *e = arg;
    bool idle = true;
    while (sg_engine_gather(e, idle)) {
        sg_engine_sweep_waiting(e, false);
        sg_engine_sweep_running(e, false);
        make_plan(e);
        const sg_plan *plan = &e->plan;
        sg_engine_admit(e, plan);
        sg_engine_count_now(e);
        idle = plan->npart == 0;
        if (idle)
            continue;
        sg_batch b;
        sg_error error = {0};
        int64_t start = sg_clock_us();
        sg_status st = make_table(e, plan, &b, &error);
        if (st == SG_OK)
            st = e->lm.step(e->lm.self, &b, &error);
        sg_engine_count_step(e, plan, sg_clock_us() - start);
        if (st == SG_OK)
            sg_engine_absorb(e, plan, &b);
        else
            fail_parts(e, plan, &error);
    }
    sg_engine_sweep_waiting(e, true);
    sg_engine_sweep_running(e, true);
    sg_engine_count_now(e);
    return NULL;
}
