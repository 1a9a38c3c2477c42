/* sched/latency.h - how long a step takes: a small model that is fitted while serving.
 *
 * The scheduler must know before it composes a step how long the step will take (DESIGN decision 2).
 * The model is linear in what a step's cost is made of, with two segments in the number of tokens,
 * because linear layers are bound by memory up to a knee and by arithmetic beyond it:
 *
 *     us = c0                                  fixed cost: barriers, sampling, the pass over the weights
 *        + c1 * min(tokens, knee)
 *        + c2 * max(tokens - knee, 0)
 *        + c3 * decode_rows                    rows with logits
 *        + c4 * decode_context                 sum over decode rows of the keys they read
 *        + c5 * chunk_context                  sum over prompt rows of the keys they read
 *        + c6 * experts                        distinct experts touched
 *
 * times what steps of that kind (with rows of prompts, or without) took lately against this formula.
 *
 * All coefficients stay >= 0, so that the prediction is monotone and a budget can be found by bisection.
 * Pure arithmetic, no clock, no allocation.  One thread at a time.
 */
#ifndef SG_SCHED_LATENCY_H
#define SG_SCHED_LATENCY_H

#include <stdbool.h>
#include <stdint.h>

enum { SG_LATENCY_NTERM = 7, SG_LATENCY_NKNEE = 6, SG_LATENCY_WINDOW = 128 };

typedef struct sg_step_cost {
    int tokens;            /* rows of the step */
    int decode_rows;       /* of these, rows that need logits */
    double decode_context; /* keys read by decode rows, summed */
    double chunk_context;  /* keys read by prompt rows, summed */
    int experts;           /* distinct experts, 0 for dense models */
} sg_step_cost;

/* Normal equations of one candidate knee, decayed, in relative error (each row divided by its time). */
typedef struct sg_latency_fit {
    double a[SG_LATENCY_NTERM][SG_LATENCY_NTERM], b[SG_LATENCY_NTERM];
    double coef[SG_LATENCY_NTERM];
    double loss; /* decayed mean of squared relative errors, predicted before the observation was learnt */
} sg_latency_fit;

/* What recent steps of one kind say about the predictions for it. */
typedef struct sg_latency_kind {
    uint64_t n;
    double bias;   /* recent mean of log(actual / formula) */
    double safety; /* what nine in ten steps stay below, as a factor; 1.0 to 2.0 */
    float errors[SG_LATENCY_WINDOW]; /* ring of (actual - predicted) / predicted */
} sg_latency_kind;

typedef struct sg_latency {
    sg_latency_fit fits[SG_LATENCY_NKNEE];
    int best;           /* index of the fit in use */
    uint64_t nobserved, nrejected;
    int nrun;           /* rejected in a row */
    double drift;       /* recent mean of log(actual / formula): far from 0 when the machine has changed */
    sg_latency_kind kind[2]; /* answers alone; with prompts */
} sg_latency;

/* A model that knows nothing: it predicts 0 until sg_latency_ready. */
void sg_latency_init(sg_latency *l);

/* Whether enough was observed (8 steps) for predictions to be used. */
bool sg_latency_ready(const sg_latency *l);

/* Learn one step.  An observation that is more than 4 times the prediction and stands alone (a page
 * fault storm, a descheduled process) is counted as rejected and not learnt; the third in a row is. */
void sg_latency_observe(sg_latency *l, const sg_step_cost *cost, double us);

/* Expected time in microseconds, without the safety factor. */
double sg_latency_predict_us(const sg_latency *l, const sg_step_cost *cost);

/* What to multiply the prediction of a step like this by so that nine in ten stay below it; 1.0 to 2.0. */
double sg_latency_safety(const sg_latency *l, const sg_step_cost *cost);

/* P90 of |actual - predicted| / actual over the last SG_LATENCY_WINDOW observations of each kind. */
double sg_latency_error_p90(const sg_latency *l);

/* The largest number of prompt tokens, up to `max`, that a step may take in beside `base` and stay within
 * limit_us (with the safety factor); the prompt's rows read from `context` keys on.  0 when not even one
 * fits; `max` when the model is not ready. */
int sg_latency_budget(const sg_latency *l, const sg_step_cost *base, double context, int max, double limit_us);

#endif
