/* replay/point.h - one run of a load, real or simulated: what the benchmarks of bench.c are made of. */
#ifndef SG_REPLAY_POINT_H
#define SG_REPLAY_POINT_H

#include "replay/sim.h"
#include "segue.h"

/* Where runs happen: a simulated machine, or an engine. */
typedef struct sg_place {
    const sg_bench_serve_options *o;
    bool simulate;
    sg_machine machine;      /* simulated */
    sg_latency fitted;       /* what a measured machine follows */
    sg_engine *engine;       /* real; NULL between policies */
    sg_record *record;       /* of the run that is on */
    int64_t origin_us;       /* real: clock at its beginning */
    const char *policy;
    double slo_us;           /* the bound that the policy is told; 0: its own choice */
    double give_up_queue_us; /* simulated: see sim.h */
    int max_running, ctx;
    int warm_tokens; /* real: memory for so many tokens is touched before, as it is after a while of service */
    int64_t most_us; /* real: a run ends after so long, what is left is cancelled; 0: never */
    uint64_t salt; /* real: no two runs have the same prompts, unless their prefixes are equal on purpose */
} sg_place;

/* Make the place ready for a policy (opens the engine).  Undone by sg_place_close. */
sg_status sg_place_open(sg_place *p, const char *policy, double slo_us, sg_error *err);
void sg_place_close(sg_place *p);

/* Serve the trace with its arrivals.  With last >= 0 the run ends when that request has, and what is left is cancelled.
 * `beyond` (may be NULL) says whether a simulated run was given up.  SG_E_CANCELLED when o->stop says so. */
sg_status sg_place_run(sg_place *p, const sg_trace *trace, int last, sg_record *record, bool *beyond, sg_error *err);

#endif
