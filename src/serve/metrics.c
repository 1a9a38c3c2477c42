/* serve/metrics.c - what the server does, as Prometheus text (exposition format 0.0.4).
 *
 * A family of samples is a line of a table: name, kind, help and where its number stands.  Families whose numbers need
 * arithmetic have a function.  The format wants all samples of a family together, so families are outside and models inside;
 * a model that is still loading has none.
 */
#include "serve/internal.h"

#include "base/clock.h"

#include <string.h>

/* A label value: quotes, backslashes and line ends escaped. */
static void label(sg_buf *b, const char *s)
{
    for (; *s; s++) {
        if (*s == '"' || *s == '\\')
            sg_buf_addc(b, '\\');
        if (*s == '\n')
            sg_buf_adds(b, "\\n");
        else
            sg_buf_addc(b, *s);
    }
}

static void sample(sg_buf *b, const char *name, const char *model, const char *more, double value)
{
    sg_buf_addf(b, "segue_%s{model=\"", name);
    label(b, model);
    sg_buf_addf(b, "\"%s%s} %.10g\n", *more ? "," : "", more, value);
}

static void histogram(sg_buf *b, const char *name, const char *model, const char *more, const sg_histogram *h, const double *bound)
{
    uint64_t sum = 0;
    char series[96], le[128];
    snprintf(series, sizeof series, "%s_bucket", name);
    for (int i = 0; i <= SG_NBUCKET; i++) {
        sum += h->count[i];
        if (i < SG_NBUCKET)
            snprintf(le, sizeof le, "%s%sle=\"%g\"", more, *more ? "," : "", bound[i]);
        else
            snprintf(le, sizeof le, "%s%sle=\"+Inf\"", more, *more ? "," : "");
        sample(b, series, model, le, (double)sum);
    }
    snprintf(series, sizeof series, "%s_sum", name);
    sample(b, series, model, more, h->sum);
    snprintf(series, sizeof series, "%s_count", name);
    sample(b, series, model, more, (double)sum);
}

static void type(sg_buf *b, const char *name, const char *kind, const char *help)
{
    sg_buf_addf(b, "# HELP segue_%s %s\n# TYPE segue_%s %s\n", name, help, name, kind);
}

typedef struct number {
    const char *name, *kind, *help, *more;
    size_t offset; /* of a uint64_t in sg_engine_stats */
} number;

#define AT(member) offsetof(sg_engine_stats, member)

static const number numbers[] = {
    {"requests_running", "gauge", "Requests in the step loop.", "", AT(nrunning)},
    {"requests_waiting", "gauge", "Requests waiting for admission.", "", AT(nwaiting)},
    {"kv_blocks", "gauge", "KV blocks that there are.", "", AT(kv_block)},
    {"kv_blocks_reserved", "gauge", "KV blocks in use by running requests.", "", AT(kv_block_reserved)},
    {"prefix_blocks", "gauge", "KV blocks in the prefix tree.", "", AT(prefix_block)},
    {"prefix_hit_tokens_total", "counter", "Prompt tokens that were found computed.", "", AT(prefix_hit_tokens)},
    {"prefix_matches_total", "counter", "Admitted requests, by why the part of the prompt that was found ended.", "end=\"whole\"",
     AT(prefix_end[SG_PREFIX_WHOLE])},
    {"prefix_matches_total", NULL, NULL, "end=\"cold\"", AT(prefix_end[SG_PREFIX_COLD])},
    {"prefix_matches_total", NULL, NULL, "end=\"diverged\"", AT(prefix_end[SG_PREFIX_DIVERGED])},
    {"prefix_matches_total", NULL, NULL, "end=\"short\"", AT(prefix_end[SG_PREFIX_SHORT])},
    {"prefix_matches_total", NULL, NULL, "end=\"evicted\"", AT(prefix_end[SG_PREFIX_EVICTED])},
    {"prefix_matches_total", NULL, NULL, "end=\"off\"", AT(prefix_end[SG_PREFIX_NEND])},
    {"prefix_waits_total", "counter", "Requests held until another one had computed the same prefix.", "", AT(prefix_waits)},
    {"prefix_evicted_blocks_total", "counter", "KV blocks that the prefix tree gave back.", "", AT(prefix_evicted)},
    {"drafted_tokens_total", "counter", "Guessed tokens that were computed, by who guessed.", "source=\"tree\"",
     AT(drafted_by[SG_DRAFT_TREE])},
    {"drafted_tokens_total", NULL, NULL, "source=\"lookup_long\"", AT(drafted_by[SG_DRAFT_LONG])},
    {"drafted_tokens_total", NULL, NULL, "source=\"lookup_short\"", AT(drafted_by[SG_DRAFT_SHORT])},
    {"drafted_tokens_total", NULL, NULL, "source=\"model\"", AT(drafted_by[SG_DRAFT_MODEL])},
    {"accepted_tokens_total", "counter", "Guessed tokens that were right, by who guessed.", "source=\"tree\"",
     AT(accepted_by[SG_DRAFT_TREE])},
    {"accepted_tokens_total", NULL, NULL, "source=\"lookup_long\"", AT(accepted_by[SG_DRAFT_LONG])},
    {"accepted_tokens_total", NULL, NULL, "source=\"lookup_short\"", AT(accepted_by[SG_DRAFT_SHORT])},
    {"accepted_tokens_total", NULL, NULL, "source=\"model\"", AT(accepted_by[SG_DRAFT_MODEL])},
    {"preemptions_total", "counter", "Running requests whose KV blocks were taken for others.", "", AT(preemptions)},
    {"recomputed_tokens_total", "counter", "Tokens computed again after preemption.", "", AT(recomputed_tokens)},
    {"prompt_tokens_total", "counter", "Prompt tokens computed.", "", AT(prompt_tokens)},
    {"generated_tokens_total", "counter", "Tokens sampled.", "", AT(generated_tokens)},
    {"steps_total", "counter", "Steps of the model.", "", AT(steps)},
    {"requests_finished_total", "counter", "Requests ended, by reason.", "reason=\"stop\"", AT(finished[SG_FINISH_STOP])},
    {"requests_finished_total", NULL, NULL, "reason=\"length\"", AT(finished[SG_FINISH_LENGTH])},
    {"requests_finished_total", NULL, NULL, "reason=\"cancelled\"", AT(finished[SG_FINISH_CANCELLED])},
    {"requests_finished_total", NULL, NULL, "reason=\"error\"", AT(finished[SG_FINISH_ERROR])},
    {"rejected_total", "counter", "Requests refused to be sent again later, by reason.", "reason=\"queue_full\"", AT(rejected)},
    {"rejected_total", NULL, NULL, "reason=\"memory\"", AT(rejected_memory)},
};

typedef struct spread {
    const char *name, *help, *more;
    size_t offset; /* of an sg_histogram */
    const double *bound;
} spread;

static const spread spreads[] = {
    {"request_queue_seconds", "Submitted to admitted.", "", AT(queue_seconds), sg_seconds_bound},
    {"time_to_first_token_seconds", "Submitted to first token.", "", AT(first_token_seconds), sg_seconds_bound},
    {"inter_token_seconds", "From token to token of a request.", "", AT(inter_token_seconds), sg_seconds_bound},
    {"request_duration_seconds", "Submitted to ended.", "", AT(request_seconds), sg_seconds_bound},
    {"step_seconds", "Duration of a step.", "phase=\"mixed\"", AT(step_prefill_seconds), sg_seconds_bound},
    {"step_seconds", NULL, "phase=\"decode\"", AT(step_decode_seconds), sg_seconds_bound},
    {"step_tokens", "Tokens of a step.", "", AT(step_tokens), sg_tokens_bound},
};

/* What a family of samples says of one engine. */
typedef void family_fn(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg);

/* All samples of a family stand together, whatever the number of models. */
static void each(sg_server *s, sg_buf *b, family_fn *write, const void *arg)
{
    sg_engine_stats stats;
    for (size_t m = 0; m < s->nmodel; m++) {
        const sg_engine *e = atomic_load(&s->model[m].engine);
        if (!e)
            continue;
        sg_engine_stats_get(e, &stats);
        write(b, s->model[m].name, e, &stats, arg);
    }
}

static void write_number(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    const number *n = arg;
    (void)e;
    sample(b, n->name, model, n->more, (double)*(const uint64_t *)(const void *)((const char *)stats + n->offset));
}

static void write_spread(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    const spread *h = arg;
    (void)e;
    histogram(b, h->name, model, h->more, (const sg_histogram *)(const void *)((const char *)stats + h->offset), h->bound);
}

/* Sums of seconds in a step or between steps. */
static void write_draft_seconds(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)e;
    sample(b, arg, model, "", stats->draft_seconds);
}

static void write_predicted(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)e;
    sample(b, arg, model, "", stats->step_predicted_us / 1e6);
}

static void write_measured(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)e;
    sample(b, arg, model, "", stats->step_measured_us / 1e6);
}

static void write_error(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)e;
    sample(b, arg, model, "", stats->step_error_p90);
}

static void write_usage(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)e;
    sample(b, arg, model, "", stats->kv_block ? (double)stats->kv_block_reserved / (double)stats->kv_block : 0);
}

static void memory_rows(sg_buf *b, const char *model, const sg_engine *e, const char *name, bool cap)
{
    sg_memory_pool pool[16];
    size_t n = sg_engine_memory(e, pool, 16);
    for (size_t i = 0; i < n && i < 16; i++) {
        char more[64];
        snprintf(more, sizeof more, "pool=\"%s\"", pool[i].name);
        sample(b, name, model, more, (double)(cap ? pool[i].cap_bytes : pool[i].bytes));
    }
}

static void write_memory(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)stats;
    memory_rows(b, model, e, arg, false);
}

static void write_memory_cap(sg_buf *b, const char *model, const sg_engine *e, const sg_engine_stats *stats, const void *arg)
{
    (void)stats;
    memory_rows(b, model, e, arg, true);
}

static void engines(sg_server *s, sg_buf *b)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (numbers[i].kind)
            type(b, numbers[i].name, numbers[i].kind, numbers[i].help);
        each(s, b, write_number, &numbers[i]);
    }
    for (size_t i = 0; i < sizeof spreads / sizeof spreads[0]; i++) {
        if (spreads[i].help)
            type(b, spreads[i].name, "histogram", spreads[i].help);
        each(s, b, write_spread, &spreads[i]);
    }
    static const struct {
        const char *name, *kind, *help;
        family_fn *write;
    } others[] = {
        {"draft_seconds_total", "counter", "Time in the draft model.", write_draft_seconds},
        {"step_predicted_seconds_total", "counter", "What the steps that were predicted should have taken.", write_predicted},
        {"step_measured_seconds_total", "counter", "What the same steps took.", write_measured},
        {"step_prediction_error_ratio", "gauge", "P90 of |predicted - measured| / measured step time, of the last 256 steps.", write_error},
        {"kv_cache_usage_ratio", "gauge", "Share of the KV blocks in use by running requests.", write_usage},
        {"memory_bytes", "gauge", "Memory held, by pool; io and heap are the process's.", write_memory},
        {"memory_cap_bytes", "gauge", "Most memory that a pool may have.", write_memory_cap},
    };
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        type(b, others[i].name, others[i].kind, others[i].help);
        each(s, b, others[i].write, others[i].name);
    }
    type(b, "memory_limit_bytes", "gauge", "Cap of the process: weights and heap together.");
    sg_buf_addf(b, "segue_memory_limit_bytes %llu\n", (unsigned long long)sg_memory_cap(NULL));
}

void sg_metrics_write(sg_server *s, sg_buf *b)
{
    static const char *const class[] = {"0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};
    engines(s, b);
    type(b, "http_responses_total", "counter", "HTTP answers by class of status.");
    for (int i = 2; i < 6; i++)
        sg_buf_addf(b, "segue_http_responses_total{class=\"%s\"} %llu\n", class[i], (unsigned long long)s->answers[i]);
    type(b, "http_connections", "gauge", "Open connections.");
    sg_buf_addf(b, "segue_http_connections %d\n", s->nconn);
    type(b, "uptime_seconds", "gauge", "Since the server was opened.");
    sg_buf_addf(b, "segue_uptime_seconds %.3f\n", (double)(sg_clock_us() - s->begin_us) / 1e6);
    type(b, "build_info", "gauge", "Always 1; the label says which version this is.");
    sg_buf_adds(b, "segue_build_info{version=\"" SG_VERSION "\"} 1\n");
}
