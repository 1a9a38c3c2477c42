/* engine/internal.h - the two objects of the engine: the request and the engine itself.
 *
 * Who touches what
 *
 *     submitter        builds a request (all its memory), hands it in at engine.inbox
 *     step loop        owns engine.waiting, engine.running and the request's "loop" fields
 *     reader           takes events from the request's ring
 *     anyone           sets request.cancelled
 *
 *         submit --inbox--> waiting --admit--> running --finish--> (ended)
 *                    \______________ cancel, error ______________/
 *
 * A request has two references: the reader's (sg_request_free) and the loop's (its end).  Locks:
 * engine.lock guards the inbox, request.lock the ring.  Who holds a request.lock may take the engine.lock,
 * never the other way; request.engine is non-NULL under request.lock only while the engine lives.
 */
#ifndef SG_ENGINE_INTERNAL_H
#define SG_ENGINE_INTERNAL_H

#include "base/error.h"
#include "engine/lm.h"
#include "engine/stop.h"
#include "sample/sampler.h"
#include "sched/sched.h"

#include <pthread.h>
#include <stdatomic.h>

/* One token in the ring: its text has a fixed place of entry_bytes, its likeliest tokens one of ntop. */
typedef struct sg_entry {
    int32_t token;
    uint32_t ntext;
    uint64_t start; /* offset of its text in the answer */
    double logprob;
} sg_entry;

typedef enum sg_request_state { SG_REQUEST_WAITING, SG_REQUEST_RUNNING, SG_REQUEST_ENDED } sg_request_state;

struct sg_request {
    _Atomic int refs;
    _Atomic bool cancelled;
    bool stalled;      /* under lock: the loop waits for the reader */
    sg_engine *engine; /* under lock: NULL once ended */

    /* fixed at submit */
    sg_sampling sampling;
    sg_logit_bias *bias;
    int nprompt, limit; /* tokens at which it ends */
    int ntop;           /* -1: no log-probabilities */
    bool ignore_eos;
    uint32_t tenant;
    void (*notify)(void *arg);
    void *arg;

    /* the loop's */
    sg_request *next; /* inbox */
    sg_request_state state;
    int32_t *token; /* [limit] */
    int known, computed, need_block;
    sg_kv_seq *seq; /* its blocks are taken as it grows, out of the need_block that admission reserved */
    sg_stop stop;
    void *decoder;
    void (*decoder_free)(void *decoder);
    uint64_t fed; /* bytes of text decoded */
    bool gone;    /* to be taken out of the running list */
    int64_t submit_us, admit_us, first_us, last_us;

    /* the ring: head <= published <= produced; [published, produced) is held back for stop strings */
    pthread_mutex_t lock;
    pthread_cond_t come;
    int nentry;
    size_t entry_bytes;
    sg_entry *entry;
    char *text;      /* [nentry][entry_bytes] */
    sg_logprob *top; /* [nentry][ntop] */
    uint64_t head, published, produced;
    bool ended, end_read, reading; /* reading: entry `head` is in the reader's hands */
    sg_finish finish;
    sg_error error;
    sg_usage usage;
    sg_timings timings;
    char tail[16]; /* text of the end event */
    size_t ntail;
};

struct sg_engine {
    sg_lm lm;
    char *name;
    sg_sched_options sched;
    int max_running, max_waiting;
    int64_t slo_tbt_us; /* 0: none */
    int64_t load_us;
    void (*on_step)(void *arg, const sg_step_info *info);
    void *on_step_arg;
    pthread_t thread;
    bool started;

    pthread_mutex_t lock;
    pthread_cond_t wake;
    sg_request *inbox, **inbox_end;
    int nqueued; /* inbox and waiting */
    bool closing, nudged;
    uint64_t rejected;

    /* the loop's */
    sg_request **waiting, **running;
    int nwaiting, nrunning;
    int reserved_block; /* sum of need_block over running, for statistics */
    double row_us; /* recent time of a row in steps of many rows; 0: not known yet */
    sg_gap *gap_running, *gap_waiting;
    sg_plan plan;
    uint64_t nstep;
    int32_t *row_token, *row_seq, *row_pos; /* [max_rows] */
    int32_t *extent, *logit_row;            /* [max_running] */
    sg_kv_seq **seqs;
    sg_request **logit_request;
    float *logits; /* [max_running][nvocab] */
    char *piece;
    sg_sampler *sampler;

    pthread_mutex_t stats_lock;
    sg_engine_stats stats;
};

/* request.c */
void sg_request_unref(sg_request *r);
/* Loop: room in the ring for one more token? */
bool sg_request_has_room(sg_request *r);
/* Loop: a sampled token goes through detokeniser and stop strings into the ring.  True when a stop string ended it. */
bool sg_request_push(sg_request *r, const sg_choice *choice, char *piece);
/* Loop: the end event. */
void sg_request_end(sg_request *r, sg_finish finish, const sg_error *error);

/* engine.c */
/* Start an engine over a model that is loaded; takes over *lm, also on failure. */
sg_status sg_engine_open_lm(sg_engine **engine, sg_lm *lm, const sg_engine_options *options, sg_error *err);
/* Wake the loop: a reader has made room, or a request was cancelled. */
void sg_engine_nudge(sg_engine *e);

/* lm_model.c */
sg_status sg_lm_open(sg_lm *lm, const sg_engine_options *options, sg_error *err);

/* step.c */
void *sg_engine_loop(void *engine);

/* admit.c: the loop's lists. */
/* Move the inbox to the waiting list; wait for something when `idle`.  False when the engine closes. */
bool sg_engine_gather(sg_engine *e, bool idle);
/* End a request that its list does not hold any more; it may be gone on return. */
void sg_engine_finish(sg_engine *e, sg_request *r, sg_finish how, const sg_error *error);
/* End what was cancelled, or all. */
void sg_engine_sweep_waiting(sg_engine *e, bool all);
void sg_engine_sweep_running(sg_engine *e, bool all);
sg_gap sg_request_gap(sg_request *r, bool paused);
/* The first n of the waiting list run. */
void sg_engine_admit(sg_engine *e, const sg_plan *plan);

/* absorb.c */
/* After a step: gaps close, closed gaps draw their tokens, requests end. */
void sg_engine_absorb(sg_engine *e, const sg_plan *plan, const sg_batch *b);
void sg_engine_count_step(sg_engine *e, const sg_plan *plan, int64_t us);
void sg_engine_count_now(sg_engine *e);
void sg_engine_observe(sg_histogram *h, const double *bound, double value);
static inline double sg_seconds(int64_t us) { return (double)us * 1e-6; }

#endif
