/* sched/policy_slo.c - ours: a bound on the time between tokens, kept by prediction.
 *
 * The step is filled until the step-time model (latency.h) says that it would last as long as the most urgent stream
 * can wait; there is no budget to choose.
 *
 *     1 room      decodes need KV blocks: without, the worst request is thrown out (make room)
 *     2 decodes   all streams, most urgent first; batch-class streams may miss a step that is full
 *     3 drafts    while no prompt waits: guesses are verified while one more row brings more tokens a second than the
 *                 step has anyway
 *     4 prompts   running and waiting ones in one order, in chunks of what the bound leaves
 *                 ... and when no stream decodes, as much as one step may hold
 *
 * The bound.  A stream is due tbt_us after its last token (four times that in the batch class), or at its own
 * deadline.  Where tbt_us is 0, it is 100 ms or 3.8 decode steps, whichever is more: what people do not notice, or
 * what keeps a prompt from slowing down to nothing on a machine whose decode step alone is slow.  A bound that
 * decodes alone nearly fill is widened to half more than they need, and a prompt that is late gets sixteen rows whatever
 * the bound says: prompts always have a third of the step, or a noisy machine would stop them for nothing.
 *
 * The order of prompts is one number for each, a time:
 *
 *     key = arrival + what its class may wait + twice the time that its remaining tokens will take
 *
 * (deadline_us in place of the first two when the request has one).  The last term lets short prompts pass long ones
 * (Niyama's hybrid of deadline and work, ASPLOS'26); the first makes the key of a newcomer ever later, so a request
 * is passed only by what arrives within a bounded time behind it: nothing starves, in no class.  A request that was
 * thrown out while it answered goes by its arrival alone: somebody is reading.
 *
 * Admission goes through the same order.  It wants blocks for the expected length, and, when tbt_us is given, that
 * the streams together still decode within six tenths of it: beyond that, waiting in the queue is the lesser
 * evil.  A request that does not fit is passed by smaller ones until its key is in the past; then everybody waits
 * for it.
 *
 * Throwing out picks the lower class, then who is beyond the length that was expected (the tenant who over-ran pays),
 * then the tenant that was hurt less often, then who arrived last.
 *
 * Rejected: priorities as strict levels (batch starves), shortest prompt first (long ones starve under load), a budget
 * from a table by machine (wrong under another load, model or context).
 */
#include "sched/pass.h"

#include <math.h>

enum { TBT_LEAST_US = 100000, BATCH_FACTOR = 4, DRAFTS_MAX = 64, DRAFT_BLIND_ROWS = 8, LATE_ROWS = 16 };
static const double tbt_steps = 3.8, floor_steps = 1.5, admit_share = 0.6, safety_max = 1.5, short_first = 2;
/* Share of what a stream can still wait that a step aims at: the model's safety factor covers nine steps in ten, a bound
 * on the 99th percentile wants more. */
static const double aim = 0.91;
/* What a prompt of each class may wait before it is late. */
static const int64_t class_wait_us[SG_NPRIORITY] = {500000, 2000000, 30000000};

static int class_of(const sg_gap *g) { return g->priority < SG_NPRIORITY ? g->priority : SG_PRIORITY_BATCH; }

static bool beyond(const sg_gap *g) { return g->expect > 0 && g->known > g->expect; }

static bool worse(const sg_snapshot *s, const sg_gap *a, const sg_gap *b)
{
    (void)s;
    if (class_of(a) != class_of(b))
        return class_of(a) > class_of(b);
    if (beyond(a) != beyond(b))
        return beyond(a);
    if (a->npreempt != b->npreempt)
        return a->npreempt < b->npreempt;
    return a->arrival_us > b->arrival_us;
}

static double safety(const sg_pass *w) { return sg_pass_predicts(w) ? fmin(sg_latency_safety(w->s->latency, &w->cost), safety_max) : 1; }

/* When the next token of a stream is due. */
static int64_t due(const sg_gap *g, int64_t tbt)
{
    return g->deadline_us != INT64_MAX ? g->deadline_us : g->last_us + (class_of(g) == SG_PRIORITY_BATCH ? tbt * BATCH_FACTOR : tbt);
}

/* ---- decodes ---- */

/* Decodes into order[0..n), most urgent first when they may not all fit. */
static int list_decodes(sg_pass *w, int64_t tbt)
{
    sg_plan *p = w->p;
    int n = 0;
    for (int i = 0; i < w->s->nrunning; i++) {
        const sg_gap *g = &w->s->running[i];
        if (g->paused || sg_gap_left(g) != 1 || sg_pass_is_victim(w, i))
            continue;
        p->key[n] = due(g, tbt);
        p->order[n++] = i;
    }
    if (n > 1)
        sg_pass_sort(w, n);
    return n;
}

/* The time between tokens that is wanted, given that the decodes alone take alone_us. */
static int64_t tbt_of(const sg_pass *w, double alone_us)
{
    double chosen = alone_us * tbt_steps;
    return w->o->tbt_us ? w->o->tbt_us : chosen > TBT_LEAST_US ? (int64_t)chosen : TBT_LEAST_US;
}

static void add_decode(sg_step_cost *c, const sg_gap *g)
{
    c->tokens++;
    c->decode_rows++;
    c->decode_context += g->known;
}

/* All decodes as they would cost, nothing planned. */
static double decodes_us(const sg_pass *w)
{
    sg_step_cost c = {0};
    for (int i = 0; i < w->s->nrunning && sg_pass_predicts(w); i++)
        if (!w->s->running[i].paused && sg_gap_left(&w->s->running[i]) == 1)
            add_decode(&c, &w->s->running[i]);
    return c.tokens ? sg_latency_predict_us(w->s->latency, &c) : 0;
}

/* Everybody who runs as if he decoded, which they soon will. */
static sg_step_cost all_decode(const sg_pass *w)
{
    sg_step_cost c = {0};
    for (int i = 0; i < w->s->nrunning; i++)
        if (!sg_pass_is_victim(w, i))
            add_decode(&c, &w->s->running[i]);
    return c;
}

/* Plan the decodes; returns how long the step may last, 0 when no stream waits for it. */
static double plan_decodes(sg_pass *w, int64_t tbt)
{
    int n = list_decodes(w, tbt), nstream = 0;
    double limit = 0;
    for (int k = 0; k < n; k++) {
        int i = w->p->order[k];
        const sg_gap *g = &w->s->running[i];
        double slack = (double)(w->p->key[k] - w->s->now_us);
        if (nstream && class_of(g) == SG_PRIORITY_BATCH && slack > 2 * limit && sg_pass_us(w) * safety(w) > limit)
            continue;
        if (!sg_pass_add(w, i, 1, 0) || !sg_gap_decodes(g))
            continue;
        limit = !nstream++ || slack < limit ? slack : limit;
    }
    if (!nstream)
        return 0;
    /* The chunk is sized with the model's whole safety factor: on a noisy machine that alone would leave prompts nothing. */
    double whole = sg_pass_predicts(w) ? sg_latency_safety(w->s->latency, &w->cost) : 1;
    double least = fmax(sg_pass_us(w) * whole * floor_steps, 1000);
    return fmax(limit * aim, least);
}

/* ---- drafts ---- */

/* Whether a prompt could use the rows: beside one the step is bound by arithmetic, a guess that may be wrong costs as
 * much as a token of the prompt, which never is, and the streams keep their bound anyway. */
static bool prompts_wait(const sg_pass *w)
{
    for (int i = 0; i < w->s->nrunning; i++) {
        const sg_gap *g = &w->s->running[i];
        if (!g->paused && !sg_gap_decodes(g) && sg_gap_left(g) > 0)
            return true;
    }
    for (int i = 0; i < w->s->nwaiting && w->s->free_slot > 0; i++)
        if (!w->s->waiting[i].paused)
            return true;
    return false;
}

/* Rows for guesses, the likeliest first, while they raise tokens a second.  Without a model of step times, a few. */
static void plan_drafts(sg_pass *w, double limit)
{
    sg_plan *p = w->p;
    if (prompts_wait(w))
        return;
    bool known = sg_pass_predicts(w);
    double expected = p->npart, us = sg_pass_us(w);
    for (int k = 0; k < DRAFTS_MAX; k++) {
        int at = -1;
        double most = 0.02;
        for (int i = 0; i < p->npart; i++) {
            const sg_gap *g = sg_pass_gap(w, p->part[i].index);
            double gain = p->part[i].ndraft < g->draft ? pow((double)g->accept, p->part[i].ndraft + 1) : 0;
            if (gain > most)
                at = i, most = gain;
        }
        if (at < 0 || p->ntoken >= w->o->step_tokens_max || (!known && p->ntoken >= DRAFT_BLIND_ROWS))
            return;
        if (!sg_pass_grow(w, at))
            return;
        double then = sg_pass_us(w);
        if (known && ((expected + most) * us <= expected * then || (limit > 0 && then * safety(w) > limit))) {
            sg_pass_shrink(w, at);
            return;
        }
        expected += most;
        us = then;
    }
}

/* ---- prompts ---- */

/* Time of one prompt token in a large step. */
static double row_us(const sg_pass *w)
{
    enum { MANY = 256 };
    if (!sg_pass_predicts(w))
        return 1000;
    sg_step_cost c = {.tokens = MANY, .decode_rows = 1};
    return sg_latency_predict_us(w->s->latency, &c) / MANY;
}

static int64_t key_of(const sg_gap *g, double row)
{
    if (g->known > g->prompt)
        return g->arrival_us;
    int64_t late = g->deadline_us != INT64_MAX ? g->deadline_us : g->arrival_us + class_wait_us[class_of(g)];
    return late + (int64_t)(short_first * row * sg_gap_left(g));
}

/* Running prompts and waiting requests (numbered behind the running ones) into order[0..n). */
static int list_prompts(sg_pass *w)
{
    sg_plan *p = w->p;
    double row = row_us(w);
    int n = 0;
    for (int i = 0; i < w->s->nrunning + w->s->nwaiting && n < p->norder; i++) {
        const sg_gap *g = i < w->s->nrunning ? &w->s->running[i] : &w->s->waiting[i - w->s->nrunning];
        if (g->paused || (i < w->s->nrunning && (sg_gap_left(g) <= 1 || sg_pass_is_victim(w, i))))
            continue;
        p->key[n] = key_of(g, row);
        p->order[n++] = i;
    }
    sg_pass_sort(w, n);
    return n;
}

/* Whether one stream more still lets all of them decode in time. */
static bool decodes_in_time(const sg_pass *w, sg_step_cost all, const sg_gap *g)
{
    if (!w->o->tbt_us || !sg_pass_predicts(w) || !w->s->nrunning)
        return true;
    add_decode(&all, g);
    for (int k = 0; k < w->p->nadmit; k++)
        add_decode(&all, &w->s->waiting[w->p->admit[k]]);
    return sg_latency_predict_us(w->s->latency, &all) * safety(w) <= (double)w->o->tbt_us * admit_share;
}

static void plan_prompts(sg_pass *w, double limit)
{
    int n = list_prompts(w), budget = w->o->step_tokens_max;
    if (limit > 0 && !sg_pass_predicts(w) && w->o->step_tokens < budget)
        budget = w->o->step_tokens > w->p->ntoken ? w->o->step_tokens : w->p->ntoken + 1;
    if (limit <= 0)
        limit = (double)w->o->step_us_max;
    sg_pass_promise(w, SG_PROMISE_EXPECT);
    sg_step_cost all = all_decode(w);
    bool closed = false;
    for (int k = 0; k < n && w->p->ntoken < budget; k++) {
        int at = w->p->order[k];
        if (at >= w->s->nrunning) {
            const sg_gap *g = &w->s->waiting[at - w->s->nrunning];
            int place = closed || !decodes_in_time(w, all, g) ? -1 : sg_pass_admit(w, SG_PROMISE_EXPECT, at - w->s->nrunning);
            closed = closed || (place < 0 && w->p->key[k] < w->s->now_us);
            if ((at = place) < 0)
                continue;
        }
        int left = sg_gap_left(sg_pass_gap(w, at)), got = sg_pass_chunk(w, at, budget, limit);
        if (got == left)
            continue;
        if (!got && limit > 0 && w->p->key[k] < w->s->now_us) /* late, and no time is left: it moves on all the same */
            sg_pass_add(w, at, left < LATE_ROWS ? left : LATE_ROWS, 0);
        return; /* time, rows or blocks are used up */
    }
}

void sg_plan_slo(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    sg_pass_make_room(&w, worse);
    double limit = plan_decodes(&w, tbt_of(&w, decodes_us(&w)));
    plan_drafts(&w, limit);
    plan_prompts(&w, limit);
    sg_pass_unstick(&w, worse);
    p->predicted_us = sg_pass_us(&w);
    p->budget = p->ntoken;
}
