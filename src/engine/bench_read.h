/* engine/bench_read.h - how fast a model's own weights can be read: what decoding is measured by.  Private to engine/. */
#ifndef SG_ENGINE_BENCH_READ_H
#define SG_ENGINE_BENCH_READ_H

#include "model/model.h"

typedef struct sg_bench_reader sg_bench_reader;

/* Finds the bytes that a decode step of one row reads (sg_model_each_weight).  The model and ops are borrowed.  SG_E_NOMEM. */
sg_status sg_bench_reader_new(sg_bench_reader **reader, const sg_model *model, sg_ops *ops, sg_error *err);
void sg_bench_reader_free(sg_bench_reader *reader);

/* Bytes that such a step reads, and weights that its row is multiplied by. */
size_t sg_bench_reader_bytes(const sg_bench_reader *reader);
double sg_bench_reader_values(const sg_bench_reader *reader);

/* Reads them all with all workers, for 100 ms at least, and returns the best round: 1e9 bytes a second, 0 without weights. */
double sg_bench_reader_run(const sg_bench_reader *reader);

#endif
