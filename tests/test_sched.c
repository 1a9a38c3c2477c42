/* The scheduler by simulation: random arrivals, cancels and pauses, with the invariants checked after every step. */
#include "tap.h"

#include "sched/sched.h"

enum { MAX = 64, BLOCK = 16 };

typedef struct sim_request {
    sg_gap gap;
    int prompt, want, nblock;
    int64_t steps_waited;
} sim_request;

typedef struct sim {
    sim_request waiting[MAX * 4], running[MAX];
    int nwaiting, nrunning, slots;
    int64_t free_block;
    int64_t submitted, finished, cancelled, tokens, stalls;
    sg_sched_options options;
    const sg_policy *policy;
} sim;

static void sim_submit(sim *m, sg_rng *r)
{
    if (m->nwaiting == MAX * 4)
        return;
    int prompt = 1 + (int)sg_rng_below(r, sg_rng_below(r, 8) ? 60 : 900), want = 1 + (int)sg_rng_below(r, 40);
    int nblock = (prompt + want + BLOCK - 1) / BLOCK;
    m->waiting[m->nwaiting++] = (sim_request){.gap = {.known = prompt, .need_block = nblock, .deadline_us = INT64_MAX},
                                              .prompt = prompt, .want = want, .nblock = nblock};
    m->submitted++;
}

static void sim_remove(sim *m, int i)
{
    m->free_block += m->running[i].nblock;
    m->slots++;
    memmove(&m->running[i], &m->running[i + 1], (size_t)(--m->nrunning - i) * sizeof m->running[0]);
}

/* One step; false when an invariant broke (already reported). */
static bool sim_step(sim *m, sg_rng *r)
{
    sg_gap running[MAX], waiting[MAX * 4];
    for (int i = 0; i < m->nrunning; i++) {
        m->running[i].gap.paused = sg_rng_below(r, 50) == 0;
        running[i] = m->running[i].gap;
    }
    for (int i = 0; i < m->nwaiting; i++)
        waiting[i] = m->waiting[i].gap;
    sg_plan_part part[MAX];
    sg_plan p = {.part = part, .cap = MAX};
    sg_snapshot s = {.running = running, .nrunning = m->nrunning, .waiting = waiting, .nwaiting = m->nwaiting,
                     .free_block = m->free_block, .free_slot = m->slots};
    sg_sched_plan(m->policy, &s, &m->options, &p);
#define HOLDS(c) do { if (!(c)) { tap_fail(__FILE__, __LINE__, "%s does not hold", #c); return false; } } while (0)
    HOLDS(p.npart <= p.cap && p.nadmit <= m->nwaiting && p.nadmit <= m->slots);
    int old = m->nrunning, sum = 0, ndecode = 0, ready = 0;
    for (int i = 0; i < old; i++)
        ready += !running[i].paused;
    for (int i = 0; i < p.nadmit; i++) {
        HOLDS(m->waiting[i].nblock <= m->free_block);
        m->free_block -= m->waiting[i].nblock;
        m->slots--;
        m->running[m->nrunning] = m->waiting[i];
        m->running[m->nrunning++].gap.need_block = 0;
    }
    memmove(m->waiting, m->waiting + p.nadmit, (size_t)(m->nwaiting - p.nadmit) * sizeof m->waiting[0]);
    m->nwaiting -= p.nadmit;
    bool seen[MAX] = {0};
    for (int i = 0; i < p.npart; i++) {
        int k = part[i].index, n = part[i].ntoken;
        HOLDS(k >= 0 && k < old + p.nadmit && !seen[k]);
        seen[k] = true;
        sg_gap *g = &m->running[k].gap;
        HOLDS(!g->paused || k >= old);
        HOLDS(n >= 1 && n <= g->known - g->computed);
        ndecode += k < old && g->known - g->computed == 1;
        sum += n;
        g->computed += n;
    }
    HOLDS(sum == p.ntoken && ndecode == p.ndecode && sum <= m->options.step_tokens_max);
    if (strcmp(m->policy->name, "chunked") == 0) {
        HOLDS(!ndecode || sum <= (ndecode > m->options.step_tokens ? ndecode : m->options.step_tokens));
        for (int i = 0; i < old; i++) /* no decode is ever left out */
            HOLDS(seen[i] || running[i].paused || running[i].known - running[i].computed != 1);
    }
    HOLDS(p.npart > 0 || ready + p.nadmit == 0);
    m->tokens += sum;
    for (int i = m->nrunning - 1; i >= 0; i--) {
        sim_request *q = &m->running[i];
        bool cancel = sg_rng_below(r, 500) == 0;
        if (!cancel && q->gap.known > q->gap.computed)
            continue;
        if (cancel || q->gap.known - q->prompt + 1 >= q->want) {
            m->finished += !cancel;
            m->cancelled += cancel;
            sim_remove(m, i);
        } else
            q->gap.known++;
    }
    return true;
}

static void simulate(const sg_policy *policy, int steps)
{
    sg_rng *r = tap_rng();
    sim m = {.slots = 1 + (int)sg_rng_below(r, MAX), .free_block = 64 + (int64_t)sg_rng_below(r, 400), .policy = policy};
    m.options.step_tokens_max = 16 + (int)sg_rng_below(r, 500);
    if (m.slots > m.options.step_tokens_max)
        m.slots = m.options.step_tokens_max;
    m.options.step_tokens = 1 + (int)sg_rng_below(r, (uint64_t)m.options.step_tokens_max);
    int slots = m.slots;
    int64_t blocks = m.free_block;
    for (int i = 0; i < steps; i++) {
        if (sg_rng_below(r, 6) == 0)
            sim_submit(&m, r);
        if (!sim_step(&m, r))
            return;
    }
    for (int i = 0; i < 200000 && m.nrunning + m.nwaiting; i++)
        if (!sim_step(&m, r))
            return;
    CHECK_INT(m.nrunning + m.nwaiting, 0); /* nothing starves */
    CHECK_INT(m.free_block, blocks);
    CHECK_INT(m.slots, slots);
    CHECK_INT(m.finished + m.cancelled, m.submitted);
}

TEST(random_traces_keep_the_invariants)
{
    int64_t n = 0;
    for (int i = 0; sg_policy_at(i); i++)
        for (int k = 0; k < 40 && !tap_failed(); k++, n++)
            simulate(sg_policy_at(i), 500);
    tap_note("%lld traces", (long long)n);
}

TEST(chunked_bounds_the_step_beside_decodes)
{
    const sg_policy *policy;
    sg_error err;
    CHECK_OK(sg_policy_find(&policy, "chunked", &err));
    sg_gap running[] = {{.known = 10, .computed = 9}, {.known = 5, .computed = 4}, {.known = 4000, .computed = 100}};
    sg_gap waiting[] = {{.known = 50, .need_block = 4}, {.known = 50, .need_block = 400}, {.known = 1, .need_block = 1}};
    sg_plan_part part[8];
    sg_plan p = {.part = part, .cap = 8};
    sg_snapshot s = {.running = running, .nrunning = 3, .waiting = waiting, .nwaiting = 3, .free_block = 100, .free_slot = 4};
    sg_sched_options o = {.step_tokens = 64, .step_tokens_max = 512};
    sg_sched_plan(policy, &s, &o, &p);
    CHECK_INT(p.npart, 3);
    CHECK_INT(p.ndecode, 2);
    CHECK_INT(p.ntoken, 64);
    CHECK_INT(part[2].index, 2);
    CHECK_INT(part[2].ntoken, 62);
    CHECK_INT(p.nadmit, 1); /* the second does not fit and holds up the third */
    s.running = running + 2, s.nrunning = 1; /* nobody decodes: the budget opens */
    sg_sched_plan(policy, &s, &o, &p);
    CHECK_INT(p.ntoken, 512);
}

TEST(unknown_policy_names_the_known_ones)
{
    const sg_policy *policy = NULL;
    sg_error err;
    CHECK_FAILS(sg_policy_find(&policy, "best", &err), SG_E_NOT_FOUND, "chunked");
    CHECK_OK(sg_policy_find(&policy, NULL, &err));
    CHECK_STR(policy->name, "chunked");
}

TAP_MAIN
