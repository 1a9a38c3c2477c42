/* replay/capacity.c - capacity of the real engine in few runs: simulate to know where to look, then look.
 *
 *     fit       the step-time model that the engine has learnt from this load on this machine becomes the simulated machine
 *     bracket   a whole search in virtual time, with all requests of the load: seconds
 *     confirm   up to three real runs (one for relaxed) of 25 s, the first at the simulated capacity c:
 *
 *                   kept: x 1.2 to 1.6 each      not kept: c / 1.2, then / 1.5      both: the middle
 *
 * A search alone takes ten real runs, most of them far from the capacity and the overloaded ones the longest.  Both
 * numbers are reported; where they differ, the real one counts.
 *
 * A run's gaps judge both bounds, strict and relaxed, because only slo is told its bound: the runs of other policies at one
 * bound are looked at again for the other.
 */
#include "replay/bench.h"

#include <math.h>
#include <string.h>

enum { WINDOW_S = 25, LEAST = 24, STRICT_RUNS = 3, RELAXED_RUNS = 1, TRIALS = STRICT_RUNS + RELAXED_RUNS };

typedef struct trial {
    double qps, bound_us; /* bound_us: what the policy was told */
    sg_summary s;
} trial;

typedef struct cell {
    const char *policy, *name;
    double bound_us;
} cell;

static bool knows_bound(const char *policy) { return strcmp(policy, "slo") == 0; }

static bool keeps(const sg_bench *b, const trial *t, double bound_us)
{
    return sg_bench_kept(b, &t->s, bound_us);
}

/* What a run says about a bound: all, when the policy was told this bound or none; that it was kept, when it was told a tighter one. */
static bool counts(const sg_bench *b, const cell *c, const trial *t)
{
    bool same = !knows_bound(c->policy) || fabs(t->bound_us - c->bound_us) < 1;
    return same || (t->bound_us < c->bound_us && keeps(b, t, c->bound_us));
}

/* The largest rate that kept the bound and the least that did not; 0: none. */
static void bracket(const sg_bench *b, const cell *c, const trial *t, int n, double *low, double *high)
{
    *low = *high = 0;
    for (int i = 0; i < n; i++)
        if (counts(b, c, &t[i]) && !keeps(b, &t[i], c->bound_us) && (*high <= 0 || t[i].qps < *high))
            *high = t[i].qps;
    for (int i = 0; i < n; i++)
        if (counts(b, c, &t[i]) && keeps(b, &t[i], c->bound_us) && t[i].qps > *low && (*high <= 0 || t[i].qps < *high))
            *low = t[i].qps;
}

/* How much further to go from a rate that was kept: further where its gaps were far below the bound. */
static double further(const cell *c, const trial *t, int n, double low)
{
    double share = 1;
    for (int i = 0; i < n; i++)
        if (fabs(t[i].qps - low) < 1e-9)
            share = t[i].s.tbt.p99 * 1e3 / c->bound_us;
    return share < 0.5 ? 1.6 : share < 0.75 ? 1.35 : 1.2;
}

/* Where to run next; 0: nowhere. */
static double next_rate(const sg_bench *b, const cell *c, const trial *t, int n, int run, double simulated)
{
    double low, high, far = run > 1 ? 1.5 : 1.2;
    bracket(b, c, t, n, &low, &high);
    if (low <= 0 && high <= 0)
        return simulated > 0 ? simulated : 0.5;
    if (high <= 0)
        return run ? low * further(c, t, n, low) : fmax(low * 1.2, simulated);
    if (low <= 0)
        return run ? high / far : fmin(high / 1.2, simulated > 0 ? simulated : high);
    return high / low < 1.1 ? 0 : sqrt(low * high);
}

static sg_status confirm(sg_bench *b, const cell *c, trial *t, int *n, int runs, double simulated, sg_error *err)
{
    for (int run = 0; run < runs && *n < TRIALS; run++) {
        double qps = next_rate(b, c, t, *n, run, simulated);
        bool good;
        if (qps <= 0)
            return SG_OK;
        t[*n] = (trial){.qps = qps, .bound_us = c->bound_us};
        size_t all = b->trace.n, want = (size_t)fmin(fmax(qps * WINDOW_S, LEAST), (double)all);
        b->trace.n = want;
        sg_status st = sg_bench_point(b, qps, &t[*n].s, &good, err);
        b->trace.n = all;
        SG_TRY(st);
        ++*n;
    }
    return SG_OK;
}

static sg_status simulate(sg_bench *b, double *capacity, sg_summary *s, sg_error *err)
{
    bool was = b->place.simulate;
    double slo_us = b->place.slo_us;
    b->place.simulate = true;
    b->place.slo_us = b->slo_us;
    b->place.give_up_queue_us = b->delay_us;
    sg_status st = sg_bench_search(b, 0.5, 0.02, capacity, s, err);
    b->place.simulate = was;
    b->place.slo_us = slo_us;
    b->place.give_up_queue_us = 0;
    return st;
}

static sg_status report(const sg_bench *b, const cell *c, const trial *t, int n, double simulated, const sg_summary *virtual_best,
                        sg_error *err)
{
    double low, high;
    const sg_summary *s = virtual_best;
    json_t *o = sg_bench_begin_line(b, c->policy), *runs = json_array();
    bracket(b, c, t, n, &low, &high);
    for (int i = 0; i < n; i++) {
        if (!counts(b, c, &t[i]))
            continue;
        if (t[i].qps <= low || (low <= 0 && s == virtual_best))
            s = &t[i].s;
        json_array_append_new(runs, json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:b}", "qps", sg_bench_cut(t[i].qps), "tbt_p99_ms",
                                              sg_bench_cut(t[i].s.tbt.p99), "queue_p50_ms", sg_bench_cut(t[i].s.queue.p50), "ttft_p50_ms",
                                              sg_bench_cut(t[i].s.ttft.p50), "ttft_p99_ms", sg_bench_cut(t[i].s.ttft.p99), "reached_qps",
                                              sg_bench_cut(t[i].s.qps), "kept", (int)keeps(b, &t[i], c->bound_us)));
    }
    for (int i = 0; i < n && low > 0; i++)
        if (counts(b, c, &t[i]) && fabs(t[i].qps - low) < 1e-9)
            s = &t[i].s;
    double capacity = b->place.simulate ? simulated : low;
    json_object_set_new(o, "slo", json_string(c->name));
    json_object_set_new(o, "capacity_qps", capacity > 0 ? json_real(sg_bench_cut(capacity)) : json_null());
    json_object_set_new(o, "beyond_qps", high > 0 ? json_real(sg_bench_cut(high)) : json_null());
    json_object_set_new(o, "simulated_qps", json_real(sg_bench_cut(simulated)));
    json_object_set_new(o, "delay_limit_ms", json_real(sg_bench_cut(b->delay_us / 1e3)));
    json_object_set_new(o, "requests", json_integer((json_int_t)b->trace.n));
    json_object_set_new(o, "runs", runs);
    sg_summary_json(o, s);
    return sg_bench_end_line(b, o, err);
}

sg_status sg_bench_capacity(sg_bench *b, const char *policy, sg_error *err)
{
    const cell cells[] = {{policy, "strict", 5 * b->decode_step_us}, {policy, "relaxed", 25 * b->decode_step_us}};
    double simulated[2];
    sg_summary best[2] = {0};
    trial t[TRIALS] = {0};
    int n = 0;
    for (int i = 0; i < 2; i++) {
        b->slo_us = cells[i].bound_us;
        SG_TRY(simulate(b, &simulated[i], &best[i], err));
    }
    for (int i = 0; i < 2 && !b->place.simulate; i++) {
        b->slo_us = cells[i].bound_us;
        if (i == 0 || knows_bound(policy)) { /* who is not told need not be opened again */
            sg_place_close(&b->place);
            SG_TRY(sg_place_open(&b->place, policy, b->slo_us, err));
        }
        SG_TRY(confirm(b, &cells[i], t, &n, i ? RELAXED_RUNS : STRICT_RUNS, simulated[i], err));
    }
    for (int i = 0; i < 2; i++) {
        b->slo_us = cells[i].bound_us;
        SG_TRY(report(b, &cells[i], t, n, simulated[i], &best[i], err));
    }
    return SG_OK;
}
