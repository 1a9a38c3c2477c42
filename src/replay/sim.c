/* replay/sim.c - the simulator: engine/step.c's loop over lists, pool and clock of its own.
 *
 *     arrive     requests whose time has come wait
 *     plan       snapshot -> sched
 *     apply      victims give their blocks back, newcomers get a sequence, parts extend theirs (kv/pool.h)
 *     time       the machine's formula says how long the step was; the clock jumps; the step-time model learns
 *     absorb     closed gaps get a token; guesses are accepted by chance; who is done gives everything back
 *
 * The pool has blocks of a few bytes, but its tables, reference counts and free list are the real ones, and so is the prefix tree:
 * with reuse, prompts are token ids.  What the engine does and this does not: hold a request while another one computes the same
 * prefix.  The KV of a thrown-out request is dropped (or stays in the tree), and it computes prompt and answer again.  How long
 * an answer will become is not known from the trace but expected from those that have ended (sched/expect.h), all of one class.
 */
#include "replay/sim.h"

#include "base/heap.h"
#include "base/rng.h"
#include "kv/pool.h"
#include "kv/prefix.h"
#include "sched/expect.h"
#include "segue.h"

#include <math.h>
#include <string.h>

enum { WINDOW = 256, WARM_STEPS = 64, ANY_LENGTH = 1 << 20 };

/* Measured: A100 and Mistral-7B from the Sarathi-Serve paper (a decode step of 32 streams with 4k tokens each takes 20 ms, hence
 * its bounds of 0.1 and 0.5 s; a chunk of 512 about 40 ms; 45 GB for keys and values of 131 kB a token); the CPU is the
 * 0.5e9-weight int8 model of a 2-core AVX-512 machine at 37 GB/s and 350 int8 GOP/s. */
static const sg_machine machines[] = {
    {"cpu", 300, 13500, 1450, 60, 0.33, 0.2, 4, 0.04, 0, 1 << 16, 512, NULL},
    {"a100", 1500, 8300, 76, 5, 0.077, 0.0045, 16, 0.03, 0, 340000, 16384, NULL},
};

const sg_machine *sg_machine_find(const char *name)
{
    for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
        if (strcmp(machines[i].name, name) == 0)
            return &machines[i];
    return NULL;
}

double sg_machine_us(const sg_machine *m, const sg_step_cost *c)
{
    int tile = m->tile > 1 ? m->tile : 1;
    if (m->fitted)
        return sg_latency_predict_us(m->fitted, c);
    double rows = (double)((c->tokens + tile - 1) / tile * tile);
    return m->fixed_us + fmax(m->weights_us, m->row_us * rows) + m->logit_us * c->decode_rows + m->decode_key_us * c->decode_context +
           m->chunk_key_us * c->chunk_context;
}

sg_machine sg_machine_fitted(const sg_latency *l)
{
    enum { KV_TOKENS = 1 << 16, STEP_ROWS = 512 };
    double noise = sg_latency_error_p90(l) / 1.64; /* nine in ten of a normal distribution */
    return (sg_machine){.name = "measured", .fitted = l, .tile = 1, .noise = noise < 0.01 ? 0.01 : noise > 0.15 ? 0.15 : noise,
                        .kv_tokens = KV_TOKENS, .step_rows = STEP_ROWS};
}

typedef enum sim_state { COMING, WAITING, RUNNING, ENDED } sim_state;

typedef struct sim_request {
    sg_gap gap;
    sg_kv_seq *seq;
    int32_t *token; /* [limit], with reuse, while it waits or runs */
    uint64_t looked_version; /* of the tree, when gap.cached and gap.held_block were found */
    sim_state state;
    int64_t idle_steps;
} sim_request;

typedef struct sim {
    const sg_sim_options *o;
    const sg_trace *trace;
    sg_record *record;
    sg_sim_report *report;
    sg_sched_options sched;
    sim_request *request; /* [trace.n] */
    int32_t *waiting, *running;
    int nwaiting, nrunning;
    size_t next; /* of the trace */
    sg_gap *gap_waiting, *gap_running;
    sg_plan plan;
    sg_kv_pool *pool;
    sg_prefix *tree;    /* NULL: no reuse */
    int32_t *match;     /* [blocks of the longest request] */
    sg_latency latency;
    sg_rng rng;
    int64_t now;
    uint64_t nstep;
    sg_expect expect;
    int64_t nended, late; /* requests that ended; those that waited too long */
} sim;

static void close_sim(sim *m)
{
    for (size_t i = 0; m->request && i < m->trace->n; i++) {
        sg_kv_seq_free(m->request[i].seq);
        sg_free(m->request[i].token);
    }
    sg_prefix_close(m->tree);
    sg_kv_pool_close(m->pool);
    sg_free(m->match);
    sg_plan_fini(&m->plan);
    sg_free(m->request);
    sg_free(m->waiting);
    sg_free(m->running);
    sg_free(m->gap_waiting);
    sg_free(m->gap_running);
}

static double normal(sg_rng *r)
{
    return sqrt(-2 * log(1 - sg_rng_unit(r))) * cos(6.283185307179586 * sg_rng_unit(r));
}

static double measured_us(sim *m, const sg_step_cost *c, bool *spike)
{
    double us = sg_machine_us(m->o->machine, c) * exp(m->o->machine->noise * normal(&m->rng));
    *spike = m->o->machine->spike > 0 && sg_rng_unit(&m->rng) < m->o->machine->spike;
    return *spike ? us * 10 : us;
}

/* What calibration at load does: steps of many shapes, so that the first real ones are predicted. */
static void warm(sim *m)
{
    static const int rows[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
    for (int i = 0; i < WARM_STEPS; i++) {
        int n = rows[sg_rng_below(&m->rng, sizeof rows / sizeof rows[0])];
        n = n < m->sched.step_tokens_max ? n : m->sched.step_tokens_max;
        bool decode = n <= 32 && i % 2, spike;
        double context = (double)sg_rng_below(&m->rng, 2048) * n;
        sg_step_cost c = {n, decode ? n : 1, decode ? context : 0, decode ? 0 : context, 0};
        sg_latency_observe(&m->latency, &c, measured_us(m, &c, &spike));
    }
}

static sg_status open_tree(sim *m, sg_error *err)
{
    int longest = 1;
    if (m->o->reuse == SG_REUSE_OFF)
        return SG_OK;
    for (size_t i = 0; i < m->trace->n; i++) {
        int limit = m->trace->request[i].prompt + m->trace->request[i].output;
        longest = limit > longest ? limit : longest;
    }
    m->match = sg_calloc((size_t)sg_kv_blocks_for(longest, m->o->block), sizeof *m->match);
    return m->match ? sg_prefix_open(&m->tree, m->pool, err) : sg_fail_nomem(err, "the simulator");
}

static sg_status open_sim(sim *m, sg_error *err)
{
    static const sg_kv_spec spec = {.nkv = 1, .dk = 1, .dv = 1, .alias = true};
    size_t n = m->trace->n, run = (size_t)m->o->max_running;
    int64_t nblock = m->o->machine->kv_tokens / m->o->block;
    nblock = nblock < 1 ? 1 : nblock > SG_KV_BLOCKS_MAX ? SG_KV_BLOCKS_MAX : nblock;
    m->request = sg_calloc(n, sizeof *m->request);
    m->waiting = sg_calloc(n, sizeof *m->waiting);
    m->running = sg_calloc(run, sizeof *m->running);
    m->gap_waiting = sg_calloc(WINDOW, sizeof *m->gap_waiting);
    m->gap_running = sg_calloc(run, sizeof *m->gap_running);
    if (!m->request || !m->waiting || !m->running || !m->gap_waiting || !m->gap_running)
        return sg_fail_nomem(err, "the simulator");
    SG_TRY(sg_plan_init(&m->plan, m->o->max_running, WINDOW, err));
    SG_TRY(sg_kv_pool_open(&m->pool, &spec, 1, SG_F32, m->o->block, (int)nblock, err));
    SG_TRY(open_tree(m, err));
    m->sched = m->o->sched;
    if (!m->sched.step_tokens_max)
        m->sched.step_tokens_max = m->o->machine->step_rows;
    sg_latency_init(&m->latency);
    m->rng = (sg_rng){m->o->seed};
    warm(m);
    return SG_OK;
}

/* ---- reuse ---- */

static sg_status make_tokens(sim *m, int i, sg_error *err)
{
    enum { VOCABULARY = 1 << 20 };
    sim_request *q = &m->request[i];
    if (!m->tree)
        return SG_OK;
    if (!(q->token = sg_calloc((size_t)q->gap.limit, sizeof *q->token)))
        return sg_fail_nomem(err, "the simulator");
    for (int at = 0; at < q->gap.limit; at++)
        q->token[at] = sg_trace_token(m->trace, (size_t)i, at, m->o->scale_lengths, m->o->seed, VOCABULARY);
    for (int at = q->gap.prompt; at < q->gap.limit; at++) /* answers are nobody's beginning: see replay/point.c */
        q->token[at] = VOCABULARY + i;
    q->looked_version = UINT64_MAX;
    return SG_OK;
}

/* Tokens of a waiting request that the tree has, as it may reuse them. */
static int find(sim *m, sim_request *q, int64_t now)
{
    sg_prefix_end end;
    int n = sg_prefix_match(m->tree, 0, q->token, q->gap.known - 1, now, m->match, &end);
    return m->o->reuse == SG_REUSE_BLOCKS ? n - n % m->o->block : n;
}

static void look_up(sim *m, sim_request *q)
{
    uint64_t version = m->tree ? sg_prefix_version(m->tree) : 0;
    if (!m->tree || q->looked_version == version)
        return;
    q->looked_version = version;
    q->gap.cached = find(m, q, -1);
    q->gap.held_block = 0;
    for (int k = 0; k < q->gap.cached / m->o->block; k++)
        q->gap.held_block += sg_kv_pool_users(m->pool, m->match[k]) > 0;
}

static void share(sim *m, int i)
{
    sim_request *q = &m->request[i];
    int n = m->tree ? find(m, q, m->now) : 0;
    if (n && sg_kv_seq_share(q->seq, m->match, n, NULL) != SG_OK)
        n = 0;
    q->gap.computed = n;
    if (m->record->request[i].admit_us < 0)
        m->record->request[i].cached = n;
}

/* What it has computed goes into the tree: full blocks, with `tail` the last one too. */
static void remember(sim *m, sim_request *q, bool tail)
{
    int n = tail ? q->gap.computed : q->gap.computed - q->gap.computed % m->o->block;
    if (m->tree && q->seq && n > 0 && n <= q->seq->len)
        sg_prefix_insert(m->tree, 0, q->token, n, q->seq->table, tail, m->now);
}

static int free_blocks(const sim *m) { return sg_kv_pool_nfree(m->pool) + (m->tree ? sg_kv_pool_nidle(m->pool) : 0); }

static void describe_blocks(sim *m, sim_request *q)
{
    int full = q->seq->len / m->o->block;
    q->gap.held_block = q->gap.own_block = q->seq->nblock;
    if (!m->tree)
        return;
    q->gap.own_block = q->gap.copy_block = 0;
    for (int k = 0; k < q->seq->nblock; k++)
        q->gap.own_block += sg_kv_pool_users(m->pool, q->seq->table[k]) == 1;
    if (full >= q->seq->nblock)
        return;
    int32_t last = q->seq->table[full];
    if (sg_kv_pool_refs(m->pool, last) > 1 && sg_kv_pool_users(m->pool, last) == 1 && free_blocks(m) == 0)
        sg_prefix_forget(m->tree, last); /* there is no block for a copy: as the engine does (engine/admit.c) */
    q->gap.copy_block = sg_kv_pool_refs(m->pool, last) > 1;
}

/* ---- lists ---- */

static void leave(sim *m, int i, sg_finish how)
{
    sim_request *q = &m->request[i];
    sg_record_request *r = &m->record->request[i];
    if (how != SG_FINISH_ERROR)
        remember(m, q, true);
    sg_kv_seq_free(q->seq);
    q->seq = NULL;
    sg_free(q->token);
    q->token = NULL;
    q->state = ENDED;
    r->ended = true;
    r->finish = (uint8_t)how;
    r->end_us = m->now;
    m->nended++;
    m->report->cancelled += how == SG_FINISH_CANCELLED;
    m->report->failed += how == SG_FINISH_ERROR;
    if (how == SG_FINISH_LENGTH) {
        double length = q->gap.known - q->gap.prompt;
        sg_expect_learn(&m->expect, m->request[i].gap.tenant, ANY_LENGTH, (int)length);
    }
}

/* What the trace's client asks for; a request that the pool cannot hold is refused as the engine would. */
static sg_status arrive(sim *m, sg_error *err)
{
    for (; m->next < m->trace->n && m->trace->request[m->next].arrival_us <= m->now; m->next++) {
        int i = (int)m->next;
        const sg_trace_request *t = &m->trace->request[i];
        sim_request *q = &m->request[i];
        sg_record_request *r = &m->record->request[i];
        r->arrival_us = t->arrival_us;
        r->prompt = t->prompt;
        q->gap = (sg_gap){.known = t->prompt, .prompt = t->prompt, .limit = t->prompt + t->output, .arrival_us = t->arrival_us,
                          .last_us = t->arrival_us, .deadline_us = INT64_MAX, .priority = SG_PRIORITY_NORMAL};
        if (m->o->tenants) {
            q->gap.tenant = (uint32_t)sg_rng_below(&m->rng, 4);
            q->gap.priority = (uint8_t)sg_rng_below(&m->rng, SG_NPRIORITY);
        }
        q->state = WAITING;
        if (sg_kv_blocks_for(q->gap.limit, m->o->block) > sg_kv_pool_nblock(m->pool)) {
            leave(m, i, SG_FINISH_ERROR);
            continue;
        }
        m->waiting[m->nwaiting++] = i;
        SG_TRY(make_tokens(m, i, err));
    }
    return SG_OK;
}

static void sweep(sim *m, int32_t *list, int *n, sim_state keep)
{
    int kept = 0;
    for (int k = 0; k < *n; k++)
        if (m->request[list[k]].state == keep)
            list[kept++] = list[k];
    *n = kept;
}

static void cancel_some(sim *m)
{
    if (m->o->cancel <= 0 || sg_rng_unit(&m->rng) >= m->o->cancel)
        return;
    int all = m->nwaiting + m->nrunning;
    if (!all)
        return;
    int k = (int)sg_rng_below(&m->rng, (uint64_t)all);
    leave(m, k < m->nwaiting ? m->waiting[k] : m->running[k - m->nwaiting], SG_FINISH_CANCELLED);
    sweep(m, m->waiting, &m->nwaiting, WAITING);
    sweep(m, m->running, &m->nrunning, RUNNING);
}

/* ---- a step ---- */

/* The client has asked for any length: what the request will come to is guessed. */
static void expect(const sim *m, sim_request *q)
{
    sg_gap *g = &q->gap;
    int length = g->prompt + sg_expect_length(&m->expect, g->tenant, ANY_LENGTH, g->known - g->prompt);
    g->expect = length < g->limit ? length : g->limit;
}

static sg_snapshot look(sim *m)
{
    int nwaiting = m->nwaiting < WINDOW ? m->nwaiting : WINDOW;
    for (int k = 0; k < m->nrunning; k++) {
        sim_request *q = &m->request[m->running[k]];
        describe_blocks(m, q);
        q->gap.paused = m->o->pause > 0 && sg_rng_unit(&m->rng) < m->o->pause;
        q->gap.draft = 0;
        if (m->o->accept > 0 && q->gap.known > q->gap.prompt) {
            int room = q->gap.limit - q->gap.known;
            q->gap.draft = room < 4 ? room : 4;
            q->gap.accept = (float)m->o->accept;
        }
        expect(m, q);
        m->gap_running[k] = q->gap;
    }
    for (int k = 0; k < nwaiting; k++) {
        expect(m, &m->request[m->waiting[k]]);
        look_up(m, &m->request[m->waiting[k]]);
        m->gap_waiting[k] = m->request[m->waiting[k]].gap;
    }
    return (sg_snapshot){.nstep = m->nstep++, .now_us = m->now, .running = m->gap_running, .nrunning = m->nrunning,
                         .waiting = m->gap_waiting, .nwaiting = nwaiting, .free_block = free_blocks(m),
                         .nblock = sg_kv_pool_nblock(m->pool), .block = m->o->block, .free_slot = m->o->max_running - m->nrunning,
                         .latency = &m->latency};
}

static void throw_out(sim *m)
{
    const sg_plan *p = &m->plan;
    if (!p->nvictim)
        return;
    memmove(m->waiting + p->nvictim, m->waiting, (size_t)m->nwaiting * sizeof *m->waiting);
    m->nwaiting += p->nvictim;
    for (int k = 0; k < p->nvictim; k++) {
        int i = m->running[p->victim[k]];
        sim_request *q = &m->request[i];
        remember(m, q, true);
        sg_kv_seq_free(q->seq);
        q->seq = NULL;
        q->looked_version = UINT64_MAX;
        q->state = WAITING;
        q->gap.computed = q->gap.held_block = q->gap.own_block = q->gap.draft = q->gap.copy_block = q->gap.cached = 0;
        q->gap.paused = false;
        q->gap.npreempt++;
        m->record->request[i].npreempt++;
        m->waiting[k] = i;
    }
    m->report->preemptions += p->nvictim;
}

static sg_status admit(sim *m, sg_error *err)
{
    for (int k = 0; k < m->plan.nadmit; k++) {
        int i = m->waiting[m->plan.admit[k]];
        sim_request *q = &m->request[i];
        SG_TRY(sg_kv_seq_new(&q->seq, m->pool, q->gap.limit, err));
        q->state = RUNNING;
        share(m, i);
        if (m->record->request[i].admit_us < 0) {
            m->record->request[i].admit_us = m->now;
            m->late += m->o->give_up_queue_us > 0 && (double)(m->now - q->gap.arrival_us) > m->o->give_up_queue_us;
        }
        m->running[m->nrunning++] = i;
    }
    sweep(m, m->waiting, &m->nwaiting, WAITING);
    return SG_OK;
}

/* Guesses that are right, at most n. */
static int accepted(sim *m, int n)
{
    int k = 0;
    while (k < n && sg_rng_unit(&m->rng) < m->o->accept)
        k++;
    return k;
}

static void absorb(sim *m, bool failed)
{
    const sg_plan *p = &m->plan;
    for (int k = 0; k < p->npart; k++) {
        int i = m->running[p->part[k].index];
        sim_request *q = &m->request[i];
        if (failed) {
            leave(m, i, SG_FINISH_ERROR);
            continue;
        }
        if (!p->part[k].ntoken)
            continue; /* there was no room for it */
        q->gap.computed += p->part[k].ntoken;
        remember(m, q, false);
        if (q->gap.computed < q->gap.known)
            continue;
        int right = accepted(m, p->part[k].ndraft);
        m->report->drafts += p->part[k].ndraft;
        m->report->accepted += right;
        q->gap.computed += right;
        sg_kv_seq_truncate(q->seq, q->gap.computed);
        for (int t = 0; t <= right && q->gap.known < q->gap.limit; t++) {
            q->gap.known++;
            sg_record_add_token(m->record, i, m->now);
        }
        q->gap.last_us = m->now;
        if (q->gap.known >= q->gap.limit)
            leave(m, i, SG_FINISH_LENGTH);
    }
}

static sg_status extend(sim *m, sg_error *err)
{
    for (int k = 0; k < m->plan.npart; k++) {
        sg_plan_part *part = &m->plan.part[k];
        sim_request *q = &m->request[m->running[part->index]];
        int n = part->ntoken + part->ndraft, need = sg_kv_seq_blocks_needed(q->seq, n);
        if (m->tree && need > sg_kv_pool_nfree(m->pool))
            sg_prefix_evict(m->tree, need - sg_kv_pool_nfree(m->pool));
        if (m->tree && need > sg_kv_pool_nfree(m->pool)) { /* a block that was found is copied, which the plan could not know */
            part->ntoken = part->ndraft = 0;
            continue;
        }
        SG_TRY(sg_kv_seq_extend(q->seq, n, err));
    }
    return SG_OK;
}

/* ---- what must hold ---- */

#define HOLDS(c)                                                                                                            \
    do {                                                                                                                    \
        if (!(c))                                                                                                           \
            return sg_fail(err, SG_E_INTERNAL, "%s, step %llu: %s does not hold", m->o->sched.policy->name,                 \
                           (unsigned long long)m->nstep, #c);                                                               \
    } while (0)

/* Without a tree the plan knows exactly what blocks it takes: those that are free, and those of its victims. */
static sg_status check_blocks(sim *m, const sg_snapshot *s, sg_error *err)
{
    const sg_plan *p = &m->plan;
    int64_t need = 0, have = s->free_block;
    for (int k = 0; k < p->nvictim; k++)
        have += s->running[p->victim[k]].own_block;
    for (int k = 0; k < p->npart; k++) {
        const sg_plan_part *q = &p->part[k];
        bool runs = q->index < s->nrunning;
        const sg_gap *g = runs ? &s->running[q->index] : &s->waiting[p->admit[q->index - s->nrunning]];
        need += sg_kv_blocks_for(g->computed + q->ntoken + q->ndraft, m->o->block) - (runs ? g->held_block : 0);
    }
    HOLDS(need <= have || m->tree);
    return SG_OK;
}

/* Whether a waiting request is late by slo's rule: what its class may wait and twice the time of its tokens are over. */
static bool is_late(const sg_snapshot *s, const sg_gap *g, double row_us)
{
    static const int64_t wait_us[SG_NPRIORITY] = {500000, 2000000, 30000000}; /* docs/scheduling.md */
    int64_t wait = g->known > g->prompt ? 0 : wait_us[g->priority < SG_NPRIORITY ? g->priority : SG_PRIORITY_BATCH];
    return g->arrival_us + wait + (int64_t)(2 * row_us * (g->known - g->computed)) < s->now_us;
}

/* Nobody is left aside for ever.  The baselines take requests in as they wait.  In slo, of two requests of which one came earlier, is
 * as urgent and has no more to do, the later one is never admitted alone once the earlier one is late. */
static sg_status check_order(sim *m, const sg_snapshot *s, sg_error *err)
{
    enum { MANY = 256 };
    const sg_plan *p = &m->plan;
    bool taken[WINDOW] = {0}, slo = strcmp(m->o->sched.policy->name, "slo") == 0;
    sg_step_cost many = {.tokens = MANY, .decode_rows = 1};
    double row_us = slo && sg_latency_ready(s->latency) ? sg_latency_predict_us(s->latency, &many) / MANY : 1000;
    for (int k = 0; k < p->nadmit; k++) {
        HOLDS(p->admit[k] >= 0 && p->admit[k] < s->nwaiting && !taken[p->admit[k]]);
        taken[p->admit[k]] = true;
    }
    for (int k = 0; k < p->nadmit; k++)
        for (int i = 0; i < s->nwaiting; i++) {
            const sg_gap *b = &s->waiting[p->admit[k]], *a = &s->waiting[i];
            if (taken[i] || a->paused)
                continue;
            HOLDS(slo || i > p->admit[k]);
            bool before = a->arrival_us <= b->arrival_us && a->priority <= b->priority && a->cached >= b->cached &&
                          a->known - a->computed <= b->known - b->computed && (a->known > a->prompt || b->known == b->prompt);
            HOLDS(!slo || !before || i > p->admit[k] || !is_late(s, a, row_us));
        }
    return SG_OK;
}

static sg_status check_plan(sim *m, const sg_snapshot *s, sg_error *err)
{
    const sg_plan *p = &m->plan;
    int rows = 0, ready = 0;
    HOLDS(!p->nvictim || (m->sched.preempt && !p->nadmit));
    HOLDS(p->nadmit <= s->free_slot);
    for (int k = 0; k < p->npart; k++) {
        const sg_plan_part *q = &p->part[k];
        HOLDS(q->index >= 0 && q->index < s->nrunning + p->nadmit && (k == 0 || q->ntoken > 0));
        const sg_gap *g = q->index < s->nrunning ? &s->running[q->index] : &s->waiting[p->admit[q->index - s->nrunning]];
        HOLDS(q->ntoken >= 1 && q->ntoken <= g->known - g->computed && !g->paused && q->ndraft <= g->draft);
        rows += q->ntoken + q->ndraft;
    }
    for (int k = 0; k < s->nrunning; k++)
        ready += !s->running[k].paused;
    HOLDS(rows == p->ntoken && rows <= m->sched.step_tokens_max);
    HOLDS(p->npart || (!p->nadmit && !ready));
    SG_TRY(check_blocks(m, s, err));
    return check_order(m, s, err);
}

static sg_status check_lists(sim *m, sg_error *err)
{
    int64_t held = 0;
    for (int k = 0; k < m->nrunning; k++) {
        const sim_request *q = &m->request[m->running[k]];
        HOLDS(q->state == RUNNING && q->gap.computed < q->gap.known && q->gap.known < q->gap.limit);
        HOLDS(q->seq->len == q->gap.computed && q->seq->nblock == sg_kv_blocks_for(q->seq->len, m->o->block));
        held += q->seq->nblock;
    }
    HOLDS(held + sg_kv_pool_nfree(m->pool) == sg_kv_pool_nblock(m->pool) || m->tree); /* with it blocks are shared */
    HOLDS((int64_t)m->next == m->nended + m->nwaiting + m->nrunning);
    return SG_OK;
}

/* How long anybody who could have moved has been left aside. */
static void count_idle(sim *m, const sg_snapshot *s)
{
    bool moved[1024] = {0};
    for (int k = 0; k < m->plan.npart; k++)
        moved[m->plan.part[k].index % 1024] = true;
    for (int k = 0; k < s->nrunning; k++) {
        sim_request *q = &m->request[m->running[k]];
        q->idle_steps = moved[k % 1024] || q->gap.paused ? 0 : q->idle_steps + 1;
        if (q->idle_steps > m->report->wait_steps_max)
            m->report->wait_steps_max = q->idle_steps;
    }
}

/* ---- the loop ---- */

static void take_time(sim *m, const sg_snapshot *s)
{
    sg_step_cost c = sg_plan_cost(s, &m->plan);
    bool spike;
    double us = measured_us(m, &c, &spike);
    int nprompt = m->plan.ntoken - m->plan.ndraft;
    for (int k = 0; k < m->plan.npart; k++) {
        const sim_request *q = &m->request[m->running[m->plan.part[k].index]];
        nprompt -= q->gap.known > q->gap.prompt && m->plan.part[k].ntoken == 1;
    }
    sg_record_add_step(m->record, &(sg_record_step){.start_us = m->now, .us = (float)us, .predicted_us = (float)m->plan.predicted_us,
                                                    .prompt = nprompt, .decode = m->plan.ntoken - m->plan.ndraft - nprompt,
                                                    .draft = m->plan.ndraft, .running = m->nrunning, .waiting = m->nwaiting,
                                                    .preempted = m->plan.nvictim});
    if (m->plan.predicted_us > 0 && !spike && us / m->plan.predicted_us > m->report->over_max)
        m->report->over_max = us / m->plan.predicted_us;
    sg_latency_observe(&m->latency, &c, us);
    m->now += (int64_t)ceil(us);
}

static sg_status step(sim *m, sg_error *err)
{
    cancel_some(m);
    sg_snapshot s = look(m);
    sg_sched_plan(&m->sched, &s, &m->plan);
    if (m->o->check)
        SG_TRY(check_plan(m, &s, err));
    SG_TRY(admit(m, err)); /* before victims leave: part numbers count them */
    throw_out(m);
    if (m->plan.npart) {
        m->report->steps++;
        SG_TRY(extend(m, err));
        take_time(m, &s);
        if (m->o->check)
            count_idle(m, &s);
        absorb(m, m->o->fail > 0 && sg_rng_unit(&m->rng) < m->o->fail);
    } else
        m->now += 1000; /* all are paused */
    sweep(m, m->running, &m->nrunning, RUNNING);
    SG_TRY(arrive(m, err)); /* what came during the step */
    return m->o->check ? check_lists(m, err) : SG_OK;
}

static sg_status loop(sim *m, sg_error *err)
{
    SG_TRY(arrive(m, err));
    while (m->next < m->trace->n || m->nwaiting || m->nrunning) {
        if (!m->nwaiting && !m->nrunning) {
            m->now = m->trace->request[m->next].arrival_us;
            SG_TRY(arrive(m, err));
            continue;
        }
        SG_TRY(step(m, err));
        if (m->o->last >= 0 && m->request[m->o->last].state == ENDED)
            break;
        if (m->o->give_up_queue_us > 0 && m->late * 2 > (int64_t)m->trace->n) {
            m->report->gave_up = true;
            break;
        }
    }
    m->record->end_us = m->now;
    if (m->o->check && !m->report->gave_up && m->o->last < 0) {
        sg_prefix_close(m->tree);
        m->tree = NULL;
        HOLDS(sg_kv_pool_nfree(m->pool) == sg_kv_pool_nblock(m->pool)); /* every reference was given back */
        for (int i = 0; i < sg_kv_pool_nblock(m->pool); i++)
            HOLDS(sg_kv_pool_refs(m->pool, i) == 0);
        HOLDS(m->nended == (int64_t)m->trace->n);
    }
    return SG_OK;
}

sg_status sg_sim_run(const sg_sim_options *o, const sg_trace *trace, sg_record *record, sg_sim_report *report, sg_error *err)
{
    if (o->max_running < 1 || o->max_running > 1024 || o->block < 1 || o->block > SG_KV_BLOCK_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "the simulator runs 1 to 1024 requests with blocks of 1 to %d", SG_KV_BLOCK_MAX);
    sim m = {.o = o, .trace = trace, .record = record, .report = report};
    sg_record_clear(record);
    *report = (sg_sim_report){0};
    sg_status st = open_sim(&m, err);
    if (st == SG_OK)
        st = loop(&m, err);
    if (st == SG_OK && record->failed)
        st = sg_fail_nomem(err, "the record");
    close_sim(&m);
    return st;
}
