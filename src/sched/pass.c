/* sched/pass.c - adding parts, admitting, throwing out: the pieces that all policies share.
 *
 * Blocks.  A step may take what is free now (sg_pass.block).  Admission looks further ahead, by one of three
 * promises:
 *
 *     LIFE     pool - sum over running of blocks(limit)                        nobody is ever thrown out
 *     PROMPT   free - blocks of prompts that are not yet computed - watermark    what vLLM and Sarathi do
 *     EXPECT   free - sum over running of blocks(expect) - held - watermark       ours
 *
 * Where running requests may not be thrown out (options->preempt is off), every promise is LIFE.  A request that has
 * passed its expected length is expected to go on for a quarter of what it has answered so far.  When
 * nobody runs, the watermark does not count, so that a request as large as the pool still gets in.
 *
 * Throwing out.  Decodes need a block every now and then; when there is none, the worst request (by the policy's
 * order) gives its own back, computes everything again later, and nobody is admitted in that step: the newcomer
 * would take the blocks at once.  The best one is never thrown out, and it fits the pool alone, so something always
 * moves forward.
 */
#include "sched/pass.h"

#include <math.h>

enum { WATERMARK_PART = 100 }; /* one block in a hundred stays free, Sarathi-Serve's constant */

static int blocks_for(int npos, int block) { return npos / block + (npos % block != 0); }

void sg_pass_begin(sg_pass *w, const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    *w = (sg_pass){.s = s, .o = o, .p = p, .block = s->free_block};
}

const sg_gap *sg_pass_gap(const sg_pass *w, int index)
{
    return index < w->s->nrunning ? &w->s->running[index] : &w->s->waiting[w->p->admit[index - w->s->nrunning]];
}

bool sg_pass_is_victim(const sg_pass *w, int index)
{
    for (int i = 0; i < w->p->nvictim; i++)
        if (w->p->victim[i] == index)
            return true;
    return false;
}

/* ---- parts ---- */

/* Blocks that computing n more tokens of g takes. */
static int need(const sg_pass *w, const sg_gap *g, int n)
{
    int more = blocks_for(sg_gap_start(g) + n, w->s->block) - g->held_block;
    return (more > 0 ? more : 0) + g->copy_block;
}

/* The most tokens of g that `block` blocks have room for. */
static int64_t room(const sg_pass *w, const sg_gap *g, int64_t block)
{
    return (g->held_block + block - g->copy_block) * w->s->block - sg_gap_start(g);
}

static void add_cost(sg_step_cost *c, const sg_gap *g, int n, int ndraft)
{
    double start = sg_gap_start(g), rows = n + ndraft;
    double keys = rows * start + rows * (rows + 1) / 2;
    c->tokens += n + ndraft;
    if (n == sg_gap_left(g))
        c->decode_rows += 1 + ndraft;
    if (sg_gap_left(g) == 1)
        c->decode_context += keys;
    else
        c->chunk_context += keys;
}

/* Distinct experts that n rows touch in a layer, if rows choose independently. */
static int experts(const sg_snapshot *s, int n)
{
    if (s->nexpert <= 0 || n <= 0)
        return 0;
    return (int)lround(s->nexpert * (1 - pow(1 - (double)s->nexpert_used / s->nexpert, n)));
}

sg_step_cost sg_plan_cost(const sg_snapshot *s, const sg_plan *plan)
{
    sg_step_cost c = {0};
    for (int i = 0; i < plan->npart; i++) {
        int at = plan->part[i].index;
        const sg_gap *g = at < s->nrunning ? &s->running[at] : &s->waiting[plan->admit[at - s->nrunning]];
        add_cost(&c, g, plan->part[i].ntoken, plan->part[i].ndraft);
    }
    c.experts = experts(s, c.tokens);
    return c;
}

int sg_pass_add(sg_pass *w, int index, int n, int ndraft)
{
    const sg_gap *g = sg_pass_gap(w, index);
    int rows = w->o->step_tokens_max - w->p->ntoken;
    int64_t most = room(w, g, w->block);
    n = n < rows ? n : rows;
    n = most < n ? (int)most : n;
    if (n < 1 || w->p->npart == w->p->cap)
        return 0;
    if (n < sg_gap_left(g))
        ndraft = 0;
    ndraft = ndraft < rows - n ? ndraft : rows - n;
    ndraft = most - n < ndraft ? (int)(most - n) : ndraft;
    w->p->part[w->p->npart++] = (sg_plan_part){.index = index, .ntoken = n, .ndraft = ndraft};
    w->p->ntoken += n + ndraft;
    w->p->ndraft += ndraft;
    w->p->ndecode += sg_gap_left(g) == 1;
    w->block -= need(w, g, n + ndraft);
    add_cost(&w->cost, g, n, ndraft);
    w->cost.experts = experts(w->s, w->cost.tokens);
    return n;
}

/* A part with other drafts in place of the old ones. */
static void redo(sg_pass *w, int part, int ndraft)
{
    sg_plan_part *q = &w->p->part[part];
    const sg_gap *g = sg_pass_gap(w, q->index);
    w->block += need(w, g, q->ntoken + q->ndraft) - need(w, g, q->ntoken + ndraft);
    w->p->ntoken += ndraft - q->ndraft;
    w->p->ndraft += ndraft - q->ndraft;
    q->ndraft = ndraft;
    w->cost = sg_plan_cost(w->s, w->p);
}

bool sg_pass_grow(sg_pass *w, int part)
{
    const sg_plan_part *q = &w->p->part[part];
    const sg_gap *g = sg_pass_gap(w, q->index);
    if (q->ntoken < sg_gap_left(g) || w->p->ntoken >= w->o->step_tokens_max ||
        room(w, g, w->block + need(w, g, q->ntoken + q->ndraft)) <= q->ntoken + q->ndraft)
        return false;
    redo(w, part, q->ndraft + 1);
    return true;
}

void sg_pass_shrink(sg_pass *w, int part) { redo(w, part, w->p->part[part].ndraft - 1); }

void sg_pass_decodes(sg_pass *w)
{
    for (int i = 0; i < w->s->nrunning; i++) {
        const sg_gap *g = &w->s->running[i];
        if (!g->paused && sg_gap_left(g) == 1 && !sg_pass_is_victim(w, i))
            sg_pass_add(w, i, 1, 0);
    }
}

int sg_pass_chunk(sg_pass *w, int index, int budget, double limit_us)
{
    enum { TILE = 16, LEAST = 16, SMALL = 10 };
    const sg_gap *g = sg_pass_gap(w, index);
    int left = sg_gap_left(g), n = left;
    budget = budget < w->o->step_tokens_max ? budget : w->o->step_tokens_max;
    n = budget - w->p->ntoken < n ? budget - w->p->ntoken : n;
    if (n < 1)
        return 0;
    if (limit_us > 0 && sg_pass_predicts(w))
        n = sg_latency_budget(w->s->latency, &w->cost, sg_gap_start(g), n, limit_us);
    int total = w->cost.tokens + n, over = total % TILE;
    if (n < left && over < n && over * SMALL < total) /* whole tiles, where they take a small part of the step */
        n -= over;
    if (n < 1 && !w->p->npart)
        n = left < LEAST ? left : LEAST; /* a step that cannot keep the bound anyway still moves on */
    return sg_pass_add(w, index, n, 0);
}

bool sg_pass_predicts(const sg_pass *w) { return w->s->latency && sg_latency_ready(w->s->latency); }

double sg_pass_us(const sg_pass *w)
{
    return sg_pass_predicts(w) && w->cost.tokens ? sg_latency_predict_us(w->s->latency, &w->cost) : 0;
}

/* ---- admission ---- */

/* Tokens that a request is counted with under a promise. */
static int promised_tokens(const sg_pass *w, sg_promise kind, const sg_gap *g)
{
    int known = g->known, limit = g->limit > known ? g->limit : known;
    if (!w->o->preempt || kind == SG_PROMISE_LIFE)
        return limit;
    if (kind == SG_PROMISE_PROMPT)
        return known < limit ? known + 1 : known;
    int expect = g->expect > 0 ? g->expect : limit, answered = known - g->prompt;
    if (expect <= known)
        expect = known + (answered / 4 > w->s->block ? answered / 4 : w->s->block);
    return expect < limit ? expect : limit;
}

static int64_t promised(const sg_pass *w, sg_promise kind, const sg_gap *g)
{
    return blocks_for(promised_tokens(w, kind, g), w->s->block) + g->copy_block;
}

void sg_pass_promise(sg_pass *w, sg_promise kind)
{
    bool life = !w->o->preempt || kind == SG_PROMISE_LIFE;
    int64_t left = life ? w->s->nblock : w->s->free_block;
    for (int i = 0; i < w->s->nrunning; i++) {
        int64_t more = promised(w, kind, &w->s->running[i]) - (life ? 0 : w->s->running[i].held_block);
        left -= more > 0 ? more : 0;
    }
    if (!life && w->s->nrunning)
        left -= w->s->nblock / WATERMARK_PART;
    w->promise = left;
}

/* What admitting it takes from the promise: blocks that it shares with running requests are paid for already. */
static int64_t price(const sg_pass *w, sg_promise kind, const sg_gap *g)
{
    bool life = !w->o->preempt || kind == SG_PROMISE_LIFE;
    return promised(w, kind, g) - (life ? 0 : g->held_block);
}

bool sg_pass_fits(const sg_pass *w, sg_promise kind, const sg_gap *g) { return price(w, kind, g) <= w->promise; }

int sg_pass_admit(sg_pass *w, sg_promise kind, int place)
{
    const sg_gap *g = &w->s->waiting[place];
    if (w->p->nvictim || w->p->nadmit >= w->s->free_slot || w->s->nrunning + w->p->nadmit >= w->p->cap || !sg_pass_fits(w, kind, g))
        return -1;
    w->promise -= price(w, kind, g);
    w->p->admit[w->p->nadmit++] = place;
    return w->s->nrunning + w->p->nadmit - 1;
}

void sg_pass_admit_fifo(sg_pass *w, sg_promise kind, int max_running)
{
    sg_pass_promise(w, kind);
    for (int i = 0; i < w->s->nwaiting && w->s->nrunning + w->p->nadmit < max_running; i++)
        if (!w->s->waiting[i].paused && sg_pass_admit(w, kind, i) < 0)
            return;
}

/* ---- throwing out ---- */

bool sg_pass_later(const sg_snapshot *s, const sg_gap *a, const sg_gap *b)
{
    (void)s;
    return a->arrival_us > b->arrival_us;
}

/* The worst running request that is neither out nor `keep`; -1 when there is none. */
static int worst(const sg_pass *w, sg_worse *worse, int keep)
{
    int at = -1;
    for (int i = 0; i < w->s->nrunning; i++)
        if (i != keep && !sg_pass_is_victim(w, i) && (at < 0 || !worse(w->s, &w->s->running[at], &w->s->running[i])))
            at = i; /* among equals the one that was admitted last */
    return at;
}

/* The best running request that is not paused; -1 when there is none. */
static int best(const sg_pass *w, sg_worse *worse)
{
    int at = -1;
    for (int i = 0; i < w->s->nrunning; i++)
        if (!w->s->running[i].paused && (at < 0 || worse(w->s, &w->s->running[at], &w->s->running[i])))
            at = i;
    return at;
}

static void throw_out(sg_pass *w, int index)
{
    w->p->victim[w->p->nvictim++] = index;
    w->block += w->s->running[index].own_block;
}

static int decode_need(const sg_pass *w, int i)
{
    const sg_gap *g = &w->s->running[i];
    return !g->paused && sg_gap_left(g) == 1 ? need(w, g, 1) : 0;
}

void sg_pass_make_room(sg_pass *w, sg_worse *worse)
{
    int64_t want = 0;
    for (int i = 0; i < w->s->nrunning; i++)
        want += decode_need(w, i);
    if (!w->o->preempt || want <= w->block)
        return;
    for (int keep = best(w, worse), out; want > w->block && (out = worst(w, worse, keep)) >= 0;) {
        throw_out(w, out);
        want -= decode_need(w, out);
    }
}

void sg_pass_unstick(sg_pass *w, sg_worse *worse)
{
    int keep = best(w, worse), out;
    if (w->p->npart || w->p->nadmit || keep < 0 || !w->o->preempt)
        return;
    const sg_gap *g = &w->s->running[keep];
    while (need(w, g, 1) > w->block && (out = worst(w, worse, keep)) >= 0)
        throw_out(w, out);
    sg_pass_chunk(w, keep, w->o->step_tokens_max, 0);
}

/* ---- order ---- */

static bool before(const sg_plan *p, int i, int64_t key, int32_t id)
{
    return p->key[i] < key || (p->key[i] == key && p->order[i] < id);
}

/* Shell's sort: no memory, nearly sorted input is cheap, 512 entries in about 10 us. */
void sg_pass_sort(sg_pass *w, int n)
{
    static const int gaps[] = {1750, 701, 301, 132, 57, 23, 10, 4, 1};
    sg_plan *p = w->p;
    for (size_t k = 0; k < sizeof gaps / sizeof gaps[0]; k++)
        for (int h = gaps[k], i = h; i < n; i++) {
            int64_t key = p->key[i];
            int32_t id = p->order[i];
            int j = i;
            for (; j >= h && !before(p, j - h, key, id); j -= h) {
                p->key[j] = p->key[j - h];
                p->order[j] = p->order[j - h];
            }
            p->key[j] = key;
            p->order[j] = id;
        }
}
