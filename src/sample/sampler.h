/* sample/sampler.h - from one row of logits to one token.
 *
 * The order and the formulas, for a row x[0..nvocab):
 *   penalties    for a token that stands c > 0 times in the newest repeat_last_n tokens of the history:
 *                x = x > 0 ? x / repeat_penalty : x * repeat_penalty      (Keskar et al. 2019, CTRL)
 *                x -= c * frequency_penalty + presence_penalty            (OpenAI API reference)
 *   bias         x += bias
 *   mask         tokens whose bit is 0 become -INFINITY (grammars)
 *   top_k        keep the k largest
 *   typical_p    with p = softmax(x) of what is left and H = -sum p log p: order by |-log p - H|, keep the
 *                shortest head whose p sum to at least typical_p
 *   top_p        order by p, keep the shortest head whose p sum to at least top_p
 *   min_p        drop p < min_p * max p
 *   temperature  p = softmax(x / temperature) of what is left, and one draw by sg_rng_unit_at(seed, position, 0)
 * At least one token is always left.  Ties are broken everywhere by the lower id.  temperature <= 0 takes
 * the largest x after penalties, bias and mask.  NaN logits count as -INFINITY; when no logit is above
 * -INFINITY the token is SG_NO_TOKEN.
 *
 * Log-probabilities are those of the model: log softmax of the row as it came, before all of the above
 * (what vLLM and llama.cpp report by default), summed in double.
 *
 * A sampler is a workspace: it holds no state between calls, so a token depends on the arguments only
 * and one sampler serves any number of sequences, one thread at a time.  Picking allocates nothing.
 */
#ifndef SG_SAMPLE_SAMPLER_H
#define SG_SAMPLE_SAMPLER_H

#include "segue.h"

enum { SG_NO_TOKEN = -1, SG_TOP_LOGPROBS_MAX = 20 };

typedef struct sg_token_logprob {
    int32_t id;
    double logprob; /* natural logarithm */
} sg_token_logprob;

typedef struct sg_choice {
    /* in */
    bool want_logprob; /* fill logprob; ntop > 0 implies it */
    size_t ntop;       /* wanted entries of top, at most SG_TOP_LOGPROBS_MAX (more is cut) */
    /* out */
    int32_t id;
    double logprob; /* of id; 0 when not wanted */
    sg_token_logprob top[SG_TOP_LOGPROBS_MAX]; /* the most likely tokens, best first; entries past the vocabulary are id -1 */
} sg_choice;

typedef struct sg_sampler sg_sampler;

/* A workspace for rows of nvocab logits.  NULL when out of memory. */
sg_sampler *sg_sampler_new(size_t nvocab);
size_t sg_sampler_bytes(size_t nvocab); /* what it takes: 24 bytes a logit, and little more */
void sg_sampler_free(sg_sampler *s);

/* Choose a token.  logits[nvocab] is overwritten.  history[nhistory] are all tokens of the sequence so far, oldest
 * first (prompt and answer).  position: the index that the new token will have.  mask: a bit per token, bit id % 32
 * of word id / 32, or NULL.  The set fields of *choice are inputs, see there. */
void sg_sampler_pick(sg_sampler *s, const sg_sampling *params, float *logits, const int32_t *history, size_t nhistory,
                     uint64_t position, const uint32_t *mask, sg_choice *choice);

#endif
