/* sched/sched.h - what the next step computes.
 *
 * A request is a gap (DESIGN decision 1): it knows `known` tokens (prompt, and what was sampled so far)
 * and has computed `computed` of them.  Every step closes some of that gap for some requests; when the
 * gap of a request closes, its next token is sampled and the gap opens again by one.  Prefill, a chunk
 * of prefill, decode, and recompute after preemption are the same thing here.
 *
 * The scheduler is a pure function of a snapshot: it owns nothing, allocates nothing, reads no clock and
 * is deterministic, so a simulator can run it for millions of steps (tests/test_sched.c) and every
 * policy can be compared in the same binary.  The caller owns all arrays.  Any thread.
 */
#ifndef SG_SCHED_SCHED_H
#define SG_SCHED_SCHED_H

#include "base/error.h"

/* One request that runs or waits.  `index` in the plan refers to its place in the snapshot's array. */
typedef struct sg_gap {
    int32_t known;      /* tokens whose ids are known */
    int32_t computed;   /* tokens whose KV is stored; less than known while there is something to do */
    int32_t draft;      /* guessed tokens behind the known ones; 0 without speculation */
    int32_t need_block; /* KV blocks that admission must reserve for its whole life; 0 once running */
    int64_t arrival_us;
    int64_t deadline_us; /* when the next token is due; INT64_MAX: no promise */
    uint32_t tenant;
    uint8_t priority; /* SG_PRIORITY_... */
    bool paused;      /* running, but its reader is behind: nothing is computed for it */
} sg_gap;

enum { SG_PRIORITY_INTERACTIVE, SG_PRIORITY_NORMAL, SG_PRIORITY_BATCH };

typedef struct sg_snapshot {
    int64_t now_us;
    const sg_gap *running; /* admitted, in order of admission */
    int nrunning;
    const sg_gap *waiting; /* not admitted, in order of arrival */
    int nwaiting;
    int64_t free_block; /* KV blocks that nobody has reserved */
    int free_slot;      /* sequences that may still be admitted */
} sg_snapshot;

typedef struct sg_sched_options {
    int step_tokens;     /* budget of tokens in a step while some request decodes; decodes always fit */
    int step_tokens_max; /* the largest step at all (rows that the model has room for) */
} sg_sched_options;

typedef struct sg_plan_part {
    int32_t index;  /* into snapshot.running, or nrunning + place in snapshot.waiting when admitted now */
    int32_t ntoken; /* tokens [computed, computed + ntoken) of it; at least 1 */
} sg_plan_part;

typedef struct sg_plan {
    sg_plan_part *part; /* [cap] by the caller */
    int cap;
    int npart;
    int nadmit; /* the first nadmit waiting requests are admitted, whether or not they have a part */
    int ntoken; /* sum over the parts */
    int ndecode; /* parts that close a gap of one */
} sg_plan;

/* A policy fills a plan: npart, nadmit, ntoken, ndecode are 0 on entry.  It must respect free_block,
 * free_slot, step_tokens_max and cap, never plan a paused request, and never plan more than a gap. */
typedef struct sg_policy {
    const char *name;
    const char *summary;
    void (*plan)(const sg_snapshot *s, const sg_sched_options *options, sg_plan *plan);
} sg_policy;

/* The policy of that name, NULL name: the default.  SG_E_NOT_FOUND lists the names. */
sg_status sg_policy_find(const sg_policy **policy, const char *name, sg_error *err);

/* The table's rows, for help texts and tests; NULL past the end. */
const sg_policy *sg_policy_at(int i);

/* Clear the plan and let the policy fill it. */
void sg_sched_plan(const sg_policy *policy, const sg_snapshot *s, const sg_sched_options *options, sg_plan *plan);

#endif
