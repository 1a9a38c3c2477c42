/* engine/worth.c - whether guessing pays, measured and not only predicted.
 *
 * The scheduler gives guesses rows by the step-time model and by how often they are right.  Both may be wrong for a while: a kernel
 * takes two rows in twice the time of one, the processor is shared, the draft model reads a long text first.  So every
 * step with guesses is weighed against the plain steps that would have brought as many tokens:
 *
 *     spent = its time, and that of the draft model before it
 *     would = tokens drawn / streams  x  predicted time of a plain step  x  how plain steps compare with their predictions lately
 *
 * Sums decay over about thirty steps, apart for 1, 2, 3-4, 5-8, 9-16 and more streams.  When DECIDE steps are together, or sooner when
 * LOSS plain steps are lost already, and spent is above would, there are no guesses beside so many streams for a rest, twice as long
 * each time that the next trial fails too, so what trials can lose falls from about a fortieth to nothing.  A trial has to show a
 * gain of a twentieth before the rest is short again.
 *
 * The step loop's thread.
 */
#include "engine/internal.h"

enum { DECIDE = 12, LOSS = 3, WORTH_REST = 128, WORTH_REST_MAX = 4096 };
static const double decay = 0.97, plain_rate = 0.05, clear_gain = 0.95;

static sg_worth *worth_of(sg_engine *e, int nstream)
{
    int class = 0;
    while (class < SG_WORTH_NCLASS - 1 && 1 << class < nstream)
        class++;
    return &e->worth[class];
}

bool sg_engine_may_guess(sg_engine *e)
{
    int n = 0;
    for (int i = 0; i < e->nrunning; i++)
        n += e->running[i]->state == SG_REQUEST_DECODE;
    sg_worth *w = worth_of(e, n);
    if (!w->rest)
        return true;
    w->rest--;
    return false;
}

static void learn_plain(sg_worth *w, double ratio)
{
    if (ratio > 4) /* somebody else had the processor */
        return;
    w->plain += (w->plain > 0 ? plain_rate : 1) * (ratio - w->plain);
}

static void decide(sg_worth *w, double plain_us)
{
    if (w->spent - w->would <= LOSS * plain_us && w->n < DECIDE)
        return;
    if (w->spent > w->would) {
        uint32_t pause = w->pause ? w->pause : WORTH_REST;
        w->rest = pause;
        w->pause = pause < WORTH_REST_MAX ? 2 * pause : WORTH_REST_MAX;
        w->spent = w->would = 0;
        w->n = 0;
    } else if (w->spent < clear_gain * w->would)
        w->pause = 0;
}

void sg_engine_weigh(sg_engine *e, double us, uint64_t drawn)
{
    double draft_us = e->draft_us, plain = e->plain_us;
    int ndraft = 0, n = e->nwork;
    e->draft_us = 0;
    for (int i = 0; i < n; i++)
        ndraft += e->work[i].ndraft;
    if (plain <= 0)
        return;
    e->decode_us += us;
    sg_worth *w = worth_of(e, n);
    if (!ndraft && draft_us <= 0) {
        learn_plain(w, us / plain);
        return;
    }
    plain *= w->plain > 0 ? w->plain : 1;
    w->spent = decay * w->spent + us + draft_us;
    w->would = decay * w->would + plain * (double)drawn / n;
    w->n++;
    decide(w, plain);
}
