/* replay/bench.h - what the files of segue bench serve share: the load, the bound and the place of a benchmark.  */
#ifndef SG_REPLAY_BENCH_H
#define SG_REPLAY_BENCH_H

#include "replay/point.h"

typedef struct sg_bench {
    const sg_bench_serve_options *o;
    sg_place place;
    sg_trace trace;
    sg_record record;
    double decode_step_us; /* of the reference; 0: was not needed */
    double slo_us, delay_us;
    int npolicy;
} sg_bench;

/* serve.c */
/* A line of progress. */
void sg_bench_say(const sg_bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One run of the trace with Poisson arrivals: its numbers, and whether it kept bound and delay. */
sg_status sg_bench_point(sg_bench *b, double qps, sg_summary *s, bool *good, sg_error *err);
/* Whether a run's gaps kept the bound, its queue the delay, and its ends the pace of its arrivals. */
bool sg_bench_kept(const sg_bench *b, const sg_summary *s, double bound_us);
/* The largest rate that keeps them, to within `close` of it, beginning at `qps`; *best is that run's. */
sg_status sg_bench_search(sg_bench *b, double qps, double close, double *capacity, sg_summary *best, sg_error *err);
/* A line of results, begun and handed out. */
json_t *sg_bench_begin_line(const sg_bench *b, const char *policy);
sg_status sg_bench_end_line(const sg_bench *b, json_t *o, sg_error *err);
/* Three places are enough for people. */
double sg_bench_cut(double x);
/* CSV and SVG of the last run, when they are wanted. */
sg_status sg_bench_write_files(const sg_bench *b, const char *policy, const sg_summary *s, double bound_us, sg_error *err);

/* capacity.c: strict and relaxed capacity of a policy, simulated and then measured around it. */
sg_status sg_bench_capacity(sg_bench *b, const char *policy, sg_error *err);

#endif
