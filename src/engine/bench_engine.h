/* engine/bench_engine.h - decoding through the step loop, with and without guesses.  (Inside engine/.) */
#ifndef SG_ENGINE_BENCH_ENGINE_H
#define SG_ENGINE_BENCH_ENGINE_H

#include "base/json.h"
#include "segue.h"

/* The bare loop: tokens a second of `batch` sequences that decode the options' number of tokens. */
typedef sg_status sg_bench_bare_fn(void *arg, int batch, double *tps, sg_error *err);

/* Appends to results, for each batch of the options, objects {"test": "engineN", "spec", "temperature", "batch", "depth", "tps"} with
 * "of_bare" (against `bare`) or "of_plain" (against the same without guesses): medians of the ratios of runs that followed one another. */
sg_status sg_bench_engine(json_t *results, const sg_bench_options *options, sg_bench_bare_fn *bare, void *arg, sg_error *err);

#endif
