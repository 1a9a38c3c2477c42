/* sched/sched.c - the table of policies, and the first of them.
 *
 * `chunked` (after Sarathi-Serve, Agrawal et al., OSDI'24, arXiv:2403.02310): every request that only
 * waits for its next token goes first; what is left of the budget goes to prompts, oldest first, as
 * chunks.  While nobody decodes there is no pause to bound, and the budget opens to the largest step.
 *
 *     step:   [d d d d | prompt A: 16 .. 76 ]      d = one token of a decoding request
 *     step:   [d d d d | prompt A: 76 .. 90 | prompt B: 0 .. 46 ]
 *
 * Admission is first come, first served: a request that does not fit holds up those behind it, so
 * that it cannot starve.  It reserves the blocks of its whole life, hence a running request never
 * has to be thrown out.
 *
 * `prefill-first` (vLLM's first scheduler) is the baseline that chunking is measured against: whole
 * prompts stand before decodes.
 */
#include "sched/sched.h"

#include <stdio.h>
#include <string.h>

static int gap(const sg_gap *g) { return g->known - g->computed; }

static void add(sg_plan *p, int index, int ntoken)
{
    p->part[p->npart++] = (sg_plan_part){.index = index, .ntoken = ntoken};
    p->ntoken += ntoken;
}

static void add_decodes(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    for (int i = 0; i < s->nrunning && p->npart < p->cap && p->ntoken < o->step_tokens_max; i++)
        if (!s->running[i].paused && gap(&s->running[i]) == 1) {
            add(p, i, 1);
            p->ndecode++;
        }
}

/* How many of the waiting requests get in, in order. */
static void admit(const sg_snapshot *s, sg_plan *p)
{
    int64_t block = s->free_block;
    while (p->nadmit < s->nwaiting && p->nadmit < s->free_slot && s->waiting[p->nadmit].need_block <= block)
        block -= s->waiting[p->nadmit++].need_block;
}

/* Chunks of gaps wider than one, oldest first, up to `budget` tokens in the whole step. */
static void add_chunks(const sg_snapshot *s, int budget, bool whole, sg_plan *p)
{
    for (int i = 0; i < s->nrunning + p->nadmit && p->npart < p->cap && p->ntoken < budget; i++) {
        const sg_gap *g = i < s->nrunning ? &s->running[i] : &s->waiting[i - s->nrunning];
        int n = gap(g), room = budget - p->ntoken;
        if (g->paused || n < 1 || (i < s->nrunning && n == 1))
            continue; /* a gap of one was planned as a decode */
        if (whole && n > room && p->ntoken > 0)
            return;
        add(p, i, n < room ? n : room);
    }
}

static void plan_chunked(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    admit(s, p);
    add_decodes(s, o, p);
    int budget = o->step_tokens_max;
    if (p->ndecode && o->step_tokens < budget)
        budget = o->step_tokens;
    add_chunks(s, budget, false, p);
}

static void plan_prefill_first(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    admit(s, p);
    add_chunks(s, o->step_tokens_max, true, p);
    if (!p->npart)
        add_decodes(s, o, p);
}

static const sg_policy policies[] = {
    {"chunked", "decodes first, then prompts in chunks under a fixed budget of tokens", plan_chunked},
    {"prefill-first", "whole prompts before decodes: a baseline that stalls", plan_prefill_first},
};

enum { NPOLICY = sizeof policies / sizeof policies[0] };

const sg_policy *sg_policy_at(int i) { return i >= 0 && i < NPOLICY ? &policies[i] : NULL; }

sg_status sg_policy_find(const sg_policy **policy, const char *name, sg_error *err)
{
    char names[128] = "";
    for (int i = 0; i < NPOLICY; i++) {
        if (!name || strcmp(policies[i].name, name) == 0) {
            *policy = &policies[i];
            return SG_OK;
        }
        size_t n = strlen(names);
        snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "", policies[i].name);
    }
    return sg_fail(err, SG_E_NOT_FOUND, "unknown policy '%.64s': one of %s", name, names);
}

void sg_sched_plan(const sg_policy *policy, const sg_snapshot *s, const sg_sched_options *options, sg_plan *plan)
{
    plan->npart = plan->nadmit = plan->ntoken = plan->ndecode = 0;
    policy->plan(s, options, plan);
}
