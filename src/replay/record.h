/* replay/record.h - what happened while a load was served, and what its users felt.
 *
 * Real runs (serve.c) and simulated ones (sim.c) fill the same record, so they are summarised, printed and drawn by the
 * same code.  Times are microseconds from the beginning of the run.
 *
 *     request [n]    one for each request of the load, in its order
 *     token   [..]   every token that came, in order of time, with the gap since the one before it of its request
 *     step    [..]   every step of the loop
 */
#ifndef SG_REPLAY_RECORD_H
#define SG_REPLAY_RECORD_H

#include "base/buf.h"
#include "base/error.h"

#include <jansson.h>

typedef struct sg_record_request {
    int64_t arrival_us, admit_us, first_us, last_us, end_us; /* -1: did not happen */
    int32_t prompt, output; /* tokens of the prompt; tokens that came */
    int32_t cached;         /* of the prompt, found computed */
    int32_t npreempt;
    uint8_t finish;         /* sg_finish */
    bool ended;
    bool cut; /* it ended because the run did, which is no failure */
} sg_record_request;

typedef struct sg_record_token {
    int64_t at_us;
    int32_t request;
    float gap_us; /* since its request's last token; -1 for a first token */
} sg_record_token;

typedef struct sg_record_step {
    int64_t start_us;
    float us, predicted_us;          /* 0: not predicted */
    int32_t prompt, decode, draft;   /* rows by kind */
    int32_t running, waiting, preempted;
} sg_record_step;

typedef struct sg_record {
    sg_record_request *request;
    size_t nrequest;
    sg_record_token *token;
    size_t ntoken, captoken;
    sg_record_step *step;
    size_t nstep, capstep;
    int64_t end_us; /* length of the run */
    bool failed;    /* memory ran out: what is recorded is not all */
} sg_record;

sg_status sg_record_init(sg_record *r, size_t nrequest, sg_error *err);
void sg_record_fini(sg_record *r);
void sg_record_clear(sg_record *r); /* forget what happened, keep the memory */

/* Token of request i, now.  Failing to grow is remembered, not reported. */
void sg_record_add_token(sg_record *r, int i, int64_t at_us);
void sg_record_add_step(sg_record *r, const sg_record_step *step);

typedef struct sg_quantiles {
    double p50, p90, p99, max; /* milliseconds; 0 when there is nothing */
} sg_quantiles;

typedef struct sg_summary {
    sg_quantiles ttft, tbt, queue;
    double qps, output_tps, prompt_tps; /* over the run */
    double error_p90;     /* |predicted - actual| / actual of steps behind the first tenth; 0 when none were predicted */
    int64_t preemptions, steps, finished, failed;
    double window_us; /* from the first arrival to the last */
    double cached_share; /* of the prompts' tokens, found computed */
    double rows_p50, rows_max; /* rows of steps beside decodes */
} sg_summary;

/* Allocates while it sorts: SG_E_NOMEM. */
sg_status sg_record_summarise(const sg_record *r, sg_summary *s, sg_error *err);

/* q-quantile of v[0..n), which is reordered. */
double sg_quantile(float *v, size_t n, double q);

/* Add the summary's members to a JSON object. */
void sg_summary_json(json_t *o, const sg_summary *s);

/* A line for each request; a line for each step. */
sg_status sg_record_write_csv(const sg_record *r, const char *path, sg_error *err);
sg_status sg_record_write_steps(const sg_record *r, const char *path, sg_error *err);

/* The picture (svg.c).  `title` and `note` are lines of text above it; bound_us: the wanted bound on gaps, 0: none. */
sg_status sg_record_write_svg(const sg_record *r, const char *path, const char *title, const char *note, double bound_us, sg_error *err);

#endif
