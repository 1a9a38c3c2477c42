/* app/cmd_quantize.c - segue quantize: a model with smaller weights, as GGUF. */
#include "commands.h"
#include "progress.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *type, *imatrix, *tokenizer;
static string_list keep;
static int64_t threads;
static bool pure, json, quiet;

static const option options[] = {
    {"-t", "--type", OPT_STR, &type, "T", "what to make of the matrices: q8_0, q6_k, q5_k_m, q4_k_m, iq4_xs, ... (needed)"},
    {NULL, "--imatrix", OPT_STR, &imatrix, "FILE", "importance data, as llama.cpp's imatrix writes it (.dat or GGUF)"},
    {NULL, "--tokenizer", OPT_STR, &tokenizer, "FILE", "the tokenizer of a llama2.c model"},
    {NULL, "--keep", OPT_LIST, &keep, "REGEX=T", "matrices whose name matches get type T; may be repeated, the first match counts"},
    {NULL, "--pure", OPT_FLAG, &pure, NULL, "the same type for every matrix, no mix"},
    {NULL, "--threads", OPT_INT, &threads, "N", "threads to use (all)"},
    {NULL, "--json", OPT_FLAG, &json, NULL, "print one JSON object"},
    {NULL, "--quiet", OPT_FLAG, &quiet, NULL, "no progress"},
    {0}};

static void print_report(const sg_quantize_report *r, const char *out)
{
    double bits = r->nvalue ? 8.0 * (double)r->bytes_out / (double)r->nvalue : 0;
    if (!json) {
        printf("%s: %.1f MiB, was %.1f MiB; %.2f bits a weight; %zu of %zu tensors changed", out, (double)r->bytes_out / 0x1p20,
               (double)r->bytes_in / 0x1p20, bits, r->nquantized, r->ntensor);
        if (imatrix)
            printf(", %zu by importance", r->nimportance);
        if (r->nfallback)
            printf("; %zu have rows that needed a type with smaller blocks", r->nfallback);
        printf("\n");
        return;
    }
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "output", out, "type", type, "tensors", (json_int_t)r->ntensor,
                          "quantized", (json_int_t)r->nquantized, "fallbacks", (json_int_t)r->nfallback, "by_importance",
                          (json_int_t)r->nimportance, "bytes_in", (json_int_t)r->bytes_in, "bytes_out", (json_int_t)r->bytes_out,
                          "bits_per_weight", bits);
    char *text = o ? json_dumps(o, JSON_REAL_PRECISION(6)) : NULL;
    printf("%s\n", text ? text : "{}");
    free(text);
    json_decref(o);
}

static int run(const command *self, int argc, char **argv)
{
    if (options_parse(self, argc, argv, 2) != 2)
        options_usage(self, "two files are needed: IN OUT.gguf");
    if (!type)
        options_usage(self, "--type is needed; the types are: %s", sg_quantize_types());
    if (threads < 0 || threads > 256)
        options_usage(self, "--threads must be 1 to 256");
    progress_begin(command_quiet(quiet));
    sg_quantize_options o = {.type = type, .imatrix = imatrix, .tokenizer = tokenizer, .keep = keep.items, .nkeep = keep.n, .pure = pure,
                             .threads = (int)threads, .progress = progress_show};
    sg_quantize_report report;
    sg_error err = {0};
    sg_status st = sg_quantize(argv[0], argv[1], &o, &report, &err);
    progress_end();
    if (st != SG_OK)
        return command_failed(self, &err);
    print_report(&report, argv[1]);
    return 0;
}

static const option *const tables[] = {options, NULL};

const command cmd_quantize = {
    .name = "quantize",
    .synopsis = "IN OUT.gguf --type T [options]",
    .summary = "make a model's weights smaller",
    .text = "Types: f32 f16 bf16 q8_0 q6_k q5_k_m q5_k_s q5_1 q5_0 q4_k_m q4_k_s iq4_nl iq4_xs q4_1 q4_0 mxfp4 mxfp4_moe q3_k_l q3_k_m "
            "q3_k_s q2_k q2_k_s tq2_0 tq1_0. The mixes (_s, _m, _l and the plain names) give the output, attention values and "
            "the feed-forward's way down more bits, tensor for tensor as llama.cpp does; --pure switches that off. Vectors "
            "become f32; norms and routers stay as they are. Rows that do not divide into blocks of 256 get the next type "
            "with blocks of 32.\n\n"
            "The output is written beside its place and renamed at the end: a run that fails leaves nothing behind.",
    .tables = tables,
    .run = run,
};
