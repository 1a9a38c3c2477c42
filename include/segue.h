/* segue.h - the public interface of libsegue.
 *
 * This header is the manual: what each call does, in which units, who owns the
 * result, what can go wrong.  Programs include only this file.
 *
 * Conventions
 *   - Functions that can fail return sg_status and take a last argument
 *     `sg_error *err`, which may be NULL.  On failure outputs are untouched and
 *     err->text is one line for a person.
 *   - `new`/`free` and `open`/`close` pair up; freeing NULL does nothing.
 *   - Strings are UTF-8 and NUL-terminated unless a length stands beside them.
 *   - The library never prints and never exits.
 */
#ifndef SEGUE_H
#define SEGUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SG_VERSION "0.1.0"

/* ---- errors -------------------------------------------------------------- */

typedef enum sg_status {
    SG_OK = 0,
    SG_E_ARGUMENT,    /* the caller's value is wrong            (HTTP 400) */
    SG_E_FORMAT,      /* a file or a message is malformed       (HTTP 400) */
    SG_E_UNSUPPORTED, /* well-formed, but not something we do   (HTTP 400) */
    SG_E_LIMIT,       /* a stated limit would be passed         (HTTP 413) */
    SG_E_NOT_FOUND,   /* the named thing is not there           (HTTP 404) */
    SG_E_BUSY,        /* overloaded now, try again              (HTTP 429) */
    SG_E_UNAVAILABLE, /* not ready, or shutting down            (HTTP 503) */
    SG_E_NOMEM,       /* memory cap or allocator exhausted      (HTTP 507) */
    SG_E_IO,          /* the operating system said no           (HTTP 500) */
    SG_E_CANCELLED,   /* the caller asked to stop                          */
    SG_E_INTERNAL,    /* a broken invariant that was contained  (HTTP 500) */
} sg_status;

typedef struct sg_error {
    sg_status status;
    int sys;        /* errno, or 0 */
    char text[248]; /* one line: what, where, what to do; control bytes escaped */
} sg_error;

/* The status's name, such as "format".  Never NULL.  Any thread. */
const char *sg_status_name(sg_status status);

/* ---- the machine --------------------------------------------------------- */

/* Bytes of memory that this process may still take: the least of MemAvailable and the cgroup's room. */
uint64_t sg_memory_available(void);

/* Free what a call handed out as "in fresh memory"; NULL is fine. */
void sg_memory_free(void *p);

/* ---- model files --------------------------------------------------------- */

/* What a model file or directory says of itself, as one JSON object in fresh memory (sg_memory_free): architecture, name,
 * parameters, file_bytes, context_length, vocabulary, tokenizer, chat_template, types (tensors of each type),
 * experts, bytes_per_token (weights read to decode one), memory (bytes); with `tensors` also the list of
 * them.  Opens the files, loads nothing. */
sg_status sg_info_json(char **json, const char *model, bool tensors, sg_error *err);

/* Everything that loading and first use would check, of any kind of file that segue reads: models, a lone
 * .safetensors, tokenizer.json, SentencePiece .model, llama2.c tokenizer.bin. */
sg_status sg_check(const char *path, sg_error *err);

/* Write the model `in` (Hugging Face directory, llama2.c .bin, GGUF) to the GGUF file `out`.  `type` is "f32", "f16", "bf16" or
 * NULL (as stored) for float matrices; vectors, norms, routers and biases become f32, quantised tensors stay.  `tokenizer`
 * is the tokenizer.bin of a llama2.c model or NULL.  `out` appears whole or not at all. */
sg_status sg_convert(const char *in, const char *out, const char *type, const char *tokenizer, sg_error *err);

/* ---- sampling ------------------------------------------------------------ */

typedef struct sg_logit_bias {
    int32_t id;
    float bias; /* added to the token's logit; -INFINITY forbids it, as OpenAI's -100 nearly does */
} sg_logit_bias;

/* How the next token is drawn from a row of logits.  The steps run in the order of the fields below,
 * after the penalties and the bias: top_k, typical_p, top_p, min_p, temperature (src/sample/sampler.h
 * has the formulas).  A value outside its range is treated as the nearest one inside; NaN as "off". */
typedef struct sg_sampling {
    float temperature;       /* logits are divided by it; 0 or less is greedy: the largest logit, ties to the lowest id */
    int32_t top_k;           /* keep the k largest; 0 or less: all */
    float top_p;             /* keep the smallest set of most likely tokens that has this probability; 1: all */
    float min_p;             /* drop what is less likely than min_p times the most likely; 0: none */
    float typical_p;         /* locally typical sampling (Meister et al. 2022, arXiv:2202.00666); 1: off */
    float repeat_penalty;    /* logits of tokens in the history: divided when positive, multiplied when negative; 1: off */
    float frequency_penalty; /* subtracted once for each occurrence in the history (OpenAI); 0: off */
    float presence_penalty;  /* subtracted once when the token is in the history (OpenAI); 0: off */
    int32_t repeat_last_n;   /* how many of the newest history tokens count for the three; negative: all, 0: none */
    uint64_t seed;           /* same seed, position and logits: same token */
    const sg_logit_bias *bias; /* borrowed; ids outside the vocabulary are ignored */
    size_t nbias;
} sg_sampling;

/* Everything off but temperature 1, repeat_last_n 64: the model's own distribution.  Seed 0. */
sg_sampling sg_sampling_default(void);

/* ---- evaluation ---------------------------------------------------------- */

/* A model run directly, without a step loop: log-probabilities, logits, embeddings, scores.  One thread at a time. */
typedef struct sg_eval sg_eval;

typedef struct sg_eval_options {
    const char *model;     /* GGUF file, Hugging Face directory or llama2.c file */
    const char *tokenizer; /* tokenizer file for a llama2.c model, else NULL */
    const char *kv_type;   /* "f32", "f16", "bf16", "q8_0"; NULL: f16, or f32 when exact and for encoders */
    int threads;           /* 0: all CPUs that this process may use */
    int ctx;               /* tokens a sequence may have; 0: the model's own */
    uint64_t memory_bytes; /* cap on what this process allocates; 0: none */
    bool exact;            /* the reference path: everything in float32, slow */
} sg_eval_options;

sg_status sg_eval_open(sg_eval **eval, const sg_eval_options *options, sg_error *err);
void sg_eval_close(sg_eval *eval);

typedef enum sg_eval_kind { SG_EVAL_DECODER, SG_EVAL_ENCODER, SG_EVAL_RERANKER } sg_eval_kind;
sg_eval_kind sg_eval_kind_of(const sg_eval *eval);
int sg_eval_nvocab(const sg_eval *eval);
int sg_eval_dim(const sg_eval *eval); /* values of a hidden state */
int sg_eval_ctx(const sg_eval *eval);

/* Run ids[0..n) as one sequence from position 0.  Each output may be NULL.
 *     logprobs [n]              natural log of the probability of ids[i] after ids[0..i); NaN for i = 0
 *     logits   [nlogits][nvocab] of the last nlogits positions (at most n), after any scale or cap
 *     greedy   [ngreedy]        the tokens that follow, each the likeliest (ties to the lowest id)
 * Tokens are as given: nothing is added.  SG_E_ARGUMENT for ids out of range, SG_E_LIMIT when n + ngreedy passes the
 * context, SG_E_UNSUPPORTED when the model is no decoder. */
sg_status sg_eval_tokens(sg_eval *eval, const int32_t *ids, int n, double *logprobs, float *logits, int nlogits, int32_t *greedy,
                         int ngreedy, sg_error *err);

/* Text to ids in fresh memory (sg_eval_free_ids), with what the model's tokenizer puts around a text; `pair` (may be NULL) is
 * the second text of a pair and *types its token types (0 and 1).  types may be NULL. */
sg_status sg_eval_tokenize(const sg_eval *eval, const char *text, size_t n, const char *pair, size_t npair, int32_t **ids, int32_t **types,
                           int *nid, sg_error *err);
void sg_eval_free_ids(int32_t *ids);

/* The token that the tokenizer puts before a text, or -1. */
int32_t sg_eval_begin_token(const sg_eval *eval);

typedef enum sg_pool_kind { SG_POOL_MODEL = -1, SG_POOL_NONE, SG_POOL_MEAN, SG_POOL_CLS, SG_POOL_LAST } sg_pool_kind;

/* The embedding of a token sequence: [dim] values, or [n][dim] with SG_POOL_NONE.  SG_POOL_MODEL is what the model's files say
 * (mean when they say nothing, last for decoders).  `normalize` scales to length 1. */
sg_status sg_eval_embed(sg_eval *eval, const int32_t *ids, const int32_t *types, int n, sg_pool_kind pooling, bool normalize, float *out,
                        sg_error *err);

/* The score of a cross-encoder for a pair (raw, larger is better). */
sg_status sg_eval_rank(sg_eval *eval, const int32_t *ids, const int32_t *types, int n, float *score, sg_error *err);

/* ---- quantising ---------------------------------------------------------- */

/* What is being done; passed before a tensor begins and a few times on the way. */
typedef struct sg_quantize_progress {
    size_t tensor, ntensor;
    const char *name;       /* valid during the call, as are the types */
    const char *from, *to;  /* "f16", "q4_k" */
    uint64_t row, nrow;     /* rows of this tensor that are done */
    uint64_t bytes_done, bytes; /* of tensor data written, and in all */
} sg_quantize_progress;

typedef struct sg_quantize_options {
    const char *type;    /* a mix or a type: "q4_k_m", "q8_0", ...; sg_quantize_types has them all */
    const char *imatrix; /* importance data (llama.cpp's imatrix, .dat or GGUF), or NULL */
    const char *const *keep; /* nkeep times "REGEX=TYPE" (PCRE2): matrices whose name matches get the type; first match counts */
    size_t nkeep;
    bool pure;           /* the type for every matrix, no mix */
    int threads;         /* 0: all that there are */
    bool (*progress)(void *arg, const sg_quantize_progress *p); /* may be NULL; false stops: SG_E_CANCELLED */
    void *arg;
} sg_quantize_options;

typedef struct sg_quantize_report {
    size_t ntensor;     /* tensors written */
    size_t nquantized;  /* of these, the ones whose type changed */
    size_t nfallback;   /* rows that did not divide into blocks: a type with smaller blocks was taken */
    size_t nimportance; /* tensors that importance data guided */
    uint64_t nvalue;    /* values in all tensors */
    uint64_t bytes_in, bytes_out; /* tensor data */
} sg_quantize_report;

/* Write the GGUF model `in` to the GGUF file `out` with smaller weights.  Vectors become f32; norms, routers and
 * what else is small stay as they are.  Vectors and matrices with a NaN or an infinity are refused.  `out` appears whole or
 * not at all.  *report (may be NULL) is filled on success. */
sg_status sg_quantize(const char *in, const char *out, const sg_quantize_options *options, sg_quantize_report *report,
                      sg_error *err);

/* The names that sg_quantize_options.type takes, separated by spaces. */
const char *sg_quantize_types(void);

#ifdef __cplusplus
}
#endif
#endif
