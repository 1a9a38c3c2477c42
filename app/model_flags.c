/* app/model_flags.c - flags of models and engines.  A flag wins over the environment. */
#include "model_flags.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

model_flags model_flag = {.seed = SEED_NONE};

const option model_flag_options[] = {
    {NULL, "--threads", OPT_INT, &model_flag.threads, "N",
     "worker threads; default: the CPUs that this process may use"},
    {NULL, "--ctx", OPT_INT, &model_flag.ctx, "N", "tokens that a sequence may have; default: the model's own"},
    {NULL, "--memory", OPT_SIZE, &model_flag.memory, "SIZE", "cap on all memory that is allocated"},
    {NULL, "--kv-type", OPT_STR, &model_flag.kv_type, "TYPE", "type of keys and values: f32, f16, bf16, q8_0"},
    {NULL, "--seed", OPT_UINT, &model_flag.seed, "S", "seed of what is drawn at random; nothing is, where a text is only measured"},
    {NULL, "--exact", OPT_FLAG, &model_flag.exact, NULL,
     "the reference path: weights as stored, everything in float32, slow"},
    {NULL, "--tokenizer", OPT_STR, &model_flag.tokenizer, "F", "tokenizer file for a llama2.c model"},
    {NULL, "--quiet", OPT_FLAG, &model_flag.quiet, NULL, "no progress on standard error"},
    {0}};

const option engine_flag_options[] = {
    {NULL, "--spec", OPT_STR, &model_flag.spec, "HOW",
     "guess tokens ahead, the text stays the same: auto (lookup and --draft; default), lookup (from the text, other requests), off"},
    {NULL, "--draft", OPT_STR, &model_flag.draft, "MODEL", "a small model with the same vocabulary that guesses tokens ahead"},
    {NULL, "--no-prefix-cache", OPT_FLAG, &model_flag.no_prefix_cache, NULL, "compute every prompt anew"},
    {NULL, "--warm-tokens", OPT_INT, &model_flag.warm_tokens, "N",
     "touch memory for the keys and values of N tokens before the first request, or of all that there is room for; default: while idle"},
    {0}};

static int threads_from_environment(const command *c)
{
    const char *s = getenv("SEGUE_THREADS");
    char *end;
    if (!s || !*s)
        return 0;
    long n = strtol(s, &end, 10);
    if (*end || n < 1 || n > 256)
        options_usage(c, "SEGUE_THREADS is '%s': a number from 1 to 256 is needed", s);
    return (int)n;
}

/* MODEL as a path: as it stands when there is such a file, else NAME or NAME.gguf under the models folder. */
static const char *model_path(const char *model)
{
    static char path[4096];
    const char *folder = getenv("SEGUE_MODELS");
    if (!model || access(model, F_OK) == 0 || !folder || strchr(model, '/'))
        return model;
    static const char *const endings[] = {"", ".gguf"};
    for (size_t i = 0; i < 2; i++) {
        int n = snprintf(path, sizeof path, "%s/%s%s", folder, model, endings[i]);
        if (n > 0 && (size_t)n < sizeof path && access(path, F_OK) == 0)
            return strdup(path); /* a few, as long as the program */
    }
    return model;
}

sg_eval_options model_flags_eval(const command *c, const char *model)
{
    if (model_flag.threads < 0 || model_flag.threads > 256)
        options_usage(c, "--threads: from 1 to 256");
    if (model_flag.ctx < 0 || model_flag.ctx > 1 << 30)
        options_usage(c, "--ctx: from 1 to %d", 1 << 30);
    if (model && strcmp(model, "-") == 0)
        options_usage(c, "'-' is no model");
    return (sg_eval_options){.model = model_path(model),
                             .tokenizer = model_flag.tokenizer,
                             .kv_type = model_flag.kv_type,
                             .threads = model_flag.threads ? (int)model_flag.threads : threads_from_environment(c),
                             .ctx = (int)model_flag.ctx,
                             .memory_bytes = model_flag.memory,
                             .exact = model_flag.exact};
}

sg_engine_options model_flags_engine(const command *c, const char *model)
{
    sg_eval_options e = model_flags_eval(c, model);
    if (model_flag.warm_tokens < 0 || model_flag.warm_tokens > 1 << 30)
        options_usage(c, "--warm-tokens: from 0 to %d", 1 << 30);
    return (sg_engine_options){.model = e.model,
                               .tokenizer = e.tokenizer,
                               .kv_type = e.kv_type,
                               .memory_bytes = e.memory_bytes,
                               .threads = e.threads,
                               .ctx = e.ctx,
                               .exact = e.exact,
                               .spec = model_flag.spec,
                               .draft = model_path(model_flag.draft),
                               .warm_tokens = (int)model_flag.warm_tokens,
                               .no_prefix_cache = model_flag.no_prefix_cache};
}
