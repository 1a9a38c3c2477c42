/* app/cmd_bench.c - `segue bench`: tokens a second of a model, or operations a second of the kernels.
 *
 * The library measures and gives one JSON object; this file reads the options and prints it, as it stands or
 * as a table.
 */
#include "commands.h"
#include "model_flags.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t pp = 512, tg = 128, depth, reps = 3;
static const char *batch = "1,2,4,8", *only, *shape;
static bool mixed, engine, profile, as_json;

static const option options[] = {
    {NULL, "--pp", OPT_INT, &pp, "N", "tokens of the prompt; 0 leaves the test out; default 512"},
    {NULL, "--tg", OPT_INT, &tg, "N", "tokens to decode; 0 leaves the test out; default 128"},
    {NULL, "--batch", OPT_STR, &batch, "1,2,4,8", "sequences that decode together, one test each"},
    {NULL, "--depth", OPT_INT, &depth, "N", "tokens in the sequences before the test; default 0"},
    {NULL, "--reps", OPT_INT, &reps, "N", "runs of each test; default 3"},
    {NULL, "--profile", OPT_FLAG, &profile, NULL, "also: where the time of the prompt and of a decode step goes, op by op"},
    {NULL, "--mixed", OPT_FLAG, &mixed, NULL, "also: rows of all kinds in one step against a step each"},
    {NULL, "--engine", OPT_FLAG, &engine, NULL, "also: decoding through the step loop, with and without guessing ahead (--draft)"},
    {NULL, "--draft", OPT_STR, &model_flag.draft, "MODEL", "for --engine: a small model that guesses tokens ahead"},
    {NULL, "--only", OPT_STR, &only, "NAME", "kernel: only this type, or linear, attention, attention_q8_0, ..."},
    {NULL, "--shape", OPT_STR, &shape, "MxNxK", "kernel: rows, outputs and inputs of the layer; NxK: several M"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object on standard output"},
    {0}};

/* "1,2,4" into at most 64 numbers; the number of them, or 0. */
static int read_list(const char *s, int *out)
{
    int n = 0;
    for (;;) {
        char *end;
        long v = strtol(s, &end, 10);
        if (end == s || v < 1 || v > 1 << 20 || n == 64)
            return 0;
        out[n++] = (int)v;
        if (!*end)
            return n;
        if (*end != ',')
            return 0;
        s = end + 1;
    }
}

/* MxNxK, or NxK for several M. */
static bool read_shape(const char *s, sg_bench_options *o)
{
    int end = 0;
    if (sscanf(s, "%dx%dx%d%n", &o->m, &o->n, &o->k, &end) == 3 && !s[end])
        return o->m > 0 && o->n > 0 && o->k > 0;
    o->m = end = 0;
    return sscanf(s, "%dx%d%n", &o->n, &o->k, &end) == 2 && !s[end] && o->n > 0 && o->k > 0;
}

static double number(const json_t *o, const char *key) { return json_number_value(json_object_get(o, key)); }
static const char *word(const json_t *o, const char *key) { return json_string_value(json_object_get(o, key)); }

/* One shape, with the part of each ceiling that it reaches. */
static void print_kernel(const json_t *row)
{
    printf("%s %-7s %5d x %d x %d %9.1f %s, %3.0f %% of the ceiling", word(row, "kernel"), word(row, "type"),
           (int)number(row, "m"), (int)number(row, "n"), (int)number(row, "k"), number(row, "value"), word(row, "unit"),
           100 * number(row, "fraction_of_ceiling"));
    if (json_object_get(row, "gbps"))
        printf(", %d/%d heads, %.1f GB/s", (int)number(row, "heads"), (int)number(row, "kv_heads"), number(row, "gbps"));
    if (json_object_get(row, "fraction_of_multiplying"))
        printf(": %3.0f %% of multiplying", 100 * number(row, "fraction_of_multiplying"));
    if (json_object_get(row, "fraction_of_vnni"))
        printf(" (%3.0f %% of VNNI)", 100 * number(row, "fraction_of_vnni"));
    if (json_object_get(row, "fraction_of_reading"))
        printf(", %3.0f %% of reading", 100 * number(row, "fraction_of_reading"));
    puts("");
}

/* A prompt or a decode step op by op. */
static void print_profile(const json_t *row)
{
    const json_t *op;
    size_t i;
    printf("%s batch %d depth %d: %.0f us\n  %-20s %8s %10s %7s %7s %8s\n", word(row, "test"), (int)number(row, "batch"),
           (int)number(row, "depth"), number(row, "step_us"), "op", "calls", "us", "share", "busy", "GB/s");
    json_array_foreach(json_object_get(row, "ops"), i, op)
        printf("  %-20s %8.1f %10.1f %6.1f%% %6.0f%% %8.1f\n", word(op, "op"), number(op, "calls"), number(op, "us"),
               100 * number(op, "share"), 100 * number(op, "busy"), number(op, "gbps"));
}

/* A prompt beside what could be multiplied, decoding beside how fast the same weights can be read and how fast 192 MB can. */
static void print_test(const json_t *row, const json_t *t)
{
    printf("%-8s batch %-4d depth %-6d %9.1f tokens/s (%.1f to %.1f), %.0f %% of the ceiling", word(row, "test"), (int)number(row, "batch"),
           (int)number(row, "depth"), number(t, "median"), number(t, "min"), number(t, "max"), 100 * number(row, "fraction_of_ceiling"));
    if (json_object_get(row, "weights_gbps"))
        printf(" (its weights at %.1f GB/s; %.0f %% of 192 MB's)", number(row, "weights_gbps"), 100 * number(row, "fraction_of_read"));
    puts("");
}

/* Decoding through the step loop. */
static void print_engine(const json_t *row, const json_t *t)
{
    const char *against = json_object_get(row, "of_plain") ? "of_plain" : "of_bare";
    printf("%-9s batch %-4d depth %-6d %9.1f tokens/s (%.1f to %.1f), spec %s, temperature %.0f", word(row, "test"),
           (int)number(row, "batch"), (int)number(row, "depth"), number(t, "median"), number(t, "min"), number(t, "max"), word(row, "spec"),
           number(row, "temperature"));
    if (json_object_get(row, against))
        printf(": %.3fx of %s", number(row, against), strcmp(against, "of_plain") == 0 ? "the same without" : "the bare loop");
    puts("");
}

static void print_table(const json_t *root)
{
    const json_t *m = json_object_get(root, "machine"), *c = json_object_get(m, "ceiling"), *row;
    size_t i;
    printf("%s, %s, %d threads: float32 %.0f, bfloat16 %.0f GFLOP/s, int8 %.0f GOP/s (VNNI %.0f), reads 192 MB at %.1f GB/s\n",
           word(m, "cpu"), word(m, "isa"), (int)number(m, "threads"), number(c, "fp32_gflops"), number(c, "bf16_gflops"),
           number(c, "int8_gops"), number(c, "vnni_gops"), number(c, "read_gbps"));
    const json_t *load = json_object_get(root, "load");
    if (load)
        printf("loaded in %.2f s, at most %.0f MB of memory, the file has %.0f\n", number(load, "seconds"),
               number(load, "peak_bytes") / 1e6, number(load, "file_bytes") / 1e6);
    json_array_foreach(json_object_get(root, "results"), i, row) {
        const json_t *t = json_object_get(row, "tps");
        if (json_object_get(row, "ops"))
            print_profile(row);
        else if (json_object_get(row, "ratio"))
            printf("%-24s %9.2f ms, apart or padded %9.2f ms: %.3fx\n", word(row, "test"), number(row, "together_ms"),
                   number(row, "apart_ms"), number(row, "ratio"));
        else if (json_object_get(row, "spec"))
            print_engine(row, t);
        else if (t)
            print_test(row, t);
        else
            print_kernel(row);
    }
}

/* An option that would change nothing is refused. */
static void check_together(const command *c, bool kernel)
{
    if (kernel && (profile || mixed || engine))
        options_usage(c, "kernel has no decode steps: leave --profile, --mixed and --engine out");
    if (!kernel && (only || shape))
        options_usage(c, "--only and --shape go with kernel");
    if (model_flag.draft && !engine)
        options_usage(c, "--draft goes with --engine");
    if (engine && !tg)
        options_usage(c, "--engine times what --tg decodes, which is 0");
    if (profile && !tg && !pp)
        options_usage(c, "--profile goes with --pp or --tg");
}

static int run(const command *self, int argc, char **argv)
{
    int list[64];
    const char *what = options_parse(self, argc, argv, 1) ? argv[0] : NULL;
    bool kernel = what && strcmp(what, "kernel") == 0;
    sg_engine_options flags = model_flags_engine(self, kernel ? NULL : what);
    sg_bench_options o = {.model = flags.model,
                          .kernels = kernel,
                          .kv_type = flags.kv_type,
                          .tokenizer = flags.tokenizer,
                          .threads = flags.threads,
                          .ctx = flags.ctx,
                          .seed = model_flag.seed == SEED_NONE ? 0 : model_flag.seed,
                          .memory_bytes = flags.memory_bytes,
                          .exact = flags.exact,
                          .batch = list,
                          .nbatch = read_list(batch, list),
                          .only = only};
    if (!o.nbatch)
        options_usage(self, "--batch takes numbers between commas");
    if (pp < 0 || tg < 0 || depth < 0 || pp > 1 << 24 || tg > 1 << 24 || depth > 1 << 24 || reps < 1 || reps > 64)
        options_usage(self, "--pp, --tg and --depth: from 0 to %d; --reps: from 1 to 64", 1 << 24);
    if (shape && !read_shape(shape, &o))
        options_usage(self, "--shape takes MxNxK, such as 16x4096x4096, or NxK");
    o.prompt = (int)pp, o.generate = (int)tg, o.depth = (int)depth, o.reps = (int)reps, o.mixed = mixed, o.profile = profile;
    o.engine = engine, o.draft = flags.draft;
    check_together(self, kernel);
    char *text = NULL;
    sg_error err = {0};
    if (sg_bench_json(&text, &o, &err) != SG_OK)
        return command_failed(self, &err);
    json_t *root = as_json ? NULL : json_loads(text, 0, NULL);
    if (root)
        print_table(root);
    else
        puts(text);
    json_decref(root);
    sg_memory_free(text);
    return 0;
}

static const option *const tables[] = {options, model_flag_options, NULL};

const command cmd_bench = {
    .name = "bench",
    .synopsis = "[MODEL] | kernel [options]",
    .summary = "time a model, or the kernels, beside what the machine can do",
    .text = "Tokens a second count all sequences together.  The machine's ceilings are probed in the same run, just before.\n"
            "The ceiling of decoding is how fast the model's own weights are read, with nothing else done, before and after each test.\n"
            "Without a MODEL the embedded default is timed.\n"
            "segue bench kernel times linear layers of every weight type, and attention over caches of 2048 and 8192 positions.",
    .tables = tables,
    .run = run,
};
