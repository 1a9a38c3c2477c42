/* engine/draw.c - drawing the tokens of a step, by all workers.
 *
 * A draw goes over a whole row of logits, 50,000 to 250,000 of them, once or several times.  Made by the loop alone those of eight
 * streams take as long as a third of the step of a small model, while the model's workers wait.  So they take part:
 *
 *     work        0   1   2   3   4 ...       parts of the step; one that closes its gap has 1 + ndraft rows of logits
 *     drawer      0   1   0   1   0 ...       each takes the next one that nobody has taken, and has a sampler of its own
 *     choice      [ 0 ][ 1 1 1 ][ 2 ] ...     by row of logits, read by absorb.c in the order of the parts
 *
 * The unit is a request and not a row: the draw behind a guess is only made when the draw before it confirmed the guess, as its history
 * would be another one.  A draw depends on the row, the request's own tokens, its seed and the position only, so it does not matter who
 * makes it.  A request with a grammar is left to absorb.c, because its mask follows from the token before and grows memory.
 *
 * Rejected: a task for each piece of a row (masses are summed in the order of the ids, so pieces would wait for each other), and
 * drawing in the tasks that compute the logits (a row's pieces are computed by several workers).
 *
 * Nothing here allocates.  More drawers than DRAWERS would take memory for samplers that hardly pays any more.
 */
#include "engine/internal.h"

#include "base/heap.h"
#include "base/pool.h"

/* A stream's row is worth waking somebody for when it is as long as this: measured with `segue bench MODEL --pp 0 --engine --batch 2,4,8`
 * on rows of 49,152 and 151,936 logits, greedy and at temperature 1. */
enum { DRAWERS = 8, ROW_MIN = 4096 };

/* As many as there are workers and requests to draw for. */
static int ndrawer(int nworker, int max_running)
{
    int n = nworker < DRAWERS ? nworker : DRAWERS;
    return n < max_running ? n : max_running;
}

uint64_t sg_drawers_bytes(int nworker, int max_running, int max_logits, int nvocab)
{
    return (uint64_t)ndrawer(nworker, max_running) * sg_sampler_bytes((size_t)nvocab) + (uint64_t)max_logits * sizeof(sg_choice);
}

sg_status sg_engine_open_drawers(sg_engine *e, sg_error *err)
{
    int n = ndrawer(e->lm.workers ? sg_pool_nworker(e->lm.workers) : 1, e->max_running);
    e->draw_min = ROW_MIN;
    e->choice = sg_calloc((size_t)e->lm.max_logits, sizeof *e->choice);
    e->sampler = sg_calloc((size_t)n, sizeof(sg_sampler *));
    if (!e->choice || !e->sampler)
        return sg_fail_nomem(err, "the step loop");
    for (; e->ndrawer < n; e->ndrawer++)
        if (!(e->sampler[e->ndrawer] = sg_sampler_new((size_t)e->lm.nvocab)))
            return sg_fail_nomem(err, "a sampler");
    return SG_OK;
}

void sg_engine_close_drawers(sg_engine *e)
{
    for (int i = 0; i < e->ndrawer; i++)
        sg_sampler_free(e->sampler[i]);
    sg_free(e->sampler);
    sg_free(e->choice);
}

void sg_request_draw(sg_engine *e, const sg_request *r, int row, int n, const uint32_t *mask, sg_sampler *sampler)
{
    sg_choice *c = &e->choice[row];
    c->want_logprob = r->ntop >= 0;
    c->ntop = r->ntop > 0 ? (size_t)r->ntop : 0;
    sg_sampler_pick(sampler, &r->sampling, e->logits + (size_t)row * (size_t)e->lm.nvocab, r->token, (size_t)n, (uint64_t)n, mask, c);
}

static bool can_draw(const sg_work *w) { return w->out >= 0 && !w->request->constraint; }

/* As many rows of a part as its guesses are right for, and one. */
static void draw_part(sg_engine *e, sg_work *w, sg_sampler *sampler)
{
    sg_request *r = w->request;
    for (int i = 0; i <= w->ndraft; i++) {
        int n = r->known + i;
        sg_request_draw(e, r, w->out + i, n, NULL, sampler);
        w->ndrawn = i + 1;
        if (i == w->ndraft || e->choice[w->out + i].id != r->draft[i])
            return;
        r->token[n] = r->draft[i]; /* behind the known ones, where the next draw looks for the past */
    }
}

static void draw_task(void *arg, int task, int worker)
{
    sg_engine *e = arg;
    (void)worker;
    for (int i; (i = atomic_fetch_add_explicit(&e->draw_next, 1, memory_order_relaxed)) < e->nwork;)
        if (can_draw(&e->work[i]))
            draw_part(e, &e->work[i], e->sampler[task]);
}

void sg_engine_draw(sg_engine *e)
{
    int n = 0;
    for (int i = 0; i < e->nwork; i++) {
        e->work[i].ndrawn = 0;
        n += can_draw(&e->work[i]);
    }
    atomic_store_explicit(&e->draw_next, 0, memory_order_relaxed);
    int ntask = e->lm.nvocab < e->draw_min ? 1 : n < e->ndrawer ? n : e->ndrawer;
    if (ntask > 1)
        sg_pool_run(e->lm.workers, draw_task, e, ntask);
    else if (n)
        draw_task(e, 0, 0);
}
