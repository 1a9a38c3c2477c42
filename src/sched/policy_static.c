/* sched/policy_static.c - a fixed budget of tokens a step: Sarathi-Serve, and its chunks without its batches.
 *
 * static:N (Agrawal et al., "Taming throughput-latency tradeoff in LLM inference with Sarathi-Serve", OSDI'24,
 * arXiv:2403.02310, section 4): every decode first, then the running prompts by arrival, then newcomers, as
 * chunks, N tokens in all.
 *
 *     [d d d d | prompt A: 16 .. 76 ]      N = 64; d = one token of an answer
 *     [d d d d | A: 76 .. 90 | B: 0 .. 46 ]
 *
 * chunked:N is the paper's ablation with chunks but without mixed batches: a step has either decodes or one budget of
 * prompt tokens, in turns.
 *
 * N is the whole art: too small wastes arithmetic, too large breaks the bound on the time between tokens.  slo
 * exists because N depends on machine, model, load and context.  A step takes as long as N tokens take: a bound on its time
 * would be half of slo, and would admit requests for which the step has no room.
 */
#include "sched/pass.h"

static int budget(const sg_sched_options *o)
{
    int n = o->param ? o->param : o->step_tokens;
    return n < o->step_tokens_max ? n : o->step_tokens_max;
}

static void running_prompts(sg_pass *w, int budget_tokens)
{
    for (int i = 0; i < w->s->nrunning && w->p->ntoken < budget_tokens; i++) {
        const sg_gap *g = &w->s->running[i];
        if (!g->paused && sg_gap_left(g) > 1 && !sg_pass_is_victim(w, i))
            sg_pass_chunk(w, i, budget_tokens, 0);
    }
}

static void newcomers(sg_pass *w, int budget_tokens)
{
    sg_pass_promise(w, SG_PROMISE_PROMPT);
    for (int i = 0; i < w->s->nwaiting && w->p->ntoken < budget_tokens; i++) {
        if (w->s->waiting[i].paused)
            continue;
        int index = sg_pass_admit(w, SG_PROMISE_PROMPT, i);
        if (index < 0)
            return;
        if (!sg_pass_chunk(w, index, budget_tokens, 0))
            return; /* nothing is left for who comes behind */
    }
}

void sg_plan_static(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    p->budget = budget(o);
    sg_pass_make_room(&w, sg_pass_later);
    sg_pass_decodes(&w);
    running_prompts(&w, p->budget);
    newcomers(&w, p->budget);
    sg_pass_unstick(&w, sg_pass_later);
    p->predicted_us = sg_pass_us(&w);
}

void sg_plan_chunked(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    p->budget = budget(o);
    sg_pass_make_room(&w, sg_pass_later);
    if (s->nstep % 2)
        sg_pass_decodes(&w);
    if (!p->npart) {
        running_prompts(&w, p->budget);
        newcomers(&w, p->budget);
    }
    if (!p->npart)
        sg_pass_decodes(&w);
    sg_pass_unstick(&w, sg_pass_later);
    p->predicted_us = sg_pass_us(&w);
}
