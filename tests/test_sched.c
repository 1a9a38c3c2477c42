/* Every policy over random loads, with what sched.h demands checked after every plan. */
#include "tap.h"

#include "sched/sched.h"

enum { RUNNING = 48, WAITING = 96 };

typedef struct load_request {
    sg_gap gap;
    int want; /* tokens at which it really ends */
} load_request;

typedef struct load {
    load_request running[RUNNING], waiting[WAITING + RUNNING]; /* thrown-out ones always find a place */
    int nrunning, nwaiting, slots, block;
    int64_t nblock, free_block, now;
    int64_t submitted, finished, cancelled, thrown, drafted;
    uint64_t nstep;
    sg_latency latency;
    bool learns;
    sg_sched_options options;
    sg_plan plan;
} load;

static int blocks_for(int n, int block) { return (n + block - 1) / block; }

static void submit(load *m, sg_rng *r)
{
    if (m->nwaiting >= WAITING)
        return;
    int most = (int)m->nblock * m->block, prompt = 1 + (int)sg_rng_below(r, sg_rng_below(r, 8) ? 60 : 900);
    int answer = 1 + (int)sg_rng_below(r, 60), limit = prompt + answer + (int)sg_rng_below(r, 60);
    prompt = prompt > most / 2 ? most / 2 : prompt;
    limit = limit > most ? most : limit;
    int want = prompt + answer > limit ? limit : prompt + answer;
    sg_gap g = {.known = prompt, .prompt = prompt, .limit = limit, .arrival_us = m->now, .last_us = m->now, .deadline_us = INT64_MAX,
                .tenant = (uint32_t)sg_rng_below(r, 4), .priority = (uint8_t)sg_rng_below(r, SG_NPRIORITY)};
    if (sg_rng_below(r, 2))
        g.expect = prompt + 1 + (int)sg_rng_below(r, (uint64_t)(limit - prompt));
    if (sg_rng_below(r, 10) == 0)
        g.deadline_us = m->now + (int64_t)sg_rng_below(r, 100000);
    m->waiting[m->nwaiting++] = (load_request){g, want};
    m->submitted++;
}

static void leave(load *m, int i)
{
    m->free_block += m->running[i].gap.held_block;
    memmove(&m->running[i], &m->running[i + 1], (size_t)(--m->nrunning - i) * sizeof m->running[0]);
}

#define HOLDS(c)                                                                                                       \
    do {                                                                                                               \
        if (!(c)) {                                                                                                    \
            tap_fail(__FILE__, __LINE__, "%s: %s does not hold", m->options.policy->name, #c);                         \
            return false;                                                                                              \
        }                                                                                                              \
    } while (0)

/* Give what the plan admits and take what it throws out, before anything is computed. */
static bool apply_lists(load *m, bool out[RUNNING], int old)
{
    const sg_plan *p = &m->plan;
    bool in[WAITING + RUNNING] = {0};
    HOLDS(p->nadmit >= 0 && p->nadmit <= m->slots - old && p->nvictim <= old);
    HOLDS(!p->nvictim || (m->options.preempt && !p->nadmit));
    for (int i = 0; i < p->nvictim; i++) {
        int k = p->victim[i];
        HOLDS(k >= 0 && k < old && !out[k]);
        out[k] = true;
        m->free_block += m->running[k].gap.own_block;
        m->running[k].gap.held_block = m->running[k].gap.own_block = m->running[k].gap.computed = 0;
        m->running[k].gap.npreempt++;
        m->thrown++;
    }
    for (int i = 0; i < p->nadmit; i++) {
        int k = p->admit[i];
        HOLDS(k >= 0 && k < m->nwaiting && !in[k] && !m->waiting[k].gap.paused);
        in[k] = true;
        m->running[m->nrunning++] = m->waiting[k];
    }
    int kept = 0;
    for (int i = 0; i < m->nwaiting; i++)
        if (!in[i])
            m->waiting[kept++] = m->waiting[i];
    m->nwaiting = kept;
    return true;
}

static bool apply_parts(load *m, const bool out[RUNNING], int old)
{
    const sg_plan *p = &m->plan;
    bool seen[RUNNING] = {0};
    int rows = 0, ndraft = 0, ndecode = 0, ready = 0;
    for (int i = 0; i < old; i++)
        ready += !m->running[i].gap.paused;
    for (int i = 0; i < p->npart; i++) {
        int k = p->part[i].index, n = p->part[i].ntoken, d = p->part[i].ndraft;
        HOLDS(k >= 0 && k < old + p->nadmit && !seen[k] && !(k < old && out[k]));
        seen[k] = true;
        sg_gap *g = &m->running[k].gap;
        HOLDS(!g->paused && n >= 1 && n <= g->known - g->computed);
        HOLDS(d >= 0 && d <= g->draft && (d == 0 || n == g->known - g->computed));
        ndecode += g->known - g->computed == 1;
        rows += n + d;
        ndraft += d;
        int held = blocks_for(g->computed + n + d, m->block);
        HOLDS(held - g->held_block <= m->free_block);
        if (held > g->held_block) {
            m->free_block -= held - g->held_block;
            g->held_block = g->own_block = held;
        }
        g->computed += n; /* drafts are refused here: their blocks stay for the next tokens */
    }
    m->drafted += ndraft;
    HOLDS(rows == p->ntoken && ndraft == p->ndraft && ndecode == p->ndecode && rows <= m->options.step_tokens_max);
    HOLDS(p->npart > 0 || (p->nadmit == 0 && ready == 0));
    HOLDS(p->npart > 0 || m->nwaiting == 0 || old > 0); /* an empty machine takes somebody in */
    return true;
}

static double step_us(const sg_step_cost *c)
{
    return 2000 + 30.0 * (c->tokens < 8 ? c->tokens : 8) + 150.0 * (c->tokens > 8 ? c->tokens - 8 : 0) + 0.05 * c->decode_context +
           0.05 * c->chunk_context;
}

/* The last step's tokens are drawn; requests end or are cancelled; victims wait again, first in line. */
static void settle(load *m, sg_rng *r, const bool out[RUNNING], int old, bool drain)
{
    for (int i = m->nrunning - 1; i >= 0; i--) {
        load_request *q = &m->running[i];
        bool cancel = !drain && sg_rng_below(r, 500) == 0;
        if (!cancel && i < old && out[i]) {
            load_request again = *q;
            leave(m, i);
            memmove(&m->waiting[1], &m->waiting[0], (size_t)m->nwaiting++ * sizeof m->waiting[0]);
            m->waiting[0] = again;
            m->waiting[0].gap.paused = false;
            continue;
        }
        if (!cancel && q->gap.known > q->gap.computed)
            continue;
        if (cancel || q->gap.known + 1 >= q->want) {
            m->finished += !cancel;
            m->cancelled += cancel;
            leave(m, i);
            continue;
        }
        q->gap.known++;
        q->gap.last_us = m->now;
        q->gap.draft = sg_rng_below(r, 3) ? 0 : (int)sg_rng_below(r, 6);
        q->gap.accept = (float)sg_rng_unit(r);
        int room = q->gap.limit - q->gap.known;
        q->gap.draft = q->gap.draft > room ? room : q->gap.draft;
    }
}

static bool step(load *m, sg_rng *r, bool drain)
{
    sg_gap running[RUNNING], waiting[WAITING + RUNNING];
    for (int i = 0; i < m->nrunning; i++) {
        m->running[i].gap.paused = !drain && sg_rng_below(r, 50) == 0;
        running[i] = m->running[i].gap;
    }
    for (int i = 0; i < m->nwaiting; i++)
        waiting[i] = m->waiting[i].gap;
    sg_snapshot s = {.nstep = m->nstep++, .now_us = m->now, .running = running, .nrunning = m->nrunning, .waiting = waiting,
                     .nwaiting = m->nwaiting, .free_block = m->free_block, .nblock = m->nblock, .block = m->block,
                     .free_slot = m->slots - m->nrunning, .latency = m->learns ? &m->latency : NULL};
    sg_sched_plan(&m->options, &s, &m->plan);
    sg_plan_part first[RUNNING];
    int npart = m->plan.npart, nvictim = m->plan.nvictim, nadmit = m->plan.nadmit;
    memcpy(first, m->plan.part, (size_t)npart * sizeof first[0]);
    sg_sched_plan(&m->options, &s, &m->plan); /* the same snapshot gives the same plan */
    HOLDS(npart == m->plan.npart && nvictim == m->plan.nvictim && nadmit == m->plan.nadmit);
    HOLDS(memcmp(first, m->plan.part, (size_t)npart * sizeof first[0]) == 0);
    sg_step_cost cost = sg_plan_cost(&s, &m->plan);
    HOLDS(cost.tokens == m->plan.ntoken);
    bool out[RUNNING] = {0};
    int old = m->nrunning;
    if (!apply_lists(m, out, old) || !apply_parts(m, out, old))
        return false;
    double us = cost.tokens ? step_us(&cost) * (0.9 + 0.2 * sg_rng_unit(r)) : 1000;
    m->now += (int64_t)us;
    if (cost.tokens)
        sg_latency_observe(&m->latency, &cost, us);
    settle(m, r, out, old, drain);
    return true;
}

static void run(const sg_policy *policy, int steps, int64_t *thrown, int64_t *drafted)
{
    sg_rng *r = tap_rng();
    static load world;
    load *m = &world;
    *m = (load){.slots = 1 + (int)sg_rng_below(r, RUNNING), .block = 1 + (int)sg_rng_below(r, 32), .learns = sg_rng_below(r, 2)};
    m->nblock = m->free_block = 8 + (int64_t)sg_rng_below(r, (uint64_t)(4000 / m->block));
    m->options = (sg_sched_options){.policy = policy,
                                    .step_tokens_max = 16 + (int)sg_rng_below(r, 500),
                                    .preempt = sg_rng_below(r, 2),
                                    .tbt_us = sg_rng_below(r, 2) ? 0 : 5000 + (int64_t)sg_rng_below(r, 100000),
                                    .step_us_max = sg_rng_below(r, 2) ? 0 : 50000,
                                    .param = policy->takes_param ? (int)sg_rng_below(r, 99) : 0};
    sg_latency_init(&m->latency);
    if (m->slots > m->options.step_tokens_max)
        m->slots = m->options.step_tokens_max;
    m->options.step_tokens = 1 + (int)sg_rng_below(r, (uint64_t)m->options.step_tokens_max);
    sg_error err;
    CHECK_OK(sg_plan_init(&m->plan, RUNNING, WAITING + RUNNING, &err));
    uint64_t every = 2 + sg_rng_below(r, 20);
    bool good = true;
    for (int i = 0; i < steps && good; i++) {
        if (sg_rng_below(r, every) == 0)
            submit(m, r);
        good = step(m, r, false);
    }
    for (int i = 0; i < 100000 && good && m->nrunning + m->nwaiting; i++)
        good = step(m, r, true);
    sg_plan_fini(&m->plan);
    if (!good)
        return;
    CHECK_INT(m->nrunning + m->nwaiting, 0); /* nobody starves */
    CHECK_INT(m->free_block, m->nblock);
    CHECK_INT(m->finished + m->cancelled, m->submitted);
    *thrown += m->thrown;
    *drafted += m->drafted;
}

TEST(every_policy_keeps_the_rules)
{
    int64_t n = 0, thrown = 0, drafted = 0;
    for (int i = 0; sg_policy_at(i); i++)
        for (int k = 0; k < 60 && !tap_failed(); k++, n++)
            run(sg_policy_at(i), 500, &thrown, &drafted);
    tap_note("%lld traces, %lld thrown out, %lld guesses", (long long)n, (long long)thrown, (long long)drafted);
    CHECK(tap_failed() || (thrown > 50 && drafted > 100)); /* the load reaches what it is to test */
}

TEST(names_and_parameters)
{
    sg_sched_options o = {0};
    sg_error err;
    CHECK_FAILS(sg_policy_find(&o, "best", &err), SG_E_NOT_FOUND, "static[:N]");
    CHECK_FAILS(sg_policy_find(&o, "", &err), SG_E_NOT_FOUND, "slo");
    CHECK_FAILS(sg_policy_find(&o, "static:", &err), SG_E_ARGUMENT, "number");
    CHECK_FAILS(sg_policy_find(&o, "static:12x", &err), SG_E_ARGUMENT, "number");
    CHECK_FAILS(sg_policy_find(&o, "static:99999999999999999999", &err), SG_E_ARGUMENT, "number");
    CHECK_FAILS(sg_policy_find(&o, "slo:3", &err), SG_E_ARGUMENT, "takes no number");
    CHECK(!o.policy);
    CHECK_OK(sg_policy_find(&o, NULL, &err));
    CHECK_STR(o.policy->name, "slo");
    CHECK_OK(sg_policy_find(&o, "static:128", &err));
    CHECK_STR(o.policy->name, "static");
    CHECK_INT(o.param, 128);
    for (int i = 0; sg_policy_at(i); i++)
        CHECK_OK(sg_policy_find(&o, sg_policy_at(i)->name, &err));
}

static bool make_plan(void *arg)
{
    sg_plan p;
    (void)arg;
    if (sg_plan_init(&p, 8, 8, NULL) != SG_OK)
        return false;
    sg_plan_fini(&p);
    return true;
}

TEST(plans_survive_failing_allocations) { CHECK_ALLOC_LOOP(make_plan, NULL); }

TAP_MAIN
