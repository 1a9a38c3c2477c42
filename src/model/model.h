/* model/model.h - a loaded model and its forward pass.
 *
 *     sg_weights --load--> sg_model --spec--> sg_kv_pool --+
 *                              |                           |
 *     token table (rows) ------+---- sg_model_step --------+--> logits of the rows that want them
 *
 * A step takes any rows of any sequences: whole prompts, pieces of prompts, single decoded tokens, drafts to verify,
 * all in one table.  Rows of a sequence stand in rising positions.  A row's logits are a function of its sequence's
 * tokens up to it and of nothing else, bit for bit.
 *
 * One thread uses a model (and its sg_ops and pool) at a time.
 */
#ifndef SG_MODEL_MODEL_H
#define SG_MODEL_MODEL_H

#include "format/weights.h"
#include "kv/pool.h"
#include "op/op.h"

typedef struct sg_model sg_model;

typedef enum sg_model_kind {
    SG_MODEL_DECODER,  /* tokens in, logits of the next token out */
    SG_MODEL_ENCODER,  /* hidden states; every row sees its whole sequence */
    SG_MODEL_RERANKER, /* an encoder with a score for a pair of texts */
} sg_model_kind;

/* GGUF's pooling_type. */
typedef enum sg_pooling {
    SG_POOLING_NONE,
    SG_POOLING_MEAN,
    SG_POOLING_CLS,
    SG_POOLING_LAST,
    SG_POOLING_RANK
} sg_pooling;

/* What users of a model need to know of it. */
typedef struct sg_model_info {
    sg_model_kind kind;
    const char *architecture; /* as in general.architecture; lives as long as the model */
    int nvocab;               /* columns of the logits; ids are in [0, nvocab) */
    int dim;                  /* values of a hidden state */
    int nlayer;
    int ctx;                   /* positions it was made for */
    int extent_switch;         /* sequences announced to become longer than this get other keys (longrope); 0: none */
    int nexpert, nexpert_used; /* 0 when dense */
    int ntype; /* encoders: token types that it knows */
    sg_pooling pooling;        /* encoders: what the model's files say */
    uint64_t parameters;
    size_t packed_bytes;  /* weights in this process's own memory */
    size_t dropped_bytes; /* of the file: packed, and not needed any more */
    const sg_kv_spec *kv; /* [nlayer] */
    sg_dtype kv_type; /* what a pool should store when the user names nothing: F16; F32 when exact and for encoders */
} sg_model_info;

/* Load for running with `ops` (whose arithmetic path decides how weights are kept).  `weights` and `ops` are borrowed
 * and outlive the model.  Errors name the key or tensor: SG_E_UNSUPPORTED for an architecture or feature that segue
 * does not have, SG_E_FORMAT for what is missing or of the wrong shape, SG_E_NOMEM. */
sg_status sg_model_load(sg_model **model, const sg_weights *weights, sg_ops *ops, sg_error *err);
void sg_model_free(sg_model *model);

/* Everything that load would refuse, without loading: architecture, keys, ranges, tensors and their shapes.  *info (may
 * be NULL) gets what it says of itself; its pointers are NULL but for architecture, which is static. */
sg_status sg_model_check(const sg_weights *weights, sg_model_info *info, sg_error *err);

/* What loading and steps of up to nrow rows, nout of them with logits, will take, without loading. */
typedef struct sg_model_need {
    size_t packed_bytes, scratch_bytes;
    size_t mapped_bytes; /* of the file, used as they are */
    size_t block_bytes; /* keys and values of `block` positions; 0: the type does not fit the model */
    int ctx, nvocab;
} sg_model_need;
sg_status sg_model_need_of(sg_model_need *need, const sg_weights *weights, sg_ops *ops, int nrow, int nout, sg_dtype kv_type, int block,
                           sg_error *err);

const sg_model_info *sg_model_info_of(const sg_model *model);

/* Calls fn for every weight that a decode step of one row reads from end to end, as it lies in memory (packed, or stored on the exact
 * path).  Of experts it is the first so many as a row uses: which ones a row takes does not matter for how much is read.
 * `nvalue` is the number of values. */
typedef void sg_model_weight_fn(void *arg, const void *bytes, size_t n, double nvalue);
void sg_model_each_weight(const sg_model *model, sg_model_weight_fn *fn, void *arg);

/* Make all scratch memory for steps of up to nrow rows of which up to nout want logits, so that such steps allocate
 * nothing.  SG_E_NOMEM leaves what was there. */
sg_status sg_model_reserve(sg_model *model, int nrow, int nout, sg_error *err);

/* The bytes that such a reservation takes. */
size_t sg_model_reserve_bytes(const sg_model *model, int nrow, int nout);

/* A step's token table. */
typedef struct sg_batch {
    int nrow;
    const int32_t *id;   /* [nrow] tokens */
    const int32_t *pos;  /* [nrow] positions in their sequences */
    const int32_t *seq;  /* [nrow] index into seqs; rows of a sequence are neighbours */
    const int32_t *type; /* [nrow] token types of encoders (second text of a pair: 1); NULL: all 0 */
    int nseq;
    sg_kv_seq *const *seqs; /* [nseq] already extended to hold the rows' positions */
    const int32_t *extent;  /* [nseq] how long the sequence was announced to become at its start (prompt and answer);
                             * longrope chooses its frequencies by it; must not change during a sequence's life.
                             * NULL: its max_len */
    int nout;
    const int32_t *out; /* [nout] rows that want results, rising */
    float *logits;      /* [nout][nvocab], or NULL */
    bool drawn;         /* tokens will be drawn from the logits: those far below the largest of their row may have the error of 8-bit
                         * activations, the others have that of 15 bits as all have without it (op/op.h: sg_op_head) */
    float *hidden;      /* [nout][dim] final hidden states (after the last norm), or NULL */
    float *score;       /* rerankers: [nout] score, for the first row of a sequence each; or NULL */
} sg_batch;

/* Run a step: writes keys and values of all rows into the pool and the results of the rows that want them.
 * SG_E_ARGUMENT when an id, position or row is out of range (nothing was written then); SG_E_NOMEM when the step is
 * larger than what was reserved and memory is short. */
sg_status sg_model_step(sg_model *model, sg_kv_pool *pool, const sg_batch *batch, sg_error *err);

#endif
