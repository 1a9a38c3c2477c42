/* app/cmd_bench_serve.c - `segue bench serve`: a recorded or made-up load against the engine, policy by policy.
 *
 * The library runs the load and gives one JSON object for each policy; this file reads the options and prints
 * them as they stand, or as lines for people.
 */
#include "generate.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *trace, *policies, *slo, *machine, *csv, *steps, *svg, *arrivals;
static int64_t stall, streams, requests;
static double qps, scale_lengths = 1, scale_time = 1;
static double delay;
static bool simulate, capacity, whole_blocks, as_json;

static const option options[] = {
    {NULL, "--trace", OPT_STR, &trace, "F",
     "requests to serve: CSV or JSON lines with lengths (and arrivals); mix: 70 % short, 30 % long prompts; "
     "agents: turns of tasks that share tools and history; a folder of ServeGen's chunk-N-trace.csv and chunk-N-dataset.json"},
    {NULL, "--stall", OPT_INT, &stall, "P", "instead: streams decode while a prompt of P tokens arrives"},
    {NULL, "--streams", OPT_INT, &streams, "N", "streams of --stall; default 4"},
    {NULL, "--policy", OPT_STR, &policies, "A,B",
     "policies to compare: slo, static:N, chunked:N, hybrid, prefill-first, orca, request; default slo"},
    {NULL, "--slo-tbt", OPT_STR, &slo, "MS|strict|relaxed",
     "bound on the 99th percentile between tokens; strict and relaxed are 5 and 25 of our own decode steps of 32 "
     "streams; default strict"},
    {NULL, "--qps", OPT_F64, &qps, "Q",
     "requests a second (Poisson); default: the largest rate that keeps the bound is searched"},
    {NULL, "--capacity", OPT_FLAG, &capacity, NULL,
     "capacity under strict and relaxed: a simulation fitted to this machine says where, up to three real runs each confirm"},
    {NULL, "--delay", OPT_F64, &delay, "MS",
     "at capacity half of the requests wait no longer; default: a hundred decode steps of 32 streams"},
    {NULL, "--arrivals", OPT_STR, &arrivals, "poisson|recorded", "recorded: as the trace has them; default poisson"},
    {NULL, "--scale-time", OPT_F64, &scale_time, "K", "recorded arrivals come K times faster"},
    {NULL, "--scale-lengths", OPT_F64, &scale_lengths, "K", "divide the lengths of the trace by K"},
    {NULL, "--requests", OPT_INT, &requests, "N", "requests of a run; default 128, simulated 1024"},
    {NULL, "--simulate", OPT_FLAG, &simulate, NULL,
     "virtual time: scheduler and memory accounting are real, step times come from a formula"},
    {NULL, "--reuse-blocks", OPT_FLAG, &whole_blocks, NULL, "simulated: cached prefixes are reused by whole blocks, not by tokens"},
    {NULL, "--machine", OPT_STR, &machine, "cpu|a100", "whose step times are simulated; default: measured on MODEL, cpu without one"},
    {NULL, "--csv", OPT_STR, &csv, "F", "write a line for each request; several policies: F gets their names"},
    {NULL, "--steps", OPT_STR, &steps, "F", "write a line for each step: time, prediction, rows by kind"},
    {NULL, "--svg", OPT_STR, &svg, "F", "draw the steps over time; docs/scheduling.md explains the picture"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object a policy on standard output"},
    {0}};

static double number(const json_t *o, const char *a, const char *b)
{
    const json_t *v = json_object_get(o, a);
    return json_number_value(b ? json_object_get(v, b) : v);
}

static void print_line(void *arg, const char *text)
{
    (void)arg;
    json_t *o = as_json ? NULL : json_loads(text, 0, NULL);
    if (!o) {
        puts(text);
        fflush(stdout);
        return;
    }
    printf("%-14s", json_string_value(json_object_get(o, "policy")));
    if (json_is_number(json_object_get(o, "capacity_qps")))
        printf(" %7.3f requests/s,", number(o, "capacity_qps", NULL));
    if (json_object_get(o, "simulated_qps"))
        printf(" %s (simulated %.3f),", json_string_value(json_object_get(o, "slo")), number(o, "simulated_qps", NULL));
    if (json_object_get(o, "stall"))
        printf(" prompt at %.0f of %.0f tokens/s (%.0f %%),", number(o, "prompt_tps_beside", NULL), number(o, "prompt_tps_alone", NULL),
               100 * number(o, "prompt_share", NULL));
    printf(" gaps %.0f / %.0f / %.0f / %.0f ms (P50 P90 P99 max), first token %.0f / %.0f ms (P50 P99), queue %.0f ms "
           "(P50), %.1f tokens/s, "
           "prediction within %.0f %% (P90)\n",
           number(o, "tbt_ms", "p50"), number(o, "tbt_ms", "p90"), number(o, "tbt_ms", "p99"),
           number(o, "tbt_ms", "max"), number(o, "ttft_ms", "p50"), number(o, "ttft_ms", "p99"),
           number(o, "queue_ms", "p50"), number(o, "output_tps", NULL), 100 * number(o, "prediction_error_p90", NULL));
    fflush(stdout);
    json_decref(o);
}

static void print_progress(void *arg, const char *text)
{
    (void)arg;
    fprintf(stderr, "segue: %s\n", text);
}

static bool stop(void *arg)
{
    static bool stopped; /* taken once, remembered: several places ask */
    (void)arg;
    stopped = stopped || interrupt_take();
    return stopped;
}

static int run(const command *self, int argc, char **argv)
{
    int n = options_parse(self, argc, argv, 1);
    sg_engine_options engine = model_flags_engine(self, n ? argv[0] : NULL);
    if (!trace == !stall)
        options_usage(self, "--trace F or --stall P is needed, and not both");
    if (stall < 0 || stall > 1 << 24 || streams < 0 || streams > 256 || requests < 0 || requests > 1 << 24)
        options_usage(self, "--stall and --requests: from 1 to %d; --streams: from 1 to 256", 1 << 24);
    if (!(qps >= 0 && qps < 1e6) || !(scale_lengths >= 1 && scale_lengths < 1e6) || !(scale_time > 0 && scale_time < 1e6))
        options_usage(self, "--qps must not be negative, --scale-lengths is at least 1, --scale-time more than 0");
    if (arrivals && strcmp(arrivals, "poisson") != 0 && strcmp(arrivals, "recorded") != 0)
        options_usage(self, "--arrivals: poisson or recorded");
    if (capacity && (!trace || qps > 0 || slo || arrivals))
        options_usage(self, "--capacity goes with --trace, and without --qps, --slo-tbt and --arrivals");
    if (!(delay >= 0 && delay < 1e9))
        options_usage(self, "--delay: milliseconds, not negative");
    if (machine && !simulate)
        options_usage(self, "--machine goes with --simulate");
    sg_bench_serve_options o = {.engine = &engine,
                                .trace = trace,
                                .stall = (int)stall,
                                .streams = (int)streams,
                                .policies = policies,
                                .slo = slo,
                                .qps = qps,
                                .recorded = arrivals && strcmp(arrivals, "recorded") == 0,
                                .capacity = capacity,
                                .delay_ms = delay,
                                .scale_lengths = scale_lengths,
                                .scale_time = scale_time,
                                .requests = (int)requests,
                                .seed = model_flag.seed == SEED_NONE ? 1 : model_flag.seed,
                                .reuse_blocks = whole_blocks,
                                .simulate = simulate,
                                .machine = machine,
                                .csv = csv,
                                .steps = steps,
                                .svg = svg,
                                .line = print_line,
                                .progress = command_quiet(model_flag.quiet) ? NULL : print_progress,
                                .stop = stop};
    interrupt_watch();
    sg_error err = {0};
    return sg_bench_serve(&o, &err) == SG_OK ? 0 : command_failed(self, &err);
}

static const option *const tables[] = {options, model_flag_options, engine_flag_options, NULL};

const command cmd_bench_serve = {
    .name = "bench serve",
    .synopsis = "[MODEL] --trace F | --stall P [options]",
    .summary = "serve a load and measure what its users feel, policy by policy",
    .text = "A load is a trace of prompt and answer lengths; prompts are synthetic, answers have the recorded lengths, "
            "arrivals do not wait for\n"
            "answers.  Without --qps the capacity is searched: the largest rate at which the 99th percentile of the "
            "time between tokens keeps\n"
            "the bound and half of the requests wait no longer than a hundred decode steps.  A line is printed for "
            "each policy.",
    .tables = tables,
    .run = run,
};
