/* engine/speculate.c - guessing ahead: which source guesses for which request, and what is learnt from the outcome.
 *
 * Guesses go through the model as rows of the next step, each at its own position.  The first draw that differs
 * from its guess ends them, and the draw counts: a token is what the sampler draws at its position with its
 * counter, so the text is the same with and without guessing, greedy or not, with a grammar or without.  The keys of
 * wrong guesses are dropped.  A draw is made only where all guesses before it were right, so there are as many draws as
 * tokens.
 *
 * Sources, asked in this order; the first one that has a guess and is not resting makes it:
 *
 *     tree     what other requests had behind the same tokens from the first one on          kv/prefix.c
 *     long     what this text had behind the same run of at least LONG tokens                draft_lookup.c
 *     short    the same with a shorter run
 *     model    what a small model with the same vocabulary says; asked last, as it costs time  draft_model.c
 *
 * Whether guesses are worth their rows is the scheduler's decision (plan_drafts in sched/policy_slo.c), from the time
 * that a row costs and the probability that a guess is right.  That is kept for each request and source, begins with what
 * requests had lately (greedy ones, or those that draw), and moves with every guess whose outcome is known.  A source that
 * is mostly wrong rests: for eight tokens, then for twice as many each time that its one guess afterwards is wrong again, up
 * to REST_MAX.  So a text that does not repeat itself costs a row every few hundred tokens, and one that begins to is
 * found out.  Where others were mostly wrong lately, a new request begins at rest.
 *
 * Whether guessing pays at all is measured too (worth.c).
 *
 * The step loop's thread.
 */
#include "engine/internal.h"

enum { LONG = 8, REST_MIN = 8, REST_MAX = 512 };
static const float quit = 0.3f, first = 0.5f, rate = 0.15f, shared_rate = 0.02f;

/* What requests like this one had lately.  The model's guesses are examined apart (draft_model.c). */
static float *recent(sg_engine *e, const sg_request *r, sg_draft_kind kind)
{
    return kind != SG_DRAFT_MODEL && r->sampling.temperature > 0 ? &e->guess_sampled[kind] : &e->guess_accept[kind];
}

void sg_request_expect_guesses(sg_engine *e, sg_request *r)
{
    for (int k = 0; k < SG_DRAFT_NKIND; k++) {
        float accept = *recent(e, r, (sg_draft_kind)k);
        if (accept < quit && k != SG_DRAFT_MODEL)
            r->guess[k] = (sg_guess){.accept = accept, .rest = REST_MIN, .pause = 2 * REST_MIN};
        else
            r->guess[k] = (sg_guess){.accept = accept < quit ? first : accept, .pause = REST_MIN};
    }
    r->draft_kind = SG_DRAFT_TREE;
}

void sg_engine_expect_guesses(sg_engine *e)
{
    static const float usual[SG_DRAFT_NKIND] = {
        [SG_DRAFT_TREE] = 0.7f, [SG_DRAFT_LONG] = 0.7f, [SG_DRAFT_SHORT] = 0.5f, [SG_DRAFT_MODEL] = 0.6f};
    for (int k = 0; k < SG_DRAFT_NKIND; k++)
        e->guess_accept[k] = e->guess_sampled[k] = usual[k];
}

int sg_request_guess_most(const sg_engine *e, const sg_request *r, int room)
{
    int most = r->limit - r->known - 1;
    most = most < room - 1 ? most : room - 1;
    most = most < e->ndraft_max ? most : e->ndraft_max;
    return most < SG_DRAFT_MAX ? most : SG_DRAFT_MAX;
}

bool sg_request_may_guess(sg_request *r, sg_draft_kind kind, int *most)
{
    sg_guess *g = &r->guess[kind];
    if (g->accept >= quit)
        return true;
    if (g->rest > 0) {
        g->rest--;
        return false;
    }
    *most = *most < 1 ? *most : 1;
    return true;
}

void sg_request_take_guess(sg_request *r, sg_draft_kind kind, int n)
{
    const sg_guess *g = &r->guess[kind];
    r->ndraft = n;
    r->draft_kind = kind;
    r->accept = g->accept >= quit ? g->accept : first; /* after a rest: one try */
}

/* n guesses of a kind stand in r->draft: keep those that the kind may make. */
static bool take(sg_request *r, sg_draft_kind kind, int n)
{
    int most = n;
    if (n <= 0 || !sg_request_may_guess(r, kind, &most))
        return false;
    sg_request_take_guess(r, kind, most);
    return true;
}

void sg_request_guess(sg_engine *e, sg_request *r, int room)
{
    int most = sg_request_guess_most(e, r, room), past = 0;
    if (!r->drafter || most < 1)
        return;
    if (e->prefix && take(r, SG_DRAFT_TREE, sg_request_guess_tree(e, r, r->draft, most)))
        return;
    int n = sg_drafter_guess(r->drafter, r->token, r->known, r->draft, most, &past);
    take(r, past >= LONG ? SG_DRAFT_LONG : SG_DRAFT_SHORT, n);
}

void sg_request_learn(sg_engine *e, sg_request *r, int given, int right)
{
    sg_guess *g = &r->guess[r->draft_kind];
    float *shared = recent(e, r, r->draft_kind);
    int tried = right < given ? right + 1 : given; /* those behind the first wrong one say nothing */
    for (int i = 0; i < tried; i++) {
        float hit = i < right ? 1.0f : 0.0f;
        g->accept += rate * (hit - g->accept);
        *shared += shared_rate * (hit - *shared);
    }
    if (right) {
        g->pause = REST_MIN;
        g->accept = g->accept > quit ? g->accept : quit;
    } else if (g->accept < quit) {
        g->rest = g->pause;
        g->pause = g->pause < REST_MAX ? (uint16_t)(2 * g->pause) : REST_MAX;
    }
    pthread_mutex_lock(&e->stats_lock);
    e->stats.drafted_tokens += (uint64_t)given;
    e->stats.accepted_tokens += (uint64_t)right;
    e->stats.drafted_by[r->draft_kind] += (uint64_t)given;
    e->stats.accepted_by[r->draft_kind] += (uint64_t)right;
    pthread_mutex_unlock(&e->stats_lock);
}
