/* engine/admit.c - the lists of the step loop: how requests come in, run, are thrown out and leave.
 *
 *     submit --> QUEUED --> WAITING <--> HELD            HELD: another request computes the same prefix
 *                              |
 *                           admission                    with what the prefix tree has
 *                              v
 *                  +------> PREFILL                      gap wider than the token sampled last
 *                  |           |
 *              admission       v
 *                  |        DECODE <--> PAUSED           PAUSED: the reader is behind
 *                  |           |          |
 *             PREEMPTED <------+----------+              its blocks were needed; from PREFILL too
 *
 *     every state but QUEUED --> ENDED                   finished, cancelled, failed, engine closed
 *
 * A cancel is a flag that anybody may set in any state; the loop looks at it once a turn, between two steps, and nowhere
 * else, so a step never loses a row half-way: who is cancelled in step k is gone before the plan of step k + 1, and what is
 * drawn in between still goes to the ring.  Whose last token is drawn in that step has ended by itself.  Whoever is
 * held for a request that ends so looks for what there is in the same turn.
 *
 * tests/test_engine_states.c cancels in each state; tests/test_engine_traces.c takes every arrow and no other one.
 *
 * Admission asks for the blocks that a request is expected to need, not for those of its longest possible answer:
 * most answers end early, and a pool that is reserved for what never comes stands empty.  When the guess was too
 * low and the pool runs out, first the prefix tree gives what nobody uses; then the running request of the least urgent
 * class that came last is preempted: what it has computed stays in the tree as long as there is room, it goes back to
 * the waiting list in its place by arrival, and is computed again when it fits.  Its reader sees a pause and the same
 * tokens.  Who came first in the most urgent class is never preempted, so the loop always gets on.
 *
 * A paused request is worth its memory only while nobody else needs it: when everything that runs is paused and
 * somebody waits, paused requests are preempted too, and not admitted again before their readers have read.
 *
 * The step loop's thread; the inbox alone is shared (engine.lock).  Nothing here allocates.
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

/* ---- states ---- */

#define TO(state) (1u << SG_REQUEST_##state)

static const unsigned allowed[SG_REQUEST_NSTATE] = {
    [SG_REQUEST_QUEUED] = TO(WAITING),
    [SG_REQUEST_WAITING] = TO(HELD) | TO(PREFILL) | TO(ENDED),
    [SG_REQUEST_HELD] = TO(WAITING) | TO(ENDED),
    [SG_REQUEST_PREFILL] = TO(DECODE) | TO(PREEMPTED) | TO(ENDED),
    [SG_REQUEST_DECODE] = TO(PAUSED) | TO(PREEMPTED) | TO(ENDED),
    [SG_REQUEST_PAUSED] = TO(DECODE) | TO(PREEMPTED) | TO(ENDED),
    [SG_REQUEST_PREEMPTED] = TO(PREFILL) | TO(ENDED),
    [SG_REQUEST_ENDED] = 0,
};

bool sg_request_may(sg_request_state from, sg_request_state to) { return allowed[from] & 1u << to; }

void sg_request_become(sg_engine *e, sg_request *r, sg_request_state state)
{
    if (r->state == state)
        return;
    SG_ASSERT(allowed[r->state] & 1u << state);
    e->transition[r->state][state]++;
    r->state = state;
}

/* ---- in ---- */

bool sg_engine_gather(sg_engine *e, bool idle)
{
    pthread_mutex_lock(&e->lock);
    while (idle && !e->inbox && !e->nudged && !e->errand && !e->closing)
        pthread_cond_wait(&e->wake, &e->lock);
    e->nudged = false;
    bool open = !e->closing;
    sg_request *r = e->inbox;
    e->inbox = NULL;
    e->inbox_end = &e->inbox;
    pthread_mutex_unlock(&e->lock);
    for (; r; r = r->next) {
        r->serial = ++e->serial;
        sg_request_expect_guesses(e, r);
        sg_request_become(e, r, SG_REQUEST_WAITING);
        e->waiting[e->nwaiting++] = r; /* nqueued and max_running bound it */
    }
    return open;
}

void sg_engine_run_errand(sg_engine *e)
{
    pthread_mutex_lock(&e->lock);
    sg_errand *errand = e->errand;
    e->errand = NULL;
    pthread_mutex_unlock(&e->lock);
    if (!errand)
        return;
    errand->run(e, errand->arg);
    pthread_mutex_lock(&e->lock);
    errand->done = true;
    pthread_cond_signal(&errand->came_back);
    pthread_mutex_unlock(&e->lock);
}

bool sg_engine_awaited(sg_engine *e)
{
    pthread_mutex_lock(&e->lock);
    bool any = e->inbox || e->nudged || e->errand || e->closing;
    pthread_mutex_unlock(&e->lock);
    return any;
}

/* `n` requests have left the queue for the first time. */
static void dequeued(sg_engine *e, int n)
{
    if (!n)
        return;
    pthread_mutex_lock(&e->lock);
    e->nqueued -= n;
    pthread_mutex_unlock(&e->lock);
}

/* ---- out ---- */

void sg_engine_finish(sg_engine *e, sg_request *r, sg_finish how, const sg_error *error)
{
    int64_t now = sg_clock_us();
    if (how != SG_FINISH_ERROR)
        sg_request_remember(e, r, true);
    if (how <= SG_FINISH_LENGTH)
        sg_expect_learn(&e->expect, r->tenant, r->limit - r->nprompt, r->known - r->nprompt);
    sg_kv_seq_free(r->seq); /* in the loop's thread, which owns the pool */
    sg_kv_seq_free(r->draft_seq);
    r->seq = r->draft_seq = NULL;
    e->epoch++;
    sg_request_become(e, r, SG_REQUEST_ENDED);
    pthread_mutex_lock(&e->stats_lock);
    e->stats.finished[how]++;
    sg_engine_observe(&e->stats.request_seconds, sg_seconds_bound, sg_seconds(now - r->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
    sg_request_end(r, how, error);
}

/* A finished request may be freed by its reader at once, so ending and leaving the list are one pass. */
static int sweep(sg_engine *e, sg_request **list, int *n, bool all)
{
    int kept = 0, fresh = 0;
    for (int i = 0; i < *n; i++)
        if (all || atomic_load_explicit(&list[i]->cancelled, memory_order_relaxed)) {
            fresh += !list[i]->admit_us;
            sg_engine_finish(e, list[i], SG_FINISH_CANCELLED, NULL);
        } else
            list[kept++] = list[i];
    *n = kept;
    return fresh;
}

void sg_engine_sweep(sg_engine *e, bool all)
{
    dequeued(e, sweep(e, e->waiting, &e->nwaiting, all));
    sweep(e, e->running, &e->nrunning, all);
}

/* ---- blocks ---- */

bool sg_engine_make_room(sg_engine *e, int need)
{
    int nfree = sg_kv_pool_nfree(e->lm.pool);
    if (need <= nfree)
        return true;
    if (need > nfree + sg_kv_pool_nidle(e->lm.pool))
        return false;
    int given = sg_prefix_evict(e->prefix, need - nfree);
    pthread_mutex_lock(&e->stats_lock);
    e->stats.prefix_evicted += (uint64_t)given;
    pthread_mutex_unlock(&e->stats_lock);
    return sg_kv_pool_nfree(e->lm.pool) >= need;
}

bool sg_request_before(const sg_request *a, const sg_request *b)
{
    return a->priority != b->priority ? a->priority < b->priority : a->serial < b->serial;
}

/* Back into the waiting list: among those that were thrown out, which stand first, by arrival. */
static void put_back(sg_engine *e, sg_request *r)
{
    int at = 0;
    while (at < e->nwaiting && e->waiting[at]->state == SG_REQUEST_PREEMPTED && e->waiting[at]->serial < r->serial)
        at++;
    memmove(e->waiting + at + 1, e->waiting + at, (size_t)(e->nwaiting - at) * sizeof *e->waiting);
    e->waiting[at] = r;
    e->nwaiting++;
}

static void preempt(sg_engine *e, int at)
{
    sg_request *r = e->running[at];
    memmove(e->running + at, e->running + at + 1, (size_t)(--e->nrunning - at) * sizeof *e->running);
    sg_request_remember(e, r, true);
    sg_kv_seq_truncate(r->seq, 0);
    if (r->draft_seq)
        sg_kv_seq_truncate(r->draft_seq, 0);
    r->computed = 0;
    r->looked_version = UINT64_MAX;
    if (r->npreempt < UINT16_MAX)
        r->npreempt++;
    e->epoch++;
    sg_request_become(e, r, SG_REQUEST_PREEMPTED);
    put_back(e, r);
    pthread_mutex_lock(&e->stats_lock);
    e->stats.preemptions++;
    pthread_mutex_unlock(&e->stats_lock);
}

sg_request *sg_engine_preempt(sg_engine *e, const sg_request *keep)
{
    int victim = -1;
    for (int i = 0; i < e->nrunning; i++)
        if (e->running[i] != keep && (victim < 0 || sg_request_before(e->running[victim], e->running[i])))
            victim = i;
    if (victim < 0)
        return NULL;
    sg_request *r = e->running[victim];
    preempt(e, victim);
    return r;
}

/* ---- what the scheduler sees ---- */

int sg_request_expected(const sg_engine *e, const sg_request *r)
{
    return r->nprompt + sg_expect_length(&e->expect, r->tenant, r->limit - r->nprompt, r->known - r->nprompt);
}

/* Blocks of a running request that others can have once it is thrown out: those that no other one holds. */
static int own_blocks(const sg_engine *e, const sg_request *r)
{
    int n = 0;
    for (int i = 0; i < r->seq->nblock; i++)
        n += sg_kv_pool_users(e->lm.pool, r->seq->table[i]) == 1;
    return n;
}

static sg_gap gap_of(const sg_engine *e, const sg_request *r)
{
    int full = r->seq->len / sg_kv_pool_block(e->lm.pool);
    bool copy = full < r->seq->nblock && sg_kv_pool_refs(e->lm.pool, r->seq->table[full]) > 1;
    return (sg_gap){.known = r->known, .computed = r->computed, .prompt = r->nprompt, .limit = r->limit,
                    .expect = sg_request_expected(e, r), .draft = r->ndraft, .accept = r->accept, .held_block = r->seq->nblock,
                    .own_block = own_blocks(e, r), .copy_block = copy, .arrival_us = r->submit_us,
                    .last_us = r->first_us ? r->last_us : r->submit_us, .deadline_us = INT64_MAX, .tenant = r->tenant,
                    .npreempt = r->npreempt, .priority = r->priority, .paused = r->state == SG_REQUEST_PAUSED};
}

static int64_t had(const sg_engine *e) { return sg_kv_pool_nfree(e->lm.pool) + sg_kv_pool_nidle(e->lm.pool); }

/* Its partly filled last block is shared and there is no block for a copy: when only the tree shares it, the tree lets go.  Else
 * a request that has the pool to itself could neither write on nor free anything. */
static void own_tail(sg_engine *e, const sg_request *r)
{
    int full = r->seq->len / sg_kv_pool_block(e->lm.pool);
    if (!e->prefix || had(e) > 0 || full >= r->seq->nblock)
        return;
    int32_t last = r->seq->table[full];
    if (sg_kv_pool_refs(e->lm.pool, last) > 1 && sg_kv_pool_users(e->lm.pool, last) == 1)
        sg_prefix_forget(e->prefix, last);
}

/* Running requests; true when all of them are paused. */
static bool show_running(sg_engine *e)
{
    bool all_paused = true;
    for (int i = 0; i < e->nrunning; i++) {
        sg_request *r = e->running[i];
        int room = sg_request_room(r);
        if (r->state == SG_REQUEST_PREFILL && r->known - r->computed == 1 && r->known > r->nprompt)
            sg_request_become(e, r, SG_REQUEST_DECODE);
        if (r->state != SG_REQUEST_PREFILL) /* in prefill it adds nothing to the ring, which had room at admission */
            sg_request_become(e, r, room > 0 ? SG_REQUEST_DECODE : SG_REQUEST_PAUSED);
        all_paused &= room <= 0;
        r->ndraft = 0;
    }
    bool guess = e->speculate && sg_engine_may_guess(e);
    for (int i = 0; i < e->nrunning && guess; i++)
        if (e->running[i]->state == SG_REQUEST_DECODE)
            sg_request_guess(e, e->running[i], sg_request_room(e->running[i]));
    if (e->draft && guess)
        sg_engine_guess(e);
    for (int i = 0; i < e->nrunning; i++) {
        own_tail(e, e->running[i]);
        e->gap_running[i] = gap_of(e, e->running[i]);
    }
    return all_paused;
}

/* Waiting requests that may be admitted: not who is held, nor who was thrown out and could not go on.  While there is no
 * place for another one, the first of them says that somebody waits; looking at hundreds would take longer than the plan. */
static void show_waiting(sg_engine *e)
{
    int most = e->nrunning < e->max_running ? e->nshow_max : 1;
    e->nshown = 0;
    for (int i = 0; i < e->nwaiting && e->nshown < most; i++) {
        sg_request *r = e->waiting[i];
        if (r->state == SG_REQUEST_PREEMPTED && sg_request_room(r) <= 0)
            continue;
        if (r->state != SG_REQUEST_PREEMPTED) {
            bool hold = sg_request_hold(e, r);
            sg_request_become(e, r, hold ? SG_REQUEST_HELD : SG_REQUEST_WAITING);
            if (hold)
                continue;
        }
        sg_gap *g = &e->gap_waiting[e->nshown];
        *g = gap_of(e, r);
        g->cached = sg_request_look(e, r);
        g->held_block = r->looked_busy;
        e->shown[e->nshown++] = r;
    }
}

void sg_engine_snapshot(sg_engine *e, sg_snapshot *s)
{
    bool all_paused = show_running(e);
    show_waiting(e);
    if (all_paused && e->nrunning && e->nshown) { /* somebody has to make place; the policy looks at nobody who is paused */
        const sg_request *first = e->shown[0];
        if (e->nrunning == e->max_running || had(e) < sg_kv_blocks_for(sg_request_expected(e, first), sg_kv_pool_block(e->lm.pool)) + 1 ||
            had(e) < sg_kv_pool_nblock(e->lm.pool) / 8) {
            sg_engine_preempt(e, NULL);
            show_running(e);
        }
    }
    *s = (sg_snapshot){.nstep = e->nstep++, .now_us = sg_clock_us(), .running = e->gap_running, .nrunning = e->nrunning,
                       .waiting = e->gap_waiting, .nwaiting = e->nshown, .free_block = had(e),
                       .nblock = sg_kv_pool_nblock(e->lm.pool), .block = sg_kv_pool_block(e->lm.pool),
                       .free_slot = e->max_running - e->nrunning,
                       .latency = sg_latency_ready(&e->latency) ? &e->latency : NULL, .nexpert = e->lm.nexpert,
                       .nexpert_used = e->lm.nexpert_used};
}

/* ---- admission ---- */

static void throw_out(sg_engine *e, const sg_plan *plan)
{
    for (int i = 0; i < plan->nvictim; i++)
        e->running[plan->victim[i]]->gone = true;
    for (int i = e->nrunning - 1; i >= 0 && plan->nvictim; i--)
        if (e->running[i]->gone) {
            e->running[i]->gone = false;
            preempt(e, i);
        }
}

void sg_engine_admit(sg_engine *e, const sg_plan *plan)
{
    int64_t now = sg_clock_us();
    int fresh = 0, kept = 0;
    throw_out(e, plan);
    for (int i = 0; i < plan->nadmit; i++) {
        sg_request *r = e->shown[plan->admit[i]];
        sg_request_share(e, r);
        sg_request_become(e, r, SG_REQUEST_PREFILL);
        r->gone = true; /* from the waiting list */
        e->running[e->nrunning++] = r;
        if (r->admit_us)
            continue;
        r->admit_us = now;
        fresh++;
        pthread_mutex_lock(&e->stats_lock);
        sg_engine_observe(&e->stats.queue_seconds, sg_seconds_bound, sg_seconds(now - r->submit_us));
        pthread_mutex_unlock(&e->stats_lock);
    }
    for (int i = 0; i < e->nwaiting && plan->nadmit; i++) {
        if (!e->waiting[i]->gone)
            e->waiting[kept++] = e->waiting[i];
        e->waiting[i]->gone = false;
    }
    if (plan->nadmit)
        e->nwaiting = kept;
    dequeued(e, fresh);
}
