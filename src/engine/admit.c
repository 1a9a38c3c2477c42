/* engine/admit.c - the lists of the step loop: how requests come in, are admitted, and leave.
 *
 *     inbox --gather--> waiting --admit--> running --finish--> ended
 *
 * The step loop's thread; the inbox alone is shared (engine.lock).  Nothing here allocates.
 */
#include "engine/internal.h"

#include "base/clock.h"

#include <string.h>

/* Move the inbox to the waiting list; wait for something when `idle`.  False when the engine closes. */
bool sg_engine_gather(sg_engine *e, bool idle)
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

void sg_engine_finish(sg_engine *e, sg_request *r, sg_finish how, const sg_error *error)
{
    int64_t now = sg_clock_us();
    sg_kv_seq_free(r->seq); /* in the loop's thread, which owns the pool */
    r->seq = NULL;
    if (r->state == SG_REQUEST_RUNNING)
        e->reserved_block -= r->need_block;
    pthread_mutex_lock(&e->stats_lock);
    e->stats.finished[how]++;
    sg_engine_observe(&e->stats.request_seconds, sg_seconds_bound, sg_seconds(now - r->submit_us));
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

void sg_engine_sweep_waiting(sg_engine *e, bool all)
{
    int kept = 0, n = e->nwaiting;
    for (int i = 0; i < n; i++)
        if (all || atomic_load_explicit(&e->waiting[i]->cancelled, memory_order_relaxed))
            sg_engine_finish(e, e->waiting[i], SG_FINISH_CANCELLED, NULL);
        else
            e->waiting[kept++] = e->waiting[i];
    e->nwaiting = kept;
    dequeued(e, n - kept);
}

/* A finished request may be freed by its reader at once, so ending and leaving the list are one pass. */
void sg_engine_sweep_running(sg_engine *e, bool all)
{
    int kept = 0;
    for (int i = 0; i < e->nrunning; i++)
        if (all || atomic_load_explicit(&e->running[i]->cancelled, memory_order_relaxed))
            sg_engine_finish(e, e->running[i], SG_FINISH_CANCELLED, NULL);
        else
            e->running[kept++] = e->running[i];
    e->nrunning = kept;
}

sg_gap sg_request_gap(sg_request *r, bool paused)
{
    int held = r->seq->nblock;
    return (sg_gap){.known = r->known, .computed = r->computed, .prompt = r->nprompt, .limit = r->limit, .held_block = held,
                    .own_block = held, .arrival_us = r->submit_us, .last_us = r->first_us ? r->last_us : r->submit_us,
                    .deadline_us = INT64_MAX, .tenant = r->tenant, .priority = SG_PRIORITY_NORMAL, .paused = paused};
}

/* What the plan admits becomes running, in its order. */
void sg_engine_admit(sg_engine *e, const sg_plan *plan)
{
    int64_t now = sg_clock_us();
    int n = plan->nadmit, kept = 0;
    for (int i = 0; i < n; i++) {
        sg_request *r = e->waiting[plan->admit[i]];
        e->reserved_block += r->need_block;
        r->state = SG_REQUEST_RUNNING;
        r->admit_us = now;
        e->running[e->nrunning++] = r;
    }
    for (int i = 0; n && i < e->nwaiting; i++)
        if (e->waiting[i]->state == SG_REQUEST_WAITING)
            e->waiting[kept++] = e->waiting[i];
    e->nwaiting -= n;
    dequeued(e, n);
    pthread_mutex_lock(&e->stats_lock);
    for (int i = e->nrunning - n; i < e->nrunning; i++)
        sg_engine_observe(&e->stats.queue_seconds, sg_seconds_bound, sg_seconds(now - e->running[i]->submit_us));
    pthread_mutex_unlock(&e->stats_lock);
}
