/* engine/internal.h - the two objects of the engine: the request and the engine itself.
 *
 * Who touches what
 *
 *     submitter        builds a request (all its memory), hands it in at engine.inbox
 *     step loop        owns engine.waiting, engine.running and the request's "loop" fields
 *     reader           takes events from the request's ring
 *     anyone           sets request.cancelled
 *
 * The life of a request is a state machine; admit.c has its picture and its table.
 *
 * A request has two references: the reader's (sg_request_free) and the loop's (its end).  Locks:
 * engine.lock guards the inbox, request.lock the ring.  Who holds a request.lock may take the engine.lock,
 * never the other way; request.engine is non-NULL under request.lock only while the engine lives.
 */
#ifndef SG_ENGINE_INTERNAL_H
#define SG_ENGINE_INTERNAL_H

#include "base/error.h"
#include "engine/constrain.h"
#include "engine/lm.h"
#include "engine/stop.h"
#include "kv/prefix.h"
#include "sample/sampler.h"
#include "sched/expect.h"
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

typedef enum sg_request_state {
    SG_REQUEST_QUEUED,    /* in the inbox */
    SG_REQUEST_WAITING,   /* in the waiting list, to be admitted */
    SG_REQUEST_HELD,      /* waiting too, for another request that computes the same prefix right now */
    SG_REQUEST_PREFILL,   /* runs: its gap is wider than the one token that was sampled last */
    SG_REQUEST_DECODE,    /* runs: every step closes its gap */
    SG_REQUEST_PAUSED,    /* runs, and its reader is behind */
    SG_REQUEST_PREEMPTED, /* in the waiting list again, its blocks given for others; will be recomputed */
    SG_REQUEST_ENDED,
    SG_REQUEST_NSTATE
} sg_request_state;

typedef struct sg_drafter sg_drafter;
typedef struct sg_draft_model sg_draft_model;
enum { SG_DRAFT_MAX = 8, SG_DRAFT_EXAM = 16 };

/* What is known of one source of guesses (speculate.c), for one request. */
typedef struct sg_guess {
    float accept;         /* recent share of right guesses */
    uint16_t rest, pause; /* tokens until it may try again; how long it will rest the next time */
} sg_guess;

/* What guessing cost and brought lately beside so many streams (worth.c). */
enum { SG_WORTH_NCLASS = 6 };
typedef struct sg_worth {
    double spent, would;  /* decayed: time of steps with guesses; time of plain steps for as many tokens */
    double plain;         /* measured over predicted time of plain steps, lately; 0: not known */
    int n;                /* steps with guesses since it was decided last */
    uint32_t rest, pause; /* steps until it is tried again; how many it will be the next time */
} sg_worth;

struct sg_request {
    _Atomic int refs;
    _Atomic bool cancelled;
    bool stalled;      /* under lock: the loop waits for the reader */
    sg_engine *engine; /* under lock: NULL once ended */
    sg_ledger *ledger;
    uint64_t reserved; /* bytes in its row of requests */

    /* fixed at submit */
    sg_sampling sampling;
    sg_logit_bias *bias;
    int nprompt, limit; /* tokens at which it ends */
    int ntop;           /* -1: no log-probabilities */
    bool ignore_eos;
    uint32_t tenant;
    uint8_t priority; /* SG_PRIORITY_... */
    uint64_t space;   /* name space of its prefixes */
    void (*notify)(void *arg);
    void *arg;

    /* the loop's */
    sg_request *next; /* inbox */
    sg_request_state state;
    uint64_t serial; /* rises with arrival */
    int32_t *token;  /* [limit] */
    int known, computed;
    sg_kv_seq *seq; /* its blocks are taken as it grows */
    int looked, looked_busy; /* waiting: tokens of it that the prefix tree had... */
    uint64_t looked_version; /* ...when it was this old, and how many full blocks of them somebody used */
    uint64_t leader; /* held: the serial of the request that it waits for... */
    int leader_at;   /* ...to have computed so many tokens */
    bool followed;   /* somebody is held until its prompt is computed */
    bool waited;     /* it was held before */
    sg_stop stop;
    void *decoder;
    void (*decoder_free)(void *decoder);
    sg_constraint *constraint; /* NULL: none */
    uint64_t fed; /* bytes of text decoded */
    uint16_t npreempt;
    sg_drafter *drafter; /* NULL: nothing is guessed */
    int32_t draft[SG_DRAFT_MAX];
    int ndraft;   /* guesses behind the known tokens */
    float accept; /* probability that one of them is right */
    sg_draft_kind draft_kind; /* who made them */
    sg_guess guess[SG_DRAFT_NKIND];
    sg_kv_seq *draft_seq; /* in the draft model's pool; NULL: it does not guess for this request */
    bool gone;    /* to be taken out of its list */
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

/* A request's part of the step. */
typedef struct sg_work {
    sg_request *request;
    int ntoken, ndraft;
    int out;    /* its first row of logits; -1: none */
    int ndrawn; /* rows whose choice is made */
} sg_work;

/* Something that the loop's thread is to do between two turns; lives on the stack of who waits for it. */
typedef struct sg_errand {
    void (*run)(sg_engine *e, void *arg);
    void *arg;
    bool done;
    pthread_cond_t came_back;
} sg_errand;

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
    sg_errand *errand; /* NULL: none */
    uint64_t rejected, rejected_memory;
    sg_ledger *ledger;

    /* the loop's */
    sg_request **waiting, **running;
    int nwaiting, nrunning; /* waiting: in order of arrival, but who was preempted stands first */
    int nshown;
    sg_request **shown; /* [nshow_max] the waiting requests of the snapshot */
    int nshow_max;
    uint64_t serial, epoch; /* epoch: rises when blocks change hands */
    sg_expect expect;     /* how long answers become */
    sg_prefix *prefix;    /* NULL: no reuse */
    int32_t *match_block; /* [blocks of a sequence] */
    uint32_t transition[SG_REQUEST_NSTATE][SG_REQUEST_NSTATE]; /* how often each was taken, for tests */
    sg_latency latency;     /* how long steps take */
    sg_step_cost cost;      /* of the step in hand... */
    double predicted_us;    /* ...and what it was expected to take; 0: nothing */
    double plain_us;        /* the same without its guesses; 0: nobody knows, or there are prompts in it */
    bool speculate;
    int ndraft_max;         /* guesses that a step has room for */
    float guess_accept[SG_DRAFT_NKIND];  /* recent shares of right guesses, of all requests... */
    float guess_sampled[SG_DRAFT_NKIND]; /* ...but of those that draw their tokens, which repeat themselves less */
    sg_draft_model *draft;  /* NULL: none */
    sg_worth worth[SG_WORTH_NCLASS];
    double draft_us;  /* in the draft model since the last step */
    double decode_us; /* in steps that only decoded, ever */
    uint64_t drawn;  /* tokens, ever */
    sg_gap *gap_running, *gap_waiting;
    sg_plan plan;
    uint64_t nstep;
    sg_work *work; /* [max_running] */
    int nwork;
    int32_t *row_token, *row_seq, *row_pos; /* [max_rows] */
    int32_t *extent;                        /* [max_running] */
    int32_t *logit_row;                     /* [lm.max_logits] */
    sg_kv_seq **seqs;
    float *logits; /* [lm.max_logits][nvocab] */
    char *piece;
    sg_choice *choice;    /* [lm.max_logits] what was drawn from each row */
    sg_sampler **sampler; /* [ndrawer] */
    int ndrawer;
    int draw_min;          /* shorter rows are drawn by the loop alone */
    _Atomic int draw_next; /* the part that is drawn next */

    pthread_mutex_t vocabulary_lock; /* guards what follows */
    sg_vocabulary_trie *vocabulary;  /* NULL until a grammar needs it */

    pthread_mutex_t stats_lock;
    sg_engine_stats stats;
};

/* request.c */
/* What a request of so many tokens takes at least, before it is built. */
uint64_t sg_request_bytes(const sg_engine *e, int limit, int ntop, size_t stop_bytes, bool grammar);
void sg_request_unref(sg_request *r);
/* Loop: tokens that the ring has room for. */
int sg_request_room(sg_request *r);
/* Loop: a sampled token goes through detokeniser and stop strings into the ring.  True when a stop string ended it. */
bool sg_request_push(sg_request *r, const sg_choice *choice, char *piece);
/* Loop: the end event. */
void sg_request_end(sg_request *r, sg_finish finish, const sg_error *error);

/* engine.c */
/* Start an engine over a model that is loaded; takes over *lm, also on failure. */
sg_status sg_engine_open_lm(sg_engine **engine, sg_lm *lm, const sg_engine_options *options, sg_error *err);
/* The same without a thread: the caller takes the turns (tests that must be repeatable). */
sg_status sg_engine_make_lm(sg_engine **engine, sg_lm *lm, const sg_engine_options *options, sg_error *err);
/* Wake the loop: a reader has made room, or a request was cancelled. */
void sg_engine_nudge(sg_engine *e);
/* Run a function in the loop's thread between two turns, where it may use what the loop owns, and wait for it.  By one thread at a
 * time; the engine must not be closed meanwhile. */
void sg_engine_between(sg_engine *e, void (*run)(sg_engine *e, void *arg), void *arg);

bool sg_engine_speculates(const sg_engine_options *options);
/* What the step loop of an engine will take, at most, for the sizes that lm.h names: logits, samplers, and arrays that are small beside
 * them; known before a model is loaded. */
uint64_t sg_engine_loop_bytes(int nworker, int max_running, int max_logits, int nvocab);

/* cost.c: how long steps take. */
/* Time a few steps before there are requests; well under a second.  No prediction when the model is too slow for it. */
void sg_engine_probe(sg_engine *e);
/* The features of e->work, to be called before the step; and what it took. */
void sg_engine_cost_begin(sg_engine *e);
void sg_engine_cost_end(sg_engine *e, int64_t us);
/* What e->work would cost without its guesses, by the model; to be called before the step.  0: nobody knows, or there are prompts in it. */
double sg_engine_plain_us(const sg_engine *e);

/* speculate.c: guesses. */
void sg_engine_expect_guesses(sg_engine *e);                      /* at the start */
void sg_request_expect_guesses(sg_engine *e, sg_request *r);      /* of a new request */
/* Guess for a decoding request whose ring has room for so many tokens, from what was read: sets ndraft, 0 so far. */
void sg_request_guess(sg_engine *e, sg_request *r, int room);
/* The most guesses that a request can use. */
int sg_request_guess_most(const sg_engine *e, const sg_request *r, int room);
/* Whether a source may guess for the request now; counts its rest; fewer than *most when it is on trial. */
bool sg_request_may_guess(sg_request *r, sg_draft_kind kind, int *most);
void sg_request_take_guess(sg_request *r, sg_draft_kind kind, int n); /* r->draft[0..n) are its guesses */
/* Of `given` guesses `right` were. */
void sg_request_learn(sg_engine *e, sg_request *r, int given, int right);

/* worth.c: whether guessing pays, as measured. */
/* Whether there may be guesses in the next step; counts a rest. */
bool sg_engine_may_guess(sg_engine *e);
/* A step of e->work as it stood before it took so long and drew so many tokens. */
void sg_engine_weigh(sg_engine *e, double us, uint64_t drawn);

/* draft_lookup.c: guesses from the request's own text. */
/* All memory for a request of up to `limit` tokens. */
sg_status sg_drafter_new(sg_drafter **d, int limit, sg_error *err);
void sg_drafter_free(sg_drafter *d);
/* Up to `most` tokens that may follow token[0..n), which begin as they did the last time; returns how many, and in *past
 * how many tokens before them are the same. */
int sg_drafter_guess(sg_drafter *d, const int32_t *token, int n, int32_t *draft, int most, int *past);

/* draft_model.c: guesses from a small model. */
/* Let `lm` guess for e's model; before the first request; takes over *lm, also on failure.  SG_E_ARGUMENT when the two have not
 * the same vocabulary. */
sg_status sg_engine_take_draft(sg_engine *e, sg_lm *lm, sg_error *err);
void sg_draft_model_free(sg_draft_model *d);
const sg_lm *sg_draft_model_lm(const sg_draft_model *d); /* NULL of NULL */
/* A request's sequence in the draft model's memory, if its limit fits. */
sg_status sg_request_join_draft(sg_engine *e, sg_request *r, sg_error *err);
/* Guess for the decoding requests that have no guesses yet. */
void sg_engine_guess(sg_engine *e);

/* lm_model.c */
/* workers: of a draft model that is open already, which outlives it; NULL: its own. */
sg_status sg_lm_open(sg_lm *lm, const sg_engine_options *options, sg_pool *workers, sg_error *err);
/* The draft model of these options; its keys and values get at most an eighth of what there is. */
sg_status sg_lm_open_draft(sg_lm *lm, const sg_engine_options *options, sg_error *err);

/* step.c */
void *sg_engine_loop(void *engine);
/* One turn of the loop; *idle says whether it may sleep, and then whether there was nothing to do.  False when the engine
 * closes. */
bool sg_engine_turn(sg_engine *e, bool *idle);

/* warm.c */
/* Blocks of memory never used before that requests which run or are first in line are expected to take; no more than `most`. */
int sg_engine_blocks_wanted(const sg_engine *e, int most);
/* Touch some of the memory that comes next. */
void sg_engine_warm(sg_engine *e, bool idle);

/* admit.c: the loop's lists. */
/* Tokens at which a request will probably end. */
int sg_request_expected(const sg_engine *e, const sg_request *r);
/* Move the inbox to the waiting list; wait for something when `idle`.  False when the engine closes. */
bool sg_engine_gather(sg_engine *e, bool idle);
/* Do what sg_engine_between left, if anything. */
void sg_engine_run_errand(sg_engine *e);
/* Whether something has come for a loop that has nothing to do. */
bool sg_engine_awaited(sg_engine *e);
/* End a request that its list does not hold any more; it may be gone on return. */
void sg_engine_finish(sg_engine *e, sg_request *r, sg_finish how, const sg_error *error);
/* End what was cancelled, or all. */
void sg_engine_sweep(sg_engine *e, bool all);
/* Whether the table of admit.c has this transition. */
bool sg_request_may(sg_request_state from, sg_request_state to);
/* Change the state; every transition must stand in the table of admit.c. */
void sg_request_become(sg_engine *e, sg_request *r, sg_request_state state);
/* Fill the arrays of gaps and say what there is to plan with. */
void sg_engine_snapshot(sg_engine *e, sg_snapshot *s);
/* What the plan throws out waits again, what it admits runs, in its order. */
void sg_engine_admit(sg_engine *e, const sg_plan *plan);
/* Blocks for `need` more: evicts what only the prefix tree holds.  False when that is not enough. */
bool sg_engine_make_room(sg_engine *e, int need);
/* Take the blocks of a running request for others: of the least urgent class the one that came last.  Back in the
 * waiting list it is returned; NULL when only `keep` runs. */
sg_request *sg_engine_preempt(sg_engine *e, const sg_request *keep);

/* Whether a is more urgent than b, or as urgent and came earlier. */
bool sg_request_before(const sg_request *a, const sg_request *b);

/* reuse.c: the prefix tree. */
/* Tokens of a waiting request's gap that the tree has; looks again only when the tree has changed. */
int sg_request_look(sg_engine *e, sg_request *r);
/* Begin an admitted request with what the tree has. */
void sg_request_share(sg_engine *e, sg_request *r);
/* Put what it has computed into the tree: full blocks, with `tail` the last one too. */
void sg_request_remember(sg_engine *e, sg_request *r, bool tail);
/* Tokens that other requests had behind all tokens of r; returns how many, at most `most`. */
int sg_request_guess_tree(sg_engine *e, const sg_request *r, int32_t *out, int most);
/* Whether a waiting request should wait for one that is running or stands before it among the shown ones, which
 * computes what it would compute too. */
bool sg_request_hold(sg_engine *e, sg_request *r);

/* draw.c: tokens from rows of logits. */
/* What the samplers and their choices will take. */
uint64_t sg_drawers_bytes(int nworker, int max_running, int max_logits, int nvocab);
sg_status sg_engine_open_drawers(sg_engine *e, sg_error *err);
void sg_engine_close_drawers(sg_engine *e);
/* Draw what the rows of e->work say, on all workers; sets ndrawn of each. */
void sg_engine_draw(sg_engine *e);
/* Draw from one row the token number n of a request: e->choice[row]. */
void sg_request_draw(sg_engine *e, const sg_request *r, int row, int n, const uint32_t *mask, sg_sampler *sampler);

/* absorb.c */
/* After a step: gaps close, closed gaps draw their tokens, guesses are checked, requests end. */
void sg_engine_absorb(sg_engine *e);
void sg_engine_count_step(sg_engine *e, const sg_batch *b, int64_t us);
void sg_engine_count_now(sg_engine *e);
void sg_engine_observe(sg_histogram *h, const double *bound, double value);
static inline double sg_seconds(int64_t us) { return (double)us * 1e-6; }

#endif
