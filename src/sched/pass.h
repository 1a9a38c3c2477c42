/* sched/pass.h - the pieces that policies are made of.
 *
 * A policy goes over the requests in passes (decodes, prompts, admissions); sg_pass is the plan in the making, with
 * what is left of KV blocks and what the step costs so far.  Private to src/sched.
 */
#ifndef SG_SCHED_PASS_H
#define SG_SCHED_PASS_H

#include "sched/sched.h"

typedef struct sg_pass {
    const sg_snapshot *s;
    const sg_sched_options *o;
    sg_plan *p;
    int64_t block;     /* KV blocks that parts of this step may still take */
    int64_t promise;   /* blocks that admission may still promise; set by sg_pass_promise */
    sg_step_cost cost; /* of the parts so far */
} sg_pass;

/* Which blocks a request is promised when it is admitted. */
typedef enum sg_promise {
    SG_PROMISE_LIFE,   /* all that it can ever need */
    SG_PROMISE_PROMPT, /* those of its prompt, with a watermark left free: later growth may throw somebody out */
    SG_PROMISE_EXPECT, /* those of its expected length, with a watermark */
} sg_promise;

void sg_pass_begin(sg_pass *w, const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);

/* Request `index` of a part: running, or admitted by this plan. */
const sg_gap *sg_pass_gap(const sg_pass *w, int index);

/* The first token that would be computed, and how many there are. */
static inline int sg_gap_start(const sg_gap *g) { return g->computed > g->cached ? g->computed : g->cached; }
static inline int sg_gap_left(const sg_gap *g) { return g->known - sg_gap_start(g); }
static inline bool sg_gap_decodes(const sg_gap *g) { return sg_gap_left(g) == 1 && g->known > g->prompt; }

bool sg_pass_is_victim(const sg_pass *w, int index);

/* Add a part of n known tokens and ndraft guesses; fewer when blocks or rows are short.  Returns the known tokens added. */
int sg_pass_add(sg_pass *w, int index, int n, int ndraft);

/* One guess more, or less, for part number `part`; false when there is no row or block for it. */
bool sg_pass_grow(sg_pass *w, int part);
void sg_pass_shrink(sg_pass *w, int part);

/* Add every running request that waits for its next token, in order, whatever the budget. */
void sg_pass_decodes(sg_pass *w);

/* Add a chunk of request `index` so that the step has at most `budget` rows and lasts at most limit_us (0: any time). */
int sg_pass_chunk(sg_pass *w, int index, int budget, double limit_us);

/* Expected microseconds of the parts so far, 0 while the latency model is not ready. */
double sg_pass_us(const sg_pass *w);
bool sg_pass_predicts(const sg_pass *w);

/* Admission: say what is promised, once; then ask for one request after the other. */
void sg_pass_promise(sg_pass *w, sg_promise kind);
bool sg_pass_fits(const sg_pass *w, sg_promise kind, const sg_gap *g);
/* Admit the waiting request at `place`; its index for parts, or -1 when it does not fit. */
int sg_pass_admit(sg_pass *w, sg_promise kind, int place);
/* Admit in order of arrival until one does not fit. */
void sg_pass_admit_fifo(sg_pass *w, sg_promise kind, int max_running);

/* Whether request a is to be thrown out rather than b. */
typedef bool sg_worse(const sg_snapshot *s, const sg_gap *a, const sg_gap *b);
sg_worse sg_pass_later; /* the one that came last */

/* Throw out the worst until the decodes of this step have their blocks.  Only with options->preempt; the best is kept. */
void sg_pass_make_room(sg_pass *w, sg_worse *worse);
/* Nothing is planned although somebody could go on, for lack of blocks: throw out the worst until the best can. */
void sg_pass_unstick(sg_pass *w, sg_worse *worse);

/* Sort plan->order[0..n) by plan->key of the same place, then by number. */
void sg_pass_sort(sg_pass *w, int n);

/* The policies. */
void sg_plan_slo(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_static(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_chunked(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_hybrid(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_prefill_first(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_orca(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);
void sg_plan_request(const sg_snapshot *s, const sg_sched_options *o, sg_plan *p);

#endif
