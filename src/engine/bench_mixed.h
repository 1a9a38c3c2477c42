/* engine/bench_mixed.h - rows of all kinds in one step, against a step for each kind.  (Inside engine/.) */
#ifndef SG_ENGINE_BENCH_MIXED_H
#define SG_ENGINE_BENCH_MIXED_H

#include "base/json.h"
#include "model/model.h"

/* Appends to results objects {"test", "together_ms", "apart_ms", "ratio"}: best of `reps` runs each.  For "odd rows" they are chunks as
 * they are and padded, and "ratio" is the mean of the ratios.  Keys and values are stored as kv_type in blocks of `block`.
 * SG_E_UNSUPPORTED when the model's context is under 768 tokens, SG_E_NOMEM. */
sg_status sg_bench_mixed(sg_model *model, sg_dtype kv_type, int block, int reps, json_t *results, sg_error *err);

#endif
