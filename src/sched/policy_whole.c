/* sched/policy_whole.c - prompts are not cut: the schedulers that chunking is measured against.
 *
 *     prefill-first   vLLM's first scheduler (Kwon et al., SOSP'23, arXiv:2309.06180): a step has prompts or decodes, and
 *                     prompts win.  Best time to the first token, and every stream stops while prompts come in.
 *     orca            Yu et al., OSDI'22: all decodes and whole new prompts in one iteration, at most 16 requests,
 *                     memory reserved for whole lives.
 *     hybrid          the same mixing with paged memory and no such limit: Sarathi-Serve's ablation without chunks.
 *     request         FasterTransformer: a batch is taken in, and nobody else until all of it has ended.
 *
 * A prompt can be longer than the rows that the model has room for (step_tokens_max).  An iteration is then several
 * steps: in orca and hybrid, steps with prompt tokens alone until the rest fits beside the decodes, and nobody
 * is admitted meanwhile.  The pause of the streams is that of the whole iteration, as it would be in one step.
 */
#include "sched/pass.h"

enum { ORCA_BATCH = 16 };

/* Tokens of running prompts. */
static int64_t pending(const sg_pass *w)
{
    int64_t n = 0;
    for (int i = 0; i < w->s->nrunning; i++)
        if (!w->s->running[i].paused && sg_gap_left(&w->s->running[i]) > 1)
            n += sg_gap_left(&w->s->running[i]);
    return n;
}

static void prompts(sg_pass *w)
{
    int most = w->o->step_tokens_max;
    for (int i = 0; i < w->s->nrunning + w->p->nadmit && w->p->ntoken < most; i++) {
        const sg_gap *g = sg_pass_gap(w, i);
        bool decode = i < w->s->nrunning && sg_gap_left(g) == 1;
        if (!decode && !(i < w->s->nrunning && (g->paused || sg_pass_is_victim(w, i))))
            sg_pass_chunk(w, i, most, 0);
    }
}

static void end(sg_pass *w)
{
    sg_pass_unstick(w, sg_pass_later);
    w->p->budget = w->o->step_tokens_max;
    w->p->predicted_us = sg_pass_us(w);
}

void sg_plan_prefill_first(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    sg_pass_admit_fifo(&w, SG_PROMISE_PROMPT, p->cap);
    prompts(&w);
    if (!p->npart && !p->nadmit) {
        sg_pass_make_room(&w, sg_pass_later);
        sg_pass_decodes(&w);
    }
    end(&w);
}

static void iteration(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p, sg_promise promise, int max_running)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    sg_pass_make_room(&w, sg_pass_later);
    int64_t rows = pending(&w), ndecode = 0;
    if (!rows)
        sg_pass_admit_fifo(&w, promise, max_running < p->cap ? max_running : p->cap);
    for (int i = 0; i < p->nadmit; i++)
        rows += sg_gap_left(&s->waiting[p->admit[i]]);
    for (int i = 0; i < s->nrunning; i++)
        ndecode += !s->running[i].paused && sg_gap_left(&s->running[i]) == 1;
    if (rows + ndecode <= o->step_tokens_max)
        sg_pass_decodes(&w);
    prompts(&w);
    if (!p->npart)
        sg_pass_decodes(&w);
    end(&w);
}

void sg_plan_hybrid(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p) { iteration(s, o, p, SG_PROMISE_PROMPT, p->cap); }

void sg_plan_orca(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    iteration(s, o, p, SG_PROMISE_LIFE, o->param ? o->param : ORCA_BATCH);
}

void sg_plan_request(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p)
{
    sg_pass w;
    sg_pass_begin(&w, s, o, p);
    if (!s->nrunning)
        sg_pass_admit_fifo(&w, SG_PROMISE_LIFE, p->cap);
    prompts(&w);
    if (!p->npart)
        sg_pass_decodes(&w);
    end(&w);
}
