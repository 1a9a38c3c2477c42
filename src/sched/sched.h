/* sched/sched.h - what the next step computes.
 *
 * A request is a gap (DESIGN decision 1): it knows `known` tokens (prompt, and what was sampled so far)
 * and has computed `computed` of them.  Every step closes some of that gap for some requests; when the
 * gap of a request closes, its next token is sampled and the gap opens again by one.  Prefill, a chunk
 * of prefill, decode, verify, and recompute after preemption are the same thing here.
 *
 * The scheduler is a pure function of a snapshot: it owns nothing, allocates nothing, reads no clock and
 * is deterministic, so a simulator can run it for millions of steps (engine/sim.h) and every policy can
 * be compared in the same binary.  The caller owns all arrays.  Any thread.
 *
 *     snapshot:  running [r0 r1 r2 ...]   waiting [w0 w1 w2 w3 ...]
 *     plan:      part    what is computed of whom: running by place, admitted ones behind them
 *                admit   places in waiting, in the order of admission: they become running[nrunning + k]
 *                victim  places in running: thrown out before anything is computed; all of their blocks
 *                        are given back, `computed` becomes 0, and they wait again, first in line
 *
 * docs/scheduling.md says what each policy does and when to use it.
 */
#ifndef SG_SCHED_SCHED_H
#define SG_SCHED_SCHED_H

#include "base/error.h"
#include "sched/latency.h"

enum { SG_PRIORITY_INTERACTIVE, SG_PRIORITY_NORMAL, SG_PRIORITY_BATCH, SG_NPRIORITY };

/* One request that runs or waits. */
typedef struct sg_gap {
    int32_t known;      /* tokens whose ids are known */
    int32_t computed;   /* tokens whose KV is stored; less than known while there is something to do */
    int32_t prompt;     /* of the known ones, those that came with the request */
    int32_t limit;      /* tokens at which it ends at the latest */
    int32_t expect;     /* tokens at which it will probably end, known < expect <= limit; 0: limit */
    int32_t draft;      /* guessed tokens behind the known ones; 0 without speculation */
    float accept;       /* probability that a guess is right, given that those before it are; 0 to 1 */
    int32_t held_block; /* KV blocks in its table; waiting: those of its cached tokens that running requests hold anyway */
    int32_t own_block;  /* of these, those that can be had by others once it is thrown out */
    int32_t copy_block; /* 1: its last block is shared and partly filled, the next write copies it; else 0 */
    int32_t cached;     /* waiting: leading tokens that the prefix tree has, a hint; admission may find others */
    int64_t arrival_us;
    int64_t last_us;     /* when its last token came; arrival_us before the first */
    int64_t deadline_us; /* when its next token is due; INT64_MAX: the policy decides by class */
    uint32_t tenant;
    uint16_t npreempt; /* how often it was thrown out */
    uint8_t priority;  /* SG_PRIORITY_... */
    bool paused;       /* running: its reader is behind, nothing is computed for it; waiting: not to be admitted now */
} sg_gap;

typedef struct sg_snapshot {
    uint64_t nstep; /* steps so far: for policies that alternate */
    int64_t now_us;
    const sg_gap *running; /* admitted, in order of admission */
    int nrunning;
    const sg_gap *waiting; /* not admitted, thrown-out ones first, else in order of arrival */
    int nwaiting;
    int64_t free_block;        /* KV blocks that can be had: free ones, and those that only the prefix tree holds */
    int64_t nblock;            /* blocks of the pool */
    int block;                 /* positions in a block; at least 1 */
    int free_slot;             /* sequences that may still be admitted */
    const sg_latency *latency; /* how long steps take; NULL: not known */
    int nexpert, nexpert_used; /* of each mixture layer; 0 for dense models */
} sg_snapshot;

typedef struct sg_policy sg_policy;

typedef struct sg_sched_options {
    const sg_policy *policy;
    int param;           /* the N of static:N; 0: none given */
    int step_tokens;     /* budget of tokens in a step beside decodes while the step time is not known */
    int step_tokens_max; /* the largest step at all (rows that the model has room for) */
    int64_t step_us_max; /* how long a step may last when nobody decodes (what a cancelled request waits for); 0: any time */
    int64_t tbt_us;      /* wanted bound on the time between tokens; 0: slo chooses it from the time of a decode step */
    bool preempt;        /* running requests may be thrown out, so admission may hope; else it reserves whole lives */
} sg_sched_options;

typedef struct sg_plan_part {
    int32_t index;  /* into snapshot.running, or nrunning + k for the k-th admitted */
    int32_t ntoken; /* tokens [computed, computed + ntoken) of the known ones; at least 1 */
    int32_t ndraft; /* guessed tokens to verify behind them; more than 0 only when ntoken closes the gap */
} sg_plan_part;

typedef struct sg_plan {
    sg_plan_part *part; /* [cap] */
    int32_t *admit;     /* [cap] */
    int32_t *victim;    /* [cap] */
    int32_t *order;     /* [norder] room for the policy */
    int64_t *key;       /* [norder] */
    int cap, norder;
    int npart, nadmit, nvictim;
    int ntoken;  /* rows of the step: known and guessed */
    int ndraft;  /* of these, guessed */
    int ndecode; /* parts whose gap was one: answers that go on */
    int budget;  /* tokens that the step was allowed, for statistics */
    double predicted_us; /* how long it will take; 0: not known */
} sg_plan;

/* Room for plans over max_running running and max_waiting waiting requests.  SG_E_NOMEM. */
sg_status sg_plan_init(sg_plan *plan, int max_running, int max_waiting, sg_error *err);
void sg_plan_fini(sg_plan *plan);

/* A policy fills a plan whose counts are 0 on entry, and must
 *   - plan no paused request, no victim, nobody twice, and of nobody more than its gap and its drafts;
 *   - keep to step_tokens_max rows, free_slot admissions and cap parts;
 *   - need no more blocks than are free, with what the victims own;
 *   - admit nobody in a step that throws somebody out;
 *   - plan something when some running request is not paused or somebody is admitted. */
struct sg_policy {
    const char *name; /* "static:N" is found as "static" with a param */
    const char *summary;
    bool takes_param;
    void (*plan)(const sg_snapshot *s, const sg_sched_options *options, sg_plan *plan);
};

/* Set options->policy and ->param from a name such as "slo" or "static:128"; NULL: the default.  SG_E_NOT_FOUND lists the
 * names, SG_E_ARGUMENT for a parameter that is none. */
sg_status sg_policy_find(sg_sched_options *options, const char *name, sg_error *err);

/* The table's rows, for help texts and tests; NULL past the end.  The first is the default. */
const sg_policy *sg_policy_at(int i);

/* Clear the plan and let the policy fill it; snapshot->nrunning and ->nwaiting are what the plan has room for at most. */
void sg_sched_plan(const sg_sched_options *options, const sg_snapshot *s, sg_plan *plan);

/* What a plan costs, for sg_latency_observe after the step: the same features that the prediction was made from. */
sg_step_cost sg_plan_cost(const sg_snapshot *s, const sg_plan *plan);

#endif
