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

#ifdef __cplusplus
}
#endif
#endif
