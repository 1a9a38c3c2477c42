/* replay/serve.c - segue bench serve: which load a policy can carry, and what its users feel.
 *
 *     place      a simulated machine, or an engine that is opened for each policy
 *     bound      "strict" and "relaxed" are 5 and 25 times our own decode step of 32 streams with 4,096 tokens of context each
 *                (divided by scale_lengths, as the trace's lengths are), Sarathi-Serve's rule (OSDI'24, section 5)
 *     point      one run at one rate of arrivals
 *     capacity   the largest rate at which the 99th percentile of all gaps between tokens keeps the bound and the median
 *                time in the queue is at most a hundred decode steps (the paper's 2 s, in units of its machine): the rate is
 *                doubled or halved until it is enclosed, then bisected
 *     short runs the paper's runs are long enough for a queue that grows to pass that limit, ours are not: half of the requests may
 *                wait no longer than a twentieth of the time over which requests come either, which a load beyond
 *                capacity by a tenth does
 *
 * A simulated search stops at 2.5 %, a real one at 10 % because each of its points takes minutes.
 */
#include "replay/bench.h"

#include "base/heap.h"
#include "base/json.h"
#include "engine/internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 128, REQUESTS_SIMULATED = 1024, REFERENCE_STREAMS = 32, REFERENCE_CONTEXT = 4096, POINTS_MAX = 20, STREAMS_MAX = 256,
       REFERENCE_US = 60000000, CALIBRATE_US = 25000000 };
static const double window_share = 0.05;

void sg_bench_say(const sg_bench *b, const char *format, ...)
{
    char line[256];
    if (!b->o->progress)
        return;
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    b->o->progress(b->o->arg, line);
}

static double lengths(const sg_bench *b) { return b->o->scale_lengths >= 1 ? b->o->scale_lengths : 1; }

static void bench_fini(sg_bench *b)
{
    sg_place_close(&b->place);
    sg_trace_fini(&b->trace);
    sg_record_fini(&b->record);
}

/* ---- loads ---- */

static sg_status load_trace(sg_bench *b, sg_error *err)
{
    size_t n = b->o->requests > 0 ? (size_t)b->o->requests : b->o->simulate ? REQUESTS_SIMULATED : REQUESTS;
    if (strcmp(b->o->trace, "mix") == 0)
        SG_TRY(sg_trace_mix(&b->trace, n, b->o->seed, err));
    else if (strcmp(b->o->trace, "agents") == 0)
        SG_TRY(sg_trace_agents(&b->trace, n, b->o->seed, err));
    else
        SG_TRY(sg_trace_read(&b->trace, b->o->trace, n, err));
    if (b->o->recorded && !b->trace.timed)
        return sg_fail(err, SG_E_ARGUMENT, "%s: has no recorded arrivals", b->o->trace);
    double k = b->o->scale_time > 0 ? b->o->scale_time : 1;
    for (size_t i = 0; i < b->trace.n; i++)
        b->trace.request[i].arrival_us = (int64_t)((double)b->trace.request[i].arrival_us / k);
    sg_trace_scale(&b->trace, lengths(b), 0);
    return SG_OK;
}

/* Memory for the load is touched before it is served, unless the user says otherwise: that is what service is like after a while, and
 * what a fresh server has to pay for it depends on the machine more than on anything that is compared here. */
static int tokens_of(const sg_trace *t)
{
    enum { MOST = 128 << 10 };
    int64_t sum = 0;
    for (size_t i = 0; i < t->n && sum < MOST; i++)
        sum += t->request[i].prompt + t->request[i].output;
    return sum < MOST ? (int)sum : MOST;
}

/* A load of n equal requests that come at once. */
static sg_status same(sg_trace *t, size_t n, int prompt, int output, sg_error *err)
{
    sg_trace_request *r = sg_calloc(n, sizeof *r);
    if (!r)
        return sg_fail_nomem(err, "a load");
    for (size_t i = 0; i < n; i++)
        r[i] = (sg_trace_request){.prompt = prompt, .output = output};
    *t = (sg_trace){.request = r, .n = n, .cap = n};
    return SG_OK;
}

/* ---- the bound ---- */

/* The time of a decode step of 32 streams, measured: the median of the steps in which all of them decode.  Where their prompts alone
 * would take minutes, it is what the step-time model says after a minute of them. */
static sg_status measure_reference(sg_bench *b, sg_error *err)
{
    sg_trace t = {0};
    sg_record r = {0};
    float us[4096];
    size_t n = 0;
    sg_bench_say(b, "measuring a decode step of %d streams", (int)REFERENCE_STREAMS);
    sg_status st = sg_place_open(&b->place, "static:512", 0, err);
    sg_engine_info info = {0};
    if (st == SG_OK)
        sg_engine_info_get(b->place.engine, &info);
    int context = (int)(REFERENCE_CONTEXT / lengths(b));
    context = context > info.ctx - 40 ? info.ctx - 40 : context;
    if (st == SG_OK)
        st = same(&t, REFERENCE_STREAMS, context < 1 ? 1 : context, 32, err);
    if (st == SG_OK)
        st = sg_record_init(&r, t.n, err);
    b->place.most_us = REFERENCE_US;
    if (st == SG_OK)
        st = sg_place_run(&b->place, &t, -1, &r, NULL, err);
    b->place.most_us = 0;
    int most = 0;
    for (size_t i = 0; i < r.nstep; i++)
        most = !r.step[i].prompt && !r.step[i].draft && r.step[i].decode > most ? r.step[i].decode : most;
    for (size_t i = 0; i < r.nstep && n < 4096; i++)
        if (!r.step[i].prompt && !r.step[i].draft && r.step[i].decode == most)
            us[n++] = r.step[i].us;
    b->decode_step_us = sg_quantile(us, n, 0.5);
    if (st == SG_OK && (!n || most < REFERENCE_STREAMS) && sg_latency_ready(&b->place.engine->latency)) {
        sg_step_cost c = {REFERENCE_STREAMS, REFERENCE_STREAMS, (double)REFERENCE_STREAMS * context, 0, 0};
        b->decode_step_us = sg_latency_predict_us(&b->place.engine->latency, &c);
        n = 1;
    }
    sg_place_close(&b->place);
    sg_trace_fini(&t);
    sg_record_fini(&r);
    if (st == SG_OK && !n)
        st = sg_fail(err, SG_E_LIMIT, "no decode step could be measured: is the context of the model long enough?");
    return st;
}

/* The first requests of the trace close behind one another, or some of many lengths: steps of many shapes. */
static sg_status calibration_load(const sg_bench *b, sg_trace *t, size_t n, int ctx, sg_error *err)
{
    SG_TRY(same(t, n, 1, 12, err));
    for (size_t i = 0; i < n; i++) {
        const sg_trace_request *q = b->trace.n ? &b->trace.request[i % b->trace.n] : NULL;
        t->request[i] = (sg_trace_request){.arrival_us = (int64_t)i * (i < n / 2 ? 30000 : 150000),
                                           .prompt = q ? q->prompt : 1 + (int32_t)(i * i * 2 % 700),
                                           .output = q && q->output < 32 ? q->output : 32};
    }
    sg_trace_scale(t, 1, ctx);
    return SG_OK;
}

/* The simulated machine's step times are the engine's own model of them, after steps of many shapes. */
static sg_status measure_machine(sg_bench *b, sg_error *err)
{
    enum { N = 40 };
    sg_trace t = {0};
    sg_record r = {0};
    bool simulate = b->place.simulate;
    b->place.simulate = false;
    sg_bench_say(b, "measuring step times");
    sg_status st = sg_place_open(&b->place, "static:192", 0, err);
    if (st == SG_OK)
        st = calibration_load(b, &t, N, b->place.engine->lm.ctx, err);
    if (st == SG_OK)
        st = sg_record_init(&r, t.n, err);
    b->place.most_us = CALIBRATE_US;
    if (st == SG_OK)
        st = sg_place_run(&b->place, &t, -1, &r, NULL, err);
    b->place.most_us = 0;
    if (st == SG_OK && !sg_latency_ready(&b->place.engine->latency)) /* the loop is idle: nobody writes it */
        st = sg_fail(err, SG_E_LIMIT, "too few steps to know this machine");
    if (st == SG_OK) {
        const sg_engine *e = b->place.engine;
        b->place.fitted = e->latency;
        b->place.machine = sg_machine_fitted(&b->place.fitted);
        b->place.machine.kv_tokens = (int64_t)sg_kv_pool_nblock(e->lm.pool) * sg_kv_pool_block(e->lm.pool);
        b->place.machine.step_rows = e->lm.max_rows;
        b->place.max_running = e->max_running;
    }
    sg_place_close(&b->place);
    b->place.simulate = simulate;
    sg_trace_fini(&t);
    sg_record_fini(&r);
    return st;
}

static sg_status set_bound(sg_bench *b, sg_error *err)
{
    const char *s = b->o->slo ? b->o->slo : b->o->trace ? "strict" : "0";
    char *end;
    double ms = strtod(s, &end);
    bool number = end != s && !*end;
    if (number ? !(ms >= 0 && ms < 1e7) : strcmp(s, "strict") != 0 && strcmp(s, "relaxed") != 0)
        return sg_fail(err, SG_E_ARGUMENT, "'%.32s': strict, relaxed or milliseconds", s);
    if (b->place.simulate) {
        sg_step_cost c = {REFERENCE_STREAMS, REFERENCE_STREAMS, REFERENCE_STREAMS * REFERENCE_CONTEXT / lengths(b), 0, 0};
        b->decode_step_us = sg_machine_us(&b->place.machine, &c);
    } else if (!number || (b->o->trace && b->o->qps <= 0 && !b->o->recorded))
        SG_TRY(measure_reference(b, err));
    b->slo_us = number ? ms * 1e3 : (strcmp(s, "strict") == 0 ? 5 : 25) * b->decode_step_us;
    b->delay_us = b->o->delay_ms > 0 ? b->o->delay_ms * 1e3 : 100 * b->decode_step_us;
    return SG_OK;
}

/* ---- results ---- */

/* "dir/run.svg" and "static:64" -> "dir/run-static-64.svg", when there are several policies. */
static void output_path(const sg_bench *b, const char *path, const char *policy, char *out, size_t cap)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    size_t stem = dot ? (size_t)(dot - path) : strlen(path);
    if (b->npolicy < 2) {
        snprintf(out, cap, "%s", path);
        return;
    }
    snprintf(out, cap, "%.*s-%s%s", (int)stem, path, policy, dot ? dot : "");
    for (char *c = out + stem; *c; c++)
        *c = *c == ':' ? '-' : *c;
}

sg_status sg_bench_write_files(const sg_bench *b, const char *policy, const sg_summary *s, double bound_us, sg_error *err)
{
    char path[4096], title[256], note[512];
    if (b->o->csv) {
        output_path(b, b->o->csv, policy, path, sizeof path);
        SG_TRY(sg_record_write_csv(&b->record, path, err));
    }
    if (b->o->steps) {
        output_path(b, b->o->steps, policy, path, sizeof path);
        SG_TRY(sg_record_write_steps(&b->record, path, err));
    }
    if (!b->o->svg)
        return SG_OK;
    output_path(b, b->o->svg, policy, path, sizeof path);
    const char *name = b->o->trace ? strrchr(b->o->trace, '/') : NULL;
    snprintf(title, sizeof title, "%s, %s%s", policy,
             b->o->stall ? "streams while a long prompt arrives"
             : name      ? name + 1
                         : b->o->trace,
             b->place.simulate ? " (simulated)" : "");
    snprintf(note, sizeof note,
             "gaps between tokens: median %.0f ms, P99 %.0f ms, longest %.0f ms  |  first token: median %.0f ms, P99 "
             "%.0f ms  |  "
             "%.1f answer tokens/s, %.0f prompt tokens/s",
             s->tbt.p50, s->tbt.p99, s->tbt.max, s->ttft.p50, s->ttft.p99, s->output_tps, s->prompt_tps);
    return sg_record_write_svg(&b->record, path, title, note, bound_us, err);
}

double sg_bench_cut(double x) { return isfinite(x) ? round(x * 1000) / 1000 : 0; }

json_t *sg_bench_begin_line(const sg_bench *b, const char *policy)
{
    json_t *o = json_pack("{s:s,s:b,s:f}", "policy", policy, "simulated", (int)b->place.simulate, "slo_tbt_ms",
                          sg_bench_cut(b->slo_us / 1e3));
    if (b->place.simulate)
        json_object_set_new(o, "machine", json_string(b->place.machine.name));
    if (b->decode_step_us > 0)
        json_object_set_new(o, "decode_step_ms", json_real(sg_bench_cut(b->decode_step_us / 1e3)));
    return o;
}

sg_status sg_bench_end_line(const sg_bench *b, json_t *o, sg_error *err)
{
    char *text = json_dumps(o, JSON_REAL_PRECISION(9));
    json_decref(o);
    if (!text)
        return sg_fail_nomem(err, "the results");
    b->o->line(b->o->arg, text);
    sg_free(text);
    return SG_OK;
}

/* ---- capacity ---- */

bool sg_bench_kept(const sg_bench *b, const sg_summary *s, double bound_us)
{
    return s->tbt.p99 * 1e3 <= bound_us && s->queue.p50 * 1e3 <= fmin(b->delay_us, window_share * s->window_us);
}

sg_status sg_bench_point(sg_bench *b, double qps, sg_summary *s, bool *good, sg_error *err)
{
    bool beyond;
    sg_trace_poisson(&b->trace, qps, b->o->seed + 1);
    SG_TRY(sg_place_run(&b->place, &b->trace, -1, &b->record, &beyond, err));
    SG_TRY(sg_record_summarise(&b->record, s, err));
    *good = !beyond && sg_bench_kept(b, s, b->slo_us);
    sg_bench_say(b, "%s: %.3f requests/s: gaps P99 %.0f of %.0f ms, queue %.0f of %.0f ms%s", b->place.policy, qps,
                 s->tbt.p99, b->slo_us / 1e3, s->queue.p50, b->delay_us / 1e3,
                 *good    ? ""
                 : beyond ? ": far too much"
                          : ": too much");
    return SG_OK;
}

sg_status sg_bench_search(sg_bench *b, double qps, double close, double *capacity, sg_summary *best, sg_error *err)
{
    double low = 0, high = 0;
    for (int i = 0; i < POINTS_MAX && (low <= 0 || high <= 0 || high - low > close * low) && qps > 1e-4; i++) {
        sg_summary s;
        bool good;
        SG_TRY(sg_bench_point(b, qps, &s, &good, err));
        if (good)
            low = qps, *best = s;
        else
            high = qps;
        qps = high <= 0 ? qps * 2 : low <= 0 ? qps / 2 : (low + high) / 2;
    }
    *capacity = low;
    return SG_OK;
}

static sg_status serve_trace(sg_bench *b, const char *policy, sg_error *err)
{
    sg_summary s = {0};
    double capacity = 0, offered = b->o->qps;
    bool good;
    if (!b->place.simulate) {
        sg_engine_info info;
        sg_engine_info_get(b->place.engine, &info);
        sg_trace_scale(&b->trace, 1, info.ctx);
    }
    b->place.give_up_queue_us = 0;
    if (b->o->recorded) {
        SG_TRY(sg_place_run(&b->place, &b->trace, -1, &b->record, NULL, err));
        SG_TRY(sg_record_summarise(&b->record, &s, err));
    } else if (offered > 0)
        SG_TRY(sg_bench_point(b, offered, &s, &good, err));
    else {
        b->place.give_up_queue_us = b->delay_us;
        SG_TRY(sg_bench_search(b, 0.5, b->place.simulate ? 0.025 : 0.1, &capacity, &s, err));
        if (capacity > 0 && (b->o->csv || b->o->steps || b->o->svg)) /* the files show the run at capacity */
            SG_TRY(sg_bench_point(b, capacity, &s, &good, err));
        offered = capacity;
    }
    SG_TRY(sg_bench_write_files(b, policy, &s, b->slo_us, err));
    json_t *o = sg_bench_begin_line(b, policy);
    json_object_set_new(o, "capacity_qps", capacity > 0 ? json_real(sg_bench_cut(capacity)) : json_null());
    json_object_set_new(o, "delay_limit_ms", json_real(sg_bench_cut(b->delay_us / 1e3)));
    json_object_set_new(o, "offered_qps", json_real(sg_bench_cut(offered)));
    json_object_set_new(o, "requests", json_integer((json_int_t)b->trace.n));
    sg_summary_json(o, &s);
    return sg_bench_end_line(b, o, err);
}

/* ---- the stall test ---- */

/* Tokens a second of a prompt, from its arrival to its first token. */
static double prompt_tps(const sg_record *r, int i)
{
    const sg_record_request *q = &r->request[i];
    return q->first_us > q->arrival_us ? q->prompt / ((double)(q->first_us - q->arrival_us) * 1e-6) : 0;
}

/* Gaps of the streams that lie in [from, to] with some part, in ms. */
static sg_status gaps_between(const sg_record *r, int nstream, int64_t from, int64_t to, sg_quantiles *q, sg_error *err)
{
    float *v = sg_calloc(r->ntoken + 1, sizeof *v);
    size_t n = 0;
    if (!v)
        return sg_fail_nomem(err, "the gaps");
    for (size_t i = 0; i < r->ntoken; i++) {
        const sg_record_token *t = &r->token[i];
        if (t->request < nstream && t->gap_us >= 0 && t->at_us > from && t->at_us - (int64_t)t->gap_us < to)
            v[n++] = t->gap_us;
    }
    *q = (sg_quantiles){sg_quantile(v, n, 0.5) / 1e3, sg_quantile(v, n, 0.9) / 1e3, sg_quantile(v, n, 0.99) / 1e3,
                        sg_quantile(v, n, 1) / 1e3};
    sg_free(v);
    return SG_OK;
}

static sg_status run_alone(sg_bench *b, double *tps, sg_error *err)
{
    sg_trace t = {0};
    SG_TRY(same(&t, 1, b->o->stall, 2, err));
    sg_status st = sg_place_run(&b->place, &t, -1, &b->record, NULL, err);
    if (st == SG_OK && b->record.request[0].first_us < 0)
        st = sg_fail(err, SG_E_LIMIT, "a prompt of %d tokens does not fit; see --ctx", b->o->stall);
    *tps += prompt_tps(&b->record, 0) / 2;
    sg_trace_fini(&t);
    return st;
}

static sg_status stall(sg_bench *b, const char *policy, sg_error *err)
{
    enum { SETTLE_US = 1500000, STREAM_PROMPT = 32, STREAM_ANSWER = 3000 };
    int n = b->o->streams > 0 ? b->o->streams : 4;
    double alone = 0;
    sg_trace t = {0};
    sg_quantiles before, beside;
    sg_summary s;
    sg_bench_say(b, "%s: a prompt of %d tokens alone", policy, b->o->stall);
    SG_TRY(run_alone(b, &alone, err));
    sg_bench_say(b, "%s: %d streams, then the prompt", policy, n);
    SG_TRY(same(&t, (size_t)n + 1, STREAM_PROMPT, STREAM_ANSWER, err));
    t.request[n] = (sg_trace_request){.arrival_us = SETTLE_US, .prompt = b->o->stall, .output = 8};
    sg_record_fini(&b->record);
    sg_status st = sg_record_init(&b->record, t.n, err);
    if (st == SG_OK)
        st = sg_place_run(&b->place, &t, n, &b->record, NULL, err);
    sg_trace_fini(&t);
    SG_TRY(st);
    const sg_record_request *q = &b->record.request[n];
    if (q->first_us < 0)
        return sg_fail(err, SG_E_LIMIT, "the prompt of %d tokens got no answer beside the streams; see --ctx and --memory", b->o->stall);
    SG_TRY(sg_record_summarise(&b->record, &s, err));
    SG_TRY(gaps_between(&b->record, n, SETTLE_US / 2, q->arrival_us, &before, err));
    SG_TRY(gaps_between(&b->record, n, q->arrival_us, q->first_us, &beside, err));
    double bound_ms = before.p50 < 25 ? 100 : 4 * before.p50, tps = prompt_tps(&b->record, n);
    double first_us = (double)(q->first_us - q->arrival_us);
    SG_TRY(sg_bench_write_files(b, policy, &s, b->slo_us > 0 ? b->slo_us : bound_ms * 1e3, err));
    SG_TRY(run_alone(b, &alone, err)); /* again: the machine may have become slower or faster */
    s.tbt = beside;
    json_t *o = sg_bench_begin_line(b, policy);
    json_object_set_new(o, "stall", json_integer(b->o->stall));
    json_object_set_new(o, "streams", json_integer(n));
    json_object_set_new(o, "decode_ms", json_real(sg_bench_cut(before.p50)));
    json_object_set_new(o, "gap_goal_ms", json_real(sg_bench_cut(bound_ms)));
    json_object_set_new(o, "prompt_tps_alone", json_real(sg_bench_cut(alone)));
    json_object_set_new(o, "prompt_tps_beside", json_real(sg_bench_cut(tps)));
    json_object_set_new(o, "prompt_share", json_real(sg_bench_cut(alone > 0 ? tps / alone : 0)));
    json_object_set_new(o, "prompt_first_token_ms", json_real(sg_bench_cut(first_us / 1e3)));
    sg_summary_json(o, &s);
    return sg_bench_end_line(b, o, err);
}

/* ---- all policies ---- */

static sg_status fitting_capacity(sg_bench *b, const char *policy, sg_error *err)
{
    sg_engine_info info = {0};
    if (b->place.engine)
        sg_engine_info_get(b->place.engine, &info);
    sg_trace_scale(&b->trace, 1, info.ctx);
    return sg_bench_capacity(b, policy, err);
}

static sg_status one_policy(sg_bench *b, const char *policy, sg_error *err)
{
    sg_bench_say(b, "%s", policy);
    SG_TRY(sg_place_open(&b->place, policy, b->slo_us, err));
    sg_record_fini(&b->record);
    SG_TRY(sg_record_init(&b->record, b->o->trace ? b->trace.n : 1, err));
    SG_TRY(b->o->capacity ? fitting_capacity(b, policy, err) : b->o->trace ? serve_trace(b, policy, err) : stall(b, policy, err));
    sg_place_close(&b->place);
    return SG_OK;
}

static sg_status check_options(sg_bench *b, sg_error *err)
{
    const sg_bench_serve_options *o = b->o;
    if (o->capacity && (!o->trace || o->recorded || o->qps > 0 || o->slo))
        return sg_fail(err, SG_E_ARGUMENT, "capacity is searched over a trace, for the bounds strict and relaxed, without a rate");
    if (!(o->delay_ms >= 0 && o->delay_ms < 1e9))
        return sg_fail(err, SG_E_ARGUMENT, "the delay must not be negative");
    if (!o->trace == !o->stall)
        return sg_fail(err, SG_E_ARGUMENT, "a trace or a stall test is needed, and not both");
    if (o->stall < 0 || o->stall > SG_TRACE_TOKENS_MAX || o->streams < 0 || o->streams > STREAMS_MAX)
        return sg_fail(err, SG_E_ARGUMENT, "a prompt of 1 to %d tokens, 1 to %d streams", SG_TRACE_TOKENS_MAX, (int)STREAMS_MAX);
    if (!(o->qps >= 0 && o->qps < 1e6) || !(o->scale_lengths >= 0 && o->scale_lengths < 1e6) || !(o->scale_time >= 0) || o->requests < 0)
        return sg_fail(err, SG_E_ARGUMENT, "rate, scales and number of requests must not be negative");
    b->place = (sg_place){.o = o, .simulate = o->simulate, .salt = o->seed};
    if (!o->simulate)
        return SG_OK;
    if (!o->machine && o->engine && o->engine->model)
        return SG_OK; /* measured later */
    const char *name = o->machine ? o->machine : "cpu";
    const sg_machine *m = sg_machine_find(name);
    if (!m)
        return sg_fail(err, SG_E_NOT_FOUND, "unknown machine '%.32s': cpu or a100", name);
    b->place.machine = *m;
    return SG_OK;
}

static int count_policies(const char *s)
{
    int n = 1;
    for (; *s; s++)
        n += *s == ',';
    return n;
}

sg_status sg_bench_serve(const sg_bench_serve_options *o, sg_error *err)
{
    sg_json_init();
    sg_bench b = {.o = o};
    sg_status st = check_options(&b, err);
    if (st == SG_OK && o->trace)
        st = load_trace(&b, err);
    b.place.warm_tokens = o->engine && o->engine->warm_tokens ? o->engine->warm_tokens : tokens_of(&b.trace);
    if (st == SG_OK && (o->simulate || o->capacity) && !b.place.machine.name)
        st = measure_machine(&b, err);
    if (st == SG_OK)
        st = set_bound(&b, err);
    const char *at = o->policies ? o->policies : sg_policy_at(0)->name;
    b.npolicy = count_policies(at);
    while (st == SG_OK && *at) {
        char name[64];
        size_t n = strcspn(at, ",");
        snprintf(name, sizeof name, "%.*s", (int)(n < 63 ? n : 63), at);
        st = one_policy(&b, name, err);
        at += n + (at[n] == ',');
    }
    bench_fini(&b);
    return st;
}
