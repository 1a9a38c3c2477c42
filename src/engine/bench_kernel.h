/* engine/bench_kernel.h - parts of `segue bench kernel` that have files of their own.  Private to engine/. */
#ifndef SG_ENGINE_BENCH_KERNEL_H
#define SG_ENGINE_BENCH_KERNEL_H

#include "base/json.h"
#include "op/op.h"

/* What the machine can do, in 1e9 a second: multiplications and additions, bytes. */
typedef struct sg_bench_ceiling {
    double fp32, bf16, int8, read;
} sg_bench_ceiling;

/* Whether `only` (NULL: everything) asks for attention: "attention", or "attention_" and a type of the cache. */
bool sg_bench_attention_wanted(const char *only);

/* Append a row for each shape, number of queries, length and type of the cache that `only` names. */
sg_status sg_bench_attention(json_t *results, sg_ops *ops, const sg_bench_ceiling *ceiling, const char *only, sg_error *err);

#endif
