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
 * experts, bytes_per_token (weights read to decode one), memory (bytes), description and license when it has them;
 * with `tensors` also the list of them.  Opens the files, loads nothing.  NULL is the embedded default. */
sg_status sg_info_json(char **json, const char *model, bool tensors, sg_error *err);

/* Everything that loading and first use would check, of any kind of file that segue reads: models, a lone
 * .safetensors, tokenizer.json, SentencePiece .model, llama2.c tokenizer.bin. */
sg_status sg_check(const char *path, sg_error *err);

/* How far a file is that is being written; passed before each tensor begins and a few times on the way. */
typedef struct sg_write_progress {
    size_t tensor, ntensor;
    const char *name;       /* valid during the call, as are the types */
    const char *from, *to;  /* "f16", "q4_k" */
    uint64_t row, nrow;     /* rows of this tensor that are done */
    uint64_t bytes_done, bytes; /* of tensor data written, and in all */
} sg_write_progress;

/* false stops the work: SG_E_CANCELLED, and nothing is left behind. */
typedef bool sg_write_progress_fn(void *arg, const sg_write_progress *p);

typedef struct sg_convert_options {
    const char *type;      /* "f32", "f16", "bf16" or NULL (as stored) for float matrices */
    const char *tokenizer; /* tokenizer.bin of a llama2.c model, or NULL */
    sg_write_progress_fn *progress; /* may be NULL */
    void *arg;
} sg_convert_options;

/* Write the model `in` (Hugging Face directory, llama2.c .bin, GGUF) to the GGUF file `out`.  Vectors, norms, routers and biases
 * become f32, quantised tensors stay.  `options` may be NULL.  `out` appears whole or not at all. */
sg_status sg_convert(const char *in, const char *out, const sg_convert_options *options, sg_error *err);

/* ---- chat templates ------------------------------------------------------ */

/* A compiled chat template: the Jinja that Hugging Face models carry, without access to anything but its input.
 * Immutable: any number of threads may render it at once. */
typedef struct sg_template sg_template;

/* Compile text[0..n).  SG_E_FORMAT "template line N: ..." when it does not parse, SG_E_LIMIT when it is too large or
 * too deeply nested. */
sg_status sg_template_new(sg_template **t, const char *text, size_t n, sg_error *err);
void sg_template_free(sg_template *t);

/* From the text of a tokenizer_config.json: its chat_template, a string or a list of named templates, with bos_token and
 * eos_token.  name NULL: the one named "default", or the only one.  SG_E_NOT_FOUND when there is none of that name. */
sg_status sg_template_from_config(sg_template **t, const char *json, size_t n, const char *name, sg_error *err);

/* From a model: a GGUF file, a Hugging Face directory (chat_template.jinja, tokenizer_config.json), or NULL for the embedded
 * default.  name as above. */
sg_status sg_template_open(sg_template **t, const char *model, const char *name, sg_error *err);

/* The inputs of one rendering.  JSON texts are NUL-terminated; NULL means none, and the variable is none then. */
typedef struct sg_template_input {
    const char *messages;  /* an array of messages; NULL: the variable is not passed */
    const char *tools;
    const char *documents;
    const char *options;   /* an object: further variables, passed as they stand; they win over the fields below.  The option
                            * continue_final_message sets the field instead of being passed. */
    const char *bos, *eos; /* bos_token, eos_token; NULL: those that came with the template, if any */
    const char *now;       /* what strftime_now sees: "2026-01-02T03:04:05"; NULL: the local time */
    int add_generation_prompt;   /* 1 or 0; negative: the variable is not passed */
    bool continue_final_message; /* leave the last message open: the text is cut behind its content */
} sg_template_input;

/* Render.  *text (sg_memory_free) is n bytes of UTF-8 and a NUL.  What the template raises is SG_E_ARGUMENT with
 * its message as err->text; *raised (may be NULL; set only on failure, sg_memory_free) has it word for word, NULL
 * when the failure is another one.  Other failures are "template line N: ...".  Time, memory and output are bounded:
 * SG_E_LIMIT.  The same input gives the same text. */
sg_status sg_template_render(const sg_template *t, const sg_template_input *input, char **text, size_t *n, char **raised, sg_error *err);

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
    const char *model;     /* GGUF file, Hugging Face directory or llama2.c file; NULL: the embedded default */
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
sg_status sg_eval_tokenize(sg_eval *eval, const char *text, size_t n, const char *pair, size_t npair, int32_t **ids, int32_t **types,
                           int *nid, sg_error *err);
void sg_eval_free_ids(int32_t *ids);

/* The token that the tokenizer puts before a text, or -1. */
int32_t sg_eval_begin_token(sg_eval *eval);

typedef enum sg_pool_kind { SG_POOL_MODEL = -1, SG_POOL_NONE, SG_POOL_MEAN, SG_POOL_CLS, SG_POOL_LAST } sg_pool_kind;

/* The embedding of a token sequence: [dim] values, or [n][dim] with SG_POOL_NONE.  SG_POOL_MODEL is what the model's files say
 * (mean when they say nothing, last for decoders).  `normalize` scales to length 1. */
sg_status sg_eval_embed(sg_eval *eval, const int32_t *ids, const int32_t *types, int n, sg_pool_kind pooling, bool normalize, float *out,
                        sg_error *err);

/* One of several texts that are embedded together. */
typedef struct sg_embed_text {
    const int32_t *ids, *types; /* [n]; types may be NULL */
    int n;
    float *out; /* as sg_eval_embed's */
} sg_embed_text;

/* The same for up to SG_EMBED_MAX texts in one step of the model, the same bits as one by one.  On failure no output is written; which
 * of them is to blame is found by asking one by one. */
enum { SG_EMBED_MAX = 256 };
sg_status sg_eval_embed_many(sg_eval *eval, const sg_embed_text *text, int ntext, sg_pool_kind pooling, bool normalize, sg_error *err);

/* The score of a cross-encoder for a pair (raw, larger is better). */
sg_status sg_eval_rank(sg_eval *eval, const int32_t *ids, const int32_t *types, int n, float *score, sg_error *err);

/* ---- benchmarks ---------------------------------------------------------- */

typedef struct sg_bench_options {
    const char *model;     /* NULL: the embedded default */
    bool kernels;          /* linear layers and attention instead of a model */
    const char *kv_type;   /* as in sg_eval_options */
    const char *tokenizer; /* of a llama2.c model, for `engine`; or NULL */
    int threads;           /* 0: all CPUs that this process may use */
    int ctx;               /* tokens that a sequence may have: a longer test is SG_E_LIMIT; 0: any */
    uint64_t memory_bytes; /* cap; 0: none */
    uint64_t seed;         /* of the token ids; 0: 1 */
    bool exact;
    int prompt, generate;  /* tokens; 0: leave that test out */
    int depth;             /* tokens that a sequence holds before it is timed */
    bool engine;           /* also decode through the step loop, with and without guessing ahead */
    const char *draft;     /* for that: a draft model, or NULL */
    bool profile;          /* also where the time of a prompt and of a decode step goes, by op */
    bool mixed;            /* also time steps with rows of all kinds, together and apart */
    int reps;              /* timed runs, after one that does not count */
    const int *batch;      /* [nbatch] sequences that decode together, 1 to 256 */
    int nbatch;
    const char *only;      /* kernels: a type, or NULL for all */
    int m, n, k;           /* kernels: shape; 0: several m, n = k = 4096 */
} sg_bench_options;

/* Time a model or the kernels, and the machine's ceilings just before.  *json in fresh memory (sg_memory_free): an object with
 * "machine", "model" and "results" as the command line documents them. */
sg_status sg_bench_json(char **json, const sg_bench_options *options, sg_error *err);

/* Serve a load and measure what its users see (segue bench serve). */
struct sg_engine_options;
typedef struct sg_bench_serve_options {
    const struct sg_engine_options *engine; /* the model and how it runs; policy, slo_tbt_ms and on_step are set here */
    const char *trace;    /* a CSV or JSON-lines file of requests, or "mix": 70 % short and 30 % long prompts; NULL: the stall test */
    int stall;            /* streams decode while a prompt of so many tokens arrives; 0: none */
    int streams;          /* of the stall test; 0: 4 */
    const char *policies; /* names between commas; NULL: the default policy */
    const char *slo;      /* "strict", "relaxed" (5 and 25 times our decode step of 32 streams) or milliseconds; NULL: strict */
    double qps;           /* requests a second, by a Poisson process; 0: the largest that keeps the bound is searched */
    bool recorded;        /* arrivals as the trace has them */
    bool capacity;        /* strict and relaxed capacity of each policy: simulated on step times that are fitted here, then up to three
                           * real runs around it */
    double delay_ms;      /* what half of the requests may wait at capacity; 0: a hundred decode steps of 32 streams */
    double scale_lengths; /* lengths are divided by it; 0: 1 */
    double scale_time;    /* recorded arrivals come so many times faster; 0: 1 */
    int requests;         /* of the trace, from the start; 0: 128, simulated 1024 */
    uint64_t seed;        /* of the arrivals and the prompts */
    bool reuse_blocks;    /* simulated: whole blocks of cached prefixes are reused, not single tokens */
    bool simulate;        /* virtual time: the scheduler and the KV accounting run, the model does not */
    const char *machine;  /* simulated: "cpu", "a100", or NULL: step times are measured on the model, if there is one */
    const char *csv, *steps, *svg; /* files to write: a line for each request; a line for each step; a picture of the steps; or NULL.
                                    * With several policies the name gets the policy's before its ending */
    void (*line)(void *arg, const char *json);     /* the results, one JSON object for each policy */
    void (*progress)(void *arg, const char *text); /* what is being done; may be NULL */
    bool (*stop)(void *arg);                       /* true ends it: SG_E_CANCELLED; may be NULL */
    void *arg;
} sg_bench_serve_options;

sg_status sg_bench_serve(const sg_bench_serve_options *options, sg_error *err);

/* ---- quantising ---------------------------------------------------------- */

typedef struct sg_quantize_options {
    const char *type;    /* a mix or a type: "q4_k_m", "q8_0", ...; sg_quantize_types has them all */
    const char *imatrix; /* importance data (llama.cpp's imatrix, .dat or GGUF), or NULL */
    const char *tokenizer; /* tokenizer.bin of a llama2.c model, or NULL */
    const char *const *keep; /* nkeep times "REGEX=TYPE" (PCRE2): matrices whose name matches get the type; first match counts */
    size_t nkeep;
    bool pure;           /* the type for every matrix, no mix */
    int threads;         /* 0: all that there are */
    sg_write_progress_fn *progress; /* may be NULL */
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

/* Write the model `in` (GGUF, or what sg_convert takes) to the GGUF file `out` with smaller weights.  Vectors become
 * f32; norms, routers and what else is small stay as they are.  Vectors and matrices with a NaN or an infinity are
 * refused.  `out` appears whole or not at all.  *report (may be NULL) is filled on success. */
sg_status sg_quantize(const char *in, const char *out, const sg_quantize_options *options, sg_quantize_report *report,
                      sg_error *err);

/* The names that sg_quantize_options.type takes, separated by spaces. */
const char *sg_quantize_types(void);

/* ---- engine -------------------------------------------------------------- */

/* One loaded model, its KV memory and the one thread that steps all its requests.  Calls on an engine may
 * come from any thread unless a call says otherwise. */
typedef struct sg_engine sg_engine;

/* One step of the loop, for measuring. */
typedef struct sg_step_info {
    int64_t start_us;    /* CLOCK_MONOTONIC */
    double us;           /* how long it took */
    double predicted_us; /* what the scheduler expected; 0: nothing */
    int prompt_tokens, decode_tokens, draft_tokens; /* its rows */
    int running, waiting, preempted;
    uint64_t seen;       /* steps before it */
} sg_step_info;

typedef struct sg_engine_options {
    const char *model;     /* GGUF file, Hugging Face directory or llama2.c file; NULL: the embedded default */
    const char *tokenizer; /* tokenizer file for a llama2.c model, else NULL */
    const char *name;      /* how it is called to the outside; NULL: from the path, "default" for the embedded one */
    const char *kv_type;   /* "f32", "f16", "bf16", "q8_0"; NULL: f16, or f32 when exact */
    const char *policy;    /* scheduling policy; NULL: the default */
    uint64_t memory_bytes; /* cap on what this process allocates; 0: a share of what the machine has to give */
    int threads;           /* 0: all CPUs that this process may use */
    int ctx;               /* tokens a sequence may have; 0: the model's own, as far as memory allows */
    int warm_tokens;       /* memory for keys and values of so many tokens is touched before the engine opens, at 0.3 to 10 GB a second;
                            * 0: only while there is nothing else to do, and shortly before it is used */
    int max_running;       /* requests in the step loop at once; 0: 32 */
    int max_waiting;       /* requests admitted later; one more is SG_E_BUSY; 0: 256 */
    int step_tokens;       /* tokens of a step while some request decodes; 0: 64 */
    double slo_tbt_ms;     /* wanted bound on the time between tokens: sizes the steps beside decoding requests by the
                            * measured time of a token; 0: step_tokens counts */
    bool exact;            /* the reference path: everything in float32, slow */
    bool no_prefix_cache;  /* compute every prompt anew */
    const char *spec;      /* guessing ahead: "auto" (lookup, and the draft model if there is one), "lookup" (from the request's
                            * own text and the prefix tree), "off"; NULL: auto */
    const char *draft;     /* a small model with the same vocabulary that guesses ahead; NULL: none */
    void (*on_step)(void *arg, const sg_step_info *info); /* after every step, in the loop's thread: must not block; or NULL */
    void *on_step_arg;
} sg_engine_options;

/* Load a model and start its step loop.  Blocks while loading.  SG_E_NOT_FOUND, SG_E_FORMAT, SG_E_UNSUPPORTED,
 * SG_E_NOMEM, SG_E_IO, SG_E_ARGUMENT as the name says. */
sg_status sg_engine_open(sg_engine **engine, const sg_engine_options *options, sg_error *err);

/* Cancel what runs, stop the loop and free the model.  Requests that are still held may be read and freed
 * afterwards; they have ended. */
void sg_engine_close(sg_engine *engine);

/* The name that an engine opened with these options will have, in fresh memory (sg_memory_free): what they say, or the
 * last part of the path without its ending, or "default".  NULL when out of memory. */
char *sg_engine_name_of(const sg_engine_options *options);

typedef struct sg_engine_info {
    const char *name;         /* borrowed from the engine, like all strings here */
    const char *architecture; /* "llama", ... */
    const char *title;        /* the model file's own name of itself, or "" */
    uint64_t parameters;
    uint64_t file_bytes;
    int ctx;                  /* tokens that a sequence may have here */
    int ctx_trained;          /* what the model was trained for, 0 when not known */
    int nvocab;
    bool chat_template;       /* there is one */
    int64_t load_us;          /* how long opening took */
} sg_engine_info;

void sg_engine_info_get(const sg_engine *engine, sg_engine_info *info);

typedef struct sg_memory_pool {
    const char *name;   /* see sg_engine_memory */
    uint64_t bytes;     /* held now */
    uint64_t cap_bytes; /* most that it may be */
} sg_memory_pool;

/* The memory ledger: fills up to `n` rows and returns how many there are, at most 16.  Of the engine: weights (mapped files),
 * packed (weights in the form that the kernels want), kv, prefix (the tree; its blocks are kv), scratch (of steps), text
 * (tokenizer, template), draft (a draft model), requests; of the process: io (what else the heap holds), heap (all of it).
 * Caps are fixed when the engine opens; a request that would pass its row's is SG_E_BUSY. */
size_t sg_engine_memory(const sg_engine *engine, sg_memory_pool *pools, size_t n);

/* The cap of the process, weights and heap together, and who decided it ("--memory", "MemAvailable", ...; static; may be NULL).
 * 0 while no engine is open. */
uint64_t sg_memory_cap(const char **from);

/* Buckets of a histogram: counts of values <= bound[i] (seconds or tokens), the last one for all others. */
enum { SG_NBUCKET = 16 };
typedef struct sg_histogram {
    uint64_t count[SG_NBUCKET + 1]; /* not cumulative */
    double sum;
} sg_histogram;
extern const double sg_seconds_bound[SG_NBUCKET]; /* 1 ms to 300 s */
extern const double sg_tokens_bound[SG_NBUCKET];  /* 1 to 32768, powers of two */

/* Why the part of a prompt that was found computed ended where it did. */
typedef enum sg_prefix_end {
    SG_PREFIX_WHOLE,    /* every token that was asked for is there */
    SG_PREFIX_COLD,     /* nothing of this name space begins with the first token */
    SG_PREFIX_DIVERGED, /* what is there goes on differently */
    SG_PREFIX_SHORT,    /* what is there ends */
    SG_PREFIX_EVICTED,  /* more was there and gave its memory away, not long ago */
    SG_PREFIX_NEND
} sg_prefix_end;

/* Who guesses ahead (docs/scheduling.md). */
typedef enum sg_draft_kind {
    SG_DRAFT_TREE,  /* what other requests had behind the same tokens */
    SG_DRAFT_LONG,  /* the request's own text, behind a long run that it had before */
    SG_DRAFT_SHORT, /* the same, a short run */
    SG_DRAFT_MODEL, /* a draft model */
    SG_DRAFT_NKIND
} sg_draft_kind;

/* What the engine has done since it was opened. */
typedef struct sg_engine_stats {
    uint64_t nrunning, nwaiting;          /* now */
    uint64_t kv_block, kv_block_reserved; /* now; reserved: in use by running requests */
    uint64_t prompt_tokens, generated_tokens, steps;
    uint64_t finished[4]; /* by sg_finish */
    uint64_t rejected, rejected_memory; /* SG_E_BUSY: the queue was full; the memory of requests was */
    uint64_t preemptions, recomputed_tokens; /* blocks taken from a running request for others, and what that cost */
    uint64_t drafted_tokens, accepted_tokens; /* guesses that were computed, and that were right */
    uint64_t drafted_by[SG_DRAFT_NKIND], accepted_by[SG_DRAFT_NKIND]; /* the same, by who made them */
    double draft_seconds; /* spent in the draft model */
    double step_error_p90; /* |predicted - measured| / measured step time, of the last 256 steps; 0: none */
    double step_predicted_us, step_measured_us; /* sums over the steps that were predicted */
    uint64_t prefix_block; /* now: KV blocks in the prefix tree */
    uint64_t prefix_hit_tokens, prefix_evicted, prefix_waits; /* prompt tokens found; blocks; held for the same prefix */
    uint64_t prefix_end[SG_PREFIX_NEND + 1]; /* requests by why their match ended; the last: no tree */
    sg_histogram queue_seconds, first_token_seconds, inter_token_seconds, request_seconds;
    sg_histogram step_prefill_seconds, step_decode_seconds; /* steps with and without a part of a prompt */
    sg_histogram step_tokens;
} sg_engine_stats;

void sg_engine_stats_get(const sg_engine *engine, sg_engine_stats *stats);

/* Text to token ids in fresh memory (sg_memory_free).  `special`: special-token text counts as special tokens;
 * `begin`: add what the tokenizer puts around a text (BOS).  SG_E_ARGUMENT for text that is no UTF-8. */
sg_status sg_engine_tokenize(const sg_engine *engine, const char *text, size_t n, bool special, bool begin, int32_t **ids,
                             size_t *nid, sg_error *err);

/* The bytes that a token stands for (may be part of a character), cut at `cap`; returns the whole length. */
size_t sg_engine_token_bytes(const sg_engine *engine, int32_t id, char *out, size_t cap);

/* A conversation, as JSON texts (each may be NULL but messages). */
typedef struct sg_chat {
    const char *messages;  /* [{"role","content",...}, ...] */
    const char *tools;     /* [{"type":"function",...}, ...] */
    const char *documents; /* [...] */
    const char *variables; /* {"name": value, ...}: passed to the template as they stand */
    bool no_generation_prompt;
} sg_chat;

/* Render a conversation by the model's chat template.  *text in fresh memory (sg_memory_free).  SG_E_UNSUPPORTED
 * when the model has none; what the template raises is SG_E_ARGUMENT. */
sg_status sg_engine_render(const sg_engine *engine, const sg_chat *chat, char **text, size_t *n, sg_error *err);

/* ---- grammars ------------------------------------------------------------ */

/* What an answer may be: a context-free grammar over bytes.  Immutable and counted: a request keeps what it needs, so a
 * grammar may be freed right after the submit, and used for any number of requests at once.  Any thread. */
typedef struct sg_grammar sg_grammar;

/* Parse GBNF, the notation of llama.cpp's grammars:
 *
 *     root  ::= "yes" | list        # a comment
 *     list  ::= "[" (item ("," item)*)? "]"
 *     item  ::= [a-z0-9_]+ | [^"\x00-\x1f]{1,8} | .
 *
 * Escapes in literals and classes: \n \r \t \\ \" \[ \] \xNN \uNNNN \UNNNNNNNN.  A rule ends with its line, unless a
 * parenthesis is open or a | is at the end or at the start of the next line.  The text begins in `root`.
 * SG_E_FORMAT "grammar line N: ...", also for rules that are not defined and for left recursion; SG_E_LIMIT. */
sg_status sg_grammar_parse(sg_grammar **g, const char *text, size_t n, sg_error *err);

/* The JSON texts that a JSON Schema allows (draft 4 to 2020-12; docs/structured-output.md has the keywords).  Objects have
 * the order of `properties`, blanks are few.  flags: SG_SCHEMA_...  A keyword that is not supported is SG_E_UNSUPPORTED "schema
 * /properties/a: ..." by its JSON pointer, never ignored; SG_E_FORMAT when the schema is malformed or nothing can satisfy
 * it, SG_E_LIMIT when it is too large. */
enum {
    SG_SCHEMA_CLOSED = 1, /* objects that list properties have no others, unless additionalProperties allows them */
};
sg_status sg_grammar_from_schema(sg_grammar **g, const char *json, size_t n, unsigned flags, sg_error *err);

/* One of n texts, which are valid UTF-8.  SG_E_FORMAT when there are none, SG_E_LIMIT. */
sg_status sg_grammar_from_texts(sg_grammar **g, const char *const *text, const size_t *len, size_t n, sg_error *err);

/* The texts that a regular expression matches from beginning to end: ECMA 262's syntax without look-around, \b, \p and
 * back-references (SG_E_UNSUPPORTED).  SG_E_FORMAT "pattern: ..." when it is malformed or matches nothing, SG_E_LIMIT. */
sg_status sg_grammar_from_pattern(sg_grammar **g, const char *pattern, size_t n, sg_error *err);

void sg_grammar_free(sg_grammar *g);

/* ---- requests ------------------------------------------------------------ */

/* One prompt being continued.  Its events come through a bounded ring: a reader that falls behind stops its
 * own request and no other. */
typedef struct sg_request sg_request;

typedef enum sg_finish { SG_FINISH_STOP, SG_FINISH_LENGTH, SG_FINISH_CANCELLED, SG_FINISH_ERROR } sg_finish;

/* "stop", "length", "cancelled", "error" */
const char *sg_finish_name(sg_finish finish);

enum { SG_LOGPROBS_MAX = 20, SG_STOPS_MAX = 64, SG_STOP_BYTES_MAX = 1024 };

typedef struct sg_request_options {
    const int32_t *prompt; /* token ids, at least one; copied, like everything here */
    size_t nprompt;
    sg_sampling sampling;
    const char *const *stop; /* the answer ends before the first of these; no part of one is ever given out */
    size_t nstop;
    int64_t max_tokens; /* 0 or less: until the context is full */
    int logprobs;       /* -1: none; 0 to 20: the token's log-probability and so many of the likeliest */
    bool ignore_eos;    /* go on after end-of-text until max_tokens */
    sg_grammar *grammar; /* what the answer must be, NULL: anything.  End-of-text comes only where the grammar may end;
                          * when nothing can follow, the answer ends with SG_FINISH_STOP */
    const char *grammar_after; /* the grammar begins behind this text of the answer ("</think>"); NULL: at once */
    uint32_t tenant;
    int priority;       /* 0 interactive, 1 normal (default), 2 batch */
    uint64_t space;     /* requests of other name spaces do not see its prefixes */
    /* Called by the step loop when events have come; must not block nor call back into the request.  Never called
     * once the end event has been read. */
    void (*notify)(void *arg);
    void *arg;
} sg_request_options;

sg_request_options sg_request_defaults(void);

/* Queue a request.  SG_E_ARGUMENT (values), SG_E_LIMIT (the prompt leaves no room in the context: the error has both
 * numbers; nothing is ever cut), SG_E_BUSY (queue full), SG_E_UNAVAILABLE (closing), SG_E_NOMEM. */
sg_status sg_request_submit(sg_request **request, sg_engine *engine, const sg_request_options *options, sg_error *err);

/* Ask it to stop: its work is dropped within one step and its last event says cancelled.  Any thread, any time. */
void sg_request_cancel(sg_request *request);

/* Give it up; cancels what is not finished.  NULL is fine. */
void sg_request_free(sg_request *request);

typedef struct sg_logprob {
    int32_t id;
    double logprob; /* natural logarithm, of the model before any sampling rule */
} sg_logprob;

typedef struct sg_usage {
    int prompt_tokens, completion_tokens; /* sampled tokens; the end-of-text token is not counted */
    int cached_tokens;                    /* of the prompt, found computed */
} sg_usage;

typedef struct sg_timings {
    int64_t queue_us;   /* submitted to admitted */
    int64_t prefill_us; /* admitted to first token */
    int64_t decode_us;  /* first to last token */
} sg_timings;

typedef struct sg_event {
    bool end; /* the last event: token is -1, and finish, error, usage and timings are set */
    int32_t token;
    const char *text; /* what the token adds, whole UTF-8 characters, NUL-terminated; often "" */
    size_t ntext;
    double logprob;
    const sg_logprob *top; /* [ntop], likeliest first */
    size_t ntop;
    sg_finish finish;
    const sg_error *error; /* SG_FINISH_ERROR only */
    sg_usage usage;
    sg_timings timings;
} sg_event;

/* The next event; what it points to stays until the next call.  Waits up to timeout_ms (0: does not wait, negative: for
 * ever) and returns false when nothing came.  After the end event always false.  One reading thread a request. */
bool sg_request_next(sg_request *request, sg_event *event, int timeout_ms);

/* ---- server -------------------------------------------------------------- */

/* OpenAI's HTTP interface over engines. */
typedef struct sg_server sg_server;

typedef struct sg_server_options {
    const char *host; /* address to listen on; NULL: 127.0.0.1 */
    int port;         /* 0: a free one */
    const sg_engine_options *models; /* loaded in the background after listening has begun; the first is the default */
    size_t nmodel;
    sg_engine *const *engines; /* engines that are open already, before the above; borrowed */
    size_t nengine;
    const char *api_key_file; /* one key a line, '#' comments; NULL: no keys are asked for */
    const char *access_log;   /* a file that gets one JSON line a request ("-": standard error); NULL: none */
    const char *const *origins; /* web origins that may call ("https://host"); all others get no permission */
    size_t norigin;
    size_t body_max_bytes;    /* 0: 16 MiB */
    int max_connections;      /* 0: 4096, less when the process may open fewer files */
    const uint64_t *seed;     /* of requests that name none; NULL: another one for each */
    bool signals;             /* run handles SIGTERM and SIGINT (drain; again: stop) and SIGHUP */
    void (*loaded)(void *arg, const sg_engine *engine); /* after each model, in the loader's thread; or NULL */
    void (*hangup)(void *arg, sg_server *server); /* SIGHUP, in run's thread; NULL: the same files are read again */
    void *arg;
} sg_server_options;

/* Bind and listen; nothing is answered until run.  Options are copied but for engines. */
sg_status sg_server_open(sg_server **server, const sg_server_options *options, sg_error *err);

/* Take api_key_file, access_log and origins of the options anew: keys are read, the log is opened (a rotated one is
 * left), all of it or, on failure, nothing.  The rest of the options is not looked at.  From `hangup` or before run.
 * Whether keys are asked for at all cannot change: SG_E_ARGUMENT. */
sg_status sg_server_reload(sg_server *server, const sg_server_options *options, sg_error *err);

/* "http://127.0.0.1:8080" */
const char *sg_server_url(const sg_server *server);

/* Serve until stopped; one thread.  SG_E_... when a model could not be loaded. */
sg_status sg_server_run(sg_server *server, sg_error *err);

/* Stop: `now` false lets what runs finish and refuses new work.  Any thread. */
void sg_server_stop(sg_server *server, bool now);

/* After run has returned. */
void sg_server_close(sg_server *server);

/* ---- tokenizers ----------------------------------------------------------
 *
 * A tokenizer is immutable once opened and may be used by any number of threads at once.  Text goes in as
 * bytes; ill-formed UTF-8 counts as U+FFFD, one for each maximal ill-formed piece.  What comes out is
 * always well-formed UTF-8.
 */

typedef int32_t sg_token;
#define SG_TOKEN_NONE (-1)

typedef struct sg_tokenizer sg_tokenizer;

/* A growable list of token ids; {0} is empty. */
typedef struct sg_tokens {
    sg_token *data;
    size_t n, cap;
} sg_tokens;

/* Append; SG_E_NOMEM leaves the list as it was.  fini frees the memory and leaves an empty list. */
sg_status sg_tokens_add(sg_tokens *list, sg_token id, sg_error *err);
void sg_tokens_fini(sg_tokens *list);

/* Open the tokenizer of a model: a .gguf file, a Hugging Face directory (tokenizer.json, or tokenizer.model,
 * with tokenizer_config.json), or a lone tokenizer.json, SentencePiece .model or llama2.c tokenizer.bin. */
sg_status sg_tokenizer_open(sg_tokenizer **t, const char *path, sg_error *err);
void sg_tokenizer_free(sg_tokenizer *t);

/* Ids are 0 .. size-1; some of them may be holes that no text makes and that decode to nothing. */
size_t sg_tokenizer_size(const sg_tokenizer *t);

/* "bpe" (byte level), "sentencepiece" (BPE over characters), "unigram" or "wordpiece". */
const char *sg_tokenizer_kind(const sg_tokenizer *t);

enum {
    SG_ENCODE_SPECIAL = 1, /* the text of a special token becomes that token; without it, it is text */
    SG_ENCODE_AROUND = 2,  /* add what the model wants around a text: BOS, EOS, [CLS] ... [SEP] */
};

/* Append the ids of text[0..len) to *ids.  On failure *ids is as it was.  SG_E_LIMIT for texts of 2 GiB
 * and more, for normalisers that swell the text beyond reason and for patterns that run out of steps. */
sg_status sg_tokenizer_encode(const sg_tokenizer *t, const char *text, size_t len, unsigned flags, sg_tokens *ids,
                              sg_error *err);

/* Decode n ids into fresh memory (sg_tokenizer_text_free), NUL-terminated; *len may be NULL.  skip_special
 * leaves the special tokens out.  An id outside the vocabulary is SG_E_ARGUMENT. */
sg_status sg_tokenizer_decode(const sg_tokenizer *t, const sg_token *ids, size_t n, bool skip_special, char **text,
                              size_t *len, sg_error *err);
void sg_tokenizer_text_free(char *text);

/* Encode a text again and again on this thread, cut at line ends into documents of at least `document` bytes (0: in one
 * piece): seconds[0] of CPU time with an empty cache, seconds[1..repeats) with what the passes before left in it. *ntoken: ids a pass. */
sg_status sg_tokenizer_bench(const sg_tokenizer *t, const char *text, size_t len, size_t document, int repeats,
                             double *seconds, uint64_t *ntoken, sg_error *err);

/* The bytes that a token stands for, without looking at its neighbours (they may be part of a character;
 * blanks stand as they will be shown).  Owned by the tokenizer; NULL for an id outside the vocabulary. */
const char *sg_tokenizer_piece(const sg_tokenizer *t, sg_token id, size_t *len);

/* The id of the special or added token with this text, or SG_TOKEN_NONE. */
sg_token sg_tokenizer_find(const sg_tokenizer *t, const char *text);

/* Whether skip_special leaves this token out; whether it ends a reply (EOS, end of turn, ...). */
bool sg_tokenizer_is_special(const sg_tokenizer *t, sg_token id);
bool sg_tokenizer_is_end(const sg_tokenizer *t, sg_token id);

/* Ids of the named tokens, SG_TOKEN_NONE when the model has no such token. */
sg_token sg_tokenizer_bos(const sg_tokenizer *t);
sg_token sg_tokenizer_eos(const sg_tokenizer *t);
sg_token sg_tokenizer_eot(const sg_tokenizer *t); /* end of a turn */
sg_token sg_tokenizer_unk(const sg_tokenizer *t);
sg_token sg_tokenizer_pad(const sg_tokenizer *t);
sg_token sg_tokenizer_sep(const sg_tokenizer *t);
sg_token sg_tokenizer_mask(const sg_tokenizer *t);

/* Whether SG_ENCODE_AROUND puts BOS (or [CLS]) first. */
bool sg_tokenizer_adds_bos(const sg_tokenizer *t);

/* The streaming detokeniser: text as soon as it is certain, never part of a character.  After each token
 * sg_detok_add gives the new text (possibly ""), at the end sg_detok_end gives what was held back.  All
 * pieces together are what sg_tokenizer_decode gives.  The text belongs to the detokeniser and lives until
 * its next call.  One thread at a time; the tokenizer must outlive it. */
typedef struct sg_detok sg_detok;
sg_status sg_detok_new(sg_detok **d, const sg_tokenizer *t, bool skip_special, sg_error *err);
void sg_detok_free(sg_detok *d);
sg_status sg_detok_add(sg_detok *d, sg_token id, const char **text, size_t *len, sg_error *err);
sg_status sg_detok_end(sg_detok *d, const char **text, size_t *len, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
