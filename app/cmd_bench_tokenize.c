/* app/cmd_bench_tokenize.c - `segue bench tokenize`: megabytes of text a second through a tokenizer, on one thread. */
#include "commands.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *file;
static int64_t repeats = 10, document = 2048;
static bool as_json;

static const option options[] = {
    {NULL, "--file", OPT_STR, &file, "F", "the text; without it a text made of the vocabulary's own words"},
    {NULL, "--document", OPT_INT, &document, "N", "bytes in one call, then on to the line's end; 0 is the whole text (2048)"},
    {NULL, "--reps", OPT_INT, &repeats, "N", "passes; the first finds the cache empty (10)"},
    {NULL, "--json", OPT_FLAG, &as_json, NULL, "one JSON object on standard output"},
    {0}};

static char *slurp(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rbe");
    long size = f && fseek(f, 0, SEEK_END) == 0 ? ftell(f) : -1;
    char *data = size >= 0 ? malloc((size_t)size + 1) : NULL;
    if (data) {
        rewind(f);
        *n = fread(data, 1, (size_t)size, f);
    }
    if (f)
        fclose(f);
    return data;
}

/* About a megabyte of decoded ids in a fixed shuffled order. */
static char *make_text(const sg_tokenizer *t, size_t *n, sg_error *err)
{
    enum { NID = 250000 };
    sg_token *ids = malloc(NID * sizeof *ids);
    char *text = NULL;
    uint64_t x = 1;
    for (size_t i = 0; ids && i < NID; i++) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        uint64_t r = x >> 33, size = sg_tokenizer_size(t);
        ids[i] = (sg_token)(r % (1 + r / 7 % size)); /* low ids, the frequent ones, more often */
    }
    if (ids)
        sg_tokenizer_decode(t, ids, NID, true, &text, n, err);
    free(ids);
    return text;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *model, const sg_tokenizer *t, size_t n, double *seconds, uint64_t ntoken)
{
    double mb = (double)n / 1e6, cold = mb / seconds[0];
    size_t k = (size_t)repeats - 1;
    qsort(seconds + 1, k, sizeof *seconds, compare);
    double least = mb / seconds[k], median = mb / seconds[1 + (k - 1) / 2], most = mb / seconds[1];
    if (as_json)
        printf("{\"kind\":\"%s\",\"bytes\":%zu,\"tokens\":%llu,\"document\":%lld,\"cold_mbps\":%.2f,\"warm_mbps\":{\"min\":%.2f,"
               "\"median\":%.2f,\"max\":%.2f}}\n",
               sg_tokenizer_kind(t), n, (unsigned long long)ntoken, (long long)document, cold, least, median, most);
    else
        printf("%s: %s, %zu bytes, %llu tokens, one thread\n  cold cache  %8.1f MB/s\n  warm cache  %8.1f MB/s (min %.1f, max %.1f)\n",
               model, sg_tokenizer_kind(t), n, (unsigned long long)ntoken, cold, median, least, most);
}

static int run(const command *c, int argc, char **argv)
{
    if (options_parse(c, argc, argv, 1) != 1)
        options_usage(c, "which MODEL?");
    if (repeats < 2 || repeats > 1000 || document < 0)
        options_usage(c, "--reps is 2 to 1000, --document 0 or more");
    sg_error err = {0};
    sg_tokenizer *t;
    if (sg_tokenizer_open(&t, argv[0], &err) != SG_OK)
        return command_failed(c, &err);
    size_t n = 0;
    char *text = file ? slurp(file, &n) : make_text(t, &n, &err);
    double *seconds = calloc((size_t)repeats, sizeof *seconds);
    uint64_t ntoken;
    int status = 1;
    if (!text || !seconds)
        fprintf(stderr, "segue: %s: %s: %s\n", c->name, file ? file : "text", file ? strerror(errno) : err.text);
    else if (sg_tokenizer_bench(t, text, n, (size_t)document, (int)repeats, seconds, &ntoken, &err) != SG_OK)
        status = command_failed(c, &err);
    else {
        report(argv[0], t, n, seconds, ntoken);
        status = 0;
    }
    free(seconds);
    file ? free(text) : sg_tokenizer_text_free(text);
    sg_tokenizer_free(t);
    return status;
}

const command cmd_bench_tokenize = {
    .name = "bench tokenize",
    .synopsis = "MODEL [--file F] [options]",
    .summary = "Measure how fast a tokenizer encodes",
    .text = "Prints MB of UTF-8 a second on one thread, by the thread's CPU time: once with an empty word cache, then\n"
            "with a filled one (median, smallest and largest of the passes).",
    .tables = (const option *const[]){options, NULL},
    .run = run,
};
