/* engine/absorb.c - what a computed step means: gaps close, tokens are taken, things are counted.
 *
 * A request whose gap has closed takes its next token, which was drawn from the logits of its last row (draw.c).  It goes into the
 * reader's ring (request.c), which says whether a stop string ended it.  The step loop's thread; nothing here allocates but a
 * grammar's matcher (constrain.c).
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

void sg_engine_observe(sg_histogram *h, const double *bound, double value)
{
    int i = 0;
    while (i < SG_NBUCKET && value > bound[i])
        i++;
    h->count[i]++;
    h->sum += value;
}

static void count_token(sg_engine *e, sg_request *r, int64_t now)
{
    pthread_mutex_lock(&e->stats_lock);
    e->stats.generated_tokens++;
    if (r->first_us)
        sg_engine_observe(&e->stats.inter_token_seconds, sg_seconds_bound, sg_seconds(now - r->last_us));
    else
        sg_engine_observe(&e->stats.first_token_seconds, sg_seconds_bound, sg_seconds(now - r->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
    if (!r->first_us)
        r->first_us = now;
    r->last_us = now;
    r->usage.completion_tokens++;
}

/* The choice of row i of a part, which is not made yet when there is a grammar.  NULL when that fails. */
static const sg_choice *choice_of(sg_engine *e, const sg_work *w, int i, sg_error *error)
{
    const sg_request *r = w->request;
    const uint32_t *mask;
    if (i >= w->ndrawn) {
        if (sg_constraint_mask(r->constraint, &mask, error) != SG_OK)
            return NULL;
        sg_request_draw(e, r, w->out + i, r->known, mask, e->sampler[0]);
    }
    return &e->choice[w->out + i];
}

/* The next token of a request whose gap has closed, from row i of its part.  True when it goes on. */
static bool sample(sg_engine *e, const sg_work *w, int i, sg_finish *how, sg_error *error)
{
    sg_request *r = w->request;
    bool done;
    *how = SG_FINISH_ERROR;
    const sg_choice *c = choice_of(e, w, i, error);
    if (!c)
        return false;
    int64_t now = sg_clock_us();
    if (c->id < 0) {
        sg_fail(error, SG_E_INTERNAL, "no token is possible at position %d", r->known);
        return false;
    }
    if (!r->ignore_eos && e->lm.is_end(e->lm.self, c->id)) {
        if (!r->first_us)
            r->first_us = r->last_us = now;
        *how = SG_FINISH_STOP;
        return false;
    }
    r->token[r->known++] = c->id;
    e->drawn++;
    count_token(e, r, now);
    bool stopped = sg_request_push(r, c, e->piece);
    if (sg_constraint_take(r->constraint, c->id, &done, error) != SG_OK)
        return false;
    if (stopped || done) {
        *how = SG_FINISH_STOP;
        return false;
    }
    *how = SG_FINISH_LENGTH;
    return r->known < r->limit;
}

static void leave(sg_engine *e, const sg_request *r)
{
    for (int k = 0; k < e->nrunning; k++)
        if (e->running[k] == r) {
            memmove(e->running + k, e->running + k + 1, (size_t)(--e->nrunning - k) * sizeof *e->running);
            return;
        }
}

/* What was computed is there for others from now on. */
static void remember(sg_engine *e, sg_request *r, int before)
{
    int block = sg_kv_pool_block(e->lm.pool);
    bool tail = r->followed && before < r->nprompt && r->computed >= r->nprompt;
    if (tail || before / block != r->computed / block)
        sg_request_remember(e, r, tail);
}

/* Draw what follows a closed gap: one token, and one more for each guess that the draw before it confirms.  False when the
 * request has ended. */
static bool draw(sg_engine *e, const sg_work *w)
{
    sg_request *r = w->request;
    int right = 0;
    for (int i = 0;; i++) {
        sg_finish how;
        sg_error error;
        if (!sample(e, w, i, &how, &error)) {
            if (w->ndraft)
                sg_request_learn(e, r, w->ndraft, right);
            leave(e, r);
            sg_engine_finish(e, r, how, how == SG_FINISH_ERROR ? &error : NULL);
            return false;
        }
        if (i == w->ndraft || r->token[r->known - 1] != r->draft[i])
            break;
        r->computed++; /* the guess was computed as this token */
        right++;
    }
    if (w->ndraft)
        sg_request_learn(e, r, w->ndraft, right);
    sg_kv_seq_truncate(r->seq, r->computed);
    return true;
}

void sg_engine_absorb(sg_engine *e)
{
    sg_engine_draw(e);
    for (int s = 0; s < e->nwork; s++) {
        sg_request *r = e->work[s].request;
        int before = r->computed;
        r->computed += e->work[s].ntoken;
        if (e->work[s].out < 0 || draw(e, &e->work[s]))
            remember(e, r, before);
    }
}

void sg_engine_count_step(sg_engine *e, const sg_batch *b, int64_t us)
{
    int nprompt = 0, ndraft = 0;
    for (int s = 0; s < e->nwork; s++) {
        const sg_request *r = e->work[s].request;
        int left = r->nprompt - r->computed;
        ndraft += e->work[s].ndraft;
        if (left > 0)
            nprompt += left < e->work[s].ntoken ? left : e->work[s].ntoken;
    }
    pthread_mutex_lock(&e->stats_lock);
    e->stats.steps++;
    e->stats.prompt_tokens += (uint64_t)nprompt;
    sg_engine_observe(nprompt ? &e->stats.step_prefill_seconds : &e->stats.step_decode_seconds, sg_seconds_bound, sg_seconds(us));
    sg_engine_observe(&e->stats.step_tokens, sg_tokens_bound, b->nrow);
    pthread_mutex_unlock(&e->stats_lock);
    const sg_plan *plan = &e->plan;
    if (e->on_step)
        e->on_step(e->on_step_arg, &(sg_step_info){.start_us = sg_clock_us() - us, .us = (double)us, .predicted_us = e->predicted_us,
                                                   .prompt_tokens = nprompt, .decode_tokens = b->nrow - ndraft - nprompt,
                                                   .draft_tokens = ndraft, .running = e->nrunning, .waiting = e->nwaiting,
                                                   .preempted = plan->nvictim, .seen = e->nstep - 1});
}

void sg_engine_count_now(sg_engine *e)
{
    pthread_mutex_lock(&e->stats_lock);
    e->stats.nrunning = (uint64_t)e->nrunning;
    e->stats.nwaiting = (uint64_t)e->nwaiting;
    int nidle = sg_kv_pool_nidle(e->lm.pool);
    e->stats.kv_block_reserved = (uint64_t)(sg_kv_pool_nblock(e->lm.pool) - sg_kv_pool_nfree(e->lm.pool) - nidle);
    e->stats.prefix_block = e->prefix ? (uint64_t)sg_prefix_nblock(e->prefix) : 0;
    pthread_mutex_unlock(&e->stats_lock);
}
