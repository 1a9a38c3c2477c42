/* replay/trace.h - recorded loads: when requests came, how long their prompts and answers were.
 *
 * Read are CSV files with a header line (Azure's LLM inference traces, the length files of Sarathi-Serve and Vidur) and JSON lines
 * (Mooncake).  Columns are found by name:
 *
 *     arrival   TIMESTAMP (2023-11-16 18:17:03.97 or seconds), arrived_at, arrival (seconds), timestamp (JSON: milliseconds)
 *     prompt    ContextTokens, num_prefill_tokens, prompt_tokens, input_length
 *     output    GeneratedTokens, num_decode_tokens, output_tokens, output_length
 *     prefix    hash_ids (JSON): one number for each 512 tokens of the prompt; equal numbers, equal tokens
 *
 * A folder with chunk-N-trace.csv and chunk-N-dataset.json, or one chunk-N-trace.csv with the other beside it, is a description of
 * clients (ServeGen): arrivals and lengths are drawn from it, the same ones every time.
 *
 * Other columns are passed over.  Rows come in order of arrival, which begins at 0.
 */
#ifndef SG_REPLAY_TRACE_H
#define SG_REPLAY_TRACE_H

#include "base/error.h"

typedef struct sg_trace_request {
    int64_t arrival_us; /* 0 without recorded arrivals */
    int32_t prompt, output; /* tokens, at least 1 */
    size_t hash;            /* its prefix numbers: trace.hash[hash .. hash + nhash) */
    int32_t nhash;
} sg_trace_request;

enum { SG_TRACE_HASH_TOKENS = 512, SG_TRACE_TOKENS_MAX = 1 << 24 };

typedef struct sg_trace {
    sg_trace_request *request;
    size_t n, cap;
    int64_t *hash;
    size_t nhash, caphash;
    bool timed; /* arrivals were recorded */
} sg_trace;

/* Read at most `max` requests (0: all).  On failure *trace is untouched.  SG_E_IO, SG_E_FORMAT with the line, SG_E_NOMEM. */
sg_status sg_trace_read(sg_trace *trace, const char *path, size_t max, sg_error *err);
/* The same from memory; `what` names it in errors. */
sg_status sg_trace_parse(sg_trace *trace, const char *text, size_t n, const char *what, size_t max, sg_error *err);
void sg_trace_fini(sg_trace *trace);

/* For readers: one more request (SG_E_FORMAT with the line when its lengths are out of range), and room for element n of an array. */
sg_status sg_trace_add(sg_trace *trace, sg_trace_request request, const char *what, size_t line, sg_error *err);
bool sg_trace_grow(void **data, size_t *cap, size_t n, size_t size);

/* servegen.c: add the requests that a client's description says, at most `max` (0: all, up to four million).  Unsorted, times as
 * described.  The names stand in errors. */
sg_status sg_servegen_add(sg_trace *trace, const char *windows, size_t nwindows, const char *periods, size_t nperiods, uint64_t seed,
                          size_t max, const char *what, const char *what_periods, sg_error *err);
bool sg_servegen_is(const char *path); /* a folder, or a file of windows with the other file beside it */
sg_status sg_servegen_read(sg_trace *trace, const char *path, size_t max, sg_error *err);

/* A made-up load: n requests, 30 % of them with prompts of 1024 to 2048 tokens, the rest of 32 to 128; answers of 32
 * to 64.  The mix that PEERS measures servers with. */
sg_status sg_trace_mix(sg_trace *trace, size_t n, uint64_t seed, sg_error *err);

/* Token `at` of request i's prompt, from 0 to nvocab - 1: drawn from its prefix number and the place behind it where it has one for
 * that place, else from (salt, i, at).  `k`: what lengths were divided by. */
int32_t sg_trace_token(const sg_trace *trace, size_t i, int at, double k, uint64_t salt, int nvocab);

/* A made-up load of agents: each of n / 8 tasks begins with one of four sets of tools of about 3,000 tokens, and comes back seven
 * times with what it said and what its tools answered (100 to 600 tokens) behind; answers of 20 to 120 tokens. */
sg_status sg_trace_agents(sg_trace *trace, size_t n, uint64_t seed, sg_error *err);

/* Divide lengths by k (at least 1 token remains), and cut prompts so that prompt + output <= ctx. */
void sg_trace_scale(sg_trace *trace, double k, int ctx);
/* Arrivals of a Poisson process with qps requests a second, from a seed. */
void sg_trace_poisson(sg_trace *trace, double qps, uint64_t seed);

#endif
