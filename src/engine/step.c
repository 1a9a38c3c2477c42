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

static double seconds(int64_t us) { return (double)us * 1e-6; }

static void observe(sg_histogram *h, const double *bound, double value)
{
    int i = 0;
    while (i < SG_NBUCKET && value > bound[i])
        i++;
    h->count[i]++;
    h->sum += value;
}

/* Move the inbox to the waiting list; wait for something when `idle`.  False when the engine closes. */
static bool gather(sg_engine *e, bool idle)
{
    pthread_mutex_lock(&e->lock);
    while (idle && !e->inbox && !e->nudged && !e->closing)
        pthread_cond_wait(&e->wake, &e->lock);
    e->nudged = false;
    bool open = !e->closing;
    sg_request *r = e->inbox;
    e->inbox = NULL;
    e->inbox_end = &e->inbox;
    pthread_mutex_unlock(&e->lock);
    for (; r; r = r->next)
        e->waiting[e->nwaiting++] = r; /* nqueued bounds it */
    return open;
}

static void finish(sg_engine *e, sg_request *r, sg_finish how, const sg_error *error)
{
    int64_t now = sg_clock_us();
    sg_kv_seq_free(r->seq); /* in the loop's thread, which owns the pool */
    r->seq = NULL;
    if (r->state == SG_REQUEST_RUNNING)
        e->reserved_block -= r->need_block;
    pthread_mutex_lock(&e->stats_lock);
    e->stats.finished[how]++;
    observe(&e->stats.request_seconds, sg_seconds_bound, seconds(now - r->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
    sg_request_end(r, how, error);
}

/* `n` requests have left the waiting list. */
static void dequeued(sg_engine *e, int n)
{
    if (!n)
        return;
    pthread_mutex_lock(&e->lock);
    e->nqueued -= n;
    pthread_mutex_unlock(&e->lock);
}

static void sweep_waiting(sg_engine *e, bool all)
{
    int kept = 0, n = e->nwaiting;
    for (int i = 0; i < n; i++)
        if (all || atomic_load_explicit(&e->waiting[i]->cancelled, memory_order_relaxed))
            finish(e, e->waiting[i], SG_FINISH_CANCELLED, NULL);
        else
            e->waiting[kept++] = e->waiting[i];
    e->nwaiting = kept;
    dequeued(e, n - kept);
}

/* A finished request may be freed by its reader at once, so ending and leaving the list are one pass. */
static void sweep_running(sg_engine *e, bool all)
{
    int kept = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (all || atomic_load_explicit(&e->running[i]->cancelled, memory_order_relaxed))
            finish(e, e->running[i], SG_FINISH_CANCELLED, NULL);
        else
            e->running[kept++] = e->running[i];
    e->nrunning = kept;
}

static sg_gap gap_of(sg_request *r, bool paused)
{
    return (sg_gap){.known = r->known, .computed = r->computed,
                    .need_block = r->state == SG_REQUEST_WAITING ? r->need_block : 0, .arrival_us = r->submit_us,
                    .deadline_us = INT64_MAX, .tenant = r->tenant, .priority = SG_PRIORITY_NORMAL, .paused = paused};
}

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

static void make_plan(sg_engine *e, sg_plan *plan)
{
    sg_sched_options options = step_options(e);
    for (int i = 0; i < e->nrunning; i++)
        e->gap_running[i] = gap_of(e->running[i], !sg_request_has_room(e->running[i]));
    int nwaiting = e->nwaiting < e->max_running ? e->nwaiting : e->max_running;
    for (int i = 0; i < nwaiting; i++)
        e->gap_waiting[i] = gap_of(e->waiting[i], false);
    sg_snapshot s = {.now_us = sg_clock_us(), .running = e->gap_running, .nrunning = e->nrunning, .waiting = e->gap_waiting,
                     .nwaiting = nwaiting, .free_block = sg_kv_pool_nblock(e->lm.pool) - e->reserved_block,
                     .free_slot = e->max_running - e->nrunning};
    *plan = (sg_plan){.part = e->part, .cap = e->max_running};
    sg_sched_plan(e->policy, &s, &options, plan);
}

static void admit(sg_engine *e, int n)
{
    int64_t now = sg_clock_us();
    for (int i = 0; i < n; i++) {
        sg_request *r = e->waiting[i];
        e->reserved_block += r->need_block;
        r->state = SG_REQUEST_RUNNING;
        r->admit_us = now;
        e->running[e->nrunning++] = r;
    }
    memmove(e->waiting, e->waiting + n, (size_t)(e->nwaiting - n) * sizeof *e->waiting);
    e->nwaiting -= n;
    dequeued(e, n);
    pthread_mutex_lock(&e->stats_lock);
    for (int i = e->nrunning - n; i < e->nrunning; i++)
        observe(&e->stats.queue_seconds, sg_seconds_bound, seconds(now - e->running[i]->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
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

static void count_token(sg_engine *e, sg_request *r, int64_t now)
{
    pthread_mutex_lock(&e->stats_lock);
    e->stats.generated_tokens++;
    if (r->first_us)
        observe(&e->stats.inter_token_seconds, sg_seconds_bound, seconds(now - r->last_us));
    else
        observe(&e->stats.first_token_seconds, sg_seconds_bound, seconds(now - r->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
    if (!r->first_us)
        r->first_us = now;
    r->last_us = now;
    r->usage.completion_tokens++;
}

/* Draw the next token of a request whose gap has closed.  True when it goes on. */
static bool sample(sg_engine *e, sg_request *r, float *logits, sg_finish *how, sg_error *error)
{
    sg_choice c = {.want_logprob = r->ntop >= 0, .ntop = r->ntop > 0 ? (size_t)r->ntop : 0};
    sg_sampler_pick(e->sampler, &r->sampling, logits, r->token, (size_t)r->known, (uint64_t)r->known, NULL, &c);
    int64_t now = sg_clock_us();
    if (c.id < 0) {
        *how = SG_FINISH_ERROR;
        sg_fail(error, SG_E_INTERNAL, "no token is possible at position %d", r->known);
        return false;
    }
    if (!r->ignore_eos && e->lm.is_end(e->lm.self, c.id)) {
        if (!r->first_us)
            r->first_us = r->last_us = now;
        *how = SG_FINISH_STOP;
        return false;
    }
    r->token[r->known++] = c.id;
    count_token(e, r, now);
    if (sg_request_push(r, &c, e->piece)) {
        *how = SG_FINISH_STOP;
        return false;
    }
    *how = SG_FINISH_LENGTH;
    return r->known < r->limit;
}

static void absorb(sg_engine *e, const sg_plan *plan, const sg_batch *b)
{
    for (int s = 0; s < plan->npart; s++)
        e->running[plan->part[s].index]->computed += plan->part[s].ntoken;
    for (int i = 0; i < b->nout; i++) {
        sg_finish how;
        sg_error error;
        sg_request *r = e->logit_request[i];
        if (sample(e, r, e->logits + (size_t)i * (size_t)e->lm.nvocab, &how, &error))
            continue;
        for (int k = 0; k < e->nrunning; k++)
            if (e->running[k] == r) {
                memmove(e->running + k, e->running + k + 1, (size_t)(--e->nrunning - k) * sizeof *e->running);
                break;
            }
        finish(e, r, how, how == SG_FINISH_ERROR ? &error : NULL);
    }
}

/* A failed step ends the requests that were in it, and no others. */
static void fail_parts(sg_engine *e, const sg_plan *plan, const sg_error *error)
{
    for (int s = 0; s < plan->npart; s++)
        e->running[plan->part[s].index]->gone = true;
    int kept = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i]->gone)
            finish(e, e->running[i], SG_FINISH_ERROR, error);
        else
            e->running[kept++] = e->running[i];
    e->nrunning = kept;
}

static void count_step(sg_engine *e, const sg_plan *plan, int64_t us)
{
    int nprompt = 0;
    if (plan->ntoken >= 16) {
        double row_us = (double)us / plan->ntoken;
        e->row_us = e->row_us > 0 ? 0.75 * e->row_us + 0.25 * row_us : row_us;
    }
    for (int s = 0; s < plan->npart; s++) {
        const sg_request *r = e->running[plan->part[s].index];
        int left = r->nprompt - r->computed;
        if (left > 0)
            nprompt += left < plan->part[s].ntoken ? left : plan->part[s].ntoken;
    }
    pthread_mutex_lock(&e->stats_lock);
    e->stats.steps++;
    e->stats.prompt_tokens += (uint64_t)nprompt;
    observe(nprompt ? &e->stats.step_prefill_seconds : &e->stats.step_decode_seconds, sg_seconds_bound, seconds(us));
    observe(&e->stats.step_tokens, sg_tokens_bound, plan->ntoken);
    pthread_mutex_unlock(&e->stats_lock);
}

static void count_now(sg_engine *e)
{
    pthread_mutex_lock(&e->stats_lock);
    e->stats.nrunning = (uint64_t)e->nrunning;
    e->stats.nwaiting = (uint64_t)e->nwaiting;
    e->stats.kv_block_reserved = (uint64_t)e->reserved_block;
    pthread_mutex_unlock(&e->stats_lock);
}

void *sg_engine_loop(void *arg)
{
    sg_engine *e = arg;
    bool idle = true;
    while (gather(e, idle)) {
        sweep_waiting(e, false);
        sweep_running(e, false);
        sg_plan plan;
        make_plan(e, &plan);
        admit(e, plan.nadmit);
        count_now(e);
        idle = plan.npart == 0;
        if (idle)
            continue;
        sg_batch b;
        sg_error error = {0};
        int64_t start = sg_clock_us();
        sg_status st = make_table(e, &plan, &b, &error);
        if (st == SG_OK)
            st = e->lm.step(e->lm.self, &b, &error);
        count_step(e, &plan, sg_clock_us() - start);
        if (st == SG_OK)
            absorb(e, &plan, &b);
        else
            fail_parts(e, &plan, &error);
    }
    sweep_waiting(e, true);
    sweep_running(e, true);
    count_now(e);
    return NULL;
}
