/* engine/bench_engine.h - decoding through the step loop, with and without guesses.  (Inside engine/.) */
#ifndef SG_ENGINE_BENCH_ENGINE_H
#define SG_ENGINE_BENCH_ENGINE_H

#include "base/json.h"
#include "segue.h"

/* Appends to results, for each batch of the options, objects {"test": "engineN", "spec", "temperature", "batch", "depth", "tps"} with
 * "of_bare" and "bare" (tokens a second of the bare loop) or "of_plain" (against the same without guesses): medians of the ratios of
 * runs that followed one another. */
sg_status sg_bench_engine(json_t *results, const sg_bench_options *options, sg_error *err);

#endif
