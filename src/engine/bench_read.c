/* engine/bench_read.c - how fast a model's own weights can be read.
 *
 * A buffer of another size says little of it: where a rented server's last level cache is larger than the buffer or the model, the
 * same loop reads 100 MB at 50 GB/s, 400 MB at 35 and 1500 MB at 34.  So the ceiling of a decode step is taken over the
 * very bytes that the step reads, in the pages that hold them:
 *
 *     weights of all layers    | q | k | v | o | gate | up | down | q | k |  ...       (sg_model_each_weight)
 *     runs of neighbours       |-----------------------------------------|   |----     packed weights lie side by side (base/heap.h)
 *     worker 0, worker 1       |--------------------|--------------------|             one half each
 *
 * without the starts and ends of layers, the arithmetic, or waiting for each other: an upper bound.  Four streams and one
 * long one are tried in turn, for either may be the faster.
 */
#include "engine/bench_read.h"

#include "base/clock.h"
#include "base/heap.h"
#include "kernel/probe.h"

#include <stdlib.h>

enum { PROBE_NS = 100000000, ROUNDS = 4, UNIT = 1024 /* a probe reads whole ones */ };

typedef struct run {
    const char *at;
    size_t bytes;
} run;

struct sg_bench_reader {
    sg_ops *ops;
    size_t bytes;
    double values; /* weights that a row is multiplied by */
    int nrun, cap;
    bool failed; /* no memory for a run */
    run *runs;
};

static void add(void *arg, const void *bytes, size_t n, double nvalue)
{
    sg_bench_reader *r = arg;
    if (r->nrun == r->cap) {
        int cap = r->cap ? 2 * r->cap : 256;
        run *grown = sg_realloc(r->runs, (size_t)cap * sizeof *grown);
        if (!grown) {
            r->failed = true;
            return;
        }
        r->runs = grown;
        r->cap = cap;
    }
    size_t pad = (size_t)-(uintptr_t)bytes & 63; /* stored rows may begin anywhere */
    r->bytes += n;
    r->values += nvalue;
    if (n > pad)
        r->runs[r->nrun++] = (run){(const char *)bytes + pad, n - pad};
}

static int by_address(const void *a, const void *b)
{
    const char *x = ((const run *)a)->at, *y = ((const run *)b)->at;
    return (x > y) - (x < y);
}

/* Neighbours, but for what rounds a size up to 64 bytes, become one. */
static void join(sg_bench_reader *r)
{
    int n = 0;
    if (!r->nrun)
        return;
    qsort(r->runs, (size_t)r->nrun, sizeof *r->runs, by_address);
    for (int i = 1; i < r->nrun; i++) {
        run *last = &r->runs[n];
        if ((uintptr_t)r->runs[i].at - (uintptr_t)last->at < last->bytes + 64)
            last->bytes = (size_t)(r->runs[i].at - last->at) + r->runs[i].bytes;
        else
            r->runs[++n] = r->runs[i];
    }
    r->nrun = n + 1;
}

sg_status sg_bench_reader_new(sg_bench_reader **reader, const sg_model *model, sg_ops *ops, sg_error *err)
{
    sg_bench_reader *r = sg_calloc(1, sizeof *r);
    if (!r)
        return sg_fail_nomem(err, "the memory probe");
    r->ops = ops;
    sg_model_each_weight(model, add, r);
    if (r->failed) {
        sg_bench_reader_free(r);
        return sg_fail_nomem(err, "the memory probe");
    }
    join(r);
    *reader = r;
    return SG_OK;
}

void sg_bench_reader_free(sg_bench_reader *r)
{
    if (r)
        sg_free(r->runs);
    sg_free(r);
}

size_t sg_bench_reader_bytes(const sg_bench_reader *r) { return r->bytes; }

double sg_bench_reader_values(const sg_bench_reader *r) { return r->values; }

typedef struct pass {
    const sg_bench_reader *r;
    sg_probe what;
    size_t nworker;
} pass;

static size_t share_of(const pass *p, const run *x) { return x->bytes / p->nworker / UNIT * UNIT; }

static void read_task(void *arg, int task, int worker)
{
    const pass *p = arg;
    (void)worker;
    for (const run *x = p->r->runs; x < p->r->runs + p->r->nrun; x++)
        sg_probe_run(sg_ops_isa(p->r->ops), p->what, x->at + (size_t)task * share_of(p, x), share_of(p, x));
}

double sg_bench_reader_run(const sg_bench_reader *r)
{
    int n = sg_pool_nworker(sg_ops_pool(r->ops));
    pass p = {r, SG_PROBE_READ, (size_t)n};
    double best = 0, bytes = 0;
    for (const run *x = r->runs; x < r->runs + r->nrun; x++)
        bytes += (double)(share_of(&p, x) * (size_t)n);
    for (int64_t begin = sg_clock_ns(), round = 0; bytes > 0 && (round < ROUNDS || sg_clock_ns() - begin < PROBE_NS); round++) {
        p.what = round % 2 ? SG_PROBE_READ_LONG : SG_PROBE_READ;
        int64_t t = sg_clock_ns();
        sg_pool_run(sg_ops_pool(r->ops), read_task, &p, n);
        t = sg_clock_ns() - t;
        best = t > 0 && bytes / (double)t > best ? bytes / (double)t : best;
    }
    return best;
}
